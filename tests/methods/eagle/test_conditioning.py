"""Conditioning does to singular values what its formula says, and to nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import eagle
from eagle.methods.eagle import rules
from eagle.methods.eagle.conditioning import FIRST_ETA, LIFT, Polynomial
from eagle.methods.eagle.schedule import Constant, largest
from tests.algebras import PLACES
from tests.systems import DTYPES, normal, orthonormal
from tests.tolerances import relative_error, tolerance

over_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def blocks(s, dtype, rows=3, seed=0):
    """``U, V`` of an A with these singular values, A itself, and B in its row space."""
    rng = np.random.default_rng(seed)
    U, V = orthonormal(rng, len(s) + 5, len(s), dtype), orthonormal(rng, len(s), len(s), dtype)
    A = np.array((U * s) @ V.conj().T, dtype=dtype, order="F")
    B = np.array(normal(rng, (rows, len(A)), dtype) @ A, dtype=dtype, order="F")
    return U, V, A, B


def begun(place, schedule, A, B, *, lower=np.nan, size=1.0, lifts=()):
    """A state with these blocks, whose row 0 of B is a probe; `lower` is what steps count on."""
    method, problem = eagle.Eagle(schedule), place.problem(SimpleNamespace(A=A, B=B), names="AB")
    user = 0, len(A)
    A, B = (place.block(X.copy()) for X in (A, B))
    state = method._state(problem, A, B, None, False, user)
    lower = lower if not lower <= rules.SURE else lower / rules.MARGIN
    state.lower, state.rho = (place.known(each, problem.scale) for each in (lower, size**-2))
    state.lifts = [*lifts]
    return state


def condition(state):
    """One step."""
    state.gram = state.problem.algebra.gram(state.A, state.gram)
    state.conditioner.apply(state, state.num.full(True, state.problem.scale))


@over_dtypes
@pytest.mark.parametrize("schedule", ["minimax", (1 / 3, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_polynomial_step_is_its_formula(algebra, schedule, size, dtype):
    """``Q = (I - eta rho A^H A) sqrt(rho) / mu``, which keeps A's singular vectors."""
    s = np.array([1.0, 0.7, 0.3, 0.05])
    U, V, A, B = blocks(size * s, dtype)
    state = begun(algebra, schedule, A, B, lower=0.05, size=size)
    eta = min(FIRST_ETA, float(state.conditioner.pair(0.05, state.num)[0]))
    condition(state)
    mapped = s * (1 - eta * s**2) / largest(eta)
    assert relative_error(algebra.numbers(state.A), (U * mapped) @ V.conj().T) <= tolerance(dtype)
    Q = (V * (mapped / (size * s))) @ V.conj().T
    assert relative_error(algebra.numbers(state.B), B.astype(Q.dtype) @ Q) <= tolerance(dtype)
    assert algebra.number(state.lower) == pytest.approx(min(mapped), rel=1e-12)
    before = rules.traced_back(state, state.lower)
    assert algebra.number(before) == pytest.approx(0.05, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize(("size", "least", "count"), [(1.0, 1e-3, 6), (3.0, 1e-2, 5)])
def test_steps_in_single_precision_are_their_formula(algebra, size, least, count, dtype):
    """As many as it says; what rounding does to Q is done to A and to B."""
    s = np.geomspace(1, least, 12)
    U, V, A, B = blocks(size * s, dtype)
    W = B @ (V / (size * s)) @ U.conj().T
    state = begun(algebra, "minimax", A, B, size=size)
    state.conditioner.apply_in_single(state, state.num.full(True, state.problem.scale))
    lifts, growth = [algebra.number(eta) for eta in state.lifts], algebra.number(state.growth)
    assert len(lifts) == count
    mapped = s
    for eta in lifts:
        mapped = mapped * (1 - eta * mapped**2) / largest(eta)
    assert 1 / growth == pytest.approx(np.prod(largest(np.array(lifts))))
    A, B = algebra.numbers(state.A), algebra.numbers(state.B)
    assert relative_error(A, (U * mapped) @ V.conj().T) <= tolerance(np.float32, growth)
    assert relative_error(B, W @ A) <= tolerance(dtype, growth)


def test_the_last_lift_is_that_of_the_last_step(algebra):
    _, _, A, B = blocks(np.array([1.0, 0.5, 1e-4]), float)
    state = begun(algebra, "minimax", A, B)
    for lower in (0.0, 0.0, 0.6):  # each with another eta
        before = np.linalg.svd(algebra.numbers(state.A), compute_uv=False)[-1]
        state.lower = algebra.known(lower, state.problem.scale)
        condition(state)
        lift = np.linalg.svd(algebra.numbers(state.A), compute_uv=False)[-1] / before
    assert len({algebra.number(eta) for eta in state.lifts}) == 3
    assert algebra.number(state.lift) == pytest.approx(lift, rel=1e-4)


@pytest.mark.parametrize("eta", [0.2, 1 / 3, 0.4, 1 / 1.9, 0.9])
def test_the_top_is_where_singular_values_stay(eta):
    top = Polynomial(Constant(eta, 1.0)).top
    assert 0 < top <= 1
    assert top * (1 - eta * top**2) / largest(eta) == pytest.approx(top, rel=1e-14)


@over_dtypes
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_cholesky_step_is_its_formula_and_remembers_the_smallest(size, dtype):
    """``R^H R = A^H A + shift I``: ``s -> s / sqrt(s^2 + shift)``, and W stays."""
    s = np.array([1.0, 0.8, 0.5, 0.02])
    U, V, A, B = blocks(size * s, dtype)
    B[0] = V[:, -1].conj()  # a probe of the smallest alone, which is exact
    state = begun(PLACES["dense"], "cholesky", A, B, lower=0.02 / LIFT, size=size, lifts=[0.5])
    condition(state)
    first, shift = state.lifts
    assert shift == pytest.approx(0.02**2, rel=1e-6)
    rounding = tolerance(dtype, 1 / shift)  # of a Gram matrix, relative to its smallest eigenvalue
    mapped = s / np.sqrt(s**2 + shift)
    assert np.linalg.svd(state.A, compute_uv=False) == pytest.approx(mapped, rel=rounding)
    W = B.astype(V.dtype) @ (V / (size * s)) @ U.conj().T
    assert relative_error(state.B, W @ state.A) <= tolerance(dtype, 1 / 0.02)
    assert np.isnan(state.lower)
    assert state.growth == pytest.approx(1 / shift**0.5, rel=1e-6)
    before = np.sqrt(first * 0.02**2 / (1 - 0.02**2))
    assert state.least == pytest.approx(before, rel=rounding)


def test_cholesky_steps_are_undone_in_the_order_that_they_were_done():
    _, _, A, B = blocks(np.ones(2), float)
    state, s = begun(PLACES["dense"], "cholesky", A, B, lifts=[1e-8, 1e-2]), 1e-6
    image = s
    for shift in state.lifts:
        image = image / np.sqrt(image**2 + shift)
    assert image < 0.5**0.5
    assert rules.traced_back(state, image) == pytest.approx(s, rel=1e-12, abs=0)
