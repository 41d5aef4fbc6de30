"""Problem number i of a seed: matrix, blocks, dtype, layout, function, method, options."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

import eagle
import eagle.distributed
from benchmarks.fuzz.families import FAMILIES
from benchmarks.fuzz.truth import norm

LARGEST = 60  # side of A
MANY = 200  # problems in a stack that goes through the compiled kernel in one piece
PATIENCE = 400  # iterations of the methods whose number grows with the condition
DTYPES = (np.float64, np.float64, np.float64, np.complex128, np.float32, np.complex64)
Array = np.ndarray


@dataclass
class Case:
    """One problem, and how it is put to the library. B or C None: an identity."""

    index: int
    family: str
    A: Array
    B: Array | None
    C: Array | None
    blocks: str  # kinds of B and C
    function: str
    method: str
    instance: Any
    options: dict[str, Any]
    given: Any = None  # A as it is passed: an array, a sparse matrix, an operator
    seed: int = 0
    copies: int = 0  # the problem is one of so many in a stack

    @property
    def spectral(self) -> dict[str, Any]:
        """The options that decide which problem is solved."""
        names = ("ridge", "rank", "cutoff")
        return {name: self.options[name] for name in names if name in self.options}

    def estimate(self) -> float:
        """Of the error of `pinv`, asked for as its docstring says."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            identity = np.eye(self.A.shape[1], dtype=self.A.dtype)
            options = {"method": self.instance, "rng": self.seed, **self.options}
            return float(eagle.estimate(self.given, identity, **options).error_estimate)

    def solve(self) -> Any:
        """What the library says: a Result, or an array from `pinv`."""
        A, B, C = self.given, self.B, self.C
        if self.copies:
            A = np.stack([A] * self.copies)
        options = {"method": self.instance, "rng": self.seed, **self.options}
        if self.function == "simulate":
            workers = 1 + self.seed % 4
            parts = [np.array_split(X, workers, axis=1) for X in (A, B)]
            return eagle.distributed.simulate(*parts, C, **options)
        if self.function == "regressor":
            from eagle.estimators import EagleRegressor

            options["random_state"] = options.pop("rng")
            return EagleRegressor(fit_intercept=False, **options).fit(A, C).result_
        if self.function == "lstsq":
            return eagle.lstsq(A, C, **options)
        if self.function == "estimate":
            return eagle.estimate(A, B, **options)
        if self.function == "pinv":
            return eagle.pinv(A, **options)
        if self.function == "nystrom":
            return eagle.nystrom(A, B, C, **options)
        return eagle.solve(A, B, C, **options)


def _methods(rng: np.random.Generator, d: int, n: int) -> dict[str, Callable[[], Any]]:
    """Every method, with settings drawn at random."""

    def any_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    size = int(rng.integers(1, min(d, n) + 2))
    return {
        "auto": lambda: "auto",
        "eagle minimax": eagle.Eagle,
        "eagle cholesky": lambda: eagle.Eagle("cholesky"),
        "eagle other": lambda: any_of(
            *(eagle.Eagle(each) for each in ("paper", "trained", (0.45, 1.1), (0.9, 1.0))),
            eagle.Eagle(precision="mixed"),
        ),
        "direct": lambda: eagle.Direct(any_of("gelsd", "gelsy", "svd", "lu", "qr")),
        "compressed": lambda: eagle.Compressed(
            any_of(None, size),
            sketch=any_of("auto", "gaussian", "sparse-sign", "rademacher"),
            grow=bool(rng.random() < 0.9),
        ),
        "sketched": lambda: eagle.Sketched(
            any_of(None, size), sampling=any_of("reshuffled", "columns", "orthonormal")
        ),
        "sketched pair": lambda: eagle.Sketched(
            any_of(None, size),
            sampling=any_of("reshuffled", "columns", "orthonormal"),
            lift=any_of("full", "paper"),
            step_sizes=(0.95, 1.0),
        ),
        "newton-schulz": eagle.NewtonSchulz,
        "cg": eagle.ConjugateGradient,
        "gd": eagle.GradientDescent,
        "lsmr": eagle.LSMR,
        "sgd": lambda: eagle.StochasticGradientDescent(any_of(None, size)),
    }


SHARES = {"auto": 0.25, "eagle minimax": 0.12, "eagle cholesky": 0.12, "direct": 0.1}
SLOW = ("sketched pair", "cg", "gd", "lsmr", "sgd")


def _side(rng: np.random.Generator) -> int:
    return int(np.exp(rng.uniform(0, np.log(LARGEST + 1))))


def _rows(rng: np.random.Generator, A: Array, kind: str, m: int) -> Array:
    """A block with as many columns as A."""
    d, n = A.shape
    draw = rng.standard_normal((m, n))
    with np.errstate(all="ignore"):
        top = np.abs(A).max(initial=0.0) or 1.0
        unit = (A.astype(np.result_type(A, np.longdouble)) / top).astype(A.dtype)
        W = rng.standard_normal((m, d))
        if kind == "consistent":
            B = (W @ unit) * top
        elif kind == "nearly":
            B = (W @ unit + 10 ** rng.uniform(-16, -2) * draw) * top
        elif kind == "orthogonal":
            B = draw - (draw @ np.linalg.pinv(unit)) @ unit
        elif kind == "weak":  # what the smallest singular directions see
            _, s, Vh = np.linalg.svd(unit, full_matrices=False)
            B = rng.standard_normal((m, 1)) * Vh[rng.integers(len(s))]
        elif kind == "zero":
            B = np.zeros((m, n))
        elif kind == "scaled":
            B = draw * 10 ** rng.uniform(-200, 200)
        elif kind == "own":
            B = A.copy()
        else:
            B = draw
    return B if np.isfinite(B).all() else draw


