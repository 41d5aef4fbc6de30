"""Exact epochs: block Gram-Schmidt on sketches, which takes the range of A out of C.

With ``At`` orthonormalised against what was seen before, the full lift with ``eta = gamma = 1`` is
a projection, and the directions that were seen, ``Q``, are all that has to be kept of A.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import norm, product
from eagle.algebra.operand import Mapped
from eagle.methods.sketched.epochs import SketchedState, note

NEW = 0.1  # part of a direction outside a basis from which on it is another direction
WORK = 6  # copies of a sketch that a step makes
LOST = 1e3  # times what is left of probe rows: a row of B with more left is inconsistent


@dataclass(kw_only=True)
class ExactState(SketchedState):
    """What exact steps have seen of A in this epoch: ``Q``, and ``B`` along it."""

    Q: np.ndarray  # (d, capacity), the first `seen` columns orthonormal
    along: np.ndarray  # (m, capacity) W Q
    pivots: np.ndarray  # (capacity,) sizes at which directions were seen
    seen: int = 0
    drawn: np.ndarray  # (n,) whether a column was in a sketch of this epoch
    exhausted: bool = False  # the last sketch found fewer directions than it has columns
    outside: np.ndarray  # (m,) of B outside the row space of A, squared
    basis: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # of earlier epochs
    smallest: float = np.inf  # pivot: about the least singular value of A


def begin(state: ExactState, sampling: str) -> None:
    """Start another epoch from the user's A, with what is left of C."""
    n = state.A.shape[1]
    state.position, state.moved = 0, 0.0
    if sampling == "columns" and not state.drawn.all():
        return  # columns that were not drawn yet are still to come
    state.order = state.rng.permutation(n)
    state.drawn[:] = False
    state.exhausted, state.seen = False, 0
    state.outside[:] = 0


def take_out(state: ExactState, sampling: str) -> None:
    """Everything in the range of the next columns, out of C.

    They are first made orthogonal to what was seen before, twice, which is enough. That is what
    the full lift does to all of A at every step.
    """
    import scipy.linalg

    At, Bt = _next_columns(state, sampling)
    if not At.size:
        state.change = np.inf
        return
    if not np.isfinite(At).all():
        state.D[:] = np.nan
        return
    k = state.seen
    before, along = state.Q[:, :k], state.along[:, :k]
    noise = state.noise
    for _ in range(2):
        pull = product(before, At, adjoint="X")
        At -= product(before, pull)
        Bt -= product(along, pull)
        state.count(k, len(At), 2 * At.shape[1])
        if pull.size:
            # A direction seen at size R_ii has relative rounding errors of eps ||A|| / R_ii, and
            # leaves them in every column that has more of it.
            growth = float((np.abs(pull).max(axis=1) / state.pivots[:k]).max())
            noise = max(noise, growth * state.noise)
    d, r = At.shape
    state.count(d, r, 1)
    kept = 0
    if np.linalg.norm(At, axis=0).max() > noise:  # otherwise there is nothing new
        Q, R, order = scipy.linalg.qr(At, mode="economic", pivoting=True, check_finite=False)
        state.count(d, r, r)
        # Rounding errors may look like new directions.
        kept = min(int(np.count_nonzero(np.abs(np.diagonal(R)) > noise)), min(state.A.shape) - k)
    if sampling == "orthonormal":  # it sees everything that there is
        state.exhausted = state.exhausted or kept < At.shape[1]
    if not kept:
        state.outside += (Bt.real**2 + Bt.imag**2).sum(axis=1)
        state.change = np.inf
        return
    Q, R = np.asfortranarray(Q[:, :kept]), R[:kept, :kept]
    new = scipy.linalg.solve_triangular(
        R, Bt[:, order[:kept]].conj().T, trans="C", check_finite=False
    ).conj()
    Bq = np.asfortranarray(new.T)
    own = Bt - product(Bq, product(Q, At, adjoint="X"))
    state.outside += (own.real**2 + own.imag**2).sum(axis=1)
    pull = product(Q, state.C, adjoint="X")
    increment = product(Bq, pull)
    state.C -= product(Q, pull)
    state.D += increment
    state.count(kept, len(At), 2 * state.C.shape[1])
    _append(state, Q, Bq, np.abs(np.diagonal(R)))
    note(state, increment)


