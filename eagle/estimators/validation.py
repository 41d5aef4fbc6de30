"""Data as scikit-learn checks them, with columns that are not numbers named."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

__all__ = ["validated"]


def validated(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """`sklearn.utils.validation.validate_data`; ValueError for what is not a number."""
    _check_columns(X)
    try:
        return validate_data(estimator, X, *y, **options)
    except ValueError as error:
        if "string" in str(error):
            name = "X or y" if y else "X"
            raise ValueError(f"{name} has entries that are not numbers: {error}") from None
        raise


def _check_columns(X: Any) -> None:
    """Refuse data frames with columns that are not numbers, by their names."""
    if not (hasattr(X, "dtypes") and hasattr(X, "columns")):
        return
    wrong = [
        f"{name!r} ({kind})"
        for name, kind in zip(X.columns, X.dtypes, strict=True)
        if not _is_numeric(X[name], kind)
    ]
    if wrong:
        raise ValueError(
            f"X has columns that are not numbers: {', '.join(wrong[:5])}; encode them, or leave "
            "them to another step of a ColumnTransformer"
        )


def _is_numeric(column: Any, kind: Any) -> bool:
    """Whether a column holds numbers, possibly as objects; codes of categories are none."""
    if getattr(kind, "kind", "O") != "O" or str(kind).lower().startswith("categor"):
        return getattr(kind, "kind", "O") in "biuf"
    try:
        np.asarray(column, np.float64)
    except (TypeError, ValueError):
        return False
    return True
