"""Figure 4: weights of the distributed transformer, layer by layer.

W_QK above W_VP, seed 0; the blocks of W_VP are what one of three machines sends to every other, and
machines stand below each other. Of the last layer's W_VP only what reaches D is shown.
"""

from functools import partial

from benchmarks.paper.common import Check, Checks, Rows
from benchmarks.paper.training import on_pattern, weights

CLAIM = (
    "Diagonal blocks as in the unconstrained model; off-diagonal blocks of W_VP are diag(0, a3 I): "
    "only C and D are sent."
)
DIRECTIONS = 6  # columns of a machine's block
draw = partial(weights, regime="distributed")


def judge(rows: Rows) -> Checks:
    """The message pattern where A is still used, and whether all directions stay."""
    early = Rows(row for row in rows if row["layer"] < 2)
    yield on_pattern(early, "layers 0 and 1: A stays at home, C and D go to everyone")
    lost = [row["layer"] for row in rows if row["above_half"] < DIRECTIONS]
    yield Check(
        "a multiple of the identity in every layer",
        f"in {len(lost)} of {len(rows)} layers of all seeds (layers "
        f"{', '.join(map(str, sorted(set(lost))))}) a direction of the machine's block has lost "
        "more than half of its size"
        if lost
        else "all directions keep their size in every layer",
        not lost,
        "one eigenvalue of the visible block falls late in training",
    )
