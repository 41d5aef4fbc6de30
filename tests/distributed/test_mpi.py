"""Real MPI: equal values on every rank, the serial ones, and jobs that end when a rank fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import eagle.distributed as many
from eagle.distributed.mpi import RANKS, SIZES
from tests.distributed.machines import simulate

pytest.importorskip("mpi4py")

ROOT = Path(__file__).parents[2]
MPIEXEC = Path(sys.executable).parent / "mpiexec"
COMMAND = [sys.executable, "-m", "mpi4py", "-m", "eagle", "distributed"]


def environment(**more: str) -> dict[str, str]:
    known = {key: value for key, value in os.environ.items() if key not in (*SIZES, *RANKS)}
    return (
        known
        | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        | more
    )


def leftovers() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("mpich")}


@pytest.fixture(autouse=True)
def clean():
    """Nothing of a run stays in shared memory, however it ended."""
    before = leftovers()
    yield
    assert leftovers() <= before


def mpi(size: int, *command: object, timeout: float = 300.0, cwd: Path | None = None, **more: str):
    return subprocess.run(
        [str(MPIEXEC), "-n", str(size), *map(str, command)],
        capture_output=True, text=True, timeout=timeout, cwd=cwd, env=environment(**more),
    )  # fmt: skip


def write(folder: Path, shards: many.Shards) -> Path:
    folder.mkdir()
    np.save(folder / "C.npy", shards.C)
    for mu, (A, B) in enumerate(zip(shards.A, shards.B, strict=True)):
        np.savez(folder / f"{mu}.npz", A=A, B=B)
    return folder


@pytest.fixture
def easy(tmp_path):
    shards = many.shards_with_diversity(0.1, 4, d=40, rng=0)
    write(tmp_path / "shards", shards)
    return shards


OPERATIONS = """
import numpy as np
import eagle.distributed as many
comm = many.MPIComm()
assert comm.size == 3, comm.size
mine = np.arange(6.0).reshape(2, 3) + 10 * comm.rank
assert (comm.sum(mine) == 3 * np.arange(6).reshape(2, 3) + 30).all()
assert (mine == np.arange(6.0).reshape(2, 3) + 10 * comm.rank).all()
assert (comm.gather(mine)[:, 0, 0] == [0, 10, 20]).all()
assert (comm.broadcast(mine, 2) == np.arange(6.0).reshape(2, 3) + 20).all()
assert (comm.reduce(np.array([comm.rank + 1.0]), lambda x, y: 2 * x + y) == 11).all()
assert (comm.sum(np.asfortranarray(mine * 1j)).imag == 3 * np.arange(6).reshape(2, 3) + 30).all()
pending = comm.start_sum(np.ones(100_000))
pending.progress()
assert (pending.wait() == 3).all()
assert (comm.rounds, comm.bytes_sent) == (6, 3 * 48 + 8 + 96 + 800_000)
assert 0 < comm.network.latency < 1 and comm.network.bandwidth > 1e5
big = comm.reduce(np.full((300, 301), 1.0), np.add)
assert (big == 3).all()
# Not by standard output, where launchers mix what ranks print.
open(f"right-{comm.rank}", "w").close()
"""


def test_operations_on_every_rank(tmp_path):
    (tmp_path / "operations.py").write_text(OPERATIONS)
    run = mpi(3, sys.executable, "-m", "mpi4py", tmp_path / "operations.py", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.glob("right-*")} == {"right-0", "right-1", "right-2"}


SOLVE = """
import sys
import warnings
from pathlib import Path
import numpy as np
import eagle.distributed as many
from eagle.distributed.shards import load_shard
folder = Path(sys.argv[1])
comm = many.MPIComm()
rank, size = comm.rank, comm.size
for name in sys.argv[2:]:
    shard = load_shard(folder, rank, size)
    result = many.solve(*shard, method=name, rng=0)
    assert result.converged
    with warnings.catch_warnings(action="ignore"):  # it is cut short
        few = many.solve(*shard, method=name, rng=0, maxiter=3)
    np.savez(folder.parent / f"{name}-{rank}.npz", value=result.value, size=size,
             rounds=few.rounds, bytes_sent=few.bytes_sent, error=result.error_estimate)
