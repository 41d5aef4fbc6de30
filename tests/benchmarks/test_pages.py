"""The measured tables of README and docs: made of rows, written between marks, or left alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages, real, regret, scaling, tables
from benchmarks.common import Report, Rows, Spread
from benchmarks.datasets import TABLES

FACTS = {"usable_cores": 2, "processor": "a processor", "threads": "not set", "load": 0.1}
FACTS |= dict.fromkeys(pages.VERSIONS, "1")
LINE = "2 cores of a processor; numpy 1, scipy 1, torch 1, blas 1, python 1, eagle 1; load 0.1."


def row(benchmark: str, section: str, **cells: Any) -> dict[str, Any]:
    """As a benchmark writes it."""
    spreads = {name: cell.as_json() for name, cell in cells.items() if isinstance(cell, Spread)}
    return {"benchmark": benchmark, "section": section, "key": ""} | cells | spreads


def file(path: Path, rows: list[dict[str, Any]], **facts: Any) -> Path:
    path.write_text(json.dumps({"facts": FACTS | facts, "rows": rows}), encoding="utf-8")
    return path


def made(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """The lines of one region."""
    ((_, text),) = pages.made({name: pages.TABLES[name]}, pages.revived(rows), [])
    return text.splitlines()


# -- the pages -------------------------------------------------------------------------------


def test_every_region_of_the_pages_is_a_table_that_is_made_and_the_other_way_round() -> None:
    found: list[str] = []
    for page in pages.pages():
        text = page.read_text(encoding="utf-8")
        names = [match[1] for match in pages.REGION.finditer(text)]
        assert text.count("<!-- measured:") == len(names) == text.count("<!-- end -->"), page
        found += names
    assert sorted(found) == sorted(pages.TABLES)


def test_what_measures_a_table_is_a_command_that_there_is() -> None:
    from benchmarks.registry import BENCHMARKS, load

    for item in [*pages.TABLES.values(), *pages.PICTURES.values()]:
        if item.command == pages.PAPER:
            continue
        package, name, *options = item.command.split()
        assert package == "benchmarks"
        assert name in BENCHMARKS
        if options[:1] == ["--sections"]:
            sections = [word for word in options[1:] if word not in ("--data", "FOLDER")]
            pytest.importorskip("torch")
            assert set(sections) <= load(name).suite.sections.keys()


def test_only_what_was_made_is_replaced_and_twice_is_once() -> None:
    def page(first: str, second: str) -> str:
        return (
            f"above\n\n<!-- measured: dask -->\n\n{first}\n\n<!-- end -->\n\nbetween\n\n"
            f"<!-- measured: mpi -->\n\n{second}\n\n<!-- end -->\n\nbelow \\1\n"
        )

    new = "| \\g<0> |\n\na line"
    once = pages.updated(page("old", "kept\n\nlines"), {"dask": new, "unknown": "x"})
    assert once == page(new, "kept\n\nlines")
    assert pages.updated(once, {"dask": new}) == once


PAGE = "# x\n\n<!-- measured: {} -->\n\nold\n\n<!-- end -->\n"
SWEEP = "limited", "regret: time"
PLANNED = [
    row(*SWEEP, d=9, n=8, rank=7, condition=1e2, regret=Spread((ratio,)), auto_ms="1.0")
    for ratio in (1.0, 1.1, 3.0)
]
PLANNER = (
    "Over 3 problems the time of `auto` is 1.1 times that of the best single method in the median, "
    "and 3 times at worst: 9 x 8 of rank 7, κ 1e+02, 1.0 ms."
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a page for one table and a README for another."""
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "docs/methods").mkdir(parents=True)
    (tmp_path / "README.md").write_text(PAGE.format("planner"), encoding="utf-8")
    (tmp_path / "docs/methods/a.md").write_text(PAGE.format("epochs"), encoding="utf-8")
    return tmp_path


