"""The knobs: what they accept, what they turn it into, what every function refuses."""

from __future__ import annotations

import dataclasses
import inspect
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import eagle
from eagle.problem.options import Options, as_generator, check_count, check_flag, check_number
from tests.systems import system


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


def test_special_names_what_not_every_method_can_do():
    assert Options().special() == set()
    assert Options(rank=2, ridge=1.0).special() == {"rank"}
    assert Options(cutoff=0.0).special() == {"cutoff"}
    assert Options(memory_limit=10**6).special() == {"memory_limit"}


def test_solve_lists_every_option_with_its_default():
    parameters = inspect.signature(eagle.solve).parameters
    listed = {name: each.default for name, each in parameters.items() if name not in "ABC"}
    assert listed.pop("unknown") is inspect.Parameter.empty  # to say what was meant
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


# --- what every function refuses ----------------------------------------------------------------

BAD_VALUES = [
    ("rtol", -1e-3),
    ("rtol", np.nan),
    ("rtol", np.inf),
    ("maxiter", 0),
    ("maxiter", -5),
    ("time_limit", 0),
    ("time_limit", -1.0),
    ("time_limit", np.inf),
    ("rank", 0),
    ("rank", -1),
    ("cutoff", -0.1),
    ("cutoff", 1.0),
    ("cutoff", np.nan),
    ("ridge", -1.0),
    ("ridge", np.nan),
    ("ridge", np.inf),
    ("rng", -1),
]
BAD_TYPES = [
    ("rtol", "1e-3"),
    ("rtol", True),
    ("rtol", 1j),
    ("rtol", [1e-3]),
    ("maxiter", 2.0),
    ("maxiter", True),
    ("maxiter", "10"),
    ("time_limit", "1"),
    ("rank", 2.5),
    ("rank", "cv"),
    ("cutoff", "small"),
    ("ridge", None),
    ("ridge", np.ones(2)),
    ("rng", 1.5),
    ("rng", "seed"),
    ("rng", np.random),
    ("callback", 3),
    ("progress", "yes"),
    ("raise_on_failure", 1),
]


def calls(**options: Any) -> list[Any]:
    """Every function, called with the same options."""
    given = system((4, 3))
    A, B, C = given.A, given.B, given.C
    return [
        lambda: eagle.solve(A, B, C, **options),
        lambda: eagle.lstsq(A, C, **options),
        lambda: eagle.estimate(A, B, **options),
        lambda: eagle.pinv(A, **options),
        lambda: eagle.nystrom(A[:3], B, **options),
    ]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_options_out_of_range_are_refused_by_name(name, value):
    for call in calls(**{name: value}):
        with pytest.raises(ValueError, match=rf"^{name} must be"):
            call()


@pytest.mark.parametrize(("name", "value"), BAD_TYPES)
def test_options_of_the_wrong_type_are_refused_by_name(name, value):
    for call in calls(**{name: value}):
        with pytest.raises(TypeError, match=rf"^{name} must be"):
            call()


def test_a_keyword_that_nobody_knows_is_refused_by_name():
    for call in calls(tolerance=1e-3):
        with pytest.raises(TypeError, match=r"\(\) got an unexpected keyword argument 'tolerance'"):
            call()
    with pytest.raises(TypeError, match=r"^pinv\(\) .* 'max_iter'; did you mean 'maxiter'\?"):
        eagle.pinv(np.eye(2), max_iter=3)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("eagl", "eagle"), ("newton_schulz", "newton-schulz"), ("Direct", "direct")],
)
def test_an_unknown_method_suggests_the_nearest_name(given, meant):
    for call in calls(method=given):
        with pytest.raises(ValueError, match=rf"^method '{given}' .*did you mean '{meant}'\?"):
            call()


def test_an_unknown_method_lists_them_all():
    with pytest.raises(
        ValueError, match=r"'auto', " + ", ".join(f"'{name}'" for name in eagle.METHODS)
    ):
        eagle.pinv(np.eye(2), method="zzz")


@pytest.mark.parametrize("method", [None, 3, eagle.Eagle, np.linalg.pinv])
def test_a_method_of_the_wrong_type_is_refused(method):
    with pytest.raises(TypeError, match=r"^method must be a name or an instance"):
        eagle.pinv(np.eye(2), method=method)


HONOURS = {
    "rank": {"compressed", "direct"},
    "cutoff": {"compressed", "direct"},
    "memory_limit": {"compressed", "sketched"},
}


@pytest.mark.parametrize("method", eagle.METHODS)
@pytest.mark.parametrize(
    ("option", "value"), [("rank", 2), ("cutoff", 0.1), ("memory_limit", 10**6)]
)
def test_an_option_that_a_method_cannot_honour_is_refused_and_one_that_can_is_named(
    method, option, value
):
    for call in calls(method=method, **{option: value}):
        if method in HONOURS[option]:
            assert call() is not None
        else:
            able = " or ".join(f"'{name}'" for name in eagle.METHODS if name in HONOURS[option])
            with pytest.raises(
                ValueError, match=rf"^{option} cannot be honoured .* method={able}$"
            ):
                call()


@pytest.mark.parametrize("driver", ["gelsy", "qr"])
def test_a_driver_without_singular_values_truncates_nothing(driver):
    for option in ({"rank": 1}, {"cutoff": 0.1}):
        with pytest.raises(ValueError, match=r"cannot be honoured by Direct\(driver="):
            eagle.pinv(np.eye(2), method=eagle.Direct(driver), **option)


def test_an_unknown_driver_lists_those_there_are():
    with pytest.raises(ValueError, match=r"^driver must be one of 'cod', 'gelsd', .* got 'ldl'"):
        eagle.Direct("ldl")
    with pytest.raises(ValueError, match="kernel must be 'lapack' or 'numba', got 'mkl'"):
        eagle.Direct("gelsy", kernel="mkl")
    with pytest.raises(ValueError, match="precision must be 'double' or 'mixed', got 'half'"):
        eagle.Eagle(precision="half")
    with pytest.raises(ValueError, match="precision='mixed' is for schedules of matrix products"):
        eagle.Eagle("cholesky", precision="mixed")
    with pytest.raises(ValueError, match="kernel='numba' is for the driver 'gelsy', got 'gelsd'"):
        eagle.Direct(kernel="numba")


def test_a_rank_beyond_the_smaller_side_is_refused():
    for call in calls(rank=4):
        with pytest.raises(ValueError, match=r"^rank must be at most 3, the smaller side of A"):
            call()


def test_rank_and_cutoff_together_are_refused():
    for call in calls(rank=2, cutoff=0.1):
        with pytest.raises(ValueError, match=r"^rank and cutoff both"):
            call()
