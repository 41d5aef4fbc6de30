"""EAGLE: ``B A^+ C`` with a certificate, from matrix products alone."""

import importlib
from types import ModuleType

from eagle import problems
from eagle.api import estimate, lstsq, nystrom, pinv, solve
from eagle.gradients.formula import GradientWarning
from eagle.methods import (
    LSMR,
    METHODS,
    Compressed,
    ConjugateGradient,
    Direct,
    Eagle,
    GradientDescent,
    NewtonSchulz,
    Sketched,
    StochasticGradientDescent,
)
from eagle.problem.result import ConvergenceError, ConvergenceWarning, Iteration, Result, Status
from eagle.solver import Solver
from eagle.streaming import StreamingLstsq
from eagle.tables.completion import complete
from eagle.tables.result import Completion

__version__ = "0.2.0"

__all__ = [
    "LSMR",
    "METHODS",
    "Completion",
    "Compressed",
    "ConjugateGradient",
    "ConvergenceError",
    "ConvergenceWarning",
    "Direct",
    "Eagle",
    "GradientDescent",
    "GradientWarning",
    "Iteration",
    "NewtonSchulz",
    "Result",
    "Sketched",
    "Solver",
    "Status",
    "StochasticGradientDescent",
    "StreamingLstsq",
    "complete",
    "estimate",
    "lstsq",
    "nystrom",
    "pinv",
    "problems",
    "solve",
]

# Imported when somebody asks for them, as they need packages that `import eagle` does not.
_LAZY = ("attention", "distributed", "estimators", "transformer")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
