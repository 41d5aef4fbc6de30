"""Nyström attention for torch: softmax attention in linear time, with a certified solve.

Needs PyTorch: ``pip install 'eagle-solver[torch]'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, overload

try:
    import torch
except ImportError as error:
    raise ImportError(
        "eagle.attention.nystrom needs torch: pip install 'eagle-solver[torch]'"
    ) from error
from torch import Tensor, nn
from torch.linalg import matrix_norm

from eagle.api import lstsq
from eagle.attention.tokens import attend, means, sample, softmax
from eagle.problem.options import check_count, check_number
from eagle.problem.result import Result, extended
from eagle.run.batch import LONGEST, QR
from eagle.run.opaque import opaque

# Rows of softmax sum to one, so that 1 <= ||A||_2 and a ridge needs no other unit.
RIDGES = tuple(10.0**k for k in range(-10, 2))
HIDDEN = -1e4  # of a mask that adds to logits: whatever is at or below it hides a key
WEIGHTS = ("weight", "bias")
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
    >>> from eagle.attention.nystrom import nystrom_attention
    >>> path = torch.linspace(0, 3, 256).sin()[:, None] * torch.arange(1, 9)
    >>> output, result = nystrom_attention(path, path, path, landmarks=16, return_result=True)
    >>> exact = scaled_dot_product_attention(path, path, path)
    >>> error = (output - exact).norm() / exact.norm()
    >>> bool(error < 0.01), bool(error < 2 * result.approximation_error), result.converged
    (True, True, True)
    """
    keep = _check(query, key, value, attn_mask, landmarks, ridge)
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
            _check_finite("query, key or value", output)
            output = output.to(query.dtype)
            return (output, None) if return_result else output
        keep_queries = keep if Q.shape[-2] == K.shape[-2] else None
        Q_few, K_few = scale * means(Q, landmarks, keep_queries), means(K, landmarks, keep)
        Y = attend(Q_few, K, V, keep)
        # What has landmarks on both sides is small, and worth double precision.
        double = work if query.device.type == "mps" else torch.float64
        A, Y = softmax(Q_few.to(double), K_few.to(double)), Y.to(double)
        # Every query and key is part of a landmark, every value of Y: few entries tell of all.
        _check_finite("query or key", A)
        _check_finite("value or key", Y)
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
    >>> from eagle.attention.nystrom import fixed_step_pinv
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


