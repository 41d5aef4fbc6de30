"""One method on one matrix in a process of its own, so that it can be stopped at a time limit.

`METHODS` solves ``W A = B`` for one row B, ours and the rivals. A run is a trace: seconds and
squared relative residuals ``|B - W A|^2 / |B|^2`` at every iterate, or once for a direct method.
What it takes to look at the residual is not counted.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

import eagle
from benchmarks.common import THREADS
from benchmarks.rivals import EAGLES

START = 20.0  # seconds that a process may take to start and to read the matrix
SHARED = 3.0  # times as long a process may take where it does not have a processor of its own
BUDGET = 1.5  # seconds after which a run is not repeated


class Done(Exception):
    """Nothing more is wanted of an iteration."""


@dataclass
class Watch:
    """Looks at iterates: notes time and residual, and says when to stop."""

    A: Any
    B: np.ndarray
    goals: tuple[float, ...]  # of the squared relative residual, descending
    limit: float = np.inf
    note: Callable[[float, float], object] = lambda seconds, residual: None
    clock: Callable[[], float] = time.perf_counter
    trace: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0
    looked: float = 0.0

    def __post_init__(self) -> None:
        self.restart()

    def __call__(self, W: np.ndarray) -> bool:
        """Whether `W` is good enough, or too late."""
        now = self.clock()
        seconds = now - self.began - self.looked
        misfit = self.B - np.atleast_2d(W) @ self.A
        residual = float(np.vdot(misfit, misfit).real / np.vdot(self.B, self.B).real)
        self.trace.append((seconds, residual))
        self.note(seconds, residual)
        self.looked += self.clock() - now
        return residual <= self.goals[-1] or seconds > self.limit

    def restart(self) -> None:
        """Seconds count from here: another run of the same method."""
        self.began, self.looked = self.clock(), 0.0


@dataclass(frozen=True)
class Solver:
    """A method, and what it wants A to be."""

    run: Callable[[Any, np.ndarray, Watch], object]
    sparse: bool = False
    ours: bool = False
    square: bool = False  # nonsingular square A only


def _eagle(method: Any, *, sparse: bool = False) -> Solver:
    def solve(A: Any, B: np.ndarray, watch: Watch) -> None:
        watch(eagle.estimate(A, B, method=method, rng=0, callback=lambda s: watch(s.value)).value)

    return Solver(solve, sparse=sparse, ours=True)


def _direct(solve: Callable[[Any, np.ndarray], np.ndarray], **kind: bool) -> Solver:
    return Solver(lambda A, B, watch: watch(solve(A, B[0])), **kind)


def _lapack(driver: str) -> Solver:
    settings = {"lapack_driver": driver, "check_finite": False}
    return _direct(lambda A, b: scipy.linalg.lstsq(A.T, b, **settings)[0])


def _cg(A: Any, B: np.ndarray, watch: Watch) -> None:
    """``(A A^T) w = A b``, the paper's form."""

    def look(w: np.ndarray) -> None:
        if watch(w):
            raise Done

    shape = (A.shape[0],) * 2
    normal = scipy.sparse.linalg.LinearOperator(shape, lambda w: A @ (A.T @ w), dtype=A.dtype)
    # An absolute tolerance of 0 would divide 0 by 0 at the floor.
    tiny = np.finfo(float).tiny
    scipy.sparse.linalg.cg(normal, A @ B[0], rtol=0, atol=tiny, maxiter=10**6, callback=look)


def _lsmr(A: Any, B: np.ndarray, watch: Watch) -> None:
    """One run for every goal: it stops at a residual, but does not show its iterates."""
    for goal in watch.goals:
        watch.restart()
        found = scipy.sparse.linalg.lsmr(A.T, B[0], atol=0, btol=goal**0.5, conlim=0, maxiter=10**6)
        if watch(found[0]) or watch.trace[-1][1] > goal:
            return


def _sparse_qr(A: Any, b: np.ndarray) -> np.ndarray:
    """SuiteSparseQR, of the package pyspqr: ``A^T = Q R E``."""
    from pyspqr import qr

    Q, R, E = qr(scipy.sparse.csc_matrix(A.T))
    R, w = scipy.sparse.csr_array(R), np.empty_like(b)
    w[E.permutation] = scipy.sparse.linalg.spsolve_triangular(R, Q.T @ b, lower=False)
    return w


