"""The problem: blocks that fit together, in the working dtype, scaled into a safe range."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from eagle.algebra.base import Algebra
from eagle.algebra.dense import Dense
from eagle.algebra.numbers import Number, One
from eagle.algebra.operand import LowRank, Matrix, Operand, shifted
from eagle.algebra.stacked import Stacked
from eagle.problem.checks import check_sizes

Factors = tuple[Any, Any, Any]  # U, s, V^H
Names = tuple[str, str, str]  # what the user calls A, B, C


def exponent_of(top: Any, maxexp: int) -> Any:
    """The power of two to divide by: 0 where fourth powers of entries up to `top` are safe."""
    powers = np.frexp(top)[1]
    return np.where(np.abs(powers) <= maxexp // 10, 0, powers)


def _surveyed(algebra: Any, name: str, X: Any, shape: tuple[int, ...], maxexp: int) -> Any:
    """Powers of two and which matrices are zero; ValueError for entries that are not finite."""
    top, zero = algebra.survey(X)
    if algebra.num is One and top == 1:  # which is usual
        return 0, zero
    if not np.isfinite(top).all():
        raise ValueError(f"{name} with shape {shape} contains NaN or infinity")
    return exponent_of(top, maxexp), zero


def _centred(X: Any) -> tuple[np.ndarray, int]:
    """``2**-p X`` and p, so that the largest and the smallest entry are as far from 1."""
    parts = np.concatenate([X.real.ravel(), X.imag.ravel()])
    sizes = np.frexp(parts[parts != 0])[1]
    power = int(sizes.max() + sizes.min()) // 2
    return shifted(X, -power), power


@dataclass(frozen=True, eq=False)
class Given:
    """Blocks that scaling to size 1 rounds, centred, and the others; with the exponents of all."""

    blocks: list[Any]
    exponents: list[int]


@dataclass(frozen=True, eq=False)
class Problem:
    """Blocks of ``D = B A^+ C``, in the working dtype and scaled by exact powers of two.

    One problem (`Dense`), or N of one shape (`Stacked`), whose blocks have a leading axis.

    Attributes
    ----------
    algebra : Algebra
        What the blocks belong to.
    A : array (d, n), or Operand
    B : array (d', n) or None
        None stands for the identity of size n.
    C : array (d, n') or None
        None stands for the identity of size d.
    row_probes : array (p, n)
        Extra rows of B with known answers, used by the certificate.
    column_probes : array (d, q)
        Extra columns of C with known answers.
    wanted : tuple of int
        Shape of the value that the user asked for: of the first rows and columns.
    extent : tuple of int
        Size of the user's A inside `A`; smaller than that of `A` when a ridge was appended.
    factors : tuple of array or None
        ``U, s, V^H`` with ``A = U s V^H``, if A was factorised; before a ridge was appended.
    mu : number
        Square root of the ridge that was appended to a factorised A, scaled like A; else 0.
    zero : number
        Whether A has no entry other than 0.
    seen : object
        A sketch of A that was taken while planning, see `eagle.methods.compressed.ranges`.
    scale : number
        The user's A is ``2**scale`` times `A`.
    exponent : number
        The value in the user's units is ``2**exponent`` times the scaled one.
    dtype : dtype, or str for arrays on a device
        What the value comes back as.
    vector : bool
        Whether the user gave C as a vector, and gets a vector back.
    given : Given or None
        What is exact, if scaling rounded entries that are small beside others.
    """

    algebra: Any
    A: Any
    B: Any
    C: Any
    row_probes: Any
    column_probes: Any
    wanted: tuple[int, int]
    extent: tuple[int, int]
    factors: Factors | None
    mu: Number
    zero: Number
    scale: Number
    exponent: Number
    dtype: Any
    vector: bool
    seen: Any = None
    given: Given | None = None

    @classmethod
    def create(
        cls, A: Matrix, B: np.ndarray | None, C: np.ndarray | None, names: Names = ("A", "B", "C")
    ) -> Self:
        """One problem in memory: check sizes and entries, choose the working dtype, scale.

        `names` are what the caller's user calls the blocks.
        """
        check_sizes(A, B, C, names)
        vector = C is not None and C.ndim == 1
        if C is not None and vector:
            C = C[:, None]
        dtype = np.result_type(*(block for block in (A, B, C) if block is not None))
        algebra = Dense.of(np.result_type(dtype, np.float32))
        exponents, zeros = [], []
        for name, block in zip(names, (A, B, C), strict=True):
            exponent, zero = 0, True
            if block is not None and block.size:
                limit = np.finfo(algebra.dtype).maxexp
                exponent, zero = _surveyed(algebra, name, block, block.shape, limit)
            exponents.append(int(exponent))
            zeros.append(zero)
        a, b, c = exponents
        blocks = tuple(
            block if block is None else shifted(block, 0, algebra.dtype) for block in (A, B, C)
        )
        scaled = tuple(
            block if block is None else shifted(block, -power)
            for block, power in zip(blocks, exponents, strict=True)
        )
        exact = [
            not power or isinstance(block, Operand) or bool((shifted(small, power) == block).all())
            for block, small, power in zip(blocks, scaled, exponents, strict=True)
        ]
        given = None
        if not all(exact):  # the others stay in a safe range
            chosen = zip(exact, scaled, blocks, exponents, strict=True)
            kept = [(small, p) if same else _centred(block) for same, small, block, p in chosen]
            given = Given(*map(list, zip(*kept, strict=True)))
        return cls._bare(
            algebra,
            *scaled,
            given=given,
            zero=zeros[0],
            scale=a,
            exponent=b + c - a,
            dtype=dtype.newbyteorder("="),
            vector=vector,
        )

    @classmethod
    def stack(
        cls,
        algebra: Stacked,
        blocks: tuple[Any, Any, Any],
        names: Names,
        leading: tuple[int, ...],
        dtype: Any,
    ) -> Self:
        """Blocks (..., rows, columns) whose leading dimensions broadcast to `leading`."""
        xp, count = algebra.xp, math.prod(leading)
        check_sizes(*blocks, names)
        A, B, C = blocks
        vector = C is not None and C.ndim == 1
        if C is not None and vector:
            C = C[:, None]
        exponents: list[np.ndarray] = []
        zero, stacks = np.full(count, 0 in A.shape), []
        for name, block in zip(names, (A, B, C), strict=True):
            powers = np.zeros(count, int)
            if block is not None:
                sides = block.shape[-2:]
                if 0 not in block.shape:
                    # Look at what the user gave, not at how often it is repeated.
                    flat = xp.reshape(block, (-1, *sides))
                    shape, limit = tuple(block.shape), algebra.maximum_exponent
                    found, empty = _surveyed(algebra, name, flat, shape, limit)
                    spread = np.broadcast_to(found.reshape(block.shape[:-2]), leading)
                    powers = spread.reshape(count)
                    if not exponents:  # it is A
                        zero = np.broadcast_to(empty.reshape(block.shape[:-2]), leading).ravel()
                block = xp.reshape(xp.broadcast_to(block, (*leading, *sides)), (count, *sides))
                block = algebra.scaled(block, -powers)
            exponents.append(powers)
            stacks.append(block)
        a, b, c = exponents
        return cls._bare(
            algebra, *stacks, zero=zero, scale=a, exponent=b + c - a, dtype=dtype, vector=vector
        )

    @classmethod
    def _bare(cls, algebra: Algebra, A: Any, B: Any, C: Any, **known: Any) -> Self:
        """Without probes, ridge or factors."""
        d, n = A.shape[-2:]
        wanted = n if B is None else B.shape[-2], d if C is None else C.shape[-1]
        return cls(
            algebra=algebra,
            A=A,
            B=B,
            C=C,
            row_probes=algebra.zeros(0, n),
            column_probes=algebra.zeros(d, 0),
            wanted=wanted,
            extent=(d, n),
            factors=None,
            mu=0.0,
            **known,
        )

    def truncated(self, factors: Factors, rank: int | None, cutoff: float | None) -> Problem:
        """The same with A given by its singular factors, up to a rank or above a cutoff.

        A `rank` beyond the numerical rank of A keeps what is above rounding level.
        """
        U, s, Vh = factors
        level = max(self.A.shape[-2:]) * self.eps if cutoff is None else cutoff
        if self.algebra.num is not One:
            return self._weighted(factors, rank, level)
        kept = int(np.count_nonzero(s > level * s[0]))
        kept = kept if rank is None else min(rank, kept)
        U, s, Vh = U[:, :kept], s[:kept], Vh[:kept]
        return replace(self, A=LowRank.create(U, s, Vh), factors=(U, s, Vh), given=None)

    def _weighted(self, factors: Factors, rank: int | None, level: float) -> Problem:
        """The same for many: zeros stand for what each of them loses."""
        algebra, (U, s, Vh) = self.algebra, factors
        first = (np.arange(s.shape[1]) < (s.shape[1] if rank is None else rank)).astype(float)
        s = algebra.xp.where(s > level * s[:, :1], s, algebra.none) * algebra.sent(first)
        A = (U * algebra.xp.astype(s[:, None, :], algebra.dtype)) @ Vh
        return replace(self, A=A, factors=(U, s, Vh))

    def ridged(self, ridge: float) -> Problem:
        """The problem whose ``B A^+ C`` is ``B A^H (A A^H + ridge I)^-1 C`` of this one.

        ``[B 0] [A  mu I]^+ C`` and ``B [A; mu I]^+ [C; 0]`` both are, with ``mu = sqrt(ridge)``.
        The longer side of A grows by the shorter one. An identity grows with it: the value has
        more rows or columns then than are `wanted`.
        """
        if not ridge or self.trivial:
            return self
        algebra, (d, n) = self.algebra, self.A.shape[-2:]
        # `mu` beside an A of this scale, and the power of two that divides both once more.
        mantissa, power = math.frexp(math.sqrt(ridge))
        shift = np.maximum(0, power - self.scale)
        mu = np.ldexp(mantissa, power - self.scale - shift)
        limits = np.finfo(str(algebra.dtype).rpartition(".")[2])
        # Beside A it is nothing, and its inverse overflows.
        mu = np.where(mu < limits.tiny / limits.eps**2, 0.0, mu)
        if not mu.any():
            return self
        if algebra.num is One:
            mu, shift = mu.item(), shift.item()
        factors = self.factors
        if factors is not None:
            factors = factors[0], algebra.scaled(factors[1], -shift), factors[2]
        A, B, C = algebra.scaled(self.A, -shift), self.B, self.C
        if d <= n:
            A = algebra.beside(A, mu)
            B = None if B is None else algebra.join([B, algebra.zeros(B.shape[-2], d)], -1)
        else:
            A = algebra.adjoint(algebra.beside(algebra.adjoint(A), mu))
            C = None if C is None else algebra.join([C, algebra.zeros(n, C.shape[-1])], -2)
        return replace(
            self,
            A=A,
            B=B,
            C=C,
            row_probes=algebra.zeros(0, A.shape[-1]),
            column_probes=algebra.zeros(A.shape[-2], 0),
            factors=factors,
            seen=None,
            given=None,
            mu=0.0 if factors is None else mu,
            scale=self.scale + shift,
            exponent=self.exponent - shift,
        )

    def unscaled(self) -> Problem:
        """The same with blocks that scaling has rounded as they were given, if there are any."""
        if self.given is None:
            return self
        (A, B, C), (a, b, c) = self.given.blocks, self.given.exponents
        return replace(self, A=A, B=B, C=C, given=None, scale=a, exponent=b + c - a)

    def in_memory(self) -> Problem:
        """The same with an array for A."""
        if not isinstance(self.A, Operand):
            return self
        return replace(self, A=self.A.dense())

    def doubled(self) -> Problem:
        """One problem in double precision, with an array for A."""
        plain = self.in_memory()
        work = np.result_type(self.algebra.dtype, np.float64)
        if plain.algebra.dtype == work:
            return plain
        blocks: dict[str, Any] = {name: getattr(plain, name) for name in BLOCKS}
        for name, X in blocks.items():
            blocks[name] = None if X is None else X.astype(work)
        return replace(plain, algebra=Dense.of(work), **blocks)

    def take(self, places: np.ndarray) -> Problem:
        """Some of many problems."""

        def some(X: Any) -> Any:
            return None if X is None else self.algebra.take(X, places)

        return replace(
            self,
            **{name: some(getattr(self, name)) for name in BLOCKS},
            factors=None if self.factors is None else tuple(map(some, self.factors)),
            mu=self.mu if np.ndim(self.mu) == 0 else self.mu[places],
            zero=self.zero[places],
            scale=self.scale[places],
            exponent=self.exponent[places],
        )

    def one(self, place: int) -> Problem:
        """One of many problems, in the host's memory."""
        home = self.algebra.home

        def found(X: Any) -> Any:
            return None if X is None else home.to_host(X[place if X.shape[0] > 1 else 0, ...])

        blocks: dict[str, Any] = {name: found(getattr(self, name)) for name in BLOCKS}
        return replace(
            self,
            **blocks,
            algebra=Dense.of(blocks["A"].dtype),
            factors=None,
            mu=0.0,
            zero=bool(self.zero[place]),
            scale=int(self.scale[place]),
            exponent=int(self.exponent[place]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the value without probes."""
        d, n = self.A.shape[-2:]
        return (
            n if self.B is None else self.B.shape[-2],
            d if self.C is None else self.C.shape[-1],
        )

    @property
    def trivial(self) -> bool:
        """Whether the value is zero or has no entries, whatever the method."""
        return 0 in (*self.wanted, *self.A.shape) or self.algebra.num.every(self.zero)

    @property
    def eps(self) -> float:
        """Unit round-off spacing of the working dtype."""
        return self.algebra.eps

    def adjoint(self) -> Problem:
        """The same problem seen from the other side: ``D^H = C^H (A^H)^+ B^H``."""
        flip = self.algebra.adjoint
        factors: Factors | None = None
        if self.factors is not None:
            U, s, Vh = self.factors
            factors = flip(Vh), s, flip(U)
        return replace(
            self,
            A=flip(self.A),
            B=None if self.C is None else flip(self.C),
            C=None if self.B is None else flip(self.B),
            row_probes=flip(self.column_probes),
            column_probes=flip(self.row_probes),
            wanted=self.wanted[::-1],
            extent=self.extent[::-1],
            factors=factors,
            given=None,
        )

    def transposed(self) -> Problem:
        """One dense problem seen from the other side with nothing copied: ``D^T``."""
        return replace(
            self,
            A=self.A.T,
            B=None if self.C is None else self.C.T,
            C=None if self.B is None else self.B.T,
            row_probes=self.column_probes.T,
            column_probes=self.row_probes.T,
            wanted=self.wanted[::-1],
            extent=self.extent[::-1],
            factors=None,
            given=None,
        )

    def rows(self) -> Any:
        """``[B; row_probes]``, with the identity written out if B is one."""
        B = self.algebra.eye(self.A.shape[-1]) if self.B is None else self.B
        return self.algebra.join([B, self.row_probes], -2)

    def columns(self) -> Any:
        """``[C column_probes]``, with the identity written out if C is one."""
        C = self.algebra.eye(self.A.shape[-2]) if self.C is None else self.C
        return self.algebra.join([C, self.column_probes], -1)

    def rows_times(self, X: Any) -> Any:
        """``[B; row_probes] X`` without writing an identity out."""
        product = self.algebra.product
        top = X if self.B is None else product(self.B, X)
        return self.algebra.join([top, product(self.row_probes, X)], -2)

    def times_columns(self, W: Any) -> Any:
        """``W [C column_probes]`` without writing an identity out."""
        product = self.algebra.product
        left = W if self.C is None else product(W, self.C)
        return self.algebra.join([left, product(W, self.column_probes)], -1)

    def columns_in(self, Q: Any) -> Any:
        """``Q^H [C column_probes]`` without writing an identity out."""
        product = self.algebra.product
        left = self.algebra.adjoint(Q) if self.C is None else product(Q, self.C, adjoint="X")
        return self.algebra.join([left, product(Q, self.column_probes, adjoint="X")], -1)

    def restore(self, value: Any) -> Any:
        """The user's part of a scaled value with probes, in the user's units, shape and dtype."""
        rows, columns = self.wanted
        out = self.algebra.restored(value[..., :rows, :columns], self.exponent, self.dtype)
        return out[..., 0] if self.vector else out


BLOCKS = ("A", "B", "C", "row_probes", "column_probes")
