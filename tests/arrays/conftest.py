"""Libraries whose arrays the tests hand over, one module of fixtures for all."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("array_api_strict")

from eagle.run import flow
from tests.arrays.libraries import DEVICES, LIBRARIES, Library


@pytest.fixture(params=LIBRARIES)
def library(request) -> Library:
    """Every library on the CPU."""
    with LIBRARIES[request.param]() as found:
        yield found


@pytest.fixture(params=[name for name in DEVICES if name != "jax"])
def device(request) -> Library:
    """Where numpy cannot look at arrays; jax, which compiles for every shape, has few tests."""
    with DEVICES[request.param]() as found:
        yield found


@pytest.fixture
def x64():
    """jax with double precision, which is a global setting."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def solved(monkeypatch):
    """The methods of all solves, those of backward passes included."""
    methods = []
    compute = flow.on_host

    def watched(*given):
        result = compute(*given)
        methods.append(result.method)
        return result

    monkeypatch.setattr(flow, "on_host", watched)
    return methods
