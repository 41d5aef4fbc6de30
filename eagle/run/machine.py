"""What this machine does per second, measured once per process: the planner's units."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

SIZE = 384  # of the trial matrices: a few milliseconds in all
TRIALS = 3


@dataclass(frozen=True)
class Rates:
    """Real floating-point operations per second.

    Rounded to powers of two, so that equal machines plan alike.
    """

    product: float
    factorisation: float


@cache
def rates(char: str) -> Rates:
    """Rates for the dtype of this character: gemm and geqrf."""
    import scipy.linalg

    from eagle.algebra.blas import product

    dtype = np.dtype(char)
    unit = 4.0 if dtype.kind == "c" else 1.0
    A = np.asfortranarray(np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(dtype))
    return Rates(
        product=_rounded(unit * 2 * SIZE**3 / _best(lambda: product(A, A))),
        factorisation=_rounded(
            unit * 4 / 3 * SIZE**3 / _best(lambda: scipy.linalg.qr(A, mode="r"))
        ),
    )


def memory(root: Path = Path("/")) -> float:
    """Bytes of memory that this process may have, infinity if nothing tells.

    The least of what the machine has, of the limits of its control groups (version 1 and 2, each
    up to the `root` of the file system) and of its address space (``ulimit -v``).
    """
    return min(_installed(), _address_space(), *_of_groups(root))


def _installed() -> float:
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if not hasattr(os, "sysconf") or not set(names) <= set(os.sysconf_names):
        return math.inf
    return float(math.prod(os.sysconf(name) for name in names))


def _address_space() -> float:
    try:
        import resource
    except ImportError:  # Windows has none
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if soft == resource.RLIM_INFINITY else float(soft)


def _of_groups(root: Path) -> Iterator[float]:
    """Limits of the groups of this process and of those that they lie in, infinity for none."""
    yield math.inf
    listing, mounted = root / "proc/self/cgroup", root / "sys/fs/cgroup"
    lines = listing.read_text().splitlines() if listing.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            top, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            limit = folder / name
            said = limit.read_text().strip() if limit.exists() else "max"
            yield math.inf if said == "max" else float(said)
            if folder == top:
                break


def _best(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-9)


def _rounded(rate: float) -> float:
    return 2.0 ** round(math.log2(rate))
