"""What a solve returns: a status that carries its advice, a history, and the result itself."""

from __future__ import annotations

import enum
import html
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from eagle.problem.fit import Fit
from eagle.problem.options import Options


class Status(enum.Enum):
    """How a solve ended."""

    CONVERGED = "The value is as accurate as was asked for."
    MAX_ITERATIONS = "The maximum number of iterations was reached."
    TIME_LIMIT = "The time limit was reached."
    MEMORY_LIMIT = "The memory limit was reached before the value was as accurate as was asked for."
    STOPPED_BY_CALLBACK = "The callback asked to stop; the value is the one it last saw."
    STAGNATED = (
        "The value is not as accurate as was asked for (without `rtol`: four digits) and improves "
        "no more: this is what the method can do on this problem in this precision."
    )
    NONFINITE = "The value overflowed or became NaN."
    TRACED = (
        "The value is computed when the traced program runs, and a warning is given then if it is "
        "not as accurate as was asked for."
    )

    @property
    def advice(self) -> str:
        """What the status means and what to try next."""
        return self.advice_after()

    def advice_after(self, *tried: str) -> str:
        """The same without what names a method or a dtype that was tried just now."""
        left = [
            remedy
            for remedy in REMEDIES.get(self, ())
            if not any(re.search(rf"\b{name}\b", remedy) for name in tried)
        ]
        if not left:
            return self.value
        *others, last = left
        joined = f"{', '.join(others)}{',' * (len(others) > 1)} or {last}" if others else last
        return f"{self.value} {joined[0].upper()}{joined[1:]}."


REMEDIES = {
    Status.MAX_ITERATIONS: (
        "raise `maxiter`",
        "loosen `rtol`",
        "use a method whose iterations do not grow with the condition number ('eagle', 'direct')",
    ),
    Status.TIME_LIMIT: ("raise `time_limit`", "loosen `rtol`", "choose a faster method"),
    Status.MEMORY_LIMIT: (
        "raise `memory_limit`",
        "set `rank` if the data are known to be of lower rank but noisy",
    ),
    Status.STAGNATED: (
        "loosen `rtol`",
        "use float64",
        "set `cutoff` or `ridge`",
        "try method='direct'",
    ),
    Status.NONFINITE: ("rescale the data", "set `ridge`", "try method='direct'"),
}

MOST = 4.0  # times what rounding of the data makes: an error that is made of that
NO_BETTER = (
    "The data do not determine more: rounding of their entries alone moves the value so far."
)

