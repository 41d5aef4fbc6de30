"""Tables in Dask arrays: rows that miss the same columns, filled where they are.

What travels is what chunks say of themselves (which columns their rows miss, means, sizes), some
thousand complete rows that choose scaling, rank and ridge, and a triangular factor of the complete
rows of each chunk, which are merged. What fills goes back to the chunks. Importing this imports
dask; extra ``dask``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import itemgetter
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import delayed

from eagle.chunks import received, tree
from eagle.problem.checks import is_chunked
from eagle.problem.options import split_options
from eagle.problem.result import Result, complain
from eagle.streaming import StreamingLstsq
from eagle.tables.blocks import Block
from eagle.tables.checks import check_rank, scaled
from eagle.tables.holes import Names, are_blocks, check_infinite, check_observed, patterns
from eagle.tables.result import Completion, Group, largest, relative
from eagle.tables.validation import MOST, Wish

Bounds = tuple[np.ndarray, np.ndarray]


def complete_chunks(
    X: Any,
    mask: Any,
    wish: Wish,
    generator: np.random.Generator,
    coverage: float,
    bounds: Callable[[int], Bounds],
    options: dict[str, Any],
) -> Completion:
    """`eagle.complete` of a Dask array; filled values and bounds are Dask arrays as well.

    Raises
    ------
    ValueError
        If the holes are scattered: these take the whole table.
    """
    for name in ("callback", "progress"):
        if options.get(name):
            raise ValueError(f"{name} is for arrays in memory, and X is a Dask array")
    if not is_chunked(X):
        raise TypeError("mask is a Dask array and X is not: both must be, or neither")
    X = _masked(received("X", X), mask).rechunk({1: -1})
    table = _Chunks.of(X)
    work = _Work.of(table, scaled(wish, table.unit), generator, options)
    fillers = [work.filler(rows, hidden, coverage) for rows, hidden in table.holes]
    task, limits = delayed(_filled, pure=True), bounds(X.shape[1])
    done = [task(part, fillers, table.unit, limits) for part in table.parts]
    told = compute(*(delayed(itemgetter(3))(each) for each in done))
    squares, lost, moved = (sum(each[1:], each[0]) for each in zip(*told, strict=True))
    groups = tuple(
        replace(filler.group, error_estimate=relative(float(one), filler.whole))
        for filler, one in zip(fillers, lost, strict=True)
    )
    counts = np.zeros(X.shape[1], int)
    for rows, hidden in table.holes:
        counts[hidden] += len(rows)
    with np.errstate(invalid="ignore"):
        column_errors = np.sqrt(squares / counts) * table.unit
    filled, lower, upper = (_joined(X, done, i) for i in range(3))
    return Completion(
        X=filled,
        lower=lower,
        upper=upper,
        coverage=coverage,
        results=tuple(filler.result for filler in fillers),
        rank=max((group.rank for group in groups if group.rank is not None), default=None),
        error_estimate=relative(float(lost.sum()), sum(filler.whole for filler in fillers)),
        column_errors=column_errors,
        column_deviations=table.deviations,
        columns=tuple(range(X.shape[1])),
        groups=groups,
        factors=None,
        validation=None,
        clipped=int(moved),
        ignored=(),
        missing=da.isnan(X),
        counts=counts,
        effects=None,
        dtype=X.dtype,
    )


def _masked(X: Any, mask: Any) -> Any:
    """NaN where a mask marks more missing entries."""
    if mask is None:
        return X
    mask = mask if is_chunked(mask) else np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean, True where X is missing, got dtype {mask.dtype}")
    if mask.shape != X.shape:
        raise ValueError(f"mask with shape {mask.shape} must have the shape of X, {X.shape}")
    return da.where(mask, np.nan, X).astype(X.dtype)


def _joined(X: Any, done: list[Any], i: int) -> Any:
    """One of what comes of each chunk, in the chunks of X."""
    pick, columns = delayed(itemgetter(i)), X.shape[1]
    pieces = [
        da.from_delayed(pick(each), (rows, columns), dtype=X.dtype)
        for each, rows in zip(done, X.chunks[0], strict=True)
    ]
    return da.concatenate(pieces)


@dataclass(frozen=True)
class _Look:
    """What a chunk says of itself.

    Attributes
    ----------
    holes : list of (rows, hidden)
        Numbers of rows in the whole table that miss the same columns, and which.
    complete : ndarray of int
        Numbers of rows that miss nothing.
    largest : float
    count, mean, squares : ndarray (n_columns,)
        Of observed entries: how many, their mean, and squared deviations from it.
    """

    holes: list[tuple[np.ndarray, np.ndarray]]
    complete: np.ndarray
    largest: float
    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray


def _look(block: np.ndarray, first: int) -> _Look:
    """At the chunk whose first row has this number in the table."""
    missing = np.isnan(block)
    names = Names(rows=range(first, first + len(block)))
    check_infinite(block, missing, names)
    check_observed(missing, names, axes=(1,))
    count = (~missing).sum(axis=0)
    known = np.where(missing, 0, block)
    mean = known.sum(axis=0) / np.maximum(count, 1)
    squares = (np.abs(np.where(missing, 0, block - mean)) ** 2).sum(axis=0)
    holes = [(rows + first, hidden) for rows, hidden in patterns(missing)]
    complete = np.flatnonzero(~missing.any(axis=1)) + first
    return _Look(holes, complete, largest(known), count, mean, squares)


@dataclass(frozen=True)
class _Chunks:
    """The table: its chunks of rows, and what they say of themselves together."""

    parts: list[Any]
    starts: np.ndarray
    holes: list[tuple[np.ndarray, np.ndarray]]
    complete: np.ndarray
    unit: float
    deviations: np.ndarray

    @classmethod
    def of(cls, X: Any) -> _Chunks:
        parts = list(X.to_delayed().ravel())
        starts = np.cumsum([0, *X.chunks[0]])
        look = delayed(_look, pure=True)
        looks = compute(*(look(part, int(i)) for part, i in zip(parts, starts, strict=False)))
        found: dict[bytes, list[tuple[np.ndarray, np.ndarray]]] = {}
        for each in looks:
            for rows, hidden in each.holes:
                found.setdefault(hidden.tobytes(), []).append((rows, hidden))
        holes = [
            (np.concatenate([rows for rows, _ in some]), some[0][1]) for some in found.values()
        ]
        count, _, squares = reduce(_together, ((e.count, e.mean, e.squares) for e in looks))
        check_observed((count == 0)[None, :], Names(), axes=(0,))
        complete = np.concatenate([each.complete for each in looks])
        incomplete = X.shape[0] - len(complete)
        if not are_blocks([hidden for _, hidden in holes], incomplete, len(complete)):
            raise ValueError(
                "the missing entries of X are scattered, which takes the whole table, and X is a "
                "Dask array: pass X.compute()"
            )
        top = max(each.largest for each in looks)
        unit = float(np.ldexp(1.0, np.frexp(top)[1] - 1)) or 1.0
        spread = np.sqrt(squares / np.maximum(count, 1))
        return cls(parts, starts, holes, complete, unit, np.where(spread > 0, spread, 1.0))

    def pieces(self, rows: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Chunks that have any of these rows, and where."""
        for part, start, stop in zip(self.parts, self.starts, self.starts[1:], strict=False):
            inside = rows[(rows >= start) & (rows < stop)]
            if len(inside):
                yield part, inside - start


