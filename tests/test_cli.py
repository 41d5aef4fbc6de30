"""The command: files in, the library's results out, one line and no file on bad input."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eagle
from eagle import csvfile, tables
from eagle.cli import main
from tests.tolerances import relative_error, tolerance

SHOPS = '''\
shop,jan,feb,mar,apr
north,10,21,30,40
east,20,39,61,80
south,15,31,44,60
"west, far",40,,,160
 mid ,5,10, NA ,
"up ""there""",8.00,,,+3.2e1
'''
MISSING = [(3, 1), (3, 2), (4, 2), (4, 3), (5, 1), (5, 2)]
SUFFIXES = (".csv", ".npy", ".npz", ".parquet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shops() -> np.ndarray:
    X = np.genfromtxt(
        ["10,21,30,40", "20,39,61,80", "15,31,44,60", "40,,,160", "5,10,,", "8,,,32"],
        delimiter=",",
    )
    assert list(map(tuple, np.argwhere(np.isnan(X)))) == MISSING
    return X


def save(path: Path, X: np.ndarray) -> Path:
    """A plain file by suffix, not written by eagle."""
    if path.suffix == ".csv":
        np.savetxt(path, X, delimiter=",", fmt="%.17g")
    elif path.suffix == ".npy":
        np.save(path, X)
    elif path.suffix == ".npz":
        np.savez(path, X=X)
    else:
        pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])]).to_parquet(path)
    return path


def load(path: Path) -> np.ndarray:
    """What another program reads."""
    if path.suffix == ".csv":
        lines = path.read_text().removeprefix("c0,c1,c2,c3\n").splitlines()
        return np.array([line.split(",") for line in lines], np.float64)
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_numpy()
    loaded = np.load(path)
    return loaded if path.suffix == ".npy" else next(iter(loaded.values()))


def same(value: np.ndarray, expected: np.ndarray, dtype: object = float) -> None:
    """Equal up to the last bits, which depend on where arrays lie in memory."""
    assert relative_error(value, expected) <= tolerance(dtype)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def contents() -> dict[Path, tuple[bytes, int]]:
    """Every file here, and when it was written."""
    files = [path for path in Path().rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line of an error: status 2, nothing printed, nothing written."""
    before = contents()
    assert main(list(map(str, argv))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"eagle( solve| complete)?: error: .*\n", err), err
    assert "Traceback" not in err
    assert contents() == before
    return err.split("error: ", 1)[1].rstrip("\n")


# --- help, info ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["demo"], ["solve"], ["complete"], ["info"]])
def test_help_explains_the_exit_status(command, capsys):
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: {' '.join(['eagle', *command])} [-h]")
    assert "  2    bad input; nothing was written\n" in out
    assert max(map(len, out.splitlines())) <= 100
    assert err == ""


def test_help_names_every_method(capsys):
    for command in ("solve", "complete"):
        main([command, "--help"])
        out = capsys.readouterr().out
        assert all(method in out for method in ["auto", *eagle.METHODS])


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"eagle {eagle.__version__}\n"


def test_info_tells_what_a_report_needs(capsys, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert rows["eagle"] == eagle.__version__
    assert rows["numpy"] == np.__version__
    assert rows["python"].startswith(sys.version.split()[0])
    assert rows["OPENBLAS_NUM_THREADS"] == "7"
    assert int(rows["CPUs"]) >= 1
    assert {"scipy", "numba", "BLAS", "torch", "mpi4py", "pandas", "scikit-learn"} <= set(rows)


def test_info_says_how_to_get_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("eagle.commands.info._version", lambda package: None)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^pandas +not installed \(pip install 'eagle-solver\[parquet\]'\)$", out, re.M
    )
    assert re.search(r"^torch +not installed \(pip install 'eagle-solver\[torch\]'\)$", out, re.M)
    assert re.search(r"^threadpoolctl +not installed \(pip install threadpoolctl\)$", out, re.M)
    assert re.search(r"^BLAS +.*\(numpy's\)$", out, re.M)


def test_python_m_eagle_is_the_command(tmp_path):
    root = Path(eagle.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "eagle", *argv],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    (tmp_path / "shops.csv").write_text(SHOPS)
    done = run("complete", "shops.csv", "-o", "filled.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("eagle.Completion: 6 x 4 float64\n")
    failed = run("complete", "nothing.csv", "-o", "filled2.csv")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == "eagle complete: error: nothing.csv: no such file\n"
    assert names(tmp_path) == ["filled.csv", "shops.csv"]


# --- solve --------------------------------------------------------------------------------------


@pytest.fixture
def blocks(folder):
    """A.npy, B.npy, C.npy of rank 4, and the problem."""
    problem = eagle.problems.low_rank(12, 9, 3, 2, rank=4, rng=0)
    for name in "ABC":
        np.save(f"{name}.npy", getattr(problem, name))
    return problem


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_solve_is_the_librarys(suffix, blocks, capsys):
    for name in "ABC":
        save(Path(name + suffix), getattr(blocks, name))
    files = [name + suffix for name in "ABC"]
    assert main(["solve", *files, "-o", "D" + suffix, "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    expected = eagle.solve(blocks.A, blocks.B, blocks.C, rng=3).value
    same(load(Path("D" + suffix)), expected)
    assert err == ""
    assert out.startswith("eagle.Result: 3 x 2 float64, CONVERGED\n")
    assert out.endswith(f"  written to      D{suffix}\n")


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--rank", "2"], {"rank": 2}),
        (["--cutoff", "0.5"], {"cutoff": 0.5}),
        (["--ridge", "0.1"], {"ridge": 0.1}),
        (["--method", "cg", "--rtol", "1e-3"], {"method": "cg", "rtol": 1e-3}),
        (["--method", "direct", "--time-limit", "9"], {"method": "direct", "time_limit": 9.0}),
    ],
)
def test_solve_passes_its_options_on(flags, options, blocks):
    assert main(["solve", "A.npy", "B.npy", "C.npy", "-o", "D.npy", *flags]) == 0
    expected = eagle.solve(blocks.A, blocks.B, blocks.C, rng=0, **options).value
    same(np.load("D.npy"), expected)


@pytest.mark.parametrize("limit", ["1000000", "1000kB", "1 MB", "0.001GB"])
def test_a_memory_limit_maps_the_file(limit, blocks, capsys):
    files = ["A.npy", "B.npy", "C.npy", "-o", "D.npy"]
    assert main(["solve", *files, "--memory-limit", limit]) == 0
    assert "auto: memory_limit" in capsys.readouterr().out
    expected = eagle.solve(blocks.A, blocks.B, blocks.C, rng=0).value
    assert relative_error(np.load("D.npy"), expected) <= tolerance(np.float64, 10)


@pytest.mark.parametrize("limit", ["much", "-3", "3TB"])
def test_a_memory_limit_that_is_none_is_refused_in_one_line(limit, blocks, capsys):
    files = ["A.npy", "B.npy", "C.npy", "-o", "D.npy"]
    assert main(["solve", *files, f"--memory-limit={limit}"]) == 2
    assert "is no number of bytes, such as 300MB" in capsys.readouterr().err


def test_a_truncated_file_cannot_be_mapped(blocks, capsys):
    Path("A.npy").write_bytes(Path("A.npy").read_bytes()[:-8])
    assert main(["solve", "A.npy", "B.npy", "C.npy", "-o", "D.npy", "--memory-limit=1MB"]) == 2
    assert "A.npy: truncated or not a .npy file" in capsys.readouterr().err
    assert not Path("D.npy").exists()


def test_complex_blocks_keep_their_dtype(blocks):
    np.save("A.npy", (blocks.A * 1j).astype(np.complex64))
    assert main(["solve", "A.npy", "B.npy", "C.npy", "-o", "D.npz"]) == 0
    value = np.load("D.npz")["X"]
    expected = eagle.solve(blocks.A, blocks.B, blocks.C, rng=0).value / 1j
    assert relative_error(value, expected) <= tolerance(np.complex64, 10)


def test_a_solve_that_does_not_converge_writes_and_warns(blocks, capsys):
    argv = ["solve", "A.npy", "B.npy", "C.npy", "-o", "D.npy", "--method", "gd", "--maxiter", "1"]
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert "MAX_ITERATIONS" in out.splitlines()[0]
    assert re.fullmatch(
        r"eagle solve: warning: not converged \(MAX_ITERATIONS, error estimate \S+\)\. .*\n", err
    )
    assert np.load("D.npy").shape == (3, 2)


def test_solve_draws_a_progress_bar_on_stderr(blocks, capsys):
    argv = ["solve", "A.npy", "B.npy", "C.npy", "-o", "D.npy", "--progress"]
    assert main(argv) == 0
    assert "\r" in capsys.readouterr().err


BAD_SOLVES = {
    "wrong shape": (["A.npy", "C.npy", "B.npy"], "B with shape (12, 2) must have as many columns"),
    "no file": (["A.npy", "no.npy", "C.npy"], "no.npy: no such file"),
    "directory": (["folder.npy", "B.npy", "C.npy"], "folder.npy: cannot be read: Is a directory"),
    "NaN": (["A.npy", "B.npy", "nan.npy"], "C with shape (12, 2) contains NaN or infinity"),
    "truncated": (["cut.npy", "B.npy", "C.npy"], "cut.npy: truncated or not a .npy file ("),
    "corrupt": (["noise.npy", "B.npy", "C.npy"], "noise.npy: truncated or not a .npy file ("),
    "empty": (["empty.npy", "B.npy", "C.npy"], "empty.npy: truncated or not a .npy file ("),
    "giant": (["giant.npy", "B.npy", "C.npy"], "giant.npy: "),
    "pickled": (["pickled.npy", "B.npy", "C.npy"], "pickled.npy: holds pickled Python objects, r"),
    "text": (["text.npy", "B.npy", "C.npy"], "text.npy: holds dtype <U1, not numbers"),
    "vector": (["vector.npy", "B.npy", "C.npy"], "vector.npy: holds an array of shape (3,), not"),
    "truncated npz": (["cut.npz", "B.npy", "C.npy"], "cut.npz: truncated or not a .npz file ("),
    "corrupt npz": (["noise.npz", "B.npy", "C.npy"], "noise.npz: truncated or not a .npz file ("),
    "flipped npz": (["flipped.npz", "B.npy", "C.npy"], "flipped.npz: truncated or not a .npz f"),
    "two arrays": (["two.npz", "B.npy", "C.npy"], "two.npz: holds 2 arrays, choose one by its na"),
    "corrupt parquet": (["noise.parquet", "B.npy", "C.npy"], "noise.parquet: truncated or not a"),
    "unknown extension": (["A.txt", "B.npy", "C.npy"], "A.txt: the name must end in one of .csv"),
    "unknown method": (["A.npy", "B.npy", "C.npy", "--method", "ax"], "method 'ax' is not one of"),
    "negative rank": (["A.npy", "B.npy", "C.npy", "--rank", "-1"], "rank must be at least 1, got"),
    "rank of words": (["A.npy", "B.npy", "C.npy", "--rank", "two"], "argument --rank: invalid int"),
    "huge rank": (["A.npy", "B.npy", "C.npy", "--rank", "10"], "rank must be at most 9, the small"),
    "negative ridge": (["A.npy", "B.npy", "C.npy", "--ridge", "-1"], "ridge must be finite, at le"),
    "bad seed": (["A.npy", "B.npy", "C.npy", "--seed=-1"], "argument --seed: must be a non-neg"),
    "honours no rank": (["A.npy", "B.npy", "C.npy", "--method=cg", "--rank=1"], "rank cannot be"),
    "no third block": (["A.npy", "B.npy"], "the following arguments are required: C (see eagle "),
}  # fmt: skip


@pytest.fixture
def damage(blocks):
    """Files that are not what they seem."""
    Path("folder.npy").mkdir()
    A = Path("A.npy").read_bytes()
    noise = np.random.default_rng(0).bytes(2000)
    np.save("nan.npy", np.where(np.eye(12, 2), np.nan, blocks.C))
    Path("cut.npy").write_bytes(A[:-100])
    Path("empty.npy").write_bytes(b"")
    giant = A.replace(b"(12, 9), }" + b" " * 10, b"(99999999999, 9), } ")
    assert giant != A
    Path("giant.npy").write_bytes(giant)
    np.save("pickled.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    np.save("text.npy", np.array([["a"]]))
    np.save("vector.npy", np.ones(3))
    np.savez("two.npz", X=blocks.A, Y=blocks.B)
    two = Path("two.npz").read_bytes()
    Path("cut.npz").write_bytes(two[:-100])
    np.savez("flipped.npz", X=blocks.A)
    flipped = bytearray(Path("flipped.npz").read_bytes())
    flipped[300] ^= 0xFF
    Path("flipped.npz").write_bytes(flipped)
    for suffix in (".npy", ".npz", ".parquet"):
        Path("noise" + suffix).write_bytes(noise)
    Path("A.txt").write_text("1 2")


@pytest.mark.usefixtures("damage")
@pytest.mark.parametrize("case", BAD_SOLVES)
def test_solve_refuses_in_one_line(case, capsys):
    argv, message = BAD_SOLVES[case]
    assert refused(capsys, "solve", *argv, "-o", "D.npy").startswith(message)


BAD_OUTPUTS = {
    "unknown extension": ("D.txt", "D.txt: the name must end in one of .csv, .npy, .npz, .parquet"),
    "no folder": ("no/D.npy", "no/D.npy: the folder .* does not exist"),
    "folder is a file": ("A.npy/D.npy", "A.npy/D.npy: the folder .* does not exist"),
    "is a folder": ("folder.npy", "folder.npy: exists and is not a regular file"),
}


@pytest.mark.usefixtures("damage")
@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_bad_outputs_are_refused_before_any_work(case, capsys):
    output, message = BAD_OUTPUTS[case]
    for argv in (["solve", "no", "no", "no"], ["complete", "no.csv"]):
        assert re.fullmatch(message, refused(capsys, *argv, "-o", output))


def test_a_folder_without_permission_is_refused_before_any_work(capsys, monkeypatch, blocks):
    # Not by chmod: root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    message = refused(capsys, "solve", "no", "no", "no", "-o", "D.npy")
    assert message == "D.npy: no permission to write there"


def test_a_full_disk_leaves_nothing_behind(capsys, monkeypatch, blocks):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    np.save("D.npy", np.ones(3))
    monkeypatch.setattr(os, "fsync", full)
    message = refused(capsys, "solve", "A.npy", "B.npy", "C.npy", "-o", "D.npy")
    assert message == "D.npy: cannot be written: No space left on device"


def test_complex_values_do_not_fit_into_a_csv(capsys, blocks):
    np.save("A.npy", blocks.A * 1j)
    message = refused(capsys, "solve", "A.npy", "B.npy", "C.npy", "-o", "D.csv")
    assert message == "D.csv: .csv cannot hold complex numbers, write .npy or .npz"


def test_an_interrupt_is_one_line(capsys, monkeypatch, blocks):
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(eagle, "solve", interrupt)
    assert main(["solve", "A.npy", "B.npy", "C.npy", "-o", "D.npy"]) == 130
    assert capsys.readouterr() == ("", "eagle solve: interrupted\n")
    assert "D.npy" not in names(Path())


@pytest.mark.parametrize("argv", [[], ["fly"], ["complete"], ["complete", "x.csv"], ["info", "x"]])
def test_wrong_usage_is_one_line(argv, folder, capsys):
    assert "--help)" in refused(capsys, *argv)


# --- complete -----------------------------------------------------------------------------------


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
    "two knobs": (["--rank", "1", "--ridge", "1"], "give rank=None with ridge: both shape the sp"),
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