def _next_columns(state: ExactState, sampling: str) -> tuple[np.ndarray, np.ndarray]:
    """``A S`` and ``B S`` for the next S: columns, or orthonormal combinations of all."""
    import scipy.linalg

    n = state.A.shape[1]
    start, stop = state.position, min(state.position + state.size, n)
    state.position = stop
    if sampling == "orthonormal":
        S = state.rng.standard_normal((n, stop - start)).astype(state.A.dtype)
        S = np.asfortranarray(scipy.linalg.qr(S, mode="economic", check_finite=False)[0])
        state.count(len(state.C), n, stop - start)
        return product(state.A, S), product(state.B, S)
    chosen = state.order[start:stop]
    if sampling == "columns":
        chosen = state.rng.choice(n, stop - start, replace=False)
        # Columns that are drawn again have nothing left but rounding errors.
        chosen = chosen[~state.drawn[chosen]]
    state.drawn[chosen] = True
    return _columns(state.A, chosen), np.asfortranarray(state.B[:, chosen])


def _columns(A: Any, chosen: np.ndarray) -> np.ndarray:
    """Some columns, as a copy."""
    return A.columns(chosen) if isinstance(A, Mapped) else np.array(A[:, chosen], order="F")


def _append(state: ExactState, Q: np.ndarray, along: np.ndarray, pivots: np.ndarray) -> None:
    """Keep new directions for the rest of the epoch, if there is memory for them."""
    d, k, new = len(Q), state.seen, Q.shape[1]
    if k + new > state.Q.shape[1]:
        capacity = min(max(2 * k, k + new), min(state.A.shape) + state.size)
        if state.limit is not None:
            numbers = d * (k + capacity + WORK * state.size + state.basis.shape[1])
            if numbers * Q.dtype.itemsize > state.limit:
                state.out_of_memory = True
                return
        for name in ("Q", "along", "pivots"):
            block = getattr(state, name)
            larger = np.zeros((*block.shape[:-1], capacity), block.dtype, order="F")
            larger[..., :k] = block[..., :k]
            setattr(state, name, larger)
    state.Q[:, k : k + new], state.along[:, k : k + new] = Q, along
    state.pivots[k : k + new] = pivots
    state.seen += new


def remember(state: ExactState) -> None:
    """Rank and condition of A, after an epoch that has seen all of it."""
    if state.restarted or not state.seen:
        return
    found = state.Q[:, : state.seen]
    state.basis = _union(state.basis, found) if state.basis.size else found.copy(order="F")
    state.smallest = min(state.smallest, float(state.pivots[: state.seen].min()))
    state.rank = state.basis.shape[1]
    state.condition = max(1.0, norm(state.A) / state.smallest)


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what two orthonormal bases span together.

    Another epoch finds the same range, except for directions that one of the two took for noise.
    """
    import scipy.linalg

    together = np.concatenate([first, second], axis=1)
    if not np.isfinite(together).all():
        return together
    Q, R, _ = scipy.linalg.qr(together, mode="economic", pivoting=True, check_finite=False)
    kept = np.count_nonzero(np.abs(np.diagonal(R)) > NEW)
    return np.asfortranarray(Q[:, :kept])


def leaks(state: ExactState) -> bool:
    """Whether B has a part outside the row space of a rank-deficient A.

    What the epoch left of B is that part, and rounding errors: the white probe rows, which are
    combinations of the rows of A, tell how large those are.
    """
    if state.rank is None or state.rank >= state.A.shape[1]:
        return False
    rows = state.user[0]
    sizes = np.linalg.norm(state.B, axis=1)
    left = np.sqrt(state.outside) / np.where(sizes > 0, sizes, 1)
    noise = max(float(left[rows : rows + COUNT].max(initial=0.0)), state.problem.eps)
    return bool((left[:rows] > LOST * noise).any())
