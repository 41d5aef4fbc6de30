"""Problems of floating-point numbers whose ``B A^+ C`` is an exact rational.

``A = L R`` with factors of small integers times powers of two, on rows, on columns and between
the factors. In rational arithmetic, with factors of full rank and for every ridge,
``B A^H (A A^H + ridge I)^-1 C = B R^H (L^H L R R^H + ridge I)^-1 L^H C``: one solve of the size
of the rank. Complex matrices are real ones of twice the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from flint import fmpq, fmpq_mat, fmpz_mat
from scipy.sparse.linalg import aslinearoperator

import eagle
import eagle.distributed
from benchmarks.fuzz.cases import MANY, PATIENCE, SLOW, Case
from benchmarks.fuzz.promise import Trial, forward

Array = np.ndarray
METHODS: dict[str, Callable[[], Any]] = {
    "auto": lambda: "auto",
    "minimax": lambda: eagle.Eagle("minimax"),
    "cholesky": lambda: eagle.Eagle("cholesky"),
    **{name: lambda name=name: eagle.Direct(name) for name in ("gelsd", "gelsy", "svd", "qr")},
    "lu": lambda: eagle.Direct("lu"),
    "compressed": eagle.Compressed,
    "sketched": eagle.Sketched,
    "newton-schulz": eagle.NewtonSchulz,
    "cg": eagle.ConjugateGradient,
    "gd": eagle.GradientDescent,
    "lsmr": eagle.LSMR,
    "sgd": eagle.StochasticGradientDescent,
    "regressor": lambda: "auto",
    **{
        f"distributed {name}": lambda name=name: name
        for name in ("auto", *eagle.distributed.METHODS)
    },
}
COMPILED = ("auto", "minimax", "cholesky", "gelsd", "gelsy", "svd")  # do many at once
FUNCTIONS = ("solve",) * 10 + ("lstsq",) * 3 + ("estimate", "nystrom", "pinv")


def rationals(X: Array) -> fmpq_mat:
    """Exactly the same numbers; of a complex matrix ``[[Re, -Im], [Im, Re]]``."""
    if X.dtype.kind == "c":
        X = np.block([[X.real, -X.imag], [X.imag, X.real]])
    mantissa, exponent = np.frexp(X.astype(np.float64))
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = whole & -whole  # so that integers stay small
    exponent = exponent - 53 + np.where(whole, np.frexp(lowest.astype(float))[1] - 1, 0)
    whole //= np.maximum(lowest, 1)
    least = int(exponent[whole != 0].min(initial=1000))
    shifts = np.where(whole, exponent - least, 0)
    if (np.log2(np.maximum(np.abs(whole), 1)) + shifts).max(initial=0) < 62:
        entries = (whole << shifts).tolist()
    else:
        pairs = zip(whole.tolist(), shifts.tolist(), strict=True)
        entries = [[x << s for x, s in zip(*rows, strict=True)] for rows in pairs]
    integers = fmpz_mat(entries) if X.size else fmpz_mat(*X.shape)
    return fmpq_mat(integers) * fmpq(2) ** least


def answer(B: fmpq_mat, L: fmpq_mat, R: fmpq_mat, C: fmpq_mat, ridge: float = 0.0) -> fmpq_mat:
    """``B (L R)^+ C`` for L of full column rank and R of full row rank, or with a ridge."""
    Lt, Rt, r = L.transpose(), R.transpose(), R.nrows()
    M = (Lt * L) * (R * Rt)
    if ridge:
        M += rationals(ridge * np.eye(r))
    return (B * Rt) * M.solve(Lt * C)


def unfactored(B: fmpq_mat, A: fmpq_mat, C: fmpq_mat) -> fmpq_mat:
    """``B A^+ C`` for any A: its reduced echelon form R, and L the columns of its pivots."""
    At = A.transpose()
    gram, right = At * A, At * C
    echelon, rank = gram.rref()
    rows = echelon.tolist()[:rank]
    if not rank:
        return fmpq_mat(B.nrows(), C.ncols())
    pivots = [next(j for j, x in enumerate(row) if x) for row in rows]
    inner = fmpq_mat([[gram[i, j] for j in pivots] for i in pivots])  # L^H L
    R = fmpq_mat(rows)
    LtC = fmpq_mat([[right[i, j] for j in range(right.ncols())] for i in pivots])
    return (B * R.transpose()) * (inner * (R * R.transpose())).solve(LtC)


def given(A: Array, B: Array | None, C: Array | None, ridge: float = 0.0) -> Array | None:
    """``B A^+ C`` of any blocks, or with a ridge; None if it is beyond the range of their numbers.

    None stands for an identity.
    """
    (d, n), dtype = A.shape, np.result_type(*(X for X in (A, B, C) if X is not None), np.float64)
    B, C = np.eye(n) if B is None else B, np.eye(d) if C is None else C
    b, a, c = (rationals(X.astype(dtype)) for X in (B, A, C))
    if ridge:
        At = a.transpose()
        shift = fmpq_mat(a.ncols(), a.ncols())
        for i in range(a.ncols()):
            shift[i, i] = fmpq(*float(ridge).as_integer_ratio())
        D = b * (At * a + shift).solve(At * c)
    else:
        D = unfactored(b, a, c)
    try:
        return rounded(D, dtype)
    except OverflowError:
        return None


def rounded(X: fmpq_mat, dtype: Any = np.float64) -> Array:
    """The nearest floating-point numbers, after one rounding."""
    numerators, denominator = X.numer_denom()
    q = int(denominator)
    entries = [[int(p) / q for p in row] for row in numerators.tolist()]
    values = np.array(entries, np.float64).reshape(X.nrows(), X.ncols())
    if np.dtype(dtype).kind != "c":
        return values
    m, n = X.nrows() // 2, X.ncols() // 2
    return values[:m, :n] + 1j * values[m:, :n]


@dataclass
class Exact:
    """One problem with its answer D. B or C None: an identity."""

    index: int
    kind: dict[str, str]  # what tables tell apart
    A: Array
    B: Array | None
    C: Array | None
    D: Array
    function: str
    form: str  # how A is given
    ridge: float
    seed: int

    def case(self, method: str) -> Case | None:
        """How it is put to one method; None if that does not apply."""
        instance, function, given, copies = METHODS[method](), self.function, self.A, 0
        if method.startswith("distributed"):
            chosen = eagle.distributed.METHODS.get(instance)  # None: auto
            able = chosen is None or "ridge" in chosen.supports
            if function != "solve" or (self.ridge and not able):
                return None
            function = "simulate"
        elif method == "regressor":
            if function != "lstsq" or self.A.dtype.kind == "c":
                return None
            function = method
        elif method in ("qr", "lu"):  # for full rank only, LU for square A
            square = self.A.shape[0] == self.A.shape[1] and not self.ridge
            if self.kind["rank"] != "full" or (method == "lu" and not square):
                return None
        elif self.form in ("sparse", "operator"):
            if getattr(instance, "matrix_free", method == "auto"):
                wrap = scipy.sparse.csr_array if self.form == "sparse" else aslinearoperator
                given = wrap(self.A)
        elif self.form.startswith("batch") and method not in SLOW:
            copies = int(self.form.split()[1])
            if copies == MANY and method not in COMPILED:
                copies = 2
        options: dict[str, Any] = {"ridge": self.ridge} if self.ridge else {}
        if method in SLOW or function == "simulate":
            options["maxiter"] = PATIENCE
        return Case(
            self.index, "exact", self.A, self.B, self.C, self.kind["consistent"], function,
            method, instance, options, given, self.seed, copies,
        )  # fmt: skip


def _integers(rng: np.random.Generator, shape: tuple[int, int], *, gaussian: bool) -> Array:
    X = rng.integers(-3, 4, shape).astype(np.float64)
    return X + 1j * rng.integers(-3, 4, shape) if gaussian else X


def _factor(rng: np.random.Generator, d: int, r: int, *, gaussian: bool) -> Array:
    """Integers (d, r), at times with zero and duplicated rows; perhaps not of full rank."""
    X = _integers(rng, (d, r), gaussian=gaussian)
    if rng.random() < 0.2:
        X = X[rng.integers(0, d, d)]
    if rng.random() < 0.2:
        X[rng.random(d) < 0.3] = 0
    return X


def _powers(rng: np.random.Generator, size: int, most: int) -> Array:
    """Powers of two, half the time all one."""
    if rng.random() < 0.5:
        return np.ones(size)
    spread = int(rng.integers(1, most + 1))
    return 2.0 ** rng.integers(-spread, spread + 1, size)


def _block(
    rng: np.random.Generator,
    rows: Array,
    columns: Array,
    between: Array,
    m: int,
    *,
    consistent: bool,
    single: bool,
) -> Array:
    """A block (m, n) whose rows are combinations of `rows` (r, n), or not, or not quite."""
    (r, n), gaussian = rows.shape, rows.dtype.kind == "c"
    weights = _integers(rng, (m, r), gaussian=gaussian)
    if consistent:  # generic, or with the spectrum of A
        return (weights * (between if rng.random() < 0.5 else 1.0)) @ rows
    mix, other = weights @ rows, _integers(rng, (m, n), gaussian=gaussian)
    if rng.random() < 0.5:
        return other * columns if rng.random() < 0.5 else other
    wide = np.log2(np.ptp(np.log2(columns)) + 1)  # leaves bits for the powers of two
    small = 2.0 ** -int(rng.integers(0, max(1, int((10 if single else 36) - wide))))
    return mix + small * other * columns


def _product(
    rng: np.random.Generator, d: int, n: int, function: str, *, gaussian: bool, most: int
) -> tuple[np.ndarray, ...]:
    """L, what stands between, R, and the powers of two of rows and columns: ``A = L between R``."""
    rank = int(rng.integers(1, min(d, n) + 1)) if rng.random() < 0.7 else min(d, n)
    while True:
        L = _factor(rng, d, rank, gaussian=gaussian)
        R = L.conj().T if function == "nystrom" else _factor(rng, n, rank, gaussian=gaussian).T
        full = (2 if gaussian else 1) * rank
        if rationals(L).rank() == full == rationals(R).rank():
            break
        rank = max(1, rank - 1)
    rows, columns = _powers(rng, d, most), _powers(rng, n, most)
    between = _powers(rng, rank, most)
    if function == "nystrom":
        columns, between = rows, between**2
    if np.ptp(np.log2(between)) > 2 * most:
        between = np.ones(rank)
    return rows[:, None] * L, between, R * columns, rows, columns


def draw(index: int, seed: int = 0) -> Exact:
    """Problem number `index`."""
    rng = np.random.default_rng([seed, index])
    single, gaussian = rng.random() < 0.2, rng.random() < 0.2
    dtype = np.dtype((np.complex64 if single else np.complex128) if gaussian else
                     (np.float32 if single else np.float64))  # fmt: skip
    function = str(rng.choice(FUNCTIONS))
    largest = 40 if rng.random() < 0.15 else 16
    d, n = (int(np.exp(rng.uniform(0, np.log(largest + 1)))) for _ in range(2))
    if function == "nystrom" or rng.random() < 0.2:
        n = d
    most = 5 if single else 20
    L, between, R, rows, columns = _product(rng, d, n, function, gaussian=gaussian, most=most)
    A, rank = (L * between) @ R, len(between)
    m, k = (int(rng.integers(1, 6)) for _ in range(2))
    sides = rng.random(2) < 0.5
    B = C = None
    if function not in ("lstsq", "pinv"):
        B = _block(rng, R, columns, between, m, consistent=sides[0], single=single)
    if function == "nystrom":
        C = B.conj().T
    elif function not in ("estimate", "pinv"):
        C = _block(rng, L.conj().T, rows, between, k, consistent=sides[1], single=single)
        C = C.conj().T
    L = L * between  # A = L R
    ridge = 0.0
    if rng.random() < 0.12:
        size = np.round(2 * np.log2(np.linalg.norm(A)) - rng.uniform(-2, 16 if single else 44))
        ridge = float(rng.choice([1.0, 3.0, 5.0]) * 2.0**size)
    scales = 2.0 ** rng.integers(-8, 9, 2) if rng.random() < 0.3 else np.ones(2)
    exact = [rationals(np.eye(n, dtype=A.dtype) if B is None else B)]
    exact += [rationals(X) for X in (L, R)]
    exact += [rationals(np.eye(d, dtype=A.dtype) if C is None else C)]
    D = rounded(answer(*exact, ridge), A.dtype)
    if B is not None and C is not None and function != "nystrom":
        B, C, D = B * scales[0], C * scales[1], D * scales[0] * scales[1]
    blocks = [None if X is None else X.astype(dtype) for X in (A, B, C)]
    for given, kept in zip((A, B, C), blocks, strict=True):
        assert given is None or (kept == given).all(), f"problem {index} of seed {seed}"
    assert exact[1] * exact[2] == rationals(A)
    agrees = [_consistent(exact[0], exact[2]), _consistent(exact[3].transpose(),
                                                           exact[1].transpose())]  # fmt: skip
    form = str(rng.choice(("dense", "dense", "dense", "sparse", "operator", "batch 3", "batch")))
    if form == "batch":
        form = f"batch {MANY}" if max(d, n) <= 8 and index % 4 == 0 else "batch 2"
    graded = {"rows": rows, "columns": columns, "inner": between}
    kind = {
        "dtype": dtype.name,
        "function": function,
        "form": form,
        "ridge": "ridge" if ridge else "none",
        "rank": "full" if rank == min(d, n) else "deficient",
        "consistent": {(1, 1): "both", (1, 0): "B", (0, 1): "C", (0, 0): "none"}[tuple(agrees)],
        "graded": "+".join(name for name, x in graded.items() if np.ptp(x)) or "no",
    }
    seed = int(rng.integers(2**31))
    return Exact(index, kind, *blocks, D, function, form, ridge, seed)


def _consistent(B: fmpq_mat, R: fmpq_mat) -> bool:
    """Whether B adds nothing to the row space of R."""
    stacked = fmpq_mat(R.nrows() + B.nrows(), R.ncols(), R.entries() + B.entries())
    return stacked.rank() == R.nrows()


def trials(index: int, seed: int, methods: Sequence[str], folder: Path | None) -> list[Trial]:
    """Problem number `index`, given to every method that it applies to."""
    problem = draw(index, seed)
    cases = [case for name in methods if (case := problem.case(name)) is not None]
    found = [forward(case, problem.D, problem.kind) for case in cases]
    if folder and any(trial.failed for trial in found):
        blocks = {"A": problem.A, "B": problem.B, "C": problem.C, "D": problem.D}
        blocks = {name: X for name, X in blocks.items() if X is not None}
        path = folder / f"exact-{seed}-{index}.npz"
        np.savez_compressed(path, **blocks, ridge=problem.ridge, rng=problem.seed)
    return found
