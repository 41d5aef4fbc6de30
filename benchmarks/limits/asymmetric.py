"""Data that are not low-rank, not symmetric, or noisy: what comes back in place of D.

X is 70 x 410, A its first 60 rows and 400 columns, spread over four machines by columns. Kinds of
X: ``symmetric`` (positive semi-definite, rank 10; 120 x 120, A its first 110 rows and columns),
``asymmetric`` (rank 10), ``decaying`` (full rank, singular values ``k^-2``), ``normal`` (no
structure at all). To every entry noise is added, relative to the size of X. `distance` is that of
the value from the exact ``B A^+ C`` of these very blocks (sixty digits), `hidden` that from the
block that was hidden. `misfit` is ``|B - B A^+ A| / |B|``, which `inconsistency` should report.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

import eagle
import eagle.distributed as many
from benchmarks.common import Rows
from benchmarks.limits.condition import HONEST, OURS
from benchmarks.limits.exact import exact, relative_error
from benchmarks.looks import finish, look, panels
from benchmarks.rivals import RIVALS
from eagle.update import Blocks, average, update

BY = ("data", "noise", "method")
KINDS = ("symmetric", "asymmetric", "decaying", "normal")
RANK, MACHINES = 10, 4
ROUNDS = 3000  # at most
NONE = 1e-13  # where no noise is drawn
CENTRAL = OURS | {"compressed (ours)": "compressed", "sketched (ours)": "sketched"}
RULE = "paper's rule, 4 machines"
SPREAD_OUT = {"averaging, finished (ours)": "eagle-frozen", "krylov (ours)": "krylov"}


def measure(seed: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    """One row per kind, noise and method."""
    noises = (0.0, 1e-3) if quick else (0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
    for kind in KINDS:
        for noise in noises if kind in ("symmetric", "asymmetric") else (0.0,):
            A, B, C, D = blocks(kind, noise, seed)
            full = noise > 0 or kind in ("decaying", "normal")
            truth = exact(A, B, C) if full else D
            V = scipy.linalg.svd(A, full_matrices=False)[2][: None if full else RANK]
            misfit = float(np.linalg.norm(B - (B @ V.T) @ V) / np.linalg.norm(B))
            for name, value, estimate, inconsistency, status in _values(A, B, C, seed):
                yield {
                    "data": kind, "noise": noise, "method": name,
                    "distance": relative_error(value, truth), "estimate": estimate,
                    "status": status, "misfit": misfit, "inconsistency": inconsistency,
                    "hidden": relative_error(value, D),
                }  # fmt: skip


def blocks(kind: str, noise: float, seed: int) -> tuple[np.ndarray, ...]:
    """A, B, C, D of a noisy X; D without noise."""
    rng = np.random.default_rng(seed)
    d, n, extra = (110, 110, 10) if kind == "symmetric" else (60, 400, 10)
    left, right = rng.standard_normal((d + extra, RANK)), rng.standard_normal((RANK, n + extra))
    if kind == "symmetric":
        X = left @ left.T
    elif kind == "asymmetric":
        X = left @ right
    else:
        X = rng.standard_normal((d + extra, n + extra))
        if kind == "decaying":
            U, s, Vh = scipy.linalg.svd(X, full_matrices=False)
            X = (U * (1.0 + np.arange(len(s))) ** -2.0) @ Vh
    D = X[d:, n:].copy()
    X = X + noise * np.sqrt(np.mean(X**2)) * rng.standard_normal(X.shape)
    return X[:d, :n], X[d:, :n], X[:d, n:], D


def _values(A: np.ndarray, B: np.ndarray, C: np.ndarray, seed: int) -> Iterator[tuple]:
    """Name, value, estimate, inconsistency and status of every method."""
    for name, method in CENTRAL.items():
        result = eagle.solve(A, B, C, method=method, rng=seed)
        yield name, result.value, result.error_estimate, result.inconsistency, result.status.name
    for name, rival in (("SVD lstsq", "gelsd"), ("pinv", "numpy pinv")):
        yield name, RIVALS[rival](A, B, C), None, None, "no certificate"
    shards = [np.array_split(block, MACHINES, axis=1) for block in (A, B)]
    for name, method in SPREAD_OUT.items():
        result = many.simulate(*shards, C, method=method, rng=seed, maxiter=ROUNDS)
        finished = " (finished)" if "finished" in result.plan else ""
        status = result.status.name + finished
        yield name, result.value, result.error_estimate, result.inconsistency, status
    yield RULE, paper_rule(*shards, C), None, None, "no certificate"


def paper_rule(A: list[np.ndarray], B: list[np.ndarray], C: np.ndarray) -> np.ndarray:
    """Algorithm 1 as printed, eta = 1/3 and gamma = 1, until D moves by less than 1e-13.

    A machine whose A is conditioned keeps it, as in the paper's accelerated variant; going on would
    only lift rounding errors.
    """
    D = np.zeros((len(B[0]), C.shape[1]))
    machines = [Blocks(*pair, C, D) for pair in zip(A, B, strict=True)]
    for _ in range(ROUNDS):
        before, stepped = machines[0].D, []
        for each in machines:
            s = np.linalg.svd(each.A, compute_uv=False)
            scaled = Blocks(each.A / s[0], each.B / s[0], each.C, each.D)
            stepped.append(update(scaled, 0.0 if s[-1] > 0.999 * s[0] else 1 / 3, 1.0))
        machines = average(stepped)
        if np.linalg.norm(machines[0].D - before) < 1e-13 * np.linalg.norm(machines[0].D):
            break
    return machines[0].D


def conclude(rows: Rows) -> Iterator[str]:
    """How far our answers and the paper's rule are from the pooled one."""

    def place(row: dict[str, Any]) -> str:
        return f"{row['method']}, {row['data']}, noise {row['noise']:g}"

    groups = {"central": CENTRAL, "ours on four machines": SPREAD_OUT, RULE: [RULE]}
    for group, names in groups.items():
        own = [row for row in rows if row["method"] in names]
        worst = max(own, key=lambda row: row["distance"])
        yield f"{group}: at most {worst['distance']:.1e} from B A^+ C ({place(worst)})"
    claimed = [row for row in rows if row["status"].startswith("CONVERGED")]
    silent = [row for row in claimed if row["distance"] > HONEST * row["estimate"]]
    yield (
        f"{len(silent)} of {len(claimed)} answers that claim to be converged are farther from it "
        f"than {HONEST:g} times their estimate"
        + "".join(
            f"; {place(row)}: {row['distance']:.1e}, estimate {row['estimate']:.1e}"
            for row in silent
        )
    )


