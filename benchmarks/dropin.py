"""In the place of scikit-learn's, numpy's and torch's: features, batches, gradients.

Sections: ``nystroem`` (fit + transform and the error of the kernel, beside scikit-learn's),
``kernel-ridge`` (kernel ridge on landmarks: time, memory and accuracy beside scikit-learn's
Nystroem + Ridge and KernelRidge; ``--rows`` and ``--landmarks`` choose the size), ``batches``
(thousands of small problems, beside numpy's pinv and torch's lstsq; with ``--device cuda`` or
``cpu`` on tensors there),
``methods`` (what else a batch of numpy's can ask for, beside a loop over its problems), ``mixed``
(EAGLE with both precisions, with ``--device`` there), ``backward`` (time and memory of gradients).
Run with nothing else on the machine. Imputers are in `benchmarks.tables`.
"""

import argparse
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

import eagle
from benchmarks.batches import flops, numpy_solvers, random_batch, torch_solvers
from benchmarks.common import Report, Spread, Suite, in_child, measure, whole
from eagle.problems import low_rank


def torch_device(text: str) -> str:
    """For a command line: a device on which torch solves something."""
    try:
        torch_solvers(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 0, text)
    except (RuntimeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


suite = Suite("dropin", __doc__)
suite.add_argument(
    "--device", type=torch_device,
    help="of torch, for 'batches' and 'mixed'; default: numpy and torch on the CPU",
)  # fmt: skip
suite.add_argument("--rows", type=whole(1), default=100_000, help="of 'kernel-ridge'")
suite.add_argument("--landmarks", type=whole(1), default=500, help="of 'kernel-ridge'")
main = suite.main


@suite.section
def nystroem(report: Report, options: argparse.Namespace) -> None:
    """Both classes with the same landmarks; errors on rows of the exact kernel."""
    from sklearn.datasets import load_digits
    from sklearn.kernel_approximation import Nystroem as Theirs
    from sklearn.metrics.pairwise import rbf_kernel

    from eagle.estimators import Nystroem

    rng = np.random.default_rng(options.seed)
    many = 5_000 if options.quick else 100_000
    digits = load_digits().data / 16
    data = {"digits": digits, f"{many:,} x 20": rng.standard_normal((many, 20))}
    report.section("Nystroem, rbf, 500 landmarks", ("data", "dtype", "gamma"))
    for name, X in data.items():
        sample = rng.permutation(len(X))[:2000]
        repeats = 3 if options.quick else 15 if len(X) < 10_000 else 5
        for dtype, gamma in product((np.float64, np.float32), (1e-4, 1e-3, 1e-2, 1e-1)):
            rows = X.astype(dtype)
            settings = {"gamma": gamma, "n_components": 500, "random_state": options.seed}
            seconds = measure(
                {
                    "ours": lambda s=settings, X=rows: Nystroem(**s).fit(X).transform(X),
                    "theirs": lambda s=settings, X=rows: Theirs(**s).fit(X).transform(X),
                },
                repeats,
            )
            wide = rows.astype(float)
            exact = rbf_kernel(wide[sample], gamma=gamma)
            errors = {}
            for label, kind, X_fit in (
                ("error", Nystroem, rows), ("their_error", Theirs, rows),
                ("float64_error", Nystroem, wide),
            ):  # fmt: skip
                Z = kind(**settings).fit(X_fit).transform(X_fit[sample]).astype(float)
                errors[label] = float(np.linalg.norm(Z @ Z.T - exact) / np.linalg.norm(exact))
            report.row(
                data=name, dtype=np.dtype(dtype).name, gamma=gamma,
                ms=seconds["ours"].scaled(1e3), their_ms=seconds["theirs"].scaled(1e3),
                ratio=seconds["ours"].over(seconds["theirs"]), **errors,
            )  # fmt: skip


@suite.section
def kernel_ridge(report: Report, options: argparse.Namespace) -> None:
    """Each in a process of its own, in turn; of KernelRidge as many rows as its matrix has room."""
    rows, m = (5_000, 100) if options.quick else (options.rows, options.landmarks)
    report.section(f"kernel ridge, {rows:,} x 20, {m} landmarks", ("who", "dtype", "kind"))
    cases = [(who, dtype) for dtype in ("float32", "float64") for who in ("ours", "features")]
    repeats = 1 if options.quick or rows > 200_000 else 3
    for kind in ("smooth", "rough"):
        runs = {case: [] for case in (*cases, ("exact", "float64"))}
        for _ in range(repeats):
            for case, found in runs.items():
                found.append(in_child("kernel_machine", *case, kind, rows, m, options.seed))
        for (who, dtype), found in runs.items():
            report.row(
                who=who, dtype=dtype, kind=kind, rows=found[0]["rows"],
                seconds=Spread(tuple(each["seconds"] for each in found)),
                peak_MB=max(each["peak"] for each in found), error=found[0]["error"],
                estimate=found[0]["estimate"],
            )  # fmt: skip


@suite.section
def batches(report: Report, options: argparse.Namespace) -> None:
    """Half of the problems of less than full rank, condition numbers up to 1e4."""
    report.section("batches, 8 right-hand columns", ("n", "dtype", "who"))
    sizes = ((16, 10_000), (32, 10_000), (64, 2_000))
    for (n, full), dtype in product(sizes, (np.float64, np.float32)):
        count = 400 if options.quick else full
        batch = random_batch(count, n, dtype=dtype, rng=options.seed)
        blocks = batch.A, batch.C, options.seed
        solvers = {} if options.device else numpy_solvers(*blocks)
        solvers |= torch_solvers(*blocks, options.device or "cpu")
        seconds = measure(solvers, repeats=3 if options.quick else 5)
        ours = next(who for who in solvers if who.startswith("eagle"))
        work = flops(batch)
        for who, solve in solvers.items():
            value, said = solve()
            errors = batch.errors(value if isinstance(value, np.ndarray) else value.cpu().numpy())
            wrong = batch.wrong(errors)
            trusted = np.ones(count, bool) if said is None else said()
            report.row(
                n=n, dtype=np.dtype(dtype).name, who=who, us_each=seconds[who].scaled(1e6 / count),
                over_ours=seconds[who].over(seconds[ours], "more"),
                GFLOP_per_s=work / seconds[who].median / 1e9, median_error=float(np.median(errors)),
                worst_right=float(errors[~wrong].max(initial=0)), wrong=int(wrong.sum()),
                silently=int((wrong & trusted).sum()),
            )  # fmt: skip


@suite.section
def methods(report: Report, options: argparse.Namespace) -> None:
    """Options and methods other than the default, all problems at a time and one by one."""
    report.section("lstsq of a batch, 8 right-hand columns, float64", ("n", "what"))
    asked: dict[str, dict[str, Any]] = {
        "ridge=1e-3": {"ridge": 1e-3},
        "cutoff=1e-3": {"cutoff": 1e-3},
        "method='direct'": {"method": "direct"},
        "method='eagle'": {"method": "eagle"},
    }
    for n, full in ((16, 2_000), (32, 1_000), (64, 400), (128, 200)):
        count = 200 if options.quick else full
        batch = random_batch(count, n, rng=options.seed)
        few = batch.A[:5], batch.C[:5]  # too few for anything but a loop
        for what, settings in asked.items():
            seconds = measure(
                {
                    "batch": lambda s=settings, b=batch: eagle.lstsq(b.A, b.C, rng=0, **s),
                    "loop": lambda s=settings, X=few: eagle.lstsq(*X, rng=0, **s),
                    "pinv": lambda b=batch: np.linalg.pinv(b.A) @ b.C,
                },
                repeats=3,
            )
            each = seconds["batch"].scaled(1e6 / count)
            pinv, loop = seconds["pinv"].scaled(1e6 / count), seconds["loop"].scaled(1e6 / 5)
            ratios = {"loop_over_batch": loop.over(each, "more")}
            ratios["pinv_over_batch"] = pinv.over(each, "more")
            report.row(n=n, what=what, us_each=each, loop_us=loop, pinv_us=pinv, **ratios)


@suite.section
def mixed(report: Report, options: argparse.Namespace) -> None:
    """Conditioning in single precision, answers in double, beside double alone."""
    report.section("EAGLE, float64, precision mixed over double", ("shape", "condition", "rank"))
    shapes = [(1, 1000, 1000), (1, 4000, 1000), (1, 4000, 400), (200, 128, 128), (1, 3000, 3000)]
    shapes = shapes[:1] if options.quick else shapes if options.device else shapes[:-1]
    for (count, d, n), (condition, part) in product(shapes, ((1e4, 0), (1e8, 0), (1e8, 5))):
        rank = n // part if part else None
        problem = low_rank(d, n, 2, 100, rank=rank, condition=condition, rng=options.seed)
        blocks = [problem.A, problem.B, problem.C]
        if count > 1:
            blocks = [np.repeat(block[None], count, axis=0) for block in blocks]
        solvers = {
            precision: _on_device(blocks, eagle.Eagle(precision=precision), options)
            for precision in ("double", "mixed")
        }
        seconds = measure(solvers, repeats=3)
        errors, iterations = {}, []
        for precision, solve in solvers.items():
            result = solve()
            value = result.value.cpu().numpy() if options.device else result.value
            error = problem.error(value if count == 1 else value[0])
            errors[f"{precision}_error"] = error
            iterations.append(f"{result.iterations}")
        double, both = seconds["double"], seconds["mixed"]
        report.row(
            shape=f"{count} x {d} x {n}" if count > 1 else f"{d} x {n}", condition=condition,
            rank=rank or min(d, n), double_ms=double.scaled(1e3), mixed_ms=both.scaled(1e3),
            ratio=both.over(double), iterations=", ".join(iterations), **errors,
        )  # fmt: skip


def _on_device(
    blocks: list[np.ndarray], method: Any, options: argparse.Namespace
) -> Callable[[], Any]:
    """A solve of numpy's arrays, or of tensors on the device that was asked for."""
    if not options.device:
        return lambda: eagle.solve(*blocks, method=method, rng=options.seed)
    import torch

    there = [torch.from_numpy(block).to(options.device) for block in blocks]

    def solve() -> Any:
        result = eagle.solve(*there, method=method, rng=options.seed)
        if there[0].is_cuda:
            torch.cuda.synchronize(there[0].device)
        return result

    return solve


@suite.section
def backward(report: Report, options: argparse.Namespace) -> None:
    """Time of gradients with respect to A, B and C, and the memory they take."""
    import torch

    report.section("backward over forward, float64", ("shape", "who"))
    shapes = [(200, 200, 2, 2), (600, 300, 10, 50), (1000, 1000, 10, 100)]
    for size, part in product(shapes[: 1 if options.quick else None], (1, 10)):
        d, n, rows, columns = size
        rank = min(d, n) // part
        problem = low_rank(*size, rank=rank, condition=100.0, rng=options.seed)
        arrays = (problem.A, problem.B, problem.C)
        blocks = [torch.from_numpy(array).requires_grad_() for array in arrays]
        G = torch.from_numpy(np.random.default_rng(0).standard_normal(problem.D.shape))
        for who, solve in _differentiable(options.seed).items():
            there, back = _forward_backward(solve, blocks, G, 3 if options.quick else 7)
            report.row(
                shape=f"{d} x {n}, rank {rank}, {rows} x {columns}", who=who,
                forward_ms=there.scaled(1e3), backward_ms=back.scaled(1e3), ratio=back.over(there),
                gradient_error=_gradient_error(problem, blocks, G),
            )  # fmt: skip
    report.section("peak memory of forward and backward, n = 600", ("condition",))
    for condition in (1e1, 1e10):
        report.row(condition=condition, **in_child("gradients", condition))


def _differentiable(seed: int) -> dict[str, Callable[..., Any]]:
    """``B A^+ C`` as a function of tensors."""
    import torch

    def ours(method: Any) -> Callable[..., Any]:
        return lambda A, B, C: eagle.solve(A, B, C, method=method, rng=seed).value

    return {
        "eagle auto": ours("auto"),
        "eagle cholesky": ours(eagle.Eagle("cholesky")),
        "eagle products": ours("eagle"),
        "torch pinv": lambda A, B, C: B @ torch.linalg.pinv(A) @ C,
        "torch lstsq": lambda A, B, C: B @ torch.linalg.lstsq(A, C, driver="gelsy").solution,
    }


def _forward_backward(
    solve: Callable[..., Any], blocks: list[Any], G: Any, repeats: int
) -> tuple[Spread, Spread]:
    """Seconds of both halves; the gradients of the last repeat stay in the blocks."""
    forward, backward = [], []
    for _ in range(repeats + 1):
        for block in blocks:
            block.grad = None
        start = time.perf_counter()
        value = solve(*blocks)
        middle = time.perf_counter()
        value.backward(G)
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    return Spread(tuple(forward[1:])), Spread(tuple(backward[1:]))


def _gradient_error(problem: Any, blocks: list[Any], G: Any) -> float:
    """Relative distance of the gradient for A from its formula, with numpy's pseudo-inverse."""
    A, B, C = problem.A, problem.B, problem.C
    P = np.linalg.pinv(A, rcond=1e-10)
    G = G.numpy()
    # Golub and Pereyra (1973), equation 4.12, for constant rank.
    left, right = B @ P, P @ C
    wanted = -left.T @ G @ right.T
    wanted += (C - A @ right) @ G.T @ (left @ P.T)
    wanted += (P.T @ right) @ G.T @ (B - left @ A)
    return float(np.linalg.norm(blocks[0].grad.numpy() - wanted) / np.linalg.norm(wanted))
