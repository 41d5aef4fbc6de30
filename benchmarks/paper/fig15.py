"""Figure 15: the estimation form, W = B A^+ without C.

n = d = 240, two rows, condition 1e2, medians of 50 runs (5 of CG). Left and middle: error of W
against iteration and seconds. Right: how far ``W_l C`` is from the ``D_l`` of the prediction form
at every step, both as printed, ``W <- W + gamma (B - W A) A^T``.
"""

import numpy as np

from benchmarks.looks import COLOURS
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.curves import METHODS, average, draw_bands, follow, measure
from eagle.problems import Blocks, low_rank
from eagle.update import Blocks as State
from eagle.update import update

CLAIM = "The same iteration without C: W_l C = D_l for every C."
LABELS = ("EAGLE (paper)", "EAGLE (minimax)", "EAGLE (Cholesky)", "CG", "SVD lstsq")
ROUNDING = 1e-11  # condition 1e2 times a few hundred roundings


def draw(setting: Setting, sheet: Sheet) -> None:
    n, seeds = setting.pick(240, 60), setting.seeds(50)
    plain = [low_rank(n, n, rng=seed) for seed in seeds]
    bands = measure([_estimation(n, seed) for seed in seeds], LABELS)
    sheet.rows += [band.row(form="estimation") for band in bands]
    sheet.points += [point for band in bands for point in band.points()]
    paper, limit = METHODS["EAGLE (paper)"]
    curves = [follow(problem, paper, limit, seed) for seed, problem in enumerate(plain)]
    sheet.rows.append(average("EAGLE (paper)", curves).row(form="prediction"))
    by_iteration, by_seconds, both = sheet.panels(3, legend=5)
    draw_bands(by_iteration, bands)
    draw_bands(by_seconds, bands, "seconds")
    by_iteration.set(ylabel="squared relative error of W")
    gaps = np.array([identity(problem) for problem in plain])
    sheet.row(form="both", method="identity", gap=float(gaps.max()))
    both.semilogy(np.median(gaps, axis=0), color=COLOURS[0])
    both.set(xlabel="iteration", ylabel="|W_l C - D_l| / |D*|", ylim=(1e-17, 1e-10))


def _estimation(n: int, seed: int) -> Blocks:
    """``B = W A`` for a random W; no C."""
    problem = low_rank(n, n, rng=seed)
    W = np.random.default_rng(seed).standard_normal((2, n)) / np.sqrt(n)
    return Blocks(problem.A, W @ problem.A, None, W, problem.singular_values)


def identity(problem: Blocks, steps: int = 20) -> list[float]:
    """``||W_l C - D_l|| / ||D*||`` step by step, eta = 1/3 and gamma = 1."""
    A, B, C = problem.A, problem.B, problem.C
    norm = np.linalg.norm(A, 2)
    state = State(A / norm, B / norm, C, np.zeros_like(problem.D))
    W, gaps = np.zeros((len(B), len(A))), []
    for _ in range(steps):
        W = W + (state.B - W @ state.A) @ state.A.T
        state = update(state, 1 / 3, 1.0)
        state = state._replace(A=1.5 * state.A, B=1.5 * state.B)
        gaps.append(float(np.linalg.norm(W @ C - state.D) / np.linalg.norm(problem.D)))
    return gaps


def judge(rows: Rows) -> Checks:
    """The identity, and what follows from it."""
    gap = rows.number("gap", method="identity")
    yield Check(
        "W_l C = D_l for every C",
        f"|W_l C - D_l| is at most {gap:.1e} |D*| in any step of any run",
        gap <= ROUNDING,
    )
    ours, theirs = (
        rows.number("iterations", method="EAGLE (paper)", form=form)
        for form in ("estimation", "prediction")
    )
    yield Check(
        "the same iterations",
        f"{ours:.0f} iterations to 1e-20, {theirs:.0f} in the prediction form",
        bool(np.isfinite(ours) and abs(ours - theirs) <= 2),
    )
