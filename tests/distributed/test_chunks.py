"""Dask arrays, cut either way: the answers of arrays in memory, on real workers too."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

da = pytest.importorskip("dask.array")
pytest.importorskip("distributed")

import dask

import eagle
from eagle import chunks
from eagle.methods.cross import Cross
from tests.systems import DTYPES, normal, system
from tests.tolerances import relative_error, tolerance

CUTS = {"rows": (9, -1), "columns": (-1, 4), "both": (33, 5), "one": (-1, -1)}


@pytest.fixture(autouse=True)
def in_this_thread():
    """Scheduled here, unless a test has a cluster."""
    with dask.config.set(scheduler="synchronous"):
        yield


def cut(X, how):
    rows, columns = CUTS[how]
    return da.from_array(X, chunks=(rows, columns) if X.ndim == 2 else (rows,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["rows", "columns", "both"])
@pytest.mark.parametrize("method", ["auto", "tsqr", "gram", "compressed"])
@pytest.mark.parametrize("kind", ["consistent", "inconsistent C"])
def test_lstsq_is_that_of_arrays(dtype, how, method, kind):
    given = system((150, 12), dtype=dtype, kind=kind)
    result = eagle.lstsq(cut(given.A, how), cut(given.C, how), method=method, rng=0)
    wanted = given.pinv @ given.C
    assert isinstance(result.value, np.ndarray)
    assert result.value.dtype == dtype
    error = relative_error(result.value, wanted)
    assert error < tolerance(dtype, 100)
    assert result.converged
    assert error <= 10 * result.error_estimate


@pytest.mark.parametrize("shape", [(150, 12), (12, 150)])
@pytest.mark.parametrize("how", ["rows", "columns", "both"])
@pytest.mark.parametrize("method", ["auto", "tsqr", "gram", "compressed", "cg"])
def test_solve_is_that_of_arrays_along_either_side(shape, how, method):
    given = system(shape, kind="both inconsistent")
    blocks = (cut(X, how) for X in (given.A, given.B, given.C))
    result = eagle.solve(*blocks, method=method, rng=0)
    limit = 1e-6 if method == "cg" else tolerance(float, 100)
    assert relative_error(result.value, given.value) < limit
    assert relative_error(result.value, given.value) <= 10 * result.error_estimate
    wanted = np.linalg.norm(given.B - given.W @ given.A) / np.linalg.norm(given.B)
    if method in ("auto", "tsqr", "gram"):  # others estimate it from probes
        assert result.inconsistency == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_only_one_of_them_need_be_chunks():
    given = system((150, 12))
    x = given.pinv @ given.C
    for A, C in ((cut(given.A, "rows"), given.C), (given.A, cut(given.C, "rows"))):
        assert relative_error(eagle.lstsq(A, C, rng=0).value, x) < tolerance(float, 10)
    vector = eagle.lstsq(cut(given.A, "rows"), cut(given.C[:, 0], "rows"), rng=0)
    assert relative_error(vector.value, x[:, 0]) < tolerance(float, 10)
    wide = system((12, 150))
    found = eagle.estimate(cut(wide.A, "columns"), wide.B, rng=0)
    assert relative_error(found.value, wide.W) < tolerance(float, 10)


@pytest.mark.parametrize("options", [{"ridge": 0.1}, {"rank": 5}, {"cutoff": 0.3}])
def test_ridge_rank_and_cutoff_are_those_of_arrays(options):
    given = system((150, 12), kind="both inconsistent")
    wanted = eagle.solve(given.A, given.B, given.C, rng=0, **options).value
    blocks = (cut(X, "both") for X in (given.A, given.B, given.C))
    found = eagle.solve(*blocks, rng=0, **options)
    assert relative_error(found.value, wanted) < tolerance(float, 1e3)
    if "ridge" in options:
        blocks = (cut(X, "both") for X in (given.A, given.B, given.C))
        found = eagle.solve(*blocks, method="gram", rng=0, **options)
        assert isinstance(found.method, chunks.Gram)
        assert relative_error(found.value, wanted) < tolerance(float, 1e3)


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e10])
def test_gram_contracts_or_gives_way_to_factors(condition):
    given = system((200, 12), condition=condition)
    result = eagle.lstsq(cut(given.A, "rows"), given.C, method="gram", rng=0)
    error = relative_error(result.value, given.pinv @ given.C)
    assert error < tolerance(float, condition)
    assert error <= result.error_estimate
    assert isinstance(result.method, chunks.Gram if condition < 1e8 else chunks.TSQR)


def test_rank_deficient_data_have_the_least_norm():
    given = system((150, 12), rank=5)
    result = eagle.lstsq(cut(given.A, "both"), cut(given.C, "both"), rng=0)
    assert relative_error(result.value, given.pinv @ given.C) < tolerance(float, 100)
    assert result.rank == 5


@pytest.mark.parametrize("way", ["cross", "sketch", "sampled"])
def test_low_rank_of_both_sides(way, monkeypatch):
    monkeypatch.setattr(chunks, "SHORT", 50)
    given = system((300, 200), rank=7, kind="consistent")
    A, B, C = given.A.copy(), given.B, given.C
    if way == "sketch":  # a row that no look sees carries most of A
        A[5] = 1e3 * normal(np.random.default_rng(0), (200,), float)
        rng = np.random.default_rng(1)
        B, C = normal(rng, (3, 300), float) @ A, A @ normal(rng, (200, 2), float)
    value = B @ np.linalg.pinv(A, rcond=1e-10) @ C
    blocks = [da.from_array(X, chunks=c) for X, c in ((A, (70, 60)), (B, (3, 60)), (C, (70, 2)))]
    options = {"certificate": "sampled"} if way == "sampled" else {}
    products = []
    monkeypatch.setattr(
        chunks.Chunked,
        "_product",
        lambda self, A, X: products.append(A.shape) or np.asfortranarray((A @ X).compute()),
    )
    looks = {seed: np.random.default_rng(seed).permutation(300)[:128] for seed in range(9)}
    unseen = next(seed for seed, rows in looks.items() if 5 not in rows)
    result = eagle.solve(*blocks, rng=unseen, **options)
    assert relative_error(result.value, value) < tolerance(float, 1e5)
    assert isinstance(result.method, eagle.Compressed if way == "sketch" else Cross)
    said = "A was not read" if way == "sampled" else "20 chunks, which multiply where they are"
    assert said in result.plan
    assert bool(products) == (way != "sampled")
    with pytest.raises(ValueError, match="method='tsqr' needs a side of A with shape"):
        eagle.solve(*blocks, method="tsqr")


# Many small problems


@pytest.mark.parametrize("chunked_landmarks", [False, True])
def test_nystrom_stays_in_chunks(rng, chunked_landmarks):
    X = rng.standard_normal((90, 2))
    K = np.exp(-((X[:, None] - X) ** 2).sum(axis=2))
    K_mm, K_nm, K_mq = K[:10, :10], K[:, :10], K[:10, :7]
    landmarks = da.from_array(K_mm, chunks=4) if chunked_landmarks else K_mm
    rows = da.from_array(K_nm, chunks=(25, 6))
    wanted = eagle.nystrom(K_mm, K_nm, K_mq, rng=0).value
    result = eagle.nystrom(landmarks, rows, K_mq, rng=0)
    assert isinstance(result.value, da.Array)
    assert result.value.chunks == ((25, 25, 25, 15), (7,))
    limit = tolerance(float, np.linalg.cond(K_mm))
    assert relative_error(result.value.compute(), wanted) < limit
    square = eagle.nystrom(landmarks, rows, rng=0).value
    assert square.chunks == ((25, 25, 25, 15),) * 2
    assert relative_error(square.compute()[:, :7], wanted) < limit
    with pytest.raises(ValueError, match=r"K_nm with shape .* must have as many columns as K_mm"):
        eagle.nystrom(K_mm[:9, :9], rows)
    with pytest.raises(ValueError, match=r"K_nm has chunks of unknown size"):
        eagle.nystrom(K_mm, rows[rows[:, 0] > 0.5])


def test_chunks_may_be_sparse(rng):
    A = rng.standard_normal((60, 6)) * (rng.random((60, 6)) < 0.5)
    b = rng.standard_normal(60)
    chunks = da.from_array(A, chunks=(20, 3)).map_blocks(scipy.sparse.csr_array)
    x = eagle.lstsq(chunks, da.from_array(b, chunks=20), rng=0).value
    assert relative_error(x, eagle.lstsq(A, b, rng=0).value) < tolerance(float, np.linalg.cond(A))


# On workers


@pytest.fixture(scope="module")
def cluster():
    """What two processes answered, of which one was killed three times."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.distributed.cluster"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("method", ["tsqr", "gram", "compressed"])
