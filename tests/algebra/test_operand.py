"""A that is no array in memory: sparse, an operator, a mapped file."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import eagle
from eagle.algebra import blas
from eagle.algebra import sketch as loops
from eagle.algebra.blas import energy, norm, product
from eagle.algebra.operand import Implicit, LowRank, Mapped, Ridged, Scaled, Sparse, adjoint, both
from eagle.methods.compressed.sketch import draw
from eagle.problem.blocks import Problem
from eagle.problem.checks import as_matrix
from tests.systems import DTYPES, SHAPES, aim, normal, quietly, system
from tests.tolerances import relative_error, tolerance

MATRIX_FREE = {
    "compressed": eagle.Compressed(4),
    "cg": eagle.ConjugateGradient(),
    "gd": eagle.GradientDescent(),
    "lsmr": eagle.LSMR(),
}


def mapped(folder, A, mode="r", order="C"):
    """A in a file."""
    path = folder / "A.npy"
    np.save(path, np.array(A, order=order))
    return np.load(path, mmap_mode=mode)


FORMS = {
    "csr": lambda A, folder: scipy.sparse.csr_array(A),
    "csc": lambda A, folder: scipy.sparse.csc_array(A),
    "coo matrix": lambda A, folder: scipy.sparse.coo_matrix(A),
    "operator": lambda A, folder: aslinearoperator(A),
    "file by rows": lambda A, folder: mapped(folder, A),
    "file by columns": lambda A, folder: mapped(folder, A, order="F"),
    "part of a file": lambda A, folder: mapped(folder, np.pad(A, 2))[2:-2, 2:-2],
    "copy on write": lambda A, folder: mapped(folder, A, mode="c"),
}


def operands(A, folder):
    """Every kind of operand, with the array that it stands for."""
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    d = len(A)
    whole = np.hstack([A, 0.5 * np.eye(d, dtype=A.dtype)])
    yield Sparse(A.shape, A.dtype, scipy.sparse.csr_array(A)), A
    yield Implicit(A.shape, A.dtype, aslinearoperator(A)), A
    yield as_matrix("A", mapped(folder, A)), A
    yield as_matrix("A", mapped(folder, A, order="F")), A
    yield LowRank.create(U, s, Vh), A
    yield Ridged.create(A, 0.5), whole
    sparse = Sparse(A.shape, A.dtype, scipy.sparse.csr_array(A))
    yield Ridged.create(sparse, 0.5), whole
    yield Scaled(A.shape, A.dtype, Implicit(A.shape, A.dtype, aslinearoperator(A)), 3), 8 * A
    yield sparse.shifted(3), 8 * A
    yield as_matrix("A", mapped(folder, A)).shifted(2).adjoint().shifted(1).adjoint(), 8 * A


@pytest.mark.parametrize("piece", [1, 300, 2**26])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_the_array(shape, dtype, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "eagle.algebra.operand.PIECE", piece
    )  # bytes: files are read in many or in one
    A = system(shape, dtype=dtype).A
    rng = np.random.default_rng(0)
    for operand, array in operands(A, tmp_path):
        for form, plain in ((operand, array), (adjoint(operand), array.conj().T)):
            X = normal(rng, (plain.shape[1], 3), dtype).astype(dtype)
            Y = normal(rng, (plain.shape[0], 2), dtype).astype(dtype)
            close = tolerance(dtype, 10)
            assert form.shape == plain.shape
            assert relative_error(product(form, X), plain @ X) <= close
            assert relative_error(product(form, Y, adjoint="X"), plain.conj().T @ Y) <= close
            assert relative_error(product(form, X, scale=2.0), 2 * plain @ X) <= close
            assert relative_error(product(Y, form, adjoint="X"), Y.conj().T @ plain) <= close
            assert relative_error(product(Y.T, form), Y.T @ plain) <= close
            assert relative_error(product(X.T, form, adjoint="Y"), X.T @ plain.conj().T) <= close
            first, second = both(form, X, Y)
            assert relative_error(first, plain @ X) <= close
            assert relative_error(second, plain.conj().T @ Y) <= close
            assert relative_error(form.dense(), plain) <= close
            # Eight products estimate the norm of an operator.
            exact = isinstance(form, Sparse | Mapped | LowRank | Ridged)
            assert form.norm() == pytest.approx(norm(plain), rel=1e-4 if exact else 0.7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", MATRIX_FREE)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_value_is_that_of_the_array(method, form, shape, tmp_path):
    given = system(shape, rank=5, condition=3)
    A = FORMS[form](given.A, tmp_path)
    for options in ({}, {"ridge": 0.1}):
        dense = eagle.solve(given.A, given.B, given.C, method="direct", rng=0, **options)
        result = eagle.solve(A, given.B, given.C, method=MATRIX_FREE[method], rng=0, **options)
        limit = max(10 * aim(MATRIX_FREE[method]), tolerance(np.float64, 10))
        assert result.converged
        assert relative_error(result.value, dense.value) <= limit


@pytest.mark.parametrize("form", [name for name in FORMS if "file" in name])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sketches_read_a_file_by_what_is_contiguous(form, dtype, tmp_path):
    for shape in SHAPES:
        given = system(shape, rank=5, condition=3, dtype=dtype)
        A = FORMS[form](given.A, tmp_path)
        result = eagle.solve(A, given.B, given.C, method=eagle.Sketched(4), rng=0)
        assert result.converged
        assert relative_error(result.value, given.value) <= tolerance(dtype, 10)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "sparse-sign"])
def test_a_sketch_of_a_file_is_that_of_the_array(kind, order, tmp_path):
    A = system("tall").A
    T = draw(kind, *A.shape, 4, A.dtype, np.random.default_rng(0))
    found = T.apply(as_matrix("A", mapped(tmp_path, A, order=order)))
    assert relative_error(found, A @ T.dense()) <= tolerance(float)


@pytest.mark.parametrize("method", ["eagle", "direct", "newton-schulz", "sgd"])
def test_a_file_is_an_array_to_every_other_method(method, tmp_path):
    given = system("tall", condition=3)
    result = eagle.solve(mapped(tmp_path, given.A), given.B, given.C, method=method, rng=0)
    limit = max(10 * aim(method), tolerance(np.float64, 10))
    assert relative_error(result.value, given.value) <= limit


@pytest.mark.parametrize("method", sorted(set(eagle.METHODS) - set(MATRIX_FREE)))
@pytest.mark.parametrize("form", ["csr", "operator"])
def test_methods_that_need_an_array_say_so(method, form, tmp_path):
    given = system("tall")
    able = r"'compressed' or |'cg' or |'gd' or |'lsmr'"
    with pytest.raises(TypeError, match=rf"^A is sparse or an operator, which .*({able})"):
        eagle.solve(FORMS[form](given.A, tmp_path), given.B, given.C, method=method)


def test_auto_takes_sparse_matrices_and_operators(tmp_path):
    given = system("tall", rank=4, condition=3)
    for form in ("csr", "operator", "file by rows"):
        result = eagle.solve(FORMS[form](given.A, tmp_path), given.B, given.C, rng=0)
        assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)


def test_every_function_takes_them(tmp_path):
    given = system("square", rank=5, condition=3)
    A = scipy.sparse.csr_array(given.A)
    limit = tolerance(np.float64, 10)
    assert relative_error(eagle.pinv(A, rng=0), given.pinv) <= limit
    assert relative_error(eagle.lstsq(A, given.C, rng=0).value, given.pinv @ given.C) <= limit
    assert relative_error(eagle.estimate(A, given.B, rng=0).value, given.W) <= limit
    result = eagle.nystrom(A, given.B, given.C, rng=0)
    assert relative_error(result.value, given.value) <= limit


@pytest.mark.parametrize("form", ["csr", "coo matrix", "operator", "file by rows"])
def test_right_hand_sides_are_written_out(form, tmp_path):
    given = system("tall", condition=3)
    (tmp_path / "B").mkdir()
    B, C = FORMS[form](given.B, tmp_path / "B"), FORMS[form](given.C, tmp_path)
    for method in ("eagle", "compressed", "auto"):
        result = eagle.solve(given.A, B, C, method=method, rng=0)
        assert isinstance(result.value, np.ndarray)
        assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)
    with pytest.raises(ValueError, match=r"^B with shape \(3, 11\) must have as many columns"):
        eagle.solve(given.A.T, B, C)


def test_integers_and_half_precision_are_computed_with_as_arrays_are():
    A = scipy.sparse.csr_array(np.array([[1, 0], [0, 2], [0, 0]]))
    assert eagle.lstsq(A, [1, 2, 3], rng=0).value.dtype == np.float64
    single = eagle.lstsq(A.astype(np.float32), np.ones(3, np.float32), rng=0).value
    assert single.dtype == np.float32
    assert relative_error(single, np.array([1, 0.5])) <= tolerance(np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("form", ["csr", "operator", "file by rows", "file by columns"])
def test_an_entry_that_is_not_finite_is_refused(form, bad, tmp_path):
    A = np.eye(4)
    A[2, 1] = bad
    with pytest.raises(ValueError, match=r"^A with shape \(4, 4\) contains NaN or infinity"):
        eagle.lstsq(FORMS[form](A, tmp_path), np.ones(4), method="cg")


def test_an_operator_without_adjoint_is_refused():
    A = LinearOperator((2, 2), matvec=lambda x: x)
    with pytest.raises(TypeError, match=r"^A is an operator without a working rmatvec"):
        eagle.lstsq(A, [1.0, 1.0])


def test_wrong_kinds_of_sparse_matrices_are_refused():
    with pytest.raises(TypeError, match=r"^A has dtype .*; use float64"):
        eagle.lstsq(scipy.sparse.csr_array(np.eye(2, dtype=np.longdouble)), [1.0, 1.0])
    flat = scipy.sparse.coo_array(np.ones(3))  # a row before scipy 1.13
    reason = r"A must be 2-D, got shape \(3,\)" if flat.ndim == 1 else r"b .* A with shape \(1, 3\)"
    with pytest.raises(ValueError, match=f"^{reason}"):
        eagle.lstsq(flat, [1.0, 1.0, 1.0])


def test_sizes_are_compared_as_for_arrays():
    with pytest.raises(ValueError, match=r"^b with shape \(3,\) .* A with shape \(2, 2\)"):
        eagle.lstsq(scipy.sparse.eye_array(2), np.ones(3))


@pytest.mark.parametrize("magnitude", [1e-280, 1e280])
@pytest.mark.parametrize("form", ["csr", "file by rows"])
def test_huge_and_tiny_entries_neither_overflow_nor_lose_digits(form, magnitude, tmp_path):
    given = system("tall", rank=5, condition=3)
    A = FORMS[form](given.A * magnitude, tmp_path)
    result = eagle.solve(A, given.B * magnitude, given.C, method=eagle.Compressed(4), rng=0)
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)


@pytest.mark.parametrize("options", [{}, {"rank": 2}, {"ridge": 1.0}, {"method": "compressed"}])
def test_nothing_to_compute_takes_no_memory(options):
    """Written out, these would take a terabyte."""
    d, n = 400_000, 300_000
    zero = scipy.sparse.csr_array((d, n))
    some = scipy.sparse.coo_array(([1.0], ([5], [7])), shape=(d, n))
    result = eagle.solve(zero, np.ones((1, n)), np.ones((d, 1)), rng=0, **options)
    assert result.value.tolist() == [[0.0]]
    assert eagle.solve(some, np.ones((0, n)), np.ones((d, 1)), **options).value.shape == (0, 1)


def test_zero_and_empty_matrices_have_the_answer_of_numpy():
    for A in (scipy.sparse.csr_array((3, 2)), scipy.sparse.csr_array((0, 2))):
        result = eagle.lstsq(A, np.ones(A.shape[0]), method="compressed")
        assert (result.value == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 3), (530, 601)])
def test_loops_agree_with_products(dtype, order, shape):
    """Shapes with a remainder after tiles of 4, 64 and 256 rows, and more than one thread."""
    rng = np.random.default_rng(0)
    (d, n), size = shape, 16
    A = np.array(normal(rng, shape, dtype), dtype, order=order)
    right, left = (normal(rng, (k, 3), dtype).astype(dtype) for k in (n, d))
    first, second = loops.both(A, right, left)
    assert relative_error(first, A @ right) <= tolerance(dtype)
    assert relative_error(second, A.conj().T @ left) <= tolerance(dtype)
    places = rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1)[:, :4].astype(np.int32)
    signs = rng.choice([-1, 1], (n, 4)).astype(np.zeros(0, dtype).real.dtype)
    T = np.zeros((n, size), dtype)
    np.put_along_axis(T, places.astype(int), signs.astype(dtype), axis=1)
    assert relative_error(loops.sparse_sign(A, places, signs, size), A @ T) <= tolerance(dtype)
    stored = scipy.sparse.csr_array(np.where(np.abs(A) < 1, 0, A))
    sums = loops.sparse_sign_csr(stored, places, signs, size)
    assert relative_error(sums, stored @ T) <= tolerance(dtype)


def test_the_energy_of_an_array_tells_whether_it_is_finite():
    A = np.ones((3, 4), np.complex128)
    assert energy(A) == pytest.approx(12)
    assert energy(np.zeros((0, 3))) == 0
    assert np.isnan(energy(A[:, ::2]))  # that would take a copy
    A[1, 1] = complex(0, np.nan)
    assert not np.isfinite(energy(A))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_of_arrays_with_more_entries_than_blas_can_count(dtype, monkeypatch):
    monkeypatch.setattr("eagle.algebra.blas.MOST", 10)
    A = normal(np.random.default_rng(0), (7, 5), dtype).astype(dtype)
    assert norm(A) == pytest.approx(np.linalg.norm(A), rel=tolerance(dtype))
    assert energy(A) == pytest.approx(np.linalg.norm(A) ** 2, rel=tolerance(dtype))
    assert norm(1e30 * A[:, :1].real) > 0  # whose square would overflow in single precision
    A[3, 3] = np.inf
    assert not np.isfinite(energy(A))


def test_large_arrays_are_read_once_for_two_products(monkeypatch):
    monkeypatch.setattr("eagle.algebra.operand.LARGE", 100)
    rng = np.random.default_rng(0)
    A, X, Y = (rng.standard_normal(shape) for shape in ((30, 20), (20, 2), (30, 2)))
    first, second = both(A, X, Y)
    assert relative_error(first, A @ X) <= tolerance(np.float64)
    assert relative_error(second, A.T @ Y) <= tolerance(np.float64)


@pytest.mark.parametrize("magnitude", [1e-280, 1e280])
@pytest.mark.parametrize("method", ["direct", "eagle", "sketched", "auto"])
def test_entries_near_the_limits_leave_a_file_a_file(method, magnitude, tmp_path):
    given = system("tall", rank=5, condition=3)
    A = mapped(tmp_path, given.A * magnitude)
    result = eagle.solve(A, given.B * magnitude, given.C, method=method, rng=0)
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)


@pytest.mark.parametrize("dtype", [np.int8, np.bool_, np.float16])
def test_a_file_of_other_numbers_is_not_read_at_once(dtype, tmp_path):
    entries = np.random.default_rng(0).integers(0, 2, (30, 20)).astype(dtype)
    A = as_matrix("A", mapped(tmp_path, entries))
    assert isinstance(A, Mapped)
    np.testing.assert_array_equal(A.times(np.eye(20, dtype=A.dtype, order="F")), entries)
    b = entries.astype(float) @ np.ones(20)
    given = mapped(tmp_path, entries)
    for options in ({"method": "compressed"}, {"method": "sketched"}, {"memory_limit": 10**6}):
        value = eagle.lstsq(given, b, rng=0, **options).value
        assert relative_error(value, np.ones(20)) <= tolerance(np.float64, 1e3)


def test_entries_near_the_limits_leave_a_sparse_matrix_sparse():
    A = scipy.sparse.csr_array(np.diag([1e-280, 2e-280]))
    problem = Problem.create(as_matrix("A", A), None, np.eye(2))
    assert isinstance(problem.A, Sparse)
    assert A[0, 0] == 1e-280  # the user's own


@pytest.mark.parametrize("method", ["sketched", "compressed", "cg", "auto"])
def test_a_ridge_beside_a_file(method, tmp_path):
    given = system("tall", condition=3)
    A, ridge = given.A, 0.5
    value = eagle.solve(
        mapped(tmp_path, A), given.B, given.C, method=method, ridge=ridge, rng=0
    ).value
    expected = given.B @ np.linalg.solve(A.T @ A + ridge * np.eye(A.shape[1]), A.T @ given.C)
    assert relative_error(value, expected) <= 1e-7  # of conjugate gradients


def test_a_mapping_that_does_not_tell_whose_its_pages_are_keeps_them():
    """Private pages that are given back are lost, with what the user wrote to them."""
    entries = np.random.default_rng(0).standard_normal((300, 200))
    private = mmap.mmap(-1, entries.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    A = np.ndarray(entries.shape, buffer=private)
    A[:] = entries
    result = eagle.lstsq(A, entries[:, 0], method="cg", rng=0)
    np.testing.assert_array_equal(A, entries)
    assert result.converged


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_to_a_mapped_file_is_not_lost(mode, tmp_path):
    A = mapped(tmp_path, np.eye(3), mode=mode)
    A[0, 0] = 5.0
    value = eagle.pinv(A, method="compressed", rng=0)
    assert A[0, 0] == 5.0
    assert value[0, 0] == pytest.approx(0.2)


def test_a_callback_can_stop_a_solve_of_a_file(tmp_path):
    given = system("tall", condition=3)
    A = mapped(tmp_path, given.A)
    result = quietly(
        eagle.solve, A, given.B, given.C, method=eagle.Sketched(2), callback=lambda state: True
    )
    assert result.iterations == 1


@pytest.mark.parametrize("exponent", [1057, -1057])
def test_products_of_a_scaled_operand_are_exact_at_both_ends_of_the_range(exponent):
    units = np.array([[1.0, 3.0], [5.0, 2.0], [4.0, 7.0]])
    extreme = np.ldexp(units, -exponent) if exponent > 0 else np.ldexp(units, 1020)
    expected = units if exponent > 0 else np.ldexp(units, 1020 + exponent)
    A = Scaled(
        units.shape,
        units.dtype,
        Implicit(units.shape, units.dtype, aslinearoperator(extreme)),
        exponent,
    )
    np.testing.assert_array_equal(A.times(np.eye(2)), expected)
    np.testing.assert_array_equal(A.adjoint_times(np.eye(3)), expected.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("kind", ["sparse", "file", "turned file"])
def test_gram_matrices_from_blocks_are_those_of_the_array(
    kind, wide, dtype, tmp_path, monkeypatch, rng
):
    monkeypatch.setattr("eagle.algebra.operand.ROWS", 7)
    monkeypatch.setattr("eagle.algebra.operand.PIECE", 300)  # bytes
    tall = normal(rng, (20, 4), dtype)
    A = tall.conj().T if wide else tall
    if kind == "sparse":
        given = Sparse(A.shape, A.dtype, scipy.sparse.csr_array(A))
    elif kind == "file":
        given = as_matrix("A", mapped(tmp_path, A, order="F" if wide else "C"))
    else:
        other = mapped(tmp_path, A.conj().T, order="C" if wide else "F")
        given = as_matrix("A", other).adjoint()
    G, bound = tall.conj().T @ tall, tolerance(dtype)
    assert relative_error(np.triu(blas.smaller_gram(given)), np.triu(G)) <= bound
    assert relative_error(given.T.times(np.eye(len(A), dtype=dtype)), A.T) <= bound
    R = np.asfortranarray(np.triu(normal(rng, (4, 4), dtype)) + 4 * np.eye(4, dtype=dtype))
    scale = np.array([1.0, 2.0, 0.5, 4.0])
    whole = tall * scale.astype(tall.real.dtype) @ np.linalg.inv(R)
    found = blas.conditioned_gram(given, scale, R)
    assert relative_error(np.triu(found), np.triu(whole.conj().T @ whole)) <= 10 * bound
