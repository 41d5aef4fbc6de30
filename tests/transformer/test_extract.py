"""Extraction: ideal weights give exactly their rule, and a model without the rule is told so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from eagle.transformer import (
    LayerRule,
    LinearTransformer,
    ModelConfig,
    Rule,
    TaskConfig,
    distances,
    evaluate,
    extract,
    fidelity,
    load_pretrained,
    load_run,
    pretrained,
    pretrained_path,
    sample_batch,
    skeleton,
)
from eagle.transformer.config import REGIMES, SPECTRA
from eagle.transformer.extract import prune, quantised
from eagle.transformer.rule import largest_norm, task_of
from eagle.transformer.structure import cluster, sparsify
from tests.tolerances import relative_error, tolerance
from tests.transformer.test_model import ideal, random_model

CONFIGS = [
    *(ModelConfig(regime) for regime in REGIMES),
    ModelConfig("compute-limited", lift="full"),
    ModelConfig("distributed", d=7, n=6, d_hidden=1, n_hidden=3, machines=2),
]
KINDS = [
    {"spectrum": spectrum, "constant": constant}
    for spectrum in SPECTRA
    for constant in (False, True)
]
CHECKPOINTS = [
    pytest.param(pretrained_path(*each, **kind), id=pretrained_path(*each, **kind).stem)
    for kind in KINDS
    for each in pretrained(**kind)
]
# In float32: the weights that `extract` reads.
FLOAT = tolerance(np.float32, constant=20)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regime}-{c.d}-{c.lift}")
def test_ideal_weights_extract_to_exactly_their_rule(config):
    wanted = ideal(config)
    rule = extract(wanted.model(), batches=4)
    assert all(layer.structure.sparse for layer in rule.layers) == (
        config.regime != "compute-limited"
    )
    for index, (found, layer) in enumerate(zip(rule.layers, wanted.layers, strict=True)):
        last = index + 1 == config.layers
        assert found.gamma_step == pytest.approx(layer.gamma_step, rel=FLOAT)
        assert found.eta_step == pytest.approx(0 if last else layer.eta_step, rel=FLOAT)
        s = found.structure
        for energy in (s.off_pattern_QK, s.off_pattern_VP, s.off_pattern_bias or 0.0):
            assert energy < FLOAT
        if layer.sketch is not None:
            assert s.rank == config.rank
            assert relative_error(
                found.sketch @ found.sketch.T, layer.sketch @ layer.sketch.T
            ) < tolerance(np.float32, config.d)
            assert np.allclose(s.eigenvalues, [1] * 5 + [0] * 13, atol=1e-5)
            if not last:
                full = config.lift == "full"
                assert s.overlap == pytest.approx(5 / 18 * 5 / 18 * 18 / 5 if full else 1, abs=1e-5)
                assert s.full == pytest.approx(1 if full else 5 / 18, abs=1e-5)
    assert rule.distance < 1e-10


def test_a_lift_of_its_own_is_read_out():
    """Weights of unequal sizes, and a lift that has nothing to do with the sketch."""
    rng = np.random.default_rng(1)
    layers = []
    for layer in ideal(ModelConfig("compute-limited")).layers:
        S = layer.sketch * np.sqrt([1.6, 1.3, 1.0, 0.7, 0.4])
        P = rng.standard_normal((18, 5)) @ rng.standard_normal((5, 18))
        P *= np.sign(np.trace(P)) / np.linalg.svd(P, compute_uv=False)[:5].mean()
        layers.append(replace(layer, sketch=S, lift=P))
    wanted = Rule(ModelConfig("compute-limited"), tuple(layers))
    rule = extract(wanted.model(), batches=4)
    for found, layer in zip(rule.layers[:-1], wanted.layers, strict=False):
        assert found.gamma_step == pytest.approx(layer.gamma_step, rel=FLOAT)
        assert found.eta_step == pytest.approx(layer.eta_step, rel=FLOAT)
        assert relative_error(found.lift, layer.lift) < tolerance(np.float32, 18)
        assert relative_error(
            found.sketch @ found.sketch.T, layer.sketch @ layer.sketch.T
        ) < tolerance(np.float32, 18)
        assert found.structure.overlap < 0.5
    batch = sample_batch(TaskConfig(), 3, seed=0, dtype=torch.float64)
    names: dict = {}
    exec(rule.code(), names)
    for A, B, C, D in zip(
        *(X.numpy() for X in batch[:3]), rule.predict(batch).numpy(), strict=True
    ):
        assert relative_error(names["rule"](A, B, C), D) < tolerance(np.float64)


def test_a_dropped_direction_is_read_out():
    """One of six directions is neither seen nor lifted: a sketch of rank five."""
    config = ModelConfig("distributed")
    Q = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0][:, :5]
    layers = list(ideal(config).layers)
    layers[2] = replace(layers[2], sketch=Q, lift=Q @ Q.T)
    wanted = Rule(config, tuple(layers))
    rule = extract(wanted.model(), batches=4)
    found = rule.layers[2]
    assert [layer.sketch is None for layer in rule.layers] == [True, True, False, True]
    assert found.structure.rank == 5
    assert found.structure.off_pattern_QK == pytest.approx(1 / 6, rel=1e-4)
    assert found.gamma_step * relative_size(found.sketch, 6) == pytest.approx(
        layers[2].gamma_step, rel=FLOAT
    )
    assert rule.distance < 1e-10
    batch = sample_batch(TaskConfig(), 3, seed=0, dtype=torch.float64)
    names: dict = {}
    exec(rule.code(), names)
    for A, B, C, D in zip(
        *(X.numpy() for X in batch[:3]), rule.predict(batch).numpy(), strict=True
    ):
        assert relative_error(names["rule"](A, B, C), D) < tolerance(np.float64)


def relative_size(sketch: np.ndarray, n: int) -> float:
    """The largest eigenvalue of S S^T, whose mean over all n is 1."""
    assert np.trace(sketch @ sketch.T) == pytest.approx(n)
    return float(np.linalg.norm(sketch, 2) ** 2)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regime}-{c.d}-{c.lift}")
def test_the_rule_s_own_code_runs_and_agrees(config):
    rule = ideal(config)
    batch = sample_batch(task_of(config), 3, seed=0, dtype=torch.float64)
    names: dict = {}
    exec(rule.code(), names)
    for A, B, C, D in zip(
        *(X.numpy() for X in batch[:3]), rule.predict(batch).numpy(), strict=True
    ):
        value = names["rule"](A, B) @ C if config.regime == "estimation" else names["rule"](A, B, C)
        assert relative_error(value, D) < tolerance(np.float64)


def test_the_sign_of_a_head_is_a_convention():
    model = ideal(ModelConfig()).model()
    with torch.no_grad():
        model.query[1] *= -2
        model.value[1] *= -0.5
    rule, wanted = extract(model, batches=4), ideal(ModelConfig())
    assert rule.layers[1].gamma_step == pytest.approx(wanted.layers[1].gamma_step, rel=FLOAT)
    assert rule.layers[1].eta_step == pytest.approx(wanted.layers[1].eta_step, rel=FLOAT)


@pytest.mark.parametrize("regime", REGIMES)
def test_an_untrained_model_has_no_rule(regime):
    rule = extract(random_model(ModelConfig(regime)), batches=4)
    assert not rule.learned
    assert any("test error" in reason for reason in rule.reasons)
    assert any("off the pattern" in reason for reason in rule.reasons)
    assert "does NOT follow" in str(rule)


def test_a_model_trained_on_the_wrong_sign_has_no_rule():
    """With +D read instead of -D training finds another, worse optimum."""
    generator = torch.Generator().manual_seed(0)
    model = LinearTransformer(ModelConfig(), generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(400):
        batch = sample_batch(TaskConfig(), 128, generator=generator)
        loss = (-model.predict(batch) - batch.D).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        losses.append(loss.item())
    assert np.median(losses[-50:]) < 0.5 * np.median(losses[:10])  # it did learn something
    rule = extract(model, batches=4)
    assert not rule.learned
    assert any("gamma" in reason for reason in rule.reasons)


def test_ideal_weights_with_one_layer_reversed_are_found_out():
    model = load_pretrained("unconstrained")
    with torch.no_grad():
        model.projection[1] *= -1
    reasons = extract(model, batches=4).reasons
    assert any(reason.startswith("layer 1: gamma") for reason in reasons)
    assert any(reason.startswith("layer 1: eta") for reason in reasons)


@pytest.mark.parametrize("path", CHECKPOINTS)
def test_every_pretrained_model_follows_the_rule(path):
    run = load_run(path)
    assert path.stem.startswith(run.config.model.regime)
    assert path.stem.endswith(f"-{run.config.seed}")
    assert ("-variance-" in path.stem) == (run.config.task.spectrum == "variance")
    assert ("-constant-" in path.stem) == (run.config.cooldown == 0)
    assert run.steps == run.config.steps
    error = evaluate(run.model, run.config.task, size=run.config.batch)
    assert error == pytest.approx(run.test, rel=1e-6)
    rule = extract(run.model)
    assert rule.task == run.config.task
    assert rule.learned, rule.reasons
    assert rule.rule_error < 1.2 * rule.model_error


@pytest.mark.parametrize("path", CHECKPOINTS)
def test_every_pretrained_model_does_without_its_cross_blocks(path):
    found = skeleton(load_run(path).model)
    assert found.faithful, found.reasons
    assert found.distance < 0.1 * found.model_error
    assert max(found.dropped_QK) < 0.05


def test_the_paper_s_constants_are_found():
    rule = extract(load_pretrained("unconstrained", spectrum="variance"))
    assert 0.8 < rule.eta[0] < 1.3
    assert all(1 < gamma < 3 for gamma in rule.gamma)
    assert all(layer.structure.sparse for layer in rule.layers)
    assert rule.quantised_error < 1.05 * rule.model_error


def test_heads_that_do_nothing_are_pruned():
    one = ideal(ModelConfig()).model()
    many = LinearTransformer(ModelConfig(heads=4)).double()
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            getattr(many, name)[:, 3:] = parameter
        many.query[:, 2] = torch.eye(20) * 1e-6
    pruned, kept = prune(many, batches=2)
    assert kept == (3,)
    batch = sample_batch(TaskConfig(), 4, seed=0, dtype=torch.float64)
    found, wanted = (model.predict(batch).detach() for model in (pruned, one))
    assert relative_error(found, wanted) <= tolerance(np.float64)
    assert extract(many, batches=4).gamma == pytest.approx(extract(one, batches=4).gamma, rel=1e-5)


def test_heads_that_share_the_work_add_up():
    one = ideal(ModelConfig()).model()
    two = LinearTransformer(ModelConfig(heads=2)).double()
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            getattr(two, name)[:] = parameter
        two.projection[:, 0] *= 0.3
        two.projection[:, 1] *= 0.7
    rule = extract(two, batches=4)
    assert rule.heads == (0, 1)
    assert rule.gamma == pytest.approx(extract(one, batches=4).gamma, rel=1e-5)


def test_sparsify_keeps_what_stands_out():
    W = np.array([[1.0, 0.1], [-0.2, -2.0]])  # mean 0.825, threshold 1.2375
    assert np.array_equal(sparsify(W), [[0, 0], [0, -2]])


def test_cluster_finds_the_values_and_zero(rng):
    W = np.zeros((20, 20))
    W[:18, :18] = np.diag(rng.normal(-1, 0.05, 18))
    W[18:, 18:] = np.diag(rng.normal(-3, 0.05, 2))
    W[0, 1] = 0.05
    found = cluster(W, 3)
    values = np.unique(found)
    assert len(values) == 3
    assert np.allclose(values, [-3, -1, 0], atol=0.1)
    assert found[0, 1] == 0


def test_quantised_ideal_weights_are_the_same():
    for config in CONFIGS[:4]:
        model = ideal(config).model().float()
        batch = sample_batch(task_of(config), 4, seed=0)
        first, other = model.predict(batch), quantised(model).predict(batch)
        assert float((first - other).detach().norm()) <= 1e-5 * float(first.detach().norm())


def test_the_largest_norm_of_many_is_found(rng):
    for rank in (1, 2, 6):
        factors = rng.standard_normal((200, 6, rank)), rng.standard_normal((200, rank, 5))
        A = torch.from_numpy(factors[0] @ factors[1]).float()
        norms = np.linalg.norm(A.numpy().astype(float), 2, axis=(1, 2))
        assert largest_norm(A) == pytest.approx(norms.max(), rel=FLOAT)
    A[0, 0, 0] = torch.inf  # a prompt that blew up does not count
    assert np.isfinite(largest_norm(A))


def test_universal_constants_use_norms_of_their_own():
    rule = extract(load_pretrained("unconstrained"), batches=4).with_constants(1.0, 1.9, batches=4)
    assert rule.eta == pytest.approx([1.0] * 4)
    assert rule.gamma == pytest.approx([1.9] * 4)
    norms = [layer.norm for layer in rule.layers]
    assert norms == sorted(norms, reverse=True)
    # eta = 1: s (1 - s^2 / |A|^2) is at most 2 / sqrt(27) of |A|.
    assert norms[1] <= norms[0] * 2 / 27**0.5 * 1.02


def largest_sketched(rule: Rule, task: TaskConfig) -> list[float]:
    """||A_l S_l|| of Algorithm 1 by numpy: batch maxima, median of two batches."""
    generator = torch.Generator().manual_seed(0)
    maxima = []
    for _ in range(2):
        batch = sample_batch(task, 1024, generator=generator)
        *states, _ = rule.states(batch)
        A = [Z[:, : rule.config.complete, : rule.config.d].double().numpy() for Z in states]
        pairs = zip(A, rule.layers, strict=True)
        maxima.append([np.linalg.norm(a @ each.sketch, 2, axis=(1, 2)).max() for a, each in pairs])
    return np.median(maxima, axis=0).tolist()


def test_step_sizes_are_in_units_of_the_norm_that_a_sketch_sees():
    """Algorithm 1 divides by ||A S||^2, which is well below ||A||^2 with 5 columns of 18."""
    wanted = ideal(ModelConfig("compute-limited"))
    task = task_of(wanted.config)
    rule = extract(wanted.model(), batches=2)
    norms = largest_sketched(wanted, task)
    assert [layer.norm for layer in rule.layers] == pytest.approx(norms, rel=1e-4)
    steps = [layer.gamma_step for layer in wanted.layers]
    assert rule.gamma == pytest.approx(
        [step * norm**2 for step, norm in zip(steps, norms, strict=True)], rel=1e-3
    )
    universal = wanted.with_constants(1.0, 1.9, batches=2)
    norms = largest_sketched(universal, task)
    assert [layer.norm for layer in universal.layers] == pytest.approx(norms, rel=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regime}-{c.d}-{c.lift}")
def test_fidelity_is_perfect_for_ideal_weights_and_for_nothing_else(config):
    rule = ideal(config)
    model = rule.model().float()
    table = fidelity(model, rule, batches=2, size=64)
    assert table.fitted[0] == table.universal[0] == 0
    assert (table.fitted < 1e-9).all()
    assert table.fitted_error == pytest.approx(table.model_error, rel=1e-3)
    layers = list(rule.layers)
    layers[1] = LayerRule(0, layers[1].gamma_step, 1.0, layers[1].sketch)
    other = fidelity(model, replace(rule, layers=tuple(layers)), batches=2, size=64)
    assert other.fitted[1] < 1e-9
    assert (other.fitted[2:] > 1e-8).all()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regime}-{c.d}-{c.lift}")
def test_ideal_weights_have_nothing_but_their_skeleton(config):
    model = ideal(config).model().requires_grad_(False)
    found = skeleton(model, flat=False, batches=2)
    assert found.faithful
    assert found.dropped_QK == found.dropped_VP == (0,) * config.layers
    batch = sample_batch(task_of(config), 4, seed=0, dtype=torch.float64)
    for Z, Y in zip(model.states(model.prompt(batch)), found.states(batch), strict=True):
        assert float((Z - Y).detach().norm()) <= tolerance(np.float64) * 20 * float(Z.norm())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regime}-{c.d}-{c.lift}")
def test_a_skeleton_keeps_every_block_of_the_rule_and_no_other(config):
    """Of random weights: zero outside the blocks, unchanged inside; the flat one as asked."""
    model = random_model(config)
    visible, hidden = config.machine_features
    size = visible + hidden
    for flat in (True, False):
        left = skeleton(model, flat=flat, batches=1).model
        W_QK, whole = left.W_QK.detach(), model.W_QK.detach()
        assert torch.allclose(W_QK[..., :visible, :visible], whole[..., :visible, :visible])
        assert not W_QK[..., visible:, :].any()
        assert not W_QK[..., visible:].any()
        for head in range(model.projection.shape[1]):
            for machine, start in enumerate(range(0, config.features, size)):
                own = config.transposed or machine == head
                block = left.W_VP.detach()[:, head, :, start : start + size]
                whole = model.W_VP.detach()[:, head, :, start : start + size]
                assert torch.allclose(block[:, visible:, visible:], whole[:, visible:, visible:])
                assert not block[:, :visible, visible:].any()
                for rows, there in ((slice(visible), own), (slice(visible, size), own and flat)):
                    wanted = whole[:, rows, :visible] * there
                    assert torch.allclose(block[:, rows, :visible], wanted)


def test_the_flat_block_changes_states_and_no_prediction():
    """It multiplies [A; B] from the right by I + ..., which leaves B A^+ alone: one layer of it,
    and then as many of the rule as make the error vanish."""
    rule = ideal(ModelConfig(layers=40)).with_constants(0.3, 0.9, batches=1)
    model = rule.model().requires_grad_(False)
    with torch.no_grad():
        model.projection[0, 0, :18, 18:] = 1e-3
    batch = sample_batch(TaskConfig(rank=3), 50, seed=0, dtype=torch.float64)
    Z = list(model.states(model.prompt(batch)))[1] - list(rule.states(batch))[1]
    assert float(Z[..., :18].abs().max()) > 1e-3
    assert float(Z[:, 18:, 18:].abs().max()) <= tolerance(np.float64)
    D = batch.D.numpy()
    for each in (rule, model):
        assert relative_error(each.predict(batch).numpy(), D) < 1e-3


@pytest.mark.parametrize("regime", REGIMES)
def test_a_model_that_needs_its_cross_blocks_is_told_so(regime):
    model = load_pretrained(regime)
    assert skeleton(model).faithful
    visible, _ = model.config.machine_features
    with torch.no_grad():  # complete tokens now ask by their hidden features, which are C and D
        model.query[1, :, visible:] = 10 * model.query[1].abs().max()
    found = skeleton(model, batches=4)
    assert not found.faithful
    assert any(reason.startswith("layer 1: ") for reason in found.reasons)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regime}-{c.d}-{c.lift}")
def test_algorithm_1_in_weights_is_read_out_to_the_letter(config):
    wanted = ideal(config)
    found = extract(wanted.model(), batches=4).literal(batches=4)
    for each, layer in zip(found.layers[:-1], wanted.layers, strict=False):
        assert each.eta_step == pytest.approx(layer.eta_step, rel=FLOAT)
        assert each.gamma_step == pytest.approx(layer.gamma_step, rel=FLOAT)
        assert each.lift is None
        if layer.sketch is not None:
            assert np.allclose(each.sketch.T @ each.sketch, np.eye(config.rank), atol=1e-12)
    batch = sample_batch(task_of(config), 5, seed=0, dtype=torch.float64)
    assert relative_error(found.predict(batch).numpy(), wanted.predict(batch).numpy()) < 10 * FLOAT


def test_to_the_letter_is_not_what_scaled_sketches_and_other_lifts_do():
    layers = [
        replace(each, sketch=each.sketch * np.sqrt([1.6, 1.3, 1.0, 0.7, 0.4]))
        for each in ideal(ModelConfig("compute-limited")).layers
    ]
    rule = Rule(ModelConfig("compute-limited"), tuple(layers))
    batch = sample_batch(TaskConfig(), 50, seed=0)
    moved = float((rule.predict(batch) - rule.literal(batches=1).predict(batch)).norm())
    assert moved > 0.01 * float(rule.predict(batch).norm())


@pytest.mark.parametrize("regime", REGIMES)
def test_distances_are_of_states_predictions_and_errors(regime):
    rule = ideal(ModelConfig(regime))
    model = rule.model().float()
    other = replace(rule, layers=(replace(rule.layers[0], eta_step=0.0), *rule.layers[1:]))
    task = task_of(rule.config)
    error, found = distances(
        model, {"same": rule, "other": other}, task=task, batches=1, size=64, seed=5
    )
    batch = sample_batch(task, 64, seed=5)
    D, E = model.predict(batch).detach(), other.predict(batch)
    assert error == pytest.approx(float((D - batch.D).square().mean()), rel=1e-6)
    assert found["same"].predictions < 1e-9
    assert found["other"].predictions == pytest.approx(float((D - E).square().mean()), rel=1e-6)
    assert found["other"].error == pytest.approx(float((E - batch.D).square().mean()), rel=1e-6)
    pairs = zip(model.states(model.prompt(batch)), other.states(batch), strict=True)
    wanted = [float((Z - Y).detach().square().mean()) for Z, Y in pairs]
    assert found["other"].states == pytest.approx(wanted, rel=1e-6)


def test_pretrained_models_are_named_by_regime_and_seed():
    with pytest.raises(ValueError, match="regime must be one of unconstrained"):
        load_pretrained("central")
    with pytest.raises(ValueError, match=r"seed must be one of 0.* for the distributed regime"):
        load_pretrained("distributed", seed=99)
    with pytest.raises(ValueError, match=r"regime must have checkpoints .* got 'estimation'"):
        load_pretrained("estimation", noisy=True, constant=True, spectrum="variance")
    for noisy, least in ((False, 2), (True, 1)):
        for regime in REGIMES:
            wanted = 3 if regime == "unconstrained" and not noisy else least
            there = pretrained(noisy=noisy, spectrum="variance")
            assert sum(name == regime for name, _ in there) >= wanted
            assert load_pretrained(regime, noisy=noisy).config.regime == regime


def test_one_reading_is_preferred_and_the_other_is_there(tmp_path):
    for name in ("distributed-1", "distributed-variance-0", "estimation-variance-2"):
        (tmp_path / f"{name}.safetensors").touch()
    assert pretrained(folder=tmp_path) == (("distributed", 1), ("estimation", 2))
    assert pretrained(folder=tmp_path, spectrum="deviation") == (("distributed", 1),)
    assert pretrained(folder=tmp_path, spectrum="variance") == (
        ("distributed", 0),
        ("estimation", 2),
    )
    paths = [
        pretrained_path("distributed", 1, folder=tmp_path),
        pretrained_path("distributed", 0, folder=tmp_path, spectrum="variance"),
        pretrained_path("estimation", 2, folder=tmp_path),
    ]
    assert [path.stem for path in paths] == [
        "distributed-1", "distributed-variance-0", "estimation-variance-2",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="seed must be one of 1 for the distributed regime, got 0"):
        pretrained_path("distributed", 0, folder=tmp_path)


def test_files_that_are_no_checkpoints_are_passed_over(tmp_path):
    for name in ("checkpoint", "central-0", "distributed-x", "distributed-7", "estimation-noisy-3"):
        (tmp_path / f"{name}.safetensors").touch()
    assert pretrained(folder=tmp_path) == (("distributed", 7),)
    assert pretrained(noisy=True, folder=tmp_path) == (("estimation", 3),)


def test_weights_that_are_not_finite_and_no_batches_are_refused():
    model = LinearTransformer(ModelConfig(), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="batches must be at least 1, got 0"):
        extract(model, batches=0)
    model.key.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="model has weights that are not finite"):
        extract(model)


def test_a_rule_without_a_model_prints():
    text = str(Rule(ModelConfig("distributed"), (LayerRule(0.1, 0.2, 2.0),)))
    assert "on each of 3 machines" in text
    assert "averaged" in text
