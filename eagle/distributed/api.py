"""The functions people call: `solve` on every machine, `simulate` on one."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from eagle.distributed import planning
from eagle.distributed.agreement import Facts, agree
from eagle.distributed.checkpoint import Checkpoint
from eagle.distributed.comm import Comm, LocalComm, Network, run_local
from eagle.distributed.driver import iterate
from eagle.distributed.methods import METHODS, as_method
from eagle.distributed.methods.base import Outcome
from eagle.distributed.mpi import world
from eagle.distributed.problem import LocalProblem
from eagle.distributed.result import Result
from eagle.distributed.session import Session
from eagle.problem.options import as_generator, check_count, check_flag, check_number
from eagle.problem.result import ConvergenceError, ConvergenceWarning, Status

__all__ = ["simulate", "solve"]

RTOL = 1e-10
MAXITER = 100_000


def solve(
    A_local: Any,
    B_local: Any,
    C: Any,
    *,
    comm: Comm | None = None,
    method: str = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    time_limit: float | None = None,
    rng: Any = None,
    checkpoint: str | Path | None = None,
    every: int = 20,
    raise_on_failure: bool = False,
) -> Result:
    """``B A^+ C`` for data whose columns are spread over machines. Called on all of them.

    With ``A = [A_1 ... A_M]`` and ``B = [B_1 ... B_M]``, every machine gives its columns and gets
    the whole value.

    Parameters
    ----------
    A_local : array_like (d, n_mu)
        This machine's columns of A; n_mu may be 0 and differ between machines.
    B_local : array_like (d', n_mu)
    C : array_like (d, n')
        The same on all machines, which is checked.
    comm : Comm, optional
        Who the others are. By default all processes that mpiexec started, or nobody.
    method : str, optional
        A key of ``eagle.distributed.METHODS``, or ``"auto"``: a model of the network chooses
        and says why in ``result.plan``.
    rtol : float, optional
        Wanted relative Frobenius error of the value; 1e-10 by default, or 100 times the precision
        of the dtype if that is more.
    maxiter : int, optional
        Most iterations.
    time_limit : float, optional
        Seconds, after which the value so far is returned, on all machines in the same round.
        Methods of one reduction do not look at it.
    rng : int, numpy.random.Generator or None, optional
        Source of the random probes; that of rank 0 counts. Equal seeds give equal results for
        columns that are split alike.
    checkpoint : path, optional
        Folder that all machines see. What an iteration needs to go on is kept there, and found
        there at the next call with the same data, split, method and seed. For iterative methods.
    every : int, optional
        Iterations between checkpoints.
    raise_on_failure : bool, optional
        Raise `eagle.ConvergenceError` where otherwise rank 0 gives a `eagle.ConvergenceWarning`.

    Returns
    -------
    Result
        Equal on all machines.

    Raises
    ------
    TypeError, ValueError
        The same on all machines: what one of them complains of, or what differs between them.
    RuntimeError
        The launcher does not belong to the MPI that mpi4py uses.

    Notes
    -----
    Where `method` is a projector method (``"eagle"``, ``"eagle-frozen"``, ``"krylov"``,
    ``"apc"``) and B turns out to be inconsistent, its value is not ``B A^+ C`` of the pooled
    data. Then another method finishes, from the data, and ``result.plan`` says so.

    Examples
    --------
    >>> import numpy as np, eagle.distributed
    >>> X = np.outer([1, 2, 3, 4], [1, 10, 100])
    >>> eagle.distributed.solve(X[:3, :2], X[3:, :2], X[:3, 2:], rng=0).value.round(8)
    array([[400.]])
    """
    started = time.perf_counter()
    comm = world() if comm is None else comm
    if not isinstance(comm, Comm):
        raise TypeError(
            f"comm must be an eagle.distributed.Comm, such as MPIComm(comm), got "
            f"{type(comm).__name__}"
        )
    communicated = comm.seconds
    try:
        chosen = as_method(method)
        if checkpoint is not None and chosen is not None and not hasattr(chosen, "step"):
            raise ValueError(f"checkpoint: method {method!r} is one reduction, nothing to keep")
        if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(f"checkpoint must be a path, got {type(checkpoint).__name__}")
        rtol = None if rtol is None else check_number("rtol", rtol)
        maxiter = MAXITER if maxiter is None else check_count("maxiter", maxiter)
        if time_limit is not None:
            check_number("time_limit", time_limit, positive=True)
        every = check_count("every", every)
        check_flag("raise_on_failure", raise_on_failure)
        seed = int(as_generator(rng).integers(2**31))
    except (TypeError, ValueError) as problem:
        agree(comm, Facts(error=(type(problem).__name__, str(problem))))
        raise
    settings = f"rtol {rtol}, maxiter {maxiter}, time limit {time_limit}"
    settings += f", checkpoint {checkpoint}, {every}"
    local = LocalProblem.agreed(comm, A_local, B_local, C, seed, method, settings)
    session = Session(comm, time_limit)
    rtol = max(RTOL, 100 * local.eps) if rtol is None else rtol
    result = _solve(local, chosen, method, session, rtol, maxiter, checkpoint, every)
    result = replace(
        result,
        seconds=time.perf_counter() - started,
        communication=comm.seconds - communicated,
    )
    if not result.converged:
        message = (
            f"distributed {result.method} ended with status {result.status.name} after "
            f"{result.rounds} rounds, error estimate {result.error_estimate:.1e}. "
            f"{result.status.advice}"
        )
        if raise_on_failure:
            raise ConvergenceError(message, result)
        if comm.rank == 0:
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return result


def _solve(
    local: LocalProblem,
    chosen: Any,
    name: str,
    session: Session,
    rtol: float,
    maxiter: int,
    checkpoint: str | Path | None,
    every: int,
) -> Result:
    """Plan, run, finish."""
    with np.errstate(all="ignore"):
        if local.nothing or 0 in local.shape:
            outcome = Outcome(
                value=np.zeros(local.shape, local.A.dtype),
                status=Status.CONVERGED,
                error_estimate=0.0,
                inconsistency=float(local.nothing and local.something),
                iterations=0,
                rank=0 if local.nothing else None,
            )
            return _result(outcome, name, "nothing to compute", local, session)
        reason = f"asked for: {name}"
        if chosen is None:
            name, reason = planning.plan(local, session, rtol, iterative=checkpoint is not None)
            chosen = METHODS[name]
        if not hasattr(chosen, "step"):
            return _result(chosen.run(local, session, rtol), name, reason, local, session)
        keeper = Checkpoint(Path(checkpoint), every, local) if checkpoint is not None else None
        outcome, biased = iterate(local, chosen, session, rtol, maxiter, keeper)
        if biased:
            second, why = planning.finisher(local, session, rtol)
            reason += (
                f"; the value of {name} is not that of the pooled data (probe's misfit "
                f"{outcome.inconsistency:.1e}), so {second} finished: {why}"
            )
            finisher = METHODS[second]
            if hasattr(finisher, "step"):
                final, _ = iterate(local, finisher, session, rtol, maxiter)
            else:
                final = finisher.run(local, session, rtol)
            outcome = replace(
                final,
                iterations=outcome.iterations + final.iterations,
                history=outcome.history + final.history,
                diversity=outcome.diversity,
            )
        return _result(outcome, name, reason, local, session)


def _result(
    outcome: Outcome, name: str, reason: str, local: LocalProblem, session: Session
) -> Result:
    """In the user's units, with what the network had to do."""
    comm = session.comm
    value = local.restore(outcome.value)
    status = outcome.status if np.isfinite(value).all() else Status.NONFINITE
    return Result(
        value=value,
        status=status,
        iterations=outcome.iterations,
        history=outcome.history,
        error_estimate=outcome.error_estimate,
        inconsistency=outcome.inconsistency,
        rank=outcome.rank,
        condition=outcome.condition,
        method=name,
        plan=reason,
        seconds=session.elapsed,
        flops=float("nan"),
        rounds=session.rounds,
        bytes_sent=session.bytes_sent,
        diversity=outcome.diversity,
        simulated=comm.clock if isinstance(comm, LocalComm) else None,
    )


def simulate(
    A_list: Sequence[Any],
    B_list: Sequence[Any],
    C: Any,
    *,
    latency: float = 0.0,
    bandwidth: float | None = None,
    **options: Any,
) -> Result:
    """`solve` on M threads that play machines, with a model for what messages cost.

    Parameters
    ----------
    A_list : sequence of array_like (d, n_mu)
        One entry per machine.
    B_list : sequence of array_like (d', n_mu)
    C : array_like (d, n')
    latency : float, optional
        Seconds of a message, however short.
    bandwidth : float, optional
        Bytes per second; unlimited by default.
    **options
        As for `solve`, without ``comm``.

    Returns
    -------
    Result
        ``result.simulated`` is how long it would take: `Network` for the messages, and the
        processor time of the slowest machine between them.

    Raises
    ------
    TypeError, ValueError
        As for `solve`.

    Examples
    --------
    >>> import numpy as np, eagle.distributed
    >>> X = np.outer([1, 2, 3, 4], [1, 10, 100])
    >>> A, B, C = X[:3, :2], X[3:, :2], X[:3, 2:]
    >>> eagle.distributed.simulate([A[:, :1], A[:, 1:]], [B[:, :1], B[:, 1:]], C, rng=0).value
    array([[400.]])
    """
    A_list, B_list = list(A_list), list(B_list)
    if not A_list:
        raise ValueError("A_list is empty")
    if len(A_list) != len(B_list):
        raise ValueError(f"A_list has {len(A_list)} entries but B_list {len(B_list)}")
    if "comm" in options:
        raise TypeError("simulate() takes no comm: it makes its own")
    check_number("latency", latency)
    if bandwidth is not None:
        check_number("bandwidth", bandwidth, positive=True)
    network = Network(latency, np.inf if bandwidth is None else bandwidth)
    strict = check_flag("raise_on_failure", options.pop("raise_on_failure", False))
    rng = options.get("rng")
    if rng is None or isinstance(rng, np.random.Generator):  # one for all threads
        options["rng"] = int(as_generator(rng).integers(2**31))
    caught: list[ConvergenceError] = []

    def work(comm: LocalComm) -> Result:
        try:
            return solve(
                A_list[comm.rank], B_list[comm.rank], C, comm=comm, raise_on_failure=True, **options
            )
        except ConvergenceError as failure:  # warnings of threads get lost
            caught.append(failure)
            return cast(Result, failure.result)

    result: Result = run_local(len(A_list), work, network)[0]
    if caught:
        if strict:
            raise ConvergenceError(str(caught[0]), result)
        warnings.warn(str(caught[0]), ConvergenceWarning, stacklevel=2)
    return result
