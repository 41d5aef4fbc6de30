"""Rows that count differently: the roots of their weights, and blocks that are scaled by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from eagle.algebra.homes import find_home, real
from eagle.algebra.operand import Implicit, Mapped, Operand, Sparse


def row_roots(A: Any, weights: Any) -> Any:
    """Square roots of the weights, (..., d), beside A: of its library, device and real dtype.

    Raises TypeError for weights that are no real numbers, and ValueError, in a sentence, for those
    that are negative, not finite, all zero or not one for each row.
    """
    home = find_home(A=A)
    theirs = find_home(weights=weights)
    if home is not None and theirs is not None:
        find_home(A=A, weights=weights)  # of one library on one device
    if theirs is not None and theirs.library == "jax" and theirs.follows([weights]):
        return theirs.xp.sqrt(weights)  # what is traced has no entries to look at
    look = np.asarray(weights) if theirs is None else theirs.to_host(weights)
    if look.dtype.kind not in "biuf":
        raise TypeError(f"weights must be real numbers, got dtype {look.dtype}")
    look = look.astype(np.float64)
    d = A.shape[-2]
    if look.ndim < 1 or look.shape[-1] != d:
        raise ValueError(
            f"weights with shape {look.shape} must have one entry for each of the {d} rows of A"
        )
    if not np.isfinite(look).all():
        raise ValueError(f"weights with shape {look.shape} contain NaN or infinity")
    if (look < 0).any():
        row = int(np.argwhere(look < 0)[0, -1])
        raise ValueError(f"weights must be at least 0, got {look[look < 0][0]:g} in row {row}")
    if d and not look.any(axis=-1).all():
        raise ValueError("weights are all zero, so that no row counts")
    roots = np.sqrt(look)
    if home is None:
        return roots
    dtype = real(home.result_type([A]))
    work = "float64" if dtype == "float64" else "float32"
    return home.astype(home.array(roots.astype(work)), dtype)


def scaled_rows(X: Any, roots: Any, vector: bool = False) -> Any:
    """``S X``, for whatever `eagle.lstsq` takes."""
    if isinstance(X, Operand):
        return _scaled_operand(X, roots)
    if isinstance(X, np.ndarray):
        roots = roots.astype(np.result_type(X.dtype, np.float32).type(0).real.dtype, copy=False)
    return roots * X if vector else roots[..., None] * X


def _scaled_operand(A: Operand, roots: np.ndarray) -> Any:
    """A sparse matrix or an operator stays what it is; a mapped file is read into memory."""
    if roots.ndim > 1:
        raise ValueError(f"weights for a single A must be ({A.shape[0]},), got shape {roots.shape}")
    roots = roots.astype(A.dtype.type(0).real.dtype)
    if isinstance(A, Mapped):
        return scaled_rows(A.dense(), roots)
    import scipy.sparse

    S = scipy.sparse.diags_array(roots)
    if isinstance(A, Sparse):
        return Sparse(A.shape, A.dtype, scipy.sparse.csr_array(S @ A.rows))
    assert isinstance(A, Implicit)
    operator = scipy.sparse.linalg.aslinearoperator(S.tocsr()) @ A.operator
    return Implicit(A.shape, A.dtype, operator)
