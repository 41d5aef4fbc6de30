"""Pins of the rebuild: what every method makes of ~500 seeded problems, and how fast.

``python -m benchmarks.pins record FILE`` solves them all and writes FILE and an .npz beside it.
``python -m benchmarks.pins compare OLD NEW`` says what differs between two records.
``python -m benchmarks.pins time OLD_ROOT NEW_ROOT`` races the packages of two checkouts.

All goes through the public functions of `eagle`, so that the same file runs on any version.
Records are comparable if made on one machine, with one build of numpy and the same
OPENBLAS_NUM_THREADS. Only ``auto`` looks at a clock (the rates of products and factorisations, in
powers of two): for a dense A with both sides from 250 on. Such cases are marked ``clock``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import eagle

METHODS: dict[str, Any] = {
    "auto": "auto",
    "eagle": eagle.Eagle(),
    "eagle paper": eagle.Eagle("paper"),
    "eagle trained": eagle.Eagle("trained"),
    "eagle cholesky": eagle.Eagle("cholesky"),
    "eagle (0.9, 1)": eagle.Eagle((0.9, 1.0)),
    "eagle mixed": eagle.Eagle(precision="mixed"),
    **{f"direct {name}": eagle.Direct(name) for name in ("gelsd", "gelsy", "lu", "qr", "svd")},
    "direct numba": eagle.Direct("gelsy", kernel="numba"),
    **{name: eagle.METHODS[name]() for name in ("cg", "gd", "lsmr", "newton-schulz")},
    **{name: eagle.METHODS[name]() for name in ("compressed", "sketched", "sgd")},
}
STACKED = tuple(name for name in METHODS if name.startswith(("auto", "eagle", "direct")))
PLAIN = tuple(name for name in STACKED if name in ("auto", "eagle") or name.startswith("direct"))
TURNS = tuple(name for name in STACKED if name not in PLAIN)  # one of these for each of many kinds
LIMITED = dict.fromkeys(("cg", "gd", "lsmr", "sgd", "sketched"), 300)  # steps, where not given
LOOK = 250  # shorter side from which on auto measures rates
KEPT = 200_000  # entries of a value up to which it is kept
NUMBERS = ("iterations", "error_estimate", "inconsistency", "rank", "condition", "flops")


# What is solved -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Problem:
    """A call of one public function, all but the method."""

    kind: str
    name: str
    blocks: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    function: str = "solve"
    methods: tuple[str, ...] = tuple(METHODS)
    stop: int = 0  # a callback looks on, and stops after so many iterations
    device: bool = False
    seed: int = 0

    def clock(self, method: str) -> bool:
        """Whether the choice of the method depends on measured rates."""
        return method == "auto" and min(np.shape(self.blocks[0])[-2:], default=0) >= LOOK


def made(
    d: int,
    n: int,
    *,
    seed: int,
    rank: int | None = None,
    condition: float = 100.0,
    spectrum: str = "log",
    dtype: Any = np.float64,
    outside: str = "",
    rows: int = 3,
    columns: int = 2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, B, C; B or C has a part that A does not explain if `outside` has its letter."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        draw = rng.standard_normal(shape)
        return draw + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else draw

    rank = rank or min(d, n)
    U, V = (np.linalg.qr(normal(side, rank))[0] for side in (d, n))
    A = (U * eagle.problems.spectrum(rank, condition, spectrum)) @ V.conj().T
    B = normal(rows, n) if "B" in outside else normal(rows, d) @ A
    C = normal(d, columns) if "C" in outside else A @ normal(n, columns)
    return A.astype(dtype), B.astype(dtype), C.astype(dtype)


SHAPES = {
    "square": [(13, 13), (24, 24), (40, 40)],
    "tall": [(17, 11), (33, 8), (60, 23)],
    "wide": [(11, 17), (23, 60)],
    "tiny": [(2, 2), (1, 5), (4, 1)],
}
MIDDLE = [(17, 11), (11, 17), (13, 13)]
CONDITIONS = (1.0, 1e2, 1e4, 1e6, 1e9, 1e12)
OUTSIDE = ("", "B", "C", "BC")
SPECTRA = ("log", "linear", "cluster", "spike", "cliff", "inverse")


def problems() -> list[Problem]:
    """All of them, each with a seed of its own."""
    makers = (plain, dtypes, functions, options, extremes, large, operands, refused)
    found = list(itertools.chain.from_iterable(make() for make in (*makers, batches, devices)))
    names = Counter((problem.kind, problem.name) for problem in found)
    assert max(names.values()) == 1, names.most_common(1)
    return found


def plain() -> Iterator[Problem]:
    """Shape x rank x condition; the other traits in turn."""
    shapes = [(name, shape) for name, several in SHAPES.items() for shape in several]
    grid = itertools.product(shapes, (True, False), CONDITIONS)
    for seed, ((name, (d, n)), full, condition) in enumerate(grid):
        short = min(d, n)
        if not full and short < 3:
            continue
        outside, spectrum = OUTSIDE[(seed + seed // 6) % 4], SPECTRA[(seed + seed // 12) % 6]
        blocks = made(
            d,
            n,
            seed=seed,
            rank=None if full else max(1, short // 3),
            condition=condition,
            spectrum=spectrum,
            outside=outside,
        )
        kind = f"{'full' if full else 'deficient'} {'inconsistent' if outside else 'consistent'}"
        label = f"{name} {d}x{n} {condition:g} {spectrum} {outside}"
        yield Problem(kind, label, blocks, seed=seed)


def dtypes() -> Iterator[Problem]:
    """The other precisions and complex numbers."""
    grid = itertools.product(
        (np.float32, np.complex64, np.complex128), [*MIDDLE, (5, 3)], (True, False), (2.0, 1e3, 1e6)
    )
    for seed, (dtype, (d, n), full, condition) in enumerate(grid):
        outside, rank = OUTSIDE[(seed + seed // 3) % 4], None if full else min(d, n) // 2
        blocks = made(d, n, seed=seed, rank=rank, condition=condition, dtype=dtype, outside=outside)
        label = f"{d}x{n} rank {rank} {condition:g} {outside}"
        yield Problem(np.dtype(dtype).name, label, blocks, seed=seed)


def functions() -> Iterator[Problem]:
    """An identity in the place of B or C."""
    for seed, ((d, n), rank, condition) in enumerate(
        itertools.product([*MIDDLE, (30, 12)], (None, 5), (10.0, 1e7))
    ):
        A, B, C = made(d, n, seed=seed, rank=rank, condition=condition, outside=OUTSIDE[seed % 4])
        label = f"{d}x{n} rank {rank} {condition:g}"
        put = partial(Problem, name=label, seed=seed)
        yield put("lstsq", blocks=(A, C[:, 0] if seed % 2 else C), function="lstsq")
        yield put("estimate", blocks=(A, B), function="estimate")
        yield put("pinv", blocks=(A,), function="pinv")
    for seed, rank in enumerate((12, 5)):
        X = np.random.default_rng(seed).standard_normal((20, rank))
        K = X @ X.T
        for given in ((K[:12, :12], K[:, :12]), (K[:12, :12], K[:, :12], K[:12, 15:])):
            label = f"rank {rank}, {len(given)} blocks"
            yield Problem("nystrom", label, given, function="nystrom", seed=seed)


def options() -> Iterator[Problem]:
    """Ridge, rank, cutoff, memory; and what ends the iterations."""
    for seed, ((d, n), rank, ridge) in enumerate(
        itertools.product(MIDDLE, (None, 5), (1e-30, 1e-6, 0.3))
    ):
        A, B, C = made(d, n, seed=seed, rank=rank, condition=1e3, outside=OUTSIDE[seed % 4])
        put = partial(Problem, "ridge", options={"ridge": ridge}, seed=seed)
        label = f"{d}x{n} rank {rank} {ridge:g}"
        yield put(label, (A, B, C))
        if ridge == 0.3:
            yield put(f"lstsq {label}", (A, C), function="lstsq")
            yield put(f"estimate {label}", (A, B), function="estimate")
    for seed, (d, n) in enumerate([*MIDDLE, (60, 40)]):
        A, B, C = made(d, n, seed=seed, condition=1e8, outside="BC", spectrum="cluster")
        for knob in ({"rank": 4}, {"cutoff": 1e-4}, {"rank": 3, "ridge": 0.1}):
            yield Problem("truncated", f"{d}x{n} {knob}", (A, B, C), knob, seed=seed)
        knob = {"memory_limit": 4000 if d < 60 else 40_000}
        yield Problem("memory", f"{d}x{n}", made(d, n, seed=seed, rank=3), knob, seed=seed)
        for knob in ({"rtol": 1e-3}, {"rtol": 1e-11}, {"maxiter": 1}, {"maxiter": 4}):
            easy = made(d, n, seed=seed, condition=50.0, outside=OUTSIDE[seed])
            yield Problem("stopping", f"{d}x{n} {knob}", easy, knob, seed=seed)
        yield Problem("callback", f"{d}x{n}", easy, stop=3, seed=seed)


def extremes() -> Iterator[Problem]:
    """Sizes, layouts and types of entries."""
    A, B, C = made(12, 9, seed=1, outside="C")
    put = partial(Problem, "extreme")
    yield put("huge", (A * 1e300, B * 1e150, C))
    yield put("tiny", (A * 1e-300, B, C * 1e-20))
    yield put("subnormal", (A * 1e-310, B * 1e-300, C))
    single = [X.astype(np.float32) for X in (A, B, C)]
    over = (single[0] * np.float32(1e-25), single[1] * np.float32(1e25), single[2])
    yield put("value overflows", over)
    yield put("value overflows, callback", over, stop=3)
    yield put("A is zero", (A * 0, B, C))
    yield put("B is zero", (A, B * 0, C))
    yield put("C is zero", (A, B, C * 0))
    yield put("no rows of B", (A, B[:0], C))
    yield put("no entries of A", (A[:0], B, C[:0]))
    yield put("Fortran", tuple(map(np.asfortranarray, (A, B, C))))
    yield put("reversed", (A[::-1, ::-1], B[:, ::-1], C[::-1]))
    yield put("other byte order", (A.astype(">f8"), B, C))
    yield put("integers", (np.rint(A * 9).astype(int), np.rint(B * 9).astype(int), C > 0))
    yield put("half", tuple(X.astype(np.float16) for X in (A, B, C)))
    yield put("two dtypes", (single[0], B, single[2].astype(np.complex64)))
    yield put("one by one", (np.array([[2.0]]), np.array([[3.0]]), np.array([[5.0]])))
    yield put("orthogonal", (np.linalg.qr(A)[0], B, C))
    yield put("repeated column", (A[:, [0] * 9], B[:, [0] * 9], C))
    yield put("one small direction", made(14, 14, seed=2, condition=1e11, spectrum="cliff"))


def large() -> Iterator[Problem]:
    """Where BLAS and waiting contractions matter."""
    for seed, (d, n, rank, condition) in enumerate(
        [
            (240, 240, None, 1e4),
            (240, 120, 40, 1e2),
            (100, 240, None, 1e6),
            (450, 450, None, 1e3),
            (450, 450, 30, 1e3),
            (450, 300, None, 10.0),
        ]
    ):
        blocks = made(d, n, seed=seed, rank=rank, condition=condition, outside=("", "C")[seed % 2])
        yield Problem(
            "large", f"{d}x{n} rank {rank} {condition:g}", blocks, {"maxiter": 60}, seed=seed
        )


def operands() -> Iterator[Problem]:
    """A that only multiplies."""
    import scipy.sparse as sparse

    for seed, (d, n) in enumerate([(40, 30), (30, 40), (50, 50), (200, 90)]):
        rng = np.random.default_rng(seed)
        A = sparse.random(d, n, 0.1, format="csr", random_state=seed) + sparse.eye(
            d, n, format="csr"
        )
        B, C = rng.standard_normal((2, d)) @ A, rng.standard_normal((d, 2))
        given = {"sparse": A, "operator": sparse.linalg.aslinearoperator(A.tocsr())}
        for kind, operand in given.items():
            put = partial(Problem, kind, seed=seed)
            yield put(f"{d}x{n}", (operand, B, C))
            yield put(f"lstsq {d}x{n}", (operand, C[:, 0]), function="lstsq")
            yield put(f"ridge {d}x{n}", (operand, B, C), {"ridge": 0.1})
            yield put(f"rank {d}x{n}", (operand, B, C), {"rank": 5})


def refused() -> Iterator[Problem]:
    """Bad input, on the CPU and elsewhere."""
    A, B, C = made(6, 4, seed=0)
    bad: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "NaN": ((A * np.nan, B, C), {}),
        "infinite C": ((A, B, C + np.inf), {}),
        "columns": ((A, B[:, :3], C), {}),
        "rows": ((A, B, C[:5]), {}),
        "vector": ((A[0], B, C), {}),
        "object": ((A.astype(object), B, C), {}),
        "ridge": ((A, B, C), {"ridge": -1.0}),
        "rank": ((A, B, C), {"rank": 5}),
        "both": ((A, B, C), {"rank": 2, "cutoff": 0.1}),
        "rtol": ((A, B, C), {"rtol": "small"}),
        "callback": ((A, B, C), {"callback": 3}),
        "unknown option": ((A, B, C), {"tolerance": 1}),
    }
    for name, (blocks, knobs) in bad.items():
        yield Problem("refused", name, blocks, knobs)
        if name not in ("vector", "object"):
            stack = tuple(np.stack([block] * 12) for block in blocks)
            yield Problem("batch refused", name, stack, knobs, methods=STACKED)
            yield Problem("device refused", name, blocks, knobs, methods=STACKED, device=True)


def mixture(
    count: int, d: int, n: int, mix: str, seed: int, dtype: Any = np.float64
) -> tuple[Any, ...]:
    """Blocks of several problems, stacked."""
    each = []
    for place in range(count):
        turn = place + seed
        easy, deficient = mix == "easy", mix == "deficient" or (mix == "mixed" and turn % 2)
        each.append(
            made(
                d,
                n,
                seed=1000 * seed + place,
                rank=max(1, min(d, n) // 2) if deficient else None,
                condition=30.0 if easy else CONDITIONS[turn % (6 if dtype in WIDE else 4)],
                outside="" if easy else OUTSIDE[turn // 2 % 4],
                dtype=dtype,
            )
        )
    return tuple(np.stack(blocks) for blocks in zip(*each, strict=True))


WIDE = (np.float64, np.complex128)


def several(count: int) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Name, blocks and other fields of small batches; what a single problem meets, met by many."""
    A, B, C = mixture(count, 13, 9, "mixed", 50)
    easy = mixture(count, 9, 13, "easy", 51)
    for ridge in (1e-30, 1e-6, 0.3):
        yield f"ridge {ridge:g}", (A, B, C), {"options": {"ridge": ridge}}
    for knob in ({"rank": 3}, {"cutoff": 1e-4}):
        yield f"truncated {knob}", (A, B, C), {"options": knob}
    for dtype in (np.float32, np.complex64, np.complex128):
        name = np.dtype(dtype).name
        yield name, mixture(count, 11, 8, "mixed", 52, dtype), {}
        yield f"{name} wide", mixture(count, 7, 12, "mixed", 53, dtype), {}
    yield "lstsq", (A, C), {"function": "lstsq"}
    yield "lstsq, one vector", (A, C[0, :, 0]), {"function": "lstsq"}
    yield "estimate", (A, B), {"function": "estimate"}
    yield "pinv", (A,), {"function": "pinv"}
    yield "pinv, square", (mixture(count, 8, 8, "easy", 54)[0],), {"function": "pinv"}
    yield "one A", (A[0], B, C[0]), {}
    yield "one B", (A, B[0], C), {}
    for knob in ({"rtol": 1e-3}, {"rtol": 1e-11}, {"maxiter": 2}):
        yield f"stopping {knob}", easy, {"options": knob}
    yield "callback", easy, {"stop": 3}
    first = (np.arange(count) == 0)[:, None, None]
    yield "A, B or C is zero", (A * ~first, B * ~first[::-1], C * ~np.roll(first, 1, 0)), {}
    sizes = np.ldexp(1.0, np.linspace(-900, 900, count).astype(int))[:, None, None]
    yield "sizes", (A * sizes, B, C), {}
    over = tuple(
        np.where(first, X * s, X).astype(np.float32)
        for X, s in zip(easy, (1e-25, 1e25, 1), strict=True)
    )
    yield "value overflows", over, {}
    yield "value overflows, callback", over, {"stop": 3}
    yield "half", tuple(X.astype(np.float16) for X in easy), {}
    yield "none", tuple(X[:0] for X in easy), {}


