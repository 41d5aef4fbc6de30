"""One reduction, and the problem is small: Gram matrices or triangular factors add up.

* ``gram``: ``G = sum A_mu A_mu^H`` and ``H = sum B_mu A_mu^H``, then ``H G^+ C``. The least
  work and the least message, ``d (d + d')`` numbers; singular values of A below
  ``sqrt(eps) ||A||`` are lost in G.
* ``tsqr``: an LQ factorisation of every ``A_mu`` and, on the way, of any two factors side by
  side [1]_: ``[A_1 ... A_M] = L N^H`` with orthonormal N, so that ``B A^+ C = (B N) L^+ C`` is
  a problem for one machine. The same message, no squares.

What B has outside the row space of A is measured on the way: it is the inconsistency.

.. [1] Demmel, Grigori, Hoemmen, Langou, "Communication-optimal parallel and sequential QR and LU
   factorizations", SIAM J. Sci. Comput. 34(1), 2012.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

import eagle
from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import hidden
from eagle.distributed.methods.base import Outcome
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.problem.result import ConvergenceError, Status

__all__ = ["TSQR", "Gram", "reduced", "solved_by_root"]


@dataclass(frozen=True)
class TSQR:
    """One reduction of triangular factors; accurate whatever the condition number is."""

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """Reduce, solve on rank 0, tell everybody."""
        L, BN, lost, total = reduced(problem.A, problem.B, session)
        return solved_by_root(L, BN, problem.C, lost, total, problem, session, rtol)


def reduced(
    A: np.ndarray, B: np.ndarray, session: Session
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """``L`` (d, d), ``B N`` (d', d), and squared norms: what B lost on the way, B itself.

    A and B are this machine's columns, results are everybody's.
    """
    d, rows = len(A), len(B)
    # One column more than d carries the two numbers.
    buffer = np.zeros((d + rows + 1, d + 1), A.dtype, order="C")
    _fold(A, B, 0.0, buffer)
    buffer[-1, -1] = norm(B) ** 2

    def combine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        both = np.concatenate([first[:, :-1], second[:, :-1]], axis=1)
        out = np.zeros_like(first)
        _fold(both[:d], both[d:-1], float((first[0, -1] + second[0, -1]).real), out)
        out[-1, -1] = first[-1, -1] + second[-1, -1]
        return out

    buffer = session.comm.reduce(buffer, combine)
    lost, total = float(buffer[0, -1].real), float(buffer[-1, -1].real)
    return buffer[:d, :d], buffer[d:-1, :d], lost, total


def _fold(A: np.ndarray, B: np.ndarray, lost: float, out: np.ndarray) -> None:
    """``A = L N^H``; L and ``B N`` into `out`, with the squared norm of ``B (I - N N^H)``."""
    import scipy.linalg

    d, n = A.shape
    if n <= d:  # no orthonormal N is needed for so few columns
        out[:d, :n], out[d:-1, :n] = A, B
    else:
        N, R = scipy.linalg.qr(A.conj().T, mode="economic", check_finite=False)
        inside = product(B, np.asfortranarray(N))
        lost += norm(B - product(inside, np.asfortranarray(N), adjoint="Y")) ** 2
        out[:d, :d], out[d:-1, :d] = R.conj().T, inside
    out[0, -1] = lost


def solved_by_root(
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    lost: float,
    total: float,
    problem: LocalProblem,
    session: Session,
    rtol: float,
) -> Outcome:
    """`eagle.solve` of a problem that all have, on rank 0; one broadcast.

    Parameters
    ----------
    A, B, C : ndarray
    lost, total : float
        Squared norms of what B has lost before, and of the B before.
    problem : LocalProblem
        For the seed and the dtype.
    """
    facts = np.zeros(512, np.uint8)
    value = np.zeros((len(B), C.shape[1]), C.dtype)
    if session.comm.rank == 0:
        try:  # warnings can only be silenced for all threads at once
            result = eagle.solve(A, B, C, rng=problem.seed, raise_on_failure=True)
        except ConvergenceError as error:
            result = error.result
        value[...] = result.value
        inside = (result.inconsistency * norm(B)) ** 2
        known = {
            "status": result.status.name,
            "error": result.error_estimate,
            "inconsistency": float(np.sqrt((lost + inside) / total)) if total else 0.0,
            "rank": result.rank,
            "condition": result.condition,
        }
        text = json.dumps(known).encode()
        facts[: len(text)] = np.frombuffer(text, np.uint8)
    message = session.comm.broadcast(np.concatenate([value.view(np.uint8).ravel(), facts]))
    value = message[: value.nbytes].view(value.dtype).reshape(value.shape).copy()
    known = json.loads(message[-512:].tobytes().rstrip(b"\0"))
    status = Status[known["status"]]
    if status is Status.CONVERGED and not known["error"] <= rtol:
        status = Status.STAGNATED
    return Outcome(
        value=value,
        status=status,
        error_estimate=known["error"],
        inconsistency=known["inconsistency"],
        iterations=1,
        rank=known["rank"],
        condition=known["condition"],
    )


@dataclass(frozen=True)
class Gram:
    """One sum of Gram matrices; for condition numbers up to ``1 / sqrt(eps)``.

    The sum carries two probes, whose answers do not go through G. With the rounding errors dG, dH
    of the sums, the value is off by ``(dH - W dG) G^+ C`` to first order, which is estimated from
    its factors' norms.
    """

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """Sum, and solve on every machine."""
        A, B, C, eps = problem.A, problem.B, problem.C, problem.eps
        w = problem.probes(2)
        G, H, columns, answers, total = session.sum(
            product(A, A, adjoint="Y"),
            product(B, A, adjoint="Y"),
            product(A, w),
            product(B, w),
            np.array([norm(B) ** 2]),
        )
        values, V = np.linalg.eigh((G + G.conj().T) / 2)
        V = np.asfortranarray(V)
        noise = len(G) * eps * max(float(values[-1]), 0.0) if len(values) else 0.0
        kept = values > noise
        V, values = np.asfortranarray(V[:, kept]), values[kept]
        Y = product(V, product(V, C, adjoint="X") / values[:, None])  # G^+ C
        W = product(product(H, V) / values, V, adjoint="Y")  # B A^+
        value = product(W, C)
        size = norm(value)
        spread = np.sqrt(len(G))
        rounding = spread * eps * (norm(H) + norm(W) * _largest(values)) * norm(Y)
        misfit = norm(product(W, columns) - answers)
        scale = norm(answers)
        # A direction at the noise of G may be a small one of A, which the value then lacks.
        lacking = 0.0
        if len(values) < len(G):
            corner, rows = (X - product(V, product(V, X, adjoint="X")) for X in (columns, C))
            lacking = hidden(corner, rows, product(W, columns) - answers, eps * norm(columns), 0.0)
        error = max(rounding, lacking)
        relative = error / size if size else (np.inf if error else 0.0)
        # ||B - W A||^2 = ||B||^2 - <W, H>, which cancels; under that noise the probes are better.
        unexplained = max(float(total[0].real) - float(np.vdot(W, H).real), 0.0)
        inconsistency = np.sqrt(unexplained / total[0].real) if total[0].real else 0.0
        if inconsistency < spread * eps**0.5:
            inconsistency = misfit / scale if scale else 0.0
        return Outcome(
            value=value,
            status=Status.CONVERGED if relative <= rtol else Status.STAGNATED,
            error_estimate=relative,
            inconsistency=float(inconsistency),
            iterations=1,
            rank=len(values),
            condition=float(np.sqrt(values[-1] / values[0])) if len(values) else None,
        )


def _largest(values: np.ndarray) -> float:
    return float(values[-1]) if len(values) else 0.0
