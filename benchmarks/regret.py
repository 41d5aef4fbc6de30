"""Would a user regret the swap? ``method="auto"`` beside numpy, scipy and torch.

One section for each class of problem. A row has the time of ours over that of the fastest rival
whose error is within ten times ours, or below a floor or what rounding of the blocks makes of the
answer (`Task.level`), both errors, and whether ours is within ten times the most accurate one.
Times are least times of calls that take turns in one process, ours with its certificate, with a
pause between, as idle threads of numpy's, scipy's and torch's libraries spin for a while. A rival
that takes twice as long as the fastest is not asked again. `later`, for small problems: ratio of
medians of calls without that pause, each just after products by all three. Run with nothing else on
the machine.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

import eagle
from benchmarks.batches import random_batch
from benchmarks.common import Report, Suite
from eagle.problems import low_rank

Call = Callable[[], Any]
Cases = tuple[tuple[float, str], ...]
FLOORS = {"float64": 1e-13, "float32": 5e-5}  # errors below are nobody's regret: 450 eps
WITHIN = 10.0
HOPELESS = 2.0  # times the fastest: a rival that is not asked again
ROUNDS = 3
PAUSE = 0.03  # seconds after which OpenBLAS's idle threads sleep
TURN = 0.04, 100  # seconds of calls in one turn at most, and calls; but at least two
SMALL = 1e-3  # seconds: problems that are timed after others have worked, too

suite = Suite("regret", __doc__)
main = suite.main


@dataclass(frozen=True, eq=False)
class Task:
    """One row: who solves it, and what the answer is."""

    what: str
    dtype: str
    condition: float
    truth: np.ndarray
    calls: dict[str, Call]  # "eagle" first
    inverse: bool = False  # B is an identity

    @property
    def level(self) -> float:
        """Errors below are nobody's."""
        rounding = float(np.finfo(self.dtype).eps) * self.condition
        return max(FLOORS[self.dtype], rounding if self.inverse else 0.0)

    def error(self, value: Any) -> float:
        """Relative, in the Frobenius norm; infinite if it is not finite."""
        value = np.asarray(getattr(value, "value", value), np.float64).reshape(self.truth.shape)
        error = float(np.linalg.norm(value - self.truth) / np.linalg.norm(self.truth))
        return error if np.isfinite(error) else np.inf


def once(call: Call) -> tuple[float, Any]:
    """Seconds, and what comes back; a refusal is an infinite answer."""
    start = time.perf_counter()
    try:
        value = call()
    except np.linalg.LinAlgError:
        value = np.inf
    return time.perf_counter() - start, value


def turn(call: Call) -> float:
    """Least seconds of a few calls, after a pause; the first of several wakes threads."""
    time.sleep(PAUSE)
    times = [once(call)[0]]
    while len(times) < 2 or (sum(times) < TURN[0] and len(times) < TURN[1]):
        if times[0] > 1:
            break
        times.append(once(call)[0])
    return min(times)


def compare(report: Report, kind: str, tasks: Iterable[Task]) -> None:
    """One row for each."""
    report.section(kind, ("what", "dtype", "condition"))
    for task in tasks:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            report.row(**_row(kind, task))


def _row(kind: str, task: Task) -> dict[str, Any]:
    errors: dict[str, float] = {}
    for name, call in task.calls.items():
        value = once(call)[1]
        errors[name] = np.inf if value is np.inf else task.error(value)
    floor = max(task.level, WITHIN * errors["eagle"])
    sound = {n: c for n, c in task.calls.items() if n == "eagle" or errors[n] <= floor}
    seconds = {name: turn(call) for name, call in sound.items()}
    fastest = min(t for name, t in seconds.items() if name != "eagle" or len(sound) < 2)
    asked = [name for name, t in seconds.items() if name == "eagle" or t <= HOPELESS * fastest]
    for _ in range(ROUNDS - 1):
        for name in asked:
            seconds[name] = min(seconds[name], turn(sound[name]))
    rivals = {name: t for name, t in seconds.items() if name != "eagle"}
    best = min(rivals, key=rivals.__getitem__) if rivals else None
    theirs = rivals[best] if best else np.inf
    torch = seconds.get("torch gelsy")
    honest = min((e for n, e in errors.items() if n != "eagle"), default=np.inf)
    return {
        "kind": kind, "what": task.what, "dtype": task.dtype, "condition": task.condition,
        "ms": 1e3 * seconds["eagle"], "best": best or "nobody", "their_ms": 1e3 * theirs,
        "ratio": seconds["eagle"] / theirs, "more_us": 1e6 * (seconds["eagle"] - theirs),
        "over_torch": seconds["eagle"] / torch if torch else np.nan,
        "later": _later(sound, best) if best and theirs < SMALL else np.nan,
        "error": errors["eagle"], "their_error": errors[best] if best else np.nan,
        "accurate": errors["eagle"] <= max(task.level, WITHIN * honest),
    }  # fmt: skip


