"""What the figures about trained transformers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.paper.common import Check, Drawing, Rows, Setting, panels
from benchmarks.transformer import Models
from eagle.transformer import Rule
from eagle.transformer.config import REGIMES

__all__ = ["LAYERS", "REGIMES", "layers", "on_pattern", "picture", "products", "weights"]

LAYERS = range(4)
ZERO = 0.05  # an eigenvalue below this much of the largest is zero
ON = 0.9  # "looks like" a pattern: this much of the energy is on it


def layers(models: Models, regime: str) -> Rows:
    """Structure of the weights, seed by seed and layer by layer."""
    return [
        {
            "regime": regime,
            "seed": seed,
            "layer": index,
            "on_QK": 1 - layer.structure.off_pattern_QK,
            "on_VP": 1 - layer.structure.off_pattern_VP,
            "spread": layer.structure.spread,
            "rank": int(
                (layer.structure.eigenvalues > ZERO * layer.structure.eigenvalues[0]).sum()
            ),
            "above_half": layer.structure.rank,
        }
        for seed, rule in zip(models.seeds(regime), models.rules(regime), strict=True)
        for index, layer in enumerate(rule.layers)
    ]


def products(rule: Rule, layer: int) -> tuple[float, float]:
    """``-a1 a2`` and ``-a1 a3`` of a layer.

    The rule averages C and D over machines, attention adds: its gamma is that of all machines.
    """
    found, config = rule.layers[layer], rule.config
    machines = config.machines if config.regime == "distributed" else 1
    return found.eta_step, found.gamma_step / machines


def on_pattern(rows: Rows, claim: str, why: str = "") -> Check:
    """Whether W_QK and W_VP have their energy where the rule has it."""
    worst = min(min(row["on_QK"], row["on_VP"]) for row in rows)
    mean = float(np.mean([[row["on_QK"], row["on_VP"]] for row in rows]))
    found = f"{mean:.0%} of the energy of W_QK and W_VP is on the pattern, at least {worst:.0%}"
    return Check(claim, found, worst >= ON, why)


def weights(setting: Setting, regime: str) -> Drawing:
    """W_QK above W_VP, one column per layer; machines below each other."""
    model = setting.models.run(regime, 0).model
    figure, axes = panels(4, 2, width=2.4, height=2.4)
    visible, hidden = model.config.machine_features
    for layer in LAYERS:
        W_QK = model.W_QK[layer, 0].detach().numpy()
        W_VP = model.W_VP[layer].detach().flatten(0, 1).numpy().copy()
        if layer == LAYERS[-1]:  # what does not reach D was never trained
            W_VP[:, np.arange(W_VP.shape[1]) % (visible + hidden) < visible] = 0
        picture(axes[layer], W_QK, f"W_QK, layer {layer}")
        picture(axes[4 + layer], W_VP, f"W_VP, layer {layer}")
    return Drawing(figure, layers(setting.models, regime))


def picture(axes: Any, W: np.ndarray, title: str) -> None:
    """A matrix, red negative, blue positive; the title says what full colour is."""
    limit = abs(W).max()
    axes.imshow(W, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set_title(f"{title} (±{limit:.2g})", fontsize=9)
    axes.set(xticks=[], yticks=[])
