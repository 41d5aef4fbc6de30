"""Training: the paper's recipe, resumable to the same result, with every clipped step counted.

A run is a folder: ``checkpoint.safetensors`` (see `eagle.transformer.run`), ``log.csv``, and
``loss.png`` where matplotlib is installed.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from eagle.problem.options import check_count
from eagle.tables import replacing
from eagle.transformer.config import TaskConfig, TrainConfig
from eagle.transformer.data import Batch, sample_batch
from eagle.transformer.model import LinearTransformer
from eagle.transformer.run import (
    CHECKPOINT,
    Record,
    Run,
    RunStatus,
    header_of,
    load_weights,
    read_checkpoint,
    write_checkpoint,
)

LOG, PICTURE = "log.csv", "loss.png"
TEST_SEED = 1_000_003  # far from the seeds of training, the same for every run
PATIENCE = 100  # steps in a row without a finite gradient before a run counts as diverged
RISE = 10.0  # times the untrained error, likewise


def train(
    config: TrainConfig,
    directory: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Run:
    """Train a linear transformer to fill in masked blocks.

    Adam on the mean-squared error of D, fresh prompts at every step, gradients clipped by their
    norm [1]_. Equal configurations give equal results on one machine and thread count, however
    often the run is interrupted.

    Parameters
    ----------
    config : TrainConfig
        Model, task and recipe.
    directory : path, optional
        Where checkpoint and log go. Nothing is written without one.
    resume : bool
        Go on from the checkpoint in `directory`, if there is one. `steps` and `cooldown` may be
        others than before: so a run at a constant rate gets a cooldown.
    device : str or torch.device
        Where to train.
    progress : bool
        Show a bar with the loss and the time left.

    Returns
    -------
    Run
        Status ``DIVERGED`` if the loss left all bounds; the model is then the last good one.

    Raises
    ------
    ValueError
        `directory` holds another run, or `resume` meets another configuration, or more steps than
        were asked for.

    References
    ----------
    .. [1] arXiv:2509.19702, section 3.

    Examples
    --------
    >>> from eagle.transformer import ModelConfig, TrainConfig, train
    >>> config = TrainConfig(ModelConfig(layers=2), steps=20, batch=64, test_batches=4)
    >>> run = train(config)
    >>> run.status.name, run.steps
    ('DONE', 20)
    """
    folder = None if directory is None else Path(directory)
    trainer = Trainer(config, torch.device(device))
    if folder is not None and (folder / CHECKPOINT).exists():
        if not resume:
            raise ValueError(
                f"directory {str(folder)!r} holds a run already: resume it, or choose another"
            )
        trainer.restore(folder)
    bar = tqdm(
        total=config.steps, initial=trainer.step, disable=not progress, unit="step", mininterval=0.5
    )
    with bar:
        while trainer.status is RunStatus.RUNNING:
            trainer.advance(bar)
            if folder is not None and (trainer.tested or trainer.status is not RunStatus.RUNNING):
                trainer.write(folder)
    run = trainer.run()
    if folder is not None and importlib.util.find_spec("matplotlib"):
        from eagle.gallery.plotting import loss

        loss(run.log, run.untrained, folder / PICTURE)
    return run


def evaluate(
    model: LinearTransformer,
    task: TaskConfig,
    *,
    batches: int = 16,
    size: int = 1024,
    seed: int = TEST_SEED,
) -> float:
    """Mean-squared error per entry of D, the median over batches of their own.

    The median, because the error of a depth-L transformer is a polynomial of degree ``2 3^L`` in
    the entries of the prompt: one with an unusually large ``||A||`` outweighs thousands of others.

    Parameters
    ----------
    model : LinearTransformer
        To test.
    task : TaskConfig
        What on.
    batches, size : int
        How many batches, and how many prompts in each.
    seed : int
        Of the prompts.

    Returns
    -------
    float
    """
    check_count("batches", batches)
    weights = next(model.parameters())
    generator = torch.Generator(weights.device).manual_seed(seed)
    errors = []
    with torch.no_grad():
        for _ in range(batches):
            batch = sample_batch(task, size, generator=generator, dtype=weights.dtype)
            errors.append(float((model.predict(batch) - batch.D).square().mean()))
    return float(typical(errors))


def typical(values: Any) -> Any:
    """Median over the first axis; what overflowed to NaN counts as infinite."""
    return np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf), axis=0)


class Trainer:
    """The state of a run between two steps: all of it goes into a checkpoint."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.model = LinearTransformer(config.model, self.generator).to(device)
        self.model.task = config.task
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.untrained = self._test()
        nothing = sample_batch(config.task, 1024, seed=TEST_SEED).D  # the error of predicting 0
        self.bound = RISE * max(self.untrained, float(nothing.square().mean()))
        self.log: list[Record] = []
        self.status = RunStatus.RUNNING
        self.step = self.stalled = 0
        self.seconds = 0.0
        self.good = self._weights()

    @property
    def tested(self) -> bool:
        """Whether the last line of the log has a test error."""
        return bool(self.log) and self.log[-1].test is not None

    def advance(self, bar: Any) -> None:
        """Steps up to the next line of the log, and that line."""
        config, started = self.config, time.perf_counter()
        losses, gradients, skipped = [], [], 0
        stop = min(config.steps, (self.step // config.log_every + 1) * config.log_every)
        while self.step < stop and self.stalled < PATIENCE:
            loss, gradient = self.update()
            if math.isfinite(gradient):
                losses.append(loss)
                gradients.append(gradient)
                self.stalled = 0
            else:
                skipped += 1
                self.stalled += 1
            self.step += 1
            bar.update()
        loss = statistics.median(losses) if losses else math.inf
        diverged = self.stalled >= PATIENCE or (bool(losses) and loss > self.bound)
        test = None
        if self.step % config.test_every == 0 or self.step == config.steps or diverged:
            test = self._test()
            diverged = diverged or not math.isfinite(test)
        self.seconds += time.perf_counter() - started
        self.log.append(
            Record(
                step=self.step,
                loss=loss,
                largest_loss=max(losses, default=math.inf),
                gradient=statistics.median(gradients) if gradients else math.inf,
                clipped=sum(gradient > config.clip for gradient in gradients),
                skipped=skipped,
                test=test,
                seconds=round(self.seconds, 3),
            )
        )
        bar.set_postfix_str(f"loss {loss:.3g}")
        if diverged:
            self.status = RunStatus.DIVERGED
        elif self.step == config.steps:
            self.status = RunStatus.DONE
        if not diverged and test is not None:
            self.good = self._weights()

    def update(self) -> tuple[float, float]:
        """One step; the loss, and the norm of the gradient before clipping."""
        batch = sample_batch(self.config.task, self.config.batch, generator=self.generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        gradient = float(norm)
        if math.isfinite(gradient):
            self.optimizer.step()
        return float(loss.detach()), gradient

    def loss(self, batch: Batch) -> torch.Tensor:
        """What is made small: the mean square error of an entry of D."""
        return (self.model.predict(batch) - batch.D).square().mean()

    @property
    def _rate(self) -> float:
        config = self.config
        left = 1 - self.step / config.steps
        return config.learning_rate * min(1.0, left / config.cooldown if config.cooldown else 1.0)

    def _test(self) -> float:
        return evaluate(
            self.model,
            self.config.task,
            batches=self.config.test_batches,
            size=self.config.batch,
        )

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def run(self) -> Run:
        """The result, with the last good weights."""
        model = LinearTransformer(self.config.model).to(self.device)
        model.task = self.config.task
        model.load_state_dict(self.good)
        return Run(model, self.config, self.status, self.log, self.untrained)

    def write(self, folder: Path) -> None:
        """Checkpoint and log; of a diverged run the last good checkpoint stays."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_log(folder / LOG, self.log)
        state = {"step": self.step, "stalled": self.stalled, "seconds": self.seconds}
        header = header_of(self) | state
        if self.status is RunStatus.DIVERGED and (folder / CHECKPOINT).exists():
            tensors, _ = read_checkpoint(folder / CHECKPOINT)
        else:
            tensors = {f"model.{name}": value for name, value in self.good.items()}
            for name, parameter in self.model.named_parameters():
                for key, value in self.optimizer.state[parameter].items():
                    tensors[f"adam.{name}.{key}"] = value
            tensors["generator"] = self.generator.get_state()
        write_checkpoint(folder / CHECKPOINT, tensors, header)

    def restore(self, folder: Path) -> None:
        """The state that `write` wrote."""
        tensors, header = read_checkpoint(folder / CHECKPOINT)
        theirs = TrainConfig.from_dict(header["config"])
        ours = self.config
        if dataclasses.replace(theirs, steps=ours.steps, cooldown=ours.cooldown) != ours:
            raise ValueError(f"directory {str(folder)!r} holds a run of another configuration")
        load_weights(self.model, tensors, folder / CHECKPOINT)
        try:
            for name, parameter in self.model.named_parameters():
                prefix = f"adam.{name}."
                self.optimizer.state[parameter] = {
                    key.removeprefix(prefix): value.to(self.device if value.ndim else "cpu")
                    for key, value in tensors.items()
                    if key.startswith(prefix)
                }
            self.generator.set_state(tensors["generator"])
            self.status = RunStatus[header["status"]]
            self.step, self.stalled = header["step"], header["stalled"]
            self.seconds, self.untrained = header["seconds"], header["untrained"]
            self.log = [Record(**record) for record in header["log"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / CHECKPOINT}: not a checkpoint to resume from") from error
        if self.step > self.config.steps:
            raise ValueError(
                f"steps must be at least {self.step}, which the run in directory {str(folder)!r} "
                f"has taken, got {self.config.steps}"
            )
        if self.status is not RunStatus.DIVERGED:
            done = self.step == self.config.steps
            self.status = RunStatus.DONE if done else RunStatus.RUNNING
        self.good = self._weights()


def _write_log(path: Path, log: list[Record]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Record)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(record) for record in log)
    with replacing(path) as file:
        file.write(text.getvalue().encode())