def _together(one: Any, other: Any) -> Any:
    """Counts, means and squared deviations of both; Chan, Golub, LeVeque (1983)."""
    (n, mean, squares), (k, others, more) = one, other
    whole = np.maximum(n + k, 1)
    apart = others - mean
    return n + k, mean + apart * k / whole, squares + more + np.abs(apart) ** 2 * n * k / whole


@dataclass(frozen=True)
class _Filler:
    """What fills the rows of one pattern, and what it expects of itself."""

    hidden: np.ndarray
    block: Block
    result: Result
    factors: np.ndarray  # half-widths of intervals in expected errors
    group: Group
    whole: float  # expected squares of the filled entries


@dataclass(frozen=True)
class _Work:
    """A completion under way, with some of the complete rows here."""

    table: _Chunks
    wish: Wish
    generator: np.random.Generator
    options: dict[str, Any]
    donors: np.ndarray

    @classmethod
    def of(
        cls, table: _Chunks, wish: Wish, generator: np.random.Generator, options: dict[str, Any]
    ) -> _Work:
        complete = table.complete
        if len(complete) > MOST:
            complete = np.sort(generator.choice(complete, MOST, replace=False))
        take = delayed(_taken, pure=True)
        some = compute(*(take(part, rows, table.unit) for part, rows in table.pieces(complete)))
        none = np.empty((0, len(table.deviations)))
        return cls(table, wish, generator, options, np.concatenate(some) if some else none)

    def filler(self, rows: np.ndarray, hidden: np.ndarray, coverage: float) -> _Filler:
        """For rows that miss these columns."""
        complete, donors = self.table.complete, self.donors
        check_rank(self.wish.rank, len(complete), rows, hidden, Names())
        block = Block.learn(donors, hidden, self.wish, self.generator, (complete, rows))
        options = {**self.options, "rng": self.generator}
        if len(complete) == len(donors):
            result = block.map(options)
        else:
            block, result = self._by_all(block, options)
        choice, size = block.choice, float((np.abs(donors[:, hidden]) ** 2).sum(axis=1).mean())
        rank = choice.rank if result.rank is None else result.rank
        group = Group(
            rows, np.flatnonzero(hidden), rank, choice.ridge, choice.scaling.name, np.nan,
            choice.curve, choice.tried,
        )  # fmt: skip
        lean = replace(result, history=(), inverse=None, fit=None)
        factors = block.spread.factors(coverage)
        return _Filler(hidden, block.lean(), lean, factors, group, len(rows) * size)

    def _by_all(self, block: Block, options: dict[str, Any]) -> tuple[Block, Result]:
        """The same block, fitted to all complete rows: one factor for each chunk, merged.

        A column of ones stands before the features if they are centred: below its row the factor is
        that of deviations from the means of all, which the features take off from then on.
        """
        fold, skip = delayed(_folded, pure=True), int(block.features.centred)
        folds = [
            fold(part, rows, self.table.unit, block.hidden, block.features)
            for part, rows in self.table.pieces(self.table.complete)
        ]
        stream: StreamingLstsq = tree(folds, _merged).compute()
        method, settings = split_options("complete", {**block.spectrum, **options})
        result = stream._solved(method, settings, skip)
        complain(result, settings)
        R, p = stream.factor, skip + block.P.shape[1]
        features = block.features
        if skip:
            features = features.moved(R[0, 1:p] / R[0, 0], R[0, p:] / R[0, 0])
        return replace(
            block, features=features, P=R[skip:p, skip:p], T=R[skip:p, p:], donors=stream.rows
        ), result


