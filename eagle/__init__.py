"""EAGLE: ``B A^+ C`` with a certificate, from matrix products alone."""

from eagle import problems
from eagle.api import estimate, lstsq, nystrom, pinv, solve
from eagle.completion import Completion, complete
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
from eagle.streaming import StreamingLstsq

__version__ = "0.1.0"

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
