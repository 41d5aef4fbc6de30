"""Figure 14: whether the compute-limited W_QK and W_VP share one projector.

Energy of what W_VP lifts in layer l inside the columns that W_QK sees in layer k: 1 at k = l is the
paper's rule, (5/18)^2 = 0.08 is chance.
"""

from __future__ import annotations

import numpy as np

from benchmarks.paper.common import Check, Drawing, Rows, Setting, panels, select

CLAIM = "W_QK and W_VP agree up to sign: relative difference 0.28."
WANTED = 0.28
ALLOWED = 2.0  # times that


def draw(setting: Setting) -> Drawing:
    """One table per seed."""
    models, regime, rows = setting.models, "compute-limited", []
    rules = models.rules(regime)
    figure, axes = panels(len(rules), width=3.6, height=2.8)
    for seed, rule, ax in zip(models.seeds(regime), rules, axes, strict=True):
        bases = [np.linalg.qr(layer.sketch)[0] for layer in rule.layers]
        energy = np.zeros((len(bases) - 1, len(bases)))
        for i in range(len(energy)):
            P = rule.layers[i].lift
            for k, Q in enumerate(bases):
                energy[i, k] = (np.linalg.norm(Q.T @ P @ Q) / np.linalg.norm(P)) ** 2
                shade = "k" if energy[i, k] > 0.6 else "w"
                ax.text(k, i, f"{energy[i, k]:.2f}", ha="center", va="center", color=shade)
            own = {f"in_sketch_{k}": float(energy[i, k]) for k in range(len(bases))}
            difference = float(rule.layers[i].structure.agreement)
            rows.append({"seed": seed, "layer": i, "difference": difference} | own)
        ax.imshow(energy, vmin=0, vmax=1)
        ax.set(
            title=f"seed {seed}", xlabel="sketch of layer", ylabel="lift of layer",
            xticks=range(4), yticks=range(3),
        )  # fmt: skip
    return Drawing(figure, rows)


def judge(rows: Rows) -> list[Check]:
    """The median layer."""
    difference = float(np.median([row["difference"] for row in rows]))
    first = select(rows, layer=0)
    own = float(np.mean([row["in_sketch_0"] for row in first]))
    return [
        Check(
            CLAIM.rstrip("."),
            f"relative difference {difference:.2f}; the lift of layer 0 has {own:.0%} of its "
            "energy in its own sketch",
            difference <= ALLOWED * WANTED,
            "the lifts point to the columns that later layers will see",
        )
    ]
