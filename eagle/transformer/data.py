"""Masked blocks to train on: fresh low-rank matrices, one corner hidden.

Every family draws ``X = R1 R2^T / sqrt(s)``, or something of the same size and rank, so that the
hidden block is ``D = B A^+ C`` exactly as long as no noise is added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from eagle.problem.options import check_count
from eagle.transformer.config import TaskConfig

KERNEL_DIMENSION = 2  # of the points between which kernels are evaluated
CORRELATION = 0.8  # between neighbouring columns of the asymmetric family
UNEQUAL = 1.0  # spread of the logarithm of its rows' sizes


class Batch(NamedTuple):
    """Blocks of ``X = [[A, C], [B, D]]``, many at a time.

    Attributes
    ----------
    A, B, C, D : Tensor (batch, d, n), (batch, d', n), (batch, d, n'), (batch, d', n')
        D is what is hidden.
    """

    A: torch.Tensor
    B: torch.Tensor
    C: torch.Tensor
    D: torch.Tensor


def sample_batch(
    task: TaskConfig,
    size: int,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Draw prompts and what they hide.

    Parameters
    ----------
    task : TaskConfig
        The family and its sides.
    size : int
        How many.
    generator : torch.Generator, optional
        Source of randomness; its device is the device of the batch. A new one on the CPU,
        seeded with `seed`, by default.
    seed : int, optional
        Instead of a generator.
    dtype : torch.dtype
        Of the blocks.

    Returns
    -------
    Batch

    Raises
    ------
    ValueError
        Both or neither of `generator` and `seed`.

    Examples
    --------
    >>> from eagle.transformer import TaskConfig, sample_batch
    >>> A, B, C, D = sample_batch(TaskConfig(), 3, seed=0)
    >>> A.shape, D.shape
    (torch.Size([3, 18, 18]), torch.Size([3, 2, 2]))
    """
    check_count("size", size)
    if (generator is None) == (seed is None):
        raise ValueError("exactly one of generator and seed must be given")
    if generator is None:
        generator = torch.Generator().manual_seed(int(seed or 0))
    draw = _Draw(task, generator, dtype)
    X = FAMILIES[task.family](draw, size)  # (batch, d + d', n + n')
    if task.noise:
        X = X + task.noise**0.5 * draw.normal(*X.shape) * (X != 0)
    d, n = task.d, task.n
    return Batch(X[:, :d, :n], X[:, d:, :n], X[:, :d, n:], X[:, d:, n:])


class _Draw:
    """Random pieces with one task's sides, one generator, one dtype."""

    def __init__(self, task: TaskConfig, generator: torch.Generator, dtype: torch.dtype) -> None:
        self.task, self.generator, self.dtype = task, generator, dtype
        self.rows, self.columns = task.d + task.d_hidden, task.n + task.n_hidden

    def normal(self, *shape: int) -> torch.Tensor:
        device = self.generator.device
        return torch.randn(*shape, generator=self.generator, device=device, dtype=self.dtype)

    def arange(self, start: int, stop: int) -> torch.Tensor:
        return torch.arange(start, stop, device=self.generator.device, dtype=self.dtype)

    @property
    def spectrum(self) -> torch.Tensor:
        """Sizes of the columns of R1 times those of R2: alpha^i if alpha^i are variances."""
        power = {"variance": 1, "deviation": 2}[self.task.spectrum]
        return self.task.decay ** (power * self.arange(1, self.task.rank + 1))


def _block(draw: _Draw, size: int) -> torch.Tensor:
    s = draw.task.rank
    R1 = draw.normal(size, draw.rows, s) * (draw.spectrum / s**0.5)
    return R1 @ draw.normal(size, draw.columns, s).mT


def _scalar(draw: _Draw, size: int) -> torch.Tensor:
    X = _block(draw, size)
    X[:, draw.task.d + 1 :] = 0
    X[:, :, draw.task.n + 1 :] = 0
    return X


def _kernel(draw: _Draw, size: int) -> torch.Tensor:
    """A Gaussian kernel through s random Fourier features [Rahimi and Recht, 2007]."""
    s, p = draw.task.rank, KERNEL_DIMENSION
    half = s // 2
    points = draw.normal(size, draw.rows + draw.columns, p)
    # Landmarks are the same points in rows and columns as far as both go.
    shared = min(draw.task.d, draw.task.n)
    points[:, draw.rows : draw.rows + shared] = points[:, :shared]
    angles = points @ draw.normal(size, p, half)  # (batch, points, s / 2)
    features = torch.cat([angles.cos(), angles.sin()], -1)
    if s % 2:  # a constant feature
        features = torch.cat([features, torch.ones_like(points[..., :1])], -1)
    return features[:, : draw.rows] @ features[:, draw.rows :].mT / s


def _mixture(draw: _Draw, size: int) -> torch.Tensor:
    third = -(-size // 3)
    return torch.cat([_block(draw, third), _scalar(draw, third), _kernel(draw, third)])[:size]


def _condition(draw: _Draw, size: int) -> torch.Tensor:
    """A = U diag(sigma) V^T with logarithmic sigma; what is hidden continues its factors."""
    task = draw.task
    exponents = draw.arange(0, task.rank) / max(task.rank - 1, 1)
    # Norm 4.5 is that of a typical A of the family "block".
    sigma = 4.5 * task.condition**-exponents
    U = _continued(draw.normal(size, draw.rows, task.rank), task.d)
    V = _continued(draw.normal(size, draw.columns, task.rank), task.n)
    return (U * sigma) @ V.mT


def _continued(G: torch.Tensor, visible: int) -> torch.Tensor:
    """G with its first `visible` rows made orthonormal, the others transformed alike."""
    for _ in range(2):  # Cholesky QR twice: orthonormal to rounding
        gram = G[:, :visible].mT @ G[:, :visible]
        factor = torch.linalg.cholesky(gram)  # (batch, s, s), lower
        G = torch.linalg.solve_triangular(factor, G.mT, upper=False).mT
    return G


def _asymmetric(draw: _Draw, size: int) -> torch.Tensor:
    """Rows of unequal size, correlated columns: nothing that a rotation leaves as it is."""
    s = draw.task.rank
    sizes = torch.exp(UNEQUAL * torch.linspace(-1, 1, draw.task.d, dtype=draw.dtype))
    sizes = sizes.to(draw.generator.device) / sizes.square().mean().sqrt()
    R1 = draw.normal(size, draw.rows, s) * (draw.spectrum / s**0.5)
    R1[:, : draw.task.d] *= sizes[:, None]
    index = draw.arange(0, draw.columns)
    covariance = CORRELATION ** (index[:, None] - index).abs()
    R2 = torch.linalg.cholesky(covariance) @ draw.normal(size, draw.columns, s)
    return R1 @ R2.mT


FAMILIES: dict[str, Callable[[_Draw, int], torch.Tensor]] = {
    "block": _block,
    "scalar": _scalar,
    "kernel": _kernel,
    "mixture": _mixture,
    "condition": _condition,
    "asymmetric": _asymmetric,
}
