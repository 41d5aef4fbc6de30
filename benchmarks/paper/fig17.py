"""Figure 17: what training with noise finds.

The paper trains on X with Gaussian noise of variance 0.01 too; what exactly its figure shows is not
known to us. Drawn are the constants of every layer with and without that noise, in units of
``|A_l|^-2``, tested on noiseless data; the distributed gamma is that of the averaged rule, three
times ``a1 a3``.
"""

import numpy as np

from benchmarks.looks import marker, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import FULL_RANK, LAYERS
from benchmarks.transformer import Models

CLAIM = "No statement about the constants under noise is known to us."


def draw(setting: Setting, sheet: Sheet) -> None:
    axes = sheet.panels(2, width=4.2, height=3.4, legend=3)
    for index, regime in enumerate(FULL_RANK):
        spectrum = setting.models.run(regime, 0, True).config.task.spectrum
        models = Models(setting.models.folder, spectrum=spectrum)  # both of one reading of the data
        for noisy, dash in ((False, "-"), (True, "--")):
            rule = models.rule(regime, 0, noisy)
            look = style(regime, index, linestyle=dash, marker=marker(index))
            look["label"] += ", noisy" * noisy
            axes[0].plot(rule.eta[:-1], **look)
            axes[1].plot(rule.gamma, **look)
            for k in LAYERS:
                eta = float(rule.eta[k]) if k < LAYERS[-1] else None
                found = {"eta": eta, "gamma": float(rule.gamma[k]), "learned": rule.learned}
                sheet.row(regime=regime, noisy=noisy, layer=k, **found)
    for ax, name in zip(axes, ("eta", "gamma"), strict=True):
        ax.set(title=name, xlabel="layer", xticks=list(LAYERS))


def judge(rows: Rows) -> Checks:
    """Whether the rule is still there, and how long its steps are."""
    regimes = dict(rows.of(noisy=True).by("regime"))
    learned = sum(any(own.column("learned")) for own in regimes.values())
    (eta, noisy_eta), (gamma, noisy_gamma) = (
        [
            np.mean(rows.of(regime="unconstrained", noisy=noisy).having(name).column(name))
            for noisy in (False, True)
        ]
        for name in ("eta", "gamma")
    )
    yield Check(
        "(ours) the rule is found under noise as well",
        f"the rule is found under noise in {learned} of {len(regimes)} regimes, with shorter "
        f"steps: unconstrained mean eta {noisy_eta:.2f} instead of {eta:.2f}, gamma "
        f"{noisy_gamma:.2f} instead of {gamma:.2f}",
        None,
    )
