"""Stacks of N matrices in any library of the array API, on whatever device they are."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np

from eagle.algebra.base import Algebra
from eagle.algebra.dense import safe_range
from eagle.algebra.homes import Home
from eagle.algebra.numbers import Many

Vector = np.ndarray  # one number for each matrix, on the host


class Stacked(Algebra):
    """Functions of one library on one device; what all matrices share has a leading 1.

    The arrays never leave the device. What the host sees are a few numbers for each matrix, from
    which it decides for every matrix by itself.
    """

    num: ClassVar[Any] = Many
    symmetric: ClassVar[bool] = False
    can: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, home: Home, like: Any):
        self.home, self.xp, self.device = home, home.functions(like), home.device
        self._use(like.dtype)

    def _use(self, dtype: Any) -> None:
        """Work in another dtype."""
        self.dtype, self.complex = dtype, "complex" in str(dtype)
        empty = self.xp.zeros((0,), dtype=dtype, device=self.device)
        self.real = self.xp.abs(empty).dtype
        self.eps = float(self.xp.finfo(dtype).eps)
        self.maximum_exponent = int(np.log2(float(self.xp.finfo(dtype).max)))

    def single(self) -> Self:
        """The same functions in single precision."""
        algebra = copy.copy(self)
        algebra._use(self.xp.complex64 if self.complex else self.xp.float32)
        return algebra

    def cast(self, X: Any) -> Any:
        """X in the working dtype."""
        return self.xp.astype(X, self.dtype)

    def each(self, numbers: Vector) -> Any:
        """One number for each matrix, (N, 1, 1)."""
        return self.sent(np.asarray(numbers, np.float64)[:, None, None])

    def fetch(self, *arrays: Any) -> list[np.ndarray]:
        """Numbers of each matrix, (N, ...), to the host in one transfer."""
        count = arrays[0].shape[0]
        flat = [self.xp.reshape(array, (count, -1)) for array in arrays]
        numbers = self.home.to_host(self.xp.concat(flat, axis=1)).astype(np.float64)
        ends = np.cumsum([part.shape[1] for part in flat])[:-1]
        parts = np.split(numbers, ends, axis=1)
        return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]

    def norms(self, *blocks: Any) -> list[Vector]:
        """Frobenius norms of every matrix, in one transfer."""
        sizes = [self.frobenius(block) for block in blocks]
        count = max(size.shape[0] for size in sizes)
        return self.fetch(*(self.xp.broadcast_to(size, (count,)) for size in sizes))

    def frobenius(self, X: Any) -> Any:
        """Frobenius norms, (N,), where the matrices are."""
        return self.xp.linalg.vector_norm(X, axis=(-2, -1))

    def lengths(self, X: Any, axis: int) -> Any:
        """Norms of the columns (axis -2) or rows (axis -1), with that axis kept."""
        return self.xp.linalg.vector_norm(X, axis=axis, keepdims=True)

    def finite(self, X: Any) -> Vector:
        """Whether all entries of a matrix are."""
        flat = self.xp.reshape(X, (X.shape[0], -1))
        (finite,) = self.fetch(self.xp.all(self.xp.isfinite(flat), axis=1))
        return finite > 0

    @property
    def one(self) -> Any:
        """The number 1, real."""
        return self.xp.ones((), dtype=self.real, device=self.device)

    @property
    def none(self) -> Any:
        """The number 0, real."""
        return self.xp.zeros((), dtype=self.real, device=self.device)

    def adjoint(self, X: Any) -> Any:
        """``X^H`` of every matrix."""
        return self.xp.conj(X).mT if self.complex else X.mT

    def product(self, X: Any, Y: Any, *, adjoint: str = "", scale: Any = None) -> Any:
        """``scale X Y`` of every pair; what has a leading 1 goes with all."""
        X = self.adjoint(X) if adjoint == "X" else X
        Y = self.adjoint(Y) if adjoint == "Y" else Y
        return X @ Y if scale is None else self.each(scale) * (X @ Y)

    def both(self, A: Any, right: Any, left: Any) -> tuple[Any, Any]:
        """``A right`` and ``A^H left``."""
        return A @ right, self.adjoint(A) @ left

    def gram(self, A: Any, out: Any) -> Any:
        """``A^H A``, a new array."""
        return self.adjoint(A) @ A

    def hermitian_times(self, gram: Any, X: Any) -> Any:
        """Their product."""
        return gram @ X

    def polynomial(self, gram: Any, shift: Vector, factor: Vector, which: Vector) -> Any:
        """``factor (shift I - A^H A)`` for some of the matrices, I for the others."""
        on_diagonal, beside = np.where(which, factor * shift, 1.0), np.where(which, factor, 0.0)
        return self.each(on_diagonal) * self.eye(gram.shape[1]) - self.each(beside) * gram

    def times(self, X: Any, Q: Any, out: Any = None) -> Any:
        """``X Q``, a new array."""
        return X @ Q

    def cubes(self, A: Any, gram: Any, spare: Any) -> list[Vector]:
        """``||A^H A||^2`` and ``||A A^H A||^2`` of every matrix."""
        gram = self.gram(A, gram)
        return [norm**2 for norm in self.norms(gram, A @ gram)]

    def join(self, blocks: list[Any], axis: int) -> Any:
        """One beside (-1) or below (-2) the other; what has a leading 1 is repeated."""
        count = max(block.shape[0] for block in blocks)
        spread = [self.xp.broadcast_to(block, (count, *block.shape[1:])) for block in blocks]
        return self.xp.concat(spread, axis=axis)

    def eye(self, size: int) -> Any:
        """An identity for all matrices, (1, size, size)."""
        return self.xp.eye(size, dtype=self.dtype, device=self.device)[None, ...]

    def zeros(self, *shape: int) -> Any:
        """Zeros for all matrices, with a leading 1."""
        return self.xp.zeros((1, *shape), dtype=self.dtype, device=self.device)

    def sent(self, small: np.ndarray) -> Any:
        """A few numbers of the host, as an array of the working dtype or its real part."""
        dtype = self.dtype if small.dtype.kind == "c" else self.real
        # Converted here: not every device knows the dtypes of the host.
        return self.home.array(np.ascontiguousarray(small, str(dtype).rpartition(".")[2]))

    def shared(self, small: np.ndarray) -> Any:
        """A small array of the host for all matrices, with a leading 1, in the working dtype."""
        return self.xp.astype(self.sent(small)[None, ...], self.dtype)

    def scaled(self, X: Any, exponents: Vector) -> Any:
        """``2**exponent X``, in two steps as one may be out of range; X itself for zeros."""
        if not np.any(exponents):
            return X
        half = exponents // 2
        first, second = (np.ldexp(1.0, each) for each in (half, exponents - half))
        return X * self.each(first) * self.each(second)

    def beside(self, A: Any, mu: Vector) -> Any:
        """``[A  mu I]``."""
        return self.join([A, self.each(mu) * self.eye(A.shape[-2])], -1)

    def restored(self, value: Any, exponents: Vector, dtype: Any) -> Any:
        """``2**exponent value`` in a dtype that the library may call by its name."""
        with np.errstate(over="ignore"):
            return self.home.astype(self.scaled(value, exponents), str(dtype))

    def blank(self, A: Any, rows: int, columns: int) -> Any:
        """Zeros to become a value, for each matrix of A."""
        return self.xp.zeros((A.shape[0], rows, columns), dtype=self.dtype, device=self.device)

    def add(self, X: Any, Y: Any) -> Any:
        """``X + Y``, a new array."""
        return X + Y

    def room(self, *shape: int) -> None:
        """Nothing is worked on in place."""

    def copied(self, A: Any) -> Any:
        """A: nothing is written in place."""
        return A

    def survey(self, X: Any) -> tuple[Vector, Vector]:
        """The largest entry of every matrix, NaN if one is not finite; where all are 0."""
        flat = self.xp.reshape(X, (X.shape[0], -1))
        (tops,) = self.fetch(self.xp.max(self.xp.abs(flat), axis=1))
        return tops, tops == 0

    def take(self, X: Any, places: np.ndarray) -> Any:
        """Some of the matrices; what all share stays."""
        if X is None or X.shape[0] == 1:
            return X
        return self.xp.take(X, self.home.array(places.astype(np.int64)), axis=0)


class HostStacked(Stacked):
    """The same for numpy's own arrays, without BLAS or the copies that numpy's norms make.

    The idle threads of a BLAS go on spinning for as long as thousands of small problems take.
    """

    def frobenius(self, X: np.ndarray) -> np.ndarray:
        """Frobenius norms, (N,)."""
        return frobenius(X)

    def lengths(self, X: np.ndarray, axis: int) -> np.ndarray:
        """Norms of the columns (axis -2) or rows (axis -1), with that axis kept."""
        sums = "bij,bij->bj" if axis == -2 else "bij,bij->bi"
        squares = sum(np.einsum(sums, part, part) for part in parts(X))
        return np.expand_dims(np.sqrt(squares), axis)

    def survey(self, X: np.ndarray) -> tuple[Vector, Vector]:
        """The same; 1 in place of entries that are far from the ends of the range anyway."""
        sizes = frobenius(X)
        low, high = safe_range(self.real, X.shape[1] * X.shape[2])
        unsafe = ~((low < sizes) & (sizes < high))
        tops = np.ones(len(X))
        if unsafe.any():
            tops[unsafe] = np.max([abs(part[unsafe]).max(axis=(1, 2)) for part in parts(X)], axis=0)
        return tops, tops == 0

    def scaled(self, X: np.ndarray, exponents: Vector) -> np.ndarray:
        """``2**exponent X``; X itself for zeros."""
        if not np.any(exponents):
            return X
        count = max(len(X), len(exponents))
        out = np.empty((count, *X.shape[1:]), X.dtype)
        for part, target in zip(parts(X), parts(out), strict=True):
            with np.errstate(over="ignore", under="ignore"):
                target[...] = np.ldexp(part, exponents[:, None, None])
        return out


def frobenius(block: np.ndarray) -> np.ndarray:
    """Frobenius norms of numpy's matrices (..., rows, columns); finite only if all entries are."""
    work = np.result_type(block.real.dtype, np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = [np.einsum("...ij,...ij->...", X, X, dtype=work) for X in parts(block)]
        return np.sqrt(sum(squares))


def parts(block: np.ndarray) -> list[np.ndarray]:
    """Views of the real and, where there is one, the imaginary part."""
    return [block.real, block.imag] if block.dtype.kind == "c" else [block]
