"""Epochs of sketches: what a step that sees r columns of A does to the blocks.

See `eagle.methods.sketched.method` for the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import largest_eigenvalue, norm, product
from eagle.methods.base import State, relative
from eagle.problem.blocks import Problem

USED_UP = 30.0  # in units of eps: what rounding leaves of a contracted C
STALLED = 0.5  # an epoch that leaves more than this of what it found gains nothing


@dataclass(kw_only=True)
class SketchedState(State):
    """The blocks, oriented; and where the epoch is."""

    work: Problem
    flipped: bool
    A: Any  # (d, n); a copy if the steps write to it
    B: np.ndarray  # (m, n), the same
    C: np.ndarray  # (d, q) what is left of it
    D: np.ndarray  # (m, q)
    user: tuple[int, int]
    size: int
    rng: np.random.Generator
    limit: int | None  # bytes
    start: float  # ||C||, white probes
    noise: float  # singular values of a sketch up to this are rounding errors of A
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    position: int = 0  # columns of this epoch that have been sketched
    moved: float = 0.0  # size of what this epoch has added to the user's block
    left: float = np.inf  # white probes of C after the last epoch, relative
    restarted: bool = False


def move(state: SketchedState, sampling: str, lift: str, eta: float, gamma: float) -> None:
    """One UPDATE of Algorithm 1, and A rescaled so that repeated steps do not underflow."""
    import scipy.linalg

    n = state.A.shape[1]
    start, stop = state.position, min(state.position + state.size, n)
    state.position = stop
    S: np.ndarray | None = None
    if sampling == "orthonormal":
        draw = state.rng.standard_normal((n, stop - start)).astype(state.A.dtype)
        S = np.asfortranarray(scipy.linalg.qr(draw, mode="economic", check_finite=False)[0])
        At, Bt = product(state.A, S), product(state.B, S)
        columns = np.arange(0)
        state.count(len(state.A), n, stop - start)
    else:
        if start == 0 and sampling == "reshuffled":
            state.order = state.rng.permutation(n)
        columns = state.order[start:stop]
        if sampling == "columns":
            columns = state.rng.choice(n, stop - start, replace=False)
        At, Bt = np.asfortranarray(state.A[:, columns]), np.asfortranarray(state.B[:, columns])
    d, r = At.shape
    inner = product(At, At, adjoint="X")
    square = largest_eigenvalue(inner)
    if square == 0:
        return
    real = At.real.dtype.type
    pull = product(At, state.C, adjoint="X")
    increment = product(Bt, pull, scale=gamma / square)
    state.C -= real(gamma / square) * product(At, pull)
    state.D += increment
    step = real(eta / square)
    if lift == "full":
        push = product(At, state.A, adjoint="X")
        state.A -= step * product(At, push)
        state.B -= step * product(Bt, push)
        state.count(r, d, n)
        state.count(d + len(Bt), r, n)
    elif S is None:
        state.A[:, columns] -= step * product(At, inner)
        state.B[:, columns] -= step * product(Bt, inner)
    else:
        lifted = product(inner, S, adjoint="Y")
        state.A -= step * product(At, lifted)
        state.B -= step * product(Bt, lifted)
        state.count(d + len(Bt), r, n)
    state.count(r, d, r + state.C.shape[1])
    state.count(d + len(Bt), r, state.C.shape[1])
    note(state, increment)


def rescale(state: SketchedState) -> None:
    """Start the next epoch with A of size one; B follows."""
    size = norm(state.A)
    if 0 < size < np.inf:
        scale = state.A.real.dtype.type(1 / size)
        state.A *= scale
        state.B *= scale
    state.position = 0


def note(state: SketchedState, increment: np.ndarray) -> None:
    """Sizes of what a step has added to the user's block."""
    rows, columns = state.user
    size = norm(increment[:rows, :columns])
    state.moved = float(np.hypot(state.moved, size))
    state.change = relative(size, norm(state.D[:rows, :columns]))


def judge(state: SketchedState, *, whole: bool) -> None:
    """At the end of an epoch: is anything left to gain? `whole`: it took all of A out."""
    rows, columns = state.user
    eps = state.problem.eps
    before, state.left = (
        state.left,
        relative(norm(state.C[:, columns : columns + COUNT]), state.start),
    )
    used_up = state.left <= USED_UP * eps
    state.change = relative(state.moved, norm(state.D[:rows, :columns]))
    stalled = state.left > STALLED * before if whole else np.sqrt(eps) > state.left > 0.99 * before
    state.resolved = used_up
    state.settled = used_up or bool(stalled)
    state.moved = 0.0
