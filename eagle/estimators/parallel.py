"""Pieces of work side by side, each on one core."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
LIMITED = Lock()  # held by whoever has changed how many threads BLAS takes


def for_each(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    """Call `work` for every piece, in as many threads as BLAS would use for one of them.

    BLAS itself has one thread meanwhile: what is not a product, such as an exponential, runs on
    all cores too, and no core waits for another at the end of each product. Within another such
    call, and where BLAS is limited to one thread, as in the workers of joblib, it is a plain loop.
    """
    threads = max((each["num_threads"] for each in _blas().info()), default=1)
    if threads == 1 or not LIMITED.acquire(blocking=False):
        for piece in pieces:
            work(piece)
        return
    try:
        with _blas().limit(limits=1), ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, pieces))  # raises what a piece has raised
    finally:
        LIMITED.release()


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process; to look for them takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")
