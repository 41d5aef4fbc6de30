"""The problem: three validated blocks, scaled into a safe range, and its probes' place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.blas import energy, product
from eagle.problem.operand import (
    Implicit,
    LowRank,
    Mapped,
    Matrix,
    Operand,
    Ridged,
    Sparse,
    adjoint,
    mapping,
    shifted,
)

__all__ = [
    "Factors",
    "Problem",
    "as_block",
    "as_matrix",
    "check_finite",
    "check_sizes",
    "leading_shape",
    "safe_range",
    "shared_scale",
]

Factors = tuple[np.ndarray, np.ndarray, np.ndarray]  # U, s, V^H

_FOREIGN = {"torch", "jax", "jaxlib", "cupy", "cupyx", "tensorflow", "dask", "mlx", "sparse"}


def as_block(
    name: str, value: Any, *, vectors: bool = False, batches: bool = False, finite: bool = True
) -> np.ndarray:
    """`value` as a finite 2-D (with `vectors` also 1-D) numeric array; a copy only of integers.

    With `batches` it may have leading dimensions.

    Raises TypeError for what is not a dense numeric array and ValueError for wrong dimensions,
    NaN or infinity, each naming the argument. `Problem.create` looks at what is given to it
    itself, as reading a large matrix twice takes time.
    """
    given, dtype = _given(name, value, vectors, batches)
    array = given.astype(dtype, copy=False)
    if finite:
        check_finite(name, array)
    return array


def _given(name: str, value: Any, vectors: bool, batches: bool) -> tuple[np.ndarray, np.dtype]:
    """The entries as they are, and the dtype that they have or become."""
    kind = type(value)
    packages = {base.__module__.split(".")[0] for base in kind.__mro__}
    if packages & _FOREIGN:
        raise TypeError(
            f"{name} is a {kind.__module__}.{kind.__name__}; pass a dense array of numpy, torch, "
            "jax, cupy or another library of the array API"
        )
    operand = _operand(name, value)
    if operand is not None:  # B and C are thin: they are written out
        value = operand.dense()
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill in the missing entries first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    dtype = _numeric(name, array.dtype)
    fits = array.ndim == 2 or (vectors and array.ndim == 1) or (batches and array.ndim > 2)
    if not fits:
        wanted = "1-D or 2-D" if vectors else "2-D"
        more = " or more" if batches else ""
        raise ValueError(f"{name} must be {wanted}{more}, got shape {array.shape}")
    return array, dtype


def check_sizes(A: Any, B: Any, C: Any) -> None:
    """Raise ValueError unless the blocks fit; C may be one vector, all may be batches."""
    given = tuple(A.shape)
    if B is not None and B.shape[-1] != given[-1]:
        raise ValueError(
            f"B with shape {tuple(B.shape)} must have as many columns as A with shape {given}"
        )
    if C is not None and C.shape[-min(C.ndim, 2)] != given[-2]:
        raise ValueError(
            f"C with shape {tuple(C.shape)} must have as many rows as A with shape {given}"
        )


def leading_shape(names: Sequence[str], blocks: Sequence[Any]) -> tuple[int, ...]:
    """What the leading dimensions of the blocks broadcast to, or ValueError if they do not."""
    leading = {
        name: tuple(block.shape[:-2])
        for name, block in zip(names, blocks, strict=True)
        if block is not None
    }
    try:
        return np.broadcast_shapes(*leading.values())
    except ValueError:
        given = ", ".join(f"{name} {dims}" for name, dims in leading.items())
        raise ValueError(f"leading dimensions do not broadcast: {given}") from None


def check_finite(name: str, array: np.ndarray) -> None:
    """Raise ValueError for NaN or infinity."""
    _survey(name, array, np.dtype(np.float64))


def as_matrix(name: str, value: Any) -> Matrix:
    """`value` as a matrix that multiplies; sparse matrices, operators and mapped files stay so."""
    operand = _operand(name, value)
    if operand is not None:
        return operand
    array, dtype = _given(name, value, vectors=False, batches=True)
    file = mapping(array)
    if file is None or array.ndim > 2:
        return array.astype(dtype, copy=False)
    return Mapped(array.shape, dtype, array, file)


def _operand(name: str, value: Any) -> Operand | None:
    """A scipy.sparse matrix or a LinearOperator as an operand; None for anything else."""
    if not any(base.__module__.split(".")[0] == "scipy" for base in type(value).__mro__):
        return None
    from scipy.sparse import issparse
    from scipy.sparse.linalg import LinearOperator

    if issparse(value):
        return _sparse(name, value)
    return _implicit(name, value) if isinstance(value, LinearOperator) else None


def _sparse(name: str, value: Any) -> Operand:
    import scipy.sparse

    if value.ndim != 2:
        raise ValueError(f"{name} must be 2-D, got shape {value.shape}")
    rows = scipy.sparse.csr_array(value)
    dtype = np.result_type(_numeric(name, rows.dtype), np.float32)
    return Sparse(rows.shape, dtype, rows.astype(dtype, copy=False))


def _implicit(name: str, value: Any) -> Operand:
    dtype = np.dtype(np.float64) if value.dtype is None else _numeric(name, value.dtype)
    operator = Implicit(tuple(value.shape), np.result_type(dtype, np.float32), value)
    try:
        operator.adjoint_times(np.ones((value.shape[0], 1), operator.dtype, order="F"))
    except (NotImplementedError, TypeError, AttributeError) as error:
        raise TypeError(f"{name} is an operator without a working rmatvec: {error}") from error
    return operator


def _numeric(name: str, dtype: np.dtype) -> np.dtype:
    """What to compute in; TypeError for what is not numeric or too precise."""
    dtype = np.dtype(dtype)
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype.kind not in "fc":
        raise TypeError(f"{name} must be numeric, got dtype {dtype}")
    if dtype.itemsize > (8 if dtype.kind == "f" else 16):
        raise TypeError(f"{name} has dtype {dtype}; use float64 or complex128 at most")
    return dtype


def safe_range(dtype: np.dtype, size: int) -> tuple[float, float]:
    """Frobenius norms of arrays of this size between which no fourth power leaves the range."""
    limit = np.finfo(dtype).maxexp // 10
    return 2.0 ** (1 - limit) * size**0.5, 2.0 ** (limit - 1)


def _survey(name: str, array: Matrix | None, work: np.dtype) -> tuple[int, bool]:
    """The power of two to divide by, and whether all entries are zero.

    The power is 0 if fourth powers of the entries are far from the limits, otherwise the one just
    above the largest entry. Raises ValueError for entries that are not finite.
    """
    if array is None or not array.size:
        return 0, True
    low, high = safe_range(work, array.size)
    native = isinstance(array, np.ndarray) and array.dtype.char in "fdFD"
    size = array.norm() if isinstance(array, Operand) else energy(array) ** 0.5 if native else 0.0
    if low < size < high:  # it is finite then, too
        return 0, False
    if isinstance(array, Operand):
        finite, top = np.isfinite(size), size / array.size**0.5
    else:
        finite = np.isfinite(array).all()
        parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
        top = max(max(float(part.max()), -float(part.min())) for part in parts)
    if not finite:
        raise ValueError(f"{name} with shape {array.shape} contains NaN or infinity")
    exponent = int(np.frexp(top)[1])
    return 0 if abs(exponent) <= np.finfo(work).maxexp // 10 else exponent, not top


def shared_scale(ridge: float, scale: Any) -> tuple[Any, Any]:
    """``sqrt(ridge)`` beside an A of that scale, and the power of two that divides A once more.

    Both have one scale then, and neither can overflow. `scale` may be an array.
    """
    mantissa, exponent = math.frexp(math.sqrt(ridge))
    shift = np.maximum(0, exponent - scale)
    return np.ldexp(mantissa, exponent - scale - shift), shift


def _beside(A: Matrix, mu: float) -> Matrix:
    """``[A  mu I]``."""
    if isinstance(A, Operand):
        return Ridged.create(A, mu)
    return np.hstack([A, mu * np.eye(len(A), dtype=A.dtype)])


@dataclass(frozen=True, eq=False)
class Problem:
    """Blocks of ``D = B A^+ C``, in the working dtype and scaled by exact powers of two.

    Attributes
    ----------
    A : ndarray or Operand (d, n)
    B : ndarray (d', n) or None
        None stands for the identity of size n.
    C : ndarray (d, n') or None
        None stands for the identity of size d.
    row_probes : ndarray (p, n)
        Extra rows of B with known answers, used by the certificate.
    column_probes : ndarray (d, q)
        Extra columns of C with known answers.
    extent : tuple of int
        Size of the user's A inside `A`; smaller than ``A.shape`` when a ridge was appended.
    factors : tuple of ndarray or None
        ``U, s, V^H`` with ``A = U s V^H``, if A was factorised; before a ridge was appended.
    mu : float
        Square root of the ridge that was appended to a factorised A, scaled like A; else 0.
    zero : bool
        Whether A has no entry other than 0.
    seen : object
        A sketch of A that was taken while planning, see `eagle.methods.compressed.ranges`.
    scale : int
        The user's A is ``2**scale`` times `A`.
    exponent : int
        The value in the user's units is ``2**exponent`` times the scaled one.
    dtype : dtype
        The dtype the user gave and gets back.
    vector : bool
        Whether the user gave C as a vector, and gets a vector back.
    """

    A: Any
    B: np.ndarray | None
    C: np.ndarray | None
    row_probes: np.ndarray
    column_probes: np.ndarray
    extent: tuple[int, int]
    factors: Factors | None
    mu: float
    zero: bool
    scale: int
    exponent: int
    dtype: np.dtype
    vector: bool
    seen: Any = None

    @classmethod
    def create(
        cls,
        A: Matrix,
        B: np.ndarray | None,
        C: np.ndarray | None,
        names: tuple[str, str, str] = ("A", "B", "C"),
    ) -> Problem:
        """Check that sizes agree and entries are finite, choose the working dtype, scale.

        `names` are what the caller's user calls the blocks.
        """
        check_sizes(A, B, C)
        d, n = A.shape
        vector = C is not None and C.ndim == 1
        if C is not None and vector:
            C = C[:, None]
        dtype = np.result_type(*(block for block in (A, B, C) if block is not None))
        work = np.result_type(dtype, np.float32)
        (a, zero), (b, _), (c, _) = (
            _survey(name, block, work) for name, block in zip(names, (A, B, C), strict=True)
        )
        return cls(
            A=shifted(A, -a, work),
            B=None if B is None else shifted(B, -b, work),
            C=None if C is None else shifted(C, -c, work),
            row_probes=np.zeros((0, n), work),
            column_probes=np.zeros((d, 0), work),
            extent=(d, n),
            factors=None,
            mu=0.0,
            zero=zero,
            scale=a,
            exponent=b + c - a,
            dtype=dtype.newbyteorder("="),
            vector=vector,
        )

    def truncated(
        self,
        factors: Factors,
        rank: int | None,
        cutoff: float | None,
    ) -> Problem:
        """The same with A given by its singular factors, up to a rank or above a cutoff.

        A `rank` beyond the numerical rank of A keeps what is above rounding level.
        """
        U, s, Vh = factors
        noise = max(self.A.shape) * self.eps
        kept = int(np.count_nonzero(s > (noise if cutoff is None else cutoff) * s[0]))
        kept = kept if rank is None else min(rank, kept)
        U, s, Vh = U[:, :kept], s[:kept], Vh[:kept]
        return replace(self, A=LowRank.create(U, s, Vh), factors=(U, s, Vh))

    def ridged(self, ridge: float) -> Problem:
        """The problem whose ``B A^+ C`` is ``B A^H (A A^H + ridge I)^-1 C`` of this one.

        ``[B 0] [A  mu I]^+ C`` and ``B [A; mu I]^+ [C; 0]`` both are, with ``mu = sqrt(ridge)``;
        the shorter side grows, unless an implicit identity has to keep its size.
        """
        if not ridge or self.trivial:
            return self
        mu, shift = (part.item() for part in shared_scale(ridge, self.scale))
        limits = np.finfo(self.A.dtype)
        if mu < limits.tiny / limits.eps**2:  # beside A it is nothing, and its inverse overflows
            return self
        factors: Factors | None = None
        if self.factors is not None:
            U, s, Vh = self.factors
            factors = U, shifted(s, -shift), Vh
        A, (d, n), dtype = shifted(self.A, -shift), self.A.shape, self.A.dtype
        B, C = self.B, self.C
        if C is None or (d <= n and B is not None):
            B = np.eye(n, dtype=dtype) if B is None else B
            A = _beside(A, mu)
            B = np.hstack([B, np.zeros((len(B), d), dtype)])
        else:
            A = adjoint(_beside(adjoint(A), mu))
            C = np.vstack([C, np.zeros((n, C.shape[1]), dtype)])
        return replace(
            self,
            A=A,
            B=B,
            C=C,
            row_probes=np.zeros((0, A.shape[1]), dtype),
            column_probes=np.zeros((A.shape[0], 0), dtype),
            factors=factors,
            seen=None,
            mu=mu if factors is not None else 0.0,
            scale=self.scale + shift,
            exponent=self.exponent - shift,
        )

    def in_memory(self) -> Problem:
        """The same with an array for A."""
        if not isinstance(self.A, Operand):
            return self
        return replace(self, A=self.A.dense())

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the value that the user asked for."""
        d, n = self.A.shape
        return (n if self.B is None else len(self.B), d if self.C is None else self.C.shape[1])

    @property
    def trivial(self) -> bool:
        """Whether the value is zero or has no entries, whatever the method."""
        return self.zero or 0 in self.shape

    @property
    def eps(self) -> float:
        """Unit round-off spacing of the working dtype."""
        return float(np.finfo(self.A.dtype).eps)

    def adjoint(self) -> Problem:
        """The same problem seen from the other side: ``D^H = C^H (A^H)^+ B^H``."""
        factors: Factors | None = None
        if self.factors is not None:
            U, s, Vh = self.factors
            factors = Vh.conj().T, s, U.conj().T
        return replace(
            self,
            A=adjoint(self.A),
            B=None if self.C is None else self.C.conj().T,
            C=None if self.B is None else self.B.conj().T,
            row_probes=self.column_probes.conj().T,
            column_probes=self.row_probes.conj().T,
            extent=self.extent[::-1],
            factors=factors,
        )

    def rows(self) -> np.ndarray:
        """``[B; row_probes]``, with the identity written out if B is one."""
        B = np.eye(self.A.shape[1], dtype=self.A.dtype) if self.B is None else self.B
        return np.asfortranarray(np.concatenate([B, self.row_probes], axis=0))

    def columns(self) -> np.ndarray:
        """``[C column_probes]``, with the identity written out if C is one."""
        C = np.eye(self.A.shape[0], dtype=self.A.dtype) if self.C is None else self.C
        return np.asfortranarray(np.concatenate([C, self.column_probes], axis=1))

    def rows_times(self, X: np.ndarray) -> np.ndarray:
        """``[B; row_probes] X`` without writing an identity out."""
        top = X if self.B is None else product(self.B, X)
        return np.concatenate([top, product(self.row_probes, X)], axis=0)

    def times_columns(self, W: np.ndarray) -> np.ndarray:
        """``W [C column_probes]`` without writing an identity out."""
        left = W if self.C is None else product(W, self.C)
        return np.concatenate([left, product(W, self.column_probes)], axis=1)

    def columns_in(self, Q: np.ndarray) -> np.ndarray:
        """``Q^H [C column_probes]`` without writing an identity out."""
        left = Q.conj().T if self.C is None else product(Q, self.C, adjoint="X")
        return np.concatenate([left, product(Q, self.column_probes, adjoint="X")], axis=1)

    def restore(self, value: np.ndarray) -> np.ndarray:
        """The user's part of a scaled value with probes, in the user's units, shape and dtype."""
        rows, columns = self.shape
        out = np.array(value[:rows, :columns], order="C")
        parts = out.view(out.real.dtype)  # ldexp knows real numbers only
        with np.errstate(over="ignore", under="ignore"):
            np.ldexp(parts, self.exponent, out=parts)
            out = out.astype(self.dtype, copy=False)
        return out[:, 0] if self.vector else out
