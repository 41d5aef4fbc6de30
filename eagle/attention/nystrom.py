"""Nyström attention for torch: softmax attention in linear time, with a certified solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from eagle.api import lstsq
from eagle.attention.checks import check_finite, check_inputs
from eagle.attention.tokens import attend, means, sample, softmax
from eagle.problem.result import Result, extended
from eagle.run.batch import LONGEST, QR
from eagle.run.opaque import opaque

# Rows of softmax sum to one, so that 1 <= ||A||_2 and a ridge needs no other unit.
RIDGES = tuple(10.0**k for k in range(-10, 2))
SAMPLE = 128  # queries that choose the ridge, and two for each landmark if that is more


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionResult(Result):
    """What is known of a Nyström attention.

    A `eagle.Result` of the solve for ``[A  sqrt(ridge) I]^+ softmax(Q~ K^T) V``, whose
    `error_estimate` is about rounding, and what the landmarks miss.

    Attributes
    ----------
    ridge : Tensor (...)
        What was used, for every matrix of the batch.
    approximation_error : Tensor (...)
        Relative distance from softmax attention, measured at a sample of the queries.
    """

    ridge: Tensor
    approximation_error: Tensor


@overload
def nystrom_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attn_mask: Tensor | None = ...,
    dropout_p: float = ...,
    is_causal: bool = ...,
    scale: float | None = ...,
    landmarks: int = ...,
    ridge: float | str = ...,
    return_result: Literal[False] = ...,
    **options: Any,
) -> Tensor: ...


@overload
def nystrom_attention(
    query: Tensor, key: Tensor, value: Tensor, *, return_result: Literal[True], **options: Any
) -> tuple[Tensor, AttentionResult | None]: ...


@opaque
def nystrom_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    landmarks: int = 64,
    ridge: float | str = "cv",
    return_result: bool = False,
    **options: Any,
) -> Tensor | tuple[Tensor, AttentionResult | None]:
    """Softmax attention from a few landmarks, in time linear in the number of tokens.

    With landmarks ``Q~`` and ``K~``, means of consecutive queries and keys,

    ``softmax(Q K~^T) softmax(Q~ K~^T)^+ softmax(Q~ K^T) V``

    stands for ``softmax(Q K^T) V`` [1]_. Takes the place of
    `torch.nn.functional.scaled_dot_product_attention`.

    Parameters
    ----------
    query : Tensor (..., tokens, features)
        Floating; the leading dimensions, usually (batch, heads), broadcast.
    key : Tensor (..., source_tokens, features)
    value : Tensor (..., source_tokens, value_features)
    attn_mask : Tensor (..., 1 or tokens, source_tokens), optional
        Boolean, False for keys that are padding, or floating and added to the logits: 0, and -inf
        (or anything up to -10,000, which is as good) for padding. If there are as many queries as
        keys, padding makes no landmarks among the queries either. A mask that differs between
        queries cannot be honoured.
    dropout_p, is_causal
        Only as their defaults say: a product of three matrices has no weights to drop or to hide.
        Causal attention in particular would need landmarks for every prefix of the tokens, as each
        of them is a mean over later tokens too.
    scale : float, optional
        Of the logits; ``1 / sqrt(features)`` by default.
    landmarks : int, optional
        How many. If there are no more queries or keys than that, attention is exact.
    ridge : float or "cv", optional
        ``A^T (A A^T + ridge I)^-1`` in place of ``A^+``, with ``A = softmax(Q~ K~^T)``; 0 for the
        pseudo-inverse itself. ``"cv"`` takes for every matrix the ridge that does best at a sample
        of the queries.
    return_result : bool, optional
        Return ``(output, result)``.
    **options
        As for `eagle.solve`, such as ``method``, or ``cutoff`` and ``rank`` with ``ridge=0``. `rng`
        is 0 by default, so that equal inputs have equal outputs. Without any, up to 64 landmarks
        on a CPU are solved by the compiled QR for batches, else by what ``"auto"`` chooses.

    Returns
    -------
    output : Tensor (..., tokens, value_features)
        With the dtype and on the device of the query. Differentiable, in memory that does not
        depend on how many iterations the solve took.
    result : AttentionResult or None
        The solve of every matrix of the batch with its certificate, and how far from softmax
        attention the output is; None if it is exact. Only with ``return_result=True``.

    Raises
    ------
    TypeError
        If query, key and value are not floating tensors of one dtype on one device, or the mask is
        neither boolean nor floating.
    ValueError
        For sizes that do not fit, NaN or infinity, a mask that differs between queries, leaves no
        key or adds a bias, dropout, causal attention, and options out of range or that cannot be
        honoured.

    Notes
    -----
    The pseudo-inverse of a nearly singular A amplifies what the landmarks do not explain, and
    softmax of small logits *is* nearly singular: ``A^+`` is then worse than no attention at all.
    Six fixed steps of an iteration, as in [1]_, do not get as far as the small singular values,
    which helps, but by an amount that nobody chose. Here it is chosen: a sample of 128 queries, or
    two for each landmark if that is more, gets its exact attention, and of twelve ridges from 1e-10
    to 10 the one with the least error there is taken. The choice is no part of the gradient.

    Products with all tokens are computed in the dtype of the query (in float32 for float16 and
    bfloat16, also under autocast); what has landmarks on both sides, in float64 if the device can.

    References
    ----------
    .. [1] Xiong, Zeng, Chakraborty, Tan, Fung, Li, Singh, "Nyströmformer: a Nyström-based algorithm
       for approximating self-attention", AAAI 2021, arXiv:2102.03902.

    Examples
    --------
    >>> import torch
    >>> from torch.nn.functional import scaled_dot_product_attention
    >>> from eagle.attention import nystrom_attention
    >>> path = torch.linspace(0, 3, 256).sin()[:, None] * torch.arange(1, 9)
    >>> output, result = nystrom_attention(path, path, path, landmarks=16, return_result=True)
    >>> exact = scaled_dot_product_attention(path, path, path)
    >>> error = (output - exact).norm() / exact.norm()
    >>> bool(error < 0.01), bool(error < 2 * result.approximation_error), result.converged
    (True, True, True)
    """
    keep = check_inputs(query, key, value, attn_mask, landmarks, ridge)
    for name in ("rank", "cutoff"):
        if isinstance(ridge, str) and options.get(name) is not None:
            raise ValueError(f"give ridge=0 with {name}: both shape the spectrum, got {ridge=}")
    if dropout_p:
        raise ValueError(f"dropout_p must be 0: there are no weights to drop, got {dropout_p}")
    if is_causal:
        raise ValueError(
            "is_causal must be False: landmarks are means over later tokens too; use "
            "torch.nn.functional.scaled_dot_product_attention"
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    work = torch.float64 if query.dtype == torch.float64 else torch.float32
    with torch.autocast(query.device.type, enabled=False):
        Q, K, V = query.to(work), key.to(work), value.to(work)
        if landmarks >= min(Q.shape[-2], K.shape[-2]):
            output = attend(scale * Q, K, V, keep)
            check_finite("query, key or value", output)
            output = output.to(query.dtype)
            return (output, None) if return_result else output
        keep_queries = keep if Q.shape[-2] == K.shape[-2] else None
        Q_few, K_few = scale * means(Q, landmarks, keep_queries), means(K, landmarks, keep)
        Y = attend(Q_few, K, V, keep)
        # What has landmarks on both sides is small, and worth double precision.
        double = work if query.device.type == "mps" else torch.float64
        A, Y = softmax(Q_few.to(double), K_few.to(double)), Y.to(double)
        # Every query and key is part of a landmark, every value of Y: few entries tell of all.
        check_finite("query or key", A)
        check_finite("value or key", Y)
        lambdas = A.new_tensor(0.0 if isinstance(ridge, str) else ridge)
        if return_result or isinstance(ridge, str):
            with torch.no_grad():
                Q_some = scale * sample(Q, max(SAMPLE, 2 * landmarks), keep_queries)
                F_some = softmax(Q_some, K_few).to(double)
                Y_some = attend(Q_some, K, V, keep).to(double)
        if isinstance(ridge, str):
            lambdas = _best_ridges(A, Y, F_some, Y_some)
        # A^T (A A^T + lambda I)^-1 is the upper half of [A  sqrt(lambda) I]^+, in which lambda may
        # differ between matrices, and whose rank is full whatever that of A is.
        beside = lambdas.sqrt()[..., None, None] * torch.eye(landmarks).to(A)
        wide = torch.cat([A, beside.expand(A.shape)], dim=-1) if lambdas.any() else A
        if not options and wide.shape[-1] <= LONGEST and A.device.type == "cpu":
            options = {"method": QR}
        result = lstsq(wide, Y, **{"rng": 0, **options})
        T: Any = result.value[..., :landmarks, :]
        output = attend(Q, scale * K_few, T.to(work)).to(query.dtype)
    if not return_result:
        return output
    sizes = matrix_norm(Y_some).clamp(min=torch.finfo(double).tiny)
    error = matrix_norm(F_some @ T.detach() - Y_some) / sizes
    ridges = lambdas.expand(error.shape)
    return output, extended(AttentionResult, result, ridge=ridges, approximation_error=error)


def fixed_step_pinv(A: Tensor, steps: int = 6) -> Tensor:
    """Pseudo-inverse by a fixed number of steps, as Nyströmformer has it; for comparison.

    ``Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4``, starting at ``Z = A^T / s`` with s the
    largest column sum of any matrix of the batch times the largest row sum [1]_. There is no
    stopping rule: how far it gets depends on the condition number, and on what else is in the
    batch.

    Parameters
    ----------
    A : Tensor (..., m, m)
        Entries are not negative.
    steps : int, optional
        Four products each.

    Returns
    -------
    Tensor (..., m, m)

    References
    ----------
    .. [1] Xiong et al., "Nyströmformer", AAAI 2021, section 3, after Razavi, Kerayechian,
       Gachpazan, Shateyi, Abstract and Applied Analysis (2014).

    Examples
    --------
    >>> import torch
    >>> from eagle.attention import fixed_step_pinv
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]]) / 3
    >>> fixed_step_pinv(A).round(decimals=3)
    tensor([[ 2., -1.],
            [-1.,  2.]])
    >>> both = torch.stack([A, 1000 * A])
    >>> fixed_step_pinv(both)[0].round(decimals=3)  # because of the other one
    tensor([[0.0010, 0.0000],
            [0.0000, 0.0010]])
    """
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    Z = A.mT / (A.sum(dim=-2).max() * A.sum(dim=-1).max())
    for _ in range(steps):
        AZ = A @ Z
        Z = Z @ (13 * identity - AZ @ (15 * identity - AZ @ (7 * identity - AZ))) / 4
    return Z


@torch.no_grad()
def _best_ridges(A: Tensor, Y: Tensor, F_some: Tensor, Y_some: Tensor) -> Tensor:
    """The ridge with the least error at some queries, for every matrix of the batch."""
    device = "cpu" if A.device.type == "mps" else A.device  # which has no eigh
    squares, U = torch.linalg.eigh((A @ A.mT).to(device))
    left, right = (F_some @ A.mT).to(device) @ U, U.mT @ Y.to(device)
    wanted = Y_some.to(device)
    errors = [
        matrix_norm(left @ (right / (squares.clamp(min=0) + ridge)[..., None]) - wanted)
        for ridge in RIDGES
    ]
    best = torch.stack(errors).argmin(dim=0)
    return torch.tensor(RIDGES, dtype=A.dtype, device=A.device)[best.to(A.device)]