def test_a_region_is_rewritten_or_left_if_a_row_is_missing(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pages.main([str(file(checkout / "a.json", PLANNED))]) == 1
    text = (checkout / "README.md").read_text(encoding="utf-8")
    assert PLANNER in text
    assert f"`python -m benchmarks limited --sections planner`: {LINE}" in text
    assert "old" not in text
    assert (checkout / "docs/methods/a.md").read_text(encoding="utf-8") == PAGE.format("epochs")
    told = capsys.readouterr().err.splitlines()
    assert "epochs: left as it is: no section 'epochs'" in told
    assert {line.split(":")[0] for line in told} == {"epochs", "compressed"}  # no other benchmark


def test_rows_of_a_quick_run_are_for_printing(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(file(checkout / "a.json", PLANNED, quick=True))
    with pytest.raises(SystemExit, match="2"):
        pages.main([path])
    assert "a.json is of a quick run" in capsys.readouterr().err
    pages.main([path, "--print"])
    assert PLANNER in capsys.readouterr().out
    assert (checkout / "README.md").read_text(encoding="utf-8") == PAGE.format("planner")
    with pytest.raises(SystemExit, match="2"):
        pages.main([str(checkout / "docs")])
    assert "docs has no figure" in capsys.readouterr().err


def test_rows_come_back_as_the_benchmark_had_them(tmp_path: Path) -> None:
    report = Report("made-up")
    report.section("a")
    spread = Spread((3.0, 1.0, 5.0), "more")
    report.row(what="inf and nan", s=spread, x=float("nan"), w=-float("inf"), y=[1], z=None)
    report.save(tmp_path / "a.json")
    (found,) = pages.revived(pages.read(tmp_path / "a.json")["rows"])
    assert found["s"] == Spread((1.0, 3.0, 5.0), "more")
    assert found["x"] != found["x"]
    assert found["w"] == -float("inf")
    assert (found["what"], found["y"], found["z"]) == ("inf and nan", [1], None)


def test_the_folder_of_the_paper_s_figures_is_rows_of_claims(checkout: Path) -> None:
    (checkout / "README.md").write_text(PAGE.format("paper-differs"), encoding="utf-8")
    check = {"claim": "x_1 | y", "found": "no", "verdict": "differs", "why": "for $ 2"}
    record = {
        "title": "Figure 6: many", "facts": FACTS, "circumstances": {"sizes": "full"},
        "checks": [check, check | {"verdict": "agrees"}],
    }  # fmt: skip
    folder = checkout / "figures"
    folder.mkdir()
    (folder / "fig6.json").write_text(json.dumps(record), encoding="utf-8")
    assert pages.main([str(folder)]) == 0
    text = (checkout / "README.md").read_text(encoding="utf-8")
    assert "| x\\_1 \\| y | no (for \\$ 2) | Figure 6 |\n\n`python -m benchmarks.paper all" in text
    assert text.count("Figure 6") == 1


# -- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (99.7, "100"), (0.123, "0.12"), (12345.0, "12345"), (1.26e7, "1.3e+07"),
        (3e-16, "3e-16"), (float("nan"), "-"), (None, "-"), (Spread((2.0, 4.0)), "3"),
    ],
)  # fmt: skip
def test_numbers_have_two_digits(value: Any, text: str) -> None:
    assert pages.number(value) == text


def regrets(**changes: Any) -> list[dict[str, Any]]:
    """A problem for each class; the sparse one with these changes."""
    cells = {
        "what": "10 x 10", "dtype": "float64", "condition": 1e3, "ms": 1.0, "best": "numpy LU",
        "their_ms": 2.0, "ratio": 0.5, "more_us": -1000.0, "over_torch": 0.4, "error": 1e-14,
        "their_error": 2e-14, "accurate": True,
    }  # fmt: skip
    kinds = (*regret.GRIDS, "batches", "sparse")
    rows = [row("regret", kind, kind=kind, **cells) for kind in kinds]
    return [*rows[:-1], rows[-1] | changes]


def test_regret_shows_what_is_lost() -> None:
    lost = {
        "ratio": 3.0,
        "ms": 6.0,
        "more_us": 4000.0,
        "over_torch": "nan",
        "their_error": "nan",
        "accurate": False,
    }
    rows = regrets(**lost)
    lines = made("regret-rows", rows)
    assert lines[2] == (
        "| 10 x 10, κ 1e+03, float64 | 1 | numpy LU | 2 | 0.5 | 0.4 | 1e-14, 2e-14 |"
    )
    assert lines[3].startswith("|  | 1 |")  # the same once more
    assert lines[-1] == "|  | 6 | numpy LU | 2 | **3** | - | 1e-14, - |"
    *_, sparse, whole = made("regret-classes", rows)
    assert sparse == "| sparse | 1 | 3 | 3 | 10 x 10, κ 1e+03, float64 | 1 | 1 | - |"
    assert whole == f"| **all** | {len(rows)} | 0.5 | 3 | 10 x 10, κ 1e+03, float64 | 1 | 1 | 0.4 |"
    left: list[str] = []
    assert not list(pages.made(pages.TABLES, pages.revived(rows[:-1]), left))
    assert left[0] == "regret-classes: left as it is: no row with kind sparse"
    del rows[0]["ms"]
    assert [name for name, _ in pages.made(pages.TABLES, pages.revived(rows), left)] == [
        "regret-classes"
    ]
    assert left[-1] == "regret-rows: left as it is: 'ms'"


