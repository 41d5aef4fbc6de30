"""Gradients by formula: right where the rank is constant, whatever it is."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import autograd as torch_autograd
from torch.utils._python_dispatch import TorchDispatchMode

import eagle
from eagle.algebra import homes as arrays
from eagle.methods import elimination
from eagle.methods.again import Again
from eagle.methods.compressed import method as compressed
from eagle.methods.compressed import ranges
from tests.libraries import DEVICES
from tests.tolerances import relative_error, tolerance

CASES = {  # d, n, rank
    "tall": (5, 3, 3),
    "wide": (3, 5, 3),
    "square": (4, 4, 4),
    "deficient": (5, 4, 2),
}
over_cases = pytest.mark.parametrize("case", CASES)
over_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
over_ridges = pytest.mark.parametrize("ridge", [0.0, 0.5])


gradcheck = partial(torch_autograd.gradcheck, fast_mode=True)  # along a random direction
gradgradcheck = partial(torch_autograd.gradgradcheck, fast_mode=True)


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape) * 1000)
    return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()


def factors(case, dtype=torch.float64, leading=()):
    """``A = L R`` keeps its rank, whatever is done to L and R."""
    d, n, rank = CASES[case]
    return draw(*leading, d, rank, dtype=dtype), draw(*leading, rank, n, dtype=dtype, seed=1)


@over_ridges
@over_dtypes
@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (1, 2)])
@over_cases
def test_solve_has_the_gradient_of_finite_differences(case, rows, columns, dtype, ridge):
    d, n, _ = CASES[case]
    L, R = factors(case, dtype)
    B, C = draw(rows, n, dtype=dtype, seed=2), draw(d, columns, dtype=dtype, seed=3)
    assert gradcheck(
        lambda L, R, B, C: eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value, (L, R, B, C)
    )


@over_ridges
@over_dtypes
@over_cases
def test_every_other_function_has_it_too(case, dtype, ridge):
    d, n, _ = CASES[case]
    L, R = factors(case, dtype)
    B, C = draw(2, n, dtype=dtype, seed=2), draw(d, 2, dtype=dtype, seed=3)
    options = {"ridge": ridge, "rng": 0}
    assert gradcheck(lambda L, R: eagle.pinv(L @ R, **options), (L, R))
    assert gradcheck(lambda L, R, B: eagle.estimate(L @ R, B, **options).value, (L, R, B))
    assert gradcheck(lambda L, R, C: eagle.lstsq(L @ R, C, **options).value, (L, R, C))
    assert gradcheck(lambda L, R, C: eagle.lstsq(L @ R, C[:, 0], **options).value, (L, R, C))


@over_ridges
@over_dtypes
def test_nystrom_is_differentiable(dtype, ridge):
    X, Y = draw(3, 4, dtype=dtype), draw(2, 3, dtype=dtype, seed=1)
    assert gradcheck(
        lambda X, Y: eagle.nystrom(X @ X.mH, Y @ X @ X.mH, ridge=ridge, rng=0).value, (X, Y)
    )


@over_ridges
@pytest.mark.parametrize("method", ["eagle", "direct"])
@over_cases
def test_batches_broadcast_in_the_gradient(case, method, ridge):
    d, n, rank = CASES[case]
    L, R = draw(2, 1, d, rank), draw(rank, n, seed=1)
    B, C = draw(3, 2, n, seed=2), draw(d, 1, seed=3)

    def value(L, R, B, C):
        return eagle.solve(L @ R, B, C, method=method, ridge=ridge, rng=0).value

    assert value(L, R, B, C).shape == (2, 3, 2, 1)
    assert gradcheck(value, (L, R, B, C))


@over_ridges
@over_cases
def test_the_gradient_has_a_gradient(case, ridge):
    d, n, _ = CASES[case]
    L, R = factors(case)
    B, C = draw(2, n, seed=2), draw(d, 1, seed=3)
    assert gradgradcheck(
        lambda L, R, B, C: eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value, (L, R, B, C)
    )
    assert gradgradcheck(lambda L, R: eagle.pinv(L @ R, ridge=ridge, rng=0), (L, R))


@given(
    d=st.integers(1, 6),
    n=st.integers(1, 6),
    rank=st.integers(1, 6),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
    ridge=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_rank(d, n, rank, rows, columns, dtype, ridge, seed):
    """Along a direction that keeps the rank, from factors with orthonormal columns."""
    rank = min(rank, d, n)
    L = torch.linalg.qr(draw(d, rank, dtype=dtype, seed=seed)).Q.detach().requires_grad_()
    R = torch.linalg.qr(draw(n, rank, dtype=dtype, seed=seed)).Q.mH.detach().requires_grad_()
    B, C = draw(rows, n, dtype=dtype, seed=seed), draw(d, columns, dtype=dtype, seed=seed)
    assert gradcheck(
        lambda L, R, B, C: eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value,
        (L, R, B, C),
    )


def test_every_entry_of_the_gradient_is_right():
    """The same without the random direction, once."""
    L, R = factors("deficient")
    B, C = draw(2, 4, seed=2), draw(5, 3, seed=3)
    assert torch_autograd.gradcheck(
        lambda L, R, B, C: eagle.solve(L @ R, B, C, rng=0).value, (L, R, B, C)
    )


@pytest.mark.parametrize("which", ["A", "B", "C", "BC"])
@over_ridges
@over_cases
def test_only_what_is_asked_for_gets_a_gradient(case, ridge, which):
    d, n, _ = CASES[case]
    L, R = factors(case)
    blocks = {"A": (L @ R).detach(), "B": draw(2, n, seed=2), "C": draw(d, 1, seed=3)}
    every = {name: block.detach().clone().requires_grad_() for name, block in blocks.items()}
    some = {name: block.detach().requires_grad_(name in which) for name, block in blocks.items()}
    for inputs in (every, some):
        eagle.solve(*inputs.values(), ridge=ridge, rng=0).value.square().sum().backward()
    for name, block in some.items():
        if name in which:
            assert relative_error(block.grad, every[name].grad) <= tolerance(float, 100)
        else:
            assert block.grad is None


@over_ridges
@over_cases
def test_devices_have_the_same_gradient(case, ridge):
    d, n, _ = CASES[case]
    L, R = factors(case)
    B, C = draw(2, n, seed=2), draw(d, 1, seed=3)

    def value(L, R, B, C):
        return eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value

    with DEVICES["torch"]():
        assert arrays.find_home(L=L).on_cpu is False
        assert gradcheck(value, (L, R, B, C))


def test_svd_based_gradients_are_nan_where_these_are_right():
    """Singular values 2, 2, 0, 0: two that coincide, and a rank that is not full."""
    L, R = 2 * torch.eye(5, 2, dtype=torch.float64), torch.eye(2, 4, dtype=torch.float64)
    B, C, towards = (draw(*shape).detach() for shape in [(2, 4), (5, 1), (5, 2)])

    def by_svd(A):
        U, s, Vh = torch.linalg.svd(A, full_matrices=False)
        inverse = torch.where(s > 1e-10, 1 / s, 0.0)
        return (B @ (Vh.mT * inverse) @ (U.mT @ C)).sum()

    def by_formula(A):
        return eagle.solve(A, B, C, rng=0).value.sum()

    step = 1e-5
    high, low = (by_formula((L + sign * step * towards) @ R) for sign in (1, -1))
    truth = ((high - low) / (2 * step)).item()
    assert by_svd(L @ R).item() == pytest.approx(by_formula(L @ R).item(), rel=1e-14)
    A = (L @ R).requires_grad_()
    (slope,) = torch.autograd.grad(by_formula(A), A)
    assert (slope * (towards @ R)).sum().item() == pytest.approx(truth, rel=1e-8)
    (slope,) = torch.autograd.grad(by_svd(A), A)
    assert slope.isnan().any()


def test_the_gradient_does_not_depend_on_the_method():
    L, R = factors("deficient")
    B, C = draw(2, 4, seed=2), draw(5, 3, seed=3)
    slopes = []
    for method in ("auto", "eagle", "direct", "compressed", eagle.Eagle("paper")):
        value = eagle.solve(L @ R, B, C, method=method, rng=0).value
        slopes.append(torch.autograd.grad(value.sum(), (L, R, B, C)))
    for other in slopes[1:]:
        for first, second in zip(slopes[0], other, strict=True):
            assert relative_error(second, first) <= tolerance(float, 1e3)


def test_a_batch_of_results_is_differentiable_one_by_one():
    A, b = draw(3, 5, 2), draw(5, seed=1)
    result = eagle.lstsq(A, b, rng=0)
    (whole,) = torch.autograd.grad(result.value[1].sum(), A, retain_graph=True)
    (part,) = torch.autograd.grad(result.results[1].value.sum(), A)
    assert torch.equal(whole, part)
    assert not whole[0].any()
    assert whole[1].any()


def test_half_precision_and_integers_next_to_what_is_differentiated():
    A = torch.tensor([[2.0, 0], [0, 4], [1, 1]], dtype=torch.bfloat16, requires_grad=True)
    value = eagle.lstsq(A, torch.ones(3, dtype=torch.bfloat16), rng=0).value
    assert value.dtype == torch.bfloat16
    value.sum().backward()
    wide = A.detach().double().requires_grad_()
    eagle.lstsq(wide, torch.ones(3, dtype=torch.int64), rng=0).value.sum().backward()
    assert A.grad.dtype == torch.bfloat16
    assert relative_error(A.grad.double(), wide.grad) <= 2**-6


def test_a_real_block_next_to_complex_ones_has_a_real_gradient():
    A, C = draw(4, 3), draw(4, 1, dtype=torch.complex128, seed=1)
    assert gradcheck(lambda A, C: eagle.lstsq(A, C, rng=0).value, (A, C))


def test_no_gradient_no_cost():
    A = draw(4, 3)
    with torch.no_grad():
        value = eagle.pinv(A, rng=0)
    assert not value.requires_grad
    assert eagle.pinv(A.detach(), rng=0).grad_fn is None
    assert "Solve" in type(eagle.pinv(A, rng=0).grad_fn).__name__


def test_what_the_backward_pass_keeps_does_not_grow_with_iterations():
    kept = []
    for method, maxiter in [(eagle.Eagle(), None), (eagle.ConjugateGradient(), 500)]:
        A, C = draw(12, 8), draw(12, 2, seed=1)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, saved=saved: saved.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            eagle.lstsq(A, C, method=method, maxiter=maxiter, rng=0)
        kept.append(sorted(saved))
    assert kept[0] == kept[1] == sorted([A.numel(), C.numel(), 8 * 2])


def test_results_are_freed_without_the_garbage_collector():
    gc.disable()
    try:
        A = draw(4, 3)
        value = eagle.pinv(A, rng=0)
        node = weakref.ref(value.grad_fn)
        del value
        assert node() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("case", "by_solve", "by_lstsq"),
    [("tall", 2, 2), ("wide", 2, 1), ("square", 2, 1), ("deficient", 3, 2)],
)
def test_a_full_rank_saves_solves(case, by_solve, by_lstsq, solved):
    """A value of lstsq is one of the solves already, and one of pinv is all of them."""
    d, n, _ = CASES[case]
    L, R = factors(case)
    B, C = draw(2, n, seed=2), draw(d, 2, seed=3)
    for function, solves in [
        (lambda A: eagle.solve(A, B, C, rng=0).value, by_solve),
        (lambda A: eagle.lstsq(A, C, rng=0).value, by_lstsq),
        (lambda A: eagle.pinv(A, rng=0), 0),
    ]:
        value = function(L @ R)
        solved.clear()
        value.sum().backward()
        assert len(solved) == solves


class Operations(TorchDispatchMode):
    """Counts what torch itself computes."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names[function.overloadpacket.__name__] += 1
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("leading", [(), (2,)])
@over_ridges
@over_dtypes
@over_cases
def test_torch_multiplies_nothing_in_a_backward_pass(case, dtype, ridge, leading):
    """Its threads would wait for work on the cores that our own BLAS computes on."""
    d, n, _ = CASES[case]
    L, R = factors(case, dtype, leading)
    A = (L @ R).detach().requires_grad_()
    B, C = draw(2, n, dtype=dtype), draw(*leading, d, 3, dtype=dtype)
    value = eagle.solve(A, B, C, ridge=ridge, rng=0).value
    with Operations() as seen:
        value.backward(torch.ones_like(value))
    assert set(seen.names) <= {"ones_like", "detach", "lift_fresh"}
    with Operations() as seen:  # but it has to where that is differentiated in turn
        value = eagle.solve(A, B, C, ridge=ridge, rng=0).value
        torch.autograd.grad(value, A, torch.ones_like(value), create_graph=True)
    assert {"mm", "bmm"} & set(seen.names)


