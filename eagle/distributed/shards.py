"""Shards on disk: every machine reads its own columns and nothing else.

A folder holds ``C.npy`` and either

* ``.npz`` files with arrays A and B, one or more per machine, in natural order of their names, or
* pairs ``A-NAME.npy``, ``B-NAME.npy``, likewise, or
* ``A.npy`` and ``B.npy``, of which every machine maps a slice of the columns into memory.

With rows of A on the machines, C takes the place of B in these, and ``B.npy`` may be there for all.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from eagle.tables import TableError

Shard = tuple[Any, Any, Any]


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


def load_shard(folder: Path, rank: int = 0, size: int = 1, axis: str = "columns") -> Shard:
    """``A_mu``, ``B_mu`` of one machine, and C; with ``axis="rows"`` ``A_mu``, B and ``C_mu``.

    Parameters
    ----------
    folder : Path
    rank, size : int
        Which of how many machines. Files are dealt out in order; with fewer files than machines
        some get no columns.
    axis : {"columns", "rows"}
        With rows the file for all machines is B.npy; B is None, the identity, without it.

    Raises
    ------
    TableError
        One line that names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder")
    rows = axis == "rows"
    letter, shared = ("C", folder / "B.npy") if rows else ("B", folder / "C.npy")
    everybodys = None if rows and not shared.exists() else _npy(shared)
    archives = sorted(folder.glob("*.npz"), key=_natural)
    pairs = sorted(folder.glob("A-*.npy"), key=_natural)
    whole = folder / "A.npy"
    if bool(archives) + bool(pairs) + whole.exists() != 1:
        raise TableError(
            f"{folder}: must hold either .npz files, or A-*.npy and {letter}-*.npy, or A.npy and "
            f"{letter}.npy, besides {shared.name}; found {len(archives)}, {len(pairs)} and "
            f"{int(whole.exists())}"
        )
    if archives or pairs:
        files = archives or pairs
        mine = [_pair(file, letter) for file in files[slices(len(files), size, rank)]]
        if mine:
            A, other = _joined(mine, 0 if rows else 1)
        else:  # for sizes and dtypes alone
            A, other = (X[:0] if rows else X[:, :0] for X in _pair(files[0], letter))
    else:
        A, other = _npy(whole), _npy(folder / f"{letter}.npy")
        _fit(whole, A, other, letter)
        part = slices(A.shape[0 if rows else 1], size, rank)
        A, other = (X[part] if rows else X[:, part] for X in (A, other))
    return (A, everybodys, other) if rows else (A, other, everybodys)


def _pair(file: Path, letter: str) -> tuple[np.ndarray, np.ndarray]:
    """A and B, or C, of a .npz, or of a file A-NAME.npy and its partner."""
    if file.suffix == ".npy":
        A, other = _npy(file), _npy(file.with_name(letter + file.name[1:]))
    else:
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                missing = [name for name in ("A", letter) if name not in archive]
                if missing:
                    raise TableError(f"{file}: holds no array {missing[0]}")
                A, other = archive["A"], archive[letter]
        except TableError:
            raise
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TableError(f"{file}: truncated or not a .npz file ({error})") from None
    _fit(file, A, other, letter)
    return A, other


def _fit(file: Path, A: np.ndarray, other: np.ndarray, letter: str) -> None:
    side, word = (0, "rows") if letter == "C" else (1, "columns")
    if A.ndim != 2 or other.ndim != 2 or A.shape[side] != other.shape[side]:
        raise TableError(
            f"{file}: A with shape {A.shape} and {letter} with shape {other.shape} must be 2-D "
            f"with as many {word}"
        )


def _joined(pairs: list[tuple[np.ndarray, np.ndarray]], axis: int) -> tuple[np.ndarray, ...]:
    if len(pairs) == 1:
        return pairs[0]
    try:
        return tuple(np.concatenate(blocks, axis=axis) for blocks in zip(*pairs, strict=True))
    except ValueError as error:
        raise TableError(f"the files of one machine do not fit together: {error}") from None


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
