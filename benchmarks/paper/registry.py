"""Finds the figures and tables: the modules of this package that are named like one."""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import dataclass
from types import ModuleType

import benchmarks.paper
from benchmarks.paper.common import Check, Drawing, Outcome, Rows, Setting

__all__ = ["Page", "load", "names"]

NAME = re.compile(r"(fig|table)(\d+)")


@dataclass(frozen=True)
class Page:
    """One figure or table."""

    name: str
    module: ModuleType

    @property
    def title(self) -> str:
        """The first line of its docstring."""
        return (self.module.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def text(self) -> str:
        """The rest of it."""
        return (self.module.__doc__ or "").partition("\n")[2].strip()

    @property
    def claim(self) -> str:
        """What the paper says."""
        return str(self.module.CLAIM)

    @property
    def needs_data(self) -> bool:
        """Whether it cannot be drawn without ``--data``."""
        return bool(getattr(self.module, "NEEDS_DATA", False))

    def check(self, setting: Setting) -> None:
        """FileNotFoundError if ``--data`` lacks what this needs."""
        if self.needs_data:
            self.module.check(setting)

    def draw(self, setting: Setting) -> Drawing:
        """Measure and draw."""
        return self.module.draw(setting)

    def judge(self, rows: Rows) -> Outcome:
        """Compare with the paper."""
        return Outcome(tuple(self.module.judge(rows)))

    @property
    def missing(self) -> Outcome:
        """What is said in place of a verdict where there is no data."""
        found = "not drawn: it needs the SuiteSparse matrices, give their folder with --data"
        return Outcome((Check(self.claim, found, None),))


def names() -> list[str]:
    """All of them, figures first, in the order of the paper."""
    found = [each.name for each in pkgutil.iter_modules(benchmarks.paper.__path__)]
    matches = filter(None, map(NAME.fullmatch, found))
    return [match[0] for match in sorted(matches, key=lambda match: (match[1], int(match[2])))]


def load(name: str) -> Page:
    """Import one."""
    return Page(name, importlib.import_module(f"benchmarks.paper.{name}"))