def test_a_leaf_takes_its_gradient_without_a_copy():
    """Which a gradient that is stored otherwise than the leaf would cost."""
    A, B, C = draw(6, 5), draw(2, 5), draw(6, 4)
    for blocks in [(A, B, C), (A, B, C[:, :1].detach().requires_grad_())]:
        value = eagle.solve(*blocks, rng=0).value
        with Operations() as seen:
            value.backward(torch.ones_like(value))
        assert not seen.names["clone"]


@pytest.mark.parametrize("case", ["square", "deficient"])
def test_the_gradient_on_the_host_is_that_of_torch(case):
    d, n, _ = CASES[case]
    L, R = factors(case)
    blocks = (L @ R).detach().requires_grad_(), draw(2, n), draw(d, 3)
    first, second = (
        torch.autograd.grad(
            eagle.solve(*blocks, rng=0).value.square().sum(), blocks, create_graph=twice
        )
        for twice in (False, True)
    )
    for one, other in zip(first, second, strict=True):
        assert relative_error(one, other.detach()) <= tolerance(float, 1e3)


def test_lu_is_computed_once_for_value_and_gradient(solved):
    L, R = factors("square")
    value = eagle.solve(L @ R, draw(2, 4, seed=2), draw(4, 2, seed=3), rng=0).value
    value.sum().backward()
    assert solved[0] == eagle.Direct("lu")
    assert [type(method) for method in solved[1:]] == [Again, Again]
    assert solved[1].known is solved[2].known


