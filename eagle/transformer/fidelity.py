"""Does the rule do what the transformer does, layer by layer? Table 1 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from eagle.transformer.config import TaskConfig
from eagle.transformer.data import sample_batch
from eagle.transformer.model import LinearTransformer
from eagle.transformer.rule import Rule, task_of
from eagle.transformer.train import typical

__all__ = ["Fidelity", "fidelity"]

UNIVERSAL = (1.0, 1.9)  # eta and gamma that the paper finds in every regime


@dataclass(frozen=True, eq=False)
class Fidelity:
    """Distances between states, and errors of predictions.

    Attributes
    ----------
    fitted, universal : ndarray (layers + 1,)
        Mean squared difference per entry of the state between the transformer and the rule with
        its fitted constants, and the rule with eta = 1 and gamma = 1.9; before the first layer and
        after every one. Mean over a batch, median over batches.
    model_error, fitted_error, universal_error : float
        Mean squared error per entry of D, likewise.
    """

    fitted: np.ndarray
    universal: np.ndarray
    model_error: float
    fitted_error: float
    universal_error: float

    def __str__(self) -> str:
        lines = ["layer  fitted constants  universal (1, 1.9)   x 1e-4"]
        for index, (fitted, universal) in enumerate(zip(self.fitted, self.universal, strict=True)):
            lines.append(f"{index:5d}  {1e4 * fitted:16.3g}  {1e4 * universal:18.3g}")
        lines.append(
            f"error of D: transformer {self.model_error:.3g}, fitted {self.fitted_error:.3g}, "
            f"universal {self.universal_error:.3g}"
        )
        return "\n".join(lines)


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
        The paper's, noiseless, by default.
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
    task = task or task_of(model.config)
    universal = rule.with_constants(*UNIVERSAL, task=task, batches=batches)
    generator = torch.Generator().manual_seed(seed)
    distances: dict[str, list[list[float]]] = {"fitted": [], "universal": []}
    errors: list[list[float]] = []
    with torch.no_grad():
        for _ in range(batches):
            batch = sample_batch(task, size, generator=generator)
            states = list(model.states(model.prompt(batch)))
            predictions = [model.predict(batch)]
            for name, each in (("fitted", rule), ("universal", universal)):
                pairs = zip(states, each.states(batch), strict=True)
                distances[name].append([float((Z - Y).square().mean()) for Z, Y in pairs])
                predictions.append(each.predict(batch))
            errors.append([float((D - batch.D).square().mean()) for D in predictions])
    model_error, fitted_error, universal_error = typical(errors).tolist()
    return Fidelity(
        typical(distances["fitted"]),
        typical(distances["universal"]),
        model_error,
        fitted_error,
        universal_error,
    )
