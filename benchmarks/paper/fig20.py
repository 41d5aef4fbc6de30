"""Figure 20: eight times the size, n = d = 1920.

Condition 1e2, two rows and columns, medians of 2 runs: error against iteration and seconds. Beside
it iterations of the same rule at n = 240, which Theorem 1 has independent of the size.
"""

from __future__ import annotations

import numpy as np

import eagle
from benchmarks.paper.common import (
    Check,
    Drawing,
    Rows,
    Setting,
    finish,
    number,
    panels,
)
from benchmarks.paper.curves import DRIVERS, draw_bands, measure

CLAIM = "The iterations depend on the condition number alone, not on the size."
LABELS = (
    "EAGLE (paper)", "EAGLE (minimax)", "EAGLE (Cholesky)", "sketched (ours)", "CG", *DRIVERS,
)  # fmt: skip


def draw(setting: Setting) -> Drawing:
    """Two panels, the large problem."""
    large, small = setting.pick((1920, 240), (240, 60))
    rows, points = [], []
    figure, axes = panels(2, width=4.2)
    for n, labels in ((small, LABELS[:2]), (large, LABELS)):
        problems = [eagle.problems.low_rank(n, n, rng=seed) for seed in setting.seeds(2, 1)]
        bands = measure(problems, labels)
        rows += [band.row(n=n) for band in bands]
        points += [point for band in bands for point in band.points(n=n)]
    draw_bands(axes[0], bands)
    draw_bands(axes[1], bands, "seconds")
    axes[0].set(ylabel="squared relative error")
    return Drawing(finish(figure, axes), rows, points)


def judge(rows: Rows) -> list[Check]:
    """Iterations at both sizes; seconds as they are."""
    small, large = min(row["n"] for row in rows), max(row["n"] for row in rows)
    few, many = (number(rows, "iterations", n=n, method="EAGLE (paper)") for n in (small, large))
    svd = number(rows, "seconds", n=large, method="SVD lstsq")
    listed = ", ".join(
        f"{label} {number(rows, 'seconds', n=large, method=label) / svd:.2g}"
        for label in LABELS
        if label != "SVD lstsq"
    )
    return [
        Check(
            "iterations do not depend on the size",
            f"{many:.0f} iterations at n = {large}, {few:.0f} at n = {small}",
            bool(np.isfinite(many) and abs(many - few) <= 2),
        ),
        Check(
            "(seconds: the paper's are a GPU's)",
            f"seconds to 1e-20 in units of SVD lstsq, {svd:.2g} s: {listed}",
            None,
        ),
    ]
