"""Studies of bounds and of chosen columns: what is optimised is what is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import bounds
from benchmarks.bounds import STRUCTURES, columns, optimise
from benchmarks.discovery import CHOICES, Scored
from eagle.transformer import LayerRule, ModelConfig, Rule, TaskConfig, sample_batch
from eagle.transformer.rule import reference
from eagle.transformer.train import TEST_SEED
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
