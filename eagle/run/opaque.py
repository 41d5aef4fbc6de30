"""What a compiler that traces Python calls as it is: a solve looks at numbers and decides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_hidden: dict[Callable[..., object], Callable[..., object]] = {}


def opaque(function: Callable[P, T]) -> Callable[P, T]:
    """The same function, which `torch.compile` calls instead of tracing it.

    torch is not imported for it, and its compiler, which takes a second to import, only by those
    who compile.
    """

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        if "torch._dynamo" in sys.modules:
            if function not in _hidden:
                _hidden[function] = sys.modules["torch"].compiler.disable(function)
            return _hidden[function](*args, **options)  # type: ignore[return-value]
        return function(*args, **options)

    # The compiler counts what it has made of a code object, so each function gets its own.
    call.__code__ = call.__code__.replace(co_name=function.__name__)  # type: ignore[attr-defined]
    return call
