"""What the paper left open: references in sixty digits, noisy data, how methods look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import cells, looks
from benchmarks.common import Rows, Spread
from benchmarks.limits import asymmetric, communication, condition
from benchmarks.limits.exact import exact, relative_error


def test_sixty_digits_are_right_where_doubles_have_none() -> None:
    """Integer blocks with an integer inverse: the value is an integer matrix."""
    rng = np.random.default_rng(9)
    n = 7
    lower, upper = (np.tril(rng.integers(-9, 10, (n, n)), -1) + np.eye(n, dtype=int) for _ in "LU")
    A = lower @ upper.T
    W, H = rng.integers(-5, 6, (2, n)), rng.integers(-5, 6, (n, 3))
    B, C, D = W @ A, A @ H, W @ A @ H
    assert np.linalg.cond(A) > 1e6
    assert (exact(A, B, C) == D).all()
    # More columns that A does not use, and B does.
    wide, misfit = np.hstack([A, np.zeros((n, 4))]), np.hstack([B, rng.integers(1, 9, (2, 4))])
    assert (exact(wide, misfit, C) == D).all()
    assert relative_error(D + 0.5 * D, D) == pytest.approx(0.5, rel=1e-15)
    assert relative_error(np.full((2, 3), np.nan), D) == np.inf


@pytest.mark.parametrize("kind", asymmetric.KINDS)
def test_blocks_of_noisy_data_are_what_they_are_called(kind: str) -> None:
    A, B, C, D = asymmetric.blocks(kind, 0.0, 0)
    X = np.block([[A, C], [B, D]])
    symmetric = X.shape[0] == X.shape[1] and np.allclose(X, X.T, rtol=1e-14, atol=0)
    assert symmetric == (kind == "symmetric")
    rank = np.linalg.matrix_rank(X)
    assert (rank == asymmetric.RANK) == (kind in ("symmetric", "asymmetric"))
    noisy = asymmetric.blocks(kind, 0.1, 0)
    assert np.linalg.norm(noisy[0] - A) == pytest.approx(
        0.1 * np.sqrt(A.size * np.mean(X**2)), rel=0.05
    )
    assert (noisy[3] == D).all()


def test_the_paper_s_rule_is_right_without_noise_and_biased_with_it() -> None:
    A, B, C, D = asymmetric.blocks("asymmetric", 0.0, 1)
    shards = [np.array_split(block, asymmetric.MACHINES, axis=1) for block in (A, B)]
    assert relative_error(asymmetric.paper_rule(*shards, C), D) < 1e3 * np.finfo(float).eps
    A, B, C, _ = asymmetric.blocks("asymmetric", 0.01, 1)
    shards = [np.array_split(block, asymmetric.MACHINES, axis=1) for block in (A, B)]
    pooled = B @ np.linalg.lstsq(A, C)[0]
    assert relative_error(asymmetric.paper_rule(*shards, C), pooled) > 1e-4


def test_the_fastest_on_a_link_is_the_fastest_that_is_right() -> None:
    def row(method: str, seconds: float, error: float) -> dict[str, Any]:
        place = {"data": "rank 3", "link": "slow", "method": method}
        return place | {"seconds": Spread((seconds,)), "error": error}

    wrong, right, paper = row("gram", 1.0, 1e-3), row("TSQR", 2.0, 1e-12), "EAGLE (paper)"
    (found,) = communication.conclude(Rows([wrong, right, row(paper, 8.0, 1e-9)]))
    assert found == "rank 3, slow: TSQR in 2 s; the paper's rule takes 4 times as long"
    (found,) = communication.conclude(Rows([wrong, right, row(paper, 8.0, 1e-2)]))
    assert found == "rank 3, slow: TSQR in 2 s; the paper's rule does not get there"
    (found,) = communication.conclude(Rows([wrong, row(paper, 8.0, 1e-2)]))
    assert found == "rank 3, slow: nobody gets there"


PICTURES = {
    "real": cells.METHODS,
    "condition": [*condition.OURS, *condition.RIVALS],
    "asymmetric": [*asymmetric.CENTRAL, *asymmetric.SPREAD_OUT, asymmetric.RULE, "SVD lstsq"],
    "communication": communication.METHODS,
}


@pytest.mark.parametrize("picture", PICTURES)
def test_methods_in_one_picture_look_different(picture: str) -> None:
    found = [looks.LOOKS[method] for method in PICTURES[picture]]
    assert len(set(found)) == len(found)
