"""``python -m benchmarks.paper [fig2 ... table1 | all]``: redraw figures and tables of the paper.

From the checkpoints that come with the package, in under a minute; with ``--retrain RUNS`` from
nothing, in an hour or two.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks import pretrain
from benchmarks.common import Report
from benchmarks.paper import distributed, transformer
from benchmarks.transformer import Models
from eagle.transformer.pretrained import FOLDER

FIGURES = transformer.FIGURES | distributed.FIGURES


def main(argv: list[str] | None = None) -> int:
    """Redraw what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description=__doc__,
        epilog="\n".join(f"  {name:8} {figure.__doc__}" for name, figure in FIGURES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="all, or some of those below")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="folder of pictures")
    parser.add_argument("--retrain", type=Path, metavar="RUNS", help="train anew into this folder")
    parser.add_argument("--json", metavar="FILE", help="write every row to FILE")
    arguments = parser.parse_args(argv)
    names = list(FIGURES) if arguments.names == ["all"] else arguments.names
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"no figure {', '.join(unknown)}: choose from all, {', '.join(FIGURES)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    folder = FOLDER
    if arguments.retrain:
        folder = arguments.retrain / "checkpoints"
        torch.set_num_threads(1)
        for name, config in pretrain.configurations().items():
            pretrain.pretrain(name, config, arguments.retrain, folder, progress=True)
    report, models = Report("paper"), Models(folder)
    for name in names:
        figure = FIGURES[name](report, models)
        if figure is not None:
            path = arguments.output / f"{name}.png"
            figure.savefig(path, dpi=160)
            report.say(f"picture: {path}")
    report.save(arguments.json)
    report.say(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
