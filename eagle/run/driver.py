"""The only loop: steps, history, certificate, callback, progress bar, limits, stopping."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.numbers import Number, One, share
from eagle.methods.base import Method, State
from eagle.problem.blocks import Problem
from eagle.problem.certificate import LUCK, Certificate, Probes
from eagle.problem.options import Options
from eagle.problem.result import Iteration, Status
from eagle.problem.results import Record, Results
from eagle.run import opinions

SLOWEST = 0.9  # ratio of successive changes that is taken for convergence at a steady rate


@dataclass(frozen=True)
class Snapshot:
    """What a callback sees after each iteration.

    Attributes
    ----------
    iteration : int
        Counts from 1.
    change : float
        Relative size of the last change of the value; of many, the largest of those still iterated.
    error_estimate : float
        The certificate's estimate so far; likewise.
    """

    iteration: int
    change: float
    error_estimate: float
    _value: Callable[[], Any]

    @property
    def value(self) -> Any:
        """The value so far, of all matrices, a fresh array in the user's units and dtype."""
        return self._value()


def run(
    problem: Problem,
    method: Method,
    options: Options,
    plan: str,
    shaped: Callable[[Any], Any] = lambda value: value,
    given: Problem | None = None,
) -> Results:
    """Iterate `method` on one problem, or on many, until a stopping rule holds for each.

    Of many, those that are done are taken out. `shaped` gives what a callback sees of a value;
    `given` is the problem before A was factorised, if it was.
    """
    start = time.perf_counter()
    if problem.trivial:
        return _nothing_to_do(problem, method, plan)
    looked_at = options.callback is not None or options.progress or options.rtol is not None
    looked_at = looked_at or (options.time_limit is not None and method.default_maxiter > 1)
    if method.certifies and problem.algebra.num is One and not looked_at:
        with np.errstate(all="ignore"):
            return _at_once(problem, method, options, start, plan)
    with (
        np.errstate(all="ignore"),  # overflow and NaN end in a status of their own
        progress_bar(options.progress, type(method).__name__) as tick,
    ):
        loop = _Loop(problem, method, options, start, given)
        while loop.queue:
            loop.turn(tick, shaped)
        return loop.results(plan)