def _later(calls: dict[str, Call], best: str) -> float:
    """Median of ours over that of the best rival, each call just after work of others."""
    import torch

    X = np.asfortranarray(np.random.default_rng(0).standard_normal((300, 300)))
    tensor, gemm = torch.from_numpy(X), scipy.linalg.blas.dgemm
    times: dict[str, list[float]] = {"eagle": [], best: []}
    for _ in range(9):
        for name, each in times.items():
            X @ X, gemm(1.0, X, X), tensor @ tensor
            each.append(once(calls[name])[0])
    return float(np.median(times["eagle"]) / np.median(times[best]))


def _tensors(*blocks: np.ndarray) -> list[Any]:
    import torch

    return [torch.from_numpy(block) for block in blocks]


def dense(
    d: int, n: int, columns: int = 1, rows: int = 0, *, rank: int | None = None,
    condition: float = 1e3, dtype: str = "float64", noise: float = 0.0, coherent: bool = False,
    seed: int = 0,
) -> Task:  # fmt: skip
    """``B A^+ C`` with this many rows in B; 0: least squares, ``A^+ C``.

    `noise` is the part of C that A does not explain: rows come twice, with opposite noise, so that
    the answer is known however ill-conditioned A is. `coherent` puts half of A in 5 columns.
    """
    rng = np.random.default_rng(seed)
    half = d // 2 if noise else d
    p = low_rank(half, n, 1, 1, rank=rank, condition=condition, rng=rng)
    A = np.concatenate([p.A, p.A]) if noise else p.A
    if coherent:
        A[:, :5] *= np.linalg.norm(A[:, 5:]) / np.linalg.norm(A[:, :5])
    W, X = rng.standard_normal((max(rows, 1), d)), rng.standard_normal((n, columns))
    if min(d, n) > (rank or 0) and (rank or d < n):  # the solution of least norm
        X = A.T @ rng.standard_normal((d, columns))
    X /= np.linalg.norm(X)
    C, B = A @ X, W @ A
    if noise:
        E = rng.standard_normal((half, columns))
        E *= noise * np.linalg.norm(C) / np.linalg.norm(E)
        C += np.concatenate([E, -E])
    A, B, C, truth = (block.astype(dtype) for block in (A, B, C, B @ X if rows else X))
    if columns == 1 and not rows:
        C, truth = C[:, 0], truth[:, 0]
    calls = lapack(A, B if rows else None, C, full=not rank)
    what = f"{d} x {n}" + (f", rank {rank}" if rank else "") + f", {columns} columns"
    what += (f", {rows} rows" if rows else "") + (", coherent" if coherent else "")
    what += f", {noise:.0%} noise" if noise else ""
    return Task(what, dtype, condition, truth, calls, inverse=not rows)


