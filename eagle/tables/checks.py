"""Whether a table can be filled as its owner asks, and from what: complete rows or factors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from eagle.methods import as_method
from eagle.problem.options import check_count, check_number, split_options
from eagle.tables.holes import Names, patterns
from eagle.tables.scaling import LINEAR
from eagle.tables.validation import Wish

FEW = 16  # patterns that are blocks however few rows they have
ROWS_EACH = 10  # rows that further patterns have on average if they are blocks


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


def scattered(missing: np.ndarray) -> bool:
    """Whether the holes are no blocks: no complete row, or many patterns, not one in another."""
    incomplete = missing.any(axis=1)
    if not incomplete.any():
        return False
    found = sorted((hidden for _, hidden in patterns(missing)), key=np.count_nonzero)
    few = len(found) <= max(FEW, incomplete.sum() // ROWS_EACH)
    nested = all(not (a & ~b).any() for a, b in itertools.pairwise(found))
    return bool(incomplete.all()) or not (few or nested)
