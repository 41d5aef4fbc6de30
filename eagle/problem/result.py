"""What a solve returns: a status that carries its advice, a history, and the result itself."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["ConvergenceError", "ConvergenceWarning", "Iteration", "Result", "Status"]


class Status(enum.Enum):
    """How a solve ended; the text of each member says what to do about it."""

    CONVERGED = "The value is as accurate as was asked for."
    MAX_ITERATIONS = (
        "The maximum number of iterations was reached. Raise `maxiter`, loosen `rtol`, or use a "
        "method whose iterations do not grow with the condition number ('eagle', 'direct')."
    )
    TIME_LIMIT = (
        "The time limit was reached. Raise `time_limit`, loosen `rtol`, or choose a faster method."
    )
    MEMORY_LIMIT = (
        "The memory limit was reached before the value was as accurate as was asked for. Raise "
        "`memory_limit`, or set `rank` if the data are known to be of lower rank but noisy."
    )
    STOPPED_BY_CALLBACK = "The callback asked to stop; the value is the one it last saw."
    STAGNATED = (
        "The value stopped improving before it reached `rtol`: this is as accurate as the method "
        "gets on this problem in this precision. Loosen `rtol`, use float64, set `cutoff` or "
        "`ridge`, or try method='direct'."
    )
    NONFINITE = (
        "The value overflowed or became NaN. Rescale the data, set `ridge`, or try method='direct'."
    )
    TRACED = (
        "The value is computed when the traced program runs, and a warning is given then if it is "
        "not as accurate as was asked for."
    )

    @property
    def advice(self) -> str:
        """What the status means and what to try next."""
        return self.value


class ConvergenceWarning(UserWarning):
    """A solve ended without the accuracy that was asked for."""


class ConvergenceError(RuntimeError):
    """Raised in place of `ConvergenceWarning` when ``raise_on_failure=True``.

    Attributes
    ----------
    result : Result
        The result as far as it got.
    """

    def __init__(self, message: str, result: Result):
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.result)


@dataclass(frozen=True, slots=True)
class Iteration:
    """One line of a solve's history.

    Attributes
    ----------
    iteration : int
        Counts from 1.
    change : float
        Relative Frobenius size of the last change of the value.
    error_estimate : float
        The certificate's estimate of the relative error at this point; NaN where nobody looked,
        as in a batch that is iterated down to the floor.
    seconds : float
        Since the start of the solve.
    matmuls : int
        Matrix products with a factor as large as A, up to and including this iteration.
    condition : float or None
        The method's estimate of the condition number that is left, where it has one.
    """

    iteration: int
    change: float
    error_estimate: float
    seconds: float
    matmuls: int
    condition: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """The value of ``B A^+ C`` with its certificate.

    Attributes
    ----------
    value : ndarray
        The answer, in the dtype of the input; an array of the library that the input came from.
    status : Status
        How the solve ended. ``status.advice`` says what to do about it.
    iterations : int
        Steps taken (for LSMR: the most that any right-hand side needed).
    history : tuple of Iteration
        One record per iteration.
    error_estimate : float
        Relative numerical error of `value` in the Frobenius norm, estimated from random probes
        that went through the same computation (see `eagle.problem.certificate`). Rounding to half
        precision and underflow, in a value that comes back as such, happen after it.
    inconsistency : float
        ``||B - W A|| / ||B||`` with ``W = B A^+``: the part of B that A does not explain, 0 when
        ``rank [A; B] = rank A``; estimated from the same probes.
    rank, condition : int or None, float or None
        Estimates of the numerical rank and condition number of A, where the method has them;
        with a ridge, of ``[A  sqrt(ridge) I]``.
    method : object
        The exact settings used.
    plan : str
        Why this method ran.
    seconds : float
        Wall-clock time of the whole solve.
    flops : float
        Floating-point operations that the method's matrix products need (real operations; a
        complex product counts four times).
    parts : callable or None
        For a batch: makes `results`. The other numbers are those of the worst of its problems,
        `status` is that of the first that failed.
    """

    value: np.ndarray
    status: Status
    iterations: int
    history: tuple[Iteration, ...] = field(repr=False)
    error_estimate: float
    inconsistency: float
    rank: int | None
    condition: float | None
    method: object
    plan: str
    seconds: float
    flops: float
    parts: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    @cached_property
    def results(self) -> np.ndarray | None:
        """For a batch: the results of its problems, in the shape of its leading dimensions.

        They are made when somebody looks at them, a few microseconds for each.
        """
        return None if self.parts is None else self.parts()

    @property
    def converged(self) -> bool:
        """Whether the value is as accurate as was asked for."""
        return self.status is Status.CONVERGED

    def __str__(self) -> str:
        def number(x: float | None) -> str:
            return "unknown" if x is None else f"{x:.2g}"

        advice = self.status.advice
        shape = " x ".join(map(str, self.value.shape))
        dtype = str(self.value.dtype).rpartition(".")[2]  # whatever library it is of
        first = f"eagle.Result: {shape} {dtype}, {self.status.name}"
        if self.status is Status.TRACED:
            return f"{first}\n  {advice}"
        double = dtype in ("float64", "complex128")
        if self.inconsistency > np.finfo(np.float64 if double else np.float32).eps ** 0.5:
            advice += " B has a part that A does not explain: B A^+ C is no reconstruction then."
        rank = "unknown" if self.rank is None else str(self.rank)
        lines = [
            first,
            f"  {advice}",
            f"  method          {self.method}",
            f"  plan            {self.plan}",
            f"  iterations      {self.iterations} in {self.seconds:.3g} s, {self.flops:.3g} flops",
            f"  error estimate  {number(self.error_estimate)} (relative)",
            f"  inconsistency   {number(self.inconsistency)} (part of B that A does not explain)",
            f"  rank of A       {rank}, condition {number(self.condition)}",
        ]
        return "\n".join(lines)
