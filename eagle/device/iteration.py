"""The steps of EAGLE for many matrices at a time, by the rules of `eagle.methods.eagle.method`.

What is an ``if`` there is a mask here; why each rule is as it is stands there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eagle.algebra.stacked import Tools, Vector
from eagle.device.problem import Sides
from eagle.methods.eagle.conditioning import FIRST_ETA, SINGLE
from eagle.methods.eagle.method import (
    GRAM_NOISE,
    LANCZOS_STEPS,
    MARGIN,
    NORM_MARGIN,
    RITZ_WEIGHT,
    SURE,
    USED_UP,
    WORTH,
)
from eagle.methods.eagle.schedule import Constant, Minimax, largest, lifted, lowered
from eagle.problem.certificate import COUNT
from eagle.run.driver import SLOWEST

__all__ = ["Batch"]

# What is known about each matrix, and what is before anything is.
UNKNOWN = {
    "rho": 0.0,  # 1 / ||A||^2; 0 until it is measured
    "lower": np.nan,  # smallest relevant singular value of A, the largest being 1
    "growth": 1.0,  # of the smallest singular values so far
    "last_lift": 1.0,
    "roughness": 1.0,  # of what was multiplied by, in units of the rounding errors of A
    "left": np.inf,  # white probe columns relative to their start
    "left_before": np.inf,
    "user_left": np.inf,
    "change": np.inf,
    "ratio": 1.0,  # of the last two changes
    "peak": 0.0,
    "condition": np.nan,
    "rank": np.nan,
    "seen": False,
    "frozen": False,
    "resolved": False,
    "settled": False,
}


@dataclass
class Batch:
    """Matrices that are iterated together, as ``n <= d``; vectors on the host have N entries."""

    sides: Sides  # in the orientation of the iteration
    schedule: Minimax | Constant
    A: Any  # (N, d, n)
    B: Any  # (N, m, n)
    C: Any  # (N, d, q), or None for an identity
    D: Any  # (N, m, q) or (N, m, d)
    flipped: bool
    places: np.ndarray  # of these matrices in the batch of the user
    steps: int = 0
    restarted: bool = False
    single: bool = False  # condition in single precision as far as that goes
    matmuls: int = 0
    flops: float = 0.0
    lifts: list[Vector] = field(default_factory=list)  # eta of each step, 0: not conditioned
    vectors: dict[str, Vector] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Vector:
        try:
            return self.__dict__["vectors"][name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def create(
        cls,
        sides: Sides,
        schedule: Minimax | Constant,
        blocks: tuple[Any, Any, Any],
        flipped: bool,
        places: np.ndarray,
        **known: Any,
    ) -> Batch:
        """A fresh start from A, extended B, and extended C or None."""
        A, B, C = blocks
        tools, count = sides.tools, len(places)
        d = A.shape[1]
        D = tools.zeros(count, B.shape[1], d if C is None else C.shape[2])
        batch = cls(sides, schedule, A, B, C, D, flipped, places, **known)
        batch.vectors = {name: np.full(count, value) for name, value in UNKNOWN.items()}
        columns = sides.shape[1]
        start = np.zeros((2, count))
        if C is not None:
            white = C[:, :, columns : columns + COUNT]
            start = np.stack(tools.fetch(tools.norm(C[:, :, :columns]), tools.norm(white)))
        batch.vectors["user_start"], batch.vectors["white_start"] = start
        return batch

    def keep(self, which: Vector) -> None:
        """Forget about the other matrices."""
        if which.all():
            return
        places = np.flatnonzero(which)
        tools = self.sides.tools
        self.sides = self.sides.take(places)
        self.A, self.B, self.D = (tools.take(X, places) for X in (self.A, self.B, self.D))
        self.C = None if self.C is None else tools.take(self.C, places)
        self.places = self.places[which]
        self.lifts = [each[which] for each in self.lifts]
        self.vectors = {name: each[which] for name, each in self.vectors.items()}

    @property
    def noise(self) -> Vector:
        """Where the rounding noise of the first A has been lifted to."""
        return 10 * self.sides.tools.eps * max(self.A.shape[1:]) ** 0.5 * self.growth

    @property
    def complete(self) -> Vector:
        """Whether no direction of A above rounding level is left out."""
        used_up = USED_UP * self.sides.tools.eps
        tolerance = used_up if self.C is not None else np.maximum(used_up, self.noise)
        exhausted = (self.noise >= 0.5) & (0.5 * self.left_before <= self.left)
        return (self.left <= tolerance) | (exhausted & (self.left < np.inf))

    @property
    def cautious(self) -> Vector:
        """`lower` for choosing step sizes."""
        lower = np.nan_to_num(self.lower)
        return np.where(lower > SURE, lower, MARGIN * lower)

    @property
    def to_come(self) -> Vector:
        """How far each value has still to go, if changes go on shrinking like the last two."""
        ratio = np.minimum(self.ratio, SLOWEST)
        return self.change * ratio / (1 - ratio)

    @property
    def done(self) -> float:
        """The lower bound from which on contraction alone gains as much as conditioning."""
        return 0.99 * float(lifted(1.0, self.last_eta))

    @property
    def last_eta(self) -> float:
        """The eta that ends the schedule."""
        return float(self.schedule.pair(1.0)[0])

    @property
    def top(self) -> float:
        """Where the singular values gather in the end."""
        eta = self.last_eta
        return 1.0 if eta <= 1 / 3 else float(((1 - largest(eta)) / eta) ** 0.5)

    def step(self) -> None:
        """One update of all matrices: contract with A as it is, then condition it."""
        before = self.change
        pull, push = self._pull()
        due = self._due()
        gram = self._measure(due, pull, push) if due.any() else None
        gamma = np.broadcast_to(self.schedule.pair(self.cautious)[1], due.shape)
        self._contract(pull, push, gamma)
        conditioned = due & ~self.frozen
        roughly = conditioned & self.single & (self.cautious < WORTH)
        if (conditioned & ~roughly).any():
            self._condition(gram, conditioned & ~roughly)
        if roughly.any():
            self._condition_in_single(roughly)
        self._judge(before)
        self.steps += 1

    def output(self) -> Any:
        """Extended values, turned back if these are blocks of the adjoint problem."""
        D = self.sides.times_columns(self.D) if self.C is None else self.D
        return self.sides.tools.adjoint(D) if self.flipped else D

    def _count(self, m: int, k: int, n: int) -> None:
        self.flops += (8.0 if self.sides.tools.complex else 2.0) * m * k * n
        self.matmuls += 1

    def _due(self) -> Vector:
        slow = ~self.complete & (0.5 * self.left_before < self.left) & (self.left < np.inf)
        unseen = ~self.seen & self.complete & (self.ratio > 0.5)
        again = (slow | unseen) & (self.noise < 0.5)
        return (self.rho == 0) | ~self.frozen | again

    def _pull(self) -> tuple[Any, Any]:
        A, (d, n) = self.A, self.A.shape[1:]
        if self.C is not None:
            pull = self.sides.tools.adjoint(A) @ self.C
            self._count(n, d, pull.shape[2])
            self._count(d, n, pull.shape[2])
            return pull, A @ pull
        residual = self.B - self.D @ A
        self._count(residual.shape[1], d, n)
        self._count(residual.shape[1], n, d)
        return residual, residual @ self.sides.tools.adjoint(A)

    def _measure(self, due: Vector, pull: Any, push: Any) -> Any:
        """The Gram matrices; what they and the residuals say about the spectra."""
        tools, A = self.sides.tools, self.A
        d, n = A.shape[1:]
        gram = tools.adjoint(A) @ A
        self._count(n, d, n)
        rows, columns = self.sides.shape
        level = np.maximum(USED_UP * tools.eps, self.noise)
        level = tools.each(level * np.sqrt(self.rho))
        if self.C is not None:
            sizes, sources = tools.columns(pull), tools.columns(self.C)
            unit = tools.over(pull, sizes)
            mixed = tools.xp.sum(
                tools.xp.where(sizes > level * sources, unit, tools.zeros(1, 1, 1)),
                axis=2,
                keepdims=True,
            )
            probes = slice(columns, columns + COUNT)
            left, moved = sizes[:, 0, probes], tools.columns(push)[:, 0, probes]
        else:
            sizes, sources = tools.rows(push), tools.rows(pull)
            unit = tools.over(push, sizes)
            mixed = tools.xp.sum(
                tools.xp.where(sizes > level * sources, unit, tools.zeros(1, 1, 1)),
                axis=1,
                keepdims=True,
            )
            mixed = tools.adjoint(mixed @ A)
            probes = slice(rows, rows + COUNT)
            left, moved = sources[:, probes, 0], sizes[:, probes, 0]
        probe = tools.adjoint(self.B[:, rows : rows + 1, :])
        alphas, betas = _lanczos(tools, gram, tools.join([probe, mixed], 2))
        alphas, betas, left, moved = tools.fetch(alphas, betas, left, moved)
        ritz = _ritz_values(alphas, betas)
        fresh = due & (self.rho == 0)
        highest = np.nan_to_num(ritz, nan=0.0).max(axis=1, initial=0.0)
        found = np.where(highest > 0, 1 / (NORM_MARGIN**2 * np.where(highest > 0, highest, 1)), 1)
        self._put("rho", fresh, found)
        root = np.sqrt(self.rho)[:, None]
        singular = np.sqrt(np.maximum(ritz, 0)) * root
        singular[~(singular > GRAM_NOISE * (n * tools.eps) ** 0.5)] = np.nan
        quotients = np.divide(moved, left, out=np.full(left.shape, np.nan), where=left > 0) * root
        quotients[self.complete] = np.nan
        candidates = np.concatenate([singular, quotients], axis=1)
        candidates[~(candidates > self.noise[:, None])] = 1.0
        lower = np.minimum(candidates.min(axis=1, initial=1.0), 1.0)
        self._put("lower", due, lower)
        self._put("frozen", due, lower >= self.done)
        seen = self.frozen | (self.lower > 0.5)
        if not self.restarted:
            first = due & seen & ~self.seen
            known = 1 / np.maximum(self._original(self.lower), tools.eps**2)
            self._put("condition", first, known)
        self._put("seen", due, seen)
        return gram

    def _original(self, lower: Vector) -> Vector:
        """The singular values of the first A that became `lower`."""
        for eta in reversed(self.lifts):
            lower = np.where(eta > 0, lowered(lower, np.where(eta > 0, eta, 1.0)), lower)
        return lower

    def _put(self, name: str, where: Vector, values: Any) -> None:
        self.vectors[name] = np.where(where, values, self.vectors[name])

    def _contract(self, pull: Any, push: Any, gamma: Vector) -> None:
        """``D += gamma B A^H C``, ``C -= gamma A A^H C``."""
        tools = self.sides.tools
        rows, columns = self.sides.shape
        step = tools.each(gamma * np.where(self.rho > 0, self.rho, 1.0))
        if self.C is not None:
            increment = step * (self.B @ pull)
            self.D = self.D + increment
            self.C = self.C - step * push
            self._count(self.B.shape[1], *pull.shape[1:])
            user, white = self.C[:, :, :columns], self.C[:, :, columns : columns + COUNT]
            starts = []
        else:
            increment = step * push
            self.D = self.D + increment
            user, white = pull[:, :rows, :], pull[:, rows : rows + COUNT, :]
            starts = [self.B[:, :rows, :], self.B[:, rows : rows + COUNT, :]]
        block = (slice(None), slice(0, rows), slice(0, columns))
        parts = [increment[block], self.D[block], user, white, *starts]
        moved, size, user_left, left, *starts = tools.fetch(*map(tools.norm, parts))
        if not starts:
            starts = [self.user_start, self.white_start]
        put = self.vectors
        put["peak"] = np.maximum(self.peak, moved)
        put["change"] = _relative(moved, np.maximum(size, tools.eps * self.peak))
        put["left_before"] = self.left
        put["user_left"], put["left"] = _relative(user_left, starts[0]), _relative(left, starts[1])

    def _condition(self, gram: Any, which: Vector) -> None:
        """``[A; B] <- [A; B] (I - eta A^H A) / mu`` for some; the others are multiplied by I."""
        tools, (d, n) = self.sides.tools, self.A.shape[1:]
        eta, root = self._eta(self.cautious), np.sqrt(self.rho)
        mu = largest(eta)
        Q = tools.each(np.where(which, root / mu, 1.0)) * tools.eye(n)
        Q = Q - tools.each(np.where(which, eta * self.rho * root / mu, 0.0)) * gram
        self.A, self.B = self.A @ Q, self.B @ Q
        self._count(d + self.B.shape[1], n, n)
        self._put("lower", which, lifted(self.cautious, eta))
        self._put("rho", which, 1.0)
        self._lift(which, eta)

    def _condition_in_single(self, which: Vector) -> None:
        """The same by many steps in single precision, see `eagle.methods.eagle.conditioning`."""
        tools, (d, n) = self.sides.tools, self.A.shape[1:]
        rough = tools.single()
        root = tools.each(np.where(which, np.sqrt(self.rho), 1.0))
        X, probe = rough.cast(root * self.A), self.B[:, self.sides.shape[0], :][:, None, :]
        row, Q = rough.cast(tools.over(probe, tools.rows(probe))), rough.eye(n)
        lower, most = self.cautious, self.growth * SINGLE / (rough.eps * n**0.5)
        going, steps = which, 0
        while (going := going & (lower < self.done) & (self.growth < most)).any():
            gram = rough.adjoint(X) @ X
            alphas, betas = rough.fetch(*_lanczos(rough, gram, rough.adjoint(row)))
            ritz = np.nan_to_num(_ritz_values(alphas, betas, rough.eps), nan=1.0).clip(0, 1)
            lower = np.maximum(lower, ritz.min(axis=1) ** 0.5) if steps else lower
            eta = self._eta(lower)
            mu = largest(eta)
            step = rough.each(np.where(going, 1 / mu, 1.0)) * rough.eye(n)
            step = step - rough.each(np.where(going, eta / mu, 0.0)) * gram
            X, Q, row = X @ step, Q @ step, row @ step
            self._lift(going, eta)
            lower, steps = np.where(going, lifted(lower, eta), lower), steps + 1
            self._count(n, d, n)
            self._count(d + n, n, n)
        Q = root * tools.cast(Q)
        self.A, self.B = self.A @ Q, self.B @ Q
        self._count(d + self.B.shape[1], n, n)
        self._put("lower", which, np.nan)
        self._put("rho", which, 1.0)
        self._put("roughness", which, rough.eps / tools.eps)

    def _eta(self, lower: Vector) -> Vector:
        """Step sizes, smaller for matrices that were never conditioned before."""
        eta = np.broadcast_to(self.schedule.pair(lower)[0], lower.shape)
        never = ~np.any(self.lifts, axis=0) if self.lifts else np.ones(lower.shape, bool)
        return np.where(never, np.minimum(eta, FIRST_ETA), eta)

    def _lift(self, which: Vector, eta: Vector) -> None:
        """Remember one step of conditioning."""
        mu = largest(eta)
        self._put("growth", which, self.growth / mu)
        self._put("last_lift", which, 1 / mu)
        self.lifts.append(np.where(which, eta, 0.0))

    def _judge(self, before: Vector) -> None:
        """Decide for each matrix whether anything is left to gain."""
        eps, put = self.sides.tools.eps, self.vectors
        known = (before > 0) & (before < np.inf)
        ratio = np.where(known, np.minimum(1.0, self.change / np.where(known, before, 1)), 1.0)
        put["ratio"] = ratio
        exhausted = self.noise >= 0.5
        put["seen"], put["frozen"] = self.seen | exhausted, self.frozen | exhausted
        condition = np.nan_to_num(self.condition, nan=1.0)
        stalled = self.frozen & (ratio > 0.5) & (self.change <= 100 * eps * condition)
        gamma = self.schedule.pair(self.lower)[1]
        ratio = np.fmin(ratio, np.maximum(1 - gamma * self.lower**2, gamma - 1))
        used_up = self.user_left <= USED_UP * eps
        put["resolved"] = self.complete & (self.seen | used_up)
        done = stalled | (self.change * ratio <= np.where(used_up, 2 * eps, eps))
        put["settled"] = self.resolved & done
        gathered = self.settled & ~(self.lower <= 0.9 * self.top)
        if gathered.any():
            self._put("rank", gathered, self._rank())

    def _rank(self) -> Vector:
        """How many singular values of partial isometries are 1, see `eagle.methods.eagle`."""
        tools, (d, n), scale = self.sides.tools, self.A.shape[1:], self.rho / self.top**2
        gram = tools.adjoint(self.A) @ self.A
        norms = tools.fetch(*map(tools.norm, (self.A, gram, self.A @ gram)))
        self._count(n, d, n)
        self._count(d, n, n)
        first, second, third = (norm**2 * scale**power for power, norm in enumerate(norms, start=1))
        return np.rint(3 * first - 3 * second + third)

    def leaking(self) -> Vector:
        """Which of the matrices have a part of B outside the row space of A that spoils D."""
        tools = self.sides.tools
        (rows, columns), n = self.sides.shape, self.A.shape[2]
        ready = self.complete & (self.frozen | self.settled)
        if self.restarted or not ready.any():
            return np.zeros(len(ready), bool)
        (size_of_A,) = tools.fetch(tools.norm(self.A))
        ready &= size_of_A**2 * self.rho <= n - 0.5
        if not ready.any():
            return ready
        places = np.flatnonzero(ready)
        A, B, D = (tools.take(X, places) for X in (self.A, self.B, self.D))
        C = None if self.C is None else tools.take(self.C, places)[:, :, :columns]
        lift, growth, condition = (
            each[ready] for each in (self.last_lift * self.roughness, self.growth, self.condition)
        )
        allowed = np.maximum(10.0, np.where(np.isnan(condition), growth / lift, condition))
        mix = tools.sent(np.random.default_rng(rows).standard_normal((4, rows)) / 2)[None, ...]
        mix = tools.xp.astype(mix, tools.dtype)
        outside = mix @ B[:, :rows, :]
        (whole,) = tools.fetch(tools.norm(mix @ D[:, :rows, :columns]))
        size = np.full(len(places), np.inf)
        final, beyond = size.copy(), size.copy()
        open_ = np.ones(len(places), bool)
        for passes in range(40):
            noise = outside @ tools.adjoint(A)
            outside = outside - noise @ A
            added = noise if C is None else noise @ C
            last = size
            size, rest = tools.fetch(tools.norm(added), tools.norm(outside))
            final, beyond = np.where(open_, size, final), np.where(open_, rest, beyond)
            over = (size <= tools.eps * allowed * whole) | (size > 0.9 * last)
            open_ &= ~(over & (passes >= 3))
            if not open_.any():
                break
        start = 1.0 if self.C is None else self.user_start[ready]
        spoilt = beyond * lift * start
        leaks = (final > tools.eps * allowed * whole) | (spoilt > 10 * allowed * whole)
        out = np.zeros(len(ready), bool)
        out[places] = leaks
        return out

    def restart(self, which: Vector) -> Batch:
        """Go on with ``(A_L^H A, B, A_L^H C)`` from the other side."""
        tools, places = self.sides.tools, np.flatnonzero(which)
        work, basis = self.sides.take(places), tools.take(self.A, places)
        inner = tools.adjoint(work.A) @ basis
        if work.C is None:
            outer = [basis, tools.adjoint(work.column_probes) @ basis]
            columns = tools.join(outer, 1)
        else:
            columns = tools.adjoint(work.columns()) @ basis
        other = work.adjoint()
        fresh = Batch.create(
            other,
            self.schedule,
            (inner, columns, None if other.C is None else other.columns()),
            not self.flipped,
            self.places[which],
            steps=self.steps,
            restarted=True,
            matmuls=self.matmuls,
            flops=self.flops,
        )
        fresh.vectors["condition"] = self.condition[which]
        d, n = basis.shape[1:]
        fresh._count(inner.shape[1], d, n)
        fresh._count(columns.shape[1], d, n)
        return fresh


def _relative(part: Vector, whole: Vector) -> Vector:
    """``part / whole``; nothing of nothing is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, part / whole)


