"""A table for the documentation from ``python -m benchmarks tables --sections rows --json FILE``.

``python -m benchmarks.tables_table FILE ...`` prints every row, lost ones in bold, of one run or of
several that had a part of the data sets each; machine and versions stand under it.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Parser
from benchmarks.compare import read
from benchmarks.regret_table import machine
from benchmarks.tables import RIVALS, WITHIN


def main(argv: list[str] | None = None) -> int:
    """Print Markdown."""
    parser = Parser(prog="python -m benchmarks.tables_table", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args(argv)
    try:
        contents = [read(file) for file in options.files]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    rows = [row for content in contents for row in content["rows"] if "over_best_rival" in row]
    print("\n".join([*table(rows), "", verdict(rows), "", machine(contents[0]["facts"])]))
    return 0


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each data set and pattern."""
    heads = ("data", "holes", "eagle", *RIVALS, "expected / error", "coverage")
    heads += ("width", "a bootstrap's", "seconds")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        error = f"{row['error']['median']:.2g}"
        cells = (
            row["data"],
            row["pattern"] + ("" if row["one_of_20"] else " *"),
            error if row["over_best_rival"] <= WITHIN else f"**{error}**",
            *(_number(row[name]) for name in RIVALS),
            _number(row["expected_over_error"]),
            f"{row['coverage']:.3f}",
            _number(row["width"]),
            _number(row["bootstrap_width"]),
            _number(row["ms"] / 1e3),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def verdict(rows: list[dict[str, Any]]) -> str:
    """How many rows are won."""
    counted = [row for row in rows if row["one_of_20"]]
    won = sum(row["over_best_rival"] <= WITHIN for row in counted)
    others = [row for row in rows if not row["one_of_20"]]
    shown = sum(row["over_best_rival"] <= WITHIN for row in others)
    return (
        f"Within 5 % of the best rival on {won} of {len(counted)} rows that count, and on {shown} "
        f"of the {len(others)} with a star, which are shown beside them; in bold where not. "
        f"IterativeImputer takes {_slower(rows)} times as long in the median, "
        f"{_slower(rows, False)} for blocks and {_slower(rows, True)} for scattered holes."
    )


def _slower(rows: list[dict[str, Any]], scattered: bool | None = None) -> str:
    """How many times as long IterativeImputer takes, the median of rows of such a pattern."""
    times = [
        float(row["times_faster_than_iterative"])
        for row in rows
        if scattered is None or scattered == (row["pattern"] == "scattered")
    ]
    known = [each for each in times if not np.isnan(each)]
    return _number(np.median(known)) if known else "-"


def _number(value: Any) -> str:
    return "-" if isinstance(value, str) or np.isnan(value) else f"{value:.2g}"


if __name__ == "__main__":
    sys.exit(main())
