"""Missing blocks of a table filled with ``B A^+ C``, and how good the filling is to be expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eagle.api import _split, solve
from eagle.methods import as_method
from eagle.problem.checks import as_block
from eagle.problem.options import as_generator, check_count
from eagle.problem.result import Result

__all__ = ["Completion", "Group", "complete"]

FOLDS = 5  # as good as ten on real tables, at half the cost


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that miss the same columns.

    Attributes
    ----------
    rows, columns : ndarray of int
        The entries ``X[np.ix_(rows, columns)]`` are filled.
    rank : int or None
        Singular directions of the donors' observed columns that were used; None if the method
        that ran does not know.
    error_estimate : float
        Expected relative Frobenius error of the filled entries.
    curve : ndarray
        Cross-validated relative error with 0, 1, 2, ... directions; the last entry is without
        truncation. Empty with fewer than two donors.
    """

    rows: np.ndarray
    columns: np.ndarray
    rank: int | None
    error_estimate: float
    curve: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Completion:
    """A filled table.

    Attributes
    ----------
    X : ndarray (n, m)
        A copy of the input with its missing entries filled.
    results : tuple of Result
        One solve for each of `groups`, with its numerical certificate.
    rank : int or None
        Singular directions used; the largest number where groups differ.
    error_estimate : float
        Expected relative Frobenius error of the filled entries, ``||filled - truth|| /
        ||truth||``, from cross-validation on the complete rows. NaN if there are too few of
        them to tell, 0 if nothing was missing.
    groups : tuple of Group
        Which entries were filled together.
    """

    X: np.ndarray = field(repr=False)
    results: tuple[Result, ...] = field(repr=False)
    rank: int | None
    error_estimate: float
    groups: tuple[Group, ...] = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether every solve is as accurate as was asked for."""
        return all(result.converged for result in self.results)

    def __str__(self) -> str:
        count = sum(len(group.rows) * len(group.columns) for group in self.groups)
        filled = f"{count} of {self.X.size} entries, row groups: {len(self.groups)}"
        shape = " x ".join(map(str, self.X.shape))
        rank = "unknown" if self.rank is None else str(self.rank)
        error = "unknown" if np.isnan(self.error_estimate) else f"{self.error_estimate:.2g}"
        return "\n".join(
            [
                f"eagle.Completion: {shape} {self.X.dtype}",
                f"  filled          {filled}",
                f"  rank            {rank}",
                f"  expected error  {error} (relative, of the filled entries)",
            ]
        )


def complete(X: Any, *, mask: Any = None, rank: Any = "cv", **options: Any) -> Completion:
    """Fill the missing entries of a table from the rows that have none.

    Rows are grouped by which columns they miss. For each group, with A and C the observed and
    the missing columns of the complete rows (the donors) and B the observed columns of the
    group, the missing entries are ``B A^+ C``: one solve for each group.

    Parameters
    ----------
    X : array_like (n, m)
        NaN marks a missing entry; so does the mask of a masked array. Real or complex. One block
        may be missing, or several groups of rows may each miss columns of their own, in any
        order of rows and columns.
    mask : array_like of bool (n, m), optional
        True marks more missing entries; what X holds there is not looked at.
    rank : "cv", int or None, optional
        How many singular directions of A to use: the number that fills hidden columns of held-out
        donors best, this many, or all above rounding level. Noisy tables need few.
    **options
        As for `solve`. `cutoff` and `ridge` need ``rank=None``.

    Returns
    -------
    Completion

    Raises
    ------
    TypeError
        If X is not a dense numeric array, mask is not boolean, or an option has the wrong type.
    ValueError
        If X contains infinity or a row or column without any observed entry, if no row is
        complete, or if an option is out of range or cannot be honoured.

    Notes
    -----
    The filling has the least rank of all, and is exact if ``[A C]`` has as large a rank as the
    whole table. With noise it is not: then small singular values of A amplify the noise, and
    dropping them helps.

    Cross-validation splits the donors into five folds at random (`rng`), hides the missing
    columns in one and fills them from the others, with every rank at once: one SVD per fold.
    The rank with the smallest error wins. That error, relative to the size of what was hidden,
    is `error_estimate`; it is honest as far as the donors are like the rows that are filled.
    It needs two donors, and for an integer rank as many in four folds as that rank.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> X = np.outer([1.0, 2, 3, 4], [1, 10, 100])  # rank one
    >>> X[3, 1:] = np.nan
    >>> done = eagle.complete(X, rng=0)
    >>> done.X[3].round(10), done.rank, done.error_estimate < 1e-12
    (array([  4.,  40., 400.]), 1, True)
    """
    generator = as_generator(options.pop("rng", None))
    _check_options(rank, options)
    X, missing = _parse(X, mask)
    filled = X.copy()
    donors = X[~missing.any(axis=1)]
    patterns = list(_patterns(missing))
    for rows, hidden in patterns:
        _check_rank(rank, len(donors), rows, hidden)
    results, groups = [], []
    lost = whole = 0.0
    for rows, hidden in patterns:
        A, B, C = donors[:, ~hidden], X[rows][:, ~hidden], donors[:, hidden]
        losses, size = _cross_validate(A, C, options, generator)
        used, loss = _choose(losses, rank, A.shape)
        result = solve(A, B, C, rank=used, rng=generator, **options)
        columns = np.flatnonzero(hidden)
        directions = used if result.rank is None else result.rank
        filled[np.ix_(rows, columns)] = result.value
        curve = np.array([_relative(each, size) for each in losses])
        results.append(result)
        groups.append(Group(rows, columns, directions, _relative(loss, size), curve))
        lost, whole = lost + len(rows) * loss, whole + len(rows) * size
    return Completion(
        X=filled,
        results=tuple(results),
        rank=max((group.rank for group in groups if group.rank is not None), default=None),
        error_estimate=_relative(lost, whole),
        groups=tuple(groups),
    )


def _check_options(rank: Any, options: dict[str, Any], words: tuple[str, ...] = ("cv",)) -> None:
    """Everything about the options that can be wrong before the table is looked at."""
    name, settings = _split("complete", dict(options))
    method = as_method(name)
    if isinstance(rank, str) and rank not in words:
        known = ", ".join(map(repr, words))
        raise ValueError(f"rank must be {known}, a positive integer or None, got {rank!r}")
    if rank is None:
        return
    if not isinstance(rank, str):
        check_count("rank", rank)
    for name, given in (("cutoff", settings.cutoff is not None), ("ridge", settings.ridge > 0)):
        if given:
            raise ValueError(
                f"give rank=None with {name}: both shape the spectrum, got rank={rank!r}"
            )
    if method is not None and "rank" not in method.supports:
        raise ValueError(
            f"{method!r} cannot truncate to a rank, which rank={rank!r} may ask for: give "
            "rank=None with it, or method='direct'"
        )


def _check_rank(rank: Any, donors: int, rows: np.ndarray, hidden: np.ndarray) -> None:
    """Whether the complete rows can fill `rows` with that many directions."""
    observed = np.count_nonzero(~hidden)
    if not isinstance(rank, str | None) and rank > min(donors, observed):
        raise ValueError(
            f"rank must be at most {min(donors, observed)} for {donors} complete rows and "
            f"{observed} observed columns of {_listed('row', rows)}, got {rank}"
        )


def _parse(X: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """The table and where it is missing."""
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
    infinite = np.argwhere(np.isinf(X) & ~missing)
    if len(infinite):
        row, column = infinite[0]
        raise ValueError(f"X with shape {X.shape} contains infinity at row {row}, column {column}")
    if X.size:
        for axis, name in ((1, "row"), (0, "column")):
            empty = np.flatnonzero(missing.all(axis=axis))
            if len(empty):
                raise ValueError(f"no entry of {_listed(name, empty)} of X is observed")
    incomplete = np.flatnonzero(missing.any(axis=1))
    if 0 < len(incomplete) == len(X):
        raise ValueError(
            "no row of X is complete, so nothing tells the missing entries of "
            f"{_listed('row', incomplete)}"
        )
    return X, missing


def _patterns(missing: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that miss the same columns, and which; in the order of their first rows."""
    incomplete = np.flatnonzero(missing.any(axis=1))
    if len(incomplete):
        packed = np.packbits(missing[incomplete], axis=1)
        _, first, label = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        for each in np.argsort(first):
            rows = incomplete[label.ravel() == each]
            yield rows, missing[rows[0]]


