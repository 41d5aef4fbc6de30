"""Diversity is what Definition 1 says, and data have the one that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle.distributed as many
from eagle.distributed.problem import normals
from tests.systems import DTYPES, normal
from tests.tolerances import relative_error, tolerance


def definition(A_list, rank: int) -> float:
    """Smallest of the `rank` positive eigenvalues of the mean projector, for A of full rank."""
    bases = [np.linalg.qr(A)[0] for A in A_list]
    mean = sum(Q @ Q.conj().T for Q in bases) / len(bases)
    return np.sort(np.linalg.eigvalsh(mean))[-rank]


@given(
    d=st.integers(2, 8),
    counts=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    dtype=st.sampled_from([np.float64, np.complex128]),
    seed=st.integers(0, 50),
)
def test_it_is_the_definition(d, counts, dtype, seed):
    rng = np.random.default_rng(seed)
    A_list = [normal(rng, (d, n), dtype) for n in counts]
    rank = min(d, sum(counts))
    if rank:
        # A range is known to eps times the condition number of what spans it.
        limit = tolerance(dtype, max(np.linalg.cond(A) for A in A_list if A.size))
        assert many.diversity(A_list) == pytest.approx(definition(A_list, rank), abs=limit)
    else:
        assert np.isnan(many.diversity(A_list))


@pytest.mark.parametrize("copies", [1, 2, 5])
@pytest.mark.parametrize("smallest", [1e-8, 1e-13, 1e-15, 1e-20])
def test_equal_ranges_have_diversity_one_however_ill_conditioned(copies, smallest):
    assert many.diversity([np.diag([1, smallest])] * copies) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("machines", [2, 3, 5, 8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.3, 0.01, 1e-3])
def test_the_generator_gives_what_was_asked_for(machines, dtype, alpha):
    for d, columns in ((40, None), (40, 20), (41, 90)):
        shards = many.shards_with_diversity(
            alpha, machines, d=d, columns=columns, condition=50, dtype=dtype, rng=1
        )
        eps = tolerance(dtype, 50)
        assert many.diversity(shards.A) == pytest.approx(alpha, rel=eps / alpha)
        for A in shards.A:
            assert A.dtype == dtype
            s = np.linalg.svd(A, compute_uv=False)
            s = s[s > 1e-3]
            assert s[0] / s[-1] == pytest.approx(50, rel=eps)
            assert A.shape == (d, columns or d - d // 4)
        if dtype == np.float64:
            pooled = np.hstack(shards.B) @ np.linalg.pinv(np.hstack(shards.A), rcond=1e-10)
            assert relative_error(shards.D, pooled @ shards.C) <= 1e-10


def test_noise_moves_the_answer_to_that_of_the_noisy_data():
    shards = many.shards_with_diversity(0.2, 3, d=20, columns=30, noise=0.1, rng=0)
    pooled = np.hstack(shards.B) @ np.linalg.pinv(np.hstack(shards.A)) @ shards.C
    assert relative_error(shards.D, pooled) <= 1e-11
    clean = many.shards_with_diversity(0.2, 3, d=20, columns=30, rng=0)
    assert relative_error(clean.D, shards.D) > 1e-3


@pytest.mark.parametrize("machines", [1, 2, 5])
def test_full_diversity_and_orthogonal_ranges(machines):
    shards = many.shards_with_diversity(1, machines, d=12, rng=0)
    assert many.diversity(shards.A) == pytest.approx(1)
    eye = np.eye(machines)
    assert many.diversity(list(eye.reshape(machines, machines, 1))) == pytest.approx(1 / machines)


@pytest.mark.parametrize("condition", [1e4, 1e8])
def test_equal_ranges_are_equal_however_ill_conditioned(condition):
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((30, 6))
    A = [basis @ np.diag(np.geomspace(1, 1 / condition, 6)) @ rng.standard_normal((6, 9))
         for _ in range(3)]  # fmt: skip
    assert many.diversity(A) == pytest.approx(1)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="A_list is empty"):
        many.diversity([])
    with pytest.raises(ValueError, match=r"A_list\[1\] with shape \(3, 1\) must have as many rows"):
        many.diversity([np.ones((2, 1)), np.ones((3, 1))])
    with pytest.raises(ValueError, match=r"alpha must be 1 or at most 0.5 for 4 machines, got 0.7"):
        many.shards_with_diversity(0.7, 4)
    with pytest.raises(ValueError, match=r"alpha must be 1 or at most 0.333 for 3 machines"):
        many.shards_with_diversity(0.4, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 4, 9])
def test_random_rows_do_not_depend_on_the_split_and_are_gaussian(dtype, columns):
    whole = normals(3, 1, 0, 4000, columns, dtype)
    parts = [normals(3, 1, start, 1000, columns, dtype) for start in range(0, 4000, 1000)]
    np.testing.assert_array_equal(np.vstack(parts), whole)
    assert whole.dtype == dtype
    real = whole.real.ravel().astype(float)
    assert abs(real.mean()) < 4 / np.sqrt(real.size)
    assert real.std() == pytest.approx(1, abs=4 / np.sqrt(real.size))
    assert np.mean(real**4) == pytest.approx(3, abs=0.4)
    if columns > 1:
        assert abs(np.corrcoef(whole.real.T) - np.eye(columns)).max() < 0.08
    assert not np.array_equal(whole, normals(3, 2, 0, 4000, columns, dtype))
    assert not np.array_equal(whole, normals(4, 1, 0, 4000, columns, dtype))