class NystromAttention(nn.Module):
    """Multi-head self-attention from landmarks, with projections of its own.

    Parameters
    ----------
    features : int
        Width of the tokens; a multiple of `heads`.
    heads : int
    landmarks, ridge
        As for `nystrom_attention`.
    convolution : int, optional
        Odd length of a depthwise convolution of the values along the tokens, that is added to the
        output as in [1]_, where it is 33 or more; 0 for none.

    Raises
    ------
    TypeError, ValueError
        For sizes that are no positive integers or do not fit, and a ridge as for
        `nystrom_attention`.

    References
    ----------
    .. [1] Xiong et al., "Nyströmformer", AAAI 2021, section 3.

    Examples
    --------
    >>> import torch
    >>> from eagle.attention.nystrom import NystromAttention
    >>> layer = NystromAttention(32, heads=4, landmarks=8, convolution=5)
    >>> layer(torch.randn(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    def __init__(
        self,
        features: int,
        heads: int,
        *,
        landmarks: int = 64,
        ridge: float | str = "cv",
        convolution: int = 0,
    ):
        super().__init__()
        check_count("features", features)
        if features % check_count("heads", heads):
            raise ValueError(f"features must be a multiple of heads={heads}, got {features}")
        _check_landmarks(landmarks, ridge)
        if check_count("convolution", convolution, minimum=0) and convolution % 2 == 0:
            raise ValueError(f"convolution must be odd, or 0, got {convolution}")
        self.heads, self.landmarks, self.ridge = heads, landmarks, ridge
        self.project_in = nn.Linear(features, 3 * features)
        self.project_out = nn.Linear(features, features)
        self.convolution = (
            nn.Conv2d(
                heads,
                heads,
                (convolution, 1),
                padding=(convolution // 2, 0),
                groups=heads,
                bias=False,
            )
            if convolution
            else None
        )

    def forward(
        self,
        x: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor (batch, tokens, features)
            What asks, and without `key` and `value` also what is asked.
        key, value : Tensor (batch, source_tokens, features), optional
            Both or neither; ``layer(x, x, x)`` is ``layer(x)``, as in torch.
        mask : Tensor (batch, source_tokens), optional
            False for padding, or a floating one that adds -inf to it; ``layer(x, mask)`` is
            understood.

        Returns
        -------
        Tensor (batch, tokens, features)

        Raises
        ------
        ValueError
            If only one of key and value is given, or with a convolution, which adds values to the
            tokens of the output, there are not as many of both; and as `nystrom_attention`.
        """
        if key is not None and key.dtype == torch.bool and value is None and mask is None:
            key, mask = None, key
        if (key is None) != (value is None):
            raise ValueError("give key and value both, or neither of them")
        if key is None or value is None or (key is x and value is x):
            parts = self.project_in(x).chunk(3, dim=-1)
        else:
            maps = self.project_in.weight.chunk(3), self.project_in.bias.chunk(3)
            given = zip((x, key, value), *maps, strict=True)
            parts = tuple(nn.functional.linear(*each) for each in given)
        # each (batch, heads, tokens, width)
        Q, K, V = (part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in parts)
        if self.convolution is not None and V.shape[-2] != Q.shape[-2]:
            raise ValueError(
                f"value must have as many tokens as x for the convolution, got {V.shape[-2]} and "
                f"{Q.shape[-2]}"
            )
        keep = None if mask is None else _check_mask(mask[:, None, None, :], K)
        attn_mask = None if keep is None else keep[..., None, :]
        output = nystrom_attention(
            Q, K, V, attn_mask=attn_mask, landmarks=self.landmarks, ridge=self.ridge
        )
        if self.convolution is not None:
            seen = V if keep is None else V * keep[..., None]
            output = output + self.convolution(seen)
        return self.project_out(output.transpose(1, 2).flatten(2))

    @classmethod
    def from_nystromformer(
        cls,
        state: Mapping[str, Tensor],
        layer: int = 0,
        *,
        heads: int | None = None,
        landmarks: int = 64,
        ridge: float | str = "cv",
    ) -> Self:
        """The attention of one layer of a published Nyströmformer, with its weights.

        Parameters
        ----------
        state : mapping of str to Tensor
            The model's ``state_dict()``, with the names of Hugging Face's `NystromformerModel`:
            ``encoder.layer.0.attention.self.query.weight`` and so on, after any prefix. What else
            it holds is not looked at.
        layer : int, optional
            Which layer of the encoder.
        heads : int, optional
            Read from the convolution if there is one.
        landmarks, ridge
            As for `nystrom_attention`; they are no part of the weights.

        Returns
        -------
        NystromAttention
            Of the same dtype. The model adds its input to what it gives, and normalises.

        Raises
        ------
        ValueError
            If weights of the layer are missing, or there is neither a convolution nor `heads`.

        Examples
        --------
        >>> import torch
        >>> from eagle.attention import NystromAttention
        >>> names = ("self.query", "self.key", "self.value", "output.dense")
        >>> state = {
        ...     f"nystromformer.encoder.layer.0.attention.{name}.{part}": torch.randn(*shape)
        ...     for name in names
        ...     for part, shape in (("weight", (32, 32)), ("bias", (32,)))
        ... }
        >>> attention = NystromAttention.from_nystromformer(state, heads=4, landmarks=8)
        >>> attention(torch.randn(2, 100, 32)).shape
        torch.Size([2, 100, 32])
        """
        root = f"encoder.layer.{layer}.attention."
        found = {
            name.rpartition(root)[2]: weight
            for name, weight in state.items()
            if name.startswith(root) or f".{root}" in name
        }
        parts = [f"self.{name}" for name in ("query", "key", "value")]
        wanted = [f"{name}.{what}" for name in (*parts, "output.dense") for what in WEIGHTS]
        for name in wanted:
            if name not in found:
                raise ValueError(f"state has no {root}{name}: is it that of a Nyströmformer?")
        kernel = found.get("self.conv.weight")
        if heads is None and kernel is None:
            raise ValueError("heads must be given: there is no convolution to read them from")
        like = found[wanted[0]]
        attention = cls(
            like.shape[0],
            len(kernel) if heads is None and kernel is not None else heads or 1,
            landmarks=landmarks,
            ridge=ridge,
            convolution=0 if kernel is None else kernel.shape[2],
        ).to(like)
        weights = {
            f"project_in.{what}": torch.cat([found[f"{name}.{what}"] for name in parts])
            for what in WEIGHTS
        }
        weights |= {f"project_out.{what}": found[f"output.dense.{what}"] for what in WEIGHTS}
        if kernel is not None:
            weights["convolution.weight"] = kernel
        attention.load_state_dict(weights)
        return attention


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    landmarks: int,
    ridge: float | str,
) -> Tensor | None:
    """Everything that can be wrong before any work; which keys count, (..., source_tokens)."""
    for name, block in (("query", query), ("key", key), ("value", value)):
        if not isinstance(block, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(block).__name__}")
        if not block.is_floating_point():
            raise TypeError(f"{name} must be floating, got {block.dtype}")
        if block.ndim < 2 or 0 in block.shape[-2:]:
            raise ValueError(
                f"{name} must be (..., tokens, features), with some of each, got shape "
                f"{tuple(block.shape)}"
            )
        for what in ("dtype", "device"):
            if getattr(block, what) != getattr(query, what):
                raise TypeError(
                    f"query and {name} must have one {what}, got {getattr(query, what)} and "
                    f"{getattr(block, what)}"
                )
    if key.shape[-1] != query.shape[-1]:
        raise ValueError(
            f"key with shape {tuple(key.shape)} must have as many features as query with shape "
            f"{tuple(query.shape)}"
        )
    if value.shape[-2] != key.shape[-2]:
        raise ValueError(
            f"value with shape {tuple(value.shape)} must have as many tokens as key with shape "
            f"{tuple(key.shape)}"
        )
    _check_landmarks(landmarks, ridge)
    shapes = [block.shape[:-2] for block in (query, key, value)]
    keep = None
    if attn_mask is not None:
        keep = _check_mask(attn_mask, key)
        shapes.append(keep.shape[:-1])
    try:
        torch.broadcast_shapes(*shapes)
    except RuntimeError:
        given = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(
            f"leading dimensions of query, key, value and attn_mask do not broadcast: {given}"
        ) from None
    return keep


