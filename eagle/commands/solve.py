"""``eagle solve``: B A^+ C from three files."""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

import numpy as np

import eagle
from eagle.commands.common import add_options, options_of, say, verdict
from eagle.tables import Table, TableError, check_output, read_table, write_table

SUMMARY = "B A^+ C from three files"
TEXT = (
    "Compute D = B A^+ C, the hidden block of [[A, C], [B, D]], print how far to trust it and\n"
    "write it. Files: .npy, .npz, .csv or .parquet. Of a .npz with several arrays FILE.npz:NAME\n"
    "is one; without a name it is the one called A, B or C."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for name, shape in (("A", "d x n"), ("B", "d' x n"), ("C", "d x n'")):
        parser.add_argument(name, help=shape)
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
    A, B, C = (
        _matrix(getattr(arguments, name), name, mapped=name == "A" and limit is not None)
        for name in "ABC"
    )
    result = eagle.solve(A, B, C, rank=arguments.rank, memory_limit=limit, **options_of(arguments))
    write_table(arguments.output, Table(result.value), result.value)
    say(str(result), f"  written to      {arguments.output}")
    return verdict("eagle solve", [result])


def _matrix(text: str, name: str, *, mapped: bool) -> np.ndarray:
    """The entries of FILE or FILE.npz:KEY; of several arrays the one with the name of the block."""
    file, _, key = text.rpartition(":")
    if not file.lower().endswith(".npz"):
        file, key = text, ""
    if not key and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            known = archive.namelist()
        if len(known) > 1 and f"{name}.npy" in known:
            key = name
    try:
        return read_table(Path(file), key=key or None, mapped=mapped).values
    except TableError as error:
        hint = f", as {file}:NAME" if "choose one by its name" in str(error) else ""
        raise TableError(f"{error}{hint}") from None


def _bytes(text: str) -> int:
    """A number of bytes, such as 300MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 300MB or 2GB")
    return int(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]])
