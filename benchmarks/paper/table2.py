"""Table 2: seconds on real matrices.

Seconds to ``|B - W A|^2 <= 1e-3 |B|^2`` for one normal row B, on two kinds of A: a nonsingular
r x r block, as in the paper, and the whole matrix where that is of lower rank. Of the paper's
matrices two could be had (dwt_1007, bcsstm13); the others are of the same kinds. SuiteSparse
matrices from the folder of ``--data``; `python -m benchmarks real` has larger ones and more
options.
"""

from collections.abc import Container
from functools import cache

from benchmarks import real
from benchmarks.common import Spread
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet

CLAIM = "EAGLE reaches a residual of 1e-3 faster than SVD, CG and LSMR on most matrices (on a GPU)."
NEEDS_DATA = True
RIVALS = ("SVD lstsq", "CG", "LSMR")  # of the paper
FACTORISATIONS = ("gelsy", "dense LU", "sparse LU", "sparse QR")
OURS = {
    "EAGLE by products alone": ("EAGLE (minimax)", "EAGLE (paper)"),
    "EAGLE with Cholesky": ("EAGLE (Cholesky)",),
    "auto": ("auto",),
}
FULL = ("dwt_1007", "bcsstm13", "dwt_992", "illc1850", "lp_qap8", "laser")
LIMIT = 20.0
TO = f"to {real.GOAL:g}"
GPU = "the paper's seconds are a GPU's, where an SVD is slow; ours are a CPU's"


def check(setting: Setting) -> None:
    """FileNotFoundError names the matrices that are not there."""
    assert setting.data is not None
    real.find(setting.data, setting.pick(FULL, real.QUICK))


@cache
def measured(setting: Setting) -> Rows:
    """Shared with Figure 23."""
    assert setting.data is not None
    names = setting.pick(FULL, real.QUICK)
    chosen = list(real.systems(setting.data, names, setting.seed))
    rows = real.measure(chosen, real.available(), setting.pick(LIMIT, 5.0))
    return Rows(
        {name: cell.median if isinstance(cell, Spread) else cell for name, cell in row.items()}
        for row in rows
    )


def draw(setting: Setting, sheet: Sheet) -> None:
    sheet.rows = measured(setting)
    sheet.figure = real.draw_seconds(sheet.rows)


def judge(rows: Rows) -> Checks:
    """EAGLE by products alone, and everything of ours, against the paper's rivals and others."""
    problems = [own for _, own in rows.by("matrix", "A")]
    for label, ours in OURS.items():
        wins = sum(_best(own, ours) < _best(own, RIVALS) for own in problems)
        yield Check(
            f"{label} is faster than SVD, CG and LSMR on most matrices",
            f"{label} is faster than all three on {wins} of {len(problems)} problems",
            2 * wins > len(problems),
            GPU,
        )
    everything = set(rows.of(ours=True).column("method"))
    lost = sum(_best(own, FACTORISATIONS) < _best(own, everything) for own in problems)
    yield Check(
        "no other direct method is compared",
        f"gelsy, dense or sparse LU or sparse QR is faster than all of ours on {lost} of "
        f"{len(problems)} problems",
        None,
    )


def _best(own: Rows, methods: Container[str]) -> float:
    there = own.having(TO)
    return min((row[TO] for row in there if row["method"] in methods), default=float("inf"))