def lapack(A: np.ndarray, B: np.ndarray | None, C: np.ndarray, *, full: bool) -> dict[str, Call]:
    """Ours and rivals: LU and QR where A has full rank, an SVD where it does not take minutes."""
    import torch

    (d, n), cutoff = A.shape, max(A.shape) * float(np.finfo(A.dtype).eps)
    a, c = _tensors(A, C if C.ndim > 1 else C[:, None])

    def qr() -> np.ndarray:
        Q, R = scipy.linalg.qr(A if d >= n else A.T, mode="economic")
        if d >= n:
            return scipy.linalg.solve_triangular(R, Q.T @ C)
        return Q @ scipy.linalg.solve_triangular(R, C, trans="T")

    gelsy = {"cond": cutoff, "lapack_driver": "gelsy"}
    solvers: dict[str, Call] = {
        "scipy gelsy": lambda: scipy.linalg.lstsq(A, C, **gelsy)[0],
        "torch gelsy": lambda: torch.linalg.lstsq(a, c, rcond=cutoff, driver="gelsy").solution,
    }
    if full:
        solvers["scipy QR"] = qr
    if full and d == n:
        solvers["numpy LU"] = lambda: np.linalg.solve(A, C)
        solvers["scipy LU"] = lambda: scipy.linalg.solve(A, C)
        solvers["torch LU"] = lambda: torch.linalg.solve(a, c)
    if A.size * min(d, n) <= 2e9:
        solvers["numpy lstsq"] = lambda: np.linalg.lstsq(A, C, cutoff)[0]
        solvers["scipy gelsd"] = lambda: scipy.linalg.lstsq(A, C, cond=cutoff)[0]
    if B is None:
        return {"eagle": lambda: eagle.lstsq(A, C), **solvers}
    after = {name: lambda solve=solve: B @ np.asarray(solve()) for name, solve in solvers.items()}
    return {"eagle": lambda: eagle.solve(A, B, C), **after}


def stack(count: int, n: int, dtype: str, condition: float, part: float, seed: int) -> Task:
    """A batch of square problems, this part of them of less than full rank."""
    import torch

    p = random_batch(
        count, n, 1, condition=condition, deficient=part, dtype=np.dtype(dtype), rng=seed
    )
    a, c = _tensors(p.A, p.C)
    cutoff = n * float(np.finfo(p.A.dtype).eps)
    calls: dict[str, Call] = {
        "eagle": lambda: eagle.lstsq(p.A, p.C),
        "numpy pinv": lambda: np.linalg.pinv(p.A, rcond=cutoff) @ p.C,
        "torch gelsy": lambda: torch.linalg.lstsq(a, c, rcond=cutoff, driver="gelsy").solution,
    }
    if not part:
        calls["numpy LU"] = lambda: np.linalg.solve(p.A, p.C)
        calls["torch LU"] = lambda: torch.linalg.solve(a, c)
    what = f"{count} x {n} x {n}" + (f", {part:.0%} deficient" if part else "")
    return Task(what, dtype, condition, p.X, calls, inverse=True)


def sparse(d: int, n: int, each: int, kind: str, seed: int) -> Task:
    """Some entries in each row; `kind` is "diagonal" (a heavy one), "random" or "low rank"."""
    rng = np.random.default_rng(seed)
    S = scipy.sparse.random_array((d, n), density=each / n, rng=rng, format="csr")
    if kind == "diagonal":
        S = S + scipy.sparse.diags_array(np.full(n, 4.0 + each), shape=(d, n))
    if kind == "low rank":
        S = S @ scipy.sparse.random_array((n, n), density=each / n, rng=rng) @ _few(n, each)
    A = scipy.sparse.csr_array(S)
    X = A.T @ (A @ rng.standard_normal((n, 1)))
    X = (X / np.linalg.norm(X))[:, 0]
    C, linalg = A @ X, scipy.sparse.linalg
    tight = {"atol": 1e-15, "btol": 1e-15}
    calls: dict[str, Call] = {
        "eagle": lambda: eagle.lstsq(A, C),
        "scipy lsmr": lambda: linalg.lsmr(A, C, **tight, conlim=0)[0],
        "scipy lsqr": lambda: linalg.lsqr(A, C, **tight, conlim=0)[0],
        "gelsy, written out": lambda: scipy.linalg.lstsq(A.toarray(), C, lapack_driver="gelsy")[0],
    }
    if d == n and kind != "low rank":
        calls["scipy spsolve"] = lambda: linalg.spsolve(A.tocsc(), C)
    return Task(f"{d} x {n}, {each} a row, {kind}", "float64", 1e3, X, calls)


def _few(n: int, each: int) -> Any:
    """A projection onto n / 50 coordinates."""
    return scipy.sparse.diags_array((np.arange(n) % 50 == 0).astype(float)) * float(each)


