"""Queries, keys and values, and how far apart two answers are."""

from __future__ import annotations

import torch


def tensors(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Query, key and value of one shape."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for _ in "QKV"]


def distance(value: torch.Tensor, truth: torch.Tensor) -> float:
    """Relative, in the Frobenius norm."""
    return float((value - truth).detach().norm() / truth.detach().norm())
