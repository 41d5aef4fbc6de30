"""Gradients of torch on CUDA, where the solves of the backward pass run as well."""

from __future__ import annotations

import pytest
import torch

import eagle


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("case", [(5, 3, 3), (3, 5, 3), (4, 4, 4), (5, 4, 2)])
def test_gradients_are_those_of_finite_differences(case, ridge):
    d, n, rank = case
    L, R, B, C = (
        torch.randn(*shape, dtype=torch.float64, device="cuda").requires_grad_()
        for shape in [(2, d, rank), (rank, n), (2, n), (d, 1)]
    )
    assert torch.autograd.gradcheck(
        lambda L, R, B, C: eagle.solve(L @ R, B, C, ridge=ridge, rng=0).value, (L, R, B, C)
    )
