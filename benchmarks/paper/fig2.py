"""Figure 2: test error against training steps.

Every regime and seed of the checkpoints: mean square of an entry of D over fresh prompts. The paper
has ten seeds, the package two or three for each regime.
"""

import numpy as np

from benchmarks.looks import style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from eagle.transformer.config import REGIMES

CLAIM = "The test error falls 10 to 50 times, to about 1e-3, in every regime."
LEAST = 10  # times
MOST_ERROR = 5e-3  # "about 1e-3"


def draw(setting: Setting, sheet: Sheet) -> None:
    (axes,) = sheet.panels(1, width=6.4, height=4.0)
    for index, regime in enumerate(REGIMES):
        for seed in setting.models.seeds(regime):
            run, place = setting.models.run(regime, seed), {"regime": regime, "seed": seed}
            steps = [(0, run.untrained)] + [(r.step, r.test) for r in run.log if r.test is not None]
            axes.plot(*zip(*steps, strict=True), **style(regime, index))
            sheet.points += [place | {"step": step, "error": error} for step, error in steps]
            sheet.row(**place, untrained=run.untrained, trained=run.test)
    axes.set(xlabel="step", ylabel="mean square of an entry of D", yscale="log")


def judge(rows: Rows) -> Checks:
    for regime, own in rows.by("regime"):
        times = np.median([row["untrained"] / row["trained"] for row in own])
        error = np.median(own.column("trained"))
        yield Check(
            f"{regime}: falls at least {LEAST} times, to about 1e-3",
            f"{regime}: {times:.0f} times, to {error:.2g}",
            bool(times >= LEAST and error <= MOST_ERROR),
            "see TaskConfig.spectrum: which reading of the data it was trained on decides",
        )
