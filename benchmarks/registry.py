"""Every benchmark by the word that names it. Adding one is one file and one line here.

A benchmark is a module with ``main(argv)`` that takes at least ``--quick`` and ``--json FILE``,
and prints and saves through `benchmarks.common.Report`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["BENCHMARKS", "NEEDS_DATA", "load"]

BENCHMARKS = {
    "central": "benchmarks.central",
    "limited": "benchmarks.limited",
    "crossovers": "benchmarks.crossovers",
    "distributed": "benchmarks.distributed",
    "dropin": "benchmarks.dropin",
    "tables": "benchmarks.tables",
    "transformer": "benchmarks.transformer",
    "real": "benchmarks.real",
    "limits": "benchmarks.limits",
    "attention": "benchmarks.attention",
    "fuzz": "benchmarks.fuzz",
}
NEEDS_DATA = frozenset({"real"})  # do not run without --data FOLDER


def load(name: str) -> ModuleType:
    """Import a benchmark; ModuleNotFoundError if an extra is missing."""
    return importlib.import_module(BENCHMARKS[name])
