"""The command: files in, the library's results out, one line and no file on bad input."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eagle
from eagle.cli import main
from tests.files import SHOPS, SUFFIXES, load, names, refused, same, save
from tests.tolerances import relative_error, tolerance

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
            timeout=300,
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
    "unknown extension": (
        "D.txt",
        "D.txt: the name must end in one of .csv, .tsv, .npy, .npz, .parquet, .xlsx",
    ),
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


SHORT_OF_MEMORY = """
import resource, sys
import scipy.linalg
from eagle.cli import main
from eagle.methods.direct import Direct
from pathlib import Path

step = Direct.step

def limited(self, state):  # in the middle of the solve: no megabyte more than there is now
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
    return step(self, state)

Direct.step = limited
sys.exit(main(["solve", "A.npy", "A.npy", "A.npy", "-o", "D.npy", "--method", "direct"]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")
def test_no_memory_in_the_middle_of_a_solve_is_one_line_and_leaves_nothing(tmp_path):
    np.save(tmp_path / "A.npy", np.random.default_rng(0).standard_normal((1500, 1500)))
    run = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert re.fullmatch(r"eagle solve: error: not enough memory.*\n", run.stderr)
    assert run.stdout == ""
    assert names(tmp_path) == ["A.npy"]


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
