"""Arrays of other libraries on the CPU: the same memory, the same answer, the same library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
array_api_strict = pytest.importorskip("array_api_strict")

import eagle
from eagle.algebra import homes as arrays
from eagle.run import flow
from tests.libraries import LIBRARIES
from tests.systems import DTYPES, stacks, system
from tests.tolerances import relative_error, tolerance


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_value_is_numpys_to_the_last_bit(library, dtype, method):
    given = system("tall", condition=3, rank=5, dtype=dtype)
    blocks = [library.make(block) for block in (given.A, given.B, given.C)]
    here = eagle.solve(given.A, given.B, given.C, method=method, rng=0)
    there = eagle.solve(*blocks, method=method, rng=0)
    assert isinstance(there.value, library.kind)
    assert there.value.dtype == library.dtype(np.dtype(dtype).name)
    assert np.array_equal(library.numpy(there.value), here.value)
    assert there.status is here.status
    assert there.error_estimate == here.error_estimate
    assert len(there.history) == len(here.history)


def test_every_function_gives_back_what_it_got(library):
    given = system("tall", condition=3)
    A, B, C = (library.make(block) for block in (given.A, given.B, given.C))
    K = library.make(given.A.T @ given.A)
    for value, truth in [
        (eagle.pinv(A, rng=0), given.pinv),
        (eagle.estimate(A, B, rng=0).value, given.W),
        (eagle.lstsq(A, C, rng=0).value, given.pinv @ given.C),
        (eagle.lstsq(A, library.make(given.C[:, 0]), rng=0).value, given.pinv @ given.C[:, 0]),
        (eagle.nystrom(K, A, rng=0).value, given.A @ given.pinv),
        (eagle.nystrom(K, A, library.make(given.A.T), rng=0).value, given.A @ given.pinv),
    ]:
        assert isinstance(value, library.kind)
        assert relative_error(library.numpy(value), truth) <= tolerance(float, 3**2)


def test_the_default_slice_of_a_complex_kernel_is_conjugated(library):
    given = system("tall", condition=3, dtype=np.complex128)
    K, slices = library.make(given.A.conj().T @ given.A), library.make(given.A)
    value = library.numpy(eagle.nystrom(K, slices, rng=0).value)
    assert relative_error(value, given.A @ given.pinv) <= tolerance(float, 3**2)


def test_numpy_looks_at_the_same_memory_and_the_value_goes_back_in_it(library, monkeypatch):
    given = system("tall", condition=3)
    blocks = [library.make(block) for block in (given.A, given.B, given.C)]
    home = arrays.find_home(A=blocks[0])
    assert [home.view(block).ctypes.data for block in blocks] == [
        library.address(block) for block in blocks
    ]
    made = np.zeros(4096)  # large enough to be aligned as every library wants it
    made = made[(-made.ctypes.data % 64) // 8 :][:1024]
    assert library.address(home.array(made)) == made.ctypes.data
    seen = []
    compute = flow.on_host

    def watched(blocks, *rest):
        seen.extend(block.ctypes.data for block in blocks)
        return compute(blocks, *rest)

    monkeypatch.setattr(flow, "on_host", watched)
    before = [library.numpy(block).copy() for block in blocks]
    eagle.solve(*blocks, rng=0)
    assert seen == [library.address(block) for block in blocks]
    for block, copy in zip(blocks, before, strict=True):
        assert np.array_equal(library.numpy(block), copy)


def test_batches_keep_their_results_in_the_memory_of_the_value(library):
    systems = [system("tall", condition=3, seed=seed) for seed in range(6)]
    A, B, C = (library.make(X.reshape(2, 3, *X.shape[1:])) for X in stacks(systems))
    result = eagle.solve(A, B, C, rng=0)
    assert isinstance(result.value, library.kind)
    assert tuple(result.value.shape) == (2, 3, 3, 2)
    for index in np.ndindex(2, 3):
        one = result.results[index]
        assert isinstance(one.value, library.kind)
        assert np.array_equal(library.numpy(one.value), library.numpy(result.value)[index])
        truth = systems[index[0] * 3 + index[1]].value
        assert relative_error(library.numpy(one.value), truth) <= tolerance(float, 3**2)


def test_integers_become_float64_and_half_precision_comes_back(library):
    A = np.array([[2, 0], [0, 4], [0, 0]])
    for kind in (np.int8, np.int64, np.uint16):
        value = eagle.pinv(library.make(A.astype(kind)), rng=0)
        assert value.dtype == library.dtype("float64")
        wanted = [[0.5, 0, 0], [0, 0.25, 0]]
        assert relative_error(library.numpy(value), wanted) <= tolerance(float)
    value = eagle.pinv(library.make(A > 0), rng=0)
    assert value.dtype == library.dtype("float64")
    if library.name == "array_api_strict":  # the standard has no half precision
        return
    for name in ("float16", "bfloat16"):
        half = library.make(A.astype(np.float32))
        half = half.to(getattr(torch, name)) if library.name == "torch" else half.astype(name)
        value = eagle.pinv(half, rng=0)
        assert value.dtype == half.dtype
        assert [float(number) for number in value[0]] == [0.5, 0, 0]
        mixed = eagle.lstsq(half, library.make(np.ones((3, 1), np.float32)), rng=0).value
        assert mixed.dtype == library.dtype("float32")


def test_dtypes_are_promoted_as_numpy_does_it(library):
    names = ("int64", "float32", "float64", "complex64", "complex128")
    for first in names:
        for second in names:
            A, C = np.eye(3, 2, dtype=first), np.ones((3, 1), second)
            here = eagle.lstsq(A, C, rng=0).value
            there = eagle.lstsq(library.make(A), library.make(C), rng=0).value
            assert there.dtype == library.dtype(here.dtype.name)


def test_a_result_prints_like_numpys(library):
    given = system("wide", condition=3, kind="inconsistent B")
    blocks = (given.A, given.B, given.C)
    here = str(eagle.solve(*blocks, rng=0))
    there = str(eagle.solve(*(library.make(block) for block in blocks), rng=0))
    first, *lines = there.splitlines()
    assert first == "eagle.Result: 3 x 2 float64, CONVERGED" == here.splitlines()[0]
    assert [line.split()[0] for line in lines] == [
        line.split()[0] for line in here.splitlines()[1:]
    ]
    assert "no reconstruction" in there


def test_a_callback_sees_values_of_the_library(library):
    given = system("tall", condition=3)
    blocks = [library.make(block) for block in (given.A, given.B, given.C)]
    kinds, iterations = [], []

    def callback(state):
        kinds.append(type(state.value))
        iterations.append(state.iteration)
        return state.iteration == 2

    result = eagle.solve(*blocks, method="eagle", callback=callback, rng=0)
    assert result.status is eagle.Status.STOPPED_BY_CALLBACK
    assert iterations == [1, 2]
    assert all(issubclass(kind, library.kind) for kind in kinds)


def test_failures_are_told_at_the_line_of_the_caller(library):
    given = system("tall", condition=1e4)
    A, C = library.make(given.A), library.make(given.C)
    with pytest.warns(eagle.ConvergenceWarning) as told:
        result = eagle.lstsq(A, C, method="gd", maxiter=2, rng=0)
    assert told[0].filename == __file__
    assert result.status is eagle.Status.MAX_ITERATIONS
    with pytest.raises(eagle.ConvergenceError) as failure:
        eagle.lstsq(A, C, method="gd", maxiter=2, rng=0, raise_on_failure=True)
    assert isinstance(failure.value.result.value, library.kind)


def test_bad_input_is_refused_as_numpys_is(library):
    A, C = library.make(np.eye(4, 3)), library.make(np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"^A with shape \(2, 2\) contains NaN"):
        eagle.pinv(library.make(np.array([[1.0, np.nan], [0, 1]])))
    with pytest.raises(ValueError, match=r"^A must be 2-D or more, got shape \(4,\)"):
        eagle.pinv(library.make(np.ones(4)))
    with pytest.raises(ValueError, match=r"^b with shape \(3,\) must have as many rows as A with"):
        eagle.lstsq(A, library.make(np.ones(3)))
    with pytest.raises(ValueError, match=r"^C with shape \(3, 2\) must have as many rows as A"):
        eagle.solve(A, library.make(np.eye(2, 3)), library.make(np.ones((3, 2))))
    with pytest.raises(ValueError, match=r"^K_mm must be square, got shape \(4, 3\)"):
        eagle.nystrom(A, C)
    with pytest.raises(ValueError, match="rank must be at most 3"):
        eagle.pinv(A, rank=4)


MIXED = {
    "numpy": np.ones((3, 1)),
    "a list": [[1.0], [1.0], [1.0]],
    "torch": torch.ones(3, 1),
    "torch elsewhere": torch.ones(3, 1, device="meta"),
    "jax": jax.numpy.ones((3, 1)),
    "strict": array_api_strict.ones((3, 1)),
    "strict elsewhere": array_api_strict.ones((3, 1), device=array_api_strict.Device("device1")),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in itertools.permutations(MIXED, 2) if set(pair) != {"numpy", "a list"}],
)
def test_two_libraries_or_devices_in_one_call_are_refused_by_name(first, second):
    said = {
        "numpy": "a numpy array",
        "a list": "a numpy array",
        "torch": "a torch tensor on cpu",
        "torch elsewhere": "a torch tensor on meta",
        "jax": "an array of jax on cpu:0",
        "strict": "an array of array_api_strict on array_api_strict.Device('CPU_DEVICE')",
        "strict elsewhere": "an array of array_api_strict on array_api_strict.Device('device1')",
    }
    with pytest.raises(TypeError, match="pass arrays of one library on one device") as told:
        eagle.lstsq(MIXED[first], MIXED[second])
    assert str(told.value).startswith(f"A is {said[first]} and b is {said[second]}: ")


def test_tensors_without_entries_are_refused():
    with pytest.raises(TypeError, match=r"^A is a tensor with layout torch.sparse_coo"):
        eagle.pinv(torch.eye(3).to_sparse())
    with pytest.raises(TypeError, match=r"^A is a tensor on the device 'meta', which has no"):
        eagle.pinv(torch.eye(3, device="meta"))
    with pytest.raises(TypeError, match=r"^A must have a dtype among .*, got torch.float8"):
        eagle.pinv(torch.eye(3).to(torch.float8_e5m2))


def test_conjugated_tensors_are_written_out():
    given = system("tall", condition=3, dtype=np.complex128)
    lazy = torch.from_numpy(given.A.conj()).conj()
    assert lazy.is_conj()
    assert relative_error(eagle.pinv(lazy, rng=0).numpy(), given.pinv) <= tolerance(float, 9)


def test_jax_without_double_precision_stays_single():
    assert not jax.config.jax_enable_x64
    value = eagle.pinv(jax.numpy.eye(3, 2, dtype="int32"), rng=0)
    assert value.dtype == np.float32
    assert relative_error(value, np.eye(2, 3)) <= tolerance(np.float32)


@given(
    library=st.sampled_from(sorted(LIBRARIES)),
    shape=st.sampled_from(["tall", "wide", "square"]),
    rank=st.integers(1, 11),
    condition=st.sampled_from([1.0, 10.0, 1e4]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**16),
)
def test_any_consistent_problem_is_solved_in_any_library(
    library, shape, rank, condition, dtype, seed
):
    condition = condition if rank > 1 else 1.0
    if np.dtype(dtype).name in ("float32", "complex64"):
        condition = min(condition, 10.0)
    made = system(shape, rank=rank, condition=condition, dtype=dtype, seed=seed)
    with LIBRARIES[library]() as found:
        blocks = [found.make(block) for block in (made.A, made.B, made.C)]
        result = eagle.solve(*blocks, rng=seed)
        assert result.converged
        assert isinstance(result.value, found.kind)
        error = relative_error(found.numpy(result.value), made.value)
        assert error <= tolerance(dtype, condition)
