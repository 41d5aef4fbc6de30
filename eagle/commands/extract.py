"""``eagle extract``: the rule out of a trained transformer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from eagle.commands.common import say, seed, transformer
from eagle.tables import check_output, replacing

SUMMARY = "read the rule out of a trained transformer"
TEXT = (
    "Read the update rule out of a model's weights, test its structure, and compare it with\n"
    "the model layer by layer. Exit status 1: the model did not learn the rule."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="RUN", help="a folder of eagle train, a checkpoint, or the name of a "
        "pretrained model: unconstrained-0, distributed-noisy-0, estimation-variance-1 and so on",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the rule, as .json or .py"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the test prompts (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    if arguments.output is not None:
        check_output(arguments.output, (".json", ".py"))
    package = transformer()
    from eagle.transformer.pretrained import named

    path = Path(arguments.source)
    if not path.exists():
        paths = named()
        if arguments.source not in paths:
            raise ValueError(f"RUN must be a folder, a checkpoint or one of {', '.join(paths)}")
        path = paths[arguments.source]
    run = package.load_run(path)
    rule = package.extract(run.model, seed=arguments.seed)
    say(str(run), "", str(rule))
    if rule.learned:
        say("", str(package.fidelity(run.model, rule)))
    if arguments.output is not None:
        code = arguments.output.suffix.lower() == ".py"
        text = rule.code() if code else json.dumps(rule.to_dict(), indent=1) + "\n"
        with replacing(arguments.output) as file:
            file.write(text.encode())
        say("", f"written to {arguments.output}")
    return 0 if rule.learned else 1
