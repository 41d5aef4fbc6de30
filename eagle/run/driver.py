"""The only loop: steps, history, certificate, callback, progress bar, limits, stopping."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.methods.base import Inverse, Method
from eagle.problem.blocks import Problem
from eagle.problem.certificate import Certificate, Probes
from eagle.problem.options import Options
from eagle.problem.result import Iteration, Result, Status

__all__ = ["Keep", "Snapshot", "progress_bar", "run"]

Keep = Callable[[Inverse | None], None]  # takes what a solve leaves to apply A^+ with

SLOWEST = 0.9  # ratio of successive changes that is taken for convergence at a steady rate


@dataclass(frozen=True)
class Snapshot:
    """What a callback sees after each iteration.

    Attributes
    ----------
    iteration : int
        Counts from 1.
    change : float
        Relative size of the last change of the value.
    error_estimate : float
        The certificate's estimate so far.
    """

    iteration: int
    change: float
    error_estimate: float
    _problem: Problem
    _extended: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """The value so far, a fresh array in the user's units and dtype."""
        return self._problem.restore(self._extended)


def run(
    problem: Problem, method: Method, options: Options, plan: str, keep: Keep | None = None
) -> Result:
    """Iterate `method` on `problem` until a stopping rule holds.

    The rules, in order: a value that is not finite; the callback; an `error_estimate` at or
    below `rtol`, as often in a row as the method wants to see it, of a value that is about to come
    to rest; no memory for a better one; a method that has nothing left to gain (converged if no
    `rtol` was asked for, stagnated otherwise, or if fewer than four digits are right); `maxiter`;
    `time_limit`.
    """
    if problem.trivial:
        return _nothing_to_do(problem, method, plan)
    start = time.perf_counter()
    rtol = options.rtol
    if rtol is None and method.default_rtol is not None:
        rtol = max(method.default_rtol, 100 * problem.eps)  # no default asks for the impossible
    maxiter = options.maxiter or method.default_maxiter
    # Overflow and NaN end in a status of their own; numpy need not repeat it.
    with np.errstate(all="ignore"), progress_bar(options.progress, method) as tick:
        probes = Probes.draw(problem, options.rng)
        state = method.init(probes.problem, options)
        history: list[Iteration] = []
        within = 0  # how many of the last iterations were within rtol
        while True:
            state = method.step(state)
            extended = method.output(state)
            certificate = probes.certify(extended, state, quick=not state.settled)
            if rtol is not None and certificate.error_estimate <= rtol:
                certificate = probes.certify(extended, state)
            to_come = 0.0
            if not state.resolved:
                # Where the end is abrupt, how a value has moved tells only that it still does.
                to_come = state.change if state.abrupt else _to_come(state.change, history)
            reached = rtol is not None and max(certificate.error_estimate, to_come) <= rtol
            within = within + 1 if reached else 0
            elapsed = time.perf_counter() - start
            history.append(
                Iteration(
                    len(history) + 1,
                    state.change,
                    certificate.error_estimate,
                    elapsed,
                    state.matmuls,
                    state.remaining,
                )
            )
            tick(history[-1])
            enough = within >= state.confirmations
            status = _status(extended, state, certificate, rtol, enough, maxiter, len(history))
            snapshot = Snapshot(
                len(history), state.change, certificate.error_estimate, problem, extended
            )
            if status is not Status.NONFINITE and options.asked_to_stop(snapshot):
                status = Status.STOPPED_BY_CALLBACK
            if status is None and options.time_limit is not None and elapsed >= options.time_limit:
                status = Status.TIME_LIMIT
            if status is not None:
                break
        certificate = probes.certify(extended, state)
        if keep is not None:
            keep(method.inverse(state))
    value = problem.restore(extended)
    if not np.isfinite(value).all():
        status = Status.NONFINITE
    return Result(
        value=value,
        status=status,
        iterations=state.iterations or len(history),
        history=tuple(history),
        error_estimate=certificate.error_estimate,
        inconsistency=certificate.inconsistency,
        rank=state.rank,
        condition=state.condition,
        method=method,
        plan=plan,
        seconds=elapsed,
        flops=state.flops,
    )


def _to_come(change: float, history: list[Iteration]) -> float:
    """How far the value has still to go, if changes go on shrinking like the last two."""
    before = history[-1].change if history else np.inf
    ratio = change / before if before else 0.0
    ratio = min(ratio, SLOWEST) if np.isfinite(before) else SLOWEST
    return change * ratio / (1 - ratio)


def _status(
    extended: np.ndarray,
    state: Any,
    certificate: Certificate,
    rtol: float | None,
    enough: bool,
    maxiter: int,
    steps: int,
) -> Status | None:
    """The stopping rules that need neither clock nor callback; None to go on."""
    if not np.isfinite(extended).all():
        return Status.NONFINITE
    if enough and steps >= state.steps:
        return Status.CONVERGED
    if state.out_of_memory:
        return Status.MEMORY_LIMIT
    if state.settled:
        # At the floor all that can be had is had; but not even four digits is no answer, unless
        # the value is zero as far as rounding lets anyone see.
        digits = certificate.error_estimate <= np.finfo(extended.dtype).eps ** 0.25
        if rtol is None and (digits or certificate.negligible):
            return Status.CONVERGED
        return Status.MAX_ITERATIONS if state.iterations >= maxiter else Status.STAGNATED
    if steps >= (state.steps or maxiter):
        return Status.MAX_ITERATIONS
    return None


def _nothing_to_do(problem: Problem, method: Method, plan: str) -> Result:
    """Zero A or an empty value: ``A^+`` of zero is zero, as numpy's pinv has it."""
    unexplained = problem.B is None or bool(problem.B.any())
    return Result(
        value=problem.restore(np.zeros(problem.shape, problem.A.dtype)),
        status=Status.CONVERGED,
        iterations=0,
        history=(),
        error_estimate=0.0,
        inconsistency=float(unexplained and problem.zero and problem.A.shape[1] > 0),
        rank=0 if problem.zero else None,
        condition=None,
        method=method,
        plan=plan,
        seconds=0.0,
        flops=0.0,
    )


@contextlib.contextmanager
def progress_bar(show: bool, method: Method) -> Iterator[Any]:
    """A function to call after each iteration; draws a tqdm bar if `show`."""
    if not show:
        yield lambda record: None
        return
    from tqdm.auto import tqdm

    with tqdm(desc=type(method).__name__, unit=" iterations") as bar:

        def tick(record: Iteration) -> None:
            bar.set_postfix(
                error=f"{record.error_estimate:.1e}", change=f"{record.change:.1e}", refresh=False
            )
            bar.update()

        yield tick
