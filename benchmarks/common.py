"""What every benchmark needs: machine facts, timing, tables, JSON rows."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import eagle

__all__ = ["Report", "best_run", "best_time", "gemm_seconds"]


def best_time(function: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the fastest of some runs, after one to warm up."""
    return best_run(function, repeats)[0]


def best_run(function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """The same, and what the function returns."""
    value = function()
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        value = function()
        best = min(best, time.perf_counter() - start)
    return float(best), value


def gemm_seconds(n: int, dtype: Any = np.float64, repeats: int = 5) -> float:
    """Seconds of one general product of two n x n matrices: the unit of most tables."""
    from eagle.kernels.blas import product

    A = np.asfortranarray(np.random.default_rng(0).standard_normal((n, n)).astype(dtype))
    return best_time(lambda: product(A, A), repeats)


class Report:
    """Prints tables as they come and keeps every row for a JSON file."""

    def __init__(self, name: str):
        self.rows: list[dict[str, Any]] = []
        self.facts = {
            "benchmark": name,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "eagle": eagle.__version__,
        }
        print(" ".join(f"{key}={value}" for key, value in self.facts.items()))

    def section(self, title: str) -> None:
        """Start a table."""
        self.title = title
        self.header: list[str] = []
        print(f"\n## {title}")

    def row(self, **cells: Any) -> None:
        """Print one row, with a header before the first, and keep it."""
        self.rows.append({"section": self.title, **cells})
        if list(cells) != self.header:
            self.header = list(cells)
            print("  ".join(f"{name:>14}" for name in cells))
        print("  ".join(f"{_text(cell):>14}" for cell in cells.values()), flush=True)

    def say(self, sentence: str) -> None:
        """A conclusion in words."""
        print(sentence, flush=True)

    def save(self, path: str | None) -> None:
        """Write facts and rows, if a path was given."""
        if path:
            Path(path).write_text(json.dumps({"facts": self.facts, "rows": self.rows}, indent=1))


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if cell == 0 or 1e-3 <= abs(cell) < 1e4 else f"{cell:.1e}"
    return str(cell)
