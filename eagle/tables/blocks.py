"""Rows that miss the same columns, filled from complete rows: ``B A^+ C`` in a good scaling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eagle.api import lstsq, solve
from eagle.problem.result import Result
from eagle.tables.intervals import Spread, independent_errors
from eagle.tables.scaling import Features, deviations
from eagle.tables.validation import Chosen, Wish, choose, in_order


@dataclass(frozen=True)
class Block:
    """How the hidden columns of a row follow from its observed ones.

    Attributes
    ----------
    hidden : ndarray of bool (n_columns,)
    features : Features
    P, T : ndarray (n_donors, n_features), (n_donors, n_hidden)
        Complete rows as the regression sees them: what is given, and what is to be found.
    choice : Chosen
    cutoff : float or None
    spread : Spread
        Of the errors.
    donors : int
        Complete rows, of which P and T may be a triangular factor.
    """

    hidden: np.ndarray
    features: Features = field(repr=False)
    P: np.ndarray = field(repr=False)
    T: np.ndarray = field(repr=False)
    choice: Chosen
    cutoff: float | None
    spread: Spread = field(repr=False)
    donors: int

    @classmethod
    def learn(
        cls,
        donors: np.ndarray,
        hidden: np.ndarray,
        wish: Wish,
        generator: np.random.Generator,
        places: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Block:
        """From complete rows; `places` are their row numbers and those of what will be filled."""
        A, C = donors[:, ~hidden], donors[:, hidden]
        choice = choose(A, C, wish, generator, _ahead(A, places))
        features = choice.scaling.fit(A, C)
        P, T = features.observed(A), features.hidden(C, A)
        if not choice.farther:
            spread = Spread.of(choice.errors, choice.leverages)
        else:  # two runs of rows that follow each other
            runs = choice.errors.reshape(2, -1, C.shape[1])
            none, count = np.zeros(len(choice.errors)), independent_errors(runs)
            spread = Spread.of(choice.errors, none, deviations(C), count)
        return cls(hidden, features, P, T, choice, wish.cutoff, spread, len(P))

    @property
    def spectrum(self) -> dict[str, Any]:
        """The options of `eagle.solve` that shape it."""
        return {"rank": self.choice.rank, "ridge": self.choice.ridge, "cutoff": self.cutoff}

    def fill(self, B: np.ndarray, options: dict[str, Any]) -> tuple[np.ndarray, Result]:
        """Hidden columns of rows with observed columns B, by one solve."""
        result = solve(self.P, self.features.observed(B), self.T, **self.spectrum, **options)
        return self.features.restored(result.value, B), result

    def map(self, options: dict[str, Any]) -> Result:
        """``P^+ T``, which `apply` uses for any number of rows."""
        return lstsq(self.P, self.T, **self.spectrum, **options)

    def apply(self, result: Result, B: np.ndarray) -> np.ndarray:
        """Hidden columns of rows with observed columns B, by the result of `map`."""
        return self.features.restored(self.features.observed(B) @ result.value, B)

    def lean(self) -> Block:
        """What `apply` and `errors` need and no more: of P its triangular factor."""
        choice = replace(self.choice, errors=self.choice.errors[:0], leverages=np.empty(0))
        R = np.asarray(np.linalg.qr(self.P, mode="r"))
        return replace(self, P=R, T=self.T[:0], choice=choice)

    def errors(self, B: np.ndarray) -> np.ndarray:
        """Expected errors of the hidden columns of rows with observed columns B."""
        # Left-out rows may have been nearer: errors add up as in a random walk.
        return self.spread.errors(self._leverages(B)) * np.sqrt(self.choice.farther or 1.0)

    def _leverages(self, B: np.ndarray) -> np.ndarray:
        """``q (P^H P + ridge)^-1 q^H`` for each row q, and what the mean adds."""
        if self.choice.farther:
            return np.zeros(len(B))
        _, s, Vh = np.linalg.svd(self.P, full_matrices=False)
        cutoff = max(self.P.shape) * np.finfo(s.dtype).eps if self.cutoff is None else self.cutoff
        kept = np.flatnonzero(s > cutoff * s[:1])[: self.choice.rank]
        features = self.features.observed(B)
        along = np.abs(features @ Vh[kept].conj().T) ** 2
        leverages = (along / (s[kept] ** 2 + self.choice.ridge)).sum(axis=1)
        if self.choice.ridge and self.choice.rank is None:
            beyond = self.features.squared_lengths(B, features) - along.sum(axis=1)
            leverages += np.maximum(beyond, 0) / self.choice.ridge
        return leverages + (1 / self.donors if self.features.centred else 0.0)


def _ahead(A: np.ndarray, places: tuple[np.ndarray, np.ndarray] | None) -> int:
    """How many rows lie beyond all complete ones, if the order of rows matters."""
    if places is None or not len(A):
        return 0
    donors, rows = places
    beyond = rows.min() > donors.max() or rows.max() < donors.min()
    return len(rows) if beyond and in_order(A) else 0
