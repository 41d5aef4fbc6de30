"""Figure 3: weights of the unconstrained transformer, layer by layer.

W_QK above W_VP, seed 0. Of the last layer's W_VP only what reaches D is shown.
"""

from functools import partial

from benchmarks.paper.common import Check, Checks, Rows
from benchmarks.paper.training import on_pattern, weights

CLAIM = "W_QK is about diag(a1 I, 0) and W_VP about diag(a2 I, a3 I)."
SPREAD = 0.1
WHY = "what is left of the initial weights, and up to three directions that late layers drop"

draw = partial(weights, regime="unconstrained")


def judge(rows: Rows) -> Checks:
    yield on_pattern(rows, "the weights are diagonal", WHY)
    spread = max(rows.column("spread"))
    found = f"the diagonal of W_QK varies by at most {spread:.1%}"
    yield Check("one value a1 on the diagonal", found, spread <= SPREAD, WHY)
