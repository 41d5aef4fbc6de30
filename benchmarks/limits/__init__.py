"""What the paper left open: finite precision, data that are not low-rank, slow links.

NAME is condition, asymmetric or communication; all three by default. Each prints a table, of which
`benchmarks.pages` draws a picture.
"""

import importlib
import warnings

import eagle
from benchmarks.common import Report, Rows, command_line, refuse_unknown

NAMES = ("condition", "asymmetric", "communication")


def main(argv: list[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = command_line("limits", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args(argv)
    refuse_unknown(parser, "limit", options.names, NAMES)
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
    report.save(options.json)
    return 0
