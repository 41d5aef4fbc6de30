"""``eagle solve`` from archives of several arrays, and errors in the words of the command line."""

from __future__ import annotations

import numpy as np
import pytest

from eagle.cli import main
from tests.systems import system
from tests.tolerances import relative_error, tolerance


@pytest.fixture
def blocks(folder):
    """``blocks.npz`` with A, B and C, ``two.npz`` with first and second."""
    given = system("tall", condition=3)
    np.savez("blocks.npz", A=given.A, B=given.B, C=given.C, other=np.eye(2))
    np.savez("two.npz", first=given.A, second=given.B)
    np.save("C.npy", given.C)
    (folder / "table.csv").write_text("a,b,c\n1,2,3\n2,4,6\n3,6,9\n4,8,\n", encoding="utf-8")
    return given


@pytest.mark.parametrize(
    "files",
    [
        ["blocks.npz", "blocks.npz", "blocks.npz"],
        ["blocks.npz:A", "blocks.npz:B", "C.npy"],
        ["two.npz:first", "two.npz:second", "blocks.npz"],
    ],
)
def test_arrays_of_an_archive_are_chosen_by_name(files, blocks):
    assert main(["solve", *files, "-o", "D.npy"]) == 0
    assert relative_error(np.load("D.npy"), blocks.value) <= tolerance(float, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two.npz"], "two.npz: holds 2 arrays, choose one by its name: first, second, as two.npz"),
        (["two.npz:third"], "two.npz: holds no array 'third', but: first, second"),
        (
            ["blocks.npz", "--rank", "1", "--method", "cg"],
            "rank cannot be honoured by ConjugateGradient(); use --method 'direct' or 'compressed'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_command_line(arguments, message, blocks, capsys):
    assert main(["solve", *arguments, "blocks.npz", "C.npy", "-o", "D.npy"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"eagle solve: error: {message}")
    assert len(err.splitlines()) == 1


def test_two_spectral_options_of_complete(blocks, capsys):
    assert main(["complete", "table.csv", "--rank", "1", "--ridge", "1", "-o", "x.csv"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("eagle complete: error: give --rank none with --ridge: both shape the sp")
    assert err.rstrip().endswith("got --rank 1")


@pytest.mark.parametrize(("output", "kept"), [("x.csv", True), ("x.npy", False), ("x.npz", False)])
def test_complete_says_what_the_output_keeps(output, kept, blocks, capsys):
    assert main(["complete", "table.csv", "-o", output]) == 0
    assert ("kept            header" in capsys.readouterr().out) == kept


def test_info_names_the_libraries_of_arrays(capsys):
    assert main(["info"]) == 0
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {"jax", "cupy", "array-api-compat"} <= names
