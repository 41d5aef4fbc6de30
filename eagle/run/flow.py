"""Problem -> plan -> method -> certificate -> Result, wherever the blocks live."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.homes import Blocks, Home, find_home
from eagle.algebra.operand import Implicit, Matrix, Sampled
from eagle.algebra.stacked import Stacked
from eagle.methods import Compressed, Direct, Eagle, as_method, cross
from eagle.methods.base import QUICK, Method
from eagle.methods.complete import graded
from eagle.methods.cross import Cross
from eagle.methods.seminormal import SemiNormal
from eagle.problem.blocks import Names, Problem
from eagle.problem.certificate import LUCK
from eagle.problem.checks import leading_shape
from eagle.problem.options import Options
from eagle.problem.result import Result, Status, changed, with_value
from eagle.run import driver, opinions
from eagle.run.batch import is_batch, solve_batch, solve_stacked
from eagle.run.plan import FEW, LU, Choice, choices

COD = Direct("cod")
SOME = 0.1  # relative error with which a value still says something
LOG = logging.getLogger("eagle")
SAMPLED = "certificate='sampled'"
AFTER_ALL = "some rows and columns did not tell enough, A was read; "


def solve(blocks: Blocks, method: Any, options: Options, names: Names) -> Result:
    """``B A^+ C`` of numpy's blocks, or of those of another library on its device."""
    home = find_home(A=blocks[0])
    if home is None:
        return on_host(blocks, method, options, names)
    return Backend(home, names).solve(blocks, method, options)


@dataclass(frozen=True)
class Backend:
    """How blocks of one library are solved for; gradients are given one."""

    home: Home
    names: Names

    def solve(self, blocks: Blocks, method: Any, options: Options) -> Result:
        """With a value that knows how to differentiate itself, if anybody wants to."""
        if not self.home.follows([block for block in blocks if block is not None]):
            return self.untracked(blocks, method, options)
        if options.sampled:
            raise ValueError(f"{SAMPLED} has no gradient, which takes all of A: detach the blocks")
        if self.home.library == "torch":
            from eagle.gradients.autograd import solve
        else:
            from eagle.gradients.tracing import solve
        return solve(self, blocks, method, options)

    def untracked(self, blocks: Blocks, method: Any, options: Options) -> Result:
        """The same for blocks that nobody differentiates."""
        dtype, blocks = self.home.to_compute(blocks)
        if not self.home.on_cpu:
            return _on_device(self.home, blocks, method, options, self.names, dtype)
        A, B, C = (None if block is None else self.home.view(block) for block in blocks)
        callback = options.callback
        if callback is not None:
            seen = replace(options, callback=lambda state: callback(_Seen(state, self.home, dtype)))
            options = seen
        result = self.on_host((A, B, C), method, options)
        return with_value(result, self.home.astype(self.home.array(result.value), dtype))

    def on_host(self, blocks: Blocks, method: Any, options: Options) -> Result:
        """The same for blocks of numpy."""
        return on_host(blocks, method, options, self.names)


@dataclass(frozen=True)
class _Seen:
    """A `eagle.run.driver.Snapshot` whose value lives at home."""

    _state: driver.Snapshot
    _home: Home
    _dtype: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    @property
    def value(self) -> Any:
        """The value so far, a fresh array."""
        return self._home.astype(self._home.array(self._state.value), self._dtype)


def on_host(blocks: Blocks, method: Any, options: Options, names: Names) -> Result:
    """One problem of numpy's, or a batch of them."""
    if not is_batch(*blocks):
        return _single(*blocks, method, options, names)
    if options.sampled:
        raise ValueError(f"{SAMPLED} is for one {names[0]}, not for a batch")

    def single(A: Matrix, B: Any, C: Any, options: Options) -> Result:
        return _single(A, B, C, method, options, names)

    given = (block.dtype for block in blocks if block is not None)
    eps = float(np.finfo(np.result_type(np.float32, *given)).eps)
    result = solve_batch(blocks, names, method, options, single, limit=QUICK * eps)
    LOG.debug("a batch of A %s: %s", blocks[0].shape, result.plan)
    return result


def _single(
    A: Matrix,
    B: np.ndarray | None,
    C: np.ndarray | None,
    method: Any,
    options: Options,
    names: Names,
) -> Result:
    """One choice of the plan after the other, until one is accurate."""
    start = time.perf_counter()
    said = ""
    if options.sampled:
        known = sampled((A, B, C), method, options, names)
        if known is not None:
            return changed(known, seconds=time.perf_counter() - start)
        said = AFTER_ALL
    problem = Problem.create(A, B, C, names)
    result: Result | None = None
    for choice in choices(method, problem, options):
        left = choice.options.left_after(time.perf_counter() - start)
        LOG.debug("A %s x %s %s; %s", *problem.extent, problem.dtype, choice.reason)
        try:
            latest = _run(choice if left is choice.options else replace(choice, options=left))
        except np.linalg.LinAlgError as error:
            if as_method(method) is not None:
                raise
            LOG.debug("%s: %s", type(choice.method).__name__, error)
            continue  # a factorisation for full rank only was the planner's guess
        LOG.debug(
            "%r: %s after %d iterations in %.3g s, error estimate %.1e",
            *(latest.method, latest.status.name, latest.iterations, latest.seconds),
            latest.error_estimate,
        )
        result = latest if result is None else _better(result, latest)
        if not _disappoints(latest, problem, options.rtol or 0.0):
            break
    assert result is not None
    return changed(result, plan=said + result.plan, seconds=time.perf_counter() - start)


