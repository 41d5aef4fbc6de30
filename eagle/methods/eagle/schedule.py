"""Step sizes ``(eta, gamma)`` of EAGLE from the conditioning that is left.

A conditioning step maps a singular value ``s`` in ``[l, 1]`` to ``s (1 - eta s^2) / mu`` with
``mu`` the largest value that the numerator takes on ``[0, 1]``, so that 1 is the largest again.
The contraction step multiplies the component of C along it by ``1 - gamma s^2``. All functions
take numbers or arrays of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.problem.options import check_number


def largest(eta: Any) -> Any:
    """``mu``, the maximum of ``s (1 - eta s^2)`` over ``0 <= s <= 1``."""
    if isinstance(eta, float):  # many times faster than arrays without axes
        return max((2 / 3) / math.sqrt(3 * eta) if eta > 1 / 3 else 0.0, 1 - eta)
    interior = np.where(eta > 1 / 3, (2 / 3) / np.sqrt(3 * eta), 0.0)
    return _plain(np.maximum(interior, 1 - eta))


def lifted(lower: Any, eta: Any) -> Any:
    """Lower bound of the mapped interval: the smaller of the images of `lower` and 1."""
    if isinstance(lower, float) and isinstance(eta, float):
        return min(lower * (1 - eta * lower**2), 1 - eta) / largest(eta)
    return _plain(np.minimum(lower * (1 - eta * lower**2), 1 - eta) / largest(eta))


def lowered(image: Any, eta: Any) -> Any:
    """The small singular value that one step of `eta` lifts to `image` (inverse of `lifted`)."""
    # s = 2 a sin(t) with a = 1 / sqrt(3 eta) turns s - eta s^3 into (2 / 3) a sin(3 t).
    a = 1 / np.sqrt(3 * eta)
    third = np.arcsin(np.minimum(1.5 * image * largest(eta) / a, 1.0)) / 3
    return _plain(2 * a * np.sin(third))


def _plain(numbers: Any) -> Any:
    """Arrays as they are, scalars as floats: those of numpy would make float32 data float64."""
    return numbers if np.ndim(numbers) else float(numbers)


@dataclass(frozen=True)
class Minimax:
    """The pair that leaves the best conditioning, given the current one.

    ``eta = 1 / (1 + l + l^2)`` maps the ends of ``[l, 1]`` to the same value: no other choice
    leaves a larger lower bound. It runs from 1 (what training finds) to 1/3 (Newton-Schulz).
    ``gamma = 2 / (1 + l^2)`` is the Chebyshev point of degree one.

    Attributes
    ----------
    cap : float
        Largest eta. ``eta = 1`` annihilates the top singular direction and costs accuracy like
        ``eps * condition``; 0.9 costs 5 % of the lift and nothing else.
    """

    cap: float = 0.9

    def pair(self, lower: Any) -> tuple[Any, Any]:
        """``(eta, gamma)`` for singular values in ``[lower, 1]``."""
        eta = np.minimum(self.cap, 1 / (1 + lower + lower**2))
        return _plain(eta), _plain(np.where(lower > 0.5, 2 / (1 + lower**2), 1.0))


@dataclass(frozen=True)
class Constant:
    """The same pair at every step.

    Attributes
    ----------
    eta, gamma : float
        Step sizes in units of the normalised A.
    """

    eta: float
    gamma: float

    def pair(self, lower: Any) -> tuple[Any, Any]:
        """``(eta, gamma)``; `lower` does not matter."""
        return self.eta, self.gamma


# "paper": Theorem 1 of arXiv:2509.19702, with A rescaled by 3/2 after each step. "trained": the
# constants (1, 1.9) that training finds, relative to a norm over-estimated by sqrt(1.9); with
# the exact norm eta = 1 would annihilate the top direction.
NAMED: dict[str, Minimax | Constant] = {
    "minimax": Minimax(),
    "paper": Constant(1 / 3, 1.0),
    "trained": Constant(1 / 1.9, 1.0),
}


def as_schedule(value: Any) -> Minimax | Constant:
    """A schedule from its name or from an explicit pair ``(eta, gamma)``."""
    if isinstance(value, str):
        if value not in NAMED:
            names = ", ".join(map(repr, [*NAMED, "cholesky"]))
            raise ValueError(
                f"schedule must be one of {names} or a pair (eta, gamma), got {value!r}"
            )
        return NAMED[value]
    try:
        eta, gamma = value
    except (TypeError, ValueError):
        raise TypeError(f"schedule must be a name or a pair (eta, gamma), got {value!r}") from None
    eta = check_number("schedule eta", eta, positive=True)
    gamma = check_number("schedule gamma", gamma, positive=True)
    if eta > 1 or gamma > 2:
        raise ValueError(
            f"schedule needs 0 < eta <= 1 and 0 < gamma <= 2, got ({eta:g}, {gamma:g}): beyond "
            "them the top direction grows instead of shrinking"
        )
    return Constant(eta, gamma)
