"""The command ``eagle``: demo, solve, complete, distributed, train, extract, info."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

import eagle
from eagle.commands import COMMANDS, shell
from eagle.commands.common import complain, in_options
from eagle.problem.result import ConvergenceWarning

STATUS = """exit status:
  0    done
  1    done and written, but a solve ended without the accuracy that was asked for,
       a training diverged, or a model follows no rule
  2    bad input; nothing was written
  3    distributed: a machine failed, or the deadline passed; nothing was written
  130  interrupted; nothing was written (by train: up to the last checkpoint)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the program; those of the process by default.

    Returns
    -------
    int
        Exit status, see ``eagle --help``.

    Examples
    --------
    >>> from eagle.cli import main
    >>> main(["complete", "--rank", "some", "table.csv", "-o", "filled.csv"])
    2
    """
    command, arguments = "eagle", argparse.Namespace()
    try:
        arguments = _parser().parse_args(argv)
        command = f"eagle {arguments.command}"
        with warnings.catch_warnings():
            # Said below in one line, and by the exit status.
            warnings.simplefilter("ignore", ConvergenceWarning)
            status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as stop:  # argparse after --help or an error
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return complain(f"{command}: interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has enough; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return complain(f"{command}: error: not enough memory ({error})", 2)
    except (ValueError, TypeError, OSError, np.linalg.LinAlgError) as error:
        return complain(f"{command}: error: {in_options(str(error), arguments)}", 2)


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(complain(f"{self.prog}: error: {message} (see {self.prog} --help)", 2))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="eagle",
        description="Hidden blocks of low-rank matrices, B A^+ C, with a certificate.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"eagle {eagle.__version__}")
    shell.add(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = importlib.import_module(f"eagle.commands.{name}")
        each = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.TEXT,
            epilog=STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add(each)
        each.set_defaults(run=command.run)
    return parser