BLOCKS = ("consistent",) * 4 + ("random",) * 3 + ("nearly", "orthogonal", "weak")
BLOCKS += ("zero", "scaled", "own")


FUNCTIONS = ("solve",) * 14 + ("lstsq", "lstsq", "estimate", "pinv", "nystrom")


def _matrix(
    rng: np.random.Generator, family: str, d: int, n: int, dtype: np.dtype, function: str
) -> Array:
    """A of a family, within the range of its dtype."""
    with np.errstate(all="ignore"):
        A = FAMILIES[family](rng, d, n)
        if dtype.kind == "c":
            A = A + 1j * FAMILIES[family](rng, d, n) if rng.random() < 0.5 else A.astype(complex)
        if function == "nystrom":
            A = A @ A.conj().T if np.isfinite(A @ A.conj().T).all() else np.eye(d)
        if _is_single(dtype) and (top := np.abs(A).max(initial=0.0)) > 0:
            # Kept within the range of the dtype, at some place.
            exponent = np.clip(np.log10(top), -30, 30)
            A = A / top * 10**exponent
        return np.nan_to_num(A, nan=1.0, posinf=1.0, neginf=1.0).astype(dtype)


def _is_single(dtype: np.dtype) -> bool:
    return dtype.char in "fF"


def _options(rng: np.random.Generator, method: str, instance: Any, A: Array) -> dict[str, Any]:
    """What is asked for beyond the method, often nothing."""
    options: dict[str, Any] = {"maxiter": PATIENCE} if method in SLOW else {}
    single, roll = _is_single(A.dtype), rng.random()
    able = method in ("auto", "compressed") or (
        method == "direct" and instance.driver in ("gelsd", "svd")
    )
    if roll < 0.08:
        mu = norm(A.astype(np.clongdouble)) * 10 ** np.longdouble(rng.uniform(-9, 1))
        options["ridge"] = float(min(mu**2, 1e300))
    elif roll < 0.13 and able:
        options["rank"] = int(rng.integers(1, min(A.shape) + 1))
    elif roll < 0.18 and able:
        options["cutoff"] = float(10 ** rng.uniform(-5 if single else -12, -0.5))
    elif roll < 0.26:
        options["rtol"] = float(10 ** rng.uniform(-5 if single else -12, -2))
    return options


def draw(index: int, seed: int = 0) -> Case:
    """Problem number `index`."""
    rng = np.random.default_rng([seed, index])
    family = str(rng.choice(list(FAMILIES)))
    d, n = _side(rng), _side(rng)
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    function = str(rng.choice(FUNCTIONS))
    if rng.random() < 0.3 or function == "nystrom":
        n = d
    A = _matrix(rng, family, d, n, dtype, function)
    d, n = A.shape
    kinds = [str(rng.choice(BLOCKS)) for _ in range(2)]
    wide = A.astype(np.complex128 if dtype.kind == "c" else np.float64)
    rows = _rows(rng, wide, kinds[0], int(rng.integers(1, 6)))
    columns = _rows(rng, wide.conj().T, kinds[1], int(rng.integers(1, 6))).conj().T
    B, C = (np.nan_to_num(_clipped(X, dtype)).astype(dtype) for X in (rows, columns))
    if function == "nystrom":
        C = B.conj().T
    share = np.array([SHARES.get(name, 0.41 / 9) for name in _methods(rng, d, n)])
    pool = _methods(rng, d, n)
    method = str(rng.choice(list(pool), p=share / share.sum()))
    instance = pool[method]()
    options = _options(rng, method, instance, A)
    case = Case(
        index,
        family,
        A,
        None if function in ("lstsq", "pinv") else B,
        None if function in ("estimate", "pinv") else C,
        "/".join(kinds),
        function,
        method,
        instance,
        options,
        seed=int(rng.integers(2**31)),
    )
    case.given = _laid_out(rng, A, instance)
    if method in ("auto", "direct") and isinstance(case.given, np.ndarray) and rng.random() < 0.25:
        case.copies = int(rng.integers(1, 4)) if index % 4 else MANY
    return case


def _clipped(X: Array, dtype: np.dtype) -> Array:
    """Within the range of the dtype."""
    most = float(np.finfo(dtype).max) / 4
    top = float(np.abs(X).max(initial=0.0))
    return X * (most / top) if top > most else X


def _laid_out(rng: np.random.Generator, A: Array, method: Any) -> Any:
    """The same matrix in another order of memory, or as something that only multiplies."""
    roll = rng.random()
    if getattr(method, "matrix_free", False) and roll < 0.2:
        return scipy.sparse.csr_array(A) if roll < 0.1 else aslinearoperator(A)
    if roll < 0.5:
        return np.asfortranarray(A)
    if roll < 0.6:
        return np.repeat(A, 2, axis=0)[::2]
    return A[::-1].copy()[::-1] if roll < 0.7 else A
