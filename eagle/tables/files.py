"""Tables in files: .csv, .tsv, .xlsx, .npy, .npz and .parquet in, the same out, never half."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from eagle.tables import csv, frames
from eagle.tables.csv import Csv, Grid, Hints
from eagle.tables.frames import Opened

TEXT = (".csv", ".tsv")
SUFFIXES = (*TEXT, ".npy", ".npz", ".parquet", ".xlsx")
HEAD = 65536  # bytes that show what a long file looks like
STREAM = "-"  # the standard input or output, which hold a .csv


class TableError(ValueError):
    """A file that cannot be read or written as a table; the message is one line."""


@dataclass(frozen=True)
class Npz:
    """All arrays of a .npz, and the name of the one that is the table."""

    key: str
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Sheet:
    """An .xlsx workbook, the sheet that is the table, and where its cells are."""

    content: bytes
    name: str
    grid: Grid
    top: int  # rows above the first that is not empty


@dataclass(frozen=True)
class Table:
    """Numbers from a file, with what it takes to write them back.

    Attributes
    ----------
    values : ndarray (n, m)
        NaN where the file has nothing.
    columns, labels : tuple of str or None
        Texts of a header row and of a label column.
    layout : Csv, Npz, Opened, Sheet or None
        Everything else that the file holds.
    rows : list of int or None
        What an editor calls the rows: numbers of lines.
    ignored : tuple of str
        Columns that are no data.
    """

    values: np.ndarray
    columns: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    layout: Csv | Npz | Opened | Sheet | None = None
    rows: list[int] | None = None
    ignored: tuple[str, ...] = ()

    @property
    def opened(self) -> Opened:
        """For `eagle.complete`, which then names rows and columns as the file does."""
        columns = None if self.columns is None else list(self.columns)
        text = isinstance(self.layout, Csv)
        return Opened(self.values, self.rows, columns, self.ignored, "line" if text else "row")


def read_table(
    path: Path,
    *,
    hints: Hints | None = None,
    key: str | None = None,
    mapped: bool = False,
    same_text: bool = True,
) -> Table:
    """Read numbers from a file by its suffix.

    Parameters
    ----------
    path : Path
        ``-`` is a .csv from the standard input.
    hints : eagle.tables.csv.Hints, optional
        What is known of header, labels, columns and numbers of a .csv, .tsv or .xlsx.
    key : str, optional
        Which array of a .npz, or which sheet of an .xlsx; needed if a .npz holds several.
    mapped : bool
        Leave a .npy in its file and map it.
    same_text : bool
        Whether a .csv is to be written back to the byte. If not, pandas reads a long one, if it is
        installed, several times as fast.

    Raises
    ------
    TableError
        With one line that names the file, what is wrong with it and where.
    """
    suffix = _suffix(path)
    hints = hints or Hints()
    if suffix == ".tsv" and hints.delimiter is None:
        hints = replace(hints, delimiter="\t")
    try:
        if suffix in TEXT:
            data = sys.stdin.buffer.read() if str(path) == STREAM else path.read_bytes()
            return (None if same_text else _read_fast(data, hints)) or _read_csv(data, hints)
        if suffix == ".parquet":
            return _read_parquet(path, hints)
        if suffix == ".xlsx":
            return _read_xlsx(path.read_bytes(), key, hints)
        if suffix == ".npy" and mapped:
            return Table(_checked(np.load(path, mmap_mode="r", allow_pickle=False)))
        with path.open("rb") as file:
            if suffix == ".npz":
                return _read_npz(file, key)
            return Table(_checked(np.lib.format.read_array(file, allow_pickle=False)))
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
        what = str(error) if suffix in TEXT or isinstance(error, TableError) else ""
        what = what or f"truncated or not a {suffix} file ({str(error) or type(error).__name__})"
        raise TableError(f"{path}: {what}") from None


def check_output(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise `TableError` if `path` cannot become a file of such a kind, before any work is done."""
    if str(path) == STREAM and ".csv" in suffixes:
        return
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
    if suffix == ".xlsx":
        _openpyxl()


