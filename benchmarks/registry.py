"""Every benchmark by the word that names it. Adding one is one file and one word here.

A benchmark is a module with ``main(argv)`` that takes at least ``--quick`` and ``--json FILE``,
and prints and saves through `benchmarks.common.Report`; see `benchmarks.common.Suite`.
"""

import importlib
from types import ModuleType

BENCHMARKS = (
    "central", "limited", "crossovers", "distributed", "dropin", "tables", "transformer", "real",
    "limits", "attention", "fuzz", "load", "regret", "scaling",
)  # fmt: skip
TAKES_DATA = ("central", "real")  # --data FOLDER; 'real' does not run without


def load(name: str) -> ModuleType:
    """Import a benchmark; ModuleNotFoundError if an extra is missing."""
    return importlib.import_module(f"benchmarks.{name}")
