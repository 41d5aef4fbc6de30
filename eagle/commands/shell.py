"""``eagle --print-completion`` and ``--install-completion``: what a shell may complete."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from eagle.commands.common import say
from eagle.tables import replacing

# Where each shell looks by itself; zsh in the folders of its fpath.
PLACES = {
    "bash": ("XDG_DATA_HOME", ".local/share", "bash-completion/completions/eagle"),
    "zsh": ("ZDOTDIR", "", ".zfunc/_eagle"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare both options."""
    for name, what in (("print", "print"), ("install", "write to where the shell looks for it")):
        parser.add_argument(
            f"--{name}-completion",
            choices=tuple(PLACES),
            action=_Complete,
            help=f"{what} the completion of a shell (extra 'completion')",
        )


class _Complete(argparse.Action):
    """Made from the parser as it is; then the program ends."""

    def __call__(self, parser: Any, namespace: Any, shell: Any, option: str | None = None) -> None:
        try:
            import shtab
        except ImportError:
            parser.error("completion needs shtab: pip install 'eagle-solver[completion]'")
        text: str = shtab.complete(parser, shell=shell)
        if option == "--print-completion":
            say(text)
        else:
            variable, default, place = PLACES[shell]
            path = Path(os.environ.get(variable) or Path.home() / default) / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(text.encode())
            hint = "; put its folder into fpath" if shell == "zsh" else ""
            say(f"written to {path}{hint}")
        parser.exit(0)
