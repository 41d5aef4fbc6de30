"""The two kinds of knobs, convergence and spectrum, checked at the door."""

from __future__ import annotations

import difflib
import math
import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any, TypedDict

import numpy as np

LEAST = 1e-9  # seconds: a time limit that has passed
CERTIFICATES = ("read", "sampled")  # what becomes of A


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float = 0.0,
    below: float = math.inf,
    positive: bool = False,
) -> float:
    """`value` as a float, or a sentence that names the argument and what it should be."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    number = float(value)
    inside = minimum <= number < below and not (positive and number == 0)
    if not math.isfinite(number) or not inside:
        least = "positive" if positive else f"at least {minimum:g}"
        most = "" if math.isinf(below) else f" and below {below:g}"
        raise ValueError(f"{name} must be finite, {least}{most}, got {value!r}")
    return number


def check_count(name: str, value: Any, *, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`, or a sentence that names the argument."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """`value` as a bool, or a sentence that names the argument."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


@cache
def _own_generator() -> np.random.Generator:
    """That of this process, for all who gave no seed: to make one takes as long as a small solve.

    Generators lock themselves, so that threads may share it.
    """
    return np.random.default_rng()


if hasattr(os, "register_at_fork"):  # a child must not draw what its parent draws
    os.register_at_fork(after_in_child=_own_generator.cache_clear)


def as_generator(rng: Any) -> np.random.Generator:
    """A numpy Generator from an int seed, a Generator, a RandomState or None: the process's own."""
    if rng is None:
        return _own_generator()
    if isinstance(rng, np.random.RandomState):  # scikit-learn's users have one
        return np.random.Generator(rng._bit_generator)
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool | np.bool_) or not isinstance(rng, numbers.Integral):
        raise TypeError(
            "rng must be an int, a numpy Generator or RandomState, or None, got "
            f"{type(rng).__name__}"
        )
    if rng < 0:
        raise ValueError(f"rng must be a non-negative seed, got {rng}")
    return np.random.default_rng(int(rng))


class SolveOptions(TypedDict, total=False):
    """Keyword options of every solve, as `eagle.solve` explains them; for editors and checkers."""

    method: Any
    rtol: float | None
    maxiter: int | None
    time_limit: float | None
    rank: int | None
    cutoff: float | None
    ridge: float
    memory_limit: int | None
    certificate: str
    rng: Any
    callback: Callable[[Any], Any] | None
    progress: bool
    raise_on_failure: bool


# What other libraries call our options, or a sentence about what takes their place.
ELSEWHERE = {
    **dict.fromkeys(("rcond", "cond", "svd_tol"), "cutoff"),
    **dict.fromkeys(("tol", "atol", "tolerance", "eps", "btol", "conlim"), "rtol"),
    **dict.fromkeys(("seed", "random_state", "random_seed", "generator", "key"), "rng"),
    **dict.fromkeys(("max_iter", "maxit", "n_iter", "iter_lim", "max_steps", "iters"), "maxiter"),
    **dict.fromkeys(("alpha", "damp", "l2", "lam", "lambda_", "regularization"), "ridge"),
    **dict.fromkeys(("n_components", "k"), "rank"),
    **dict.fromkeys(("solver", "algorithm"), "method"),
    **dict.fromkeys(("verbose", "disp", "show"), "progress"),
    **dict.fromkeys(("timeout", "max_time"), "time_limit"),
    **dict.fromkeys(("sample_weight", "w"), "weights"),
    **dict.fromkeys(
        ("lapack_driver", "driver"),
        "give method=eagle.Direct('gelsd'), or another of its drivers",
    ),
    **dict.fromkeys(("overwrite_a", "overwrite_b"), "inputs are never overwritten"),
    "check_finite": "entries are always checked",
    "x0": "no method starts from a guess",
    "hermitian": "nothing is gained by it here",
    "return_rank": "ask estimate(A, numpy.eye(n)).rank",
}


