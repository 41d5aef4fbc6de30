"""What EAGLE knows of matrices and decides from it: numbers in, numbers out, no matrix.

One matrix has plain numbers, many have vectors (`eagle.algebra.numbers`); the rules are the same.
Singular values are relative to ``||A||`` at the time, unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.algebra.numbers import Number
from eagle.methods.base import State

# Measured on the seeded problems of tests/systems.py, condition 1e0 to 1e14, all shapes and ranks.
LANCZOS_STEPS = 6
RITZ_WEIGHT = 1e-10  # Ritz vectors with less of the start vector are rounding noise
GRAM_NOISE = 20.0  # in units of sqrt(n eps): singular values that a Gram matrix cannot show
NORM_MARGIN = 1.05  # Ritz values under-estimate the norm
SURE = 0.5  # a smallest Ritz value above this is taken at its word
MARGIN = 0.8  # one below is lowered by this
USED_UP = 30.0  # in units of eps: what rounding leaves of a contracted C
SLOW = 0.5  # a contraction that leaves more of the probes has a direction out of reach
EXHAUSTED = 0.5  # rounding noise lifted to this much of ||A|| is all that is left to lift
WORTH = 0.3  # smallest singular value below which steps in single precision are many enough
PAYS = 0.6  # smallest singular value seen at which waiting contractions begin
GATHERED = 0.9  # of where singular values end: near enough for traces to count them

NUMBERS: dict[str, Any] = {
    "rho": 0.0,  # 1 / ||A||^2; 0 until it is measured
    "lower": np.nan,  # smallest relevant singular value of A
    "growth": 1.0,  # of the smallest singular values, so far
    "last_lift": 1.0,  # their growth in the last step
    "roughness": 1.0,  # of what A was multiplied by, in units of its own rounding errors
    "least": np.nan,  # smallest singular value of the first A, where a factor has shown it
    "left": np.inf,  # ||C|| relative to its start, white probe columns
    "left_before": np.inf,  # the same one contraction earlier, if A was the same
    "user_left": np.inf,  # the same for the user's columns
    "change": np.inf,
    "ratio": 1.0,  # of the last two changes
    "peak": 0.0,  # size of the largest increment
    "condition": np.nan,
    "rank": np.nan,
    "remaining": np.nan,
    "measured": False,  # every Ritz value of this A or the last lies above 1/2, or noise does
    "conditioned": False,  # A and B are not worth conditioning further, as far as is known
    "resolved": False,
    "settled": False,
}


@dataclass(kw_only=True)
class EagleState(State):
    """Blocks in the right form, ``n <= d``, and the NUMBERS about them."""

    conditioner: Any  # see `eagle.methods.eagle.conditioning`
    A: Any  # (d, n)
    B: Any  # (m, n)
    C: Any  # (d, q); None: C = I and D is W
    D: Any  # (m, q), or (m, d)
    gram: Any  # (n, n), what the algebra makes of ``A^H A``
    spare: Any  # (d, n), to work in
    flipped: bool  # these are the blocks of the adjoint problem
    user: tuple[int, int]  # rows and columns of D that the user asked for
    start: list[Number]  # ||C|| at the start, the user's columns and the white probes
    waiting: bool = False  # no contraction before A is conditioned as far as a probe row sees
    restarted: bool = False
    single: bool = False  # condition in single precision as far as that goes
    lifts: list[Number]  # what each step of the conditioner was made with; 0: none
    rho: Number
    lower: Number
    growth: Number
    last_lift: Number
    roughness: Number
    least: Number
    left: Number
    left_before: Number
    user_left: Number
    ratio: Number
    peak: Number
    measured: Number
    conditioned: Number

    @property
    def num(self) -> Any:
        """How these numbers combine."""
        return self.problem.algebra.num

    @property
    def sound(self) -> Number:
        """Whether its numbers are finite, as far as that shows without a look at blocks."""
        return (self.rho == 0) | self.num.isfinite(self.change + self.left)

    @property
    def noise(self) -> Number:
        """Where the rounding noise of the first A, ``||A|| = 1``, has been lifted to by now."""
        return 10 * self.problem.eps * max(self.A.shape[-2:]) ** 0.5 * self.growth

    @property
    def lift(self) -> Number:
        """Growth of the smallest singular values in the last step, and of rounding errors."""
        return self.last_lift * self.roughness

    @property
    def cautious(self) -> Number:
        """`lower` for choosing step sizes: Ritz values lie inside the spectrum. 0: not known."""
        where = self.num.where
        lowered = where(self.lower > SURE, self.lower, MARGIN * self.lower)
        return where(self.lower >= 0, lowered, 0.0)

    @property
    def used_up(self) -> Number:
        """Whether no direction of A above rounding level is left out.

        The probes are used up, or what is left of them is in directions as small as the noise.
        The residual of a conditioned A, which stands for C where that is an identity, has the
        noise in it.
        """
        level = USED_UP * self.problem.eps
        tolerance = level if self.C is not None else self.num.maximum(level, self.noise)
        stuck = (self.noise >= EXHAUSTED) & (0.5 * self.left_before <= self.left)
        return (self.left <= tolerance) | (stuck & (self.left < np.inf))


def is_due(state: EagleState) -> Number:
    """Whether to look at the spectrum of A, which costs a Gram matrix, and condition it."""
    invert, conditioner = state.num.invert, state.conditioner
    due = state.rho == 0
    if conditioner.eager:
        due = due | invert(state.conditioned)
    # Contraction tells by its own speed whether a direction is still out of reach.
    slow = (conditioner.slow * state.left_before < state.left) & (state.left < np.inf)
    slow = slow & invert(state.used_up)
    unmeasured = invert(state.measured) & state.used_up & (state.ratio > SLOW)
    return due | ((slow | unmeasured) & (state.noise < EXHAUSTED))


def informative(state: EagleState) -> Number:
    """What rows and columns have to be more than, relative to their source and ``1 / ||A||``."""
    num = state.num
    level = num.maximum(USED_UP * state.problem.eps, state.noise)
    return level * num.sqrt(state.rho)


def read_spectrum(state: EagleState, due: Number, ritz: np.ndarray, quotients: Any) -> None:
    """The norm and the smallest relevant singular value of those that are due.

    Parameters
    ----------
    ritz : ndarray (..., k)
        Ritz values of ``A^H A``, NaN for those that mean nothing.
    quotients : ndarray (..., p) or None
        By how much A stretches what is left of the white probes.
    """
    num, where, eps = state.num, state.num.where, state.problem.eps
    top = num.reduce(np.fmax, ritz, 0.0)
    found = where(top > 0, 1 / (NORM_MARGIN**2 * where(top > 0, top, 1.0)), 1.0)
    state.rho = where(due & (state.rho == 0), found, state.rho)
    root = np.asarray(num.sqrt(state.rho))[..., None]
    singular = np.sqrt(np.maximum(ritz, 0)) * root
    # Rounding errors of the Gram matrix hide what is smaller.
    singular[~(singular > GRAM_NOISE * (state.A.shape[-1] * eps) ** 0.5)] = np.nan
    if quotients is not None:
        told = np.where(np.asarray(state.used_up)[..., None], np.nan, quotients * root)
        singular = np.concatenate([singular, told], axis=-1)
    # Nothing above the noise means nothing to lift: A is conditioned down to rounding level, or
    # zero, or not finite and the driver will say so.
    singular[~(singular > np.asarray(state.noise)[..., None])] = 1.0
    lower = num.reduce(np.minimum, singular, 1.0)
    state.lower = where(due, lower, state.lower)
    state.conditioned = where(due, lower >= state.conditioner.done, state.conditioned)
    measured = state.conditioned | (state.lower > SURE)
    first = due & measured & num.invert(state.measured)
    if not state.restarted and num.some(first):
        least = where(state.least > 0, state.least, traced_back(state, state.lower))
        known = 1 / num.maximum(least, eps**2)
        state.condition = where(first, known, state.condition)
    state.measured = where(due, measured, state.measured)


def traced_back(state: EagleState, lower: Number) -> Number:
    """The singular value of the first A that has become `lower`."""
    num = state.num
    for lift in reversed(state.lifts):
        before = state.conditioner.before(lower, num.where(lift > 0, lift, 1.0), num)
        lower = num.where(lift > 0, before, lower)
    return num.minimum(lower, 1.0)


def to_single(state: EagleState, due: Number) -> Number:
    """Which of those that are due are conditioned in single precision."""
    return due & state.single & (state.cautious < WORTH)


def judge(state: EagleState, before: Number) -> None:
    """Decide whether anything is left to gain, with `before` the change before the last.

    A small change is not convergence. Besides, the white probe columns, which lie in the range of
    A whatever the user's do, must be used up: no direction of A above rounding level is left
    out. And either the user's columns are used up too, or what is left of them is in no
    direction that was not measured.
    """
    num, where, eps = state.num, state.num.where, state.problem.eps
    counts = (before > 0) & (before < np.inf)
    ratio = num.minimum(1.0, state.change / where(counts, before, 1.0))
    state.ratio = ratio = where(counts, ratio, 1.0)
    exhausted = state.noise >= EXHAUSTED
    state.measured, state.conditioned = state.measured | exhausted, state.conditioned | exhausted
    if state.waiting:
        return
    condition = where(state.condition >= 1, state.condition, 1.0)
    stalled = state.conditioned & (ratio > SLOW) & (state.change <= 100 * eps * condition)
    state.remaining = 1 / where(state.lower > 0, state.lower, np.nan)
    gamma = state.conditioner.pair(state.lower, num)[1]
    ratio = num.fmin(ratio, num.maximum(1 - gamma * state.lower**2, gamma - 1))
    user = state.user_left <= USED_UP * eps
    state.resolved = state.used_up & (state.measured | user)
    done = stalled | (state.change * ratio <= where(user, 2 * eps, eps))
    state.settled = state.resolved & done


def countable(state: EagleState) -> Number:
    """Whether traces tell the rank: nothing moves, and the singular values are where they end."""
    near = state.num.invert(state.lower <= GATHERED * state.conditioner.top)
    return state.settled & near


def plain_rank(state: EagleState, first: Number) -> Number:
    """Whether ``first = ||A||^2 / top^2`` is the rank of a partial isometry, to the nearest number.

    It is if all singular values are near `top`, the largest being 1.
    """
    num, top = state.num, state.conditioner.top
    lower = num.where(state.lower >= 0, state.cautious / top, 1.0)
    return first * num.maximum(1 - lower**2, 1 / top**2 - 1) < 0.1


def rank(num: Any, first: Number, second: Number, third: Number) -> Number:
    """How many singular values are 1 rather than 0, from the traces of powers of ``A^H A``.

    With t the squared singular values, ``t`` sums to the rank if all are near 1, and
    ``1 - (1 - t)^3 = 3 t - 3 t^2 + t^3`` also if some are not so near. NaN if they are so far that
    it is not certain: ``|1 - t|^3`` is less than half of ``t (1 - t)^2`` wherever t counts.
    """
    spread = first - 2 * second + third
    return num.where(spread < 1, np.rint(3 * first - 3 * second + third), np.nan)


def allowed_error(state: EagleState) -> Number:
    """Relative error of D that is charged to the condition number, in units of eps."""
    num = state.num
    # Without an estimate: the last lift was needed, so the condition was above those before it.
    known = num.where(state.condition >= 1, state.condition, state.growth / state.lift)
    return num.maximum(10.0, known)
