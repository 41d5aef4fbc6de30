"""Forward mode and `torch.func`: every transformation of the table in docs/arrays.md."""

from __future__ import annotations

from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import eagle
from tests.tolerances import relative_error, tolerance

# torch.func compiles one of its own formulas at its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

CASES = {"tall": (5, 3, 3), "wide": (3, 5, 3), "square": (4, 4, 4), "deficient": (5, 4, 2)}
over_cases = pytest.mark.parametrize("case", CASES)
over_ridges = pytest.mark.parametrize("ridge", [0.0, 0.5])


def draw(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + 1000 * sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=generator)


def factors(case: str, leading=(), dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """``A = L R`` keeps its rank; its nonzero singular values are 1 and 2 at the ends."""
    d, n, rank = CASES[case]
    L = torch.linalg.qr(draw(*leading, d, rank, dtype=dtype)).Q
    R = torch.linalg.qr(draw(*leading, n, rank, seed=1, dtype=dtype)).Q.mH
    return L * torch.linspace(1, 2, rank, dtype=torch.float64), R


def value(case: str, ridge: float):
    """The library's function of L, R, B, C, and the same by torch."""
    d, *_ = CASES[case]

    def ours(L, R, B, C):
        return eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value

    def theirs(L, R, B, C):
        A = L @ R
        if ridge:
            return B @ A.mH @ torch.linalg.solve(A @ A.mH + ridge * torch.eye(d).to(A), C)
        return B @ (R.mH @ torch.linalg.inv(R @ R.mH)) @ torch.linalg.inv(L.mH @ L) @ L.mH @ C

    return ours, theirs


def blocks(case: str, rows: int = 2, columns: int = 3, leading=(), dtype=torch.float64):
    d, n, _ = CASES[case]
    B = draw(*leading, rows, n, seed=2, dtype=dtype)
    return *factors(case, leading, dtype), B, draw(*leading, d, columns, seed=3, dtype=dtype)


def agree(ours, theirs, condition: float = 1e2) -> None:
    for one, other in zip(
        torch.utils._pytree.tree_leaves(ours), torch.utils._pytree.tree_leaves(theirs), strict=True
    ):
        assert relative_error(one.detach(), other.detach()) <= tolerance(float, condition)


@over_ridges
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (2, 3)])
@over_cases
def test_forward_mode_has_the_tangent(case, rows, columns, dtype, ridge):
    """Of dual numbers, along every block at a time, and along one of them alone."""
    given = blocks(case, rows, columns, dtype=dtype)
    tangents = [draw(*block.shape, seed=7, dtype=dtype) for block in given]
    ours, theirs = value(case, ridge)
    for moved in ({0, 1, 2, 3}, {0}, {2}, {3}):
        with forward_ad.dual_level():
            dual = [
                forward_ad.make_dual(block, tangent) if place in moved else block
                for place, (block, tangent) in enumerate(zip(given, tangents, strict=True))
            ]
            agree(*(forward_ad.unpack_dual(f(*dual)).tangent for f in (ours, theirs)))


@over_cases
def test_every_other_function_has_it_too(case):
    d, n, _ = CASES[case]
    L, R = factors(case)
    B, C = draw(2, n, seed=2), draw(d, 2, seed=3)

    def inverse(L, R):
        return R.mT @ torch.linalg.inv(R @ R.mT) @ torch.linalg.inv(L.mT @ L) @ L.mT

    for ours, theirs in [
        (lambda L, R: eagle.pinv(L @ R, rng=0), inverse),
        (lambda L, R: eagle.lstsq(L @ R, C, rng=0).value, lambda L, R: inverse(L, R) @ C),
        (
            lambda L, R: eagle.lstsq(L @ R, C[:, 0], rng=0).value,
            lambda L, R: inverse(L, R) @ C[:, 0],
        ),
        (lambda L, R: eagle.estimate(L @ R, B, rng=0).value, lambda L, R: B @ inverse(L, R)),
    ]:
        given, tangents = (L, R), (draw(*L.shape, seed=5), draw(*R.shape, seed=6))
        agree(jvp(ours, given, tangents), jvp(theirs, given, tangents))


FIRST = {
    "grad": lambda f: grad(lambda *X: f(*X).square().sum(), argnums=(0, 1, 2, 3)),
    "vjp": lambda f: lambda *X: vjp(f, *X)[1](torch.ones(2, 3, dtype=torch.float64)),
    "jvp": lambda f: lambda *X: jvp(f, X, tuple(block.flip(0) for block in X)),
    "jacrev": lambda f: jacrev(f, argnums=(0, 3)),
    "jacfwd": lambda f: jacfwd(f, argnums=(0, 3)),
}
SECOND = {"rev": jacrev, "fwd": jacfwd}


@over_ridges
@pytest.mark.parametrize("transform", FIRST)
@over_cases
def test_transformations_of_torch_func(case, transform, ridge):
    ours, theirs = map(FIRST[transform], value(case, ridge))
    given = blocks(case)
    agree(ours(*given), theirs(*given), 1e3)


