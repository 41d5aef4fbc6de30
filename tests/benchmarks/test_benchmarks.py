"""The suite: what is measured and compared and how, the registry, what asv runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import benchmarks.__main__
import eagle
from benchmarks import compare
from benchmarks.__main__ import main
from benchmarks.common import Report, Rows, Spread, Suite, measure, write_csv
from benchmarks.crossovers import crossover
from benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).parents[2]
NOT_BENCHMARKS = {"__init__", "__main__", "common", "compare", "pretrain", "registry", "studies"}
NOT_BENCHMARKS |= {"asv", "batches", "cells", "datasets", "looks", "paper"}
NOT_BENCHMARKS |= {"suitesparse", "children", "rivals", "bounds", "discovery", "pages"}


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


def test_a_table_for_a_file_has_medians_and_every_column(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"a": Spread((1.0, 3.0, 2.0))}, {"b": "x", "a": None}])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "a,b\n2.0,\n,x\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


# -- rows and sections -----------------------------------------------------------------------

ROWS = Rows(
    [
        {"regime": "b", "layer": 0, "error": 1.0},
        {"regime": "a", "layer": 0, "error": None},
        {"regime": "b", "layer": 1, "error": 3.0},
    ]
)


def test_rows_are_found_by_their_cells_in_the_order_in_which_they_come() -> None:
    assert ROWS.of(layer=0) == [ROWS[0], ROWS[1]]
    assert ROWS.of(layer=0, regime="b") == [ROWS[0]]
    assert ROWS.of(machine=3) == []
    assert [(regime, own.column("layer")) for regime, own in ROWS.by("regime")] == [
        ("b", [0, 1]),
        ("a", [0]),
    ]
    assert [place for place, _ in ROWS.by("regime", "layer")] == [("b", 0), ("a", 0), ("b", 1)]
    assert ROWS.having("error").column("error") == [1.0, 3.0]
    assert ROWS.number("error", regime="a") == np.inf
    with pytest.raises(ValueError, match="too many"):
        ROWS.number("error", regime="b")


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ([], ["first", "slow", "last"]),
        (["--quick"], ["first", "last"]),
        (["--sections", "last", "slow"], ["last", "slow"]),
        (["--sections", "slow", "--quick", "--seed", "5"], []),
    ],
)
def test_a_suite_runs_the_sections_asked_for(
    tmp_path: Path, arguments: list[str], ran: list[str]
) -> None:
    suite = Suite("made-up", "A suite.")

    @suite.section
    def first(report: Report, options: Any) -> None:
        report.row(name="first", seed=options.seed)

    @suite.not_quick
    def slow(report: Report, options: Any) -> None:
        report.row(name="slow", seed=options.seed)

    @suite.section
    def last(report: Report, options: Any) -> None:
        report.row(name="last", seed=options.seed)

    assert suite.main([*arguments, "--json", str(tmp_path / "a.json")]) == 0
    assert [row["name"] for row in compare.read(tmp_path / "a.json")["rows"]] == ran


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


def test_a_cell_that_was_infinite_once_is_not_compared(tmp_path: Path) -> None:
    old = compare.read(report_of(tmp_path / "old", ("eagle", BEFORE), ("lost", BEFORE)))
    new = compare.read(report_of(tmp_path / "new", ("eagle", APART), ("lost", APART)))
    new["rows"][1]["ratio"]["max"] = "inf"  # which is how a report writes it
    (change,) = compare.changes(old, new)
    assert change.where.endswith("method=eagle: ratio")


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
    names = {path.stem for path in (ROOT / "benchmarks").iterdir() if path.stem != "__pycache__"}
    files = names - NOT_BENCHMARKS
    assert set(BENCHMARKS) == files


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_takes_what_all_passes_on(name: str) -> None:
    if name in ("transformer", "attention"):
        pytest.importorskip("torch")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert all(option in run.stdout for option in ("--quick", "--json", "--seed"))


@pytest.mark.parametrize("broken", [None, "limits"])
def test_all_runs_every_benchmark_and_joins_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str | None
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess:
        commands.append(command)
        name, path = command[3], Path(command[command.index("--json") + 1])
        report_of(path, (name, BEFORE))
        return subprocess.CompletedProcess(command, int(name == broken))

    monkeypatch.setattr(benchmarks.__main__, "subprocess", SimpleNamespace(run=run))
    path = tmp_path / "all.json"
    status = main(["all", "--quick", "--seed", "3", "--json", str(path)])
    assert status == (1 if broken else 0)
    names = [command[3] for command in commands]
    assert names == [name for name in BENCHMARKS if name != "real"]  # which needs --data
    assert all("--quick" in command and "--data" not in command for command in commands)
    assert {command[command.index("--seed") + 1] for command in commands} == {"3"}
    rows = compare.read(path)["rows"]
    assert [row["method"] for row in rows] == names
    commands.clear()
    main(["all", "--data", str(tmp_path)])
    given = [command[3] for command in commands if command[-2:] == ["--data", str(tmp_path)]]
    assert given == ["central", "real"]
    assert len(commands) == len(BENCHMARKS)


def test_an_unknown_benchmark_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["nothing"])
    assert end.value.code == 2
    assert "central" in capsys.readouterr().err


BAD = {
    "a seed below zero": (["crossovers", "--seed", "-1"], "--seed: must be at least 0, got -1"),
    "a seed that is none": (["central", "--seed", "x"], "--seed: invalid"),
    "rows into no folder": (
        ["central", "--json", "gone/a.json"],
        "--json: there is no folder gone",
    ),
    "rows into a folder": (["dropin", "--json", "."], "--json: . is not a file"),
    "no size": (["central", "--sizes", "0"], "--sizes: must be at least 1, got 0"),
    "a folder without matrices": (["central", "--data", "."], "--data: no .mtx"),
    "no folder of matrices": (["real", "--data", "gone"], "--data: gone is not a folder"),
    "no seconds": (["real", "--data", ".", "--limit", "0"], "--limit: must be finite and positive"),
    "a file less than empty": (["limited", "--gigabytes", "-1"], "--gigabytes: must be finite"),
    "no place for it": (["limited", "--folder", "gone"], "--folder: gone is not a folder"),
    "no time": (["fuzz", "--seconds", "nan"], "--seconds: must be finite and positive, got nan"),
    "a foreign checkpoint": (["fuzz", "--checkpoint", "here"], "here is no checkpoint of a"),
    "all, no data": (["all", "--data", "gone"], "--data: gone is not a folder"),
    "all, rows into no folder": (["all", "--json", "gone/a"], "--json: there is no folder gone"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_status_2_before_any_work(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, sentence = BAD[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"python -m benchmarks {arguments[0]}: error: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_what_is_not_installed_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(argv: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(benchmarks.__main__, "load", lambda name: SimpleNamespace(main=missing))
    with pytest.raises(SystemExit, match="2"):
        main(["dropin"])
    assert "dropin needs sklearn, which is not installed\n" in capsys.readouterr().err


# -- crossovers ------------------------------------------------------------------------------


def test_a_crossover_is_interpolated_on_logarithms() -> None:
    assert crossover([10, 1000], [10.0, 0.1]) == "ours below 1e+02"
    assert crossover([10, 1000], [0.1, 10.0]) == "ours above 1e+02"
    assert crossover([1, 2, 4], [0.5, 2.0, 0.5]) == "ours below 2.8"  # the last of two


def test_no_crossover_is_said() -> None:
    assert crossover([1, 2], [2.0, 3.0]) == "ours throughout"
    assert crossover([1, 2], [0.5, 0.9]) == "rival throughout"


# -- asv -------------------------------------------------------------------------------------


def test_what_asv_would_run_runs() -> None:
    from benchmarks.asv import solve as suite

    settings = json.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
    assert (ROOT / settings["benchmark_dir"]).is_dir()
    for kind in (suite.Central, suite.LowRank, suite.Distributed):
        lists = kind.params if isinstance(kind.params[0], list) else [kind.params]
        for last in lists[-1]:
            parameters = (*(each[0] for each in lists[:-1]), last)
            benchmark = kind()
            benchmark.setup(*parameters)
            for name in vars(kind):
                if name.startswith(("time_", "track_")):
                    value = getattr(benchmark, name)(*parameters)
                    assert (value is None) == name.startswith("time_")
    problem = eagle.problems.low_rank(20, 20, rng=0)
    for method in ("gelsy", "cholesky", "auto"):
        found = suite.solve(problem, method)
        value = found if isinstance(found, np.ndarray) else found.value
        assert problem.error(value) < 1e4 * np.finfo(float).eps
