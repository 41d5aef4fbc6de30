"""Two-sided sketches: the rank is found, the value is exact, the certificate is not fooled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle.methods.compressed import FIRST, SPARE
from eagle.sketch import NONZEROS
from tests.systems import SHAPES, quietly, system
from tests.tolerances import relative_error, tolerance


def solve(blocks, method="compressed", **options):
    options = {"rng": 1} | options
    return quietly(eagle.solve, blocks.A, blocks.B, blocks.C, method=method, **options)


@given(
    d=st.integers(1, 60),
    n=st.integers(1, 60),
    share=st.floats(0.02, 1),
    condition=st.floats(1, 1e8),
    dtype=st.sampled_from([np.float32, np.float64, np.complex128]),
    size=st.integers(1, 40),
    sketch=st.sampled_from(["sparse-sign", "gaussian"]),
    seed=st.integers(0, 50),
)
def test_the_rank_is_found_and_the_value_is_right(
    d, n, share, condition, dtype, size, sketch, seed
):
    rank = max(1, round(share * min(d, n)))
    condition = min(condition, 1e-3 / np.finfo(dtype).eps) if rank > 1 else 1.0
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, dtype=dtype, rng=seed)
    result = solve(problem, eagle.Compressed(size, sketch))
    assert result.converged
    assert result.rank == rank
    assert problem.error(result.value) <= tolerance(dtype, max(d, n))
    # A sketch with few directions to spare stretches: sqrt(s / k) by Marchenko and Pastur's law.
    assert condition / 2 <= result.condition <= 200 * condition


@pytest.mark.parametrize("rank", [1, 16 - SPARE, 16 - SPARE + 1, 16, 17, 32 - SPARE, 32, 50, 90])
def test_ranks_around_the_size_of_the_sketch(rank):
    problem = eagle.problems.low_rank(120, 90, rank=rank, condition=1e4, rng=0)
    result = solve(problem, eagle.Compressed(16))
    assert result.converged
    assert result.rank == rank
    assert problem.error(result.value) <= tolerance(np.float64, 120)


@pytest.mark.parametrize("size", [1, 5, 30, 500])
def test_the_first_size_is_a_guess_and_nothing_more(size):
    problem = eagle.problems.low_rank(80, 70, rank=20, condition=1e4, rng=0)
    result = solve(problem, eagle.Compressed(size))
    assert result.rank == 20
    assert problem.error(result.value) <= tolerance(np.float64, 80)


@pytest.mark.parametrize(("sketch", "nonzeros"), [("gaussian", FIRST), ("sparse-sign", NONZEROS)])
def test_a_small_rank_is_seen_through_one_thin_sketch(sketch, nonzeros):
    problem = eagle.problems.low_rank(400, 300, rank=10, rng=0)
    result = solve(problem, eagle.Compressed(sketch=sketch))
    assert result.iterations == 1
    assert result.flops == 2 * 400 * 300 * nonzeros


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("condition", [10, 1e5])
def test_inconsistent_blocks_have_the_value_of_least_norm(shape, condition):
    sizes = {"tall": (90, 60), "wide": (60, 90), "square": (70, 70)}[shape]
    given = system(sizes, rank=5, kind="both inconsistent", condition=condition, seed=3)
    result = solve(given, eagle.Compressed(12))
    assert result.converged
    assert relative_error(result.value, given.value) <= tolerance(np.float64, condition)
    assert relative_error(result.value, given.value) <= 10 * result.error_estimate
    assert result.inconsistency > 0.01


def adversary(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A matrix that sketches might misjudge, and its rank."""
    d, n = rng.integers(40, 70, 2)
    rank = int(rng.integers(1, 39))
    if kind == "one above the sketch":
        rank = SIZE + 1
    left, right = rng.standard_normal((d, rank)), rng.standard_normal((rank, n))
    if kind == "coherent columns":  # all but the same
        left = left[:, :1] + 1e-3 * left
    elif kind == "heavy columns":
        right[:, rng.choice(n, 3)] *= 1e4
    elif kind == "heavy rows":
        left[rng.choice(d, 3)] *= 1e4
    elif kind == "clustered":
        left, right = np.linalg.qr(left)[0], np.linalg.qr(right.T)[0].T
        left = left * np.where(np.arange(rank) < rank // 2, 1.0, 1e-7)
    elif kind == "decaying":
        left = left * 0.5 ** np.arange(rank)
    A = left @ right
    if kind == "noise floor":
        A += 1e-13 * np.linalg.norm(A, 2) * rng.standard_normal(A.shape) / np.sqrt(max(d, n))
    return A, rank


SIZE = 16
KINDS = (
    "one above the sketch",
    "coherent columns",
    "heavy columns",
    "heavy rows",
    "clustered",
    "decaying",
    "noise floor",
    "plain",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_adversaries_do_not_fool_the_certificate(kind):
    """An eighth of them each; seeds are fixed, so this passes always or never.

    Four probes of each kind put a factor of ten between truth and estimate with a probability
    of about 1e-4: one in a thousand would be a defect.
    """
    for seed in range(125):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        A, _ = adversary(kind, rng)
        # What A does not determine cannot be asked: B and C are made of it.
        G, H = rng.standard_normal((2, len(A))), rng.standard_normal((A.shape[1], 3))
        B, C, truth = G @ A, A @ H, G @ A @ H
        method = eagle.Compressed(SIZE, ("sparse-sign", "gaussian")[seed % 2])
        result = quietly(eagle.solve, A, B, C, method=method, rng=seed)
        error = relative_error(result.value, truth)
        assert error <= 10 * result.error_estimate + tolerance(np.float64) or not result.converged


def test_an_impossible_size_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1"):
        eagle.Compressed(0)
    with pytest.raises(TypeError, match="size must be an integer"):
        eagle.Compressed("large")
