"""Corrected semi-normal equations: the Gram matrix is summed once, then W travels a few times.

With ``G = sum A_mu A_mu^H = R^H R`` on every machine, ``W = B A^+`` is found by

    W <- W + sum_mu (B_mu - W A_mu) A_mu^H  G^-1,

and the value is ``W C`` [1]_. A round carries ``d' d`` numbers and leaves ``eps condition(A)^2`` of
what it found, so that two or three are enough up to a condition of about ``eps^(-1/2)``, which R
tells; what B has outside of the row space of A does no harm. For A of full row rank with long
shards, such as rows of tall data (``axis="rows"``), where no QR factorisation is needed.

.. [1] Björck, "Stability analysis of the method of seminormal equations for linear least squares
   problems", Linear Algebra Appl. 88/89, 1987.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra import blas
from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import Bounded
from eagle.distributed.methods.base import Iterative, State
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session

SAFE = 0.01  # of what a step may leave: eps times the condition of G
SPREAD = 3.0  # standard deviations of a sum of rounding errors
STALLED = 0.5  # ratio of successive changes from which on only rounding errors move


@dataclass(kw_only=True)
class SemiNormalState(State):
    """Everybody's, all of it."""

    W: np.ndarray  # (d', d)
    inverse: np.ndarray | None  # (d, d) lower triangular R^-H, of A with rows of length one
    scale: np.ndarray  # (d,) powers of two, by which they have it
    size: float = 0.0  # |A|, after scaling
    misfit: float = np.inf  # ||B - W A||
    gap: float = np.nan  # the same, without the columns of a ridge
    whole: float = 0.0  # ||B||
    change: float = np.inf

    def saved(self) -> dict[str, Any]:
        """The map; G is summed again."""
        return {
            name: getattr(self, name) for name in ("W", "misfit", "gap", "whole", "change", "left")
        }


@dataclass(frozen=True)
class SemiNormal(Iterative):
    """One sum of ``d (d + d')`` numbers, and one of ``d d'`` for every correction."""

    free = True
    hands_over = True
    supports: ClassVar[frozenset[str]] = frozenset({"ridge"})

    def init(self, problem: LocalProblem, session: Session) -> SemiNormalState:
        """Sum, factorise."""
        A, B = problem.A, problem.B
        square = len(A) >= A.shape[1]  # half the work is for long shards, where it counts
        own = product(A, A, adjoint="Y") if square else blas.smaller_gram(A)
        G, H = session.sum(np.triu(own), product(B, A, adjoint="Y"))
        G = G + np.triu(G, 1).conj().T
        scale, size, inverse = _factorised(G, problem.eps)
        state = SemiNormalState(problem=problem, W=H, inverse=inverse, scale=scale, size=size)
        if inverse is not None:
            state.W = _divided(state, H)
        return state

    def step(self, state: SemiNormalState, session: Session) -> None:
        """Correct W: one sum of ``d' d + 3`` numbers."""
        if state.inverse is None:
            state.exhausted = True
            return
        problem = state.problem
        rest = problem.B - product(state.W, problem.A)
        own = rest[:, : rest.shape[1] - problem.appended]
        squares = np.array([norm(X) ** 2 for X in (rest, own, problem.B)])
        pull, squares = session.sum(product(rest, problem.A, adjoint="Y"), squares)
        state.misfit, state.gap, state.whole = np.sqrt(squares.real).tolist()
        move = _divided(state, pull)
        state.W = state.W + move
        before, state.change = state.change, norm(product(move, problem.C))
        ratio = state.change / before if 0 < before < np.inf else 0.0
        size = norm(product(state.W, problem.C))
        state.left = state.change / size if size else 0.0
        state.exhausted = state.change <= problem.eps * size or ratio > STALLED

    def verify(self, state: SemiNormalState, session: Session) -> Bounded:
        """What rounding may do to the value, to first order, and what it has moved last.

        ``eps |A| |X| (|W| + |A^+| |B - W A| / sqrt(n)) + eps |X| |B| / sqrt(n) + eps |W| |C|`` with
        ``X = A^+ C`` and rows of A of length one: of n rounding errors in a row that meet a misfit
        most cancel.
        """
        problem = state.problem
        state.inconsistency = state.gap / state.whole if state.whole else 0.0
        value = product(state.W, problem.C)
        if state.inverse is None:
            return Bounded(value, np.inf)
        C = state.scale[:, None] * problem.C
        W = norm(state.W / state.scale)
        X = norm(product(state.inverse, C))
        cancels = SPREAD / max(problem.columns, 1) ** 0.5
        total = state.size * (W + norm(state.inverse) * cancels * state.misfit)
        total = X * (total + cancels * state.whole) + W * norm(C)
        return Bounded(value, problem.eps * total + state.change)


def _factorised(G: np.ndarray, eps: float) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Scale, ``|A|`` and ``R^-H`` of A with rows of length one; None if G does not tell A^+."""
    import scipy.linalg

    lengths = np.sqrt(np.diagonal(G).real)
    scale = np.exp2(-np.round(np.log2(np.where(lengths > 0, lengths, 1)))).astype(lengths.dtype)
    scaled = G * (scale[:, None] * scale)
    try:
        R = scipy.linalg.cholesky(scaled, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return scale, 0.0, None
    eye = np.eye(len(G), dtype=G.dtype)
    inverse = scipy.linalg.solve_triangular(R, eye, lower=True, check_finite=False)
    size = float(np.abs(scaled).sum(axis=0).max()) ** 0.5
    sound = eps * (size * norm(inverse)) ** 2 < SAFE
    return scale, size, np.asfortranarray(inverse) if sound else None


def _divided(state: SemiNormalState, X: np.ndarray) -> np.ndarray:
    """``X G^-1``."""
    assert state.inverse is not None
    inner = product(np.asfortranarray(X * state.scale), state.inverse, adjoint="Y")
    return np.asfortranarray(product(inner, state.inverse) * state.scale)
