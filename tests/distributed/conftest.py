"""Small problems are treated in a way of their own: both ways are tried."""

from __future__ import annotations

import pytest

from eagle.distributed import problem


@pytest.fixture
def apart(monkeypatch):
    """As if A and B were too many numbers for every machine to have all of them."""
    monkeypatch.setattr(problem, "SMALL", 0)


@pytest.fixture(params=["together", "apart"])
def both_ways(request):
    """Once with blocks that are few numbers, once as if they were not."""
    if request.param == "apart":
        request.getfixturevalue("apart")