# A callback that asks to stop gets what it asked for; a traced call complains when it runs.
EXPECTED = (Status.CONVERGED, Status.STOPPED_BY_CALLBACK, Status.TRACED)


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


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The value of ``B A^+ C`` with its certificate.

    Attributes
    ----------
    value : ndarray
        The answer, in the dtype of the input; an array of the library that the input came from.
    status : Status
        How the solve ended. `advice` says what to do about it.
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
        with a ridge, of ``[A  sqrt(ridge) I]``. The condition number is the ratio of the largest
        singular value to the smallest that counts: itself where the method has singular values
        (drivers "gelsd" and "svd", "compressed"); from below, seldom by more than a third, by the
        power iteration ("cod", "qr"; the semi-normal equations: of A with columns of length one);
        within a factor of 30 by "eagle", for which it is a by-product; up to n times too large by
        "lu", which multiplies Frobenius norms; and any number below it by "lsmr".
    method : object
        The exact settings used.
    plan : str
        Why this method ran.
    seconds : float
        Wall-clock time of the whole solve.
    flops : float
        Floating-point operations that the method's matrix products need (real operations; a
        complex product counts four times).
    singular_values : ndarray or None
        Of A, largest first, as far as the method has computed them: the drivers "gelsd" and "svd"
        of `eagle.Direct`, and what truncates by them; None otherwise, and for a batch.
    floor : float or None
        Relative error of the value that rounding of the entries of A, B and C alone makes, whatever
        the method, where it is known: estimated by what holds a factor of a thin A.
    inverse : Inverse or None
        What a factorisation left to apply ``A^+`` with, in the units of the scaled A.
    parts : callable or None
        For a batch: makes `results`. The other numbers are those of the worst of its problems,
        `status` is that of the first that failed.
    fit : Fit or None
        Of `eagle.lstsq`: computes `residual_norm` and `standard_errors`.
    """

    value: np.ndarray
    status: Status
    iterations: int
    history: tuple[Iteration, ...]
    error_estimate: float
    inconsistency: float
    rank: int | None
    condition: float | None
    method: object
    plan: str
    seconds: float
    flops: float
    singular_values: np.ndarray | None = None
    floor: float | None = None
    inverse: Any = None
    parts: Callable[[], np.ndarray] | None = None
    fit: Fit | None = None

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

    @property
    def x(self) -> Any:
        """The value, by the name that it has in ``A x = b``."""
        return self.value

    def __iter__(self) -> Any:
        """Tell who unpacks it, as what numpy and scipy return, where things are."""
        raise TypeError(
            "a Result is no tuple: take result.x, result.residual_norm, result.rank, "
            "result.singular_values"
        )

    @property
    def advice(self) -> str:
        """What the status means and what to try next that has not been tried just now."""
        tried = {"Direct": "direct", "Eagle": "eagle"}.get(type(self.method).__name__)
        if self.at_the_floor:
            tried = "direct"
        names = [name for name in (tried, "float64" if self._double else None) if name]
        advice = self.status.advice_after(*names)
        return f"{advice} {NO_BETTER}" if self.at_the_floor and not self.converged else advice

    @property
    def at_the_floor(self) -> bool:
        """Whether most of the error is what rounding of the given entries makes of the value.

        No method does better on these data in this precision then.
        """
        return self.floor is not None and self.error_estimate <= MOST * self.floor

    @property
    def _double(self) -> bool:
        return str(self.value.dtype).rpartition(".")[2] in ("float64", "complex128")

    @cached_property
    def residual_norm(self) -> Any:
        """``||A x - b||`` of `eagle.lstsq`; None for anything else.

        A float for one right-hand side; for columns the norm of each, ``(..., k)``, whose squares
        are numpy's and scipy's ``residuals``. With weights, rows count as what is minimised has
        them, ``sqrt(sum(w * |A x - b|^2))``. It is computed when somebody asks, by one product,
        from A and b as they are then.
        """
        return None if self.fit is None else self.fit.residual_norm()

    @cached_property
    def standard_errors(self) -> Any:
        """Of the coefficients of `eagle.lstsq`, in the shape of x; None for anything else.

        ``sigma |row_j of A^+|`` with ``sigma^2 = |A x - b|^2 / (d - n)``, for errors of b that are
        independent and of one size, or have variances inverse to the weights. Computed when
        somebody asks, by a QR factorisation of A as it is then, in double precision.

        Raises
        ------
        ValueError
            If there are none: A has not full column rank or no more rows than columns, or the
            solution was shaped by ridge, rank or cutoff; if A is no dense matrix; and if x is
            differentiated or traced.
        """
        return None if self.fit is None else self.fit.standard_errors()

    def plot(self, ax: Any = None) -> Any:
        """Draw the error estimates against the iterations; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            Without matplotlib: ``pip install 'eagle-solver[plot]'``.
        ValueError
            If there is no history, as for a batch; its `results` have one each.
        """
        if not self.history:
            raise ValueError("there is no history to plot: a batch has it in each of its results")
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install 'eagle-solver[plot]'") from error
        if ax is None:
            ax = pyplot.subplots()[1]
        steps = [record.iteration for record in self.history]
        for name, style in (("error_estimate", "o-"), ("change", "s--")):
            numbers = [getattr(record, name) for record in self.history]
            if any(number > 0 for number in numbers):
                ax.semilogy(steps, numbers, style, label=name.replace("_", " "))
        ax.set(xlabel="iteration", ylabel="relative size", title=type(self.method).__name__)
        if ax.lines:
            ax.legend()
        return ax

    def __repr__(self) -> str:
        if self.status is Status.TRACED:
            return f"<{self._title}>"
        return f"<{self._title}, error {self.error_estimate:.1e}, {type(self.method).__name__}>"

    def _repr_html_(self) -> str:
        """For notebooks: what `print` shows, as a table."""
        title, advice, *rows = map(html.escape, str(self).splitlines())
        cells = (row.strip().partition("  ") for row in rows)
        body = "".join(
            f"<tr><th style='text-align:left'>{name}</th>"
            f"<td style='text-align:left'>{text.strip()}</td></tr>"
            for name, _, text in cells
        )
        return f"<div><b>{title}</b><br>{advice.strip()}<table>{body}</table></div>"

    @property
    def _title(self) -> str:
        shape = " x ".join(map(str, self.value.shape))
        dtype = str(self.value.dtype).rpartition(".")[2]  # whatever library it is of
        return f"eagle.Result: {shape} {dtype}, {self.status.name}"

    def __str__(self) -> str:
        def number(x: float | None) -> str:
            return "unknown" if x is None else f"{x:.2g}"

        advice = self.advice
        if self.status is Status.TRACED:
            return f"{self._title}\n  {advice}"
        misfit, sentence = self._misfit()
        about = "" if self.condition is None else "about "
        lines = [
            self._title,
            f"  {advice}{sentence}",
            f"  method          {self.method}",
            f"  plan            {self.plan}",
            f"  iterations      {self.iterations} in {self.seconds:.3g} s, {self.flops:.3g} flops",
            f"  error estimate  {number(self.error_estimate)} (relative)",
            f"  {misfit}",
            f"  rank of A       {self._rank()}, condition {about}{number(self.condition)}",
        ]
        return "\n".join(lines)

    def _rank(self) -> str:
        """The rank, and of a fit whether columns of A are no more than others combined."""
        if self.rank is None:
            return "unknown"
        said, fit = str(self.rank), self.fit
        if fit is not None and not fit.shaped and self.rank < fit.A.shape[-1]:
            said += f" of {fit.A.shape[-1]} columns"
            said += "" if self._double else " to single precision"
            said += ": x is the smallest solution"
        return said

    def _misfit(self) -> tuple[str, str]:
        """What is left of the given B or b, and a sentence if that is more than rounding.

        Nothing is said of a value that is wrong: what is left may be its error.
        """
        level = np.finfo(np.float64 if self._double else np.float32).eps ** 0.5
        if self.fit is None:
            said = f"inconsistency   {self.inconsistency:.2g} (part of B that A does not explain)"
            sentence = " B has a part that A does not explain: B A^+ C is no reconstruction then."
            return said, sentence if self.converged and self.inconsistency > level else ""
        left, whole = self.fit.sizes()
        part = left / whole if whole else 0.0
        said = f"residual norm   {left:.2g} of ||A x - b||, {part:.2g} of ||b||"
        sentence = " A x is not b" + ("." if self.fit.shaped else "; no x is closer.")
        return said, sentence if self.converged and part > level else ""


Kind = TypeVar("Kind", bound=Result)


def complain(result: Result, options: Options) -> None:
    """Warn, at the line of the caller, or raise if a result is not what was asked for."""
    if result.converged:
        return
    each = [result] if result.results is None else list(result.results.flat)
    failed = [one for one in each if one.status not in EXPECTED]
    if not failed:
        return
    worst = failed[0]
    which = "" if result.results is None else f"{len(failed)} of {len(each)} problems; the first: "
    message = (
        f"{which}{type(worst.method).__name__} ended with status {worst.status.name} after "
        f"{worst.iterations} iterations, error estimate {worst.error_estimate:.1e}. "
        f"{worst.advice}"
    )
    if options.raise_on_failure:
        raise ConvergenceError(message, result)
    warnings.warn(message, ConvergenceWarning, stacklevel=callers_level())


# What a warning looks past for the line of the caller.
OURS = ("eagle", "torch", "sklearn", "jax")


def callers_level() -> int:
    """The `stacklevel` at which a warning names the first line outside this library.

    The libraries that call back into this one (a module of torch, a fit of scikit-learn, the
    tracing of jax) are passed over too: the line to name is the one the caller wrote.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in OURS:
        level, frame = level + 1, frame.f_back
    return level


def extended(kind: type[Kind], result: Result, **more: Any) -> Kind:
    """The same as a kind of result that says more; `more` may change what is known."""
    known = {field.name: getattr(result, field.name) for field in fields(result)}
    return kind(**known | more)


def changed(result: Any, **fields: Any) -> Any:
    """The same result but for these fields: many times faster than `dataclasses.replace`."""
    one = object.__new__(Result)
    known = result.__dict__  # with what has been looked up, too
    one.__dict__.update({name: known[name] for name in FIELDS}, **fields)
    return one


FIELDS = tuple(Result.__dataclass_fields__)


def with_value(result: Result, value: Any) -> Result:
    """The same result with another array for its value, and parts of that for its results'."""
    parts = None if result.parts is None else partial(_with_parts, result, value)
    return changed(result, value=value, parts=parts)


def _with_parts(result: Result, value: Any) -> np.ndarray:
    """The results of a batch with parts of another array for their values."""
    assert result.results is not None
    each = np.empty_like(result.results)
    for index in np.ndindex(each.shape):
        each[index] = changed(result.results[index], value=value[(*index, ...)])
    return each
