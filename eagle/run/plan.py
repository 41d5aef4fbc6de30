"""Which method runs, and why, in one line.

``method="auto"`` tries methods in the order of what they cost, as long as a try that may fail is
cheap beside what would follow; the certificate tells whether it failed. What is tried for a dense
A (d, n) with ``short = min(d, n)``, and the operations it takes, at the rates of
`eagle.run.machine`:

* a sketch of s columns, which has the rank if that is less: ``2 d n s`` in products, and
  ``2 s^3`` in a QR factorisation of the sketch;
* LU if A is square, in case it is nonsingular: ``2/3 n^3``, at half the rate of products; where it
  comes to an end the rows and columns before that make up a singular A, for nothing more;
* EAGLE with Cholesky factorisations: ``8 d n short`` in products, measured;
* LAPACK's least squares, should all that not be accurate.

A sparse A that would be large when written out is left to conjugate gradients, ``4 nnz`` operations
for each right-hand side and iteration. Their iterations depend on the condition, which nobody
knows: they may take half as long as a sketch before there is one, and after it, if A can be written
out at all, as long as the dense methods would, so that all together takes at most a little over
twice as long as the best of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import ROWS
from eagle.algebra.operand import PIECE, Mapped, Operand, Sparse
from eagle.methods import (
    METHODS,
    Compressed,
    ConjugateGradient,
    Direct,
    Eagle,
    Sketched,
    as_method,
    cross,
)
from eagle.methods.base import Method, by_rows, solve_columns
from eagle.methods.compressed.method import WHOLE, first_width, next_width
from eagle.methods.cross import Cross
from eagle.methods.elimination import eliminate
from eagle.methods.seminormal import SemiNormal
from eagle.problem.blocks import Problem
from eagle.problem.options import Options
from eagle.run.machine import memory, rates

LU = Direct("lu")
BY_LU = "LU takes the fewest operations for a square A"
BY_COD = "a complete orthogonal decomposition, with a bound of its error"
BY_FACTOR = "A is thin: its triangular factor is held"
NOT_BY_FACTOR = "its triangular factor was not enough"
NOT_BY_LU = "LU was not accurate, as if A were singular"

BEFORE = 0.8  # of the time of LU: what looks at a square A may take before it
ALL = 0.25  # of the time of EAGLE: what all looks may take
LITTLE = 0.1  # of the usual rows and columns, of a file
LOOK = 250  # shorter side from which on a sketch has something to save
THINNER = 1.5  # times as long as the other a side is from which on A is thin
HELD = 2**11  # shorter side of a sparse A or a file up to which its Gram matrix is
THIN = 100  # shorter side up to which the most careful method takes no time worth saving
MANY = 2**23  # entries in single precision up to which that is computed in double
HIDDEN = 0.4  # of the rows and columns that may be looked at, where B or C is an identity
SINGULAR = 500  # side of a square A up to which that is the fastest that takes a singular one
LONG = 2**12  # entries of a thin A from which on a factor is held
FEW = 2**17  # entries of A up to which it takes none
CORE = 500  # and from which on the core of one is worth it for the spectrum alone
SMALL = 2**26  # bytes of an operand that is written out at once
COPIES = 6  # of A that must fit into memory where conjugate gradients are given up for a dense A
SPARSE = 2.0**32  # operations per second of scipy's sparse products, on one thread everywhere
FIRST, FEWEST = 0.5, 8  # of the time of a sketch are conjugate gradients tried, if at least so many
VECTOR = 40  # operations' time that an iteration of conjugate gradients takes for a vector's entry


@dataclass(frozen=True)
class Choice:
    """A method, the problem as it wants it, and one line for ``Result.plan``."""

    method: Method
    problem: Problem
    options: Options
    reason: str


def choices(method: Any, problem: Problem, options: Options) -> Iterator[Choice]:
    """What to try, one after the other; a choice is made only when it is asked for.

    A method that was asked for is the only choice, if it can use A and honour the options;
    otherwise TypeError or ValueError.
    """
    chosen = as_method(method)
    A = problem.A
    if chosen is not None:
        _refuse(chosen, problem, options)
        piecewise = chosen.out_of_core and not options.ridge  # which is appended to a copy of A
        if not (chosen.matrix_free or piecewise):
            problem = problem.in_memory()
        yield Choice(chosen, problem, options, f"asked for: {type(chosen).__name__}")
    elif problem.trivial:
        yield Choice(Direct("cod"), problem, options, "auto: nothing to compute")
    elif options.memory_limit is not None:
        yield from _in_little_memory(problem, options, "memory_limit")
    elif isinstance(A, Mapped) and 4 * A.size * A.dtype.itemsize > memory():
        within = replace(options, memory_limit=int(memory() / 4))
        yield from _in_little_memory(problem, within, "a file too large for memory")
    elif isinstance(A, Operand) and not isinstance(A, Mapped) and not _is_small(A):
        yield from _matrix_free(problem, options)
    elif options.special():
        yield from _truncated(problem.in_memory(), options)
    else:
        yield from _dense(problem.in_memory(), options)


def _dense(problem: Problem, options: Options, tried: tuple[str, ...] = ()) -> Iterator[Choice]:
    """A thin sketch, LU, wider sketches, EAGLE, LAPACK's least squares; no sketch after others."""
    A = problem.A
    (d, n), ridge = A.shape, options.ridge > 0
    few = MANY if A.dtype.char in "fF" else FEW
    square = d == n and not ridge
    if min(d, n) <= THIN and A.size <= few and not tried:
        yield from _small(problem, options, square=square)
        return
    look = min(d, n) >= LOOK and not ridge and not tried
    looks = _Looks(problem, options) if look else None
    said = list(tried)
    both = not (problem.B is None or problem.C is None)  # no identity, which has all rows
    part = 1.0 if both else HIDDEN
    skeleton = cross.look(A, options.rng, part) if look else None
    if looks is not None and skeleton is None:
        looks.skip(cross.reach(A, part))
    if skeleton is not None and skeleton.rank and both:
        reason = f"auto: {skeleton.rank} rows and columns make up A, as far as a look tells"
        yield Choice(Cross(skeleton), problem, options, reason)
        said.append("few rows and columns were not enough")

    def choice(method: Method, reason: str, ready: Problem = problem) -> Choice:
        return Choice(method, ready, options, "auto: " + "; ".join([*said, reason]))

    def sketched(seconds: float) -> Iterator[Choice]:
        assert looks is not None
        while looks.found is problem and looks.spent() <= seconds:
            if looks.succeeds():
                yield choice(Compressed(), looks.reason, looks.found)
            said.append(looks.reason)

    thin = _is_thin(problem) and not ridge and not tried
    if thin and skeleton is None:  # else it has no factor
        yield choice(SemiNormal(), BY_FACTOR)
        said.append(NOT_BY_FACTOR)
    if square:
        if looks is not None and skeleton is not None:
            yield from sketched(BEFORE * looks.full(lu=True))
        factors = eliminate(A)
        yield choice(LU, BY_LU, replace(problem, seen=factors))
        said.append(NOT_BY_LU)
        skeleton = factors.skeleton() if both else None
        if skeleton is not None and skeleton.rank:
            found = f"the {skeleton.rank} rows and columns at which it came to an end"
            yield choice(Cross(skeleton), f"{found} make up A")
            said.append(f"{found} were not enough")
    if square and n < SINGULAR and A.dtype.char in "dD" and not tried:
        yield choice(Direct("cod"), BY_COD)
        return
    if looks is not None:
        yield from sketched(ALL * looks.full())
    if not thin:  # else what is careful takes no longer
        fewest = "" if square else " take the fewest operations for any A"
        yield choice(Eagle("cholesky"), f"EAGLE with Cholesky factorisations{fewest}")
        said.append("EAGLE was not accurate")
    yield choice(Direct("cod"), "fell back on a complete orthogonal decomposition")


