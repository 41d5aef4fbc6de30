"""A second opinion on what probes say: by a decomposition, or by what rounding does to the answer.

Probes see the errors that a method makes with given blocks. What rounding of A does to the answer
is a different question wherever B or C is inconsistent, and a direction may be small in its units
only. The complete orthogonal decomposition knows both, and bounds its own error: where it takes no
time worth saving it is asked, too. The estimate is its bound plus the distance of the two values.
So it is for a thin A of any size, by semi-normal equations, unless the method took less than that.

Of many problems it is asked only about those that are graded. For the others the first-order
formula of ``eagle.methods.complete`` is written with singular vectors of all of them together,
where the condition is large enough to matter.
"""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import numpy as np

from eagle.algebra.blas import norm
from eagle.algebra.numbers import Many, Number, One, share
from eagle.methods import Direct
from eagle.methods.complete import GRADED
from eagle.methods.seminormal import SemiNormal
from eagle.problem.blocks import Problem
from eagle.problem.certificate import Certificate
from eagle.problem.options import Options
from eagle.run.plan import THINNER, held

CHEAP = 2e6  # operations of a decomposition up to which it is asked


def is_cheap(problem: Problem) -> bool:
    """Whether solving once more takes no time worth saving."""
    d, n = problem.A.shape[-2:]
    return 4 * d * n * min(d, n) <= CHEAP


def is_worth_it(problem: Problem, flops: float, memory_limit: int | None = None) -> bool:
    """Whether solving once more takes less than a method took, which is so for a thin A alone.

    And whether there is memory for that.
    """
    short, long = sorted(problem.A.shape)
    thin = isinstance(problem.A, np.ndarray) and THINNER * short <= long
    fits = memory_limit is None or held(problem) <= memory_limit
    return thin and fits and 2 * long * short**2 <= flops


def checked(
    problem: Problem, extended: Any, certificate: Certificate, rank: Number, condition: Number
) -> Certificate:
    """What is to be said of a value, or of many, that are worth to be computed once more."""
    if problem.algebra.num is One:
        second = None if is_cheap(problem) else _seminormal(problem)
        if second is None:
            return _compared(problem, extended)
        rows, columns = problem.wanted
        return _near(*second, extended[:rows, :columns], certificate)
    certificate = sensitivity(problem, extended, certificate, rank, condition)
    numbers = [np.array(each) for each in astuple(certificate)]
    for place in np.flatnonzero(graded(problem)).tolist():
        value = problem.algebra.home.to_host(extended[place, ...])
        one = astuple(_compared(problem.one(place), value))
        for number, entry in zip(numbers, one, strict=True):
            number[place] = entry
    return Certificate(*numbers)


def graded(problem: Problem) -> np.ndarray:
    """Of which of many matrices rows or columns are of sizes that lie far apart, without a ridge.

    A direction may be small in its units only then.
    """
    algebra, xp, (above, beside) = problem.algebra, problem.algebra.xp, problem.extent
    A, found = problem.A[..., :above, :beside], np.array(False)
    for axis in (-1, -2):
        sizes = xp.reshape(algebra.lengths(A, axis), (A.shape[0], -1))
        most = xp.max(sizes, axis=1, keepdims=True)
        least = xp.min(xp.where(sizes > 0, sizes, most), axis=1, keepdims=True)
        most, least = algebra.fetch(most, least)
        found = found | (most > GRADED * least)[:, 0]
    return np.broadcast_to(found, np.shape(problem.scale))