def draw(rows: Rows) -> Any:
    """Distances, inconsistency and the hidden block against noise; other kinds without noise."""
    figure, all_axes = panels(3, 2, width=4.0, height=2.9)
    against_noise = (
        ("asymmetric", "distance", "distance from B A⁺ C, asymmetric"),
        ("symmetric", "distance", "distance from B A⁺ C, symmetric"),
        ("asymmetric", "inconsistency", "inconsistency reported, asymmetric"),
        ("asymmetric", "hidden", "distance from the hidden block, asymmetric"),
        ("symmetric", "hidden", "distance from the hidden block, symmetric"),
    )
    for axes, (kind, cell, title) in zip(all_axes, against_noise, strict=False):
        for name, own in rows.of(data=kind).by("method"):
            axes.plot(*_points(own.having(cell), cell), **look(name))
        axes.set(xscale="log", yscale="log", title=title)
        axes.set_xlabel(f"relative noise ({NONE:g}: none)")
        if cell == "inconsistency":
            own = rows.of(method="auto", data=kind)
            axes.plot(*_points(own, "misfit"), color="0.3", linestyle=":", label="true misfit")
    axes = all_axes[-1]
    for name, own in rows.of(noise=0.0).by("method"):
        places = [KINDS.index(kind) for kind in own.column("data")]
        axes.plot(places, _points(own, "distance")[1], **look(name, linestyle="none"))
    axes.set(yscale="log", title="distance from B A⁺ C, no noise")
    axes.set_xticks(range(len(KINDS)), KINDS, fontsize=8)
    return finish(figure, all_axes, columns=5)


def _points(rows: Rows, cell: str) -> tuple[Any, Any]:
    """Noise and another cell, zeros at the edge of a logarithmic picture."""
    return np.maximum(rows.column("noise"), NONE), np.maximum(rows.column(cell), 1e-17)
