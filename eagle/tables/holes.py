"""What is missing from a table, in which rows and columns together, and what nothing can tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from eagle.problem.checks import as_block

SHOWN = 5  # rows or columns that a message lists
FEW = 16  # patterns that are blocks however few rows they have
ROWS_EACH = 10  # rows that further patterns have on average if they are blocks


class Names:
    """How messages call rows and columns: by number from 0, or as their owner does."""

    def __init__(
        self,
        rows: Sequence[Any] | None = None,
        columns: Sequence[Any] | None = None,
        row: str = "row",
    ):
        self._names = {"row": rows, "column": columns}
        self._words = {"row": row, "column": "column"}

    def listed(self, kind: str, indices: Sequence[int] | np.ndarray) -> str:
        """``row 3`` or ``columns 'a', 'b', ... (17 in all)``."""
        names = self._names[kind]
        items = [i if names is None else repr(names[i]) for i in indices]
        return listed(self._words[kind], items)


def listed(kind: str, items: Sequence[Any] | np.ndarray) -> str:
    """``row 3`` or ``rows 0, 4, 5, ... (17 in all)``."""
    if len(items) == 1:
        return f"{kind} {items[0]}"
    shown = ", ".join(str(item) for item in items[:SHOWN])
    return f"{kind}s {shown}" + (f", ... ({len(items)} in all)" if len(items) > SHOWN else "")


def parse(X: Any, mask: Any = None, names: Names | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The table and where it is missing.

    Raises
    ------
    TypeError
        If X is not a dense numeric array or mask is not boolean.
    ValueError
        For infinity, wrong shapes, and rows and columns without any observed entry.
    """
    names = names or Names()
    missing = None
    if isinstance(X, np.ma.MaskedArray):
        X, missing = np.ma.getdata(X), np.ma.getmaskarray(X)
    X = as_block("X", X, finite=False)
    missing = np.isnan(X) if missing is None else missing | np.isnan(X)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(
                f"mask must be boolean, True where X is missing, got dtype {mask.dtype}"
            )
        if mask.shape != X.shape:
            raise ValueError(f"mask with shape {mask.shape} must have the shape of X, {X.shape}")
        missing = missing | mask
    check_infinite(X, missing, names)
    check_observed(missing, names)
    return X, missing


def check_infinite(X: np.ndarray, missing: np.ndarray, names: Names) -> None:
    """Refuse infinity, and say where."""
    infinite = np.argwhere(np.isinf(X) & ~missing)
    if len(infinite):
        row, column = (
            names.listed(kind, [i]) for kind, i in zip(("row", "column"), infinite[0], strict=True)
        )
        raise ValueError(f"X with shape {X.shape} contains infinity at {row}, {column}")


def check_observed(missing: np.ndarray, names: Names, axes: tuple[int, ...] = (1, 0)) -> None:
    """Refuse rows (1) and columns (0) without any observed entry."""
    for axis in axes if missing.size else ():
        kind, empty = ("column", "row")[axis], np.flatnonzero(missing.all(axis=axis))
        if len(empty):
            raise ValueError(f"no entry of {names.listed(kind, empty)} of X is observed")


def patterns(missing: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that miss the same columns, and which; in the order of their first rows."""
    incomplete = np.flatnonzero(missing.any(axis=1))
    if len(incomplete):
        packed = np.packbits(missing[incomplete], axis=1)
        _, first, label = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        for each in np.argsort(first):
            rows = incomplete[label.ravel() == each]
            yield rows, missing[rows[0]]


def scattered(missing: np.ndarray) -> bool:
    """Whether the holes are no blocks: no complete row, or many patterns, not one in another."""
    incomplete = int(missing.any(axis=1).sum())
    found = [hidden for _, hidden in patterns(missing)]
    return not are_blocks(found, incomplete, len(missing) - incomplete)


def are_blocks(found: Sequence[np.ndarray], incomplete: int, complete: int) -> bool:
    """Whether complete rows fill so many incomplete ones, which have these patterns."""
    if not found:
        return True
    ordered = sorted(found, key=np.count_nonzero)
    few = len(ordered) <= max(FEW, incomplete // ROWS_EACH)
    nested = all(not (a & ~b).any() for a, b in itertools.pairwise(ordered))
    return complete > 0 and (few or nested)


def check_connected(missing: np.ndarray, names: Names) -> None:
    """Refuse a table that falls apart: rows and columns that share no observed entry.

    With observed entries as the edges between rows and columns, an entry is told by the others
    only if a path leads from its row to its column: across two components a table of rank one can
    be scaled at will [1]_.

    References
    ----------
    .. [1] Kiraly, Theran, Tomioka, "The algebraic combinatorial approach for low-rank matrix
       completion", Journal of Machine Learning Research 16 (2015), section 2.2.
    """
    rows, columns = np.zeros(len(missing), bool), np.zeros(missing.shape[1], bool)
    new = np.arange(len(missing)) == 0
    while new.any():
        rows |= new
        reached = ~missing[new].all(axis=0) & ~columns
        columns |= reached
        new = ~missing[:, reached].all(axis=1) & ~rows
    if not (rows.all() and columns.all()):
        found, untold = np.flatnonzero(rows), np.flatnonzero(~columns)
        raise ValueError(
            f"nothing tells the entries of X in {names.listed('row', found)} and "
            f"{names.listed('column', untold)}: no chain of observed entries connects them"
        )
