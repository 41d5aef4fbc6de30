"""``eagle train``: the transformer that rediscovers the rule."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from eagle.commands.common import complain, say, seed, transformer
from eagle.problem.options import check_count

SUMMARY = "train the transformer that rediscovers the rule"
TEXT = (
    "Train a linear transformer on masked blocks and write RUN/checkpoint.safetensors,\n"
    "RUN/log.csv and RUN/loss.png. The defaults are the paper's recipe. An interrupted run\n"
    "goes on from its last checkpoint with --resume, to the same result. Exit status 1: the\n"
    "run diverged; the last good checkpoint is kept."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder to write to")
    add("--resume", action="store_true", help="go on from the checkpoint in RUN")
    add(
        "--regime", default="unconstrained",
        help="unconstrained, compute-limited, distributed or estimation (default unconstrained)",
    )  # fmt: skip
    add("--family", help="block, scalar, kernel, mixture, condition or asymmetric (default block)")
    add("--spectrum", help="deviation or variance: what 0.7^i is of column i (default deviation)")
    add("--noise", type=float, help="variance of noise on X (default 0)")
    add("--condition", type=float, help="of A, family condition (default 1e6)")
    add("--layers", type=int, help="depth (default 4)")
    add("--heads", type=int, help="attention heads (default 1)")
    add("--rank", type=int, help="query and key dimension, compute-limited (default 5)")
    add("--machines", type=int, help="distributed (default 3)")
    add("--lift", help="paper or full, compute-limited (default paper)")
    add("--deviation", type=float, help="of the initial weights (default 0.067, distributed 0.1)")
    add("--steps", type=int, help="(default 20000)")
    add("--batch", type=int, help="prompts per step (default 1024)")
    add("--learning-rate", type=float, help="of Adam (default 1e-3)")
    add("--cooldown", type=float, help="part of the run in which the rate falls to 0 (default 0)")
    add("--clip", type=float, help="largest norm of the gradient (default 0.1)")
    add("--seed", type=seed, default=0, help="of weights and data (default 0)")
    add("--device", default="cpu", help="cpu, cuda and so on (default cpu)")
    add("--threads", type=int, help="of torch (default: all)")
    add("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    package = transformer()
    import torch

    given = {name: value for name, value in vars(arguments).items() if value is not None}

    def chosen(kind: type, *others: str) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: given[name] for name in names & given.keys() - set(others)}

    config = package.TrainConfig.paper(arguments.regime, **chosen(package.TrainConfig))
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **chosen(package.ModelConfig)),
        task=dataclasses.replace(config.task, **chosen(package.TaskConfig, "rank")),
    )
    if arguments.threads is not None:
        torch.set_num_threads(check_count("threads", arguments.threads))
    try:
        device = torch.device(arguments.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"device {arguments.device!r} cannot be used: {message}") from error
    run = package.train(
        config,
        arguments.folder,
        resume=arguments.resume,
        device=device,
        progress=not arguments.quiet,
    )
    say(str(run), f"written to {arguments.folder}")
    if run.status is package.RunStatus.DIVERGED:
        return complain(f"eagle train: warning: {run.status.name}: {run.status.value}", 1)
    return 0
