"""Checkpoints: what a restart cannot find out again, one file per machine, all of one round.

A checkpoint is complete before it is announced: first all machines write, then they meet, then
rank 0 names it in the file ``latest``. A job that dies in between leaves the one before.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from eagle.distributed.agreement import Facts, agree, digest
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.tables import replacing


class Checkpoint:
    """Every so many rounds into a folder that all machines see.

    Parameters
    ----------
    folder : Path
    every : int
        Rounds.
    problem : LocalProblem
        Whose fingerprint a checkpoint must bear.
    """

    def __init__(self, folder: Path, every: int, problem: LocalProblem):
        self.folder = folder
        self.every = every
        self.fingerprint = f"{problem.fingerprint} {digest(problem.A)} {digest(problem.B)}"

    def is_due(self, iteration: int) -> bool:
        """Whether to save after this iteration."""
        return iteration % self.every == 0

    def save(self, state: Any, session: Session) -> None:
        """Write, meet, announce, tidy up."""
        comm = session.comm
        name = f"{state.iteration:09d}"
        arrays = {**state.saved(), "iteration": state.iteration, "fingerprint": self.fingerprint}

        def written() -> None:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            with replacing(self._file(name, comm.rank)) as file:
                np.savez(file, **arrays)

        def announced() -> None:
            if comm.rank == 0:
                with replacing(self.folder / "latest") as file:
                    file.write(name.encode())

        for step in (written, announced):
            error = None
            try:
                step()
            except OSError as problem:
                error = ("OSError", f"checkpoint in {self.folder}: {problem.strerror or problem}")
            agree(comm, Facts(A=(0,), B=(0,), error=error))
        if comm.rank == 0:
            self._remove_all_but(name)

    def restore(self, state: Any, session: Session) -> None:
        """Go on from the latest checkpoint, if there is one.

        Raises
        ------
        ValueError
            On every machine, if it belongs to another problem, split, method or seed.
        """
        comm = session.comm
        error, arrays = None, {}
        path = self.folder / "latest"
        if path.exists():
            try:
                path = self._file(path.read_text(), comm.rank)
                with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                    arrays = dict(file)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
                error = ("ValueError", f"checkpoint {path} cannot be read: {problem}")
            if not error and str(arrays.get("fingerprint")) != self.fingerprint:
                error = (
                    "ValueError",
                    f"the checkpoint in {self.folder} is of another problem, split, method or seed",
                )
        agree(comm, Facts(A=(0,), B=(0,), settings=str(arrays.get("iteration", "")), error=error))
        if arrays:
            state.restore(arrays)
            state.iteration = int(arrays["iteration"])

    def _file(self, name: str, rank: int) -> Path:
        return self.folder / name / f"rank-{rank}.npz"

    def _remove_all_but(self, name: str) -> None:
        """Older checkpoints; whatever else is in the folder is somebody's."""
        for other in self.folder.iterdir():
            if other.name != name and re.fullmatch(r"\d{9,}", other.name) and other.is_dir():
                # A temporary name is what a job leaves that was killed while it wrote.
                for each in (*other.glob("rank-*.npz"), *other.glob(".rank-*.npz.*")):
                    each.unlink()
                if not any(other.iterdir()):
                    other.rmdir()