def refuse_unknown(function: str, names: Any, known: Any) -> None:
    """Raise TypeError for a keyword that is none of `known`, with the one that was meant."""
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(name, list(known), n=1)
        meant = ELSEWHERE.get(name) or (near[0] if near else "")
        if " " in meant:
            hint = f": {meant}"
        elif meant in known:
            hint = f"; did you mean {meant!r}?"
        else:
            hint = ""
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def check_certificate(name: str, value: Any) -> str:
    """`value`, if there is such a certificate."""
    if not isinstance(value, str) or value not in CERTIFICATES:
        said = " or ".join(map(repr, CERTIFICATES))
        raise ValueError(f"{name} must be {said}, got {value!r}")
    return str(value)


# What an option is that differs from its default.
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "rtol": check_number,
    "maxiter": check_count,
    "time_limit": partial(check_number, positive=True),
    "rank": check_count,
    "cutoff": partial(check_number, below=1.0),
    "ridge": check_number,
    "memory_limit": check_count,
    "certificate": check_certificate,
    "progress": check_flag,
    "raise_on_failure": check_flag,
}


@dataclass(frozen=True)
class Options:
    """Every knob of a solve other than the method, validated on construction.

    ``rtol``, ``maxiter`` and ``time_limit`` decide when to stop; ``rank``, ``cutoff`` and
    ``ridge`` decide which problem is solved. The two are never mixed. ``memory_limit`` is in bytes.
    """

    rtol: float | None = None
    maxiter: int | None = None
    time_limit: float | None = None
    rank: int | None = None
    cutoff: float | None = None
    ridge: float = 0.0
    memory_limit: int | None = None
    certificate: str = "read"
    rng: Any = None
    callback: Callable[[Any], Any] | None = None
    progress: bool = False
    raise_on_failure: bool = False

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            given = getattr(self, name)
            if given is not getattr(Options, name):
                object.__setattr__(self, name, check(name, given))
        if self.rank is not None and self.cutoff is not None:
            raise ValueError("rank and cutoff both truncate the spectrum: give only one of them")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable, got {type(self.callback).__name__}")
        object.__setattr__(self, "rng", as_generator(self.rng))

    def asked_to_stop(self, snapshot: Any) -> bool:
        """Show a callback a snapshot: whether it answers True, Python's or another library's."""
        answer: Any = None if self.callback is None else self.callback(snapshot)
        boolean = getattr(answer, "ndim", 1) == 0 and str(answer.dtype).endswith("bool")
        return bool(answer) if boolean else answer is True

    def left_after(self, seconds: float) -> Options:
        """The same with what is left of the time limit."""
        if self.time_limit is None:
            return self
        return replace(self, time_limit=max(self.time_limit - seconds, LEAST))

    def check_rank(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for a rank beyond the smaller side of an A of this shape."""
        if self.rank is not None and self.rank > min(shape[-2:]):
            raise ValueError(
                f"rank must be at most {min(shape[-2:])}, the smaller side of A with shape "
                f"{tuple(shape)}, got {self.rank}"
            )

    @property
    def sampled(self) -> bool:
        """Whether A is not to be read if some of its rows and columns tell enough."""
        return self.certificate == "sampled"

    def special(self) -> set[str]:
        """Names of the options that are set and that only some methods can honour."""
        names = ("rank", "cutoff", "memory_limit")
        return {name for name in names if getattr(self, name) is not None}

    def shaped(self) -> tuple[str, ...]:
        """Names of the options that drop or damp directions of A."""
        return tuple(name for name in ("ridge", "rank", "cutoff") if getattr(self, name))


KNOWN = ("method", *(field.name for field in fields(Options)))


def split_options(function: str, options: Any, *others: str) -> tuple[Any, Options]:
    """Method and options out of keyword arguments; a name that nobody knows raises TypeError.

    `others` are arguments of the function that it has taken already.
    """
    refuse_unknown(function, options, (*KNOWN, *others))
    method, settings = options.pop("method", "auto"), Options(**options)
    if settings.sampled and function != "nystrom":
        raise ValueError(
            f"certificate='sampled' is for eagle.solve and eagle.nystrom, not for {function}, "
            "which needs all of A"
        )
    return method, settings