def sampled(blocks: Blocks, method: Any, options: Options, names: Names) -> Result | None:
    """From some rows and columns of A, if others that are held back agree with them."""
    A, B, C = blocks
    if as_method(method) is not None:
        raise ValueError(f"{SAMPLED} cannot be honoured by {method!r}; use method='auto'")
    for option in sorted({*options.special(), *options.shaped()}):
        raise ValueError(f"{SAMPLED} cannot go with {option}")
    if isinstance(A, Implicit):
        raise ValueError(f"{SAMPLED} needs entries of {names[0]}, which an operator has not")
    dtype = np.result_type(A.dtype, np.float32)
    problem = Problem.create(Sampled(A.shape, dtype, A), B, C, names)
    found = None if problem.trivial else cross.look(problem.A, options.rng)
    if found is None or not found.rank:
        return None
    held = cross.hold(A.shape, found, options.rng)
    reason = (
        f"auto: {found.rank} rows and columns make up A, as {len(held[0])} rows and {len(held[1])} "
        "columns tell that were held back; A was not read"
    )
    result = _run(Choice(Cross(found, held), problem, options, reason))
    return None if _disappoints(result, problem, options.rtol or 0.0) else result


def _run(choice: Choice) -> Result:
    problem, method, options = choice.problem, choice.method, choice.options
    if method == COD:  # which takes numbers of any size
        problem = problem.unscaled()
    asked = options.special() | ({"ridge"} if options.ridge else set())
    given = None
    if asked & method.factorises_for and not problem.trivial:
        factors = method.factorise(problem, options)
        if options.ridge and opinions.is_cheap(problem):
            given = problem.ridged(options.ridge)
        problem = problem.truncated(factors, options.rank, options.cutoff)
    ready = problem.ridged(options.ridge)
    results = driver.run(ready, method, options, choice.reason, given=given)
    return results.result(results.seconds)


def _disappoints(result: Result, problem: Problem, rtol: float) -> bool:
    """Whether auto should try something else after all.

    LU and a triangular factor lose no more than rounding of the blocks does. Sketches are tried
    because they are cheap, and are expected to be as accurate as what they stand in for. So is
    everything where LAPACK takes no time worth saving. What the data do not determine better is
    final, as long as that is a digit or more: else fewer directions of A may be worth a look. Other
    methods may stop as early as they were asked to. Beside an identity nothing beats EAGLE, unless
    rows or columns of A are of different sizes.
    """
    if result.status in (Status.TIME_LIMIT, Status.STOPPED_BY_CALLBACK):
        return False
    if result.at_the_floor and (result.floor or 0.0) < SOME:
        return False
    small = problem.A.size <= FEW and not isinstance(result.method, SemiNormal)
    strict = isinstance(result.method, Direct | Compressed | Cross) or small
    limit = QUICK * problem.eps if strict else max(problem.eps**0.5, rtol)
    if isinstance(result.method, Cross):  # a sketch costs little more and loses less
        limit /= 10
    hidden = isinstance(problem.A, np.ndarray) and (problem.B is None or problem.C is None)
    as_good = hidden and isinstance(result.method, Eagle) and result.error_estimate > limit
    measured = result.method == LU or isinstance(result.method, SemiNormal)
    if measured or (as_good and not graded(problem.A)):
        limit = max(limit, LUCK * problem.eps * (result.condition or 0.0))
    return not result.converged or not result.error_estimate <= limit


def _better(first: Result, second: Result) -> Result:
    """The more trustworthy of two results."""
    if first.converged != second.converged:
        return first if first.converged else second
    return first if first.error_estimate < second.error_estimate else second


def _on_device(
    home: Home, blocks: Blocks, method: Any, options: Options, names: Names, dtype: str
) -> Result:
    """Where the arrays are: EAGLE, or an SVD."""
    start = time.perf_counter()
    chosen = _for_device(home, method, options)
    leading, algebra = leading_shape(names, blocks), Stacked(home, blocks[0])
    with np.errstate(all="ignore"), home.precisely():
        problem = Problem.stack(algebra, blocks, names, leading, dtype)
        asked = as_method(method) is not None
        results = solve_stacked(problem, chosen, options, leading, asked=asked)
    LOG.debug("A is %s: %s", home, results.plan)
    results = results.shaped(leading, algebra.xp.reshape)
    seconds = time.perf_counter() - start
    if leading:
        return results.result(seconds)
    return changed(results.each().item(), seconds=seconds)


def _for_device(home: Home, method: Any, options: Options) -> Method:
    """The method that runs there, or a sentence about why it cannot."""
    chosen = as_method(method)
    for name in ("memory_limit", "certificate"):
        if getattr(options, name) != getattr(Options, name):
            raise ValueError(f"{name} is for arrays on the CPU, and A is {home}")
    if chosen is None:
        return Direct("svd") if options.special() else Eagle()
    if isinstance(chosen, Direct) and chosen.driver in ("gelsd", "svd"):
        return Direct("svd")
    if isinstance(chosen, Eagle) and chosen.needs <= Stacked.can:
        for option in sorted(options.special()):
            raise ValueError(f"{option} cannot be honoured by {chosen!r}; use method='direct'")
        return chosen
    raise ValueError(
        f"{chosen!r} computes on the CPU, and A is {home}: use method='auto', 'direct' or "
        "'eagle' with a schedule of matrix products, or move the arrays to the CPU"
    )
