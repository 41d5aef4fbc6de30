"""Effects of a treatment: found where there is one, chance where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import eagle


def panel(seed: int, units: int = 30, times: int = 16, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = 10 + rng.standard_normal((units, 3)) @ rng.standard_normal((3, times))
    return X + noise * rng.standard_normal(X.shape)


def test_an_effect_is_found_with_its_path_and_interval():
    X = panel(0)
    X[4, 10:] += np.arange(1, 7)
    effects = eagle.complete(X, treated={4: 10}, rng=0).effects
    assert effects is not None
    assert effects.units == (4,)
    assert np.isnan(effects.path[0, :10]).all()
    assert effects.path[0, 10:] == pytest.approx(np.arange(1, 7), abs=1.5)
    assert effects.mean[0] == pytest.approx(3.5, abs=0.7)
    assert effects.p_values[0] == pytest.approx(1 / 30)
    assert (effects.lower[0, 12:] > 0).all()
    assert (effects.lower[0, 10:] < effects.path[0, 10:]).all()
    assert (effects.path[0, 10:] < effects.upper[0, 10:]).all()


def test_what_was_observed_under_treatment_does_not_matter_to_what_is_filled():
    X = panel(1)
    one = eagle.complete(X, treated={4: 10}, rng=0)
    X[4, 10:] = 1e6
    other = eagle.complete(X, treated={4: 10}, rng=0)
    assert pytest.approx(one.X, rel=1e-9) == other.X


def test_without_an_effect_the_p_values_are_uniform():
    values = []
    for seed in range(60):
        done = eagle.complete(panel(seed, units=20), treated={0: 12}, rng=seed)
        values.append(done.effects.p_values[0])
    # Ranks of one unit among 20: a mean of 0.525, a standard error of 0.037 over 60.
    assert np.mean(values) == pytest.approx(0.525, abs=0.11)
    assert 0 < np.mean(np.array(values) <= 0.2) < 0.4


def test_units_and_times_go_by_their_names_and_may_start_at_different_times():
    X = pd.DataFrame(panel(2), index=[f"u{i}" for i in range(30)], columns=range(2000, 2016))
    X.loc["u3", 2010:] += 5
    X.loc["u7", 2012:] -= 5
    done = eagle.complete(X, treated={"u3": 2010, "u7": 2012}, rng=0)
    effects = done.effects
    assert effects.units == ("u3", "u7")
    assert effects.mean == pytest.approx([5, -5], abs=0.7)
    assert "effect on u3: " in str(done)
    assert "  2012: " in str(effects)
    assert isinstance(done.X, pd.DataFrame)


def test_placebos_are_the_left_out_errors_of_untreated_units():
    X = panel(3)
    effects = eagle.complete(X, treated={4: 10}, scaling="standard", rng=0).effects
    (placebos,) = effects.placebos
    assert placebos.shape == (29, 16)
    assert np.isnan(placebos[:, :10]).all()
    group = eagle.complete(X, treated={4: 10}, scaling="standard", rng=0).groups[0]
    # The first of them, from the others by the same ridge.
    rest = np.delete(X, 4, axis=0)
    A, C = rest[1:, :10], rest[1:, 10:]
    scale = rest[:, :10].std(axis=0)  # scales are those of all donors
    P = (A - A.mean(axis=0)) / scale
    T = C - C.mean(axis=0)
    W = np.linalg.solve(P.T @ P + group.ridge * np.eye(10), P.T @ T)
    found = C.mean(axis=0) + ((rest[0, :10] - A.mean(axis=0)) / scale) @ W
    assert placebos[0, 10:] == pytest.approx(rest[0, 10:] - found, rel=1e-6)


@pytest.mark.parametrize(
    ("treated", "error", "message"),
    [
        ([4], TypeError, "treated must be a dictionary from rows to the first column"),
        ({}, TypeError, "treated must be a dictionary"),
        ({40: 3}, ValueError, "treated: row 40 is not one of 0, 1, 2, 3, 4, ..."),
        ({4: 16}, ValueError, "treated: column 16 is not one of"),
        ({4: 0}, ValueError, "treated: nothing comes before column 0"),
        (dict.fromkeys(range(30), 8), ValueError, "no entry of columns 8, 9, 10, 11, 12, ... "),
    ],
)
def test_bad_treatments_are_refused(treated, error, message):
    with pytest.raises(error, match=message):
        eagle.complete(panel(0), treated=treated)
