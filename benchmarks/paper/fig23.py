"""Figure 23: seconds to several residuals on real matrices.

The runs of Table 2, to squared relative residuals from 0.1 to 1e-18. SuiteSparse matrices from the
folder of ``--data``.
"""

from __future__ import annotations

from benchmarks import real
from benchmarks.paper.common import Check, Drawing, Rows, Setting
from benchmarks.paper.table2 import check, measured

__all__ = ["check", "draw", "judge"]

CLAIM = "No number of this figure is known to us; Table 2 has those at a residual of 1e-3."
NEEDS_DATA = True
LOOSE, TIGHT = (f"to {goal:g}" for goal in (real.GOALS[0], real.GOALS[-1]))


def draw(setting: Setting) -> Drawing:
    """One panel per problem."""
    rows = measured(setting)
    return Drawing(real.draw_goals(rows), rows)


def judge(rows: Rows) -> list[Check]:
    """What seventeen more digits cost each kind of method."""
    checks = []
    for method in ("EAGLE (minimax)", "EAGLE (Cholesky)", "CG", "LSMR"):
        own = [row for row in rows if row["method"] == method]
        ratios = sorted(
            row[TIGHT] / row[LOOSE]
            for row in own
            if row[TIGHT] is not None and row[LOOSE] is not None
        )
        reached = f"{len(ratios)} of {len(own)} problems"
        found = f"{method} reaches 1e-18 on {reached}"
        if ratios:
            found += f", in {ratios[len(ratios) // 2]:.3g} times the seconds to 0.1 in the median"
        checks.append(Check("not known", found, None))
    return checks
