"""Nyström attention as a layer with weights, its own or those of a published Nyströmformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from eagle.attention.checks import check_landmarks, check_mask
from eagle.attention.nystrom import nystrom_attention
from eagle.problem.options import check_count

WEIGHTS = ("weight", "bias")


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
    >>> from eagle.attention import NystromAttention
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
        check_landmarks(landmarks, ridge)
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
        keep = None if mask is None else check_mask(mask[:, None, None, :], K)
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