def _taken(block: np.ndarray, rows: np.ndarray, unit: float) -> np.ndarray:
    """Complete rows of a chunk, in double precision and in the table's unit."""
    some: np.ndarray = block[rows].astype(np.result_type(block, np.float64)) / unit
    return some


def _folded(
    block: np.ndarray, rows: np.ndarray, unit: float, hidden: np.ndarray, features: Any
) -> StreamingLstsq:
    donors = _taken(block, rows, unit)
    A, C = donors[:, ~hidden], donors[:, hidden]
    P, T = features.observed(A), features.hidden(C, A)
    ones = np.ones((len(P), int(features.centred)))
    return StreamingLstsq().partial_fit(np.hstack([ones, P]), T)


def _merged(streams: list[StreamingLstsq]) -> StreamingLstsq:
    return reduce(StreamingLstsq.merge, streams)


def _filled(block: np.ndarray, fillers: list[_Filler], unit: float, bounds: Bounds) -> Any:
    """A chunk filled, its bounds, and squared expected errors by column and filler, moved cells."""
    missing = np.isnan(block)
    work = block.astype(np.result_type(block, np.float64)) / unit
    value, half, errors = work.copy(), np.zeros(block.shape), np.zeros(block.shape)
    lost = np.zeros(len(fillers))
    found = {hidden.tobytes(): rows for rows, hidden in patterns(missing)}
    for i, filler in enumerate(fillers):
        rows = found.get(filler.hidden.tobytes())
        if rows is None:
            continue
        B, place = work[rows][:, ~filler.hidden], np.ix_(rows, np.flatnonzero(filler.hidden))
        value[place] = filler.block.apply(filler.result, B)
        errors[place] = filler.block.errors(B)
        half[place] = errors[place] * filler.factors
        lost[i] = (errors[place] ** 2).sum()
    lower, upper = value - half, value + half
    if np.iscomplexobj(work):
        lower = upper = np.where(missing, np.nan, work)
    whole = [each * unit for each in (value, lower, upper)]
    inside = whole if np.iscomplexobj(work) else [np.clip(each, *bounds) for each in whole]
    moved = int(np.count_nonzero((inside[0] != whole[0]) & missing))
    filled = [np.where(missing, each.astype(block.dtype), block) for each in inside]
    return (*filled, ((errors**2).sum(axis=0), lost, moved))
