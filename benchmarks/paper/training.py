"""What the figures about trained transformers share."""

from typing import Any

import numpy as np

from benchmarks.common import Rows
from benchmarks.paper.common import Check, Setting, Sheet
from eagle.transformer import Rule

LAYERS = range(4)
FULL_RANK = ("unconstrained", "distributed", "estimation")  # whose constants are comparable
ZERO = 0.05  # an eigenvalue below this much of the largest is zero
ON = 0.9  # "looks like" a pattern: this much of the energy is on it


def products(rule: Rule, layer: int) -> tuple[float, float]:
    """``-a1 a2`` and ``-a1 a3`` of a layer.

    The rule averages C and D over machines, attention adds: its gamma is that of all machines.
    """
    found, config = rule.layers[layer], rule.config
    machines = config.machines if config.regime == "distributed" else 1
    return found.eta_step, found.gamma_step / machines


def on_pattern(rows: Rows, claim: str, why: str = "") -> Check:
    """Whether W_QK and W_VP have their energy where the rule has it."""
    shares = rows.column("on_QK") + rows.column("on_VP")
    worst, mean = min(shares), float(np.mean(shares))
    found = f"{mean:.0%} of the energy of W_QK and W_VP is on the pattern, at least {worst:.0%}"
    return Check(claim, found, worst >= ON, why)


def weights(setting: Setting, sheet: Sheet, regime: str) -> None:
    """W_QK above W_VP, one column per layer; machines below each other. Rows: their structure."""
    model = setting.models.run(regime, 0).model
    axes = sheet.panels(4, 2, width=2.4, height=2.4)
    visible, hidden = model.config.machine_features
    for layer in LAYERS:
        W_QK = model.W_QK[layer, 0].detach().numpy()
        W_VP = model.W_VP[layer].detach().flatten(0, 1).numpy().copy()
        if layer == LAYERS[-1]:  # what does not reach D was never trained
            W_VP[:, np.arange(W_VP.shape[1]) % (visible + hidden) < visible] = 0
        picture(axes[layer], W_QK, f"W_QK, layer {layer}")
        picture(axes[4 + layer], W_VP, f"W_VP, layer {layer}")
    for seed, rule in setting.models.rules(regime).items():
        for layer, found in enumerate(each.structure for each in rule.layers):
            sizes = found.eigenvalues
            sheet.row(
                regime=regime, seed=seed, layer=layer, on_QK=1 - found.off_pattern_QK,
                on_VP=1 - found.off_pattern_VP, spread=found.spread,
                rank=int((sizes > ZERO * sizes[0]).sum()), above_half=found.rank,
            )  # fmt: skip


def picture(axes: Any, W: np.ndarray, title: str) -> None:
    """A matrix, red negative, blue positive; the title says what full colour is."""
    limit = abs(W).max()
    axes.imshow(W, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set_title(f"{title} (±{limit:.2g})", fontsize=9)
    axes.set(xticks=[], yticks=[])


def energies(rule: Rule) -> np.ndarray:
    """Of what each layer lifts, inside the columns that each layer sees."""
    bases = [np.linalg.qr(layer.sketch)[0] for layer in rule.layers]
    return np.array([[inside(layer.lift, Q) for Q in bases] for layer in rule.layers[:-1]])


def inside(lift: np.ndarray, basis: np.ndarray) -> float:
    """Energy of a lift inside the range of orthonormal columns, from both sides."""
    return float((np.linalg.norm(basis.T @ lift @ basis) / np.linalg.norm(lift)) ** 2)


def energy_table(axes: Any, table: np.ndarray, title: str) -> Any:
    """Such a table in shades and numbers."""
    image = axes.imshow(table, vmin=0, vmax=1)
    for (i, k), energy in np.ndenumerate(table):
        shade = "k" if energy > 0.6 else "w"
        axes.text(k, i, f"{energy:.2f}", ha="center", va="center", color=shade)
    axes.set(title=title, xlabel="sketch of layer", ylabel="lift of layer")
    axes.set(xticks=range(table.shape[1]), yticks=range(table.shape[0]))
    return image
