"""Many small problems of one shape at once, by a compiled kernel without Python per matrix.

Probes go through the kernel as they go through every method, and each problem gets a scale, a
certificate and a status of its own.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.methods import Direct
from eagle.problem.blocks import safe_range, shared_scale
from eagle.problem.certificate import COUNT, judge_many, unit_normal
from eagle.problem.many import Many, Record
from eagle.problem.options import Options
from eagle.problem.result import Status

__all__ = ["QR", "Stack", "norms", "solve_stack"]

QR = Direct("gelsy", kernel="numba")
ENDINGS = np.array([Status.CONVERGED, Status.STAGNATED, Status.NONFINITE])

Matrices = np.ndarray | None  # (N, rows, columns); None: the identity


@dataclass(frozen=True)
class Stack:
    """Matrices of one shape in the working dtype, scaled by exact powers of two.

    Attributes
    ----------
    matrices : ndarray (N, rows, columns)
    exponents : ndarray of int (N,)
        The user's matrices are ``2**exponents`` times these.
    zero : ndarray of bool (N,)
        Which have no entry other than 0.
    """

    matrices: np.ndarray
    exponents: np.ndarray
    zero: np.ndarray

    @classmethod
    def create(cls, block: np.ndarray, leading: tuple[int, ...], work: np.dtype) -> Stack:
        """From finite matrices (..., rows, columns) whose leading dimensions broadcast."""
        block = block.astype(work, copy=False)
        sizes = norms(block)
        low, high = safe_range(work, block.shape[-2] * block.shape[-1])
        unsafe = ~((low < sizes) & (sizes < high))
        exponents, zero = np.zeros(sizes.shape, int), np.zeros(sizes.shape, bool)
        if unsafe.any():
            tops = np.max([abs(part[unsafe]).max(axis=(1, 2)) for part in _parts(block)], axis=0)
            powers = np.frexp(tops)[1]
            exponents[unsafe] = np.where(abs(powers) <= np.finfo(work).maxexp // 10, 0, powers)
            zero[unsafe] = tops == 0
            block = _scaled(block, -exponents)

        def spread(array: np.ndarray, *shape: int) -> np.ndarray:
            return np.broadcast_to(array, leading + shape).reshape(math.prod(leading), *shape)

        return cls(spread(block, *block.shape[-2:]), spread(exponents), spread(zero))


def norms(block: np.ndarray) -> np.ndarray:
    """Frobenius norms of matrices (..., rows, columns); finite only if all entries are.

    Without BLAS, whose idle threads go on spinning for as long as thousands of problems take.
    """
    work = np.result_type(block.real.dtype, np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = [np.einsum("...ij,...ij->...", X, X, dtype=work) for X in _parts(block)]
        return np.sqrt(sum(squares))


def solve_stack(
    stacks: tuple[Stack, Stack | None, Stack | None],
    dtype: np.dtype,
    options: Options,
    plan: str,
    limit: float | None = None,
) -> tuple[Many, np.ndarray]:
    """Results by QR with column pivoting; with a ridge, of A beside ``sqrt(ridge) I``.

    Parameters
    ----------
    stacks : tuple of Stack or None
        A (N, d, n), B (N, d', n), C (N, d, n'); None stands for an identity.
    dtype : dtype
        Of the values.
    options : Options
        Without `rank`, `cutoff`, `callback` and `progress`.
    plan : str
        What the results say about the plan.
    limit : float, optional
        Trust only what converged with an error estimate up to this.

    Returns
    -------
    many : Many
    trusted : ndarray of bool (N,)
        Never for a problem with a block that is zero.
    """
    start = time.perf_counter()
    A, B, C = (None if stack is None else stack.matrices for stack in stacks)
    given, scale = [stack for stack in stacks if stack is not None], stacks[0].exponents
    exponents = sum(stack.exponents for stack in given) - 2 * scale
    assert A is not None
    (count, d, n), eps = A.shape, float(np.finfo(A.dtype).eps)
    user = n if B is None else B.shape[1], d if C is None else C.shape[2]
    answers = None
    if options.ridge:
        mu, shift = shared_scale(options.ridge, scale)
        A, B, C, answers = _ridged(_scaled(A, -shift), B, C, mu, options)
        exponents = exponents - shift
    value, ranks, sizes = _solve(A, B, C, user, options)
    if answers is not None:
        errors = value[:, :, user[1] :] - answers
        sizes["column_errors_plain"], sizes["column_answers_plain"] = norms(errors), norms(answers)
        value = value[:, :, : user[1]]
    errors, inconsistency, negligible = judge_many(sizes, eps)
    value, finite = _scaled(value, exponents), np.isfinite(sizes["hidden"])
    with np.errstate(over="ignore"):
        value = value.astype(dtype, copy=False)
    if dtype != A.dtype or exponents.any():
        finite &= np.isfinite(value).all(axis=(1, 2))
    if options.rtol is None:
        converged = (errors <= eps**0.25) | negligible
    else:
        converged = errors <= options.rtol
    trusted = np.ones(count, bool) if limit is None else finite & converged & (errors <= limit)
    seconds = time.perf_counter() - start
    record = Record(1, np.arange(count), np.zeros(count), errors, None, seconds / count, 1)
    many = Many(
        value=value,
        leading=(count,),
        status=ENDINGS[np.where(finite, np.where(converged, 0, 1), 2)],
        iterations=np.ones(count),
        error_estimate=errors,
        inconsistency=inconsistency,
        rank=ranks.astype(np.float64),
        condition=np.full(count, np.nan),
        flops=np.full(count, _flops(A.shape[1], A.shape[2], min(user), A.dtype)),
        method=QR,
        plan=plan,
        seconds=seconds,
        history=(record,),
    )
    return many, trusted & ~np.logical_or.reduce([stack.zero for stack in given])


def _ridged(
    A: np.ndarray, B: Matrices, C: Matrices, mu: np.ndarray, options: Options
) -> tuple[np.ndarray, Matrices, np.ndarray, np.ndarray]:
    """Blocks whose ``B A^+ C`` is ``B A^H (A A^H + mu^2 I)^-1 C``, and answers of plain probes.

    The plain probes, which measure the inconsistency of the user's own A and B, are further
    columns of C.
    """
    count, d, n = A.shape
    w = unit_normal(options.rng, (n, COUNT), A.dtype)
    probes = A @ w
    answers = np.broadcast_to(w, (count, n, COUNT)) if B is None else B @ w

    def identities(size: int, factors: np.ndarray) -> np.ndarray:
        return (factors[:, None, None] * np.eye(size)).astype(A.dtype)

    ones = np.ones(count)
    if C is None or (d <= n and B is not None):
        B = identities(n, ones) if B is None else B
        A = np.concatenate([A, identities(d, mu)], axis=2)
        B = np.concatenate([B, np.zeros((count, B.shape[1], d), A.dtype)], axis=2)
        C = np.concatenate([identities(d, ones) if C is None else C, probes], axis=2)
    else:
        A = np.concatenate([A, identities(n, mu)], axis=1)
        C = np.concatenate([C, probes], axis=2)
        C = np.concatenate([C, np.zeros((count, n, C.shape[2]), A.dtype)], axis=1)
    return A, B, C, answers


def _solve(
    A: np.ndarray, B: Matrices, C: Matrices, user: tuple[int, int], options: Options
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Values, ranks, and the sizes for the certificate of the user's rows and columns."""
    from eagle.algebra.qr import least_squares

    # The side with fewer right-hand sides; an identity has the most.
    flipped = C is None or (B is not None and B.shape[1] < C.shape[2])
    if flipped:
        A, B, C, user = _adjoint(A), _adjoint(C), _adjoint(B), user[::-1]
    count, d, n = A.shape
    if C is None:
        C = np.broadcast_to(np.eye(d, dtype=A.dtype), (count, d, d))
    w, z = (unit_normal(options.rng, (size, COUNT), A.dtype) for size in (n, d))
    cutoff = max(d, n) * float(np.finfo(A.dtype).eps)
    value, ranks, sizes = least_squares(A, B, C, w, z, cutoff, user)
    if flipped:
        value, sizes = _adjoint(value), {_mirrored(name): size for name, size in sizes.items()}
    return value, ranks, sizes


def _parts(block: np.ndarray) -> list[np.ndarray]:
    """Views of the real and, where there is one, the imaginary part."""
    return [block.real, block.imag] if block.dtype.kind == "c" else [block]


def _scaled(block: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """``2**exponents`` times the matrices; a copy only if there is any exponent."""
    if not exponents.any():
        return block
    out = np.empty_like(block)
    for part, target in zip(_parts(block), _parts(out), strict=True):
        with np.errstate(over="ignore", under="ignore"):
            target[...] = np.ldexp(part, exponents[..., None, None])
    return out


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
