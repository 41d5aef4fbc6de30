"""The same A again and again: factorised once, with a certificate for each answer."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.algebra.dense import Dense
from eagle.algebra.homes import Home, find_home
from eagle.algebra.operand import Operand, shifted
from eagle.methods import Direct, as_method, complete
from eagle.methods.base import QUICK, Inverse
from eagle.problem.blocks import Names, Problem
from eagle.problem.checks import as_block, as_matrix, check_sizes
from eagle.problem.fit import Fit
from eagle.problem.options import Options, SolveOptions, split_options
from eagle.problem.result import Iteration, Result, Status, complain, with_value
from eagle.run import flow
from eagle.run.opaque import opaque

ABC: Names = ("A", "B", "C")
LOG = logging.getLogger("eagle")
PROBES = 8  # of which every norm is estimated
NEGLIGIBLE = 1e3  # in units of eps: errors that are not worth a closer look
SAFETY = 2.0  # times an estimated norm: it is less than half of the norm once in 600 (chi-squared)
FAR = 100  # power of two up to which squares and products are far from overflow
WELL_CONDITIONED = 0.5  # power of eps: condition up to which a factorisation without pivots is held


@dataclass(frozen=True, eq=False)
class _Held:
    """A factorisation of A, scaled and with its ridge, and the sizes that certificates need.

    Attributes
    ----------
    A : ndarray or Operand (d, n)
        What was factorised, in double precision.
    inverse : Inverse
    extent : tuple of int
        Of the user's A inside it; smaller where a ridge was appended.
    scale : int
        The user's A is ``2**scale`` times `A`.
    rank : int
    condition : float or None
    probes : tuple of ndarray
        ``Z`` and ``A^{+H} Z``, ``W`` and ``A^+ W``, each (n, p) or (d, p): ``Z^H (A^+ C)`` has
        to be ``(A^{+H} Z)^H C`` for every C.
    size, inverse_size, squared_size : float
        ``|A|_2`` as far as it is known, ``|A^+|_F`` and ``|A^+ A^{+H}|_F``, from probes.
    method : object
    """

    A: Any
    inverse: Inverse
    extent: tuple[int, int]
    scale: int
    rank: int
    condition: float | None
    probes: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    size: float
    inverse_size: float
    squared_size: float
    method: object


class Solver:
    """Solve for one A again and again.

    A is factorised when the solver is made: Gaussian elimination for a square A, QR for another of
    full rank, a complete orthogonal decomposition if it is ill-conditioned or of lower rank, and
    an SVD with `rank` or `cutoff`. Each call then takes a few products, and has a certificate of
    its own: the answer is put into A once more, what is left is solved for, and rounding of the
    blocks is charged as far as it can move the answer. Where that is not as accurate as was asked
    for, the call solves anew like `eagle.solve`.

    Parameters
    ----------
    A : array_like (d, n)
        As for `eagle.solve`; one matrix. It is copied, so that it may be changed afterwards. A
        sparse matrix or an operator is held as it is, and must not be changed.
    method : str or instance, optional
        As for `eagle.solve`. Methods that leave no factorisation ("eagle", "cg", ...) solve anew in
        each call.
    **options
        As for `eagle.solve`, and for all calls.

    Attributes
    ----------
    shape : tuple of int
    rank, condition : int or None, float or None
        Of A, where a factorisation tells.

    Raises
    ------
    TypeError, ValueError
        As for `eagle.solve`; also for batches, arrays on a device, and arrays that are
        differentiated or traced, which `eagle.solve` takes.

    Notes
    -----
    It is held in double precision, whatever A is: 16 bytes for each entry of A, and 8 for the
    shorter side squared. A solver can be pickled, and its calls may run side by side in threads:
    nothing of it changes, and equal calls give equal results. There is no update by rows: Q would
    have to be written anew; ``eagle.distributed`` and the estimators' ``partial_fit`` are for data
    that arrive in pieces.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> A = np.vander(np.linspace(0, 1, 50), 5)
    >>> solver = eagle.Solver(A, rng=0)
    >>> for power in range(3):
    ...     result = solver.lstsq(np.linspace(0, 1, 50) ** power)
    ...     print(result.x.round(9) + 0.0, result.error_estimate < 1e-10)
    [0. 0. 0. 0. 1.] True
    [0. 0. 0. 1. 0.] True
    [0. 0. 1. 0. 0.] True
    """

    def __init__(self, A: Any, **options: Unpack[SolveOptions]):
        self._method, self._options = split_options("Solver", options)
        self._seed = int(self._options.rng.integers(2**63))
        self._options = replace(self._options, rng=None)
        self._home = find_home(A=A)
        self._token: Any = np.empty(0)  # lives where A does
        matrix: Any = as_matrix("A", A) if self._home is None else self._home.block("A", A)
        if len(matrix.shape) > 2:
            raise ValueError(f"A must be 2-D for a solver, got shape {tuple(matrix.shape)}")
        self._options.check_rank(matrix.shape)
        if self._home is None:
            self._dtype = str(matrix.dtype.newbyteorder("="))
        else:
            self._dtype = self._home.result_type([matrix])
            self._token = matrix[:0, :0]
            matrix = _on_host(self._home, "A", matrix)
        self.shape: tuple[int, int] = matrix.shape
        if not isinstance(matrix, Operand):
            matrix = np.array(matrix, order="F")
            matrix.setflags(write=False)
        self._A = matrix
        self._held = held = self._hold()
        self.rank = None if held is None else held.rank
        self.condition = None if held is None else held.condition
        said = "nothing: each call solves anew" if held is None else repr(held.method)
        LOG.debug("a solver for A %d x %d holds %s", *self.shape, said)

    def __repr__(self) -> str:
        d, n = self.shape
        what = "nothing" if self._held is None else type(self._held.inverse).__name__
        return f"<eagle.Solver: A {d} x {n} {self._dtype}, holds {what}>"

    @opaque
    def solve(self, B: Any, C: Any) -> Result:
        """``B A^+ C``, as `eagle.solve`.

        Parameters
        ----------
        B : array_like (d', n)
        C : array_like (d, n')

        Returns
        -------
        Result
            ``result.plan`` tells whether the factorisation was enough.
        """
        return self._answer(ABC, B, C)

    @opaque
    def lstsq(self, b: Any) -> Result:
        """``A^+ b``, as `eagle.lstsq`.

        Parameters
        ----------
        b : array_like (d,) or (d, k)

        Returns
        -------
        Result
        """
        return self._answer(("A", "B", "b"), None, b)

    @opaque
    def estimate(self, B: Any) -> Result:
        """``B A^+``, as `eagle.estimate`.

        Parameters
        ----------
        B : array_like (d', n)

        Returns
        -------
        Result
        """
        return self._answer(ABC, B, None)

    @opaque
    def pinv(self) -> Any:
        """``A^+``, as `eagle.pinv`.

        Returns
        -------
        array (n, d)
        """
        return self._answer(ABC, None, None).value

    def _answer(self, names: Names, B: Any, C: Any) -> Result:
        """From what is held if that is accurate enough, else anew; complain as `eagle.solve`."""
        start, home = time.perf_counter(), self._home
        blocks = zip(names[1:], (B, C), strict=True)
        there = {name: block for name, block in blocks if block is not None}
        if there:
            find_home(A=self._token, **there)
        if home is None:
            host = {name: as_block(name, X, vectors=name == "b") for name, X in there.items()}
            dtype = str(np.result_type(self._dtype, *(X.dtype for X in host.values())))
        else:
            given = {name: home.block(name, X, vectors=name == "b") for name, X in there.items()}
            dtype = home.result_type([*given.values(), self._token])
            host = {name: _on_host(home, name, X) for name, X in given.items()}
        for name, block in host.items():
            if block.ndim > 2:
                raise ValueError(f"{name} must be 1-D or 2-D for a solver, got shape {block.shape}")
        B, C = host.get(names[1]), host.get(names[2])
        check_sizes(self._A, B, C, names)
        result = None if self._held is None else _from_held(self._held, B, C, dtype, self._options)
        if result is None:
            options = replace(self._options, rng=np.random.default_rng(self._seed))
            result = flow.on_host((self._A, B, C), self._method, options, names)
        value = result.value
        if home is not None:
            value = home.astype(home.array(np.ascontiguousarray(value)), dtype)
            result = with_value(result, value)
        if names[2] == "b":
            given_b = host["b"] if home is None else there["b"]
            fit = Fit(self._A, given_b, None, value, self._options.shaped())
            result = replace(result, fit=fit)
        result = replace(result, seconds=time.perf_counter() - start)
        complain(result, self._options)
        return result

    def _hold(self) -> _Held | None:
        """Factorise, if that leaves anything to solve with."""
        problem = Problem.create(self._A, None, None)
        if problem.trivial or self._options.memory_limit is not None:
            return None
        if as_method(self._method) is not None or isinstance(self._A, Operand):
            return self._left_by_method(problem)
        eps, options = problem.eps, self._options
        problem = problem.doubled()
        if options.special():
            import scipy.linalg

            factors = scipy.linalg.svd(problem.A, full_matrices=False, check_finite=False)
            truncated = problem.truncated(factors, options.rank, options.cutoff)
            assert truncated.factors is not None
            if not options.ridge:
                spectral = _Spectral(*truncated.factors)
                return _held(truncated, spectral, truncated.A, Direct("svd"))
            problem = replace(truncated, A=truncated.A.dense(), factors=None)
        problem = problem.ridged(options.ridge)
        inverse, method = _factorised(problem, eps)
        return _held(problem, inverse, problem.A, method)

    def _left_by_method(self, problem: Problem) -> _Held | None:
        """What the method that was asked for leaves of a solve for one right-hand side."""
        if self._options.ridge or self._options.special():
            return None
        options = replace(self._options, rng=np.random.default_rng(self._seed), callback=None)
        inside = isinstance(self._A, Operand)  # what only multiplies wants a C in the range of A
        probe = options.rng.standard_normal((self.shape[inside], 1)).astype(self._A.dtype)
        C = self._A.times(probe) if isinstance(self._A, Operand) else probe
        result = flow.on_host((self._A, None, C), self._method, options, ABC)
        if result.inverse is None or not result.converged:
            return None
        return _held(problem, result.inverse, problem.A, result.method)


@dataclass(frozen=True, eq=False)
class _Spectral(Inverse):
    """``A^+ = V S^-1 U^H``."""

    U: np.ndarray
    s: np.ndarray
    Vh: np.ndarray

    @property
    def rank(self) -> int:  # type: ignore[override]
        return len(self.s)

    @property
    def condition(self) -> float:  # type: ignore[override]
        return float(self.s[0] / self.s[-1])

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^+ X``."""
        return product(self.Vh, product(self.U, X, adjoint="X") / self.s[:, None], adjoint="X")

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``(A^+)^H X``."""
        return product(self.U, product(self.Vh, X) / self.s[:, None])


def _factorised(problem: Problem, eps: float) -> tuple[Inverse, object]:
    """LU or QR of a well-conditioned A, else the complete orthogonal decomposition.

    `eps` is what entries of A were rounded to, which may be more than they are held with.
    """
    A = problem.A
    square = A.shape[0] == A.shape[1]
    driver = "lu" if square else "qr"
    method, options = Direct(driver), Options()
    nothing = replace(problem, C=np.zeros((A.shape[0], 1), A.dtype, order="F"))
    try:
        state = method.step(method.init(nothing, options))
        inverse = method.inverse(state)
        if inverse is not None and state.condition * eps**WELL_CONDITIONED <= 1:
            return inverse, method
    except np.linalg.LinAlgError:
        pass
    return complete.decompose(A, eps), Direct("cod")


def _held(problem: Problem, inverse: Inverse, A: Any, method: object) -> _Held:
    """With the sizes, from probes."""
    d, n = A.shape
    rng = np.random.default_rng(0)
    dtype = A.dtype

    def draw(rows: int) -> np.ndarray:
        G = rng.standard_normal((rows, PROBES))
        if dtype.kind == "c":
            G = (G + 1j * rng.standard_normal((rows, PROBES))) / 2**0.5
        return np.asfortranarray(G, dtype)

    scale = SAFETY / PROBES**0.5
    Z, W = draw(n), draw(d)
    back, ahead = inverse.adjoint_times(Z), inverse.times(W)
    squared = inverse.times(back)
    # |A|_2 by two steps of the power iteration, which its Frobenius norm bounds.
    forth = product(A, np.asfortranarray(Z[:, :2]))
    again = product(A, product(A, forth, adjoint="X"))
    lengths = np.linalg.norm(forth, axis=0)
    size = float((np.linalg.norm(again, axis=0) / np.where(lengths > 0, lengths, 1)).max()) ** 0.5
    size = SAFETY * size if isinstance(A, Operand) else min(SAFETY * size, norm(A))
    return _Held(
        A=A,
        inverse=inverse,
        extent=problem.extent,
        scale=int(problem.scale),
        rank=inverse.rank or 0,
        condition=inverse.condition,
        probes=(Z, back, W, ahead),
        size=size,
        inverse_size=scale * norm(back),
        squared_size=scale * norm(squared),
        method=method,
    )


def _from_held(held: _Held, B: Any, C: Any, dtype: str, options: Options) -> Result | None:
    """The answer of the factorisation with its certificate; None if it is not good enough."""
    start, work = time.perf_counter(), held.A.dtype
    vector = C is not None and C.ndim == 1
    (d, n), (below, beside) = held.A.shape, held.extent
    rows = beside if B is None else len(B)
    columns = below if C is None else C.reshape(below, -1).shape[1]
    if 0 in (rows, columns, below, beside):
        return None
    if np.result_type(work, *(X for X in (B, C) if X is not None)) != work:
        return None  # complex blocks for a real factorisation, or more precise ones
    B, C, exponent = _fitted(held, B, C)
    eps = float(np.finfo(work).eps)
    turned = C is None or (B is not None and rows < columns)
    with np.errstate(all="ignore"):
        value, error = _solved(held, B, C, eps, turned=turned)
        value = value[:rows, :columns]
        gap = _inconsistency(held, B)
    whole, natural = norm(value), _natural(held, B, C)
    relative = error / max(whole, eps * natural) if max(whole, natural) else 0.0
    # What is held is expected to be as accurate as `eagle.solve` would be.
    limit = QUICK * eps if options.rtol is None else options.rtol
    if not relative <= limit and not error <= 100 * eps * natural:
        return None
    narrow = np.dtype(np.float32 if dtype == "bfloat16" else dtype)
    out = Dense.of(work).restored(value, exponent, narrow)
    if not np.isfinite(out).all():
        return None
    if narrow.char not in "dD" and relative > 0:
        relative = max(relative, float(np.finfo(narrow).eps) / 2)
    seconds = time.perf_counter() - start
    flops = 8.0 * d * n * (rows if turned else columns)
    return Result(
        value=out[:, 0] if vector else out,
        status=Status.CONVERGED,
        iterations=1,
        history=(Iteration(1, 0.0, relative, seconds, 4),),
        error_estimate=relative,
        inconsistency=gap,
        rank=held.rank,
        condition=held.condition,
        method=held.method,
        plan=f"held: {held.method!r} has factorised A before",
        seconds=seconds,
        flops=4 * flops if work.kind == "c" else flops,
        inverse=held.inverse,
    )


def _fitted(held: _Held, B: Any, C: Any) -> tuple[Any, Any, int]:
    """The blocks as what is held wants them, and the power of two that the value is to be times.

    Their entries are near 1; there are zeros beside B and below C, where a ridge stands in A.
    """
    work, (d, n), (below, beside) = held.A.dtype, held.A.shape, held.extent
    exponent, fitted = -held.scale, []
    for X in (B, C):
        if X is not None:
            power = math.frexp(float(np.abs(X).max(initial=0.0)))[1]
            power = power if abs(power) > FAR else 0
            X = shifted(X[:, None] if X.ndim == 1 else X, -power, work)
            exponent += power
        fitted.append(X)
    B, C = fitted
    if B is not None and beside < n:
        B = np.concatenate([B, np.zeros((len(B), n - beside), work)], axis=1)
    if C is not None and below < d:
        C = np.concatenate([C, np.zeros((d - below, C.shape[1]), work)], axis=0)
    return B, C, exponent


def _solved(held: _Held, B: Any, C: Any, eps: float, *, turned: bool) -> tuple[np.ndarray, float]:
    """``B A^+ C`` by columns of C, or with `turned` by rows of B, and a bound of its error."""
    A, inverse, rank = held.A, held.inverse, held.rank
    d, n = A.shape[::-1] if turned else A.shape
    times, back = inverse.times, inverse.adjoint_times
    Z, answers, W, answered = held.probes
    if turned:
        times, back, Z, answers = back, times, W, answered
        B, C = (None if X is None else X.conj().T for X in (C, B))
    C = np.asfortranarray(np.eye(d, dtype=A.dtype) if C is None else C)
    X = times(C)
    D = X if B is None else product(B, X)
    size_X, size_C, whole = norm(X), norm(C), norm(D)
    if B is None:
        size_Y, size_YY, size_B, forgotten = (
            *(held.inverse_size, held.squared_size, 1.0),
            float(n - rank) ** 0.5,
        )
    else:
        Y = back(np.asfortranarray(B.conj().T))
        size_Y, size_B, forgotten = norm(Y), norm(B), 0.0
        size_YY = size_Y * held.inverse_size
        if rank < n:
            forgotten = norm(B.conj().T - product(A, Y, adjoint="" if turned else "X"))

    def rounding(misfit: float) -> float:
        """What rounding of the blocks may do, see ``eagle.methods.complete``."""
        total = size_Y * size_X + (size_YY * misfit if rank < d else 0.0)
        total += forgotten * held.inverse_size * size_X
        return eps * (held.size * total + size_B * size_X + size_Y * size_C)

    wrong = product(Z, X, adjoint="X") - product(answers, C, adjoint="X")
    error = SAFETY / PROBES**0.5 * size_B * norm(wrong) + rounding(size_C)
    if not error <= NEGLIGIBLE * eps * whole:
        # What is left of C tells more, and what follows from it is the error to first order.
        left = C - product(A, X, adjoint="X" if turned else "")
        step = times(left)
        error = norm(step if B is None else product(B, step)) + rounding(norm(left))
    return D.conj().T if turned else D, error


def _inconsistency(held: _Held, B: Any) -> float:
    """``|B - B A^+ A| / |B|`` of the user's own blocks."""
    n = held.A.shape[1]
    if B is None:
        return (max(held.extent[1] - held.rank, 0) / held.extent[1]) ** 0.5
    if held.rank == n and held.extent == held.A.shape:
        return 0.0
    W = held.inverse.adjoint_times(np.asfortranarray(B.conj().T))
    below, beside = held.extent
    whole = norm(B)
    explained = product(held.A, W, adjoint="X").conj().T
    if held.extent != held.A.shape and below < held.A.shape[0]:
        explained = product(np.asarray(held.A[:below]), W[:below], adjoint="X").conj().T
    return norm(B[:, :beside] - explained[:, :beside]) / whole if whole else 0.0


def _natural(held: _Held, B: Any, C: Any) -> float:
    """``|B| |C| / |A|``: rounding alone makes errors of eps times that."""
    size_B = 1.0 if B is None else norm(np.asarray(B))
    size_C = 1.0 if C is None else norm(np.asarray(C))
    return size_B * size_C / held.size if held.size else 0.0


def _on_host(home: Home, name: str, array: Any) -> np.ndarray:
    """A view for numpy, or a sentence about why there is none."""
    if home.follows([array]):
        raise TypeError(
            f"{name} is differentiated or traced, which a solver does not follow: use eagle.solve, "
            "or detach it"
        )
    if not home.on_cpu:
        raise TypeError(f"{name} is {home}: a solver holds factors on the CPU, move it there")
    return home.view(home.to_compute((array, None, None))[1][0])
