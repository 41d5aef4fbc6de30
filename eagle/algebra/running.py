"""A triangular factor that rows are added to: the QR factorisation of a matrix nobody holds."""

from __future__ import annotations

from typing import Any

import numpy as np

STRIP = 2**20  # entries that are factorised at a time
SHARE = 2  # rows that wait to be factorised together, in units of the factor's
PANEL = 32  # columns of a block reflector


class RunningFactor:
    """Upper triangular R with ``R^H R = M^H M`` for all rows M that were given so far.

    Rows are eliminated against R by Householder reflectors [1]_: nothing is squared, and scaling a
    column scales that of R. A few rows at a time wait until there are as many as R has, which
    makes a row as cheap as in one large factorisation.

    Parameters
    ----------
    width : int
        Columns of M.
    dtype : dtype
        float64 or complex128.
    forget : float
        Every row multiplies the squares of all before it by this.

    References
    ----------
    .. [1] Buttari, Langou, Kurzak, Dongarra, "A class of parallel tiled linear algebra algorithms
       for multicore architectures", Parallel Computing 35 (2009), kernel TSQRT; ``tpqrt`` in
       LAPACK.

    Examples
    --------
    >>> import numpy as np
    >>> from eagle.algebra.running import RunningFactor
    >>> M = np.arange(6.0).reshape(3, 2)
    >>> running = RunningFactor(2, float)
    >>> for row in M:
    ...     running.add(row[None])
    >>> np.allclose(running.R.T @ running.R, M.T @ M)
    True
    """

    def __init__(self, width: int, dtype: Any, forget: float = 1.0):
        self.forget = forget
        self._R = np.zeros((width, width), dtype, order="F")
        self._waiting: list[np.ndarray] = []

    @property
    def R(self) -> np.ndarray:
        """The factor (width, width); whoever is given it must not write to it."""
        self._eliminate()
        return self._R

    def add(self, rows: np.ndarray) -> None:
        """Take in rows (m, width), which are kept as they are until they are many."""
        width = len(self._R)
        step = max(SHARE * width, STRIP // max(width, 1))
        for start in range(0, len(rows), step):
            self._waiting.append(rows[start : start + step])
            if sum(map(len, self._waiting)) >= SHARE * width:
                self._eliminate()

    def merged(self, other: RunningFactor, rows: int) -> RunningFactor:
        """That of the rows of both, those of `other`, which are so many, coming last."""
        dtype = np.result_type(self._R, other._R)
        both = RunningFactor(len(self._R), dtype, self.forget)
        both._R = np.asfortranarray(self.R * self.forget ** (rows / 2), dtype)
        both._absorb(other.R.astype(dtype))
        return both

    def widened(self, dtype: Any) -> None:
        """Go on in another dtype."""
        if self._R.dtype != dtype:
            self._R = self.R.astype(dtype, order="F")

    def _eliminate(self) -> None:
        """Factorise what is waiting."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting).astype(self._R.dtype, copy=False)
        self._waiting = []
        if self.forget < 1:
            ages = np.arange(len(rows))[::-1, None]
            rows = rows * self.forget ** (ages / 2)
            self._R = self._R * self.forget ** (len(rows) / 2)
        self._absorb(rows)

    def _absorb(self, rows: np.ndarray) -> None:
        from scipy.linalg import get_lapack_funcs

        width = len(self._R)
        if not width or not len(rows):
            return
        eliminate = get_lapack_funcs("tpqrt", dtype=self._R.dtype)
        R, *_, info = eliminate(0, min(PANEL, width), self._R, np.asfortranarray(rows))
        assert info == 0, info
        self._R = R
