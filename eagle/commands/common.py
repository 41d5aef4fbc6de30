"""What several commands share: options of a solve, seeds, verdicts, one-line messages."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any

import eagle
from eagle.problem.result import Result

# Arguments of `eagle.solve` that are options of a command.
OPTIONS = (
    "method",
    "rtol",
    "maxiter",
    "time_limit",
    "rank",
    "cutoff",
    "ridge",
    "memory_limit",
    "progress",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `eagle.solve` by their own names."""
    add = parser.add_argument
    add("--method", default="auto", help=f"auto, {', '.join(eagle.METHODS)} (default auto)")
    add("--rtol", type=float, help="wanted relative error of the value")
    add("--maxiter", type=int, help="most iterations")
    add("--time-limit", type=float, metavar="SECONDS")
    add("--cutoff", type=float, help="relative singular value at or below which A is noise")
    add("--ridge", type=float, default=0.0, help="Tikhonov parameter (default 0)")
    add("--seed", type=seed, default=0, help="of the random probes and folds (default 0)")
    add("--progress", action="store_true", help="show a progress bar")


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_options` declared, as keyword arguments."""
    names = ("method", "rtol", "maxiter", "time_limit", "cutoff", "ridge", "progress")
    return {name: getattr(arguments, name) for name in names} | {"rng": arguments.seed}


def in_options(message: str, arguments: argparse.Namespace) -> str:
    """What a function says in Python's words, ``rank=None``, in those of the command line."""
    names = [name for name in OPTIONS if name in arguments]
    any_name = "|".join(names) or "-"
    message = re.sub(rf"\b({any_name})=None\b", r"--\1 none", message)
    message = re.sub(rf"\b({any_name})=(['\"]?)([^\s,:;'\"]+)\2", r"--\1 \2\3\2", message)
    message = re.sub(rf"\b(with|use|set) ({any_name})\b", r"\1 --\2", message)
    return re.sub(r"--\w+", lambda found: found[0].replace("_", "-"), message)


def seed(text: str) -> int:
    """A seed from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, got {text!r}")
    return int(text)


def transformer() -> Any:
    """The subpackage, or ValueError that says what to install."""
    try:
        import eagle.transformer
    except ImportError as error:
        raise ValueError(error) from error
    return eagle.transformer


def verdict(command: str, results: Iterable[Result]) -> int:
    """1 and a line of warning if a result is less accurate than was asked for."""
    failed = [result for result in results if not result.converged]
    if not failed:
        return 0
    worst = max(failed, key=lambda result: result.error_estimate)
    return complain(
        f"{command}: warning: not converged ({worst.status.name}, error estimate "
        f"{worst.error_estimate:.1e}). {worst.advice}",
        1,
    )


def say(*lines: str) -> None:
    """Print to the standard output."""
    sys.stdout.write("\n".join(lines) + "\n")


def complain(message: str, status: int) -> int:
    """One line to the standard error; the status."""
    if not _is_secondary():
        sys.stderr.write(" ".join(message.split()) + "\n")
    return status


def _is_secondary() -> bool:
    """Whether rank 0 of an MPI job says the same."""
    if "distributed" not in sys.argv:
        return False
    from eagle.distributed.mpi import launched_rank

    return bool(launched_rank())
