"""Figure 23: seconds to several residuals on real matrices.

The runs of Table 2, to squared relative residuals from 0.1 to 1e-18. SuiteSparse matrices from the
folder of ``--data``.
"""

import numpy as np

from benchmarks import real
from benchmarks.paper import table2
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet

CLAIM = "No number of this figure is known to us; Table 2 has those at a residual of 1e-3."
NEEDS_DATA = True
LOOSE, TIGHT = (f"to {goal:g}" for goal in (real.GOALS[0], real.GOALS[-1]))
check = table2.check


def draw(setting: Setting, sheet: Sheet) -> None:
    sheet.rows = table2.measured(setting)
    sheet.figure = real.draw_goals(sheet.rows)


def judge(rows: Rows) -> Checks:
    """What seventeen more digits cost each kind of method."""
    for method in ("EAGLE (minimax)", "EAGLE (Cholesky)", "CG", "LSMR"):
        own = rows.of(method=method)
        ratios = [row[TIGHT] / row[LOOSE] for row in own.having(LOOSE).having(TIGHT)]
        found = f"{method} reaches 1e-18 on {len(ratios)} of {len(own)} problems"
        if ratios:
            median = np.quantile(ratios, 0.5, method="higher")
            found += f", in {median:.3g} times the seconds to 0.1 in the median"
        yield Check("not known", found, None)