def _check_landmarks(landmarks: int, ridge: float | str) -> None:
    check_count("landmarks", landmarks)
    if not isinstance(ridge, str):
        check_number("ridge", ridge)
    elif ridge != "cv":
        raise ValueError(f"ridge must be a number or 'cv', got {ridge!r}")


def _check_mask(attn_mask: Any, key: Tensor) -> Tensor:
    """Which keys count, without the dimension of the queries."""
    if not isinstance(attn_mask, Tensor) or not (
        attn_mask.dtype == torch.bool or attn_mask.is_floating_point()
    ):
        kind = getattr(attn_mask, "dtype", type(attn_mask).__name__)
        raise TypeError(
            "attn_mask must be a boolean tensor, True for keys that count, or a floating one that "
            f"adds -inf to the others, got {kind}"
        )
    if attn_mask.ndim < 1 or attn_mask.shape[-1] != key.shape[-2]:
        raise ValueError(
            f"attn_mask must be (..., 1, {key.shape[-2]}), with one entry for each key, got shape "
            f"{tuple(attn_mask.shape)}"
        )
    keep = attn_mask
    if attn_mask.ndim > 1:
        keep = attn_mask[..., 0, :]
        same = attn_mask.shape[-2] == 1 or attn_mask.stride(-2) == 0
        if not same and not (attn_mask == attn_mask[..., :1, :]).all():
            raise ValueError(
                f"attn_mask with shape {tuple(attn_mask.shape)} must be the same for every query: "
                "landmarks stand for many queries and keys at once, so padding can be left out, "
                "and what differs between queries, as in causal attention, cannot"
            )
    if keep.dtype != torch.bool:
        added, keep = keep, keep > HIDDEN
        if not (added[keep] == 0).all():
            raise ValueError(
                "attn_mask must add 0 to logits or hide their keys by -inf: a bias that differs "
                "between keys has no place in a product of three kernels"
            )
    if not keep.any(dim=-1).all():
        raise ValueError("attn_mask leaves no key in one of the sequences")
    return keep


def _check_finite(names: str, block: Tensor) -> None:
    """Raise ValueError unless what was computed from the tensors of these names is finite."""
    if not block.isfinite().all():
        raise ValueError(f"{names} contains NaN or infinity, or overflows")


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
