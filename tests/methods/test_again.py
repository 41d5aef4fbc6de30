"""What a solve leaves applies ``A^+`` to other blocks, from either side."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle.methods.again import Again
from eagle.methods.compressed.ranges import Core, width_for
from eagle.methods.elimination import LU
from eagle.problem.options import Options
from eagle.run.flow import on_host
from tests.systems import KINDS, normal, system
from tests.tolerances import relative_error, tolerance

CONDITION = 10.0
NAMES = ("A", "B", "C")


def left_by(method, A, B, C):
    """The inverse that a solve leaves."""
    result = on_host((A, B, C), method, Options(rng=0), NAMES)
    assert result.converged
    return result.inverse


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("absent", ["", "B", "C", "BC"])
@pytest.mark.parametrize(
    ("method", "shape", "rank"),
    [
        (eagle.Direct("lu"), "square", 13),
        (eagle.Compressed(10), "tall", 3),
        (eagle.Compressed(10), "wide", 3),
        (eagle.Compressed(), "tall", 11),
        (eagle.Compressed(), "wide", 7),
    ],
    ids=["lu", "sketch tall", "sketch wide", "whole tall", "whole wide"],
)
def test_an_inverse_is_the_pseudo_inverse_from_both_sides(method, shape, rank, absent, kind, dtype):
    given = system(shape, rank=rank, condition=CONDITION, dtype=dtype, kind=kind)
    B, C = (None if name in absent else getattr(given, name) for name in "BC")
    inverse = left_by(method, given.A, B, C)
    assert isinstance(inverse, LU if shape == "square" else Core)
    assert inverse.rank == rank
    assert 0.3 * CONDITION <= inverse.condition <= 30 * CONDITION  # LU knows its own norm's
    d, n = given.A.shape
    rng = np.random.default_rng(1)
    X, Y = normal(rng, (d, 4), dtype).astype(dtype), normal(rng, (n, 4), dtype).astype(dtype)
    limit = tolerance(dtype, CONDITION)
    assert relative_error(inverse.times(X), given.pinv @ X) <= limit
    assert relative_error(inverse.adjoint_times(Y), given.pinv.conj().T @ Y) <= limit


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("absent", ["", "B", "C", "BC"])
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_other_blocks_are_solved_for_without_another_factorisation(shape, absent, dtype):
    first = system(shape, rank=3, condition=CONDITION, dtype=dtype)
    inverse = left_by(eagle.Compressed(10), first.A, first.B, first.C)
    rng = np.random.default_rng(2)
    d, n = first.A.shape
    for rows, columns in [(2, 5), (5, 2)]:
        B = None if "B" in absent else normal(rng, (rows, n), dtype).astype(dtype)
        C = None if "C" in absent else normal(rng, (d, columns), dtype).astype(dtype)
        result = on_host((first.A, B, C), Again(inverse), Options(rng=0), NAMES)
        truth = first.pinv if B is None else B @ first.pinv
        truth = truth if C is None else truth @ C
        assert relative_error(result.value, truth) <= tolerance(dtype, CONDITION)
        assert result.error_estimate <= tolerance(dtype, CONDITION)
        assert (result.rank, result.condition) == (inverse.rank, inverse.condition)
        assert result.converged


def test_the_certificate_tells_an_inverse_of_another_matrix():
    one, other = (system("square", condition=CONDITION, seed=seed) for seed in (0, 1))
    inverse = left_by(eagle.Direct("lu"), one.A, one.B, one.C)
    with pytest.warns(eagle.ConvergenceWarning):
        result = eagle.solve(other.A, other.B, other.C, method=Again(inverse), rng=0)
    assert not result.converged
    assert result.error_estimate > 0.1


def test_what_leaves_no_factors_leaves_no_inverse():
    given = system("tall", condition=CONDITION)
    for method in ("eagle", "cg", eagle.Direct("gelsd")):
        assert left_by(method, given.A, given.B, given.C) is None
    blocks = given.A, given.B, given.C
    assert on_host(blocks, "compressed", Options(rng=0, rank=2), NAMES).inverse is None


@pytest.mark.parametrize("rank", [1, 5, 16, 100, 1000])
def test_a_sketch_for_a_rank_is_the_thinnest_with_directions_to_spare(rank):
    def spare(width):
        return rank <= width - max(4, width // 16)

    width = width_for(rank)
    assert spare(width)
    assert not spare(width - 2)
