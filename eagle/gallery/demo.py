"""``eagle demo``: every method on real data, on one screen.

Both problems are made of scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eagle.api import solve
from eagle.gallery import plotting
from eagle.gallery.plotting import Trace
from eagle.methods import Eagle
from eagle.problem.result import ConvergenceWarning, Result
from eagle.tables import TableError, check_output
from eagle.tables.completion import complete

LANDMARKS, QUERIES, POINTS, GAMMA = 100, 6, 300, 0.02  # condition 5e4, full rank
COMPLETE_IMAGES = 100
METHODS: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
    ("EAGLE, minimax", "M", Eagle("minimax"), {}),
    ("EAGLE, Cholesky", "K", Eagle("cholesky"), {}),
    ("Newton-Schulz", "N", "newton-schulz", {}),
    ("conjugate gradients", "C", "cg", {}),
    ("gradient descent", "G", "gd", {"maxiter": 2000}),
    ("LSMR (scipy)", "L", "lsmr", {}),
    ("direct (LAPACK)", "D", "direct", {}),
)


def main(output: Path, seed: int = 0) -> None:
    """Run the comparison, print it and draw it.

    Parameters
    ----------
    output : Path
        Where the picture goes: .png, .pdf or .svg.
    seed : int
        Of what is hidden and of the random probes.

    Raises
    ------
    ValueError
        In one line, if a package is missing or `output` cannot be written.
    """
    _check(output)
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    images = load_digits().data / 16
    # Blocks this small are fastest on one thread, and times are then comparable.
    with threadpool_limits(1):
        A, B, C = kernel_blocks(images, rng)
        rows, traces = race(A, B, C, seed)
        restored = pixels(images, rng)
    condition = f"{np.linalg.cond(A):.0e}"
    lines = [
        "(a) A hidden block of the rbf kernel of handwritten digits is B A^+ C.",
        f"    A {_size(A)}, condition {condition}, B {_size(B)}, C {_size(C)}. One thread.",
        "",
        *rows,
        "",
        plotting.in_letters(traces),
        "",
        f"(b) The middle of {len(restored.truth)} digits, from {COMPLETE_IMAGES} whole ones.",
        *restored.lines(),
        "",
    ]
    _draw(output, traces, restored)
    sys.stdout.write("\n".join([*lines, f"Picture: {output}"]) + "\n")


def _check(output: Path) -> None:
    """Everything that can be wrong, before any work."""
    packages = ("sklearn", "matplotlib", "threadpoolctl")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise TableError(
            f"the demo needs {' and '.join(missing)}: pip install 'eagle-solver[demo]'"
        )
    check_output(output, plotting.FORMATS)


def kernel_blocks(
    images: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel among landmarks, of points with landmarks, of landmarks with queries."""
    from sklearn.metrics.pairwise import rbf_kernel

    order = rng.permutation(len(images))[: LANDMARKS + QUERIES + POINTS]
    landmarks, queries, points = np.split(images[order], [LANDMARKS, LANDMARKS + QUERIES])
    return (
        rbf_kernel(landmarks, gamma=GAMMA),
        rbf_kernel(points, landmarks, gamma=GAMMA),
        rbf_kernel(landmarks, queries, gamma=GAMMA),
    )


