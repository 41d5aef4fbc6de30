"""The pictures of these pages, drawn when they are built: always the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from sphinx.application import Sphinx

import eagle
from eagle.driver import Snapshot
from eagle.plotting import COLOURS
from eagle.schedule import Minimax, largest

FOLDER = Path(__file__).parent / "_pictures"


def waves(size: int = 160, rank: int = 12) -> np.ndarray:
    """A matrix of this rank to look at: products of waves, each weaker than the last."""
    x = np.linspace(0, 1, size)
    rng = np.random.default_rng(3)

    def modes() -> np.ndarray:
        frequencies = np.arange(1, rank + 1) * rng.uniform(0.8, 1.2, rank)
        return np.sin(2 * np.pi * np.outer(x, frequencies) + rng.uniform(0, 6, rank))

    return modes() * 0.6 ** np.arange(rank) @ modes().T


def landing() -> Figure:
    """The hidden block as it appears, the singular values that rise, the error that falls."""
    X = waves()
    half = len(X) // 2
    A, B, C, D = X[:half, :half], X[half:, :half], X[:half, half:], X[half:, half:]
    values, errors, estimates = [np.zeros_like(D)], [1.0], []

    def watch(state: Snapshot) -> None:
        values.append(state.value)
        errors.append(np.linalg.norm(state.value - D) / np.linalg.norm(D))
        estimates.append(state.error_estimate)

    result = eagle.solve(A, B, C, method="eagle", callback=watch, rng=0)
    schedule, spectra = Minimax(), [np.linalg.svd(A, compute_uv=False)[: result.rank]]
    spectra[0] /= spectra[0][0]
    for _ in estimates:
        s = spectra[-1]
        eta, _ = schedule.pair(s.min())
        spectra.append(s * (1 - eta * s**2) / largest(eta))

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    shown = (0, 2, 4, 12)
    for axes, step in zip(top.subplots(1, len(shown)), shown, strict=True):
        picture = X.copy()
        picture[half:, half:] = values[step]
        axes.imshow(picture, cmap="RdBu_r", vmin=-1.8, vmax=1.8, interpolation="bilinear")
        axes.axhline(half - 0.5, color="black", linewidth=1)
        axes.axvline(half - 0.5, color="black", linewidth=1)
        for name, (row, column) in {"A": (0, 0), "C": (0, 1), "B": (1, 0), "D": (1, 1)}.items():
            axes.text(
                half * (column + 0.08),
                half * (row + 0.18),
                name,
                fontweight="bold",
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
            )
        axes.set(xticks=(), yticks=(), title=f"{step} iterations" if step else "D is hidden")
    spectrum, fall = bottom.subplots(1, 2)
    spectrum.semilogy(np.array(spectra), color=COLOURS[0], linewidth=1.2)
    spectrum.set(xlabel="iteration", title="singular values of A, as the schedule lifts them")
    fall.semilogy(errors, color=COLOURS[1], linewidth=2, label="error")
    fall.semilogy(
        np.arange(1, len(estimates) + 1), estimates, "o", color=COLOURS[2], label="estimated"
    )
    fall.set(xlabel="iteration", title="relative error of D", ylim=(1e-16, 10))
    fall.legend(frameon=False)
    for axes in (spectrum, fall):
        axes.grid(True, color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def flow() -> Figure:
    """A solve, from the blocks to the result, as `eagle.api` and `eagle.driver` run it."""
    figure = Figure(figsize=(9, 3.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9), ylim=(0, 3.9))
    axes.axis("off")

    def box(x: float, y: float, name: str, says: str, colour: str = COLOURS[0]) -> None:
        patch = FancyBboxPatch(
            (x - 0.72, y - 0.34), 1.44, 0.68, "round,pad=0.02", facecolor="white", edgecolor=colour
        )
        patch.set_linewidth(1.8)
        axes.add_patch(patch)
        axes.text(x, y + 0.1, name, ha="center", va="center", fontsize=11, fontweight="bold")
        axes.text(x, y - 0.17, says, ha="center", va="center", fontsize=8)

    def arrow(start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
        style = {"arrowstyle": "-|>", "color": "0.25", "linewidth": 1.5, "mutation_scale": 14}
        axes.annotate("", end, start, arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"})

    loop = FancyBboxPatch(
        (4.0, 0.28), 2.9, 3.3, "round,pad=0.02", facecolor="0.95", edgecolor="0.6"
    )
    axes.add_patch(loop)
    axes.text(4.1, 3.4, "driver.run: the only loop", va="center", fontsize=9, color="0.25")
    box(0.9, 2.7, "Problem", "problem.py")
    box(2.9, 2.7, "plan", "plan.py")
    box(5.45, 2.7, "method.init", "methods/")
    box(5.45, 1.75, "method.step", "methods/, kernels/")
    box(5.45, 0.75, "certificate", "certificate.py", COLOURS[2])
    box(8.0, 0.75, "Result", "result.py", COLOURS[1])
    for start, end in (
        ((1.64, 2.7), (2.14, 2.7)),
        ((3.64, 2.7), (4.69, 2.7)),
        ((5.45, 2.34), (5.45, 2.11)),
        ((5.45, 1.39), (5.45, 1.11)),
        ((6.19, 0.75), (7.24, 0.75)),
    ):
        arrow(start, end)
    arrow((4.69, 0.75), (4.69, 1.75), -0.6)
    axes.text(4.32, 1.25, "go on", ha="center", va="center", fontsize=8, rotation=90)
    axes.plot((8.0, 8.0, 2.9, 2.9), (0.39, 0.12, 0.12, 1.6), color="0.25", linewidth=1.5)
    arrow((2.9, 1.5), (2.9, 2.11))
    axes.text(
        2.8, 0.75, "not accurate enough:\nauto's next choice", ha="right", va="center", fontsize=8
    )
    axes.text(0.9, 3.3, "checked and scaled", ha="center", va="center", fontsize=8)
    axes.text(2.9, 3.3, "what to try, and why", ha="center", va="center", fontsize=8)
    axes.text(6.82, 3.3, "probes are\nappended", ha="right", va="center", fontsize=8)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {"flow": flow, "landing": landing}


def draw(app: Sphinx) -> None:
    """Draw what is missing or older than this file."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        path = FOLDER / f"{name}.png"
        if not path.exists() or path.stat().st_mtime < Path(__file__).stat().st_mtime:
            picture().savefig(path, dpi=160)


def setup(app: Sphinx) -> dict[str, bool]:
    """Draw before anything is read."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
