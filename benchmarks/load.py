"""Many solves at once: 8 threads in each of 4 processes, equal answers, bounded memory.

Every thread solves the same problems over and over, of all shapes and by several methods, and
compares each value with the one that was found first, alone: within ten error estimates of both.
Memory is that of the process after each solve; its peak in the last tenth must not be more than
SLACK above that in the first.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import eagle
from benchmarks.common import Report, command_line, positive, whole

SLACK = 64.0  # MB that a process may have more at the end
SHAPES = [(8, 8), (40, 30), (300, 20), (120, 120), (20, 500), (60, 60)]
METHODS = ["auto", "auto", "eagle", "direct", "compressed", "cg"]


@dataclass(frozen=True)
class Told:
    """What one process has to say."""

    solves: int
    unequal: int
    failures: int
    early: float  # MB
    late: float
    example: str


def problems(seed: int) -> list[tuple[Any, ...]]:
    """One for each shape, and a batch."""
    rng = np.random.default_rng(seed)
    found = []
    for (d, n), method in zip(SHAPES, METHODS, strict=True):
        rank = max(1, min(d, n) // 2)
        A = rng.standard_normal((d, rank)) @ rng.standard_normal((rank, n))
        found.append((A, rng.standard_normal((3, d)) @ A, A @ rng.standard_normal((n, 2)), method))
    A = rng.standard_normal((250, 6, 6))
    found.append((A, rng.standard_normal((2, 6)), rng.standard_normal((6, 2)), "auto"))
    return found


def megabytes() -> float:
    """Of this process in memory; 0 where Linux does not tell."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return 0.0
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def work(seed: int, threads: int, seconds: float) -> Told:
    """Solve in all threads until the time is over."""
    given = problems(seed)

    def solve(place: int) -> Any:
        A, B, C, method = given[place]
        return eagle.solve(A, B, C, method=method, rng=place)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = [solve(place) for place in range(len(given))]
        start = time.perf_counter()
        lock, sizes, examples, counts = threading.Lock(), [megabytes()], [""], [0, 0, 0]

        def loop(number: int) -> None:
            turn = number
            while time.perf_counter() < start + seconds:
                place = turn % len(given)
                turn += 1
                failure = ""
                try:
                    result, wanted = solve(place), first[place]
                    error = np.linalg.norm(result.value - wanted.value)
                    allowed = 10 * (result.error_estimate + wanted.error_estimate)
                    equal = bool(error <= allowed * np.linalg.norm(wanted.value))
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
                    equal, failure = True, repr(error)
                with lock:
                    counts[0] += 1
                    counts[1] += not equal
                    counts[2] += bool(failure)
                    examples[0] = examples[0] or failure
                    sizes.append(megabytes())

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(loop, range(threads)))
    tenth = max(1, len(sizes) // 10)
    return Told(*counts, max(sizes[:tenth]), max(sizes[-tenth:]), examples[0])


def main(argv: list[str] | None = None) -> int:
    """Run; 1 if an answer changed, a solve failed or memory grew."""
    parser = command_line("load", __doc__)
    parser.add_argument("--seconds", type=positive, help="600 unless told, 2 with --quick")
    parser.add_argument("--processes", type=whole(1), default=4)
    parser.add_argument("--threads", type=whole(1), default=8)
    arguments = parser.parse_args(argv)
    seconds = arguments.seconds or (2.0 if arguments.quick else 600.0)
    report = Report("load", quick=arguments.quick)
    report.section(f"{arguments.processes} processes of {arguments.threads} threads")
    job = partial(work, threads=arguments.threads, seconds=seconds)
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        told = list(pool.map(job, [arguments.seed] * arguments.processes))
    bad = False
    for place, each in enumerate(told):
        grown = each.late > each.early + SLACK
        bad = bad or bool(each.unequal or each.failures or grown)
        report.row(
            process=place, solves=each.solves, unequal=each.unequal, failures=each.failures,
            MB_early=each.early, MB_late=each.late,
        )  # fmt: skip
        if each.example:
            report.say(each.example)
    report.save(arguments.json)
    return int(bad)
