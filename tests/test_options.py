"""The knobs: what they accept, what they turn it into."""

from __future__ import annotations

import dataclasses
import inspect
from fractions import Fraction

import numpy as np
import pytest

import eagle
from eagle.options import Options, as_generator, check_count, check_flag, check_number


def test_numbers_of_every_numeric_type_are_taken():
    options = Options(
        rtol=np.float32(0.5), maxiter=np.int64(3), time_limit=2, cutoff=Fraction(1, 4), ridge=1
    )
    assert dataclasses.astuple(options)[:3] == (0.5, 3, 2.0)
    assert (options.cutoff, options.ridge) == (0.25, 1.0)
    types = [type(getattr(options, name)) for name in ("rtol", "maxiter", "time_limit", "ridge")]
    assert types == [float, int, float, float]


def test_zero_is_a_tolerance_a_cutoff_and_a_ridge():
    options = Options(rtol=0, cutoff=0, ridge=0)
    assert (options.rtol, options.cutoff, options.ridge) == (0.0, 0.0, 0.0)


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().rtol = 1.0  # type: ignore[misc]


def test_spectral_names_what_truncates():
    assert Options().special() == set()
    assert Options(rank=2, ridge=1.0).special() == {"rank"}
    assert Options(cutoff=0.0).special() == {"cutoff"}


def test_solve_lists_every_option_with_its_default():
    parameters = inspect.signature(eagle.solve).parameters
    listed = {name: each.default for name, each in parameters.items() if name not in "ABC"}
    assert listed.pop("method") == "auto"
    assert listed == {field.name: field.default for field in dataclasses.fields(Options)}
    kinds = {parameters[name].kind for name in listed}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_a_generator_is_used_as_it_is_and_a_seed_makes_one():
    rng = np.random.default_rng(3)
    assert as_generator(rng) is rng
    assert as_generator(5).random() == np.random.default_rng(5).random()
    assert as_generator(None).random() != as_generator(None).random()


def test_bounds_are_half_open():
    assert check_number("x", 0.0) == 0.0
    assert check_number("x", 1.0, minimum=1.0) == 1.0
    for value, limits in [
        (1.0, {"below": 1.0}),
        (0.0, {"positive": True}),
        (0.9, {"minimum": 1.0}),
    ]:
        with pytest.raises(ValueError, match=r"^x must be finite, "):
            check_number("x", value, **limits)
    with pytest.raises(ValueError, match="positive and below 2"):
        check_number("x", 0, positive=True, below=2)


def test_checks_return_plain_python_types():
    assert type(check_number("x", np.float32(1))) is float
    assert type(check_count("x", np.uint8(1))) is int
    assert check_flag("x", np.True_) is True