def _small(problem: Problem, options: Options, *, square: bool) -> Iterator[Choice]:
    """What takes no time worth saving."""
    reason = "auto: "
    if square and problem.given is None:
        yield Choice(LU, problem.doubled(), options, reason + BY_LU)
        reason += NOT_BY_LU + "; "
    if _is_thin(problem) and problem.A.size >= LONG and not options.ridge and problem.given is None:
        yield Choice(SemiNormal(), problem, options, reason + BY_FACTOR)
        reason += NOT_BY_FACTOR + "; "
    yield Choice(Direct("cod"), problem, options, reason + BY_COD)


def _is_thin(problem: Problem) -> bool:
    """Whether the Gram matrix of the shorter side is worth holding, and can be had in one pass."""
    A, (short, long) = problem.A, sorted(problem.A.shape)
    at_hand = isinstance(A, np.ndarray | Sparse | Mapped)
    return at_hand and THINNER * short <= long and (isinstance(A, np.ndarray) or short <= HELD)


def held(problem: Problem) -> float:
    """Bytes that the semi-normal equations take beyond the data."""
    rows, columns = problem.shape
    short, long = sorted(problem.A.shape)
    sides = 4 * (rows if by_rows(problem) else columns) + 7 * COUNT
    numbers = 5 * short**2 + (short + long) * sides + 2 * min(ROWS, long) * short
    piece = 2 * PIECE if isinstance(problem.A, Mapped) else 0
    return float(numbers * problem.A.dtype.itemsize + piece)


