"""Figure 5: weights of the compute-limited transformer, layer by layer.

W_QK above W_VP, seed 0. Of the last layer's W_VP only what reaches D is shown. Whether the two have
one projector in common is Figure 14.
"""

from __future__ import annotations

from benchmarks.paper.common import Check, Drawing, Rows, Setting
from benchmarks.paper.training import on_pattern, weights

CLAIM = "Block-diagonal; the visible blocks of W_QK and W_VP have rank r = 5."
RANK = 5


def draw(setting: Setting) -> Drawing:
    """Pictures of the matrices."""
    return weights(setting, "compute-limited")


def judge(rows: Rows) -> list[Check]:
    """Where the energy is, and the rank."""
    ranks = [row["rank"] for row in rows]
    found = f"{min(ranks)} to {max(ranks)}" if len(set(ranks)) > 1 else str(ranks[0])
    return [
        on_pattern(rows, "the weights are block-diagonal"),
        Check(
            "rank 5",
            f"rank {found} in all layers of all seeds (the architecture allows no more)",
            set(ranks) == {RANK},
        ),
    ]
