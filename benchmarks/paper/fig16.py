"""Figure 16: the accelerated variant, which freezes A and B once they are conditioned.

Three machines, d = 240, alpha = 0.05, condition 1e3: the library's "eagle" and "eagle-frozen" at
several tolerances, and Krylov. Seconds are those of the slowest machine, computing alone, medians
over runs.
"""

from __future__ import annotations

import numpy as np

import eagle.distributed as many
from benchmarks.paper.common import (
    Check,
    Drawing,
    Rows,
    Setting,
    finish,
    marker,
    number,
    panels,
    style,
)
from benchmarks.paper.machines import TOLERANCES, solved

CLAIM = "The accelerated variant takes the same rounds and less time."
METHODS = {"EAGLE (paper)": "eagle", "EAGLE (frozen)": "eagle-frozen", "krylov (ours)": "krylov"}
SAME = 0.05  # rounds that differ by less are the same


def draw(setting: Setting) -> Drawing:
    """Error against rounds and against seconds."""
    d = setting.pick(240, 60)
    shards = many.shards_with_diversity(0.05, 3, d=d, condition=1e3, rng=setting.seed)
    figure, axes = panels(2, width=4.2)
    rows, points = [], []
    for index, (label, method) in enumerate(METHODS.items()):
        found = []
        for rtol in TOLERANCES:
            runs = [solved(shards, method, rtol, 5000, seed) for seed in setting.seeds(5, 2)]
            found.append(
                {
                    "method": label,
                    "rtol": rtol,
                    "rounds": float(np.median([run.rounds for run in runs])),
                    "seconds": float(np.median([run.simulated for run in runs])),
                    "error": float(np.median([shards.error(run.value) ** 2 for run in runs])),
                }
            )
        points += found
        rows.append({key: value for key, value in found[-1].items() if key != "rtol"})
        for ax, against in zip(axes, ("rounds", "seconds"), strict=True):
            ax.loglog(
                [each[against] for each in found], [each["error"] for each in found],
                marker=marker(index), **style(label),
            )  # fmt: skip
    axes[0].set(xlabel="rounds", ylabel="squared relative error")
    axes[1].set(xlabel="seconds of the slowest machine")
    return Drawing(finish(figure, axes), rows, points)


def judge(rows: Rows) -> list[Check]:
    """Rounds and seconds to the last tolerance."""
    plain, frozen, krylov = (
        {name: number(rows, name, method=label) for name in ("rounds", "seconds")}
        for label in METHODS
    )
    gain = plain["seconds"] / frozen["seconds"]
    return [
        Check(
            "the same rounds",
            f"{frozen['rounds']:.0f} rounds against {plain['rounds']:.0f}",
            abs(frozen["rounds"] - plain["rounds"]) <= SAME * plain["rounds"],
        ),
        Check(
            "less time",
            f"{gain:.1f} times faster (krylov: {krylov['rounds']:.0f} rounds, "
            f"{plain['seconds'] / krylov['seconds']:.1f} times faster)",
            gain > 1,
        ),
    ]
