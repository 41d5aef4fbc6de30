"""Figure 13: entries of the compute-limited W_QK.

Off-diagonal entries of its projector, all seeds together, and the normal density that the entries
of a random projector of rank 5 in 18 dimensions have.
"""

from __future__ import annotations

import numpy as np
import scipy.stats

from benchmarks.paper.common import Check, Drawing, Rows, Setting, finish, panels
from benchmarks.paper.training import LAYERS
from eagle.gallery.plotting import COLOURS

CLAIM = "The entries look Gaussian: S S^T of a random orthonormal S."
SIGNIFICANT = 0.01
N, RANK = 18, 5


def draw(setting: Setting) -> Drawing:
    """Histograms, and p-values of the Kolmogorov-Smirnov test by seed."""
    figure, axes = panels(4, width=2.6, sharey=True)
    deviation = np.sqrt(RANK * (N - RANK) / (N * (N + 2) * (N - 1)))
    regime, rows = "compute-limited", []
    rules = setting.models.rules(regime)
    for layer, ax in zip(LAYERS, axes, strict=True):
        entries = []
        for rule in rules:
            S = rule.layers[layer].sketch
            entries.append((S @ S.T)[~np.eye(N, dtype=bool)])
        ax.hist(
            np.concatenate(entries), bins=40, density=True, color=COLOURS[0], alpha=0.6,
            label="trained",
        )  # fmt: skip
        x = np.linspace(-0.7, 0.7, 200)
        ax.plot(
            x, scipy.stats.norm.pdf(x, scale=deviation), color=COLOURS[1], label="random projector"
        )
        ax.set(title=f"layer {layer}", xlabel="entry")
        rows += [
            {"layer": layer, "seed": seed, "p": rule.layers[layer].structure.gaussian}
            for seed, rule in zip(setting.models.seeds(regime), rules, strict=True)
        ]
    axes[0].set(ylabel="density")
    return Drawing(finish(figure, axes), rows)


def judge(rows: Rows) -> list[Check]:
    """How often the test rejects at the 1 % level, corrected for the number of tests."""
    rejected = sum(row["p"] < SIGNIFICANT / len(rows) for row in rows)
    least = min(row["p"] for row in rows)
    return [
        Check(
            CLAIM.rstrip("."),
            f"{rejected} of {len(rows)} layers are told from a random projector at the 1 % level, "
            f"smallest p {least:.2g}",
            not rejected,
        )
    ]
