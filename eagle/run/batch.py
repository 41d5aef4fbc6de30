"""Many problems of one shape: every matrix has its own scale, schedule, stopping and status.

Small ones are solved together: by QR in compiled loops, or, where EAGLE or a truncated spectrum was
asked for, as stacks. What neither can do, or did not do well, is solved one by one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.homes import Host
from eagle.algebra.numbers import Many, share
from eagle.algebra.stacked import HostStacked, frobenius
from eagle.methods import Direct, Eagle, as_method, elimination
from eagle.problem.blocks import Names, Problem
from eagle.problem.certificate import LUCK, Certificate, judge
from eagle.problem.checks import check_finite, leading_shape
from eagle.problem.options import Options
from eagle.problem.result import Result, Status
from eagle.problem.results import Record, Results
from eagle.run import driver, opinions

Blocks = tuple[Any, np.ndarray | None, np.ndarray | None]

ENDINGS = np.array([Status.CONVERGED, Status.STAGNATED, Status.NONFINITE])
LU = Direct("lu")
QR = Direct("gelsy", kernel="numba")
SHORT = 40  # side of A up to which compiled elimination beats LAPACK's, call by call
LONGEST = 128  # side of A up to which compiled QR beats LAPACK, call by call
LONG = 250  # side of A from which on each matrix is worth a look at its rank
MANY = 200  # problems that are worth the half second of loading them
SOME = 10  # problems that are solved faster together than one by one, without compiled loops
CACHEFUL = 2**16  # entries of all A that are multiplied at a time


def is_batch(*blocks: Any) -> bool:
    """Whether any of the blocks has leading dimensions."""
    return any(block is not None and block.ndim > 2 for block in blocks)


def solve_batch(
    blocks: Blocks,
    names: Names,
    method: Any,
    options: Options,
    single: Callable[[Any, Any, Any, Options], Result],
    limit: float,
) -> Result:
    """Broadcast leading dimensions and solve every problem.

    Parameters
    ----------
    blocks : tuple of ndarray or None
        A (..., d, n), B (..., d', n), C (..., d, n') or (d,).
    names : tuple of str
        What the caller's user calls them.
    method : object
        What the user asked for.
    options : Options
        ``time_limit`` is for the whole batch.
    single : callable
        Solves one problem, without complaining.
    limit : float
        Error estimates beyond which ``"auto"`` should try something else.

    Returns
    -------
    Result
        With one `Result` per problem in ``results``; numbers are those of the worst of them.

    Raises
    ------
    ValueError
        For leading dimensions that do not broadcast.
    """
    start = time.perf_counter()
    for name, block in zip(names, blocks, strict=True):
        _check_finite(name, block)
    shape = leading_shape(names, blocks)
    if not math.prod(shape):
        return _nothing(blocks, shape, single, options)
    results, trusted = _at_once(blocks, shape, names, method, options, limit)
    spread = [
        block
        if block is None or block.ndim < 3
        else np.broadcast_to(block, shape + block.shape[-2:])
        for block in blocks
    ]
    for place in np.flatnonzero(~trusted):
        index = np.unravel_index(place, shape)
        A, B, C = (block if block is None or block.ndim < 3 else block[index] for block in spread)
        result = single(A, B, C, options.left_after(time.perf_counter() - start))
        if results is None:
            value = np.empty(shape + result.value.shape, result.value.dtype)
            results = Results.unknown(value, shape, result)
        results.put(int(place), result)
    assert results is not None
    return results.result(time.perf_counter() - start)


def _check_finite(name: str, block: Any) -> None:
    """Raise ValueError for NaN or infinity."""
    stack = isinstance(block, np.ndarray) and block.ndim > 2
    if block is not None and not (stack and np.isfinite(frobenius(block)).all()):
        check_finite(name, block)


def _at_once(
    blocks: Blocks,
    shape: tuple[int, ...],
    names: Names,
    method: Any,
    options: Options,
    limit: float,
) -> tuple[Results | None, np.ndarray]:
    """What is made of all problems together, and which of these results count."""
    A, chosen, count = blocks[0], as_method(method), math.prod(shape)
    whole = isinstance(A, np.ndarray) and all(
        block is None or 0 not in block.shape for block in blocks
    )
    none = np.zeros(count, bool)
    if not whole or options.callback or options.progress:
        return None, none
    (d, n), plain = A.shape[-2:], chosen is None and not options.special() and not options.ridge
    by_lapack = SHORT < n < LONG and count > 1 and options.time_limit is None
    if plain and d == n and ((n <= SHORT and count >= MANY) or by_lapack):
        return _square(blocks, shape, names, options, limit)
    if max(d, n) > LONGEST:
        return None, none
    if not options.special() and (count >= MANY if chosen is None else chosen == QR):
        return _by_kernel(blocks, shape, names, options, limit if chosen is None else None)
    found = _for_stacks(chosen, options)
    if found is None or count < SOME:
        return None, none
    asked = chosen is not None
    results = _in_tiles(blocks, shape, names, found, options, asked=asked)
    return results, np.broadcast_to(frobenius(A) > 0, shape).ravel()


def _square(
    blocks: Blocks, shape: tuple[int, ...], names: Names, options: Options, limit: float
) -> tuple[Results, np.ndarray]:
    """By Gaussian elimination; those that are singular by QR, if there are many."""
    results, trusted = _by_elimination(blocks, shape, names, options, limit)
    rest = np.flatnonzero(~trusted)
    if len(rest) < MANY or blocks[0].shape[-1] > LONGEST:
        return results.shaped(shape), trusted
    count = math.prod(shape)

    def some(block: Any) -> Any:
        if block is None or block.ndim < 3:
            return block
        sides = block.shape[-2:]
        return np.broadcast_to(block, (*shape, *sides)).reshape(count, *sides)[rest]

    A, B, C = (some(block) for block in blocks)
    second, good = _by_kernel((A, B, C), (len(rest),), names, options, limit)
    results = results.better(second, rest, HostStacked(Host(), results.value))
    trusted[rest] = good
    plan = f"{results.plan}; it was not accurate for {len(rest)}, which QR tried too"
    return replace(results, plan=plan).shaped(shape), trusted


def _by_elimination(
    blocks: Blocks, shape: tuple[int, ...], names: Names, options: Options, limit: float
) -> tuple[Results, np.ndarray]:
    """``B A^-1 C`` of square A, and what of it counts; the certificate is measured."""
    start, count = time.perf_counter(), math.prod(shape)
    dtype, work = _dtypes(blocks)
    cast = [block if block is None else block.astype(work, copy=False) for block in blocks]
    algebra = HostStacked(Host(), cast[0])
    A, B, C = cast
    problem = Problem.stack(algebra, (A, B, C), names, shape, str(dtype))
    a, b, c = problem.A, problem.B, problem.C
    flipped = c is None or (b is not None and b.shape[-2] < c.shape[-1])
    if flipped:
        a, b, c = (None if X is None else algebra.adjoint(X) for X in (a, c, b))
    n = a.shape[-1]
    identity = np.broadcast_to(np.eye(n, dtype=work), (count, n, n))
    right = identity if c is None else c
    solve = _compiled if n <= SHORT else _one_by_one
    with np.errstate(all="ignore"):
        value, error, rounding, condition = solve(a, b, right, options)
        hidden = frobenius(value)
        whole = np.maximum(hidden, rounding)
        error = np.maximum(error, rounding)
        relative = np.where(np.isnan(error + whole), np.inf, share(Many, error, whole))
    value = problem.restore(algebra.adjoint(value) if flipped else value)
    zeros, each, unknown = np.zeros(count), np.arange(count), np.full(count, np.nan)
    certificate = Certificate(relative, zeros, error <= 100 * rounding)
    finite = np.isfinite(relative) & np.isfinite(value).all(axis=tuple(range(1, value.ndim)))
    converged = certificate.enough(Many, algebra.eps, options.rtol)
    accurate = relative <= np.maximum(limit, LUCK * algebra.eps * condition)
    trusted = _nonzero(problem) & finite & converged & accurate
    seconds = time.perf_counter() - start
    results = Results(
        value=value,
        leading=(count,),
        status=ENDINGS[np.where(finite, np.where(converged, 0, 1), 2)],
        iterations=np.ones(count),
        error_estimate=relative,
        inconsistency=zeros,
        rank=np.full(count, float(n)),
        condition=condition,
        flops=np.full(count, (4.0 if algebra.complex else 1.0) * 2 / 3 * n**3),
        method=LU,
        plan=f"auto: LU for {count} problems of {n} x {n}",
        seconds=seconds,
        history=(Record(Many, 1, each, zeros, relative, unknown, seconds / count, 1),),
    )
    return results, trusted


def _compiled(
    A: np.ndarray, B: np.ndarray | None, C: np.ndarray, options: Options
) -> tuple[np.ndarray, ...]:
    """Values, errors, what rounding of such data makes, condition numbers, by compiled loops."""
    from eagle.algebra.lu import eliminated

    n, eps = A.shape[-1], float(np.finfo(A.dtype).eps)
    value, sizes = eliminated(A, B, C, elimination.gaussian(options.rng, n, A.dtype))
    condition = sizes["A"] * sizes["inverse"]
    error = np.hypot(sizes["computed"], eps * np.hypot(sizes["moved"], sizes["scaled"]))
    error = np.where(condition * n * eps < 1, error, np.nan)
    return value, error, eps * sizes["B"] * sizes["C"] / sizes["A"], condition


def _one_by_one(
    A: np.ndarray, B: np.ndarray | None, C: np.ndarray, options: Options
) -> tuple[np.ndarray, ...]:
    """The same by LAPACK, matrix by matrix."""
    count, rows = len(A), A.shape[-1] if B is None else B.shape[-2]
    value = np.zeros((count, rows, C.shape[-1]), A.dtype)
    numbers = np.full((3, count), np.nan)
    for i in range(count):
        try:
            lu, answer = elimination.solve(
                elimination.eliminate(A[i]),
                None if B is None else B[i],
                C[i],
                options.rng,
                adjoint=False,
            )
        except np.linalg.LinAlgError:
            continue
        value[i] = answer.value
        numbers[:, i] = answer.error, answer.rounding, lu.condition
    return value, *numbers


def _nonzero(problem: Problem) -> np.ndarray:
    """Which problems have no block of zeros; scaled ones, where what is small looks like none."""
    nonzero = ~problem.zero
    for block in (problem.B, problem.C):
        if block is not None:
            nonzero = nonzero & (frobenius(block) > 0)
    return nonzero


def _dtypes(blocks: Blocks) -> tuple[np.dtype, np.dtype]:
    """That of the values, and what is computed in."""
    dtype = np.result_type(*(block for block in blocks if block is not None)).newbyteorder("=")
    return dtype, np.result_type(dtype, np.float32)


def _for_stacks(method: Any, options: Options) -> Any:
    """The method as stacks have it; None if they do not."""
    if options.memory_limit is not None:
        return None
    if method is None:
        return Direct("svd") if options.special() else None
    if isinstance(method, Direct) and method.driver in ("gelsd", "svd"):
        return Direct("svd")
    products = isinstance(method, Eagle) and not method.needs
    return method if products and not options.special() else None


def _by_kernel(
    blocks: Blocks, shape: tuple[int, ...], names: Names, options: Options, limit: float | None
) -> tuple[Results, np.ndarray]:
    """By QR in compiled loops, whose probes are its own; `limit` is that of auto.

    Only what converged with an estimate up to the limit is trusted, and nothing that is zero.
    """
    start = time.perf_counter()
    dtype, work = _dtypes(blocks)
    cast = [block if block is None else block.astype(work, copy=False) for block in blocks]
    algebra = HostStacked(Host(), cast[0])
    A, B, C = cast
    problem = Problem.stack(algebra, (A, B, C), names, shape, str(dtype))
    trusted, count, (d, n) = _nonzero(problem), math.prod(shape), problem.extent
    auto = limit is not None
    said = f"auto: compiled QR for {count} problems of {d} x {n}" if auto else "asked for: Direct"
    ridged = problem.ridged(options.ridge)
    extended, ranks, sizes = _least_squares(problem, ridged, options)
    d_full, n_full = (ranks == side for side in ridged.A.shape[-2:])
    certificate = judge(Many, sizes, algebra.eps, full=(d_full, n_full))
    known = ranks, sizes["condition"]
    if opinions.is_cheap(ridged) and auto:
        certificate = opinions.sensitivity(ridged, extended, certificate, *known)
        short = (ranks < min(ridged.A.shape[-2:])) | (options.ridge > 0)
        if short.any():
            trusted = trusted & ~(short & opinions.graded(ridged))
    elif opinions.is_cheap(ridged):
        certificate = opinions.checked(ridged, extended, certificate, *known)
    value = ridged.restore(extended)
    finite = np.isfinite(sizes["hidden"])
    if dtype != work or problem.exponent.any() or options.ridge:
        finite = finite & np.isfinite(value).all(axis=tuple(range(1, value.ndim)))
    converged = certificate.enough(Many, algebra.eps, options.rtol)
    if limit is not None:
        trusted = trusted & finite & converged & (certificate.error_estimate <= limit)
    seconds, zeros = time.perf_counter() - start, np.zeros(count)
    status = ENDINGS[np.where(finite, np.where(converged, 0, 1), 2)]
    error = certificate.error_estimate
    results = Results(
        value=value,
        leading=(count,),
        status=status,
        iterations=np.ones(count),
        error_estimate=error,
        inconsistency=certificate.inconsistency,
        rank=ranks.astype(np.float64),
        condition=np.full(count, np.nan),
        flops=np.full(count, _flops(problem)),
        method=QR,
        plan=said,
        seconds=seconds,
        history=(
            Record(
                Many, 1, np.arange(count), zeros, error, np.full(count, np.nan), seconds / count, 1
            ),
        ),
    )
    return results.shaped(shape), trusted


def _least_squares(
    plain: Problem, problem: Problem, options: Options
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Values, ranks, and the sizes for the certificate.

    `problem` is `plain` with its ridge, which gets further columns: the probes that measure the
    inconsistency of the user's own A and B.
    """
    from eagle.algebra.qr import least_squares

    algebra, rng, (rows, columns) = problem.algebra, options.rng, problem.wanted
    A, B, C = problem.A, problem.B, problem.C
    count, answers = len(A), None
    if problem is not plain:
        w = algebra.draw(rng, plain.A.shape[-1], COUNT)
        answers = np.broadcast_to(w, (count, *w.shape[1:])) if plain.B is None else plain.B @ w
        probes = algebra.scaled(plain.A @ w, plain.scale - problem.scale)
        below = A.shape[-2] - plain.A.shape[-2]
        probes = algebra.join([probes, algebra.zeros(below, COUNT)], -2)
        C = algebra.join([algebra.eye(A.shape[-2]) if C is None else C, probes], -1)
    extra = 0 if C is None else C.shape[-1]
    # The side with fewer right-hand sides; an identity has the most.
    flipped = C is None or (B is not None and B.shape[-2] < C.shape[-1])
    user = rows, columns
    if flipped:
        A, B, C = (None if X is None else algebra.adjoint(X) for X in (A, C, B))
        user = columns, rows
    d, n = A.shape[-2:]
    if C is None:
        C = np.broadcast_to(np.eye(d, dtype=A.dtype), (count, d, d))
    w, z = (algebra.draw(rng, size, COUNT)[0] for size in (n, d))
    value, ranks, sizes = least_squares(A, B, C, w, z, max(d, n) * algebra.eps, user)
    if flipped:
        value = algebra.adjoint(value)
        sizes = {_mirrored(name): size for name, size in sizes.items()}
    if answers is not None:
        errors = value[..., :rows, extra - COUNT :] - answers[..., :rows, :]
        sizes["column_errors_plain"] = frobenius(errors)
        sizes["column_answers_plain"] = frobenius(answers[..., :rows, :])
    return value, ranks, sizes


