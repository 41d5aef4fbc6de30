"""What runs on a device: the answers, endings and words of the CPU, and nothing copied to it."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("array_api_strict")

import eagle
from eagle.algebra import homes as arrays
from tests.libraries import DEVICES
from tests.systems import DTYPES, SHAPES, stacks, system
from tests.tolerances import relative_error, tolerance


def sent(device, given, names="ABC"):
    return [device.make(getattr(given, name)) for name in names]


def batch(shape, **settings):
    """Systems and stacks of their blocks."""
    systems = [system("tall", seed=seed, **settings) for seed in range(int(np.prod(shape)))]
    return systems, [block.reshape(shape + block.shape[1:]) for block in stacks(systems)]


@pytest.mark.parametrize("method", ["auto", "direct", eagle.Eagle(precision="mixed")], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_has_all_that_a_device_needs(shape, dtype, method):
    for rank in (None, 1, 5):
        given = system(shape, rank=rank, condition=4 if rank != 1 else 1, dtype=dtype, seed=1)
        with DEVICES["torch"]() as device:
            result = eagle.solve(*sent(device, given), method=method, rng=0)
            assert isinstance(result.value, device.kind)
            assert result.value.dtype == device.dtype(np.dtype(dtype).name)
            error = relative_error(device.numpy(result.value), given.value)
        assert result.converged
        assert error <= tolerance(dtype, 4)
        assert result.error_estimate <= tolerance(dtype, 4)
        assert result.inconsistency <= tolerance(dtype, 4)
        assert result.rank == (rank or min(SHAPES[shape]))


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_a_vector_is_one_right_hand_side_for_all(device, ridge):
    systems, (A, _, C) = batch((2,), condition=3, kind="inconsistent C")
    result = eagle.lstsq(device.make(A), device.make(C[0, :, 0]), ridge=ridge, rng=0)
    assert tuple(result.value.shape) == (2, 11)
    for value, each in zip(device.numpy(result.value), systems, strict=True):
        inner = np.linalg.inv(each.A.T @ each.A + ridge * np.eye(11))
        assert relative_error(value, inner @ (each.A.T @ C[0, :, 0])) <= tolerance(float, 3**2)


def test_every_matrix_of_a_batch_is_solved_as_if_alone(device):
    systems, blocks = batch((2, 3), condition=30, rank=5)
    A, B, C = map(device.make, blocks)
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    assert tuple(result.value.shape) == (2, 3, 3, 2)
    for index in np.ndindex(2, 3):
        one = result.results[index]
        each = systems[index[0] * 3 + index[1]]
        alone = eagle.solve(*sent(device, each), rng=0)
        assert np.array_equal(device.numpy(one.value), device.numpy(result.value)[index])
        assert relative_error(device.numpy(one.value), each.value) <= tolerance(float, 30)
        assert (one.status, one.rank) == (alone.status, alone.rank)


def test_each_has_its_own_status_and_the_worst_is_told(device):
    easy, hard = system("tall", condition=1.5), system("tall", condition=1e6)
    A, B, C = map(device.make, stacks((easy, hard)))
    with pytest.warns(eagle.ConvergenceWarning, match=r"^1 of 2 problems; the first: Eagle ended"):
        result = eagle.solve(A, B, C, method="eagle", maxiter=8, rng=0)
    statuses = [one.status for one in result.results]
    assert statuses == [eagle.Status.CONVERGED, eagle.Status.MAX_ITERATIONS]
    assert result.iterations == 8
    assert relative_error(device.numpy(result.value)[0], easy.value) <= tolerance(float, 2)
    with pytest.raises(eagle.ConvergenceError):
        eagle.solve(A, B, C, method="eagle", maxiter=8, rng=0, raise_on_failure=True)


def test_a_callback_sees_the_whole_batch_and_stops_it(device):
    _, blocks = batch((3,), condition=1e4)
    A, B, C = map(device.make, blocks)
    seen = []

    def callback(state):
        seen.append((state.iteration, tuple(state.value.shape)))
        assert isinstance(state.value, device.kind)
        return state.iteration == 4

    result = eagle.solve(A, B, C, method="eagle", callback=callback, rng=0)
    assert seen == [(iteration, (3, 3, 2)) for iteration in (1, 2, 3, 4)]
    assert {one.status for one in result.results} == {eagle.Status.STOPPED_BY_CALLBACK}


def test_what_a_device_cannot_do_is_refused_with_what_to_use_instead(device):
    A = device.make(np.eye(3, 2))
    others = sorted(set(eagle.METHODS) - {"eagle", "direct"})
    for method in [*others, eagle.Direct("lu")]:
        with pytest.raises(ValueError, match=r"on the CPU, and A is .*: use method='auto', 'dir"):
            eagle.pinv(A, method=method)
    with pytest.raises(ValueError, match=r"Eagle\(schedule='cholesky'.* computes on the CPU"):
        eagle.pinv(A, method=eagle.Eagle("cholesky"))
    with pytest.raises(ValueError, match="memory_limit is for arrays on the CPU"):
        eagle.pinv(A, memory_limit=100)
    with pytest.raises(ValueError, match=r"^A with shape \(2, 2\) contains NaN or infinity"):
        eagle.pinv(device.make(np.array([[1.0, np.inf], [0, 1]])))
    with pytest.raises(ValueError, match=r"^b with shape \(2, 1, 2\) contains NaN or infinity"):
        eagle.lstsq(device.make(np.eye(1)), device.make(np.full((2, 1, 2), np.nan)))
    with pytest.raises(ValueError, match=r"dimensions do not broadcast: A \(2,\), b \(3,\)"):
        eagle.lstsq(device.make(np.ones((2, 3, 2))), device.make(np.ones((3, 3, 1))))
    with pytest.raises(ValueError, match=r"^C with shape \(4, 1\) must have as many rows"):
        eagle.solve(A, device.make(np.ones((1, 2))), device.make(np.ones((4, 1))))


def test_nothing_and_zero_have_the_answers_of_numpy(device):
    for shape in [(0, 3), (3, 0), (0, 0)]:
        value = eagle.pinv(device.make(np.zeros(shape)))
        assert tuple(value.shape) == shape[::-1]
    A = device.make(np.stack([np.zeros((3, 2)), np.eye(3, 2)]))
    result = eagle.estimate(A, device.make(np.ones((1, 2))), rng=0)
    assert result.converged
    wanted = [[[0, 0, 0]], [[1, 1, 0]]]
    assert relative_error(device.numpy(result.value), wanted) <= tolerance(float)
    assert [one.rank for one in result.results] == [0, 2]
    assert [round(one.inconsistency, 12) for one in result.results] == [1, 0]
    empty = eagle.lstsq(device.make(np.zeros((2, 0, 4, 3))), device.make(np.ones(4)))
    assert tuple(empty.value.shape) == (2, 0, 3)
    assert empty.converged


def test_only_a_few_numbers_reach_the_host(device, monkeypatch):
    """For 40 matrices of 64 x 48: fewer numbers an iteration than a row of each has."""
    rng = np.random.default_rng(0)
    A, B, C = (
        device.make(rng.standard_normal((40, *shape))) for shape in [(64, 48), (20, 48), (64, 30)]
    )
    home = type(arrays.find_home(A=A))
    moved = []

    def counted(self, array):
        moved.append(math.prod(array.shape))
        return device.numpy(array)

    monkeypatch.setattr(home, "to_host", counted)
    monkeypatch.setattr(home, "view", lambda self, array: pytest.fail("numpy looked"))
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    assert sum(moved) <= 40 * 48 * result.iterations
    assert max(moved) <= 40 * 48
    assert len(moved) <= 3 * result.iterations + 10


def test_auto_has_an_svd_try_what_eagle_could_not(device, monkeypatch):
    """EAGLE with three iterations is not accurate on one of two."""
    easy, hard = system("tall", condition=1), system("tall", condition=1e5)
    A, B, C = map(device.make, stacks((easy, hard)))
    monkeypatch.setattr(eagle.Eagle, "default_maxiter", 7)
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    assert "was not accurate for 1 problems, which an SVD tried too" in result.plan
    for value, each in zip(device.numpy(result.value), (easy, hard), strict=True):
        assert relative_error(value, each.value) <= tolerance(float, 1e5)


def test_without_array_api_compat_the_message_says_what_to_install(device, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat", None)
    with pytest.raises(
        ImportError, match=r"needs array-api-compat: pip install 'eagle-solver\[arr"
    ):
        eagle.pinv(device.make(np.eye(2)))


@pytest.mark.parametrize(("method", "dtype"), [("eagle", np.float64), ("direct", np.float32)])
def test_jax_computes_where_its_arrays_are(method, dtype):
    given = system("tall", condition=10, rank=5, dtype=dtype)
    with DEVICES["jax"]() as device:
        result = eagle.solve(*sent(device, given), method=method, rng=0)
        assert result.converged
        assert isinstance(result.value, device.kind)
        assert result.value.dtype == dtype
        assert relative_error(device.numpy(result.value), given.value) <= tolerance(dtype, 10)
