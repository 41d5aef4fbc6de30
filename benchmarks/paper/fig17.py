"""Figure 17: what training with noise finds.

The paper trains on X with Gaussian noise of variance 0.01 too; what exactly its figure shows is not
known to us. Drawn are the constants of every layer with and without that noise, in units of
``|A_l|^-2``, tested on noiseless data; the distributed gamma is that of the averaged rule, three
times ``a1 a3``.
"""

from __future__ import annotations

import numpy as np

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
from benchmarks.transformer import Models

CLAIM = "No statement about the constants under noise is known to us."


def draw(setting: Setting) -> Drawing:
    """Step sizes by layer."""
    figure, axes = panels(2, width=4.2, height=3.4)
    rows = []
    for index, regime in enumerate(("unconstrained", "distributed", "estimation")):
        spectrum = setting.models.run(regime, 0, True).config.task.spectrum
        models = Models(setting.models.folder, spectrum=spectrum)  # both of one reading of the data
        for noisy in (False, True):
            rule = models.rule(regime, 0, noisy)
            look = style(f"{regime}{', noisy' * noisy}") | {
                "color": style("", index)["color"],
                "linestyle": "--" if noisy else "-",
                "marker": marker(index),
            }
            axes[0].plot(rule.eta[:-1], **look)
            axes[1].plot(rule.gamma, **look)
            rows += [
                {
                    "regime": regime,
                    "noisy": noisy,
                    "layer": k,
                    "eta": float(rule.eta[k]) if k < LAYERS[-1] else None,
                    "gamma": float(rule.gamma[k]),
                    "learned": rule.learned,
                }
                for k in LAYERS
            ]
    for ax, name in zip(axes, ("eta", "gamma"), strict=True):
        ax.set(title=name, xlabel="layer", xticks=list(LAYERS))
    return Drawing(finish(figure, axes, columns=3), rows)


def judge(rows: Rows) -> list[Check]:
    """Whether the rule is still there, and how long its steps are."""

    def mean(name: str, *, noisy: bool) -> float:
        own = select(rows, regime="unconstrained", noisy=noisy)
        return float(np.mean([row[name] for row in own if row[name] is not None]))

    noisy = select(rows, noisy=True)
    learned = sorted({row["regime"] for row in noisy if row["learned"]})
    all_regimes = {row["regime"] for row in noisy}
    return [
        Check(
            "(ours) the rule is found under noise as well",
            f"the rule is found under noise in {len(learned)} of {len(all_regimes)} regimes, with "
            f"shorter steps: unconstrained mean eta {mean('eta', noisy=True):.2f} instead of "
            f"{mean('eta', noisy=False):.2f}, gamma {mean('gamma', noisy=True):.2f} instead of "
            f"{mean('gamma', noisy=False):.2f}",
            None,
        )
    ]
