"""Shards on disk, checkpoints, and the command without MPI."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eagle
import eagle.distributed as many
from eagle.cli import main
from eagle.distributed import checkpoint
from eagle.distributed.shards import load_shard, slices
from eagle.tables import TableError
from tests.distributed.machines import SLOW, simulate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shards():
    return many.shards_with_diversity(0.2, 3, d=24, rng=0)


def write(folder: Path, shards: many.Shards, kind: str) -> Path:
    folder.mkdir()
    np.save(folder / "C.npy", shards.C)
    for mu, (A, B) in enumerate(zip(shards.A, shards.B, strict=True)):
        if kind == "npz":
            np.savez(folder / f"part{mu + 8}.npz", A=A, B=B)  # 8, 9, 10
        elif kind == "pairs":
            np.save(folder / f"A-{mu + 8}.npy", A)
            np.save(folder / f"B-{mu + 8}.npy", B)
    if kind == "slices":
        np.save(folder / "A.npy", np.hstack(shards.A))
        np.save(folder / "B.npy", np.hstack(shards.B))
    return folder


@pytest.mark.parametrize("kind", ["npz", "pairs", "slices"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 70])
def test_every_column_is_read_once_and_in_order(kind, size, shards, tmp_path):
    folder = write(tmp_path / "shards", shards, kind)
    parts = [load_shard(folder, rank, size) for rank in range(size)]
    for index, whole in enumerate((np.hstack(shards.A), np.hstack(shards.B))):
        np.testing.assert_array_equal(np.hstack([part[index] for part in parts]), whole)
    for part in parts:
        np.testing.assert_array_equal(part[2], shards.C)
    if kind == "slices":
        assert isinstance(parts[0][0], np.memmap)
    if size == 70:
        assert any(part[0].shape == (24, 0) for part in parts)


@pytest.mark.parametrize("kind", ["npz", "pairs", "slices"])
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("map_", [None, np.ones((2, 24))])
def test_every_row_is_read_once_and_in_order(kind, size, map_, shards, tmp_path):
    """Of the adjoint: what were columns of A and B are rows of A and C."""
    folder = tmp_path / "shards"
    turned = many.Shards([A.T for A in shards.A], [B.T for B in shards.B], shards.C, None, 1.0)
    write(folder, turned, kind)
    (folder / "C.npy").unlink()
    if kind == "slices":
        np.save(folder / "A.npy", np.vstack(turned.A))
        np.save(folder / "C.npy", np.vstack(turned.B))
        (folder / "B.npy").unlink()
    for path in folder.glob("B-*.npy"):
        path.rename(folder / f"C{path.name[1:]}")
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            A, B = file["A"], file["B"]
        np.savez(path, A=A, C=B)
    if map_ is not None:
        np.save(folder / "B.npy", map_)
    parts = [load_shard(folder, rank, size, "rows") for rank in range(size)]
    np.testing.assert_array_equal(np.vstack([A for A, _, _ in parts]), np.vstack(turned.A))
    np.testing.assert_array_equal(np.vstack([C for _, _, C in parts]), np.vstack(turned.B))
    for _, B, _ in parts:
        np.testing.assert_array_equal(B, map_)


def test_the_command_fits_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    A, X = rng.standard_normal((90, 4)), rng.standard_normal((4, 2))
    C = A @ X + rng.standard_normal((90, 2))
    Path("rows").mkdir()
    for part in range(3):
        own = slice(30 * part, 30 * part + 30)
        np.savez(f"rows/{part}.npz", A=A[own], C=C[own])
    flags = ["distributed", "rows", "--axis", "rows", "-o", "D.npy"]
    assert main(flags) == 0
    truth = np.linalg.lstsq(A, C, rcond=None)[0]
    np.testing.assert_allclose(np.load("D.npy"), truth, rtol=1e-12)
    assert main([*flags, "--ridge", "3.0", "--method", "seminormal"]) == 0
    truth = np.linalg.solve(A.T @ A + 3 * np.eye(4), A.T @ C)
    np.testing.assert_allclose(np.load("D.npy"), truth, rtol=1e-12)
    assert main([*flags, "--rank", "2", "--method", "seminormal"]) == 2
    assert "rank: method 'seminormal' cannot honour it" in capsys.readouterr().err
    Path("rows/1.npz").write_bytes(b"PK")
    assert main(flags) == 2


def test_slices_cover_and_differ_by_one():
    for count in range(12):
        for size in range(1, 6):
            sizes = [len(range(count)[slices(count, size, rank)]) for rank in range(size)]
            assert sum(sizes) == count
            assert max(sizes) - min(sizes) <= 1


DAMAGE = {
    "no folder": (lambda f: f.rename(f.parent / "gone"), "shards: no such folder"),
    "no C": (lambda f: (f / "C.npy").unlink(), r"C\.npy: no such file"),
    "nothing": (lambda f: [p.unlink() for p in f.glob("*.npz")], "must hold either"),
    "two kinds": (lambda f: np.save(f / "A.npy", np.ones((2, 2))), "must hold either"),
    "truncated": (lambda f: (f / "part9.npz").write_bytes(b"PK\3\4"), "part9.npz: truncated"),
    "no A": (lambda f: np.savez(f / "part9.npz", B=np.ones((2, 2))), "part9.npz: holds no array A"),
    "columns": (lambda f: np.savez(f / "part9.npz", A=np.ones((24, 3)), B=np.ones((2, 4))),
                "part9.npz: A with shape"),
    "rows": (lambda f: np.savez(f / "part9.npz", A=np.ones((2, 3)), B=np.ones((2, 3))),
             "do not fit together"),
    "text C": (lambda f: (f / "C.npy").write_text("1 2 3"), r"C\.npy: truncated or not a \.npy"),
    "pickled": (lambda f: np.save(f / "C.npy", np.array([{}]), allow_pickle=True), r"C\.npy: "),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_one_line_and_status_2(case, shards, tmp_path, capsys, monkeypatch):
    folder = write(tmp_path / "shards", shards, "npz")
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(TableError, match=message):
        load_shard(folder)
    monkeypatch.chdir(tmp_path)
    assert main(["distributed", "shards", "-o", "D.npy"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"eagle distributed: error: .*\n", err)
    assert not Path("D.npy").exists()


def test_the_command_on_one_machine(shards, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("shards"), shards, "npz")
    assert main(["distributed", "shards", "-o", "D.npy", "--method", "krylov"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("eagle.distributed.Result: 2 x 2 float64, CONVERGED\n")
    assert err == ""
    assert shards.error(np.load("D.npy")) <= 1e-10
    assert main(["distributed", "shards", "-o", "D.npy", "--method", "gd", "--maxiter", "2"]) == 1
    assert "MAX_ITERATIONS" in capsys.readouterr().err


STUCK = """
import sys, threading
import eagle.cli
from eagle.distributed.methods.averaging import Averaging
Averaging.step = lambda *arguments: threading.Event().wait()
sys.exit(eagle.cli.main(["distributed", *sys.argv[1:]]))
"""


def test_a_deadline_ends_the_command_with_status_3(shards, tmp_path):
    write(tmp_path / "shards", shards, "npz")
    flags = ["shards", "-o", "D.npy", "--method", "eagle", "--deadline", "1"]
    run = subprocess.run(
        [sys.executable, "-c", STUCK, *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr == "eagle distributed: error: the deadline of 1 s has passed\n"
    assert not (tmp_path / "D.npy").exists()


BAD = {
    "method": (["--method", "x"], "method 'x' is not one of auto"),
    "patience": (["--patience", "0"], "patience must be finite, positive, got 0.0"),
    "deadline": (["--deadline", "-1"], "deadline must be finite"),
    "output": (["-o", "D.txt"], "D.txt: the name must end in one of"),
    "rtol": (["--rtol", "-1"], "rtol must be finite"),
    "one reduction": (["--method", "tsqr", "--checkpoint", "c"], "checkpoint: method 'tsqr'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_one_line_and_status_2(case, shards, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("shards"), shards, "npz")
    flags, message = BAD[case]
    assert main(["distributed", "shards", "-o", "D.npy", *flags]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"eagle distributed: error: {message}")
    assert err.count("\n") == 1


# --- checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SLOW)
def test_a_restart_gives_the_same_answer(name, tmp_path):
    shards = many.shards_with_diversity(0.1, 3, d=24, condition=3, rng=0)
    arguments = (shards.A, shards.B, shards.C)
    options = {"method": name, "rng": 0, "checkpoint": tmp_path / "state", "every": 2}
    # The same iterate, before rounding has a say in how many there are.
    straight = simulate(*arguments, method=name, rng=0, maxiter=4)
    first = simulate(*arguments, **options, maxiter=3)
    assert first.iterations == 3
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["000000002", "latest"]
    again = simulate(*arguments, **options, maxiter=4)
    assert again.iterations == straight.iterations == 4
    assert np.linalg.norm(again.value - straight.value) <= 1e-12 * np.linalg.norm(straight.value)
    # Only what was left to do was done: the history starts after the checkpoint.
    assert again.history[0].iteration == 3


@pytest.mark.parametrize("change", ["A", "B", "C", "split", "ridge", "seed", "method"])
def test_a_checkpoint_of_another_problem_is_refused(change, shards, tmp_path):
    options = {"method": "pooled", "rng": 0, "checkpoint": tmp_path, "every": 1}
    simulate(shards.A, shards.B, shards.C, **options, maxiter=2)
    A, B, C = list(shards.A), list(shards.B), shards.C
    if change in "AB":  # one entry, and no size
        block = (A if change == "A" else B)[-1] = (A if change == "A" else B)[-1].copy()
        block[0, 0] *= 1 - 1e-9
    elif change == "C":
        C = 2 * C
    elif change == "split":
        A[:2] = np.split(np.hstack(A[:2]), [7], axis=1)
        B[:2] = np.split(np.hstack(B[:2]), [7], axis=1)
    elif change == "ridge":
        options["ridge"] = 1.0
    elif change == "seed":
        options["rng"] = 1
    else:
        options["method"] = "eagle"
    with pytest.raises(ValueError, match="is of another problem, split, method or seed"):
        many.simulate(A, B, C, **options)


def test_a_restart_may_take_longer_and_ask_for_more(shards, tmp_path):
    options = {"method": "krylov", "rng": 0, "checkpoint": tmp_path}
    simulate(shards.A, shards.B, shards.C, **options, every=1, rtol=1e-4, maxiter=2)
    result = many.simulate(shards.A, shards.B, shards.C, **options, every=5, time_limit=100)
    assert result.history[0].iteration == 3
    assert shards.error(result.value) <= 1e-10


@pytest.mark.parametrize("full", ["rank-1.npz", "latest"])
def test_a_full_disk_is_told_to_all_and_leaves_the_checkpoint_before(
    full, shards, tmp_path, monkeypatch
):
    options = {"method": "pooled", "rng": 0, "checkpoint": tmp_path, "every": 1}
    simulate(shards.A, shards.B, shards.C, **options, maxiter=2)
    honest = checkpoint.replacing

    def replacing(path):
        if path.name == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return honest(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "replacing", replacing)
        with pytest.raises(OSError, match=r"rank [01]: checkpoint in .*: No space left on device"):
            many.simulate(shards.A, shards.B, shards.C, **options)
    assert (tmp_path / "latest").read_text() == "000000002"
    again = simulate(shards.A, shards.B, shards.C, **options, maxiter=3)
    assert again.history[0].iteration == 3


def test_advice_names_what_distributed_methods_have(shards):
    for name, rest in [("eagle", "loosen `rtol`."), ("gd", "loosen `rtol`.")]:
        result = simulate(shards.A, shards.B, shards.C, method=name, maxiter=1, rtol=1e-12, rng=0)
        assert result.status is eagle.Status.MAX_ITERATIONS
        assert result.advice.endswith(rest)
        assert "'direct'" not in str(result)


@pytest.mark.parametrize("content", [b"PK", b""])
def test_a_damaged_checkpoint_is_named_by_all(content, shards, tmp_path):
    options = {"method": "krylov", "rng": 0, "checkpoint": tmp_path, "every": 1}
    simulate(shards.A, shards.B, shards.C, **options, maxiter=2)
    (tmp_path / "000000002" / "rank-1.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"rank 1: checkpoint .*rank-1.npz cannot be read"):
        many.simulate(shards.A, shards.B, shards.C, **options)
    (tmp_path / "latest").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"checkpoint .*latest cannot be read"):
        many.simulate(shards.A, shards.B, shards.C, **options)


def test_an_archive_that_is_no_checkpoint_is_refused(shards, tmp_path):
    options = {"method": "krylov", "rng": 0, "checkpoint": tmp_path, "every": 1}
    simulate(shards.A, shards.B, shards.C, **options, maxiter=2)
    np.savez(tmp_path / "000000002" / "rank-0.npz", A=np.eye(2))
    with pytest.raises(ValueError, match=r"rank 0: the checkpoint in .* is of another problem"):
        many.simulate(shards.A, shards.B, shards.C, **options)


def test_only_old_checkpoints_are_removed_from_the_folder(shards, tmp_path):
    mine = [tmp_path / "2024-data" / "table.csv", tmp_path / "1.txt", tmp_path / "000000001" / "x"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    options = {"method": "krylov", "rng": 0, "checkpoint": tmp_path, "every": 1}
    simulate(shards.A, shards.B, shards.C, **options, maxiter=3)
    assert all(path.read_text() == "mine" for path in mine)
    assert {path.name for path in tmp_path.iterdir()} == {
        "000000001", "000000003", "1.txt", "2024-data", "latest",
    }  # fmt: skip


def test_a_crash_while_saving_leaves_the_checkpoint_before(shards, tmp_path, monkeypatch):
    options = {"method": "krylov", "rng": 0, "checkpoint": tmp_path, "every": 1}
    simulate(shards.A, shards.B, shards.C, **options, maxiter=2)
    save = np.savez

    def broken(file, **arrays):
        if int(arrays["iteration"]) == 4:
            raise OSError(28, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="No space left"):
        many.simulate(shards.A, shards.B, shards.C, **options)
    monkeypatch.undo()
    assert (tmp_path / "latest").read_text() == "000000003"
    result = many.simulate(shards.A, shards.B, shards.C, **options)
    assert result.history[0].iteration == 4
    assert shards.error(result.value) <= 1e-10


def test_auto_with_a_checkpoint_takes_an_iteration(shards, tmp_path):
    result = many.simulate(shards.A, shards.B, shards.C, rng=0, checkpoint=tmp_path)
    assert result.method == "krylov"
    assert isinstance(result, eagle.Result)
