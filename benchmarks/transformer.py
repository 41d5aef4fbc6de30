"""The trained transformers: errors, distances, structure, constants, speed.

``python -m benchmarks transformer``: everything but ``speed`` reads the checkpoints that come with
the package, so that it takes seconds; `benchmarks.pretrain` makes them anew.
"""

import argparse
import functools
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Report, Suite, existing_folder, measure
from eagle.transformer import (
    Fidelity,
    Rule,
    Run,
    TaskConfig,
    TrainConfig,
    extract,
    fidelity,
    load_run,
    pretrained,
    pretrained_path,
    sample_batch,
)
from eagle.transformer.config import FAMILIES, REGIMES
from eagle.transformer.pretrained import FOLDER
from eagle.transformer.train import Trainer, typical

# Table 1 of the paper, times 1e-4; mean over 10 seeds.
PAPER = {
    "unconstrained": (0, 2.36, 5.27, 3.70, 2.16),
    "distributed": (0, 0.62, 1.40, 1.28, 1.32),
    "compute-limited": (0, 0.01, 0.02, 0.13, 0.14),
}
WANTED = {"unconstrained": 40, "distributed": 15, "compute-limited": 8}
UNIVERSAL = ((1.0, 1.9), (1.15, 1.15))  # the paper's pair, and the best pair found here


class Models:
    """The trained models in a folder, and what is read out of them, each once."""

    def __init__(self, folder: Path = FOLDER):
        self.folder = folder
        self.run = functools.cache(self._run)
        self.rule = functools.cache(self._rule)
        self.fidelity = functools.cache(self._fidelity)

    def seeds(self, regime: str, *, noisy: bool = False) -> list[int]:
        """Of the checkpoints there are."""
        there = pretrained(noisy=noisy, folder=self.folder)
        return [seed for name, seed in there if name == regime]

    def rules(self, regime: str, *, noisy: bool = False) -> dict[int, Rule]:
        """By seed."""
        seeds = self.seeds(regime, noisy=noisy)
        return {seed: self.rule(regime, seed, noisy) for seed in seeds}

    def _run(self, regime: str, seed: int, noisy: bool = False) -> Run:
        return load_run(pretrained_path(regime, seed, noisy=noisy, folder=self.folder))

    def _rule(self, regime: str, seed: int, noisy: bool = False) -> Rule:
        """Measured on the noiseless task."""
        return extract(self.run(regime, seed, noisy).model)

    def _fidelity(self, regime: str, seed: int) -> Fidelity:
        return fidelity(self.run(regime, seed).model, self.rule(regime, seed, False))


def complete(text: str) -> Models:
    """For a command line: a folder with a checkpoint of every regime."""
    models = Models(existing_folder(text))
    for noisy, regime in product((False, True), REGIMES):
        if not models.seeds(regime, noisy=noisy):
            name = f"{regime}{'-noisy' * noisy}-SEED.safetensors"
            raise argparse.ArgumentTypeError(f"no {name} in {text}")
    return models


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{np.median(values):.3g} ({min(values):.3g} .. {max(values):.3g})"


def median(items: Iterable[Any], name: str) -> float | None:
    """Of an attribute, where it is there."""
    values = [value for each in items if (value := getattr(each, name)) is not None]
    return float(np.median(values)) if values else None


suite = Suite("transformer", __doc__)
suite.add_argument(
    "--checkpoints", type=complete, default=str(FOLDER), help="default: the package's"
)
main = suite.main


@suite.section
def error(report: Report, options: argparse.Namespace) -> None:
    report.section("test error after training: mean square per entry of D, median of 16 batches")
    models = options.checkpoints
    for noisy, regime in product((False, True), REGIMES):
        for seed in models.seeds(regime, noisy=noisy):
            run = models.run(regime, seed, noisy)
            report.row(
                regime=regime, noise=run.config.task.noise, seed=seed, steps=run.steps,
                untrained=run.untrained, trained=run.test, times=run.untrained / run.test,
                wanted=0 if noisy else WANTED.get(regime, 0), clipped=run.clipped,
                skipped=run.skipped, seconds=run.log[-1].seconds,
            )  # fmt: skip


@suite.not_quick
def table1(report: Report, options: argparse.Namespace) -> None:
    report.section("Table 1: mean squared distance of states x 1e4, median (range) over seeds")
    models = options.checkpoints
    for regime in REGIMES:
        tables = [models.fidelity(regime, seed) for seed in models.seeds(regime)]
        for layer in range(5):
            fitted = spread([1e4 * table.fitted[layer] for table in tables])
            universal = spread([1e4 * table.universal[layer] for table in tables])
            paper = PAPER[regime][layer] if regime in PAPER else float("nan")
            report.row(regime=regime, layer=layer, paper=paper, fitted=fitted, universal=universal)


