"""Figure 10: scaling laws of the constants.

``-a1 a2`` and ``-a1 a3`` of every layer and seed against the largest norm of A in a batch of 1024
prompts at that layer, and the paper's law. Compute-limited models are left out: their constants
stand for five directions of eighteen.
"""

from __future__ import annotations

import numpy as np
import scipy.stats

from benchmarks.paper.common import (
    Check,
    Drawing,
    Rows,
    Setting,
    finish,
    marker,
    panels,
    select,
    style,
)
from benchmarks.paper.training import LAYERS

CLAIM = (
    "a1 a2 ~ eta |A|^-2 and a1 a3 ~ gamma |A|^-2 (up to sign), with eta about 1 and gamma about "
    "1.9, |A| the largest spectral norm in the batch."
)
WANTED = {"eta": 1.0, "gamma": 1.9}
SLOPE, PREFACTOR = 0.15, 1.25  # allowed: off -2, and the factor off the constant
NAMES = {"eta": "-a1 a2", "gamma": "-a1 a3"}


def draw(setting: Setting) -> Drawing:
    """Points, and a line fitted in logarithms for every regime."""
    figure, axes = panels(2, width=4.4, height=3.6)
    rows, points = [], []
    for index, regime in enumerate(("unconstrained", "distributed", "estimation")):
        for ax, name, layers in zip(axes, WANTED, (LAYERS[:3], LAYERS), strict=True):
            found = [
                (rule.layers[k].norm, getattr(rule.layers[k], f"{name}_step"))
                for rule in setting.models.rules(regime)
                for k in layers
            ]
            norms, steps = np.array(found).T
            ax.plot(
                norms,
                steps,
                **(style(regime, index) | {"linestyle": "none", "marker": marker(index)}),
            )
            fit = scipy.stats.linregress(np.log(norms), np.log(steps))
            rows.append(
                {
                    "regime": regime,
                    "constant": name,
                    "slope": fit.slope,
                    "standard_error": fit.stderr,
                    "at_norm_1": float(np.exp(fit.intercept)),
                }
            )
            points += [
                {"regime": regime, "constant": name, "norm": x, "product": y} for x, y in found
            ]
    for ax, (name, value) in zip(axes, WANTED.items(), strict=True):
        x = np.geomspace(0.4, 9, 2)
        ax.plot(x, value / x**2, color="0.6", label="eta |A|^-2, gamma |A|^-2 of the paper")
        ax.set(xscale="log", yscale="log", xlabel="|A|, batch maximum", ylabel=NAMES[name])
    return Drawing(finish(figure, axes), rows, points)


def judge(rows: Rows) -> list[Check]:
    """Slope and prefactor of the unconstrained regime, slopes of the others."""
    checks = []
    for name, wanted in WANTED.items():
        (row,) = select(rows, regime="unconstrained", constant=name)
        slope, factor = row["slope"], row["at_norm_1"]
        checks.append(
            Check(
                f"unconstrained: {NAMES[name]} = {wanted:g} |A|^-2",
                f"unconstrained: {factor:.2f} |A|^{slope:.2f}",
                bool(
                    abs(slope + 2) <= SLOPE and wanted / PREFACTOR <= factor <= wanted * PREFACTOR
                ),
            )
        )
    others = [row for row in rows if row["regime"] != "unconstrained"]
    worst = max(others, key=lambda row: abs(row["slope"] + 2))
    checks.append(
        Check(
            "distributed, estimation: the power is -2",
            f"distributed, estimation: power {worst['slope']:.2f} at worst "
            f"({worst['regime']}, {worst['constant']})",
            abs(worst["slope"] + 2) <= SLOPE,
            "late layers take other constants there",
        )
    )
    return checks
