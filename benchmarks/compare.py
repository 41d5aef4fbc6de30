"""``python -m benchmarks compare OLD.json NEW.json``: what moved between two runs.

Compared is every cell with a spread, row by row. A cell has moved if the ranges of its repeats do
not meet: by chance that happens to 2 of 252 cells with five repeats on either side. With
``--fail-above F`` the exit status is 1 if a cell moved for the worse by more than the factor F.
Exit status 2: a file that is not readable, no output of a benchmark, or nothing to compare.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Parser

NUMBERS = ("median", "min", "max")
PARTS = (*NUMBERS, "better")


@dataclass(frozen=True)
class Change:
    """One cell in both files.

    `worse` is the factor by which it got worse, below 1 if it got better; `moved` says whether
    that is more than the repeats explain.
    """

    where: str
    before: float
    after: float
    worse: float
    moved: bool


def main(argv: list[str] | None = None) -> int:
    """Print all cells that both files have, the ones that moved marked."""
    parser = Parser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--fail-above", type=float, metavar="F", help="such as 1.2")
    parser.add_argument("--moved", action="store_true", help="print only what moved")
    options = parser.parse_args(argv)
    if options.fail_above is not None and not options.fail_above >= 1:
        parser.error(f"--fail-above must be at least 1, got {options.fail_above:g}")
    try:
        old, new = read(options.old), read(options.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    found = changes(old, new)
    if not found:
        parser.error(f"{options.old} and {options.new} have no measured cell in common")
    for name in sorted(old["facts"].keys() & new["facts"].keys() - {"load"}):
        if old["facts"][name] != new["facts"][name]:
            print(f"{name}: {old['facts'][name]} -> {new['facts'][name]}")
    for change in found:
        if change.moved or not options.moved:
            mark = ("worse" if change.worse > 1 else "better") if change.moved else ""
            numbers = f"{change.worse:7.3f}  {change.before:.4g} -> {change.after:.4g}"
            print(f"{mark:6} {numbers}  {change.where}")
    for path, own, other in ((options.old, old, new), (options.new, new, old)):
        alone = cells(own).keys() - cells(other).keys()
        if alone:
            print(f"{len(alone)} cells only in {path}")
    limit = options.fail_above or float("inf")
    failed = [change for change in found if change.moved and change.worse > limit]
    moved = sum(change.moved for change in found)
    print(f"{len(found)} cells, {moved} moved beyond their spread, {len(failed)} regressions")
    return 1 if failed else 0


def read(path: Path) -> dict[str, Any]:
    """The output of a benchmark; OSError or ValueError with one sentence otherwise."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    facts = content.get("facts") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not isinstance(facts, dict):
        raise ValueError(f"{path} is not the output of a benchmark: it needs facts and rows")
    for row in rows:
        if not isinstance(row, dict) or not {"benchmark", "section", "key"} <= row.keys():
            raise ValueError(f"{path}: every row needs benchmark, section and key, got {row!r}")
    return content


def cells(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Measured cells by where they are; rows with equal keys are told apart by their order."""
    seen: Counter[str] = Counter()
    found = {}
    for row in content["rows"]:
        where = f"{row['benchmark']}: {row['section']}: {row['key']}"
        seen[where] += 1
        number = f" #{seen[where]}" if seen[where] > 1 else ""
        for name, cell in row.items():
            if isinstance(cell, dict) and all(part in cell for part in PARTS):
                found[f"{where}{number}: {name}"] = cell
    return found


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Cells in both, worst first."""
    before, after = cells(old), cells(new)
    found = []
    for where in before.keys() & after.keys():
        a, b = before[where], after[where]
        if not all(isinstance(x[part], int | float) for x in (a, b) for part in NUMBERS):
            continue  # infinity is a word
        if min(a["median"], b["median"]) <= 0:
            continue
        worse = b["median"] / a["median"] if a["better"] == "less" else a["median"] / b["median"]
        moved = b["min"] > a["max"] or b["max"] < a["min"]
        found.append(Change(where, a["median"], b["median"], worse, moved))
    return sorted(found, key=lambda change: (-change.worse, change.where))