@over_ridges
@pytest.mark.parametrize("outer", SECOND)
@pytest.mark.parametrize("inner", SECOND)
@over_cases
def test_second_derivatives_in_any_order(case, inner, outer, ridge):
    """Beside reverse over reverse, where those of `torch.linalg.solve` are right."""
    ours, theirs = value(case, ridge)
    given = blocks(case)
    wanted = jacrev(jacrev(theirs), argnums=(0, 3))(*given)
    agree(SECOND[outer](SECOND[inner](ours), argnums=(0, 3))(*given), wanted, 1e3)


def test_a_hessian_is_symmetric_and_that_of_torch():
    A, b = draw(5, 3), draw(5)
    ours = hessian(lambda A: eagle.lstsq(A, b, rng=0).value.square().sum())(A)
    theirs = hessian(lambda A: (torch.linalg.pinv(A) @ b).square().sum())(A)
    agree(ours, theirs, 1e3)
    agree(ours, ours.permute(2, 3, 0, 1), 1e3)


MAPPED = {
    "all": (0, 0, 0, 0),
    "A": (0, 0, None, None),
    "B": (None, None, 0, None),
    "C": (None, None, None, 0),
    "B and C": (None, None, 0, 0),
    "A and C": (0, 0, None, 0),
}


@over_ridges
@pytest.mark.parametrize("which", MAPPED)
@over_cases
def test_vmap_and_what_is_done_within_and_around_it(case, which, ridge):
    in_dims = MAPPED[which]
    stacked, single = blocks(case, leading=(4,)), blocks(case)
    given = [s if dim == 0 else one for s, one, dim in zip(stacked, single, in_dims, strict=True)]
    ours, theirs = value(case, ridge)
    agree(*(vmap(f, in_dims)(*given) for f in (ours, theirs)))
    agree(*(vmap(FIRST["grad"](f), in_dims)(*given) for f in (ours, theirs)))
    agree(*(vmap(FIRST["jvp"](f), in_dims)(*given) for f in (ours, theirs)))
    agree(*(FIRST["grad"](vmap(f, in_dims))(*given) for f in (ours, theirs)))
    agree(*(vmap(f, in_dims, out_dims=1)(*given) for f in (ours, theirs)))


def test_vmap_nests_and_batches_keep_their_dimensions():
    A, B, C = draw(2, 3, 1, 5, 3), draw(4, 2, 3), draw(5, 2)
    truth = B @ torch.linalg.pinv(A) @ C

    def each(A):
        return eagle.solve(A, B, C, rng=0).value

    agree(vmap(vmap(each))(A), truth)
    agree(vmap(vmap(each, 1), 0)(A.transpose(1, 2)), truth)


def test_columns_and_rows_that_are_mapped_are_one_problem(monkeypatch):
    """A is factorised once, not once for each."""
    from eagle.run import flow

    seen, on_host = [], flow.on_host
    monkeypatch.setattr(
        flow, "on_host", lambda blocks, *rest: seen.append(blocks) or on_host(blocks, *rest)
    )
    A, b, B = draw(6, 4), draw(5, 6), draw(5, 2, 4)
    agree(vmap(lambda b: eagle.lstsq(A, b, rng=0).value)(b), (torch.linalg.pinv(A) @ b.mT).mT)
    agree(vmap(lambda B: eagle.estimate(A, B, rng=0).value)(B), B @ torch.linalg.pinv(A))
    assert [[None if X is None else X.shape for X in blocks] for blocks in seen] == [
        [(6, 4), None, (6, 5)],
        [(6, 4), (10, 4), None],
    ]


@pytest.mark.parametrize("vectorize", [False, True])
def test_jacobians_of_torch_autograd_agree(vectorize):
    A, b = draw(5, 3), draw(5)

    def solve(A):
        return eagle.lstsq(A, b, rng=0).value

    jacobian = partial(torch.autograd.functional.jacobian, solve, A, vectorize=vectorize)
    backward = jacobian()
    agree(backward, jacrev(lambda A: torch.linalg.pinv(A) @ b)(A))
    if vectorize:
        agree(jacobian(strategy="forward-mode"), backward)
    ours = eagle.estimate
    wide = torch.autograd.functional.jacobian(
        lambda A: ours(A.mT, A[:2].mT[:2] @ torch.ones(2, 5).to(A), rng=0).value,
        A,
        strategy="forward-mode",
        vectorize=True,
    )
    assert wide.abs().max() > 0


def test_devices_have_the_same_transformations():
    from tests.libraries import DEVICES

    with DEVICES["torch"]():
        given = blocks("deficient")
        ours, theirs = value("deficient", 0.0)
        for transform in ("grad", "jvp", "jacrev", "jacfwd"):
            agree(*(FIRST[transform](f)(*given) for f in (ours, theirs)), 1e3)


def test_truncation_has_no_tangent_for_a():
    A = draw(5, 4)
    with pytest.raises(ValueError, match=r"truncates A, and that has no gradient .* use ridge"):
        jvp(lambda A: eagle.pinv(A, rank=2, rng=0), (A,), (A,))


def test_a_rank_about_to_change_is_warned_of():
    A = torch.diag(torch.tensor([1.0, 1e-9], dtype=torch.float64))
    with pytest.warns(eagle.GradientWarning, match=r"condition number of A is .*e\+0[89]"):
        jvp(lambda A: eagle.pinv(A, rng=0), (A,), (A,))
