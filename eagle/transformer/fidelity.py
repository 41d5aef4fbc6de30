"""Does the rule do what the transformer does, layer by layer? Table 1 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from eagle.transformer.config import TaskConfig
from eagle.transformer.data import sample_batch
from eagle.transformer.model import LinearTransformer
from eagle.transformer.rule import Rule, task_of
from eagle.transformer.skeleton import Skeleton, skeleton
from eagle.transformer.train import typical

UNIVERSAL = (1.0, 1.9)  # eta and gamma that the paper finds in every regime


@dataclass(frozen=True, eq=False)
class Distances:
    """Between a transformer and what claims to do the same.

    Attributes
    ----------
    states : ndarray (layers + 1,)
        Mean squared difference per entry of the state; before the first layer and after every one.
        Mean over a batch, median over batches.
    predictions : float
        Mean squared difference of the predictions, likewise.
    error : float
        Mean squared error of the follower's predictions, likewise.
    """

    states: np.ndarray
    predictions: float
    error: float


@dataclass(frozen=True, eq=False)
class Fidelity:
    """Distances between states, and errors of predictions.

    Attributes
    ----------
    fitted, universal : ndarray (layers + 1,)
        Mean squared difference per entry of the state between the transformer and the rule with
        its fitted constants, and the rule with eta = 1 and gamma = 1.9; before the first layer and
        after every one. Mean over a batch, median over batches.
    literal : ndarray (layers + 1,)
        The same for Algorithm 1 with step sizes of its own in every layer, see `Rule.literal`.
    blocks : ndarray (layers + 1,)
        The same for the transformer without its cross blocks, see `skeleton`.
    model_error, fitted_error, universal_error, literal_error, blocks_error : float
        Mean squared error per entry of D, likewise.
    """

    fitted: np.ndarray
    universal: np.ndarray
    literal: np.ndarray
    blocks: np.ndarray
    model_error: float
    fitted_error: float
    universal_error: float
    literal_error: float
    blocks_error: float

    def __str__(self) -> str:
        lines = ["layer  blocks kept  fitted constants  universal (1, 1.9)   x 1e-4"]
        rows = zip(self.blocks, self.fitted, self.universal, strict=True)
        for index, (blocks, fitted, universal) in enumerate(rows):
            lines.append(
                f"{index:5d}  {1e4 * blocks:11.3g}  {1e4 * fitted:16.3g}  {1e4 * universal:18.3g}"
            )
        lines.append(
            f"error of D: transformer {self.model_error:.3g}, blocks {self.blocks_error:.3g}, "
            f"fitted {self.fitted_error:.3g}, universal {self.universal_error:.3g}"
        )
        return "\n".join(lines)


def distances(
    model: LinearTransformer,
    followers: Mapping[str, Rule | Skeleton],
    *,
    task: TaskConfig | None = None,
    batches: int = 16,
    size: int = 1024,
    seed: int = 1,
) -> tuple[float, dict[str, Distances]]:
    """How far rules and skeletons are from a transformer on the same prompts.

    Parameters
    ----------
    model : LinearTransformer
        With one head, or one per machine.
    followers : dict
        Of rules from `extract` and skeletons from `skeleton`, by any names.
    task : TaskConfig, optional
        By default what the model was trained on, without noise.
    batches, size : int
        How many batches, and how many prompts in each.
    seed : int
        Of the prompts.

    Returns
    -------
    float, dict of Distances
        The model's own error (mean square per entry of D), and what was measured, by name.

    Examples
    --------
    >>> from eagle.transformer import distances, load_pretrained, skeleton
    >>> model = load_pretrained("unconstrained")
    >>> error, found = distances(model, {"blocks": skeleton(model)})
    >>> found["blocks"].predictions < error
    True
    """
    task = task or task_of(model.config, model.task)
    generator = torch.Generator().manual_seed(seed)
    own: list[float] = []
    found: dict[str, list[list[float]]] = {name: [] for name in followers}
    with torch.no_grad():
        for _ in range(batches):
            batch = sample_batch(task, size, generator=generator)
            states = list(model.states(model.prompt(batch)))
            prediction = model.prediction(states[-1], batch)
            own.append(_square(prediction - batch.D))
            for name, each in followers.items():
                follower = list(each.states(batch))
                apart = [_square(Z - Y) for Z, Y in zip(states, follower, strict=True)]
                theirs = model.prediction(follower[-1], batch)
                found[name].append(
                    [*apart, _square(theirs - prediction), _square(theirs - batch.D)]
                )
    medians = {name: typical(rows) for name, rows in found.items()}
    return float(typical(own)), {
        name: Distances(row[:-2], float(row[-2]), float(row[-1])) for name, row in medians.items()
    }


def _square(X: torch.Tensor) -> float:
    return float(X.square().mean())


def fidelity(
    model: LinearTransformer,
    rule: Rule,
    *,
    task: TaskConfig | None = None,
    batches: int = 16,
    size: int = 1024,
    seed: int = 1,
) -> Fidelity:
    """Compare a transformer's states with those of a rule on the same prompts.

    Parameters
    ----------
    model : LinearTransformer
        With one head, or one per machine.
    rule : Rule
        From `extract`.
    task : TaskConfig, optional
        That of the rule by default.
    batches, size : int
        How many batches, and how many prompts in each.
    seed : int
        Of the prompts.

    Returns
    -------
    Fidelity

    References
    ----------
    .. [1] arXiv:2509.19702, Table 1.

    Examples
    --------
    >>> from eagle.transformer import extract, fidelity, load_pretrained
    >>> model = load_pretrained("unconstrained", seed=0)
    >>> table = fidelity(model, extract(model))
    >>> bool((table.fitted < 1e-3).all())
    True
    """
    task = task or rule.task or task_of(model.config, model.task)
    followers: dict[str, Rule | Skeleton] = {
        "fitted": rule,
        "universal": rule.with_constants(*UNIVERSAL, task=task, batches=batches),
        "literal": rule.literal(task=task, batches=batches),
        "blocks": skeleton(model, task=task, batches=batches),
    }
    error, found = distances(model, followers, task=task, batches=batches, size=size, seed=seed)
    fitted, universal, literal, blocks = found.values()
    return Fidelity(
        fitted.states,
        universal.states,
        literal.states,
        blocks.states,
        error,
        fitted.error,
        universal.error,
        literal.error,
        blocks.error,
    )
