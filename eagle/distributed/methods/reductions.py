"""One reduction, and the problem is small: Gram matrices or triangular factors add up.

* ``gram``: ``G = sum A_mu A_mu^H`` and ``H = sum B_mu A_mu^H``, then ``H G^+ C``. The least
  work and the least message, ``d (d + d')`` numbers; singular values of A below
  ``sqrt(eps) ||A||`` are lost in G.
* ``tsqr``: an LQ factorisation of every ``A_mu`` and, on the way, of any two factors side by
  side [1]_: ``[A_1 ... A_M] = L N^H`` with orthonormal N, so that ``B A^+ C = (B N) L^+ C`` is
  a problem for one machine. The same message, no squares.

What B has outside the row space of A is measured on the way: it is the inconsistency.

Reduction keeps rows of A to their own precision, not its columns: a column that is small for its
units may be lost in the noise of others. So the error is bounded for that, and where columns are
graded the rank is counted once more, on columns of equal size. Blocks that are few numbers go as
they are, in one sum, which loses nothing.

.. [1] Demmel, Grigori, Hoemmen, Langou, "Communication-optimal parallel and sequential QR and LU
   factorizations", SIAM J. Sci. Comput. 34(1), 2012.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import hidden
from eagle.distributed.judge import Opinion, compared, gathered, opinion
from eagle.distributed.methods.base import OneShot, Outcome
from eagle.distributed.problem import GRADED, LocalProblem
from eagle.distributed.session import Session
from eagle.methods import complete
from eagle.problem.result import Status


@dataclass(frozen=True)
class TSQR(OneShot):
    """One reduction of triangular factors; accurate whatever the condition number is."""

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """Reduce, solve on rank 0, tell everybody."""
        return outcome_of(self.opinion(problem, session), problem)

    def opinion(self, problem: LocalProblem, session: Session) -> Opinion:
        """The same as what one may compare with."""
        d = len(problem.A)
        if problem.small:
            (blocks,) = session.sum(gathered(problem))
            return told(
                problem, session, lambda: opinion(blocks[:d], blocks[d:], problem.C, problem)
            )
        L, BN, lost, total = reduced(problem.A, problem.B, session)
        rank = 0
        if problem.graded and not problem.spectral.truncates:
            even, *_ = reduced(problem.A * problem.weights, problem.B[:0], session)
            rank = complete.decompose(even, problem.eps, by_columns=False).rank
        return told(
            problem,
            session,
            lambda: opinion_of_core(L, BN, problem.C, lost, total, problem, rank=rank),
        )


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


def opinion_of_core(
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    lost: float,
    total: float,
    problem: LocalProblem,
    *,
    rank: int = 0,
    eps: float | None = None,
    left: float = 0.0,
) -> Opinion:
    """Solve a problem that others were reduced to.

    Parameters
    ----------
    A, B, C : ndarray
    lost, total : float
        Squared norms of what B has lost before, and of the B before.
    problem : LocalProblem
        For the seed, the dtype and the spectral options.
    rank : int
        Of A with columns of equal size, at least; if it is larger than what is found here, there is
        no answer.
    eps : float, optional
        To which the core is known relative to its norm, not to its rows.
    left : float
        Norm of what C has lost before.
    """
    if problem.spectral.truncates:
        found = opinion(A, B, C, problem)
        inside = (found.inconsistency * norm(B)) ** 2
        gap = float(np.sqrt((lost + inside) / total)) if total else 0.0
        return replace(found, inconsistency=gap)
    plain, ridge = (A, B), problem.spectral.ridge
    if ridge:
        more = np.sqrt(A.real.dtype.type(ridge)) * np.eye(len(A), dtype=A.dtype)
        A = np.concatenate([A, more], axis=1)
        B = np.concatenate([B, np.zeros((len(B), len(A)), B.dtype)], axis=1)
    by_rows = None if eps is None else False
    own = problem.eps
    decomposition, answer = complete.solve(
        A, B, C, own, by_rows=by_rows, by_columns=False, lost=float(np.sqrt(lost)), left=left
    )
    gap = answer.inconsistency
    if ridge:  # of the user's own A and B
        W = product(decomposition.adjoint_times(B.conj().T).conj().T, plain[0])
        gap = float(np.sqrt((norm(plain[1] - W) ** 2 + lost) / total)) if total else 0.0
    error = answer.error * (1.0 if eps is None else max(1.0, eps / own))
    if decomposition.rank < rank:
        error = np.inf
    return Opinion(
        answer.value, error, answer.rounding, gap, decomposition.rank, decomposition.condition
    )


def told(problem: LocalProblem, session: Session, work: Callable[[], Opinion]) -> Opinion:
    """What rank 0 makes of it, on all machines; one broadcast."""
    rows, columns = problem.shape
    said = np.zeros(rows * columns + 5, np.result_type(problem.A.dtype, np.float64))
    if session.comm.rank == 0:
        said[:] = work().packed(said.dtype)
    found = Opinion.unpacked(session.comm.broadcast(said), problem.shape)
    return replace(found, value=found.value.astype(problem.A.dtype))


def outcome_of(found: Opinion, problem: LocalProblem) -> Outcome:
    """An opinion as the end of a method."""
    error = max(found.relative, problem.eps) if np.isfinite(found.error) else np.inf
    return Outcome(
        value=found.value,
        status=Status.CONVERGED if error <= problem.enough else Status.STAGNATED,
        error_estimate=error,
        inconsistency=found.inconsistency,
        iterations=1,
        rank=None if np.isnan(found.rank) else int(found.rank),
        condition=None if np.isnan(found.condition) else found.condition,
    )


@dataclass(frozen=True)
class Gram(OneShot):
    """One sum of Gram matrices; for condition numbers up to ``1 / sqrt(eps)``.

    The sum carries two probes, whose answers do not go through G. With the rounding errors dG, dH
    of the sums, the value is off by ``(dH - W dG) G^+ C`` to first order, which is estimated from
    its factors' norms.
    """

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """Sum, solve on every machine; a second round if rank 0 has a second opinion."""
        parts = [gathered(problem)] if problem.small else []
        w = problem.probes(2)
        G, H, columns, answers, total, *blocks = session.sum(
            product(problem.A, problem.A, adjoint="Y"),
            product(problem.B, problem.A, adjoint="Y"),
            product(problem.A, w),
            product(problem.B, w),
            np.array([norm(problem.B) ** 2]),
            *parts,
        )
        first = _solved(problem, G, H, columns, answers, float(total[0].real), rtol)
        if not blocks:
            return first
        whole, d = blocks[0], len(problem.A)
        found = told(problem, session, lambda: opinion(whole[:d], whole[d:], problem.C, problem))
        outcome, _ = compared(first, found, problem, rtol)
        return outcome


def _solved(
    problem: LocalProblem,
    G: np.ndarray,
    H: np.ndarray,
    columns: np.ndarray,
    answers: np.ndarray,
    total: float,
    rtol: float,
) -> Outcome:
    """From the sums alone."""
    C, eps, spectral = problem.C, problem.eps, problem.spectral
    values, V = np.linalg.eigh((G + G.conj().T) / 2)
    top = max(float(values[-1]), 0.0) if len(values) else 0.0
    noise = len(G) * eps * top
    kept = values > max(noise, (spectral.cutoff or 0.0) ** 2 * top)
    if spectral.rank is not None:
        kept[: max(0, len(kept) - spectral.rank)] = False
    V, values = np.asfortranarray(V[:, kept]), values[kept]
    shifted = values + values.dtype.type(spectral.ridge)
    Y = product(V, product(V, C, adjoint="X") / shifted[:, None])  # (G + ridge I)^+ C
    W = product(product(H, V) / shifted, V, adjoint="Y")
    value = product(W, C)
    size = norm(value)
    spread = np.sqrt(len(G))
    rounding = spread * eps * (norm(H) + norm(W) * float(values.max(initial=0.0))) * norm(Y)
    misfit, scale = norm(product(W, columns) - answers), norm(answers)
    # A direction at the noise of G may be a small one of A, which the value then lacks.
    lacking = 0.0
    if len(values) < len(G) and not spectral.given():
        corner, rows = (X - product(V, product(V, X, adjoint="X")) for X in (columns, C))
        lacking = hidden(corner, rows, product(W, columns) - answers, eps * norm(columns), 0.0)
        if problem.graded or _graded(G):
            lacking = np.inf
    error = max(rounding, lacking, eps * size)
    relative = error / size if size else (np.inf if error else 0.0)
    # ||B - W A||^2 = ||B||^2 - 2 <W, H> + <W G, W> cancels; under that noise the probes are better.
    explained = 2 * float(np.vdot(W, H).real) - float(np.vdot(product(W, G), W).real)
    inconsistency = float(np.sqrt(max(total - explained, 0.0) / total)) if total else 0.0
    if inconsistency < spread * eps**0.5:
        inconsistency = misfit / scale if scale else 0.0
    return Outcome(
        value=value,
        status=Status.CONVERGED if relative <= rtol else Status.STAGNATED,
        error_estimate=relative,
        inconsistency=inconsistency,
        iterations=1,
        rank=len(values),
        condition=float(np.sqrt(shifted[-1] / shifted[0])) if len(values) else None,
    )


def _graded(G: np.ndarray) -> bool:
    """Whether rows of A are of quite different sizes, as the diagonal of its Gram matrix tells."""
    sizes = np.diagonal(G).real
    return bool(len(sizes)) and bool(
        sizes.max() > 4.0**GRADED * sizes.min(where=sizes > 0, initial=np.inf)
    )
