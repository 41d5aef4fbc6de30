"""Train the checkpoints that come with the package: ``python -m benchmarks.pretrain RUNS``.

Every model is trained twice over, at the price of once: at the paper's constant rate, which gives
NAME-constant-SEED, and from there on with a rate that falls to zero, which gives NAME-SEED. One run
after the other into folders of RUNS, each resumable, on one thread each so that the result does not
depend on how many there are; finished runs are copied to ``--output`` without their optimizer
state. Two of these processes may share RUNS: each takes what the other has not begun.
"""

import time
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import torch

from benchmarks.common import Parser
from eagle.transformer import Run, RunStatus, TrainConfig, load_run, train
from eagle.transformer.config import REGIMES
from eagle.transformer.run import CHECKPOINT

OUTPUT = Path(__file__).parents[1] / "eagle" / "transformer" / "checkpoints"
SEEDS = {"estimation": (0, 1)}
# A quarter of the paper's batches: a fifth of its hours. The norms in units of which constants are
# given are those of its batches of 1024 all the same.
STEPS, BATCH, COOLDOWN = 20_000, 256, 0.2


def configurations() -> dict[str, TrainConfig]:
    """Name and configuration of every checkpoint, the first seed of every regime first."""
    found = {}

    def add(name: str, regime: str, seed: int, noise: float = 0.0) -> None:
        config = TrainConfig.paper(
            regime, seed=seed, noise=noise, spectrum="deviation", batch=BATCH, log_every=500
        )
        steps = round(STEPS * (1 - COOLDOWN))
        found[f"{name}-constant-{seed}"] = replace(config, steps=steps)
        found[f"{name}-{seed}"] = replace(config, steps=STEPS, cooldown=COOLDOWN)

    for seed in (0, 1, 2):
        for regime in ("compute-limited", "distributed", "unconstrained", "estimation"):
            if seed in SEEDS.get(regime, (0, 1, 2)):
                add(regime, regime, seed)
    for regime in REGIMES:
        add(f"{regime}-noisy", regime, 0, noise=0.01)
    return found


def pretrain(name: str, config: TrainConfig, runs: Path, output: Path, *, progress: bool) -> None:
    """Train one and copy it."""
    stem, _, seed = name.rpartition("-")
    constant = runs / f"{stem}-constant-{seed}"
    if config.cooldown and constant.exists() and not (runs / name / CHECKPOINT).exists():
        copytree(constant, runs / name, dirs_exist_ok=True)
    run = train(config, runs / name, resume=True, progress=progress)
    print(name, run, flush=True)
    copy(name, run, output)


def copy(name: str, run: Run, output: Path) -> None:
    """A finished run, without its optimizer state."""
    if run.status is RunStatus.DONE:
        output.mkdir(parents=True, exist_ok=True)
        run.save(output / f"{name}.safetensors")


def main() -> None:
    parser = Parser(prog="python -m benchmarks.pretrain", description=__doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder of the runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(configurations()))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, config in configurations().items():
        if arguments.only and name not in arguments.only:
            continue
        folder = arguments.runs / name
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not arguments.only:
                if (folder / CHECKPOINT).exists():
                    copy(name, load_run(folder), arguments.output)
                continue
        started = time.perf_counter()
        pretrain(name, config, arguments.runs, arguments.output, progress=arguments.progress)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