def _cross_validate(
    A: np.ndarray, C: np.ndarray, options: dict[str, Any], generator: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Squared errors of held-out donors with 0, 1, 2, ... directions, and their squared size.

    Means over donors, in units of the largest entry so that nothing overflows.
    """
    donors = len(A)
    if donors < 2:
        return np.empty(0), np.nan
    work = np.result_type(A, C, np.float32)
    scale = max(_largest(A), _largest(C)) or 1.0
    A, C = A.astype(work) / scale, C.astype(work) / scale
    with np.errstate(over="ignore"):
        ridge = np.float64(options.get("ridge", 0.0)) / scale / scale
    curves = []
    for held_out in np.array_split(generator.permutation(donors), min(FOLDS, donors)):
        kept = np.ones(donors, bool)
        kept[held_out] = False
        curves.append(
            _curve(A[kept], A[held_out], C[kept], C[held_out], options.get("cutoff"), ridge)
        )
    # A fold that has used up its directions stays as good as it was.
    length = max(map(len, curves))
    total = np.zeros(length)
    for curve in curves:
        total += np.concatenate([curve, np.repeat(curve[-1:], length - len(curve))])
    return total / donors, float(np.linalg.norm(C) ** 2) / donors


def _curve(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, cutoff: float | None, ridge: float
) -> np.ndarray:
    """Squared distances of D from the filling with 0, 1, 2, ... directions of A."""
    import scipy.linalg  # a third of a second

    U, s, Vh = scipy.linalg.svd(A, full_matrices=False, check_finite=False)
    cutoff = max(A.shape) * np.finfo(s.dtype).eps if cutoff is None else cutoff
    kept = int(np.count_nonzero(s > cutoff * s[:1]))
    weights = (s[:kept] / (s[:kept] ** 2 + ridge)).astype(s.dtype)
    left = (B @ Vh[:kept].conj().T) * weights
    right = U[:, :kept].conj().T @ C
    remainder = D.copy()
    errors = np.empty(kept + 1)
    errors[0] = np.linalg.norm(remainder) ** 2
    for k in range(kept):
        remainder -= np.outer(left[:, k], right[k])
        errors[k + 1] = np.linalg.norm(remainder) ** 2
    return errors


def _choose(curve: np.ndarray, rank: Any, shape: tuple[int, int]) -> tuple[int | None, float]:
    """The rank to solve with (None: no truncation) and the squared error to expect from it."""
    if not len(curve):
        return (None if rank == "cv" else rank), np.nan
    last = len(curve) - 1
    if rank is None:
        return None, float(curve[last])
    if rank != "cv":
        donors, observed = shape
        smallest = donors - -(-donors // FOLDS)
        return rank, float(curve[min(rank, last)]) if rank <= min(smallest, observed) else np.nan
    best = 1 + int(np.argmin(curve[1:])) if last else 0
    return (None if best == last else best), float(curve[best])


def _largest(block: np.ndarray) -> float:
    """The largest real or imaginary part."""
    parts = np.ascontiguousarray(block).view(block.real.dtype)
    return float(np.abs(parts).max(initial=0))


def _relative(loss: float, size: float) -> float:
    if loss == 0:
        return 0.0
    return float(np.sqrt(loss / size)) if size != 0 else np.inf


def _listed(name: str, indices: Sequence[int] | np.ndarray) -> str:
    """``row 3`` or ``rows 0, 4, 5, ... (17 in all)``."""
    if len(indices) == 1:
        return f"{name} {indices[0]}"
    shown = ", ".join(str(i) for i in indices[:5])
    return f"{name}s {shown}" + (f", ... ({len(indices)} in all)" if len(indices) > 5 else "")
