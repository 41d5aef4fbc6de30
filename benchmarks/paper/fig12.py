"""Figure 12: eigenvalues of the compute-limited W_QK.

Of the symmetric part of its visible block over a1, by layer and seed: an orthogonal projector of
rank 5 has five ones, the rest zeros.
"""

from benchmarks.looks import marker, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import LAYERS

CLAIM = "The eigenvalues cluster at 0 and 1."
RANK = 5
NEAR = (0.5, 1.5)  # "at 1"
ZERO = 0.1  # "at 0"


def draw(setting: Setting, sheet: Sheet) -> None:
    axes = sheet.panels(4, width=2.6, sharey=True)
    for index, (seed, rule) in enumerate(setting.models.rules("compute-limited").items()):
        for layer, ax in zip(LAYERS, axes, strict=True):
            values = rule.layers[layer].structure.eigenvalues
            look = style(f"seed {seed}", index, linestyle="none", marker=marker(index))
            ax.plot(range(1, len(values) + 1), values, **look)
            ax.set(title=f"layer {layer}", xlabel="index")
            ends = {"first": float(values[0]), "fifth": float(values[RANK - 1])}
            sheet.row(seed=seed, layer=layer, **ends, rest=float(abs(values[RANK:]).max()))
    axes[0].set(ylabel="eigenvalue / a1")


def judge(rows: Rows) -> Checks:
    rest = max(rows.column("rest"))
    least, most = min(rows.column("fifth")), max(rows.column("first"))
    yield Check("the rest is at 0", f"the other thirteen are under {rest:.2g}", rest <= ZERO)
    yield Check(
        f"five at 1 (here: {NEAR[0]:g} to {NEAR[1]:g})",
        f"the five largest lie between {least:.2f} and {most:.2f}",
        bool(NEAR[0] <= least and most <= NEAR[1]),
        "a scaled sketch, not an orthonormal one",
    )
