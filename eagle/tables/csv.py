"""Tables in .csv text: read to the byte, written back with only the missing cells changed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "<na>", ".", "-", "--", "?", "…"}
)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
BLANK = "[ \u00a0\u202f]?"  # between a number and its unit
UNITS = re.compile(rf"([+-]?)((?:[$€£¥]{BLANK})?) ?([+-]?[^$€£¥%]*?)((?:{BLANK}[%€$£¥])?)")
INDEX_NAMES = frozenset({"", "id", "index"})  # of a first column that is no data
DELIMITERS = ",;\t|"
GROUPS = ",.'’ \u00a0\u202f"  # between thousands
SAMPLE = 500  # rows that show what is a decimal point
PREAMBLE = re.compile(r"(?:(?:#[^\r\n]*|sep=(?P<sep>[^\r\n]))(?:\r\n|\r|\n))*", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a file writes numbers, and what it writes in place of one that is missing."""

    delimiter: str
    decimal: str = "."
    thousands: str = ""
    missing: frozenset[str] = MISSING

    def number(self, raw: str) -> float | None:
        """NaN for a missing entry, None for text."""
        text = _plain(raw)
        if self.decimal == "." and NUMBER.fullmatch(text):
            number = float(text)
            return np.nan if text.lower() in self.missing else number
        if text.lower() in self.missing:
            return np.nan
        match = UNITS.fullmatch(text.replace("\u2212", "-"))
        if match is None:
            return None
        body = match[1] + match[3]
        if self.thousands:
            groups = rf"[+-]?\d{{1,3}}(?:{re.escape(self.thousands)}\d{{3}})+(?!\d)"
            body = re.sub(groups, lambda found: found[0].replace(self.thousands, ""), body)
        if self.decimal != ".":
            body = body.replace(".", "x").replace(self.decimal, ".")
        return float(body) if NUMBER.fullmatch(body) else None


@dataclass(frozen=True)
class Style:
    """How the numbers of a column look."""

    decimals: int | None  # None: all digits
    before: str = ""
    after: str = ""
    grouped: bool = False

    @classmethod
    def of(cls, cells: Iterable[str], dialect: Dialect) -> Style:
        """What the numbers in these cells have in common."""
        texts = [text for text in map(_plain, cells) if text.lower() not in dialect.missing]
        if not texts:
            return cls(None)
        matches = [UNITS.fullmatch(text.replace("\u2212", "-")) for text in texts]
        before, after = ({match[i] for match in matches if match} for i in (2, 4))
        point = re.escape(dialect.decimal)
        found = [re.fullmatch(rf"[^eE]*?(?:{point}(\d*))?[^\deE]*", text) for text in texts]
        known = [len(match[1] or "") for match in found if match]
        return cls(
            max(known) if len(known) == len(texts) else None,
            before.pop() if len(before) == 1 else "",
            after.pop() if len(after) == 1 else "",
            bool(dialect.thousands) and any(dialect.thousands in text for text in texts),
        )

    def text(self, value: float, dialect: Dialect, digits: int | str) -> str:
        """A number as the others of its column are written."""
        decimals = self.decimals if digits == "column" else digits
        if isinstance(decimals, int):
            plain = f"{value:{',' if self.grouped else ''}.{decimals}f}"
            plain = plain.removeprefix("-") if not plain.strip("-0.,") else plain
        else:
            plain = repr(float(value))
        swap = {",": dialect.thousands, ".": dialect.decimal}
        sign = "-" if plain.startswith("-") else ""
        body = "".join(swap.get(each, each) for each in plain.removeprefix("-"))
        return _quoted(f"{sign}{self.before}{body}{self.after}", dialect.delimiter)


