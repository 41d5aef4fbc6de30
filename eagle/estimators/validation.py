"""Data as scikit-learn checks them, with columns that are not numbers named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin
from sklearn.utils import get_tags
from sklearn.utils.validation import _check_sample_weight, validate_data

from eagle.estimators.arrays import Library
from eagle.problem.options import check_number
from eagle.tables.frames import library_of
from eagle.tables.ridge import default_ridges


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


def floating(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """The same for rows that may be sparse, in single or double precision."""
    kinds: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}
    if y and isinstance(estimator, MultiOutputMixin):
        kinds |= {"multi_output": True, "y_numeric": True}
    return validated(estimator, X, *y, **kinds, **options)


def sample_weights(weights: Any, X: Any, dtype: Any = None) -> np.ndarray:
    """Weights of the rows of X, not negative; all 1 by default."""
    if weights is None:
        return np.ones(X.shape[0], dtype)
    return np.asarray(_check_sample_weight(weights, X, dtype=dtype, ensure_non_negative=True))


def check_ridges(estimator: Any) -> None:
    """Raise unless `ridges`, if they are given, are numbers of at least 0."""
    if estimator.ridges is not None:
        for each in np.ravel(estimator.ridges).tolist() or [None]:
            check_number("ridges", each)


def choose_ridge(
    estimator: Any, s: np.ndarray, errors: Callable[[np.ndarray], np.ndarray]
) -> float:
    """The one of `ridges`, by default of a grid for these singular values, with the least error."""
    grid = default_ridges(s) if estimator.ridges is None else estimator.ridges
    estimator.ridges_ = np.ravel(np.asarray(grid, float))
    estimator.cv_errors_ = errors(estimator.ridges_)
    return float(estimator.ridges_[np.argmin(estimator.cv_errors_)])


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