"""


def test_every_method_gives_the_same_value_on_every_rank_and_in_threads(easy, tmp_path):
    names = [name for name in many.METHODS if name != "gd"] + ["auto"]
    (tmp_path / "solve.py").write_text(SOLVE)
    run = mpi(4, sys.executable, "-m", "mpi4py", "solve.py", "shards", *names, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for name in names:
        ranks = [dict(np.load(tmp_path / f"{name}-{rank}.npz")) for rank in range(4)]
        assert all(rank["size"] == 4 for rank in ranks)
        for rank in ranks[1:]:
            for key, value in ranks[0].items():
                np.testing.assert_array_equal(rank[key], value)
        assert easy.error(ranks[0]["value"]) <= 1e-9
        if name != "auto":  # whose choice depends on the network
            local = many.simulate(easy.A, easy.B, easy.C, method=name, rng=0)
            assert np.linalg.norm(local.value - ranks[0]["value"]) <= 1e-9 * np.linalg.norm(easy.D)
            # Of a number of iterations that does not depend on rounding.
            few = simulate(easy.A, easy.B, easy.C, method=name, rng=0, maxiter=3)
            assert (few.rounds, few.bytes_sent) == (ranks[0]["rounds"], ranks[0]["bytes_sent"])


def test_the_command(easy, tmp_path):
    run = mpi(4, *COMMAND, "shards", "-o", "D.npy", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("eagle.distributed.Result") == 1  # rank 0 alone prints
    assert run.stderr == ""
    assert easy.error(np.load(tmp_path / "D.npy")) <= 1e-9


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere", "-o", "D.npy"], "rank 0: nowhere: no such folder"),
        (["shards", "-o", "D.npy", "--method", "x"], "rank 0: method 'x' is not one of"),
        (["shards"], "the following arguments are required"),
        (["shards", "-o", "no/D.npy"], "rank 0: no/D.npy: the folder .* does not exist"),
    ],
)
def test_bad_input_is_one_line_of_one_rank(flags, message, easy, tmp_path):
    run = mpi(2, *COMMAND, *flags, cwd=tmp_path)
    assert run.returncode == 2
    assert re.fullmatch(rf"eagle distributed: error: {message}.*\n", run.stderr), run.stderr
    assert run.stdout == ""
    assert not (tmp_path / "D.npy").exists()


def test_shards_that_differ_are_refused_once(easy, tmp_path):
    np.savez(tmp_path / "shards/2.npz", A=np.ones((41, 3)), B=np.ones((2, 3)))
    run = mpi(4, *COMMAND, "shards", "-o", "D.npy", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("eagle distributed: error: rank 2: C with shape (40, 2) must have")
    assert run.stderr.count("\n") == 1


def test_a_launcher_of_another_mpi_is_noticed(easy, tmp_path):
    run = subprocess.run(
        [*COMMAND, "shards", "-o", "D.npy"], capture_output=True, text=True, timeout=300,
        cwd=tmp_path, env=environment(OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0"),
    )  # fmt: skip
    assert run.returncode == 2
    assert "the launcher started 4 processes but MPI knows of 1: mpiexec does not" in run.stderr


FAULT = """
import os, signal, sys, time
import eagle.cli
from eagle.distributed.methods.averaging import Averaging
mode, rank, *argv = sys.argv[1:]
step = Averaging.step

def faulty(self, state, session):
    if state.iteration == 20 and session.comm.rank == int(rank):
        if mode == "raise":
            raise MemoryError("no room for more")
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if mode == "sleep":
            time.sleep(1000)
    step(self, state, session)

Averaging.step = faulty
sys.exit(eagle.cli.main(["distributed", *argv]))
"""
FAULTS = {
    "raise": ("1", "rank 1: MemoryError: no room for more"),
    "kill": ("2", r"rank 2 was killed by signal 9 \(SIGKILL\)"),
    "stop": ("3", r"rank 3 stalled: nothing for 1 s in round \d+"),
    "sleep": ("0", r"rank 0 stalled: nothing for 1 s in round \d+"),
}


@pytest.fixture
def slow(tmp_path):
    """Hundreds of thousands of rounds."""
    shards = many.shards_with_diversity(1e-4, 4, d=24, rng=0)
    write(tmp_path / "shards", shards)
    (tmp_path / "fault.py").write_text(FAULT)
    return shards


def running(marker: str) -> list[int]:
    """Processes that have `marker` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.parametrize("mode", FAULTS)
def test_a_rank_that_fails_ends_the_job_and_is_named(mode, slow, tmp_path):
    rank, message = FAULTS[mode]
    run = mpi(  # which would raise if the job went on
        4, sys.executable, "-m", "mpi4py", tmp_path / "fault.py", mode, rank, "shards",
        "-o", "D.npy", "--method", "eagle", "--patience", "1", cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert run.returncode != 0
    said = [line for line in run.stderr.splitlines() if line.startswith("eagle")]
    assert len(said) == 1, run.stderr
    assert re.fullmatch(f"eagle distributed: error: {message}", said[0]), run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "D.npy").exists()
    end = time.perf_counter() + 5
    while running(str(tmp_path)) and time.perf_counter() < end:
        time.sleep(0.05)
    assert not running(str(tmp_path))


def test_a_deadline_ends_the_job(slow, tmp_path):
    run = mpi(
        4, *COMMAND, "shards", "-o", "D.npy", "--method", "eagle", "--deadline", "2",
        cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert run.returncode != 0
    assert "eagle distributed: error: the deadline of 2 s has passed\n" in run.stderr
    assert not (tmp_path / "D.npy").exists()


def test_a_job_that_was_killed_goes_on_from_its_checkpoint(tmp_path):
    shards = many.shards_with_diversity(0.02, 3, d=24, rng=0)
    write(tmp_path / "shards", shards)
    (tmp_path / "fault.py").write_text(FAULT)
    flags = ["shards", "-o", "D.npy", "--method", "eagle", "--checkpoint", "state", "--every", "8"]
    killed = mpi(
        3, sys.executable, "-m", "mpi4py", tmp_path / "fault.py", "kill", "1", *flags, cwd=tmp_path
    )
    assert killed.returncode != 0
    assert (tmp_path / "state/latest").read_text() == "000000016"
    run = mpi(3, *COMMAND, *flags, "--maxiter", "40", cwd=tmp_path)
    assert "warning: not converged (MAX_ITERATIONS" in run.stderr
    straight = simulate(shards.A, shards.B, shards.C, method="eagle", rng=0, maxiter=40)
    value = np.load(tmp_path / "D.npy")
    assert np.linalg.norm(value - straight.value) <= 1e-12 * np.linalg.norm(value)
    assert "iterations      40 " in run.stdout
    # An iteration is a round at least: not all of them were done.
    assert int(re.search(r"communication +(\d+) rounds", run.stdout)[1]) < 40 <= straight.rounds


def test_importing_needs_no_mpi():
    code = (
        "import sys, eagle.distributed as many, numpy as np; x = np.ones((2, 2)); "
        "many.solve(x, x, x, rng=0); assert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=300)
