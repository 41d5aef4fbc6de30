"""Which method runs, and why, in one line."""

from __future__ import annotations

from typing import Any

from eagle.methods import METHODS, Direct, Eagle, as_method
from eagle.methods.base import Method
from eagle.options import Options
from eagle.problem import Problem

__all__ = ["plan"]


def plan(method: Any, problem: Problem, options: Options) -> tuple[Method, str]:
    """Resolve `method` and refuse options that it cannot honour.

    Returns
    -------
    method : Method
        The instance that runs.
    reason : str
        One line for ``Result.plan``.
    """
    chosen = as_method(method)
    wanted = options.spectral()
    if chosen is None:
        if wanted:
            names = " and ".join(sorted(wanted))
            return Direct(), f"auto: {names} truncates the spectrum, which takes an SVD"
        if not problem.A.size:
            return Direct(), "auto: nothing to compute"
        return Eagle(schedule="cholesky"), (
            "auto: Cholesky-conditioned EAGLE needs the fewest flops of the methods that are as "
            "accurate as a direct solver"
        )
    for option in sorted(wanted - chosen.supports):
        able = [name for name, kind in METHODS.items() if option in kind().supports]
        raise ValueError(
            f"{option} cannot be honoured by {chosen!r}; use method={' or '.join(map(repr, able))}"
        )
    return chosen, f"asked for: {type(chosen).__name__}"
