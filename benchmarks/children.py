"""What is measured in processes of its own: ``python -m benchmarks.children NAME ARGUMENT ...``.

Memory counts from where `before` was read, so that everything is imported where it is needed. The
answer is printed as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import eagle


def megabytes(name: str) -> float:
    """Resident memory of this process, ``VmRSS``, or its peak, ``VmHWM``."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def mapped(folder: str, method: str, limit: str) -> dict[str, Any]:
    """Peak memory of a solve with A in a mapped file."""
    B, C, D = (np.load(f"{folder}/{block}.npy") for block in "BCD")
    A = np.load(f"{folder}/A.npy", mmap_mode="r")
    before = megabytes("VmHWM")
    result = eagle.solve(A, B, C, method=method, memory_limit=int(limit), rng=0)
    peak = megabytes("VmHWM")
    error = float(np.linalg.norm(result.value - D) / np.linalg.norm(D))
    return {
        "seconds": result.seconds, "status": result.status.name, "rank": result.rank,
        "error": error, "estimate": result.error_estimate, "before": before, "peak": peak,
    }  # fmt: skip


def gradients(condition: str) -> dict[str, Any]:
    """Peak memory of a solve of torch's tensors and of its gradients, n = 600."""
    import torch

    def there_and_back(n: int, condition: float) -> Any:
        problem = eagle.problems.low_rank(n, n, 10, 100, condition=condition, rng=0)
        blocks = (problem.A, problem.B, problem.C)
        A, B, C = (torch.from_numpy(block).requires_grad_() for block in blocks)
        result = eagle.solve(A, B, C, method="eagle", rng=0)
        result.value.sum().backward()
        return result

    there_and_back(50, 10.0)  # what is loaded and compiled
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = megabytes("VmRSS")
    result = there_and_back(600, float(condition))
    peak = round(megabytes("VmHWM") - before, 1)
    return {"iterations": result.iterations, "status": result.status.name, "peak_MB": peak}


def kernel_machine(
    who: str, dtype: str, kind: str, rows: str, landmarks: str, seed: str
) -> dict[str, Any]:
    """Seconds and peak memory of a fit, and the error of its predictions without noise."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    from eagle.estimators import NystroemRidge

    n = min(int(rows), 5_000) if who == "exact" else int(rows)
    gamma, ridge = {"smooth": (0.005, 1e-3), "rough": (0.05, 1e-1)}[kind]
    rng = np.random.default_rng(int(seed))
    X = rng.standard_normal((n + 2_000, 20), np.float32).astype(dtype)
    truth = np.sin(X[:, :3].sum(axis=1, dtype=float) / 2) + X[:, 3] * X[:, 4] / 4
    y = truth + 0.1 * rng.standard_normal(len(X))
    settings = {"gamma": gamma, "n_components": int(landmarks), "random_state": int(seed)}
    model = {
        "ours": lambda: NystroemRidge(ridge=ridge, **settings),
        "features": lambda: make_pipeline(Nystroem(**settings), Ridge(ridge)),
        "exact": lambda: KernelRidge(alpha=ridge, kernel="rbf", gamma=gamma),
    }[who]
    small = model().set_params(
        **{f"{'nystroem__' if who == 'features' else ''}n_components": 10} if who != "exact" else {}
    )
    small.fit(X[:200], y[:200])  # what is imported
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = megabytes("VmRSS"), time.perf_counter()
    fitted = model().fit(X[:n], y[:n])
    seconds, peak = time.perf_counter() - start, megabytes("VmHWM") - before
    error = float(np.sqrt(((fitted.predict(X[n:]) - truth[n:]) ** 2).mean()) / truth[n:].std())
    return {
        "rows": n, "seconds": seconds, "peak": round(peak, 1), "error": error,
        "estimate": getattr(fitted, "error_estimate_", None),
    }  # fmt: skip


def rank(d: str, seed: str, folder: str) -> dict[str, Any] | None:
    """One of four ranks of MPI: seconds of a sum against raw Allreduce, and every method."""
    import eagle.distributed as many

    comm = many.MPIComm()
    assert comm.size == 4
    shards = many.shards_with_diversity(0.03, 4, d=int(d), condition=1e3, rng=int(seed))
    A, B = shards.A[comm.rank], shards.B[comm.rank]
    raw = np.ones(3 * int(d))

    def seconds(call: Any) -> float:
        start = time.perf_counter()
        for _ in range(50):
            call()
        return (time.perf_counter() - start) / 50

    kinds = {
        "allreduce": lambda: comm._comm.Allreduce(comm._mpi.IN_PLACE, raw),
        "sum": lambda: comm.sum(raw),
    }
    least = {name: min(seconds(call) for _ in range(5)) for name, call in kinds.items()}
    rows = {}
    for name in ("krylov", "eagle-frozen", "cg", "apc", "tsqr", "gram", "compressed"):
        settings = {"comm": comm, "method": name, "rng": int(seed), "rtol": 1e-8}
        many.solve(A, B, shards.C, **settings)
        start = time.perf_counter()
        result = many.solve(A, B, shards.C, **settings)
        took = time.perf_counter() - start
        values = comm.gather(np.ascontiguousarray(result.value))
        equal = all((value == values[0]).all() for value in values)
        rows[name] = [result.rounds, took, bool(equal), result.communication]
        if comm.rank == 0:
            np.save(f"{folder}/{name}.npy", result.value)
    return least | {"rows": rows} if comm.rank == 0 else None


if __name__ == "__main__":
    answer = {
        "mapped": mapped,
        "gradients": gradients,
        "kernel_machine": kernel_machine,
        "rank": rank,
    }[sys.argv[1]](*sys.argv[2:])
    if answer is not None:
        print(json.dumps(answer))
