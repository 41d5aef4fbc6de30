"""Table 2: seconds on real matrices.

Seconds to ``|B - W A|^2 <= 1e-3 |B|^2`` for one normal row B, on two kinds of A: a nonsingular
r x r block, as in the paper, and the whole matrix where that is of lower rank. Of the paper's
matrices two could be had (dwt_1007, bcsstm13); the others are of the same kinds. SuiteSparse
matrices from the folder of ``--data``; `python -m benchmarks real` has larger ones and more
options.
"""

from __future__ import annotations

from functools import cache

from benchmarks import real
from benchmarks.common import Spread
from benchmarks.paper.common import Check, Drawing, Rows, Setting, select

CLAIM = "EAGLE reaches a residual of 1e-3 faster than SVD, CG and LSMR on most matrices (on a GPU)."
NEEDS_DATA = True
RIVALS = ("SVD lstsq", "CG", "LSMR")  # of the paper
FACTORISATIONS = ("gelsy", "dense LU", "sparse LU", "sparse QR")
FULL = ("dwt_1007", "bcsstm13", "dwt_992", "illc1850", "lp_qap8", "laser")
LIMIT = 20.0
TO = f"to {real.GOAL:g}"
GPU = "the paper's seconds are a GPU's, where an SVD is slow; ours are a CPU's"


def check(setting: Setting) -> None:
    """FileNotFoundError names the matrices that are not there."""
    assert setting.data is not None
    real.find(setting.data, _names(setting))


def _names(setting: Setting) -> tuple[str, ...]:
    return setting.pick(FULL, real.QUICK)


@cache
def measured(setting: Setting) -> Rows:
    """Shared with Figure 23."""
    assert setting.data is not None
    chosen = list(real.systems(setting.data, _names(setting), setting.seed))
    rows = real.measure(chosen, real.available(), setting.pick(LIMIT, 5.0))
    return [
        {name: cell.median if isinstance(cell, Spread) else cell for name, cell in row.items()}
        for row in rows
    ]


def draw(setting: Setting) -> Drawing:
    """One line of marks per problem."""
    rows = measured(setting)
    return Drawing(real.draw_seconds(rows), rows)


def judge(rows: Rows) -> list[Check]:
    """EAGLE by products alone, and everything of ours, against the paper's rivals and others."""
    problems = list(dict.fromkeys((row["matrix"], row["A"]) for row in rows))
    checks = []
    for label, ours in (
        ("EAGLE by products alone", {"EAGLE (minimax)", "EAGLE (paper)"}),
        ("EAGLE with Cholesky", {"EAGLE (Cholesky)"}),
        ("auto", {"auto"}),
    ):
        wins = sum(
            _best(rows, problem, ours) < _best(rows, problem, set(RIVALS)) for problem in problems
        )
        checks.append(
            Check(
                f"{label} is faster than SVD, CG and LSMR on most matrices",
                f"{label} is faster than all three on {wins} of {len(problems)} problems",
                2 * wins > len(problems),
                GPU,
            )
        )
    everything = {row["method"] for row in rows if row["ours"]}
    lost = sum(
        _best(rows, problem, set(FACTORISATIONS)) < _best(rows, problem, everything)
        for problem in problems
    )
    checks.append(
        Check(
            "no other direct method is compared",
            f"gelsy, dense or sparse LU or sparse QR is faster than all of ours on {lost} of "
            f"{len(problems)} problems",
            None,
        )
    )
    return checks


def _best(rows: Rows, problem: tuple[str, str], methods: set[str]) -> float:
    own = select(rows, matrix=problem[0], A=problem[1])
    return min(
        (row[TO] for row in own if row["method"] in methods and row[TO] is not None),
        default=float("inf"),
    )
