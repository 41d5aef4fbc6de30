"""Blocks with a leading dimension of N matrices, scaled, and their probes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.homes import Blocks
from eagle.algebra.stacked import Tools, Vector
from eagle.problem.blocks import shared_scale
from eagle.problem.certificate import COUNT, judge_many, unit_normal
from eagle.problem.options import Options

__all__ = ["Probes", "Problem", "Sides"]


@dataclass(frozen=True)
class Sides:
    """Scaled blocks with probes, every one with a leading dimension of N matrices.

    Attributes
    ----------
    A : array (N, d, n)
    B, C : array (N, d', n), (N, d, n') or None
        None stands for an identity.
    row_probes, column_probes : array (N, p, n), (N, d, q)
    """

    tools: Tools
    A: Any
    B: Any
    C: Any
    row_probes: Any
    column_probes: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the value that the user asked for."""
        d, n = self.A.shape[1:]
        return (
            n if self.B is None else self.B.shape[1],
            d if self.C is None else self.C.shape[2],
        )

    def adjoint(self) -> Sides:
        """``D^H = C^H (A^H)^+ B^H``."""
        flip = self.tools.adjoint
        return replace(
            self,
            A=flip(self.A),
            B=None if self.C is None else flip(self.C),
            C=None if self.B is None else flip(self.B),
            row_probes=flip(self.column_probes),
            column_probes=flip(self.row_probes),
        )

    def rows(self) -> Any:
        """``[B; row_probes]``."""
        B = self.tools.eye(self.A.shape[2]) if self.B is None else self.B
        return self.tools.join([B, self.row_probes], 1)

    def columns(self) -> Any:
        """``[C column_probes]``."""
        C = self.tools.eye(self.A.shape[1]) if self.C is None else self.C
        return self.tools.join([C, self.column_probes], 2)

    def times_columns(self, W: Any) -> Any:
        """``W [C column_probes]``."""
        left = W if self.C is None else W @ self.C
        return self.tools.join([left, W @ self.column_probes], 2)

    def rows_times(self, X: Any) -> Any:
        """``[B; row_probes] X``."""
        top = X if self.B is None else self.B @ X
        return self.tools.join([top, self.row_probes @ X], 1)

    def take(self, places: np.ndarray) -> Sides:
        """Some of the matrices."""
        blocks = self.A, self.B, self.C, self.row_probes, self.column_probes
        return Sides(
            self.tools, *(None if X is None else self.tools.take(X, places) for X in blocks)
        )


@dataclass(frozen=True)
class Probes:
    """The probes of `eagle.problem.certificate`, one draw for all matrices, and their answers."""

    sides: Sides
    column_answers: Any  # (N, d', 2p [+ p])
    row_answers: Any  # (N, 2p, n')
    corner: Any  # (N, 2p, 2p)

    @classmethod
    def draw(cls, sides: Sides, extent: tuple[int, int], rng: np.random.Generator) -> Probes:
        """Append probes; `extent` is the size of the user's own A, before a ridge."""
        tools, A = sides.tools, sides.A
        d, n = A.shape[1:]
        kind = np.dtype(np.complex128 if tools.complex else np.float64)
        w, z = (tools.sent(unit_normal(rng, (size, COUNT), kind))[None, ...] for size in (n, d))
        Aw, Az = A @ w, tools.adjoint(A) @ z
        inner, outer = (tools.over(X, tools.columns(X)) for X in (Az, Aw))
        rows = tools.adjoint(tools.join([Az, tools.adjoint(A) @ outer], 2))
        columns = [Aw, A @ inner]
        corner = rows @ tools.join([w, inner], 2)
        answers, tests = [w, inner], tools.join([z, outer], 2)
        if extent != (d, n):
            inside = tools.sent((np.arange(n) < extent[1]).astype(np.float64))[None, :, None]
            above = tools.sent((np.arange(d) < extent[0]).astype(np.float64))[None, :, None]
            answers.append(w * inside)
            columns.append((A @ (w * inside)) * above)
        w, z = tools.join(answers, 2), tools.adjoint(tests)
        return cls(
            replace(sides, row_probes=rows, column_probes=tools.join(columns, 2)),
            w if sides.B is None else sides.B @ w,
            z if sides.C is None else z @ sides.C,
            corner,
        )

    def take(self, places: np.ndarray) -> Probes:
        """Those of some of the matrices."""
        take = self.sides.tools.take
        answers = self.column_answers, self.row_answers, self.corner
        kept = (X if X.shape[0] == 1 else take(X, places) for X in answers)
        return Probes(self.sides.take(places), *kept)

    def certify(self, value: Any, resolved: Vector, condition: Vector, places: Vector) -> Any:
        """Error estimates, inconsistencies and whether the errors are negligible.

        For the extended values of some of the matrices; `condition` is NaN where it is unknown.
        """
        rows, columns = self.sides.shape
        tools = self.sides.tools
        kinds = {"white": slice(0, COUNT), "ranged": slice(COUNT, 2 * COUNT)}
        count = value.shape[0]
        answers = self.column_answers, self.row_answers, self.corner
        if count < self.corner.shape[0]:
            answers = tuple(X if X.shape[0] == 1 else tools.take(X, places) for X in answers)
        column_answers, row_answers, corners = answers
        column_errors = value[:, :rows, columns:] - column_answers
        row_errors = value[:, rows:, :columns] - row_answers
        corner_errors = value[:, rows:, columns : columns + 2 * COUNT] - corners
        parts = {"hidden": value[:, :rows, :columns]}
        for name, kind in kinds.items():
            parts[f"column_errors_{name}"] = column_errors[:, :, kind]
            parts[f"column_answers_{name}"] = column_answers[:, :, kind]
            parts[f"row_errors_{name}"] = row_errors[:, kind, :]
            parts[f"row_answers_{name}"] = row_answers[:, kind, :]
            for other, second in kinds.items():
                parts[f"corner_errors_{name}_{other}"] = corner_errors[:, kind, second]
                parts[f"corner_{name}_{other}"] = corners[:, kind, second]
        plain = kinds["white"]
        if column_answers.shape[2] > 2 * COUNT:
            plain = slice(2 * COUNT, 3 * COUNT)
        parts["column_errors_plain"] = column_errors[:, :, plain]
        parts["column_answers_plain"] = column_answers[:, :, plain]
        norms = [tools.norm(part) for part in parts.values()]
        numbers = tools.fetch(*(tools.xp.broadcast_to(each, (count,)) for each in norms))
        sizes = dict(zip(parts, numbers, strict=True))
        return judge_many(sizes, tools.eps, resolved=resolved, condition=condition)


