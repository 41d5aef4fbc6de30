"""The trained transformers: errors, distances, structure, constants.

``python -m benchmarks transformer`` reads the checkpoints that come with the package, so that it
takes seconds; `benchmarks.pretrain` makes them anew.
"""

import argparse
import functools
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Report, Suite, existing_folder
from eagle.transformer import (
    Fidelity,
    ModelConfig,
    Rule,
    Run,
    Skeleton,
    TaskConfig,
    distances,
    extract,
    fidelity,
    load_run,
    pretrained,
    pretrained_path,
    skeleton,
)
from eagle.transformer.config import REGIMES, SPECTRA
from eagle.transformer.pretrained import FOLDER
from eagle.transformer.rule import largest_norm, reference
from eagle.transformer.train import TEST_SEED, typical

# Table 1 of the paper, times 1e-4; mean over 10 seeds.
PAPER = {
    "unconstrained": (0, 2.36, 5.27, 3.70, 2.16),
    "distributed": (0, 0.62, 1.40, 1.28, 1.32),
    "compute-limited": (0, 0.01, 0.02, 0.13, 0.14),
}
WANTED = {"unconstrained": 50, "distributed": 15, "compute-limited": 15}
UNIVERSAL = ((1.0, 1.9), (1.15, 1.15))  # the paper's pair, and the best pair found here


class Models:
    """The trained models in a folder, and what is read out of them, each once."""

    def __init__(
        self, folder: Path = FOLDER, *, spectrum: str | None = None, constant: bool = False
    ):
        self.folder = folder
        self.kind: dict[str, Any] = {"folder": folder, "spectrum": spectrum, "constant": constant}
        self.run = functools.cache(self._run)
        self.rule = functools.cache(self._rule)
        self.fidelity = functools.cache(self._fidelity)

    def seeds(self, regime: str, *, noisy: bool = False) -> list[int]:
        """Of the checkpoints there are."""
        there = pretrained(noisy=noisy, **self.kind)
        return [seed for name, seed in there if name == regime]

    def rules(self, regime: str, *, noisy: bool = False) -> dict[int, Rule]:
        """By seed."""
        seeds = self.seeds(regime, noisy=noisy)
        return {seed: self.rule(regime, seed, noisy) for seed in seeds}

    def _run(self, regime: str, seed: int, noisy: bool = False) -> Run:
        return load_run(pretrained_path(regime, seed, noisy=noisy, **self.kind))

    def _rule(self, regime: str, seed: int, noisy: bool = False) -> Rule:
        """Measured on the noiseless task."""
        return extract(self.run(regime, seed, noisy).model)

    def _fidelity(self, regime: str, seed: int) -> Fidelity:
        return fidelity(self.run(regime, seed).model, self.rule(regime, seed, False))


def chosen(options: argparse.Namespace) -> Models:
    """The models that a command line asks for: a checkpoint of every regime."""
    kind = {"spectrum": options.spectrum, "constant": options.constant}
    models = Models(options.checkpoints, **kind)
    for regime in REGIMES:
        if not models.seeds(regime):
            missing = f"no {regime}-SEED.safetensors of that kind in {options.checkpoints}"
            suite.error(f"--checkpoints: {missing}")
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
    "--checkpoints", type=existing_folder, default=FOLDER, help="default: the package's"
)
suite.add_argument(
    "--spectrum", choices=SPECTRA,
    help="which reading of the paper's data; default: deviation, where there is such a model",
)  # fmt: skip
suite.add_argument("--constant", action="store_true", help="trained at a constant rate")
main = suite.main


@suite.section
def error(report: Report, options: argparse.Namespace) -> None:
    report.section("test error after training: mean square per entry of D, median of 16 batches")
    models = chosen(options)
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
def data(report: Report, options: argparse.Namespace) -> None:
    """Numbers of the paper that tell one reading of its data from the other."""
    models = chosen(options)
    from benchmarks.bounds import columns
    from benchmarks.paper.fig11 import tied_errors

    task = TaskConfig(spectrum=models.kind["spectrum"] or TaskConfig.spectrum)
    report.section(f"the data, spectrum = {task.spectrum}: what a reading predicts")
    batches = reference(task, 16, TEST_SEED)
    zero = float(np.median([float(batch.D.square().mean()) for batch in batches]))
    norm = float(np.median([largest_norm(batch.A) for batch in batches]))
    report.row(
        zero=zero, least_squares_5=columns(task, 5), least_squares_9=columns(task, 9), norm=norm
    )
    for regime in REGIMES:
        runs = [models.run(regime, seed) for seed in models.seeds(regime)]
        report.row(
            regime=regime,
            untrained=spread([run.untrained for run in runs]),
            trained=spread([run.test for run in runs]),
            times=spread([run.untrained / run.test for run in runs]),
            times_under_zero=spread([zero / run.test for run in runs]),
        )
    for seed in models.seeds("unconstrained"):
        report.row(seed=seed, **tied_errors(models, seed))
    report.say(
        "tied: a1 a3 = 1.92 a1 a2 imposed (Figure 11); the paper: between 3.5e-4, model 1e-3"
    )


