"""Many problems of one shape: every matrix has its own scale, method, stopping and status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from eagle.options import Options
from eagle.problem import check_finite, leading_shape
from eagle.result import Result, Status

__all__ = ["is_batch", "solve_batch"]

Blocks = tuple[Any, np.ndarray | None, np.ndarray | None]


def is_batch(*blocks: Any) -> bool:
    """Whether any of the blocks has leading dimensions."""
    return any(block is not None and block.ndim > 2 for block in blocks)


def solve_batch(
    blocks: Blocks,
    names: tuple[str, str, str],
    options: Options,
    single: Callable[[Any, Any, Any, Options], Result],
) -> Result:
    """Broadcast leading dimensions and call `single` for every problem.

    Parameters
    ----------
    blocks : tuple of ndarray or None
        A (..., d, n), B (..., d', n), C (..., d, n') or (d,).
    names : tuple of str
        What the caller's user calls them.
    options : Options
        ``time_limit`` is for the whole batch.
    single : callable
        Solves one problem, without complaining.

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
        if block is not None:
            check_finite(name, block)
    shape = leading_shape(names, blocks)
    spread = [
        block
        if block is None or block.ndim < 3
        else np.broadcast_to(block, shape + block.shape[-2:])
        for block in blocks
    ]
    results = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        A, B, C = (block if block is None or block.ndim < 3 else block[index] for block in spread)
        left = options
        if options.time_limit is not None:
            spent = time.perf_counter() - start
            left = replace(options, time_limit=max(options.time_limit - spent, 1e-9))
        results[index] = single(A, B, C, left)
    return _together(results, blocks, time.perf_counter() - start, single, options)


def _together(
    results: np.ndarray,
    blocks: Blocks,
    seconds: float,
    single: Callable[[Any, Any, Any, Options], Result],
    options: Options,
) -> Result:
    """One result for all, with the numbers of the worst."""
    if not results.size:  # a problem of zeros tells shape and dtype
        A, B, C = (
            block if block is None else np.zeros(block.shape[-2:], block.dtype) for block in blocks
        )
        one = single(A, B, C, options)
        value = np.zeros(results.shape + one.value.shape, one.value.dtype)
        return replace(one, value=value, results=results, seconds=seconds)
    each = list(results.flat)
    failed = [result for result in each if not result.converged]
    value = np.stack([result.value for result in each])
    plans = Counter(result.plan for result in each)
    said = "; ".join(f"{count} x {plan}" for plan, count in plans.most_common(3))
    more = f"; and {len(plans) - 3} other plans" if len(plans) > 3 else ""
    conditions = [result.condition for result in each if result.condition is not None]
    ranks = {result.rank for result in each}
    return Result(
        value=value.reshape(results.shape + value.shape[1:]),
        status=failed[0].status if failed else Status.CONVERGED,
        iterations=max(result.iterations for result in each),
        history=(),
        error_estimate=max(result.error_estimate for result in each),
        inconsistency=max(result.inconsistency for result in each),
        rank=ranks.pop() if len(ranks) == 1 else None,
        condition=max(conditions) if conditions else None,
        method=each[0].method,
        plan=said + more,
        seconds=seconds,
        flops=sum(result.flops for result in each),
        results=results,
    )
