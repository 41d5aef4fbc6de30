"""Whether a table can be filled as its owner asks: what can be wrong is found before any work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from eagle.methods import as_method
from eagle.problem.options import check_count, check_number, split_options
from eagle.tables.holes import Names
from eagle.tables.scaling import LINEAR
from eagle.tables.validation import Wish


def check_wish(
    rank: Any, ridge: Any, scaling: Any, options: dict[str, Any], names: str = "complete"
) -> Wish:
    """What of the spectrum is given and what is left to validation.

    Everything about the options that can be wrong is found before the table is looked at.
    """
    chosen = isinstance(rank, str)
    if chosen and rank != "cv":
        raise ValueError(f"rank must be 'cv', a positive integer or None, got {rank!r}")
    if isinstance(ridge, str) and ridge != "cv":
        raise ValueError(f"ridge must be a number or 'cv', got {ridge!r}")
    ridge = ("cv" if chosen else 0.0) if ridge is None else ridge
    scaling = ("cv" if chosen else "none") if scaling is None else scaling
    known = ("cv", *LINEAR)
    if scaling not in known:
        raise ValueError(f"scaling must be one of {', '.join(map(repr, known))}, got {scaling!r}")
    number = 0.0 if isinstance(ridge, str) else check_number("ridge", ridge)
    name, settings = split_options(names, {**options, "ridge": number})
    method = as_method(name)
    if rank is not None and not chosen:
        rank = check_count("rank", rank)
        if isinstance(ridge, str):
            raise ValueError(f"give rank=None with ridge='cv': both shape the spectrum, got {rank}")
    for what, is_given in (("cutoff", settings.cutoff is not None), ("ridge", number > 0)):
        if is_given and rank is not None:
            raise ValueError(
                f"give rank=None with {what}: both shape the spectrum, got rank={rank!r}"
            )
    if settings.cutoff is not None and isinstance(ridge, str):
        raise ValueError(
            f"give cutoff=None with ridge='cv': both shape the spectrum, got {settings.cutoff!r}"
        )
    if rank is not None and method is not None and "rank" not in method.supports:
        raise ValueError(
            f"{method!r} cannot truncate to a rank, which rank={rank!r} may ask for: give "
            "rank=None with it, or method='direct'"
        )
    return Wish(rank, ridge if isinstance(ridge, str) else number, settings.cutoff, scaling)


def check_rank(rank: Any, donors: int, rows: np.ndarray, hidden: np.ndarray, names: Names) -> None:
    """Whether the complete rows can fill `rows` with that many directions."""
    observed = np.count_nonzero(~hidden)
    if not isinstance(rank, str | None) and rank > min(donors, observed):
        raise ValueError(
            f"rank must be at most {min(donors, observed)} for {donors} complete rows and "
            f"{observed} observed columns of {names.listed('row', rows)}, got {rank}"
        )


def check_factors(wish: Wish, X: np.ndarray, names: Names) -> None:
    """Whether a factorisation can honour what was asked for."""
    incomplete = names.listed("row", np.flatnonzero(np.isnan(X).any(axis=1)))
    why = f"the missing entries of {incomplete} are scattered"
    if np.iscomplexobj(X):
        raise ValueError(f"X is complex and {why}: only blocks of a complex table can be filled")
    if wish.rank is None:
        raise ValueError(f"rank must be 'cv' or an integer, not None, because {why}")
    if wish.scaling == "effects":
        raise ValueError(f"scaling must not be 'effects', because {why}")
    if not isinstance(wish.rank, str) and wish.rank > min(X.shape) - 1:
        most = min(X.shape) - 1
        raise ValueError(f"rank must be at most {most}, got {wish.rank}, because {why}")


def scaled(wish: Wish, unit: float) -> Wish:
    """The same for a table that was divided by `unit`."""
    if isinstance(wish.ridge, str):
        return wish
    with np.errstate(over="ignore"):
        ridge = np.float64(wish.ridge) / unit / unit
    return replace(wish, ridge=float(min(ridge, np.finfo(float).max)))


def check_bounds(minimum: Any, maximum: Any, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of each column."""
    found = []
    for name, given, default in (("minimum", minimum, -np.inf), ("maximum", maximum, np.inf)):
        try:
            each = np.asarray(default if given is None else given, float)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number, or one for each column") from None
        if np.isnan(each).any() or each.shape not in ((), (columns,)):
            raise ValueError(
                f"{name} must be a number, or one for each of the {columns} columns of numbers, "
                f"got {given!r}"
            )
        found.append(np.broadcast_to(each, (columns,)))
    if (found[0] > found[1]).any():
        raise ValueError(f"minimum must not exceed maximum, got {minimum!r} and {maximum!r}")
    return found[0], found[1]
