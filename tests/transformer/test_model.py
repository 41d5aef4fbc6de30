"""The model: the mask leaks nothing, every regime's constraint holds, ideal weights are EAGLE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from eagle.transformer import (
    Batch,
    LayerRule,
    LinearTransformer,
    ModelConfig,
    Rule,
    TaskConfig,
    sample_batch,
)
from eagle.transformer.config import REGIMES
from tests.tolerances import tolerance

CONFIGS = [
    *(ModelConfig(regime) for regime in REGIMES),
    ModelConfig(heads=3),
    ModelConfig("compute-limited", heads=2, rank=3),
    ModelConfig("compute-limited", lift="full"),
    ModelConfig("unconstrained", d=7, n=5, d_hidden=1, n_hidden=3, layers=2),
    ModelConfig("distributed", d=7, n=6, d_hidden=1, n_hidden=3, machines=2),
    ModelConfig("estimation", d=4, n=6, d_hidden=3, n_hidden=1, layers=1),
]


def name(config: ModelConfig) -> str:
    return f"{config.regime}-{config.d}x{config.n}-{config.heads}-{config.lift}"


def random_model(config: ModelConfig, seed: int = 0) -> LinearTransformer:
    return LinearTransformer(config, torch.Generator().manual_seed(seed)).double()


def prompts(config: ModelConfig, size: int = 6, seed: int = 1) -> Batch:
    sides = {side: getattr(config, side) for side in ("d", "n", "d_hidden", "n_hidden")}
    rank = min(4, config.d, config.n)
    return sample_batch(TaskConfig(**sides, rank=rank), size, seed=seed, dtype=torch.float64)


def ideal(config: ModelConfig, seed: int = 0) -> Rule:
    """A rule with different constants and sketches in every layer."""
    rng = np.random.default_rng(seed)
    layers = []
    for index in range(config.layers):
        S = None
        if config.regime == "compute-limited":
            S = np.linalg.qr(rng.standard_normal((config.d, config.rank)))[0]
        layers.append(LayerRule(0.01 + 0.01 * index, 0.02 + 0.03 * index, 1.0, S))
    return Rule(config, tuple(layers))


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_the_hidden_block_is_not_read(config):
    model, batch = random_model(config), prompts(config)
    other = batch._replace(D=prompts(config, seed=2).D)
    assert torch.equal(model.predict(batch), model.predict(other))
    assert model.predict(batch).abs().max() > 0


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_complete_tokens_do_not_read_incomplete_ones(config):
    model, batch = random_model(config), prompts(config)
    Z = model.prompt(batch)
    Y = Z.clone()
    Y[:, config.complete :] += 1
    for before, after in zip(model.states(Z), model.states(Y), strict=True):
        assert torch.equal(before[:, : config.complete], after[:, : config.complete])
        assert not torch.equal(before[:, config.complete :], after[:, config.complete :])


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_incomplete_tokens_do_not_read_each_other(config):
    if config.incomplete == 1:
        config = replace(config, d_hidden=2, n_hidden=2)
    model, batch = random_model(config), prompts(config)
    Z = model.prompt(batch)
    Y = Z.clone()
    Y[:, -1] += 1
    for before, after in zip(model.states(Z), model.states(Y), strict=True):
        assert torch.equal(before[:, :-1], after[:, :-1])


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_the_short_last_layer_changes_nothing(config):
    model, batch = random_model(config), prompts(config)
    Z = model.prompt(batch)
    *_, last = model.states(Z)
    assert torch.allclose(model(Z), model.read(last), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_attention_is_the_formula_of_the_paper(config):
    """Z + sum_h (Z W_Q (Z W_K)^T . M) Z W_V W_P^T, with every head's weights written out."""
    model, batch = random_model(config), prompts(config)
    Z = model.prompt(batch)
    mask = (torch.arange(Z.shape[1]) < config.complete).double()
    size = sum(config.machine_features)
    for index, (before, after) in enumerate(
        zip(list(model.states(Z))[:-1], list(model.states(Z))[1:], strict=True)
    ):
        expected = before.clone()
        for head in range(model.projection.shape[1]):
            start = head * size if config.regime == "distributed" else 0
            own = before[..., start : start + size]
            shared = head % model.query.shape[1]
            queries = own @ model.query[index, shared]
            if config.regime == "estimation":
                queries[:, config.complete :] += model.bias[index]
            scores = queries @ (own @ model.key[index, shared]).mT * mask
            expected += scores @ own @ model.value[index, shared] @ model.projection[index, head].mT
        assert torch.allclose(after, expected, rtol=1e-12, atol=1e-14)


