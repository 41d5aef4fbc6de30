"""Libraries whose arrays the tests hand over, one module of fixtures for all."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("array_api_strict")

from tests.arrays.libraries import LIBRARIES, Library


@pytest.fixture(params=LIBRARIES)
def library(request) -> Library:
    """Every library on the CPU."""
    with LIBRARIES[request.param]() as found:
        yield found


@pytest.fixture
def x64():
    """jax with double precision, which is a global setting."""
    import jax

    with jax.enable_x64(True):
        yield
