"""`eagle.solve` on torch tensors that require a gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from eagle.arrays import HALF, Blocks, Compute, Home, with_value
from eagle.gradients import Library, pullback, refuse_truncation, warn_if_steep
from eagle.options import Options
from eagle.result import Result

__all__ = ["solve"]


LIBRARY = Library(
    torch,
    torch.Tensor.detach,
    lambda like: {"dtype": like.dtype, "device": like.device},
    lambda: not torch.is_grad_enabled(),
)


def solve(
    home: Home,
    compute: Compute,
    blocks: Blocks,
    method: Any,
    options: Options,
    names: tuple[str, str, str],
) -> Result:
    """`compute` with a value that knows how to differentiate itself."""
    if blocks[0].requires_grad:
        refuse_truncation(options)
    dtype = home.result_type([block for block in blocks if block is not None])
    work = "float32" if dtype in HALF else dtype
    A, B, C = (None if block is None else home.astype(block, work) for block in blocks)
    vector = False
    if C is not None and C.ndim == 1:
        C, vector = C[:, None], True
    call = _Call(home, compute, method, options, names)
    differentiable: Any = _Solve.apply
    value = home.astype(differentiable(A, B, C, call), dtype)
    result, call.result = call.result, None  # it holds the value, which holds the call
    assert result is not None
    return with_value(result, value[..., 0] if vector else value)


@dataclass
class _Call:
    """How to solve, now and in the backward pass, and what the first time told."""

    home: Home
    compute: Compute
    method: Any
    options: Options
    names: tuple[str, str, str]
    result: Result | None = None
    rank: int | None = None
    condition: float | None = None
    planned: Any = None  # the method that solved for A
    seed: int = 0

    def forward(self, blocks: Blocks) -> Any:
        self.seed = int(self.options.rng.integers(2**63))
        self.result = self.home.solve_untracked(
            self.compute, blocks, self.method, self.options, self.names
        )
        self.rank, self.condition = self.result.rank, self.result.condition
        if self.result.results is None and self.result.converged and not self.options.ridge:
            self.planned = self.result.method
        return self.result.value

    def again(self, blocks: Blocks, ridge: float) -> Any:
        """Another value for the same A."""
        from eagle.api import complain

        options = replace(
            self.options,
            ridge=ridge,
            rng=np.random.default_rng(self.seed),
            callback=None,
            progress=False,
        )
        # What worked for A works again; for a batch every matrix has a plan of its own.
        method = self.method if self.planned is None or ridge else self.planned
        result = self.home.solve(self.compute, blocks, method, options, self.names)
        if not result.converged and method is not self.method:
            result = self.home.solve(self.compute, blocks, self.method, options, self.names)
        complain(result, options, stacklevel=4)
        return result.value


class _Solve(torch.autograd.Function):
    """``B A^+ C`` of tensors of one dtype."""

    @staticmethod
    def forward(ctx: Any, A: Any, B: Any, C: Any, call: _Call) -> Any:
        value = call.forward((A, B, C))
        ctx.call = call
        ctx.save_for_backward(A, B, C, value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        (G,), call = grads, ctx.call
        A, B, C, D = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        # Where A is differentiated, the formulas put the ridge into A.
        inside = call.options.ridge if needs[0] else 0.0
        if needs[0] and not inside:
            warn_if_steep(call.condition, torch.finfo(A.dtype).eps)
        bars = pullback(
            LIBRARY,
            lambda A, B, C: call.again((A, B, C), call.options.ridge - inside),
            (A, B, C),
            D,
            G,
            ridge=inside,
            rank=call.rank,
            needs=needs,
        )
        return (*bars, None)
