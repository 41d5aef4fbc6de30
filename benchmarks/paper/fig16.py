"""Figure 16: the accelerated variant, which freezes A and B once they are conditioned.

Three machines, d = 240, alpha = 0.05, condition 1e3: the library's "eagle" and "eagle-frozen" at
several tolerances, and Krylov. Seconds are those of the slowest machine, computing alone, medians
over runs.
"""

import numpy as np

from benchmarks.looks import marker, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.machines import TOLERANCES, solved
from eagle.distributed import shards_with_diversity

CLAIM = "The accelerated variant takes the same rounds and less time."
METHODS = {"EAGLE (paper)": "eagle", "EAGLE (frozen)": "eagle-frozen", "krylov (ours)": "krylov"}
SAME = 0.05  # rounds that differ by less are the same


def draw(setting: Setting, sheet: Sheet) -> None:
    d = setting.pick(240, 60)
    shards = shards_with_diversity(0.05, 3, d=d, condition=1e3, rng=setting.seed)
    axes = sheet.panels(2, width=4.2)
    for index, (label, method) in enumerate(METHODS.items()):
        found = Rows()
        for rtol in TOLERANCES:
            runs = [solved(shards, method, rtol, 5000, seed) for seed in setting.seeds(5, 2)]
            seen = [(run.rounds, run.simulated, shards.error(run.value) ** 2) for run in runs]
            rounds, seconds, error = np.median(seen, axis=0).tolist()
            medians = {"rounds": rounds, "seconds": seconds, "error": error}
            found.append({"method": label, "rtol": rtol} | medians)
        sheet.points += found
        sheet.row(method=label, **medians)
        for ax, against in zip(axes, ("rounds", "seconds"), strict=True):
            look = style(label, marker=marker(index))
            ax.loglog(found.column(against), found.column("error"), **look)
    axes[0].set(xlabel="rounds", ylabel="squared relative error")
    axes[1].set(xlabel="seconds of the slowest machine")


def judge(rows: Rows) -> Checks:
    plain, frozen, krylov = (rows.number("rounds", method=label) for label in METHODS)
    yield Check(
        "the same rounds",
        f"{frozen:.0f} rounds against {plain:.0f}",
        abs(frozen - plain) <= SAME * plain,
    )
    slow, fast, ours = (rows.number("seconds", method=label) for label in METHODS)
    yield Check(
        "less time",
        f"{slow / fast:.1f} times faster (krylov: {krylov:.0f} rounds, "
        f"{slow / ours:.1f} times faster)",
        slow > fast,
    )
