"""Tables in files: .csv, .npy, .npz and .parquet in, the same out, never half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from eagle.tables import csv as csvfile
from eagle.tables.csv import Csv

__all__ = [
    "SUFFIXES",
    "Table",
    "TableError",
    "check_output",
    "read_table",
    "replacing",
    "write_table",
]

SUFFIXES = (".csv", ".npy", ".npz", ".parquet")


class TableError(ValueError):
    """A file that cannot be read or written as a table; the message is one line."""


@dataclass(frozen=True)
class Npz:
    """All arrays of a .npz, and the name of the one that is the table."""

    key: str
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Frame:
    """A data frame, and where data starts in its columns: 1 after a label column."""

    frame: Any
    first: int


@dataclass(frozen=True)
class Table:
    """Numbers from a file, with what it takes to write them back.

    Attributes
    ----------
    values : ndarray (n, m)
        NaN where the file has nothing.
    columns, labels : tuple of str or None
        Texts of a header row and of a label column.
    layout : Csv, Npz, Frame or None
        Everything else that the file holds.
    """

    values: np.ndarray
    columns: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    layout: Csv | Npz | Frame | None = None


def read_table(
    path: Path,
    *,
    header: bool | None = None,
    labels: bool | None = None,
    key: str | None = None,
    mapped: bool = False,
) -> Table:
    """Read numbers from a file by its suffix.

    Parameters
    ----------
    path : Path
    header, labels : bool, optional
        Whether the first row and the first column of a .csv are no data; None to look.
    key : str, optional
        Which array of a .npz; needed if it holds several.
    mapped : bool
        Leave a .npy in its file and map it.

    Raises
    ------
    TableError
        With one line that names the file, what is wrong with it and where.
    """
    suffix = _suffix(path)
    try:
        if suffix == ".csv":
            csv = csvfile.read(path.read_bytes(), header, labels)
            return Table(csv.values, csv.columns, csv.labels, csv)
        if suffix == ".parquet":
            return _read_parquet(path)
        if suffix == ".npy" and mapped:
            return Table(_checked(np.load(path, mmap_mode="r", allow_pickle=False)))
        with path.open("rb") as file:
            return Table(_read_npy(file)) if suffix == ".npy" else _read_npz(file, key)
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise TableError(f"{path}: does not fit into memory, or its header is damaged") from None
    # The formats' readers raise whatever they trip over in a damaged file.
    except Exception as error:  # noqa: BLE001
        if "allow_pickle" in str(error):
            raise TableError(f"{path}: holds pickled Python objects, refused for safety") from None
        what = str(error) if suffix == ".csv" or isinstance(error, TableError) else ""
        what = what or f"truncated or not a {suffix} file ({str(error) or type(error).__name__})"
        raise TableError(f"{path}: {what}") from None


def check_output(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise `TableError` if `path` cannot become a file of such a kind, before any work is done."""
    suffix = _suffix(path, suffixes)
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise TableError(f"{path}: the folder {folder} does not exist")
    if path.exists() and not path.is_file():
        raise TableError(f"{path}: exists and is not a regular file")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise TableError(f"{path}: no permission to write there")
    if suffix == ".parquet":
        _pandas()


def write_table(path: Path, table: Table, values: np.ndarray) -> None:
    """Write `values` in the place of those of `table`, all or nothing.

    In the format that was read, everything but the missing entries stays as it was: a .csv keeps
    its text byte for byte, a .npz its other arrays, a .parquet its columns and index.

    Raises
    ------
    TableError
        With one line that names the file and what is wrong.
    """
    suffix = _suffix(path)
    layout = table.layout
    if suffix in (".csv", ".parquet") and np.iscomplexobj(values):
        raise TableError(f"{path}: {suffix} cannot hold complex numbers, write .npy or .npz")
    try:
        with replacing(path) as file:
            if suffix == ".csv" and isinstance(layout, Csv):
                file.write(layout.filled(values))
            elif suffix == ".csv":
                file.write(csvfile.write(values, table.columns, table.labels))
            elif suffix == ".npy":
                np.save(file, values, allow_pickle=False)
            elif suffix == ".npz":
                others = layout if isinstance(layout, Npz) else Npz("X", {})
                _write_npz(file, {**others.arrays, others.key: values})
            else:
                file.write(_frame(table, values).to_parquet())
    except OSError as error:
        raise TableError(f"{path}: cannot be written: {error.strerror or error}") from None
    except ValueError as error:
        raise TableError(f"{path}: cannot be written: {error}") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of `path` once all went well.

    Links are followed, permissions kept.
    """
    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)  # the only way to read it is to set it
    os.umask(mask)
    return mask


def _suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise TableError(f"{path}: the name must end in one of {', '.join(suffixes)}")
    return suffix


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biufc":
        raise TableError(f"holds dtype {array.dtype}, not numbers")
    if array.ndim != 2:
        raise TableError(f"holds an array of shape {array.shape}, not a 2-D table")
    return array


def _read_npy(file: IO[bytes]) -> np.ndarray:
    return _checked(np.lib.format.read_array(file, allow_pickle=False))


def _read_npz(file: IO[bytes], key: str | None) -> Table:
    with zipfile.ZipFile(file) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        known = ", ".join(members)
        if key is None and len(members) != 1:
            raise TableError(f"holds {len(members)} arrays, choose one by its name: {known}")
        chosen = next(iter(members)) if key is None else key
        if chosen not in members:
            raise TableError(f"holds no array {key!r}, but: {known}")
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as entry:
                arrays[name] = np.lib.format.read_array(entry, allow_pickle=False)
    return Table(_checked(arrays[chosen]), layout=Npz(chosen, arrays))


def _write_npz(file: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """Like np.savez, which cannot write an array named "file"."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _pandas() -> Any:
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError:
        raise TableError(
            ".parquet needs pandas and pyarrow: pip install 'eagle-solver[parquet]'"
        ) from None
    return pandas


def _read_parquet(path: Path) -> Table:
    pandas = _pandas()
    frame = pandas.read_parquet(path)
    numeric = [bool(pandas.api.types.is_numeric_dtype(dtype)) for dtype in frame.dtypes]
    first = 0 if not numeric or numeric[0] else 1
    if not all(numeric[first:]):
        name = frame.columns[first + numeric[first:].index(False)]
        raise TableError(f"column {name!r} does not hold numbers")
    data = frame.iloc[:, first:]
    labels = frame.iloc[:, 0] if first else frame.index
    return Table(
        data.to_numpy(dtype=np.float64, na_value=np.nan),
        tuple(map(str, data.columns)),
        # Numbers that pandas gives to rows by itself are no labels.
        None if isinstance(labels, pandas.RangeIndex) else tuple(map(str, labels)),
        Frame(frame, first),
    )


def _frame(table: Table, values: np.ndarray) -> Any:
    """A data frame: the one that was read, filled, or a new one."""
    pandas = _pandas()
    if not isinstance(table.layout, Frame):
        columns = table.columns or [str(j) for j in range(values.shape[1])]
        return pandas.DataFrame(values, columns=columns, index=table.labels)
    frame, first = table.layout.frame.copy(), table.layout.first
    for j in np.flatnonzero(np.isnan(table.values).any(axis=0)):
        dtype = frame.dtypes.iloc[first + int(j)]
        kept = isinstance(dtype, np.dtype) and dtype.kind == "f"
        frame.isetitem(first + int(j), values[:, j].astype(dtype if kept else np.float64))
    return frame
