"""What a compute-limited network could reach at best: sketches, lifts and constants optimised.

A layer of that network sees r columns. Here the rule that its weights can hold is optimised in
place of the weights, with nothing off the pattern, so that what training leaves on the table shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.transformer import mean_square
from eagle.transformer import LayerRule, ModelConfig, Rule, TaskConfig, sample_batch
from eagle.transformer.rule import reference
from eagle.transformer.train import TEST_SEED, typical
from eagle.update import Blocks, update

STRUCTURES = ("one sketch", "sketch per layer", "full lift", "lift of its own")
STEPS, BATCH, RATE = 1000, 256, 3e-3
CHECKED, VALIDATION_SEED = 50, 4711  # every so many steps, errors on other prompts


@dataclass(frozen=True)
class Bound:
    """A rule that was optimised.

    Attributes
    ----------
    rule : Rule
    error : float
        Mean square per entry of D, median of batches.
    """

    rule: Rule
    error: float


def columns(task: TaskConfig, rank: int, *, batches: int = 16) -> float:
    """Error of ``B S (A S)^+ C``, the least-squares answer from r columns.

    The columns of A are independent and alike, so that no S of full rank is better than another:
    the first r columns stand for all of them.
    """
    errors = []
    for batch in reference(task, batches, TEST_SEED):
        A, B, C, D = (X.double() for X in batch)
        answer = B[..., :rank] @ torch.linalg.pinv(A[..., :rank]) @ C
        errors.append(float((answer - D).square().mean()))
    return float(typical(errors))


def _stack(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)).float()


class _Free(torch.nn.Module):
    """Sketches, lifts and logarithms of step sizes, from random sketches and the paper's pair."""

    def __init__(
        self, config: ModelConfig, task: TaskConfig, structure: str, start: str, seed: int
    ) -> None:
        super().__init__()
        self.structure = structure
        rng = np.random.default_rng(seed)
        layers, sketch = [], None
        for _ in range(config.layers):
            if sketch is None or start == "random":
                sketch = np.linalg.qr(rng.standard_normal((config.d, config.rank)))[0]
            layers.append(LayerRule(0.0, 0.0, 1.0, sketch))
        lift = "full" if structure == "full lift" else "paper"
        self.config = replace(config, lift=lift)
        first = Rule(self.config, tuple(layers)).with_constants(0.9, 1.2, task=task, batches=2)
        kept = first.layers[:1] if structure == "one sketch" else first.layers
        self.sketches = torch.nn.Parameter(_stack([layer.sketch for layer in kept]))
        self.logarithms = torch.nn.Parameter(
            _stack([np.log([layer.eta_step, layer.gamma_step]) for layer in first.layers])
        )
        if structure == "lift of its own":
            self.ups = torch.nn.Parameter(self.sketches.detach().clone())
            self.downs = torch.nn.Parameter(self.sketches.detach().clone())

    def layers(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, object]]:
        """eta, gamma, S and the lift of every layer."""
        for index, (eta, gamma) in enumerate(self.logarithms.exp()):
            S = self.sketches[0 if self.structure == "one sketch" else index]
            lift: object = self.config.lift
            if self.structure == "lift of its own":
                lift = self.ups[index] @ self.downs[index].mT
            yield eta, gamma, S, lift

    def forward(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The hidden block, by the rule."""
        blocks = blocks_of(batch)
        for eta, gamma, S, lift in self.layers():
            blocks = update(blocks, eta, gamma, sketch=S, lift=lift)
        return blocks.D.mT

    def rule(self) -> Rule:
        """As data."""
        layers = []
        for eta, gamma, S, lift in self.layers():
            P = lift.detach().double().numpy() if isinstance(lift, torch.Tensor) else None
            sketch = S.detach().double().numpy()
            layers.append(LayerRule(eta.item(), gamma.item(), 1.0, sketch, P))
        return Rule(self.config, tuple(layers))


def blocks_of(batch: tuple[torch.Tensor, ...]) -> Blocks:
    """As a transformer has them before its first layer, D being 0."""
    A, B, C, D = batch
    return Blocks(A.mT, C.mT, B.mT, torch.zeros_like(D).mT)


def descend(
    parameters: list[torch.Tensor],
    predict: Callable[[tuple[torch.Tensor, ...]], torch.Tensor],
    task: TaskConfig,
    *,
    steps: int,
    seed: int,
    rate: float = RATE,
    batch_size: int = BATCH,
    keep_best: bool = False,
) -> None:
    """Adam with the loss, the clipping and the kind of batches that transformers are trained with.

    The rate falls to zero over the second half. With `keep_best` the parameters end as they did
    best on other prompts: where a step leads out of the region in which a deep rule converges at
    all, no gradient leads back.
    """
    tests = reference(task, 4, VALIDATION_SEED) if keep_best else []
    best, kept = float("inf"), parameters

    def look() -> None:
        nonlocal best, kept
        with torch.no_grad():
            error = typical([(predict(b) - b.D).square().mean().item() for b in tests])
        if error < best:
            best, kept = error, [each.detach().clone() for each in parameters]

    optimizer = torch.optim.Adam(parameters, lr=rate)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        if keep_best and step % CHECKED == 0:
            look()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        batch = sample_batch(task, batch_size, generator=generator)
        optimizer.zero_grad()
        (predict(batch) - batch.D).square().mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 0.1)
        if torch.isfinite(norm):
            optimizer.step()
    if keep_best:
        look()
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def optimise(
    config: ModelConfig,
    task: TaskConfig,
    structure: str,
    *,
    start: str = "random",
    seed: int = 0,
    steps: int = STEPS,
) -> Bound:
    """The best rule of a structure that Adam finds on its way from one start.

    Sketches are random at the start: another in every layer, or (``start="shared"``) the same one.
    """
    free = _Free(config, task, structure, start, seed)
    descend(list(free.parameters()), free, task, steps=steps, seed=seed, keep_best=True)
    rule = free.rule()
    return Bound(rule, mean_square(rule, reference(task, 16, TEST_SEED)))