def _truncated(problem: Problem, options: Options) -> Iterator[Choice]:
    """What truncates the spectrum: an SVD of A, or of a sketch if A is large."""
    names = " and ".join(sorted(options.special()))
    if min(problem.A.shape) >= CORE:
        reason = f"auto: {names} truncates the spectrum, which the core of a sketch of A has"
        yield Choice(Compressed(), problem, options, reason)
    reason = f"auto: {names} truncates the spectrum, which takes an SVD"
    yield Choice(Direct(), problem, options, reason)


def _matrix_free(problem: Problem, options: Options) -> Iterator[Choice]:
    """Sketches, conjugate gradients if A is not of low rank, a dense A if they are slow."""
    said: list[str] = []

    def choice(method: Method, reason: str, ready: Problem, options: Options) -> Choice:
        return Choice(method, ready, options, "auto: " + "; ".join([*said, reason]))

    if options.special():
        reason = "the core of a sketch has the spectrum of A"
        yield choice(Compressed(), reason, problem, options)
        return
    if _is_thin(problem) and not options.ridge:
        yield choice(SemiNormal(), BY_FACTOR, problem, options)
        said.append(NOT_BY_FACTOR)
    looks = _Looks(problem, options)
    half = FIRST * looks.cost()
    few = _iterations(problem, options, half) if half < np.inf else 0
    if few >= FEWEST and looks.width <= problem.A.most():
        reason = f"{few} conjugate gradients at most, in half the time of a sketch"
        yield choice(ConjugateGradient(), reason, problem, replace(options, maxiter=few))
        said.append(f"{few} conjugate gradients were not enough")
    for _ in range(2):
        if looks.succeeds():
            found = looks.found if not options.ridge else problem
            yield choice(Compressed(), looks.reason, found, options)
        said.append(looks.reason)
    square = problem.A.shape[0] == problem.A.shape[1] and not options.ridge
    patience = _patience(problem, options, looks.full(lu=square))
    within = options if patience is None else replace(options, maxiter=patience)
    reason = "conjugate gradients, which only multiply with A"
    yield choice(ConjugateGradient(), reason, problem, within)
    if patience is not None:
        said.append(f"{patience} conjugate gradients were not enough, A was written out")
        yield from _dense(problem.in_memory(), options, tuple(said))


def _patience(problem: Problem, options: Options, dense: float) -> int | None:
    """Iterations of conjugate gradients in the seconds of a dense method; None: A stays sparse."""
    A = problem.A
    if not isinstance(A, Sparse) or COPIES * A.size * A.dtype.itemsize > memory():
        return None
    return max(1, _iterations(problem, options, dense))


def _iterations(problem: Problem, options: Options, seconds: float) -> int:
    """Of conjugate gradients with a sparse A in so many seconds; of another A nobody knows: 0."""
    A, (rows, columns) = problem.A, problem.shape
    if not isinstance(A, Sparse):
        return 0
    sides = (columns if solve_columns(problem) else rows) + 2 * COUNT
    operations = sides * (4 * A.rows.nnz + VECTOR * sum(A.shape))
    operations *= 4 if A.dtype.kind == "c" else 1
    most = options.maxiter or ConjugateGradient.default_maxiter
    return int(min(seconds * SPARSE / operations, most))


