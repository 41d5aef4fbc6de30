"""`eagle.solve` on arrays that jax traces: under ``jit``, ``vmap`` and ``grad``.

The solve itself runs on the host, when the traced program does, through `jax.pure_callback`; a
mapped dimension becomes a leading dimension of one batched call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eagle.algebra.homes import Blocks
from eagle.gradients.formula import (
    NUMPY,
    Library,
    Solver,
    pullback,
    refuse_truncation,
    warn_if_steep,
)
from eagle.gradients.host import HostSolves
from eagle.problem.checks import check_sizes, leading_shape
from eagle.problem.options import Options
from eagle.problem.result import Result, Status, complain

LIBRARY = Library(
    jnp, jax.lax.stop_gradient, lambda like: {"dtype": like.dtype}, may_look=lambda: False
)


def solve(solver: Solver, blocks: Blocks, method: Any, options: Options) -> Result:
    """A result whose numbers are traced too; what only a run can tell is left out."""
    home, names = solver.home, solver.names
    dtype, (A, B, C) = home.to_compute(blocks)
    check_sizes(A, B, C, names)
    vector = False
    if C is not None and C.ndim == 1:
        C, vector = C[:, None], True
    depth = len(leading_shape(names, (A, B, C)))
    # One rank for all, so that dimensions that vmap puts in front of them broadcast as well.
    A, B, C = (None if X is None else X[(None,) * (depth + 2 - X.ndim)] for X in (A, B, C))
    call = _Call(solver, method, options, depth, int(options.rng.integers(2**63)))
    value, error, inconsistency, iterations = call.differentiable(options.ridge)((A, B, C))
    value = home.astype(value, dtype)
    return Result(
        value=value[..., 0] if vector else value,
        status=Status.TRACED,
        iterations=iterations,
        history=(),
        error_estimate=error,
        inconsistency=inconsistency,
        rank=None,
        condition=None,
        method=method,
        plan="made when the traced program runs",
        seconds=0.0,
        flops=0.0,
    )


@dataclass(frozen=True)
class _Call:
    """Everything about a solve but the blocks."""

    solver: Solver
    method: Any
    options: Options
    depth: int  # leading dimensions that are not vmap's
    seed: int

    def differentiable(self, ridge: float, *, watched: bool = False) -> Callable[[Blocks], Any]:
        """Value, error estimate, inconsistency and iterations from ``(A, B, C)``."""

        @jax.custom_vjp
        def outcome(blocks: Blocks) -> Any:
            return self.outcome(blocks, ridge, watched)

        def forward(blocks: Blocks) -> Any:
            refuse_truncation(self.options)
            # Not the callback itself: whoever wants a second derivative differentiates this line.
            out = self.differentiable(ridge, watched=not ridge)(blocks)
            return out, (blocks, out[0])

        def backward(saved: Any, gradients: Any) -> tuple[Blocks]:
            blocks, D = saved
            # jax's gradients are derivatives, the formulas are about their conjugates.
            bars = self.gradients(ridge)(blocks, D, jnp.conj(gradients[0]))
            return (jax.tree.map(jnp.conj, bars),)

        outcome.defvjp(forward, backward)
        return outcome

    def gradients(self, ridge: float) -> Callable[[Blocks, Any, Any], Blocks]:
        """Gradients for the blocks from ``(blocks, D, G)``, computed by the host in one go."""
        unseen = replace(self, options=replace(self.options, callback=None, progress=False))

        def formula(blocks: Blocks, D: Any, G: Any) -> Blocks:
            again = unseen.differentiable(0.0)
            return pullback(
                LIBRARY,
                lambda A, B, C: again((A, B, C))[0],
                blocks,
                D,
                G,
                ridge=ridge,
                needs=_there(blocks),
            )

        @jax.custom_vjp
        def bars(blocks: Blocks, D: Any, G: Any) -> Blocks:
            return jax.pure_callback(
                lambda blocks, D, G: unseen.gradients_on_host(blocks, D, G, ridge),
                jax.tree.map(lambda block: jax.ShapeDtypeStruct(block.shape, block.dtype), blocks),
                blocks,
                D,
                G,
                vmap_method="expand_dims",
            )

        # Whoever wants a second derivative differentiates the formula.
        bars.defvjp(lambda *given: jax.vjp(formula, *given), lambda saved, out: saved(out))
        return bars

    def gradients_on_host(self, blocks: Blocks, D: Any, G: Any, ridge: float) -> Blocks:
        """The same for arrays of numpy, or of jax; dimensions that vmap has added stay."""
        blocks, D, G = jax.tree.map(np.asarray, (blocks, D, G))
        given = [block for block in (*blocks, D, G) if block is not None]
        depth = self.depth + 2
        mapped = np.broadcast_shapes(*(block.shape[: block.ndim - depth] for block in given))
        blocks, D, G = jax.tree.map(
            lambda block: np.broadcast_to(block, (*mapped, *block.shape[block.ndim - depth :])),
            (blocks, D, G),
        )
        options = replace(self.options, ridge=0.0, rng=np.random.default_rng(self.seed))
        solve = HostSolves(self.solver.on_host, self.method, options)
        return pullback(NUMPY, solve, blocks, D, G, ridge=ridge, needs=_there(blocks))

    def outcome(self, blocks: Blocks, ridge: float, watched: bool) -> Any:
        """The same from a callback, which jax knows nothing about."""
        present = [block is not None for block in blocks]
        A, B, C = blocks
        d, n = A.shape[-2:]
        leading = leading_shape(self.solver.names, blocks)
        real = jnp.real(A).dtype
        shapes = (
            jax.ShapeDtypeStruct(
                (*leading, n if B is None else B.shape[-2], d if C is None else C.shape[-1]),
                A.dtype,
            ),
            jax.ShapeDtypeStruct((), real),
            jax.ShapeDtypeStruct((), real),
            jax.ShapeDtypeStruct((), jnp.int32),
        )

        def on_host(*arrays: Any) -> Any:
            remaining = iter(arrays)
            given = [np.asarray(next(remaining)) if there else None for there in present]
            return self.run((given[0], given[1], given[2]), ridge, watched)

        return jax.pure_callback(
            on_host,
            shapes,
            *(block for block in blocks if block is not None),
            vmap_method="expand_dims",
        )

    def run(self, blocks: Blocks, ridge: float, watched: bool) -> Any:
        """Solve, complain where that did not go well, and give the numbers jax expects."""
        options = replace(self.options, ridge=ridge, rng=np.random.default_rng(self.seed))
        result = self.solver.on_host(blocks, self.method, options)
        complain(result, options)
        eps = float(np.finfo(result.value.dtype).eps)
        if watched:
            warn_if_steep(result.condition, eps)
        each = np.empty((), object) if result.results is None else result.results
        each[()] = result if result.results is None else result.results
        mapped = each.shape[: each.ndim - self.depth]

        def worst(name: str, dtype: Any) -> np.ndarray:
            numbers = np.array([getattr(one, name) for one in each.flat], dtype)
            return numbers.reshape((*mapped, -1)).max(axis=-1, initial=0)

        real = result.value.real.dtype
        return (
            result.value,
            worst("error_estimate", real),
            worst("inconsistency", real),
            worst("iterations", np.int32),
        )


def _there(blocks: Blocks) -> tuple[bool, bool, bool]:
    """Which blocks there are."""
    A, B, C = (block is not None for block in blocks)
    return A, B, C


# --- a result is a tree -------------------------------------------------------------------------

NUMBERS = (
    *("value", "iterations", "error_estimate", "inconsistency", "rank", "condition"),
    *("singular_values", "seconds", "flops"),
)


class _Aside:
    """What goes along with a result, and does not make two of them different programs."""

    def __init__(self, known: dict[str, Any]):
        self.known = known

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Aside)

    def __hash__(self) -> int:
        return 0


def _flatten(result: Result) -> Any:
    numbers = tuple(getattr(result, name) for name in NUMBERS)
    names = [each.name for each in fields(result) if each.name not in NUMBERS]
    known = {name: getattr(result, name) for name in names if name != "status"}
    return numbers, (result.status, _Aside(known))


def _unflatten(aside: Any, numbers: Any) -> Result:
    status, others = aside
    result = object.__new__(Result)
    result.__dict__.update(zip(NUMBERS, numbers, strict=True), status=status, **others.known)
    return result


jax.tree_util.register_pytree_node(Result, _flatten, _unflatten)
