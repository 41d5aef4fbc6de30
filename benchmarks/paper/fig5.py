"""Figure 5: weights of the compute-limited transformer, layer by layer.

W_QK above W_VP, seed 0. Of the last layer's W_VP only what reaches D is shown. Whether the two have
one projector in common is Figure 14.
"""

from functools import partial

from benchmarks.paper.common import Check, Checks, Rows
from benchmarks.paper.training import on_pattern, weights

CLAIM = "Block-diagonal; the visible blocks of W_QK and W_VP have rank r = 5."
RANK = 5
draw = partial(weights, regime="compute-limited")


def judge(rows: Rows) -> Checks:
    yield on_pattern(rows, "the weights are block-diagonal")
    ranks = rows.column("rank")
    found = f"{min(ranks)} to {max(ranks)}" if len(set(ranks)) > 1 else str(ranks[0])
    found = f"rank {found} in all layers of all seeds (the architecture allows no more)"
    yield Check("rank 5", found, set(ranks) == {RANK})
