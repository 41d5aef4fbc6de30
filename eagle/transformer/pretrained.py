"""Checkpoints that come with the package, trained by `eagle.transformer.train`.

Each holds weights, configuration and log of a run, without the state of its optimizer: `load_run`
shows all of it. Names are REGIME[-variance][-noisy][-constant]-SEED.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from eagle.transformer.config import REGIMES, SPECTRA, TaskConfig
from eagle.transformer.model import LinearTransformer
from eagle.transformer.train import load_run

__all__ = ["FOLDER", "KINDS", "load_pretrained", "pretrained", "pretrained_path"]

FOLDER = Path(__file__).parent / "checkpoints"
NAME = re.compile(
    rf"(?P<regime>{'|'.join(REGIMES)})"
    r"(?P<kind>(?:-variance)?(?:-noisy)?(?:-constant)?)-(?P<seed>\d+)"
)

# Every way in which a checkpoint of the package can have been trained, see `pretrained_path`.
KINDS: tuple[dict[str, Any], ...] = tuple(
    {"spectrum": spectrum, "noisy": noisy, "constant": constant}
    for spectrum in SPECTRA
    for constant in (False, True)
    for noisy in (False, True)
)


def _kind(spectrum: str, noisy: bool, constant: bool) -> str:
    """What of a name says how the model was trained."""
    variance = "-variance" * (spectrum == "variance")
    return variance + "-noisy" * noisy + "-constant" * constant


def pretrained_path(
    regime: str,
    seed: int = 0,
    *,
    noisy: bool = False,
    constant: bool = False,
    spectrum: str = TaskConfig.spectrum,
    folder: Path = FOLDER,
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
    constant : bool
        Trained at a constant rate, as in the paper, without the cooldown.
    spectrum : {"deviation", "variance"}
        Which reading of the paper's data it was trained on, see `TaskConfig`.
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
    there = pretrained(noisy=noisy, constant=constant, spectrum=spectrum, folder=folder)
    kind = _kind(spectrum, noisy, constant)
    if (regime, seed) not in there:
        seeds = ", ".join(str(own) for name, own in there if name == regime) or "none"
        raise ValueError(
            f"seed must be one of {seeds} for the {regime} regime{kind.replace('-', ', ')}, "
            f"got {seed!r}"
        )
    return folder / f"{regime}{kind}-{seed}.safetensors"


def pretrained(
    *,
    noisy: bool = False,
    constant: bool = False,
    spectrum: str = TaskConfig.spectrum,
    folder: Path = FOLDER,
) -> tuple[tuple[str, int], ...]:
    """Regimes and seeds of the checkpoints there are; files of other names are passed over.

    Parameters
    ----------
    noisy, constant, spectrum : bool, bool, str
        Those that were trained like this, see `pretrained_path`.
    folder : Path
        Of the checkpoints; the package's by default.

    Returns
    -------
    tuple of (str, int)
    """
    found, kind = [], _kind(spectrum, noisy, constant)
    for path in folder.glob("*.safetensors"):
        match = NAME.fullmatch(path.stem)
        if match and match["kind"] == kind:
            found.append((match["regime"], int(match["seed"])))
    return tuple(sorted(found, key=lambda each: (REGIMES.index(each[0]), each[1])))


def load_pretrained(
    regime: str,
    seed: int = 0,
    *,
    noisy: bool = False,
    constant: bool = False,
    spectrum: str = TaskConfig.spectrum,
) -> LinearTransformer:
    """A transformer trained with the paper's recipe, from the package.

    Parameters
    ----------
    regime : str
        ``"unconstrained"``, ``"compute-limited"``, ``"distributed"`` or ``"estimation"``.
    seed : int
        Of the training.
    noisy, constant, spectrum : bool, bool, str
        How it was trained, see `pretrained_path`.

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
    >>> load_pretrained("distributed", seed=0).config.machines
    3
    """
    path = pretrained_path(regime, seed, noisy=noisy, constant=constant, spectrum=spectrum)
    return load_run(path).model
