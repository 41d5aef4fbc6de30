"""What a method is on many machines, and what its state must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from eagle.distributed.certificate import Bounded, Evidence
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.problem.result import Status

__all__ = ["Iterative", "OneShot", "Outcome", "State"]


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
    """

    problem: LocalProblem
    iteration: int = 0
    left: float = np.inf
    exhausted: bool = False

    def saved(self) -> dict[str, Any]:
        """Arrays and numbers that a restart needs."""
        raise NotImplementedError

    def restore(self, saved: dict[str, Any]) -> None:
        """Take them back, arrays and floats by their names."""
        for name in self.saved():
            array = saved[name]
            setattr(self, name, np.asfortranarray(array) if array.ndim else float(array))


class Iterative(Protocol):
    """A frozen dataclass of settings with the functions of an iteration, the same on all machines.

    ``free`` says that verifying takes no message; ``projects`` that the decomposition is the
    machines' own, so that inconsistent B makes it a biased one; ``hands_over`` that
    another method finishes where it stagnates. ``supports`` names the spectral
    options that it can honour: a projector method none, as a ridge makes B inconsistent.
    """

    supports: ClassVar[frozenset[str]]

    @property
    def free(self) -> bool:
        """Whether `verify` sends nothing."""

    @property
    def projects(self) -> bool:
        """Whether inconsistency makes a bias."""

    @property
    def hands_over(self) -> bool:
        """Whether another method finishes what this one cannot."""

    def init(self, problem: LocalProblem, session: Session) -> Any:
        """Set up, with the sums that it takes."""

    def step(self, state: Any, session: Session) -> None:
        """One iteration."""

    def verify(self, state: Any, session: Session) -> Evidence | Bounded:
        """The value so far and what speaks for it."""

    def describe(self, state: Any) -> dict[str, float | None]:
        """What it has learnt: `inconsistency`, `diversity`."""


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


class OneShot(Protocol):
    """A method of one reduction, or a few."""

    supports: ClassVar[frozenset[str]]

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """All of it."""
