"""`eagle.solve` on torch tensors that require a gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from eagle.arrays import HALF, Blocks, Compute, Home, with_value
from eagle.gradients import NUMPY, Library, Solve, pullback, refuse_truncation, warn_if_steep
from eagle.methods import Compressed, Eagle
from eagle.methods.again import Again
from eagle.methods.base import Inverse
from eagle.methods.compressed import WHOLE, width_for
from eagle.options import Options
from eagle.result import Result

__all__ = ["solve"]


LIBRARY = Library(
    torch,
    torch.Tensor.detach,
    lambda like: {"dtype": like.dtype, "device": like.device},
    lambda: not torch.is_grad_enabled(),
)


def solve(
    home: Home,
    compute: Compute,
    blocks: Blocks,
    method: Any,
    options: Options,
    names: tuple[str, str, str],
) -> Result:
    """`compute` with a value that knows how to differentiate itself."""
    if blocks[0].requires_grad:
        refuse_truncation(options)
    dtype = home.result_type([block for block in blocks if block is not None])
    work = "float32" if dtype in HALF else dtype
    A, B, C = (None if block is None else home.astype(block, work) for block in blocks)
    vector = False
    if C is not None and C.ndim == 1:
        C, vector = C[:, None], True
    call = _Call(home, compute, method, options, names)
    differentiable: Any = _Solve.apply
    value = home.astype(differentiable(A, B, C, call), dtype)
    result, call.result = call.result, None  # it holds the value, which holds the call
    assert result is not None
    return with_value(result, value[..., 0] if vector else value)


@dataclass
class _Call:
    """How to solve, now and in the backward pass, and what the first time told."""

    home: Home
    compute: Compute
    method: Any
    options: Options
    names: tuple[str, str, str]
    result: Result | None = None
    rank: int | None = None
    condition: float | None = None
    planned: Any = None  # the method that solved for A
    inverse: Inverse | None = None  # and what it left to apply A^+ with
    seed: int = 0

    def forward(self, blocks: Blocks) -> Any:
        self.seed = int(self.options.rng.integers(2**63))
        found: list[Inverse | None] = [None]
        self.result = self.home.solve_untracked(
            self._keeping(found, self.options), blocks, self.method, self.options, self.names
        )
        self.rank, self.condition = self.result.rank, self.result.condition
        if self.result.results is None and self.result.converged and not self.options.ridge:
            self.planned, self.inverse = self.result.method, found[-1]
        return self.result.value

    def again(self, blocks: Blocks, ridge: float) -> Any:
        """Another value for the same A, which knows how to differentiate itself."""
        options = self._unwatched(ridge)
        # What worked for A works again; for a batch every matrix has a plan of its own.
        method = self.method if self.planned is None or ridge else self.planned
        result = self.home.solve(self.compute, blocks, method, options, self.names)
        if not result.converged and method is not self.method:
            result = self.home.solve(self.compute, blocks, self.method, options, self.names)
        return self._checked(result, options)

    def on_host(self, inside: float) -> Solve:
        """The same for arrays of numpy, all with one A, whose factors are kept.

        `inside` is the part of the ridge that is in A already.
        """
        from eagle.api import QUICK

        options = self._unwatched(self.options.ridge - inside)
        same = not self.options.ridge  # A is what was solved for
        found = [self.inverse if same else None]
        compute = self._keeping(found, options)

        def again(*blocks: Any) -> Any:
            limit = QUICK * np.finfo(blocks[0].dtype).eps
            known = [] if found[-1] is None else [Again(found[-1])]
            for method in [*known, *(self._cheaper(blocks[0]) if same else ())]:
                try:
                    result = compute(blocks, method, options, self.names)
                except np.linalg.LinAlgError:
                    continue
                enough = method is self.planned or result.error_estimate <= limit
                if result.converged and enough:
                    break
            else:
                result = compute(blocks, self.method, options, self.names)
            return self._checked(result, options)

        return again

    def _cheaper(self, A: np.ndarray) -> list[Any]:
        """What is likely to be enough for A, now that one solve has told of it."""
        width = width_for(self.rank or min(A.shape))
        if isinstance(self.planned, Eagle) and width < WHOLE * min(A.shape):
            return [Compressed(width), self.planned]
        return [] if self.planned is None else [self.planned]

    def _keeping(self, found: list[Inverse | None], options: Options) -> Compute:
        """`compute`, adding to `found` what applies the ``A^+`` of the blocks it is given."""
        changed = options.ridge or options.special()
        on_host = self.home.on_cpu and not changed
        return partial(self.compute, keep=found.append) if on_host else self.compute

    def _unwatched(self, ridge: float) -> Options:
        rng = np.random.default_rng(self.seed)
        return replace(self.options, ridge=ridge, rng=rng, callback=None, progress=False)

    def _checked(self, result: Result, options: Options) -> Any:
        from eagle.api import complain

        complain(result, options, stacklevel=5)
        return result.value


class _Solve(torch.autograd.Function):
    """``B A^+ C`` of tensors of one dtype."""

    @staticmethod
    def forward(ctx: Any, A: Any, B: Any, C: Any, call: _Call) -> Any:
        value = call.forward((A, B, C))
        ctx.call = call
        ctx.save_for_backward(A, B, C, value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        call, needs = ctx.call, ctx.needs_input_grad[:3]
        (A, B, C, D), (G,) = ctx.saved_tensors, grads
        # Where A is differentiated, the formulas put the ridge into A.
        inside = call.options.ridge if needs[0] else 0.0
        if needs[0] and not inside:
            warn_if_steep(call.condition, torch.finfo(A.dtype).eps)
        known: dict[str, Any] = {"ridge": inside, "rank": call.rank, "needs": needs}
        if torch.is_grad_enabled() or not call.home.on_cpu:
            ridge = call.options.ridge - inside
            bars = pullback(
                LIBRARY, lambda *blocks: call.again(blocks, ridge), (A, B, C), D, G, **known
            )
            return (*bars, None)
        # No product is left to torch: its idle threads would spin against those of our BLAS.
        A, B, C, D, G = (None if X is None else call.home.view(X) for X in (A, B, C, D, G))
        bars = pullback(NUMPY, call.on_host(inside), (A, B, C), D, G, **known)
        # Rows first, so that torch takes the gradient of a leaf as it is.
        rowwise = (None if bar is None else np.ascontiguousarray(bar) for bar in bars)
        return (*(None if bar is None else call.home.array(bar) for bar in rowwise), None)
