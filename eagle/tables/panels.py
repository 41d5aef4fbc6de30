"""What a treatment did: observed units against what the untreated ones say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eagle.tables.blocks import Block


@dataclass(frozen=True, eq=False)
class Effects:
    """Differences between what was observed of treated units and what is filled in.

    Attributes
    ----------
    units : tuple
        Names of the treated rows, or their numbers.
    times : tuple
        Names of all columns, or their numbers.
    path : ndarray (n_units, n_times)
        Observed minus filled, NaN before the treatment.
    lower, upper : ndarray (n_units, n_times)
        Intervals for it, of the coverage of the completion.
    mean : ndarray (n_units,)
        Over the time of the treatment.
    placebos : tuple of ndarray
        For each treated unit the differences, at the same times, of untreated units that were
        filled from the others.
    p_values : ndarray (n_units,)
        Part of the placebos, with the unit itself, whose differences are as large as the unit's, as
        a root mean square in expected errors [1]_. NaN if too few units are untreated.

    References
    ----------
    .. [1] Abadie, Diamond, Hainmueller, "Synthetic control methods for comparative case studies",
       Journal of the American Statistical Association 105 (2010), section 3.4.
    """

    units: tuple[Any, ...]
    times: tuple[Any, ...]
    path: np.ndarray = field(repr=False)
    lower: np.ndarray = field(repr=False)
    upper: np.ndarray = field(repr=False)
    mean: np.ndarray
    placebos: tuple[np.ndarray, ...] = field(repr=False)
    p_values: np.ndarray

    def __str__(self) -> str:
        lines = []
        for i, unit in enumerate(self.units):
            seen = np.flatnonzero(~np.isnan(self.path[i]))
            count = len(self.placebos[i])
            chance = f"p = {self.p_values[i]:.2g} by {count} placebos"
            lines += [
                f"effect on {unit}: {self.mean[i]:.4g} on average, {chance}",
                *(
                    f"  {self.times[j]}: {self.path[i, j]:.4g} "
                    f"({self.lower[i, j]:.4g} to {self.upper[i, j]:.4g})"
                    for j in seen
                ),
            ]
        return "\n".join(lines)


def treated_cells(
    treated: Any, shape: tuple[int, ...], rows: list[Any] | None, columns: list[Any] | None
) -> np.ndarray:
    """The entries that a treatment touched, from ``{row: first column}``.

    Raises
    ------
    TypeError
        If `treated` is no such dictionary.
    ValueError
        If a row or a column is unknown or named twice, or nothing comes before the treatment.
    """
    if not isinstance(treated, Mapping) or not treated:
        raise TypeError(
            "treated must be a dictionary from rows to the first column of their treatment, got "
            f"{treated!r}"
        )
    cells = np.zeros(shape, bool)
    for row, column in treated.items():
        i = _place("row", row, rows, shape[0])
        j = _place("column", column, columns, shape[1])
        if j == 0:
            raise ValueError(f"treated: nothing comes before column {column!r}")
        cells[i, j:] = True
    return cells


def _place(kind: str, name: Any, names: list[Any] | None, size: int) -> int:
    known = list(range(size)) if names is None else names
    places = [k for k, each in enumerate(known) if each == name]
    if len(places) != 1:
        shown = ", ".join(repr(each) for each in known[:5]) + (", ..." if size > 5 else "")
        problem = "is named twice" if places else f"is not one of {shown}"
        raise ValueError(f"treated: {kind} {name!r} {problem}")
    return places[0]


def effects_of(
    given: np.ndarray,
    cells: np.ndarray,
    filled: tuple[np.ndarray, np.ndarray, np.ndarray],
    blocks: list[tuple[np.ndarray, Block]],
    unit: float,
    names: tuple[list[Any] | None, list[Any] | None],
) -> Effects:
    """From the observed table, the treated cells, values with bounds, and each group's block."""
    rows = np.flatnonzero(cells.any(axis=1))
    value, lower, upper = filled
    seen = cells & ~np.isnan(given)

    def against(bound: np.ndarray) -> np.ndarray:
        return np.where(seen, given - bound, np.nan)[rows]

    path = against(value)
    placebos, p_values = [], []
    for i, gaps in zip(rows, path, strict=True):
        block = next(block for group, block in blocks if i in group)
        errors = block.choice.errors
        hidden = np.flatnonzero(block.hidden)
        use = seen[i, hidden]
        other = np.full((len(errors), given.shape[1]), np.nan)
        other[:, hidden[use]] = errors[:, use] * unit
        placebos.append(other)
        if not len(errors) or not use.any():
            p_values.append(np.nan)
            continue
        own = block.errors(np.where(cells, np.nan, given)[[i]][:, ~block.hidden] / unit)[0]
        expected = block.spread.errors(block.choice.leverages)
        floor = np.finfo(float).tiny
        size = np.sqrt(np.mean((gaps[hidden[use]] / unit / np.maximum(own[use], floor)) ** 2))
        sizes = np.sqrt(
            np.mean((errors[:, use] / np.maximum(expected[:, use], floor)) ** 2, axis=1)
        )
        p_values.append((1 + np.count_nonzero(sizes >= size)) / (1 + len(sizes)))
    rows_named, columns_named = names
    return Effects(
        units=tuple(int(i) if rows_named is None else rows_named[i] for i in rows),
        times=tuple(range(given.shape[1]) if columns_named is None else columns_named),
        path=path,
        lower=against(upper),
        upper=against(lower),
        mean=np.nanmean(path, axis=1) if seen.any() else np.full(len(rows), np.nan),
        placebos=tuple(placebos),
        p_values=np.array(p_values),
    )
