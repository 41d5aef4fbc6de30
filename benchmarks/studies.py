"""Questions beyond the paper: ``python -m benchmarks.studies [NAME ...] --runs FOLDER``.

``constants``: are the learned constants the best ones for depth 4? ``lift``: does a model with room
for the full lift choose it? ``families``: what becomes of the rule on other data? ``depth``: does
the schedule tend to the minimax one? ``bound``: what does training leave on the table in the
compute-limited regime, ``capacity``: does depth make up for columns there, ``start``: does one
start for all layers, or a penalty on the flat block, bring one sketch sooner, and ``discovery``:
what is looked at where columns may be chosen for every prompt? Runs that FOLDER does not hold yet
are trained first, minutes each; pictures go to ``--output``. The first four take the data as the
paper's text has it, ``spectrum="variance"``.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.bounds import STRUCTURES, blocks_of, columns, descend, optimise
from benchmarks.common import Parser, Report, make_folder, new_file, refuse_unknown
from benchmarks.discovery import CHOICES, discover
from benchmarks.looks import panels
from benchmarks.paper.training import energies, energy_table, inside, picture
from benchmarks.transformer import Models, mean_square, shared_part
from eagle.gallery.plotting import COLOURS, save
from eagle.methods.eagle.schedule import Minimax, largest
from eagle.transformer import (
    LayerRule,
    ModelConfig,
    Rule,
    Run,
    RunStatus,
    TaskConfig,
    TrainConfig,
    extract,
    sample_batch,
    train,
)
from eagle.transformer.config import SPECTRA
from eagle.transformer.data import Batch
from eagle.transformer.train import Trainer
from eagle.update import update

STEPS, COOLDOWN = 6000, 0.5  # enough for the rule to appear; the pretrained models have 20,000
LITERAL = "variance"  # the reading of the data on which the first four were made
PENALTY = 0.01  # times the energy of the flat blocks, which training leaves between .03 and 1.6
DEPTHS = (2, 3, 4, 5, 6, 7, 8)


@dataclass
class Setting:
    """Where runs are and pictures go."""

    report: Report
    runs: Path
    output: Path

    def trained(self, name: str, config: TrainConfig) -> Run:
        """A run of that name, from the folder or trained now."""
        torch.set_num_threads(1)
        run = train(config, self.runs / name, resume=True, progress=sys.stderr.isatty())
        self.report.say(f"{name}: {run}")
        return run

    def save(self, figure: Any, name: str) -> None:
        path = self.output / f"{name}.png"
        save(figure, path)
        self.report.say(f"picture: {path}")


def short(*, model: dict | None = None, task: dict | None = None) -> TrainConfig:
    """The paper's recipe, fewer steps."""
    config = TrainConfig.paper("unconstrained", spectrum=LITERAL, steps=STEPS, cooldown=COOLDOWN)
    parts = {"model": replace(config.model, **(model or {}))}
    return replace(config, **parts, task=replace(config.task, **(task or {})))


