"""Real matrices: seconds until ``W A = B`` holds to a squared relative residual, B one row.

The matrices are SuiteSparse's, from the user's folder (``--data``). Of each two problems are made:

* ``block``: A is a nonsingular r x r block, r being the rank, and B a row of normal numbers. For a
  square matrix that sparse LU finds nonsingular the block is the matrix. Otherwise QR with column
  pivoting chooses r columns, and of these r rows.
* ``whole``: A is the whole matrix, where that is something else, and B a row of normal numbers
  projected on its row space, so that the residual can vanish.

Every cell is a process of its own with a limit. Dense methods get a dense A; writing it out is not
counted, nor is looking at the residual. Run with nothing else on the machine, or with
``--processor-time``.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

from benchmarks import cells, suitesparse
from benchmarks.common import (
    Report,
    Rows,
    Spread,
    command_line,
    existing_folder,
    positive,
)
from benchmarks.looks import finish, look, panels

DENSE = 50  # order up to which a condition number is that of a dense matrix
GOAL = 1e-3  # the paper's
GOALS = (1e-1, GOAL, 1e-6, 1e-9, 1e-12, 1e-18)
TO_GOAL = f"to {GOAL:g}"
FULL = (
    "dwt_1007", "bcsstm13", "dwt_992", "illc1850", "lp_qap8", "zenios", "Franz6", "laser", "cage9",
    "TF15", "pf2177",
)  # fmt: skip
QUICK = ("can_187", "dwt_193", "well1033")


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = command_line("real", __doc__)
    parser.add_argument(
        "--data", type=existing_folder, required=True, help="folder of .mtx, .mtx.gz or .rb files"
    )
    parser.add_argument("--matrices", nargs="+", metavar="NAME", help="default: " + " ".join(FULL))
    parser.add_argument("--methods", nargs="+", choices=cells.METHODS, metavar="NAME")
    parser.add_argument("--limit", type=positive, help="seconds for a cell; default: 60, quick: 10")
    parser.add_argument(
        "--processor-time", action="store_true",
        help="seconds of the processor and one thread, for a machine that is shared",
    )  # fmt: skip
    options = parser.parse_args(argv)
    names = options.matrices or (QUICK if options.quick else FULL)
    limit = options.limit or (10.0 if options.quick else 60.0)
    try:
        chosen = list(systems(options.data, names, options.seed))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    report = Report("real", quick=options.quick)
    report.section("seconds to squared relative residuals", ("matrix", "A", "method"))
    methods = options.methods or available()
    for row in measure(chosen, methods, limit, processor=options.processor_time):
        report.row(**row)
        report.save(options.json)  # hours of work survive an interruption
    return 0


def available() -> list[str]:
    """All methods; sparse QR if its package is installed."""
    there = importlib.util.find_spec("pyspqr") is not None
    return [name for name in cells.METHODS if there or name != cells.SPARSE_QR]


@dataclass(frozen=True, eq=False)
class System:
    """``W A = B`` from a matrix of the collection; `form` is ``"block"`` or ``"whole"``."""

    name: str
    form: str
    A: scipy.sparse.csc_array
    B: np.ndarray

    @property
    def square(self) -> bool:
        """Nonsingular and square."""
        return self.form == "block"

    @property
    def label(self) -> str:
        """Form and size."""
        return f"{self.form} {self.A.shape[0]} x {self.A.shape[1]}"


def find(folder: str | Path, names: Sequence[str]) -> dict[str, Path]:
    """Paths of these matrices; FileNotFoundError names those that are not there."""
    paths = suitesparse.matrices(folder)
    missing = [name for name in names if name not in paths]
    if missing:
        raise FileNotFoundError(f"not in {folder}: {', '.join(missing)}")
    return {name: paths[name] for name in names}


def systems(folder: str | Path, names: Sequence[str], seed: int = 0) -> Iterator[System]:
    """The problems made of these matrices."""
    for name, path in find(folder, names).items():
        A = suitesparse.load(path)
        if np.iscomplexobj(A) or not A.nnz:
            raise ValueError(f"{path} is {'complex' if A.nnz else 'zero'}")
        yield from systems_of(name, A, seed)


def systems_of(name: str, A: scipy.sparse.csc_array, seed: int = 0) -> Iterator[System]:
    """The nonsingular block, and the whole matrix if it is something else."""
    rows, columns = full_rank_block(A)
    rng = np.random.default_rng(seed)
    block = scipy.sparse.csc_array(A[rows][:, columns])
    yield System(name, "block", block, rng.standard_normal((1, len(rows))))
    if block.shape != A.shape:
        # The chosen rows span the row space.
        V = scipy.linalg.qr(A[rows].toarray().T, mode="economic", check_finite=False)[0]
        B = (rng.standard_normal((1, A.shape[1])) @ V) @ V.T
        yield System(name, "whole", A, B)


def full_rank_block(A: scipy.sparse.csc_array) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, ascending, of a nonsingular block as large as the rank."""
    d, n = A.shape
    eps = np.finfo(float).eps
    if d == n and condition(A) < 1 / (n * eps):
        return np.arange(n), np.arange(n)
    R, columns = scipy.linalg.qr(A.toarray(), mode="r", pivoting=True, check_finite=False)
    sizes = np.abs(np.diagonal(R))
    rank = int(np.count_nonzero(sizes > max(d, n) * eps * sizes[0]))
    columns = np.sort(columns[:rank])
    _, rows = scipy.linalg.qr(
        A[:, columns].toarray().T, mode="r", pivoting=True, check_finite=False
    )
    return np.sort(rows[:rank]), columns


