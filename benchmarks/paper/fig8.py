"""Figure 8: rounds do not depend on the number of machines.

One to eight machines with equal ranges, alpha = 1, d = 1000 and 1000 columns each, condition 1e2.
Algorithm 1 as printed, round by round; gradient descent in closed form; the library's Krylov, all
that it sends counted.
"""

import numpy as np

from benchmarks.looks import style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.machines import Rounds, descent, paper_rule, solved
from eagle.distributed import shards_with_diversity

CLAIM = "At alpha about 1 the rounds are independent of the number of machines."
MACHINES = (1, 3, 5, 8)


def draw(setting: Setting, sheet: Sheet) -> None:
    d = setting.pick(1000, 100)
    axes = sheet.panels(len(MACHINES), width=3.0, sharex=True, sharey=True)
    for ax, machines in zip(axes, MACHINES, strict=True):
        shards = shards_with_diversity(1, machines, d=d, columns=d, rng=setting.seed)
        krylov = solved(shards, "krylov", 1e-10, 1000, setting.seed)
        rounds, errors = np.array([krylov.rounds]), np.array([shards.error(krylov.value) ** 2])
        last = Rounds("krylov (ours)", rounds, errors, krylov.bytes_sent / krylov.rounds)
        star = {"marker": "*", "markersize": 10, "linestyle": "none"}
        for curve in (paper_rule(shards, 200), descent(shards), last):
            look = style(curve.label) | (star if len(curve.rounds) == 1 else {})
            ax.loglog(curve.rounds, np.maximum(curve.errors, 1e-32), **look)
            sheet.keep(curve, machines=machines)
        ax.set(title=f"M = {machines}", xlabel="rounds")
    axes[0].set(ylabel="squared relative error")


def judge(rows: Rows) -> Checks:
    rule, ours = (
        [own.number("rounds", method=label) for _, own in rows.by("machines")]
        for label in ("EAGLE (paper)", "krylov (ours)")
    )
    counts = dict.fromkeys(rows.column("machines"))
    yield Check(
        CLAIM.rstrip("."),
        f"{', '.join(f'{r:.0f}' for r in rule)} rounds with {', '.join(map(str, counts))} machines "
        f"(krylov {max(ours):.0f})",
        bool(np.isfinite(rule).all() and max(rule) - min(rule) <= 2),
    )
