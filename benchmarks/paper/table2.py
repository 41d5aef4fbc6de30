"""Table 2: seconds on real matrices.

SuiteSparse matrices from the folder of ``--data``.
"""

from __future__ import annotations

from benchmarks.paper.common import Check, Drawing, Rows, Setting

CLAIM = "EAGLE reaches a residual of 1e-3 faster than SVD, CG and LSMR on most matrices (on a GPU)."
NEEDS_DATA = True


def draw(setting: Setting) -> Drawing:
    """To be measured."""
    raise NotImplementedError("table2")


def judge(rows: Rows) -> list[Check]:
    """To be compared."""
    raise NotImplementedError("table2")
