"""The same A again and again: factorised once, with a certificate for each answer."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from eagle.algebra.homes import Home, find_home
from eagle.algebra.operand import Operand
from eagle.held import SVD, Held, factorised
from eagle.methods import Direct, as_method
from eagle.problem.blocks import Names, Problem
from eagle.problem.checks import as_block, as_matrix, check_sizes
from eagle.problem.fit import Fit
from eagle.problem.options import SolveOptions, split_options
from eagle.problem.result import Result, changed, complain, with_value
from eagle.run import flow
from eagle.run.opaque import opaque

ABC: Names = ("A", "B", "C")
LOG = logging.getLogger("eagle")


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
        self._options, self._shaped = replace(self._options, rng=None), self._options.shaped()
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
            own = self._A.dtype
            found = np.result_type(own, *(X.dtype for X in host.values()))
            dtype = self._dtype if found == own else str(found)
        else:
            given = {name: home.block(name, X, vectors=name == "b") for name, X in there.items()}
            dtype = home.result_type([*given.values(), self._token])
            host = {name: _on_host(home, name, X) for name, X in given.items()}
        for name, block in host.items():
            if block.ndim > 2:
                raise ValueError(f"{name} must be 1-D or 2-D for a solver, got shape {block.shape}")
        B, C = host.get(names[1]), host.get(names[2])
        check_sizes(self._A, B, C, names)
        result = None if self._held is None else self._held.answer(B, C, dtype, self._options)
        if result is None:
            options = replace(self._options, rng=np.random.default_rng(self._seed))
            result = flow.on_host((self._A, B, C), self._method, options, names)
        value = result.value
        if home is not None:
            value = home.astype(home.array(np.ascontiguousarray(value)), dtype)
            result = with_value(result, value)
        fit = result.fit
        if names[2] == "b":
            given_b = host["b"] if home is None else there["b"]
            fit = Fit(self._A, given_b, None, value, self._shaped)
        result = changed(result, fit=fit, seconds=time.perf_counter() - start)
        complain(result, self._options)
        return result

    def _hold(self) -> Held | None:
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
                spectral = SVD(*truncated.factors)
                return Held.of(truncated, spectral, truncated.A, Direct("svd"))
            problem = replace(truncated, A=truncated.A.dense(), factors=None)
        problem = problem.ridged(options.ridge)
        inverse, method = factorised(problem, eps)
        return Held.of(problem, inverse, problem.A, method)

    def _left_by_method(self, problem: Problem) -> Held | None:
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
        return Held.of(problem, result.inverse, problem.A, result.method)


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
