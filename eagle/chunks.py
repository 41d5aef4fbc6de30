"""Dask arrays: work where the chunks are, a reduction of small matrices, a small solve here.

Nothing is computed but on the scheduler that the user has, and no chunk is sent that need not be:

* ``tsqr``: a triangular factor of every chunk along the longer side of A and of what belongs to it,
  merged two and more at a time (`eagle.StreamingLstsq`). Columns with known answers ride along.
* ``gram``: the sum of ``A_i^H A_i``, whose factor conditions; then pulls ``A_i^H (C_i - A_i x)``
  until nothing moves. For condition numbers up to ``1 / sqrt(eps)``; beyond, ``tsqr`` takes over.
* ``cross``: some rows and columns, which are all that is sent of an A of low rank; probes, whose
  products with A are graphs, certify it, or other rows and columns (``certificate="sampled"``).
* ``compressed``, ``cg``: methods that only multiply, every product with A being a graph.
* A in one chunk: every chunk of rows of B and of columns of C is a problem of its own, and so is
  its part of the value, which is a Dask array.

Importing this imports dask. Extra ``dask``.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute, persist
from dask.delayed import delayed

from eagle.algebra.blas import norm
from eagle.algebra.operand import Operand
from eagle.methods import LSMR, Compressed, ConjugateGradient, as_method, cross
from eagle.problem.checks import as_block, check_sizes, check_square, is_chunked, numeric
from eagle.problem.options import Options
from eagle.problem.result import Result, Status, complain
from eagle.run import flow
from eagle.streaming import Result as StreamResult
from eagle.streaming import Sensitivity, StreamingLstsq, bounded, probes, solve_factor

SHORT = 4000  # columns up to which a factor is sent
FAN = 8  # small matrices that are merged at a time
PASSES = 8  # over A, that ``gram`` may take
LARGEST = 2**31  # bytes of a sketch, if nobody says otherwise

Names = tuple[str, str, str]


@dataclass(frozen=True)
class TSQR:
    """One factor for each chunk, merged; `core` solved the problem that is left."""

    core: object


@dataclass(frozen=True)
class Gram:
    """A sum of Gram matrices as the conditioner, and residuals from the chunks."""


def solve(
    blocks: tuple[Any, ...], method: Any, options: Options, names: Names = ("A", "B", "C")
) -> Result:
    """``B A^+ C`` where A, B or C is a Dask array; None stands for an identity.

    Parameters
    ----------
    blocks : tuple
    method : str or instance
        ``"auto"``, ``"tsqr"``, ``"gram"``, ``"compressed"``, ``"cg"``; any if A is in one chunk.
    options : Options
    names : tuple of str
        What the user calls the blocks.

    Returns
    -------
    Result
        ``result.value`` is an array of numpy, or, if A is in one chunk, a Dask array.

    Raises
    ------
    TypeError, ValueError
        As for `eagle.solve`; for chunks of unknown size; for NaN or infinity, with the chunk.
    """
    start = time.perf_counter()
    for name in ("callback", "progress"):
        if getattr(options, name):
            raise ValueError(f"{name} is for arrays in memory, and A, B or C is a Dask array")
    A, B, C = (received(name, X) for name, X in zip(names, blocks, strict=True))
    check_sizes(A, B, C, names)
    vector = C is not None and C.ndim == 1
    C = C[:, None] if vector else C
    with np.errstate(all="ignore"):
        result = _solved(A, B, C, method, options, names)
    value = result.value[:, 0] if vector else result.value
    result = replace(result, value=value, seconds=time.perf_counter() - start)
    complain(result, options)
    return result


def nystrom(K_mm: Any, K_nm: Any, K_mq: Any, method: Any, options: Options) -> Result:
    """`eagle.nystrom` of Dask arrays: the kernel among the landmarks in one chunk."""
    names = ("K_mm", "K_nm", "K_mq")
    A, B, C = (received(name, X) for name, X in zip(names, (K_mm, K_nm, K_mq), strict=True))
    C = _adjoint(B) if C is None else C
    check_square("K_mm", A)
    wholes: tuple[dict[int, int], ...] = ({0: -1, 1: -1}, {1: -1}, {0: -1})
    blocks = (
        X.rechunk(whole) if is_chunked(X) else X for X, whole in zip((A, B, C), wholes, strict=True)
    )
    return solve(tuple(blocks), method, options, names)


def _solved(A: Any, B: Any, C: Any, method: Any, options: Options, names: Names) -> Result:
    """By the way that fits where the chunks are."""
    if options.sampled:
        return _by_sample(A, B, C, method, options, names)
    split = (C is not None and _count(C, 0) > 1) or (B is not None and _count(B, 1) > 1)
    if isinstance(A, np.ndarray) and split:
        rows = C.chunks[0] if _count(C, 0) > 1 else -1
        A = da.from_array(
            A, chunks=(rows, B.chunks[1] if B is not None and _count(B, 1) > 1 else -1)
        )
    if _count(A, 0) * _count(A, 1) == 1:
        return _each(A, B, C, method, options, names)
    d, n = A.shape
    by_rows, by_columns = C is not None and d >= n, B is not None and d < n
    short = min(d, n) + ((C.shape[1] if by_rows else B.shape[0]) if by_rows or by_columns else 0)
    fits = (by_rows or by_columns) and short <= SHORT
    if method in ("tsqr", "gram") or (method == "auto" and fits):
        if not fits:
            raise ValueError(
                f"method={method!r} needs a side of A with shape {A.shape} of at most {SHORT}, and "
                f"{names[2] if d >= n else names[1]}: use method='compressed' or 'cg'"
            )
        reduce_by = _by_gram if method == "gram" else _by_factors
        if by_rows:
            return reduce_by(A, _gathered(B, names[1]), C, options, names)
        flipped = reduce_by(
            _adjoint(A), _adjoint(_gathered(C, names[2])), _adjoint(B), options, names[::-1]
        )
        # What is left of B^H is what A does not explain.
        size = _size(B)
        inconsistency = flipped.residual_norm / size if size else 0.0
        return replace(flipped, value=_adjoint(flipped.value), inconsistency=inconsistency)
    return _by_products(A, _gathered(B, names[1]), _gathered(C, names[2]), method, options, names)


# Factors and Gram matrices, by rows


def _by_factors(A: Any, B: Any, C: Any, options: Options, names: Names) -> StreamResult:
    """``tsqr``."""
    stream = reduced(A, C, names)
    assert stream._running is not None
    R, w, k = stream._running.R, probes(A.shape[1]), C.shape[1]
    found = solve_factor(R, w, k, "auto", options, np.result_type(stream._dtype, *_some(B)), B)
    plan = f"{_count(A, 0)} chunks, a factor of {A.shape[1]} columns each; then {found.plan}"
    return replace(found, method=TSQR(found.method), plan=plan, rows=A.shape[0])


def reduced(A: Any, C: Any, names: Names) -> StreamingLstsq:
    """The stream that has seen all rows of A and C."""
    folds = [delayed(_fold, pure=True)(*pair) for pair in _pairs(A, C, names)]
    stream: StreamingLstsq = tree(folds, _merged).compute()
    return stream


def _fold(A: np.ndarray, C: np.ndarray) -> StreamingLstsq:
    return StreamingLstsq().partial_fit(A, C)


def _merged(streams: Sequence[StreamingLstsq]) -> StreamingLstsq:
    first, *others = streams
    for other in others:
        first = first.merge(other)
    return first


def _by_gram(A: Any, B: Any, C: Any, options: Options, names: Names) -> StreamResult:
    """``gram``, or ``tsqr`` where it does not contract.

    With ``G = A^H A + ridge I`` as it was summed, ``x += G^-1 (A^H (C - A x) - ridge x)``.
    """
    for option in sorted(options.special() - {"memory_limit"}):
        raise ValueError(f"{option} cannot be honoured by method='gram': use method='tsqr'")
    pairs, w = _pairs(A, C, names), probes(A.shape[1])
    n, k = A.shape[1], C.shape[1]
    sent = delayed(w, pure=True)
    G, pull, energy = _total([delayed(_moments, pure=True)(*pair, sent) for pair in pairs])
    squares, V = np.linalg.eigh((G + G.conj().T) / 2)
    eps, top = float(np.finfo(V.dtype).eps), float(squares[-1]) if n else 0.0
    if not (top > 0 and squares[0] + options.ridge > n * eps * top):
        found = _by_factors(A, B, C, options, names)
        return replace(found, plan=f"gram would square the condition number; {found.plan}")
    root = np.sqrt(np.maximum(squares, 0.0))[:, None]
    x, moved, whole = np.zeros_like(pull), np.inf, math.sqrt(energy)
    residual, passes = whole, 1
    while True:
        inner = V.conj().T @ pull
        step = inner / (squares + options.ridge)[:, None]
        x = x + V @ step
        size = norm(root * (V.conj().T @ x))
        before, moved = moved, norm(root * step) / size if size else 0.0
        if moved <= 10 * eps or not moved < before / 2 or passes == PASSES:
            break
        sent_x = delayed(x, pure=True)
        pull, energy = _total([delayed(_pull, pure=True)(*each, sent, sent_x) for each in pairs])
        pull, residual, passes = pull - options.ridge * x, math.sqrt(energy), passes + 1
    if moved > math.sqrt(eps):
        found = _by_factors(A, B, C, options, names)
        return replace(found, plan=f"gram's corrections did not shrink; {found.plan}")
    factor = root * V.conj().T
    sensitivity = Sensitivity.of(factor, B, options)
    lost = norm(factor @ (x[:, k:] - w)) / math.sqrt(w.shape[1]) / sensitivity.s
    lost = moved if options.ridge else lost  # the answers of probes are not known with a ridge
    x = x[:, :k]
    result = Result(
        value=x if B is None else B @ x,
        status=Status.CONVERGED,
        iterations=passes,
        history=(),
        error_estimate=moved,
        inconsistency=0.0,
        rank=n,
        condition=sensitivity.condition,
        method=Gram(),
        plan=f"asked for: gram; {len(pairs)} chunks, read {passes} times",
        seconds=0.0,
        flops=math.nan,
    )
    backward, dtype = max(lost, math.sqrt(n) * eps), np.result_type(A, C, *_some(B))
    sizes = norm(x), whole, residual
    bounds = bounded(result, dtype, options, sensitivity, backward, *sizes, B)
    return replace(bounds, rows=A.shape[0])


def _moments(A: np.ndarray, C: np.ndarray, w: np.ndarray) -> tuple[Any, Any, Any]:
    """``A^H A``, ``A^H [C  A w]`` and the squared norm of C, in double precision."""
    A, C = _double(A), _double(C)
    adjoint = A.conj().T
    return adjoint @ A, adjoint @ np.hstack([C, A @ w]), norm(C) ** 2


def _pull(A: np.ndarray, C: np.ndarray, w: np.ndarray, x: np.ndarray) -> tuple[Any, Any]:
    """``A^H ([C  A w] - A x)`` and the squared norm of C's residual."""
    A, C = _double(A), _double(C)
    left = np.hstack([C, A @ w]) - A @ x
    return A.conj().T @ left, norm(left[:, : C.shape[1]]) ** 2


