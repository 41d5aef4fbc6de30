"""Loops that hold no lock, split among Python threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba


def threaded(kernel: Any, length: int, tile: int, *arguments: Any) -> list[Any]:
    """Run ``kernel(start, stop, *arguments)`` on parts of ``range(length)``, one per thread.

    Parts are whole tiles, and the caller's thread takes the first. Python threads, as numba's
    own do not survive a fork or concurrent callers on every system.
    """
    threads = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    step = -(-length // (threads * tile)) * tile
    if step >= length:
        return [kernel(0, length, *arguments)]
    starts = range(step, length, step)
    with ThreadPoolExecutor(len(starts)) as pool:
        others = [
            pool.submit(kernel, start, min(start + step, length), *arguments) for start in starts
        ]
        first = kernel(0, step, *arguments)
    return [first, *(other.result() for other in others)]