@dataclass(frozen=True)
class Hints:
    """What the user said of a file; None to look."""

    header: bool | None = None
    labels: bool | None = None
    delimiter: str | None = None
    decimal: str | None = None
    missing: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """The numbers among cells.

    Attributes
    ----------
    values : ndarray (n, m)
        NaN where a cell is missing.
    columns, labels : tuple of str or None
        Texts of header rows and of a label column.
    body, places : list of int
        Which rows and columns of cells these are.
    ignored : tuple of str
        Columns without numbers, and those that are to be ignored.
    """

    values: np.ndarray
    columns: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    body: list[int]
    places: list[int]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Csv(Grid):
    """A .csv down to the byte, and the numbers in it.

    Attributes
    ----------
    cells : list of list of str
        Raw text of each row's cells, with quotes and blanks.
    ends : list of list of str
        What follows each cell: the delimiter or the line ending.
    lines : list of int
        The line of the file in which each row of `values` starts.
    dialect : Dialect
    preamble : str
        What comes before the first row.
    """

    cells: list[list[str]]
    ends: list[list[str]]
    lines: list[int]
    dialect: Dialect
    preamble: str

    def filled(
        self,
        values: np.ndarray,
        digits: int | str = "column",
        missing: np.ndarray | None = None,
    ) -> bytes:
        """The same text with the missing cells filled from `values`.

        `digits` after the decimal point; ``"column"``: as many as the column has; ``"all"``: so
        many that the number can be read back.
        """
        cells = [list(row) for row in self.cells]
        missing = np.isnan(self.values) if missing is None else missing
        for j in np.flatnonzero(missing.any(axis=0)):
            place = self.places[j]
            given = (self.cells[self.body[i]][place] for i in np.flatnonzero(~missing[:, j]))
            style = Style.of(given, self.dialect)
            for i in np.flatnonzero(missing[:, j]):
                text = style.text(float(values[i, j]), self.dialect, digits)
                cells[self.body[i]][place] = text
        pieces = (
            raw + end
            for row, ends in zip(cells, self.ends, strict=True)
            for raw, end in zip(row, ends, strict=True)
        )
        return _encode([self.preamble, *pieces])


def read(data: bytes, hints: Hints | None = None) -> Csv:
    """Parse a .csv.

    Parameters
    ----------
    data : bytes
        Any encoding that contains ASCII.
    hints : Hints, optional

    Raises
    ------
    ValueError
        With one line that says what is wrong, and in which line and column.
    """
    hints = hints or Hints()
    preamble, text, delimiter = _opened(data, hints)
    cells, ends, lines = _scan(text, delimiter, preamble.count("\n") or preamble.count("\r"))
    whole = [i for i, row in enumerate(cells) if len(row) > 1 or row[0].strip()]
    if not whole:
        raise ValueError("is empty")
    ragged = _is_ragged(cells, whole)
    width = len(cells[whole[-1]]) if ragged else len(cells[whole[0]])
    for i in whole[ragged:]:
        if len(cells[i]) != width:
            raise ValueError(f"line {lines[i]} has {len(cells[i])} cells, the first row {width}")
    if width == 1 and all(len(cells[i][0].split()) > 1 for i in whole):
        raise ValueError("has no delimiter: separate its columns by commas, semicolons or tabs")
    dialect = _dialect(hints, delimiter, [cells[i] for i in whole[:SAMPLE]])
    if ragged:
        hints = replace(hints, header=True, labels=True)
        named = {whole[0]: ["", *cells[whole[0]]]}
    else:
        named = {}
    rows = [named.get(i, cells[i]) for i in whole]
    grid = select(
        rows, dialect.number, hints, lambda i: f"line {lines[whole[i]]}", _plain, dialect.missing
    )
    body = [whole[i] for i in grid.body]
    return Csv(
        grid.values, grid.columns, grid.labels, body, grid.places, grid.ignored,
        cells, ends, [lines[i] for i in body], dialect, preamble,
    )  # fmt: skip


