"""Figure 3: weights of the unconstrained transformer, layer by layer.

W_QK above W_VP, seed 0. Of the last layer's W_VP only what reaches D is shown.
"""

from __future__ import annotations

from benchmarks.paper.common import Check, Drawing, Rows, Setting
from benchmarks.paper.training import on_pattern, weights

CLAIM = "W_QK is about diag(a1 I, 0) and W_VP about diag(a2 I, a3 I)."
SPREAD = 0.1
WHY = "what is left of the initial weights, and up to three directions that late layers drop"


def draw(setting: Setting) -> Drawing:
    """Pictures of the matrices."""
    return weights(setting, "unconstrained")


def judge(rows: Rows) -> list[Check]:
    """Where the energy is, and whether the diagonal is constant."""
    spread = max(row["spread"] for row in rows)
    return [
        on_pattern(rows, "the weights are diagonal", WHY),
        Check(
            "one value a1 on the diagonal",
            f"the diagonal of W_QK varies by at most {spread:.1%}",
            spread <= SPREAD,
            WHY,
        ),
    ]
