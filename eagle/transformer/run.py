"""What a training run leaves: a model, a log, and a checkpoint that holds both.

``checkpoint.safetensors`` has the weights and, to go on from, Adam's moments and the random state;
configuration, counters and log are JSON in its header. It is replaced whole, never written to.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from eagle.tables import replacing
from eagle.transformer.config import TrainConfig
from eagle.transformer.model import LinearTransformer

CHECKPOINT = "checkpoint.safetensors"


class RunStatus(enum.Enum):
    """How a training run stands."""

    RUNNING = "not finished: train with resume=True"
    DONE = "all steps taken"
    DIVERGED = "the loss left all bounds: lower learning_rate or deviation"


@dataclass(frozen=True)
class Record:
    """One line of the log, about the steps since the line before.

    Attributes
    ----------
    step : int
        Steps taken in all.
    loss : float
        Median training loss, mean-squared error per entry of D.
    largest_loss : float
        The worst step's: spikes show here.
    gradient : float
        Median norm of the gradient before clipping.
    clipped, skipped : int
        Steps whose gradient was scaled down, and steps without one that is finite: their data
        was drawn and had no effect.
    test : float or None
        Test error, on lines where it was measured.
    seconds : float
        Spent training in all.
    """

    step: int
    loss: float
    largest_loss: float
    gradient: float
    clipped: int
    skipped: int
    test: float | None
    seconds: float


@dataclass
class Run:
    """A trained model and how it came about.

    Attributes
    ----------
    model : LinearTransformer
        The last good weights.
    config : TrainConfig
        What was asked for.
    status : RunStatus
        Whether it ended, and how.
    log : list of Record
        Every ``TrainConfig.log_every`` steps.
    untrained : float
        Test error of the initial weights.
    """

    model: LinearTransformer
    config: TrainConfig
    status: RunStatus
    log: list[Record]
    untrained: float

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.log[-1].step if self.log else 0

    @property
    def test(self) -> float:
        """Last test error."""
        return next((r.test for r in reversed(self.log) if r.test is not None), self.untrained)

    @property
    def skipped(self) -> int:
        """Steps that had no effect, their gradient not being finite."""
        return sum(record.skipped for record in self.log)

    @property
    def clipped(self) -> int:
        """Steps whose gradient was scaled down to ``TrainConfig.clip``."""
        return sum(record.clipped for record in self.log)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, configuration and log to one file, for `load_run`.

        Parameters
        ----------
        path : path
            Without the state of the optimizer: the run cannot be resumed from it.
        """
        tensors = {f"model.{name}": value for name, value in self.model.named_parameters()}
        write_checkpoint(Path(path), tensors, header_of(self))

    def __str__(self) -> str:
        return (
            f"{self.config.model.regime}, seed {self.config.seed}: {self.status.name}, "
            f"{self.steps} steps, test error {self.test:.3g} "
            f"({self.untrained / self.test:.1f} times under the untrained {self.untrained:.3g}), "
            f"{self.clipped} clipped, {self.skipped} skipped"
        )


def header_of(run: Any) -> dict[str, Any]:
    """Of a `Run`, or of what will be one."""
    return {
        "config": run.config.to_dict(),
        "status": run.status.name,
        "untrained": run.untrained,
        "log": [dataclasses.asdict(record) for record in run.log],
    }


def load_run(directory: str | os.PathLike[str]) -> Run:
    """A run from the folder that `train` wrote it to.

    Parameters
    ----------
    directory : path
        The folder, or a checkpoint file.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        No run there, or a damaged or foreign one; names the file. No code from it is run.
    """
    path = Path(directory)
    path = path / CHECKPOINT if path.is_dir() else path
    tensors, header = read_checkpoint(path)
    try:
        config = TrainConfig.from_dict(header["config"])
        log = [Record(**record) for record in header["log"]]
        status, untrained = RunStatus[header["status"]], float(header["untrained"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a checkpoint of eagle train ({error})") from error
    model = LinearTransformer(config.model)
    model.task = config.task
    load_weights(model, tensors, path)
    return Run(model, config, status, log, untrained)


def load_weights(model: LinearTransformer, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Those of a checkpoint, or ValueError that names its file."""
    weights = {
        name.removeprefix("model."): value
        for name, value in tensors.items()
        if name.startswith("model.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: weights do not fit the configuration beside them") from error
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError(f"{path}: weights are not finite")


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of a file, or ValueError naming it."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["eagle"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such checkpoint") from error
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: damaged, or not a checkpoint of eagle train") from error


def write_checkpoint(
    path: Path, tensors: Mapping[str, torch.Tensor], header: dict[str, Any]
) -> None:
    """Tensors and header to a file, whole or not at all."""
    data = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as file:
        file.write(save(data, metadata={"eagle": json.dumps(header)}))
