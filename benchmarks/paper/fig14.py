"""Figure 14: whether the compute-limited W_QK and W_VP share one projector.

Energy of what W_VP lifts in layer l inside the columns that W_QK sees in layer k: 1 at k = l is the
paper's rule, (5/18)^2 = 0.08 is chance.
"""

import numpy as np

from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import energies, energy_table

CLAIM = "W_QK and W_VP agree up to sign: relative difference 0.28."
WANTED = 0.28
ALLOWED = 2.0  # times that


def draw(setting: Setting, sheet: Sheet) -> None:
    rules = setting.models.rules("compute-limited")
    axes = sheet.panels(len(rules), width=3.6, height=2.8)
    for (seed, rule), ax in zip(rules.items(), axes, strict=True):
        table = energies(rule)
        energy_table(ax, table, f"seed {seed}")
        for layer, line in enumerate(table):
            own = {f"in_sketch_{k}": float(energy) for k, energy in enumerate(line)}
            difference = float(rule.layers[layer].structure.agreement)
            sheet.row(seed=seed, layer=layer, difference=difference, **own)


def judge(rows: Rows) -> Checks:
    difference = float(np.median(rows.column("difference")))
    own = float(np.mean(rows.of(layer=0).column("in_sketch_0")))
    yield Check(
        CLAIM.rstrip("."),
        f"relative difference {difference:.2f}; the lift of layer 0 has {own:.0%} of its "
        "energy in its own sketch",
        difference <= ALLOWED * WANTED,
        "the lifts point to the columns that later layers will see",
    )
