"""Figure 20: eight times the size, n = d = 1920.

Condition 1e2, two rows and columns, medians of 2 runs: error against iteration and seconds. Beside
it iterations of the same rule at n = 240, which Theorem 1 has independent of the size.
"""

import numpy as np

from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.curves import CENTRAL, DRIVERS, draw_bands, measure, over_svd
from eagle.problems import low_rank

CLAIM = "The iterations depend on the condition number alone, not on the size."
LABELS = (*CENTRAL, *DRIVERS)


def draw(setting: Setting, sheet: Sheet) -> None:
    large, small = setting.pick((1920, 240), (240, 60))
    for n, labels in ((small, LABELS[:2]), (large, LABELS)):
        problems = [low_rank(n, n, rng=seed) for seed in setting.seeds(2, 1)]
        bands = measure(problems, labels)
        for band in bands:
            sheet.keep(band, n=n)
    by_iteration, by_seconds = sheet.panels(2, width=4.2)
    draw_bands(by_iteration, bands)
    draw_bands(by_seconds, bands, "seconds")
    by_iteration.set(ylabel="squared relative error")


def judge(rows: Rows) -> Checks:
    """Iterations at both sizes; seconds as they are."""
    small, large = min(rows.column("n")), max(rows.column("n"))
    few, many = (rows.number("iterations", n=n, method=LABELS[0]) for n in (small, large))
    yield Check(
        "iterations do not depend on the size",
        f"{many:.0f} iterations at n = {large}, {few:.0f} at n = {small}",
        bool(np.isfinite(many) and abs(many - few) <= 2),
    )
    svd, listed = over_svd(rows.of(n=large), LABELS)
    yield Check(
        "(seconds: the paper's are a GPU's)",
        f"seconds to 1e-20 in units of SVD lstsq, {svd:.2g} s: {listed}",
        None,
    )
