"""Every method, by the word that names it. Adding one is one file and one line here."""

from __future__ import annotations

import difflib
from typing import Any

from eagle.methods.base import Method
from eagle.methods.compressed.method import Compressed
from eagle.methods.conjugate_gradient import ConjugateGradient
from eagle.methods.direct import DRIVERS, Direct
from eagle.methods.eagle.method import Eagle
from eagle.methods.gradient_descent import GradientDescent
from eagle.methods.lsmr import LSMR
from eagle.methods.newton_schulz import NewtonSchulz
from eagle.methods.sketched.method import Sketched
from eagle.methods.stochastic import StochasticGradientDescent

__all__ = [
    "LSMR",
    "METHODS",
    "Compressed",
    "ConjugateGradient",
    "Direct",
    "Eagle",
    "GradientDescent",
    "NewtonSchulz",
    "Sketched",
    "StochasticGradientDescent",
    "as_method",
]

METHODS: dict[str, type] = {
    "eagle": Eagle,
    "cg": ConjugateGradient,
    "gd": GradientDescent,
    "newton-schulz": NewtonSchulz,
    "lsmr": LSMR,
    "direct": Direct,
    "compressed": Compressed,
    "sketched": Sketched,
    "sgd": StochasticGradientDescent,
}


def as_method(method: Any) -> Method | None:
    """A method from its name or an instance; None for ``"auto"``."""
    if isinstance(method, str):
        if method == "auto":
            return None
        if method not in METHODS:
            if method in DRIVERS:
                raise ValueError(
                    f"method {method!r} is a driver of LAPACK: give eagle.Direct({method!r})"
                )
            near = difflib.get_close_matches(method, [*METHODS, "auto"], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            names = ", ".join(map(repr, ["auto", *METHODS]))
            raise ValueError(f"method {method!r} is not one of {names}{hint}")
        return METHODS[method]()
    if not isinstance(method, Method):
        raise TypeError(
            f"method must be a name or an instance such as eagle.Eagle(), got {method!r}"
        )
    return method
