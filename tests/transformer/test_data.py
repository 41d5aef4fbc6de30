"""Prompts: the hidden block is the Nyström estimate, and what is drawn is what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from eagle.transformer import TaskConfig, sample_batch
from eagle.transformer.config import FAMILIES
from tests.tolerances import tolerance

SHAPES = st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(1, 3), st.integers(1, 3))


def draw(task: TaskConfig, size: int = 40, seed: int = 0):
    return sample_batch(task, size, seed=seed, dtype=torch.float64)


@given(family=st.sampled_from(FAMILIES), sides=SHAPES, rank=st.integers(1, 12))
def test_what_is_hidden_follows_from_what_is_seen(family, sides, rank):
    d, n, d_hidden, n_hidden = sides
    rank = min(rank, d, n)
    task = TaskConfig(family, d, n, d_hidden, n_hidden, rank, condition=1e3)
    A, B, C, D = (X.numpy() for X in draw(task))
    assert A.shape[1:] == (d, n)
    assert D.shape[1:] == (d_hidden, n_hidden)
    for a, b, c, hidden in zip(A, B, C, D, strict=True):
        s = np.linalg.svd(a, compute_uv=False)
        condition = s[0] / s[rank - 1]
        if condition > 1e6:  # a random kernel whose points almost coincide
            continue
        found = b @ np.linalg.pinv(a, rcond=0.5 / condition) @ c
        scale = np.linalg.norm(b) * np.linalg.norm(c) / s[rank - 1]
        assert np.linalg.norm(found - hidden) <= tolerance(np.float64, condition) * (scale + 1)


def test_rank_of_a_is_what_was_asked_for():
    for family in ("block", "scalar", "kernel", "asymmetric"):
        ranks = np.linalg.matrix_rank(draw(TaskConfig(family)).A.numpy(), tol=1e-9)
        assert np.median(ranks) == 10


def test_condition_is_what_was_asked_for():
    s = np.linalg.svd(draw(TaskConfig("condition", condition=1e4)).A.numpy(), compute_uv=False)
    assert s[:, 0] / s[:, 9] == pytest.approx(1e4, rel=tolerance(np.float64, 1e4), abs=0)
    assert (s[:, 10:] < 1e-12 * s[:, :1]).all()


@pytest.mark.parametrize(("spectrum", "power"), [("variance", 2), ("deviation", 4)])
def test_sizes_are_those_of_the_reading(spectrum, power):
    # E x^2 = sum of (size of a column of R1)^2 (of R2)^2 / s: alpha^2i of variances, else alpha^4i
    wanted = sum(0.7 ** (power * i) for i in range(1, 11)) / 10
    X = draw(TaskConfig(spectrum=spectrum), 4000)
    for block in X:
        assert float(block.square().mean()) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("family", ["block", "scalar", "asymmetric"])
def test_deviations_of_alpha_are_variances_of_alpha_squared(family):
    deviation, variance = (
        draw(TaskConfig(family, decay=decay, spectrum=spectrum))
        for decay, spectrum in ((0.7, "deviation"), (0.49, "variance"))
    )
    for X, Y in zip(deviation, variance, strict=True):
        assert torch.allclose(X, Y, rtol=1e-12, atol=1e-14)


def test_singular_values_fall_twice_as_fast_by_deviation():
    """In logarithms: those of A follow the sizes of the columns, alpha^i or alpha^2i."""
    slopes = []
    for spectrum in ("variance", "deviation"):
        s = np.linalg.svd(draw(TaskConfig(spectrum=spectrum), 400).A.numpy(), compute_uv=False)
        slopes.append(np.polyfit(range(10), np.log(s[:, :10]).mean(0), 1)[0])
    # What the random factors add to the slope is the same in both.
    assert slopes[1] - slopes[0] == pytest.approx(np.log(0.7), rel=0.2)


def test_noise_has_the_variance_that_was_asked_for():
    clean, noisy = (draw(TaskConfig(noise=noise), 4000) for noise in (0.0, 0.01))
    for X, Y in zip(clean, noisy, strict=True):
        assert float((Y - X).square().mean()) == pytest.approx(0.01, rel=0.05)


def test_scalar_prediction_has_one_target_and_one_query():
    batch = draw(TaskConfig("scalar"))
    assert (batch.B[:, 1:] == 0).all()
    assert (batch.C[:, :, 1:] == 0).all()
    assert (batch.D.flatten(1)[:, 1:] == 0).all()
    assert (batch.D[:, 0, 0] != 0).all()


def test_a_mixture_has_a_third_of_each():
    batch = draw(TaskConfig("mixture"), 90)
    scalar = (batch.D.flatten(1)[:, 1:] == 0).all(1)
    symmetric = (batch.A - batch.A.mT).abs().amax((1, 2)) < 1e-12
    assert scalar.sum() == 30
    assert symmetric.sum() == 30
    assert not (scalar & symmetric).any()


def test_equal_seeds_give_equal_prompts():
    for family in FAMILIES:
        first, again, other = (
            sample_batch(TaskConfig(family), 5, seed=seed).A for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_a_generator_is_drawn_from_and_goes_on():
    generator = torch.Generator().manual_seed(3)
    first, second = (sample_batch(TaskConfig(), 5, generator=generator).A for _ in range(2))
    assert torch.equal(first, sample_batch(TaskConfig(), 5, seed=3).A)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("both", [True, False])
def test_exactly_one_source_of_randomness(both):
    source = {"seed": 0, "generator": torch.Generator()} if both else {}
    with pytest.raises(ValueError, match="exactly one of generator and seed"):
        sample_batch(TaskConfig(), 2, **source)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"family": "blok"}, "family must be one of block"),
        ({"d": 0}, "d must be at least 1"),
        ({"n_hidden": 1.5}, "n_hidden must be an integer"),
        ({"rank": 19}, r"rank must be at most min\(d, n\) = 18"),
        ({"spectrum": "power"}, "spectrum must be one of deviation, variance, got 'power'"),
        ({"decay": 0.0}, "decay must be in"),
        ({"decay": 1.5}, "decay must be in"),
        ({"noise": -1.0}, "noise must be finite, at least 0"),
        ({"condition": 0.5}, "condition must be finite, at least 1"),
    ],
)
def test_impossible_tasks_are_refused(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TaskConfig(**wrong)
