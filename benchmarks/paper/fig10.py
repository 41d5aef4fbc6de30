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
    about,
    finish,
    marker,
    panels,
    style,
)
from benchmarks.paper.training import LAYERS, products

CLAIM = (
    "a1 a2 ~ eta |A|^-2 and a1 a3 ~ gamma |A|^-2 (up to sign), with eta about 1 and gamma about "
    "1.9, |A| the largest spectral norm in the batch."
)
WANTED = {"eta": 1.0, "gamma": 1.9}
SLOPE, NEAR = 0.15, 1.25  # allowed: off -2 (or two standard errors), and off the constant
NAMES = {"eta": "-a1 a2", "gamma": "-a1 a3"}


def draw(setting: Setting) -> Drawing:
    """Points, and a line fitted in logarithms for every regime."""
    figure, axes = panels(2, width=4.4, height=3.6)
    rows, points = [], []
    for index, regime in enumerate(("unconstrained", "distributed", "estimation")):
        for which, (ax, name) in enumerate(zip(axes, WANTED, strict=True)):
            layers = LAYERS if name == "gamma" else LAYERS[:-1]  # the last one needs no A
            found = [
                (rule.layers[k].norm, products(rule, k)[which])
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
    """Power and prefactor of both constants; the estimation regime is not the paper's."""
    checks = []
    for row in rows:
        wanted, factor = WANTED[row["constant"]], row["at_norm_1"]
        power = abs(row["slope"] + 2) <= max(SLOPE, 2 * row["standard_error"])
        name = f"{row['regime']}: {NAMES[row['constant']]}"
        checks.append(
            Check(
                f"{name} = {wanted:g} |A|^-2",
                f"{name} = {factor:.2f} |A|^({row['slope']:.2f} ± {row['standard_error']:.2f})",
                None if row["regime"] == "estimation" else power and about(factor, wanted, NEAR),
                "the last layers contract more than any one constant says",
            )
        )
    return checks