@suite.section
def structure(report: Report, options: argparse.Namespace) -> None:
    report.section("structure: energy off the pattern, and what else was tested; median over seeds")
    models = options.checkpoints
    of = {
        "off_QK": "off_pattern_QK", "off_VP": "off_pattern_VP", "off_bias": "off_pattern_bias",
        "spread": "spread", "sparse": "sparse", "overlap": "overlap", "full": "full",
        "agreement": "agreement", "gaussian": "gaussian",
    }  # fmt: skip
    for regime, layer in product(REGIMES, range(4)):
        found = [rule.layers[layer].structure for rule in models.rules(regime).values()]
        cells = {cell: median(found, name) for cell, name in of.items()}
        cells["sparse"] = sum(each.sparse for each in found) / len(found)
        if layer == 3:  # which lifts nothing that is used
            cells |= dict.fromkeys(("overlap", "full", "agreement"))
        gone = float("nan")
        cells = {name: gone if cell is None else cell for name, cell in cells.items()}
        report.row(regime=regime, layer=layer, **cells)
    report.section("quality after sparsification and clustering")
    for regime in REGIMES:
        for seed, rule in models.rules(regime).items():
            errors = {"model": rule.model_error, "quantised": rule.quantised_error}
            errors |= {"rule": rule.rule_error, "between": rule.distance}
            report.row(regime=regime, seed=seed, learned=rule.learned, **errors)


@suite.section
def constants(report: Report, options: argparse.Namespace) -> None:
    report.section("fitted constants in units of |A_l|^-2; the paper: eta 1, gamma 1.9")
    models = options.checkpoints
    for noisy, regime, layer in product((False, True), REGIMES, range(4)):
        rules = models.rules(regime, noisy=noisy).values()
        norm = spread([rule.layers[layer].norm for rule in rules])
        eta = spread([rule.eta[layer] for rule in rules]) if layer < 3 else "unused"
        gamma = spread([rule.gamma[layer] for rule in rules])
        name = regime + ", noisy" * noisy
        report.row(regime=name, layer=layer, norm=norm, eta=eta, gamma=gamma)
    report.section("prediction error with the same two constants in every layer; median over seeds")
    batches = [sample_batch(TaskConfig(), 1024, seed=seed) for seed in range(100, 116)]
    for regime in REGIMES:
        rules = list(models.rules(regime).values())
        universal = {
            f"eta={eta:g}, gamma={gamma:g}": float(
                np.median([mean_square(rule.with_constants(eta, gamma), batches) for rule in rules])
            )
            for eta, gamma in UNIVERSAL
        }
        own = {"transformer": median(rules, "model_error"), "fitted": median(rules, "rule_error")}
        report.row(regime=regime, **own, **universal)


def mean_square(rule: Rule, batches: Iterable[Any]) -> float:
    """Mean square per entry of D, median of batches."""
    with torch.no_grad():
        return float(typical([(rule.predict(b) - b.D).square().mean().item() for b in batches]))


@suite.not_quick
def speed(report: Report, options: argparse.Namespace) -> None:
    n = 1500
    X = torch.randn(n, n)
    rate = 2 * n**3 / measure({"gemm": lambda: X @ X})["gemm"].median / 1e9
    report.section("training step, batch 1024")
    report.say(f"{torch.get_num_threads()} threads; float32 gemm {rate:.0f} GFLOP/s")
    for regime in REGIMES:
        config = TrainConfig.paper(regime)
        trainer = Trainer(config, torch.device("cpu"))
        for _ in range(5):
            trainer.update()
        took = measure({"step": trainer.update}, repeats=40)["step"]
        gflop, seconds = config.batch * _flops(config) / 1e9, took.median
        report.row(
            regime=regime, milliseconds=took.scaled(1e3), minutes_for_20000=seconds * 20_000 / 60,
            GFLOP=gflop, GFLOP_per_second=gflop / seconds, share_of_gemm=gflop / seconds / rate,
        )  # fmt: skip
    report.section("drawing 1024 prompts")
    for family in FAMILIES:
        generator = torch.Generator().manual_seed(0)
        draw = functools.partial(sample_batch, TaskConfig(family), 1024, generator=generator)
        report.row(family=family, milliseconds=measure({"draw": draw}, 10)["draw"].scaled(1e3))


def _flops(config: TrainConfig) -> int:
    """Of the products of one prompt, forward and backward; the backward pass has two for each."""
    model = config.model
    k, complete, incomplete = model.features, model.complete, model.incomplete
    tokens = complete + incomplete
    per_layer = complete * k * k + k**3  # K^T K, times W_VP
    asking = 2 * k * k  # times W_QK, times the memory
    inner = (model.layers - 1) * (per_layer + tokens * asking)
    last = per_layer + incomplete * asking
    return 3 * 2 * (inner + last)
