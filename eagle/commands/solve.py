"""``eagle solve``: B A^+ C from three files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import eagle
from eagle.commands.common import add_options, options_of, say, verdict
from eagle.tables import Table, check_output, read_table, write_table

__all__ = ["SUMMARY", "TEXT", "add", "run"]

SUMMARY = "B A^+ C from three files"
TEXT = (
    "Compute D = B A^+ C, the hidden block of [[A, C], [B, D]], print how far to trust it and\n"
    "write it. Files: .npy, .npz with one array, .csv or .parquet."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for name, shape in (("A", "d x n"), ("B", "d' x n"), ("C", "d x n'")):
        parser.add_argument(name, type=Path, help=shape)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="D", help="d' x n'")
    parser.add_argument("--rank", type=int, help="replace A by its best approximation of this rank")
    parser.add_argument(
        "--memory-limit", type=_bytes, metavar="BYTES",
        help="working memory, with kB, MB or GB; a .npy of A is then read piece by piece",
    )  # fmt: skip
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    check_output(arguments.output)
    limit = arguments.memory_limit
    A = read_table(arguments.A, mapped=limit is not None).values
    B, C = (read_table(path).values for path in (arguments.B, arguments.C))
    result = eagle.solve(A, B, C, rank=arguments.rank, memory_limit=limit, **options_of(arguments))
    write_table(arguments.output, Table(result.value), result.value)
    say(str(result), f"  written to      {arguments.output}")
    return verdict("eagle solve", [result])


def _bytes(text: str) -> int:
    """A number of bytes, such as 300MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 300MB or 2GB")
    return int(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]])
