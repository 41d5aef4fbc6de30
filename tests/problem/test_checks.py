"""Bad input raises before any work; unusual but good input has the right answer."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

import eagle
from tests.systems import DTYPES, SHAPES, quietly, system
from tests.tolerances import relative_error, tolerance

BLOCKS = ("A", "B", "C")


def blocks(**replaced: Any) -> list[Any]:
    """A good A, B, C with some of them replaced."""
    problem = system((4, 3))
    return [replaced.get(name, getattr(problem, name)) for name in BLOCKS]


# --- what is refused, and how -------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, complex(0, np.nan)])
def test_an_entry_that_is_not_finite_is_refused_by_argument_and_shape(name, bad):
    block = np.array(blocks()[BLOCKS.index(name)], dtype=type(bad))
    block[1, 1] = bad
    message = rf"^{name} with shape \({block.shape[0]}, {block.shape[1]}\) contains NaN or infinity"
    with pytest.raises(ValueError, match=message):
        eagle.solve(*blocks(**{name: block}))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("shape", [(), (4,)])
def test_a_block_that_is_not_a_matrix_is_refused_by_argument_and_shape(name, shape):
    with pytest.raises(
        ValueError, match=rf"^{name} must be 2-D or more, got shape {re.escape(str(shape))}"
    ):
        eagle.solve(*blocks(**{name: np.ones(shape)}))


def test_blocks_whose_sizes_do_not_match_are_refused_with_both_shapes():
    A, B, C = blocks()
    with pytest.raises(ValueError, match=r"^B with shape \(3, 2\) must have as many columns as A"):
        eagle.solve(A, B[:, :2], C)
    with pytest.raises(ValueError, match=r"^C with shape \(3, 2\) must have as many rows as A"):
        eagle.solve(A, B, C[:3])
    with pytest.raises(ValueError, match=r"^B with shape \(3, 2\) .* shape \(4, 3\)"):
        eagle.estimate(A, B[:, :2])
    with pytest.raises(ValueError, match=r"^b with shape \(3,\) .* shape \(4, 3\)"):
        eagle.lstsq(A, C[:3, 0])
    with pytest.raises(ValueError, match=r"^K_mm must be square, got shape \(4, 3\)"):
        eagle.nystrom(A, B)
    with pytest.raises(ValueError, match=r"^K_nm with shape \(3, 3\) must have as many columns"):
        eagle.nystrom(np.eye(4), B)
    with pytest.raises(ValueError, match=r"^K_mq with shape \(4, 2\) must have as many rows"):
        eagle.nystrom(np.eye(3), B, C)


def test_a_stack_of_right_hand_sides_has_to_fit():
    with pytest.raises(ValueError, match=r"^b with shape \(4, 1, 1\) must have as many rows as A"):
        eagle.lstsq(np.ones((4, 3)), np.ones((4, 1, 1)))


class Foreign:
    """Something that calls itself a torch tensor."""


Foreign.__module__ = "torch"

REFUSED = {
    "object": (np.array([[1, None], [2, 3]], dtype=object), "must be numeric, got dtype object"),
    "string": ([["1", "2"], ["3", "4"]], "must be numeric, got dtype <U1"),
    "datetime": (np.zeros((2, 2), "datetime64[s]"), "must be numeric, got dtype datetime64"),
    "record": (np.zeros((2, 2), [("x", float)]), "must be numeric"),
    "none": (None, "must be numeric, got dtype object"),
    "longdouble": (np.ones((2, 2), np.longdouble), "use float64 or complex128 at most"),
    "clongdouble": (np.ones((2, 2), np.clongdouble), "use float64 or complex128 at most"),
    "masked": (np.ma.masked_equal(np.eye(2), 0), "masked array; fill"),
    "tensor": (Foreign(), "torch.Foreign; pass a dense array of numpy, torch"),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_dense_numeric_array_is_refused_with_a_sentence(name, case):
    value, message = REFUSED[case]
    with pytest.raises(TypeError, match=rf"^{name} .*{message}"):
        eagle.solve(*blocks(**{name: value}))


def test_a_ragged_list_is_refused():
    with pytest.raises(ValueError, match=r"^A is not a rectangular array"):
        eagle.solve([[1.0, 2.0], [3.0]], [[1.0, 1.0]], [[1.0], [1.0]])


# --- what is accepted, and what comes back ------------------------------------------------------


class Table:
    """What says how it becomes an array, as data frames do."""

    def __init__(self, entries):
        self.entries = entries

    def __array__(self, dtype=None, copy=None):
        return np.array(self.entries, dtype=dtype)


A3 = np.array([[2, 1, 0], [1, 3, 1], [0, 1, 2], [1, 1, 1]])
B3 = np.array([[1, 2, 3], [3, 1, 1]])
C3 = np.array([[1], [2], [0], [1]])
TRUTH = B3 @ np.linalg.pinv(A3) @ C3

CONVERTED = {
    "list": (lambda x: x.tolist(), np.float64),
    "tuple": (lambda x: tuple(map(tuple, x.tolist())), np.float64),
    "int64": (lambda x: x, np.float64),
    "int8": (lambda x: x.astype(np.int8), np.float64),
    "uint16": (lambda x: x.astype(np.uint16), np.float64),
    "table": (lambda x: Table(x), np.float64),
    "float16": (lambda x: x.astype(np.float16), np.float16),
    "float32": (lambda x: x.astype(np.float32), np.float32),
    "complex64": (lambda x: x.astype(np.complex64), np.complex64),
    "complex128": (lambda x: x.astype(np.complex128), np.complex128),
    "big endian": (lambda x: x.astype(">f8"), np.float64),
    "big endian single": (lambda x: x.astype(">f4"), np.float32),
    "subclass": (lambda x: x.astype(float).view(np.memmap), np.float64),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_array_likes_are_converted_and_keep_their_precision(case):
    convert, dtype = CONVERTED[case]
    value = eagle.solve(convert(A3), convert(B3), convert(C3), rng=0).value
    assert value.dtype == np.dtype(dtype)
    assert type(value) is np.ndarray
    assert relative_error(value, TRUTH.astype(dtype)) <= tolerance(dtype)
    # lstsq sees a single dtype with a vector, pinv a single block.
    assert eagle.lstsq(convert(A3), convert(C3), rng=0).value.dtype == np.dtype(dtype)
    assert eagle.pinv(convert(A3), rng=0).dtype == np.dtype(dtype)


def test_half_precision_computes_in_single():
    """The error of a chain of half-precision products would be far above one rounding."""
    A, B, C = (block.astype(np.float16) for block in (A3, B3, C3))
    value = eagle.solve(A, B, C, rng=0).value
    assert np.abs(value - TRUTH).max() <= np.finfo(np.float16).eps * np.abs(TRUTH).max()


def test_bools_are_numbers():
    A = np.array([[True, False], [True, True]])
    value = eagle.solve(A, [[True, True]], [[True], [False]], rng=0).value
    assert value.dtype == np.float64
    assert relative_error(value, [[0.0]]) <= tolerance(float)


def test_mixed_dtypes_are_promoted():
    for types, expected in [
        ((np.float32, np.float64, np.float32), np.float64),
        ((np.float32, np.complex64, np.float32), np.complex64),
        ((np.float32, np.float32, int), np.float64),
        ((np.float16, np.float32, np.float16), np.float32),
        ((np.float64, np.float64, np.complex64), np.complex128),
    ]:
        A, B, C = (block.astype(dtype) for block, dtype in zip((A3, B3, C3), types, strict=True))
        value = eagle.solve(A, B, C, rng=0).value
        assert value.dtype == expected
        assert relative_error(value, TRUTH) <= tolerance(expected)


LAYOUTS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "every other entry": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
    "negative strides": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "transposed copy": lambda x: x.T.copy().T,
    "read-only": lambda x: _frozen(x),
    "broadcast": lambda x: np.broadcast_to(x, (1, *x.shape))[0],
}


def _frozen(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("shape", SHAPES)
def test_results_do_not_depend_on_memory_order_beyond_rounding(layout, method, shape):
    problem = system(shape, condition=3)
    plain = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    A, B, C = (LAYOUTS[layout](block) for block in (problem.A, problem.B, problem.C))
    other = eagle.solve(A, B, C, method=method, rng=0)
    assert relative_error(other.value, plain.value) <= tolerance(float, 3**2)


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_never_written_to(method, dtype):
    problem = system("tall", dtype=dtype, condition=3)
    given = [np.asfortranarray(block) for block in (problem.A, problem.B, problem.C)]
    before = [block.tobytes() for block in given]
    options = {"method": method, "maxiter": 20, "rng": 0}
    quietly(eagle.solve, *given, **options)
    quietly(eagle.lstsq, given[0], given[2], ridge=0.1, **options)
    quietly(eagle.estimate, given[0], given[1], **options)
    quietly(eagle.pinv, given[0], **options)
    assert [block.tobytes() for block in given] == before


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
def test_the_value_is_not_a_view_of_an_input(method):
    problem = system((5, 5), condition=3)
    result = eagle.solve(np.eye(5), np.eye(5), problem.C, method=method, rng=0)
    assert not np.shares_memory(result.value, problem.C)
    assert result.value.flags.writeable


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("make", [lambda: 7, lambda: np.int64(7), lambda: np.random.default_rng(7)])
def test_equal_seeds_give_bit_equal_results(method, make):
    problem = system("tall", condition=3, kind="inconsistent B")
    first, second = (
        eagle.solve(problem.A, problem.B, problem.C, method=method, rng=make()) for _ in range(2)
    )
    assert first.value.tobytes() == second.value.tobytes()
    assert first.error_estimate == second.error_estimate
    assert first.inconsistency == second.inconsistency


def test_a_generator_moves_on_and_a_seed_does_not():
    problem = system("wide", kind="both inconsistent")
    rng = np.random.default_rng(1)
    before = copy.deepcopy(rng.bit_generator.state)
    eagle.solve(problem.A, problem.B, problem.C, method="eagle", rng=rng)
    assert rng.bit_generator.state != before


# --- sizes and magnitudes at the edge -----------------------------------------------------------

EDGE_SHAPES = [(0, 3), (3, 0), (0, 0), (1, 1), (1, 4), (4, 1)]


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("shape", EDGE_SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_thin_and_empty_blocks_have_numpys_answer(method, shape, dtype, rng):
    d, n = shape
    A = rng.standard_normal(shape).astype(dtype)
    for rows, columns in [(2, 3), (0, 2), (2, 0), (0, 0), (1, 1)]:
        B = rng.standard_normal((rows, n)).astype(dtype)
        C = rng.standard_normal((d, columns)).astype(dtype)
        result = eagle.solve(A, B, C, method=method, rng=0)
        assert result.converged
        assert result.value.dtype == np.dtype(dtype)
        reference = B @ np.linalg.pinv(A) @ C
        assert relative_error(result.value, reference) <= max(tolerance(dtype), 2e-8)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_blocks_work_in_every_function(shape):
    d, n = shape
    A = np.zeros(shape)
    assert eagle.pinv(A).shape == (n, d)
    assert eagle.lstsq(A, np.ones(d)).value.shape == (n,)
    assert not eagle.lstsq(A, np.ones((d, 2))).value.any()
    assert eagle.estimate(A, np.ones((2, n))).value.shape == (2, d)
    assert (
        eagle.nystrom(np.zeros((0, 0)), np.zeros((3, 0))).value.tolist()
        == np.zeros((3, 3)).tolist()
    )


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_an_all_zero_matrix_has_the_pseudo_inverse_zero(method, ridge):
    A = np.zeros((4, 3))
    result = eagle.solve(A, np.ones((2, 3)), np.ones((4, 2)), method=method, ridge=ridge)
    assert result.converged
    assert not result.value.any()
    assert result.error_estimate == 0
    assert result.inconsistency == 1  # nothing of B is explained
    assert not eagle.pinv(A, method=method, ridge=ridge).any()
    assert eagle.lstsq(A, np.ones(4), method=method).value.tolist() == [0, 0, 0]


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
def test_zero_right_hand_sides_have_the_answer_zero(method):
    A, B, C = blocks()
    for result in (
        eagle.solve(A, 0 * B, C, method=method, rng=0),
        eagle.solve(A, B, 0 * C, method=method, rng=0),
        eagle.lstsq(A, 0 * C, method=method, rng=0),
    ):
        assert result.converged
        assert not result.value.any()
        assert result.error_estimate <= tolerance(float, 10)


MAGNITUDES = [
    (1e300, 1.0, 1.0),
    (1e-300, 1e-8, 1e-8),
    (1e300, 1e300, 1e300),
    (1e-300, 1e-300, 1e-300),
    (1e300, 1e-5, 1e300),
    (1e-300, 1e-300, 1.0),
    (1.0, 1e-300, 1e300),
    (1e-304, 1e-300, 1e-5),
]


@pytest.mark.parametrize("method", ["auto", *eagle.METHODS])
@pytest.mark.parametrize("factors", MAGNITUDES)
def test_huge_and_tiny_entries_neither_overflow_nor_lose_digits(method, factors):
    problem = system("tall", condition=3)
    plain = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    a, b, c = factors
    result = eagle.solve(a * problem.A, b * problem.B, c * problem.C, method=method, rng=0)
    assert result.converged
    # The order of the factors keeps the reference itself in range.
    scaled = plain.value * (b / a * c if abs(np.log10(b / a)) < 300 else b * (c / a))
    assert relative_error(result.value, scaled) <= tolerance(float, 3**2)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("factor", [1e37, 1e-37])
def test_single_precision_has_its_own_range(dtype, factor):
    problem = system("square", condition=3, dtype=dtype)
    factor = np.float32(factor)
    value = eagle.solve(problem.A * factor, problem.B, problem.C, rng=0).value
    assert relative_error(value * factor, problem.value) <= tolerance(dtype, 3)


def test_mixed_magnitudes_inside_one_block_are_units_of_measurement():
    """Beside 1e300 numpy takes 1e-300 for a zero, and so would whoever scales by the largest."""
    A = np.diag([1e300, 1e-300, 1e290])
    value = eagle.solve(A, np.diag([1e300, 1e-300, 1e290]), np.eye(3), rng=0).value
    assert relative_error(value, np.eye(3)) <= tolerance(float)


def test_subnormal_entries_have_an_answer():
    A = np.diag([4.0, 8.0]) * 5e-324
    assert relative_error(eagle.solve(A, A, np.eye(2), rng=0).value, np.eye(2)) <= tolerance(float)


def test_a_value_that_overflows_is_said_to():
    with pytest.warns(eagle.ConvergenceWarning, match="NONFINITE"):
        result = eagle.lstsq(np.full((1, 1), 1e-300), [1e300], rng=0)
    assert result.status is eagle.Status.NONFINITE
    with pytest.warns(eagle.ConvergenceWarning, match="NONFINITE"):
        eagle.lstsq(np.full((1, 1), 0.001, np.float16), np.array([1000], np.float16), rng=0)


def test_bad_input_raises_before_any_work(monkeypatch):
    """The loop is never entered, nor is anything decomposed."""

    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("eagle.run.driver.run", never)
    monkeypatch.setattr("scipy.linalg.svd", never)
    A, B, C = blocks()
    for bad in (
        lambda: eagle.solve(A, B, C[:2]),
        lambda: eagle.solve(A, B, C * np.nan),
        lambda: eagle.solve(A, B, C, method="eagle", rank=2),
        lambda: eagle.solve(A, B, C, rank=9),
        lambda: eagle.solve(A, B, C, rtol=-1),
    ):
        with pytest.raises(ValueError, match=r"must|contains|cannot"):
            bad()
