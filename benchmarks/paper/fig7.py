"""Figure 7: rounds of three machines, by diversity.

Algorithm 1 as printed, counted round by round; gradient descent in closed form; the library's
Krylov, APC and CG at several tolerances, where everything that they send counts, set-up and
verification included. d = 240, condition 1e3. The paper's diversities 0.83 and 0.35 are means over
runs: with three machines a direction is in the range of all or missing from one at least, so that
no alpha lies between 2/3 and 1. Here 2/3 takes the place of 0.83; it and 0.35 come from random
ranges, 1 and 0.01 from the generator. The last two panels have rounds and traffic to 1e-20 over
more diversities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import eagle.distributed as many
from benchmarks.paper.common import (
    FACTOR,
    Check,
    Drawing,
    Rows,
    Setting,
    finish,
    marker,
    number,
    panels,
    select,
    style,
)
from benchmarks.paper.machines import Rounds, descent, paper_rule, random_shards, sweep

CLAIM = (
    "Rounds grow like 1/alpha; 10 to 100 times fewer than GD; CG is not available under messages "
    "of O(d) numbers."
)
CONDITION = 1e3
MOST = 20_000  # rounds of the paper's rule
MOST_CG = 3000
LARGER = 2.0  # times the rule's message: still O(d)


def draw(setting: Setting) -> Drawing:
    """Error against rounds at four diversities; rounds against diversity."""
    d = setting.pick(240, 60)
    figure, axes = panels(3, 2)
    rows, points = [], []
    for ax, (alpha, shards) in zip(axes, _shards(d, setting.seed).items(), strict=False):
        for index, curve in enumerate(_curves(shards, setting.seed)):
            look = style(curve.label) | ({"marker": marker(index)} if index > 1 else {})
            ax.loglog(curve.rounds, np.maximum(curve.errors, 1e-30), markersize=4, **look)
            rows.append(_row(curve, shards, alpha, sweep=False))
            points += [
                {"alpha": alpha, "method": curve.label, "rounds": int(x), "error": float(y)}
                for x, y in zip(curve.rounds, curve.errors, strict=True)
            ]
        ax.set(title=f"alpha = {shards.alpha:.2g}", xlabel="rounds", ylim=(1e-30, 30))
    for ax in (axes[0], axes[3]):
        ax.set(ylabel="squared relative error")
    for alpha in setting.pick((0.3, 0.1, 0.03, 0.01, 0.003), (0.3, 0.1, 0.03)):
        shards = many.shards_with_diversity(alpha, 3, d=d, condition=CONDITION, rng=setting.seed)
        curves = paper_rule(shards, MOST), sweep(shards, "krylov", "krylov (ours)", MOST, 0)
        rows += [_row(curve, shards, alpha, sweep=True) for curve in curves]
    for label in ("EAGLE (paper)", "krylov (ours)"):
        own = select(rows, method=label, sweep=True)
        x, rounds = [row["alpha"] for row in own], np.array([row["rounds"] for row in own])
        sent = rounds * [row["bytes_a_round"] for row in own] / 1e3
        for ax, y in zip(axes[4:], (rounds, sent), strict=True):
            ax.loglog(x, y, "o-", **_look(label))
    axes[4].set(xlabel="alpha", ylabel="rounds to 1e-20", title="rounds by diversity")
    axes[5].set(xlabel="alpha", ylabel="kB sent to 1e-20", title="traffic of a machine")
    return Drawing(finish(figure, axes, columns=5), rows, points)


def _look(label: str) -> dict[str, Any]:
    return {key: value for key, value in style(label).items() if key != "linestyle"}


def _shards(d: int, seed: int) -> dict[float, many.Shards]:
    """Diversities 1, 2/3, about 0.35, and 0.01."""
    fewer = round(d * 107 / 120)
    return {
        1.0: many.shards_with_diversity(1, 3, d=d, condition=CONDITION, rng=seed),
        0.83: random_shards((d, d, d - 1), d, CONDITION, seed),
        0.35: random_shards((fewer,) * 3, d, CONDITION, seed),
        0.01: many.shards_with_diversity(0.01, 3, d=d, condition=CONDITION, rng=seed),
    }


def _curves(shards: many.Shards, seed: int) -> list[Rounds]:
    return [
        paper_rule(shards, MOST),
        descent(shards),
        sweep(shards, "krylov", "krylov (ours)", MOST, seed),
        sweep(shards, "apc", "APC", MOST, seed),
        sweep(shards, "cg", "CG", MOST_CG, seed),
    ]


def _row(curve: Rounds, shards: many.Shards, alpha: float, *, sweep: bool) -> dict[str, Any]:
    return {
        "sweep": sweep,
        "alpha": alpha,
        "alpha_seen": shards.alpha,
        "method": curve.label,
        "rounds": curve.to_target,
        "last_round": int(curve.rounds[-1]),
        "last_error": float(curve.errors[-1]),
        "bytes_a_round": float(curve.bytes_a_round),
    }


def judge(rows: Rows) -> list[Check]:
    """Power of 1/alpha, gain over GD, and what else O(d) numbers a round can do."""
    powers = {label: _power(rows, label) for label in ("EAGLE (paper)", "krylov (ours)")}
    gains = [
        number(rows, "rounds", sweep=False, alpha=alpha, method="GD")
        / number(rows, "rounds", sweep=False, alpha=alpha, method="EAGLE (paper)")
        for alpha in dict.fromkeys(row["alpha"] for row in select(rows, sweep=False))
    ]
    hard = min(row["alpha"] for row in select(rows, sweep=False))
    theirs, ours, raw = (
        select(rows, sweep=False, alpha=hard, method=label)[0] for label in (*powers, "CG")
    )
    small = ours["bytes_a_round"] <= LARGER * theirs["bytes_a_round"]
    return [
        Check(
            "rounds grow like 1/alpha",
            f"rounds grow like alpha^-{powers['EAGLE (paper)']:.2f} "
            f"(krylov alpha^-{powers['krylov (ours)']:.2f})",
            bool(abs(powers["EAGLE (paper)"] - 1) <= 0.2),
        ),
        Check(
            f"10 to 100 times fewer rounds than GD (within a factor of {FACTOR:g}, or better)",
            f"{min(gains):.0f} to {max(gains):.0f} times fewer than GD",
            bool(min(gains) >= 10 / FACTOR),
        ),
        Check(
            "CG is not available under messages of O(d) numbers",
            f"conjugate directions on the mean projector need {_rounds(ours)} rounds of "
            f"{ours['bytes_a_round'] / 1e3:.1f} kB at alpha = {hard:g}, CG on the raw data "
            f"{_rounds(raw)} of {raw['bytes_a_round'] / 1e3:.1f} kB, the rule {_rounds(theirs)} "
            f"of {theirs['bytes_a_round'] / 1e3:.1f} kB",
            not (small and ours["rounds"] is not None),
            "condition locally without messages, then iterate on mean(P) Z = C",
        ),
    ]


def _power(rows: Rows, label: str) -> float:
    """Of 1/alpha, fitted where alpha is small."""
    own = [row for row in select(rows, method=label, sweep=True) if row["alpha"] <= 0.1]
    own = [row for row in own if row["rounds"] is not None]
    if len(own) < 2:
        return np.nan
    return float(
        -np.polyfit(np.log([r["alpha"] for r in own]), np.log([r["rounds"] for r in own]), 1)[0]
    )


def _rounds(row: dict[str, Any]) -> str:
    return f"{row['rounds']:.0f}" if row["rounds"] else f"over {row['last_round']}"
