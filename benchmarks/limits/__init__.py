"""What the paper left open: finite precision, data that are not low-rank, slow links.

NAME is condition, asymmetric or communication; all three by default. Each prints a table and leaves
NAME.png and NAME.csv in the folder of --output.
"""

from __future__ import annotations

import csv
import importlib
import warnings
from pathlib import Path
from typing import Any

import eagle
from benchmarks.common import Report, Spread, command_line

NAMES = ("condition", "asymmetric", "communication")


def main(argv: list[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = command_line("limits", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--output", type=Path, default=Path("limits"), metavar="DIR")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no limit {', '.join(unknown)}: choose from {', '.join(NAMES)}")
    from eagle.plotting import save

    warnings.simplefilter("ignore", eagle.ConvergenceWarning)
    options.output.mkdir(parents=True, exist_ok=True)
    report = Report("limits")
    for name in options.names or NAMES:
        study = importlib.import_module(f"benchmarks.limits.{name}")
        report.section(study.__doc__.partition("\n")[0].rstrip("."), study.BY)
        rows = []
        for row in study.measure(options.seed, quick=options.quick):
            rows.append(row)
            report.row(**row)
        for sentence in study.conclude(rows):
            report.say(sentence)
        write_csv(options.output / f"{name}.csv", rows)
        save(study.draw(rows), options.output / f"{name}.png")
        report.say(f"picture: {options.output / name}.png")
    report.save(options.json)
    return 0


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Medians in place of spreads."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v.median if isinstance(v, Spread) else v for k, v in row.items()})
