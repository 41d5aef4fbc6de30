"""`eagle.solve` on arrays that jax traces: under ``jit``, ``vmap``, ``jvp`` and ``grad``.

The solve itself runs on the host, when the traced program does, through `jax.pure_callback`; a
mapped dimension becomes a leading dimension of one batched call. So does its derivative, a linear
map of tangents that jax can map, differentiate and transpose: forward mode is this map, reverse
mode its transpose, and what follows them is differentiated by formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from eagle.algebra.homes import Blocks
from eagle.gradients.formula import (
    NUMPY,
    Backend,
    Namespace,
    Solve,
    pullback,
    pushforward,
    refuse_truncation,
    summed,
    warn_if_steep,
)
from eagle.gradients.host import HostSolves
from eagle.problem.checks import check_sizes, leading_shape
from eagle.problem.options import Options
from eagle.problem.result import Result, Status, complain

JAX = Namespace(
    jnp, jax.lax.stop_gradient, lambda like: {"dtype": like.dtype}, may_look=lambda: False
)


def solve(backend: Backend, blocks: Blocks, method: Any, options: Options) -> Result:
    """A result whose numbers are traced too; what only a run can tell is left out."""
    home, names = backend.home, backend.names
    dtype, (A, B, C) = home.to_compute(blocks)
    check_sizes(A, B, C, names)
    vector = False
    if C is not None and C.ndim == 1:
        C, vector = C[:, None], True
    depth = len(leading_shape(names, (A, B, C)))
    # One rank for all, so that dimensions that vmap puts in front of them broadcast as well.
    A, B, C = (None if X is None else X[(None,) * (depth + 2 - X.ndim)] for X in (A, B, C))
    call = _Call(backend, method, options, depth, int(options.rng.integers(2**63)))
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


@dataclass(frozen=True, eq=False)
class _Call:
    """Everything about a solve but the blocks."""

    backend: Backend
    method: Any
    options: Options
    depth: int  # leading dimensions that are not vmap's
    seed: int

    def differentiable(self, ridge: float, *, watched: bool = False) -> Callable[[Blocks], Any]:
        """Value, error estimate, inconsistency and iterations from ``(A, B, C)``."""

        @jax.custom_jvp
        def outcome(blocks: Blocks) -> Any:
            return self.outcome(blocks, ridge, watched)

        @partial(outcome.defjvp, symbolic_zeros=True)
        def tangents_too(primals: tuple[Blocks], tangents: tuple[Any]) -> tuple[Any, Any]:
            (blocks,), (given,) = primals, tangents
            moved = tuple(None if isinstance(each, SymbolicZero) else each for each in given)
            steep = moved[0] is not None
            if steep:
                refuse_truncation(self.options)
            # Not the callback itself: whoever wants a second derivative differentiates this line.
            out = self.differentiable(ridge, watched=steep and not ridge)(blocks)
            of = _Derivative.of(self, ridge, blocks, moved)
            (tangent,) = derivative.bind(*jax.tree.leaves((blocks, out[0], moved)), of=of)
            return out, (tangent, *map(_no_tangent, out[1:]))

        return outcome

    def outcome(self, blocks: Blocks, ridge: float, watched: bool) -> Any:
        """The same from a callback, which jax knows nothing about."""
        present = [block is not None for block in blocks]
        A, B, C = blocks
        d, n = A.shape[-2:]
        leading = leading_shape(self.backend.names, blocks)
        real, mapped = jnp.real(A).dtype, leading[: len(leading) - self.depth]
        shapes = (
            jax.ShapeDtypeStruct(
                (*leading, n if B is None else B.shape[-2], d if C is None else C.shape[-1]),
                A.dtype,
            ),
            jax.ShapeDtypeStruct(mapped, real),
            jax.ShapeDtypeStruct(mapped, real),
            jax.ShapeDtypeStruct(mapped, jnp.int32),
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
        result = self.backend.on_host(blocks, self.method, options)
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


def _no_tangent(number: Any) -> Any:
    """Zero; of integers, what jax takes for their tangents."""
    if jnp.issubdtype(number.dtype, jnp.integer):
        return np.zeros(number.shape, jax.dtypes.float0)
    return jnp.zeros_like(number)


# --- the derivative is a linear map -------------------------------------------------------------


@dataclass(frozen=True)
class _Derivative:
    """The tangent of D from those of the blocks; transposed, gradients for the blocks from D's.

    What it is computed from comes as leaves: the blocks, D, and the tangents or the gradient.

    Attributes
    ----------
    call : _Call
    ridge, inside : float
        Of the value, and the part of it that the formulas put into A: all if A has a tangent.
    present, moved : PyTreeDef
        Of the blocks, and of their tangents.
    transposed : bool
    """

    call: _Call
    ridge: float
    inside: float
    present: Any
    moved: Any
    transposed: bool = False

    @classmethod
    def of(cls, call: _Call, ridge: float, blocks: Blocks, tangents: Any) -> _Derivative:
        """At the blocks, of those that have tangents."""
        call = replace(call, options=replace(call.options, callback=None, progress=False))
        inside = 0.0 if tangents[0] is None else ridge
        return cls(call, ridge, inside, *map(jax.tree.structure, (blocks, tangents)))

    def __call__(self, *leaves: Any) -> list[Any]:
        """By the host, in one go: A is factorised once."""
        found: list[Any] = jax.pure_callback(self.on_host, self.shapes(*leaves), *leaves)
        return found

    def on_host(self, *leaves: Any) -> list[np.ndarray]:
        """The same for arrays of numpy, or of jax."""
        rng = np.random.default_rng(self.call.seed)
        options = replace(self.call.options, ridge=self.ridge - self.inside, rng=rng)
        solves = HostSolves(self.call.backend.on_host, self.call.method, options)
        return self.formula(NUMPY, solves, *map(np.asarray, leaves))

    def traced(self, *leaves: Any) -> list[Any]:
        """The same by solves that can be differentiated in turn."""
        again = self.call.differentiable(self.ridge - self.inside)
        return self.formula(JAX, lambda A, B, C: again((A, B, C))[0], *leaves)

    def formula(self, namespace: Namespace, solves: Solve, *leaves: Any) -> list[Any]:
        """What comes out, for arrays of numpy or of jax."""
        blocks, D, given = self._parts(leaves)
        mapped, xp = self._mapped(leaves), namespace.xp
        # Each mapped problem has a derivative of its own, also with a block that all of them share.
        if self.transposed:
            blocks = jax.tree.map(lambda X: xp.broadcast_to(X, self._full(X, mapped)), blocks)
            # jax's gradients are derivatives, the formulas are about their conjugates.
            a, b, c = (each is not None for each in self._wanted(blocks))
            bars = pullback(
                namespace, solves, blocks, D, xp.conj(given), ridge=self.inside, needs=(a, b, c)
            )
            return [xp.conj(bar) for bar in jax.tree.leaves(self._wanted(bars))]
        tangent = pushforward(namespace, solves, blocks, D, given, ridge=self.inside)
        return [xp.broadcast_to(tangent, self._full(D, mapped))]

    def shapes(self, *leaves: Any) -> list[jax.core.ShapedArray]:
        """Of what comes out."""
        blocks, D, _ = self._parts(leaves)
        mapped = self._mapped(leaves)
        like = jax.tree.leaves(self._wanted(blocks)) if self.transposed else [D]
        return [jax.core.ShapedArray(self._full(X, mapped), X.dtype) for X in like]

    def _parts(self, leaves: Any) -> tuple[Blocks, Any, Any]:
        """Blocks, D, and the tangents or the gradient."""
        count = self.present.num_leaves
        blocks, (D, *given) = self.present.unflatten(leaves[:count]), leaves[count:]
        return blocks, D, given[0] if self.transposed else self.moved.unflatten(given)

    def _wanted(self, blocks: Any) -> Any:
        """Of three, those that have tangents, None for the others."""
        moved = self.moved.unflatten([True] * self.moved.num_leaves)
        return tuple(X if has else None for X, has in zip(blocks, moved, strict=True))

    def _mapped(self, leaves: Any) -> tuple[int, ...]:
        """The dimensions that vmap has put in front of all others."""
        return np.broadcast_shapes(*(X.shape[: X.ndim - self.call.depth - 2] for X in leaves))

    def _full(self, X: Any, mapped: tuple[int, ...]) -> tuple[int, ...]:
        return (*mapped, *X.shape[len(mapped) :])


def _differentiated(primals: Any, tangents: Any, *, of: _Derivative) -> tuple[Any, Any]:
    """It is its own derivative in the last leaves; in the others its formula is differentiated."""
    out, known = derivative.bind(*primals, of=of), of.present.num_leaves + 1
    moved = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]
    if moved[0] >= known:
        given = map(ad.instantiate_zeros, tangents[known:])
        return out, derivative.bind(*primals[:known], *given, of=of)

    def traced(*some: Any) -> list[Any]:
        leaves = dict(enumerate(primals)) | dict(zip(moved, some, strict=True))
        return of.traced(*leaves.values())

    _, along = jax.jvp(traced, [primals[i] for i in moved], [tangents[i] for i in moved])
    return out, along


def _transposed(gradients: Any, *leaves: Any, of: _Derivative) -> list[Any]:
    """The transpose at the same blocks; what mapped problems share takes the sum."""
    known = of.present.num_leaves + 1
    back = replace(of, transposed=not of.transposed)
    given = [ad.instantiate_zeros(each) for each in gradients]
    found = derivative.bind(*leaves[:known], *given, of=back)
    return [None] * known + [
        summed(bar, leaf.aval.shape) for bar, leaf in zip(found, leaves[known:], strict=True)
    ]


def _mapped(leaves: Any, axes: Any, *, of: _Derivative) -> tuple[list[Any], list[int]]:
    """One more leading dimension everywhere."""
    raised = [
        leaf[None] if axis is None else jnp.moveaxis(leaf, axis, 0)
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    found = derivative.bind(*raised, of=of)
    return found, [0] * len(found)


def _computed(*leaves: Any, of: _Derivative) -> list[Any]:
    return of(*leaves)


derivative = Primitive("eagle_derivative")
derivative.multiple_results = True
derivative.def_impl(_computed)
derivative.def_abstract_eval(lambda *leaves, of: of.shapes(*leaves))
mlir.register_lowering(derivative, mlir.lower_fun(_computed, multiple_results=True))
ad.primitive_jvps[derivative] = _differentiated
ad.primitive_transposes[derivative] = _transposed
batching.primitive_batchers[derivative] = _mapped


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
    known["fit"] = None  # it is about this value and no other
    return numbers, (result.status, _Aside(known))


def _unflatten(aside: Any, numbers: Any) -> Result:
    status, others = aside
    result = object.__new__(Result)
    result.__dict__.update(zip(NUMBERS, numbers, strict=True), status=status, **others.known)
    return result


jax.tree_util.register_pytree_node(Result, _flatten, _unflatten)
