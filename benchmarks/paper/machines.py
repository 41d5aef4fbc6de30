"""What the figures about many machines share."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import eagle
import eagle.distributed as many
from benchmarks.common import Rows
from benchmarks.distributed import solved as simulated
from benchmarks.paper.curves import TARGET
from eagle.update import Blocks, average, update

TOLERANCES = (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10)
CONDITIONED = 1e-10  # the paper's criterion for freezing


@dataclass(frozen=True)
class Rounds:
    """Squared relative errors after some numbers of rounds."""

    label: str
    rounds: np.ndarray
    errors: np.ndarray
    bytes_a_round: float  # what a machine puts into a message

    @property
    def to_target(self) -> float | None:
        """Rounds to the target, None if it was not reached."""
        below = np.flatnonzero(self.errors <= TARGET)
        return float(self.rounds[below[0]]) if below.size else None

    def points(self, **cells: Any) -> Rows:
        """For the CSV of curves."""
        each = cells | {"method": self.label}
        pairs = zip(self.rounds, self.errors, strict=True)
        return Rows(each | {"rounds": int(x), "error": float(y)} for x, y in pairs)

    def row(self, **cells: Any) -> dict[str, Any]:
        """For the CSV of numbers: rounds to the target."""
        last = {"last_round": int(self.rounds[-1]), "last_error": float(self.errors[-1])}
        reached = {"method": self.label, "rounds": self.to_target}
        return cells | reached | last | {"bytes_a_round": float(self.bytes_a_round)}


def paper_rule(shards: many.Shards, most: int, *, target: float = TARGET) -> Rounds:
    """Algorithm 1 as printed, ``eta = 1/3``, ``gamma = 1``, round by round.

    Norms are taken once and A rescaled by 3/2; all A are left alone once all are conditioned, which
    does not change the rounds.
    """
    machines = []
    for A, B in zip(shards.A, shards.B, strict=True):
        U, s, Vh = np.linalg.svd(A, full_matrices=False)
        kept = s > 1e-12 * s[0]
        if kept.sum() < A.shape[1]:  # rotate the columns, so that no rounding noise is lifted
            A, B = U[:, kept] * s[kept], B @ Vh[kept].T
        norm = np.linalg.norm(A, 2)
        machines.append(Blocks(A / norm, B / norm, shards.C, np.zeros_like(shards.D)))
    errors: list[float] = []
    frozen = False
    while len(errors) < most and not (errors and errors[-1] <= target):
        moved = [_contracted(each) if frozen else update(each, 1 / 3, 1.0) for each in machines]
        machines = average(moved)
        if not frozen:
            machines = [each._replace(A=1.5 * each.A, B=1.5 * each.B) for each in machines]
            gaps = [np.eye(each.A.shape[1]) - each.A.T @ each.A for each in machines]
            frozen = all(np.linalg.norm(gap) ** 2 < CONDITIONED for gap in gaps)
        errors.append(shards.error(machines[0].D) ** 2)
    rounds, message = np.arange(1, len(errors) + 1), 8 * (shards.C.size + shards.D.size)
    return Rounds("EAGLE (paper)", rounds, np.array(errors), message)


def _contracted(blocks: Blocks) -> Blocks:
    """The C and D lines of the update alone."""
    A, B, C, D = blocks
    pull = A.T @ C
    return Blocks(A, B, C - A @ pull, D + B @ pull)


def descent(shards: many.Shards, most: float = 1e9) -> Rounds:
    """Gradient descent on the pooled data with step ``1 / ||A||^2``, in closed form.

    With ``A A^T = U S^2 U^T`` the error after k rounds is ``W U (I - S^2 / ||A||^2)^k U^T C``.
    """
    A, B = np.hstack(shards.A), np.hstack(shards.B)
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    s, U, Vh = s[s > 1e-12 * s[0]], U[:, s > 1e-12 * s[0]], Vh[s > 1e-12 * s[0]]
    left, right = (B @ Vh.T) / s, U.T @ shards.C
    rounds = np.unique(np.geomspace(1, most, 200).astype(int))
    factors = np.exp(rounds[:, None] * np.log1p(-np.minimum((s / s[0]) ** 2, 1 - 1e-16)))
    gaps = [np.linalg.norm((left * f) @ right) for f in factors]
    errors = (np.array(gaps) / np.linalg.norm(shards.D)) ** 2
    kept = errors > TARGET
    kept[min(np.count_nonzero(kept), len(kept) - 1)] = True  # and the first below
    return Rounds("GD", rounds[kept], errors[kept], 8 * shards.C.size)


def solved(shards: many.Shards, method: str, rtol: float, most: int, seed: int) -> many.Result:
    """One simulated solve, whether it gets there or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eagle.ConvergenceWarning)
        return simulated(shards, method, seed, rtol=rtol, maxiter=most)


def sweep(shards: many.Shards, method: str, label: str, most: int, seed: int) -> Rounds:
    """A method of the library at several tolerances; all of its collective operations count."""
    rounds, errors = [], []
    for rtol in TOLERANCES:
        result = solved(shards, method, rtol, most, seed)
        rounds.append(result.rounds)
        errors.append(shards.error(result.value) ** 2)
        if not result.converged:
            break
    return Rounds(label, np.array(rounds), np.array(errors), result.bytes_sent / result.rounds)


def random_shards(columns: Sequence[int], d: int, condition: float, seed: int) -> many.Shards:
    """Ranges of these dimensions, uniformly distributed; the data as in the generator."""
    rng = np.random.default_rng(seed)
    A = [eagle.problems.low_rank(d, n, condition=condition, rng=rng).A for n in columns]
    W = rng.standard_normal((2, d)) / np.sqrt(d)
    C = np.hstack(A) @ rng.standard_normal((sum(columns), 2)) / np.sqrt(d)
    return many.Shards(A, [W @ each for each in A], C, W @ C, many.diversity(A))