def reference(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """``B A^-1 C`` for positive definite A, refined with residuals in extended precision."""
    import scipy.linalg

    factor = scipy.linalg.cho_factor(A)
    wide = A.astype(np.longdouble)
    solution = np.zeros(C.shape, np.longdouble)
    for _ in range(5):
        solution += scipy.linalg.cho_solve(factor, (C - wide @ solution).astype(float))
    return (B.astype(np.longdouble) @ solution).astype(float)


def race(A: np.ndarray, B: np.ndarray, C: np.ndarray, seed: int) -> tuple[list[str], list[Trace]]:
    """A line for each method, and its true error at each iteration."""
    D = reference(A, B, C)
    lines = [f"    {'':21}{'iterations':>10}{'seconds':>9}{'error':>9}{'estimate':>10}  status"]
    traces = []
    for name, letter, method, options in METHODS:
        errors: list[float] = []

        def note(state: Any, errors: list[float] = errors) -> None:
            errors.append(_error(state.value, D))

        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the table says so
            result = solve(A, B, C, method=method, rng=seed, callback=note, **options)
        seconds = time.perf_counter() - start
        error = _error(result.value, D)
        lines.append(
            f"  {letter} {name:21}{result.iterations:10}{seconds:9.3f}{error:9.0e}"
            f"{result.error_estimate:10.0e}  {result.status.name}"
        )
        traces.append(_trace(name, letter, result, errors))
    return lines, traces


def _trace(name: str, letter: str, result: Result, errors: list[float]) -> Trace:
    """Steps of LSMR are right-hand sides, not iterations: only its end can be drawn."""
    if len(errors) == result.iterations:
        return Trace(name, letter, 1.0 + np.arange(len(errors)), np.array(errors))
    return Trace(name, letter, np.array([float(result.iterations)]), np.array(errors[-1:]))


@dataclass(frozen=True)
class Pixels:
    """Images with their middle hidden, and what was found in its place.

    Attributes
    ----------
    truth : ndarray (n, 64)
    hidden : ndarray of bool (64,)
    filled : dict of str to ndarray (n, 64)
    expected : dict of str to float
        Error that cross-validation foretells, where it does.
    """

    truth: np.ndarray
    hidden: np.ndarray
    filled: dict[str, np.ndarray]
    expected: dict[str, float]

    def lines(self) -> list[str]:
        """One for each way to fill."""
        texts = []
        for name, images in self.filled.items():
            error = _error(images[:, self.hidden], self.truth[:, self.hidden])
            said = f" ({self.expected[name]:.2f} expected)" if name in self.expected else ""
            texts.append(f"    {name:40}error {error:.2f}{said}")
        return texts


def pixels(images: np.ndarray, rng: np.random.Generator) -> Pixels:
    """Hide the middle of all images but a few and fill it in several ways."""
    from sklearn.linear_model import RidgeCV

    i, j = np.divmod(np.arange(64), 8)
    hidden = (i > 1) & (i < 6) & (j > 1) & (j < 6)
    truth = images[rng.permutation(len(images))]
    X = truth.copy()
    X[np.ix_(np.arange(COMPLETE_IMAGES, len(X)), hidden)] = np.nan
    donors, rest = truth[:COMPLETE_IMAGES], slice(COMPLETE_IMAGES, None)
    validated = complete(X, rng=rng)
    untruncated = complete(X, rank=None, rng=rng)
    ridge = RidgeCV(np.logspace(-3, 3, 25)).fit(donors[:, ~hidden], donors[:, hidden])
    found = {
        f"eagle.complete, {validated.groups[0].scaling} by validation": validated.X[rest, hidden],
        "eagle.complete, untruncated A^+": untruncated.X[rest, hidden],
        "RidgeCV (scikit-learn)": ridge.predict(truth[rest, ~hidden]),
        "mean of the complete images": np.tile(donors[:, hidden].mean(0), (len(X[rest]), 1)),
    }
    filled = {}
    for name, middle in found.items():
        filled[name] = truth[rest].copy()
        filled[name][:, hidden] = middle
    names = list(filled)
    expected = {names[0]: validated.error_estimate, names[1]: untruncated.error_estimate}
    return Pixels(truth[rest], hidden, filled, expected)


def _draw(output: Path, traces: list[Trace], restored: Pixels) -> None:
    """Convergence on the left, digits on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(2, 1))  # typed as a single one
    left, right = parts
    axes = left.subplots()
    plotting.convergence(axes, traces, "relative error of the hidden block")
    axes.set_title("A hidden block of a kernel matrix", loc="left", fontsize=11)
    seen = restored.truth.copy()
    seen[:, restored.hidden] = np.nan
    strips = {"truth": restored.truth, "given": seen, "found": next(iter(restored.filled.values()))}
    right.suptitle("Hidden pixels, filled by eagle.complete", fontsize=11)
    grid = right.subplots(7, 3, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for column, (title, strip) in enumerate(strips.items()):
        grid[0, column].set_title(title, fontsize=9)
        for row in range(7):
            cell = grid[row, column]
            cell.set_facecolor("#F2D9B8")
            cell.imshow(strip[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
    plotting.save(figure, output)


def _size(block: np.ndarray) -> str:
    return " x ".join(map(str, block.shape))


def _error(value: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))
