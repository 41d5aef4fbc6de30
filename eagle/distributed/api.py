"""The functions people call: `solve` on every machine, `simulate` on one."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from eagle.distributed import planning
from eagle.distributed.agreement import AXES, Facts, agree
from eagle.distributed.checkpoint import Checkpoint
from eagle.distributed.comm import Comm, LocalComm, Network, run_local
from eagle.distributed.driver import iterate
from eagle.distributed.judge import Judge, compared
from eagle.distributed.methods import METHODS, as_method
from eagle.distributed.methods.base import Iterative, OneShot, Outcome
from eagle.distributed.mpi import world
from eagle.distributed.problem import LocalProblem, Spectral
from eagle.distributed.result import Result
from eagle.distributed.session import Session
from eagle.problem.options import Options, as_generator, check_count, check_flag, check_number
from eagle.problem.result import (
    EXPECTED,
    ConvergenceError,
    ConvergenceWarning,
    Iteration,
    Status,
)
from eagle.run.driver import Snapshot, progress_bar

RTOL = 1e-10
MAXITER = 100_000


def solve(
    A_local: Any,
    B_local: Any,
    C: Any,
    *,
    comm: Comm | None = None,
    axis: str = "columns",
    method: str = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    time_limit: float | None = None,
    rank: int | None = None,
    cutoff: float | None = None,
    ridge: float = 0.0,
    rng: Any = None,
    callback: Callable[[Snapshot], Any] | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    every: int = 20,
    raise_on_failure: bool = False,
) -> Result:
    """``B A^+ C`` for data that are spread over machines. Called on all of them.

    With ``A = [A_1 ... A_M]`` and ``B = [B_1 ... B_M]``, every machine gives its columns and gets
    the whole value. With ``axis="rows"`` machines have rows of A and C, as tall data do.

    Parameters
    ----------
    A_local : array_like (d, n_mu), or (d_mu, n) with ``axis="rows"``
        This machine's columns or rows of A; there may be none, and as many as they are.
    B_local : array_like (d', n_mu)
        With ``axis="rows"``: B (d', n), the same on all machines, or None for the identity, which
        makes it least squares.
    C : array_like (d, n')
        The same on all machines, which is checked. With ``axis="rows"``: this machine's rows,
        (d_mu, n').
    comm : Comm, optional
        Who the others are. By default all processes that mpiexec started, or nobody.
    axis : {"columns", "rows"}, optional
        What of A the machines have.
    method : str, optional
        A key of ``eagle.distributed.METHODS``, or ``"auto"``: a model of the network chooses
        and says why in ``result.plan``.
    rtol : float, optional
        Wanted relative Frobenius error of the value; 1e-10 by default, or 100 times the precision
        of the dtype if that is more, or what rounding of the data leaves of an answer by
        decomposition of all of A, up to four digits.
    maxiter : int, optional
        Most iterations.
    time_limit : float, optional
        Seconds, after which the value so far is returned, on all machines in the same round.
        Methods of one reduction have their value after it or not at all; a sketch grows no further.
    rank : int, optional
        Replace A by its best approximation of this rank. For ``"tsqr"``, ``"gram"``,
        ``"compressed"`` and ``"auto"``, which see the spectrum.
    cutoff : float, optional
        Drop singular values of A at or below ``cutoff`` times the largest. For the same.
    ridge : float, optional
        ``B A^H (A A^H + ridge I)^-1 C``. For all but the projector methods, see Notes.
    rng : int, numpy.random.Generator or None, optional
        Source of the random probes; that of rank 0 counts. Equal seeds give equal results for
        columns that are split alike.
    callback : callable, optional
        Called with a `eagle.Snapshot` after every iteration, on the machines that give one, which
        need not be all. ``snapshot.value`` is what was verified last, zeros before: no message is
        sent for it. If one of them returns True all machines stop, one round later. A method of one
        reduction calls it once, with the value.
    progress : bool, optional
        Draw a bar, on the machines that ask for it.
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
        Equal on all machines. With ``axis="rows"`` its ``inconsistency`` is that of C,
        ``||C - A A^+ C|| / ||C||``, what a fit leaves.

    Raises
    ------
    TypeError, ValueError
        The same on all machines: what one of them complains of, or what differs between them, or
        an option that the method cannot honour, before any work.
    RuntimeError
        The launcher does not belong to the MPI that mpi4py uses.

    Notes
    -----
    Rows are columns of the adjoint: ``D^H = C^H (A^H)^+ B^H``, and machines have columns of ``A^H``
    and ``C^H``. Messages that have the size of ``d`` and ``d'`` have that of n and n' then.

    Where `method` is a projector method (``"eagle"``, ``"eagle-frozen"``, ``"krylov"``,
    ``"apc"``) and B turns out to be inconsistent, its value is not ``B A^+ C`` of the pooled
    data. Then another method finishes, from the data, and ``result.plan`` says so. With a ridge B
    is always so.

    Examples
    --------
    >>> import numpy as np, eagle.distributed
    >>> X = np.outer([1, 2, 3, 4], [1, 10, 100])
    >>> eagle.distributed.solve(X[:3, :2], X[3:, :2], X[:3, 2:], rng=0).value.round(8)
    array([[400.]])

    Rows of a fit, on one machine here:

    >>> fit = eagle.distributed.solve(X[:, :2], None, X[:, 2:], axis="rows", ridge=1e-3, rng=0)
    >>> fit.value.round(2)
    array([[0.99],
           [9.9 ]])
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
        if axis not in tuple(AXES):
            raise ValueError(f"axis must be 'columns' or 'rows', got {axis!r}")
        chosen = as_method(method)
        options = Options(
            rtol=rtol, maxiter=MAXITER if maxiter is None else maxiter, time_limit=time_limit,
            rank=rank, cutoff=cutoff, ridge=ridge, rng=rng, callback=callback, progress=progress,
            raise_on_failure=raise_on_failure,
        )  # fmt: skip
        spectral = Spectral(options.rank, options.cutoff, options.ridge)
        _check_able(method, chosen, spectral, checkpoint)
        every = check_count("every", every)
        seed = int(options.rng.integers(2**31))
    except (TypeError, ValueError) as problem:
        agree(comm, Facts(error=(type(problem).__name__, str(problem))))
        raise
    settings = f"rtol {options.rtol}, maxiter {options.maxiter}, time limit {options.time_limit}"
    settings += f", {spectral}, checkpoint {checkpoint}, {every}"
    local = LocalProblem.agreed(
        comm, A_local, B_local, C, seed, method, settings,
        axis=axis, spectral=spectral, rtol=options.rtol, heard=callback is not None,
    )  # fmt: skip
    session = Session(comm, options.time_limit, heard=local.heard)
    if options.rtol is None:
        options = replace(options, rtol=max(RTOL, 100 * local.eps))
    keeper = None if checkpoint is None else Checkpoint(Path(checkpoint), every, local)
    result = _solve(local, chosen, method, session, options, keeper)
    if axis == "rows":
        result = replace(result, value=np.ascontiguousarray(result.value.conj().T))
    result = replace(
        result,
        seconds=time.perf_counter() - started,
        communication=comm.seconds - communicated,
    )
    if result.status not in EXPECTED:
        message = (
            f"distributed {result.method} ended with status {result.status.name} after "
            f"{result.rounds} rounds, error estimate {result.error_estimate:.1e}. "
            f"{result.advice}"
        )
        if options.raise_on_failure:
            raise ConvergenceError(message, result)
        if comm.rank == 0:
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return result


def _check_able(method: str, chosen: Any, spectral: Spectral, checkpoint: Any) -> None:
    """Raise for options that the method cannot honour."""
    given = spectral.given()
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint must be a path, got {type(checkpoint).__name__}")
    if checkpoint is not None and chosen is not None and isinstance(chosen, OneShot):
        raise ValueError(f"checkpoint: method {method!r} is one reduction, nothing to keep")
    if checkpoint is not None and spectral.truncates:
        raise ValueError(f"checkpoint: with {given[-1]} there is one reduction, nothing to keep")
    for name in given:
        if chosen is not None and name not in chosen.supports:
            able = [key for key, each in METHODS.items() if name in each.supports]
            raise ValueError(
                f"{name}: method {method!r} cannot honour it; use 'auto' or one of "
                f"{', '.join(able)}"
            )


def _solve(
    local: LocalProblem,
    chosen: Any,
    name: str,
    session: Session,
    options: Options,
    keeper: Checkpoint | None,
) -> Result:
    """Plan, run, finish, compare."""
    rtol = options.rtol
    assert rtol is not None
    with (
        np.errstate(all="ignore"),
        progress_bar(options.progress, f"distributed {name}") as tick,
    ):
        if local.nothing or 0 in local.shape:
            return _result(_nothing(local), name, "nothing to compute", local, session)

        def show(line: Iteration, value: np.ndarray) -> None:
            tick(line)
            seen = partial(local.restore, value)
            shown = Snapshot(line.iteration, line.change, line.error_estimate, seen)
            session.stop |= options.asked_to_stop(shown)

        reason = f"asked for: {name}"
        if chosen is None:
            name, reason = planning.plan(local, session, rtol, iterative=keeper is not None)
            chosen = METHODS[name]
        if isinstance(chosen, OneShot):
            outcome = chosen.run(local, session, rtol)
            line = Iteration(1, np.nan, outcome.error_estimate, session.elapsed, 2)
            show(line, outcome.value)
            return _result(outcome, name, reason, local, session)
        judge = Judge(local, session)
        whole = local.with_ridge()
        outcome, unfinished = iterate(
            whole, chosen, session, rtol, options.maxiter or MAXITER, keeper, show
        )
        opinion, why = judge.opinion, planning.TOGETHER
        if opinion is None and planning.doubtful(local, chosen, outcome):
            opinion, why = METHODS["tsqr"].opinion(local, session), planning.UNITS
        if opinion is not None:
            misfit = outcome.inconsistency
            outcome, taken = compared(outcome, opinion, local, rtol)
            if taken:
                reason += _finished(name, misfit, unfinished and chosen.projects, "tsqr", why)
        elif unfinished and not session.stopped:
            second, why = planning.finisher(local, session, rtol)
            reason += _finished(name, outcome.inconsistency, chosen.projects, second, why)
            outcome = _second(local, METHODS[second], session, options, outcome, show)
        return _result(outcome, name, reason, local, session)


def _nothing(local: LocalProblem) -> Outcome:
    """Of a zero A, or an empty value."""
    return Outcome(
        value=np.zeros(local.shape, local.A.dtype),
        status=Status.CONVERGED,
        error_estimate=0.0,
        inconsistency=float(local.nothing and local.something),
        iterations=0,
        rank=0 if local.nothing else None,
    )


def _finished(name: str, misfit: float, biased: bool, second: str, why: str) -> str:
    """What is said of a value that another method has found."""
    if biased:
        wrong = f"is not that of the pooled data (probe's misfit {misfit:.1e})"
    else:
        wrong = "is not as accurate as was asked for"
    return f"; the value of {name} {wrong}, so {second} finished: {why}"


def _second(
    local: LocalProblem,
    method: Any,
    session: Session,
    options: Options,
    first: Outcome,
    show: Callable[[Iteration, np.ndarray], None],
) -> Outcome:
    """Another method, after one whose value is not that of the pooled data."""
    assert options.rtol is not None
    if isinstance(method, Iterative):
        final, _ = iterate(
            local.with_ridge(), method, session, options.rtol, options.maxiter or MAXITER, show=show
        )
    else:
        final = method.run(local, session, options.rtol)
    return replace(
        final,
        iterations=first.iterations + final.iterations,
        history=first.history + final.history,
        diversity=first.diversity,
    )


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
        error_estimate=_rounded(outcome.error_estimate, local.dtype),
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


def _rounded(error: float, dtype: np.dtype) -> float:
    """No value is known better than to the rounding of what it comes back as."""
    return max(error, float(np.finfo(dtype).eps) / 2) if error else error


def simulate(
    A_list: Sequence[Any],
    B_list: Any,
    C: Any,
    *,
    latency: float = 0.0,
    bandwidth: float | None = None,
    **options: Any,
) -> Result:
    """`solve` on M threads that play machines, with a model for what messages cost.

    Parameters
    ----------
    A_list : sequence of array_like (d, n_mu), or (d_mu, n) with ``axis="rows"``
        One entry per machine.
    B_list : sequence of array_like (d', n_mu)
        With ``axis="rows"``: B (d', n), or None for the identity.
    C : array_like (d, n')
        With ``axis="rows"``: a sequence of array_like (d_mu, n').
    latency : float, optional
        Seconds of a message, however short.
    bandwidth : float, optional
        Bytes per second; unlimited by default.
    **options
        As for `solve`, without ``comm``. `callback` and `progress` are those of the first machine.

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
    A_list = list(A_list)
    if not A_list:
        raise ValueError("A_list is empty")
    rows = options.get("axis") == "rows"
    local = list(C if rows else B_list)
    if len(A_list) != len(local):
        other = "C" if rows else "B_list"
        raise ValueError(f"A_list has {len(A_list)} entries but {other} {len(local)}")
    shared = B_list if rows else C
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
    watching = {name: options.pop(name) for name in ("callback", "progress") if name in options}
    caught: list[ConvergenceError] = []

    def work(comm: LocalComm) -> Result:
        mine = local[comm.rank]
        blocks = (shared, mine) if rows else (mine, shared)
        own = options | (watching if comm.rank == 0 else {})
        try:
            return solve(A_list[comm.rank], *blocks, comm=comm, raise_on_failure=True, **own)
        except ConvergenceError as failure:  # warnings of threads get lost
            caught.append(failure)
            return cast(Result, failure.result)

    result: Result = run_local(len(A_list), work, network)[0]
    if caught:
        if strict:
            raise ConvergenceError(str(caught[0]), result)
        warnings.warn(str(caught[0]), ConvergenceWarning, stacklevel=2)
    return result
