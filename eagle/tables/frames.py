"""Data frames in place of arrays: their numbers, and the same frame with its holes filled."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eagle.tables.holes import listed

# Package and class. Some are refused in a sentence, such as those that are not in memory.
FRAMES = frozenset(
    (
        "cudf.DataFrame", "dask.DataFrame", "modin.DataFrame", "pandas.DataFrame",
        "polars.DataFrame", "polars.LazyFrame", "pyarrow.Table",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """The numbers of a table.

    Attributes
    ----------
    values : array_like (n, m)
        What was given, or the columns of a frame that hold numbers, NaN where one is missing.
    rows, columns : list or None
        What a frame calls them.
    ignored : tuple
        Names of columns without numbers.
    row : str
        What a row is called: "line" in a file of text.
    write : callable or None
        From a column's place among `values` and its filled entries to a new column, all at once.
    """

    values: Any
    rows: list[Any] | None = None
    columns: list[Any] | None = None
    ignored: tuple[Any, ...] = ()
    row: str = "row"
    write: Callable[[dict[int, np.ndarray]], Any] | None = field(default=None, repr=False)

    def filled(self, values: np.ndarray, missing: np.ndarray) -> Any:
        """What came in with `values` where it was missing: only these columns are new."""
        if self.write is None:
            return values
        return self.write({int(j): values[:, j] for j in np.flatnonzero(missing.any(axis=0))})


def opened(X: Any) -> Opened:
    """An array as it is; a frame of any library by its columns of numbers.

    Raises
    ------
    TypeError
        If a frame of another library than pandas is given and narwhals is not installed.
    ValueError
        If no column holds numbers, or one holds both numbers and words.
    """
    if isinstance(X, Opened):
        return X
    library = library_of(X)
    if library is None:
        return Opened(X)
    return _from_pandas(X) if library == "pandas" else _from_other(X, library)


def library_of(X: Any) -> str | None:
    """The library of a data frame; None for anything else."""
    roots = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(X).__mro__]
    return next((root for root, name in roots if f"{root}.{name}" in FRAMES), None)


def _from_pandas(frame: Any) -> Opened:
    """By position: names may be double or of several levels."""
    import pandas as pd

    columns, rows = list(frame.columns), list(frame.index)
    found: dict[int, np.ndarray] = {}
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        if pd.api.types.is_bool_dtype(column.dtype):
            continue
        if pd.api.types.is_numeric_dtype(column.dtype):
            kept = column.dtype.kind == "c"
            found[place] = column.to_numpy(dtype=complex if kept else float, na_value=np.nan)
        elif column.dtype == object:
            missing = column.isna().to_numpy()
            values = _from_objects(column.tolist(), missing, rows, columns[place])
            if values is not None:
                found[place] = values

    def write(new: dict[int, np.ndarray]) -> Any:
        filled = frame.copy()
        places = list(found)
        for j, values in new.items():
            old = frame.dtypes.iloc[places[j]]
            filled.isetitem(places[j], pd.array(values, dtype=_floating(old)))
        return filled

    return _opened(found, rows, columns, write)


def _floating(dtype: Any) -> Any:
    """The dtype of a column once it holds fractions: its own if it can."""
    if (isinstance(dtype, np.dtype) and dtype.kind == "O") or dtype.kind in "fc":
        return dtype
    name = str(dtype)
    if name.endswith("[pyarrow]"):
        return "double[pyarrow]"
    return "Float64" if name[0].isupper() else float


def _from_other(frame: Any, library: str) -> Opened:
    try:
        import narwhals as nw
    except ImportError:
        raise TypeError(
            f"X is a frame of {library}, which needs narwhals: pip install 'eagle-solver[frames]'"
        ) from None
    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise TypeError(f"X must be an array or a data frame in memory: {error}") from None
    columns, found = table.columns, {}
    for place, name in enumerate(columns):
        column = table[name]
        if column.dtype.is_numeric():
            floats = column.cast(nw.Float64)
            found[place] = np.where(column.is_null().to_numpy(), np.nan, floats.to_numpy())
        elif column.dtype == nw.Object:
            entries = column.to_list()
            missing = np.array([entry is None or entry != entry for entry in entries])
            values = _from_objects(entries, missing, range(len(entries)), name)
            if values is not None:
                found[place] = values

    def write(new: dict[int, np.ndarray]) -> Any:
        series = []
        for j, values in new.items():
            name = columns[list(found)[j]]
            dtype = table.schema[name]
            kept = dtype if dtype in (nw.Float32, nw.Float64) else nw.Float64
            series.append(
                nw.new_series(name, values.astype(float), kept, backend=table.implementation)
            )
        return table.with_columns(*series).to_native() if series else table.clone().to_native()

    return _opened(found, None, columns, write)


def _opened(
    found: dict[int, np.ndarray],
    rows: list[Any] | None,
    columns: list[Any],
    write: Callable[[dict[int, np.ndarray]], Any],
) -> Opened:
    if columns and not found:
        raise ValueError(f"X has no column of numbers: {listed('column', [*map(repr, columns)])}")
    values = np.column_stack(list(found.values())) if found else np.empty((len(rows or ()), 0))
    ignored = tuple(name for place, name in enumerate(columns) if place not in found)
    return Opened(values, rows, [columns[place] for place in found], ignored, write=write)


def _from_objects(
    entries: list[Any], missing: np.ndarray, rows: Any, column: Any
) -> np.ndarray | None:
    """Numbers that are kept as objects; None if none is one."""
    are_numbers = np.array([_is_number(entry) for entry in entries], bool)
    if not are_numbers.any():
        return None
    wrong = np.flatnonzero(~are_numbers & ~missing)
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"X mixes numbers and words in column {column!r}: {entries[i]!r} in row {rows[i]!r}"
        )
    return np.array(
        [np.nan if gone else x for x, gone in zip(entries, missing, strict=True)], float
    )


def _is_number(entry: Any) -> bool:
    import decimal

    return isinstance(entry, numbers.Real | decimal.Decimal) and not isinstance(
        entry, bool | np.bool_
    )
