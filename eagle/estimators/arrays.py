"""Arrays of other libraries, which scikit-learn lets through if ``array_api_dispatch`` is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils._array_api import (
    _convert_to_numpy,
    _max_precision_float_dtype,
    get_namespace_and_device,
)


@dataclass(frozen=True)
class Library:
    """Where an array lives: its library, by its functions, and its device."""

    xp: Any
    device: Any

    @classmethod
    def of(cls, X: Any) -> Library | None:
        """That of X; None for what scikit-learn takes for numpy's, and for sparse matrices."""
        if not get_config()["array_api_dispatch"] or not hasattr(X, "dtype") or issparse(X):
            return None
        if isinstance(X, np.ndarray):
            return None
        xp, _, device = get_namespace_and_device(X)
        return cls(xp, device)

    def __str__(self) -> str:
        return f"{self.xp.__name__.rpartition('.')[2]} on {self.device}"

    def to_numpy(self, X: Any) -> np.ndarray:
        """A copy in the host's memory, or none where X is there already."""
        return np.asarray(_convert_to_numpy(X, self.xp))

    def from_numpy(self, X: np.ndarray) -> Any:
        """A copy on the device, floating point in the dtype that `double` has there."""
        dtype = self._widest() if X.dtype.kind == "f" else None
        return self.xp.asarray(X, dtype=dtype, device=self.device)

    def double(self, X: Any) -> Any:
        """X in float64, or in float32 where the device has no more."""
        return self.xp.astype(X, self._widest())

    def finite(self, X: Any) -> bool:
        """Whether X has neither NaN nor infinity."""
        return bool(self.xp.all(self.xp.isfinite(X)))

    def _widest(self) -> Any:
        return _max_precision_float_dtype(self.xp, self.device)