def in_turn(turn: int) -> tuple[str, ...]:
    """The methods that are quick, and two of the others."""
    return (*PLAIN, TURNS[turn % len(TURNS)], TURNS[(turn + 2) % len(TURNS)])


def batches() -> Iterator[Problem]:
    """Leading dimensions, on the CPU."""
    grid = itertools.product((3, 12, 250), ((8, 8), *MIDDLE[:2]), ("easy", "mixed", "deficient"))
    for seed, (count, (d, n), mix) in enumerate(grid):
        if count < 250 or (d, mix) in ((8, "easy"), (17, "mixed"), (11, "easy")):
            blocks = mixture(count, d, n, mix, seed)
            methods = tuple(METHODS) if count == 3 and mix == "mixed" else STACKED
            name = f"{d}x{n} {mix}"
            yield Problem(f"batch {count}", name, blocks, methods=methods, seed=seed)
    for turn, (name, blocks, fields) in enumerate(several(12)):
        yield Problem("batch 12", name, blocks, methods=in_turn(turn), **fields)
    A, B, C = mixture(6, 10, 7, "mixed", 60)
    shaped = (A.reshape(2, 3, 10, 7), B[:3], C.reshape(2, 3, 10, 2)[:, :1])
    yield Problem("batch 2 x 3", "broadcast", shaped, methods=STACKED)
    wide = mixture(250, 18, 18, "easy", 61)  # more than is solved on one thread at a time
    yield Problem("batch 250", "18x18", wide, methods=("auto", "eagle", "eagle trained"))


