"""Every distributed method by the word that names it."""

from __future__ import annotations

import difflib
from typing import Any

from eagle.distributed.methods.apc import APC
from eagle.distributed.methods.averaging import Averaging
from eagle.distributed.methods.compressed import Compressed
from eagle.distributed.methods.krylov import Krylov
from eagle.distributed.methods.normal import ConjugateGradient, GradientDescent, Pooled
from eagle.distributed.methods.reductions import TSQR, Gram
from eagle.distributed.methods.seminormal import SemiNormal

METHODS: dict[str, Any] = {
    "eagle": Averaging(),
    "eagle-frozen": Averaging(freeze=True),
    "krylov": Krylov(),
    "apc": APC(),
    "gd": GradientDescent(),
    "cg": ConjugateGradient(),
    "pooled": Pooled(),
    "gram": Gram(),
    "seminormal": SemiNormal(),
    "tsqr": TSQR(),
    "compressed": Compressed(),
}


def as_method(name: Any) -> Any:
    """A method by its name; None for ``"auto"``."""
    if not isinstance(name, str):
        raise TypeError(f"method must be a name, got {type(name).__name__}")
    if name == "auto":
        return None
    if name not in METHODS:
        near = difflib.get_close_matches(name, [*METHODS, "auto"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"method {name!r} is not one of {', '.join(['auto', *METHODS])}{hint}")
    return METHODS[name]
