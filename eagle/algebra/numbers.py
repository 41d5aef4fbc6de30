"""What is known of matrices: a plain number for one, a vector with an entry for each of many.

Rules are written once, on `One` or on `Many`. NaN stands for what is not known; it is passed on by
``minimum`` and ``maximum`` and compares as false, as numpy has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

Number = Any  # a float or bool of One, an ndarray (N,) of Many


class One:
    """Plain numbers, many times faster than arrays of one entry."""

    @staticmethod
    def where(condition: bool, yes: Any, no: Any) -> Any:
        """`yes` where the condition holds, elsewhere `no`."""
        return yes if condition else no

    @staticmethod
    def invert(condition: bool) -> bool:
        """Whether a condition does not hold."""
        return not condition

    @staticmethod
    def some(condition: bool) -> bool:
        """Whether it holds for any matrix."""
        return bool(condition)

    every = some

    @staticmethod
    def minimum(x: float, y: float) -> float:
        """The smaller one."""
        return x if x <= y or x != x else y

    @staticmethod
    def maximum(x: float, y: float) -> float:
        """The larger one."""
        return x if x >= y or x != x else y

    @staticmethod
    def fmin(x: float, y: float) -> float:
        """The smaller one of those that are known."""
        return y if x != x or y < x else x

    @staticmethod
    def sqrt(x: float) -> float:
        """Square root; NaN of what is negative."""
        return math.sqrt(x) if x >= 0 else math.nan

    @staticmethod
    def isfinite(x: float) -> bool:
        """Whether it is neither infinite nor unknown."""
        return math.isfinite(x)

    @staticmethod
    def known(x: float | None, like: Any) -> float:
        """A number, NaN in place of None."""
        return math.nan if x is None else float(x)

    @staticmethod
    def full(value: Any, like: Any) -> Any:
        """The same value for every matrix."""
        return value

    @staticmethod
    def given(entry: Any) -> bool:
        """Whether there is an entry and not None."""
        return entry is not None

    @staticmethod
    def same(entry: Any, other: Any) -> bool:
        """Whether an entry is that other one."""
        return entry is other

    @staticmethod
    def over(x: float, y: float) -> float:
        """``x / y``; 0 if x is 0, infinite if only y is."""
        if not x:
            return 0.0
        return x / y if y else math.copysign(math.inf, x)

    @staticmethod
    def reduce(function: np.ufunc, numbers: np.ndarray, initial: float) -> float:
        """One number from a row of them."""
        return float(function.reduce(numbers, initial=initial))

    @staticmethod
    def worst(numbers: Any) -> float:
        """The largest over all matrices."""
        return numbers

    @staticmethod
    def first(table: Iterable[tuple[Any, Any]]) -> Any:
        """The entry of the first row whose condition holds; None if none does."""
        return next((entry for condition, entry in table if condition), None)


class Many:
    """Vectors with one entry for each matrix."""

    where, some, every = np.where, np.any, np.all
    minimum, maximum, fmin, isfinite = np.minimum, np.maximum, np.fmin, np.isfinite
    invert = np.logical_not

    @staticmethod
    def sqrt(x: Any) -> Any:
        """Square roots; NaN of what is negative."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(x)

    @staticmethod
    def known(x: Any, like: Any) -> Any:
        """Numbers, NaN in place of None."""
        return np.full(np.shape(like), np.nan) if x is None else x

    @staticmethod
    def full(value: Any, like: Any) -> Any:
        """The same value for every matrix."""
        return np.full(np.shape(like), value)

    @staticmethod
    def given(entries: Any) -> Any:
        """Where there is an entry and not None."""
        missing: Any = None
        return np.not_equal(entries, missing)

    same = np.equal

    @staticmethod
    def over(x: Any, y: Any) -> Any:
        """``x / y``; 0 where x is 0, infinite where only y is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(x == 0, 0.0, x / y)

    @staticmethod
    def reduce(function: np.ufunc, numbers: np.ndarray, initial: float) -> Any:
        """One number for each matrix from a row of them."""
        return function.reduce(numbers, axis=1, initial=initial)

    @staticmethod
    def worst(numbers: Any) -> float:
        """The largest over all matrices; NaN only if nothing else is there."""
        return float(np.fmax.reduce(numbers))

    @staticmethod
    def first(table: Iterable[tuple[Any, Any]]) -> np.ndarray:
        """For each matrix the entry of the first row whose condition holds; None if none does."""
        rows = list(table)
        out = np.full(np.broadcast_shapes(*(np.shape(condition) for condition, _ in rows)), None)
        for condition, entry in reversed(rows):
            out[np.broadcast_to(condition, out.shape)] = entry
        return out


def share(num: Any, part: Number, whole: Number) -> Number:
    """``part / whole``; 0 where there is no whole."""
    return num.where(whole > 0, part / num.where(whole > 0, whole, 1.0), 0.0)
