"""The certificate: probes that take the same road as the data, and whose answers are known.

A few random rows ``Z^H A`` are appended to B and a few random columns ``A W`` to C before a
method runs. Their answers do not depend on it:

* the *corner* ``Z^H A W`` is known always;
* the column ``A w`` has the answer ``B w`` if B is consistent (``B = W* A``), and always if
  ``w`` lies in the row space of A (a *range* probe, ``w = A^H v``);
* the row ``z^H A`` has the answer ``z^H C`` if C lies in the range of A, and always if
  ``z = A v``.

With ``E = value - B A^+ C`` extended by the probes, the errors of rows, columns and corner are
known and the error of the user's block is the one hidden block of a matrix of errors. Its size
follows by the formula this library exists for: ``columns @ pinv(corner) @ rows``, and, because
a matrix of rounding errors has no low rank, also ``|columns| |rows| / |corner|``; the larger
counts. Both are exact when one direction carries the error, whatever its singular value is:
the weights with which probes and data see that direction cancel.

*White* probes (``w``, ``z`` Gaussian) see every direction but need consistency on their side;
range probes need nothing but see small singular directions weakly. So there are four estimates,
white or range probes for rows and for columns, and the largest counts until a method has
*resolved* the spectrum: what looks like inconsistency may be a direction that is still to come.
Then only rounding errors are left, and

* of white columns with range rows, and the other way round, the larger counts;
* if one side misfits grossly, that is inconsistency, and the other side counts;
* if a method treats the rows of B (or the columns of C) each by themselves, the side that sees
  the user's own counts. Such a method may believe too early that nothing is left: a gross misfit
  is taken for inconsistency only if the other side's is at rounding level or is *shown*, and
  where generic right-hand sides of both have hardly begun, all of the value is suspected;
* it is not charged with more than ``10 eps condition``. What exceeds that is inconsistency.

Until then a value is at most ten times as accurate as those of generic right-hand sides are on
the better side. To an identity small singular directions are as visible as large ones: if its
side fits, then right-hand sides by themselves are judged by it alone, resolved or not, and are at
most ten times as accurate as its generic ones. And a value larger than ``|B| |C| / (eps |A|)`` is
made of directions below rounding level: it is error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.problem.blocks import Problem
from eagle.problem.operand import both

if TYPE_CHECKING:
    from eagle.methods.base import State

__all__ = ["COUNT", "Certificate", "Probes", "judge_many", "unit_normal"]

COUNT = 4  # probes of each kind and side: chi-squared tails put a factor 10 beyond 1e-4
GROSS = 1e-3  # a relative misfit beyond this is taken for inconsistency, not error
HARDLY = 0.5  # and beyond this on both sides probes tell nothing of other right-hand sides
LUCK = 10.0  # times as accurate as generic ones right-hand sides of one's own may be
ABSURD = 1e2  # and beyond this for error, as inconsistency is a projection
ROUNDING = 1e2  # in units of eps: misfits in which no direction above rounding level can hide


@dataclass(frozen=True)
class Certificate:
    """What the probes say about a value.

    Attributes
    ----------
    error_estimate : float
        Relative Frobenius error of the value.
    inconsistency : float
        ``||B - W A|| / ||B||``.
    negligible : bool
        Whether the error is what rounding makes of data of this size, however small the value.
    """

    error_estimate: float
    inconsistency: float
    negligible: bool


@dataclass(frozen=True)
class Probes:
    """Random rows and columns for one problem, with their known answers.

    Rows and columns come in the order white, range; after the columns of a problem with a ridge
    follow the ones that measure the inconsistency of the user's own A and B.
    """

    problem: Problem
    column_answers: np.ndarray  # (d', 2p [+ p]) B w
    row_answers: np.ndarray  # (2p, n') z^H C
    corner: np.ndarray  # (2p, 2p) z^H A w

    @classmethod
    def draw(cls, problem: Problem, rng: np.random.Generator) -> Probes:
        """Append probes to `problem` and keep their answers."""
        A = problem.A
        d, n = A.shape
        w = unit_normal(rng, (n, COUNT), A.dtype)
        z = unit_normal(rng, (d, COUNT), A.dtype)
        Aw, Az = both(A, w, z)
        inner, outer = _unit(Az), _unit(Aw)
        further, back = both(A, inner, outer)
        w, z = np.hstack([w, inner]), np.hstack([z, outer])
        columns, rows = np.hstack([Aw, further]), np.hstack([Az, back]).conj().T
        corner = product(rows, w)
        if problem.extent != A.shape:
            # A ridge was appended: its own rows and columns say nothing about the user's B.
            inner = w[:, :COUNT].copy()
            inner[problem.extent[1] :] = 0
            outer = product(A, inner)
            outer[problem.extent[0] :] = 0
            w, columns = np.hstack([w, inner]), np.hstack([columns, outer])
        return cls(
            problem=replace(problem, row_probes=rows, column_probes=columns),
            column_answers=w if problem.B is None else product(problem.B, w),
            row_answers=z.conj().T if problem.C is None else product(z, problem.C, adjoint="X"),
            corner=corner,
        )

    def certify(self, value: np.ndarray, state: State, *, quick: bool = False) -> Certificate:
        """Judge an extended value, ``(d' + 2p, n' + 2p [+ p])``.

        Parameters
        ----------
        value : ndarray
            What the method made of ``[B; rows]``, A, ``[C columns]``.
        state : State
            What the method knows: `resolved`, `condition` and `own` are read.
        quick : bool
            Compare sizes only, which is what a running iteration needs.
        """
        d, n = self.problem.shape
        p = COUNT
        eps = self.problem.eps
        hidden = norm(value[:d, :n])
        column_errors = value[:d, n:] - self.column_answers
        row_errors = value[d:, :n] - self.row_answers
        corner_errors = value[d:, n : n + 2 * p] - self.corner
        if not np.isfinite(value).all():
            return Certificate(np.inf, np.nan, False)

        def estimate(row_kind: slice, column_kind: slice) -> float:
            return _hidden_error(
                corner_errors[row_kind, column_kind],
                row_errors[row_kind],
                column_errors[:, column_kind],
                eps * norm(self.corner[row_kind, column_kind]),
                eps * norm(self.row_answers[row_kind]),
                eps * norm(self.column_answers[:, column_kind]),
                quick,
            )

        white, ranged = slice(0, p), slice(p, 2 * p)
        certain = estimate(ranged, ranged)
        by_columns, by_rows = estimate(ranged, white), estimate(white, ranged)
        plain = slice(2 * p, 3 * p) if column_errors.shape[1] > 2 * p else white
        gaps = [
            _ratio(column_errors[:, white], self.column_answers[:, white]),
            _ratio(row_errors[white], self.row_answers[white]),
        ]
        # Answers of generic right-hand sides show every direction; those of others, which may be
        # as small as the singular value, only down to the accuracy that was reached.
        seen = [gap <= GROSS for gap in gaps]
        shown = [
            a and b is None for a, b in zip(seen, (self.problem.B, self.problem.C), strict=True)
        ]
        told = state.own is None or any(shown) or min(gaps) <= ROUNDING * eps
        if state.resolved and told:
            if max(gaps) > GROSS:
                suspected = min(by_columns, by_rows)
            elif state.own is not None:
                suspected = by_columns if state.own == "rows" else by_rows
            else:
                suspected = max(by_columns, by_rows)
        elif state.own is not None and any(shown):
            suspected = max(
                size for size, sees in zip((by_columns, by_rows), shown, strict=True) if sees
            )
        else:
            generic = min(gaps) * hidden / LUCK
            suspected = max(by_columns, by_rows, estimate(white, white), generic)
            if state.own is not None and min(gaps) > HARDLY:
                suspected = max(suspected, hidden)
        if state.own is not None and any(shown):
            generic = max(gap for gap, sees in zip(gaps, shown, strict=True) if sees)
            suspected = max(suspected, generic * hidden / LUCK)
        if state.resolved and state.condition is not None:
            suspected = min(suspected, 10 * eps * state.condition * hidden)
        elif state.resolved and min(gaps) > GROSS:
            suspected = certain
        error = max(certain, suspected)
        if max(gaps) > ABSURD:  # ``B w`` less its part in the row space of A is no longer than it
            error = max(error, hidden)
        # What ``|B| |C| / |A|`` is to these data: rounding alone makes errors of eps times that.
        corner = norm(self.corner[white, white])
        natural = (
            norm(self.column_answers[:, white]) * norm(self.row_answers[white]) / corner
            if corner
            else 0.0
        )
        if eps * hidden > natural:  # made of directions of A below rounding level
            error = max(error, hidden)
        size, error = max(hidden, eps * natural), max(error, eps * natural)
        return Certificate(
            error_estimate=error / size if size else 0.0,
            inconsistency=_ratio(column_errors[:, plain], self.column_answers[:, plain]),
            negligible=error <= 100 * eps * natural,
        )


def judge_many(
    sizes: dict[str, np.ndarray],
    eps: float,
    resolved: np.ndarray | bool = True,
    condition: np.ndarray | float = np.nan,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rules of `Probes.certify` for many problems, as arrays.

    Parameters
    ----------
    sizes : dict of ndarray (N,)
        Frobenius norms, by the names of ``eagle.algebra.qr.SIZES``; with a ridge also of the
        columns that measure the inconsistency of the user's own B, as ``"..._plain"``.
    eps : float
        Of the dtype that was computed in.
    resolved, condition : ndarray (N,) or scalar
        What the method knows about each; NaN for a condition number that it does not know.

    Returns
    -------
    error_estimate, inconsistency, negligible : ndarray (N,)
        As in `Certificate`. Without the estimate by completion, which is for errors of low rank.

    Notes
    -----
    The methods that do many at once treat all right-hand sides alike, which is `State.own` None.
    """

    def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    def estimate(row: str, column: str) -> np.ndarray:
        def size(errors: str, answers: str) -> np.ndarray:
            return np.maximum(sizes[errors], eps * sizes[answers])

        rows = size(f"row_errors_{row}", f"row_answers_{row}")
        columns = size(f"column_errors_{column}", f"column_answers_{column}")
        return ratio(
            rows * columns, size(f"corner_errors_{row}_{column}", f"corner_{row}_{column}")
        )

    certain = estimate("ranged", "ranged")
    by_columns, by_rows = estimate("ranged", "white"), estimate("white", "ranged")
    gap = ratio(sizes["column_errors_white"], sizes["column_answers_white"])
    other = ratio(sizes["row_errors_white"], sizes["row_answers_white"])
    most = np.maximum(by_columns, by_rows)
    suspected = np.where(np.maximum(gap, other) > GROSS, np.minimum(by_columns, by_rows), most)
    charged = np.minimum(suspected, 10 * eps * condition * sizes["hidden"])
    unknown = np.where(np.minimum(gap, other) > GROSS, certain, suspected)
    suspected = np.where(np.isnan(condition), unknown, charged)
    if not np.all(resolved):
        generic = np.minimum(gap, other) * sizes["hidden"] / LUCK
        unseen = np.maximum(np.maximum(most, estimate("white", "white")), generic)
        suspected = np.where(resolved, suspected, unseen)
    inconsistency = gap
    if "column_errors_plain" in sizes:
        inconsistency = ratio(sizes["column_errors_plain"], sizes["column_answers_plain"])
    error = np.maximum(certain, suspected)
    absurd = np.maximum(gap, other) > ABSURD
    error = np.where(absurd, np.maximum(error, sizes["hidden"]), error)
    natural = ratio(
        sizes["column_answers_white"] * sizes["row_answers_white"], sizes["corner_white_white"]
    )
    lost = eps * sizes["hidden"] > natural
    error = np.where(lost, np.maximum(error, sizes["hidden"]), error)
    error = np.maximum(error, eps * natural)
    estimates = ratio(error, np.maximum(sizes["hidden"], eps * natural))
    estimates[np.isnan(error)] = np.inf
    return estimates, inconsistency, error <= 100 * eps * natural


def _hidden_error(
    corner: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    corner_floor: float,
    row_floor: float,
    column_floor: float,
    quick: bool,
) -> float:
    """Frobenius size of the hidden block of the error matrix; floors are rounding errors."""
    corner_size = max(norm(corner), corner_floor)
    if not corner_size:
        return 0.0
    row_size, column_size = max(norm(rows), row_floor), max(norm(columns), column_floor)
    by_size = row_size * column_size / corner_size
    if quick or norm(corner) <= corner_floor or not norm(rows):
        return by_size
    # Directions with very different errors are told apart as far as rounding allows.
    rcond = min(1e-3, 100 * corner_floor / norm(corner))
    by_completion = product(columns, product(np.linalg.pinv(corner, rcond=rcond), rows))
    return max(by_size, norm(by_completion))


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    size = norm(whole)
    return norm(part) / size if size else 0.0


def unit_normal(rng: np.random.Generator, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Gaussian columns of length one."""
    draw = rng.standard_normal(shape)
    if dtype.kind == "c":
        draw = draw + 1j * rng.standard_normal(shape)
    return _unit(draw.astype(dtype, order="F"))


def _unit(columns: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(columns, axis=0)
    return columns / np.where(sizes > 0, sizes, 1)