def test_the_table_of_holes_shows_lost_rows_and_counts_them() -> None:
    cells = {
        "pattern": "block", "one_of_20": True, "over_best_rival": 1.0, "error": Spread((0.5,)),
        "expected_over_error": 1.0, "coverage": 0.9, "width": 2.0, "bootstrap_width": 2.5,
        "ms": 1500.0, "times_faster_than_iterative": "nan",
        **dict.fromkeys(tables.RIVALS, 0.6), "KNNImputer": "nan",
    }  # fmt: skip
    names = [*TABLES, *tables.NO_ORDER]
    rows = [row("tables", "errors", data=name, **cells) for name in names]
    lost = {"pattern": "scattered", "over_best_rival": 2.0, "one_of_20": False}
    rows.append(rows[-1] | lost | {"times_faster_than_iterative": 4.0})
    large = {"shape": "10000 x 500", "seconds": 5.0, "error": 0.03, "oracle_rank_error": 0.02}
    rows.append(row("tables", "low rank, a fifth missing", **large))
    lines = made("holes", rows)
    assert lines[len(names) + 1] == (
        "| breast cancer | block | 0.5 | 0.6 | - | 0.6 | 0.6 | 0.6 | 1 | 0.900 | 2 | 2.5 | 1.5 |"
    )
    assert lines[len(names) + 2].startswith("|  | scattered * | **0.5** |")
    text = "\n".join(lines)
    assert f"on {len(names)} of {len(names)} rows that count, and on 0 of 1 with" in text
    assert "takes 4 times as long in the median, - for blocks and 4 for scattered holes" in text
    assert "takes 5 seconds and has the error 0.03; with the known rank it is 0.02." in text


def test_products_are_in_units_of_one() -> None:
    rows = [
        row(
            "central",
            "speed: seconds",
            n=n,
            condition=kappa,
            method=method,
            error=2.5e-15,
            gemms=Spread((n / 1000 + kappa / 1e8,)),
            **{"gemm rate": n / 2500},
        )
        for n in (1000, 2000)
        for kappa in (1e4, 1e8)
        for method in pages.METHODS.values()
    ]
    lines = made("products", rows)
    cases = (f"n = {n}, κ = 1e+{kappa}" for n in (1000, 2000) for kappa in ("04", "08"))
    assert lines[0] == f"|  | {' | '.join(cases)} |"
    assert lines[3] == "| EAGLE, Cholesky | 1 (2.5e-15) | 2 (2.5e-15) | 2 (2.5e-15) | 3 (2.5e-15) |"
    assert "at 40 to 80 % of the rate" in lines[-1]


def test_real_matrices_show_the_fastest_and_who_was_stopped() -> None:
    rows = []
    for matrix in real.FULL:
        place = {"matrix": matrix, "A": "block 2 x 2"}
        for method, seconds, low, high in (
            ("CG", Spread((0.5,)), 0.1, 8.0), ("gelsy", Spread((0.25,)), 0.1, 0.1),
            ("paper", "over 60 s", None, None), ("LSMR", "ends at 1e-02", 0.1, None),
        ):  # fmt: skip
            reached = seconds.median if isinstance(seconds, Spread) else None
            cells = {"method": method, "seconds": seconds, "to 0.1": low, "to 1e-18": high}
            cells |= {"to 0.001": reached}
            rows.append(row("real", "seconds to squared", **place, **cells))
    lines = made("real-matrices", rows)
    assert lines[0] == "| matrix | A | CG | gelsy | paper | LSMR |"
    assert lines[2] == f"| {real.FULL[0]} | block 2 x 2 | 0.5 | **0.25** | > 60 | - |"
    assert f"First: gelsy {len(real.FULL)}. Seconds to 1e-18 in units of those to 0.1" in lines[-1]
    assert lines[-1].endswith("in the median: CG 80, gelsy 1.")


def test_the_picture_of_costs_is_drawn_of_all_walks_or_not_at_all() -> None:
    rows = Rows(
        row("scaling", f"{walk}, n = 2: exponents", size=size, ours=cell)
        for walk in scaling.WALKS
        for size, cell in ((2, 3), (4, 12))
    )
    for each in rows:
        if not each["section"].startswith("machines"):
            each |= {"ours": Spread((each["ours"] * 1e3,)), "LU": Spread((1e3,))}
    picture = {"scaling": pages.PICTURES["scaling"]}
    ((_, figure),) = pages.made(picture, rows, [])
    shown = figure.axes[0]
    assert re.match("sides, n = 2", shown.get_title())
    assert shown.get_lines()[0].get_ydata().tolist() == [3.0, 12.0]  # seconds
    assert {text.get_text() for text in shown.texts} == {"2.0", "0.0"}
    left: list[str] = []
    assert not list(pages.made(picture, Rows(rows[:4]), left))
    assert left == ["scaling: left as it is: no section 'rank'"]
