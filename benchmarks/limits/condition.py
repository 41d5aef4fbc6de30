"""Condition numbers from 1e6 to 1e15 in double and single precision.

A is 100 x 100 with logarithmically spaced singular values. ``consistent``: ``B = W A`` and
``C = A H``, as in the paper. ``generic``: B and C normal, so that the value is of the size of the
condition number, and rounding A alone changes it by ``eps condition``. Errors are relative to the
exact value of the rounded blocks, in sixty digits. ``silent`` counts answers that claim to be
converged and whose error is more than ten times the estimate.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks import rivals
from benchmarks.common import Rows
from benchmarks.limits.exact import exact, relative_error
from benchmarks.looks import finish, look, panels

BY = ("dtype", "data", "condition", "method")
OURS = {"auto": "auto", **rivals.EAGLES}


def _by_qr(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    Q, R = scipy.linalg.qr(A)
    return B @ scipy.linalg.solve_triangular(R, Q.T @ C)


# All of scipy: numpy computes QR and pinv of single precision in double.
RIVALS: dict[str, Callable[..., np.ndarray]] = {
    "SVD lstsq": rivals.RIVALS["gelsd"],
    "gelsy": rivals.RIVALS["gelsy"],
    "QR": _by_qr,
    "pinv": lambda A, B, C: (B @ scipy.linalg.pinv(A)) @ C,
}
HONEST = 10.0  # an error up to so many times the estimate is what the estimate promises
PRECISIONS, DATA = (np.float64, np.float32), ("consistent", "generic")


def measure(seed: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Medians and worst of some seeds."""
    n, seeds = (30, 2) if quick else (100, 5)
    exponents = (6, 10, 15) if quick else range(6, 16)
    for dtype, data, exponent in product(PRECISIONS, DATA, exponents):
        runs: dict[str, list[tuple]] = {name: [] for name in (*OURS, *RIVALS)}
        for k in range(seed, seed + seeds):
            A, B, C = _blocks(n, 10.0**exponent, dtype, data, k)
            truth = exact(A, B, C)
            for name, method in OURS.items():
                result = eagle.solve(A, B, C, method=method, rng=k)
                error, estimate = relative_error(result.value, truth), result.error_estimate
                lie = result.converged and error > HONEST * estimate
                runs[name].append((error, estimate, result.iterations, lie, result.converged))
            for name, rival in RIVALS.items():
                runs[name].append((relative_error(rival(A, B, C), truth), np.nan, 1, False, True))
        for name, found in runs.items():
            errors, estimates, iterations, lies, ends = zip(*found, strict=True)
            yield {
                "dtype": np.dtype(dtype).name, "data": data, "condition": 10.0**exponent,
                "method": name, "iterations": int(np.median(iterations)),
                "error": float(np.median(errors)), "worst": float(max(errors)),
                "estimate": float(np.median(estimates)) if name in OURS else None,
                "silent": sum(lies) if name in OURS else None, "converged": sum(ends),
                "runs": len(found),
            }  # fmt: skip


def _blocks(n: int, condition: float, dtype: Any, data: str, seed: int) -> tuple:
    problem = eagle.problems.low_rank(n, n, condition=condition, dtype=dtype, rng=seed)
    if data == "consistent":
        return problem.A, problem.B, problem.C
    rng = np.random.default_rng(seed)
    B, C = rng.standard_normal((2, n)), rng.standard_normal((n, 2))
    return problem.A, B.astype(dtype), C.astype(dtype)


def conclude(rows: Rows) -> Iterator[str]:
    """Worst errors, and how honest the estimates were."""
    for dtype, own in rows.of(data="consistent").by("dtype"):
        worst = {name: max(each.column("worst")) for name, each in own.by("method")}
        listed = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
        yield f"{dtype}, consistent, worst error over all condition numbers: {listed}"
    ours = rows.having("silent")
    yield (
        f"{sum(ours.column('silent'))} of {sum(ours.column('runs'))} of our answers claim to be "
        f"converged with an error of more than {HONEST:g} times the estimate"
    )


def draw(rows: Rows) -> Any:
    """Errors, iterations, and estimates over errors, against the condition number."""
    figure, all_axes = panels(4, 2, width=3.3, height=2.7)
    for line, (dtype, of_dtype) in enumerate(rows.by("dtype")):
        eps = float(np.finfo(dtype).eps)
        *errors, iterations, honesty = axes = all_axes[4 * line : 4 * line + 4]
        for (name, data), own in of_dtype.by("method", "data"):
            x, error = own.column("condition"), own.column("error")
            # An infinite error is drawn at the top.
            errors[DATA.index(data)].plot(x, np.minimum(error, 1e3), **look(name))
            if name in OURS:
                faint = {"label": None, "alpha": 0.35} if data == "generic" else {}
                ratio = np.divide(own.column("estimate"), np.maximum(error, 1e-300))
                honesty.plot(x, ratio, **look(name, **faint))
                if data == "consistent":
                    iterations.plot(x, own.column("iterations"), **look(name))
        x = np.array(sorted(set(rows.column("condition"))))
        errors[1].plot(x, eps * x, color="0.6", linewidth=1, label="eps condition")
        honesty.axhline(1 / HONEST, color="0.6", linewidth=1)
        for ax, data in zip(errors, DATA, strict=True):
            ax.set(yscale="log", ylim=(eps / 10, 10), title=f"{dtype}: error, {data}")
        iterations.set(title=f"{dtype}: iterations, consistent", ylim=(0, None))
        honesty.set(yscale="log", title=f"{dtype}: estimate / error (generic: faint)")
        for each in axes:
            each.set(xscale="log", xlabel="condition number")
    return finish(figure, all_axes, columns=5)
