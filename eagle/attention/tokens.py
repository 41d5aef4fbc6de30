"""Softmax attention among tokens of torch, and what stands for many of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

GOLDEN = 0.6180339887498949  # whose multiples are spread most evenly


def softmax(Q: Tensor, K: Tensor, keep: Tensor | None = None) -> Tensor:
    """``softmax(Q K^T)`` over the keys that count."""
    logits = Q @ K.mT
    if keep is not None:
        logits = logits.masked_fill(~keep[..., None, :], -torch.inf)
    return torch.softmax(logits, dim=-1)


def attend(Q: Tensor, K: Tensor, V: Tensor, keep: Tensor | None = None) -> Tensor:
    """``softmax(Q K^T) V``."""
    if torch.is_grad_enabled() and any(block.requires_grad for block in (Q, K, V)):
        return softmax(Q, K, keep) @ V
    # Weights that are not written out take less time, a third with 16,000 keys, but can only be
    # differentiated once.
    mask = None if keep is None else keep[..., None, :]
    return scaled_dot_product_attention(Q, K, V, attn_mask=mask, scale=1.0)


def _segments(tokens: int, parts: int, keep: Tensor | None, device: Any) -> list[Tensor]:
    """First and one past the last token of each part, (..., parts), counted among those to keep.

    Sizes differ by one at most; with fewer tokens than parts, some tokens are in several.
    """
    count = tokens if keep is None else keep.sum(dim=-1, keepdim=True)
    edges = torch.arange(parts + 1, device=device) * count // parts
    start = edges[..., :-1]
    return [start, torch.maximum(edges[..., 1:], start + 1)]


def means(X: Tensor, landmarks: int, keep: Tensor | None) -> Tensor:
    """The landmarks (..., landmarks, features): means of segments of the tokens to keep."""
    tokens = X.shape[-2]
    if keep is None and tokens % landmarks == 0:
        return X.unflatten(-2, (landmarks, -1)).mean(dim=-2)
    segments = _segments(tokens, landmarks, keep, X.device)
    start, stop = (edge[..., None] for edge in segments)
    keep = torch.ones(tokens, dtype=torch.bool, device=X.device) if keep is None else keep
    place = keep.cumsum(dim=-1)[..., None, :] - 1
    inside = (start <= place) & (place < stop) & keep[..., None, :]
    return (inside.to(X.dtype) / (stop - start)) @ X


def sample(X: Tensor, size: int, keep: Tensor | None) -> Tensor:
    """One token from each of `size` equal parts, at a place that differs from part to part."""
    start, stop = _segments(X.shape[-2], size, keep, X.device)
    part = torch.arange(size, dtype=torch.float64) * GOLDEN % 1
    place = start + (part.to(X.device, torch.float32) * (stop - start)).long()
    if keep is not None:
        kept_first = keep.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
        place = kept_first.take_along_dim(place, dim=-1)
    return X.take_along_dim(place.reshape(*(1,) * (X.ndim - 1 - place.ndim), *place.shape, 1), -2)
