"""Missing entries of a table filled, and how good the filling is to be expected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from eagle.problem.checks import is_chunked
from eagle.problem.options import as_generator, check_flag, check_number
from eagle.problem.result import Result
from eagle.tables import factorisation, frames
from eagle.tables.blocks import Block
from eagle.tables.checks import check_bounds, check_factors, check_rank, check_wish, scaled
from eagle.tables.factorisation import Factors, Validation
from eagle.tables.holes import Names, check_connected, parse, patterns, scattered
from eagle.tables.panels import effects_of, treated_cells
from eagle.tables.result import Completion, Group, largest, relative
from eagle.tables.scaling import deviations
from eagle.tables.validation import Wish


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
    filled by a factorisation that is fitted to everything that is observed, and with what similar
    rows add to it if that is better for certain.

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
    if is_chunked(X, mask):
        if treated is not None:
            raise ValueError("treated is for tables in memory, and X is a Dask array")
        from eagle.tables.chunked import complete_chunks

        bounds = partial(check_bounds, minimum, maximum)
        return complete_chunks(X, mask, wish, generator, coverage, bounds, options)
    table = frames.opened(X)
    names = Names(table.rows, table.columns, table.row)
    cells = None
    if treated is not None:
        cells = treated_cells(treated, np.shape(table.values), table.rows, table.columns)
        mask = cells if mask is None else cells | np.asarray(mask)
    values, missing = parse(table.values, mask, names)
    limits = check_bounds(minimum, maximum, values.shape[1])
    # A power of two, so that nothing overflows and nothing is rounded.
    unit = float(np.ldexp(1.0, np.frexp(largest(values[~missing]))[1] - 1)) or 1.0
    work = np.where(missing, np.nan, values.astype(np.result_type(values, np.float64)) / unit)
    holes = patterns(missing)
    filling = _Filling(work, missing, scaled(wish, unit), generator, coverage, options, names)
    filling.treated = cells
    if scattered(missing):
        filling.by_factors()
    else:
        for rows, hidden in holes:
            filling.by_block(rows, hidden)
    return filling.completion(table, values, unit, limits)


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
                error_estimate=relative(lost, whole),
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
            error_estimate=relative(self.lost, self.whole) if counts.any() else 0.0,
            column_errors=column_errors,
            column_deviations=np.array(spread, float) * unit,
            columns=tuple(range(self.X.shape[1]) if table.columns is None else table.columns),
            groups=tuple(self.groups),
            factors=None if factors is None else replace(factors, scale=factors.scale * unit),
            validation=self.validation,
            clipped=moved,
            ignored=table.ignored,
            missing=self.missing,
            counts=counts,
            effects=effects,
            dtype=given.dtype,
        )


@contextlib.contextmanager
def _progress(show: bool) -> Iterator[Callable[[], Any] | None]:
    """A function to call after each sweep; draws a bar if `show`."""
    if not check_flag("progress", show):
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="Factorisation", unit=" sweeps") as bar:
        yield bar.update
