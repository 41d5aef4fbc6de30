"""Adversarial problems by the hundred thousand: answers that are wrong without a word.

Problem number i of a seed is always the same: a matrix of some family, blocks B and C, a dtype, a
memory layout, a function, a method and options. Every answer is judged against singular value
decompositions in extended precision (one-sided Jacobi in ``longdouble``; float64 for problems in
single precision).

What counts as right is in `benchmarks.fuzz.truth`. Error estimates are held against exact rational
answers in `benchmarks.fuzz.promise`, for which python-flint is needed.
"""

from benchmarks.fuzz.campaign import Tally, main, rivals, run
from benchmarks.fuzz.cases import Case, draw
from benchmarks.fuzz.families import FAMILIES
from benchmarks.fuzz.truth import Verdict, judge, reference

__all__ = [
    "FAMILIES",
    "Case",
    "Tally",
    "Verdict",
    "draw",
    "judge",
    "main",
    "reference",
    "rivals",
    "run",
]
