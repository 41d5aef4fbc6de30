"""`torch.compile` around a solve: it is called, neither traced nor compiled anew at each call."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
dynamo = pytest.importorskip("torch._dynamo")

import eagle
from eagle.attention import NystromAttention, nystrom_attention
from tests.tolerances import relative_error, tolerance

# What the compiler says of its own code.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", r"ignore:The \.grad attribute:UserWarning"
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def compiled(function, **settings):
    dynamo.reset()
    return torch.compile(function, backend="aot_eager", **settings)


def frames() -> int:
    return dynamo.utils.counters["frames"]["total"]


B = draw(2, 20, seed=1)
C = draw(40, seed=2)
FUNCTIONS = {
    "solve": lambda A: eagle.solve(A, B, C[:, None], rng=0).value.square().sum(),
    "lstsq": lambda A: eagle.lstsq(A, C, rng=0).value.square().sum(),
    "estimate": lambda A: eagle.estimate(A, B, rng=0).value.square().sum(),
    "pinv": lambda A: eagle.pinv(A, rng=0).square().sum(),
    "nystrom": lambda A: eagle.nystrom(A.mT @ A, A @ (A.mT @ A), rng=0).value.square().sum(),
    "attention": lambda A: nystrom_attention(A, A, A, landmarks=6).square().sum(),
}


@pytest.mark.parametrize("differentiated", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_gradient_are_those_without_a_compiler(name, differentiated):
    function = FUNCTIONS[name]
    fast = compiled(lambda A: function(2 * A) + 1)
    for seed in range(2):
        A, same = (draw(40, 20, seed=seed).requires_grad_(differentiated) for _ in range(2))
        value, truth = fast(A), function(2 * same) + 1
        assert relative_error(value.detach(), truth.detach()) <= tolerance(float)
        if differentiated:
            value.backward()
            truth.backward()
            assert relative_error(A.grad, same.grad) <= tolerance(float, 1e2)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_compiled_anew_at_each_call(name):
    fast = compiled(FUNCTIONS[name])
    fast(draw(40, 20))
    fast(draw(40, 20))
    before = frames()
    for seed in range(5):
        fast(draw(40, 20, seed=seed))
    assert frames() == before


def test_sizes_may_be_dynamic():
    fast = compiled(lambda A: eagle.lstsq(A, C, rng=0).value.sum(), dynamic=True)
    for columns in (10, 20, 30):
        A = draw(40, columns)
        truth = torch.linalg.lstsq(A, C[:, None]).solution.sum()
        assert relative_error(fast(A), truth) <= tolerance(float, 1e3)


def test_a_layer_is_compiled_around_its_attention():
    torch.manual_seed(0)
    layer = NystromAttention(12, heads=3, landmarks=6).double()
    x = draw(2, 40, 12)
    truth = layer(x)
    truth.square().sum().backward()
    wanted = [each.grad.clone() for each in layer.parameters()]
    layer.zero_grad()
    value = compiled(layer)(x)
    value.square().sum().backward()
    assert relative_error(value.detach(), truth.detach()) <= tolerance(float, 1e5)
    for each, other in zip(layer.parameters(), wanted, strict=True):
        assert relative_error(each.grad, other) <= tolerance(float, 1e5)


def test_who_does_not_compile_does_not_import_the_compiler():
    code = (
        "import sys, torch, eagle; eagle.pinv(torch.eye(3), rng=0); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
