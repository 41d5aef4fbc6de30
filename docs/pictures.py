"""The pictures of these pages, drawn when they are built: always the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FixedLocator, NullLocator
from sphinx.application import Sphinx

import eagle
from eagle.gallery.plotting import COLOURS
from eagle.methods.eagle.schedule import Minimax, largest
from eagle.run.driver import Snapshot

FOLDER = Path(__file__).parent / "_pictures"
WIDTH = 7.0  # inches: letters are still readable when a phone shrinks the picture


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

    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
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
    spectrum.set(xlabel="iteration", title="singular values of A, being lifted")
    fall.semilogy(errors, color=COLOURS[1], linewidth=2, label="error")
    fall.semilogy(
        np.arange(1, len(estimates) + 1), estimates, "o", color=COLOURS[2], label="estimated"
    )
    fall.set(xlabel="iteration", title="relative error of D", ylim=(1e-16, 10))
    fall.legend(frameon=False)
    for axes in (spectrum, fall):
        _plain(axes)
    return figure


def flow() -> Figure:
    """A solve, from the blocks to the result, as `eagle.api` and `eagle.run.driver` run it."""
    figure = Figure(figsize=(WIDTH, 3.9 * WIDTH / 9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9), ylim=(0, 3.9))
    axes.axis("off")

    def box(x: float, y: float, name: str, says: str, colour: str = COLOURS[0]) -> None:
        patch = FancyBboxPatch(
            (x - 0.72, y - 0.34), 1.44, 0.68, "round,pad=0.02", facecolor="white", edgecolor=colour
        )
        patch.set_linewidth(1.8)
        axes.add_patch(patch)
        axes.text(x, y + 0.1, name, ha="center", va="center", fontsize=10, fontweight="bold")
        axes.text(x, y - 0.17, says, ha="center", va="center", fontsize=7.5)

    def arrow(start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
        style = {"arrowstyle": "-|>", "color": "0.25", "linewidth": 1.5, "mutation_scale": 14}
        axes.annotate("", end, start, arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"})

    loop = FancyBboxPatch(
        (4.0, 0.28), 2.9, 3.3, "round,pad=0.02", facecolor="0.95", edgecolor="0.6"
    )
    axes.add_patch(loop)
    axes.text(4.1, 3.4, "driver.run: the only loop", va="center", fontsize=9, color="0.25")
    box(0.9, 2.7, "Problem", "problem/")
    box(2.9, 2.7, "plan", "run/plan.py")
    box(5.45, 2.7, "method.init", "methods/")
    box(5.45, 1.75, "method.step", "methods/, algebra/")
    box(5.45, 0.75, "certificate", "problem/", COLOURS[2])
    box(8.0, 0.75, "Result", "problem/", COLOURS[1])
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
    arrow((2.9, 1.5), (2.9, 2.34))
    axes.text(
        2.8, 0.75, "not accurate enough:\nauto's next choice", ha="right", va="center", fontsize=8
    )
    axes.text(0.9, 3.3, "checked and scaled", ha="center", va="center", fontsize=7.5)
    axes.text(2.9, 3.3, "what to try, and why", ha="center", va="center", fontsize=7.5)
    return figure


def training() -> Figure:
    """How the test error fell while the shipped models were trained."""
    from eagle.transformer import load_run, pretrained, pretrained_path

    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    colours: dict[str, str] = {}
    for regime, seed in pretrained():
        run = load_run(pretrained_path(regime, seed))
        tests = [(record.step, record.test) for record in run.log if record.test is not None]
        colour = colours.setdefault(regime, COLOURS[len(colours)])
        label = regime if seed == 0 else None
        axes.semilogy(*zip((0, run.untrained), *tests, strict=True), color=colour, label=label)
    axes.set(xlabel="step", ylabel="mean squared error of D", xlim=(0, None))
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def weights() -> Figure:
    """What the weights of one model look like, layer by layer."""
    from eagle.transformer import load_pretrained

    model = load_pretrained("unconstrained", spectrum="variance")
    figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
    rows = {"W_QK": model.W_QK, "W_VP": model.W_VP}
    for line, (name, matrices) in zip(figure.subplots(2, 4), rows.items(), strict=True):
        for layer, (axes, W) in enumerate(zip(line, matrices[:, 0].detach().numpy(), strict=True)):
            size = np.abs(W).max()
            axes.imshow(W, cmap="RdBu_r", vmin=-size, vmax=size)
            axes.axhline(17.5, color="0.3", linewidth=0.8, linestyle=":")
            axes.axvline(17.5, color="0.3", linewidth=0.8, linestyle=":")
            axes.set(xticks=(), yticks=(), title=f"layer {layer}, up to {size:.2g}")
        line[0].set_ylabel(name, fontsize=12)
    return figure


def constants() -> Figure:
    """The two constants of every layer against the norm of A there: the paper's law."""
    from eagle.transformer import extract, load_pretrained, pretrained

    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    conditioning, contracting = figure.subplots(1, 2, sharey=True)
    variance = {"spectrum": "variance"}
    names = [each for each in pretrained(**variance) if each[0] == "unconstrained"]
    rules = [extract(load_pretrained(*each, **variance)) for each in names]
    layers = [layer for rule in rules for layer in rule.layers]
    norms = np.array([layer.norm for layer in layers])
    line = np.geomspace(norms.min(), norms.max(), 2)
    for axes, name, steps, constant in (
        (conditioning, "eta", [layer.eta_step for layer in layers], 1.0),
        (contracting, "gamma", [layer.gamma_step for layer in layers], 1.92),
    ):
        used = np.array(steps) > 0  # the last layer conditions nothing
        axes.loglog(line, constant * line**-2.0, color="0.6", label=f"{constant:g} / norm²")
        axes.loglog(norms[used], np.array(steps)[used], "o", color=COLOURS[0], label="learned")
        axes.set(xlabel="largest norm of A in a batch", title=f"{name}, as applied")
        axes.xaxis.set_major_locator(FixedLocator((0.5, 1, 2, 4, 8)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False)
        _plain(axes)
    return figure


def rounds() -> Figure:
    """Rounds of the distributed methods against the diversity of the machines' data."""
    import eagle.distributed as many

    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    alphas = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
    methods = {"eagle": "paper's rule", "apc": "apc", "krylov": "krylov"}
    for i, (method, name) in enumerate(methods.items()):
        counts = []
        for alpha in alphas:
            shards = many.shards_with_diversity(alpha, 4, rng=0)
            result = many.simulate(
                shards.A, shards.B, shards.C, method=method, rtol=1e-8, rng=0, maxiter=20_000
            )
            counts.append(result.rounds)
        axes.loglog(alphas, counts, marker="osD"[i], color=COLOURS[i], label=name)
    axes.invert_xaxis()
    axes.set(xlabel="diversity, 1 where all machines see the same directions", ylabel="rounds")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    """A grid, and no frame where nothing is."""
    axes.grid(True, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


PICTURES: dict[str, Callable[[], Figure]] = {
    "constants": constants,
    "flow": flow,
    "landing": landing,
    "rounds": rounds,
    "training": training,
    "weights": weights,
}


def draw(app: Sphinx) -> None:
    """Draw what is missing or older than this file."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        path = FOLDER / f"{name}.png"
        if not path.exists() or path.stat().st_mtime < Path(__file__).stat().st_mtime:
            picture().savefig(path, dpi=200)


def setup(app: Sphinx) -> dict[str, bool]:
    """Draw before anything is read."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
