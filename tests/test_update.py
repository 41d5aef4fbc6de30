"""The update as printed: what it leaves alone, and where it arrives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle.update import LIFTS, Blocks, average, update
from tests.tolerances import relative_error, tolerance


def start(d: int, n: int, *, rank: int, condition: float, seed: int, dtype=np.float64) -> Blocks:
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, dtype=dtype, rng=seed)
    D = np.zeros_like(problem.D)
    return Blocks(problem.A, problem.B, problem.C, D)


@given(
    d=st.integers(2, 20),
    n=st.integers(2, 20),
    condition=st.floats(1, 100),
    dtype=st.sampled_from([np.float64, np.complex128]),
    eta=st.floats(0, 1),
    gamma=st.floats(0, 1.9),
    seed=st.integers(0, 99),
)
def test_states_are_the_polynomials_of_theory(d, n, condition, dtype, eta, gamma, seed):
    rank = min(d, n)
    blocks = start(d, n, rank=rank, condition=condition, seed=seed, dtype=dtype)
    U, s, _ = np.linalg.svd(blocks.A, full_matrices=False)
    weights = blocks.B @ np.linalg.pinv(blocks.A) @ U  # W* in the basis of A's range
    left = np.ones(rank)
    state = blocks
    for _ in range(4):
        left = left * (1 - gamma * s**2)
        s = s * (1 - eta * s**2)
        state = update(state, eta, gamma)
    D = (weights * (1 - left)) @ (U.conj().T @ blocks.C)
    scale = np.linalg.norm(weights) * np.linalg.norm(blocks.C)
    assert np.linalg.norm(state.D - D) <= tolerance(dtype, condition) * rank * scale
    found = np.linalg.svd(state.A, compute_uv=False)
    assert np.abs(found - np.sort(np.abs(s))[::-1]).max() <= tolerance(dtype)  # of at most 1


@pytest.mark.parametrize("lift", LIFTS)
def test_what_is_wanted_never_changes(lift, rng):
    blocks = start(12, 9, rank=9, condition=10, seed=0)
    answer = blocks.B @ np.linalg.pinv(blocks.A) @ blocks.C
    state = blocks
    for _ in range(5):
        S = np.linalg.qr(rng.standard_normal((9, 4)))[0]
        state = update(state, 0.3, 0.9, sketch=S, lift=lift)
        now = state.D + state.B @ np.linalg.pinv(state.A) @ state.C
        assert np.linalg.norm(now - answer) <= tolerance(np.float64, 100) * np.linalg.norm(answer)
    assert not np.allclose(state.D, 0)


def test_a_square_orthogonal_sketch_is_none_at_all(rng):
    blocks = start(8, 6, rank=6, condition=5, seed=1)
    S = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    wanted = update(blocks, 0.4, 1.1)
    for lift in LIFTS:
        for X, Y in zip(update(blocks, 0.4, 1.1, sketch=S, lift=lift), wanted, strict=True):
            assert relative_error(X, Y) <= tolerance(float)


def test_the_paper_lift_moves_only_the_sketched_columns(rng):
    blocks = start(8, 6, rank=6, condition=5, seed=1)
    S = np.eye(6)[:, :2]
    paper = update(blocks, 0.4, 1.1, sketch=S)
    assert np.array_equal(paper.A[:, 2:], blocks.A[:, 2:])
    assert not np.array_equal(paper.A[:, :2], blocks.A[:, :2])
    full = update(blocks, 0.4, 1.1, sketch=S, lift="full")
    assert not np.array_equal(full.A[:, 2:], blocks.A[:, 2:])


def test_a_lift_of_one_s_own_stands_between_the_two(rng):
    blocks = start(8, 6, rank=6, condition=5, seed=1)
    S = np.linalg.qr(rng.standard_normal((6, 2)))[0]
    for lift, matrix in (("paper", S @ S.T), ("full", np.eye(6))):
        wanted = update(blocks, 0.4, 1.1, sketch=S, lift=lift)
        found = update(blocks, 0.4, 1.1, sketch=S, lift=matrix)
        for X, Y in zip(found, wanted, strict=True):
            assert relative_error(X, Y) <= tolerance(float)


def test_machines_share_c_and_d_only(rng):
    blocks = start(8, 6, rank=6, condition=5, seed=1)
    parts = [
        Blocks(blocks.A[:, own], blocks.B[:, own], blocks.C, blocks.D)
        for own in (slice(0, 2), slice(2, 6))
    ]
    stepped = [update(part, 0.4, 1.1) for part in parts]
    after = average(stepped)
    for own, before in zip(after, stepped, strict=True):
        assert own.A is before.A
        assert own.B is before.B
        assert np.array_equal(own.C, (stepped[0].C + stepped[1].C) / 2)
        assert np.array_equal(own.D, (stepped[0].D + stepped[1].D) / 2)


def test_an_unknown_lift_is_refused():
    with pytest.raises(ValueError, match="lift must be one of paper, full or an array"):
        update(start(3, 3, rank=3, condition=2, seed=0), 1, 1, lift="half")


@pytest.mark.parametrize("lift", ["paper", "full"])
def test_leading_dimensions_are_problems_of_their_own(lift, rng):
    def normal(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    stack = Blocks(normal(3, 5, 4), normal(3, 2, 4), normal(3, 5, 6), normal(3, 2, 6))
    sketch = np.linalg.qr(rng.standard_normal((4, 2)))[0]
    together = update(stack, 0.3, 0.7, sketch=sketch, lift=lift)
    for number in range(3):
        alone = update(
            Blocks(*(block[number] for block in stack)), 0.3, 0.7, sketch=sketch, lift=lift
        )
        for many, one in zip(together, alone, strict=True):
            assert relative_error(many[number], one) <= tolerance(float)