@dataclass(frozen=True)
class Problem:
    """What the methods see of the user's blocks, and the way back.

    Attributes
    ----------
    sides : Sides
        Scaled, truncated, with the ridge appended, without probes.
    shape : tuple of int
        Rows and columns of the value.
    extent : tuple of int
        Size of A before the ridge.
    exponents : ndarray (N,)
        The value in the user's units is ``2**exponents`` times the scaled one.
    empty : bool
        Whether there is nothing to compute.
    factors : tuple of array or None
        ``U, s, V^H`` of A, if it was truncated and no ridge was appended.
    """

    sides: Sides
    shape: tuple[int, int]
    extent: tuple[int, int]
    exponents: Vector
    empty: bool
    factors: tuple[Any, Any, Any] | None = None

    @classmethod
    def create(
        cls,
        tools: Tools,
        blocks: Blocks,
        names: tuple[str, str, str],
        leading: tuple[int, ...],
        options: Options,
    ) -> Problem:
        """Broadcast, check that all is finite, scale."""
        xp, count = tools.xp, math.prod(leading)

        def stack(block: Any) -> Any:
            if block is None:
                return None
            spread = xp.broadcast_to(block, (*leading, *block.shape[-2:]))
            return xp.reshape(spread, (count, *block.shape[-2:]))

        exponents = np.zeros((3, count), int)
        limit = tools.maximum_exponent // 10
        for place, (name, block) in enumerate(zip(names, blocks, strict=True)):
            if block is None or 0 in block.shape:
                continue
            # Look at what the user gave, not at how often it is repeated.
            flat = xp.reshape(block, (-1, math.prod(block.shape[-2:])))
            (tops,) = tools.fetch(xp.max(xp.abs(flat), axis=1))
            if not np.isfinite(tops).all():
                raise ValueError(f"{name} with shape {tuple(block.shape)} contains NaN or infinity")
            powers = np.frexp(tops)[1]
            powers = np.where(np.abs(powers) <= limit, 0, powers)
            powers = powers.reshape(block.shape[:-2])
            exponents[place] = np.broadcast_to(powers, leading).reshape(count)
        A, B, C = map(stack, blocks)
        sides = Sides(tools, A, B, C, None, None)
        (d, n), shape = A.shape[1:], sides.shape
        a, b, c = exponents
        if 0 in (count, d, n, *shape):
            return cls(sides, shape, (d, n), b + c - a, True)
        A, factors = tools.scaled(A, -a), None
        if options.special():
            A, factors = _truncated(tools, A, options)
        B = None if B is None else tools.scaled(B, -b)
        C = None if C is None else tools.scaled(C, -c)
        back = b + c - a
        if options.ridge:
            factors = None
            root, shift = shared_scale(options.ridge, a)
            mu = tools.each(root)
            A, back = tools.scaled(A, -shift), back - shift
            if C is None or (d <= n and B is not None):
                B = tools.eye(n) if B is None else B
                A = tools.join([A, mu * tools.eye(d)], 2)
                B = tools.join([B, tools.zeros(1, B.shape[1], d)], 2)
            else:
                A = tools.join([A, mu * tools.eye(n)], 1)
                C = tools.join([C, tools.zeros(1, n, C.shape[2])], 1)
        return cls(Sides(tools, A, B, C, None, None), shape, (d, n), back, False, factors)


def _truncated(tools: Tools, A: Any, options: Options) -> tuple[Any, tuple[Any, Any, Any]]:
    """The part of A of a given rank or above a cutoff, and its factors ``U, s, V^H``."""
    xp = tools.xp
    U, s, Vh = xp.linalg.svd(A, full_matrices=False)
    noise = max(A.shape[1:]) * tools.eps
    kept = s > (noise if options.cutoff is None else options.cutoff) * s[:, :1]
    rank = s.shape[1] if options.rank is None else options.rank
    first = tools.sent((np.arange(s.shape[1]) < rank).astype(np.float64))
    weights = xp.where(kept, s, tools.none) * first
    return (U * xp.astype(weights[:, None, :], tools.dtype)) @ Vh, (U, weights, Vh)
