"""``eagle train`` and ``eagle extract`` as a user runs them."""

from __future__ import annotations

import builtins
import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from eagle.cli import main
from eagle.transformer import load_pretrained, load_run
from tests.tolerances import relative_error, tolerance

SHORT = ["--steps", "200", "--batch", "64", "--quiet", "--threads", "1"]


def test_train_then_extract(folder, capsys):
    assert main(["train", "run", *SHORT, "--layers", "2", "--seed", "3"]) == 0
    assert "DONE, 200 steps" in capsys.readouterr().out
    run = load_run(folder / "run")
    assert run.config.model.layers == 2
    assert run.config.seed == 3
    # Too short a training: extraction must say so, and say it by its exit status.
    assert main(["extract", "run"]) == 1
    assert "does NOT follow the rule" in capsys.readouterr().out


def test_train_goes_on_where_it_was(folder, capsys):
    assert main(["train", "run", *SHORT]) == 0
    assert main(["train", "run", *SHORT]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["train", "run", *SHORT[2:], "--steps", "250", "--resume"]) == 0
    assert "DONE, 250 steps" in capsys.readouterr().out


def test_a_diverged_run_has_exit_status_1(folder, capsys):
    options = ["--deviation", "2", "--layers", "8"]
    assert main(["train", "run", *SHORT, *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("eagle train: warning: DIVERGED")
    assert captured.err.count("\n") == 1
    assert load_run(folder / "run").status.name == "DIVERGED"


def test_every_option_reaches_the_configuration(folder):
    options = "--regime compute-limited --rank 3 --lift full --layers 1 --family condition"
    options += " --spectrum variance"
    numbers = "--condition 100 --noise 0.01 --deviation 0.05 --learning-rate 0.002 --cooldown 0.5"
    assert main(["train", "run", *SHORT, *options.split(), *numbers.split(), "--clip", "1"]) == 0
    config = load_run(folder / "run").config
    assert (config.model.regime, config.model.rank, config.model.lift) == (
        "compute-limited",
        3,
        "full",
    )
    assert (config.task.family, config.task.condition, config.task.noise) == (
        "condition",
        100,
        0.01,
    )
    assert (config.learning_rate, config.cooldown, config.clip) == (0.002, 0.5, 1.0)
    assert (config.task.rank, config.task.spectrum) == (10, "variance")


def test_the_progress_bar_shows_loss_and_time(folder, capsys):
    assert main(["train", "run", "--steps", "20", "--batch", "16"]) == 0
    bar = capsys.readouterr().err
    assert "loss" in bar
    assert "20/20" in bar
    assert "<" in bar  # elapsed < left


@pytest.mark.parametrize("name", ["unconstrained-0", "compute-limited-0"])
def test_extract_writes_the_rule_as_data_and_as_code(name, folder, capsys):
    assert main(["extract", name, "-o", "rule.json"]) == 0
    out = capsys.readouterr().out
    assert "follows the rule" in out
    assert "fitted constants" in out
    data = json.loads((folder / "rule.json").read_text())
    assert data["learned"]
    assert len(data["eta"]) == 4
    assert main(["extract", name, "-o", "rule.py"]) == 0
    names: dict = {}
    exec((folder / "rule.py").read_text(), names)
    from eagle.transformer import TaskConfig, extract, sample_batch

    batch = sample_batch(TaskConfig(), 2, seed=0, dtype=torch.float64)
    wanted = extract(load_pretrained(data["regime"])).predict(batch)[0].numpy()
    found = names["rule"](*(X[0].numpy() for X in batch[:3]))
    assert relative_error(found, wanted) <= tolerance(np.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "run", "--regime", "central"], "regime must be one of"),
        (["train", "run", "--regime", "compute-limited", "--rank", "30"], "rank must be at most"),
        (["train", "run", "--regime", "distributed", "--machines", "4"], "machines must divide"),
        (["train", "run", "--family", "blok"], "family must be one of"),
        (["train", "run", "--steps", "0"], "steps must be at least 1"),
        (["train", "run", "--steps", "x"], "invalid int value"),
        (["train", "run", "--threads", "0"], "threads must be at least 1"),
        (["train", "run", "--device", "tpu9"], "device 'tpu9' cannot be used"),
        (["train", "run", "--seed", "-1"], "seed"),
        (["extract", "nowhere"], "RUN must be a folder, a checkpoint or one of unconstrained-0"),
        (["extract", "."], "no such checkpoint"),
        (["extract", "unconstrained-0", "-o", "rule.txt"], "must end in one of .json, .py"),
        (["extract", "unconstrained-0", "-o", "no/rule.json"], "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, folder, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert list(folder.iterdir()) == []


def test_a_damaged_checkpoint_is_named(folder, capsys):
    (folder / "checkpoint.safetensors").write_bytes(b"nonsense")
    assert main(["extract", "."]) == 2
    assert "checkpoint.safetensors: damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train", "run"], ["extract", "unconstrained-0"]])
def test_without_torch_the_command_says_what_to_install(command, folder, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("eagle.transformer")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(command) == 2
    assert "pip install 'eagle-solver[torch]'" in capsys.readouterr().err
