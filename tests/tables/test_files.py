"""``eagle complete``: tables are kept to the byte, filled as the library does, refused by place."""

from __future__ import annotations

import io
import re
import stat
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eagle
from eagle import tables
from eagle.cli import main
from eagle.tables import csv as csvfile
from tests.files import MISSING, SHOPS, SUFFIXES, load, names, refused, same, save, shops


def test_complete_keeps_a_csv_to_the_byte(folder, capsys):
    Path("shops.csv").write_text(SHOPS)
    assert main(["complete", "shops.csv", "-o", "filled.csv", "--digits", "all"]) == 0
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
    summary, kept, written = out.rsplit("\n", 3)[:3]
    assert (kept, written) == (
        "  kept            header and labels",
        "  written to      filled.csv",
    )
    table = summary.partition("in std. dev.\n")
    assert table[0].splitlines()[:-1] == str(done).partition("in std. dev.\n")[0].splitlines()[:-1]
    assert [line.split()[0] for line in table[2].splitlines()] == ["feb", "mar", "apr"]
    assert Path("shops.csv").read_text() == SHOPS


ALL = ["--digits", "all"]


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
    assert main(["complete", "odd.csv", "-o", "odd.csv", "--digits", "all"]) == 0
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
    return (csv.preamble + "".join(pieces)).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("output", SUFFIXES)
def test_complete_is_the_librarys_in_every_format(suffix, output, folder):
    table = save(Path("table" + suffix), shops())
    assert main(["complete", str(table), "-o", "filled" + output, "--seed", "5", *ALL]) == 0
    same(load(Path("filled" + output)), eagle.complete(shops(), rng=5).X)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_input_and_output_may_be_one_file(suffix, folder):
    table = save(Path("table" + suffix), shops())
    table.chmod(0o640)
    assert main(["complete", str(table), "-o", str(table), *ALL]) == 0
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
    assert Path("filled.csv").read_text().startswith("2000,2010\n1,2\n2,4\n")
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
    "no connection": ("a,b\n1,\n,2\n", "nothing tells the entries in line 2 and column 'b': no"),
    "empty row": ("a,b\n1,2\n\n,\n", "no entry of line 4 is observed"),
    "empty column": ("a,b\n1,\n2,\n", "no entry of column 'b' is observed"),
    "words": ("a,b\nx,y\nz,w\n", "row 1 (line 2), column 'b': 'y' is not a number"),
    "blanks": (
        "1 2 3\n4 5 6\n",
        "has no delimiter: separate its columns by commas, semicolons or tabs",
    ),
}


@pytest.mark.parametrize("case", BAD_CSVS)
def test_a_bad_csv_is_refused_with_the_place(case, folder, capsys):
    text, message = BAD_CSVS[case]
    Path("bad.csv").write_text(text, newline="")
    for output in ("filled.csv", "bad.csv"):
        said = refused(capsys, "complete", "bad.csv", "-o", output)
        assert said.startswith(f"bad.csv: {message}")


