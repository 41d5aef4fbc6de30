"""Figure 19: six kinds of data.

n = d = 240, medians of 10 runs (5 of CG): A = U S V^T with a log-uniform spectrum down to 1e-2;
products of Student-t(4) factors; Gaussian; Gaussian rows with correlations 0.8^|i-j|; sparse
Rademacher (one entry in ten); block-clustered (5 clusters). B = W A and C = A H with Gaussian W and
H, so that the answer W A H is known. Condition numbers are what comes out.
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.curves import CENTRAL, METHODS, draw_bands, measure
from eagle.problems import Blocks

CLAIM = "No number is known to us; the figure shows the central comparison on other data."
Generator = np.random.Generator


def _svd(n: int, rng: Generator) -> np.ndarray:
    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    return (U * 10 ** rng.uniform(-2, 0, n)) @ V.T


def _correlated(n: int, rng: Generator) -> np.ndarray:
    correlations = scipy.linalg.toeplitz(0.8 ** np.arange(n))
    return rng.standard_normal((n, n)) @ np.linalg.cholesky(correlations).T


def _clustered(n: int, rng: Generator) -> np.ndarray:
    centres = rng.standard_normal((n, 5))
    return centres[:, rng.integers(5, size=n)] + 0.3 * rng.standard_normal((n, n))


KINDS: dict[str, Callable[[int, Generator], np.ndarray]] = {
    "log-uniform spectrum": _svd,
    "Student-t(4) factors": lambda n, rng: (
        rng.standard_t(4, (n, n)) @ rng.standard_t(4, (n, n)) / np.sqrt(n)
    ),
    "Gaussian": lambda n, rng: rng.standard_normal((n, n)),
    "correlated Gaussian": _correlated,
    "sparse Rademacher": lambda n, rng: (
        rng.choice((-1.0, 1.0), (n, n)) * (rng.random((n, n)) < 0.1)
    ),
    "clustered": _clustered,
}


def problem(kind: str, n: int, seed: int) -> Blocks:
    """``B = W A``, ``C = A H``, ``D = W A H``."""
    rng = np.random.default_rng(seed)
    A = KINDS[kind](n, rng)
    W, H = rng.standard_normal((2, n)), rng.standard_normal((n, 2))
    exact = A.astype(np.longdouble)
    D = (W @ (exact @ H)).astype(float)
    return Blocks(A, W @ A, A @ H, D, np.linalg.svd(A, compute_uv=False))


def draw(setting: Setting, sheet: Sheet) -> None:
    n, seeds = setting.pick(240, 60), setting.seeds(10)
    axes = sheet.panels(3, 2, legend=5, sharex=True, sharey=True)
    methods = setting.pick(None, {"CG": (METHODS["CG"][0], 4000)})
    for kind, ax in zip(KINDS, axes, strict=True):
        problems = [problem(kind, n, seed) for seed in seeds]
        spectra = [each.singular_values for each in problems]
        condition = float(np.median([s[0] / s[-1] for s in spectra]))
        bands = measure(problems, CENTRAL, methods=methods)
        draw_bands(ax, bands)
        ax.set(title=f"{kind} (condition {condition:.0e})", xlabel="")
        sheet.rows += [band.row(kind=kind, condition=condition) for band in bands]
        sheet.points += [point for band in bands for point in band.points(kind=kind)]
    for ax in axes[3:]:
        ax.set(xlabel="iteration")
    for ax in axes[::3]:
        ax.set(ylabel="squared relative error")


def judge(rows: Rows) -> Checks:
    """Whether it converges on all of them, in fewer iterations than CG."""
    rule, ours, cg = (
        [own.number("iterations", method=label) for _, own in rows.by("kind")]
        for label in ("EAGLE (paper)", "EAGLE (minimax)", "CG")
    )
    fewer, reached = sum(np.less(rule, cg)), sum(np.isfinite(rule))
    yield Check(
        "EAGLE converges whatever the data, in fewer iterations than CG",
        f"to 1e-20 on {reached} of {len(rule)} kinds, in {_range(rule)} iterations (minimax "
        f"{_range(ours)}, CG {_range(cg)}), fewer than CG on {fewer}",
        bool(fewer == len(rule) == reached),
    )


def _range(counts: list[float]) -> str:
    there = [count for count in counts if np.isfinite(count)]
    more = "" if len(there) == len(counts) else f", {len(counts) - len(there)} not reached"
    return (f"{min(there):.0f} to {max(there):.0f}" if there else "none") + more
