"""Frames of pandas and polars: what came in comes back, with its holes filled."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

import eagle

X = np.outer(np.arange(1.0, 9), [1, 2, 3])  # rank one
GONE = [6, 7]


def frame(**columns: object) -> pd.DataFrame:
    """Three columns that are multiples of each other, the second with two holes."""
    kinds = {"a": float, "b": float, "c": float, **columns}
    second = [None if i in GONE else each for i, each in enumerate(X[:, 1].tolist())]
    whole = {"a": X[:, 0].tolist(), "b": second, "c": X[:, 2].tolist()}
    return pd.DataFrame({name: pd.array(whole[name], kinds[name]) for name in whole})


KINDS = {
    "float64": ({}, "float64"),
    "float32": ({"b": "float32"}, "float32"),
    "nullable": ({"a": "Int64", "b": "Float64", "c": "Float32"}, "Float64"),
    "nullable integers": ({"b": "Int64"}, "Float64"),
    "arrow": ({"a": "int64[pyarrow]", "b": "double[pyarrow]"}, "double[pyarrow]"),
    "arrow integers": ({"b": "int64[pyarrow]"}, "double[pyarrow]"),
    "objects": ({"a": object, "b": object}, "object"),
}


@pytest.mark.parametrize("case", KINDS)
def test_pandas_dtypes_index_and_names_stay(case):
    kinds, kept = KINDS[case]
    table = frame(**kinds)
    table.index = pd.Index(list("pqrstuvw"), name="place")
    before = table.copy()
    done = eagle.complete(table, rng=0)
    assert isinstance(done.X, pd.DataFrame)
    pd.testing.assert_index_equal(done.X.index, before.index)
    assert done.X["b"].iloc[GONE].to_numpy(float) == pytest.approx(X[GONE, 1], rel=1e-6)
    assert str(done.X["b"].dtype) == kept
    for name in "ac":
        pd.testing.assert_series_equal(done.X[name], before[name])
    pd.testing.assert_frame_equal(table, before)
    assert isinstance(done.lower, pd.DataFrame)
    assert done.columns == ("a", "b", "c")


def test_double_names_and_names_of_several_levels_are_no_trouble():
    table = frame()
    for names in (["a", "a", "a"], pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)])):
        table.columns = names
        done = eagle.complete(table, rng=0)
        pd.testing.assert_index_equal(done.X.columns, table.columns)
        assert done.X.to_numpy() == pytest.approx(X)


def test_columns_without_numbers_are_left_alone_and_named():
    table = frame()
    table.insert(1, "kind", pd.Categorical(["x", None] * 4))
    table["day"] = pd.date_range("2020", periods=8)
    table["sure"] = [True, False] * 4
    table["note"] = ["n", None] * 4
    done = eagle.complete(table, rng=0)
    assert done.ignored == ("kind", "day", "sure", "note")
    assert "left alone      kind, day, sure, note (no numbers)" in str(done)
    for name in done.ignored:
        pd.testing.assert_series_equal(done.X[name], table[name])
    assert done.X["b"].to_numpy() == pytest.approx(X[:, 1])


def test_polars_in_polars_out():
    table = pl.DataFrame(
        {
            "name": list("pqrstuvw"),
            "a": X[:, 0],
            "b": [None if i in GONE else each for i, each in enumerate(X[:, 1].tolist())],
            "c": X[:, 2].astype(int),
        },
        schema_overrides={"b": pl.Float32},
    )
    done = eagle.complete(table, rng=0)
    assert isinstance(done.X, pl.DataFrame)
    assert done.X.schema == table.schema
    assert done.X.columns == table.columns
    assert done.X["b"].to_numpy() == pytest.approx(X[:, 1])
    assert done.ignored == ("name",)
    assert isinstance(done.upper, pl.DataFrame)


def test_nothing_missing_gives_an_equal_frame():
    table = frame().fillna(1.0)
    done = eagle.complete(table)
    pd.testing.assert_frame_equal(done.X, table)
    assert done.X is not table
    assert "nothing was missing" in str(done)


def test_rows_and_columns_are_named_in_what_is_refused():
    table = frame()
    table.index = list("pqrstuvw")
    table.loc["r"] = np.nan
    with pytest.raises(ValueError, match=r"no entry of row 'r' of X is observed"):
        eagle.complete(table)
    table = frame().assign(d=np.nan)
    with pytest.raises(ValueError, match=r"no entry of column 'd' of X is observed"):
        eagle.complete(table)
    table = frame().assign(d=[1, 2, "three", 4, 5, 6, 7, 8])
    table.index = list("pqrstuvw")
    with pytest.raises(ValueError, match=r"numbers and words in column 'd': 'three' in row 'r"):
        eagle.complete(table)
    table = frame()
    table.iloc[2, 0] = np.inf
    with pytest.raises(ValueError, match=r"contains infinity at row 2, column 'a'"):
        eagle.complete(table)
    with pytest.raises(ValueError, match=r"X has no column of numbers: columns 'a', 'b'"):
        eagle.complete(pd.DataFrame({"a": ["x"], "b": ["y"]}))


def test_a_frame_of_a_kind_that_others_have_derived_is_filled_by_position():
    class Map(pd.DataFrame):
        @property
        def _constructor(self):
            return Map

    table = Map(np.outer([1.0, 2, 3, 4], [1, 2, 3]), columns=["a", "b", "b"])
    table.iloc[3, 2] = np.nan
    filled = eagle.complete(table, rng=0).X
    assert isinstance(filled, Map)
    assert list(filled.columns) == ["a", "b", "b"]
    assert filled.iloc[3, 2] == pytest.approx(12)


def test_a_frame_of_another_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(TypeError, match=r"needs narwhals: pip install 'eagle-solver\[frames\]'"):
        eagle.complete(pl.DataFrame({"a": [1.0, None], "b": [1.0, 2.0]}))


def test_importing_eagle_imports_no_library_of_frames():
    import subprocess

    code = (
        "import sys, eagle; heavy = {'pandas', 'polars', 'narwhals', 'matplotlib', 'sklearn', "
        "'openpyxl', 'pyarrow'}; print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
