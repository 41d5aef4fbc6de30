"""Fixtures of the gradients."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("array_api_strict")

from eagle.run import flow


@pytest.fixture
def x64():
    """jax with double precision, which is a global setting."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def solved(monkeypatch):
    """The methods of all solves, backward passes included; small A are planned as large."""
    monkeypatch.setattr("eagle.run.plan.THIN", 0)
    monkeypatch.setattr("eagle.run.plan.SINGULAR", 0)
    methods = []
    compute = flow.on_host

    def watched(*given):
        result = compute(*given)
        methods.append(result.method)
        return result

    monkeypatch.setattr(flow, "on_host", watched)
    return methods
