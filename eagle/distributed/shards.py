"""Shards on disk: every machine reads its own columns and nothing else.

A folder holds ``C.npy`` and either

* ``.npz`` files with arrays A and B, one or more per machine, in natural order of their names, or
* pairs ``A-NAME.npy``, ``B-NAME.npy``, likewise, or
* ``A.npy`` and ``B.npy``, of which every machine maps a slice of the columns into memory.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from eagle.tables import TableError

__all__ = ["load_shard", "slices"]


def slices(count: int, size: int, rank: int) -> slice:
    """The part of `count` things that one of `size` machines takes: sizes differ by one at most.

    Examples
    --------
    >>> from eagle.distributed.shards import slices
    >>> [len(range(10)[slices(10, 4, rank)]) for rank in range(4)]
    [3, 3, 2, 2]
    """
    share, more = divmod(count, size)
    start = rank * share + min(rank, more)
    return slice(start, start + share + (rank < more))


def load_shard(
    folder: Path, rank: int = 0, size: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``A_mu``, ``B_mu`` of one machine, and C.

    Parameters
    ----------
    folder : Path
    rank, size : int
        Which of how many machines. Files are dealt out in order; with fewer files than machines
        some get no columns.

    Raises
    ------
    TableError
        One line that names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder")
    C = _npy(folder / "C.npy")
    archives = sorted(folder.glob("*.npz"), key=_natural)
    pairs = sorted(folder.glob("A-*.npy"), key=_natural)
    whole = folder / "A.npy"
    if bool(archives) + bool(pairs) + whole.exists() != 1:
        raise TableError(
            f"{folder}: must hold either .npz files, or A-*.npy and B-*.npy, or A.npy and B.npy, "
            f"besides C.npy; found {len(archives)}, {len(pairs)} and {int(whole.exists())}"
        )
    if archives or pairs:
        files = archives or pairs
        mine = [_pair(file) for file in files[slices(len(files), size, rank)]]
        if mine:
            return *_joined(mine), C
        A, B = _pair(files[0])  # for sizes and dtypes alone
        return A[:, :0], B[:, :0], C
    A, B = _npy(whole), _npy(folder / "B.npy")
    _same_columns(whole, A, B)
    part = slices(A.shape[1], size, rank)
    return A[:, part], B[:, part], C


def _pair(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A and B of a .npz, or of a file A-NAME.npy and its partner."""
    if file.suffix == ".npy":
        A, B = _npy(file), _npy(file.with_name("B" + file.name[1:]))
    else:
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                missing = [name for name in "AB" if name not in archive]
                if missing:
                    raise TableError(f"{file}: holds no array {missing[0]}")
                A, B = archive["A"], archive["B"]
        except TableError:
            raise
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TableError(f"{file}: truncated or not a .npz file ({error})") from None
    _same_columns(file, A, B)
    return A, B


def _same_columns(file: Path, A: np.ndarray, B: np.ndarray) -> None:
    if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[1]:
        raise TableError(
            f"{file}: A with shape {A.shape} and B with shape {B.shape} must be 2-D with as many "
            "columns"
        )


def _joined(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if len(pairs) == 1:
        return pairs[0]
    try:
        A, B = (np.concatenate(blocks, axis=1) for blocks in zip(*pairs, strict=True))
    except ValueError as error:
        raise TableError(f"the files of one machine do not fit together: {error}") from None
    return A, B


def _npy(path: Path) -> np.ndarray:
    """Mapped into memory, not read."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise TableError(f"{path}: truncated or not a .npy file ({error})") from None
    if not isinstance(array, np.ndarray):
        raise TableError(f"{path}: not a .npy file")
    return array


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Names in which 10 comes after 9."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