def _mirrored(name: str) -> str:
    """What a size of the adjoint problem is called in the problem itself."""
    words = {"row": "column", "column": "row"}
    kind, *rest = name.split("_")
    if kind == "corner":
        rest[-2:] = rest[-1], rest[-2]
    return "_".join([words.get(kind, kind), *rest])


def _flops(problem: Problem) -> float:
    """Leading terms for one matrix: Golub and Van Loan, section 5.4."""
    (d, n), columns = problem.extent, min(problem.wanted)
    s = min(d, n)
    flops = 4 * d * n * s - 2 * (d + n) * s**2 + 4 / 3 * s**3
    flops += (4 * d * s + s**2) * (columns + 2 * COUNT)
    return flops * (4.0 if problem.algebra.complex else 1.0)


def _in_tiles(
    blocks: Blocks,
    shape: tuple[int, ...],
    names: Names,
    method: Any,
    options: Options,
    *,
    asked: bool,
) -> Results:
    """As stacks, a cacheful of matrices at a time, on all threads."""
    start, count = time.perf_counter(), math.prod(shape)
    dtype, work = _dtypes(blocks)
    seed = int(options.rng.integers(2**63))  # the same probes for all

    def stack(block: Any) -> Any:
        if block is None or block.ndim == 1:
            return block
        return np.broadcast_to(block, shape + block.shape[-2:]).reshape(count, *block.shape[-2:])

    stacks = [stack(block) for block in blocks]
    tile = max(1, CACHEFUL // math.prod(blocks[0].shape[-2:]))

    def solve(first: int, last: int) -> list[Results]:
        found = []
        for begin in range(first, last, tile):
            end = min(begin + tile, last)
            A, B, C = (
                X if X is None else (X if X.ndim == 1 else X[begin:end]).astype(work, copy=False)
                for X in stacks
            )
            left = replace(options, rng=seed).left_after(time.perf_counter() - start)
            algebra = HostStacked(Host(), A)
            problem = Problem.stack(algebra, (A, B, C), names, (end - begin,), str(dtype))
            found.append(solve_stacked(problem, method, left, (end - begin,), asked=asked))
        return found

    if count <= tile:
        return Results.joined(solve(0, count)).shaped(shape)
    from eagle.algebra.threads import threaded  # takes a moment to import

    parts = [part for several in threaded(solve, count, tile) for part in several]
    return Results.joined(parts).shaped(shape)


def solve_stacked(
    problem: Problem, method: Any, options: Options, leading: tuple[int, ...], *, asked: bool
) -> Results:
    """Many problems by an `Eagle` or a `Direct`; an SVD follows it unless `asked`."""
    start, algebra = time.perf_counter(), problem.algebra
    if not problem.trivial:
        if options.special():
            factors = algebra.xp.linalg.svd(problem.A, full_matrices=False)
            problem = problem.truncated(factors, options.rank, options.cutoff)
        problem = problem.ridged(options.ridge)
        if options.ridge and problem.factors is not None:
            problem = replace(problem, factors=None)  # A is what has the ridge

    def shaped(value: Any) -> Any:
        return algebra.xp.reshape(value, (*leading, *value.shape[1:]))

    if isinstance(method, Direct):
        said = "asked for: Direct" if asked else "auto: an SVD, which truncates the spectrum"
        return driver.run(problem, method, options, said, shaped)
    said = "asked for: Eagle" if asked else "auto: EAGLE, which needs matrix products only"
    results = driver.run(problem, method, options, said, shaped)
    if asked or problem.trivial:
        return results
    status = results.status
    ended = (status == Status.TIME_LIMIT) | (status == Status.STOPPED_BY_CALLBACK)
    good = (status == Status.CONVERGED) & (results.error_estimate <= algebra.eps**0.5)
    tries = np.flatnonzero(~(ended | good))
    if len(tries):
        second = driver.run(problem.take(tries), Direct("svd"), options, said)
        results = results.better(second, tries, algebra)
        said += f"; it was not accurate for {len(tries)} problems, which an SVD tried too"
    return replace(results, plan=said, seconds=time.perf_counter() - start)


def _nothing(
    blocks: Blocks,
    shape: tuple[int, ...],
    single: Callable[[Any, Any, Any, Options], Result],
    options: Options,
) -> Result:
    """The result of an empty batch: a problem of zeros tells the shape and dtype of values."""
    A, B, C = (
        block if block is None or block.ndim < 3 else np.zeros(block.shape[-2:], block.dtype)
        for block in blocks
    )
    one = single(A, B, C, options)
    value = np.zeros(shape + one.value.shape, one.value.dtype)
    return replace(one, value=value, parts=partial(np.empty, shape, object))