def select(
    rows: Sequence[Sequence[object]],
    number: Callable[[Any], float | None],
    hints: Hints,
    place: Callable[[int], str],
    plain: Callable[[Any], str] = str,
    absent: frozenset[str] = MISSING,
) -> Grid:
    """The columns of numbers in rows of equal length.

    `number` gives NaN for a missing cell and None for a text; `place` names a row.
    """
    top = rows[0]

    def is_text(cell: object) -> bool:
        return number(cell) is None

    count = 0
    if _has_header(top, number, plain) if hints.header is None else hints.header:
        count = 1
        # A second row of names, of units or of a second level.
        if hints.header is None and len(rows) > 2 and len(top) > 1:
            second = [cell for cell in rows[1][1:] if plain(cell).lower() not in absent]
            numbers = [cell for cell in rows[2] if not is_text(cell) and plain(cell)]
            count += bool(second and all(map(is_text, second)) and len(numbers) > 1)
    if count == len(rows):
        raise ValueError("has a header and no rows")
    levels = [[plain(cell) for cell in row] for row in rows[:count]]
    names = [" ".join(filter(None, each)) for each in zip(*levels, strict=True)]
    body = list(range(count, len(rows)))
    labels = hints.labels
    if labels is None:
        labels = len(top) > 1 and _has_labels([rows[i][0] for i in body], names, number)
    first = int(labels)
    every = range(first, len(top))
    wanted = _chosen(hints, names, every)
    columns: list[list[float | None]] = []
    places, ignored = [], []
    first_text = ""
    for j in every:
        name = repr(names[j]) if names else str(j + 1)
        column = [number(rows[i][j]) for i in body] if j in wanted else []
        texts = [k for k, each in enumerate(column) if each is None]
        if texts:
            k = texts[0]
            where = f"row {k + 1} ({place(body[k])}), column {name}"
            cell = f"{where}: {plain(rows[body[k]][j])!r} is not a number"
            given = [each for each in column if each is not None and not math.isnan(each)]
            if given or hints.columns is not None:
                raise ValueError(cell)
            first_text = first_text or cell
        if texts or j not in wanted:
            ignored.append(names[j] if names else str(j + 1))
        else:
            columns.append(column)
            places.append(j)
    if not columns:
        raise ValueError(first_text or "has no columns of numbers")
    return Grid(
        np.array(columns, np.float64).T.reshape(len(body), len(columns)),
        tuple(names[j] for j in places) or None if names else None,
        tuple(plain(rows[i][0]) for i in body) if labels else None,
        body,
        places,
        tuple(ignored),
    )


def write(
    values: np.ndarray,
    columns: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    delimiter: str = ",",
) -> bytes:
    """A new .csv; numbers keep all their digits."""
    rows = [[repr(each) for each in row] for row in values.astype(np.float64).tolist()]
    if labels is not None:
        rows = [[_quoted(name, delimiter), *row] for name, row in zip(labels, rows, strict=True)]
    if columns is not None:
        corner = [] if labels is None else [""]
        rows.insert(0, corner + [_quoted(name, delimiter) for name in columns])
    return _encode(delimiter.join(row) + "\n" for row in rows)


def _encode(pieces: Iterable[str]) -> bytes:
    # Bytes that were no UTF-8 come out as they went in.
    return "".join(pieces).encode("utf-8", "surrogateescape")


def _opened(data: bytes, hints: Hints) -> tuple[str, str, str]:
    """What comes before the first row, the rest, and the delimiter."""
    if b"\0" in data:
        raise ValueError("not a text file")
    text = data.decode("utf-8", "surrogateescape")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    match = PREAMBLE.match(text, len(mark))
    assert match is not None  # an empty one matches
    preamble, text = text[: match.end()], text[match.end() :]
    return preamble, text, hints.delimiter or match["sep"] or _delimiter(text)


def _delimiter(text: str) -> str:
    head = re.sub(r'"(?:[^"]|"")*"', "", text[:100_000]).lstrip("\r\n").splitlines()
    counts = Counter(re.findall(rf"[{DELIMITERS}]", head[0] if head else ""))
    return max(DELIMITERS, key=lambda each: counts[each])


def _scan(
    text: str, delimiter: str, before: int
) -> tuple[list[list[str]], list[list[str]], list[int]]:
    """Raw cells by row, what follows each, and the number of the line where each row starts."""
    mark = re.escape(delimiter)
    cell = re.compile(rf' *"(?:[^"]|"")*"[^{mark}\r\n]*|[^{mark}\r\n]*')
    cells: list[list[str]] = []
    ends: list[list[str]] = []
    lines: list[int] = []
    place, line, end = 0, before + 1, "\n"
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


