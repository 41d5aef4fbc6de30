"""Many problems of one shape: every matrix has its own scale, method, stopping and status.

Many small ones are solved together. What that cannot do, or did not do well, is solved one by one.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from eagle.methods import as_method
from eagle.options import Options
from eagle.problem import check_finite, leading_shape
from eagle.result import Result, Status
from eagle.stack import QR, can_stack, solve_stack

__all__ = ["is_batch", "solve_batch", "summary"]

Blocks = tuple[Any, np.ndarray | None, np.ndarray | None]

LONGEST = 128  # side of A up to which compiled loops beat LAPACK, call by call
MANY = 200  # problems that are worth the half second of loading them


def is_batch(*blocks: Any) -> bool:
    """Whether any of the blocks has leading dimensions."""
    return any(block is not None and block.ndim > 2 for block in blocks)


def solve_batch(
    blocks: Blocks,
    names: tuple[str, str, str],
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
        if block is not None:
            check_finite(name, block)
    shape = leading_shape(names, blocks)
    spread = [
        block if block is None or block.ndim < 3 else _broadcast(block, shape) for block in blocks
    ]
    results = _at_once(spread, shape, method, options, limit)
    for index in np.ndindex(shape):
        if results[index] is not None:
            continue
        A, B, C = (block if block is None or block.ndim < 3 else block[index] for block in spread)
        left = options
        if options.time_limit is not None:
            spent = time.perf_counter() - start
            left = replace(options, time_limit=max(options.time_limit - spent, 1e-9))
        results[index] = single(A, B, C, left)
    return _together(results, blocks, time.perf_counter() - start, single, options)


def _at_once(
    blocks: Any,
    shape: tuple[int, ...],
    method: Any,
    options: Options,
    limit: float,
) -> np.ndarray:
    """Results of the compiled kernel, None where there is none."""
    A, B, C = blocks
    count = math.prod(shape)
    (d, n), auto = A.shape[-2:], as_method(method) is None
    wanted = count >= MANY and max(d, n) <= LONGEST if auto else method == QR
    empty = any(block is not None and 0 in block.shape for block in blocks)
    if not wanted or empty or not can_stack(options):
        return np.full(shape, None, dtype=object)
    vector = C is not None and C.ndim == 1

    def stack(block: Any) -> Any:
        if block is None:
            return None
        return _broadcast(block, shape).reshape(count, *block.shape[-2:])

    said = f"auto: compiled QR for {count} problems of {d} x {n}" if auto else "asked for: Direct"
    third = stack(C[:, None] if vector else C)
    results = solve_stack(stack(A), stack(B), third, options, said, limit if auto else None)
    if vector:
        for place, result in enumerate(results):
            if result is not None:
                results[place] = replace(result, value=result.value[:, 0])
    return results.reshape(shape)


def _broadcast(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(block, shape + block.shape[-2:])


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
    value = np.stack([result.value for result in results.flat])
    return summary(results, value.reshape(results.shape + value.shape[1:]), seconds)


def summary(results: np.ndarray, value: Any, seconds: float) -> Result:
    """One result for many, at least one, with the numbers of the worst."""
    each: list[Result] = list(results.flat)
    failed = [result for result in each if not result.converged]
    plans = Counter(result.plan for result in each)
    said = "; ".join(f"{count} x {plan}" for plan, count in plans.most_common(3))
    more = f"; and {len(plans) - 3} other plans" if len(plans) > 3 else ""
    conditions = [result.condition for result in each if result.condition is not None]
    ranks = {result.rank for result in each}
    return Result(
        value=value,
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
