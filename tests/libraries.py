"""How to make an array in each library, and how to look at its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import array_api_strict
import jax
import numpy as np
import pytest
import torch

from eagle.algebra import homes as arrays


@dataclass(frozen=True)
class Library:
    """What a test needs of a library."""

    name: str
    kind: type
    make: Callable[[Any], Any]
    numpy: Callable[[Any], np.ndarray]
    dtype: Callable[[str], Any]

    def address(self, array: Any) -> int:
        """Where the entries start."""
        return self.numpy(array).__array_interface__["data"][0]


@contextlib.contextmanager
def with_torch() -> Iterator[Library]:
    """Tensors on the CPU."""
    yield Library(
        "torch",
        torch.Tensor,
        lambda array: torch.from_numpy(np.array(array)),
        lambda tensor: tensor.detach().numpy(),
        lambda name: getattr(torch, name),
    )


@contextlib.contextmanager
def with_jax() -> Iterator[Library]:
    """jax on the CPU in double precision."""
    with jax.enable_x64(True):
        yield Library("jax", jax.Array, jax.numpy.asarray, np.asarray, np.dtype)


@contextlib.contextmanager
def with_strict() -> Iterator[Library]:
    """The standard and nothing else, on its default device."""
    yield Library(
        "array_api_strict",
        type(array_api_strict.zeros(1)),
        lambda array: array_api_strict.asarray(np.array(array)),
        np.from_dlpack,
        lambda name: getattr(array_api_strict, name),
    )


LIBRARIES = {"torch": with_torch, "jax": with_jax, "array_api_strict": with_strict}


@contextlib.contextmanager
def strict_device() -> Iterator[Library]:
    """The standard on a device that numpy cannot look at, except for copies of a few numbers."""
    host = array_api_strict.Device("CPU_DEVICE")
    device = array_api_strict.Device("device1")
    yield Library(
        "array_api_strict",
        type(array_api_strict.zeros(1)),
        lambda array: array_api_strict.asarray(np.array(array), device=device),
        lambda array: np.from_dlpack(array.to_device(host)),
        lambda name: getattr(array_api_strict, name),
    )


@contextlib.contextmanager
def _as_if_on_a_device(kind: type, made: Any) -> Iterator[Library]:
    """Arrays on the CPU that are treated as if numpy could not look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "on_cpu", property(lambda home: False))
        with made() as library:
            yield library


DEVICES = {
    "strict device": strict_device,
    "torch": lambda: _as_if_on_a_device(arrays.Torch, with_torch),
    "jax": lambda: _as_if_on_a_device(arrays.Jax, with_jax),
}
