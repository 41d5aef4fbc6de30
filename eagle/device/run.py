"""Methods, stopping rules, endings and results of a batch on a device."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.homes import Blocks, Home
from eagle.algebra.stacked import Tools, Vector
from eagle.device.iteration import Batch
from eagle.device.problem import Probes, Problem
from eagle.methods import Direct, Eagle, as_method
from eagle.methods.base import Method
from eagle.methods.eagle.schedule import as_schedule
from eagle.problem.blocks import check_sizes, leading_shape
from eagle.problem.many import Many, Record
from eagle.problem.options import Options
from eagle.problem.result import Iteration, Result, Status
from eagle.run.driver import progress_bar

__all__ = ["Snapshot", "solve", "solve_many"]

RUNNING: Any = np.array(None, object)  # in the place of a status


@dataclass(frozen=True)
class Snapshot:
    """What a callback sees after each iteration of a batch on a device.

    Attributes
    ----------
    iteration : int
        Counts from 1.
    change, error_estimate : float
        The largest of those that are still iterated.
    """

    iteration: int
    change: float
    error_estimate: float
    _value: Callable[[], Any]

    @property
    def value(self) -> Any:
        """The value so far, of the whole batch, a fresh array on the device."""
        return self._value()


@dataclass
class Outcome:
    """What became of a batch; vectors on the host have N entries."""

    value: Any  # (N, rows + probes, columns + probes)
    status: np.ndarray  # of Status
    iterations: Vector
    error_estimate: Vector
    inconsistency: Vector
    rank: Vector  # NaN: not known
    condition: Vector
    flops: Vector
    method: Method
    history: tuple[Record, ...] = ()

    def disappoints(self, eps: float) -> Vector:
        """Where something else should be tried after all."""
        asked = self.status == Status.TIME_LIMIT
        asked |= self.status == Status.STOPPED_BY_CALLBACK
        good = (self.status == Status.CONVERGED) & (self.error_estimate <= eps**0.5)
        return ~(asked | good)


def solve(
    home: Home,
    blocks: Blocks,
    method: Any,
    options: Options,
    names: tuple[str, str, str],
    dtype: str,
) -> Result:
    """``B A^+ C`` of arrays on one device.

    Parameters
    ----------
    home : Home
    blocks : tuple of array or None
        A (..., d, n), B (..., d', n), C (..., d, n') or (d,), all of one dtype of full precision;
        None stands for an identity.
    method : str or instance
        ``"auto"`` (EAGLE, and an SVD of what that is not accurate on), ``"eagle"`` with any
        schedule of products, or ``"direct"``.
    options : Options
    names : tuple of str
        What the user calls the blocks.
    dtype : str
        Of the value.

    Returns
    -------
    Result
        Without a history if it is a batch.

    Raises
    ------
    ValueError
        For what does not fit, is not finite, or cannot be honoured on a device.
    """
    start = time.perf_counter()
    chosen = _chosen(home, method, options)
    check_sizes(*blocks)
    leading = leading_shape(names, blocks)
    tools, asked = Tools(home, blocks[0]), as_method(method) is not None
    many = solve_many(tools, blocks, leading, chosen, options, names, dtype, asked=asked)
    seconds = time.perf_counter() - start
    return many.result(seconds) if leading else replace(many.each().item(), seconds=seconds)


def solve_many(
    tools: Tools,
    blocks: Blocks,
    leading: tuple[int, ...],
    method: Method,
    options: Options,
    names: tuple[str, str, str],
    dtype: str,
    *,
    asked: bool,
) -> Many:
    """The same for blocks that fit, by an `Eagle` or a `Direct`; others follow unless `asked`."""
    start = time.perf_counter()
    A, B, C = blocks
    vector = C is not None and C.ndim == 1
    if vector:
        C = C[:, None]
    with np.errstate(all="ignore"), tools.home.precisely():
        problem = Problem.create(tools, (A, B, C), names, leading, options)
        rows, columns = problem.shape

        def finished(extended: Any) -> Any:
            value = tools.scaled(extended[:, :rows, :columns], problem.exponents)
            value = tools.xp.reshape(value, (*leading, rows, columns))
            return tools.home.astype(value[..., 0] if vector else value, dtype)

        run = _Run(problem, options, finished, start)
        outcome, reason = run.solve(method, asked=asked)
        value = finished(outcome.value)
        if math.prod(value.shape):
            flat = tools.xp.reshape(value, (len(outcome.status), -1))
            (finite,) = tools.fetch(tools.xp.all(tools.xp.isfinite(flat), axis=1))
            outcome.status[finite == 0] = Status.NONFINITE
    return Many(
        value=value,
        leading=leading,
        status=outcome.status,
        iterations=outcome.iterations,
        error_estimate=outcome.error_estimate,
        inconsistency=outcome.inconsistency,
        rank=outcome.rank,
        condition=outcome.condition,
        flops=outcome.flops,
        method=outcome.method,
        plan=reason,
        seconds=time.perf_counter() - start,
        history=outcome.history,
    )


@dataclass
class _Run:
    """Methods on one problem, until one of them is accurate."""

    problem: Problem
    options: Options
    finished: Callable[[Any], Any]  # what the user sees of extended values
    start: float

    def solve(self, method: Method, *, asked: bool) -> tuple[Outcome, str]:
        """The outcome and why it is this one's."""
        if self.problem.empty:
            return self._nothing(method), "nothing to compute"
        sides, options = self.problem.sides, self.options
        probes = Probes.draw(sides, self.problem.extent, options.rng)
        if isinstance(method, Direct):
            said = "asked for: Direct" if asked else "auto: an SVD, which truncates the spectrum"
            return self._direct(probes), said
        outcome = self._eagle(probes, method)
        if asked:
            return outcome, "asked for: Eagle"
        said = "auto: EAGLE, which needs matrix products only"
        tries = np.flatnonzero(outcome.disappoints(sides.tools.eps))
        if len(tries):
            second = self._direct(probes.take(tries))
            outcome = _better(sides.tools, outcome, second, tries)
            said += f"; it was not accurate for {len(tries)} problems, which an SVD tried too"
        return outcome, said

    def _nothing(self, method: Method) -> Outcome:
        """An empty value: ``A^+`` of nothing is nothing."""
        sides, (rows, columns) = self.problem.sides, self.problem.shape
        tools, count = sides.tools, sides.A.shape[0]
        unexplained = np.zeros(count)
        if count and rows and sides.A.shape[2] and not sides.A.shape[1]:
            unexplained += 1.0 if sides.B is None else tools.fetch(tools.norm(sides.B))[0] > 0
        zeros = np.zeros(count)
        return Outcome(
            value=tools.zeros(count, rows, columns),
            status=np.full(count, Status.CONVERGED),
            iterations=zeros,
            error_estimate=zeros,
            inconsistency=unexplained,
            rank=zeros,
            condition=np.full(count, np.nan),
            flops=zeros,
            method=method,
        )

    def _direct(self, probes: Probes) -> Outcome:
        """By the library's own singular value decomposition."""
        sides = probes.sides
        tools, xp = sides.tools, sides.tools.xp
        d, n = sides.A.shape[1:]
        U, s, Vh = self.problem.factors or xp.linalg.svd(sides.A, full_matrices=False)
        kept = s > max(d, n) * tools.eps * s[:, :1]
        inverse = xp.where(kept, tools.over(tools.one, s), tools.none)[:, None, :]
        left = sides.rows_times(tools.adjoint(Vh)) * xp.astype(inverse, tools.dtype)
        value = left @ tools.adjoint(sides.adjoint().rows_times(U))
        smallest = xp.min(xp.where(kept, s, s[:, :1]), axis=1)
        rank = xp.sum(xp.astype(kept, tools.real), axis=1)
        ranks, largest_, least = tools.fetch(rank, s[:, 0], smallest)
        count = len(ranks)
        condition = np.divide(largest_, least, out=np.full(count, np.nan), where=least > 0)
        everything = np.ones(count, bool)
        error, inconsistency, negligible = probes.certify(
            value, everything, condition, np.arange(count)
        )
        rtol = self.options.rtol
        digits = (error <= tools.eps**0.25) | negligible
        reached = digits if rtol is None else error <= rtol
        status = np.full(count, Status.STAGNATED)
        status[reached] = Status.CONVERGED
        short, long = min(d, n), max(d, n)
        flops = (56.0 if tools.complex else 14.0) * long * short**2  # Golub and Van Loan, 5.5.1
        seconds = time.perf_counter() - self.start
        record = Record(1, np.arange(count), np.zeros(count), error, None, seconds, 1)
        return Outcome(
            value=value,
            status=status,
            iterations=np.ones(count),
            error_estimate=error,
            inconsistency=inconsistency,
            rank=ranks,
            condition=condition,
            flops=np.full(count, flops),
            method=Direct("svd"),
            history=(record,),
        )

    def _eagle(self, probes: Probes, method: Any) -> Outcome:
        """Iterate until every matrix has an ending."""
        options, tools, count = self.options, probes.sides.tools, probes.sides.A.shape[0]
        d, n = probes.sides.A.shape[1:]
        maxiter = options.maxiter or method.default_maxiter
        watched = options.callback is not None or options.progress or count == 1
        work = probes.sides.adjoint() if d < n else probes.sides
        blocks = work.A, work.rows(), None if work.C is None else work.columns()
        single = method.precision == "mixed" and str(tools.real).endswith("float64")
        start = work, as_schedule(method.schedule), blocks, d < n, np.arange(count)
        batches = [Batch.create(*start, single=single)]
        ended = _Ended(tools, count)
        with progress_bar(options.progress, method) as tick:
            while batches:
                batch = batches.pop(0)
                while len(batch.places):
                    batch.step()
                    endings = np.full(len(batch.places), RUNNING)
                    if batch.steps >= maxiter:
                        endings[:] = Status.MAX_ITERATIONS
                    settled = Status.CONVERGED if options.rtol is None else Status.STAGNATED
                    endings[batch.settled] = settled
                    if watched or options.rtol is not None:
                        error, _, _ = probes.certify(
                            batch.output(), batch.resolved, batch.condition, batch.places
                        )
                        if options.rtol is not None:
                            to_come = np.where(batch.resolved, 0.0, batch.to_come)
                            reached = np.maximum(error, to_come) <= options.rtol
                            endings[reached] = Status.CONVERGED
                    else:
                        error = np.full(len(batch.places), np.nan)
                    endings[~np.isfinite(batch.change + batch.left)] = Status.NONFINITE
                    record = Record(
                        batch.steps,
                        batch.places,
                        batch.change,
                        error,
                        1 / batch.lower,
                        time.perf_counter() - self.start,
                        batch.matmuls,
                    )
                    ended.history.append(record)
                    tick(record.worst())
                    if self._stops(record.worst(), [ended, batch, *batches]):
                        for rest in batches:
                            ended.add(rest, np.full(len(rest.places), Status.STOPPED_BY_CALLBACK))
                        batches.clear()
                        endings[:] = Status.STOPPED_BY_CALLBACK
                    late = options.time_limit is not None and record.seconds >= options.time_limit
                    endings[(endings == RUNNING) & late] = Status.TIME_LIMIT
                    goes_on = endings == RUNNING
                    if options.rtol is None and batch.steps < maxiter:
                        goes_on |= batch.settled & (endings == Status.CONVERGED)
                    leaking = batch.leaking() & goes_on
                    if leaking.any():
                        batches.append(batch.restart(leaking))
                        endings[leaking] = RUNNING
                    ended.add(batch, endings)
                    batch.keep((endings == RUNNING) & ~leaking)
        return ended.outcome(probes, method, options)

    def _stops(self, record: Iteration, parts: list[Any]) -> bool:
        """Whether a callback asks to stop, shown all matrices in their order."""

        def value() -> Any:
            first, *rest = parts
            pieces = [(places, value) for places, value in first.pieces]
            pieces += [(part.places, part.output()) for part in rest if len(part.places)]
            return self.finished(_in_order(self.problem.sides.tools, pieces))

        snapshot = Snapshot(record.iteration, record.change, record.error_estimate, value)
        return self.options.asked_to_stop(snapshot)