def test_one_sketch_is_enough_for_value_and_gradient(monkeypatch, solved):
    """And A is read once more, for its row space."""
    problem = eagle.problems.low_rank(90, 70, 3, 4, rank=6, condition=10.0, rng=0)
    drawn, cores = [], []
    draw_sketch, row_basis = compressed.draw, ranges.row_basis
    monkeypatch.setattr(
        compressed,
        "draw",
        lambda *given: drawn.append(given[1:3]) or draw_sketch(*given),
    )
    monkeypatch.setattr(ranges, "row_basis", lambda *given: cores.append(1) or row_basis(*given))
    blocks = [torch.from_numpy(X).requires_grad_() for X in (problem.A, problem.B, problem.C)]
    eagle.solve(*blocks, method=eagle.Compressed(10), rng=0).value.sum().backward()
    assert [shape for shape in drawn if min(shape) >= 70] == [(90, 70)]
    assert len(cores) == 1
    assert [type(method) for method in solved[1:]] == [Again, Again]


@pytest.mark.parametrize("method", ["auto", eagle.Eagle()])
def test_a_rank_that_is_known_by_now_makes_the_gradient_cheaper(method, solved):
    """Nobody has a reason to sketch a small A before the rank is known."""
    problem = eagle.problems.low_rank(60, 50, 3, 4, rank=5, condition=10.0, rng=0)
    A = torch.from_numpy(problem.A).requires_grad_()
    B, C = torch.from_numpy(problem.B), torch.from_numpy(problem.C)
    eagle.solve(A, B, C, method=method, rng=0).value.sum().backward()
    assert isinstance(solved[0], eagle.Eagle)
    assert solved[1] == eagle.Compressed(9)
    assert isinstance(solved[2], Again)
    assert len(solved) == 3


