"""Read the algorithm out of the weights: prune, quantise, test the structure, fit the constants.

Every step of the paper's section 4 is a function; `extract` takes them all and says whether the
model follows the rule that it found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from eagle.transformer.config import TaskConfig
from eagle.transformer.data import Batch
from eagle.transformer.model import LinearTransformer
from eagle.transformer.rule import LayerRule, Rule, largest_norm, reference, sketched, task_of
from eagle.transformer.structure import array, cluster, read_layer, relevant, sparsify
from eagle.transformer.train import TEST_SEED, evaluate, typical

TOLERATED = 1.05  # growth of the test error up to which a head counts as unused
OFF_PATTERN = 0.5  # more energy off the pattern than on it is no pattern
DEVIATION = 0.25  # relative squared distance of predictions at which a rule is not the model's
LEARNED = 1 / 3  # of the variance of D: an error above this is no prediction


def extract(
    model: LinearTransformer,
    *,
    task: TaskConfig | None = None,
    batches: int = 16,
    seed: int = 0,
) -> Rule:
    """Read the rule out of a model's weights, and say whether the model follows it.

    Parameters
    ----------
    model : LinearTransformer
        Trained, or not.
    task : TaskConfig, optional
        On which norms and errors are measured; by default what the model was trained on, but
        without noise, and the paper's if that is not known.
    batches : int
        Of 1024 prompts each, for norms and errors.
    seed : int
        Of the prompts on which norms are measured.

    Returns
    -------
    Rule
        With ``learned`` False and ``reasons`` if the model does something else.

    Raises
    ------
    ValueError
        Weights that are not finite.

    References
    ----------
    .. [1] arXiv:2509.19702, sections 4 and 5.

    Examples
    --------
    >>> import torch
    >>> from eagle.transformer import LinearTransformer, ModelConfig, extract
    >>> rule = extract(LinearTransformer(ModelConfig(), torch.Generator().manual_seed(0)))
    >>> rule.learned
    False
    """
    task = task or task_of(model.config, model.task)
    model = _on_cpu(model)
    model, heads = prune(model, task, batches=batches)
    layers = [read_layer(model, index) for index in range(model.config.layers)]
    norms = _norms(model, layers, reference(task, batches, seed))
    layers = [replace(layer, norm=norm) for layer, norm in zip(layers, norms, strict=True)]
    rule = Rule(model.config, tuple(layers), heads=heads, task=task)
    tests = reference(task, batches, TEST_SEED)
    with torch.no_grad():
        predictions = [(model.predict(b), rule.predict(b), b.D) for b in tests]
    distance = float(typical([float((m - r).square().mean()) for m, r, _ in predictions]))
    rule = replace(
        rule,
        model_error=float(typical([float((m - D).square().mean()) for m, _, D in predictions])),
        rule_error=float(typical([float((r - D).square().mean()) for _, r, D in predictions])),
        quantised_error=evaluate(quantised(model), task, batches=batches),
        distance=distance,
    )
    variance = float(np.median([D.square().mean() for _, _, D in predictions]))
    size = float(typical([float(m.square().mean()) for m, _, _ in predictions]))
    return replace(rule, reasons=tuple(_reasons(rule, variance, size)))


def _reasons(rule: Rule, variance: float, size: float) -> Iterator[str]:
    if not rule.model_error < LEARNED * variance:
        yield (
            f"its test error, {rule.model_error:.3g}, is not far below the variance of D, "
            f"{variance:.3g}"
        )
    for index, layer in enumerate(rule.layers):
        structure = layer.structure
        if structure is None:
            continue
        for name in ("QK", "VP", "bias"):
            energy = getattr(structure, f"off_pattern_{name}")
            if energy is not None and not energy < OFF_PATTERN:
                yield f"layer {index}: {energy:.0%} of the energy of W_{name} is off the pattern"
        if not layer.gamma > 0:
            yield f"layer {index}: gamma = {layer.gamma:.3g}, so it does not contract C"
        if index + 1 < len(rule.layers) and not layer.eta > 0:
            yield f"layer {index}: eta = {layer.eta:.3g}, so it does not condition A"
    if not rule.distance < DEVIATION * size:
        share = rule.distance / size
        yield f"the rule's predictions are {share:.3g} of their mean square away from the model's"


def prune(
    model: LinearTransformer, task: TaskConfig | None = None, *, batches: int = 16
) -> tuple[LinearTransformer, tuple[int, ...]]:
    """Remove heads whose removal does not raise the test error by more than 5 %.

    Parameters
    ----------
    model : LinearTransformer
        With any number of heads; one-headed and distributed models are returned as they are.
    task : TaskConfig, optional
        See `extract`.
    batches : int
        See `extract`.

    Returns
    -------
    LinearTransformer, tuple of int
        The smaller model, and which heads it has left.
    """
    config, kept = model.config, list(range(model.config.heads))
    if len(kept) == 1:
        return model, (0,)
    task = task or task_of(config, model.task)
    best = evaluate(model, task, batches=batches)
    while len(kept) > 1:
        trials = [[head for head in kept if head != out] for out in kept]
        errors = [evaluate(_with_heads(model, trial), task, batches=batches) for trial in trials]
        least = int(np.argmin(errors))
        if not errors[least] <= TOLERATED * best:
            break
        kept = trials[least]
    return (model if len(kept) == config.heads else _with_heads(model, kept)), tuple(kept)


def quantised(model: LinearTransformer) -> LinearTransformer:
    """The model with every W_QK sparsified to 2 values and every W_VP to 3.

    Low-rank blocks are not sparse: compute-limited models keep the factors of their nearest
    projector instead.

    Parameters
    ----------
    model : LinearTransformer
        Any.

    Returns
    -------
    LinearTransformer
    """
    if model.config.regime == "compute-limited":
        layers = tuple(read_layer(model, index) for index in range(model.config.layers))
        return Rule(model.config, layers).model().to(model.query.dtype)
    out = LinearTransformer(model.config).to(model.query.dtype)
    eye = torch.eye(model.query.shape[-2])
    with torch.no_grad():
        for index in range(model.config.layers):
            W_QK = array(model.W_QK[index])
            W_VP = relevant(model, index)
            quantised_QK = np.stack([cluster(sparsify(W), 2) for W in W_QK])
            quantised_VP = np.stack([cluster(sparsify(W), 3) for W in W_VP])
            out.query[index] = torch.from_numpy(quantised_QK)
            out.key[index] = eye
            out.value[index] = eye
            out.projection[index] = torch.from_numpy(quantised_VP).mT
            if model.config.regime == "estimation":
                bias = array(model.bias[index] @ model.key[index, 0].mT)
                out.bias[index] = torch.from_numpy(cluster(sparsify(bias), 2))
    return out


def _norms(
    model: LinearTransformer, layers: Sequence[LayerRule], references: list[Batch]
) -> list[float]:
    """Batch maximum of ||A_l S_l||_2 before every layer, median over batches."""
    visible, hidden = model.config.machine_features
    maxima = []
    with torch.no_grad():
        for batch in references:
            states = islice(model.states(model.prompt(batch)), len(layers))  # before each layer
            complete = [Z[:, : model.config.complete] for Z in states]
            parts = [Z.unflatten(-1, (-1, visible + hidden))[..., :visible] for Z in complete]
            A = [part.transpose(1, 2) for part in parts]  # (batch, machines, tokens, visible)
            pairs = zip(A, layers, strict=True)
            maxima.append([largest_norm(sketched(own, layer.sketch)) for own, layer in pairs])
    return [float(norm) for norm in np.median(maxima, axis=0)]


def _with_heads(model: LinearTransformer, kept: list[int]) -> LinearTransformer:
    out = LinearTransformer(replace(model.config, heads=len(kept))).to(model.query.dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            chosen = parameter if name == "bias" else parameter[:, kept]
            getattr(out, name).copy_(chosen)
    return out


def _on_cpu(model: LinearTransformer) -> LinearTransformer:
    weights = {name: value.float() for name, value in model.state_dict().items()}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError("model has weights that are not finite")
    out = LinearTransformer(model.config)
    out.load_state_dict(weights)
    return out
