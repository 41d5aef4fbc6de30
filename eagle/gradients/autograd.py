"""`eagle.solve` on torch tensors that require a gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from eagle.algebra.homes import Blocks
from eagle.gradients.formula import (
    NUMPY,
    Library,
    Solve,
    Solver,
    pullback,
    refuse_truncation,
    warn_if_steep,
)
from eagle.gradients.host import HostSolves
from eagle.methods.base import Inverse
from eagle.problem.options import Options
from eagle.problem.result import Result, complain, with_value

__all__ = ["solve"]


LIBRARY = Library(
    torch,
    torch.Tensor.detach,
    lambda like: {"dtype": like.dtype, "device": like.device},
    lambda: not torch.is_grad_enabled(),
)


def solve(solver: Solver, blocks: Blocks, method: Any, options: Options) -> Result:
    """The result with a value that knows how to differentiate itself."""
    home = solver.home
    if blocks[0].requires_grad:
        refuse_truncation(options)
    dtype, (A, B, C) = home.to_compute(blocks)
    vector = False
    if C is not None and C.ndim == 1:
        C, vector = C[:, None], True
    call = _Call(solver, method, options)
    differentiable: Any = _Solve.apply
    value = home.astype(differentiable(A, B, C, call), dtype)
    result, call.result = call.result, None  # it holds the value, which holds the call
    assert result is not None
    return with_value(result, value[..., 0] if vector else value)


@dataclass
class _Call:
    """How to solve, now and in the backward pass, and what the first time told."""

    solver: Solver
    method: Any
    options: Options
    result: Result | None = None
    rank: int | None = None
    condition: float | None = None
    planned: Any = None  # the method that solved for A
    inverse: Inverse | None = None  # and what it left to apply A^+ with
    seed: int = 0

    def forward(self, blocks: Blocks) -> Any:
        self.seed = int(self.options.rng.integers(2**63))
        self.result = self.solver.untracked(blocks, self.method, self.options)
        self.rank, self.condition = self.result.rank, self.result.condition
        if self.result.results is None and self.result.converged and not self.options.ridge:
            self.planned = self.result.method
            self.inverse = None if self.options.special() else self.result.inverse
        return self.result.value

    def again(self, blocks: Blocks, ridge: float) -> Any:
        """Another value for the same A, which knows how to differentiate itself."""
        options = self._unwatched(ridge)
        # What worked for A works again; for a batch every matrix has a plan of its own.
        method = self.method if self.planned is None or ridge else self.planned
        result = self.solver.solve(blocks, method, options)
        if not result.converged and method is not self.method:
            result = self.solver.solve(blocks, self.method, options)
        complain(result, options, stacklevel=4)
        return result.value

    def on_host(self, inside: float) -> Solve:
        """The same for arrays of numpy; `inside` is the part of the ridge that is in A already."""
        same = not self.options.ridge  # A is what was solved for
        return HostSolves(
            self.solver.on_host,
            self.method,
            self._unwatched(self.options.ridge - inside),
            rank=self.rank if same else None,
            planned=self.planned if same else None,
            inverse=self.inverse if same else None,
        )

    def _unwatched(self, ridge: float) -> Options:
        rng = np.random.default_rng(self.seed)
        return replace(self.options, ridge=ridge, rng=rng, callback=None, progress=False)


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
        call, needs = ctx.call, ctx.needs_input_grad[:3]
        (A, B, C, D), (G,) = ctx.saved_tensors, grads
        # Where A is differentiated, the formulas put the ridge into A.
        inside = call.options.ridge if needs[0] else 0.0
        if needs[0] and not inside:
            warn_if_steep(call.condition, torch.finfo(A.dtype).eps)
        known: dict[str, Any] = {"ridge": inside, "rank": call.rank, "needs": needs}
        if torch.is_grad_enabled() or not call.solver.home.on_cpu:
            ridge = call.options.ridge - inside
            bars = pullback(
                LIBRARY, lambda *blocks: call.again(blocks, ridge), (A, B, C), D, G, **known
            )
            return (*bars, None)
        # No product is left to torch: its idle threads would spin against those of our BLAS.
        A, B, C, D, G = (None if X is None else call.solver.home.view(X) for X in (A, B, C, D, G))
        bars = pullback(NUMPY, call.on_host(inside), (A, B, C), D, G, **known)
        # Rows first, so that torch takes the gradient of a leaf as it is.
        rowwise = (None if bar is None else np.ascontiguousarray(bar) for bar in bars)
        return (*(None if bar is None else call.solver.home.array(bar) for bar in rowwise), None)
