"""What attention takes: tensors that fit, masks that only hide keys, or a sentence about it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eagle.problem.options import check_count, check_number

HIDDEN = -1e4  # of a mask that adds to logits: whatever is at or below it hides a key


def check_inputs(
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
    check_landmarks(landmarks, ridge)
    shapes = [block.shape[:-2] for block in (query, key, value)]
    keep = None
    if attn_mask is not None:
        keep = check_mask(attn_mask, key)
        shapes.append(keep.shape[:-1])
    try:
        torch.broadcast_shapes(*shapes)
    except RuntimeError:
        given = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(
            f"leading dimensions of query, key, value and attn_mask do not broadcast: {given}"
        ) from None
    return keep


def check_landmarks(landmarks: int, ridge: float | str) -> None:
    """Raise unless there is a number of landmarks, and a ridge or the wish for one."""
    check_count("landmarks", landmarks)
    if not isinstance(ridge, str):
        check_number("ridge", ridge)
    elif ridge != "cv":
        raise ValueError(f"ridge must be a number or 'cv', got {ridge!r}")


def check_mask(attn_mask: Any, key: Tensor) -> Tensor:
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


def check_finite(names: str, block: Tensor) -> None:
    """Raise ValueError unless what was computed from the tensors of these names is finite."""
    if not block.isfinite().all():
        raise ValueError(f"{names} contains NaN or infinity, or overflows")
