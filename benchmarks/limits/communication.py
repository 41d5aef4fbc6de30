"""Wall-clock with communication, from one machine room to another continent.

Four machines, d = 200, condition 1e3, two rows and columns, to 1e-8. Simulated: the processor time
of the slowest machine between messages is measured, what messages cost is computed from latency
and bandwidth (`eagle.distributed.Network`). Diversity 1, 0.1 and 0.01, 150 columns a machine; and
data of rank 20, 250 columns a machine, where a sketch is small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

import eagle
import eagle.distributed as many
from benchmarks.common import Spread
from benchmarks.looks import look

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
RTOL = 1e-8
PATIENCE = 3.0  # seconds of a run after which it is not repeated


def measure(seed: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    """One row per data set, link and method."""
    links = dict(list(LINKS.items())[1::3]) if quick else LINKS
    for data, shards in problems(seed, quick=quick).items():
        for link, (latency, bandwidth) in links.items():
            for name, method in METHODS.items():
                runs = []
                while len(runs) < (1 if quick else 3):
                    runs.append(
                        many.simulate(
                            shards.A, shards.B, shards.C, method=method, rtol=RTOL, rng=seed,
                            latency=latency, bandwidth=bandwidth, maxiter=20_000,
                        )
                    )  # fmt: skip
                    if runs[-1].seconds > PATIENCE:
                        break
                last, talking = runs[-1], [run.communication / run.simulated for run in runs]
                yield {
                    "data": data,
                    "link": link,
                    "method": name,
                    "seconds": Spread(tuple(run.simulated for run in runs)),
                    "talking": float(np.median(talking)),
                    "rounds": last.rounds,
                    "kilobytes": last.bytes_sent / 1e3,
                    "error": shards.error(last.value),
                    "estimate": last.error_estimate,
                    "status": last.status.name,
                }


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


def conclude(rows: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Who is right first, and what the paper's rule takes in units of that."""
    for data, link in dict.fromkeys((row["data"], row["link"]) for row in rows):
        own = [row for row in rows if (row["data"], row["link"]) == (data, link)]
        right = {row["method"]: row for row in own if row["error"] <= 10 * RTOL}
        if not right:
            yield f"{data}, {link}: nobody gets there"
            continue
        best = min(right.values(), key=lambda row: row["seconds"].median)
        paper = right.get("EAGLE (paper)")
        theirs = "does not get there"
        if paper:
            times = paper["seconds"].median / best["seconds"].median
            theirs = f"takes {times:.3g} times as long"
        yield (
            f"{data}, {link}: {best['method']} in {best['seconds'].median:.3g} s; "
            f"the paper's rule {theirs}"
        )


def draw(rows: Sequence[dict[str, Any]]) -> Any:
    """Seconds by link, one panel per data set."""
    from benchmarks.paper.common import finish, panels

    sets, links = (list(dict.fromkeys(row[name] for row in rows)) for name in ("data", "link"))
    figure, all_axes = panels(len(sets), width=3.3, height=3.2, sharey=True)
    for data, axes in zip(sets, all_axes, strict=True):
        for name in METHODS:
            own = [row for row in rows if (row["data"], row["method"]) == (data, name)]
            axes.plot(
                [links.index(row["link"]) for row in own],
                [row["seconds"].median for row in own],
                **look(name),
            )  # fmt: skip
        axes.set(yscale="log", title=data)
        labels = [link.replace(", ", ",\n") for link in links]
        axes.set_xticks(range(len(links)), labels, fontsize=7)
    all_axes[0].set_ylabel("seconds to 1e-8")
    return finish(figure, all_axes, columns=6)
