"""Results of many problems as arrays, made into a `Result` for each when somebody looks at them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eagle.problem.result import Iteration, Result, Status

__all__ = ["Many", "Record"]


NUMBERS = ("iterations", "error_estimate", "inconsistency", "rank", "condition", "flops")


@dataclass(frozen=True)
class Record:
    """One iteration of some of the problems; vectors have an entry for each of `places`."""

    iteration: int
    places: np.ndarray
    change: np.ndarray
    error_estimate: np.ndarray  # NaN: nobody looked
    condition: np.ndarray | None
    seconds: float
    matmuls: int

    def of(self, which: np.ndarray, names: np.ndarray) -> Record:
        """The same of those problems alone that a mask has, under other names."""
        kept = which[self.places]
        return replace(
            self,
            places=names[self.places[kept]],
            change=self.change[kept],
            error_estimate=self.error_estimate[kept],
            condition=None if self.condition is None else self.condition[kept],
        )

    def worst(self) -> Iteration:
        """The largest numbers of all of them."""
        condition = None if self.condition is None else float(np.fmax.reduce(self.condition))
        return Iteration(
            self.iteration,
            float(self.change.max()),
            float(self.error_estimate.max()),
            self.seconds,
            self.matmuls,
            condition,
        )


@dataclass(frozen=True, eq=False)
class Many:
    """What became of N problems; vectors have N entries.

    Attributes
    ----------
    value : array (..., d', n')
        Of any library, the leading dimensions those of the batch.
    leading : tuple of int
        These dimensions; N is their product.
    status : ndarray of Status
    rank, condition : ndarray
        NaN: not known.
    seconds : float
        For all of them.
    history : tuple of Record
    own : dict
        Results of those problems, by place, that were solved by themselves.
    """

    value: Any
    leading: tuple[int, ...]
    status: np.ndarray
    iterations: np.ndarray
    error_estimate: np.ndarray
    inconsistency: np.ndarray
    rank: np.ndarray
    condition: np.ndarray
    flops: np.ndarray
    method: object
    plan: str
    seconds: float
    history: tuple[Record, ...] = ()
    own: dict[int, Result] = field(default_factory=dict)

    @classmethod
    def unknown(cls, value: np.ndarray, leading: tuple[int, ...], first: Result) -> Many:
        """Of problems that are yet to be solved one by one, `first` before the others."""
        count = math.prod(leading)
        numbers: dict[str, Any] = {name: np.full(count, np.nan) for name in NUMBERS}
        return cls(
            value=value,
            leading=leading,
            status=np.full(count, None),
            **numbers,
            method=first.method,
            plan=first.plan,
            seconds=0.0,
        )

    @classmethod
    def joined(cls, parts: Sequence[Many], leading: tuple[int, ...]) -> Many:
        """One after the other, of at least one, all by the same method."""
        first, history, start = parts[0], [], 0
        for part in parts:
            count = len(part.status)
            names = start + np.arange(count)
            history += [record.of(np.ones(count, bool), names) for record in part.history]
            start += count
        vectors: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("value", "status", *NUMBERS)
        }
        value = vectors["value"]
        vectors["value"] = value.reshape(leading + value.shape[1:])
        seconds = sum(part.seconds for part in parts)
        return replace(first, **vectors, leading=leading, seconds=seconds, history=tuple(history))

    def put(self, place: int, result: Result) -> None:
        """Take the result of one problem."""
        self.value[np.unravel_index(place, self.leading)] = result.value
        self.own[place] = result
        for name in ("status", "iterations", "error_estimate", "inconsistency", "flops"):
            getattr(self, name)[place] = getattr(result, name)
        for name in ("rank", "condition"):
            known = getattr(result, name)
            getattr(self, name)[place] = np.nan if known is None else known

    def result(self, seconds: float) -> Result:
        """One result for all, with the numbers of the worst."""
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
            method=self.own[0].method if 0 in self.own else self.method,
            plan=said + more,
            seconds=seconds,
            flops=float(self.flops.sum()),
            parts=self.each,
        )

    def each(self) -> np.ndarray:
        """A result for each problem, in the shape of the leading dimensions."""
        count = len(self.status)
        histories = self._histories()
        each = np.empty(count, object)
        for place, index in enumerate(np.ndindex(self.leading)):
            each[place] = self.own.get(place) or Result(
                value=self.value[(*index, ...)] if index else self.value,
                status=self.status[place],
                iterations=int(self.iterations[place]),
                history=tuple(histories[place]),
                error_estimate=float(self.error_estimate[place]),
                inconsistency=float(self.inconsistency[place]),
                rank=_known(self.rank[place], int),
                condition=_known(self.condition[place], float),
                method=self.method,
                plan=self.plan,
                seconds=self.seconds / count,
                flops=float(self.flops[place]),
            )
        return each.reshape(self.leading)

    def _histories(self) -> list[list[Iteration]]:
        histories: list[list[Iteration]] = [[] for _ in self.status]
        for record in self.history:
            given = record.condition
            conditions: Iterable[Any] = [None] * len(record.places) if given is None else given
            for place, change, error, condition in zip(
                record.places, record.change, record.error_estimate, conditions, strict=True
            ):
                histories[place].append(
                    Iteration(
                        record.iteration,
                        float(change),
                        float(error),
                        record.seconds,
                        record.matmuls,
                        None if condition is None else float(condition),
                    )
                )
        return histories


def _known(number: float, kind: type) -> Any:
    return None if np.isnan(number) else kind(number)
