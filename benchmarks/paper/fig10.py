"""Figure 10: scaling laws of the constants.

``-a1 a2`` and ``-a1 a3`` of every layer and seed against the largest norm of A in a batch of 1024
prompts at that layer, and the paper's law. Compute-limited models are left out: their constants
stand for five directions of eighteen.
"""

import numpy as np
import scipy.stats

from benchmarks.looks import marker, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import FULL_RANK, LAYERS, products

CLAIM = (
    "a1 a2 ~ eta |A|^-2 and a1 a3 ~ gamma |A|^-2 (up to sign), with eta about 1 and gamma about "
    "1.9, |A| the largest spectral norm in the batch."
)
WANTED = {"eta": 1.0, "gamma": 1.9}
SLOPE, NEAR = 0.15, 1.25  # allowed: off -2 (or two standard errors), and off the constant
NAMES = {"eta": "-a1 a2", "gamma": "-a1 a3"}


def draw(setting: Setting, sheet: Sheet) -> None:
    """Points, and a line fitted in logarithms for every regime."""
    axes = sheet.panels(2, width=4.4, height=3.6)
    for index, regime in enumerate(FULL_RANK):
        rules = setting.models.rules(regime).values()
        for which, (ax, name) in enumerate(zip(axes, WANTED, strict=True)):
            layers = LAYERS if name == "gamma" else LAYERS[:-1]  # the last one needs no A
            norms = np.array([rule.layers[k].norm for rule in rules for k in layers])
            steps = np.array([products(rule, k)[which] for rule in rules for k in layers])
            ax.plot(norms, steps, **style(regime, index, linestyle="none", marker=marker(index)))
            fit = scipy.stats.linregress(np.log(norms), np.log(steps))
            place = {"regime": regime, "constant": name}
            found = {"slope": fit.slope, "standard_error": fit.stderr}
            sheet.row(**place, **found, at_norm_1=float(np.exp(fit.intercept)))
            sheet.points += [
                place | {"norm": float(x), "product": float(y)}
                for x, y in zip(norms, steps, strict=True)
            ]
    for ax, (name, value) in zip(axes, WANTED.items(), strict=True):
        x = np.geomspace(0.4, 9, 2)
        ax.plot(x, value / x**2, color="0.6", label="eta |A|^-2, gamma |A|^-2 of the paper")
        ax.set(xscale="log", yscale="log", xlabel="|A|, batch maximum", ylabel=NAMES[name])


def judge(rows: Rows) -> Checks:
    """Power and prefactor of both constants; the estimation regime is not the paper's."""
    for row in rows:
        wanted, factor = WANTED[row["constant"]], row["at_norm_1"]
        power = abs(row["slope"] + 2) <= max(SLOPE, 2 * row["standard_error"])
        near = wanted / NEAR <= factor <= wanted * NEAR
        name = f"{row['regime']}: {NAMES[row['constant']]}"
        yield Check(
            f"{name} = {wanted:g} |A|^-2",
            f"{name} = {factor:.2f} |A|^({row['slope']:.2f} ± {row['standard_error']:.2f})",
            None if row["regime"] == "estimation" else bool(power and near),
            "the last layers contract more than any one constant says",
        )