class _Loop:
    """The states of the matrices that are iterated, and what became of those that are done."""

    def __init__(
        self,
        problem: Problem,
        method: Method,
        options: Options,
        start: float,
        given: Problem | None,
    ):
        self.problem, self.method, self.options, self.start = problem, method, options, start
        self.given = problem if given is None else given
        self.num = problem.algebra.num
        self.maxiter = options.maxiter or method.default_maxiter
        self.rtol = options.rtol
        if self.rtol is None and method.default_rtol is not None:
            # No default asks for the impossible.
            self.rtol = max(method.default_rtol, 100 * problem.eps)
        # Of many problems nobody looks at the certificate before the end, unless asked to.
        watched = self.rtol is not None or options.callback is not None or options.progress
        self.watched = watched or self.num is One or problem.A.shape[0] == 1
        self.probes: Probes | None = None
        if not (method.certifies and self.num is One):
            self.probes = Probes.draw(problem, options.rng)
        state = method.init(problem if self.probes is None else self.probes.problem, options)
        state.within = self.num.full(0, problem.scale)
        state.places = None if self.num is One else np.arange(len(problem.scale))
        self.queue = [state]
        self.history: list[Record] = []
        self.ended: list[tuple[State, Any, Any]] = []  # with extended value and status
        self.certificate: Certificate | None = None  # of all matrices, if it is the final one

    def turn(self, tick: Callable[[Iteration], None], shaped: Callable[[Any], Any]) -> None:
        """One step of the matrices that are first in the queue."""
        num, method, options, state = self.num, self.method, self.options, self.queue.pop(0)
        before, taken = state.change, state.taken + 1
        state.taken = taken
        state = method.step(state)
        state.taken = taken
        others: list[State] = []
        if taken < self.maxiter:  # else there is no time to start again
            places = state.places
            state, *others = method.parted(state)
            self.queue += others
            before = before[np.isin(places, state.places)] if others else before
        extended, certificate, quick = None, None, not num.every(state.settled)
        if self.watched:
            extended = method.output(state)
            certificate = self._certify(state, extended, quick=quick)
            asked = self.rtol is not None and num is One and quick
            if asked and certificate.error_estimate <= self.rtol:
                quick, certificate = False, self._certify(state, extended, quick=False)
            whole = num is One or len(state.places) == len(self.problem.scale)
            self.certificate = certificate if whole and not quick else None
        finite = state.sound if extended is None or num is not One else _finite(extended)
        seconds = time.perf_counter() - self.start
        error = num.full(np.nan, finite) if certificate is None else certificate.error_estimate
        self.history += [
            self._record(each, num.full(np.nan, each.change), seconds) for each in others
        ]
        self.history.append(self._record(state, error, seconds))
        line = self.history[-1].worst()
        tick(line)
        negligible = num.full(False, finite) if certificate is None else certificate.negligible
        status = self._endings(state, finite, error, negligible, before)
        if options.callback is not None and num.some(finite):
            # As they are now: a snapshot may be looked at later.
            parts = [(state.places, extended)]
            parts += [(rest.places, method.output(rest)) for rest in self.queue]
            parts += [(each.places, value) for each, value, _ in self.ended]

            def value() -> Any:
                return shaped(self.problem.restore(self._joined(parts)))

            shown = Snapshot(line.iteration, line.change, line.error_estimate, value)
            if options.asked_to_stop(shown):
                stopped = num.full(Status.STOPPED_BY_CALLBACK, finite)
                status = num.where(finite, stopped, status)
                for rest in self.queue:
                    self._end(rest, num.full(Status.STOPPED_BY_CALLBACK, rest.within))
                self.queue.clear()
        if options.time_limit is not None and seconds >= options.time_limit:
            late = num.full(Status.TIME_LIMIT, finite)
            status = num.where(num.given(status), status, late)
        going = self._end(state, status, extended)
        if going is not None:
            self.queue.insert(0, going)

    def _record(self, state: State, error: Number, seconds: float) -> Record:
        remaining = self.num.known(state.remaining, state.change)
        return Record(
            self.num,
            state.taken,
            state.places,
            state.change,
            error,
            remaining,
            seconds,
            state.matmuls,
        )

    def _certify(self, state: State, extended: Any, *, quick: bool) -> Certificate:
        if state.certificate is not None:
            return state.certificate
        probes = self.probes
        assert probes is not None
        if state.places is not None and len(state.places) < len(self.problem.scale):
            probes = probes.take(state.places)
        return probes.certify(
            extended,
            resolved=state.resolved,
            condition=state.condition,
            own=state.own,
            quick=quick,
        )

    def _endings(
        self, state: State, finite: Number, error: Number, negligible: Number, before: Number
    ) -> Any:
        """The stopping rules that need neither clock nor callback; None to go on."""
        num, taken = self.num, state.taken
        accurate = num.full(False, finite)
        if self.rtol is not None:
            # Where the end is abrupt, how a value has moved tells only that it still does.
            to_come = state.change if state.abrupt else _to_come(num, state.change, before)
            to_come = num.where(state.resolved, 0.0 * error, to_come)
            within = (error <= self.rtol) | negligible
            within = within & (to_come <= self.rtol)
            state.within = num.where(within, state.within + 1, 0)
            accurate = (state.within >= state.confirmations) & (taken >= state.planned)
        # Whether what is settled without an `rtol` is an answer is seen when all have ended.
        settled = Status.CONVERGED if self.rtol is None else self._given_up(state)
        last = taken >= (state.planned or self.maxiter)
        return num.first(
            (
                (num.invert(finite), Status.NONFINITE),
                (accurate, Status.CONVERGED),
                (num.full(state.out_of_memory, finite), Status.MEMORY_LIMIT),
                (state.settled, settled),
                (num.full(last, finite), Status.MAX_ITERATIONS),
            )
        )

    def _given_up(self, state: State) -> Status:
        """How a method ends that has nothing left to gain and is not accurate enough."""
        spent = state.iterations >= self.maxiter
        return Status.MAX_ITERATIONS if spent else Status.STAGNATED

    def _end(self, state: State, status: Any, extended: Any = None) -> State | None:
        """Keep what has a status; return what goes on."""
        leaves = self.num.given(status)
        if not self.num.some(leaves):
            return state
        going = None
        if not self.num.every(leaves):
            going = self.method.keep(state, self.num.invert(leaves))
            state, status, extended = self.method.keep(state, leaves), status[leaves], None
        output = self.method.output(state) if extended is None else extended
        self.ended.append((state, output, status))
        return going

    def _joined(self, parts: list[tuple[Any, Any]]) -> Any:
        """One extended value of all matrices in their order, from places and values."""
        if len(parts) == 1:
            return parts[0][1]
        algebra = self.problem.algebra
        joined = algebra.xp.concat([value for _, value in parts], axis=0)
        return algebra.take(joined, np.argsort(np.concatenate([places for places, _ in parts])))

    def _numbers(self, state: State) -> dict[str, Number]:
        """What is known in the end."""
        num, like = self.num, state.within
        return {
            "iterations": num.full(state.iterations or state.taken, like),
            "resolved": num.full(state.resolved, like),
            "condition": num.known(state.condition, like),
            "rank": num.known(state.rank, like),
            "flops": num.full(state.flops, like),
        }

    def _judged(self, state: State, extended: Any, numbers: dict[str, Number]) -> Certificate:
        """What probes say in the end, and a second opinion."""
        certificate, (rank, condition) = self.certificate, (numbers["rank"], numbers["condition"])
        if certificate is None:
            assert self.probes is not None
            certificate = self.probes.certify(
                extended,
                resolved=numbers["resolved"],
                condition=condition,
                own=state.own,
                quick=False,
            )
        truncated = self.options.rank is not None or self.options.cutoff is not None
        if state.certificate is not None or truncated:
            return certificate
        asked = opinions.is_cheap(self.problem)
        if self.num is One and not state.floor:  # else it knows what rounding does
            asked = asked or opinions.is_worth_it(
                self.given, state.flops, self.options.memory_limit
            )
        if asked:
            certificate = opinions.checked(self.given, extended, certificate, rank, condition)
        if self.num is One and state.floor > certificate.error_estimate:
            certificate = replace(certificate, error_estimate=state.floor)
        return certificate

    def results(self, plan: str) -> Results:
        """All matrices with their certificates."""
        num, problem, eps = self.num, self.problem, self.problem.eps
        state, _, status = self.ended[-1]
        extended = self._joined([(each.places, value) for each, value, _ in self.ended])
        numbers = self._numbers(state)
        if num is not One:
            states = [each for each, *_ in self.ended]
            order = np.argsort(np.concatenate([each.places for each in states]))
            status = np.concatenate([each for *_, each in self.ended])[order]
            parts = [self._numbers(each) for each in states]
            numbers = {
                name: np.concatenate([part[name] for part in parts])[order] for name in numbers
            }
        certificate = self._judged(state, extended, numbers)
        del numbers["resolved"]
        wanted = None if self.rtol is None else LUCK * self.rtol
        # What was seen of the error on the way is right within an order of magnitude.
        enough = certificate.enough(num, eps, wanted)
        if (
            self.options.rtol is None
        ):  # nobody asked for more than rounding of the blocks lets through
            enough = enough | certificate.negligible
        vague = num.invert(enough)
        vague = vague & num.same(status, Status.CONVERGED)
        status = num.where(vague, num.full(self._given_up(state), vague), status)
        value = problem.restore(extended)
        if num is One:
            certificate, finite = _as_given(value, certificate)
        else:
            finite = problem.algebra.finite(value)
        status = num.where(finite, status, num.full(Status.NONFINITE, finite))
        if num is One:
            last = replace(self.history[-1], error_estimate=certificate.error_estimate)
            self.history[-1] = last
        return Results(
            value=value,
            leading=None if num is One else (len(problem.scale),),
            status=status,
            error_estimate=certificate.error_estimate,
            inconsistency=certificate.inconsistency,
            **numbers,
            method=self.method,
            plan=plan,
            seconds=time.perf_counter() - self.start,
            history=tuple(self.history),
            singular_values=_in_units(state, problem) if num is One else None,
            floor=state.floor or None,
            inverse=self.method.inverse(state) if num is One else None,
        )


