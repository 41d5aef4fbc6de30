"""The one place where tests get their tolerances from."""

from __future__ import annotations

from typing import Any

import numpy as np


def tolerance(dtype: Any, condition: float = 1.0, *, constant: float = 50.0) -> float:
    """``constant * eps * condition``, with eps of `dtype` and a small stated constant."""
    return constant * float(np.finfo(dtype).eps) * condition


def relative_error(value: Any, reference: Any) -> float:
    """Frobenius distance relative to the reference; the plain distance if that is zero."""
    value, reference = np.asarray(value), np.asarray(reference)
    assert value.shape == reference.shape
    wide = np.result_type(value, reference, np.float64)
    value, reference = value.astype(wide), reference.astype(wide)
    # Scaled, so that entries near the ends of the range have a norm.
    scale = np.abs(reference).max(initial=0.0) or 1.0
    distance = np.linalg.norm(value / scale - reference / scale)
    size = np.linalg.norm(reference / scale)
    return float(distance / size if size else distance)