def test_low_rank_attention_has_low_rank():
    config = ModelConfig("compute-limited", rank=4)
    model = random_model(config)
    assert (torch.linalg.matrix_rank(model.W_QK) == 4).all()
    assert (torch.linalg.matrix_rank(model.W_VP) == 4 + config.d_hidden).all()
    full = random_model(replace(config, lift="full"))
    assert (torch.linalg.matrix_rank(full.W_QK) == 4).all()
    assert (torch.linalg.matrix_rank(full.W_VP) == config.features).all()


def test_a_machine_scores_and_sends_its_own_block_only():
    """With one head's projection alone, the update has no gradient in the other machines' data."""
    config = ModelConfig("distributed", layers=1)
    size = sum(config.machine_features)
    for machine in range(config.machines):
        model = random_model(config)
        with torch.no_grad():
            silent = [other for other in range(config.machines) if other != machine]
            model.projection[:, silent] = 0
        Z = model.prompt(prompts(config)).requires_grad_()
        *_, after = model.states(Z)
        (gradient,) = torch.autograd.grad((after - Z).square().sum(), Z)
        forbidden = torch.ones(config.features, dtype=torch.bool)
        forbidden[machine * size : (machine + 1) * size] = False
        assert (gradient[..., forbidden] == 0).all()
        assert (gradient[..., ~forbidden].abs().sum(-1)[:, : config.complete] > 0).all()


def test_machines_share_queries_keys_and_values():
    model = random_model(ModelConfig("distributed"))
    assert model.query.shape[1] == model.key.shape[1] == model.value.shape[1] == 1
    assert model.projection.shape[1] == 3


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_ideal_weights_are_the_library_s_own_step(config):
    if config.heads > 1:
        config = replace(config, heads=1)
    rule = ideal(config)
    model, batch = rule.model().requires_grad_(False), prompts(config)
    states = list(model.states(model.prompt(batch)))
    for Z, Y in zip(states, rule.states(batch), strict=True):
        assert float((Z - Y).norm()) <= tolerance(np.float64) * config.features * float(Y.norm())
    assert torch.allclose(model.predict(batch), rule.predict(batch), rtol=1e-12, atol=1e-14)
    assert float(model.predict(batch).abs().max()) > 0


@pytest.mark.parametrize("layers", [1, 3])
def test_estimation_gives_w_with_w_c_equal_to_d(layers):
    """W_l C = D_l for every C, after every number of layers."""
    config = ModelConfig("estimation", layers=layers)
    batch = prompts(config)
    rule = ideal(config)
    completing = replace(rule, config=replace(config, regime="unconstrained")).model()
    model = rule.model()
    W = model(model.prompt(batch)).detach()  # (batch, d', d)
    for seed in range(3):
        C = torch.randn(
            batch.C.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        D = completing.predict(batch._replace(C=C)).detach()
        assert float((W @ C - D).norm()) <= tolerance(np.float64) * float(D.norm())


def test_estimation_does_not_read_c():
    config = ModelConfig("estimation")
    model, batch = random_model(config), prompts(config)
    other = batch._replace(C=prompts(config, seed=2).C)
    assert torch.equal(model.prompt(batch), model.prompt(other))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"regime": "central"}, "regime must be one of unconstrained"),
        ({"regime": "compute-limited", "rank": 19}, "rank must be at most d = 18"),
        ({"regime": "distributed", "machines": 4}, "machines must divide n = 18"),
        ({"regime": "distributed", "heads": 2}, "heads must be 1"),
        ({"lift": "full"}, "lift must be 'paper' in the unconstrained regime"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"deviation": 0.0}, "deviation must be finite, positive"),
    ],
)
def test_impossible_models_are_refused(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ModelConfig(**wrong)
