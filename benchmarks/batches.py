"""Batches of small problems with known ranks, conditions and answers, and who solves them how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import eagle
from eagle.algebra.qr import least_squares
from eagle.problem.certificate import COUNT

SLACK = 100.0  # an error above this many eps * condition is wrong, whoever made it
Said = Callable[[], np.ndarray] | None  # which values are said to be right
Solver = Callable[[], tuple[Any, Said]]  # the values, and what is said if somebody asks


@dataclass(frozen=True, eq=False)
class Batch:
    """Square consistent problems ``A X = C`` and the solutions of least norm."""

    A: np.ndarray  # (count, n, n)
    C: np.ndarray  # (count, n, columns)
    X: np.ndarray  # as C, but float64 whatever A and C are
    ranks: np.ndarray  # (count,)
    conditions: np.ndarray  # largest to smallest non-zero singular value, before rounding

    def errors(self, value: np.ndarray) -> np.ndarray:
        """Relative Frobenius error of each value; infinite where it is not finite."""
        distance = np.linalg.norm(value.astype(np.float64) - self.X, axis=(1, 2))
        errors = distance / np.linalg.norm(self.X, axis=(1, 2))
        return np.where(np.isfinite(errors), errors, np.inf)

    def wrong(self, errors: np.ndarray) -> np.ndarray:
        """Which errors rounding does not explain."""
        return errors > SLACK * np.finfo(self.A.dtype).eps * self.conditions


def random_batch(
    count: int,
    n: int,
    columns: int = 8,
    *,
    condition: float = 1e4,
    deficient: float = 0.5,
    dtype: Any = np.float64,
    rng: Any = None,
) -> Batch:
    """Problems with random singular vectors, in random order.

    Condition numbers are log-uniform up to `condition`, singular values in equal ratios. A part
    `deficient` of them has a rank between a quarter and three quarters of n, the others full rank.
    For these X is the solution for A and C as they are stored; for the others rounding to `dtype`
    moves the answer by about ``eps`` times the condition.
    """
    rng = np.random.default_rng(rng)
    ranks = np.full(count, n)
    some = rng.permutation(count)[: round(deficient * count)]
    ranks[some] = rng.integers(n // 4, 3 * n // 4, size=len(some), endpoint=True)
    conditions = condition ** rng.random(count)
    U, V = (np.linalg.qr(rng.standard_normal((count, n, n)))[0] for _ in range(2))
    place = np.arange(n) / np.maximum(ranks - 1, 1)[:, None]
    s = np.where(np.arange(n) < ranks[:, None], conditions[:, None] ** -place, 0.0)
    H = rng.standard_normal((count, n, columns))
    X = V @ (H * (s > 0)[:, :, None])
    A = ((U * s[:, None, :]) @ V.mT).astype(dtype)
    C = (U @ (s[:, :, None] * H)).astype(dtype)
    full = ranks == n
    X[full] = _refined(A[full], C[full], X[full])
    return Batch(A, C, X, ranks, conditions)


def _refined(A: np.ndarray, C: np.ndarray, X: np.ndarray) -> np.ndarray:
    """``A^-1 C`` by iterative refinement with residuals in extended precision."""
    A, C = A.astype(np.float64), C.astype(np.float64)
    for _ in range(3):
        residual = C.astype(np.longdouble)
        for j in range(A.shape[2]):  # numpy has no fast product of long doubles
            residual -= A[:, :, j, None].astype(np.longdouble) * X[:, None, j, :]
        X = X + np.linalg.solve(A, residual.astype(np.float64))
    return X


def qr_flops(n: int, rank: np.ndarray | float, columns: int) -> Any:
    """Flops of a least-squares solution by QR with column pivoting that stops at the rank.

    ``4 n^2 r - 4 n r^2 + 4/3 r^3`` for the factorisation (Golub and Van Loan, section 5.4.2),
    ``2 r^2 (n - r)`` to make the trapezoid a triangle, and for each column ``4 n r - 2 r^2`` for
    the reflectors, ``r^2`` for the triangle, ``4 r (n - r)`` for the way back.
    """
    r = np.asarray(rank, np.float64)
    factor = 4 * n**2 * r - 4 * n * r**2 + 4 / 3 * r**3 + 2 * r**2 * (n - r)
    return factor + columns * (4 * n * r - 2 * r**2 + r**2 + 4 * r * (n - r))


def flops(batch: Batch) -> float:
    """Those of all problems."""
    return float(qr_flops(batch.A.shape[-1], batch.ranks, batch.C.shape[-1]).sum())


def _eagle(A: Any, C: Any, seed: int) -> tuple[Any, Said]:
    result = eagle.lstsq(A, C, rng=seed)
    return result.value, lambda: np.array([each.converged for each in result.results])


def _looked_at(solved: tuple[Any, Said]) -> tuple[Any, Said]:
    """The same with a result object for every problem."""
    value, said = solved
    found = said() if said else None
    return value, lambda: found


def numpy_solvers(A: np.ndarray, C: np.ndarray, seed: int) -> dict[str, Solver]:
    """Arrays in, arrays out; a cutoff of n * eps unless it says default.

    numpy's own defaults are those of float64 for float32 too.
    """
    w, z = np.random.default_rng(seed).standard_normal((2, A.shape[-1], COUNT)).astype(A.dtype)
    cutoff = A.shape[-1] * float(np.finfo(A.dtype).eps)
    return {
        "eagle auto": lambda: _eagle(A, C, seed),
        "eagle auto, every result": lambda: _looked_at(_eagle(A, C, seed)),
        "eagle, the kernel alone": lambda: (least_squares(A, None, C, w, z, cutoff)[0], None),
        "numpy pinv": lambda: (np.linalg.pinv(A, rcond=cutoff) @ C, None),
        "numpy pinv, default cutoff": lambda: (np.linalg.pinv(A) @ C, None),
        "numpy lstsq, a loop": lambda: (
            np.stack([np.linalg.lstsq(*each, cutoff)[0] for each in zip(A, C, strict=True)]),
            None,
        ),
    }


def torch_solvers(A: np.ndarray, C: np.ndarray, seed: int, device: str) -> dict[str, Solver]:
    """Tensors in, tensors out, on a device; the first is `eagle` on the same tensors.

    Raises
    ------
    ValueError
        If the device is none of this machine's.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not there: torch.cuda.is_available() is false")
    left, right = (torch.from_numpy(block).to(device) for block in (A, C))

    def done(values: Any) -> Any:
        if left.is_cuda:
            torch.cuda.synchronize(left.device)
        return values

    def lstsq(driver: str) -> Solver:
        return lambda: (done(torch.linalg.lstsq(left, right, driver=driver).solution), None)

    # cuSOLVER and MAGMA have nothing for rank-deficient problems.
    drivers = ["gels"] if left.is_cuda else ["gelsy", "gelsd", "gels"]
    return {
        f"eagle auto, torch {device}": lambda: done(_eagle(left, right, seed)),
        f"torch pinv {device}": lambda: (done(torch.linalg.pinv(left) @ right), None),
        **{f"torch lstsq {driver} {device}": lstsq(driver) for driver in drivers},
    }
