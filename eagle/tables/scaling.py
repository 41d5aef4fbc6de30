"""What is done to a table before it is taken for one of low rank, and undone afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

LANDMARKS = 500  # of a kernel: more cost more than they gain on tables of thousands of rows
SAMPLE = 200  # rows whose distances set the width of a kernel


@dataclass(frozen=True)
class Features:
    """The observed part of rows as a regression sees it, and its answers in the table's units.

    Attributes
    ----------
    name : str
    left, scale : ndarray (n_observed,)
        Taken from observed columns, and what they are divided by.
    right : ndarray (n_hidden,)
        Taken from hidden columns, which keep their scale: each is predicted by itself.
    by_row : bool
        Whether the mean of a row's observed entries is taken from it first.
    lift : Kernel or None
        From scaled observed columns to the features of a kernel.
    centred : bool
        Whether a mean was fitted, which costs one degree of freedom.
    """

    name: str
    left: np.ndarray
    scale: np.ndarray
    right: np.ndarray
    by_row: bool
    centred: bool
    lift: Kernel | None = field(default=None, repr=False)

    def observed(self, B: np.ndarray) -> np.ndarray:
        """What the regression is given of rows with observed entries B."""
        B = (B - self._rows(B) - self.left) / self.scale
        return B if self.lift is None else self.lift(B)

    def hidden(self, C: np.ndarray, A: np.ndarray) -> np.ndarray:
        """What it is to find, for rows with observed entries A and hidden ones C."""
        return C - self._rows(A) - self.right

    def restored(self, D: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Its answers in the units of the table."""
        return D + self._rows(B) + self.right

    def moved(self, observed: np.ndarray, hidden: np.ndarray) -> Features:
        """Less what these features and answers are on average."""
        right = self.right + hidden
        if self.lift is None:
            return replace(self, left=self.left + observed * self.scale, right=right)
        return replace(
            self, right=right, lift=replace(self.lift, middle=self.lift.middle + observed)
        )

    def squared_lengths(self, B: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Of the features, with what landmarks miss of a kernel if they are all rows."""
        if self.lift is None or not self.lift.whole:
            return (np.abs(features) ** 2).sum(axis=1)
        missed = 1 - ((features + self.lift.middle) ** 2).sum(axis=1)
        return (features**2).sum(axis=1) + np.maximum(missed, 0)

    def _rows(self, B: np.ndarray) -> np.ndarray | float:
        return B.mean(axis=1, keepdims=True) if self.by_row else 0.0


@dataclass(frozen=True)
class Scaling:
    """A way to centre and scale, to be fitted to complete rows."""

    name: str
    centre: bool = False
    divide: bool = False
    by_row: bool = False
    width: float | None = None  # of a kernel, in median distances

    def fit(self, A: np.ndarray, C: np.ndarray) -> Features:
        """Means and scales of observed columns A and hidden columns C of the same rows."""
        rows = A.mean(axis=1, keepdims=True) if self.by_row else 0.0
        left, right = A - rows, C - rows
        scale = deviations(left) if self.divide else np.ones(A.shape[1])
        if not self.centre:
            return Features(
                self.name, np.zeros(A.shape[1]), scale, np.zeros(C.shape[1]), self.by_row, False
            )
        means = left.mean(axis=0), right.mean(axis=0)
        plain = Features(self.name, means[0], scale, means[1], self.by_row, True)
        if self.width is None:
            return plain
        return replace(plain, lift=Kernel.fit(plain.observed(A), self.width))


LINEAR = {
    each.name: each
    for each in (
        Scaling("none"),
        Scaling("standard", centre=True, divide=True),
        Scaling("mean", centre=True),
        Scaling("effects", centre=True, by_row=True),
    )
}
KERNELS = {
    f"kernel {width:g}": Scaling(f"kernel {width:g}", centre=True, divide=True, width=width)
    for width in (1.0, 2.0, 4.0)
}
SCALINGS = LINEAR | KERNELS


def deviations(X: np.ndarray) -> np.ndarray:
    """Standard deviations of columns; 1 for constant ones, whatever rounding makes of them."""
    found = X.std(axis=0)
    level = np.finfo(found.dtype).eps * np.abs(X).max(axis=0, initial=0) * 10
    return np.where(found > level, found, 1.0)


@dataclass(frozen=True)
class Kernel:
    """Features whose products are a Gaussian kernel, by the Nyström method on some of the rows.

    ``K(Z, L) K(L, L)^(-1/2)`` with landmarks L: the rows themselves if they are few.
    """

    landmarks: np.ndarray
    width: float  # squared
    root: np.ndarray
    middle: np.ndarray
    whole: bool  # whether every row is a landmark

    @classmethod
    def fit(cls, rows: np.ndarray, width: float) -> Kernel:
        """To scaled rows; `width` in units of their median distance."""
        landmarks = rows[:: -(-len(rows) // LANDMARKS)]
        some = rows[:: -(-len(rows) // SAMPLE)]
        apart = _squared_distances(some, some)[~np.eye(len(some), dtype=bool)]
        different = apart[apart > 0]
        if 2 * len(different) <= len(apart):  # half of all pairs are equal rows
            apart = different
        squared = width**2 * (float(np.median(apart)) if len(apart) else 1.0)
        whole = len(landmarks) == len(rows)
        squares, U = np.linalg.eigh(np.exp(_squared_distances(landmarks, landmarks) / -squared))
        kept = squares > 10 * len(squares) * np.finfo(squares.dtype).eps * squares[-1:]
        root, middle = U[:, kept] / np.sqrt(squares[kept]), np.zeros(np.count_nonzero(kept))
        lift = cls(landmarks, squared, root, middle, whole)
        return replace(lift, middle=lift(rows).mean(axis=0))

    def __call__(self, Z: np.ndarray) -> np.ndarray:
        """The features of scaled rows."""
        return np.exp(_squared_distances(Z, self.landmarks) / -self.width) @ self.root - self.middle


def _squared_distances(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    return np.maximum((X**2).sum(axis=1)[:, None] + (Y**2).sum(axis=1) - 2 * X @ Y.T, 0)
