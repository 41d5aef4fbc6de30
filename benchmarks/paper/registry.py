"""Finds the figures and tables: the modules of this package that are named like one."""

import importlib
import pkgutil
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import benchmarks.paper
from benchmarks.common import Rows
from benchmarks.paper.common import Check, Outcome, Setting, Sheet

NAME = re.compile(r"(fig|table)(\d+)")


@dataclass(frozen=True)
class Page:
    """One figure or table."""

    name: str
    module: ModuleType
    title: str  # the first line of its docstring
    text: str  # the rest
    claim: str  # of the paper
    needs_data: bool  # to be drawn at all

    def check(self, setting: Setting) -> None:
        """FileNotFoundError if ``--data`` lacks what this needs."""
        if self.needs_data:
            self.module.check(setting)

    def draw(self, setting: Setting) -> Sheet:
        """Measure and draw."""
        sheet = Sheet()
        self.module.draw(setting, sheet)
        sheet.finish()
        return sheet

    def judge(self, rows: Iterable[dict[str, Any]]) -> Outcome:
        """Compare with the paper."""
        return Outcome(tuple(self.module.judge(Rows(rows))))

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
    module = importlib.import_module(f"benchmarks.paper.{name}")
    title, _, text = (module.__doc__ or "").partition("\n")
    needs_data = getattr(module, "NEEDS_DATA", False)
    return Page(name, module, title.rstrip("."), text.strip(), module.CLAIM, needs_data)
