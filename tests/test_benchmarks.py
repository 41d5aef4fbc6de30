"""The suite: what is compared and how, matrices from files, the registry."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from benchmarks import compare, suitesparse
from benchmarks.__main__ import main
from benchmarks.common import Report, Spread, measure
from benchmarks.crossovers import crossover
from benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).parents[1]
NOT_BENCHMARKS = {"__init__", "__main__", "common", "compare", "pretrain", "registry", "studies"}
NOT_BENCHMARKS |= {"suitesparse"}


# -- spread ----------------------------------------------------------------------------------


def test_a_spread_shows_median_and_range() -> None:
    spread = Spread((3.0, 1.0, 2.0, 10.0))
    assert str(spread) == "2.5 (1 .. 10)"
    cell = spread.as_json()
    assert (cell["median"], cell["min"], cell["max"], cell["repeats"]) == (2.5, 1.0, 10.0, 4)
    assert cell["quartiles"] == [1.75, 4.75]


def test_ratios_are_taken_repeat_by_repeat() -> None:
    # A machine that slows down by half changes both times, and no ratio.
    ours, rival = Spread((1.0, 1.5, 2.0)), Spread((3.0, 4.5, 6.0))
    assert rival.over(ours, "more") == Spread((3.0, 3.0, 3.0), "more")
    with pytest.raises(ValueError, match="zip"):
        ours.over(Spread((1.0,)))


@pytest.mark.parametrize(
    ("values", "better", "sentence"), [((), "less", "empty"), ((1.0,), "fewer", "better must be")]
)
def test_a_spread_of_nothing_or_in_no_direction_is_refused(
    values: tuple[float, ...], better: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Spread(values, better)


def test_functions_are_measured_in_turn() -> None:
    calls: list[str] = []
    found = measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert "".join(calls) == "ab" * 4  # one round to warm up
    assert {name: len(spread.values) for name, spread in found.items()} == {"a": 3, "b": 3}
    assert all(value >= 0 for spread in found.values() for value in spread.values)


# -- reports ---------------------------------------------------------------------------------


def report_of(path: Path, *ratios: tuple[str, Spread], facts: dict[str, Any] | None = None) -> Path:
    """A file with one row per ratio, as a benchmark writes it."""
    report = Report("made-up")
    report.facts |= facts or {}
    report.section("speed", ("n", "method"))
    for name, spread in ratios:
        report.row(n=100, method=name, ratio=spread, error=1e-15)
    report.save(path)
    return path


def test_a_report_has_facts_of_the_machine_and_plain_json(tmp_path: Path) -> None:
    report = Report("made-up")
    report.section("speed", ("n",))
    report.row(n=np.int64(3), seconds=Spread((1.0, 2.0)), error=np.float32(0.5), worst=np.inf)
    report.section("by text")
    report.row(method="eagle", iterations=3, gone=float("nan"))
    report.save(tmp_path / "a.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=refuse)
    wanted = {"processor", "cores", "blas", "threads", "python", "numpy", "scipy", "numba", "torch"}
    assert wanted | {"eagle", "benchmark"} <= content["facts"].keys()
    first, second = content["rows"]
    assert (first["benchmark"], first["section"], first["key"]) == ("made-up", "speed", "n=3")
    assert (first["n"], first["error"], first["worst"]) == (3, 0.5, "inf")
    assert first["seconds"]["median"] == 1.5
    assert (second["key"], second["gone"]) == ("method=eagle", "nan")


# -- compare ---------------------------------------------------------------------------------

BEFORE = Spread((1.0, 1.1, 1.2))
APART = Spread((1.5, 1.6, 1.8))
MEETING = Spread((1.15, 1.6, 1.8))


@pytest.mark.parametrize(
    ("after", "better", "worse", "moved"),
    [
        (APART, "less", 1.6 / 1.1, True),
        (APART, "more", 1.1 / 1.6, True),
        (MEETING, "less", 1.6 / 1.1, False),  # one repeat was as fast as before
        (BEFORE, "less", 1.0, False),
    ],
)
def test_what_moved_is_what_no_repeat_explains(
    tmp_path: Path, after: Spread, better: str, worse: float, moved: bool
) -> None:
    old = compare.read(report_of(tmp_path / "a", ("eagle", Spread(BEFORE.values, better))))
    new = compare.read(report_of(tmp_path / "b", ("eagle", Spread(after.values, better))))
    (change,) = compare.changes(old, new)
    assert change.where == "made-up: speed: n=100 method=eagle: ratio"
    assert change.worse == pytest.approx(worse, rel=1e-12)
    assert change.moved is moved
    (back,) = compare.changes(new, old)
    assert back.worse == pytest.approx(1 / worse, rel=1e-12)
    assert back.moved is moved


@pytest.mark.parametrize(
    ("after", "limit", "status"),
    [(APART, "1.2", 1), (APART, "1.5", 0), (MEETING, "1.2", 0), (APART, None, 0)],
)
def test_compare_fails_on_regressions_above_the_limit_only(
    tmp_path: Path, after: Spread, limit: str | None, status: int
) -> None:
    old = report_of(tmp_path / "old.json", ("eagle", BEFORE), ("gone", BEFORE))
    new = report_of(tmp_path / "new.json", ("eagle", after), ("fresh", BEFORE))
    options = ["--fail-above", limit] if limit else []
    assert main(["compare", str(old), str(new), *options]) == status
    # The other way round it is an improvement.
    assert main(["compare", str(new), str(old), *options]) == 0


def test_compare_tells_what_is_on_one_side_only_and_where_machines_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = report_of(tmp_path / "old.json", ("eagle", BEFORE), ("gone", BEFORE))
    new = report_of(tmp_path / "new.json", ("eagle", APART), facts={"processor": "another"})
    capsys.readouterr()
    assert main(["compare", str(old), str(new)]) == 0
    printed = capsys.readouterr().out
    assert "-> another" in printed
    assert f"1 cells only in {old}" in printed
    assert "worse    1.455  1.1 -> 1.6" in printed
    assert "1 cells, 1 moved beyond their spread, 0 regressions" in printed


def test_rows_with_equal_keys_are_compared_in_their_order(tmp_path: Path) -> None:
    old = compare.read(report_of(tmp_path / "a", ("same", BEFORE), ("same", APART)))
    assert [change.worse for change in compare.changes(old, old)] == [1.0, 1.0]


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"facts": {}}',
        '{"facts": {}, "rows": [{"section": "a"}]}',
        '{"facts": {}, "rows": []}',
    ],
)
def test_bad_input_ends_with_status_2(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = report_of(tmp_path / "good.json", ("eagle", BEFORE)), tmp_path / "bad.json"
    bad.write_text(content, encoding="utf-8")
    for old, new in ((good, bad), (bad, good)):
        with pytest.raises(SystemExit) as end:
            main(["compare", str(old), str(new)])
        assert end.value.code == 2
        assert "bad.json" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--fail-above", "0.5"], ["--fail-above", "nan"]])
def test_a_limit_below_one_or_a_missing_file_ends_with_status_2(
    tmp_path: Path, options: list[str]
) -> None:
    good = str(report_of(tmp_path / "good.json", ("eagle", BEFORE)))
    for arguments in ([good, good, *options], [good, str(tmp_path / "missing.json")]):
        with pytest.raises(SystemExit) as end:
            main(["compare", *arguments])
        assert end.value.code == 2


# -- registry --------------------------------------------------------------------------------


def test_every_benchmark_is_registered_and_every_entry_is_a_file() -> None:
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - NOT_BENCHMARKS
    assert {module.removeprefix("benchmarks.") for module in BENCHMARKS.values()} == files


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_takes_what_all_passes_on(name: str) -> None:
    if name in ("transformer", "attention"):
        pytest.importorskip("torch")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert all(option in run.stdout for option in ("--quick", "--json", "--seed"))


def test_an_unknown_benchmark_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["nothing"])
    assert end.value.code == 2
    assert "central" in capsys.readouterr().err


# -- crossovers ------------------------------------------------------------------------------


def test_a_crossover_is_interpolated_on_logarithms() -> None:
    assert crossover([10, 1000], [10.0, 0.1]) == "ours below 1e+02"
    assert crossover([10, 1000], [0.1, 10.0]) == "ours above 1e+02"
    assert crossover([1, 2, 4], [0.5, 2.0, 0.5]) == "ours below 2.8"  # the last of two


def test_no_crossover_is_said() -> None:
    assert crossover([1, 2], [2.0, 3.0]) == "ours throughout"
    assert crossover([1, 2], [0.5, 0.9]) == "rival throughout"


# -- matrices from files ---------------------------------------------------------------------


def sparse(seed: int, rows: int = 13, columns: int = 9, *, kind: str = "r") -> np.ndarray:
    """A sparse matrix of real, integer, complex or unit entries, as an array."""
    rng = np.random.default_rng(seed)
    there = rng.random((rows, columns)) < 0.4
    entries = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-9, 9, (rows, columns))
    if kind == "i":
        entries = rng.integers(-99, 100, (rows, columns)).astype(float)
    if kind == "c":
        entries = entries + 1j * rng.standard_normal((rows, columns))
    if kind == "p":
        entries = np.ones((rows, columns))
    return np.where(there, entries, 0)


SYMMETRIES = {
    "u": lambda A: A,
    "s": lambda A: np.tril(A) + np.tril(A, -1).T,
    "h": lambda A: np.tril(A, -1) + np.tril(A, -1).conj().T + np.diag(np.diag(A).real),
    "z": lambda A: np.tril(A, -1) - np.tril(A, -1).T,
}


def rutherford_boeing(A: np.ndarray, kind: str, *, harwell: bool = False) -> str:
    """The text of a file, numbers of fixed width with nothing between them."""

    def lines(values: list[Any], each: int, form: str) -> list[str]:
        texts = [format(value, form) for value in values]
        return ["".join(texts[k : k + each]) for k in range(0, len(texts), each)]

    stored = np.tril(A) if kind[1] in "shz" else A
    matrix = scipy.sparse.csc_array(stored)
    values: list[Any] = list(matrix.data)
    if kind[0] == "c":
        values = [part for value in values for part in (value.real, value.imag)]
    blocks = [
        lines(list(matrix.indptr + 1), 9, "5d"),
        lines(list(matrix.indices + 1), 11, "3d"),
        [] if kind[0] == "p" else lines(values, 3, "7.0f" if kind[0] == "i" else "24.16E"),
    ]
    counts = [sum(map(len, blocks)), *map(len, blocks)] + ([1] if harwell else [])
    header = [
        f"{'A title':72}{'key':8}",
        "".join(f"{count:14d}" for count in counts),
        f"{kind:14}" + "".join(f"{n:14d}" for n in (*A.shape, matrix.nnz, 0)),
        f"{'(9I5)':16}{'(11I3)':16}{'(3I7)' if kind[0] == 'i' else '(1P,3D24.16)':20}",
    ]
    if harwell:
        header.append(f"{'F':14}{1:14d}{0:14d}")
    body = [line for block in blocks for line in block] + (["right-hand side"] if harwell else [])
    return "\n".join(header + body).replace("E+", "D+").replace("E-", "d-") + "\n"


@pytest.mark.parametrize("values", "ricp")
@pytest.mark.parametrize("symmetry", "ushz")
@pytest.mark.parametrize("harwell", [False, True])
def test_rutherford_boeing_is_the_matrix_market_twin(
    tmp_path: Path, values: str, symmetry: str, harwell: bool
) -> None:
    square = symmetry != "u"
    A = SYMMETRIES[symmetry](sparse(3, 11 if square else 13, 11, kind=values))
    path, twin = tmp_path / "A.rb", tmp_path / "A.mtx"
    path.write_text(rutherford_boeing(A, f"{values}{symmetry}a", harwell=harwell), encoding="ascii")
    scipy.io.mmwrite(twin, scipy.sparse.coo_array(A), precision=17)
    ours, theirs = suitesparse.load(path), suitesparse.load(twin)
    assert ours.dtype == (complex if values == "c" else float)
    assert (ours.toarray() == A).all()
    assert (theirs.toarray() == A).all()


def test_what_scipy_writes_in_harwell_boeing_is_read(tmp_path: Path) -> None:
    A = scipy.sparse.csc_array(sparse(4))
    scipy.io.hb_write(tmp_path / "A.rb", A)
    assert (suitesparse.load(tmp_path / "A.rb") != A).nnz == 0


@pytest.mark.parametrize("field", ["real", "pattern"])
@pytest.mark.parametrize("symmetry", ["general", "symmetric"])
def test_compressed_and_plain_files_are_the_same(tmp_path: Path, field: str, symmetry: str) -> None:
    A = sparse(5, 8, 8, kind=field[0])
    if symmetry == "symmetric":
        A = SYMMETRIES["s"](A)
    for name, content in {
        "plain.mtx": b"",
        "boeing.rb": rutherford_boeing(A, f"{field[0]}ua").encode(),
    }.items():
        path = tmp_path / name
        if content:
            path.write_bytes(content)
        else:
            scipy.io.mmwrite(path, scipy.sparse.coo_array(A), field=field, symmetry=symmetry)
        packed = tmp_path / f"Group__packed_{name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert (suitesparse.load(packed).toarray() == A).all()
        assert (suitesparse.load(path).toarray() == A).all()
    found = suitesparse.matrices(tmp_path)
    assert set(found) == {"plain", "boeing", "packed_plain", "packed_boeing"}


GOOD = rutherford_boeing(sparse(6), "rua")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1.0\n", "corrupt"),
        ("a.mtx", b"nothing of the kind", "corrupt"),
        ("a.mtx.gz", b"not compressed", "corrupt"),
        ("a.mtx.gz", gzip.compress(b"%%MatrixMarket")[:-9], "corrupt"),
        ("a.mtx", b"%%MatrixMarket matrix array real general\n1 1\nnan\n", "NaN or infinite"),
        ("a.txt", b"", "name must end in"),
        ("a.rb", b"one line", "four lines"),
        ("a.rb", GOOD.replace("rua", "rue").encode(), "type 'rue'"),
        ("a.rb", GOOD.replace("rua", "rsa").encode(), "must be square"),
        ("a.rb", GOOD.replace("(11I3)", "(11X3)").encode(), "Fortran format"),
        ("a.rb", "\n".join(GOOD.splitlines()[:-1]).encode(), "numbers wanted"),
        ("a.rb", GOOD.replace("D", "?").encode(), "corrupt"),
        ("a.rb", "\xff".encode("latin-1"), "corrupt"),
    ],
)
def test_files_that_are_wrong_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as complaint:
        suitesparse.load(tmp_path / name)
    assert name in str(complaint.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*gone\.mtx"):
        suitesparse.load(tmp_path / "gone.mtx")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        suitesparse.matrices(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"no \.mtx"):
        suitesparse.matrices(tmp_path)