def test_a_worker_that_is_killed_changes_nothing(cluster, method):
    assert cluster[method] == {"same": True, "in_the_middle": True, "gone": True}


def test_what_comes_back_is_small(cluster):
    """No chunk is fetched, but a factor: a thousandth of the data."""
    assert cluster["small"]["share"] < 1e-3
    assert cluster["small"]["error"] < tolerance(float, 10)


# Bad input


@pytest.mark.parametrize("method", ["tsqr", "gram", "compressed"])
@pytest.mark.parametrize("where", ["A", "b"])
def test_nan_is_found_in_its_chunk(rng, method, where):
    blocks = {"A": rng.standard_normal((90, 6)), "b": rng.standard_normal((90, 2))}
    blocks[where][71, 1] = np.nan
    A, b = (da.from_array(X, chunks=(10, 3)) for X in blocks.values())
    with pytest.raises(ValueError, match=rf"chunk \(7, 0\) of {where} contains NaN or infinity"):
        eagle.lstsq(A, b, method=method, rng=0)


def test_what_cannot_be_done_is_one_sentence(rng):
    A, b = (
        da.from_array(X, chunks=20) for X in (rng.standard_normal((60, 6)), rng.standard_normal(60))
    )
    with pytest.raises(ValueError, match=r"A has chunks of unknown size: call A\.compute_chunk"):
        eagle.lstsq(A[A[:, 0] > 0], b)
    with pytest.raises(ValueError, match=r"b with shape \(59,\)|C with shape \(59,\)"):
        eagle.lstsq(A, b[:59])
    with pytest.raises(ValueError, match="method='eagle' needs A in memory"):
        eagle.lstsq(A, b, method="eagle")
    with pytest.raises(ValueError, match="method='lsmr' takes every right-hand side by itself"):
        eagle.lstsq(A, b, method="lsmr")
    with pytest.raises(ValueError, match="rank cannot be honoured by method='gram'"):
        eagle.lstsq(A, b, method="gram", rank=2)
    with pytest.raises(ValueError, match="callback is for arrays in memory"):
        eagle.lstsq(A, b, callback=print)
    with pytest.raises(TypeError, match="its pseudo-inverse would be as large"):
        eagle.pinv(A)
    with pytest.raises(TypeError, match="A must be numeric"):
        eagle.lstsq(A.astype(str), b)
    with pytest.raises(ValueError, match="A must be 2-D, got shape"):
        eagle.lstsq(A[None], b)