def _pairs(A: Any, C: Any, names: Names) -> list[tuple[Any, Any]]:
    """Rows of A with the same rows of C, chunk by chunk; NaN is looked for where they lie."""
    A = watched(names[0], A).rechunk({1: -1})
    if isinstance(C, np.ndarray):
        C = da.from_array(C, chunks=(A.chunks[0], -1))
    else:
        C = watched(names[2], C).rechunk((A.chunks[0], (C.shape[1],)))
    return list(zip(A.to_delayed().ravel(), C.to_delayed().ravel(), strict=True))


def _total(parts: list[Any]) -> tuple[Any, ...]:
    """The sum of tuples of arrays, entry by entry, computed."""
    total: tuple[Any, ...] = tree(parts, _sums).compute()
    return total


def _sums(parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(sum(each[1:], each[0]) for each in zip(*parts, strict=True))


def tree(parts: list[Any], combine: Callable[[Any], Any]) -> Any:
    """All parts combined, `FAN` at a time, always in the same order: a task of Dask."""
    join = delayed(combine, pure=True)
    while len(parts) > 1:
        parts = [join(parts[i : i + FAN]) for i in range(0, len(parts), FAN)]
    return parts[0]


# Products


@dataclass(frozen=True, eq=False)
class Chunked(Operand):
    """A Dask array that multiplies; every product is a graph of its own."""

    array: Any

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A X``."""
        return self._product(self.array, X)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``A^H X``."""
        return self._product(_adjoint(self.array), X)

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Where they meet; asked for in order, so that each chunk is asked once."""
        places = [np.unique(index, return_inverse=True) for index in (rows, columns)]
        part = self.array[places[0][0]][:, places[1][0]].compute()
        return np.asfortranarray(part[np.ix_(places[0][1], places[1][1])], dtype=self.dtype)

    def _product(self, A: Any, X: np.ndarray) -> np.ndarray:
        thin = da.from_array(np.ascontiguousarray(X), chunks=(A.chunks[1], -1))
        return np.asfortranarray((A @ thin).compute(), dtype=self.dtype)


def _by_products(A: Any, B: Any, C: Any, method: Any, options: Options, names: Names) -> Result:
    """The methods that only multiply; ``"auto"`` sketches, and iterates if that does not do."""
    chosen = [Compressed(), ConjugateGradient()] if method == "auto" else [as_method(method)]
    if isinstance(chosen[0], LSMR):
        raise ValueError(
            f"method={method!r} takes every right-hand side by itself, which is thousands of "
            f"passes over {names[0]}, a Dask array: use 'cg'"
        )
    if chosen[0] is None or not chosen[0].matrix_free:
        raise ValueError(
            f"method={method!r} needs {names[0]} in memory, and it is a Dask array: use 'tsqr', "
            "'gram', 'compressed' or 'cg'"
        )
    whole = watched(names[0], A)
    da.map_blocks(_seen, whole, dtype=bool, chunks=tuple((1,) * len(c) for c in A.chunks)).compute()
    operand = _operand(A)
    if method == "auto" and not (B is None or C is None or options.special() or options.ridge):
        skeleton = cross.look(operand, options.rng)
        if skeleton is not None and skeleton.rank:
            chosen = [cross.Cross(skeleton), *chosen]
    found: list[Result] = []
    for each in chosen:
        limited = options
        if isinstance(each, Compressed) and options.memory_limit is None:
            limited = replace(options, memory_limit=LARGEST)
        found.append(flow.solve((operand, B, C), each, limited, names))
        if found[-1].converged:
            break
    best = min(found, key=lambda result: (not result.converged, result.error_estimate))
    count = _count(A, 0) * _count(A, 1)
    said = best.plan.replace("asked for", "auto") if method == "auto" else best.plan
    return replace(best, plan=f"{count} chunks, which multiply where they are; {said}")


def _by_sample(A: Any, B: Any, C: Any, method: Any, options: Options, names: Names) -> Result:
    """Some rows and columns, and all of A after all if they do not tell enough."""
    thin = _gathered(B, names[1]), _gathered(C, names[2])
    operand = A if isinstance(A, np.ndarray) else _operand(A)
    found = flow.sampled((operand, *thin), method, options, names)
    if found is None:
        read = replace(options, certificate="read")
        found = _solved(A, B, C, method, read, names)
        return replace(found, plan=flow.AFTER_ALL + found.plan)
    return found


def _operand(A: Any) -> Chunked:
    return Chunked(A.shape, np.result_type(A.dtype, np.float32), A)


def _seen(block: np.ndarray) -> np.ndarray:
    return np.ones((1, 1), bool)


# One small A for many chunks


def _each(A: Any, B: Any, C: Any, method: Any, options: Options, names: Names) -> Result:
    """A problem for each chunk of rows of B and of columns of C; the value stays in chunks."""
    if method in ("tsqr", "gram"):
        raise ValueError(f"method={method!r} is for an A of several chunks, and {names[0]} has one")
    as_method(method)  # refuses what there is not
    home = _strips(names[0], A)
    rows = [None] if B is None else _strips(names[1], B, whole=1)
    columns = [None] if C is None else _strips(names[2], C, whole=0)
    work = delayed(_one, pure=True)
    tasks = [[work(home[0], b, c, method, options, names) for c in columns] for b in rows]
    flat = list(persist(*itertools.chain(*tasks)))
    facts = list(compute(*(delayed(_facts, pure=True)(task) for task in flat)))
    worst = max(facts, key=lambda one: (not one.converged, one.error_estimate))
    heights = (A.shape[1],) if B is None else _lengths(B, 0)
    widths = (A.shape[0],) if C is None else _lengths(C, 1)
    dtype = np.result_type(*(block.dtype for block in (A, B, C) if block is not None))
    grid = [
        [
            da.from_delayed(
                delayed(_value)(flat[i * len(widths) + j]), (height, width), dtype=dtype
            )
            for j, width in enumerate(widths)
        ]
        for i, height in enumerate(heights)
    ]
    return replace(
        worst,
        value=da.block(grid),
        iterations=max(one.iterations for one in facts),
        inconsistency=max(one.inconsistency for one in facts),
        flops=sum(one.flops for one in facts),
        plan=f"{len(facts)} chunks of the value, each by itself; the worst: {worst.plan}",
    )


def _one(A: Any, B: Any, C: Any, method: Any, options: Options, names: Names) -> Result:
    result = flow.solve((A, B, C), method, options, names)
    return replace(result, inverse=None, history=())


def _facts(result: Result) -> Result:
    return replace(result, value=np.zeros((0, 0), result.value.dtype))


def _value(result: Result) -> np.ndarray:
    return result.value


def _strips(name: str, X: Any, whole: int = 0) -> list[Any]:
    """The chunks of X, in one piece along the axis `whole`; an array of numpy is one chunk."""
    if isinstance(X, np.ndarray):
        return [delayed(X, pure=True)]
    return list(watched(name, X).rechunk({whole: -1}).to_delayed().ravel())


# Arrays


def watched(name: str, X: Any) -> Any:
    """The array, whose chunks are looked at for NaN and infinity where they are."""
    if isinstance(X, np.ndarray):
        return X
    return X.map_blocks(_finite, name, dtype=X.dtype, meta=X._meta)


def _finite(block: Any, name: str, block_info: Any = None) -> np.ndarray:
    """The chunk as an array of numpy, or a sentence that says which it is."""
    array = as_block(name, block, vectors=True, finite=False)
    if not np.isfinite(array).all():
        place = block_info[0]["chunk-location"]
        raise ValueError(f"chunk {tuple(map(int, place))} of {name} contains NaN or infinity")
    return array


def received(name: str, X: Any) -> Any:
    """A Dask array with known chunks and numbers in it, or an array of numpy."""
    if X is None:
        return None
    if not isinstance(X, da.Array):
        if type(X).__module__.partition(".")[0] == "dask":
            raise TypeError(
                f"{name} is a {type(X).__module__}.{type(X).__name__}: pass an array, such as "
                f"{name}.to_dask_array(lengths=True)"
            )
        return as_block(name, X, vectors=name in ("C", "b"))
    if any(math.isnan(length) for length in X.shape):
        raise ValueError(
            f"{name} has chunks of unknown size: call {name}.compute_chunk_sizes() first"
        )
    if X.ndim != 2 and not (X.ndim == 1 and name in ("C", "b")):
        raise ValueError(f"{name} must be 2-D, got shape {X.shape}")
    dtype = numeric(name, X.dtype)
    return X if X.dtype == dtype else X.astype(dtype)


def _gathered(X: Any, name: str) -> np.ndarray | None:
    """A thin block in memory."""
    if X is None or isinstance(X, np.ndarray):
        return X
    block: np.ndarray = watched(name, X).compute()
    return block


def _size(X: Any) -> float:
    """Frobenius norm."""
    if isinstance(X, np.ndarray):
        return norm(X)
    parts = [delayed(norm)(block) for block in X.to_delayed().ravel()]
    return math.hypot(*compute(*parts))


def _adjoint(X: Any) -> Any:
    if X is None:
        return None
    return X.conj().T if X.dtype.kind == "c" else X.T


def _count(X: Any, axis: int) -> int:
    return 1 if isinstance(X, np.ndarray) else len(X.chunks[axis])


def _lengths(X: Any, axis: int) -> tuple[int, ...]:
    return (X.shape[axis],) if isinstance(X, np.ndarray) else X.chunks[axis]


def _some(X: Any) -> list[Any]:
    return [] if X is None else [X]


def _double(X: np.ndarray) -> np.ndarray:
    return X.astype(np.result_type(X.dtype, np.float64), copy=False)