SPARSE_QR = "sparse QR"  # needs the extra `bench`
METHODS = {
    "auto": _eagle("auto"),
    **{name: _eagle(method) for name, method in EAGLES.items()},
    "sketched (ours)": _eagle("sketched"),
    "auto, sparse A": _eagle("auto", sparse=True),
    "compressed (ours)": _eagle("compressed", sparse=True),
    "SVD lstsq": _lapack("gelsd"),
    "gelsy": _lapack("gelsy"),
    "dense LU": _direct(
        lambda A, b: scipy.linalg.solve(A, b, transposed=True, assume_a="gen", check_finite=False),
        square=True,
    ),
    "sparse LU": _direct(
        lambda A, b: scipy.sparse.linalg.splu(A).solve(b, trans="T"), sparse=True, square=True
    ),
    SPARSE_QR: _direct(_sparse_qr, sparse=True, square=True),
    "CG": Solver(_cg, sparse=True),
    "LSMR": Solver(_lsmr, sparse=True),
}


@dataclass(frozen=True)
class Run:
    """What came of a cell."""

    traces: list[list[tuple[float, float]]]  # seconds and residuals of every repeat
    limit: float
    stopped: bool = False  # the process had to be ended at the limit
    error: str = ""  # why the method gave up, if it did

    def seconds(self, goal: float) -> list[float]:
        """To the first residual at or below `goal`, for the repeats that came there in time."""
        reached = ([s for s, residual in trace if residual <= goal] for trace in self.traces)
        return [min(seconds) for seconds in reached if seconds and min(seconds) <= self.limit]

    @property
    def residual(self) -> float:
        """The smallest that was seen."""
        return min((r for trace in self.traces for _, r in trace), default=np.inf)


def run(
    name: str,
    A: scipy.sparse.csc_array,
    B: np.ndarray,
    goals: tuple[float, ...],
    *,
    limit: float = 60.0,
    repeats: int = 3,
    processor: bool = False,
) -> Run:
    """A method on a problem, `repeats` times if that is a matter of seconds.

    With `processor` seconds are the processor's, of one thread: for a machine that is shared.
    """
    if name not in METHODS:
        raise ValueError(f"name must be one of {', '.join(METHODS)}, got {name!r}")
    with tempfile.TemporaryDirectory() as folder:
        scipy.sparse.save_npz(f"{folder}/A.npz", A, compressed=False)
        np.save(f"{folder}/B.npy", B)
        settings = json.dumps([name, list(goals), limit, repeats, processor])
        environment = os.environ | (dict.fromkeys(THREADS, "1") if processor else {})
        stopped, error = False, ""
        try:
            child = subprocess.run(
                [sys.executable, "-m", "benchmarks.cells", folder, settings], env=environment,
                stdout=subprocess.DEVNULL,  # where SuiteSparse chats
                stderr=subprocess.PIPE, text=True, check=False,
                timeout=(SHARED if processor else 1.0) * (START + limit + BUDGET),
            )  # fmt: skip
            if child.returncode:
                error = _last_words(child)
        except subprocess.TimeoutExpired:
            stopped = True
        path = Path(folder) / "trace"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    traces: list[list[Any]] = []
    for line in lines:
        if line == "run":
            traces.append([])
        else:
            traces[-1].append(tuple(map(float, line.split())))
    return Run(traces, limit, stopped, error)


def _last_words(child: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed: its last line, or the signal that ended it."""
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return f"{name}, which is for want of memory if nobody sent it"
    return child.stderr.strip().rpartition("\n")[2]


def main(argv: list[str]) -> int:
    """The process of a cell."""
    folder, (name, goals, limit, repeats, processor) = argv[0], json.loads(argv[1])
    warnings.simplefilter("ignore")
    clock = time.process_time if processor else time.perf_counter
    solver = METHODS[name]
    sparse = scipy.sparse.load_npz(f"{folder}/A.npz")
    B = np.load(f"{folder}/B.npy")

    def once(A: Any, B: np.ndarray, **options: Any) -> None:
        given = A if solver.sparse else np.asfortranarray(A.toarray())
        watch = Watch(A, B, tuple(goals), limit, clock=clock, **options)
        with contextlib.suppress(Done):
            solver.run(given, B, watch)

    rng = np.random.default_rng(0)
    small = scipy.sparse.csc_array(rng.standard_normal((40, 40)))
    once(small, rng.standard_normal((1, 40)))  # everything is imported, BLAS is awake
    started = clock()
    with open(f"{folder}/trace", "w", encoding="utf-8", buffering=1) as file:
        for _ in range(repeats):
            file.write("run\n")
            once(sparse, B, note=lambda s, residual: file.write(f"{s!r} {residual!r}\n"))
            if clock() - started > BUDGET:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
