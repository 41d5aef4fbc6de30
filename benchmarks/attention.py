"""Nyström attention: error and time against the fixed six steps and exact attention.

What counts is the distance from softmax attention, so all errors are against that, in float64.
Both kinds of Nyström attention have the same landmarks; they differ in what stands for the
pseudo-inverse. Times are of float32 on all cores, over those of torch's exact attention.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.common import Report, Suite, measure
from eagle.attention import fixed_step_pinv, nystrom_attention

BATCH, HEADS, FEATURES = 1, 4, 32
TEMPERATURES = (0.25, 0.5, 1.0, 2.0)  # of the logits, whose standard deviation this is
WORDS = 20
CLOCK = (
    "processor seconds, for a machine that others use; with one thread, set by OMP_NUM_THREADS=1 "
    "NUMBA_NUM_THREADS=1"
)

suite = Suite("attention", __doc__)
suite.add_argument("--processor", action="store_true", help=CLOCK)
main = suite.main


def tokens(kind: str, count: int, seed: int) -> list[Tensor]:
    """Queries, keys and values (1, 4, count, 32) with entries of variance about one.

    "white" has no structure at all, "smooth" changes little from token to token, "text" are words
    of a small vocabulary with sinusoidal positions, projected at random.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = (BATCH, HEADS, count, FEATURES)
    if kind == "white":
        return [normal(*shape) for _ in "QKV"]
    if kind == "smooth":
        walks = [normal(*shape).cumsum(-2) / math.sqrt(count / 2) for _ in "QKV"]
        return [walks[0], (walks[0] + walks[1]) / math.sqrt(2), walks[2]]
    angles = torch.arange(count)[:, None] * 1000 ** -torch.linspace(0, 1, FEATURES // 2)
    positions = torch.cat([angles.sin(), angles.cos()], dim=-1)
    words = normal(WORDS, FEATURES)[torch.randint(0, WORDS, (count,), generator=generator)]
    x = (positions + words / 2).double()
    scale = math.sqrt(FEATURES * 0.75)
    return [x @ normal(BATCH, HEADS, FEATURES, FEATURES) / scale for _ in "QKV"]


def six_steps(
    query: Tensor, key: Tensor, value: Tensor, landmarks: int, scale: float, *, fused: bool = False
) -> Tensor:
    """As Nyströmformer: the same three factors, with six fixed steps in the middle.

    `fused`: weights with all tokens are not written out, which is faster and has one derivative.
    """
    attend = partial(scaled_dot_product_attention, scale=scale) if fused else weighted(scale)
    few_queries, few_keys = (each.unflatten(-2, (landmarks, -1)).mean(-2) for each in (query, key))
    A = torch.softmax(scale * few_queries @ few_keys.mT, dim=-1)
    return attend(query, few_keys, fixed_step_pinv(A) @ attend(few_queries, key, value))


def weighted(scale: float) -> Callable[..., Tensor]:
    """Softmax attention with its weights written out."""
    return lambda query, key, value: torch.softmax(scale * query @ key.mT, dim=-1) @ value


def distance(output: Tensor, truth: Tensor) -> float:
    """Relative, in the Frobenius norm of all heads together."""
    return float((output - truth).norm() / truth.norm())


@suite.section
def error(report: Report, options: argparse.Namespace) -> None:
    """Relative distance from softmax attention."""
    report.section("error", by=("tokens", "n", "landmarks", "temperature"))
    sizes = ((512, 32), (512, 64), (2048, 64), (2048, 128))[: 2 if options.quick else None]
    for kind, (count, m), temperature in product(("smooth", "text", "white"), sizes, TEMPERATURES):
        blocks = tokens(kind, count, options.seed)
        scale = temperature / math.sqrt(FEATURES)
        truth = scaled_dot_product_attention(*blocks, scale=scale)
        settings = {"landmarks": m, "scale": scale}
        output, result = nystrom_attention(*blocks, **settings, return_result=True)
        errors = {
            "eagle": distance(output, truth),
            "said": float(result.approximation_error.square().mean().sqrt()),
            "six_steps": distance(six_steps(*blocks, m, scale), truth),
            "pinv": distance(nystrom_attention(*blocks, **settings, ridge=0.0), truth),
            "mean_value": distance(blocks[2].mean(dim=-2, keepdim=True).expand_as(truth), truth),
        }
        report.row(tokens=kind, n=count, landmarks=m, temperature=temperature, **errors)


def forward(function: Callable[..., Tensor], blocks: list[Tensor]) -> None:
    """Without a gradient."""
    with torch.no_grad():
        function(*blocks)


def both(function: Callable[..., Tensor], blocks: list[Tensor]) -> None:
    """There and back."""
    function(*(each.clone().requires_grad_() for each in blocks)).sum().backward()


@suite.section
def speed(report: Report, options: argparse.Namespace) -> None:
    """Time over that of exact attention."""
    clock = time.process_time if options.processor else time.perf_counter
    report.section("speed", by=("what", "n", "landmarks"))
    sizes = ((1024, 32), (4096, 32), (4096, 64), (16384, 64))[: 1 if options.quick else None]
    for (count, m), run in product(sizes, (forward, both)):
        blocks = [each.float() for each in tokens("smooth", count, options.seed)]
        six = partial(six_steps, landmarks=m, scale=1 / math.sqrt(FEATURES))
        kinds: dict[str, Callable[..., Tensor]] = {
            "exact": scaled_dot_product_attention,
            "six": six,
            "fused": partial(six, fused=True),
            "eagle": partial(nystrom_attention, landmarks=m),
            "fixed": partial(nystrom_attention, landmarks=m, ridge=1e-4),
        }
        calls = {key: partial(run, kind, blocks) for key, kind in kinds.items()}
        seconds = measure(calls, repeats=3 if options.quick else 5, clock=clock)
        exact = seconds.pop("exact")
        over = {name: each.over(exact) for name, each in seconds.items()}
        report.row(
            what=run.__name__, n=count, landmarks=m, exact_ms=exact.scaled(1e3),
            eagle=over["eagle"], ridge_given=over["fixed"], six_steps=over["six"],
            six_fused=over["fused"],
        )  # fmt: skip