def write_table(path: Path, table: Table, values: np.ndarray, digits: int | str = "column") -> None:
    """Write `values` in the place of those of `table`, all or nothing.

    In the format that was read, everything but the missing entries stays as it was: a .csv keeps
    its text byte for byte, a .npz its other arrays, a .parquet its columns and index, an .xlsx its
    other cells. In a .csv they are rounded to so many `digits` after the point, or to as many as
    their column has; ``"all"``: not at all. ``-`` is the standard output.

    Raises
    ------
    TableError
        With one line that names the file and what is wrong.
    """
    suffix = _suffix(path)
    layout = table.layout
    if suffix not in (".npy", ".npz") and np.iscomplexobj(values):
        raise TableError(f"{path}: {suffix} cannot hold complex numbers, write .npy or .npz")
    if str(path) == STREAM:
        sys.stdout.buffer.write(_csv_of(table, values, digits))
        sys.stdout.buffer.flush()
        return
    try:
        with replacing(path) as file:
            if suffix in TEXT:
                file.write(_csv_of(table, values, digits, "\t" if suffix == ".tsv" else ","))
            elif suffix == ".npy":
                np.save(file, values, allow_pickle=False)
            elif suffix == ".npz":
                others = layout if isinstance(layout, Npz) else Npz("X", {})
                _write_npz(file, {**others.arrays, others.key: values})
            elif suffix == ".xlsx":
                file.write(_xlsx(table, values))
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
    suffix = ".csv" if str(path) == STREAM else path.suffix.lower()
    if suffix not in suffixes:
        raise TableError(f"{path}: the name must end in one of {', '.join(suffixes)}")
    return suffix


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biufc":
        raise TableError(f"holds dtype {array.dtype}, not numbers")
    if array.ndim != 2:
        raise TableError(f"holds an array of shape {array.shape}, not a 2-D table")
    return array


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


def _read_parquet(path: Path, hints: Hints) -> Table:
    pandas = _pandas()
    frame = pandas.read_parquet(path)
    chosen = [name for name in frame.columns if str(name) not in hints.ignore]
    if hints.columns is not None:
        chosen = [name for name in chosen if str(name) in hints.columns]
    for name in (*hints.ignore, *(hints.columns or ())):
        if name not in map(str, frame.columns):
            raise TableError(f"has no column {name!r}, but: {', '.join(map(str, frame.columns))}")
    try:
        data = frames.opened(frame[chosen])
    except ValueError as error:
        raise TableError(str(error).removeprefix("X ")) from None

    def write(new: dict[int, np.ndarray]) -> Any:
        assert data.write is not None
        return frame.assign(**dict(data.write(new).items()))

    labels: Any = frame.index
    if len(frame.columns) and frame.columns[0] in data.ignored:
        labels = frame.iloc[:, 0]
    ignored = [str(name) for name in frame.columns if name not in (data.columns or ())]
    return Table(
        np.asarray(data.values, np.float64),
        tuple(map(str, data.columns or ())),
        # Numbers that pandas gives to rows by itself are no labels.
        None if isinstance(labels, pandas.RangeIndex) else tuple(map(str, labels)),
        replace(data, write=write),
        ignored=tuple(ignored),
    )


def _frame(table: Table, values: np.ndarray) -> Any:
    """A data frame: the one that was read, filled, or a new one."""
    if isinstance(table.layout, Opened):
        return table.layout.filled(values, np.isnan(table.values))
    columns = table.columns or [str(j) for j in range(values.shape[1])]
    return _pandas().DataFrame(values, columns=columns, index=table.labels)


def _read_csv(data: bytes, hints: Hints) -> Table:
    found = csv.read(data, hints)
    return Table(found.values, found.columns, found.labels, found, found.lines, found.ignored)


