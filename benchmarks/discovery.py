"""Columns chosen per prompt: what a rule learns to look at when it may choose.

A layer of the compute-limited rule sees r columns of A. Here a learned score picks them, for every
prompt anew: from what a column is called, from its size as it stands, and from how often it has
been picked before. The lift is the full one. Forward the r best columns count and no others;
backward the gradient is that of a soft choice (straight-through).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.bounds import RATE, blocks_of, descend
from eagle.transformer import LayerRule, ModelConfig, Rule, TaskConfig
from eagle.transformer.rule import reference
from eagle.transformer.train import TEST_SEED, typical
from eagle.update import update

CHOICES = ("same columns", "other columns", "by name", "by content")


@dataclass(frozen=True)
class Discovery:
    """What was learned.

    Attributes
    ----------
    error : float
        Mean square per entry of D, median of batches.
    size, picked : ndarray (layers,)
        Weights of the logarithm of a column's squared norm, and of how often it was picked.
    again : ndarray (layers - 1,)
        Part of the picks of a layer that an earlier layer has picked.
    largest : ndarray (layers,)
        Part of the picks that are among the r largest columns as they stand.
    """

    error: float
    size: np.ndarray
    picked: np.ndarray
    again: np.ndarray
    largest: np.ndarray


class Scored(torch.nn.Module):
    """Step sizes, and scores of columns."""

    def __init__(self, config: ModelConfig, task: TaskConfig, choice: str, seed: int) -> None:
        super().__init__()
        self.rank, self.choice = config.rank, choice
        names, layers = torch.zeros(config.layers, config.d), []
        for layer in range(config.layers):  # the first r columns, or those after the ones before
            start = config.rank * layer if choice == "other columns" else 0
            own = torch.arange(start, start + config.rank) % config.d
            names[layer, own] = 1.0
            layers.append(LayerRule(0.0, 0.0, 1.0, np.eye(config.d)[:, own]))
        rule = Rule(replace(config, lift="full"), tuple(layers))
        rule = rule.with_constants(0.9, 1.2, task=task, batches=2)
        steps = [[layer.eta_step, layer.gamma_step] for layer in rule.layers]
        self.logarithms = torch.nn.Parameter(torch.tensor(steps).float().log())
        if choice in CHOICES[2:]:
            generator = torch.Generator().manual_seed(seed)
            names = 0.1 * torch.randn(config.layers, config.d, generator=generator)
        self.names = torch.nn.Parameter(names, requires_grad=choice in CHOICES[2:])
        content = choice == "by content"
        self.size = torch.nn.Parameter(torch.zeros(config.layers), requires_grad=content)
        self.picked = torch.nn.Parameter(torch.zeros(config.layers), requires_grad=content)

    def forward(
        self, batch: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """The hidden block; which columns every layer picked, and which are the largest."""
        blocks = blocks_of(batch)
        before = torch.zeros(blocks.A.shape[0], blocks.A.shape[-1])
        picks, largest = [], []
        for layer, (eta, gamma) in enumerate(self.logarithms.exp()):
            sizes = blocks.A.square().sum(-2).clamp_min(1e-12).log()  # (batch, columns)
            score = self.names[layer] + self.size[layer] * sizes + self.picked[layer] * before
            chosen = _best(score, self.rank)
            soft = self.rank * score.softmax(-1)
            mask = chosen + soft - soft.detach()
            blocks = update(blocks, eta, gamma, sketch=torch.diag_embed(mask), lift="full")
            picks.append(chosen)
            largest.append(_best(sizes, self.rank))
            before = before + chosen
        return blocks.D.mT, picks, largest


def _best(score: torch.Tensor, rank: int) -> torch.Tensor:
    """1 at the `rank` largest entries of every row."""
    return torch.zeros_like(score).scatter(-1, score.topk(rank, -1).indices, 1.0)


def discover(
    config: ModelConfig, task: TaskConfig, choice: str, *, seed: int = 0, steps: int = 400
) -> Discovery:
    """Train step sizes and scores; as in `benchmarks.bounds.optimise`."""
    model = Scored(config, task, choice, seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    descend(trained, lambda batch: model(batch)[0], task, steps=steps, seed=seed, rate=3 * RATE)
    errors, again, largest = [], [], []
    with torch.no_grad():
        for batch in reference(task, 16, TEST_SEED):
            answer, picks, sizes = model(batch)
            errors.append(float((answer - batch.D).square().mean()))
            before = torch.stack(picks).cumsum(0)[:-1] > 0
            again.append((torch.stack(picks)[1:] * before).sum(-1).mean(-1) / config.rank)
            pairs = zip(picks, sizes, strict=True)
            largest.append([float((x * y).sum(-1).mean()) / config.rank for x, y in pairs])
    return Discovery(
        float(typical(errors)),
        model.size.detach().numpy(),
        model.picked.detach().numpy(),
        torch.stack(again).mean(0).numpy(),
        np.mean(largest, axis=0),
    )
