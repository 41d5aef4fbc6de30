"""What rules and methods ask of blocks, whether there is one of each or N of them.

`Dense` has one matrix, in Fortran order, and works in place with BLAS and LAPACK; `Stacked` has
stacks of N in any library of the array API. Both take the last two axes for those of a matrix. What
they say about matrices are numbers on the host, as in `eagle.algebra.numbers`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from eagle.algebra.numbers import Number

COUNT = 4  # random probes of each kind: chi-squared tails put a factor 10 beyond 1e-4
COLLAPSED = 1e-12  # of the first coefficient: what is left of a Krylov space that is exhausted


class Algebra:
    """Functions on blocks of one library, device and dtype.

    Attributes
    ----------
    num : type
        `One` or `Many`: how numbers about matrices combine.
    xp : module
        numpy, or what has its functions under the names of the array API.
    dtype, real : object
        Of the blocks and of their norms, as the library calls them.
    complex : bool
    eps : float
        Spacing of the numbers at 1.
    symmetric : bool
        Whether a product that is Hermitian takes half the operations.
    can : frozenset of str
        What not every algebra has: ``"cholesky"`` and ``"operand"``.
    """

    num: ClassVar[Any]
    xp: Any
    dtype: Any
    real: Any
    complex: bool
    eps: float
    symmetric: ClassVar[bool]
    can: ClassVar[frozenset[str]]

    def each(self, numbers: Number) -> Any:
        """One real number for each matrix, to multiply blocks with."""
        raise NotImplementedError

    def fetch(self, *arrays: Any) -> list[Any]:
        """Small arrays, to the host in one transfer."""
        raise NotImplementedError

    def norms(self, *blocks: Any) -> list[Number]:
        """Frobenius norms, in one transfer."""
        raise NotImplementedError

    def lengths(self, X: Any, axis: int) -> Any:
        """Norms of the columns (axis -2) or rows (axis -1), with that axis kept."""
        raise NotImplementedError

    def over(self, X: Any, Y: Any) -> Any:
        """``X / Y`` by entries, 0 where Y is 0; Y is real."""
        return self.xp.where(Y > 0, X / self.xp.where(Y > 0, Y, self.one), self.none)

    @property
    def one(self) -> Any:
        """The number 1, real."""
        raise NotImplementedError

    @property
    def none(self) -> Any:
        """The number 0, real."""
        raise NotImplementedError

    def adjoint(self, X: Any) -> Any:
        """``X^H``."""
        raise NotImplementedError

    def product(self, X: Any, Y: Any, *, adjoint: str = "", scale: Any = None) -> Any:
        """``scale X Y``, with ``X^H`` or ``Y^H`` in place of the one named by `adjoint`."""
        raise NotImplementedError

    def gram(self, A: Any, out: Any) -> Any:
        """``A^H A``; `out` may be overwritten with it."""
        raise NotImplementedError

    def hermitian_times(self, gram: Any, X: Any) -> Any:
        """The product of what `gram` has made with thin X."""
        raise NotImplementedError

    def join(self, blocks: list[Any], axis: int) -> Any:
        """One beside (-1) or below (-2) the other."""
        raise NotImplementedError

    def eye(self, size: int) -> Any:
        """An identity."""
        raise NotImplementedError

    def zeros(self, *shape: int) -> Any:
        """Zeros that all matrices share."""
        raise NotImplementedError

    def shared(self, small: np.ndarray) -> Any:
        """A small array of the host, for all matrices, in the working dtype."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, rows: int, columns: int) -> Any:
        """Gaussian columns of length one that all matrices share, drawn on the host."""
        kind = np.dtype(np.complex128 if self.complex else np.float64)
        return self.shared(unit_normal(rng, (rows, columns), kind))


def lanczos(algebra: Algebra, gram: Any, starts: Any, steps: int) -> tuple[Any, Any]:
    """Coefficients of a few Lanczos steps from every column of `starts`.

    Arrays (..., steps, k) of the diagonals and of what stands beside them. Where a Krylov space is
    exhausted, they go on with zeros; those of a start that is zero are NaN.
    """
    xp = algebra.xp
    v, previous, beta = starts / algebra.lengths(starts, -2), None, None
    alphas: list[Any] = []
    betas: list[Any] = []
    for _ in range(min(steps, gram.shape[1])):
        w = algebra.hermitian_times(gram, v)
        overlap = xp.real(xp.conj(v) * w) if algebra.complex else v * w
        alpha = xp.sum(overlap, axis=-2, keepdims=True)
        w = w - alpha * v
        if previous is not None:
            w = w - beta * previous
        alphas.append(alpha)
        beta = algebra.lengths(w, -2)
        beta = xp.where(beta > COLLAPSED * xp.abs(alphas[0]), beta, algebra.none)
        betas.append(beta)
        previous, v = v, algebra.over(w, beta)
    return xp.concat(alphas, axis=-2), xp.concat(betas, axis=-2)


def ritz_values(alphas: np.ndarray, betas: np.ndarray, weight: float) -> np.ndarray:
    """Ritz values of every run, (..., steps k), from what `lanczos` has found, on the host.

    NaN in place of those whose share of the start is below `weight`: they are rounding noise.
    """
    *leading, steps, runs = alphas.shape
    matrices = np.zeros((*leading, runs, steps, steps))
    at = np.arange(steps)
    finite = (np.isfinite(alphas) & np.isfinite(betas)).all(axis=-2)
    if not finite.all():
        alphas, betas = np.nan_to_num(alphas), np.nan_to_num(betas)
    matrices[..., at, at] = np.swapaxes(alphas, -1, -2)
    # All that is read of the matrices is their lower triangle.
    matrices[..., at[1:], at[:-1]] = np.swapaxes(betas, -1, -2)[..., :-1]
    values, vectors = np.linalg.eigh(matrices)
    values[~((vectors[..., 0, :] ** 2 > weight) & finite[..., None])] = np.nan
    return values.reshape(*leading, runs * steps)


def unit_normal(rng: np.random.Generator, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Gaussian columns of length one."""
    draw = rng.standard_normal(shape)
    if dtype.kind == "c":
        draw = draw + 1j * rng.standard_normal(shape)
    columns = draw.astype(dtype, order="F")
    sizes = np.linalg.norm(columns, axis=0)
    return columns / np.where(sizes > 0, sizes, 1)