def _at_once(
    problem: Problem, method: Method, options: Options, start: float, plan: str
) -> Results:
    """Steps that bring their certificate along, when nobody looks at what is between them."""
    state, history = method.init(problem, options), []
    most = options.maxiter or method.default_maxiter
    while not state.settled and state.taken < most:
        state.taken += 1
        state = method.step(state)
        error, seconds = state.certificate.error_estimate, time.perf_counter() - start
        history.append(Iteration(state.taken, state.change, error, seconds, state.matmuls))
    value, certificate = problem.restore(method.output(state)), state.certificate
    enough = certificate.enough(One, problem.eps, None)
    ended = Status.CONVERGED if enough else Status.STAGNATED
    if not state.settled and not state.planned:
        ended = Status.MAX_ITERATIONS
    certificate, finite = _as_given(value, certificate)
    error, seconds = certificate.error_estimate, time.perf_counter() - start
    if error != history[-1].error_estimate:
        history[-1] = replace(history[-1], error_estimate=error)
    return Results(
        value=value,
        leading=None,
        status=ended if finite else Status.NONFINITE,
        iterations=state.taken,
        error_estimate=error,
        inconsistency=certificate.inconsistency,
        rank=One.known(state.rank, None),
        condition=One.known(state.condition, None),
        flops=state.flops,
        method=method,
        plan=plan,
        seconds=seconds,
        history=tuple(history),
        floor=state.floor or None,
        inverse=method.inverse(state),
    )


