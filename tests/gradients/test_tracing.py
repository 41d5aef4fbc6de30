"""jax's transformations: jit, vmap and grad of every function, at any rank."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import eagle
from eagle.methods.again import Again
from eagle.run import flow
from tests.systems import system
from tests.tolerances import relative_error, tolerance

pytestmark = pytest.mark.usefixtures("x64")

CASES = {"tall": (5, 3, 3), "wide": (3, 5, 3), "square": (4, 4, 4), "deficient": (5, 4, 2)}
over_cases = pytest.mark.parametrize("case", CASES)
over_ridges = pytest.mark.parametrize("ridge", [0.0, 0.5])


def draw(*shape, seed=0, dtype=float):
    rng = np.random.default_rng([seed, *shape])
    real = rng.standard_normal(shape)
    return jnp.asarray(real + 1j * rng.standard_normal(shape) if dtype is complex else real)


def factors(case, dtype=float):
    """``A = L R`` keeps its rank; singular values from 1 to 2, for finite differences' sake."""
    d, n, rank = CASES[case]
    L, R = (jnp.linalg.qr(draw(size, rank, dtype=dtype))[0] for size in (d, n))
    return L * jnp.linspace(1, 2, rank), R.mT


@over_ridges
@pytest.mark.parametrize("dtype", [float, complex])
@over_cases
def test_solve_has_the_gradient_of_finite_differences(case, dtype, ridge):
    d, n, _ = CASES[case]
    B, C = draw(2, n, seed=2, dtype=dtype), draw(d, 3, seed=3, dtype=dtype)

    def value(L, R, B, C):
        return eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value

    second = case == "deficient" and dtype is float and not ridge
    blocks = (*factors(case, dtype), B, C)
    check_grads(value, blocks, order=2 if second else 1, modes=["fwd", "rev"])


@pytest.mark.parametrize(("case", "ridge"), [("tall", 0.5), ("deficient", 0.0)])
def test_every_other_function_has_it_too(case, ridge):
    d, n, _ = CASES[case]
    L, R = factors(case)
    B, C = draw(2, n), draw(d, 2)
    options = {"ridge": ridge, "rng": 0}
    for function, blocks in [
        (lambda L, R: eagle.pinv(L @ R, **options), (L, R)),
        (lambda L, R, B: eagle.estimate(L @ R, B, **options).value, (L, R, B)),
        (lambda L, R, C: eagle.lstsq(L @ R, C, **options).value, (L, R, C)),
        (lambda L, R, C: eagle.lstsq(L @ R, C[:, 0], **options).value, (L, R, C)),
        (lambda L: eagle.nystrom(L @ L.T, L @ L.T, **options).value, (L,)),
    ]:
        check_grads(function, blocks, order=1, modes=["fwd", "rev"])


def test_jit_gives_the_value_and_what_it_can_of_the_rest():
    given = system("tall", condition=3, kind="inconsistent C")
    blocks = [jnp.asarray(block) for block in (given.A, given.B, given.C)]
    seen, taken = [], []

    @jax.jit
    def traced(A, B, C):
        result = eagle.solve(A, B, C, rng=0, callback=lambda state: taken.append(state.iteration))
        seen.append(result)
        return result.value, result.error_estimate, result.inconsistency, result.iterations

    value, error, inconsistency, iterations = traced(*blocks)
    assert relative_error(value, given.value) <= tolerance(float, 9)
    assert 0 < error <= tolerance(float, 9)
    assert inconsistency <= tolerance(float, 9)
    assert iterations == taken[-1] == len(taken)
    (result,) = seen
    assert result.status is eagle.Status.TRACED
    assert not result.converged
    assert (result.rank, result.condition, result.history) == (None, None, ())
    assert str(result).startswith("eagle.Result: 3 x 2 float64, TRACED\n  The value is computed")


