"""Training: it learns, it resumes to the last bit, it says when it failed."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from eagle.transformer import (
    LinearTransformer,
    ModelConfig,
    RunStatus,
    TaskConfig,
    TrainConfig,
    evaluate,
    load_run,
    train,
)
from eagle.transformer.config import REGIMES, SPECTRA
from eagle.transformer.train import Trainer

SHORT = {"batch": 64, "log_every": 10, "test_every": 30, "test_batches": 4}


def short(regime: str = "unconstrained", **changes) -> TrainConfig:
    return TrainConfig.paper(regime, **{"steps": 90, **SHORT, **changes})


def weights(run) -> dict:
    return {name: value.detach() for name, value in run.model.named_parameters()}


def equal(first, second) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def interrupted_after(steps: int, config: TrainConfig, folder, monkeypatch) -> None:
    """Train until somebody stops it."""
    left, advance = steps, torch.optim.Adam.step

    def step(*arguments, **options):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        return advance(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)


@pytest.mark.parametrize("regime", REGIMES)
def test_a_short_training_lowers_the_error(regime):
    run = train(short(regime, steps=240))
    assert run.status is RunStatus.DONE
    assert run.steps == 240
    assert run.test < 0.6 * run.untrained
    assert run.log[-1].loss < run.log[0].loss


def test_what_is_reported_is_what_the_model_does():
    config = short()
    run = train(config)
    error = evaluate(run.model, config.task, batches=4, size=64)
    assert error == run.test
    untrained = LinearTransformer(config.model, torch.Generator().manual_seed(0))
    assert evaluate(untrained, config.task, batches=4, size=64) == run.untrained


@pytest.mark.parametrize("regime", ["unconstrained", "estimation"])
def test_an_interrupted_run_resumes_to_the_same_result(regime, tmp_path, monkeypatch):
    whole = train(short(regime), tmp_path / "whole")
    interrupted_after(46, short(regime), tmp_path / "parts", monkeypatch)
    assert load_run(tmp_path / "parts").steps == 30
    parts = train(short(regime), tmp_path / "parts", resume=True)
    assert equal(whole, parts)
    assert [replace(r, seconds=0) for r in whole.log] == [replace(r, seconds=0) for r in parts.log]
    assert equal(whole, load_run(tmp_path / "whole"))


def test_equal_seeds_give_equal_weights_and_others_do_not():
    assert equal(train(short(steps=20)), train(short(steps=20)))
    assert not equal(train(short(steps=20)), train(short(steps=20, seed=1)))


def test_a_finished_run_can_be_continued(tmp_path):
    train(short(steps=60), tmp_path)
    longer = train(short(steps=90), tmp_path, resume=True)
    assert longer.steps == 90
    assert equal(longer, train(short(steps=90)))


def test_a_constant_rate_can_be_cooled_down_later(tmp_path):
    """Up to the step at which the rate begins to fall the two runs are one."""
    train(short(steps=60), tmp_path)
    cooled = train(short(steps=90, cooldown=1 / 3), tmp_path, resume=True)
    assert equal(cooled, train(short(steps=90, cooldown=1 / 3)))
    assert not equal(cooled, train(short(steps=90)))


def test_a_run_is_not_resumed_to_fewer_steps_than_it_has_taken(tmp_path):
    train(short(steps=60), tmp_path / "finished")
    with pytest.raises(ValueError, match=r"steps must be at least 60, which .* got 30"):
        train(short(steps=30), tmp_path / "finished", resume=True)


def test_a_run_that_was_interrupted_at_the_last_step_is_done(tmp_path, monkeypatch):
    interrupted_after(30, short(), tmp_path, monkeypatch)
    run = train(short(steps=30), tmp_path, resume=True)
    assert (run.status, run.steps) == (RunStatus.DONE, 30)
    assert equal(run, train(short(steps=30)))


def test_the_log_is_a_table(tmp_path):
    run = train(short(), tmp_path)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(10, 91, 10))
    assert [row["test"] != "" for row in rows] == [step % 30 == 0 for step in range(10, 91, 10)]
    assert float(rows[-1]["test"]) == run.test
    assert sum(int(row["clipped"]) for row in rows) == run.clipped
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.safetensors", "log.csv", "loss.png",
    ]  # fmt: skip


def test_clipped_steps_are_counted():
    assert train(short(steps=20, clip=1e-9)).clipped == 20
    assert train(short(steps=20, clip=1e9)).clipped == 0


def test_steps_without_a_finite_gradient_are_counted_and_change_nothing():
    model = ModelConfig(deviation=2.0, layers=8)
    config = TrainConfig(model, **SHORT, steps=30)
    run = train(config)
    assert run.skipped == 30
    assert math.isinf(run.log[-1].loss)
    start = LinearTransformer(model, torch.Generator().manual_seed(0))
    assert all(torch.equal(start.get_parameter(key), value) for key, value in weights(run).items())


def test_one_step_without_a_finite_gradient_is_no_divergence(monkeypatch):
    update = Trainer.update

    def spiked(trainer):
        loss, gradient = update(trainer)
        return (loss, math.inf) if trainer.step == 4 else (loss, gradient)

    monkeypatch.setattr(Trainer, "update", spiked)
    run = train(short(steps=10, log_every=1))
    assert (run.status, run.skipped, run.steps) == (RunStatus.DONE, 1, 10)


def test_a_diverged_run_says_so_and_keeps_the_last_good_weights(tmp_path):
    good = train(short(steps=30), tmp_path)
    worse = short(steps=3000, learning_rate=1e-3)
    # Sabotage: Adam's moments blown up, so that the next steps leave all bounds.
    from eagle.transformer.run import CHECKPOINT, read_checkpoint, write_checkpoint

    tensors, header = read_checkpoint(tmp_path / CHECKPOINT)
    for key in list(tensors):
        if key.endswith("exp_avg"):
            tensors[key] = torch.full_like(tensors[key], 1e6)
    write_checkpoint(tmp_path / CHECKPOINT, tensors, header)
    run = train(worse, tmp_path, resume=True)
    assert run.status is RunStatus.DIVERGED
    assert run.steps < 3000
    assert equal(run, good)
    assert load_run(tmp_path).status is RunStatus.DIVERGED
    assert equal(load_run(tmp_path), good)


def test_one_prompt_that_overflows_is_no_divergence():
    from eagle.transformer.train import typical

    assert typical([1.0, float("nan"), 2.0, 3.0, 0.5]) == 2.0
    assert typical([1.0, float("nan"), float("inf")]) == float("inf")


def test_a_cooldown_ends_at_rest(monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def noted(optimizer, *arguments):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    train(short(steps=40, cooldown=0.5))
    falling = [1e-3 * left / 20 for left in range(20, 0, -1)]
    assert rates == pytest.approx([1e-3] * 20 + falling)


def test_a_folder_is_not_overwritten(tmp_path):
    train(short(steps=10), tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        train(short(steps=10), tmp_path)
    with pytest.raises(ValueError, match="holds a run of another configuration"):
        train(short(steps=10, seed=1), tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    train(short(steps=10), tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], b"PK\x03\x04" + whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.safetensors: damaged"):
            load_run(tmp_path)
        with pytest.raises(ValueError, match=r"checkpoint.safetensors: damaged"):
            train(short(steps=10), tmp_path, resume=True)


def test_a_foreign_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"other.safetensors: damaged, or not a checkpoint"):
        load_run(path)
    header = {"config": short().to_dict(), "log": [], "status": "DONE", "untrained": 1.0}
    save_file({"model.query": torch.zeros(3)}, path, {"eagle": json.dumps(header)})
    with pytest.raises(ValueError, match=r"other.safetensors: weights do not fit"):
        load_run(path)
    save_file({"model.query": torch.zeros(3)}, path, {"eagle": json.dumps({"config": 3})})
    with pytest.raises(ValueError, match=r"other.safetensors: not a checkpoint of eagle train"):
        load_run(path)
    tensors = {
        f"model.{name}": value.detach() * math.nan
        for name, value in LinearTransformer(short().model).named_parameters()
    }
    save_file(tensors, path, {"eagle": json.dumps(header)})
    with pytest.raises(ValueError, match=r"other.safetensors: weights are not finite"):
        load_run(path)
    with pytest.raises(ValueError, match="missing: no such checkpoint"):
        load_run(tmp_path / "missing")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch": 2.5}, "batch must be an integer"),
        ({"learning_rate": 0.0}, "learning_rate must be finite, positive"),
        ({"clip": -1.0}, "clip must be finite, positive"),
        ({"cooldown": 1.0}, "cooldown must be finite, at least 0 and below 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"task": TaskConfig(n=20)}, "n must agree: 18 in model, 20 in task"),
    ],
)
def test_impossible_trainings_are_refused(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TrainConfig(**wrong)


def test_a_configuration_survives_json():
    for spectrum in SPECTRA:
        config = TrainConfig.paper(
            "distributed", seed=3, noise=0.01, spectrum=spectrum, cooldown=0.2
        )
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for broken in ({}, {"model": 1}, {**config.to_dict(), "stepz": 1}):
        with pytest.raises(ValueError, match="not a training configuration"):
            TrainConfig.from_dict(broken)


def test_a_configuration_without_a_spectrum_is_one_of_variances():
    values = TrainConfig.paper(spectrum="deviation").to_dict()
    del values["task"]["spectrum"]
    assert TrainConfig.from_dict(values).task.spectrum == "variance"
