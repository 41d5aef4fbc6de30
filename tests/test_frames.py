"""Data frames of pandas in place of arrays."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from tests.tolerances import tolerance

pd = pytest.importorskip("pandas")


def test_frames_are_arrays_of_their_numbers():
    X = np.outer([1, 2, 3, 4], [1, 10, 100])
    A, B, C = (pd.DataFrame(block) for block in (X[:3, :2], X[3:, :2], X[:3, 2:]))
    result = eagle.solve(A, B, C, rng=0)
    assert type(result.value) is np.ndarray
    assert result.value.dtype == np.float64
    assert abs(result.value[0, 0] - 400) <= 400 * tolerance(np.float64)


@pytest.mark.parametrize("place", range(3))
def test_frames_with_words_are_refused_by_name(place):
    blocks = [np.eye(2)] * 3
    blocks[place] = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    with pytest.raises(TypeError, match=rf"^{'ABC'[place]} .*must be numeric"):
        eagle.solve(*blocks)