def _in_little_memory(problem: Problem, options: Options, why: str) -> Iterator[Choice]:
    """The methods that need less memory than A."""
    limit, plain = options.memory_limit or 0, options.special() == {"memory_limit"}
    if _is_thin(problem) and plain and not options.ridge and held(problem) <= limit:
        yield Choice(SemiNormal(), problem, options, f"auto: {why}: {BY_FACTOR}")
    mapped = isinstance(problem.A, Mapped) and options.special() <= {"memory_limit"}
    if mapped and not (options.ridge or problem.B is None or problem.C is None):
        skeleton = cross.look(problem.A, options.rng, LITTLE)
        if skeleton is not None and skeleton.rank:
            found = f"{skeleton.rank} rows and columns make up A, as far as a look tells"
            yield Choice(Cross(skeleton), problem, options, f"auto: {why}: {found}")
    reason = f"auto: {why}: a sketch of A is small if its rank is"
    yield Choice(Compressed(), problem, options, reason)
    (d, n), item = problem.A.shape, problem.A.dtype.itemsize
    identities = item * (n * n * (problem.B is None) + d * d * (problem.C is None))
    dense = isinstance(problem.A, np.ndarray | Mapped) and identities <= limit
    if dense and plain and not options.ridge:
        reason = f"auto: {why}: A is read a few columns at a time"
        yield Choice(Sketched(), problem, options, reason)


class _Looks:
    """Sketches of A of growing width, until one is wider than the rank of A."""

    def __init__(self, problem: Problem, options: Options):
        self.found = problem
        self.reason = ""
        self.width = first_width(problem.A)
        self.before = 0.0
        self._options = options

    def succeeds(self) -> bool:
        """Look; `found` is then the problem with that sketch, `reason` what it says."""
        self.before += self.cost()
        looked = Compressed().look(self.found, self.width, self._options.rng)
        said = f"a sketch of {self.width} columns"
        self.width = next_width(self.found.A, self.width)
        if looked is None:
            self.reason = f"{said} was not enough"
            return False
        self.found, self.reason = looked, f"{said} has room for all of A"
        return True

    def skip(self, rank: int) -> None:
        """Those that have no room for this rank."""
        while self.width <= rank < WHOLE * min(self.found.A.shape):
            self.width = next_width(self.found.A, self.width)

    def cost(self) -> float:
        """Seconds that the next look takes; infinity if it were no smaller than A."""
        A, s = self.found.A, float(self.width)
        if s >= WHOLE * min(A.shape):
            return np.inf
        rate = rates(A.dtype.char)
        return 2 * A.size * s / rate.product + 2 * s**3 / rate.factorisation

    def spent(self) -> float:
        """Seconds that all looks have taken after the next one."""
        return self.before + self.cost()

    def full(self, *, lu: bool = False) -> float:
        """Seconds that LU or EAGLE takes."""
        A = self.found.A
        flops = 4 / 3 * len(A) ** 3 if lu else 8 * A.size * min(A.shape)
        return float(flops / rates(A.dtype.char).product)


def _is_small(A: Operand) -> bool:
    return A.size * A.dtype.itemsize <= SMALL


def _refuse(method: Method, problem: Problem, options: Options) -> None:
    """Raise for a method that cannot use A, or an option that it cannot honour."""
    if not (isinstance(problem.A, np.ndarray | Mapped) or method.matrix_free):
        able = [repr(name) for name, kind in METHODS.items() if kind().matrix_free]
        raise TypeError(
            f"A is sparse or an operator, which {method!r} cannot use: pass a dense array, or "
            f"method={' or '.join(able)}"
        )
    for option in sorted(options.special() - method.supports):
        able = [repr(name) for name, kind in METHODS.items() if option in kind().supports]
        raise ValueError(
            f"{option} cannot be honoured by {method!r}; use method={' or '.join(able)}"
        )
    if options.ridge and options.memory_limit is not None and not method.matrix_free:
        raise ValueError(
            f"memory_limit cannot be honoured by {method!r} together with ridge, which takes a "
            "copy of A; use method='compressed'"
        )