def test_an_inverse_that_is_wrong_does_no_harm(monkeypatch, solved):
    """Every solve has a certificate, so what was planned takes its place."""
    L, R = factors("square")
    A, B, C = (L @ R).detach().requires_grad_(), draw(2, 4, seed=2), draw(4, 2, seed=3)
    (wanted,) = torch.autograd.grad(eagle.solve(A, B, C, rng=0).value.sum(), A)
    right = elimination.LU.times
    monkeypatch.setattr(elimination.LU, "times", lambda self, X: 1.5 * right(self, X))
    value = eagle.solve(A, B, C, rng=0).value
    monkeypatch.setattr(elimination.LU, "adjoint_times", lambda self, X: -right(self, X))
    (gradient,) = torch.autograd.grad(value.sum(), A)
    assert relative_error(gradient, wanted) <= 1e-10
    assert eagle.Eagle("cholesky") in solved


@pytest.mark.parametrize(("twice", "solves"), [(False, 2), (True, 3)])
def test_a_term_that_vanishes_is_left_out_unless_it_is_differentiated(twice, solves, solved):
    """C in the range of A: one solve less, the same gradient, and the right second one."""
    L, R = factors("deficient")
    A, B = (L @ R).detach().requires_grad_(), draw(2, 4, seed=2)
    C = (A @ draw(4, 1, seed=3)).detach()
    value = eagle.solve(A, B, C, rng=0).value
    solved.clear()
    (gradient,) = torch.autograd.grad(value.sum(), A, create_graph=twice)
    assert len(solved) == solves
    generic = C + 1e-9 * draw(5, 1, seed=4).detach()  # no term vanishes, and none is large
    (wanted,) = torch.autograd.grad(eagle.solve(A, B, generic, rng=0).value.sum(), A)
    assert relative_error(gradient.detach(), wanted) <= 1e-6