def _lanczos(tools: Tools, gram: Any, starts: Any) -> tuple[Any, Any]:
    """Coefficients of a few Lanczos steps from each column of `starts`, (N, steps, k)."""
    xp = tools.xp
    v, previous, beta = tools.over(starts, tools.columns(starts)), None, None
    alphas: list[Any] = []
    betas: list[Any] = []
    for _ in range(min(LANCZOS_STEPS, gram.shape[1])):
        w = gram @ v
        alpha = xp.sum(xp.real(xp.conj(v) * w) if tools.complex else v * w, axis=1, keepdims=True)
        w = w - alpha * v
        if previous is not None:
            w = w - beta * previous
        alphas.append(alpha)
        beta = tools.columns(w)
        beta = xp.where(beta > 1e-12 * xp.abs(alphas[0]), beta, tools.none)
        betas.append(beta)
        previous, v = v, tools.over(w, beta)
    return xp.concat(alphas, axis=1), xp.concat(betas, axis=1)


def _ritz_values(alphas: np.ndarray, betas: np.ndarray, weight: float = RITZ_WEIGHT) -> np.ndarray:
    """Ritz values of every run, (N, steps k), NaN for those that are rounding noise."""
    count, steps, runs = alphas.shape
    matrices = np.zeros((count, runs, steps, steps))
    at = np.arange(steps)
    finite = np.isfinite(alphas).all(axis=1) & np.isfinite(betas).all(axis=1)
    alphas, betas = np.nan_to_num(alphas), np.nan_to_num(betas)
    matrices[..., at, at] = np.swapaxes(alphas, 1, 2)
    beside = np.swapaxes(betas, 1, 2)[..., :-1]
    matrices[..., at[:-1], at[1:]] = matrices[..., at[1:], at[:-1]] = beside
    values, vectors = np.linalg.eigh(matrices)
    values[~(vectors[..., 0, :] ** 2 > weight) | ~finite[..., None]] = np.nan
    return values.reshape(count, -1)