def devices() -> Iterator[Problem]:
    """Arrays that numpy cannot look at."""
    shapes = [(17, 11), (11, 17), (13, 13), (3, 1), (1, 1)]
    for seed, ((d, n), full, outside) in enumerate(
        itertools.product(shapes, (True, False), ("", "BC"))
    ):
        rank, condition = None if full else max(1, min(d, n) // 2), CONDITIONS[seed % 6]
        blocks = made(d, n, seed=seed, rank=rank, condition=condition, outside=outside)
        label = f"{d}x{n} rank {rank} {condition:g} {outside}"
        yield Problem("device", label, blocks, device=True, seed=seed)
    put = partial(Problem, methods=STACKED, device=True)
    for seed, (count, (d, n), mix) in enumerate(
        itertools.product((3, 12), MIDDLE[:2], ("easy", "mixed", "deficient"))
    ):
        blocks = mixture(count, d, n, mix, seed)
        yield put(f"device {count}", f"{d}x{n} {mix}", blocks, seed=seed)
    for turn, (name, blocks, fields) in enumerate(several(4)):
        if name != "half":  # which the standard does not have
            yield Problem("device 4", name, blocks, methods=in_turn(turn), device=True, **fields)
    yield put("device", "240x60", made(240, 60, seed=9, condition=1e5), seed=9)
    yield put("device", "60x60 callback", made(60, 60, seed=10), stop=3, seed=10)


# On a simulated device ------------------------------------------------------------------------


def sent(array: Any) -> Any:
    """A copy where numpy cannot look at it."""
    import array_api_strict as strict

    if not isinstance(array, np.ndarray):
        return array
    return strict.asarray(np.array(array), device=strict.Device("device1"))


def fetched(value: Any) -> np.ndarray:
    """A value of any library for numpy."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    import array_api_strict as strict

    return np.from_dlpack(value.to_device(strict.Device("CPU_DEVICE")))


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count copies from the simulated device and to it, as they pass its public functions."""
    import array_api_strict as strict

    counts: Counter[str] = Counter()
    kind, asarray = type(strict.zeros(1)), strict.asarray
    to_device = kind.to_device

    def down(array: Any, device: Any, /, **rest: Any) -> Any:
        counts["down"] += 1
        return to_device(array, device, **rest)

    def up(obj: Any, /, **rest: Any) -> Any:
        counts["up"] += isinstance(obj, np.ndarray)
        return asarray(obj, **rest)

    kind.to_device, strict.asarray = down, up
    try:
        yield counts
    finally:
        kind.to_device, strict.asarray = to_device, asarray


# Record ---------------------------------------------------------------------------------------


def solved(problem: Problem, method: str, seen: list[str] | None = None) -> Any:
    """Call the public function; what a callback saw goes into `seen`."""
    options = {"rng": problem.seed, **problem.options}
    if method in LIMITED and "maxiter" not in options:
        options["maxiter"] = LIMITED[method]
    if problem.stop:

        def look(state: Any) -> bool:
            finite = bool(np.isfinite(fetched(state.value)).all())
            if seen is not None:
                seen.append(f"{state.iteration} {state.change!r} {finite}")
            return bool(state.iteration >= problem.stop)

        options["callback"] = look
    blocks = [sent(block) for block in problem.blocks] if problem.device else problem.blocks
    return getattr(eagle, problem.function)(*blocks, method=METHODS[method], **options)


class Store:
    """Arrays, one after the other in one buffer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.end = 0

    def put(self, array: np.ndarray) -> dict[str, Any]:
        """Where it is, and a hash of its bytes; one that is large is not kept."""
        array = np.ascontiguousarray(array)
        data = array.tobytes()
        entry = {
            "shape": list(array.shape),
            "dtype": array.dtype.str,
            "hash": hashlib.sha256(data).hexdigest()[:16],
        }
        if array.size <= KEPT:
            entry["begin"] = self.end
            self.parts.append(data)
            self.end += len(data)
        return entry


def taken(buffer: np.ndarray, entry: dict[str, Any]) -> np.ndarray | None:
    """The array of an entry, None if it was not kept."""
    if "begin" not in entry:
        return None
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    size = int(np.prod(shape)) * dtype.itemsize
    return buffer[entry["begin"] : entry["begin"] + size].view(dtype).reshape(shape)


def said(text: Any) -> str:
    """A text without addresses, and without the choice of a kernel that may go."""
    plain = re.sub(r"0x[0-9a-f]+", "0x", str(text))
    return re.sub(r"kernel='(blas|lapack)', |, kernel='(blas|lapack)'", "", plain)


def outcome(problem: Problem, method: str, store: Store) -> dict[str, Any]:
    """All that one call tells."""
    seen: list[str] = []
    entry: dict[str, Any] = {"clock": problem.clock(method)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = solved(problem, method, seen)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is on record
            result, entry["error"] = None, said(f"{type(error).__name__}: {error}")
    entry["warnings"] = sorted({said(f"{w.category.__name__}: {w.message}") for w in caught})
    entry["seen"] = seen
    if result is None:
        return entry
    whole = isinstance(result, eagle.Result)
    entry["value"] = store.put(fetched(result.value if whole else result))
    if whole:
        each = [] if result.results is None else list(result.results.ravel())
        together = [result, *each]
        entry["status"] = [one.status.name for one in together]
        entry["plan"], entry["method"] = said(result.plan), said(repr(result.method))
        numbers = [[getattr(one, name) for name in NUMBERS] for one in together]
        entry["numbers"] = store.put(np.array(numbers, float).reshape(-1, len(NUMBERS)))
        steps = [
            (place, step.iteration, step.change, step.error_estimate, step.matmuls, step.condition)
            for place, one in enumerate(together)
            for step in one.history
        ]
        entry["history"] = store.put(np.array(steps, float).reshape(-1, 6))
    return entry


def record(path: Path) -> None:
    """Solve everything; write `path` and an .npz of the same name."""
    start, store, cases = time.process_time(), Store(), {}
    spent: dict[str, float] = defaultdict(float)
    found = problems()
    for problem in found:
        for method in problem.methods:
            begun = time.process_time()
            name = f"{method} | {problem.kind} | {problem.name}"
            cases[name] = outcome(problem, method, store)
            spent[method] += time.process_time() - begun
            spent[problem.kind] += time.process_time() - begun
    facts = {
        "eagle": str(Path(eagle.__file__).parent),
        "numpy": np.__version__,
        "threads": os.environ.get("OPENBLAS_NUM_THREADS"),
        "problems": len(found),
        "seconds": round(time.process_time() - start, 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = np.frombuffer(b"".join(store.parts), np.uint8)
    np.savez_compressed(path.with_suffix(".npz"), buffer=buffer)
    path.write_text(json.dumps({"facts": facts, "cases": cases}), encoding="utf-8")
    ends = Counter(
        "error" if "error" in case else case["status"][0] if "status" in case else "array"
        for case in cases.values()
    )
    clock = sum(case["clock"] for case in cases.values())
    print(f"{len(found)} problems, {len(cases)} cases, {facts['seconds']} s of CPU; {dict(ends)}")
    print(f"{clock} cases depend on measured rates")
    longest = sorted(spent, key=lambda name: -spent[name])[:12]
    print("seconds: " + ", ".join(f"{name} {spent[name]:.1f}" for name in longest))


# Compare --------------------------------------------------------------------------------------


@dataclass
class Difference:
    """Between two records of one case."""

    name: str
    what: list[str]
    grave: int = 0  # 2: a value against none, or another status; 1: other numbers; 0: words
    distance: float = 0.0  # of the values, relative
    excess: float = 0.0  # distance in units of the larger error estimate
    steps: int = 0  # of iterations, signed, largest
    ratio: float = 1.0  # of error estimates, the one furthest from 1


def read(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Cases and the buffer of their arrays."""
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    with np.load(path.with_suffix(".npz")) as arrays:
        return cases, arrays["buffer"]


def without_numbers(text: Any) -> str:
    """What a text says apart from its numbers."""
    return re.sub(r"\d[\d.e+-]*", "#", str(text))


def distance(old: np.ndarray, new: np.ndarray) -> float:
    """Relative Frobenius distance; the same NaN and infinities in the same places are equal."""
    if old.shape != new.shape:
        return np.inf
    kind = np.complex128 if "c" in (old.dtype.kind, new.dtype.kind) else np.float64
    old, new = old.astype(kind), new.astype(kind)
    finite = np.isfinite(old) & np.isfinite(new)
    if not np.array_equal(old[~finite], new[~finite], equal_nan=True):
        return np.inf
    scale = max(np.abs(old[finite]).max(initial=0), np.abs(new[finite]).max(initial=0))
    if not scale:
        return 0.0
    old, new = old[finite] / scale, new[finite] / scale
    return float(np.linalg.norm(old - new) / np.linalg.norm(old)) if old.any() else np.inf


def differ(name: str, old: Any, new: Any, buffers: tuple[np.ndarray, ...]) -> Difference | None:
    """What differs in one case; None if nothing does."""
    found = Difference(name, [])

    def note(what: str, grave: int) -> None:
        found.what.append(what)
        found.grave = max(found.grave, grave)

    for key in ("error", "status", "method", "plan", "warnings", "seen"):
        if old.get(key) != new.get(key):
            numbers = without_numbers(old.get(key)) == without_numbers(new.get(key))
            one_sided = key == "error" and ("error" in old) != ("error" in new)
            words = {"error": "message"}.get(key, key)
            note(f"numbers in {words}" if numbers else words, 2 * (key == "status" or one_sided))
    shared = [key for key in ("value", "numbers", "history") if key in old and key in new]
    moved = [key for key in shared if plain_entry(old[key]) != plain_entry(new[key])]
    pairs = {
        key: [taken(buffer, case[key]) for buffer, case in zip(buffers, (old, new), strict=True)]
        for key in shared
    }
    estimate = 0.0
    if "numbers" in shared:
        both = pairs["numbers"]
        estimate = max(float(np.nan_to_num(each[0, 1], nan=0.0)) for each in both)
        if "numbers" in moved:
            compare_numbers(found, note, *both)
    if "history" in moved:
        a, b = pairs["history"]
        if a is None or b is None or a.shape != b.shape:
            note("history length", 1)
        for column, word in ((2, "changes"), (3, "looks"), (4, "matmuls"), (5, "conditions")):
            if (
                a is not None
                and b is not None
                and a.shape == b.shape
                and not np.array_equal(a[:, column], b[:, column], True)
            ):
                note(f"history {word}", 1)
    if "value" in moved:
        note("value", 1)
        if old["value"]["dtype"] != new["value"]["dtype"]:
            note("dtype", 2)
        a, b = pairs["value"]
        found.distance = np.inf if a is None or b is None else distance(a, b)
        eps = np.finfo(a.dtype).eps if a is not None and a.dtype.kind in "fc" else 2.0**-52
        found.excess = found.distance / max(estimate, float(eps))
    return found if found.what else None


def compare_numbers(
    found: Difference, note: Callable[[str, int], None], old: Any, new: Any
) -> None:
    """Iterations, estimates and the like, of a problem and of the members of a batch."""
    if old.shape != new.shape:
        note("number of results", 2)
        return
    for column, name in enumerate(NUMBERS):
        a, b = old[:, column], new[:, column]
        if np.array_equal(a, b, equal_nan=True):
            continue
        note(name, 1)
        if name == "iterations":
            found.steps = int(max(b - a, key=abs))
        if name == "error_estimate":
            known = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
            ratios = np.log(b[known] / a[known])
            found.ratio = float(np.exp(max(ratios, key=abs))) if len(ratios) else np.nan


def plain_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Without its place in the file."""
    return {key: entry[key] for key in ("shape", "dtype", "hash")}


def compare(old_path: Path, new_path: Path, *, every: bool = False) -> int:
    """Print what differs, worst first; 1 if anything does."""
    (old, old_buffer), (new, new_buffer) = read(old_path), read(new_path)
    buffers = old_buffer, new_buffer
    shared = [name for name in old if name in new]
    found = [differ(name, old[name], new[name], buffers) for name in shared]
    differences = [each for each in found if each is not None]
    print(f"{len(shared) - len(differences)} of {len(shared)} cases are bit-equal in everything")
    for words, missing in (("only old", old.keys() - new.keys()), ("only new", new.keys() - old)):
        if missing:
            print(f"{len(missing)} cases are in the {words} record, such as {min(missing)}")
    if not differences:
        return int(old.keys() != new.keys())
    same = sum("value" not in each.what for each in differences)
    graver = sum(each.grave == 2 for each in differences)
    print(f"{len(differences)} differ: {same} with the same value to the bit, {graver} gravely")
    print("(an exception against none, another status, dtype or number of results)")
    totals = Counter(word for each in differences for word in each.what)
    print("  " + ", ".join(f"{word} {count}" for word, count in totals.most_common()))
    groups: dict[str, list[Difference]] = defaultdict(list)
    for each in differences:
        groups[each.name if every else each.name.rpartition(" | ")[0]].append(each)
    sizes = Counter(name.rpartition(" | ")[0] for name in shared)

    def weight(each: Difference) -> tuple[float, ...]:
        return (each.grave, each.excess, each.distance, abs(each.steps), len(each.what))

    ranked = sorted(groups.items(), key=lambda item: max(map(weight, item[1])), reverse=True)
    for name, several in ranked:
        worst = max(several, key=weight)
        words = Counter(word for each in several for word in each.what)
        facts = [f"{word} {count}" for word, count in words.most_common()]
        clock = sum(old[each.name]["clock"] for each in several)
        print(f"{name}: {len(several)}" + ("" if every else f" of {sizes[name]}"), end="")
        print(f" ({clock} clock)" if clock else "", end=": ")
        print(", ".join(facts))
        apart = max(several, key=lambda each: each.distance)
        steps = max((each.steps for each in several), key=abs)
        ratio = max(
            (each.ratio for each in several),
            key=lambda ratio: abs(np.log(ratio)) if ratio == ratio else 0.0,
        )
        if apart.distance or steps or ratio != 1:
            print(
                f"    value {apart.distance:.1e} ({max(e.excess for e in several):.1e} estimates), "
                f"iterations {steps:+d}, estimate x {ratio:.2g}"
            )
        print(f"    worst: {worst.name.rpartition(' | ')[2]}", end="")
        print(spoken(worst, old[worst.name], new[worst.name]))
    return 1


def spoken(difference: Difference, old: Any, new: Any) -> str:
    """The words that differ, old -> new."""
    for key, words in (("error", "message"), ("status", "status"), ("warnings", "warnings")):
        if {words, f"numbers in {words}"} & set(difference.what):
            pair = [case.get(key, "none") for case in (old, new)]
            if key == "status":
                counts = [Counter(each[1:] or each) if each != "none" else each for each in pair]
                pair = [dict(each) if each != "none" else each for each in counts]
            return "\n    " + " -> ".join(str(each)[:160] for each in pair)
    for key in ("plan", "method", "seen"):
        if {key, f"numbers in {key}"} & set(difference.what):
            return "\n    " + " -> ".join(str(case.get(key))[:160] for case in (old, new))
    return ""


# Time -----------------------------------------------------------------------------------------

CONTENDERS = {
    "auto": "auto",
    "eagle": "eagle",
    "cholesky": "eagle cholesky",
    "direct": "direct gelsd",
}


@cache
def rows() -> dict[str, tuple[Problem, str]]:
    """What is timed, in the order of the table."""
    found: dict[str, tuple[Problem, str]] = {}

    def put(name: str, blocks: tuple[Any, ...], method: str, **fields: Any) -> None:
        found[name] = Problem("time", name, blocks, **fields), method

    for n in (8, 16, 64, 240, 1000):
        size = max(2, n // 8)
        blocks = made(n, n, seed=n, condition=1e3, rows=size, columns=size)
        for name, method in CONTENDERS.items():
            put(f"{n} x {n} {name}", blocks, method)
    put("1000 of 8 x 8 auto", mixture(1000, 8, 8, "easy", 1), "auto")
    put("64 of 32 x 32 eagle", mixture(64, 32, 32, "easy", 2), "eagle")
    put("200 of 16 x 16 eagle", mixture(200, 16, 16, "easy", 3), "eagle")
    put("200 of 16 x 16 eagle, mixed", mixture(200, 16, 16, "mixed", 4), "eagle")
    for name, method in (("eagle", "eagle"), ("auto", "auto"), ("direct", "direct gelsd")):
        single = made(64, 64, seed=5, condition=1e3)
        put(f"device: 64 x 64 {name}", single, method, device=True)
        put(f"device: 12 of 16 x 16 {name}", mixture(12, 16, 16, "mixed", 6), method, device=True)
    return found


def quick(problem: Problem, method: str) -> Any:
    """Solve, whatever the warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return solved(problem, method)


def work() -> None:
    """Answer requests on the standard input: seconds of a row, or its transfers."""
    print(json.dumps(str(Path(eagle.__file__).parent)), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        problem, method = rows()[request["row"]]
        try:
            if request["ask"] == "seconds":
                clock = time.process_time if request["cpu"] else time.perf_counter
                best, end = np.inf, clock() + request["budget"]
                while best == np.inf or clock() < end:
                    begun = clock()
                    quick(problem, method)
                    best = min(best, clock() - begun)
                answer: dict[str, Any] = {"seconds": best}
            else:
                with counted() as counts:
                    result = quick(problem, method)
                sent_here = len([X for X in problem.blocks if isinstance(X, np.ndarray)])
                counts["up"] -= sent_here
                answer = {**counts, "steps": int(result.iterations)}
        except Exception as error:  # noqa: BLE001 - the other side goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


class Worker:
    """A process of its own that runs this file with the package of one checkout."""

    def __init__(self, root: Path):
        environment = {**os.environ, "PYTHONPATH": str(root)}
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        # -P: the folder of this file is not a place to import from.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), "work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=root,
        )
        self.package = self._answer()
        if Path(self.package) != root / "eagle":
            raise SystemExit(f"{root} has no package: {self.package} was imported")

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early")
        return json.loads(line)

    def ask(self, what: str, row: str, **more: Any) -> dict[str, Any]:
        """One request, one answer."""
        assert self.process.stdin is not None
        request = json.dumps({"ask": what, "row": row, **more})
        print(request, file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End of requests."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def race(old_root: Path, new_root: Path, rounds: int, wanted: str, *, cpu: bool) -> None:
    """Old and new in turns; the minimum of all turns of each."""
    workers = [Worker(root.resolve()) for root in (old_root, new_root)]
    clock = "CPU time" if cpu else "wall clock"
    print(f"{'':32} {'old':>10} {'new':>10}  new/old   ({rounds} turns each, minima, {clock})")
    names = [name for name in rows() if wanted in name]
    for name in names:
        best, failed = [np.inf, np.inf], ["", ""]
        for turn in range(rounds + 1):
            order = (0, 1) if turn % 2 else (1, 0)  # each goes first as often as the other
            for side in order:
                answer = workers[side].ask("seconds", name, budget=0.1 if turn else 0.0, cpu=cpu)
                failed[side] = answer.get("error", "")
                if turn:  # the first call loads and compiles
                    best[side] = min(best[side], answer.get("seconds", np.inf))
        old, new = best
        words = "  ".join(filter(None, failed))[:120]
        print(
            f"{name:32} {1e3 * old:8.3f}ms {1e3 * new:8.3f}ms  {new / old:6.3f}   {words}".rstrip()
        )
    print(f"\n{'copies from and to the device':32} {'old':>26} {'new':>26}")
    for name in names:
        if name.startswith("device"):
            answers = [worker.ask("transfers", name) for worker in workers]
            texts = [answer.get("error") or transfers(**answer) for answer in answers]
            print(f"{name:32} {texts[0]:>26} {texts[1]:>26}")
    for worker in workers:
        worker.close()


def transfers(steps: int, down: int = 0, up: int = 0) -> str:
    """In words: those of the whole solve, and from the device for each step."""
    return f"{down} down {up} up, {steps} steps: {down / max(steps, 1):.2f}"


def main(argv: list[str] | None = None) -> int:
    """The three commands."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record").add_argument("file", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--every", action="store_true", help="a line for every case")
    timing = commands.add_parser("time")
    timing.add_argument("old_root", type=Path)
    timing.add_argument("new_root", type=Path)
    timing.add_argument("--rounds", type=int, default=5, help="turns of each side (default: 5)")
    timing.add_argument("--rows", default="", metavar="TEXT", help="only rows that contain TEXT")
    timing.add_argument(
        "--cpu", action="store_true", help="CPU time of all threads, for a machine that is busy"
    )
    commands.add_parser("work", help="what `time` runs in its two processes")
    given = parser.parse_args(argv)
    if given.command == "record":
        record(given.file)
    elif given.command == "compare":
        return compare(given.old, given.new, every=given.every)
    elif given.command == "time":
        race(given.old_root, given.new_root, given.rounds, given.rows, cpu=given.cpu)
    else:
        work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