BAD_COMPLETIONS = {
    "method": (["--method", "ax"], "method 'ax' is not one of"),
    "negative rank": (["--rank", "-1"], "rank must be at least 1, got -1"),
    "rank of words": (["--rank", "all"], "argument --rank: must be cv, none or an integer, got"),
    "huge rank": (["--rank", "5"], "shops.csv: rank must be at most 2 for 3 complete rows and 2"),
    "two knobs": (["--rank", "1", "--ridge", "1"], "give --rank none with --ridge: both shape"),
    "cannot truncate": (["--method", "cg"], "ConjugateGradient() cannot truncate to a rank"),
    "coverage": (["--coverage", "1"], "coverage must be between 0 and 1, got 1.0"),
    "scaling": (["--scaling", "max"], "scaling must be one of 'cv', 'none', 'standard', 'mean'"),
    "digits": (["--digits", "some"], "argument --digits: must be 'column', 'all' or an integer"),
    "delimiter": (["--delimiter", "ab"], "argument --delimiter: must be one character or 'tab'"),
    "bounds": (["--minimum", "2", "--maximum", "1"], "minimum must not exceed maximum, got 2.0"),
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


def test_text_in_a_parquet_is_left_alone_unless_nothing_else_is_there(folder, capsys):
    frame = pd.DataFrame({"a": [1.0, 2, None], "b": list("xyz"), "c": [2.0, 4, 6]})
    frame.to_parquet("t.parquet")
    assert main(["complete", "t.parquet", "-o", "t.parquet"]) == 0
    assert "left alone      b (no numbers)" in capsys.readouterr().out
    after = pd.read_parquet("t.parquet")
    assert after["b"].tolist() == list("xyz")
    assert after["a"][2] == pytest.approx(3)
    frame[["b"]].to_parquet("t.parquet")
    message = refused(capsys, "complete", "t.parquet", "-o", "filled.csv")
    assert message == "t.parquet: has no column of numbers: column 'b'"


# What people's files look like

LOOKS = {
    "decimal comma": ("a;b\n1,5;2,25\n3,0;4,5\n2,0;\n", "2,0;3,00\n", [1.5, 3, 2]),
    "thousands": ('a,b\n"1,500",2\n"3,000",4\n"2,000",\n', '"2,000",3\n', [1500, 3000, 2000]),
    "points for thousands": (
        "a;b\n1.500,5;2\n3.000,0;4\n2.000,0;\n", "2.000,0;3\n", [1500.5, 3000, 2000]
    ),
    "units": ("a,b\n$10,5.0%\n$20,10.0%\n$30,\n", "$30,15.0%\n", [10, 20, 30]),
    "minus": ("a,b\n\u22121,2\n\u22122,4\n\u22123,.\n", "\u22123,6\n", [-1, -2, -3]),
    "bars and comments": ("# from us\na|b\n1|2\n2|4\n3|?\n", "3|6\n", [1, 2, 3]),
    "a line for Excel": ("sep=;\na;b\n1;2\n2;4\n3;\n", "3;6\n", [1, 2, 3]),
    "two headers": ("a,b\ncm,kg\n1,2\n2,4\n3,-\n", "3,6\n", [1, 2, 3]),
    "R": ('"a","b"\n"p",1,2\n"q",2,4\n"r",3,NA\n', '"r",3,6\n', [1, 2, 3]),
    "a column of words": ("a,w,b\n1,x,2\n2,y,4\n3,z,\n", "3,z,6\n", [1, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("case", LOOKS)
def test_files_as_people_write_them_are_read_and_filled_in_kind(case, folder):
    text, last, first_column = LOOKS[case]
    Path("table.csv").write_text(text, newline="")
    found = csvfile.read(text.encode())
    np.testing.assert_array_equal(found.values[:, 0], first_column)
    assert main(["complete", "table.csv", "-o", "table.csv", "--rank", "none"]) == 0
    after = Path("table.csv").read_text()
    if case not in ("decimal comma", "thousands", "points for thousands"):  # rank one, so exact
        assert after == text[: text.rstrip("\n").rindex("\n") + 1] + last
    kept = text.rstrip("\n").rindex("\n") + 1
    assert after[:kept] == text[:kept]
    assert re.fullmatch(re.sub(r"\d", r"\\d", re.escape(last)), after[kept:])


def test_fills_have_the_digits_of_their_column_or_those_asked_for(folder):
    Path("table.csv").write_text("a,b,c\n1,2.50,1e3\n2,5.00,2e3\n3,7.51,3e3\n1.5,,\n")
    lines = {}
    for digits in ("column", "all", "1"):
        assert main(["complete", "table.csv", "-o", "out.csv", "--digits", digits]) == 0
        lines[digits] = Path("out.csv").read_text().splitlines()[-1].split(",")
    value = float(lines["all"][1])
    assert lines["column"][1] == f"{value:.2f}"
    assert lines["column"][2] == lines["all"][2]  # an exponent has no digits to count
    assert lines["1"][1] == f"{value:.1f}"


def test_other_words_and_numbers_can_mean_missing(folder):
    Path("table.csv").write_text("a,b\n1,2\n2,4\n3,-999.0\n4,gone\n")
    assert main(["complete", "table.csv", "-o", "o.csv", "--missing=-999", "--missing=gone"]) == 0
    assert Path("o.csv").read_text() == "a,b\n1,2\n2,4\n3,6\n4,8\n"


def test_columns_can_be_left_out_and_counters_are_pointed_at(folder, capsys):
    rows = [f"{1990 + i},{i % 5 + 1},{2 * (i % 5 + 1)}" for i in range(12)]
    rows[-1] = "2001,2,"
    Path("table.csv").write_text("year,a,b\n" + "\n".join(rows) + "\n")
    assert main(["complete", "table.csv", "-o", "o.csv"]) == 0
    assert capsys.readouterr().err == (
        "eagle complete: warning: column 'year' grows by equal steps: if it is an index or a year, "
        "give --ignore year\n"
    )
    for flags in (["--ignore", "year"], ["--ignore", "1"], ["--columns", "a,b"]):
        assert main(["complete", "table.csv", "-o", "o.csv", *flags]) == 0
        assert capsys.readouterr().err == ""
        assert Path("o.csv").read_text().endswith("2001,2,4\n")
    message = refused(capsys, "complete", "table.csv", "-o", "o2.csv", "--ignore", "yaer")
    assert message == "table.csv: has no column 'yaer', but: 'year', 'a', 'b'"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1204, 2410, 1810, 4790, 3115, 2890, 5520, 961], None),  # a measurement, if of integers
        ([1998, 2001, 2004, 2010, 1987, 1990, 2015, 2012], "looks like years"),
        ([103, 107, 108, 120, 131, 140, 141, 160], "is sorted"),
        ([8, 7, 6, 5, 4, 3, 2, 1], "grows by equal steps"),
        ([2000, 2001, 2003, 2002] * 2, None),
    ],
)
def test_what_is_pointed_at_counts_rather_than_measures(numbers, said, folder, capsys):
    rows = [f"{number},{i % 3 + 1},{i % 3 + 2}" for i, number in enumerate(numbers)]
    rows[-1] = rows[-1].rpartition(",")[0] + ","
    Path("table.csv").write_text("\n".join(["n,a,b", *rows]) + "\n")
    capsys.readouterr()
    main(["complete", "table.csv", "-o", "o.csv"])
    message = capsys.readouterr().err
    assert "column 'n'" in message if said else "column" not in message
    assert (said or "") in message


