"""Settings and fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.algebras import MANY, PLACES, Place

settings.register_profile("eagle", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("eagle")


@pytest.fixture(params=PLACES)
def algebra(request: pytest.FixtureRequest) -> Place:
    """One matrix, stacks of numpy, a simulated device, and accelerators if there are any."""
    return PLACES[request.param]


@pytest.fixture(params=MANY)
def many(request: pytest.FixtureRequest) -> Place:
    """Those of them that have many matrices at a time."""
    return MANY[request.param]


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20250919)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
