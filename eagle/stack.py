"""Many small problems of one shape at once, by a compiled kernel without Python per matrix.

Probes go through the kernel as they go through every method, and each problem gets a certificate
and a status of its own.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from eagle.certificate import COUNT, judge_many, unit_normal
from eagle.methods import Direct
from eagle.options import Options
from eagle.problem import safe_range
from eagle.result import Iteration, Result, Status

__all__ = ["QR", "can_stack", "solve_stack"]

QR = Direct("gelsy", kernel="numba")
ENDINGS = (Status.CONVERGED, Status.STAGNATED, Status.NONFINITE)

Stack = np.ndarray | None  # (N, rows, columns); None: the identity


def can_stack(options: Options) -> bool:
    """Whether no option asks for more than the kernel does."""
    return not (
        options.special()
        or options.ridge
        or options.time_limit
        or options.callback
        or options.progress
    )


def solve_stack(
    A: np.ndarray, B: Stack, C: Stack, options: Options, plan: str, limit: float | None = None
) -> np.ndarray:
    """Results by QR with column pivoting.

    Parameters
    ----------
    A : ndarray (N, d, n)
        Finite, as B and C are, and not empty.
    B : ndarray (N, d', n) or None
    C : ndarray (N, d, n') or None
    options : Options
        Such that `can_stack`.
    plan : str
        What the results say about the plan.
    limit : float, optional
        Keep only what converged with an error estimate up to this.

    Returns
    -------
    ndarray of Result or None (N,)
        None also for problems with a block that is zero, or that has to be scaled first.
    """
    start = time.perf_counter()
    results = np.full(len(A), None, dtype=object)
    blocks = [block for block in (A, B, C) if block is not None]
    dtype = np.result_type(*blocks)
    work = np.result_type(dtype, np.float32)
    safe = np.logical_and.reduce([_is_safe(block, work) for block in blocks])
    if not safe.any():
        return results
    A, B, C = _chosen(A, safe, work), _chosen(B, safe, work), _chosen(C, safe, work)
    # The side with fewer right-hand sides; an identity has the most.
    if C is None or (B is not None and B.shape[1] < C.shape[2]):
        value, ranks, sizes = _solve(_adjoint(A), _adjoint(C), _adjoint(B), options)
        value, sizes = _adjoint(value), {_mirrored(name): size for name, size in sizes.items()}
    else:
        value, ranks, sizes = _solve(A, B, C, options)
    eps = float(np.finfo(work).eps)
    errors, inconsistency, negligible = judge_many(sizes, eps)
    with np.errstate(over="ignore"):
        value = value.astype(dtype, copy=False)
    if options.rtol is None:
        converged = (errors <= eps**0.25) | negligible
    else:
        converged = errors <= options.rtol
    finite = np.isfinite(sizes["hidden"])
    kept = np.ones_like(finite) if limit is None else finite & converged & (errors <= limit)
    flops = _flops(A.shape[1], A.shape[2], min(value.shape[1:]), work)
    seconds = (time.perf_counter() - start) / len(A)
    endings = np.where(finite, np.where(converged, 0, 1), 2)
    columns = (errors, inconsistency, ranks, endings)
    numbers = zip(*(column[kept].tolist() for column in columns), strict=True)
    places = zip(np.flatnonzero(safe)[kept].tolist(), np.flatnonzero(kept).tolist(), strict=True)
    for (place, index), (error, unexplained, rank, ending) in zip(places, numbers, strict=True):
        results[place] = Result(
            value=value[index],
            status=ENDINGS[ending],
            iterations=1,
            history=(Iteration(1, 0.0, error, seconds, 1),),
            error_estimate=error,
            inconsistency=unexplained,
            rank=rank,
            condition=None,
            method=QR,
            plan=plan,
            seconds=seconds,
            flops=flops,
        )
    return results


def _solve(
    A: np.ndarray, B: Stack, C: Stack, options: Options
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Values, ranks, and the sizes for the certificate."""
    from eagle.kernels.batched import least_squares

    count, d, n = A.shape
    if C is None:
        C = np.broadcast_to(np.eye(d, dtype=A.dtype), (count, d, d))
    w, z = (unit_normal(options.rng, (size, COUNT), A.dtype) for size in (n, d))
    return least_squares(A, B, C, w, z, max(d, n) * float(np.finfo(A.dtype).eps))


def _is_safe(block: np.ndarray, work: np.dtype) -> np.ndarray:
    """Which matrices are neither zero nor near the ends of the range of numbers."""
    low, high = safe_range(work, block[0].size)
    parts = (block.real, block.imag) if block.dtype.kind == "c" else (block,)
    with np.errstate(over="ignore", under="ignore"):
        size = sum(np.einsum("bij,bij->b", part, part, dtype=work) for part in parts) ** 0.5
    return (low < size) & (size < high)


def _chosen(block: Any, which: np.ndarray, dtype: np.dtype) -> Any:
    """Some matrices of a stack."""
    if block is None:
        return None
    return (block if which.all() else block[which]).astype(dtype, copy=False)


def _adjoint(block: Any) -> Any:
    """Conjugate transposes; a view if real."""
    if block is None:
        return None
    turned = np.swapaxes(block, -1, -2)
    return turned.conj() if turned.dtype.kind == "c" else turned


def _mirrored(name: str) -> str:
    """What a size of the adjoint problem is called in the problem itself."""
    words = {"row": "column", "column": "row"}
    kind, *rest = name.split("_")
    if kind == "corner":
        rest[-2:] = rest[:-3:-1]
    return "_".join([words.get(kind, kind), *rest])


def _flops(d: int, n: int, columns: int, dtype: np.dtype) -> float:
    """Leading terms for one matrix: Golub and Van Loan, section 5.4."""
    s = min(d, n)
    flops = 4 * d * n * s - 2 * (d + n) * s**2 + 4 / 3 * s**3
    flops += (4 * d * s + s**2) * (columns + 2 * COUNT)
    return flops * (4.0 if dtype.kind == "c" else 1.0)