def _as_given(value: np.ndarray, certificate: Certificate) -> tuple[Certificate, bool]:
    """The certificate of a value in the user's units and dtype, and whether it is finite."""
    if not _finite(value):
        return Certificate(np.inf, np.nan, False), False
    if value.dtype.char not in "dD" and certificate.error_estimate > 0:
        # The value was rounded once more, to what the user gave.
        least = max(certificate.error_estimate, float(np.finfo(value.dtype).eps) / 2)
        certificate = replace(certificate, error_estimate=least)
    return certificate, True


def _in_units(state: State, problem: Problem) -> Any:
    """Singular values of the user's own A; None if they are not known, or those of a ridge too."""
    s = state.singular_values if problem.factors is None else problem.factors[1]
    if s is None or (problem.factors is None and problem.extent != problem.A.shape[-2:]):
        return None
    return np.ldexp(s, problem.scale)


def _finite(value: np.ndarray) -> bool:
    return bool(np.isfinite(value).all())


def _to_come(num: Any, change: Number, before: Number) -> Number:
    """How far values have still to go, if changes go on shrinking like the last two."""
    known = (before > 0) & (before < np.inf)
    ratio = num.where(known, share(num, change, num.where(known, before, 1.0)), SLOWEST)
    ratio = num.minimum(ratio, SLOWEST)
    return change * ratio / (1 - ratio)


def _nothing_to_do(problem: Problem, method: Method, plan: str) -> Results:
    """Zero A or an empty value: ``A^+`` of zero is zero, as numpy's pinv has it."""
    algebra, num, B = problem.algebra, problem.algebra.num, problem.B
    zero, like = num.full(0.0, problem.scale), problem.scale
    unexplained = problem.zero
    if not problem.extent[1] or (B is not None and 0 in B.shape):
        unexplained = num.full(False, like)
    elif B is not None:
        unexplained = unexplained & (algebra.norms(B)[0] > 0)
    values = algebra.blank(problem.A, *problem.wanted)
    return Results(
        value=problem.restore(values),
        leading=None if num is One else (len(problem.scale),),
        status=num.full(Status.CONVERGED, like),
        iterations=zero,
        error_estimate=zero,
        inconsistency=num.where(unexplained, 1.0, zero),
        rank=num.where(num.full(bool(np.all(problem.zero)), like), zero, np.nan),
        condition=num.full(np.nan, like),
        flops=zero,
        method=method,
        plan=plan,
        seconds=0.0,
    )


@contextlib.contextmanager
def progress_bar(show: bool, name: str) -> Iterator[Callable[[Iteration], None]]:
    """A function to call after each iteration; draws a tqdm bar if `show`."""
    if not show:
        yield lambda record: None
        return
    from tqdm.auto import tqdm

    with tqdm(desc=name, unit=" iterations") as bar:

        def tick(record: Iteration) -> None:
            bar.set_postfix(
                error=f"{record.error_estimate:.1e}", change=f"{record.change:.1e}", refresh=False
            )
            bar.update()

        yield tick