def best(config: ModelConfig, task: TaskConfig, *, steps: int = 2000, seed: int = 0) -> Rule:
    """The 2 L scalars of a depth-L rule, one norm for all prompts, optimised directly.

    By their logarithms, from the universal constants.
    """
    start = Rule(config, tuple(LayerRule(0.0, 0.0, 1.0) for _ in range(config.layers)))
    start = start.with_constants(1.0, 1.2, task=task)
    pairs = [[np.log(layer.eta_step), np.log(layer.gamma_step)] for layer in start.layers]
    logarithms = torch.tensor(pairs, dtype=torch.float32, requires_grad=True)

    def predict(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        blocks = blocks_of(batch)
        for eta, gamma in logarithms.exp():
            blocks = update(blocks, eta, gamma)
        return blocks.D.mT

    settings = {"rate": 1e-2, "batch_size": 1024}
    descend([logarithms], predict, task, steps=steps, seed=seed, **settings)
    return with_steps(config, logarithms.detach().exp().double().tolist(), task)


def with_steps(config: ModelConfig, steps: Sequence[Iterable[float]], task: TaskConfig) -> Rule:
    """A rule with given step sizes, its norms measured on its own states."""
    rule = Rule(config, tuple(LayerRule(eta, gamma, 1.0) for eta, gamma in steps))
    probe = extract(rule.model(), task=task)
    pairs = zip(rule.layers, probe.layers, strict=True)
    return replace(rule, layers=tuple(replace(own, norm=found.norm) for own, found in pairs))


def minimax(config: ModelConfig, task: TaskConfig, lower: float) -> Rule:
    """F2's schedule for singular values in [lower, 1] times the largest norm in a batch."""
    schedule, steps = Minimax(), []
    norm = Rule(config, (LayerRule(0, 0, 1.0),)).with_constants(task=task).layers[0].norm
    for _ in range(config.layers):
        eta, gamma = schedule.pair(lower)
        steps.append((eta / norm**2, gamma / norm**2))
        image = min(lower * (1 - eta * lower**2), 1 - eta)
        lower, norm = image / largest(eta), norm * largest(eta)
    return with_steps(config, steps, task)


def error(rule: Rule, task: TaskConfig) -> float:
    """Mean square per entry of D, median of batches."""
    generator = torch.Generator().manual_seed(77)
    return mean_square(rule, (sample_batch(task, 1024, generator=generator) for _ in range(16)))


def constants(setting: Setting) -> None:
    config = ModelConfig()
    task = TaskConfig(spectrum=LITERAL)
    learned = Models(spectrum=LITERAL).rules("unconstrained").values()
    rules = {f"learned, seed {i}": rule for i, rule in enumerate(learned)}
    rules["best 8 scalars"] = best(config, task)
    for lower in (0.003, 0.01, 0.03, 0.1):
        rules[f"minimax, l = {lower:g}"] = minimax(config, task, lower)
    title = "learned and optimal constants, in units of |A_0|^-2 of the batch maximum"
    setting.report.section(title)
    figure, (left, right) = panels(2, width=3.2)
    for i, (name, rule) in enumerate(rules.items()):
        square = rule.layers[0].norm ** 2
        eta = [layer.eta_step * square for layer in rule.layers[:3]]
        gamma = [layer.gamma_step * square for layer in rule.layers]
        cells = {f"eta{k}": value for k, value in enumerate(eta)}
        cells |= {f"gamma{k}": value for k, value in enumerate(gamma)}
        setting.report.row(rule=f"{name:20}", **cells, error=error(rule, task))
        style = {"color": COLOURS[min(i, 6)], "marker": "osD^vPX"[i % 7], "label": name}
        left.plot(eta, **style)
        right.plot(gamma, **style)
    left.set(title="eta", xlabel="layer", yscale="log", ylabel="in units of |A_0|^-2")
    right.set(title="gamma", xlabel="layer", yscale="log", xticks=range(4))
    left.set(xticks=range(3))
    right.legend(frameon=False, fontsize=7)
    setting.save(figure, "constants")


def lift(setting: Setting) -> None:
    report = setting.report
    learned = Models(spectrum=LITERAL).rules("compute-limited").values()
    rules = {f"paper's lift, seed {seed}": rule for seed, rule in enumerate(learned)}
    for seed in (0, 1):
        config = TrainConfig.paper(
            "compute-limited", seed=seed, spectrum=LITERAL, steps=STEPS, cooldown=COOLDOWN
        )
        config = replace(config, model=replace(config.model, lift="full"))
        rules[f"room for the full, {seed}"] = extract(setting.trained(f"full-{seed}", config).model)
    report.section("what is lifted: energy of P in the range of S, and along the identity")
    for name, rule in rules.items():
        for layer, each in enumerate(rule.layers[:-1]):
            U, s, _ = np.linalg.svd(
                np.hstack([own.sketch for own in rule.layers[layer + 1 :]]), full_matrices=False
            )
            later = inside(each.lift, U[:, s > 0.1 * s[0]])
            own, identity = each.structure.overlap, each.structure.full
            cells = {"own": own, "later": later, "identity": identity, "error": rule.model_error}
            report.row(model=f"{name:22}", layer=layer, **cells)
    report.say("own by chance: (5/18)^2 = 0.08; identity of a projector of rank 5: 5/18 = 0.28")
    figure, all_axes = panels(len(rules), width=3.2)
    for (name, rule), axes in zip(rules.items(), all_axes, strict=True):
        image = energy_table(axes, energies(rule), name)
    figure.colorbar(image, ax=all_axes, shrink=0.6, label="energy of P in the range of S")
    setting.save(figure, "lift")


def families(setting: Setting) -> None:
    report = setting.report
    tasks: dict[str, dict[str, Any]] = {
        "block": {},
        "mixture": {"family": "mixture"},
        "asymmetric": {"family": "asymmetric"},
        "condition 1e6": {"family": "condition", "condition": 1e6},
        "condition 1e8": {"family": "condition", "condition": 1e8},
    }
    rules = {}
    for name, task in tasks.items():
        run = setting.trained(name.replace(" ", "-") if task else "depth-4", short(task=task))
        rules[name] = (run, extract(run.model, task=run.config.task))
    report.section("trained on other data, 6,000 steps, tested on the same data")
    figure, all_axes = panels(len(rules), width=3.2)
    for (name, (run, rule)), axes in zip(rules.items(), all_axes, strict=True):
        found = [layer.structure for layer in rule.layers]
        report.row(
            family=f"{name:14}", learned=rule.learned, untrained=run.untrained, trained=run.test,
            rule=rule.rule_error,
            best_scalars=error(best(run.config.model, run.config.task), run.config.task),
            off_QK=max(each.off_pattern_QK for each in found),
            off_VP=max(each.off_pattern_VP for each in found),
            spread=max(each.spread for each in found),
        )  # fmt: skip
        for reason in rule.reasons:
            report.say(f"    {reason}")
        picture(axes, run.model.W_QK[1, 0].detach().numpy(), f"{name}: W_QK, layer 1")
    setting.save(figure, "families")


def depth(setting: Setting) -> None:
    report = setting.report
    report.section("constants against depth, in units of |A_l|^-2 of the batch maximum")
    figure, (left, right) = panels(2, width=3.2)
    for colour, layers in zip(COLOURS, DEPTHS, strict=True):
        run = setting.trained(f"depth-{layers}", short(model={"layers": layers}))
        rule, optimum = extract(run.model), best(run.config.model, run.config.task)
        found = {
            "eta": rule.eta[:-1], "best_eta": optimum.eta[:-1],
            "gamma": rule.gamma, "best_gamma": optimum.gamma,
        }  # fmt: skip
        cells = {name: " ".join(f"{x:.2f}" for x in values) for name, values in found.items()}
        scalars = error(optimum, run.config.task)
        errors = {"learned": rule.learned, "error": run.test, "best_scalars": scalars}
        report.row(depth=layers, **errors, **cells)
        for axes, name in ((left, "eta"), (right, "gamma")):
            axes.plot(found[name], "o-", color=colour, label=f"depth {layers}")
            axes.plot(found[f"best_{name}"], "x:", color=colour)
    left.axhline(1 / 3, color="0.6", linewidth=1)
    left.axhline(1, color="0.6", linewidth=1)
    left.set(title="eta: learned (o), best scalars (x)", xlabel="layer", ylim=(0, 3))
    right.set(title="gamma", xlabel="layer", ylim=(0, 6))
    right.legend(frameon=False, fontsize=8)
    setting.save(figure, "depth")


def bound(setting: Setting) -> None:
    """What training leaves on the table in the compute-limited regime."""
    report, config = setting.report, ModelConfig("compute-limited")
    report.section("compute-limited: the best rules that its weights can hold, two starts each")
    for spectrum in SPECTRA:
        task = TaskConfig(spectrum=spectrum)
        untrained = Models(spectrum=spectrum).run("compute-limited", 0).untrained
        answer = columns(task, config.rank)
        row = {"data": f"{spectrum:9}", "structure": "least squares, 5 columns", "start": "-"}
        report.row(**row, error=answer, times=untrained / answer)
        for structure in STRUCTURES:
            one = structure == "one sketch"
            for start, seed in (
                (("shared", 0), ("shared", 1)) if one else (("random", 0), ("shared", 0))
            ):
                found = optimise(config, task, structure, start=start, seed=seed)
                row = {"data": f"{spectrum:9}", "structure": f"{structure:24}", "start": start}
                report.row(**row, error=found.error, times=untrained / found.error)
        for seed in Models(spectrum=spectrum).seeds("compute-limited"):
            run = Models(spectrum=spectrum).run("compute-limited", seed)
            row = {
                "data": f"{spectrum:9}",
                "structure": f"trained, {run.steps} steps",
                "start": seed,
            }
            report.row(**row, error=run.test, times=untrained / run.test)


def capacity(setting: Setting) -> None:
    """Whether depth makes up for columns: the full lift, from two starts."""
    report, task = setting.report, TaskConfig()
    report.section(
        "best rules by depth and rank, full lift; r L / n: looks at a column, on average"
    )
    found: dict[str, dict[int, list[tuple[float, float]]]] = {"random": {}, "shared": {}}
    for rank, layers in product((5, 9, 18), (4, 8, 12)):
        config = ModelConfig("compute-limited", rank=rank, layers=layers)
        looks, errors = rank * layers / config.n, {}
        for begun, curves in found.items():
            error = optimise(config, task, "full lift", start=begun, steps=600).error
            curves.setdefault(rank, []).append((looks, error))
            errors[begun] = error
        report.row(rank=rank, depth=layers, looks=looks, **errors, columns=columns(task, rank))
    figure, axes = panels(2, width=3.2)
    for ax, (begun, curves) in zip(axes, found.items(), strict=True):
        for colour, (rank, points) in zip(COLOURS, curves.items(), strict=False):
            ax.plot(*zip(*points, strict=True), "o-", color=colour, label=f"r = {rank}")
        ax.set(title=f"sketches at the start: {begun}", xlabel="r L / n", xscale="log")
        ax.set(yscale="log")
    axes[0].set(ylabel="mean square of an entry of D")
    axes[1].legend(frameon=False, fontsize=8)
    setting.save(figure, "capacity")


class _Penalised(Trainer):
    """The flat block of W_VP, which leaves predictions alone, is made small as well."""

    def loss(self, batch: Batch) -> torch.Tensor:
        visible, _ = self.config.model.machine_features
        flat = self.model.W_VP[..., visible:, :visible]
        return super().loss(batch) + PENALTY * flat.square().sum()


def start(setting: Setting) -> None:
    """Whether one sketch comes sooner from one start, or without a flat block.

    Matched seeds and data. The shared start *imposes* that layers begin equal, the penalty that the
    flat block is small. What follows from either is found.
    """
    report = setting.report
    report.section("one sketch: overlap of the ranges of S in layers 0-1, 1-2, 2-3; by chance 0.28")
    torch.set_num_threads(1)
    for seed, choice in product((0, 1, 2), ("own", "shared", "penalty")):
        config = TrainConfig.paper("compute-limited", seed=seed, batch=256, log_every=500)
        kind = _Penalised if choice == "penalty" else Trainer
        trainer = kind(replace(config, steps=8000), torch.device("cpu"))
        if choice == "shared":
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    parameter[:] = parameter[0].clone()
        with tqdm(disable=not sys.stderr.isatty()) as bar:
            while trainer.status is RunStatus.RUNNING:
                trainer.advance(bar)
                if trainer.step not in (500, 1000, 2000, 4000, 8000):
                    continue
                rule = extract(trainer.model)
                ranges = [np.linalg.qr(layer.sketch)[0] for layer in rule.layers]
                pairs = pairwise(ranges)
                overlaps = " ".join(f"{shared_part(Q, other):.2f}" for Q, other in pairs)
                report.row(
                    seed=seed,
                    start=f"{choice:7}",
                    steps=trainer.step,
                    overlap=overlaps,
                    error=rule.model_error,
                )


def discovery(setting: Setting) -> None:
    """What is looked at where columns may be chosen for every prompt."""
    report = setting.report
    report.section("columns chosen per prompt, rank 5, full lift: the rule with scores, optimised")
    depths, found = (4,), {}
    for spectrum in SPECTRA:
        task = TaskConfig(spectrum=spectrum)
        for layers in depths:
            config = ModelConfig("compute-limited", layers=layers)
            for choice in CHOICES:
                each = discover(config, task, choice)
                found[spectrum, layers, choice] = each
                report.row(
                    data=f"{spectrum:9}",
                    depth=layers,
                    choice=f"{choice:13}",
                    error=each.error,
                    again=" ".join(f"{value:.2f}" for value in each.again),
                    largest=" ".join(f"{value:.2f}" for value in each.largest),
                    size=" ".join(f"{value:.2f}" for value in each.size),
                    picked=" ".join(f"{value:.2f}" for value in each.picked),
                )
    report.say("again: part of the picks that an earlier layer made; by chance 0.28 in layer 1")
    report.say("largest: part that is among the five largest columns as they stand; by chance 0.28")
    figure, axes = panels(2, width=3.2)
    for ax, name in zip(axes, ("again", "largest"), strict=True):
        for index, (spectrum, layers) in enumerate(product(SPECTRA, depths)):
            values = getattr(found[spectrum, layers, "by content"], name)
            start = layers - len(values)
            label = f"{spectrum}s, depth {layers}"
            ax.plot(range(start, layers), values, "o-", color=COLOURS[index], label=label)
        ax.axhline(config.rank / config.n, color="0.6", linewidth=1)
        ax.set(title=f"picks: {name}", xlabel="layer", ylim=(-0.05, 1.05))
        ax.set(xticks=range(start, layers))
    axes[0].legend(frameon=False, fontsize=8)
    setting.save(figure, "discovery")


STUDIES = {
    study.__name__: study
    for study in (constants, lift, families, depth, bound, capacity, start, discovery)
}


def main(argv: list[str] | None = None) -> int:
    """Run the studies asked for."""
    parser = Parser(prog="python -m benchmarks.studies", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STUDIES))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of trained models")
    parser.add_argument("--output", type=Path, default=Path("studies"), help="folder of pictures")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write every row to FILE")
    arguments = parser.parse_args(argv)
    refuse_unknown(parser, "study", arguments.names, list(STUDIES))
    make_folder(parser, arguments.output)
    setting = Setting(Report("studies"), arguments.runs, arguments.output)
    for name in arguments.names or STUDIES:
        STUDIES[name](setting)
    setting.report.save(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
