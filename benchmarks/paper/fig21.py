"""Figure 21: noise, and stopping early.

Left: n = d = 240, entries of X of size one with noise of variance 0.01 on A, B and C, condition 1e2
without it, medians of 10 runs: relative error against the noiseless D by iteration, and that with
the best ridge (dashed), chosen with D known, as the best iteration is. Right: what noise in B does
to the distributed rule: its error against the Nyström estimate of the pooled data, 4 machines of
250 columns, d = 100, alpha = 0.2, for three relative sizes of the noise. The library's methods see
that and end at the pooled value.
"""

import numpy as np

from benchmarks.looks import COLOURS, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.curves import METHODS, average, follow
from benchmarks.paper.machines import paper_rule, solved
from benchmarks.rivals import ours
from eagle.distributed import shards_with_diversity
from eagle.problems import Blocks, low_rank

CLAIM = "With noise 0.01, stopping early regularises."
VARIANCE = 0.01
LIMITS = {"EAGLE (paper)": 60, "EAGLE (minimax)": 60, "CG": 2000, "GD": 5000}
NOISES = (0.1, 0.01, 0.001)
GAINS = 0.9  # of the final error: a best error below this is a gain


def draw(setting: Setting, sheet: Sheet) -> None:
    n, d = setting.pick((240, 100), (60, 40))
    problems = [noisy(n, seed) for seed in setting.seeds(10)]
    left, right = sheet.panels(2, width=4.4, height=3.4)
    for label, most in LIMITS.items():
        method = METHODS[label][0]
        curves = [follow(problem, method, most, seed) for seed, problem in enumerate(problems)]
        band = average(label, curves)
        errors = np.sqrt(band.median)
        left.semilogx(band.iterations, errors, linewidth=1.8, **style(label))
        ends = {"best": float(errors.min()), "at": int(band.iterations[errors.argmin()])}
        sheet.row(method=label, **ends, last=float(errors[-1]))
        sheet.points += band.points()
    ridge = float(np.median([_ridge(problem) for problem in problems]))
    sheet.row(method="ridge", best=ridge, last=ridge)
    left.axhline(ridge, color="0.4", linestyle="--", linewidth=1.2, label="best ridge")
    left.set(xlabel="iteration", ylabel="relative error", title="central", ylim=(0, None))
    settings = {"d": d, "columns": 5 * d // 2, "condition": 30, "rng": setting.seed}
    for index, noise in enumerate(NOISES):
        shards = shards_with_diversity(0.2, 4, noise=noise, **settings)
        errors = np.sqrt(paper_rule(shards, 200).errors)
        krylov = shards.error(solved(shards, "krylov", 1e-8, 5000, setting.seed).value)
        look = {"color": COLOURS[index], "label": f"rule, noise {noise:g}"}
        right.loglog(np.arange(1, len(errors) + 1), errors, **look)
        sheet.row(method="distributed", noise=noise, last=float(errors[-1]))
        sheet.row(method="krylov (ours)", noise=noise, last=krylov)
    right.set(xlabel="rounds", ylabel="error against the pooled estimate", title="distributed")


def noisy(n: int, seed: int) -> Blocks:
    """Entries of size one and noise on A, B and C; D without it."""
    clean = low_rank(n, n, rng=seed)
    rng = np.random.default_rng(seed)
    a = n / np.linalg.norm(clean.A)
    b, c = (np.sqrt(block.size) / np.linalg.norm(block) for block in (clean.B, clean.C))
    A, B, C = (
        block + np.sqrt(VARIANCE) * rng.standard_normal(block.shape)
        for block in (a * clean.A, b * clean.B, c * clean.C)
    )
    return Blocks(A, B, C, clean.D * b * c / a, clean.singular_values)


def _ridge(problem: Blocks) -> float:
    """Error with the best ridge of some around what the variance of the noise suggests."""
    ridges = VARIANCE * problem.A.shape[1] * np.geomspace(0.3, 100, 11)
    return min(problem.error(ours(problem, ridge=ridge, rng=0)().value) for ridge in ridges)


def judge(rows: Rows) -> Checks:
    """The best iterate against the last, and the bias of many machines."""
    best, last, at = (rows.number(name, method="EAGLE (paper)") for name in ("best", "last", "at"))
    ridge = rows.number("last", method="ridge")
    yield Check(
        "stopping early regularises",
        f"the error is {best:.2g} after {at:.0f} iterations and {last:.2g} at the end (with "
        f"the best ridge {ridge:.2g})",
        best < GAINS * last,
    )
    bias, krylov = (
        ", ".join(f"{error:.1e}" for error in rows.of(method=method).column("last"))
        for method in ("distributed", "krylov (ours)")
    )
    levels = ", ".join(f"{noise:g}" for noise in rows.of(method="distributed").column("noise"))
    yield Check(
        "(Theorem 2 is for noiseless data)",
        f"with noise {levels} in B the distributed rule ends {bias} off the pooled estimate, "
        f"krylov with its finish {krylov}",
        None,
    )
