"""How every loop here is compiled: without Python's lock, cached on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Sums may be reordered, which lets them vectorise; NaN and infinity keep their meaning.
REORDERED = frozenset({"reassoc", "contract", "nsz"})


def compiled(*signatures: Any, reordered: bool = False) -> Callable[[Any], Any]:
    """Decorator for functions of numpy arrays, compiled for `signatures` or at the first call.

    numba keeps what it has compiled beside the module, in the user's cache directory, or where
    ``NUMBA_CACHE_DIR`` points to. Where none of them can be written to, it is compiled anew in
    every process.

    Parameters
    ----------
    *signatures : numba types, optional
    reordered : bool
        Whether the order of sums does not matter.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": set(REORDERED) if reordered else False,
    }
    given = list(signatures) or None

    def compile_(function: Any) -> Any:
        try:
            return numba.njit(given, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return numba.njit(given, **options)(function)

    return compile_