def sensitivity(
    problem: Problem,
    extended: Any,
    certificate: Certificate,
    rank: np.ndarray,
    condition: np.ndarray,
) -> Certificate:
    """With what rounding of the blocks does to those of many answers where B or C misfits.

    With ``A = U s V^H``, ``P = B V`` and ``G = U^H C`` that is::

        eps |A| (|P / s| |G / s| + |P / s^2| |C - U G| + |B - P V^H| |G / s^2|)
            + eps (|B| |G / s| + |P / s| |C|)
    """
    matters = ~(problem.eps * condition**2 <= certificate.error_estimate)  # or is not known
    places = np.flatnonzero(certificate.misfits & matters)
    if not len(places):
        return certificate
    some, algebra, (rows, columns) = problem.take(places), problem.algebra, problem.wanted
    U, singular, Vh = algebra.xp.linalg.svd(some.A, full_matrices=False)
    P, G = algebra.adjoint(Vh), algebra.adjoint(U)
    P, G = P if some.B is None else some.B @ P, G if some.C is None else G @ some.C
    # Columns of P and rows of G come in by their lengths alone.
    s, p, g = (
        algebra.fetch(each)[0].reshape(each.shape[0], -1)
        for each in (singular, algebra.lengths(P, -2), algebra.lengths(G, -1))
    )
    (d, n), size = some.A.shape[-2:], s[:, 0]
    whole_B = n**0.5 if some.B is None else algebra.norms(some.B)[0]
    whole_C = d**0.5 if some.C is None else algebra.norms(some.C)[0]
    hidden = algebra.norms(algebra.take(extended, places)[..., :rows, :columns])[0]
    kept = s > max(d, n) * algebra.eps * size[:, None]
    kept = kept & ~(np.arange(s.shape[1]) >= rank[places][:, None])  # which may not be known
    once = np.divide(1.0, s, out=np.zeros(kept.shape), where=kept)

    def length(parts: np.ndarray) -> np.ndarray:
        return np.sqrt((parts**2).sum(axis=1))

    left_B, left_C = (
        np.sqrt(np.maximum(whole**2 - length(kept * parts) ** 2, 0.0))
        for whole, parts in ((whole_B, p), (whole_C, g))
    )
    Y, X = length(once * p), length(once * g)
    error = size * (Y * X + length(once**2 * p) * left_C + left_B * length(once**2 * g))
    error = algebra.eps * (error + whole_B * X + Y * whole_C)
    estimates = np.array(certificate.error_estimate)
    estimates[places] = np.maximum(estimates[places], share(Many, error, hidden))
    return replace(certificate, error_estimate=estimates)


def _seminormal(problem: Problem) -> tuple[np.ndarray, float] | None:
    """A value and its error; None if A is too ill-conditioned for it."""
    method, (rows, columns) = SemiNormal(), problem.wanted
    state = method.init(problem, Options())
    try:
        while not state.settled and state.taken < method.default_maxiter:
            state.taken += 1
            state = method.step(state)
    except np.linalg.LinAlgError:
        return None
    value = method.output(state)
    return (value[:rows, :columns], state.floor * norm(value)) if state.settled else None


def _near(
    other: np.ndarray, error: float, value: np.ndarray, certificate: Certificate
) -> Certificate:
    """With the error of a value that is so far from another one whose error is known."""
    error, size = error + norm(value - other), norm(value)
    if not np.isfinite(error):
        return replace(certificate, error_estimate=np.inf)
    return replace(certificate, error_estimate=One.over(error, size))


def _compared(problem: Problem, extended: np.ndarray) -> Certificate:
    """What a decomposition says, which is independent of the method and bounds its own error."""
    rows, columns = problem.wanted
    method, plain = Direct("cod"), replace(problem.unscaled().in_memory(), factors=None)
    value = np.asarray(extended[:rows, :columns])
    value = problem.algebra.restored(value, problem.exponent - plain.exponent, value.dtype)
    if not np.isfinite(value).all():
        return Certificate(np.inf, np.nan, False)
    state = method.step(method.init(plain, Options()))
    second = method.output(state)[:rows, :columns]
    certificate, size = state.certificate, norm(second)
    assert certificate is not None
    whole = max(size, state.rounding)
    error = certificate.error_estimate * whole + norm(value - second)
    whole = max(norm(value), state.rounding)
    if not np.isfinite(error + whole):
        return Certificate(np.inf, np.nan, False)
    return Certificate(
        error / whole if whole else 0.0,
        certificate.inconsistency,
        error <= 100 * state.rounding,
    )
