"""What the paper left open: finite precision, data that are not low-rank, slow links.

NAME is condition, asymmetric or communication; all three by default. Each prints a table, and with
--output leaves NAME.png and NAME.csv in that folder.
"""

import importlib
import warnings
from pathlib import Path

import eagle
from benchmarks.common import Report, Rows, command_line, make_folder, refuse_unknown, write_csv
from eagle.gallery.plotting import save

NAMES = ("condition", "asymmetric", "communication")


def main(argv: list[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = command_line("limits", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--output", type=Path, metavar="DIR")
    options = parser.parse_args(argv)
    refuse_unknown(parser, "limit", options.names, NAMES)
    if options.output:
        make_folder(parser, options.output)
    warnings.simplefilter("ignore", eagle.ConvergenceWarning)
    report = Report("limits", quick=options.quick)
    for name in options.names or NAMES:
        study = importlib.import_module(f"benchmarks.limits.{name}")
        report.section(study.__doc__.partition("\n")[0].rstrip("."), study.BY)
        rows = Rows()
        for row in study.measure(options.seed, quick=options.quick):
            rows.append(row)
            report.row(**row)
        for sentence in study.conclude(rows):
            report.say(sentence)
        if options.output:
            write_csv(options.output / f"{name}.csv", rows)
            save(study.draw(rows), options.output / f"{name}.png")
    report.save(options.json)
    return 0
