"""The demo: a fair race on real data, a table and a picture, and one line if it cannot run."""

from __future__ import annotations

import re

import numpy as np
import pytest

from eagle import cli
from eagle.gallery import demo, plotting
from tests.tolerances import relative_error, tolerance


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What a run prints, and its picture."""
    import contextlib
    import io

    path = tmp_path_factory.mktemp("demo") / "picture.png"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["demo", "-o", str(path), "--seed", "1"]) == 0
    return out.getvalue(), path


def test_the_table_names_every_method_and_fits_a_screen(shown):
    text, _ = shown
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    for name, *_ in demo.METHODS:
        assert name in text
    assert "\x1b" not in text  # no colours when nobody watches


def test_eagle_is_right_and_gradient_descent_says_that_it_is_not(shown):
    rows = {
        line[4:25].strip(): line.split() for line in shown[0].splitlines() if line[2:3].isalpha()
    }
    for name in ("EAGLE, minimax", "EAGLE, Cholesky", "direct (LAPACK)"):
        error, status = float(rows[name][-3]), rows[name][-1]
        assert error <= 1e-12
        assert status == "CONVERGED"
    assert rows["gradient descent"][-1] == "MAX_ITERATIONS"


def test_the_filled_pixels_are_as_far_off_as_was_foretold(shown):
    """From a hundred whole images: within a tenth of a tuned regression's error, too."""
    rows = re.findall(
        r"^    (\S.*?)  +error (\d.*?)(?: \((.*) expected\))?$", shown[0], re.MULTILINE
    )
    errors = {name: float(error) for name, error, _ in rows}
    own, expected = next((float(e), float(x)) for name, e, x in rows if "by validation" in name)
    assert abs(expected - own) <= 0.1 * own
    assert own <= 1.1 * errors["RidgeCV (scikit-learn)"]
    assert own < errors["mean of the complete images"]
    assert own < errors["eagle.complete, untruncated A^+"]


def test_the_picture_is_a_png_with_something_on_it(shown):
    from matplotlib.image import imread

    picture = imread(shown[1])
    assert min(picture.shape[:2]) >= 400
    assert np.ptp(picture) > 0.5


def test_the_reference_solves_in_more_than_double_precision():
    """Integers below 2^53, so that the answer is known to the last bit."""
    rng = np.random.default_rng(1)
    half = np.tril(rng.integers(-3, 4, (9, 9)), -1) + np.eye(9, dtype=int)
    A, B = half * np.arange(2, 11) @ half.T, rng.integers(-9, 10, (3, 9))
    X = rng.integers(-(2**38), 2**38, (9, 2))
    C, exact = A @ X, B @ X
    assert 1e7 < np.linalg.cond(A) < 1e9
    found = demo.reference(A.astype(float), B.astype(float), C.astype(float))
    assert relative_error(found, exact) <= tolerance(float)
    plain = B @ np.linalg.solve(A, C)
    assert relative_error(plain, exact) > 1e3 * tolerance(float)


@pytest.mark.parametrize("package", ["sklearn", "matplotlib"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    package, monkeypatch, capsys, tmp_path
):
    find = demo.importlib.util.find_spec
    monkeypatch.setattr(
        demo.importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    assert cli.main(["demo", "-o", str(tmp_path / "picture.png")]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert package in message
    assert "pip install 'eagle-solver[demo]'" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["picture.doc", "missing/picture.png"])
def test_a_picture_that_cannot_be_written_ends_in_one_line(name, tmp_path, capsys):
    assert cli.main(["demo", "-o", str(tmp_path / name)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_letters_fall_as_the_errors_do():
    halves = plotting.Trace("halves", "h", np.arange(1, 101), 10.0 ** -np.linspace(0, 8, 100))
    rows = [line.find("h", 9) for line in plotting.in_letters([halves]).splitlines()]
    places = [place for place in rows if place > 0]
    assert places == sorted(places)
    assert len(places) >= 10


@pytest.mark.parametrize("command", [["demo"], ["solve", "a", "b", "c"], ["complete", "t.csv"]])
@pytest.mark.parametrize("seed", ["-3", "1.5", "x"])
def test_a_bad_seed_is_named_before_any_work(command, seed, tmp_path, capsys):
    assert cli.main([*command, "-o", str(tmp_path / "out.png"), f"--seed={seed}"]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert f"--seed: must be a non-negative integer, got '{seed}'" in message
    assert not list(tmp_path.iterdir())
