"""Names that other libraries have for options, answered with ours; and typed options."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pytest

import eagle
from eagle.problem.options import Options, SolveOptions

A, B, C = np.eye(3), np.ones((2, 3)), np.ones((3, 1))
CALLS = {
    "solve": lambda **options: eagle.solve(A, B, C, **options),
    "lstsq": lambda **options: eagle.lstsq(A, C, **options),
    "estimate": lambda **options: eagle.estimate(A, B, **options),
    "pinv": lambda **options: eagle.pinv(A, **options),
    "nystrom": lambda **options: eagle.nystrom(A, B, **options),
}


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("rcond", "; did you mean 'cutoff'?"),
        ("tol", "; did you mean 'rtol'?"),
        ("seed", "; did you mean 'rng'?"),
        ("random_state", "; did you mean 'rng'?"),
        ("max_iter", "; did you mean 'maxiter'?"),
        ("damp", "; did you mean 'ridge'?"),
        ("lapack_driver", ": give method=eagle.Direct('gelsd'), or another of its drivers"),
        ("overwrite_a", ": inputs are never overwritten"),
        ("rigde", "; did you mean 'ridge'?"),
        ("flavour", ""),
    ],
)
def test_a_near_miss_is_answered_with_the_right_name(function, name, ours):
    expected = f"{function}() got an unexpected keyword argument {name!r}{ours}"
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        CALLS[function](**{name: 1})


def test_sample_weight_is_answered_where_there_are_weights():
    with pytest.raises(TypeError, match=r"'sample_weight'; did you mean 'weights'\?"):
        eagle.lstsq(A, C, sample_weight=np.ones(3))
    with pytest.raises(TypeError, match=r"'sample_weight'$"):
        eagle.pinv(A, sample_weight=np.ones(3))


@pytest.mark.parametrize("driver", ["gelsd", "gelsy", "svd", "lu", "qr"])
def test_a_driver_is_no_method(driver):
    with pytest.raises(ValueError, match=rf"driver of LAPACK: give eagle.Direct\('{driver}'\)"):
        eagle.lstsq(A, C, method=driver)


def test_typed_options_are_those_of_solve():
    hints = get_type_hints(SolveOptions)
    assert list(hints) == ["method", *(field.name for field in fields(Options))]
    signature = inspect.signature(eagle.solve)
    keywords = [
        name
        for name, each in signature.parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert keywords == list(hints)


def test_a_random_state_is_a_source_of_random_numbers():
    one, other = (
        eagle.pinv(np.vander(np.arange(5.0)), method="sketched", rng=np.random.RandomState(3))
        for _ in range(2)
    )
    assert np.array_equal(one, other)
    state = np.random.RandomState(3)
    eagle.pinv(np.vander(np.arange(5.0)), method="sketched", rng=state)
    assert state.randint(1000) != np.random.RandomState(3).randint(1000)  # it is drawn from
