"""`eagle.solve` on torch tensors that somebody differentiates, backward or forward, or maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from eagle.algebra.homes import Blocks
from eagle.gradients.formula import (
    NUMPY,
    Backend,
    Namespace,
    Solve,
    pullback,
    pushforward,
    refuse_truncation,
    warn_if_steep,
)
from eagle.gradients.host import HostSolves
from eagle.methods.base import Inverse
from eagle.problem.options import Options
from eagle.problem.result import Result, complain, with_value

TORCH = Namespace(
    torch,
    torch.Tensor.detach,
    lambda like: {"dtype": like.dtype, "device": like.device},
    lambda: not torch.is_grad_enabled(),
)


def solve(backend: Backend, blocks: Blocks, method: Any, options: Options) -> Result:
    """The result with a value that knows how to differentiate itself."""
    home = backend.home
    if blocks[0].requires_grad:
        refuse_truncation(options)
    dtype, (A, B, C) = home.to_compute(blocks)
    vector = False
    if C is not None and C.ndim == 1:
        C, vector = C[:, None], True
    call = _Call(backend, method, options)
    differentiable: Any = _Solve.apply
    value = home.astype(differentiable(A, B, C, call), dtype)
    result, call.result = call.result, None  # it holds the value, which holds the call
    assert result is not None
    return with_value(result, value[..., 0] if vector else value)


@dataclass
class _Call:
    """How to solve, now and in the backward pass, and what the first time told."""

    backend: Backend
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
        self.result = self.backend.untracked(blocks, self.method, self.options)
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
        result = self.backend.solve(blocks, method, options)
        if not result.converged and method is not self.method:
            result = self.backend.solve(blocks, self.method, options)
        complain(result, options)
        return result.value

    def solver_for(self, inside: float) -> Solve:
        """`again` as formulas call it; `inside` is the part of the ridge that is in A already."""
        ridge = self.options.ridge - inside

        def solve(A: Any, B: Any, C: Any) -> Any:
            # torch.autograd maps tangents and gradients in a way that knows no rule for solves.
            if _is_mapped(C):
                return self.again((A, B, None), ridge) @ C
            if _is_mapped(B):
                return B @ self.again((A, None, C), ridge)
            return self.again((A, B, C), ridge)

        return solve

    def on_host(self, inside: float) -> Solve:
        """The same for arrays of numpy; `inside` is the part of the ridge that is in A already."""
        same = not self.options.ridge  # A is what was solved for
        return HostSolves(
            self.backend.on_host,
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
    def forward(A: Any, B: Any, C: Any, call: _Call) -> Any:
        return call.forward((A, B, C))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *blocks, ctx.call = inputs
        ctx.save_for_backward(*blocks, output)
        ctx.save_for_forward(*blocks, output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *given: Any) -> tuple[Any, int]:
        """All at once: as more columns or rows of one problem, or as a batch."""
        *blocks, call = given
        a, b, c = (dim is not None for dim in in_dims[:3])
        blocks = [
            X if dim is None else X.movedim(dim, 0)
            for X, dim in zip(blocks, in_dims[:3], strict=True)
        ]
        A, B, C = blocks
        function: Any = _Solve.apply
        if c and not a and not b:
            size = C.shape[-1]
            D = function(A, B, torch.cat(C.unbind(), -1), call)
            return torch.stack(D.split(size, -1)) if size else D.expand(len(C), *D.shape), 0
        if b and not a and not c:
            size = B.shape[-2]
            D = function(A, torch.cat(B.unbind(), -2), C, call)
            return torch.stack(D.split(size, -2)) if size else D.expand(len(B), *D.shape), 0
        mapped = (a, b, c)
        depth = max(X.ndim - one for X, one in zip(blocks, mapped, strict=True) if X is not None)
        # The mapped dimension stands before all others, those of a batch included.
        aligned = (
            X if not one else X[(slice(None), *[None] * (depth + 1 - X.ndim))]
            for X, one in zip(blocks, mapped, strict=True)
        )
        return function(*aligned, call), 0

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        call = ctx.call
        A, B, C, D = ctx.saved_tensors
        inside = 0.0
        if tangents[0] is not None:
            refuse_truncation(call.options)
            inside = call.options.ridge
            if not inside:
                warn_if_steep(call.condition, torch.finfo(A.dtype).eps)
        # torch switches forward mode off in here, which would make the tangent's tangent zero; what
        # was saved still has the tangents that this is about.
        with forward_ad._set_fwd_grad_enabled(True):
            A, B, C, D = (
                None if X is None else forward_ad.unpack_dual(X).primal for X in (A, B, C, D)
            )
            return pushforward(
                TORCH,
                call.solver_for(inside),
                (A, B, C),
                D,
                tangents[:3],
                ridge=inside,
                rank=call.rank,
            )

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        call, needs = ctx.call, ctx.needs_input_grad[:3]
        (A, B, C, D), (G,) = ctx.saved_tensors, grads
        if G is None:
            return None, None, None, None
        # Where A is differentiated, the formulas put the ridge into A.
        inside = call.options.ridge if needs[0] else 0.0
        if needs[0] and not inside:
            warn_if_steep(call.condition, torch.finfo(A.dtype).eps)
        known: dict[str, Any] = {"ridge": inside, "rank": call.rank, "needs": needs}
        home, present = call.backend.home, [X for X in (A, B, C, D, G) if X is not None]
        mapped = _is_mapped(G)
        if torch.is_grad_enabled() or mapped or home.follows(present) or not home.on_cpu:
            namespace = replace(TORCH, may_look=lambda: False) if mapped else TORCH
            bars = pullback(namespace, call.solver_for(inside), (A, B, C), D, G, **known)
            return (*bars, None)
        # No product is left to torch: its idle threads would spin against those of our BLAS.
        A, B, C, D, G = (None if X is None else home.view(X) for X in (A, B, C, D, G))
        bars = pullback(NUMPY, call.on_host(inside), (A, B, C), D, G, **known)
        # Rows first, so that torch takes the gradient of a leaf as it is.
        rowwise = (None if bar is None else np.ascontiguousarray(bar) for bar in bars)
        return (*(None if bar is None else home.array(bar) for bar in rowwise), None)


def _is_mapped(X: Any) -> bool:
    return X is not None and torch._C._functorch.is_legacy_batchedtensor(X)
