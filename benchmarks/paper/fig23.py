"""Figure 23: seconds to several residuals on real matrices.

SuiteSparse matrices from the folder of ``--data``.
"""

from __future__ import annotations

from benchmarks.paper.common import Check, Drawing, Rows, Setting

CLAIM = "No number of this figure is known to us; Table 2 has those at a residual of 1e-3."
NEEDS_DATA = True


def draw(setting: Setting) -> Drawing:
    """To be measured."""
    raise NotImplementedError("fig23")


def judge(rows: Rows) -> list[Check]:
    """To be compared."""
    raise NotImplementedError("fig23")