def test_vmap_is_one_batched_call(monkeypatch):
    A, B, C = draw(4, 3, 6, 4), draw(3, 2, 4), draw(6, 1)
    truth = B @ jnp.linalg.pinv(A) @ C
    calls = []
    compute = flow.on_host

    def counted(blocks, *rest):
        calls.append([block.shape for block in blocks])
        return compute(blocks, *rest)

    monkeypatch.setattr(flow, "on_host", counted)

    def value(A, B):
        result = eagle.solve(A, B, C, rng=0)
        return result.value, result.error_estimate

    mapped, errors = jax.vmap(value, (0, None))(A, B)  # A keeps a dimension of its own
    assert relative_error(mapped, truth) <= tolerance(float, 100)
    assert errors.shape == (4,)
    assert len(calls) == 1
    nested, errors = jax.vmap(jax.vmap(value), (0, None))(A, B)
    assert relative_error(nested, truth) <= tolerance(float, 100)
    assert errors.shape == (4, 3)
    assert len(calls) == 2


def test_the_host_factorises_once_for_a_whole_gradient(solved):
    A, B, C = draw(5, 5), draw(2, 5), draw(5, 3)
    jax.block_until_ready(jax.grad(lambda A: eagle.solve(A, B, C, rng=0).value.sum())(A))
    assert solved[:2] == [eagle.Direct("lu")] * 2  # the value, and the first of the gradient
    assert {type(method) for method in solved[2:]} == {Again}


def test_transformations_compose():
    A, b = draw(3, 6, 4), draw(6)

    def loss(A, b):
        return eagle.lstsq(A, b, rng=0).value.sum()

    slopes = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(A, b)
    for place in range(3):
        alone = jax.grad(loss)(A[place], b)
        assert relative_error(slopes[place], alone) <= tolerance(float, 100)
    hessian = jax.jacrev(jax.grad(lambda b: loss(A[0], b) ** 2))(b)
    row = jnp.linalg.pinv(A[0]).sum(axis=0)
    assert relative_error(hessian, 2 * jnp.outer(row, row)) <= tolerance(float, 100)


def test_half_precision_comes_back_from_a_traced_call():
    A = jnp.asarray([[2.0, 0], [0, 4], [1, 1]], jnp.bfloat16)
    assert jax.jit(lambda A: eagle.pinv(A, rng=0))(A).dtype == jnp.bfloat16
    assert jax.grad(lambda A: eagle.pinv(A, rng=0).sum().astype(float))(A).dtype == jnp.bfloat16


def test_failures_in_a_traced_call_warn_when_it_runs():
    A, C = draw(12, 8), draw(12, 2)
    with pytest.warns(eagle.ConvergenceWarning, match="GradientDescent ended with status MAX"):
        jax.block_until_ready(
            jax.jit(lambda A, C: eagle.lstsq(A, C, method="gd", maxiter=2, rng=0).value)(A, C)
        )


def test_a_rank_about_to_change_is_warned_of():
    A = jnp.diag(jnp.asarray([1.0, 1e-9]))
    with pytest.warns(eagle.GradientWarning, match=r"condition number of A is .*e\+0[89]"):
        jax.block_until_ready(jax.grad(lambda A: eagle.pinv(A, rng=0).sum())(A))


def test_bad_input_is_refused_while_tracing_where_shapes_tell():
    A, B = jnp.eye(3, 2), jnp.ones((1, 2))
    with pytest.raises(ValueError, match=r"^C with shape \(4, 1\) must have as many rows as A"):
        jax.jit(lambda A: eagle.solve(A, B, jnp.ones((4, 1))).value)(A)
    with pytest.raises(TypeError, match=r"^A is a traced array of jax and b is a numpy array"):
        jax.jit(lambda A: eagle.lstsq(A, np.ones(3)).value)(A)
    with pytest.raises(ValueError, match=r"truncates A, and that has no gradient"):
        jax.grad(lambda A: eagle.pinv(A, rank=1).sum())(A)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"A with shape .* contains NaN"):
        jax.block_until_ready(jax.jit(eagle.pinv)(jnp.full((2, 2), jnp.nan)))