def _read_fast(data: bytes, hints: Hints) -> Table | None:
    """By pandas, as the first lines look to us; None if it is short, or not that plain."""
    end = data.rfind(b"\n", 0, HEAD) + 1
    if len(data) <= HEAD or not end:
        return None
    try:
        import pandas
    except ImportError:
        return None
    try:
        head = csv.read(data[:end], hints)
        dialect = head.dialect
        width, start = len(head.cells[head.body[0]]), head.body[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pandas.errors.DtypeWarning)  # numbers and text
            frame = pandas.read_csv(
                io.BytesIO(data), sep=dialect.delimiter, decimal=dialect.decimal,
                thousands=dialect.thousands or None, header=None, names=range(width),
                skiprows=start + head.preamble.count("\n"), usecols=head.places,
                na_values=sorted(dialect.missing | {word.upper() for word in dialect.missing}),
                skip_blank_lines=True,
            )  # fmt: skip
    except ValueError:
        return None
    # Types that pandas finds take half of the time of one that it is told.
    if not all(each.kind in "fiu" for each in frame.dtypes):
        return None
    return Table(frame.to_numpy(np.float64), head.columns, None, ignored=head.ignored)


def _csv_of(table: Table, values: np.ndarray, digits: int | str, delimiter: str = ",") -> bytes:
    if isinstance(table.layout, Csv):
        return table.layout.filled(values, digits, np.isnan(table.values))
    return csv.write(values, table.columns, table.labels, delimiter)


def _openpyxl() -> Any:
    try:
        import openpyxl
    except ImportError:
        raise TableError(".xlsx needs openpyxl: pip install 'eagle-solver[xlsx]'") from None
    return openpyxl


def _read_xlsx(content: bytes, key: str | None, hints: Hints) -> Table:
    """The cells of one sheet; formulas by the values that were last computed."""
    book = _openpyxl().load_workbook(io.BytesIO(content), data_only=True)
    if key is not None and key not in book.sheetnames:
        raise TableError(f"holds no sheet {key!r}, but: {', '.join(book.sheetnames)}")
    sheet = book[key] if key is not None else book.active
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    top = next((i for i, row in enumerate(rows) if any(cell is not None for cell in row)), None)
    if top is None:
        raise TableError(f"sheet {sheet.title!r} is empty")
    while all(cell is None for cell in rows[-1]):
        rows.pop()
    absent = csv.MISSING | {word.lower() for word in hints.missing}

    def number(cell: object) -> float | None:
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            return np.nan if str(cell) in absent else float(cell)
        return np.nan if cell is None or str(cell).strip().lower() in absent else None

    def plain(cell: object) -> str:
        return "" if cell is None else str(cell)

    try:
        grid = csv.select(rows[top:], number, hints, lambda i: f"row {top + i + 1}", plain)
    except ValueError as error:
        raise TableError(str(error)) from None
    shown = [top + i + 1 for i in grid.body]
    layout = Sheet(content, sheet.title, grid, top)
    return Table(grid.values, grid.columns, grid.labels, layout, shown, grid.ignored)


def _xlsx(table: Table, values: np.ndarray) -> bytes:
    """The workbook that was read with its empty cells filled, or a new one."""
    openpyxl = _openpyxl()
    if isinstance(table.layout, Sheet):
        layout = table.layout
        book = openpyxl.load_workbook(io.BytesIO(layout.content))
        for i, j in np.argwhere(np.isnan(table.values)):
            place = layout.top + layout.grid.body[i] + 1, layout.grid.places[j] + 1
            book[layout.name].cell(*place).value = float(values[i, j])
    else:
        book = openpyxl.Workbook()
        if table.columns is not None:
            book.active.append([*([""] if table.labels else []), *table.columns])
        for i, row in enumerate(values.tolist()):
            book.active.append([*([table.labels[i]] if table.labels else []), *row])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()
