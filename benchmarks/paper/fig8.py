"""Figure 8: rounds do not depend on the number of machines.

One to eight machines with equal ranges, alpha = 1, d = 1000 and 1000 columns each, condition 1e2.
Algorithm 1 as printed, round by round; gradient descent in closed form; the library's Krylov, all
that it sends counted.
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
    number,
    panels,
    style,
)
from benchmarks.paper.machines import Rounds, descent, paper_rule, solved

CLAIM = "At alpha about 1 the rounds are independent of the number of machines."
MACHINES = (1, 3, 5, 8)


def draw(setting: Setting) -> Drawing:
    """Error against rounds, one panel for each number of machines."""
    d = setting.pick(1000, 100)
    figure, axes = panels(len(MACHINES), width=3.0, sharex=True, sharey=True)
    rows, points = [], []
    for ax, machines in zip(axes, MACHINES, strict=True):
        shards = many.shards_with_diversity(1, machines, d=d, columns=d, rng=setting.seed)
        krylov = solved(shards, "krylov", 1e-10, 1000, setting.seed)
        last = Rounds(
            "krylov (ours)", np.array([krylov.rounds]),
            np.array([shards.error(krylov.value) ** 2]), krylov.bytes_sent / krylov.rounds,
        )  # fmt: skip
        for curve in (paper_rule(shards, 200), descent(shards), last):
            look = style(curve.label)
            if len(curve.rounds) == 1:
                look |= {"marker": "*", "markersize": 10, "linestyle": "none"}
            ax.loglog(curve.rounds, np.maximum(curve.errors, 1e-32), **look)
            rows.append(
                {"machines": machines, "method": curve.label, "rounds": curve.to_target}
                | {"last_error": float(curve.errors[-1]), "bytes_a_round": curve.bytes_a_round}
            )
            points += [
                {"machines": machines, "method": curve.label, "rounds": int(x), "error": float(y)}
                for x, y in zip(curve.rounds, curve.errors, strict=True)
            ]
        ax.set(title=f"M = {machines}", xlabel="rounds")
    axes[0].set(ylabel="squared relative error")
    return Drawing(finish(figure, axes), rows, points)


def judge(rows: Rows) -> list[Check]:
    """The rounds of the paper's rule, and of ours."""
    counts = dict.fromkeys(row["machines"] for row in rows)
    rule, ours = (
        [number(rows, "rounds", machines=m, method=label) for m in counts]
        for label in ("EAGLE (paper)", "krylov (ours)")
    )
    return [
        Check(
            CLAIM.rstrip("."),
            f"{', '.join(f'{r:.0f}' for r in rule)} rounds with "
            f"{', '.join(map(str, counts))} machines (krylov {max(ours):.0f})",
            bool(np.isfinite(rule).all() and max(rule) - min(rule) <= 2),
        )
    ]