@suite.not_quick
def table1(report: Report, options: argparse.Namespace) -> None:
    report.section("Table 1: mean squared distance of states x 1e4, median (range) over seeds")
    models = chosen(options)
    for regime in REGIMES:
        tables = [models.fidelity(regime, seed) for seed in models.seeds(regime)]
        for layer in range(5):
            blocks = spread([1e4 * table.blocks[layer] for table in tables])
            literal = spread([1e4 * table.literal[layer] for table in tables])
            fitted = spread([1e4 * table.fitted[layer] for table in tables])
            universal = spread([1e4 * table.universal[layer] for table in tables])
            paper = PAPER[regime][layer] if regime in PAPER else float("nan")
            distances = {"blocks": blocks, "literal": literal, "fitted": fitted}
            report.row(regime=regime, layer=layer, paper=paper, **distances, universal=universal)


@suite.section
def structure(report: Report, options: argparse.Namespace) -> None:
    report.section("structure: energy off the pattern, and what else was tested; median over seeds")
    models = chosen(options)
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


@suite.not_quick
def readings(report: Report, options: argparse.Namespace) -> None:
    models = chosen(options)
    report.section(
        "what every extraction costs: distances of states x 1e4 after layers 1 to 4, of "
        "predictions; error of D"
    )
    for regime in REGIMES:
        for seed in models.seeds(regime):
            model, rule = models.run(regime, seed).model, models.rule(regime, seed)
            followers: dict[str, Rule | Skeleton] = {
                "(i) blocks": skeleton(model),
                "(i) without the flat one": skeleton(model, flat=False),
                "(ii) sketch, lift, constants": rule,
                "(iii) Algorithm 1, fitted": rule.literal(),
                "(iii) Algorithm 1, (1, 1.9)": rule.with_constants(),
            }
            error, found = distances(model, followers)
            for name, each in found.items():
                states = {f"layer {k}": 1e4 * each.states[k] for k in range(1, 5)}
                own = {"predictions": each.predictions, "error": each.error, "model": error}
                report.row(regime=regime, seed=seed, extraction=f"{name:28}", **states, **own)

    report.section("what (i) drops: share of the energy of the weights, median over seeds")
    for regime in REGIMES:
        found = [skeleton(models.run(regime, k).model, batches=1) for k in models.seeds(regime)]
        for layer in range(4):
            QK, VP = (
                float(np.median([getattr(each, name)[layer] for each in found]))
                for name in ("dropped_QK", "dropped_VP")
            )
            report.row(regime=regime, layer=layer, of_QK=QK, of_VP=VP)


@suite.not_quick
def sketch(report: Report, options: argparse.Namespace) -> None:
    models = chosen(options)
    report.section("compute-limited: is S random and orthonormal, and do both blocks share it?")
    n, r = ModelConfig.n, ModelConfig.rank
    rules = {seed: models.rule("compute-limited", seed) for seed in models.seeds("compute-limited")}
    bases: dict[int, list[np.ndarray]] = {layer: [] for layer in range(4)}
    for seed, rule in rules.items():
        ranges = [np.linalg.qr(layer.sketch)[0] for layer in rule.layers]
        for index, layer in enumerate(rule.layers):
            found, Q = layer.structure, ranges[index]
            bases[index].append(Q)
            report.row(
                seed=seed,
                layer=index,
                largest=found.eigenvalues[0],
                fifth=found.eigenvalues[r - 1],
                rest=abs(found.eigenvalues[r:]).max(),
                gaussian=found.gaussian,
                agreement=float("nan") if index == 3 else found.agreement,
                up_to_range=float("nan") if index == 3 else _apart(Q, layer.lift, r),
                next_layer=float("nan") if index == 3 else shared_part(Q, ranges[index + 1]),
            )
    report.say("agreement: relative difference of the two blocks over a1 and a2 (the paper: 0.28)")
    report.say(
        "up_to_range: the same of the projectors onto their ranges; next_layer: overlap of S"
    )
    report.section("mean of S S^T over seeds, relative distance from r / n times the identity")
    for index, own in bases.items():
        mean = np.mean([Q @ Q.T for Q in own], axis=0)
        distance = np.linalg.norm(mean - r / n * np.eye(n)) / np.linalg.norm(r / n * np.eye(n))
        report.row(
            layer=index, seeds=len(own), found=distance, chance=((n - r) / r / len(own)) ** 0.5
        )


def _apart(Q: np.ndarray, lift: np.ndarray, rank: int) -> float:
    """Relative difference of the projectors onto the range of S and onto that of a lift."""
    U = np.linalg.svd((lift + lift.T) / 2)[0][:, :rank]
    return float(np.linalg.norm(Q @ Q.T - U @ U.T) / rank**0.5)


def shared_part(Q: np.ndarray, other: np.ndarray) -> float:
    """Mean squared cosine of the angles between two ranges."""
    return float(np.linalg.norm(Q.T @ other) ** 2 / Q.shape[1])


@suite.section
def constants(report: Report, options: argparse.Namespace) -> None:
    report.section("fitted constants in units of |A_l|^-2; the paper: eta 1, gamma 1.9")
    models = chosen(options)
    for noisy, regime, layer in product((False, True), REGIMES, range(4)):
        rules = models.rules(regime, noisy=noisy).values()
        if not rules:
            continue
        norm = spread([rule.layers[layer].norm for rule in rules])
        eta = spread([rule.eta[layer] for rule in rules]) if layer < 3 else "unused"
        gamma = spread([rule.gamma[layer] for rule in rules])
        name = regime + ", noisy" * noisy
        report.row(regime=name, layer=layer, norm=norm, eta=eta, gamma=gamma)
    report.section("prediction error with the same two constants in every layer; median over seeds")
    for regime in REGIMES:
        rules = list(models.rules(regime).values())
        batches = reference(rules[0].task, 16, 100)
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
