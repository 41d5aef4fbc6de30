"""``eagle complete``: tables are kept to the byte, filled as the library does, refused by place."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eagle
from eagle import csvfile, tables
from eagle.cli import main
from tests.files import MISSING, SHOPS, SUFFIXES, load, names, refused, same, save, shops


def test_complete_keeps_a_csv_to_the_byte(folder, capsys):
    Path("shops.csv").write_text(SHOPS)
    assert main(["complete", "shops.csv", "-o", "filled.csv"]) == 0
    pattern = (
        re.escape(SHOPS)
        .replace("40,,,160", "40,(.*),(.*),160")
        .replace(r"10,\ NA\ ,", "10,(.*),(.*)")
        .replace(r"8\.00,,,", r"8\.00,(.*),(.*),")
    )
    match = re.fullmatch(pattern, Path("filled.csv").read_text())
    assert match is not None
    done = eagle.complete(shops(), rng=0)
    same(np.array(match.groups(), np.float64), done.X[tuple(np.transpose(MISSING))])
    out, err = capsys.readouterr()
    assert err == ""
    assert out == f"{done}\n  kept            header and labels\n  written to      filled.csv\n"
    assert Path("shops.csv").read_text() == SHOPS


ODD = {
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "no last newline": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: "\n" + text.replace("\neast", "\n\neast") + "\n\n",
    "semicolons": lambda text: text.replace("far", "f; ar").replace(",", ";"),
    "tabs": lambda text: text.replace("west, far", "west\t far").replace(",", "\t"),
    "byte order mark": lambda text: "\ufeff" + text,
    "latin": lambda text: text.replace("north", "n\udcf6rd"),
    "other words": lambda text: text.replace(" NA ", '"n/a"').replace(",,,", ",NULL,NaN,"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_csv_files_are_kept_to_the_byte(case, folder):
    raw = ODD[case](SHOPS).encode("utf-8", "surrogateescape")
    Path("odd.csv").write_bytes(raw)
    assert main(["complete", "odd.csv", "-o", "odd.csv"]) == 0
    after = Path("odd.csv").read_bytes()
    expected = eagle.complete(shops(), rng=0).X
    same(csvfile.read(after).values, expected)
    old, new = (csvfile.read(each) for each in (raw, after))
    assert joined(old) == raw
    for i, j in MISSING:
        row = old.body[i]
        assert re.fullmatch(r"\d+\.\d+", new.cells[row][1 + j])
        new.cells[row][1 + j] = old.cells[row][1 + j]
    assert joined(new) == raw


def joined(csv: csvfile.Csv) -> bytes:
    """The text that the cells were read from."""
    rows = zip(csv.cells, csv.ends, strict=True)
    pieces = [raw + end for row in rows for raw, end in zip(*row, strict=True)]
    return "".join(pieces).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("output", SUFFIXES)
def test_complete_is_the_librarys_in_every_format(suffix, output, folder):
    table = save(Path("table" + suffix), shops())
    assert main(["complete", str(table), "-o", "filled" + output, "--seed", "5"]) == 0
    same(load(Path("filled" + output)), eagle.complete(shops(), rng=5).X)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_input_and_output_may_be_one_file(suffix, folder):
    table = save(Path("table" + suffix), shops())
    table.chmod(0o640)
    assert main(["complete", str(table), "-o", str(table)]) == 0
    same(load(table), eagle.complete(shops(), rng=0).X)
    assert names(folder) == [table.name]
    assert stat.S_IMODE(table.stat().st_mode) == 0o640


def test_new_files_have_ordinary_permissions(folder):
    save(Path("table.npy"), shops())
    assert main(["complete", "table.npy", "-o", "filled.npy"]) == 0
    assert Path("filled.npy").stat().st_mode == Path("table.npy").stat().st_mode


def test_a_link_stays_a_link(folder):
    save(Path("table.npy"), shops())
    Path("link.npy").symlink_to("table.npy")
    assert main(["complete", "link.npy", "-o", "link.npy"]) == 0
    assert Path("link.npy").is_symlink()
    assert np.isfinite(np.load("table.npy")).all()


def test_single_precision_stays(folder):
    np.save("table.npy", shops().astype(np.float32))
    assert main(["complete", "table.npy", "-o", "filled.npy"]) == 0
    assert np.load("filled.npy").dtype == np.float32


def test_a_npz_keeps_its_other_arrays(folder, capsys):
    np.savez("all.npz", sales=shops(), count=np.arange(3), note=np.array("text"))
    message = refused(capsys, "complete", "all.npz", "-o", "all.npz")
    assert message == "all.npz: holds 3 arrays, choose one by its name: sales, count, note"
    message = refused(capsys, "complete", "all.npz", "-o", "all.npz", "--key", "sale")
    assert message == "all.npz: holds no array 'sale', but: sales, count, note"
    assert main(["complete", "all.npz", "-o", "all.npz", "--key", "sales"]) == 0
    with np.load("all.npz") as after:
        assert set(after) == {"sales", "count", "note"}
        same(after["sales"], eagle.complete(shops(), rng=0).X)
        np.testing.assert_array_equal(after["count"], np.arange(3))
        assert after["note"] == "text"


def test_a_parquet_keeps_its_frame(folder):
    frame = pd.DataFrame(shops(), columns=["jan", "feb", "mar", "apr"])
    frame.insert(0, "shop", list("abcdef"))
    frame["jan"] = frame["jan"].astype(np.int32)
    frame["feb"] = frame["feb"].astype(np.float32)
    frame.index = pd.Index([3, 1, 4, 1, 5, 9], name="number")
    frame.to_parquet("shops.parquet")
    assert main(["complete", "shops.parquet", "-o", "filled.parquet"]) == 0
    after = pd.read_parquet("filled.parquet")
    pd.testing.assert_series_equal(after.dtypes, frame.dtypes)
    pd.testing.assert_index_equal(after.index, frame.index)
    pd.testing.assert_frame_equal(after.where(frame.notna()), frame)
    expected = eagle.complete(shops(), rng=0).X
    same(after.iloc[:, 1:].to_numpy(), expected, np.float32)
    assert main(["complete", "shops.parquet", "-o", "filled.csv"]) == 0
    assert Path("filled.csv").read_text().startswith(",jan,feb,mar,apr\na,10.0,21.0,30.0,40.0\n")


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--rank", "1"], {"rank": 1}),
        (["--rank", "none"], {"rank": None}),
        (["--rank", "cv", "--seed", "1"], {"rank": "cv", "rng": 1}),
        (["--ridge", "10"], {"rank": None, "ridge": 10.0}),
        (["--cutoff", "0.1"], {"rank": None, "cutoff": 0.1}),
        (["--rank", "none", "--method", "cg"], {"rank": None, "method": "cg"}),
    ],
)
def test_complete_passes_its_options_on(flags, options, folder):
    save(Path("table.npy"), shops())
    assert main(["complete", "table.npy", "-o", "filled.npy", *flags]) == 0
    expected = eagle.complete(shops(), **{"rng": 0, **options}).X
    same(np.load("filled.npy"), expected)


def test_a_completion_that_does_not_converge_writes_and_warns(folder, capsys):
    save(Path("table.npy"), shops())
    argv = ["complete", "table.npy", "-o", "filled.npy", "--rank", "none"]
    assert main([*argv, "--method", "gd", "--maxiter", "1"]) == 1
    out, err = capsys.readouterr()
    assert out.endswith("  written to      filled.npy\n")
    assert re.fullmatch(r"eagle complete: warning: not converged \(MAX_ITERATIONS, .*\n", err)
    assert np.isfinite(np.load("filled.npy")).all()


GUESSES = {
    "header and labels": ("x,a,b\np,1,2\nq,3,\n", ("a", "b"), ("p", "q")),
    "header": ("a,b\n1,2\n3,\n", ("a", "b"), None),
    "labels": ("p,1,2\nq,3,\n", None, ("p", "q")),
    "neither": ("1,2\n3,\n", None, None),
    "years": ("city,1999,2000,2001\np,1,2,3\nq,3,,6\n", ("1999", "2000", "2001"), ("p", "q")),
    "prices": ("p,1500,1999\nq,3000,\n", None, ("p", "q")),
    "nameless labels": (",a,b\n1,1,2\n2,3,\n", ("a", "b"), ("1", "2")),
    "numbered rows": ("id,a,b\n1,1,2\n2,3,\n", ("a", "b"), ("1", "2")),
    "one column": ("a\n1\n", ("a",), None),
}


@pytest.mark.parametrize("case", GUESSES)
def test_headers_and_labels_are_recognised(case):
    text, columns, labels = GUESSES[case]
    csv = csvfile.read(text.encode())
    assert (csv.columns, csv.labels) == (columns, labels)


def test_headers_and_labels_can_be_said(folder, capsys):
    Path("years.csv").write_text("2000,2010\n1,2\n2,\n")
    assert main(["complete", "years.csv", "-o", "filled.csv", "--header"]) == 0
    assert "kept            header\n" in capsys.readouterr().out
    assert Path("filled.csv").read_text().startswith("2000,2010\n1,2\n2,4.0")
    assert main(["complete", "years.csv", "-o", "filled.csv", "--no-header"]) == 0
    assert "kept" not in capsys.readouterr().out
    assert "3 x 2" not in Path("filled.csv").read_text()
    assert main(["complete", "years.csv", "-o", "filled.csv", "--labels"]) == 2


BAD_CSVS = {
    "text": ("s,a,b\np,1,2\nq,1.5.1,3\n", "row 2 (line 3), column 'a': '1.5.1' is not a number"),
    "text without header": ("1,2\n3,x\n4,5\n", "row 2 (line 2), column 2: 'x' is not a number"),
    "one text in a column": (
        "a,b\r\n1,2\r\nx,4\r\n3,6\r\n",
        "row 2 (line 3), column 'a': 'x' is not a number",
    ),
    "infinity": ("a,b\n1,2\n2,inf\n", "row 2 (line 3), column 'b': 'inf' is not a number"),
    "ragged": ("s,a,b\np,1,2\n\nq,1\n", "line 4 has 2 cells, the first row 3"),
    "too long": ("a,b\n1,2,3\n", "line 2 has 3 cells, the first row 2"),
    "empty": ("", "is empty"),
    "blank": ("\n \n\n", "is empty"),
    "header only": ("a,b,c\n", "has a header and no rows"),
    "open quote": ('a,b\n1,"2\n3,4\n', "line 2: a quote is not closed"),
    "binary": ("\x00\x01", "not a text file"),
    "no donors": (
        "a,b\n1,\n,2\n",
        "no row is complete, so nothing tells the missing entries of rows 0, 1 (counting from 0)",
    ),
    "empty row": ("a,b\n1,2\n,\n", "no entry of row 1 is observed (counting from 0)"),
    "empty column": ("a,b\n1,\n2,\n", "no entry of column 1 is observed (counting from 0)"),
}


@pytest.mark.parametrize("case", BAD_CSVS)
def test_a_bad_csv_is_refused_with_the_place(case, folder, capsys):
    text, message = BAD_CSVS[case]
    Path("bad.csv").write_text(text, newline="")
    assert refused(capsys, "complete", "bad.csv", "-o", "filled.csv") == f"bad.csv: {message}"
    assert refused(capsys, "complete", "bad.csv", "-o", "bad.csv") == f"bad.csv: {message}"


BAD_COMPLETIONS = {
    "method": (["--method", "ax"], "method 'ax' is not one of"),
    "negative rank": (["--rank", "-1"], "rank must be at least 1, got -1"),
    "rank of words": (["--rank", "all"], "argument --rank: must be cv, none or an integer, got"),
    "huge rank": (["--rank", "5"], "shops.csv: rank must be at most 2 for 3 complete rows and 2"),
    "two knobs": (["--rank", "1", "--ridge", "1"], "give --rank none with --ridge: both shape"),
    "cannot truncate": (["--method", "cg"], "ConjugateGradient() cannot truncate to a rank"),
    "cutoff": (["--cutoff", "2"], "cutoff must be finite, at least 0 and below 1, got 2.0"),
    "time limit": (["--time-limit", "0"], "time_limit must be finite, positive, got 0.0"),
}


@pytest.mark.parametrize("case", BAD_COMPLETIONS)
def test_complete_refuses_bad_options_in_one_line(case, folder, capsys):
    flags, message = BAD_COMPLETIONS[case]
    Path("shops.csv").write_text(SHOPS)
    said = refused(capsys, "complete", "shops.csv", "-o", "filled.csv", *flags)
    assert said.startswith(message)


def test_infinity_in_a_table_is_refused_with_its_place(folder, capsys):
    save(Path("table.npy"), np.array([[1, 2], [np.nan, np.inf]]))
    message = refused(capsys, "complete", "table.npy", "-o", "filled.npy")
    assert "contains infinity at row 1, column 1 (counting from 0)" in message


def test_a_parquets_index_becomes_labels(folder, capsys):
    frame = pd.DataFrame(shops(), list("abcdef"), ["jan", "feb", "mar", "apr"])
    frame.to_parquet("shops.parquet")
    assert main(["complete", "shops.parquet", "-o", "filled.csv"]) == 0
    assert Path("filled.csv").read_text().startswith(",jan,feb,mar,apr\na,10.0,21.0,30.0,40.0\n")
    assert "kept            header and labels\n" in capsys.readouterr().out


def test_text_in_a_parquet_is_refused(folder, capsys):
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_parquet("t.parquet")
    message = refused(capsys, "complete", "t.parquet", "-o", "filled.csv")
    assert message == "t.parquet: column 'b' does not hold numbers"


def test_without_pandas_parquet_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for argv in (["t.parquet", "-o", "t.csv"], ["t.csv", "-o", "t.parquet"]):
        message = refused(capsys, "complete", *argv)
        assert message.endswith(
            ".parquet needs pandas and pyarrow: pip install 'eagle-solver[parquet]'"
        )


def test_an_exception_while_writing_keeps_the_old_file(folder):
    Path("old.csv").write_text("old")

    def interrupted() -> None:
        with tables.replacing(Path("old.csv")) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Path("old.csv").read_text() == "old"
    assert names(folder) == ["old.csv"]
