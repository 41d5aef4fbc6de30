"""Data as scikit-learn checks them, with columns that are not numbers named."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data

from eagle.estimators.arrays import Library
from eagle.tables.frames import library_of


def validated(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """`sklearn.utils.validation.validate_data`, or a sentence about what is not a number.

    Raises
    ------
    ValueError
        For categories, strings and dates, naming the columns of a data frame, and whatever else
        scikit-learn refuses.
    TypeError
        For arrays of another library, if the estimator cannot use them.
    """
    for name, data in (("X", X), *(("y", each) for each in y)):
        if type(data).__module__.split(".")[0] == "dask":
            raise TypeError(
                f"{name} is a Dask collection, which {type(estimator).__name__} would compute all "
                "at once: give partial_fit its chunks where there is such a method, use "
                "eagle.lstsq or eagle.complete, or compute it yourself"
            )
    _check_columns(X)
    library = Library.of(X)
    if library is not None and not get_tags(estimator).array_api_support:
        raise TypeError(
            f"X lives in {library}, which {type(estimator).__name__} cannot use: pass a numpy array"
        )
    try:
        return validate_data(estimator, X, *y, **options)
    except ValueError as error:
        if "string" in str(error):
            name = "X or y" if y else "X"
            raise ValueError(f"{name} has entries that are not numbers: {error}") from None
        raise


def _check_columns(X: Any) -> None:
    """Refuse data frames with columns that are not numbers, by their names."""
    if library_of(X) in (None, "pyarrow"):  # a table of which has no dtypes
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
