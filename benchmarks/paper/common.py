"""What every figure needs: a setting, verdicts, rows, and one look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eagle.gallery.plotting import COLOURS, DASHES, MARKERS

if TYPE_CHECKING:
    from benchmarks.transformer import Models

__all__ = [
    "Check",
    "Drawing",
    "Outcome",
    "Setting",
    "Verdict",
    "about",
    "finish",
    "number",
    "panels",
    "select",
    "style",
]

FACTOR = 3.0  # "about" a number means within this factor of it
Rows = list[dict[str, Any]]


class Verdict(StrEnum):
    """How what was measured compares with what the paper says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Check:
    """One claim against what was measured.

    Attributes
    ----------
    claim : str
        Of the paper.
    found : str
        What was measured, with numbers.
    holds : bool or None
        None if the two cannot be compared, or if there is no claim to compare with.
    why : str
        If it does not hold, the reason as far as it is known.
    """

    claim: str
    found: str
    holds: bool | None
    why: str = ""

    @property
    def verdict(self) -> Verdict:
        """Of this claim alone."""
        if self.holds is None:
            return Verdict.NOT_COMPARABLE
        return Verdict.AGREES if self.holds else Verdict.DIFFERS


@dataclass(frozen=True)
class Outcome:
    """All checks of a figure. One claim that does not hold is enough to differ."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """Of the figure."""
        verdicts = {check.verdict for check in self.checks}
        order = (Verdict.DIFFERS, Verdict.AGREES)
        return next((each for each in order if each in verdicts), Verdict.NOT_COMPARABLE)

    @property
    def sentence(self) -> str:
        """What decided, with numbers."""
        deciding = [check for check in self.checks if check.verdict is self.verdict]
        return "; ".join(
            check.found + (f" ({check.why})" if check.why and check.holds is False else "")
            for check in deciding
        )


@dataclass(frozen=True)
class Setting:
    """What the command line asked for.

    Attributes
    ----------
    quick : bool
        Small sizes and few runs.
    seed : int
        Of all random numbers; runs take the seeds from here on.
    data : Path or None
        Folder of SuiteSparse matrices.
    checkpoints : Path or None
        Folder of trained transformers; None: those that come with the package.
    """

    quick: bool = False
    seed: int = 0
    data: Path | None = None
    checkpoints: Path | None = None

    def pick(self, full: Any, quick: Any) -> Any:
        """The paper's size, or one for a quick look."""
        return quick if self.quick else full

    def seeds(self, full: int, quick: int = 2) -> range:
        """Seeds of that many runs."""
        return range(self.seed, self.seed + self.pick(full, quick))

    @cached_property
    def models(self) -> Models:
        """The trained transformers; needs torch."""
        from benchmarks.transformer import Models
        from eagle.transformer.pretrained import FOLDER

        return Models(self.checkpoints or FOLDER)


@dataclass(frozen=True)
class Drawing:
    """What a figure's `draw` returns.

    Attributes
    ----------
    figure : matplotlib Figure
    rows : list of dict
        Numbers that `judge` sees and the CSV holds.
    points : list of dict
        Points of the curves, for a second CSV.
    """

    figure: Any
    rows: Rows
    points: Rows = field(default_factory=list)


def select(rows: Iterable[dict[str, Any]], **where: Any) -> Rows:
    """The rows with these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in where.items())]


def number(rows: Iterable[dict[str, Any]], name: str, **where: Any) -> float:
    """One number of the one row with these values; infinity if it was not reached."""
    (row,) = select(rows, **where)
    return np.inf if row[name] is None else float(row[name])


def about(value: float, wanted: float, factor: float = FACTOR) -> bool:
    """Whether a number is within a factor of another."""
    return bool(wanted / factor <= value <= wanted * factor)


# Blue is the paper's, green and its neighbours ours, warm colours the rivals.
STYLES = {
    "EAGLE (paper)": (0, 0),
    "EAGLE (minimax)": (2, 0),
    "EAGLE (Cholesky)": (2, 1),
    "sketched (ours)": (5, 2),
    "compressed (ours)": (5, 3),
    "krylov (ours)": (2, 0),
    "EAGLE (frozen)": (5, 1),
    "CG": (1, 2),
    "GD": (3, 3),
    "SGD": (3, 3),
    "APC": (4, 1),
    "SVD lstsq": (6, 0),
    "QR lstsq": (6, 1),
}


def style(label: str, index: int = 0) -> dict[str, Any]:
    """Colour and dashes of a method, the same in all figures; by `index` for anything else."""
    colour, dash = STYLES.get(label, (index % len(COLOURS), index % len(DASHES)))
    return {"color": COLOURS[colour], "linestyle": DASHES[dash], "label": label}


def marker(index: int) -> str:
    """The markers of `eagle.gallery.plotting`, in turn."""
    return MARKERS[index % len(MARKERS)]


def panels(
    columns: int, rows: int = 1, *, width: float = 3.4, height: float = 3.0, **options: Any
) -> tuple[Any, list[Any]]:
    """A figure and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns, **options)).flat)


def finish(figure: Any, all_axes: Sequence[Any], *, legend: bool = True, columns: int = 4) -> Any:
    """Grid and frame as in `eagle.gallery.plotting`, one legend under all panels."""
    entries: dict[str, Any] = {}
    for axes in all_axes:
        axes.grid(True, which="major", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
        for axis, enough in ((axes.xaxis, 1), (axes.yaxis, 2)):
            low, high = axis.get_view_interval()
            powers = sum(low <= tick <= high for tick in axis.get_majorticklocs())
            if axis.get_scale() == "log" and powers >= enough:
                axis.set_minor_formatter("")  # labels between powers of ten would overlap
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            entries.setdefault(label, handle)
    if legend and entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center",
            ncols=min(columns, len(entries)), frameon=False, fontsize=9,
        )  # fmt: skip
    return figure