def test_equal_seeds_give_equal_traced_results():
    A = draw(20, 8)

    @jax.jit
    def value(A):
        return eagle.pinv(A, method="sketched", rng=1)

    assert jnp.array_equal(value(A), value(A))


def test_a_callback_sees_the_solve_but_not_the_gradient():
    seen = []
    A = draw(6, 4)
    jax.grad(
        lambda A: eagle.pinv(
            A, method="eagle", rng=0, callback=lambda state: seen.append(state.iteration)
        ).sum()
    )(A)
    assert seen == list(range(1, len(seen) + 1))


def test_a_result_leaves_jit_and_is_a_tree():
    A, b = draw(6, 4), draw(6)
    result = jax.jit(lambda A: eagle.lstsq(A, b, rng=0))(A)
    assert isinstance(result, eagle.Result)
    assert relative_error(result.x, jnp.linalg.pinv(A) @ b) <= tolerance(float, 100)
    assert result.error_estimate <= tolerance(float, 1e3)
    assert result.status is eagle.Status.TRACED
    eager = eagle.lstsq(A, b, rng=0)
    doubled = jax.tree.map(lambda number: 2 * number, eager)
    assert relative_error(doubled.x, 2 * eager.x) == 0
    assert (doubled.status, doubled.plan, doubled.history) == (
        eager.status,
        eager.plan,
        eager.history,
    )


HESSIANS = {
    "hessian": jax.hessian,
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f)),
    "compiled": lambda f: jax.jit(jax.hessian(f)),
}


@pytest.mark.parametrize("derivative", HESSIANS)
def test_second_derivatives_are_those_of_products_and_a_solve(derivative):
    A, B, C = draw(4, 2), draw(1, 2), draw(4, 1)

    def ours(A):
        return jnp.sin(eagle.solve(A, B, C, rng=0).value).sum()

    def known(A):
        return jnp.sin(B @ jnp.linalg.solve(A.T @ A, A.T @ C)).sum()

    found, truth = HESSIANS[derivative](ours)(A), jax.hessian(known)(A)
    assert relative_error(found, truth) <= tolerance(float, 100)


@over_ridges
def test_jacobians_agree_and_solve_for_one_a(ridge, monkeypatch):
    A, B, C = draw(5, 3), draw(2, 3), draw(5, 2)
    shapes = []
    compute = flow.on_host

    def counted(blocks, *rest):
        shapes.append(blocks[0].shape)
        return compute(blocks, *rest)

    def value(*blocks):
        return eagle.solve(*blocks, ridge=ridge, rng=0).value

    backward = jax.jacrev(value, (0, 1, 2))(A, B, C)
    monkeypatch.setattr(flow, "on_host", counted)
    forward = jax.jacfwd(value, (0, 1, 2))(A, B, C)
    for one, other in zip(forward, backward, strict=True):
        assert relative_error(one, other) <= tolerance(float, 100)
    assert {len(shape) for shape in shapes} == {2}  # not a batch of as many as there are tangents


def test_tangents_that_are_not_there_cost_nothing_and_truncation_may_stay():
    A, B, C, move = draw(6, 4), draw(2, 4), draw(6, 3), draw(6, 3, seed=9)

    def value(C):
        return eagle.solve(A, B, C, rank=2, rng=0).value

    D, tangent = jax.jvp(value, (C,), (move,))
    U, s, Vh = jnp.linalg.svd(A, full_matrices=False)
    truncated = B @ (Vh[:2].T / s[:2]) @ U[:, :2].T
    assert relative_error(D, truncated @ C) <= tolerance(float, 100)
    assert relative_error(tangent, truncated @ move) <= tolerance(float, 100)
    slope = jax.grad(lambda C: value(C).sum())(C)
    assert relative_error(slope, truncated.T @ jnp.ones((2, 3))) <= tolerance(float, 100)
    with pytest.raises(ValueError, match=r"truncates A, and that has no gradient"):
        jax.jvp(lambda A: eagle.pinv(A, rank=1), (A,), (A,))


