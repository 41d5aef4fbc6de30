"""What a completion returns: the filled table, and how far each entry is to be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from eagle.problem.result import Result
from eagle.tables.factorisation import Factors, Validation
from eagle.tables.panels import Effects

SHOWN = 12  # columns in a printed table


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that miss the same columns.

    Attributes
    ----------
    rows, columns : ndarray of int
        The entries ``X[np.ix_(rows, columns)]`` are filled.
    rank : int or None
        Singular directions of the donors' observed columns that were used; None if the method
        that ran does not know.
    ridge : float
        That was used, for donors in the units of `scaling`.
    scaling : str
        "none", "mean" (of columns), "standard" (means and deviations of columns), "effects" (means
        of rows and columns), or "kernel" and a width, which is "standard" and then the features of
        a Gaussian kernel.
    error_estimate : float
        Expected relative Frobenius error of the filled entries.
    curve : ndarray
        Cross-validated relative error with 0, 1, 2, ... directions and no ridge; the last entry is
        without truncation. Empty with fewer than two donors, or if ranks were not tried.
    tried : dict of str to float
        Error of each scaling with its best spectrum, in standard deviations of the columns.
    """

    rows: np.ndarray
    columns: np.ndarray
    rank: int | None
    ridge: float
    scaling: str
    error_estimate: float
    curve: np.ndarray = field(repr=False)
    tried: dict[str, float] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Completion:
    """A filled table.

    Attributes
    ----------
    X : ndarray (n, m), or the kind of frame or Dask array that came in
        A copy of the input with its missing entries filled.
    lower, upper : like X
        Intervals for the filled entries; what was observed stands for itself. NaN if too few rows
        tell of errors. Without order they mean nothing, so that complex tables have NaN.
    coverage : float
        What part of the intervals is to contain the truth.
    results : tuple of Result
        One solve for each of `groups`, with its numerical certificate.
    rank : int or None
        Singular directions used; the largest number where groups differ.
    error_estimate : float
        Expected relative Frobenius error of the filled entries, ``||filled - truth|| /
        ||truth||``, from observed entries that were left out. NaN if there are too few to tell, 0
        if nothing was missing.
    column_errors : ndarray (m,)
        Expected root mean square error of the filled entries of each column in its own units; NaN
        for columns in which nothing was missing, and where nothing tells.
    column_deviations : ndarray (m,)
        Standard deviation of what is observed of each column.
    columns : tuple
        Names of the columns, or their numbers.
    groups : tuple of Group
        Which entries were filled together; empty if a factorisation filled them.
    factors : Factors or None
        The factorisation, if the holes were scattered; its certificate is how stationary it is.
    validation : Validation or None
        How it did with each number of factors.
    clipped : int
        Filled entries that `minimum` or `maximum` moved.
    ignored : tuple
        Columns of a frame that hold no numbers and were left alone.
    missing : ndarray of bool (n, m), or a Dask array
        What was filled.
    counts : ndarray of int (m,)
        How many entries of each column.
    effects : Effects or None
        With `treated`: what the treatment did.
    dtype : dtype
        Of the numbers.
    """

    X: Any = field(repr=False)
    lower: Any = field(repr=False)
    upper: Any = field(repr=False)
    coverage: float
    results: tuple[Result, ...] = field(repr=False)
    rank: int | None
    error_estimate: float
    column_errors: np.ndarray = field(repr=False)
    column_deviations: np.ndarray = field(repr=False)
    columns: tuple[Any, ...] = field(repr=False)
    groups: tuple[Group, ...] = field(repr=False)
    factors: Factors | None = field(repr=False)
    validation: Validation | None = field(repr=False)
    clipped: int
    ignored: tuple[Any, ...]
    missing: Any = field(repr=False)
    counts: np.ndarray = field(repr=False)
    effects: Effects | None = field(repr=False)
    dtype: np.dtype = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether every solve is as accurate as was asked for."""
        return all(result.converged for result in self.results)

    @property
    def standardized_column_errors(self) -> np.ndarray:
        """`column_errors` in standard deviations of what is observed of each column."""
        return self.column_errors / self.column_deviations

    @cached_property
    def standardized_error(self) -> float:
        """Expected root mean square error of all filled entries in such standard deviations."""
        counts = self.counts
        filled = counts > 0
        if not filled.any():
            return 0.0
        squares = self.standardized_column_errors[filled] ** 2
        return float(np.sqrt(np.average(squares, weights=counts[filled])))

    def __str__(self) -> str:
        counts = self.counts
        shape = " x ".join(map(str, self.missing.shape))
        lines = [f"eagle.Completion: {shape} {self.dtype}"]
        if not counts.any():
            return "\n".join([*lines, "  filled          nothing was missing", *self._ignored()])
        filled = f"{counts.sum()} of {math.prod(self.missing.shape)} entries"
        ways = sorted({group.scaling for group in self.groups})
        how = f"row groups: {len(self.groups)}" if self.groups else "scattered, by factors"
        rank = "unknown" if self.rank is None else str(self.rank)
        lines += [
            f"  filled          {filled}, {how}",
            f"  rank            {rank}",
            *([f"  scaling         {', '.join(ways)}"] if ways else []),
            f"  expected error  {_known(self.standardized_error)} of a column's standard deviation",
            f"                  {_known(self.error_estimate)} relative, of the filled entries",
        ]
        if self.clipped:
            lines.append(f"  clipped         {self.clipped} entries, to minimum or maximum")
        lines += [*self._ignored(), *self._table(np.flatnonzero(counts), counts)]
        if self.effects is not None:
            lines += ["", *(f"  {line}" for line in str(self.effects).splitlines())]
        return "\n".join(lines)

    def _ignored(self) -> list[str]:
        names = ", ".join(map(str, self.ignored))
        return [f"  left alone      {names} (no numbers)"] if self.ignored else []

    def _table(self, filled: np.ndarray, counts: np.ndarray) -> list[str]:
        """A line for each filled column, the worst first if they are many."""
        errors = self.standardized_column_errors
        if len(filled) > SHOWN:
            filled = filled[np.argsort(-np.nan_to_num(errors[filled]), kind="stable")]
        rows = [
            (str(self.columns[j]), str(counts[j]), _known(self.column_errors[j]), _known(errors[j]))
            for j in filled[:SHOWN]
        ]
        rows.insert(0, ("column", "filled", "expected error", "in std. dev."))
        widths = [max(map(len, each)) for each in zip(*rows, strict=True)]
        lines = [
            "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        left = len(filled) - SHOWN
        return ["", *lines, *([f"  and {left} columns with less"] if left > 0 else [])]


def _known(number: float) -> str:
    return "unknown" if np.isnan(number) else f"{number:.2g}"


def relative(lost: float, whole: float) -> float:
    """The root of their ratio."""
    if lost == 0:
        return 0.0
    return float(np.sqrt(lost / whole)) if whole != 0 else np.inf


def largest(values: np.ndarray) -> float:
    """The largest real or imaginary part."""
    parts = np.ascontiguousarray(values).view(values.real.dtype)
    return float(np.abs(parts).max(initial=0))
