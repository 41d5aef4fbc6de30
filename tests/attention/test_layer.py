"""The layer: a function between projections, what it trains, what it refuses, foreign weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import scaled_dot_product_attention

from eagle.attention import NystromAttention, nystrom_attention
from tests.attention.data import distance, tensors
from tests.tolerances import tolerance


def test_layer_is_the_function_between_two_projections() -> None:
    torch.manual_seed(0)
    layer = NystromAttention(12, heads=3, landmarks=8).double()
    x = tensors(2, 40, 12)[0]
    query, key, value = (
        each.unflatten(-1, (3, 4)).transpose(1, 2) for each in layer.project_in(x).chunk(3, dim=-1)
    )
    attended = nystrom_attention(query, key, value, landmarks=8)
    truth = layer.project_out(attended.transpose(1, 2).flatten(2))
    assert distance(layer(x), truth) < tolerance(np.float64)
    exact = NystromAttention(12, heads=3, landmarks=40).double()
    exact.load_state_dict(layer.state_dict())
    truth = layer.project_out(
        scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    )
    assert distance(exact(x), truth) < tolerance(np.float64)


@pytest.mark.parametrize("convolution", [0, 5])
def test_layer_ignores_padding(convolution: int) -> None:
    torch.manual_seed(0)
    layer = NystromAttention(8, heads=2, landmarks=6, convolution=convolution).double()
    x = tensors(2, 30, 8)[0]
    mask = (torch.arange(30) < 24).expand(2, 30)
    other = torch.where(mask[..., None], x, 100.0)
    assert distance(layer(other, mask)[:, :24], layer(x, mask)[:, :24]) < 1e-12
    if convolution == 0:
        assert distance(layer(x, mask)[:, :24], layer(x[:, :24])) < 1e-9


def test_every_parameter_of_the_layer_is_trained() -> None:
    torch.manual_seed(0)
    layer = NystromAttention(8, heads=2, landmarks=6, convolution=3)
    layer(torch.randn(2, 30, 8)).square().sum().backward()
    assert all(each.grad is not None and each.grad.norm() > 0 for each in layer.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "features must be a multiple of heads=5"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"heads": 2, "landmarks": 0}, "landmarks must be at least 1, got 0"),
        ({"heads": 2, "ridge": "best"}, "ridge must be a number or 'cv', got 'best'"),
        ({"heads": 2, "convolution": 4}, "convolution must be odd"),
        ({"heads": 2, "convolution": -3}, "convolution must be at least 0, got -3"),
    ],
)
def test_layers_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NystromAttention(8, **options)


def test_layer_is_called_as_the_one_of_torch() -> None:
    torch.manual_seed(0)
    layer = NystromAttention(12, heads=3, landmarks=8).double()
    x, other, values = tensors(2, 40, 12)
    assert torch.equal(layer(x, x, x), layer(x))
    keep = (torch.arange(40) < 30).expand(2, 40)
    added = torch.zeros(2, 40).double().masked_fill(~keep, -torch.inf)
    assert torch.equal(layer(x, x, x, keep), layer(x, keep))
    assert torch.equal(layer(x, x, x, mask=added), layer(x, mask=keep))
    query, key, value = (
        part(each).unflatten(-1, (3, 4)).transpose(1, 2)
        for part, each in zip(
            [lambda y, k=k: layer.project_in(y).chunk(3, dim=-1)[k] for k in range(3)],
            (x, other[:, :33], values[:, :33]),
            strict=True,
        )
    )
    attended = nystrom_attention(query, key, value, landmarks=8)
    truth = layer.project_out(attended.transpose(1, 2).flatten(2))
    assert distance(layer(x, other[:, :33], values[:, :33]), truth) < tolerance(np.float64, 1e5)
    with pytest.raises(ValueError, match="give key and value both, or neither"):
        layer(x, other)
    convolved = NystromAttention(12, heads=3, landmarks=8, convolution=3).double()
    with pytest.raises(ValueError, match="value must have as many tokens as x for the convolution"):
        convolved(x, other[:, :33], values[:, :33])


@pytest.mark.parametrize("landmarks", [16, 64, 80])
def test_a_fresh_layer_learns_without_a_warning(landmarks: int) -> None:
    """Its kernels are nearly singular: warnings are errors here."""
    for seed in range(3):
        torch.manual_seed(seed)
        layer = NystromAttention(32, heads=2, landmarks=landmarks)
        layer(torch.randn(2, 256, 32)).square().mean().backward()
        assert all(each.grad.isfinite().all() for each in layer.parameters())


class Nystromformer(torch.nn.Module):
    """The names and shapes of Hugging Face's NystromformerSelfAttention and its output."""

    def __init__(self, features: int, heads: int, kernel: int | None):
        super().__init__()
        self.heads, linear = heads, torch.nn.Linear
        attention = torch.nn.ModuleDict(
            {
                "self": torch.nn.ModuleDict(
                    {name: linear(features, features) for name in ("query", "key", "value")}
                ),
                "output": torch.nn.ModuleDict({"dense": linear(features, features)}),
            }
        )
        if kernel is not None:
            attention["self"]["conv"] = torch.nn.Conv2d(
                heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False
            )
        layers = torch.nn.ModuleList([torch.nn.ModuleDict({"attention": attention})])
        self.nystromformer = torch.nn.ModuleDict(
            {"encoder": torch.nn.ModuleDict({"layer": layers})}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """With softmax attention, which landmarks for all tokens are."""
        attention = self.nystromformer["encoder"]["layer"][0]["attention"]
        query, key, value = (
            attention["self"][name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        output = scaled_dot_product_attention(query, key, value)
        if "conv" in attention["self"]:
            output = output + attention["self"]["conv"](value)
        return attention["output"]["dense"](output.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kernel", [None, 5])
def test_weights_of_a_nystromformer_load(kernel: int | None, tmp_path) -> None:
    torch.manual_seed(0)
    model = Nystromformer(12, 3, kernel).double()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt")
    heads = {} if kernel else {"heads": 3}
    layer = NystromAttention.from_nystromformer(state, landmarks=40, **heads)
    x = tensors(2, 40, 12)[0]
    assert distance(layer(x), model(x)) < tolerance(np.float64)
    bare = {name.removeprefix("nystromformer."): each for name, each in state.items()}
    assert (
        distance(NystromAttention.from_nystromformer(bare, landmarks=40, heads=3)(x), layer(x)) == 0
    )


def test_weights_of_something_else_are_refused() -> None:
    state = Nystromformer(12, 3, None).state_dict()
    with pytest.raises(ValueError, match=r"state has no encoder\.layer\.1\.attention\.self\.query"):
        NystromAttention.from_nystromformer(state, layer=1, heads=3)
    with pytest.raises(ValueError, match="heads must be given: there is no convolution"):
        NystromAttention.from_nystromformer(state)
