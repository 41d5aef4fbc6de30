"""Gradients: what a backward pass takes, against the forward pass and torch's own.

The rivals: `torch.linalg.pinv`, whose gradient is the formula for constant rank too, on the
explicit inverse; and `torch.linalg.lstsq`, whose gradient is for full rank.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import eagle
from benchmarks.common import Report, command_line, measure

SECTIONS = ("time", "memory", "accuracy")


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    options = command_line("gradients", __doc__, SECTIONS).parse_args(argv)
    report = Report("gradients")
    for section in options.sections:
        {"time": times, "memory": memory, "accuracy": accuracy}[section](report, options)
    report.save(options.json)
    return 0


def blocks(d: int, n: int, rank: int, columns: int, count: int, seed: int) -> list[torch.Tensor]:
    """A of a given rank, and C, of which `count` are in a batch (0: no batch)."""
    rng = np.random.default_rng(seed)
    leading = (count,) if count else ()
    A = rng.standard_normal((*leading, d, rank)) @ rng.standard_normal((*leading, rank, n))
    C = rng.standard_normal((*leading, d, columns))
    return [torch.from_numpy(block / block.std()) for block in (A, C)]


def times(report: Report, options: Any) -> None:
    """Seconds of both passes; the goal is a ratio of 3."""
    report.section("backward over forward, lstsq with 8 columns", by=("problem", "solver"))
    size, count = (60, 20) if options.quick else (400, 1000)
    cases = {
        "tall": (2 * size, size, size, 0),
        "wide": (size, 2 * size, size, 0),
        "square": (size, size, size, 0),
        "half the rank": (2 * size, size, size // 2, 0),
        f"{count} of 32 x 24": (32, 24, 24, count),
    }
    for problem, (d, n, rank, batch) in cases.items():
        A, C = blocks(d, n, rank, 8, batch, options.seed)
        solvers: dict[str, Callable[[Any, Any], Any]] = {
            "eagle": lambda A, C: eagle.lstsq(A, C, rng=0).value,
            "torch pinv": lambda A, C: torch.linalg.pinv(A) @ C,
        }
        if rank == n:
            solvers["torch lstsq"] = lambda A, C: torch.linalg.lstsq(A, C).solution
        runs: dict[str, Callable[[], Any]] = {}
        for name, solver in solvers.items():
            runs[f"{name} forward"] = partial(solver, A, C)
            runs[f"{name} both"] = partial(slopes, solver, A, C)
        found = measure(runs, repeats=3 if options.quick else 5)
        base = found["eagle both"]
        for name in solvers:
            forward, both = found[f"{name} forward"], found[f"{name} both"]
            report.row(
                problem=problem,
                solver=name,
                forward_ms=1e3 * forward.median,
                backward_over_forward=both.median / forward.median - 1,
                both_over_eagles=both.over(base),
            )


def slopes(solver: Callable[[Any, Any], Any], A: Any, C: Any) -> tuple[Any, ...]:
    """Gradients of the sum of squares of a solution."""
    inputs = A.detach().requires_grad_(), C.detach().requires_grad_()
    return torch.autograd.grad(solver(*inputs).square().sum(), inputs)


def memory(report: Report, options: Any) -> None:
    """Numbers that wait for the backward pass."""
    report.section("numbers kept for the backward pass, 60 x 40", by=("condition",))
    for condition in (1e1, 1e4, 1e8):
        given = eagle.problems.low_rank(60, 40, condition=condition, rng=options.seed)
        A = torch.from_numpy(given.A).requires_grad_()
        kept: list[int] = []

        def count(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            result = eagle.lstsq(A, torch.from_numpy(given.C), method="eagle", rng=0)
        report.row(condition=condition, iterations=result.iterations, numbers=sum(kept))


def accuracy(report: Report, options: Any) -> None:
    """Relative error of the slope along ``A + t L' R``, which keeps the rank, in closed form."""
    report.section("relative error of a slope that keeps the rank", by=("problem", "solver"))
    generator = torch.Generator().manual_seed(options.seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for problem, rank in (("full rank", 20), ("rank 5", 5)):
        L, R, C, towards = draw(30, rank), draw(rank, 20), draw(30, 3), draw(30, rank)
        # A^+ = R^+ L^+ for L of full column and R of full row rank, and L^+ has its derivative.
        G = L.mT @ L
        left = torch.linalg.solve(G, L.mT)
        moved = torch.linalg.solve(G, towards.mT @ (torch.eye(30).double() - L @ left))
        moved = moved - left @ towards @ left
        truth = (R.mT @ torch.linalg.solve(R @ R.mT, moved @ C)).sum().item()
        for name, solver in {
            "eagle": lambda A, C=C: eagle.lstsq(A, C, rng=0).value,
            "torch pinv": lambda A, C=C: torch.linalg.pinv(A) @ C,
        }.items():
            A = (L @ R).requires_grad_()
            (slope,) = torch.autograd.grad(solver(A).sum(), A)
            found = (slope * (towards @ R)).sum().item()
            report.row(problem=problem, solver=name, error=abs(found / truth - 1))


if __name__ == "__main__":
    sys.exit(main())
