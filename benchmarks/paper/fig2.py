"""Figure 2: test error against training steps.

Every regime and seed of the checkpoints: mean square of an entry of D over fresh prompts. The paper
has ten seeds, the package two or three for each regime.
"""

from __future__ import annotations

import numpy as np

from benchmarks.paper.common import Check, Drawing, Rows, Setting, finish, panels, select, style
from benchmarks.paper.training import REGIMES

CLAIM = "The test error falls 10 to 50 times, to about 1e-3, in every regime."
LEAST = 10  # times
MOST_ERROR = 5e-3  # "about 1e-3"


def draw(setting: Setting) -> Drawing:
    """The logs of the checkpoints."""
    models = setting.models
    figure, (axes,) = panels(1, width=6.4, height=4.0)
    rows, points = [], []
    for index, regime in enumerate(REGIMES):
        for seed in models.seeds(regime):
            run = models.run(regime, seed)
            steps = [(0, run.untrained)] + [(r.step, r.test) for r in run.log if r.test is not None]
            axes.plot(*zip(*steps, strict=True), **style(regime, index))
            points += [
                {"regime": regime, "seed": seed, "step": step, "error": e} for step, e in steps
            ]
            rows.append(
                {"regime": regime, "seed": seed, "untrained": run.untrained, "trained": run.test}
            )
    axes.set(xlabel="step", ylabel="mean square of an entry of D", yscale="log")
    return Drawing(finish(figure, [axes]), rows, points)


def judge(rows: Rows) -> list[Check]:
    """One claim for each regime of the paper."""
    checks = []
    for regime in dict.fromkeys(row["regime"] for row in rows):
        own = select(rows, regime=regime)
        times = float(np.median([row["untrained"] / row["trained"] for row in own]))
        error = float(np.median([row["trained"] for row in own]))
        checks.append(
            Check(
                f"{regime}: falls at least {LEAST} times, to about 1e-3",
                f"{regime}: {times:.0f} times, to {error:.2g}",
                bool(times >= LEAST and error <= MOST_ERROR),
                "see TaskConfig.spectrum: which reading of the data it was trained on decides",
            )
        )
    return checks
