"""The functions people call."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, Never, Unpack

from eagle.algebra.homes import adjoint as adjoint_of
from eagle.algebra.homes import find_home
from eagle.problem.checks import as_block, as_matrix, check_sizes, check_square, is_chunked
from eagle.problem.fit import Fit
from eagle.problem.options import KNOWN, Options, SolveOptions, refuse_unknown, split_options
from eagle.problem.result import Result, changed, complain
from eagle.problem.weights import row_roots, scaled_rows
from eagle.run import flow
from eagle.run.opaque import opaque

_block = partial(as_block, batches=True, finite=False)  # `Problem.create` looks at entries


@opaque
def solve(
    A: Any,
    B: Any,
    C: Any,
    *,
    method: Any = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    time_limit: float | None = None,
    rank: int | None = None,
    cutoff: float | None = None,
    ridge: float = 0.0,
    memory_limit: int | None = None,
    certificate: str = "read",
    rng: Any = None,
    callback: Any = None,
    progress: bool = False,
    raise_on_failure: bool = False,
    **unknown: Never,
) -> Result:
    """Compute ``B A^+ C``, the hidden block of ``[[A, C], [B, D]]``, with a certificate.

    Parameters
    ----------
    A : array_like (..., d, n)
        Real or complex. float32, float64, complex64 and complex128 keep their dtype; integers
        and bool become float64; half precision is computed in float32 and comes back as it was.
        An array of torch, jax, cupy or another library of the array API gives a value of the same
        library on the same device, differentiable with torch and jax. For methods that only
        multiply also a scipy.sparse matrix or a LinearOperator; a mapped file is read piece by
        piece. Leading dimensions broadcast; every matrix of a batch is a problem of its own.
    B : array_like (..., d', n)
        Sparse matrices and operators are written out here and for C. All three have to come from
        one library and one device; lists count as numpy's.
    C : array_like (..., d, n')
    method : str or instance, optional
        A key of `eagle.METHODS`, an instance such as ``eagle.Eagle(schedule="paper")``, or
        ``"auto"``, which chooses and says why in ``result.plan``.
    rtol : float, optional
        Wanted relative Frobenius error of the value. None: 1e-8 for the first-order methods (cg,
        gd, lsmr, sgd), down to the accuracy floor for all others.
    maxiter : int, optional
        Most iterations.
    time_limit : float, optional
        Seconds for all that ``"auto"`` tries, checked after each iteration.
    rank : int, optional
        Replace A by its best approximation of this rank.
    cutoff : float, optional
        Treat singular values of A at or below ``cutoff * ||A||_2`` as zero.
    ridge : float, optional
        Tikhonov parameter: the value is ``B A^H (A A^H + ridge I)^-1 C``.
    memory_limit : int, optional
        Bytes of working memory beyond the data, for the methods that can do with less than a copy
        of A: ``"compressed"``, and ``"sketched"`` without a ridge.
    certificate : {"read", "sampled"}, optional
        With ``"sampled"`` only some rows and columns of A are looked at, if A is of low rank and
        its rows explain B and its columns C: a hundred of each that were held back certify it.
        What concerns a part p of the rows, or of the columns, alone is missed with a probability
        of ``(1 - p)^100``, NaN too. If they do not agree, A is read after all. For one A, dense,
        sparse or mapped, with B and C, without rank, cutoff, ridge, memory_limit or gradients.
    rng : int, numpy.random.Generator, numpy.random.RandomState or None, optional
        Source of the random probes. Equal seeds give equal results.
    callback : callable, optional
        Called as ``callback(state)`` after each iteration; ``state.iteration``, ``state.value``
        and ``state.change`` tell where things are. Returning True stops.
    progress : bool, optional
        Show a progress bar.
    raise_on_failure : bool, optional
        Raise `ConvergenceError` where otherwise a `ConvergenceWarning` is given.

    Returns
    -------
    Result
        ``result.value`` is ``(..., d', n')``; ``result.error_estimate`` says how far to trust it.

    Raises
    ------
    TypeError
        For blocks that are not dense numeric arrays or do not come from one library and device,
        and options of the wrong type.
    ValueError
        For wrong dimensions or sizes, NaN or infinity, options out of range, and options that
        the method cannot honour. All before any work is done.

    Notes
    -----
    The Nyström estimate ``D = B A^+ C`` is the completion of least rank [1]_; it is exact if
    ``[B D] = W [A C]`` for some W.

    Gradients are those for A of constant rank, by formula (see ``eagle.gradients``): where a small
    step changes the rank, ``A^+`` jumps and has none. A ridge makes it smooth for every A. In a
    function that jax traces, the result has ``Status.TRACED``; ``value``, ``error_estimate``,
    ``inconsistency`` and ``iterations`` are traced arrays, and a solve that does not go well warns
    when the traced program runs.

    References
    ----------
    .. [1] Lutz, Gangrade, Daneshmand, Saligrama, "Linear Transformers Implicitly Discover
       Unified Numerical Algorithms", arXiv:2509.19702, section 1.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> X = np.outer([1, 2, 3, 4], [1, 10, 100])  # rank one
    >>> result = eagle.solve(X[:3, :2], X[3:, :2], X[:3, 2:], rng=0)
    >>> result.value.round(10), result.converged
    (array([[400.]]), True)
    """
    refuse_unknown("solve", unknown, KNOWN)
    options = Options(
        rtol=rtol,
        maxiter=maxiter,
        time_limit=time_limit,
        rank=rank,
        cutoff=cutoff,
        ridge=ridge,
        memory_limit=memory_limit,
        certificate=certificate,
        rng=rng,
        callback=callback,
        progress=progress,
        raise_on_failure=raise_on_failure,
    )
    if is_chunked(A, B, C):
        return _chunks().solve((A, B, C), method, options)
    A, B, C = _received(A=A, B=B, C=C)
    return _solve(A, B, C, method, options)


@opaque
def lstsq(A: Any, b: Any, *, weights: Any = None, **options: Unpack[SolveOptions]) -> Result:
    """Minimum-norm least-squares solution ``A^+ b``.

    Parameters
    ----------
    A : array_like (..., d, n)
    b : array_like (d,) or (..., d, k)
    weights : array_like (d,) or (..., d), optional
        What each row counts, at least 0 and not all of them: minimised is
        ``sum(weights * |A x - b|^2)``, by ``(S A)^+ S b`` with ``S = diag(sqrt(weights))``, and
        with a ridge that plus ``ridge |x|^2``. The certificate is about ``S A`` and ``S b``. There
        is no gradient with respect to weights.
    **options
        As for `solve`.

    Returns
    -------
    Result
        ``result.value``, or ``result.x``, is ``(n,)`` or ``(..., n, k)``; ``result.residual_norm``
        is the norm of ``A x - b``, for each column; ``result.standard_errors`` are those of x.

    Raises
    ------
    TypeError, ValueError
        As for `solve`; also for weights that are negative, not finite, all zero, or not one for
        each row.

    Examples
    --------
    >>> import eagle
    >>> eagle.lstsq([[1, 1], [1, 1]], [2, 2], rng=0).x.round(12)
    array([1., 1.])
    >>> line = eagle.lstsq([[1, 0], [1, 1], [1, 2]], [0, 1, 9], weights=[1, 1, 0], rng=0)
    >>> line.x.round(12) + 0.0, round(line.residual_norm, 12)
    (array([0., 1.]), 0.0)
    """
    method, settings = split_options("lstsq", options, "weights")
    if is_chunked(A, b):
        if weights is not None:
            raise TypeError("weights cannot go with a Dask array: multiply A and b by their roots")
        return _chunks().solve((A, None, b), method, settings, ("A", "B", "b"))
    A, b = _received(vectors=True, A=A, b=b)
    check_sizes(A, None, b, ("A", "B", "b"))
    roots = None if weights is None else row_roots(A, weights)
    rows = (A, b) if roots is None else (scaled_rows(A, roots), scaled_rows(b, roots, b.ndim == 1))
    result = _solve(rows[0], None, rows[1], method, settings, ("A", "B", "b"))
    return changed(result, fit=Fit(A, b, roots, result.value, settings.shaped()))


@opaque
def estimate(A: Any, B: Any, **options: Unpack[SolveOptions]) -> Result:
    """The linear map ``W = B A^+`` itself, so that ``W C`` is the hidden block for any C.

    Parameters
    ----------
    A : array_like (..., d, n)
    B : array_like (..., d', n)
    **options
        As for `solve`.

    Returns
    -------
    Result
        ``result.value`` is ``(..., d', d)``.

    Raises
    ------
    TypeError, ValueError
        As for `solve`.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> A = np.array([[1.0, 0, 2], [0, 1, 1]])
    >>> eagle.estimate(A, np.array([[3.0, -1]]) @ A, rng=0).value.round(10)
    array([[ 3., -1.]])
    """
    method, settings = split_options("estimate", options)
    if is_chunked(A, B):
        return _chunks().solve((A, B, None), method, settings)
    A, B = _received(A=A, B=B)
    return _solve(A, B, None, method, settings)


@opaque
def pinv(A: Any, **options: Unpack[SolveOptions]) -> Any:
    """The Moore-Penrose pseudo-inverse ``A^+``, shape (n, d).

    Multiplying by it costs accuracy like ``eps * condition``: if what you want is ``B A^+ C`` or
    ``A^+ b``, ask `solve` or `lstsq` for that. An array carries no certificate: `"auto"` takes what
    it estimates to be right to ``1e4 eps``, or else the best of all it can try, and warns if that
    is not four digits, two in single precision. For the estimate itself ask
    ``estimate(A, numpy.eye(n))``.

    Parameters
    ----------
    A : array_like (..., d, n)
    **options
        As for `solve`.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError, ValueError
        As for `solve`.

    Examples
    --------
    >>> import eagle
    >>> eagle.pinv([[2, 0], [0, 0], [0, 0]], rng=0).round(12)
    array([[0.5, 0. , 0. ],
           [0. , 0. , 0. ]])
    """
    method, settings = split_options("pinv", options)
    if is_chunked(A):
        raise TypeError(
            "A is a Dask array, and its pseudo-inverse would be as large: use lstsq or estimate, "
            "or A.compute()"
        )
    (A,) = _received(A=A)
    return _solve(A, None, None, method, settings).value


@opaque
def nystrom(K_mm: Any, K_nm: Any, K_mq: Any = None, **options: Unpack[SolveOptions]) -> Result:
    """Nyström slice of a kernel, ``K_nm K_mm^+ K_mq``.

    Parameters
    ----------
    K_mm : array_like (..., m, m)
        Kernel among the landmarks.
    K_nm : array_like (..., n, m)
        Kernel between data and landmarks.
    K_mq : array_like (..., m, q), optional
        Kernel between landmarks and queries; ``K_nm^H`` by default, which gives the Nyström
        approximation of the whole kernel.
    **options
        As for `solve`.

    Returns
    -------
    Result
        ``result.value`` is ``(..., n, q)``.

    Raises
    ------
    TypeError, ValueError
        As for `solve`; also if K_mm is not square.

    References
    ----------
    .. [1] Williams, Seeger, "Using the Nyström method to speed up kernel machines", NIPS 2000.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> x = np.array([0.0, 1.0, 3.0])
    >>> K = np.exp(-np.abs(x[:, None] - x))
    >>> eagle.nystrom(K[:2, :2], K[:, :2], rng=0).value[:2, :2].round(3)
    array([[1.   , 0.368],
           [0.368, 1.   ]])
    """
    method, settings = split_options("nystrom", options)
    if is_chunked(K_mm, K_nm, K_mq):
        return _chunks().nystrom(K_mm, K_nm, K_mq, method, settings)
    given = {"K_mm": K_mm, "K_nm": K_nm}
    A, B, *rest = _received(**given if K_mq is None else {**given, "K_mq": K_mq})
    C = rest[0] if rest else adjoint_of(B)
    check_square("K_mm", A)
    return _solve(A, B, C, method, settings, ("K_mm", "K_nm", "K_mq"))


def _chunks() -> ModuleType:
    """What solves where a block is a Dask array."""
    from eagle import chunks

    return chunks


def _received(*, vectors: bool = False, **blocks: Any) -> list[Any]:
    """A and other blocks as numpy arrays, or as they are if they belong to another library."""
    home = find_home(**blocks)
    if home is not None:
        return [home.block(name, block, vectors=vectors) for name, block in blocks.items()]
    (name, A), *others = blocks.items()
    return [
        as_matrix(name, A),
        *(_block(name, block, vectors=vectors) for name, block in others),
    ]


def _solve(
    A: Any,
    B: Any,
    C: Any,
    method: Any,
    options: Options,
    names: tuple[str, str, str] = ("A", "B", "C"),
) -> Result:
    """Solve where the blocks live; complain where that did not go well."""
    options.check_rank(A.shape)
    result = flow.solve((A, B, C), method, options, names)
    complain(result, options)
    return result
