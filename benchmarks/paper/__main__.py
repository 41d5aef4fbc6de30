"""Redraw figures and tables of the paper, compare them with it, and write one page about it.

NAME is a figure or table, or all; without one their names and titles are listed. Each leaves
NAME.png, NAME.csv and NAME.json in the folder of --output, and index.html there shows everything
that the folder holds.
"""

import argparse
import sys
import textwrap
import time
from pathlib import Path

from benchmarks.common import Parser, Report, existing_folder, make_folder, refuse_unknown, whole
from benchmarks.paper import registry, report
from benchmarks.paper.common import Setting


def main(argv: list[str] | None = None) -> int:
    """Redraw what was asked for; exit status 0 whatever the verdicts are."""
    arguments = _arguments(argv)
    if not arguments.names:
        for page in arguments.pages:
            print(page.name.ljust(8), page.title)
        return 0
    checkpoints = _retrained(arguments.retrain) if arguments.retrain else None
    setting = Setting(arguments.quick, arguments.seed, arguments.data, checkpoints)
    printed = Report("paper")
    for page in arguments.pages:
        started = time.perf_counter()
        printed.section(page.title)
        sheet = None
        if page.needs_data and setting.data is None:
            outcome = page.missing
        else:
            sheet = page.draw(setting)
            outcome = page.judge(sheet.rows)
            for row in sheet.rows:
                printed.row(**row)
        seconds = round(time.perf_counter() - started, 1)
        sizes = "quick" if setting.quick else "full"
        circumstances = {"sizes": sizes, "seed": setting.seed, "seconds": seconds}
        report.write(page, arguments.output, sheet, outcome, circumstances, printed.facts)
        for check in outcome.checks:
            printed.say(f"{check.verdict}: {check.claim}: {check.found}")
        printed.say(f"{page.name}: {outcome.count}: {outcome.sentence} [{seconds} s]")
    printed.say(f"\nreport: {report.write_page(arguments.output)}")
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    """Checked: the pages are loaded, the folders are there."""
    names = registry.names()
    parser = Parser(
        prog="python -m benchmarks.paper", description=__doc__,
        epilog=textwrap.fill("names: all, " + ", ".join(names)),
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, or some of those below")
    parser.add_argument("--quick", action="store_true", help="small sizes, few runs: a minute")
    parser.add_argument("--seed", type=whole(0), default=0, help="of all random numbers")
    parser.add_argument("--output", type=Path, default=Path("figures"), metavar="DIR")
    parser.add_argument(
        "--data", type=existing_folder, metavar="DIR", help="folder of SuiteSparse matrices"
    )
    parser.add_argument(
        "--retrain", type=Path, metavar="RUNS",
        help="train the transformers anew into this folder, an hour or two",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    refuse_unknown(parser, "figure or table", arguments.names, ["all", *names])
    chosen = names if "all" in arguments.names else arguments.names or names
    try:
        arguments.pages = [registry.load(name) for name in chosen]
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as missing:
        parser.error(f"{missing.name} is missing: pip install '.[plot,torch]'")
    if arguments.data is not None:
        setting = Setting(arguments.quick, data=arguments.data)
        try:
            for page in arguments.pages:
                page.check(setting)
        except OSError as error:
            parser.error(f"--data: {error}")
    make_folder(parser, arguments.output)
    return arguments


def _retrained(runs: Path) -> Path:
    """Checkpoints of transformers trained now; resumes what was begun."""
    import torch

    from benchmarks import pretrain

    torch.set_num_threads(1)
    folder = runs / "checkpoints"
    for name, config in pretrain.configurations().items():
        pretrain.pretrain(name, config, runs, folder, progress=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
