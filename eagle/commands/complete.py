"""``eagle complete``: the missing entries of a table."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import eagle
from eagle.commands.common import add_options, options_of, say, verdict
from eagle.tables import Table, TableError, check_output, read_table, write_table

__all__ = ["SUMMARY", "TEXT", "add", "run"]

SUMMARY = "fill the missing entries of a table"
TEXT = (
    "Fill the missing entries of a table from its complete rows. Missing are NaN and, in a\n"
    ".csv, cells that are empty or say NA, N/A, NaN, null or none. All else stays, in a .csv\n"
    "byte for byte. FILLED may be TABLE itself."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("table", type=Path, metavar="TABLE", help=".csv, .npy, .npz or .parquet")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILLED")
    parser.add_argument(
        "--rank", type=_rank, metavar="cv|none|INT",
        help="directions to use: by cross-validation, all, or this many (default cv; none with "
        "--ridge or --cutoff)",
    )  # fmt: skip
    parser.add_argument(
        "--header", action=argparse.BooleanOptionalAction,
        help="whether the first row of a .csv is a header (default: look)",
    )  # fmt: skip
    parser.add_argument(
        "--labels", action=argparse.BooleanOptionalAction,
        help="whether the first column of a .csv holds labels (default: look)",
    )  # fmt: skip
    parser.add_argument("--key", metavar="NAME", help="which array of a .npz")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    check_output(arguments.output)
    rank = arguments.rank
    if rank is None:
        rank = "cv" if arguments.cutoff is None and not arguments.ridge else "none"
    table = read_table(
        arguments.table, header=arguments.header, labels=arguments.labels, key=arguments.key
    )
    try:
        completion = eagle.complete(
            table.values, rank=None if rank == "none" else rank, **options_of(arguments)
        )
    except ValueError as error:
        if not re.search(r"\b(row|column)s?\b", str(error)):  # about an option
            raise
        where = " (counting from 0)" if re.search(r"(row|column)s? \d", str(error)) else ""
        message = str(error).replace(" of X", "")
        raise TableError(f"{arguments.table}: {message}{where}") from None
    write_table(arguments.output, table, completion.X)
    say(str(completion), *_kept(table, arguments.output), f"  written to      {arguments.output}")
    return verdict("eagle complete", completion.results)


def _rank(text: str) -> str | int:
    if text in ("cv", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be cv, none or an integer, got {text!r}") from None


def _kept(table: Table, output: Path) -> list[str]:
    if output.suffix.lower() not in (".csv", ".parquet"):  # which hold numbers alone
        return []
    kept = [name for name, texts in (("header", table.columns), ("labels", table.labels)) if texts]
    return [f"  kept            {' and '.join(kept)}"] if kept else []
