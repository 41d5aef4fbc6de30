"""Everything that is promised for a device, on the accelerators of this machine."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from tests.gpu.accelerators import FOUND
from tests.systems import KINDS, SHAPES, quietly, stacks, system
from tests.tolerances import relative_error, tolerance


@pytest.fixture(params=FOUND)
def accelerator(request):
    return FOUND[request.param]


def sent(accelerator, given, dtype):
    return [accelerator.send(block.astype(dtype)) for block in (given.A, given.B, given.C)]


@pytest.mark.parametrize("method", ["auto", "eagle", "direct", eagle.Eagle("paper")])
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_right_and_stay_where_they_are(accelerator, shape, rank, method):
    for dtype in accelerator.dtypes:
        given = system(shape, rank=rank, condition=4, dtype=dtype, seed=1)
        A, B, C = sent(accelerator, given, dtype)
        result = eagle.solve(A, B, C, method=method, rng=0)
        assert result.converged
        assert type(result.value) is type(A)
        assert result.value.dtype == A.dtype
        assert accelerator.device(result.value) == accelerator.device(A)
        assert relative_error(accelerator.fetch(result.value), given.value) <= tolerance(dtype, 4)
        assert result.error_estimate <= tolerance(dtype, 4)
        assert result.rank == (rank or min(SHAPES[shape]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [None, 5])
def test_inconsistent_blocks_are_told(accelerator, rank, kind):
    dtype = np.float64 if accelerator.double else np.float32
    given = system("wide", rank=rank, kind=kind, condition=5, seed=2)
    result = quietly(eagle.solve, *sent(accelerator, given, dtype), method="eagle", rng=0)
    error = relative_error(accelerator.fetch(result.value), given.value)
    assert error <= max(10 * result.error_estimate, tolerance(dtype, 25))
    consistent = kind in ("consistent", "inconsistent C")
    assert (result.inconsistency < 1e-3) == consistent


def test_every_function_and_a_ridge(accelerator):
    dtype = np.float64 if accelerator.double else np.float32
    given = system("tall", condition=3)
    A, B, C = sent(accelerator, given, dtype)
    ridge = 0.3
    inverse = given.A.T @ np.linalg.inv(given.A @ given.A.T + ridge * np.eye(17))
    K = accelerator.send((given.A.T @ given.A).astype(dtype))
    for value, truth in [
        (eagle.pinv(A, rng=0), given.pinv),
        (eagle.estimate(A, B, rng=0).value, given.W),
        (eagle.lstsq(A, C, rng=0).value, given.pinv @ given.C),
        (eagle.nystrom(K, A, rng=0).value, given.A @ given.pinv),
        (eagle.solve(A, B, C, ridge=ridge, rng=0).value, given.B @ inverse @ given.C),
    ]:
        assert relative_error(accelerator.fetch(value), truth) <= tolerance(dtype, 3**4)


def test_a_thousand_matrices_of_every_rank_have_endings_of_their_own(accelerator):
    dtype = np.float64 if accelerator.double else np.float32
    condition = 1e3 if accelerator.double else 10.0
    systems = [
        system((24, 16), rank=1 + place % 16, condition=1 if place % 16 == 0 else condition)
        for place in range(64)
    ]
    A, B, C = (accelerator.send(block.astype(dtype)) for block in stacks(systems * 16))
    result = eagle.solve(A, B, C, method="eagle", rng=0)
    assert result.converged
    assert [one.rank for one in result.results[:64]] == [1 + place % 16 for place in range(64)]
    values = accelerator.fetch(result.value)
    for value, each in zip(values, systems * 16, strict=True):
        assert relative_error(value, each.value) <= tolerance(dtype, condition)


def test_large_and_ill_conditioned(accelerator):
    dtype = np.float64 if accelerator.double else np.float32
    condition = 1e8 if accelerator.double else 1e3
    given = eagle.problems.low_rank(700, 500, rank=300, condition=condition, rng=0)
    blocks = [accelerator.send(block.astype(dtype)) for block in (given.A, given.B, given.C)]
    result = eagle.solve(*blocks, method="eagle", rng=0)
    assert result.converged
    slack = 1 if accelerator.double else condition  # rounding A to single precision moves it
    assert given.error(accelerator.fetch(result.value)) <= tolerance(dtype, slack)


def test_two_places_in_one_call_are_refused(accelerator):
    with pytest.raises(TypeError, match="pass arrays of one library on one device"):
        eagle.lstsq(accelerator.send(np.eye(3, dtype=np.float32)), np.ones(3))
