"""Matrices of the SuiteSparse collection from the user's own folder, as sparse arrays.

Both formats are read by scipy: Matrix Market (``.mtx``), in which the collection offers every
matrix, and of Rutherford-Boeing (``.rb``) general real ones. Either may be compressed (``.gz``).
"""

import argparse
import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse

from benchmarks.common import existing_folder

SUFFIXES = (".mtx", ".mtx.gz", ".rb", ".rb.gz")


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

    ValueError: a file that cannot be read, or has entries that are not finite.
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
            matrix = scipy.io.hb_read(io.StringIO(content.decode("ascii")))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    kind = complex if np.iscomplexobj(matrix) else float
    matrix = scipy.sparse.csc_array(matrix, dtype=kind)
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all():
        raise ValueError(f"{path} has entries that are NaN or infinite")
    return matrix
