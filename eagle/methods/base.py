"""What a method is: init, step, output. The driver owns everything else.

The words of a state, of whatever method:

=============  ==========================================================================
settled        nothing is left that further steps would improve
resolved       every singular direction above rounding level has been dealt with
used_up        what there is to contract has shrunk to rounding level
measured       the spectrum of A is known down to its smallest relevant singular value
conditioned    A is as well conditioned as is worth it
exhausted      the method has done all it can, whatever that was worth
restarted      it goes on from the other side
=============  ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra.blas import norm
from eagle.algebra.numbers import Number
from eagle.problem.blocks import Factors, Problem
from eagle.problem.certificate import Certificate
from eagle.problem.options import Options

QUICK = 1e4  # in units of eps: estimated errors that auto takes from its cheapest methods


@dataclass
class State:
    """What every method's state has; a method adds its own arrays.

    Attributes
    ----------
    problem : Problem
        With the probes appended; never written to.
    places : ndarray or None
        Of these matrices among the many that the solve began with.
    taken : int
        Steps taken so far; the driver counts.
    within : number
        How many of the last steps were within `rtol`; the driver counts.
    change : number
        Relative Frobenius size of the last change of the user's block.
    settled : number
        Nothing is left that further steps would improve.
    resolved : number
        Every singular direction above rounding level has been dealt with.
    condition, rank : number or None
        Estimates for A; None or NaN: not known.
    singular_values : ndarray or None
        Of A, largest first, if the method has them.
    own : {"rows", "columns", None}
        The side on which every right-hand side is treated by itself.
    abrupt : bool
        Changes do not shrink at a steady rate, as those of Krylov methods.
    remaining : number or None
        Estimate of the condition number left after this step.
    iterations : int
        Inner iterations, for a method whose steps are something else; 0: as many as steps.
    planned : int
        Steps that the method takes whatever `maxiter` says; 0: no such number.
    out_of_memory : bool
        There is no memory for a step that would improve the value.
    confirmations : int
        Successive iterations that must be within `rtol`, for a method whose error fluctuates.
    matmuls : int
        Products with a factor as large as A.
    flops : float
        Real floating-point operations of those products.
    certificate : Certificate or None
        Of a method that `certifies` its value itself.
    floor : float
        Relative error that rounding of the blocks may make whatever the method does, if known.
    """

    problem: Problem
    places: Any = None
    taken: int = 0
    within: Number = 0
    change: Number = np.inf
    settled: Number = False
    resolved: Number = False
    condition: Any = None
    rank: Any = None
    singular_values: Any = None
    own: str | None = None
    abrupt: bool = False
    remaining: Any = None
    iterations: int = 0
    planned: int = 0
    out_of_memory: bool = False
    confirmations: int = 1
    matmuls: int = 0
    flops: float = 0.0
    certificate: Certificate | None = None
    floor: float = 0.0

    @property
    def sound(self) -> Number:
        """Whether its numbers are finite, as far as that shows without a look at blocks."""
        return self.problem.algebra.num.isfinite(self.change)

    def count(self, m: int, k: int, n: int, *, half: bool = False) -> None:
        """Count one product ``(m, k) @ (k, n)``; `half` if a triangle is enough."""
        complex_factor = 4 if self.problem.algebra.complex else 1
        self.flops += complex_factor * (1 if half else 2) * float(m) * k * n
        self.matmuls += 1


class Inverse:
    """``A^+`` as a factorisation applies it, for other blocks with the same A.

    Attributes
    ----------
    rank, condition : int, float or None
        What the factorisation says about A.
    """

    rank: int | None
    condition: float | None

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^+ X``."""
        raise NotImplementedError

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``(A^+)^H X``."""
        raise NotImplementedError


class Method:
    """A frozen dataclass of settings with the three functions of an iteration.

    ``supports`` names the options that it can honour and others cannot, ``matrix_free`` says
    whether it only multiplies with A, ``out_of_core`` whether it reads a mapped file piece by
    piece, ``default_rtol`` is the accuracy for ``rtol=None`` (None:
    down to the accuracy floor), ``default_maxiter`` the limit for ``maxiter=None``. With an
    option of ``factorises_for`` its function ``factorise`` is called before anything else.
    Where `parted` and `keep` are overridden it can iterate many matrices at a time.
    """

    matrix_free: ClassVar[bool] = False
    out_of_core: ClassVar[bool] = False
    factorises_for: ClassVar[frozenset[str]] = frozenset()
    default_rtol: ClassVar[float | None] = None
    default_maxiter: ClassVar[int]

    @property
    def supports(self) -> frozenset[str]:
        """Names of options that not every method honours."""
        return frozenset()

    def init(self, problem: Problem, options: Options) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def step(self, state: Any) -> Any:
        """One iteration."""
        raise NotImplementedError

    def output(self, state: Any) -> np.ndarray:
        """The extended value, ``[B; rows] A^+ [C columns]``, as far as it is known."""
        raise NotImplementedError

    @property
    def certifies(self) -> bool:
        """Whether a value comes with a certificate of its own, and without probes."""
        return False

    @property
    def needs(self) -> frozenset[str]:
        """What the algebra of its blocks must be able to do."""
        return frozenset()

    def parted(self, state: Any) -> list[Any]:
        """The states to go on with: more than one if matrices part company."""
        return [state]

    def keep(self, state: Any, which: np.ndarray) -> Any:
        """The state of some of many matrices."""
        raise NotImplementedError

    def inverse(self, state: Any) -> Inverse | None:
        """What the steps so far have left to apply ``A^+`` with; None if that is nothing."""
        return None

    def factorise(self, problem: Problem, options: Options) -> Factors:
        """``U, s, V^H`` of A, as far as its singular values are above rounding level."""
        raise NotImplementedError


def relative(part: float, whole: float) -> float:
    """``part / whole``; nothing of nothing is 0."""
    if not part:
        return 0.0
    return part / whole if whole else np.inf


def change_of(increment: np.ndarray, value: np.ndarray) -> float:
    """Relative Frobenius size of an increment; 0 if nothing moved."""
    return relative(norm(increment), norm(value))


def by_rows(problem: Problem) -> bool:
    """Whether ``W A = B`` has fewer right-hand sides than ``A X = C``; an identity has many."""
    if problem.B is None and problem.C is None:
        return bool(problem.A.shape[0] >= problem.A.shape[1])
    rows, columns = problem.shape
    return problem.C is None or (problem.B is not None and rows < columns)


def solve_columns(problem: Problem) -> bool:
    """Whether ``A X = C`` is solved for the columns of C rather than ``W A = B`` for rows of B.

    An identity has the most right-hand sides. Otherwise the side that is consistent if A has
    full rank is taken: only there do white probes tell error from inconsistency. For a square A
    that is either, and the one with fewer right-hand sides is taken.
    """
    if problem.B is None or problem.C is None:
        return problem.C is not None
    (d, n), (rows, columns) = problem.A.shape, problem.shape
    return d < n or (d == n and columns < rows)
