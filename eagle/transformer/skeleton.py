"""The weights without their cross blocks: what the paper's own extraction keeps of them.

`eagle.transformer.extract` looks for one sketch and one constant in the blocks of a layer. Here the
blocks stay as they were learned, and only what the rule has no room for is dropped::

    W_QK -> [[*, 0],        W_VP -> [[*, 0],       rows and columns: visible features, hidden ones;
             [0, 0]]                 [+, *]]       +: the flat block, kept or dropped

The flat block sends C and D into A and B: as ``[A; B] <- [A; B] (I + ...)``, which leaves
``B A^+`` alone. No error can tell what training puts there, so it is not zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from eagle.transformer.config import TaskConfig
from eagle.transformer.data import Batch
from eagle.transformer.model import LinearTransformer
from eagle.transformer.rule import reference, task_of
from eagle.transformer.train import TEST_SEED, typical

CROSS = 0.5  # more energy in the blocks that are dropped than in the others is no skeleton
DEVIATION = 0.25  # relative squared distance of predictions at which it is not the model's


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A model without its cross blocks.

    Attributes
    ----------
    model : LinearTransformer
        What is left.
    flat : bool
        Whether the flat block was kept.
    dropped_QK, dropped_VP : tuple of float
        Per layer, share of the energy (squared Frobenius norm) that was dropped. Of the last
        layer's W_VP only the columns that reach D count.
    model_error, error : float
        Test errors of the whole model and of what is left: mean square per entry of D.
    distance : float
        Mean squared distance between the two predictions.
    reasons : tuple of str
        Why what is left does *not* stand for the model; empty if it does.
    """

    model: LinearTransformer
    flat: bool
    dropped_QK: tuple[float, ...]
    dropped_VP: tuple[float, ...]
    model_error: float
    error: float
    distance: float
    reasons: tuple[str, ...]

    @property
    def faithful(self) -> bool:
        """Whether what is left does what the model does."""
        return not self.reasons

    def states(self, batch: Batch) -> Iterator[torch.Tensor]:
        """As `Rule.states`."""
        return self.model.states(self.model.prompt(batch))

    def predict(self, batch: Batch) -> torch.Tensor:
        """As `Rule.predict`."""
        return self.model.predict(batch)


def skeleton(
    model: LinearTransformer,
    *,
    flat: bool = True,
    task: TaskConfig | None = None,
    batches: int = 16,
) -> Skeleton:
    """Drop the cross blocks of a model's weights, keep the others as they were learned.

    Parameters
    ----------
    model : LinearTransformer
        Trained, or not.
    flat : bool
        Keep the block that sends C and D into A and B of the same machine.
    task : TaskConfig, optional
        On which errors are measured; by default what the model was trained on, without noise.
    batches : int
        Of 1024 prompts each, for the errors.

    Returns
    -------
    Skeleton
        With ``faithful`` False and ``reasons`` if the cross blocks mattered.

    References
    ----------
    .. [1] arXiv:2509.19702, section 4.

    Examples
    --------
    >>> from eagle.transformer import load_pretrained, skeleton
    >>> skeleton(load_pretrained("compute-limited")).faithful
    True
    """
    task = task or task_of(model.config, model.task)
    left, dropped_QK, dropped_VP = _strip(model, flat)
    predictions = []
    with torch.no_grad():
        for drawn in reference(task, batches, TEST_SEED):
            batch = Batch(*(X.to(model.query) for X in drawn))
            whole, part, D = model.predict(batch), left.predict(batch), batch.D
            pairs = ((whole, D), (part, D), (whole, part), (whole, torch.zeros_like(D)))
            predictions.append([float((x - y).square().mean()) for x, y in pairs])
    model_error, error, distance, size = typical(predictions).tolist()
    reasons = [
        f"layer {index}: {share:.0%} of the energy of W_{name} is in cross blocks"
        for name, shares in (("QK", dropped_QK), ("VP", dropped_VP))
        for index, share in enumerate(shares)
        if not share < CROSS
    ]
    if not distance < DEVIATION * size:
        reasons.append(
            f"without cross blocks predictions are {distance / size:.3g} of their mean square away"
        )
    return Skeleton(
        left, flat, dropped_QK, dropped_VP, model_error, error, distance, tuple(reasons)
    )


def _strip(
    model: LinearTransformer, flat: bool
) -> tuple[LinearTransformer, tuple[float, ...], tuple[float, ...]]:
    config = model.config
    visible, hidden = config.machine_features
    # Blocks that are kept have more than r + n' dimensions together: values of full size.
    limited = config.regime == "compute-limited"
    left = LinearTransformer(replace(config, lift="full") if limited else config)
    left = left.to(model.query)
    left.task = model.task
    size = visible + hidden
    heads = model.projection.shape[1]
    kept = torch.zeros(heads, size, config.features)
    for head in range(heads):
        own = 0 if config.transposed else head * size
        kept[head, :visible, own : own + visible] = 1
        kept[head, visible:, own : own + visible] = float(flat)
        for start in range(0, config.features, size):  # C and D go to every machine
            kept[head, visible:, start + visible : start + size] = 1
    reaches = torch.arange(config.features) % size >= visible
    kept = kept.to(model.query)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("query", "key", "bias"):
                getattr(left, name).copy_(parameter)
        left.query[:, :, visible:] = 0
        left.key[:, :, visible:] = 0
        left.value.copy_(torch.eye(size).to(model.query).expand_as(left.value))
        left.projection.copy_((model.W_VP * kept).mT)
        lost_QK, all_QK = model.W_QK - left.W_QK, model.W_QK
        lost_VP, all_VP = model.W_VP * (1 - kept), model.W_VP.clone()
        for W in (lost_VP, all_VP):
            W[-1] *= reaches.to(W)
        return left, _shares(lost_QK, all_QK), _shares(lost_VP, all_VP)


def _shares(lost: torch.Tensor, whole: torch.Tensor) -> tuple[float, ...]:
    """Energy of every layer's weights in the first relative to the second."""
    return tuple((lost.square().sum((1, 2, 3)) / whole.square().sum((1, 2, 3))).tolist())
