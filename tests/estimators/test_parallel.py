"""Pieces side by side: results and settings are those of a plain loop."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("sklearn")

from threadpoolctl import threadpool_info, threadpool_limits

from eagle.estimators import Nystroem
from eagle.estimators import nystroem as module
from eagle.estimators.parallel import LIMITED, for_each


def blas_threads() -> list[int]:
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_every_piece_is_worked_on_once_with_one_thread_of_blas() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        seen: list[tuple[int, int]] = []
        for_each(lambda piece: seen.append((piece, max(blas_threads()))), range(20))
        assert sorted(seen) == [(piece, 1) for piece in range(20)]
        assert blas_threads() == before


def test_a_single_thread_is_a_plain_loop() -> None:
    with threadpool_limits(1, user_api="blas"):
        names: list[str] = []
        for_each(lambda _: names.append(threading.current_thread().name), range(4))
    assert names == [threading.current_thread().name] * 4


def test_calls_within_calls_leave_the_settings_alone() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        inner: list[int] = []
        for_each(lambda piece: for_each(inner.append, [piece, -piece]), range(1, 5))
        assert sorted(map(abs, inner)) == [1, 1, 2, 2, 3, 3, 4, 4]
        assert blas_threads() == before


def test_what_a_piece_raises_is_raised_and_settings_are_restored() -> None:
    def work(piece: int) -> None:
        if piece == 3:
            raise ValueError("piece 3 is bad")

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ValueError, match="piece 3 is bad"):
            for_each(work, range(5))
        assert not LIMITED.locked()
        assert blas_threads() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_do_not_depend_on_threads(
    dtype: type, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 2**10)
    X = rng.standard_normal((500, 5)).astype(dtype)
    nystroem = Nystroem(gamma=1e-3, n_components=40, random_state=0).fit(X)
    with threadpool_limits(2, user_api="blas"):
        two = nystroem.transform(X)
    with threadpool_limits(1, user_api="blas"):
        one = nystroem.transform(X)
    np.testing.assert_array_equal(one, two)