def _shrunk(options: argparse.Namespace, *sizes: int) -> list[int]:
    """Sides for a first look."""
    return [max(4, size // 8) if options.quick and size > 100 else size for size in sizes]


def _grid(
    options: argparse.Namespace, shapes: Iterable[tuple[int, ...]],
    cases: Cases, **settings: Any,
) -> Iterable[Task]:  # fmt: skip
    """Shapes (d, n, columns[, rows[, rank]]) by condition numbers and dtypes."""
    for d, n, columns, *more in shapes:
        rows, rank = (*more, 0, 0)[:2]
        d, n = _shrunk(options, d, n)
        rank = min(rank, min(d, n) // 2) if options.quick else rank
        for condition, dtype in cases:
            yield dense(
                d, n, columns, rows, rank=rank or None, condition=condition, dtype=dtype,
                seed=options.seed, **settings,
            )  # fmt: skip


WIDE_SPREAD: Cases = ((1e2, "float64"), (1e8, "float64"), (1e12, "float64"), (1e2, "float32"))
MILD: Cases = ((1e3, "float64"), (1e8, "float64"), (1e2, "float32"))


# By section: shapes (d, n, columns[, rows[, rank]]), condition numbers with dtypes, the rest.
GRIDS: dict[str, list[tuple[list[tuple[int, ...]], Cases, dict[str, Any]]]] = {
    "small": [(  # a call costs more than its arithmetic
        [
            (10, 10, 1), (50, 50, 1), (100, 100, 1), (200, 10, 1), (2000, 20, 1), (20, 50, 1),
            (100, 100, 1, 0, 40), (30, 20, 5, 3),
        ],
        MILD, {},
    )],
    "square": [
        ([(500, 500, 1), (1000, 1000, 10)], WIDE_SPREAD, {}),
        ([(2000, 2000, 1)], MILD[:1], {}),
    ],
    "deficient": [(  # of a rank near the smaller side
        [(1000, 1000, 100, 50, 900), (1500, 800, 100, 50, 300), (300, 300, 1, 0, 200)], MILD, {},
    )],
    "low rank": [
        ([(2000, 2000, 100, 50, rank) for rank in (20, 100, 400)], WIDE_SPREAD[:2], {}),
        ([(2000, 2000, 100, 50, 100), (5000, 5000, 100, 50, 200)], ((1e4, "float32"),), {}),
        ([(2000, 2000, 100, 50, 100)], MILD[:1], {"coherent": True}),
    ],
    "tall": [
        ([(20_000, 200, 1), (20_000, 200, 50), (200_000, 40, 1)], WIDE_SPREAD, {}),
        ([(5000, 1000, 10)], MILD[:2], {}),
    ],
    "wide": [([(200, 20_000, 1), (800, 2000, 10)], WIDE_SPREAD, {})],
    "noisy": [([(20_000, 200, 1), (2000, 300, 5), (500, 50, 1)], MILD, {"noise": 0.5})],
}  # fmt: skip


def _dense(kind: str, report: Report, options: argparse.Namespace) -> None:
    for shapes, cases, settings in GRIDS[kind]:
        compare(report, kind, _grid(options, shapes, cases, **settings))


for _kind in GRIDS:
    suite.sections[_kind.split()[0]] = partial(_dense, _kind)


@suite.section
def batches(report: Report, options: argparse.Namespace) -> None:
    """Many at a time."""
    sizes = [(100_000, 4, 0.0), (10_000, 16, 0.0), (10_000, 16, 0.5), (200, 150, 0.0)]
    compare(report, "batches", (
        stack(count // 50 + 4 if options.quick else count, n, dtype, 1e3, part, options.seed)
        for count, n, part in sizes for dtype in ("float64", "float32")
    ))  # fmt: skip


@suite.section
def matrices(report: Report, options: argparse.Namespace) -> None:
    """Sparse A."""
    sizes = [(4000, 4000, 5, "diagonal"), (40_000, 300, 3, "random"), (3000, 3000, 3, "low rank")]
    tasks = (sparse(*_shrunk(options, d, n), *more, options.seed) for d, n, *more in sizes)
    compare(report, "sparse", tasks)


def regretted(row: dict[str, Any]) -> bool:
    """More than 15 % and a tenth of a millisecond slower."""
    return row["ratio"] > 1.15 and row["more_us"] > 100
