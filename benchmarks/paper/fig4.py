"""Figure 4: weights of the distributed transformer, layer by layer.

W_QK above W_VP, seed 0; the blocks of W_VP are what one of three machines sends to every other, and
machines stand below each other. Of the last layer's W_VP only what reaches D is shown.
"""

from __future__ import annotations

from benchmarks.paper.common import Check, Drawing, Rows, Setting
from benchmarks.paper.training import on_pattern, weights

CLAIM = (
    "Diagonal blocks as in the unconstrained model; off-diagonal blocks of W_VP are diag(0, a3 I): "
    "only C and D are sent."
)
DIRECTIONS = 6  # columns of a machine's block


def draw(setting: Setting) -> Drawing:
    """Pictures of the matrices."""
    return weights(setting, "distributed")


def judge(rows: Rows) -> list[Check]:
    """The message pattern where A is still used, and whether all directions stay."""
    early = [row for row in rows if row["layer"] < 2]
    lost = [row for row in rows if row["above_half"] < DIRECTIONS]
    at = sorted({row["layer"] for row in lost})
    return [
        on_pattern(early, "layers 0 and 1: A stays at home, C and D go to everyone"),
        Check(
            "a multiple of the identity in every layer",
            f"in {len(lost)} of {len(rows)} layers of all seeds (layers {', '.join(map(str, at))}) "
            "a direction of the machine's block has lost more than half of its size"
            if lost
            else "all directions keep their size in every layer",
            not lost,
            "one eigenvalue of the visible block falls late in training",
        ),
    ]