def condition(A: scipy.sparse.csc_array) -> float:
    """Condition number of a square matrix to a few per cent; infinity for a singular one."""
    if A.shape[0] <= DENSE:
        return float(np.linalg.cond(A.toarray()))
    try:
        factors = scipy.sparse.linalg.splu(A)
    except RuntimeError:  # a pivot is zero
        return np.inf
    inverse = scipy.sparse.linalg.LinearOperator(
        A.shape, factors.solve, rmatvec=lambda x: factors.solve(x, trans="T"), dtype=A.dtype
    )
    start = np.random.default_rng(0).standard_normal(A.shape[0])
    if not np.isfinite(inverse.rmatvec(inverse.matvec(start))).all():
        return np.inf
    norm, norm_of_inverse = (
        scipy.sparse.linalg.svds(each, 1, tol=1e-2, v0=start, return_singular_vectors=False)[0]
        for each in (A, inverse)
    )
    return float(norm * norm_of_inverse)


def measure(
    chosen: Sequence[System], methods: Sequence[str], limit: float, *, processor: bool = False
) -> Iterator[dict[str, Any]]:
    """One row per problem and method that is made for it."""
    for system in chosen:
        kappa = condition(system.A) if system.square else float("nan")
        for name in methods:
            solver = cells.METHODS[name]
            if solver.square and not system.square:
                continue
            found = cells.run(name, system.A, system.B, GOALS, limit=limit, processor=processor)
            times = {goal: found.seconds(goal) for goal in GOALS}
            yield {
                "matrix": system.name, "A": system.label, "condition": kappa, "method": name,
                "kind": "sparse" if solver.sparse else "dense", "ours": solver.ours,
                "seconds": Spread(tuple(times[GOAL])) if times[GOAL] else _why(found),
                **{f"to {g:g}": float(np.median(t)) if t else None for g, t in times.items()},
                "residual": found.residual,
            }  # fmt: skip


def _why(found: cells.Run) -> str:
    """What is said in place of seconds."""
    if found.error:
        return f"failed: {found.error}"
    late = found.stopped or any(trace and trace[-1][0] > found.limit for trace in found.traces)
    return f"over {found.limit:g} s" if late else f"ends at {found.residual:.0e}"


def draw_seconds(rows: Rows) -> Any:
    """Seconds to the paper's residual, one line of marks per problem."""
    problems = [problem for problem, _ in rows.by("matrix", "A")]
    figure, (axes,) = panels(1, width=9.0, height=0.8 + 0.42 * len(problems))
    for method, own in rows.by("method"):
        there = own.having(TO_GOAL)
        lines = [problems.index((row["matrix"], row["A"])) for row in there]
        axes.plot(there.column(TO_GOAL), lines, **look(method, linestyle="none", markersize=7))
    axes.set_yticks(range(len(problems)), [f"{matrix}, {label}" for matrix, label in problems])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"seconds to a squared relative residual of {GOAL:g}")
    axes.set_title("filled: ours; hollow: rivals; no mark: not reached or not run")
    return finish(figure, [axes], columns=5)


def draw_goals(rows: Rows) -> Any:
    """Seconds against the residual asked for, one panel per problem."""
    problems = list(rows.by("matrix", "A"))
    columns = min(4, len(problems))
    figure, all_axes = panels(columns, -(-len(problems) // columns), width=3.0, height=2.4)
    for ((matrix, label), own), axes in zip(problems, all_axes, strict=False):
        for row in own:
            times = {g: row[f"to {g:g}"] for g in GOALS if row[f"to {g:g}"] is not None}
            axes.plot(list(times), list(times.values()), **look(row["method"], markersize=4))
        axes.set(xscale="log", yscale="log", xlabel="squared residual", ylabel="seconds")
        axes.set_xlim(max(GOALS) * 10, min(GOALS) / 10)
        axes.set_title(f"{matrix}, {label}")
    for axes in all_axes[len(problems) :]:
        axes.set_axis_off()
    return finish(figure, all_axes[: len(problems)], columns=5)
