"""Missing entries of a table filled, and how good the filling is to be expected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from eagle.problem.options import as_generator, check_flag, check_number
from eagle.problem.result import Result
from eagle.tables import factorisation, frames
from eagle.tables.blocks import Block
from eagle.tables.checks import check_factors, check_rank, check_wish, scattered
from eagle.tables.factorisation import Factors, Validation
from eagle.tables.holes import Names, check_connected, parse, patterns
from eagle.tables.panels import Effects, effects_of, treated_cells
from eagle.tables.scaling import deviations
from eagle.tables.validation import Wish

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
    X : ndarray (n, m), or the kind of frame that came in
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
    missing : ndarray of bool (n, m)
        What was filled.
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
    missing: np.ndarray = field(repr=False)
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
        counts = self.missing.sum(axis=0)
        filled = counts > 0
        if not filled.any():
            return 0.0
        squares = self.standardized_column_errors[filled] ** 2
        return float(np.sqrt(np.average(squares, weights=counts[filled])))

    def __str__(self) -> str:
        counts = self.missing.sum(axis=0)
        shape = " x ".join(map(str, self.missing.shape))
        lines = [f"eagle.Completion: {shape} {self.dtype}"]
        if not counts.any():
            return "\n".join([*lines, "  filled          nothing was missing", *self._ignored()])
        filled = f"{counts.sum()} of {self.missing.size} entries"
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


def complete(
    X: Any,
    *,
    mask: Any = None,
    rank: Any = "cv",
    ridge: Any = None,
    scaling: str | None = None,
    coverage: float = 0.9,
    minimum: Any = None,
    maximum: Any = None,
    treated: Any = None,
    **options: Any,
) -> Completion:
    """Fill the missing entries of a table, and say how far they are to be trusted.

    If whole groups of rows miss the same columns, each group is filled from the complete rows (the
    donors): with A and C the observed and the missing columns of the donors and B the observed
    columns of the group, the missing entries are ``B A^+ C``, by one solve. Any other pattern is
    filled by a factorisation that is fitted to everything that is observed.

    Parameters
    ----------
    X : array_like (n, m) or data frame
        NaN marks a missing entry; so does the mask of a masked array, and whatever a frame of
        pandas, polars or another library calls missing. Complex tables need complete rows. Columns
        of a frame that hold no numbers are left alone.
    mask : array_like of bool (n, m), optional
        True marks more missing entries; what X holds there is not looked at.
    rank : "cv", int or None, optional
        How many singular directions of A to use: what fills entries best that were left out
        (``"cv"``; then `ridge` and `scaling` are chosen too, unless they are given), this many, or
        all above rounding level.
    ridge : float or "cv", optional
        Damps directions in place of dropping them. By default ``"cv"`` with ``rank="cv"``, else 0.
    scaling : str, optional
        ``"none"``, ``"mean"`` (of columns), ``"standard"`` (means and deviations of columns),
        ``"effects"`` (means of rows and columns) or ``"cv"``: the best of these, or features of a
        Gaussian kernel if they are better for certain. By default ``"cv"`` with ``rank="cv"``, else
        ``"none"``: then the filling is ``B A^+ C`` to the letter.
    coverage : float, optional
        What part of the intervals `lower` to `upper` is to contain the truth, in (0, 1).
    minimum, maximum : float or array_like (m,), optional
        Bounds for filled entries: what lies beyond is moved there and counted.
    treated : dict, optional
        ``{row: column}``: this row was treated from this column on, which are names in a frame and
        numbers in an array. What was observed then is hidden and filled from rows that were not
        treated, and `effects` has the differences, their intervals and a placebo test.
    **options
        As for `solve`. A number for `ridge` or a `cutoff` needs ``rank=None``.

    Returns
    -------
    Completion

    Raises
    ------
    TypeError
        If X is neither a frame nor a dense numeric array, mask is not boolean, or an option has
        the wrong type.
    ValueError
        If X contains infinity, a row or column without any observed entry, or a frame's column
        of numbers and words; if nothing tells the missing entries; or if an option is out of
        range or cannot be honoured.

    Notes
    -----
    Validation leaves donors out and fills their hidden columns: for ridges in closed form, for
    ranks in five folds at random (`rng`). Errors count in standard deviations of their columns. If
    the rows to be filled lie beyond all donors, and the order of rows matters (neighbours are
    alike), the later half of the donors is filled from the earlier one and the other way round.

    An expected error is what left-out entries had, adapted to how unusual a row is (its leverage).
    Intervals are conformal: the quantile of left-out errors in units of the expected ones. They are
    honest as far as the rows that are filled are like the donors.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> X = np.outer([1.0, 2, 3, 4], [1, 10, 100])  # rank one
    >>> X[3, 1:] = np.nan
    >>> done = eagle.complete(X, rng=0)
    >>> done.X[3].round(10), done.rank, done.error_estimate < 1e-12
    (array([  4.,  40., 400.]), 1, True)
    """
    generator = as_generator(options.pop("rng", None))
    wish = check_wish(rank, ridge, scaling, options)
    options.pop("cutoff", None)
    if not 0 < check_number("coverage", coverage) < 1:
        raise ValueError(f"coverage must be between 0 and 1, got {coverage!r}")
    table = frames.opened(X)
    names = Names(table.rows, table.columns, table.row)
    cells = None
    if treated is not None:
        cells = treated_cells(treated, np.shape(table.values), table.rows, table.columns)
        mask = cells if mask is None else cells | np.asarray(mask)
    values, missing = parse(table.values, mask, names)
    bounds = _bounds(minimum, maximum, values.shape[1])
    observed = np.ascontiguousarray(values[~missing])
    top = np.abs(observed.view(values.real.dtype)).max(initial=0.0)  # real and imaginary parts
    # A power of two, so that nothing overflows and nothing is rounded.
    unit = float(np.ldexp(1.0, np.frexp(top)[1] - 1)) or 1.0
    work = np.where(missing, np.nan, values.astype(np.result_type(values, np.float64)) / unit)
    holes = patterns(missing)
    filling = _Filling(work, missing, _scaled(wish, unit), generator, coverage, options, names)
    filling.treated = cells
    if scattered(missing):
        filling.by_factors()
    else:
        for rows, hidden in holes:
            filling.by_block(rows, hidden)
    return filling.completion(table, values, unit, bounds)


@dataclass
class _Filling:
    """A completion under way, in units in which the largest entry is about 1."""

    X: np.ndarray
    missing: np.ndarray
    wish: Wish
    generator: np.random.Generator
    coverage: float
    options: dict[str, Any]
    names: Names

    def __post_init__(self) -> None:
        self.value = self.X.copy()
        self.errors, self.half_widths = np.zeros(self.X.shape), np.zeros(self.X.shape)
        self.groups: list[Group] = []
        self.results: list[Result] = []
        self.lost = self.whole = 0.0
        self.factors: Factors | None = None
        self.validation: Validation | None = None
        self.complete = np.flatnonzero(~self.missing.any(axis=1))
        self.treated: np.ndarray | None = None
        self.blocks: list[tuple[np.ndarray, Block]] = []

    def by_block(self, rows: np.ndarray, hidden: np.ndarray) -> None:
        """Rows that miss the same columns."""
        check_rank(self.wish.rank, len(self.complete), rows, hidden, self.names)
        donors = self.X[self.complete]
        # Units of a panel have no order.
        places = (self.complete, rows) if self.treated is None else None
        block = Block.learn(donors, hidden, self.wish, self.generator, places)
        self.blocks.append((rows, block))
        B = self.X[rows][:, ~hidden]
        place = np.ix_(rows, np.flatnonzero(hidden))
        self.value[place], result = block.fill(B, {**self.options, "rng": self.generator})
        errors = block.errors(B)
        self.errors[place] = errors
        self.half_widths[place] = errors * block.spread.factors(self.coverage)
        choice, size = block.choice, float((np.abs(donors[:, hidden]) ** 2).sum(axis=1).mean())
        lost, whole = float((errors**2).sum()), len(rows) * size
        self.lost, self.whole = self.lost + lost, self.whole + whole
        self.results.append(result)
        self.groups.append(
            Group(
                rows=rows,
                columns=place[1].ravel(),
                rank=choice.rank if result.rank is None else result.rank,
                ridge=choice.ridge,
                scaling=choice.scaling.name,
                error_estimate=_relative(lost, whole),
                curve=choice.curve,
                tried=choice.tried,
            )
        )

    def by_factors(self) -> None:
        """Holes of any pattern."""
        if self.treated is not None:
            raise ValueError("treated needs rows that are complete and were not treated")
        check_factors(self.wish, self.X, self.names)
        check_connected(self.missing, self.names)
        with _progress(bool(self.options.get("progress"))) as sweep_done:
            found, self.factors = factorisation.learn(
                self.X, self.missing, self.wish, self.generator, sweep_done
            )
        self.validation = found
        values, leverages = self.factors.fill(self.X, self.missing)
        errors = found.spread.errors(leverages)
        factors = found.spread.factors(self.coverage)
        for target, source in (
            (self.value, values),
            (self.errors, errors),
            (self.half_widths, errors * factors),
        ):
            target[self.missing] = source[self.missing]
        self.lost = float((self.errors[self.missing] ** 2).sum())
        sizes = np.nanmean(self.X**2, axis=0)
        self.whole = float((self.missing * sizes).sum())

    def completion(
        self,
        table: frames.Opened,
        given: np.ndarray,
        unit: float,
        bounds: tuple[np.ndarray, np.ndarray],
    ) -> Completion:
        """In the units and the kind of what came in."""
        lower, upper = self.value - self.half_widths, self.value + self.half_widths
        if np.iscomplexobj(self.X):
            lower = upper = np.where(self.missing, np.nan, self.X)
        kept, counts = ~self.missing, self.missing.sum(axis=0)

        def restored(work: np.ndarray) -> tuple[Any, int]:
            values = bounded = work * unit
            if not np.iscomplexobj(values):
                bounded = np.clip(values, *bounds)
            moved = int(np.count_nonzero((bounded != values) & self.missing))
            filled = np.where(kept, given, bounded.astype(given.dtype))
            return table.filled(filled, self.missing), moved

        filled, moved = restored(self.value)
        effects = None
        if self.treated is not None:
            inside = [np.clip(each * unit, *bounds) for each in (self.value, lower, upper)]
            effects = effects_of(
                given, self.treated, (inside[0], inside[1], inside[2]), self.blocks, unit,
                (table.rows, table.columns),
            )  # fmt: skip
        with np.errstate(invalid="ignore"):
            column_errors = np.sqrt((self.errors**2).sum(axis=0) / counts) * unit
        observed = [self.X[kept[:, j], j] for j in range(self.X.shape[1])]
        spread = [deviations(each[:, None])[0] if len(each) else 1.0 for each in observed]
        ranks = [group.rank for group in self.groups if group.rank is not None]
        factors = self.factors
        if factors is not None:
            ranks.append(factors.rank)
        return Completion(
            X=filled,
            lower=restored(lower)[0],
            upper=restored(upper)[0],
            coverage=self.coverage,
            results=tuple(self.results),
            rank=max(ranks, default=None),
            error_estimate=_relative(self.lost, self.whole) if counts.any() else 0.0,
            column_errors=column_errors,
            column_deviations=np.array(spread, float) * unit,
            columns=tuple(range(self.X.shape[1]) if table.columns is None else table.columns),
            groups=tuple(self.groups),
            factors=None if factors is None else replace(factors, scale=factors.scale * unit),
            validation=self.validation,
            clipped=moved,
            ignored=table.ignored,
            missing=self.missing,
            effects=effects,
            dtype=given.dtype,
        )


def _scaled(wish: Wish, unit: float) -> Wish:
    """The same for a table that was divided by `unit`."""
    if isinstance(wish.ridge, str):
        return wish
    with np.errstate(over="ignore"):
        ridge = np.float64(wish.ridge) / unit / unit
    return replace(wish, ridge=float(min(ridge, np.finfo(float).max)))


def _bounds(minimum: Any, maximum: Any, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of each column."""
    found = []
    for name, given, default in (("minimum", minimum, -np.inf), ("maximum", maximum, np.inf)):
        try:
            each = np.asarray(default if given is None else given, float)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number, or one for each column") from None
        if np.isnan(each).any() or each.shape not in ((), (columns,)):
            raise ValueError(
                f"{name} must be a number, or one for each of the {columns} columns of numbers, "
                f"got {given!r}"
            )
        found.append(np.broadcast_to(each, (columns,)))
    if (found[0] > found[1]).any():
        raise ValueError(f"minimum must not exceed maximum, got {minimum!r} and {maximum!r}")
    return found[0], found[1]


def _relative(lost: float, whole: float) -> float:
    if lost == 0:
        return 0.0
    return float(np.sqrt(lost / whole)) if whole != 0 else np.inf


def _known(number: float) -> str:
    return "unknown" if np.isnan(number) else f"{number:.2g}"


@contextlib.contextmanager
def _progress(show: bool) -> Iterator[Callable[[], Any] | None]:
    """A function to call after each sweep; draws a bar if `show`."""
    if not check_flag("progress", show):
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="Factorisation", unit=" sweeps") as bar:
        yield bar.update
