"""Figure 13: entries of the compute-limited W_QK.

Off-diagonal entries of its projector, all seeds together, and the normal density that the entries
of a random projector of rank 5 in 18 dimensions have.
"""

import numpy as np
import scipy.stats

from benchmarks.looks import COLOURS
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import LAYERS

CLAIM = "The entries look Gaussian: S S^T of a random orthonormal S."
SIGNIFICANT = 0.01
N, RANK = 18, 5


def draw(setting: Setting, sheet: Sheet) -> None:
    """Histograms, and p-values of the Kolmogorov-Smirnov test by seed."""
    axes = sheet.panels(4, width=2.6, sharey=True)
    rules, x = setting.models.rules("compute-limited"), np.linspace(-0.7, 0.7, 200)
    deviation = np.sqrt(RANK * (N - RANK) / (N * (N + 2) * (N - 1)))
    normal = scipy.stats.norm.pdf(x, scale=deviation)
    bars = {"bins": 40, "density": True, "color": COLOURS[0], "alpha": 0.6, "label": "trained"}
    for layer, ax in zip(LAYERS, axes, strict=True):
        sketches = [rule.layers[layer].sketch for rule in rules.values()]
        ax.hist(np.concatenate([(S @ S.T)[~np.eye(N, dtype=bool)] for S in sketches]), **bars)
        ax.plot(x, normal, color=COLOURS[1], label="random projector")
        ax.set(title=f"layer {layer}", xlabel="entry")
        for seed, rule in rules.items():
            sheet.row(layer=layer, seed=seed, p=rule.layers[layer].structure.gaussian)
    axes[0].set(ylabel="density")


def judge(rows: Rows) -> Checks:
    """How often the test rejects at the 1 % level, corrected for the number of tests."""
    rejected = sum(p < SIGNIFICANT / len(rows) for p in rows.column("p"))
    yield Check(
        CLAIM.rstrip("."),
        f"{rejected} of {len(rows)} layers are told from a random projector at the 1 % level, "
        f"smallest p {min(rows.column('p')):.2g}",
        not rejected,
    )
