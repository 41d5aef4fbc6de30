"""Many problems of one shape: every matrix has its own scale, schedule, stopping and status.

Small ones are solved together: by QR in compiled loops (`eagle.run.stack`), or, where EAGLE or a
truncated spectrum was asked for, by the functions of whole arrays that run on devices
(`eagle.device`), with numpy as the library. What neither can do, or did not do well, is solved one
by one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from eagle.algebra.homes import Host
from eagle.methods import Direct, Eagle, as_method
from eagle.problem.blocks import check_finite, leading_shape
from eagle.problem.many import Many
from eagle.problem.options import Options
from eagle.problem.result import Result
from eagle.run.stack import QR, Stack, norms, solve_stack

__all__ = ["is_batch", "solve_batch"]

Blocks = tuple[Any, np.ndarray | None, np.ndarray | None]
Names = tuple[str, str, str]

LONGEST = 128  # side of A up to which compiled loops beat LAPACK, call by call
MANY = 200  # problems that are worth the half second of loading them
SOME = 10  # problems that are solved faster together than one by one, without compiled loops
CACHEFUL = 2**16  # entries of all A that are multiplied at a time


def is_batch(*blocks: Any) -> bool:
    """Whether any of the blocks has leading dimensions."""
    return any(block is not None and block.ndim > 2 for block in blocks)


def solve_batch(
    blocks: Blocks,
    names: Names,
    method: Any,
    options: Options,
    single: Callable[[Any, Any, Any, Options], Result],
    limit: float,
) -> Result:
    """Broadcast leading dimensions and solve every problem.

    Parameters
    ----------
    blocks : tuple of ndarray or None
        A (..., d, n), B (..., d', n), C (..., d, n') or (d,).
    names : tuple of str
        What the caller's user calls them.
    method : object
        What the user asked for.
    options : Options
        ``time_limit`` is for the whole batch.
    single : callable
        Solves one problem, without complaining.
    limit : float
        Error estimates beyond which ``"auto"`` should try something else.

    Returns
    -------
    Result
        With one `Result` per problem in ``results``; numbers are those of the worst of them.

    Raises
    ------
    ValueError
        For leading dimensions that do not broadcast.
    """
    start = time.perf_counter()
    for name, block in zip(names, blocks, strict=True):
        _check_finite(name, block)
    shape = leading_shape(names, blocks)
    if not math.prod(shape):
        return _nothing(blocks, shape, single, options)
    many, trusted = _at_once(blocks, shape, names, method, options, limit)
    spread = [
        block if block is None or block.ndim < 3 else _broadcast(block, shape) for block in blocks
    ]
    for place in np.flatnonzero(~trusted):
        index = np.unravel_index(place, shape)
        A, B, C = (block if block is None or block.ndim < 3 else block[index] for block in spread)
        result = single(A, B, C, options.left_after(time.perf_counter() - start))
        if many is None:
            value = np.empty(shape + result.value.shape, result.value.dtype)
            many = Many.unknown(value, shape, result)
        many.put(int(place), result)
    assert many is not None
    return many.result(time.perf_counter() - start)


def _check_finite(name: str, block: Any) -> None:
    """Raise ValueError for NaN or infinity."""
    stack = isinstance(block, np.ndarray) and block.ndim > 2
    if block is not None and not (stack and np.isfinite(norms(block)).all()):
        check_finite(name, block)


def _at_once(
    blocks: Blocks,
    shape: tuple[int, ...],
    names: Names,
    method: Any,
    options: Options,
    limit: float,
) -> tuple[Many | None, np.ndarray]:
    """What is made of all problems together, and which of these results count."""
    A, chosen, count = blocks[0], as_method(method), math.prod(shape)
    whole = isinstance(A, np.ndarray) and all(
        block is None or 0 not in block.shape for block in blocks
    )
    if whole and max(A.shape[-2:]) <= LONGEST and not (options.callback or options.progress):
        if not options.special() and (count >= MANY if chosen is None else chosen == QR):
            return _by_kernel(blocks, shape, options, limit if chosen is None else None)
        found = _for_arrays(chosen, options)
        if found is not None and count >= SOME:
            many = _by_arrays(blocks, shape, names, found, options, asked=chosen is not None)
            return many, np.broadcast_to(norms(A) > 0, shape).ravel()
    return None, np.zeros(count, bool)


def _by_kernel(
    blocks: Blocks, shape: tuple[int, ...], options: Options, limit: float | None
) -> tuple[Many, np.ndarray]:
    """By QR in compiled loops; `limit` is that of auto."""
    A, B, C = blocks
    dtype, work = _dtypes(blocks)

    def stack(block: np.ndarray) -> Stack:
        return Stack.create(block[:, None] if block.ndim == 1 else block, shape, work)

    count, (d, n), auto = math.prod(shape), A.shape[-2:], limit is not None
    said = f"auto: compiled QR for {count} problems of {d} x {n}" if auto else "asked for: Direct"
    stacks = stack(A), None if B is None else stack(B), None if C is None else stack(C)
    many, trusted = solve_stack(stacks, dtype, options, said, limit)
    value = many.value[..., 0] if C is not None and C.ndim == 1 else many.value
    value = value.reshape(shape + value.shape[1:])
    return replace(many, value=value, leading=shape), trusted


def _dtypes(blocks: Blocks) -> tuple[np.dtype, np.dtype]:
    """That of the values, and what is computed in."""
    dtype = np.result_type(*(block for block in blocks if block is not None)).newbyteorder("=")
    return dtype, np.result_type(dtype, np.float32)


def _for_arrays(method: Any, options: Options) -> Any:
    """The method as functions of whole arrays have it; None if they do not."""
    if options.memory_limit is not None:
        return None
    if method is None:
        return Direct("svd") if options.special() else None
    if isinstance(method, Direct) and method.driver in ("gelsd", "svd"):
        return Direct("svd")
    products = isinstance(method, Eagle) and method.schedule != "cholesky"
    return method if products and not options.special() else None


def _by_arrays(
    blocks: Blocks,
    shape: tuple[int, ...],
    names: Names,
    method: Any,
    options: Options,
    *,
    asked: bool,
) -> Many:
    """By what runs on devices, a cacheful of matrices at a time, on all threads."""
    from eagle.algebra.stacked import HostTools
    from eagle.device.run import solve_many

    start, count = time.perf_counter(), math.prod(shape)
    dtype, work = _dtypes(blocks)
    seed = int(options.rng.integers(2**63))  # the same probes for all

    def stack(block: Any) -> Any:
        if block is None or block.ndim == 1:
            return block
        return _broadcast(block, shape).reshape(count, *block.shape[-2:])

    stacks = [stack(block) for block in blocks]
    tile = max(1, CACHEFUL // math.prod(blocks[0].shape[-2:]))

    def solve(first: int, last: int) -> list[Many]:
        found = []
        for begin in range(first, last, tile):
            end = min(begin + tile, last)
            A, B, C = (
                X if X is None else (X if X.ndim == 1 else X[begin:end]).astype(work, copy=False)
                for X in stacks
            )
            left = replace(options, rng=seed).left_after(time.perf_counter() - start)
            tools = HostTools(Host(), A)
            found.append(
                solve_many(
                    tools, (A, B, C), (end - begin,), method, left, names, str(dtype), asked=asked
                )
            )
        return found

    if count <= tile:
        return Many.joined(solve(0, count), shape)
    from eagle.algebra.threads import threaded  # takes a moment to import

    parts = [part for several in threaded(solve, count, tile) for part in several]
    return Many.joined(parts, shape)


def _broadcast(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(block, shape + block.shape[-2:])


def _nothing(
    blocks: Blocks,
    shape: tuple[int, ...],
    single: Callable[[Any, Any, Any, Options], Result],
    options: Options,
) -> Result:
    """The result of an empty batch: a problem of zeros tells the shape and dtype of values."""
    A, B, C = (
        block if block is None or block.ndim < 3 else np.zeros(block.shape[-2:], block.dtype)
        for block in blocks
    )
    one = single(A, B, C, options)
    value = np.zeros(shape + one.value.shape, one.value.dtype)
    return replace(one, value=value, parts=partial(np.empty, shape, object))
