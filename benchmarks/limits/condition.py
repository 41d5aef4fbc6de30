"""Condition numbers from 1e6 to 1e15 in double and single precision.

A is 100 x 100 with logarithmically spaced singular values. ``consistent``: ``B = W A`` and
``C = A H``, as in the paper. ``generic``: B and C normal, so that the value is of the size of the
condition number, and rounding A alone changes it by ``eps condition``. Errors are relative to the
exact value of the rounded blocks, in sixty digits. ``silent`` counts answers that claim to be
converged and whose error is more than ten times the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks.limits.exact import exact, relative_error
from benchmarks.looks import look

BY = ("dtype", "data", "condition", "method")
OURS = {
    "auto": "auto",
    "EAGLE (minimax)": eagle.Eagle(),
    "EAGLE (Cholesky)": eagle.Eagle("cholesky"),
    "EAGLE (paper)": eagle.Eagle("paper"),
}


def _by_qr(A: np.ndarray, C: np.ndarray) -> np.ndarray:
    Q, R = scipy.linalg.qr(A)
    return scipy.linalg.solve_triangular(R, Q.T @ C)


# All of scipy: numpy computes QR and pinv of single precision in double.
RIVALS: dict[str, Callable[..., np.ndarray]] = {
    "SVD lstsq": lambda A, B, C: B @ scipy.linalg.lstsq(A, C)[0],
    "gelsy": lambda A, B, C: B @ scipy.linalg.lstsq(A, C, lapack_driver="gelsy")[0],
    "QR": lambda A, B, C: B @ _by_qr(A, C),
    "pinv": lambda A, B, C: (B @ scipy.linalg.pinv(A)) @ C,
}
HONEST = 10.0  # an error up to so many times the estimate is what the estimate promises


def measure(seed: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Medians and worst of some seeds."""
    n, seeds = (30, 2) if quick else (100, 5)
    exponents = (6, 10, 15) if quick else range(6, 16)
    for dtype in (np.float64, np.float32):
        for data in ("consistent", "generic"):
            for exponent in exponents:
                runs: dict[str, list[tuple]] = {name: [] for name in (*OURS, *RIVALS)}
                for k in range(seed, seed + seeds):
                    A, B, C = _blocks(n, 10.0**exponent, dtype, data, k)
                    truth = exact(A, B, C)
                    for name, method in OURS.items():
                        result = eagle.solve(A, B, C, method=method, rng=k)
                        error = relative_error(result.value, truth)
                        lie = result.converged and error > HONEST * result.error_estimate
                        runs[name].append((error, result.error_estimate, result.iterations, lie))
                    for name, rival in RIVALS.items():
                        error = relative_error(rival(A, B, C), truth)
                        runs[name].append((error, np.nan, 1, False))
                for name, found in runs.items():
                    errors, estimates, iterations, lies = zip(*found, strict=True)
                    yield {
                        "dtype": np.dtype(dtype).name,
                        "data": data,
                        "condition": 10.0**exponent,
                        "method": name,
                        "iterations": int(np.median(iterations)),
                        "error": float(np.median(errors)),
                        "worst": float(max(errors)),
                        "estimate": float(np.median(estimates)) if name in OURS else None,
                        "silent": sum(lies) if name in OURS else None,
                        "runs": len(found),
                    }


def _blocks(n: int, condition: float, dtype: Any, data: str, seed: int) -> tuple:
    problem = eagle.problems.low_rank(n, n, condition=condition, dtype=dtype, rng=seed)
    if data == "consistent":
        return problem.A, problem.B, problem.C
    rng = np.random.default_rng(seed)
    B, C = rng.standard_normal((2, n)), rng.standard_normal((n, 2))
    return problem.A, B.astype(dtype), C.astype(dtype)


def conclude(rows: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Worst errors, and how honest the estimates were."""
    for dtype in ("float64", "float32"):
        own = [row for row in rows if row["dtype"] == dtype and row["data"] == "consistent"]
        worst = {
            name: max(row["worst"] for row in own if row["method"] == name)
            for name in (*OURS, *RIVALS)
        }
        yield f"{dtype}, consistent, worst error over all condition numbers: " + ", ".join(
            f"{name} {error:.1e}" for name, error in worst.items()
        )
    ours = [row for row in rows if row["silent"] is not None]
    count, silent = sum(row["runs"] for row in ours), sum(row["silent"] for row in ours)
    yield (
        f"{silent} of {count} of our answers claim to be converged with an error of more than "
        f"{HONEST:g} times the estimate"
    )


def draw(rows: Sequence[dict[str, Any]]) -> Any:
    """Errors, iterations, and estimates over errors, against the condition number."""
    from benchmarks.paper.common import finish, panels

    figure, all_axes = panels(4, 2, width=3.3, height=2.7)
    names = (*OURS, *RIVALS)
    for line, dtype in enumerate(("float64", "float32")):
        eps = float(np.finfo(dtype).eps)
        axes = all_axes[4 * line : 4 * line + 4]
        for name in names:
            for place, data in enumerate(("consistent", "generic")):
                own = _select(rows, dtype, data, name)
                x = [row["condition"] for row in own]
                # An infinite error is drawn at the top.
                axes[place].plot(x, [min(row["error"], 1e3) for row in own], **look(name))
                if name in OURS:
                    ratio = [row["estimate"] / max(row["error"], 1e-300) for row in own]
                    faint = {"label": None, "alpha": 0.35} if place else {}
                    axes[3].plot(x, ratio, **look(name, **faint))
            if name in OURS:
                own = _select(rows, dtype, "consistent", name)
                axes[2].plot(
                    [row["condition"] for row in own],
                    [row["iterations"] for row in own],
                    **look(name),
                )
        x = np.array(sorted({row["condition"] for row in rows}))
        axes[1].plot(x, eps * x, color="0.6", linewidth=1, label="eps condition")
        axes[3].axhline(1 / HONEST, color="0.6", linewidth=1)
        for place, title in enumerate(("error, consistent", "error, generic")):
            axes[place].set(yscale="log", ylim=(eps / 10, 10), title=f"{dtype}: {title}")
        axes[2].set(title=f"{dtype}: iterations, consistent", ylim=(0, None))
        axes[3].set(yscale="log", title=f"{dtype}: estimate / error (generic: faint)")
        for each in axes:
            each.set(xscale="log", xlabel="condition number")
    return finish(figure, all_axes, columns=5)


def _select(rows: Sequence[dict[str, Any]], dtype: str, data: str, name: str) -> list[dict]:
    return [
        row for row in rows if (row["dtype"], row["data"], row["method"]) == (dtype, data, name)
    ]
