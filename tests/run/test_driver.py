"""The loop: its stopping rules, what a callback sees, for one matrix and for many."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import eagle
from eagle import Status
from eagle.algebra.numbers import Many, One
from eagle.methods.base import Method, State
from eagle.problem.options import Options
from eagle.run import driver
from tests.systems import system
from tests.tolerances import relative_error, tolerance


@dataclass(frozen=True)
class Told(Method):
    """Says that it moves by `changes`; its value is zero before a step, and right from it on.

    From step `broken` on, what is at the places in `lost` is not finite.
    """

    changes: tuple[float, ...]
    right: int = 1
    lost: tuple[int, ...] = ()
    broken: int = 1

    default_maxiter: ClassVar[int] = 20

    def init(self, problem: Any, options: Options) -> State:
        full, like = problem.algebra.num.full, problem.scale
        state = State(problem=problem)
        state.change, state.settled, state.resolved = (
            full(value, like) for value in (np.inf, False, False)
        )
        return state

    def _is_lost(self, state: State) -> Any:
        places = 0 if state.places is None else state.places
        return np.isin(places, self.lost) & (state.taken >= self.broken)

    def step(self, state: State) -> State:
        num, change = (
            state.problem.algebra.num,
            self.changes[min(state.taken, len(self.changes)) - 1],
        )
        lost = self._is_lost(state)
        state.change = num.where(lost, np.nan, num.full(change, state.settled))
        return state

    def output(self, state: State) -> Any:
        problem, algebra = state.problem, state.problem.algebra
        value = problem.rows() @ algebra.xp.linalg.pinv(problem.A) @ problem.columns()
        factor = algebra.num.where(self._is_lost(state), np.nan, float(state.taken >= self.right))
        return algebra.each(factor) * value

    def keep(self, state: State, which: np.ndarray) -> State:
        kept, places = copy.copy(state), np.flatnonzero(which)
        kept.problem = state.problem.take(places)
        for name in ("places", "change", "settled", "resolved", "within"):
            setattr(kept, name, getattr(state, name)[which])
        return kept


def ran(place, method, count=1, **options):
    """What became of a few systems, the loop alone."""
    systems = [system((6, 4), condition=3, seed=seed) for seed in range(count)]
    with np.errstate(all="ignore"):
        results = driver.run(place.problem(*systems), method, Options(rng=0, **options), "told")
    return results, systems


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_what_is_to_come_is_the_tail_of_a_geometric_series(ratio):
    """At the slowest ratio that is believed where there is nothing to compare with."""
    tail = sum(ratio**power for power in range(2, 300))
    slowest = driver.SLOWEST / (1 - driver.SLOWEST)
    before = [1.0, 0.0, np.inf]
    wanted = pytest.approx([tail, slowest * ratio, slowest * ratio], rel=1e-12)
    assert [driver._to_come(One, ratio, each) for each in before] == wanted
    assert driver._to_come(Many, np.full(3, ratio), np.array(before)) == wanted


def test_a_value_that_stood_still_once_may_move_again(algebra):
    """A change after none tells no rate, and is not taken for the last one."""
    method = Told((1.0, 0.0, 5e-3, 1e-5), right=3)
    results, _ = ran(algebra, method, rtol=1e-2)
    assert algebra.number(results.status) is Status.CONVERGED
    assert algebra.number(results.iterations) == 4


def test_no_callback_sees_a_value_that_is_not_finite(algebra):
    seen = []
    method = Told((0.5,), lost=(0,), broken=3)
    results, _ = ran(algebra, method, callback=lambda state: seen.append(state.iteration))
    assert seen == [1, 2]
    assert algebra.number(results.status) is Status.NONFINITE


def test_a_callback_that_stops_the_others_does_not_overrule_an_ending(many):
    method = Told((0.5,), lost=(1,))
    results, _ = ran(many, method, count=3, callback=lambda state: True)
    stopped = Status.STOPPED_BY_CALLBACK
    assert list(results.status) == [stopped, Status.NONFINITE, stopped]
    assert list(results.iterations) == [1, 1, 1]


def test_a_snapshot_of_many_is_of_its_time(many):
    """Looked at in the end, when one has been lost and the others have gone on."""
    seen = []
    method = Told((0.5,), right=3, lost=(1,), broken=4)
    results, systems = ran(many, method, count=3, maxiter=5, callback=seen.append)
    assert [state.iteration for state in seen] == [1, 2, 3, 4, 5]
    first, third = (many.fetch(seen[step].value) for step in (1, 2))
    assert not first.any()
    for value, each in zip(third, systems, strict=True):
        assert relative_error(value, each.value) <= tolerance(float, 3)
    assert np.isfinite(many.fetch(seen[4].value)).all(axis=(1, 2)).tolist() == [True, False, True]
    assert results.iterations.tolist() == [5, 4, 5]


def test_each_leaves_when_it_is_accurate_and_comes_back_to_its_place(many):
    """Those that are done are taken out; the others go on."""
    method = Told((0.5, 1e-12, 1e-14), right=2, lost=(0,), broken=1)
    results, systems = ran(many, method, count=3, rtol=1e-6)
    assert list(results.status) == [Status.NONFINITE, Status.CONVERGED, Status.CONVERGED]
    values = many.fetch(results.value)
    for place in (1, 2):
        assert relative_error(values[place], systems[place].value) <= tolerance(float, 3)


@pytest.mark.parametrize("method", [eagle.Eagle(), eagle.Direct("cod")], ids=["eagle", "cod"])
def test_the_seconds_of_a_result_lie_within_those_of_the_call(method):
    blocks, begun = system(), time.perf_counter()
    result = eagle.solve(blocks.A, blocks.B, blocks.C, method=method)
    whole = time.perf_counter() - begun
    assert 0 < result.history[-1].seconds <= result.seconds <= whole
