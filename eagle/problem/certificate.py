"""The certificate: probes that take the same road as the data, and whose answers are known.

A few random rows ``Z^H A`` are appended to B and a few random columns ``A W`` to C before a
method runs. Their answers do not depend on it:

* the *corner* ``Z^H A W`` is known always;
* the column ``A w`` has the answer ``B w`` if B is consistent (``B = W* A``), and always if
  ``w`` lies in the row space of A (a *range* probe, ``w = A^H v``);
* the row ``z^H A`` has the answer ``z^H C`` if C lies in the range of A, and always if
  ``z = A v``.

So the errors of the probes are known, and the error of the user's block is the hidden block of a
matrix of errors ``[[?, columns], [rows, corner]]``. Its size follows by the formula this library
exists for, ``|columns corner^+ rows|``, and, because a matrix of rounding errors has no low rank,
also ``|columns| |rows| / |corner|``; the larger counts: ``e(r, c)`` for rows of kind r and columns
of kind c. Both are exact when one direction carries the error, whatever its singular value is: the
weights with which probes and data see that direction cancel.

*White* probes (``w``, ``z`` Gaussian) see every direction but need consistency on their side;
range probes need nothing but see small singular directions weakly. The *gap* of a side is the
relative error of its white probes: error, or inconsistency, which is no error. `judge` tells which:

=====================================================  ====================================
if                                                     the error of the value is
=====================================================  ====================================
always                                                 at least ``e(range, range)``
the spectrum is resolved, both gaps at most GROSS      at least both ``e(range, white)`` and
                                                       ``e(white, range)``
-- one gap beyond GROSS: that side is inconsistent     the smaller of the two
-- both gaps beyond GROSS, condition not known         ``e(range, range)``
-- one's own side [1]_ is known                        the one with white probes of the other side
-- condition known                                     at most ``10 eps condition |D|``
-- full rank known                                     at most the one of the side it makes
                                                       consistent: rows if it is the row rank
not resolved                                           at least all four, and the smaller gap
                                                       times ``|D| / LUCK``
-- right-hand sides by themselves, gaps beyond HARDLY  ``|D|``
-- right-hand sides by themselves, an identity fits    the one of the identity's side [2]_
a gap beyond ABSURD, as no projection makes one        ``|D|``
``eps |D| > |B w| |z^H C| / |z^H A w|``                ``|D|``: made of directions below rounding
always                                                 at least ``eps |B w| |z^H C| / |z^H A w|``
=====================================================  ====================================

.. [1] A method that treats the rows of B (or the columns of C) each by themselves may believe too
   early that nothing is left. So a resolved spectrum counts for such a method only if a gap is at
   rounding level or that of an identity.
.. [2] To an identity small singular directions are as visible as large ones. Its right-hand sides
   are at most LUCK times as accurate as generic ones, resolved or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import norm, product
from eagle.algebra.numbers import Number, One, share
from eagle.problem.blocks import Problem

# Relative errors of probes, each the largest seen among fuzzed problems with the other explanation:
GROSS = 1e-3  # beyond it, inconsistency
HARDLY = 0.5  # beyond it on both sides, probes tell nothing of other right-hand sides
ABSURD = 1e2  # beyond it, error after all
ROUNDING = 1e2  # in units of eps: no direction above rounding level can hide in it
LUCK = 10.0  # times as accurate as generic ones right-hand sides of one's own may be
WHITE, RANGED = slice(0, COUNT), slice(COUNT, 2 * COUNT)
KINDS = {"white": WHITE, "ranged": RANGED}


@dataclass(frozen=True)
class Certificate:
    """What the probes say about a value; a number for each matrix.

    Attributes
    ----------
    error_estimate : number
        Relative Frobenius error of the value; infinite for a value that is not finite.
    inconsistency : number
        ``||B - W A|| / ||B||``.
    negligible : number
        Whether the error is what rounding makes of data of this size, however small the value.
    misfits : number
        Whether B or C is inconsistent: what rounding of A makes of that the probes do not see.
    """

    error_estimate: Number
    inconsistency: Number
    negligible: Number
    misfits: Number = False

    def enough(self, num: Any, eps: float, rtol: float | None) -> Number:
        """Whether a value is as accurate as was asked for; without `rtol`, to four digits."""
        if rtol is not None:
            return self.error_estimate <= rtol
        return (self.error_estimate <= eps**0.25) | self.negligible


@dataclass(frozen=True)
class Probes:
    """Random rows and columns of a problem, with their known answers.

    Rows and columns come in the order white, range; after the columns of a problem with a ridge
    follow the ones that measure the inconsistency of the user's own A and B.
    """

    problem: Problem
    column_answers: Any  # (d', 2p [+ p]) B w
    row_answers: Any  # (2p, n') z^H C
    corner: Any  # (2p, 2p) z^H A w
    sizes: dict[str, Number] = field(default_factory=dict)  # of the answers, once they are known

    @classmethod
    def draw(cls, problem: Problem, rng: np.random.Generator) -> Probes:
        """Append probes to `problem` and keep their answers."""
        A, algebra = problem.A, problem.algebra
        adjoint, join, product = algebra.adjoint, algebra.join, algebra.product
        d, n = A.shape[-2:]
        w, z = algebra.draw(rng, n, COUNT), algebra.draw(rng, d, COUNT)
        Aw, Az = algebra.both(A, w, z)
        inner, outer = (algebra.over(X, algebra.lengths(X, -2)) for X in (Az, Aw))
        further, back = algebra.both(A, inner, outer)
        rows, columns = adjoint(join([Az, back], -1)), [Aw, further]
        right, left = [w, inner], join([z, outer], -1)
        corner = product(rows, join(right, -1))
        if problem.extent != (d, n):
            # A ridge was appended: its own rows and columns say nothing about the user's B.
            above, beside = problem.extent
            right.append(w * algebra.shared(_first(beside, n)))
            columns.append(product(A, right[-1]) * algebra.shared(_first(above, d)))
        right = join(right, -1)
        rows_wanted, columns_wanted = problem.wanted
        column_answers = right if problem.B is None else product(problem.B, right)
        row_answers = adjoint(left) if problem.C is None else product(left, problem.C, adjoint="X")
        column_answers = column_answers[..., :rows_wanted, :]
        row_answers = row_answers[..., :columns_wanted]
        return cls(
            replace(problem, row_probes=rows, column_probes=join(columns, -1)),
            column_answers,
            row_answers,
            corner,
        )

    def take(self, places: np.ndarray) -> Probes:
        """Those of some of many problems."""
        take = self.problem.algebra.take
        columns, rows, corner = (
            take(X, places) for X in (self.column_answers, self.row_answers, self.corner)
        )
        sizes = {name: size[places] if len(size) > 1 else size for name, size in self.sizes.items()}
        return Probes(self.problem.take(places), columns, rows, corner, sizes)

    def certify(
        self,
        value: Any,
        *,
        resolved: Number = True,
        condition: Number | None = None,
        own: str | None = None,
        quick: bool = True,
    ) -> Certificate:
        """Judge an extended value, ``(d' + 2p, n' + 2p [+ p])``.

        Parameters
        ----------
        value : array
            What the method made of ``[B; rows]``, A, ``[C columns]``.
        resolved, condition, own
            What the method knows, see `eagle.methods.base.State`.
        quick : bool
            Compare sizes only, which is what a running iteration needs, and all that is done for
            many matrices.
        """
        problem, algebra = self.problem, self.problem.algebra
        num, (below, beside), (rows, columns) = algebra.num, problem.shape, problem.wanted
        column_errors = value[..., :rows, beside:] - self.column_answers
        row_errors = value[..., below:, :columns] - self.row_answers
        corner_errors = value[..., below:, beside : beside + 2 * COUNT] - self.corner
        blocks = _parts("errors_", column_errors, row_errors, corner_errors)
        blocks["hidden"] = value[..., :rows, :columns]
        answers = {}
        if not self.sizes:
            answers = _parts("answers_", self.column_answers, self.row_answers, self.corner)
        sizes = dict(
            zip(
                (*blocks, *answers),
                algebra.norms(*blocks.values(), *answers.values()),
                strict=True,
            )
        )
        self.sizes.update((name, sizes[name]) for name in answers)
        sizes |= self.sizes
        if num is One and not algebra.finite(value):
            return Certificate(np.inf, np.nan, False)
        completed = None
        if num is One and not quick:
            completed = partial(
                _completed, sizes, problem.eps, corner_errors, row_errors, column_errors
            )
        return judge(
            num,
            sizes,
            problem.eps,
            resolved=resolved,
            condition=num.known(condition, sizes["hidden"]),
            own=own,
            identities=(problem.B is None, problem.C is None),
            completed=completed,
        )


def judge(
    num: Any,
    sizes: dict[str, Number],
    eps: float,
    *,
    resolved: Number = True,
    condition: Number = np.nan,
    own: str | None = None,
    identities: tuple[bool, bool] = (False, False),
    full: tuple[Number, Number] = (False, False),
    completed: Callable[[str, str], float] | None = None,
) -> Certificate:
    """The rules of this module.

    Parameters
    ----------
    num : type
        ``One`` or ``Many``, of the numbers that follow.
    sizes : dict of number
        Frobenius norms of what probes were answered and by how much that is wrong, by name.
    eps : float
        Of the dtype that was computed in.
    resolved : number
        Whether every singular direction above rounding level has been dealt with.
    condition : number
        Of A; NaN: not known.
    own : {"rows", "columns", None}
        The side on which every right-hand side is treated by itself.
    identities : tuple of bool
        Whether B is one, and C.
    full : tuple of number
        Whether the factorisation found A of full row rank, and of full column rank.
    completed : callable, optional
        Gives ``|columns corner^+ rows|`` for a kind of rows and one of columns.
    """

    def size(errors: str, answers: str) -> Number:
        return num.maximum(sizes[errors], eps * sizes[answers])

    def estimate(row: str, column: str) -> Number:
        rows = size(f"row_errors_{row}", f"row_answers_{row}")
        columns = size(f"column_errors_{column}", f"column_answers_{column}")
        corner = size(f"corner_errors_{row}_{column}", f"corner_answers_{row}_{column}")
        by_size = share(num, rows * columns, corner)
        return num.maximum(by_size, completed(row, column)) if completed else by_size

    hidden, where = sizes["hidden"], num.where
    certain = estimate("ranged", "ranged")
    by_columns, by_rows = estimate("ranged", "white"), estimate("white", "ranged")
    most = num.maximum(by_columns, by_rows)
    gaps = [
        share(num, sizes[f"{side}_errors_white"], sizes[f"{side}_answers_white"])
        for side in ("column", "row")
    ]
    least, worst = num.minimum(*gaps), num.maximum(*gaps)
    generic = least * hidden / LUCK

    missing = most
    if own is not None or not num.every(resolved):  # as long as directions may be to come
        missing = num.maximum(num.maximum(most, estimate("white", "white")), generic)
    fitting = {None: most, "rows": by_columns, "columns": by_rows}[own]
    suspected = where(worst > GROSS, num.minimum(by_columns, by_rows), fitting)
    if own is not None:
        zero = 0.0 * hidden
        missing = num.maximum(missing, where(least > HARDLY, hidden, zero))
        shown = [(gap <= GROSS) & identity for gap, identity in zip(gaps, identities, strict=True)]
        any_shown = shown[0] | shown[1]
        by_identity = num.maximum(where(shown[0], by_columns, zero), where(shown[1], by_rows, zero))
        told = resolved & (any_shown | (least <= ROUNDING * eps))
        suspected = where(told, suspected, where(any_shown, by_identity, missing))
        seen = num.maximum(where(shown[0], gaps[0], zero), where(shown[1], gaps[1], zero))
        suspected = where(any_shown, num.maximum(suspected, seen * hidden / LUCK), suspected)
    else:
        suspected = where(resolved, suspected, missing)
    known = condition == condition
    charged = num.minimum(suspected, 10 * eps * condition * hidden)
    unknown = where(least > GROSS, certain, suspected)
    suspected = where(resolved, where(known, charged, unknown), suspected)
    # Of full rank, C or B is consistent whatever it is, and white probes on that side never lie.
    for one, sure in zip(full, (by_rows, by_columns), strict=True):
        suspected = where(one & resolved, num.minimum(suspected, sure), suspected)

    error = num.maximum(certain, suspected)
    # What ``|B| |C| / |A|`` is to these data: rounding alone makes errors of eps times that.
    natural = share(
        num,
        sizes["column_answers_white"] * sizes["row_answers_white"],
        sizes["corner_answers_white_white"],
    )
    lost = (worst > ABSURD) | (eps * hidden > natural)
    error = num.maximum(where(lost, num.maximum(error, hidden), error), eps * natural)
    relative = share(num, error, num.maximum(hidden, eps * natural))
    plain = "plain" if "column_errors_plain" in sizes else "white"
    return Certificate(
        error_estimate=where(error == error, relative, np.inf),
        inconsistency=share(num, sizes[f"column_errors_{plain}"], sizes[f"column_answers_{plain}"]),
        negligible=error <= 100 * eps * natural,
        misfits=worst > GROSS,
    )


def _parts(what: str, columns: Any, rows: Any, corner: Any) -> dict[str, Any]:
    """Blocks of errors or answers by name: a side or the corner, what it is, kinds of probes."""
    blocks = {}
    for name, kind in KINDS.items():
        blocks[f"column_{what}{name}"] = columns[..., kind]
        blocks[f"row_{what}{name}"] = rows[..., kind, :]
        for other, second in KINDS.items():
            blocks[f"corner_{what}{name}_{other}"] = corner[..., kind, second]
    if columns.shape[-1] > 2 * COUNT:
        blocks[f"column_{what}plain"] = columns[..., 2 * COUNT :]
    return blocks


def _first(extent: int, size: int) -> np.ndarray:
    """A column with 1 in its first entries and 0 in the others."""
    return (np.arange(size) < extent).astype(np.float64)[:, None]


def _completed(
    sizes: dict[str, float],
    eps: float,
    corners: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row: str,
    column: str,
) -> float:
    """``|columns corner^+ rows|`` for these kinds of probes; 0 where rounding hides the corner."""
    size = sizes[f"corner_errors_{row}_{column}"]
    floor = eps * sizes[f"corner_answers_{row}_{column}"]
    if size <= floor or not sizes[f"row_errors_{row}"]:
        return 0.0
    # Directions with very different errors are told apart as far as rounding allows.
    inverse = np.linalg.pinv(
        corners[KINDS[row], KINDS[column]], rcond=min(1e-3, 100 * floor / size)
    )
    return norm(product(columns[:, KINDS[column]], product(inverse, rows[KINDS[row]])))
