"""Tables in .csv text: read to the byte, written back with only the missing cells changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Csv", "read", "write"]

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INDEX_NAMES = frozenset({"", "id", "index"})  # of a first column that is no data


@dataclass(frozen=True)
class Csv:
    """A .csv down to the byte, and the numbers in it.

    Attributes
    ----------
    values : ndarray (n, m)
        NaN where a cell is missing.
    columns, labels : tuple of str or None
        Texts of a header row and of a label column.
    cells : list of list of str
        Raw text of each row's cells, with quotes and blanks.
    ends : list of list of str
        What follows each cell: the delimiter or the line ending.
    body : list of int
        Which of the rows hold data.
    """

    values: np.ndarray
    columns: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    cells: list[list[str]]
    ends: list[list[str]]
    body: list[int]

    def filled(self, values: np.ndarray) -> bytes:
        """The same text with the missing cells filled from `values`."""
        cells = [list(row) for row in self.cells]
        first = 0 if self.labels is None else 1
        for i, j in np.argwhere(np.isnan(self.values)):
            cells[self.body[i]][first + j] = repr(float(values[i, j]))
        return _encode(
            raw + end
            for row, ends in zip(cells, self.ends, strict=True)
            for raw, end in zip(row, ends, strict=True)
        )


def read(data: bytes, header: bool | None = None, labels: bool | None = None) -> Csv:
    """Parse a .csv with commas, semicolons or tabs.

    Parameters
    ----------
    data : bytes
        Any encoding that contains ASCII.
    header, labels : bool, optional
        Whether the first row and the first column are no data; None to look.

    Raises
    ------
    ValueError
        With one line that says what is wrong, and in which line and column.
    """
    if b"\0" in data:
        raise ValueError("not a text file")
    text = data.decode("utf-8", "surrogateescape")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    cells, ends, lines = _scan(text.removeprefix(mark))
    body = [i for i, row in enumerate(cells) if len(row) > 1 or row[0].strip()]
    if not body:
        raise ValueError("is empty")
    top = cells[body[0]]
    for i in body:
        if len(cells[i]) != len(top):
            raise ValueError(f"line {lines[i]} has {len(cells[i])} cells, the first row {len(top)}")
    if _has_header(top) if header is None else header:
        names = [_plain(raw) for raw in top]
        body = body[1:]
        if not body:
            raise ValueError("has a header and no rows")
    else:
        names = []
    if labels is None:
        labels = len(top) > 1 and _has_labels([cells[i][0] for i in body], names)
    first = int(labels)
    values = np.empty((len(body), len(top) - first))
    for i, row in enumerate(body):
        for j, raw in enumerate(cells[row][first:]):
            number = _number(raw)
            if number is None:
                column = repr(names[first + j]) if names else str(first + j + 1)
                place = f"row {i + 1} (line {lines[row]}), column {column}"
                raise ValueError(f"{place}: {_plain(raw)!r} is not a number")
            values[i, j] = number
    row_names = tuple(_plain(cells[i][0]) for i in body)
    cells[0][0] = mark + cells[0][0]
    return Csv(
        values, tuple(names[first:]) or None, row_names if labels else None, cells, ends, body
    )


def write(
    values: np.ndarray, columns: Sequence[str] | None = None, labels: Sequence[str] | None = None
) -> bytes:
    """A new .csv; numbers keep all their digits."""
    rows = [[repr(each) for each in row] for row in values.astype(np.float64).tolist()]
    if labels is not None:
        rows = [[_quoted(name), *row] for name, row in zip(labels, rows, strict=True)]
    if columns is not None:
        corner = [] if labels is None else [""]
        rows.insert(0, corner + [_quoted(name) for name in columns])
    return _encode(",".join(row) + "\n" for row in rows)


def _encode(pieces: Iterable[str]) -> bytes:
    # Bytes that were no UTF-8 come out as they went in.
    return "".join(pieces).encode("utf-8", "surrogateescape")


def _scan(text: str) -> tuple[list[list[str]], list[list[str]], list[int]]:
    """Raw cells by row, what follows each, and the number of the line where each row starts."""
    head = re.sub(r'"(?:[^"]|"")*"', "", text[:100_000]).lstrip("\r\n").splitlines()
    counts = Counter(re.findall(r"[,;\t]", head[0] if head else ""))
    delimiter = max(",;\t", key=lambda each: counts[each])
    cell = re.compile(rf' *"(?:[^"]|"")*"[^{delimiter}\r\n]*|[^{delimiter}\r\n]*')
    cells: list[list[str]] = []
    ends: list[list[str]] = []
    lines: list[int] = []
    place, line, end = 0, 1, "\n"
    while place < len(text) or end == delimiter:
        if end != delimiter:
            cells.append([])
            ends.append([])
            lines.append(line)
        match = cell.match(text, place)
        assert match is not None  # an empty cell matches
        raw, place = match.group(), match.end()
        if raw.lstrip().startswith('"') and raw.count('"') % 2:
            raise ValueError(f"line {line}: a quote is not closed")
        width = 2 if text.startswith("\r\n", place) else 1
        end, place = text[place : place + width], place + width
        line += len(re.findall(r"\r\n|\r|\n", raw)) + (end != delimiter)
        cells[-1].append(raw)
        ends[-1].append(end)
    return cells, ends, lines


def _plain(raw: str) -> str:
    """What a cell says, without blanks and quotes."""
    text = raw.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"').strip()
    return text


def _number(raw: str) -> float | None:
    """NaN for a missing entry, None for text."""
    text = _plain(raw)
    if text.lower() in MISSING:
        return np.nan
    return float(text) if NUMBER.fullmatch(text) else None


def _has_header(top: list[str]) -> bool:
    """Text beyond the first column, a nameless first column, or years after a text."""
    names = [_plain(raw) for raw in top[1:] or top]
    if any(_number(name) is None for name in names) or (len(top) > 1 and not _plain(top[0])):
        return True
    if _number(top[0]) is not None or not all(re.fullmatch(r"[12]\d{3}", name) for name in names):
        return False
    return set(np.diff([int(name) for name in names])) == {1}


def _has_labels(first: list[str], names: list[str]) -> bool:
    """A first column that is mostly text, or named like an index."""
    if names and names[0].lower() in INDEX_NAMES:
        return True
    numbers = [_number(raw) for raw in first]
    given = [number for number in numbers if number is None or not np.isnan(number)]
    return 2 * given.count(None) > len(given)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text
