"""One matrix or many, in numpy or on a device: where a question is asked, once for all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import eagle
from eagle.algebra.homes import Host, find_home
from eagle.algebra.stacked import HostStacked, Stacked
from eagle.problem.blocks import Problem
from eagle.run.batch import SOME
from tests.systems import quietly


@dataclass(frozen=True)
class Place:
    """Where blocks are, and whether those of several problems are in one array.

    Attributes
    ----------
    name : str
    send, fetch : callable
        From numpy, and back.
    together : int
        Problems that are solved together at least; 0: each by itself.
    """

    name: str
    send: Callable[[np.ndarray], Any] = np.asarray
    fetch: Callable[[Any], np.ndarray] = np.asarray
    together: int = 0

    def problem(self, *systems: Any, names: str = "ABC") -> Problem:
        """The problem of one system, or that of several."""
        if not self.together:
            (given,) = systems
            return Problem.create(*(getattr(given, k) if k in names else None for k in "ABC"))
        A, B, C = (
            self.send(np.stack([getattr(each, k) for each in systems])) if k in names else None
            for k in "ABC"
        )
        home = find_home(A=A)
        algebra = HostStacked(Host(), A) if home is None else Stacked(home, A)
        return Problem.stack(
            algebra, (A, B, C), ("A", "B", "C"), (len(systems),), systems[0].A.dtype.name
        )

    def solve(self, systems: Sequence[Any], method: Any = "auto", **options: Any) -> list[Any]:
        """Results for systems of one shape, with values of numpy's."""
        blocks = [(each.A, each.B, each.C) for each in systems]
        return self.call(eagle.solve, blocks, method=method, **options)

    def call(self, function: Any, blocks: Sequence[Any], **options: Any) -> list[Any]:
        """The same for any function of the package and what it takes."""
        options = {"rng": 0} | options
        if not self.together:
            return [quietly(function, *each, **options) for each in blocks]
        count = len(blocks)
        repeated = [blocks[place % count] for place in range(max(count, self.together))]
        stacks = (self.send(np.stack(each)) for each in zip(*repeated, strict=True))
        results = quietly(function, *stacks, **options)
        if not isinstance(results, eagle.Result):
            return list(self.fetch(results)[:count])
        return [replace(one, value=self.fetch(one.value)) for one in results.results.flat[:count]]

    def seed(self, rng: int) -> int:
        """What gives one problem alone the probes that it has here with this seed."""
        if self.together < 2:
            return rng
        return int(np.random.default_rng(rng).integers(2**63))  # tiles share their probes

    def numbers(self, X: Any) -> np.ndarray:
        """A block of a state that one matrix has, or the first of many."""
        return self.fetch(X)[0] if self.together else self.fetch(X)

    def number(self, known: Any) -> Any:
        """What is known of one matrix, or of the first of many."""
        return known[0] if self.together else known

    def known(self, value: Any, like: Any) -> Any:
        """The same number for every matrix."""
        return np.full(np.shape(like), value) if self.together else value

    def block(self, X: np.ndarray) -> Any:
        """A block for a state, of one matrix or as the only one of many."""
        return self.send(X[None]) if self.together else np.asfortranarray(X)


def strict() -> Place:
    """The array API and nothing else, on a device that numpy cannot look at."""
    import array_api_strict

    host, device = (array_api_strict.Device(name) for name in ("CPU_DEVICE", "device1"))
    return Place(
        "strict device",
        lambda array: array_api_strict.asarray(np.array(array), device=device),
        lambda array: np.from_dlpack(array.to_device(host)),
        together=1,
    )


def accelerators() -> Iterator[Place]:
    """Those of this machine; the libraries that know are asked only where there may be one."""
    devices = (Path("/dev") / name for name in ("nvidiactl", "kfd"))
    if sys.platform != "darwin" and not any(each.exists() for each in devices):
        return
    from tests.gpu.accelerators import FOUND

    for name, found in FOUND.items():
        if found.double:
            yield Place(name, found.send, found.fetch, together=1)


PLACES = {"dense": Place("dense"), "stacked": Place("stacked", together=SOME)}
if find_spec("array_api_strict") and find_spec("array_api_compat"):
    PLACES["strict device"] = strict()
PLACES |= {each.name: each for each in accelerators()}
MANY = {name: place for name, place in PLACES.items() if place.together}
