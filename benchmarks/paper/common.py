"""The frame of every figure and table: what was asked for, a sheet to draw on, verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Rows
from benchmarks.looks import finish, panels

if TYPE_CHECKING:
    from benchmarks.paper.curves import Band
    from benchmarks.paper.machines import Rounds
    from benchmarks.transformer import Models

FACTOR = 3.0  # "about" a number means within this factor of it


class Verdict(StrEnum):
    """How what was measured compares with what the paper says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Check:
    """A claim of the paper against what was found, with numbers.

    `holds` is None if the two cannot be compared, or if there is no claim to compare with; `why` is
    the reason if it does not hold, as far as it is known.
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

    @property
    def full(self) -> str:
        """What was found, and the reason if the claim does not hold."""
        return self.found + (f" ({self.why})" if self.why and self.holds is False else "")


Checks = Iterator[Check]


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
    def count(self) -> str:
        """The verdict claim by claim: how many of those that can be compared agree."""
        compared = [check.holds for check in self.checks if check.holds is not None]
        if not compared:
            return self.verdict
        few = dict(enumerate(("none", "one", "two", "three", "four", "five", "six")))
        agreeing, all_of_them = (few.get(k, str(k)) for k in (sum(compared), len(compared)))
        return f"{agreeing} of {all_of_them} {'agrees' if sum(compared) == 1 else 'agree'}"

    @property
    def sentence(self) -> str:
        """What decided, with numbers."""
        return "; ".join(check.full for check in self.checks if check.verdict is self.verdict)


@dataclass(frozen=True)
class Setting:
    """What the command line asked for."""

    quick: bool = False  # small sizes and few runs
    seed: int = 0  # runs take the seeds from here on
    data: Path | None = None  # folder of SuiteSparse matrices
    checkpoints: Path | None = None  # of trained transformers; None: those of the package

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


class Sheet:
    """What a page draws on and notes its numbers in.

    `rows` are the numbers that `judge` sees and the CSV holds, `points` those of the curves, for a
    second CSV.
    """

    def __init__(self) -> None:
        self.figure: Any = None
        self.rows, self.points = Rows(), Rows()
        self._axes: list[Any] = []
        self._legend = 4  # columns

    def panels(self, columns: int, rows: int = 1, *, legend: int = 4, **options: Any) -> list[Any]:
        """Axes row by row, as of `benchmarks.looks.panels`; `legend`: its columns."""
        self.figure, self._axes = panels(columns, rows, **options)
        self._legend = legend
        return self._axes

    def row(self, **cells: Any) -> None:
        """Note a row of numbers."""
        self.rows.append(cells)

    def keep(self, curve: Band | Rounds, **cells: Any) -> None:
        """Note the numbers and the points of a curve, these cells first."""
        self.rows.append(curve.row(**cells))
        self.points += curve.points(**cells)

    def finish(self) -> None:
        """Grid and legend, once everything is drawn."""
        finish(self.figure, self._axes, columns=self._legend)