@pytest.mark.parametrize("certificate", ["read", "sampled"])
def test_where_a_look_sees_zeros_alone_a_is_sketched(certificate, monkeypatch):
    """One entry of A in 90,000 is not zero."""
    monkeypatch.setattr(chunks, "SHORT", 50)
    A = np.zeros((300, 300))
    A[5, 7] = 2.0
    B, C = A[5:6], A[:, 7:8]
    result = eagle.solve(da.from_array(A, chunks=90), B, C, certificate=certificate, rng=3)
    assert relative_error(result.value, [[2.0]]) <= tolerance(float)


def test_a_sample_that_does_not_tell_enough_is_followed_by_all_of_a(rng):
    A, B, C = (cut(rng.standard_normal(shape), "rows") for shape in ((90, 6), (2, 6), (90, 2)))
    result = eagle.solve(A, B, C, certificate="sampled", rng=0)
    assert result.plan.startswith("some rows and columns did not tell enough, A was read; ")
    right = np.asarray(B) @ np.linalg.pinv(np.asarray(A)) @ np.asarray(C)
    assert relative_error(result.value, right) < tolerance(float, 100)


def test_a_solve_that_fails_says_so(rng):
    U = np.linalg.qr(rng.standard_normal((60, 6)))[0]
    A = da.from_array(U * np.logspace(0, -13, 6), chunks=(20, -1))
    with pytest.warns(eagle.ConvergenceWarning, match="TSQR ended with status STAGNATED"):
        eagle.lstsq(A, da.from_array(rng.standard_normal(60), chunks=20), rng=0)


def test_estimators_refuse_chunks():
    pytest.importorskip("sklearn")
    from eagle.estimators import BlockImputer, EagleRegressor, Nystroem, NystroemRidge

    X = da.ones((20, 3), chunks=5)
    for kind in (BlockImputer, EagleRegressor, Nystroem, NystroemRidge):
        with pytest.raises(TypeError, match=f"X is a Dask collection, which {kind.__name__}"):
            kind().fit(X, np.ones(20))
    with pytest.raises(TypeError, match="y is a Dask collection"):
        EagleRegressor().fit(np.ones((20, 3)), X[:, 0])


def test_dask_is_imported_for_its_arrays_only():
    code = "import eagle, sys; eagle.lstsq([[1.0]], [1.0], rng=0); assert 'dask' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=300, check=False).returncode == 0
