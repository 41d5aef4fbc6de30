"""The only loop: iterate, verify when it is worth a message, show, keep checkpoints, finish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from eagle.algebra.blas import norm
from eagle.distributed.certificate import Bounded, Evidence
from eagle.distributed.checkpoint import Checkpoint
from eagle.distributed.methods.base import Iterative, Outcome
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.problem.result import Iteration, Status

CAUTION = 0.3  # verify when this part of what was asked for seems to be left
PATIENT = 1  # verifications in a row that may bring nothing, when a method has nothing to do
PATIENT_ON_THE_WAY = 8  # and when it has


def iterate(
    problem: LocalProblem,
    method: Iterative,
    session: Session,
    rtol: float,
    maxiter: int,
    checkpoint: Checkpoint | None = None,
    show: Callable[[Iteration, np.ndarray], None] = lambda line, value: None,
) -> tuple[Outcome, bool]:
    """Run `method`; also say whether another method has to finish.

    Verifying costs a message for most methods, so it is done when little seems to be left; a
    verification that disappoints puts the mark lower. The rules: an error estimate at or below
    `rtol`; a bias, when the residual is gone but the probe's misfit is not; a method that is
    exhausted; `maxiter`; the time limit; somebody who asked to stop. `show` gets every line of the
    history and the value that was verified last, zeros before.
    """
    state = method.init(problem, session)
    if checkpoint is not None:
        checkpoint.restore(state, session)
    best_so_far: Evidence | Bounded | None = None
    mark, fruitless, best, before = CAUTION * rtol, 0, np.inf, (np.inf, np.inf)
    history: list[Iteration] = []
    blank = np.zeros(problem.shape, problem.A.dtype)
    while True:
        if history:
            show(history[-1], blank if best_so_far is None else best_so_far.value)
        method.step(state, session)
        state.iteration += 1
        last = state.iteration >= maxiter or session.overtime or session.stopped
        history.append(
            Iteration(state.iteration, state.left, np.nan, session.elapsed, 2 * state.iteration)
        )
        if checkpoint is not None and checkpoint.is_due(state.iteration):
            checkpoint.save(state, session)
        finite = np.isfinite(state.left)
        if finite and not (state.left <= mark or state.exhausted or last):
            continue
        evidence = method.verify(state, session)
        error = evidence.relative
        history[-1] = replace(history[-1], error_estimate=error)
        fruitless = 0 if error < 0.5 * best else fruitless + 1
        if best_so_far is None or error < best:
            best, best_so_far = error, evidence
        status = None
        if not np.isfinite(best_so_far.value).all():
            status = Status.NONFINITE
        elif error <= rtol:
            status = Status.CONVERGED
        elif last:
            status = _cut_short(session)
        elif state.exhausted:
            status = Status.STAGNATED if method.free or fruitless > PATIENT else None
        elif fruitless > PATIENT_ON_THE_WAY:
            status = Status.STAGNATED
        elif isinstance(evidence, Evidence) and method.projects and evidence.residual_gone(rtol):
            # An error that comes from the residual falls with it, a bias does not.
            now = norm(evidence.probe_residual), norm(evidence.probe_error)
            if now[0] < 0.1 * before[0] and now[1] > 0.3 * before[1]:
                status = Status.STAGNATED
            elif now[0] < 0.1 * before[0] or np.isinf(before[0]):
                before = now
        if status is not None:
            show(history[-1], best_so_far.value)
            outcome = Outcome(
                value=best_so_far.value,
                status=status,
                error_estimate=best,
                inconsistency=state.inconsistency,
                iterations=state.iteration,
                history=tuple(history),
                diversity=state.diversity,
            )
            return outcome, method.hands_over and status is Status.STAGNATED
        state.exhausted = False
        mark = min(mark, state.left) * float(np.clip(CAUTION * rtol / error, 1e-3, 0.5))


def _cut_short(session: Session) -> Status:
    """Why the last iteration was the last."""
    if session.stopped:
        return Status.STOPPED_BY_CALLBACK
    return Status.TIME_LIMIT if session.overtime else Status.MAX_ITERATIONS