@pytest.mark.parametrize("shared", ["A", "C", "tangent"])
def test_vmap_within_and_around_forward_mode(shared):
    """What all mapped problems share is not copied, and takes the sum of what comes back."""
    A, C = draw(6, 4), draw(6, 2)
    stack_A, stack_C = draw(3, 6, 4), draw(3, 6, 2)
    along = draw(3, 6, 4, seed=5), draw(3, 6, 2, seed=5)
    pick = {"A": (None, 0, 0, 0), "C": (0, None, 0, 0), "tangent": (0, 0, None, None)}[shared]
    given = [
        one if axis is None else many
        for one, many, axis in zip(
            (A, C, along[0][0], along[1][0]), (stack_A, stack_C, *along), pick, strict=True
        )
    ]

    def solver(A, C):
        return eagle.lstsq(A, C, rng=0).x

    def normal(A, C):
        return jnp.linalg.solve(A.T @ A, A.T @ C)

    def mapped(function):
        return jax.vmap(lambda A, C, a, c: jax.jvp(function, (A, C), (a, c))[1], pick, axis_size=3)

    found, truth = mapped(solver)(*given), mapped(normal)(*given)
    assert relative_error(found, truth) <= tolerance(float, 100)

    def back(function):
        loss = lambda *given: jnp.sin(mapped(function)(*given)).sum()  # noqa: E731
        return jax.grad(loss, (0, 1, 2, 3))(*given)

    for one, other in zip(back(solver), back(normal), strict=True):
        assert relative_error(one, other) <= tolerance(float, 1e3)
    _, around = jax.jvp(lambda A: jax.vmap(solver, (0, None))(A, C), (stack_A,), (along[0],))
    _, known = jax.jvp(lambda A: jax.vmap(normal, (0, None))(A, C), (stack_A,), (along[0],))
    assert relative_error(around, known) <= tolerance(float, 100)


def test_a_linearised_solve_is_a_map_that_jax_can_transpose_and_compile():
    A, C, a = draw(6, 4), draw(6, 2), draw(6, 4, seed=4)
    D, push = jax.linearize(lambda A: eagle.lstsq(A, C, rng=0).x, A)
    assert relative_error(jax.jit(push)(a), push(a)) <= tolerance(float, 10)
    (pulled,) = jax.linear_transpose(push, a)(D)
    assert relative_error(jnp.vdot(pulled, a), jnp.vdot(D, push(a))) <= tolerance(float, 100)


def test_derivatives_pass_through_loops_and_checkpoints():
    A, b = draw(6, 4), draw(6)

    def twice(function):
        def step(x, _):
            return x + 0.1 * function(A + 0.01 * x.sum(), b), None

        return lambda x: jax.lax.scan(jax.checkpoint(step), x, None, length=2)[0]

    ours = twice(lambda A, b: eagle.lstsq(A, b, rng=0).x)
    known = twice(lambda A, b: jnp.linalg.solve(A.T @ A, A.T @ b))
    for jacobian in (jax.jacfwd, jax.jacrev):
        found, truth = jacobian(ours)(jnp.ones(4)), jacobian(known)(jnp.ones(4))
        assert relative_error(found, truth) <= tolerance(float, 1e3)


def test_a_result_carries_its_tangent():
    A, b, a = draw(6, 4), draw(6), draw(6, 4, seed=4)
    result, tangent = jax.jvp(lambda A: eagle.lstsq(A, b, rng=0), (A,), (a,))
    _, alone = jax.jvp(lambda A: eagle.lstsq(A, b, rng=0).x, (A,), (a,))
    assert result.status is eagle.Status.TRACED
    assert relative_error(tangent.x, alone) == 0
    assert tangent.error_estimate == 0
