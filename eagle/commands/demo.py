"""``eagle demo``: the methods on real data, on one screen."""

from __future__ import annotations

import argparse
from pathlib import Path

from eagle.commands.common import seed

SUMMARY = "compare the methods on real data, on one screen"
TEXT = (
    "Hide a block of a kernel matrix of handwritten digits and a block of their pixels, find\n"
    "them again by every method, and draw how the methods converge."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("convergence.png"), metavar="FILE",
        help="the picture: .png, .pdf or .svg (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="of what is hidden (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    from eagle.gallery import demo

    demo.main(arguments.output, arguments.seed)
    return 0
