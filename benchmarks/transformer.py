"""The trained transformers: errors, distances, structure, constants, speed.

``python -m benchmarks transformer``: everything but ``speed`` reads the checkpoints that come with
the package, so that it takes seconds; `benchmarks.pretrain` makes them anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Report, command_line, existing_folder, measure
from eagle.transformer import (
    Fidelity,
    ModelConfig,
    Rule,
    Run,
    Skeleton,
    TaskConfig,
    TrainConfig,
    distances,
    extract,
    fidelity,
    load_run,
    pretrained,
    pretrained_path,
    sample_batch,
    skeleton,
)
from eagle.transformer.config import FAMILIES, REGIMES, SPECTRA
from eagle.transformer.pretrained import FOLDER
from eagle.transformer.rule import largest_norm, reference
from eagle.transformer.train import TEST_SEED, Trainer, typical

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

    def rules(self, regime: str, *, noisy: bool = False) -> list[Rule]:
        """One per seed."""
        return [self.rule(regime, seed, noisy) for seed in self.seeds(regime, noisy=noisy)]

    def _run(self, regime: str, seed: int, noisy: bool = False) -> Run:
        return load_run(pretrained_path(regime, seed, noisy=noisy, **self.kind))

    def _rule(self, regime: str, seed: int, noisy: bool = False) -> Rule:
        """Measured on the noiseless task."""
        return extract(self.run(regime, seed, noisy).model)

    def _fidelity(self, regime: str, seed: int) -> Fidelity:
        return fidelity(self.run(regime, seed).model, self.rule(regime, seed, False))


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{np.median(values):.3g} ({min(values):.3g} .. {max(values):.3g})"


def error(report: Report, models: Models) -> None:
    report.section("test error after training: mean square per entry of D, median of 16 batches")
    for noisy in (False, True):
        for regime in REGIMES:
            for seed in models.seeds(regime, noisy=noisy):
                run = models.run(regime, seed, noisy)
                report.row(
                    regime=regime,
                    noise=run.config.task.noise,
                    seed=seed,
                    steps=run.steps,
                    untrained=run.untrained,
                    trained=run.test,
                    times=run.untrained / run.test,
                    wanted=0 if noisy else WANTED.get(regime, 0),
                    clipped=run.clipped,
                    skipped=run.skipped,
                    seconds=run.log[-1].seconds,
                )


def data(report: Report, models: Models) -> None:
    """Numbers of the paper that tell one reading of its data from the other."""
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


def table1(report: Report, models: Models) -> None:
    report.section("Table 1: mean squared distance of states x 1e4, median (range) over seeds")
    for regime in REGIMES:
        for layer in range(5):
            tables = [models.fidelity(regime, seed) for seed in models.seeds(regime)]
            blocks = [1e4 * table.blocks[layer] for table in tables]
            literal = [1e4 * table.literal[layer] for table in tables]
            fitted = [1e4 * table.fitted[layer] for table in tables]
            universal = [1e4 * table.universal[layer] for table in tables]
            report.row(
                regime=regime,
                layer=layer,
                paper=PAPER[regime][layer] if regime in PAPER else float("nan"),
                blocks=spread(blocks),
                literal=spread(literal),
                fitted=spread(fitted),
                universal=spread(universal),
            )


def structure(report: Report, models: Models) -> None:
    report.section("structure: energy off the pattern, and what else was tested; median over seeds")
    for regime in REGIMES:
        rules = models.rules(regime)
        for layer in range(4):
            found = [rule.layers[layer].structure for rule in rules]
            last = layer == 3

            def median(
                name: str, found: list = found, *, there: bool = True
            ) -> float:  # of one attribute
                values = [getattr(each, name) for each in found]
                return float("nan") if not there or None in values else float(np.median(values))

            report.row(
                regime=regime,
                layer=layer,
                off_QK=median("off_pattern_QK"),
                off_VP=median("off_pattern_VP"),
                off_bias=median("off_pattern_bias"),
                spread=median("spread"),
                sparse=sum(each.sparse for each in found) / len(found),
                overlap=median("overlap", there=not last),
                full=median("full", there=not last),
                agreement=median("agreement", there=not last),
                gaussian=median("gaussian"),
            )
    report.section("quality after sparsification and clustering")
    for regime in REGIMES:
        for seed in models.seeds(regime):
            rule = models.rule(regime, seed, False)
            report.row(
                regime=regime,
                seed=seed,
                learned=rule.learned,
                model=rule.model_error,
                quantised=rule.quantised_error,
                rule=rule.rule_error,
                between=rule.distance,
            )


def readings(report: Report, models: Models) -> None:
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


def sketch(report: Report, models: Models) -> None:
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
                next_layer=float("nan") if index == 3 else _shared(Q, ranges[index + 1]),
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


def _shared(Q: np.ndarray, other: np.ndarray) -> float:
    """Mean squared cosine of the angles between two ranges."""
    return float(np.linalg.norm(Q.T @ other) ** 2 / Q.shape[1])


def constants(report: Report, models: Models) -> None:
    report.section("fitted constants in units of |A_l|^-2; the paper: eta 1, gamma 1.9")
    for noisy in (False, True):
        for regime in REGIMES:
            rules = models.rules(regime, noisy=noisy)
            for layer in range(4 if rules else 0):
                eta = [rule.eta[layer] for rule in rules]
                gamma = [rule.gamma[layer] for rule in rules]
                report.row(
                    regime=regime + (", noisy" if noisy else ""),
                    layer=layer,
                    norm=spread([rule.layers[layer].norm for rule in rules]),
                    eta=spread(eta) if layer < 3 else "unused",
                    gamma=spread(gamma),
                )
    report.section("prediction error with the same two constants in every layer; median over seeds")

    def median_error(rules: list[Rule], eta: float, gamma: float) -> float:
        batches = reference(rules[0].task, 16, 100)
        errors = [rule_error(rule.with_constants(eta, gamma), batches) for rule in rules]
        return float(np.median(errors))

    for regime in REGIMES:
        rules = models.rules(regime)
        report.row(
            regime=regime,
            transformer=float(np.median([rule.model_error for rule in rules])),
            fitted=float(np.median([rule.rule_error for rule in rules])),
            **{
                f"eta={eta:g}, gamma={gamma:g}": median_error(rules, eta, gamma)
                for eta, gamma in UNIVERSAL
            },
        )


def rule_error(rule: Rule, batches: list) -> float:
    """Mean square per entry of D, median of batches."""
    with torch.no_grad():
        return float(typical([(rule.predict(b) - b.D).square().mean().item() for b in batches]))


def speed(report: Report, models: Models) -> None:
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
        seconds = took.median
        flops = config.batch * _flops(config)
        report.row(
            regime=regime,
            milliseconds=took.scaled(1e3),
            minutes_for_20000=seconds * 20_000 / 60,
            GFLOP=flops / 1e9,
            GFLOP_per_second=flops / seconds / 1e9,
            share_of_gemm=flops / seconds / 1e9 / rate,
        )
    report.section("drawing 1024 prompts")
    for family in FAMILIES:
        generator = torch.Generator().manual_seed(0)
        task = TaskConfig(family)
        draw = functools.partial(sample_batch, task, 1024, generator=generator)
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


QUICK = ("error", "structure", "constants")
SECTIONS: dict[str, Callable[[Report, Models], None]] = {
    "error": error,
    "data": data,
    "table1": table1,
    "structure": structure,
    "readings": readings,
    "sketch": sketch,
    "constants": constants,
    "speed": speed,
}


def main(argv: list[str] | None = None) -> int:
    """Run the sections asked for."""
    parser = command_line("transformer", __doc__, list(SECTIONS))
    parser.add_argument(
        "--checkpoints", type=existing_folder, default=FOLDER, help="default: the package's"
    )
    parser.add_argument(
        "--spectrum", choices=SPECTRA,
        help="which reading of the paper's data; default: deviation, where there is such a model",
    )  # fmt: skip
    parser.add_argument("--constant", action="store_true", help="trained at a constant rate")
    arguments = parser.parse_args(argv)
    kind = {"spectrum": arguments.spectrum, "constant": arguments.constant}
    there = {name for name, _ in pretrained(folder=arguments.checkpoints, **kind)}
    for regime in REGIMES:
        if regime not in there:
            parser.error(
                f"--checkpoints: no {regime}-SEED.safetensors of that kind in "
                f"{arguments.checkpoints}"
            )
    if arguments.quick:
        arguments.sections = [name for name in arguments.sections if name in QUICK]
    report, models = Report("transformer"), Models(arguments.checkpoints, **kind)
    for name in arguments.sections:
        SECTIONS[name](report, models)
    report.save(arguments.json)
    return 0
