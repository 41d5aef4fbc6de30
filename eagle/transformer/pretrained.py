"""Checkpoints that come with the package, trained by `eagle.transformer.train`.

Each holds weights, configuration and log of a run, without the state of its optimizer: `load_run`
shows all of it. Names are REGIME[-variance][-noisy][-constant]-SEED.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

from eagle.transformer.config import REGIMES, SPECTRA
from eagle.transformer.model import LinearTransformer
from eagle.transformer.run import load_run

FOLDER = Path(__file__).parent / "checkpoints"
NAME = re.compile(
    rf"(?P<regime>{'|'.join(REGIMES)})"
    r"(?P<kind>(?:-variance)?(?:-noisy)?(?:-constant)?)-(?P<seed>\d+)"
)


def _kind(noisy: bool, constant: bool, spectrum: str) -> str:
    """What of a name says how the model was trained."""
    return "-variance" * (spectrum == "variance") + "-noisy" * noisy + "-constant" * constant


def pretrained_path(
    regime: str,
    seed: int = 0,
    *,
    noisy: bool = False,
    constant: bool = False,
    spectrum: str | None = None,
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
    spectrum : {"deviation", "variance"}, optional
        Which reading of the paper's data it was trained on, see `TaskConfig`; by default
        ``"deviation"`` if there is such a checkpoint of the regime, of any seed, or else the other.
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
    for own in SPECTRA if spectrum is None else (spectrum,):
        there = pretrained(noisy=noisy, constant=constant, spectrum=own, folder=folder)
        seeds = [known for name, known in there if name == regime]
        if seed in seeds:
            return folder / f"{regime}{_kind(noisy, constant, own)}-{seed}.safetensors"
        if seeds:
            listed = ", ".join(map(str, seeds))
            raise ValueError(f"seed must be one of {listed} for the {regime} regime, got {seed!r}")
    raise ValueError(f"regime must have checkpoints that were trained like this, got {regime!r}")


def pretrained(
    *,
    noisy: bool = False,
    constant: bool = False,
    spectrum: str | None = None,
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
    there = [match for path in folder.glob("*.safetensors") if (match := NAME.fullmatch(path.stem))]
    found: list[tuple[str, int]] = []
    for regime in REGIMES:
        for own in SPECTRA if spectrum is None else (spectrum,):
            kind = _kind(noisy, constant, own)
            same = [match for match in there if match["regime"] == regime and match["kind"] == kind]
            if same:
                found += sorted((regime, int(match["seed"])) for match in same)
                break
    return tuple(found)


def named() -> dict[str, Path]:
    """Every checkpoint of the package by its name; without a reading in it, the default one."""
    found = {}
    for spectrum, constant, noisy in product((None, *SPECTRA), (False, True), (False, True)):
        for regime, seed in pretrained(noisy=noisy, constant=constant, spectrum=spectrum):
            kind = _kind(noisy, constant, spectrum or SPECTRA[0])
            found[f"{regime}{kind}-{seed}"] = pretrained_path(
                regime, seed, noisy=noisy, constant=constant, spectrum=spectrum
            )
    return found


def load_pretrained(
    regime: str,
    seed: int = 0,
    *,
    noisy: bool = False,
    constant: bool = False,
    spectrum: str | None = None,
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
