"""The door: what a user gives, as blocks that fit, or a sentence about why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eagle.algebra.operand import Implicit, Mapped, Matrix, Operand, Sparse, mapping

_FOREIGN = {"torch", "jax", "jaxlib", "cupy", "cupyx", "tensorflow", "dask", "mlx", "sparse"}


def is_chunked(*blocks: Any) -> bool:
    """Whether any of them is a collection of Dask."""
    return any(type(block).__module__.partition(".")[0] == "dask" for block in blocks)


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
    dtype = numeric(name, array.dtype)
    fits = array.ndim == 2 or (vectors and array.ndim == 1) or (batches and array.ndim > 2)
    if not fits:
        wanted = "1-D or 2-D" if vectors else "2-D"
        more = " or more" if batches else ""
        raise ValueError(f"{name} must be {wanted}{more}, got shape {array.shape}")
    return array, dtype


def check_sizes(A: Any, B: Any, C: Any, names: tuple[str, str, str] = ("A", "B", "C")) -> None:
    """Raise ValueError unless the blocks fit; C may be one vector, all may be batches."""
    for name, block, axis, what in ((names[1], B, -1, "columns"), (names[2], C, -2, "rows")):
        if block is not None and block.shape[max(axis, -block.ndim)] != A.shape[axis]:
            raise ValueError(
                f"{name} with shape {tuple(block.shape)} must have as many {what} as {names[0]} "
                f"with shape {tuple(A.shape)}"
            )


def check_square(name: str, A: Any) -> None:
    """Raise ValueError unless a matrix, or those of a batch, are square."""
    if A.shape[-2] != A.shape[-1]:
        raise ValueError(f"{name} must be square, got shape {tuple(A.shape)}")


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


def check_finite(name: str, array: Matrix) -> None:
    """Raise ValueError for NaN or infinity."""
    if not np.isfinite(array.norm() if isinstance(array, Operand) else array).all():
        raise ValueError(f"{name} with shape {array.shape} contains NaN or infinity")


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
    dtype = np.result_type(numeric(name, rows.dtype), np.float32)
    return Sparse(rows.shape, dtype, rows.astype(dtype, copy=False))


def _implicit(name: str, value: Any) -> Operand:
    dtype = np.dtype(np.float64) if value.dtype is None else numeric(name, value.dtype)
    operator = Implicit(tuple(value.shape), np.result_type(dtype, np.float32), value)
    try:
        operator.adjoint_times(np.ones((value.shape[0], 1), operator.dtype, order="F"))
    except (NotImplementedError, TypeError, AttributeError) as error:
        raise TypeError(f"{name} is an operator without a working rmatvec: {error}") from error
    return operator


def numeric(name: str, dtype: np.dtype) -> np.dtype:
    """What to compute in; TypeError for what is not numeric or too precise."""
    dtype = np.dtype(dtype)
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype.kind not in "fc":
        raise TypeError(f"{name} must be numeric, got dtype {dtype}")
    if dtype.itemsize > (8 if dtype.kind == "f" else 16):
        raise TypeError(f"{name} has dtype {dtype}; use float64 or complex128 at most")
    return dtype