class _Ended:
    """The matrices that are done, in the order in which they were."""

    def __init__(self, tools: Tools, count: int):
        self.tools = tools
        self.pieces: list[tuple[np.ndarray, Any]] = []
        self.history: list[Record] = []
        self.status = np.full(count, Status.CONVERGED)
        names = ("iterations", "resolved", "condition", "rank", "flops")
        self.numbers = {name: np.full(count, np.nan) for name in names}

    def add(self, batch: Batch, endings: np.ndarray) -> None:
        """Keep what became of those that have an ending."""
        which = endings != RUNNING
        if not which.any():
            return
        part = copy.copy(batch)
        part.keep(which)
        self.pieces.append((part.places, part.output()))
        self.status[part.places] = endings[which]
        known = {"iterations": part.steps, "flops": part.flops}
        for name, numbers in self.numbers.items():
            numbers[part.places] = known[name] if name in known else getattr(part, name)

    def outcome(self, probes: Probes, method: Method, options: Options) -> Outcome:
        """All matrices with their certificates."""
        value = _in_order(self.tools, self.pieces)
        numbers, eps = self.numbers, self.tools.eps
        error, inconsistency, negligible = probes.certify(
            value, numbers["resolved"] > 0, numbers["condition"], np.arange(len(self.status))
        )
        if options.rtol is None:
            # At the floor, but not even four digits: that is no answer.
            vague = (self.status == Status.CONVERGED) & ~((error <= eps**0.25) | negligible)
            self.status[vague] = Status.STAGNATED
        return Outcome(
            value=value,
            status=self.status,
            iterations=numbers["iterations"],
            error_estimate=error,
            inconsistency=inconsistency,
            rank=numbers["rank"],
            condition=numbers["condition"],
            flops=numbers["flops"],
            method=method,
            history=tuple(self.history),
        )


