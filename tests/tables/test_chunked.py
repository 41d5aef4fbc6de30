"""Dask arrays with holes: the filling of arrays in memory, chunk by chunk."""

from __future__ import annotations

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

import dask

import eagle
from tests.tolerances import relative_error


@pytest.fixture(autouse=True)
def in_this_thread():
    """Scheduled here."""
    with dask.config.set(scheduler="synchronous"):
        yield


def table(n=300, noise=0.1, seed=0, dtype=float):
    """Of rank 3 about means, columns of unlike units."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)) @ rng.standard_normal((3, 8)) + 2
    return ((X + noise * rng.standard_normal(X.shape)) * 10.0 ** np.arange(-3, 5)).astype(dtype)


def holes(X, *patterns):
    """Rows of a stride each that miss these columns."""
    missing = np.zeros(X.shape, bool)
    for i, columns in enumerate(patterns):
        missing[i :: 2 * len(patterns) + 1, columns] = True
    return missing


CUTS = {"rows": (37, -1), "both": (50, 3), "columns": (-1, 5)}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("options", [{}, {"rank": 3}, {"ridge": 0.1, "rank": None}])
def test_it_is_what_arrays_give(cut, options):
    X = table()
    missing = holes(X, [5, 6, 7])
    holed = np.where(missing, np.nan, X)
    plain = eagle.complete(holed, rng=0, **options)
    done = eagle.complete(da.from_array(holed, chunks=CUTS[cut]), rng=0, **options)
    assert isinstance(done.X, da.Array)
    deviations = plain.column_deviations
    for name in ("X", "lower", "upper"):
        ours, theirs = getattr(done, name).compute(), getattr(plain, name)
        assert np.abs((ours - theirs) / deviations).max() <= 1e-9
    assert np.array_equal(done.missing.compute(), missing)
    assert np.array_equal(done.counts, plain.counts)
    assert np.allclose(done.column_errors[5:], plain.column_errors[5:], rtol=1e-9)
    assert np.isnan(done.column_errors[:5]).all()
    assert done.error_estimate == pytest.approx(plain.error_estimate, rel=1e-9)
    assert done.standardized_error == pytest.approx(plain.standardized_error, rel=1e-9)
    assert str(done).splitlines()[:3] == str(plain).splitlines()[:3]
    (group,), (other,) = done.groups, plain.groups
    assert np.array_equal(group.rows, other.rows)
    assert (group.scaling, group.rank, group.ridge) == (other.scaling, other.rank, other.ridge)


@pytest.mark.parametrize("scaling", ["none", "mean", "standard", "effects", "cv"])
def test_all_complete_rows_fit_what_some_have_chosen(scaling, monkeypatch):
    """With more of them than are looked at here, fitted as if all were."""
    X = table(2000)
    missing = holes(X, [6, 7])
    holed = np.where(missing, np.nan, X)
    plain = eagle.complete(holed, scaling=scaling, ridge=1e-3, rank=None, rng=0)
    for module in ("validation", "chunked"):
        monkeypatch.setattr(f"eagle.tables.{module}.MOST", 200)
    chunks = da.from_array(holed, chunks=(170, -1))
    done = eagle.complete(chunks, scaling=scaling, ridge=1e-3, rank=None, rng=0)
    assert done.groups[0].scaling == plain.groups[0].scaling
    filled = done.X.compute()
    assert np.array_equal(filled[~missing], X[~missing])
    if scaling in ("standard", "cv"):  # in scales of the rows that were looked at
        assert done.standardized_error == pytest.approx(plain.standardized_error, rel=0.2)
    else:
        assert relative_error(filled[missing], plain.X[missing]) <= 1e-9
    scaled = ((filled - X) / plain.column_deviations)[missing]
    assert np.sqrt((scaled**2).mean()) <= 1.5 * done.standardized_error
    inside = (done.lower.compute() <= X) & (done.upper.compute() >= X)
    assert 0.85 <= inside[missing].mean() <= 0.95


def test_a_curved_table_gets_its_kernel_from_all_rows(monkeypatch):
    for module in ("validation", "chunked"):
        monkeypatch.setattr(f"eagle.tables.{module}.MOST", 300)
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, (1500, 2))
    X = np.column_stack([t, np.sin(2 * t[:, 0]) * t[:, 1], t[:, 1] ** 2])
    X += 0.02 * rng.standard_normal(X.shape)
    missing = holes(X, [2, 3])
    done = eagle.complete(da.from_array(np.where(missing, np.nan, X), chunks=(400, -1)), rng=0)
    assert done.groups[0].scaling.startswith("kernel")
    assert np.sqrt((((done.X.compute() - X) / X.std(axis=0))[missing] ** 2).mean()) < 0.1


@pytest.mark.parametrize("dtype", [np.float32, complex])
def test_the_dtype_stays(dtype):
    X = table(dtype=dtype)
    missing = holes(X, [5, 6], [0])
    done = eagle.complete(da.from_array(np.where(missing, np.nan, X), chunks=(64, -1)), rng=0)
    assert done.X.dtype == done.X.compute().dtype == dtype
    assert len(done.groups) == 2
    assert np.isnan(done.lower.compute()[missing]).all() == (dtype is complex)


def test_masks_bounds_and_tables_without_holes():
    X = table()
    missing = holes(X, [5, 6, 7])
    chunks = da.from_array(X, chunks=(64, -1))
    masked = eagle.complete(chunks, mask=missing, maximum=2e4, rng=0)
    plain = eagle.complete(X, mask=missing, maximum=2e4, rng=0)
    assert masked.clipped == plain.clipped > 0
    assert masked.X.compute()[missing].max() == 2e4
    whole = eagle.complete(chunks, rng=0)
    assert (whole.error_estimate, whole.groups, whole.counts.sum()) == (0.0, (), 0)
    assert np.array_equal(whole.X.compute(), X)
    assert "nothing was missing" in str(whole)


def test_chunks_are_read_where_they_are_and_little_comes_back():
    """Of a million numbers, some thousand rows and small matrices."""
    sent = []

    def watched(dsk, keys, **options):
        found = dask.get(dsk, keys, **options)
        sent.append(sum(x.nbytes for x in dask.core.flatten(found) if isinstance(x, np.ndarray)))
        return found

    X = table(120_000)
    missing = holes(X, [6, 7])
    chunks = da.from_array(np.where(missing, np.nan, X), chunks=(20_000, -1))
    with dask.config.set(scheduler=watched):
        eagle.complete(chunks, scaling="standard", rng=0)
    assert sum(sent) < X.nbytes / 10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X.__setitem__((70, 3), np.inf), ValueError, "infinity at row 70, column 3"),
        (lambda X: X.__setitem__(70, np.nan), ValueError, "no entry of row 70 of X is observed"),
        (
            lambda X: X.__setitem__((slice(None), 2), np.nan),
            ValueError,
            "no entry of column 2 of X is observed",
        ),
        (
            lambda X: X.__setitem__((np.arange(300), np.arange(300) % 8), np.nan),
            ValueError,
            "scattered, which takes the whole table",
        ),
    ],
)
def test_what_nothing_can_fill_is_named(change, error, message):
    X = table()
    change(X)
    with pytest.raises(error, match=message):
        eagle.complete(da.from_array(X, chunks=(64, -1)), rng=0)


def test_what_cannot_be_done_is_one_sentence():
    X = table()
    X[::3, 5:] = np.nan
    chunks = da.from_array(X, chunks=(64, -1))
    for options, message in (
        ({"treated": {0: 3}}, "treated is for tables in memory"),
        ({"progress": True}, "progress is for arrays in memory"),
        ({"mask": np.zeros((2, 2), bool)}, "must have the shape of X"),
        ({"rank": 9}, "rank must be at most 5"),
    ):
        with pytest.raises(ValueError, match=message):
            eagle.complete(chunks, rng=0, **options)
    with pytest.raises(TypeError, match="mask is a Dask array and X is not"):
        eagle.complete(X, mask=da.zeros(X.shape, dtype=bool))
    unknown = chunks[chunks[:, 0] > 2]
    with pytest.raises(ValueError, match="unknown size"):
        eagle.complete(unknown, rng=0)
