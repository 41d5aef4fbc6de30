"""``eagle complete``: the missing entries of a table."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import eagle
from eagle.commands.common import add_options, complain, options_of, say, verdict
from eagle.tables import Table, TableError, check_output, read_table, replacing, write_table
from eagle.tables.csv import Hints
from eagle.tables.files import STREAM
from eagle.tables.files import TEXT as TEXT_SUFFIXES

SUMMARY = "fill the missing entries of a table"
ENOUGH = 8  # rows whose numbers are no counter by chance
YEARS = (1800, 2100)
TEXT = (
    "Fill the missing entries of a table from the others. Missing are NaN and, in a .csv, cells\n"
    "that are empty or say NA, N/A, NaN, null, none, ?, - or a lone dot. All else stays, in a\n"
    ".csv byte for byte. FILLED may be TABLE itself; - is the standard input or output, a .csv."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help=".csv .tsv .xlsx .npy .npz .parquet or -")
    add("-o", "--output", type=Path, required=True, metavar="FILLED")
    add(
        "--rank", type=_rank, metavar="cv|none|INT",
        help="directions to use: by validation, with scaling and ridge; all; or this many (default "
        "cv; none with --ridge or --cutoff)",
    )  # fmt: skip
    add("--scaling", help="none, mean, standard, effects or cv (default cv with --rank cv)")
    add("--coverage", type=float, default=0.9, help="of the intervals (default 0.9)")
    add("--minimum", type=float, metavar="NUMBER", help="least value to fill in")
    add("--maximum", type=float, metavar="NUMBER", help="largest value to fill in")
    add(
        "--intervals", type=Path, metavar="FILE.csv",
        help="write a line for each filled entry: value, lower and upper bound",
    )  # fmt: skip
    add(
        "--report", type=Path, metavar="FILE.html",
        help="write a page on what was missing, filled and expected",
    )  # fmt: skip
    add(
        "--header", action=argparse.BooleanOptionalAction,
        help="whether the first row is a header (default: look)",
    )  # fmt: skip
    add(
        "--labels", action=argparse.BooleanOptionalAction,
        help="whether the first column holds labels (default: look)",
    )  # fmt: skip
    add("--columns", type=_names, metavar="NAME,...", help="use these columns and no others")
    add("--ignore", type=_names, default=(), metavar="NAME,...", help="leave these columns alone")
    add("--missing", action="append", default=[], metavar="TEXT", help="also means missing: -999")
    add("--delimiter", type=_delimiter, metavar="CHARACTER", help="of a .csv (default: look)")
    add("--decimal", choices=(".", ","), help="decimal point of a .csv (default: look)")
    add(
        "--digits", type=_digits, default="column", metavar="column|all|INT",
        help="of filled numbers after the point, in a .csv (default: as the column has)",
    )  # fmt: skip
    add("--key", metavar="NAME", help="which array of a .npz, or sheet of an .xlsx")
    add_options(parser)
    parser.set_defaults(ridge=None)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    check_output(arguments.output)
    for path, suffix in ((arguments.intervals, ".csv"), (arguments.report, ".html")):
        if path is not None:
            check_output(path, (suffix,))
    if arguments.report is not None and importlib.util.find_spec("matplotlib") is None:
        raise TableError("--report needs matplotlib: pip install 'eagle-solver[plot]'")
    rank = arguments.rank
    if rank is None:
        rank = "cv" if arguments.cutoff is None and arguments.ridge is None else "none"
    hints = Hints(
        arguments.header, arguments.labels, arguments.delimiter, arguments.decimal,
        tuple(arguments.missing), arguments.columns, arguments.ignore,
    )  # fmt: skip
    is_text = str(arguments.output) == STREAM or arguments.output.suffix.lower() in TEXT_SUFFIXES
    table = read_table(arguments.table, hints=hints, key=arguments.key, same_text=is_text)
    table = _without(table, arguments.missing)
    for warning in _no_data(table):
        complain(f"eagle complete: warning: {warning}", 0)
    try:
        completion = eagle.complete(
            table.opened,
            rank=None if rank == "none" else rank,
            scaling=arguments.scaling,
            coverage=arguments.coverage,
            minimum=arguments.minimum,
            maximum=arguments.maximum,
            **options_of(arguments),
        )
    except ValueError as error:
        if not re.search(r"\b(row|line|column)s?\b", str(error)):  # about an option
            raise
        counted = table.rows is None and re.search(r"(row|column)s? \d", str(error))
        message = str(error).replace(" of X", "").replace(" in X", "")
        where = " (counting from 0)" if counted else ""
        raise TableError(f"{arguments.table}: {message}{where}") from None
    page = None
    if arguments.report is not None:
        from eagle.tables import report  # imports matplotlib

        page = report.html(completion, str(arguments.table)).encode()
    write_table(arguments.output, table, completion.X, arguments.digits)
    if arguments.intervals is not None:
        with replacing(arguments.intervals) as file:
            file.write(_intervals(table, completion))
    if page is not None:
        with replacing(arguments.report) as file:
            file.write(page)
    lines = [
        str(completion),
        *_kept(table, arguments.output),
        f"  written to      {arguments.output}",
    ]
    if str(arguments.output) == STREAM:
        sys.stderr.write("\n".join(lines) + "\n")
    else:
        say(*lines)
    return verdict("eagle complete", completion.results)


def _rank(text: str) -> str | int:
    if text in ("cv", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be cv, none or an integer, got {text!r}") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in next(csv.reader([text])))


def _delimiter(text: str) -> str:
    text = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(text) != 1 or text in '"\r\n':
        raise argparse.ArgumentTypeError(f"must be one character or 'tab', got {text!r}")
    return text


def _digits(text: str) -> str | int:
    if text in ("column", "all"):
        return text
    if not text.isdecimal() or int(text) > 17:
        raise argparse.ArgumentTypeError(
            f"must be 'column', 'all' or an integer up to 17, got {text!r}"
        )
    return int(text)


def _without(table: Table, words: list[str]) -> Table:
    """The table with numbers that mean missing taken out: -999 may be written -999.0."""
    for word in words:
        try:
            number = float(word)
        except ValueError:
            continue
        if (table.values == number).any():
            values = np.where(table.values == number, np.nan, table.values)
            table = replace(table, values=values)
    return table


def _no_data(table: Table) -> list[str]:
    """Columns that count rows or name them rather than measure something."""
    warnings = []
    for j in range(table.values.shape[1]):
        column = table.values[:, j]
        if len(column) < ENOUGH or not (column == np.round(column)).all():
            continue
        steps = np.diff(column)
        regular = (steps == steps[0]).all() and steps[0] != 0
        years = len(np.unique(column)) == len(column)
        years = years and YEARS[0] <= column.min() and column.max() <= YEARS[1]
        if regular or years or (steps > 0).all() or (steps < 0).all():
            name = table.columns[j] if table.columns else str(j + 1)
            what = (
                "grows by equal steps" if regular else "looks like years" if years else "is sorted"
            )
            warnings.append(
                f"column {name!r} {what}: if it is an index or a year, give --ignore {name}"
            )
    return warnings


def _intervals(table: Table, completion: eagle.Completion) -> bytes:
    """A line for each filled entry."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "label", "column", "filled", "lower", "upper"])
    for i, j in np.argwhere(completion.missing):
        numbers = (completion.X[i, j], completion.lower[i, j], completion.upper[i, j])
        row = i if table.rows is None else table.rows[i]
        label = table.labels[i] if table.labels else ""
        writer.writerow([row, label, completion.columns[j], *(repr(float(x)) for x in numbers)])
    return buffer.getvalue().encode()


def _kept(table: Table, output: Path) -> list[str]:
    if output.suffix.lower() in (".npy", ".npz"):  # which hold numbers alone
        return []
    kept = [name for name, texts in (("header", table.columns), ("labels", table.labels)) if texts]
    return [f"  kept            {' and '.join(kept)}"] if kept else []
