"""What becomes of one problem or of many: numbers or vectors, and at the end a `Result`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eagle.algebra.numbers import Number
from eagle.problem.result import Iteration, Result, Status


@dataclass(frozen=True)
class Record:
    """One iteration of the matrices that were iterated then; numbers of `One` or of `Many`."""

    num: Any
    iteration: int
    places: Any
    change: Number
    error_estimate: Number  # NaN: nobody looked
    condition: Number  # that is left; NaN: not known
    seconds: float
    matmuls: int

    def of(self, which: np.ndarray, names: np.ndarray) -> Record:
        """The record of the problems that the mask `which` has, renumbered by `names`."""
        kept = which[self.places]
        return replace(
            self,
            places=names[self.places[kept]],
            change=self.change[kept],
            error_estimate=self.error_estimate[kept],
            condition=self.condition[kept],
        )

    def worst(self) -> Iteration:
        """The largest numbers of all of them."""
        worst = self.num.worst
        return self._iteration(
            worst(self.change), worst(self.error_estimate), worst(self.condition)
        )

    def each(self) -> Iterator[tuple[int, Iteration]]:
        """A line for every one of many problems, with its place."""
        numbers = self.change, self.error_estimate, self.condition
        for place, *line in zip(self.places, *(each.tolist() for each in numbers), strict=True):
            yield place, self._iteration(*line)

    def _iteration(self, change: float, error: float, condition: float) -> Iteration:
        known = _known(condition, float)
        return Iteration(self.iteration, change, error, self.seconds, self.matmuls, known)


@dataclass(frozen=True, eq=False)
class Results:
    """What became of one problem, or of N; numbers of `One` or vectors of `Many`.

    Attributes
    ----------
    value : array
        In the user's units. Of many problems: (N, d', n'), or with the leading dimensions of the
        batch in place of N.
    leading : tuple of int or None
        These dimensions; None for one problem.
    status, iterations, error_estimate, inconsistency, rank, condition, flops : number
        As in `Result`; NaN for what is not known.
    seconds : float
        For all of them.
    own : dict
        Results of those of many problems, by place, that were solved by themselves.
    others : dict
        Methods, by place, of those that were solved by another one than `method`.
    """

    value: Any
    leading: tuple[int, ...] | None
    status: Any
    iterations: Number
    error_estimate: Number
    inconsistency: Number
    rank: Number
    condition: Number
    flops: Number
    method: object
    plan: str
    seconds: float
    history: tuple[Any, ...] = ()
    singular_values: Any = None
    floor: float | None = None
    inverse: Any = None
    own: dict[int, Result] = field(default_factory=dict)
    others: dict[int, object] = field(default_factory=dict)

    @classmethod
    def unknown(cls, value: np.ndarray, leading: tuple[int, ...], first: Result) -> Results:
        """Of problems that are yet to be solved one by one, `first` before the others."""
        count = math.prod(leading)
        numbers: dict[str, Any] = {name: np.full(count, np.nan) for name in NUMBERS}
        numbers["status"] = np.full(count, None)
        return cls(
            value=value,
            leading=leading,
            **numbers,
            method=first.method,
            plan=first.plan,
            seconds=0.0,
        )

    @classmethod
    def joined(cls, parts: Sequence[Results]) -> Results:
        """One after the other, of at least one, all by the same method."""
        first, history, start = parts[0], [], 0
        others: dict[int, object] = {}
        for part in parts:
            count = len(part.status)
            others |= {start + place: method for place, method in part.others.items()}
            names = start + np.arange(count)
            history += [record.of(np.ones(count, bool), names) for record in part.history]
            start += count
        vectors: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("value", *NUMBERS)
        }
        seconds = sum(part.seconds for part in parts)
        vectors |= {"others": others, "history": tuple(history)}
        return replace(first, **vectors, leading=(start,), seconds=seconds)

    def better(self, second: Results, places: np.ndarray, algebra: Any) -> Results:
        """The more trustworthy result of each problem; `second` has those at `places`."""
        then, now = (each.status == Status.CONVERGED for each in (self, second))
        then, errors = then[places], self.error_estimate[places]
        takes = (now & ~then) | ((now == then) & ~(errors <= second.error_estimate))
        if not takes.any():
            return self
        winners, count = places[takes], len(self.status)
        source = np.arange(count)
        source[winners] = count + np.flatnonzero(takes)
        vectors: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(second, name)])[source]
            for name in NUMBERS
        }
        both = algebra.xp.concat([self.value, second.value], axis=0)
        won = np.isin(np.arange(count), winners)
        history = [record.of(~won, np.arange(count)) for record in self.history]
        history += [record.of(takes, places) for record in second.history]
        vectors["value"] = algebra.take(both, source)
        others = self.others | dict.fromkeys(winners.tolist(), second.method)
        return replace(self, **vectors, history=tuple(history), others=others)

    def shaped(self, leading: tuple[int, ...], reshape: Any = np.reshape) -> Results:
        """The same in the leading dimensions of the user's batch."""
        value = reshape(self.value, (*leading, *self.value.shape[1:]))
        return replace(self, value=value, leading=leading)

    def put(self, place: int, result: Result) -> None:
        """Take the result of one of many problems."""
        assert self.leading is not None
        self.own[place] = result
        with np.errstate(over="ignore"):  # a number beyond the dtype of the batch is infinity
            self.value[np.unravel_index(place, self.leading)] = result.value
            for name in NUMBERS:
                known = getattr(result, name)
                getattr(self, name)[place] = np.nan if known is None else known

    def result(self, seconds: float) -> Result:
        """One result for all, with the numbers of the worst."""
        if self.leading is None:
            return self._one(
                self.value, [getattr(self, name) for name in NUMBERS], self.history, seconds
            )
        failed = np.flatnonzero(self.status != Status.CONVERGED)
        plans = Counter({self.plan: len(self.status) - len(self.own)})
        plans.update(one.plan for one in self.own.values())
        plans = +plans  # without those of nobody
        said = "; ".join(f"{count} x {plan}" for plan, count in plans.most_common(3))
        more = f"; and {len(plans) - 3} other plans" if len(plans) > 3 else ""
        ranks, conditions = np.unique(self.rank), self.condition[~np.isnan(self.condition)]
        return Result(
            value=self.value,
            status=self.status[failed[0]] if len(failed) else Status.CONVERGED,
            iterations=int(self.iterations.max(initial=0)),
            history=(),
            error_estimate=float(self.error_estimate.max(initial=0)),
            inconsistency=float(self.inconsistency.max(initial=0)),
            rank=int(ranks[0]) if len(ranks) == 1 and not np.isnan(ranks[0]) else None,
            condition=float(conditions.max()) if len(conditions) else None,
            method=self.own[0].method if 0 in self.own else self.others.get(0, self.method),
            plan=said + more,
            seconds=seconds,
            flops=float(self.flops.sum()),
            parts=self.each,
        )

    def each(self) -> np.ndarray:
        """A result for each of many problems, in the shape of the leading dimensions."""
        assert self.leading is not None
        count = len(self.status)
        histories: list[list[Iteration]] = [[] for _ in range(count)]
        for record in self.history:
            for place, line in record.each():
                histories[place].append(line)
        vectors = zip(*(getattr(self, name).tolist() for name in NUMBERS), strict=True)
        each = np.empty(count, object)
        for place, (index, numbers) in enumerate(
            zip(np.ndindex(self.leading), vectors, strict=True)
        ):
            value = self.value[(*index, ...)] if index else self.value
            each[place] = self.own.get(place) or self._one(
                value, numbers, histories[place], self.seconds / count, self.others.get(place)
            )
        return each.reshape(self.leading)

    def _one(
        self, value: Any, numbers: Any, history: Any, seconds: float, method: object = None
    ) -> Result:
        """The result of one problem, by `method` or that of all."""
        status, iterations, error, inconsistency, rank, condition, flops = numbers
        return Result(
            value=value,
            status=status,
            iterations=int(iterations),
            history=tuple(line.worst() if isinstance(line, Record) else line for line in history),
            error_estimate=error,
            inconsistency=inconsistency,
            rank=_known(rank, int),
            condition=_known(condition, float),
            method=method or self.method,
            plan=self.plan,
            seconds=seconds,
            flops=flops,
            singular_values=self.singular_values,
            floor=self.floor,
            inverse=self.inverse,
        )


NUMBERS = (
    "status",
    "iterations",
    "error_estimate",
    "inconsistency",
    "rank",
    "condition",
    "flops",
)


def _known(number: float, kind: type) -> Any:
    return None if math.isnan(number) else kind(number)
