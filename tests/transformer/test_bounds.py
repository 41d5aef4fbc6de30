"""Studies of bounds and of chosen columns: what is optimised is what is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import bounds
from benchmarks.bounds import STRUCTURES, columns, optimise
from benchmarks.discovery import CHOICES, Scored
from benchmarks.studies import PENALTY, _Penalised
from eagle.transformer import (
    LayerRule,
    ModelConfig,
    Rule,
    TaskConfig,
    TrainConfig,
    sample_batch,
    skeleton,
)
from eagle.transformer.rule import reference
from eagle.transformer.train import TEST_SEED, Trainer
from tests.tolerances import relative_error

TASK = TaskConfig()
CONFIG = ModelConfig("compute-limited", layers=2)


def test_as_many_columns_as_the_rank_say_everything():
    # Prompts are drawn in single precision, and A has condition numbers of some hundreds.
    exact = (1e3 * np.finfo(np.float32).eps) ** 2
    assert columns(TASK, 10, batches=1) < exact < 1e-3 * columns(TASK, 5, batches=1)


def test_no_five_directions_are_better_than_the_first_five_columns():
    S = np.linalg.qr(np.random.default_rng(0).standard_normal((18, 5)))[0]
    errors = []
    for batch in reference(TASK, 4, TEST_SEED):
        A, B, C, D = (X.double().numpy() for X in batch)
        errors.append(np.square(B @ S @ np.linalg.pinv(A @ S) @ C - D).mean())
    # Both are medians of four means over 1024 prompts of a heavy-tailed error.
    assert np.median(errors) == pytest.approx(columns(TASK, 5, batches=4), rel=0.3)


@pytest.mark.parametrize("start", ["random", "shared"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_rule_is_what_was_optimised(structure, start):
    free = bounds._Free(CONFIG, TASK, structure, start, 3)
    batch = sample_batch(TASK, 20, seed=1)
    assert relative_error(free.rule().predict(batch).numpy(), free(batch).detach().numpy()) < 1e-5
    sketches = [layer.sketch for layer in free.rule().layers]
    assert np.array_equal(*sketches) == (start == "shared" or structure == "one sketch")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_optimisation_lowers_the_error(structure):
    first, later = (
        optimise(CONFIG, TASK, structure, start="shared", steps=steps).error for steps in (1, 60)
    )
    assert later < 0.9 * first


def test_the_best_rule_on_the_way_is_kept():
    """Steps of this rate lead out of the region in which the rule converges at all."""
    config = ModelConfig("compute-limited")
    free = bounds._Free(config, TASK, "full lift", "shared", 0)
    settings = {"steps": 10, "seed": 0, "rate": 3.0, "batch_size": 64}
    tests = reference(TASK, 2, TEST_SEED)

    def error():
        with torch.no_grad():
            return np.median([float((free(b) - b.D).square().mean()) for b in tests])

    first = error()
    bounds.descend(list(free.parameters()), free, TASK, keep_best=True, **settings)
    assert error() <= 1.1 * first
    bounds.descend(list(free.parameters()), free, TASK, **settings)
    assert not error() <= 1.1 * first


def test_the_penalty_is_on_what_leaves_predictions_alone():
    config = TrainConfig.paper("compute-limited", batch=8, test_batches=1)
    trainer, plain = (kind(config, torch.device("cpu")) for kind in (_Penalised, Trainer))
    batch = sample_batch(config.task, 8, seed=0)
    with torch.no_grad():
        penalty = float(trainer.loss(batch) - plain.loss(batch))
    W = plain.model.W_VP.detach()[:, 0]
    assert penalty == pytest.approx(PENALTY * float((W[:, 18:, :18] ** 2).sum()), rel=1e-3)
    dropped = skeleton(plain.model, flat=False).model
    trainer.model = dropped
    with torch.no_grad():
        unchanged = (dropped.predict(batch) - batch.D).square().mean()
        assert trainer.loss(batch) == unchanged


@pytest.mark.parametrize("choice", CHOICES)
def test_every_layer_picks_as_many_columns_as_it_may(choice):
    model = Scored(ModelConfig("compute-limited"), TASK, choice, 0)
    _, picks, largest = model(sample_batch(TASK, 7, seed=1))
    for each in (*picks, *largest):
        assert ((each == 0) | (each == 1)).all()
        assert (each.sum(-1) == 5).all()
    if choice in ("same columns", "other columns"):
        assert torch.equal(picks[0], picks[1]) == (choice == "same columns")
    sizes = sample_batch(TASK, 7, seed=1).A.mT.square().sum(-2)  # the rule sees A transposed
    assert torch.equal(largest[0].bool(), sizes >= sizes.topk(5).values[:, -1:])


def test_chosen_columns_are_a_sketch_of_the_identity():
    config = ModelConfig("compute-limited")
    model = Scored(config, TASK, "same columns", 0)
    S = np.eye(18)[:, :5]
    steps = model.logarithms.detach().exp().double().numpy()
    layers = tuple(LayerRule(eta, gamma, 1.0, S) for eta, gamma in steps)
    rule = Rule(replace(config, lift="full"), layers)
    batch = sample_batch(TASK, 20, seed=1)
    found = model(batch)[0].detach().numpy()
    assert relative_error(found, rule.predict(batch).numpy()) < 1e-5
