"""Pictures of convergence: for a file, by matplotlib, and for a terminal, in plain letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eagle.problem.result import Result
from eagle.tables import replacing

FORMATS = (".png", ".pdf", ".svg")
# Okabe and Ito: told apart by every common kind of colour vision, and in grey by the dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), "-.", ":", "--")
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Trace:
    """How the error of one method fell.

    Attributes
    ----------
    name : str
    letter : str
        Stands for it in a terminal.
    iterations, errors : ndarray (k,)
        A method without iterations to show has one point.
    """

    name: str
    letter: str
    iterations: np.ndarray
    errors: np.ndarray


def trace(name: str, result: Result, letter: str = "") -> Trace:
    """The error estimates in the history of a result.

    Examples
    --------
    >>> import eagle
    >>> from eagle.gallery.plotting import trace
    >>> blocks = eagle.problems.low_rank(30, 20, rng=0)
    >>> result = eagle.solve(blocks.A, blocks.B, blocks.C, method="eagle", rng=0)
    >>> len(trace("EAGLE", result).errors) == result.iterations
    True
    """
    records = result.history
    return Trace(
        name,
        letter or name[:1],
        np.array([record.iteration for record in records], float),
        np.array([record.error_estimate for record in records], float),
    )


def convergence(axes: Any, traces: Sequence[Trace], ylabel: str = "relative error") -> None:
    """Draw errors against iterations, both logarithmic, into matplotlib axes."""
    for i, each in enumerate(traces):
        colour = COLOURS[i % len(COLOURS)]
        errors = np.maximum(each.errors, np.finfo(float).tiny)
        axes.plot(
            each.iterations,
            errors,
            color=colour,
            linestyle=DASHES[i % len(DASHES)] if len(errors) > 1 else "none",
            linewidth=2,
            marker=MARKERS[i % len(MARKERS)],
            markevery=[len(errors) - 1],
            markersize=7,
            markeredgecolor="white",
            label=each.name,
        )
    axes.set(xscale="log", yscale="log", xlabel="iteration", ylabel=ylabel)
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Below, where it hides no point.
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def save(figure: Any, path: Path) -> None:
    """Write a matplotlib figure, all or nothing."""
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=160)


def loss(log: Sequence[Any], untrained: float, path: Path) -> None:
    """Draw the log of a training run, training and test error against steps.

    Parameters
    ----------
    log : sequence of eagle.transformer.Record
        Of the run.
    untrained : float
        Test error of the initial weights.
    path : Path
        Of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    steps = [record.step for record in log]
    tests = [(record.step, record.test) for record in log if record.test is not None]
    axes.plot(steps, [r.loss for r in log], color=COLOURS[0], label="training, median")
    axes.plot(*zip((0, untrained), *tests, strict=True), color=COLOURS[1], marker="o", label="test")
    skipped = [record for record in log if record.skipped]
    if skipped:
        places = [record.step for record in skipped]
        axes.plot(places, [r.loss for r in skipped], "kx", label="steps skipped")
    axes.set(yscale="log", xlabel="step", ylabel="mean squared error of D")
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def in_letters(traces: Sequence[Trace], width: int = 78, height: int = 12) -> str:
    """The same picture in ASCII, `height` lines and two for the axis.

    Examples
    --------
    >>> import numpy as np
    >>> from eagle.gallery.plotting import Trace, in_letters
    >>> halves = Trace("halves", "h", np.arange(1, 11), 0.5 ** np.arange(10))
    >>> print(in_letters([halves], 36, 4))
      1e+00 |hhhhhhhhhhh
            |           hhhhhhhhhh
            |                     hhhhh
      1e-03 |                          h
            +---------------------------
             1             10 iterations
    """
    margin = 9
    columns = width - margin
    points = [
        (np.log10(each.iterations), np.log10(np.maximum(each.errors, 1e-17))) for each in traces
    ]
    right = max([float(x.max()) for x, _ in points if x.size], default=0.0) or 1.0
    top = max([float(np.ceil(y.max())) for _, y in points if y.size], default=0.0) + 0.0
    bottom = min([float(np.floor(y.min())) for _, y in points if y.size], default=top)
    depth = max(top - bottom, 1.0)
    grid = [[" "] * columns for _ in range(height)]
    for each, (x, y) in zip(traces, points, strict=True):
        if x.size:
            places = x / right * (columns - 1)
            across = np.arange(round(places[0]), round(places[-1]) + 1)
            down = (top - np.interp(across, places, y)) / depth * (height - 1)
            for column, row in zip(across, down, strict=True):
                grid[round(row)][column] = each.letter
    lines = []
    for i, row in enumerate(grid):
        level = top - depth * i / (height - 1)
        labelled = i in (0, height - 1) or (i % 3 == 0 and i < height - 2)
        text = f"1e{level:+03.0f}" if labelled else ""
        lines.append(f"{text:>{margin - 2}} |{''.join(row)}".rstrip())
    last = f"{10**right:.0f} iterations"
    lines.append(" " * (margin - 1) + "+" + "-" * columns)
    lines.append(" " * margin + "1" + last.rjust(columns - 1))
    return "\n".join(lines)
