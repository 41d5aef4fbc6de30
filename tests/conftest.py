"""Settings and fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tests.algebras import MANY, PLACES, Place

settings.register_profile("eagle", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("eagle")


def pytest_configure(config: pytest.Config) -> None:
    """Kernels that run as plain Python warn of an overflow, which compiled ones do not."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        config.addinivalue_line("filterwarnings", "ignore:.* encountered in scalar:RuntimeWarning")


@pytest.fixture(params=PLACES)
def algebra(request: pytest.FixtureRequest) -> Place:
    """One matrix, stacks of numpy, a simulated device, and accelerators if there are any."""
    return PLACES[request.param]


@pytest.fixture(params=MANY)
def many(request: pytest.FixtureRequest) -> Place:
    """Those of them that have many matrices at a time."""
    return MANY[request.param]


@pytest.fixture(params=["torch", "jax", "array_api_strict"])
def library(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Every library on the CPU."""
    from tests.libraries import LIBRARIES

    with LIBRARIES[request.param]() as found:
        yield found


@pytest.fixture(params=["strict device", "torch"])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Where numpy cannot look at arrays; jax, which compiles for every shape, has few tests."""
    from tests.libraries import DEVICES

    with DEVICES[request.param]() as found:
        yield found


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20250919)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
