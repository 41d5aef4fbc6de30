"""Matrices of the SuiteSparse collection from the user's own folder, as sparse arrays.

Matrix Market (``.mtx``) is read by scipy, which knows all of it. Of Rutherford-Boeing (``.rb``) and
its forerunner Harwell-Boeing scipy reads general real matrices only; the reader here knows every
assembled kind. Either may be compressed (``.gz``).
"""

import argparse
import gzip
import io
import re
import zlib
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse

from benchmarks.common import existing_folder

SUFFIXES = (".mtx", ".mtx.gz", ".rb", ".rb.gz")
# Fortran's I8, E20.12, 1P4E16.8, D25.17, F7.3: repetition, letter, width
FORMAT = re.compile(r"^(?:\d+P,?)?(\d*)([IEDFG])(\d+)(?:\.\d+(?:E\d+)?)?$")


def matrices(folder: str | Path) -> dict[str, Path]:
    """Path by name of all matrices in a folder, ``Group__name.mtx.gz`` being called name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    found = {}
    for path in sorted(folder.iterdir()):
        suffix = next((each for each in SUFFIXES if path.name.endswith(each)), None)
        if suffix:
            found.setdefault(path.name.removesuffix(suffix).split("__")[-1], path)
    if not found:
        raise FileNotFoundError(f"no {', '.join(SUFFIXES)} in {folder}")
    return found


def folder(text: str) -> Path:
    """For a command line: a folder with matrices."""
    try:
        matrices(existing_folder(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def load(path: str | Path) -> scipy.sparse.csc_array:
    """A matrix from a file, explicit zeros dropped; real, or complex if the file is.

    ValueError: a file that is corrupt, of no known kind, or has entries that are not finite.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path}: the name must end in {', '.join(SUFFIXES)}")
    try:
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
        if path.name.removesuffix(".gz").endswith(".mtx"):
            matrix = scipy.sparse.coo_array(scipy.io.mmread(io.BytesIO(content)))
        else:
            matrix = read_rutherford_boeing(content.decode("ascii"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, OverflowError) as error:
        raise ValueError(f"{path} is corrupt: {error}") from error
    kind = complex if np.iscomplexobj(matrix) else float
    matrix = scipy.sparse.csc_array(matrix, dtype=kind)
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all():
        raise ValueError(f"{path} has entries that are NaN or infinite")
    return matrix


def read_rutherford_boeing(text: str) -> scipy.sparse.csc_array:
    """A matrix in Rutherford-Boeing or Harwell-Boeing format; right-hand sides are not read.

    Three or four header lines: title; numbers of lines; type, sizes; Fortran formats of column
    starts, row indices and values. The type is a letter for the values (``r``, ``i``, ``c``, or
    ``p``: a pattern of ones), one for the symmetry (``u``, ``r``: stored whole; ``s``, ``h``,
    ``z``: the lower triangle of a symmetric, Hermitian or skew-symmetric matrix), and ``a`` for
    assembled. Source: Duff, Grimes, Lewis, "The Rutherford-Boeing sparse matrix collection",
    RAL-TR-97-031, 1997.
    """
    lines = text.splitlines()
    if len(lines) < 4:
        raise ValueError("the header has four lines")
    counts = [int(word) for word in lines[1].split()]
    kind, sizes = lines[2][:3].lower(), [int(word) for word in lines[2][3:].split()]
    if len(counts) < 4 or len(sizes) < 3:
        raise ValueError("the header's second line needs four numbers and its third three")
    if not re.fullmatch("[ricp][urshz]a", kind):
        raise ValueError(f"type {kind!r} is none of [ricp][urshz]a")
    rows, columns, entries = sizes[:3]
    formats = lines[3][:16], lines[3][16:32], lines[3][32:52]
    # Harwell-Boeing: a count of lines of right-hand sides, and if there are any a fifth line.
    position = 5 if len(counts) > 4 and counts[4] > 0 else 4

    def block(count: int, form: str, wanted: int) -> list[str]:
        nonlocal position
        part = lines[position : position + count]
        position += count
        return _fields(part, form.strip().upper(), wanted)

    starts = np.array(block(counts[1], formats[0], columns + 1), dtype=np.int64) - 1
    places = np.array(block(counts[2], formats[1], entries), dtype=np.int64) - 1
    if kind[0] == "p":
        values = np.ones(entries)
    else:
        words = block(counts[3], formats[2], entries * (2 if kind[0] == "c" else 1))
        values = np.array([re.sub("[Dd]", "E", word) for word in words], dtype=float)
        if kind[0] == "c":
            values = values[::2] + 1j * values[1::2]
    if starts[0] or starts[-1] != entries or (np.diff(starts) < 0).any():
        raise ValueError("column starts do not rise from 1 to the number of entries plus 1")
    if entries and not (places.min() >= 0 and places.max() < rows):
        raise ValueError(f"a row index is not within 1 and {rows}")
    lower = scipy.sparse.csc_array((values, places, starts), shape=(rows, columns))
    if kind[1] in "ur":
        return lower
    if rows != columns:
        raise ValueError(f"type {kind!r} must be square, got {rows} x {columns}")
    other = scipy.sparse.tril(lower, -1).T
    other = other.conj() if kind[1] == "h" else -other if kind[1] == "z" else other
    return scipy.sparse.csc_array(lower + other)


def _fields(lines: list[str], form: str, wanted: int) -> list[str]:
    """Numbers of fixed width, which need no blank between them.

    Where blanks part as many numbers as there should be, widths do not count: scipy's `hb_write`
    states one more than it writes.
    """
    match = FORMAT.match(form.strip("()").replace(" ", ""))
    if not match:
        raise ValueError(f"unknown Fortran format {form!r}")
    each, width = int(match[1] or 1), int(match[3])
    words: list[str] = []
    for line in lines:
        due = min(each, wanted - len(words))
        found = line.split()
        if len(found) != due:
            found = [line[k * width : (k + 1) * width].strip() for k in range(due)]
        if not all(found):
            raise ValueError(f"{due} numbers wanted in the line {line!r}")
        words += found
    if len(words) != wanted:
        raise ValueError(f"{wanted} numbers wanted, {len(words)} found")
    return words
