"""Step sizes: what they promise about the interval of singular values that is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle.methods.eagle.schedule import (
    NAMED,
    Constant,
    Minimax,
    as_schedule,
    largest,
    lifted,
    lowered,
)
from tests.tolerances import tolerance

lowers = st.floats(1e-12, 1.0)
etas = st.floats(1e-3, 1.0)


def image(s, eta):
    """One conditioning step on a singular value."""
    return s * (1 - eta * s**2) / largest(eta)


@given(etas)
def test_the_largest_singular_value_stays_one(eta):
    values = image(np.linspace(0, 1, 20001), eta)
    assert values.max() <= 1 + tolerance(float)
    assert values.max() >= 1 - 1e-8  # the grid's own resolution, squared


@given(lowers, etas)
def test_lifted_is_the_smallest_image_of_the_interval(lower, eta):
    values = image(np.linspace(lower, 1, 2001), eta)
    assert lifted(lower, eta) == pytest.approx(values.min(), rel=1e-9, abs=1e-15)


@given(lowers)
def test_minimax_maps_both_ends_to_the_same_value(lower):
    eta, _ = Minimax(cap=1.0).pair(lower)
    assert image(lower, eta) == pytest.approx(image(1.0, eta), abs=tolerance(float))


@given(lowers, etas)
def test_no_other_eta_leaves_a_larger_lower_bound(lower, eta):
    best, _ = Minimax(cap=1.0).pair(lower)
    assert lifted(lower, eta) <= lifted(lower, best) * (1 + 1e-9) + 1e-15


@given(lowers, st.floats(1e-3, 0.9))
def test_no_eta_below_the_cap_beats_the_capped_choice(lower, eta):
    best, _ = Minimax().pair(lower)
    assert best <= 0.9
    assert lifted(lower, eta) <= lifted(lower, best) * (1 + 1e-9) + 1e-15


@given(lowers, st.sampled_from([0.5, 0.9, 1.0]))
def test_lowered_undoes_lifted(lower, cap):
    eta, _ = Minimax(cap).pair(lower)
    there = lifted(lower, eta)
    # The slope of the map vanishes where lower reaches its maximum; then half the digits go.
    assert lowered(there, eta) == pytest.approx(lower, rel=1e-7)
    assert lifted(lowered(there, eta), eta) == pytest.approx(there, rel=tolerance(float))


@given(st.floats(1e-15, 1e-6), etas)
def test_small_values_are_lowered_to_full_precision(target, eta):
    assert lowered(target, eta) == pytest.approx(target * largest(eta), rel=1e-11)


def test_small_singular_values_are_lifted_by_the_published_factors():
    tiny = 1e-9
    lift = {cap: lifted(tiny, Minimax(cap).pair(tiny)[0]) / tiny for cap in (0.9, 1.0)}
    assert lift[0.9] == pytest.approx(2.465, abs=5e-4)
    assert lift[1.0] == pytest.approx(1.5 * np.sqrt(3), rel=1e-6)  # 2.598
    assert lifted(tiny, 1 / 3) / tiny == pytest.approx(1.5, rel=1e-9)  # Newton-Schulz


def test_eta_runs_from_the_cap_to_one_third():
    grid = np.geomspace(1e-12, 1, 200)
    etas = [Minimax(1.0).pair(lower)[0] for lower in grid]
    assert etas == sorted(etas, reverse=True)
    assert etas[0] == pytest.approx(1.0)
    assert etas[-1] == pytest.approx(1 / 3)
    assert Minimax().pair(1e-12)[0] == 0.9


@given(st.floats(0.51, 1.0), st.floats(0.01, 2.0))
def test_no_other_gamma_contracts_a_conditioned_interval_faster(lower, gamma):
    def worst(gamma):
        return max(abs(1 - gamma * lower**2), abs(1 - gamma))

    _, best = Minimax().pair(lower)
    assert worst(best) <= worst(gamma) + tolerance(float)


@given(lowers)
def test_gamma_never_lets_a_direction_grow(lower):
    _, gamma = Minimax().pair(lower)
    s = np.linspace(0, 1, 101)
    assert np.abs(1 - gamma * s**2).max() <= 1


def test_schedules_have_names():
    assert as_schedule("minimax") == Minimax(cap=0.9)
    assert as_schedule("paper") == Constant(1 / 3, 1.0)
    assert as_schedule("trained").gamma == 1.0
    assert as_schedule("trained").eta == pytest.approx(1 / 1.9)
    assert set(NAMED) == {"minimax", "paper", "trained"}


@pytest.mark.parametrize("name", ["paper", "trained"])
def test_constant_schedules_do_not_look_at_the_interval(name):
    schedule = as_schedule(name)
    assert schedule.pair(1e-9) == schedule.pair(0.9)


@pytest.mark.parametrize("pair", [(0.5, 1.0), [0.9, 1.5], (1, 2), (np.float32(0.5), 1)])
def test_an_explicit_pair_is_taken_as_it_is(pair):
    assert as_schedule(pair).pair(0.1) == tuple(map(float, pair))


@pytest.mark.parametrize(
    "pair",
    [(0.0, 1.0), (-0.5, 1.0), (0.5, 0.0), (1.01, 1.0), (0.5, 2.01), (np.nan, 1.0), (0.5, np.inf)],
)
def test_a_pair_that_would_diverge_or_stand_still_is_refused(pair):
    with pytest.raises(ValueError, match="schedule"):
        as_schedule(pair)
    with pytest.raises(ValueError, match="schedule"):
        eagle.Eagle(schedule=pair)


@pytest.mark.parametrize("value", [3, None, (0.5,), (0.5, 1.0, 2.0), ("a", "b"), (True, 1.0)])
def test_what_is_no_pair_of_numbers_is_refused(value):
    with pytest.raises(TypeError, match="schedule"):
        eagle.Eagle(schedule=value)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(ValueError, match=r"'minimax', 'paper', 'trained'.*got 'papers'"):
        eagle.Eagle(schedule="papers")


@given(st.lists(lowers, min_size=1, max_size=5), etas)
def test_arrays_of_numbers_give_what_the_numbers_give(numbers, eta):
    """And numbers give floats, which leave single precision what it is."""
    together = np.array(numbers)
    for function in (lifted, lowered, lambda lower, eta: Minimax().pair(lower)[0] * largest(eta)):
        alone = [function(lower, eta) for lower in numbers]
        assert {type(value) for value in alone} == {float}
        assert np.allclose(function(together, eta), alone, rtol=tolerance(float), atol=0)
    gammas = [Minimax().pair(lower)[1] for lower in numbers]
    assert np.array_equal(Minimax().pair(together)[1], gammas)
    assert np.array_equal(largest(together), [largest(number) for number in numbers])
