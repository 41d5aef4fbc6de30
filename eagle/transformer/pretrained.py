"""Checkpoints that come with the package, trained by `eagle.transformer.train`.

Each holds weights, configuration and log of a run, without the state of its optimizer: `load_run`
shows all of it.
"""

from __future__ import annotations

import re
from pathlib import Path

from eagle.transformer.config import REGIMES
from eagle.transformer.model import LinearTransformer
from eagle.transformer.train import load_run

__all__ = ["load_pretrained", "pretrained", "pretrained_path"]

FOLDER = Path(__file__).parent / "checkpoints"
NAME = re.compile(rf"(?P<regime>{'|'.join(REGIMES)})(?P<noisy>-noisy)?-(?P<seed>\d+)")


def pretrained_path(
    regime: str, seed: int = 0, *, noisy: bool = False, folder: Path = FOLDER
) -> Path:
    """Where a checkpoint is, for `eagle.transformer.load_run`.

    Parameters
    ----------
    regime : str
        See `ModelConfig`.
    seed : int
        Of the training.
    noisy : bool
        Trained on X with noise of variance 0.01.
    folder : Path
        Of the checkpoints; the package's by default.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Unknown regime, or a seed that there is no checkpoint of.
    """
    if regime not in REGIMES:
        raise ValueError(f"regime must be one of {', '.join(REGIMES)}, got {regime!r}")
    there = pretrained(noisy=noisy, folder=folder)
    if (regime, seed) not in there:
        seeds = ", ".join(str(own) for name, own in there if name == regime)
        raise ValueError(f"seed must be one of {seeds} for the {regime} regime, got {seed!r}")
    return folder / f"{regime}-{'noisy-' if noisy else ''}{seed}.safetensors"


def pretrained(*, noisy: bool = False, folder: Path = FOLDER) -> tuple[tuple[str, int], ...]:
    """Regimes and seeds of the checkpoints there are; files of other names are passed over.

    Parameters
    ----------
    noisy : bool
        Those that were trained with noise.
    folder : Path
        Of the checkpoints; the package's by default.

    Returns
    -------
    tuple of (str, int)
    """
    found = []
    for path in folder.glob("*.safetensors"):
        match = NAME.fullmatch(path.stem)
        if match and bool(match["noisy"]) == noisy:
            found.append((match["regime"], int(match["seed"])))
    return tuple(sorted(found, key=lambda each: (REGIMES.index(each[0]), each[1])))


def load_pretrained(regime: str, seed: int = 0, *, noisy: bool = False) -> LinearTransformer:
    """A transformer trained with the paper's recipe, from the package.

    Parameters
    ----------
    regime : str
        ``"unconstrained"``, ``"compute-limited"``, ``"distributed"`` or ``"estimation"``.
    seed : int
        Of the training.
    noisy : bool
        Trained on X with noise of variance 0.01.

    Returns
    -------
    LinearTransformer
        On the CPU, float32. No code from the file is run.

    Raises
    ------
    ValueError
        Unknown regime, or a seed that there is no checkpoint of.

    Examples
    --------
    >>> from eagle.transformer import load_pretrained
    >>> load_pretrained("distributed", seed=1).config.machines
    3
    """
    return load_run(pretrained_path(regime, seed, noisy=noisy)).model
