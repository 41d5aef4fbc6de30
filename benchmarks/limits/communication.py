"""Wall-clock with communication, from one machine room to another continent.

Four machines, d = 200, condition 1e3, two rows and columns, to 1e-8. Simulated: the processor time
of the slowest machine between messages is measured, what messages cost is computed from latency
and bandwidth (`eagle.distributed.Network`). Diversity 1, 0.1 and 0.01, 150 columns a machine; and
data of rank 20, 250 columns a machine, where a sketch is small.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

import eagle
import eagle.distributed as many
from benchmarks.common import Rows, Spread
from benchmarks.distributed import RTOL, solved
from benchmarks.looks import finish, look, panels

BY = ("data", "link", "method")
LINKS = {  # seconds, bytes per second
    "10 us, 10 GB/s": (1e-5, 1e10),
    "100 us, 1 GB/s": (1e-4, 1e9),
    "1 ms, 100 MB/s": (1e-3, 1e8),
    "10 ms, 100 MB/s": (1e-2, 1e8),
    "100 ms, 10 MB/s": (1e-1, 1e7),
}
METHODS = {
    "EAGLE (paper)": "eagle",
    "EAGLE (frozen)": "eagle-frozen",
    "krylov (ours)": "krylov",
    "gram": "gram",
    "TSQR": "tsqr",
    "compressed (ours)": "compressed",
}
PATIENCE = 3.0  # seconds of a run after which it is not repeated


def measure(seed: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    """One row per data set, link and method."""
    links = list(LINKS)[1::3] if quick else LINKS
    data = problems(seed, quick=quick)
    for (kind, shards), link, name in product(data.items(), links, METHODS):
        messages = dict(zip(("latency", "bandwidth"), LINKS[link], strict=True))
        runs: list[many.Result] = []
        while len(runs) < (1 if quick else 3) and not (runs and runs[-1].seconds > PATIENCE):
            runs.append(solved(shards, METHODS[name], seed, **messages))
        last, talking = runs[-1], [run.communication / run.simulated for run in runs]
        yield {
            "data": kind, "link": link, "method": name,
            "seconds": Spread(tuple(run.simulated for run in runs)),
            "talking": float(np.median(talking)), "rounds": last.rounds,
            "kilobytes": last.bytes_sent / 1e3, "error": shards.error(last.value),
            "estimate": last.error_estimate, "status": last.status.name,
        }  # fmt: skip


def problems(seed: int, *, quick: bool) -> dict[str, many.Shards]:
    """Data by a word that names them."""
    d = 60 if quick else 200
    found = {
        f"diversity {alpha:g}": many.shards_with_diversity(alpha, 4, d=d, condition=1e3, rng=seed)
        for alpha in ((0.1,) if quick else (1.0, 0.1, 0.01))
    }
    rank = d // 10
    low = eagle.problems.low_rank(d, 5 * d, rank=rank, condition=1e3, rng=seed)
    A, B = (np.array_split(block, 4, axis=1) for block in (low.A, low.B))
    found[f"rank {rank}"] = many.Shards(list(A), list(B), low.C, low.D, many.diversity(A))
    return found


def conclude(rows: Rows) -> Iterator[str]:
    """Who is right first, and what the paper's rule takes in units of that."""
    for (data, link), own in rows.by("data", "link"):
        right = {row["method"]: row["seconds"].median for row in own if row["error"] <= 10 * RTOL}
        if not right:
            yield f"{data}, {link}: nobody gets there"
            continue
        best = min(right, key=right.__getitem__)
        theirs = "does not get there"
        if "EAGLE (paper)" in right:
            theirs = f"takes {right['EAGLE (paper)'] / right[best]:.3g} times as long"
        yield f"{data}, {link}: {best} in {right[best]:.3g} s; the paper's rule {theirs}"


def draw(rows: Rows) -> Any:
    """Seconds by link, one panel per data set."""
    sets, links = list(rows.by("data")), [link for link, _ in rows.by("link")]
    figure, all_axes = panels(len(sets), width=3.3, height=3.2, sharey=True)
    for (data, of_data), axes in zip(sets, all_axes, strict=True):
        for name, own in of_data.by("method"):
            places = [links.index(link) for link in own.column("link")]
            axes.plot(places, [seconds.median for seconds in own.column("seconds")], **look(name))
        axes.set(yscale="log", title=data)
        labels = [link.replace(", ", ",\n") for link in links]
        axes.set_xticks(range(len(links)), labels, fontsize=7)
    all_axes[0].set_ylabel("seconds to 1e-8")
    return finish(figure, all_axes, columns=6)
