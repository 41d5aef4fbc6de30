"""The accelerators of this machine: how to send an array there and how to get it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

REASON = "no accelerator was found: torch sees neither CUDA nor MPS, cupy and jax see no GPU"


@dataclass(frozen=True)
class Accelerator:
    """One library on one device."""

    name: str
    send: Callable[[np.ndarray], Any]
    fetch: Callable[[Any], np.ndarray]
    device: Callable[[Any], Any]
    double: bool = True

    @property
    def dtypes(self) -> list[type]:
        """What it computes in."""
        return [np.float32, np.complex64, *([np.float64, np.complex128] if self.double else [])]


def find() -> Iterator[Accelerator]:
    """All of them."""
    if find_spec("torch"):
        import torch

        names = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        for name in names:
            yield Accelerator(
                f"torch {name}",
                lambda array, name=name: torch.from_numpy(np.array(array)).to(name),
                lambda tensor: tensor.detach().cpu().numpy(),
                lambda tensor: tensor.device.type,
                double=name != "mps",
            )
    if find_spec("cupy"):
        import cupy

        if cupy.cuda.is_available():
            yield Accelerator("cupy", cupy.asarray, cupy.asnumpy, lambda array: array.device)
    if find_spec("jax"):
        import jax

        for device in jax.devices():
            if device.platform != "cpu":
                yield Accelerator(
                    f"jax {device}",
                    lambda array, device=device: jax.device_put(array, device),
                    np.asarray,
                    lambda array: array.device,
                    double=jax.config.jax_enable_x64,
                )
                break


FOUND = {each.name: each for each in find()}