def test_a_blank_after_a_currency_is_kept(folder):
    lines = ["a;b", "1;€ 2,00", "2;€ 4,00", "3;€ 6,00", "4;"]
    for blank in (" ", "\u00a0"):
        text = "\n".join(lines).replace("€ ", f"€{blank}") + "\n"
        Path("table.csv").write_text(text, encoding="utf-8")
        assert main(["complete", "table.csv", "-o", "o.csv"]) == 0
        written = Path("o.csv").read_text(encoding="utf-8")
        assert written == text.replace("4;", f"4;€{blank}8,00")


def test_intervals_are_written_line_by_line(folder):
    Path("shops.csv").write_text(SHOPS)
    argv = ["complete", "shops.csv", "-o", "out.csv", "--intervals", "bounds.csv"]
    assert main([*argv, "--coverage", "0.8"]) == 0
    bounds = pd.read_csv("bounds.csv")
    done = eagle.complete(shops(), coverage=0.8, rng=0)
    rows, columns = np.transpose(MISSING)
    assert bounds["row"].tolist() == [5, 5, 6, 6, 7, 7]  # lines of the file
    assert bounds["label"].tolist()[::2] == ["west, far", "mid", 'up "there"']
    assert bounds["column"].tolist() == [("jan", "feb", "mar", "apr")[j] for j in columns]
    same(bounds["lower"].to_numpy(), done.lower[rows, columns])
    same(bounds["upper"].to_numpy(), done.upper[rows, columns])