def _in_order(tools: Tools, pieces: list[tuple[np.ndarray, Any]]) -> Any:
    """One array of matrices that lie in several, by their places."""
    if len(pieces) == 1:
        places, value = pieces[0]
        if (places == np.arange(len(places))).all():
            return value
    joined = tools.xp.concat([value for _, value in pieces], axis=0)
    return tools.take(joined, np.argsort(np.concatenate([places for places, _ in pieces])))


def _better(tools: Tools, first: Outcome, second: Outcome, places: np.ndarray) -> Outcome:
    """The more trustworthy result of each matrix; the second has some of them."""
    then, now = (outcome.status == Status.CONVERGED for outcome in (first, second))
    then = then[places]
    takes = (now & ~then) | (
        (now == then) & ~(first.error_estimate[places] <= second.error_estimate)
    )
    if not takes.any():
        return first
    winners = places[takes]
    source = np.arange(len(first.status))
    source[winners] = len(first.status) + np.flatnonzero(takes)
    names = (
        "status",
        "iterations",
        "error_estimate",
        "inconsistency",
        "rank",
        "condition",
        "flops",
    )
    vectors = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])[source]
        for name in names
    }
    value = tools.take(tools.xp.concat([first.value, second.value], axis=0), source)
    every = len(winners) == len(first.status)
    best = second if every else first
    won = np.isin(np.arange(len(first.status)), winners)
    history = [record.of(~won, np.arange(len(won))) for record in first.history]
    history += [record.of(takes, places) for record in second.history]
    return Outcome(value=value, **vectors, method=best.method, history=tuple(history))


def _chosen(home: Home, method: Any, options: Options) -> Method:
    """The method that runs, or a sentence about why it cannot."""
    chosen = as_method(method)
    if options.memory_limit is not None:
        raise ValueError(f"memory_limit is for arrays on the CPU, and A is {home}")
    if chosen is None:
        return Direct("svd") if options.special() else Eagle()
    if isinstance(chosen, Direct) and chosen.driver in ("gelsd", "svd"):
        return Direct("svd")
    if isinstance(chosen, Eagle) and chosen.kernel == "blas" and chosen.schedule != "cholesky":
        for option in sorted(options.special()):
            raise ValueError(f"{option} cannot be honoured by {chosen!r}; use method='direct'")
        return chosen
    raise ValueError(
        f"{chosen!r} computes on the CPU, and A is {home}: use method='auto', 'direct' or "
        "'eagle' with a schedule of matrix products, or move the arrays to the CPU"
    )
