"""One matrix: BLAS and LAPACK, in place, on Fortran-ordered arrays."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from eagle.algebra import blas, operand
from eagle.algebra.base import Algebra, unit_normal
from eagle.algebra.numbers import One


class Dense(Algebra):
    """Blocks of one problem in memory; A may be an `eagle.algebra.operand.Operand` for products."""

    num: ClassVar[Any] = One
    xp = np
    symmetric: ClassVar[bool] = True
    can: ClassVar[frozenset[str]] = frozenset({"cholesky", "operand"})
    one, none = 1.0, 0.0

    def __init__(self, char: str):
        self.dtype = np.dtype(char)
        self.complex = self.dtype.kind == "c"
        self.real = np.dtype(char.lower())
        self.eps = float(np.finfo(self.dtype).eps)

    @classmethod
    @cache
    def of(cls, dtype: np.dtype) -> Self:
        """The algebra of a dtype."""
        return cls(dtype.char)

    def single(self) -> Dense:
        """The same in single precision."""
        return Dense.of(np.dtype(np.complex64 if self.complex else np.float32))

    def cast(self, X: np.ndarray) -> np.ndarray:
        """X in the working dtype, in Fortran order."""
        return np.asfortranarray(X, self.dtype)

    def each(self, numbers: float) -> float:
        """The number: numpy computes in the dtype of the block."""
        return numbers

    def fetch(self, *arrays: Any) -> list[Any]:
        """The arrays."""
        return list(arrays)

    def norms(self, *blocks: Any) -> list[float]:
        """Frobenius norms, safe against overflow."""
        return [blas.norm(block) for block in blocks]

    def lengths(self, X: np.ndarray, axis: int) -> np.ndarray:
        """Norms of the columns (axis -2) or rows (axis -1), with that axis kept."""
        return np.linalg.norm(X, axis=axis, keepdims=True)

    def finite(self, X: np.ndarray) -> bool:
        """Whether all entries are."""
        return bool(np.isfinite(X).all())

    def over(self, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        """``X / Y`` by entries, 0 where Y is 0; Y is real."""
        return np.divide(X, Y, out=np.zeros(X.shape, X.dtype, order="F"), where=Y > 0)

    def adjoint(self, X: Any) -> Any:
        """``X^H``."""
        return operand.adjoint(X)

    def product(self, X: Any, Y: Any, *, adjoint: str = "", scale: Any = None) -> Any:
        """``scale X Y`` through the one BLAS that is used here."""
        return blas.product(X, Y, adjoint=adjoint, scale=1.0 if scale is None else scale)

    def both(self, A: Any, right: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``A right`` and ``A^H left``, with A read once if possible."""
        return operand.both(A, right, left)

    def gram(self, A: np.ndarray, out: np.ndarray) -> np.ndarray:
        """``A^H A`` into the upper triangle of `out`."""
        return blas.gram(A, out=out)

    def hermitian_times(self, gram: np.ndarray, X: np.ndarray) -> np.ndarray:
        """The product of an upper triangle with thin X."""
        return blas.hermitian_times(gram, X)

    def polynomial(
        self, gram: np.ndarray, shift: float, factor: float, which: bool
    ) -> tuple[np.ndarray, float]:
        """``factor (shift I - A^H A)``, to multiply with; it takes the place of `gram`."""
        # The diagonal is all of it that has to change.
        gram[np.diag_indices_from(gram)] -= self.real.type(shift)
        return gram, -factor

    def times(
        self, X: np.ndarray, Q: tuple[np.ndarray, float], out: np.ndarray | None = None
    ) -> np.ndarray:
        """``X Q`` for a polynomial Q, into `out` if there is such."""
        out = np.empty_like(X, order="F") if out is None else out
        return blas.times_hermitian(X, Q[0], out=out, scale=Q[1])

    def cubes(self, A: np.ndarray, gram: np.ndarray, spare: Any) -> list[float]:
        """``||A^H A||^2`` and ``||A A^H A||^2``; `gram` and `spare` are overwritten."""
        spare = self.room(*A.shape) if spare is None else spare
        AG = blas.times_hermitian(A, blas.gram(A, out=gram), out=spare)
        return [blas.trace(A, AG), blas.energy(AG)]

    def join(self, blocks: list[np.ndarray], axis: int) -> np.ndarray:
        """One beside (-1) or below (-2) the other, in Fortran order."""
        return np.asfortranarray(np.concatenate(blocks, axis=axis))

    def eye(self, size: int) -> np.ndarray:
        """An identity."""
        return np.eye(size, dtype=self.dtype)

    def zeros(self, *shape: int) -> np.ndarray:
        """Zeros in Fortran order."""
        return np.zeros(shape, self.dtype, order="F")

    def draw(self, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
        """Gaussian columns of length one."""
        return unit_normal(rng, (rows, columns), self.dtype)

    def shared(self, small: np.ndarray) -> np.ndarray:
        """A few numbers in the working dtype."""
        return small.astype(self.dtype)

    def scaled(self, X: Any, exponent: int) -> Any:
        """``2**exponent X``; X itself for 0."""
        return operand.shifted(X, exponent) if exponent else X

    def beside(self, A: Any, mu: float) -> Any:
        """``[A  mu I]``."""
        if isinstance(A, operand.Operand):
            return operand.Ridged.create(A, mu)
        return np.hstack([A, mu * np.eye(len(A), dtype=A.dtype)])

    def survey(self, X: Any) -> tuple[float, bool]:
        """The largest entry, NaN if one is not finite, and whether all are 0.

        1 in place of what is far from the ends of the range anyway.
        """
        if isinstance(X, operand.Operand):
            size = X.norm()
        else:
            size = blas.energy(X) ** 0.5 if X.dtype.char in "fdFD" else 0.0
        low, high = safe_range(self.dtype, X.size)
        if low < size < high:  # it is finite then, too
            return 1.0, False
        if isinstance(X, operand.Operand):
            top = size / X.size**0.5
        elif not np.isfinite(X).all():
            top = np.nan
        else:
            parts = (X.real, X.imag) if X.dtype.kind == "c" else (X,)
            top = max(max(float(part.max()), -float(part.min())) for part in parts)
        return top, not top

    def restored(self, value: np.ndarray, exponent: int, dtype: np.dtype) -> np.ndarray:
        """``2**exponent value`` in a dtype, a fresh array."""
        out = np.array(value, order="C")
        if not exponent:
            return out.astype(dtype, copy=False)
        parts = out.view(out.real.dtype)  # ldexp knows real numbers only
        with np.errstate(over="ignore", under="ignore"):
            np.ldexp(parts, exponent, out=parts)
            return out.astype(dtype, copy=False)

    def blank(self, A: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Zeros to become a value."""
        return self.zeros(rows, columns)

    def add(self, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        """``X + Y``, in the place of X."""
        X += Y
        return X

    def room(self, *shape: int) -> np.ndarray:
        """Memory to work in, in Fortran order."""
        return np.empty(shape, self.dtype, order="F")

    def copied(self, A: np.ndarray) -> np.ndarray:
        """A copy to work on, in Fortran order."""
        return np.array(A, order="F")


def safe_range(dtype: np.dtype, size: int) -> tuple[float, float]:
    """Frobenius norms of arrays of this size between which no fourth power leaves the range."""
    limit = np.finfo(dtype).maxexp // 10
    return 2.0 ** (1 - limit) * size**0.5, 2.0 ** (limit - 1)
