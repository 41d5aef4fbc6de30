"""Train the checkpoints that come with the package: ``python -m benchmarks.pretrain RUNS``.

One run after the other into folders of RUNS, each resumable, on one thread each so that the result
does not depend on how many there are; finished runs are copied to ``--output`` without their
optimizer state. Two of these processes may share RUNS: each takes what the other has not begun.
"""

import time
from pathlib import Path

import torch

from benchmarks.common import Parser
from eagle.transformer import Run, RunStatus, TrainConfig, load_run, train
from eagle.transformer.config import REGIMES
from eagle.transformer.train import CHECKPOINT

OUTPUT = Path(__file__).parents[1] / "eagle" / "transformer" / "checkpoints"
SEEDS = {"unconstrained": (0, 1, 2), "distributed": (0, 1, 2)}
COOLDOWN = 0.2  # the one departure from the paper's recipe: the rate falls to 0 at the end


def configurations() -> dict[str, TrainConfig]:
    """Name and configuration of every checkpoint, the first seed of every regime first."""
    found = {}
    for seed in (0, 1, 2):
        for regime in REGIMES:
            if seed in SEEDS.get(regime, (0, 1)):
                found[f"{regime}-{seed}"] = TrainConfig.paper(regime, seed=seed, cooldown=COOLDOWN)
    for regime in REGIMES:
        found[f"{regime}-noisy-0"] = TrainConfig.paper(regime, noise=0.01, cooldown=COOLDOWN)
    return found


def pretrain(name: str, config: TrainConfig, runs: Path, output: Path, *, progress: bool) -> None:
    """Train one and copy it."""
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
