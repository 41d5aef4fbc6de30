"""What a method is on many machines, and what its state must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.distributed.certificate import Bounded, Evidence
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.problem.result import Status


@dataclass(kw_only=True)
class State:
    """What every iteration has; a method adds its own arrays.

    Everything that a checkpoint has to keep is in `saved`; the rest follows from the problem.

    Attributes
    ----------
    problem : LocalProblem
    iteration : int
    left : float
        Size of what is left to do, relative to the start; decides when to verify.
    exhausted : bool
        Nothing is left that further rounds would improve.
    inconsistency : float
        As in `eagle.distributed.Result`, when `Iterative.verify` was called last.
    diversity : float or None
        Likewise; None if the method does not learn it.
    """

    problem: LocalProblem
    iteration: int = 0
    left: float = np.inf
    exhausted: bool = False
    inconsistency: float = 0.0

    @property
    def diversity(self) -> float | None:
        """The smallest positive eigenvalue of the mean projector."""
        return None

    def saved(self) -> dict[str, Any]:
        """Arrays and numbers that a restart needs."""
        raise NotImplementedError

    def restore(self, saved: dict[str, Any]) -> None:
        """Take them back, arrays and floats by their names."""
        for name in self.saved():
            array = saved[name]
            setattr(self, name, np.asfortranarray(array) if array.ndim else float(array))


@dataclass(frozen=True)
class Outcome:
    """How a method ended, in scaled units; see `eagle.distributed.Result`."""

    value: np.ndarray
    status: Status
    error_estimate: float
    inconsistency: float
    iterations: int
    history: tuple[Any, ...] = ()
    rank: int | None = None
    condition: float | None = None
    diversity: float | None = None


class Iterative:
    """A frozen dataclass of settings with the functions of an iteration, the same on all machines.

    ``free`` says that verifying takes no message; ``projects`` that the decomposition is the
    machines' own, so that inconsistent B makes it a biased one; ``hands_over`` that
    another method finishes where it stagnates. ``supports`` names the spectral
    options that it can honour: a projector method none, as a ridge makes B inconsistent.
    """

    free: ClassVar[bool] = False
    projects: ClassVar[bool] = False
    hands_over: ClassVar[bool] = False
    supports: ClassVar[frozenset[str]] = frozenset()

    def init(self, problem: LocalProblem, session: Session) -> Any:
        """Set up, with the sums that it takes."""
        raise NotImplementedError

    def step(self, state: Any, session: Session) -> None:
        """One iteration."""
        raise NotImplementedError

    def verify(self, state: Any, session: Session) -> Evidence | Bounded:
        """The value so far and what speaks for it."""
        raise NotImplementedError


class OneShot:
    """A method of one reduction, or a few, which honours every spectral option."""

    supports: ClassVar[frozenset[str]] = frozenset({"ridge", "rank", "cutoff"})

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """All of it."""
        raise NotImplementedError