def test_the_standard_streams_are_csv_files(folder, capsysbinary, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n2,4\n3,\n")))
    assert main(["complete", "-", "-o", "-"]) == 0
    out, err = capsysbinary.readouterr()
    assert out == b"a,b\n1,2\n2,4\n3,6\n"
    assert b"filled          1 of 6 entries" in err


def test_tabs_and_workbooks_come_back_as_they_were(folder):
    openpyxl = pytest.importorskip("openpyxl")
    Path("t.tsv").write_text("a\tb\n1\t2\n2\t4\n3\t\n")
    assert main(["complete", "t.tsv", "-o", "t.tsv"]) == 0
    assert Path("t.tsv").read_text() == "a\tb\n1\t2\n2\t4\n3\t6\n"
    book = openpyxl.Workbook()
    book.active.title = "data"
    for row in (["s", "a", "b"], ["p", 1, 2], ["q", 2, 4], ["r", 3, None]):
        book.active.append(row)
    book.active["A6"] = "a note"
    book.create_sheet("other")["A1"] = "kept"
    book.save("t.xlsx")
    assert main(["complete", "t.xlsx", "-o", "t.xlsx"]) == 2  # the note is no row of the table
    book.active["A6"] = None
    book.save("t.xlsx")
    assert main(["complete", "t.xlsx", "-o", "t.xlsx"]) == 0
    after = openpyxl.load_workbook("t.xlsx")
    assert after["other"]["A1"].value == "kept"
    assert after["data"]["C4"].value == pytest.approx(6)
    assert after["data"]["A4"].value == "r"


def test_long_files_are_read_as_short_ones_are(folder):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 5)).round(4)
    X[rng.random(X.shape) < 0.1] = np.nan
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame.insert(0, "name", [f"r{i}" for i in range(len(X))])
    frame.to_csv("long.csv", index=False)
    assert Path("long.csv").stat().st_size > 65536
    fast = tables.read_table(Path("long.csv"), same_text=False)
    slow = tables.read_table(Path("long.csv"))
    np.testing.assert_array_equal(fast.values, slow.values)
    assert fast.columns == slow.columns
    assert fast.layout is None
    text = Path("long.csv").read_text()
    Path("long.csv").write_text(text[:-4] + "oops\n")
    with pytest.raises(
        tables.TableError, match=r"line 3001\), column 'e': .*oops' is not a number"
    ):
        tables.read_table(Path("long.csv"), same_text=False)


@pytest.mark.parametrize("cells", [["7"] * 9000 + ["True"], ["True"] * 30_000])
def test_words_that_pandas_takes_for_numbers_are_refused_in_long_files(folder, cells):
    rows = [f"{i}.5,{cell}" for i, cell in enumerate(["1"] * 9000 + cells)]
    Path("long.csv").write_text("\n".join(["a,b", *rows]) + "\n")
    with pytest.raises(tables.TableError, match=r"column 'b': 'True' is not a number"):
        tables.read_table(Path("long.csv"), same_text=False)


def test_whole_numbers_of_long_files_are_read_to_the_digit(folder):
    numbers = [2**53 + 1, 2**62 + 3, 2**64 - 1, 10**25, -7] * 2000
    Path("long.csv").write_text("\n".join(["a,b", *(f"{i},{i % 9}" for i in numbers)]) + "\n")
    fast = tables.read_table(Path("long.csv"), same_text=False)
    assert np.array_equal(fast.values[:, 0], np.array([float(str(i)) for i in numbers]))
    assert np.array_equal(fast.values[:, 1], [i % 9 for i in numbers])


def test_a_report_is_one_page_with_everything_in_it(folder):
    pytest.importorskip("matplotlib")
    Path("shops.csv").write_text(SHOPS)
    assert main(["complete", "shops.csv", "-o", "out.csv", "--report", "report.html"]) == 0
    page = Path("report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("http-equiv", "")
    done = eagle.complete(shops(), rng=0)
    for j, name in enumerate(("jan", "feb", "mar", "apr")):
        if not np.isnan(done.column_errors[j]):
            assert f"<td>{name}" in page
            assert f"<td>{done.column_errors[j]:.3g}" in page


def test_nothing_is_half_written_if_one_of_the_outputs_cannot_be(folder, capsys):
    Path("shops.csv").write_text(SHOPS)
    for flags in (["--report", "no/r.html"], ["--intervals", "no/b.csv"], ["--report", "r.txt"]):
        refused(capsys, "complete", "shops.csv", "-o", "out.csv", *flags)


def test_nothing_missing_is_said_and_the_table_comes_back(folder, capsys):
    Path("t.csv").write_text("a,b\n1,2\n2,4\n")
    assert main(["complete", "t.csv", "-o", "o.csv"]) == 0
    assert "nothing was missing" in capsys.readouterr().out
    assert Path("o.csv").read_bytes() == Path("t.csv").read_bytes()


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