def _dialect(hints: Hints, delimiter: str, rows: list[list[str]]) -> Dialect:
    """Decimal point and thousands' separator, by what numbers in the first rows look like."""
    missing = MISSING | {word.lower() for word in hints.missing}
    texts = [_plain(raw).replace("\u2212", "-") for row in rows for raw in row]
    bodies = [match[1] + match[3] for text in texts if (match := UNITS.fullmatch(text))]
    decimal = hints.decimal
    if decimal is None:
        comma = [body for body in bodies if re.fullmatch(r"[+-]?[\d. \u00a0\u202f']*,\d+", body)]
        point = [body for body in bodies if re.fullmatch(r"[+-]?[\d,]*\.\d+", body)]
        thousands = [body for body in comma if re.fullmatch(r"[+-]?\d{1,3},\d{3}", body)]
        sure = len(comma) > len(thousands) or (bool(comma) and delimiter in ";\t")
        decimal = "," if sure and len(comma) > len(point) else "."
    ending = rf"(?:{re.escape(decimal)}\d*)?"
    for group in GROUPS:
        grouped = re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(group)}\d{{3}})+{ending}")
        if group not in (decimal, delimiter) or (group == delimiter and group != decimal):
            found = any(group in body and grouped.fullmatch(body) for body in bodies)
            if group == "." and found:  # 1.234 may be a number with three decimals
                found = decimal == ","
            if found:
                return Dialect(delimiter, decimal, group, missing)
    return Dialect(delimiter, decimal, "", missing)


def _is_ragged(cells: list[list[str]], whole: list[int]) -> bool:
    """Whether the header has one name less than the rows have cells, as R writes it."""
    widths = {len(cells[i]) for i in whole[1:]}
    if len(whole) < 3 or widths != {len(cells[whole[0]]) + 1}:
        return False
    first = [_plain(cells[i][0]) for i in whole[1:]]
    counted = first == [str(i + 1) for i in range(len(first))]
    return counted or not any(NUMBER.fullmatch(name) for name in first)


def _chosen(hints: Hints, names: list[str], every: range) -> set[int]:
    """The columns that take part, by their names or their numbers from 1."""
    known = {str(j + 1): j for j in every} | {names[j]: j for j in every if names}

    def places(wanted: Iterable[str]) -> set[int]:
        for name in wanted:
            if name not in known:
                shown = ", ".join(repr(names[j]) if names else str(j + 1) for j in every)
                raise ValueError(f"has no column {name!r}, but: {shown}")
        return {known[name] for name in wanted}

    kept = set(every) if hints.columns is None else places(hints.columns)
    return kept - places(hints.ignore)


def _plain(raw: str) -> str:
    """What a cell says, without blanks and quotes."""
    text = raw.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"').strip()
    return text


def _has_header(
    top: Sequence[object], number: Callable[[Any], float | None], plain: Callable[[Any], str]
) -> bool:
    """Text beyond the first column, a nameless first column, or years after a text."""
    rest = list(top[1:] or top)
    names = [plain(cell) for cell in rest]
    if any(number(cell) is None for cell in rest) or (len(top) > 1 and not plain(top[0])):
        return True
    if number(top[0]) is not None or not all(re.fullmatch(r"[12]\d{3}", name) for name in names):
        return False
    return set(np.diff([int(name) for name in names])) == {1}


def _has_labels(
    first: Sequence[object], names: list[str], number: Callable[[Any], float | None]
) -> bool:
    """A first column that is mostly text, or named like an index."""
    if names and names[0].lower() in INDEX_NAMES:
        return True
    numbers = list(map(number, first))
    given = [each for each in numbers if each is None or not math.isnan(each)]
    return 2 * given.count(None) > len(given)


def _quoted(text: str, delimiter: str = ",") -> str:
    special = rf'["\r\n{re.escape(delimiter)}]'
    return '"' + text.replace('"', '""') + '"' if re.search(special, text) else text