def test_truncation_has_no_gradient_for_a_but_for_the_others():
    A, B, C = draw(5, 4), draw(2, 4, seed=1), draw(5, 3, seed=2)
    for option in ({"rank": 2}, {"cutoff": 0.1}):
        with pytest.raises(ValueError, match=r"truncates A, and that has no gradient .* use ridge"):
            eagle.solve(A, B, C, rng=0, **option)
        for ridge in (0.0, 0.3):
            assert gradcheck(
                lambda B, C, option=option, ridge=ridge: (
                    eagle.solve(A.detach(), B, C, ridge=ridge, rng=0, **option).value
                ),
                (B, C),
            )


def test_a_rank_about_to_change_is_warned_of():
    s = torch.tensor([1.0, 1e-3, 1e-9], dtype=torch.float64)
    A = torch.diag(s).requires_grad_()
    with pytest.warns(eagle.GradientWarning, match=r"condition number of A is .*e\+0[89]: if its"):
        eagle.pinv(A, rng=0).sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eagle.pinv(A, ridge=1e-3, rng=0).sum().backward()
        eagle.pinv(torch.diag(s[:2]).requires_grad_(), rng=0).sum().backward()


def test_a_backward_pass_that_does_not_converge_says_so():
    A, C = draw(12, 8), draw(12, 2, seed=1)
    method = eagle.GradientDescent()
    with pytest.warns(eagle.ConvergenceWarning):
        value = eagle.lstsq(A, C, method=method, maxiter=2, rng=0).value
    with pytest.warns(eagle.ConvergenceWarning, match="GradientDescent ended with status MAX"):
        value.sum().backward()


def test_equal_seeds_give_equal_gradients():
    slopes = []
    for _ in range(2):
        A, C = draw(12, 8), draw(12, 2, seed=1)
        eagle.lstsq(A, C, method="sketched", rng=3).value.sum().backward()
        slopes.append(A.grad)
    assert torch.equal(*slopes)


def test_a_solve_by_rows_and_columns_has_gradients():
    """The cross needs a B and a C, and a backward pass has identities."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 320))
    B, C = rng.standard_normal((3, 300)) @ A, A @ rng.standard_normal((320, 2))
    blocks = [torch.tensor(X, requires_grad=True) for X in (A, B, C)]
    result = eagle.solve(*blocks, rng=0)
    assert "rows and columns make up A" in result.plan
    result.value.sum().backward()
    inverse, ones = np.linalg.pinv(A, rcond=1e-10), np.ones((3, 2))
    wanted = ones @ (inverse @ C).T, (B @ inverse).T @ ones
    for block, right in zip(blocks[1:], wanted, strict=True):
        assert relative_error(block.grad.numpy(), right) <= tolerance(float, 1e3)
    assert bool(torch.isfinite(blocks[0].grad).all())
    with pytest.raises(ValueError, match="certificate='sampled' has no gradient"):
        eagle.solve(*blocks, certificate="sampled", rng=0)
