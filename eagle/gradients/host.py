"""The solves of a backward pass on the host: all with one A, which is factorised once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.methods import Compressed, Eagle
from eagle.methods.again import Again
from eagle.methods.base import QUICK, Inverse
from eagle.methods.compressed.method import WHOLE
from eagle.methods.compressed.ranges import width_for
from eagle.methods.cross import Cross
from eagle.problem.options import Options
from eagle.problem.result import Result, complain


@dataclass
class HostSolves:
    """``B A^+ C`` of numpy's arrays, from what earlier solves have left of A.

    Every solve has its certificate: what is not accurate is solved as the user has asked.

    Parameters
    ----------
    compute : callable
        What solves, given blocks, a method and options.
    method : object
        What the user asked for.
    options : Options
    rank : int, optional
        Of A.
    planned : Method, optional
        What has solved for A before.
    inverse : Inverse, optional
        What it has left. Of a single A; the next solves put theirs here.
    """

    compute: Callable[[Any, Any, Options], Result]
    method: Any
    options: Options
    rank: int | None = None
    planned: Any = None
    inverse: Inverse | None = None

    def __call__(self, A: np.ndarray, B: Any, C: Any) -> np.ndarray:
        """The value for A, B and C, None standing for an identity.

        If all problems of a batch have one A and one B (C), it is one problem with the columns
        (rows) of all.
        """
        if A.ndim == 2 or not _one(A) or not (_one(B) or _one(C)):
            return self._value(A, B, C)
        leading = np.broadcast_shapes(*(X.shape[:-2] for X in (A, B, C) if X is not None))
        if C is None or _one(C):
            rows = None if B is None else B.reshape(-1, B.shape[-1])
            value = self._value(_matrix(A), rows, _matrix(C))
            return value.reshape(*leading, -1, value.shape[-1])
        columns = np.moveaxis(C, -2, 0)
        value = self._value(_matrix(A), _matrix(B), columns.reshape(len(columns), -1))
        value = value.reshape(len(value), *leading, C.shape[-1])
        return np.moveaxis(value, 0, -2)

    def _value(self, *blocks: Any) -> np.ndarray:
        limit = QUICK * np.finfo(blocks[0].dtype).eps
        for method in self._cheaper(blocks[0]):
            try:
                result = self._solve(blocks, method)
            except np.linalg.LinAlgError:
                continue
            enough = method is self.planned or result.error_estimate <= limit
            if result.converged and enough:
                break
        else:
            result = self._solve(blocks, self.method)
        complain(result, self.options)
        return result.value

    def _cheaper(self, A: np.ndarray) -> list[Any]:
        """What to try before the method that was asked for, the cheapest first."""
        methods: list[Any] = [] if self.inverse is None else [Again(self.inverse)]
        width = width_for(self.rank or min(A.shape))
        if isinstance(self.planned, Eagle | Cross) and width < WHOLE * min(A.shape):
            methods.append(Compressed(width))
        if self.planned is None or isinstance(self.planned, Cross):  # which needs a B and a C
            return methods
        return [*methods, self.planned]

    def _solve(self, blocks: Any, method: Any) -> Any:
        result = self.compute(blocks, method, self.options)
        if not (self.options.ridge or self.options.special()):  # else A is not what is factorised
            self.inverse = result.inverse
        return result


def _one(block: Any) -> bool:
    """Whether there is but one matrix, or an identity."""
    return block is None or all(size == 1 for size in block.shape[:-2])


def _matrix(block: Any) -> Any:
    return None if block is None else block.reshape(block.shape[-2:])
