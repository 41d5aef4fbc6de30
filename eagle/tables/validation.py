"""Scaling, rank and ridge by what fills hidden columns of rows best that were left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from eagle.tables.intervals import independent_errors
from eagle.tables.ridge import LARGEST, PER_DECADE, LeftOut
from eagle.tables.scaling import KERNELS, LINEAR, SCALINGS, Scaling, deviations

FOLDS = 5  # as good as ten on real tables, at half the cost
EXACT = 0.5  # of the error with a ridge: a truncation this good has found the rank of the table
ROUNDING = 1e-10  # of a column: an error this small is none
SOLVED = 1e-3  # standard deviations: an error that no kernel need be tried to lower
MOST = 4000  # complete rows that take part in the search
SIGNIFICANT = 3.0  # standard errors


@dataclass(frozen=True)
class Wish:
    """What the user said of the spectrum and the scaling; ``"cv"`` is left to validation."""

    rank: int | str | None
    ridge: float | str
    cutoff: float | None
    scaling: str

    @property
    def scalings(self) -> list[Scaling]:
        """Those to choose from, but for kernels."""
        return list(LINEAR.values()) if self.scaling == "cv" else [SCALINGS[self.scaling]]


@dataclass(frozen=True)
class Chosen:
    """What validation chose, and how it did.

    Attributes
    ----------
    scaling : Scaling
    rank, ridge : int or None, float
    errors : ndarray (n_left_out, n_hidden)
        Of rows that were left out; no rows if there were too few to tell.
    leverages : ndarray (n_left_out,)
        Of these rows among those that they were predicted from.
    size : float
        Root mean square of the hidden columns.
    curve : ndarray
        Relative error with 0, 1, 2, ... directions of the unscaled table.
    farther : float
        0, or if rows beyond all donors are to be filled, in an order that matters: how much
        farther they reach than those that were left out.
    tried : dict of str to float
        Error of each scaling with its best spectrum, in standard deviations of the columns.
    """

    scaling: Scaling
    rank: int | None
    ridge: float
    errors: np.ndarray = field(repr=False)
    leverages: np.ndarray = field(repr=False)
    size: float
    curve: np.ndarray = field(repr=False)
    farther: float
    tried: dict[str, float] = field(repr=False)

    @property
    def error_estimate(self) -> float:
        """Relative Frobenius error of rows like the complete ones; NaN if nothing tells."""
        if not len(self.errors):
            return np.nan
        error = float(np.sqrt((np.abs(self.errors) ** 2).mean()))
        return 0.0 if error == 0 else error / self.size if self.size else np.inf


@dataclass(frozen=True)
class _Fold:
    """Left-out rows predicted from the kept ones, direction by singular direction of these.

    With ``P = U S V^H`` the features of the kept rows and T their hidden columns: `left` are the
    left-out rows' features times V, `right` is ``U^H T``, `truth` what is to be found.
    """

    left: np.ndarray
    s: np.ndarray
    right: np.ndarray
    truth: np.ndarray
    extra: float  # leverage of the mean

    @classmethod
    def of(
        cls, A: np.ndarray, C: np.ndarray, kept: np.ndarray, scaling: Scaling, cutoff: float | None
    ) -> _Fold:
        features = scaling.fit(A[kept], C[kept])
        P, T = features.observed(A[kept]), features.hidden(C[kept], A[kept])
        U, s, Vh = _directions(P, cutoff)
        left = features.observed(A[~kept]) @ Vh.conj().T
        extra = 1 / np.count_nonzero(kept) if features.centred else 0.0
        return cls(left, s, U.conj().T @ T, features.hidden(C[~kept], A[~kept]), extra)

    def by_rank(self, ridge: float) -> np.ndarray:
        """Sums of squared errors (ranks, n_hidden) with 0, 1, 2, ... directions."""
        left, remainder = self.left * (self.s / (self.s**2 + ridge)), self.truth.copy()
        sums = np.empty((len(self.s) + 1, remainder.shape[1]))
        sums[0] = _squares(remainder)
        for k in range(len(self.s)):
            remainder -= np.outer(left[:, k], self.right[k])
            sums[k + 1] = _squares(remainder)
        return sums

    def errors(self, rank: int | None, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """Errors (rows, n_hidden) and leverages (rows,)."""
        left, s = self.left[:, :rank], self.s[:rank]
        errors = self.truth - (left * (s / (s**2 + ridge))) @ self.right[:rank]
        return errors, self.extra + (np.abs(left) ** 2 / (s**2 + ridge)).sum(axis=1)


def choose(
    A: np.ndarray, C: np.ndarray, wish: Wish, generator: np.random.Generator, ahead: int = 0
) -> Chosen:
    """Scaling, rank and ridge for hidden columns C of complete rows, observed in A.

    Parameters
    ----------
    A, C : ndarray (n, n_observed), (n, n_hidden)
    wish : Wish
    generator : Generator
        Of the folds.
    ahead : int
        How many rows are to be filled that lie beyond these in an order that matters. Then the
        later rows are predicted from the earlier ones, and these from those.
    """
    n = len(A)
    if n < 2:
        scaling = wish.scalings[0]
        rank = None if isinstance(wish.rank, str) else wish.rank
        ridge = 0.0 if isinstance(wish.ridge, str) else wish.ridge
        none = np.empty((0, C.shape[1]))
        return Chosen(scaling, rank, ridge, none, np.empty(0), np.nan, np.empty(0), 0.0, {})
    if n > MOST:
        some = np.sort(generator.choice(n, MOST, replace=False))
        A, C, n, ahead = A[some], C[some], MOST, -(-ahead * MOST // n)
    weights = 1 / deviations(C) ** 2
    masks = list(_halves(n, ahead) if ahead else _folds(n, generator))
    farther = ahead / np.count_nonzero(~masks[0]) if ahead else 0.0
    search = _Search(A, C, wish, weights, masks, farther)
    found = search.by_rank(wish.scalings[0]) if wish.ridge != "cv" or wish.rank == "cv" else None
    if wish.ridge != "cv":
        assert found is not None
        others = [search.by_rank(each) for each in wish.scalings[1:]]
        best = min([found, *others], key=lambda each: each.loss)
        return search.choice(best, [found, *others])
    ridges = [search.by_ridge(each) for each in wish.scalings]
    usual = ("none",) if ahead else ("none", "standard")  # if nothing else is better for certain
    plain = [each for each in ridges if each.scaling.name in usual] or ridges
    best = search.better(min(plain, key=lambda each: each.loss), ridges)
    rounding = ROUNDING**2 * float((np.abs(C) ** 2).mean(axis=0) @ weights / len(weights))
    if found is not None and found.loss < max(EXACT**2 * best.loss, rounding):
        return search.choice(found, [found, *ridges])
    if wish.scaling == "cv" and not ahead and best.loss > SOLVED**2 and np.isrealobj(A):
        kernels = [search.by_ridge(each) for each in KERNELS.values()]
        best = search.better(best, kernels)
        ridges += kernels
    return search.choice(best, ridges, found)


@dataclass(frozen=True)
class _Candidate:
    """One scaling with its best spectrum, and its mean squared error in standard deviations."""

    scaling: Scaling
    rank: int | None
    ridge: float
    loss: float
    errors: np.ndarray
    leverages: np.ndarray
    curve: np.ndarray


@dataclass(frozen=True)
class _Search:
    A: np.ndarray
    C: np.ndarray
    wish: Wish
    weights: np.ndarray
    masks: list[np.ndarray]
    farther: float

    def by_rank(self, scaling: Scaling) -> _Candidate:
        """The best rank, or the one that was asked for."""
        wish = self.wish
        ridge = 0.0 if isinstance(wish.ridge, str) else wish.ridge
        folds = [_Fold.of(self.A, self.C, kept, scaling, wish.cutoff) for kept in self.masks]
        tables = [fold.by_rank(ridge) for fold in folds]
        # A fold that has used up its directions stays as good as it was.
        length = max(map(len, tables))
        longer = [np.vstack([each, *[each[-1:]] * (length - len(each))]) for each in tables]
        sums: np.ndarray = np.sum(longer, axis=0)
        curve, last = sums @ self.weights, length - 1
        wished = wish.rank
        if isinstance(wished, str):
            best = 1 + int(np.argmin(curve[1:])) if last else 0
            used = None if best == last else best
        else:
            used = wished
        rank = last if used is None else used
        known = used is None or used <= min(int(kept.sum()) for kept in self.masks)
        errors, leverages = self._errors(folds, rank, ridge)
        if not known:  # the folds hold fewer rows than the rank that was asked for
            errors, leverages = errors[:0], leverages[:0]
        size = float(_squares(self.C).sum())
        relative = np.sqrt(sums.sum(axis=1) / size) if size else np.zeros(length)
        return _Candidate(scaling, used, ridge, self._loss(errors), errors, leverages, relative)

    def by_ridge(self, scaling: Scaling) -> _Candidate:
        """The best ridge: every decade first, then finer around the best."""
        features = scaling.fit(self.A, self.C)
        U, s, _ = _directions(features.observed(self.A), None)
        T = features.hidden(self.C, self.A)
        ones = np.full(len(T), len(T) ** -0.5) if features.centred else None
        rows = LeftOut(U, s, T, ones)

        def loss(power: float) -> float:
            return self._loss(rows.errors(top * 10**power)[0])

        top = float(s[0]) ** 2 if len(s) else 1.0
        lowest = int(np.ceil(np.log10(4 * max(len(s), 1) * np.finfo(s.dtype).eps)))
        coarse = {float(power): loss(power) for power in range(lowest, int(np.log10(LARGEST)) + 1)}
        centre = min(coarse, key=coarse.__getitem__)
        steps = np.arange(1 - PER_DECADE, PER_DECADE) / PER_DECADE
        fine = {centre + step: loss(centre + step) for step in steps}
        ridge = top * 10 ** min(fine, key=fine.__getitem__)
        if self.farther:
            folds = [_Fold.of(self.A, self.C, kept, scaling, None) for kept in self.masks]
            found, leverages = self._errors(folds, None, ridge)
        else:
            found, leverages = rows.errors(ridge)
        return _Candidate(scaling, None, ridge, self._loss(found), found, leverages, np.empty(0))

    def better(self, first: _Candidate, others: list[_Candidate]) -> _Candidate:
        """The best of those that beat the first for certain, by the one-standard-error rule [1]_.

        Candidates have errors in the same rows, so that the standard error is that of the mean
        difference; rows that follow each other count as few.

        References
        ----------
        .. [1] Breiman, Friedman, Olshen, Stone, "Classification and Regression Trees" (1984),
           section 3.4.3.
        """

        def by_row(candidate: _Candidate) -> np.ndarray:
            return (np.abs(candidate.errors) ** 2) @ self.weights / len(self.weights)

        count = float(len(first.errors))
        if self.farther:
            count = independent_errors(first.errors.reshape(2, -1, len(self.weights)))
        best = first
        for other in others:
            if not other.loss < best.loss:
                continue
            gain = by_row(first) - by_row(other)
            if not np.isfinite(first.loss) or gain.mean() > gain.std() / np.sqrt(count):
                best = other
        return best

    def _errors(
        self, folds: list[_Fold], rank: int | None, ridge: float
    ) -> tuple[np.ndarray, np.ndarray]:
        found = [fold.errors(rank, ridge) for fold in folds]
        errors, leverages = (np.concatenate(each) for each in zip(*found, strict=True))
        return errors, leverages

    def _loss(self, errors: np.ndarray) -> float:
        """Mean squared error in standard deviations."""
        if not errors.size:
            return np.inf
        return float((np.abs(errors) ** 2).mean(axis=0) @ self.weights / len(self.weights))

    def choice(
        self, best: _Candidate, tried: list[_Candidate], by_rank: _Candidate | None = None
    ) -> Chosen:
        curve = best.curve if by_rank is None else by_rank.curve
        return Chosen(
            best.scaling,
            best.rank,
            best.ridge,
            best.errors,
            best.leverages,
            float(np.sqrt((np.abs(self.C) ** 2).mean())) if self.C.size else 0.0,
            curve,
            self.farther,
            {each.scaling.name: float(np.sqrt(each.loss)) for each in tried},
        )


def in_order(X: np.ndarray) -> bool:
    """Whether neighbouring rows are more alike than chance makes them.

    By von Neumann's ratio [1]_ of the mean squared successive difference to twice the variance:
    1 on average for rows in random order, with a variance of ``(n - 2) / (n^2 - 1)`` if all columns
    move together, and less if they do not.

    References
    ----------
    .. [1] von Neumann, "Distribution of the ratio of the mean square successive difference to the
       variance", Annals of Mathematical Statistics 12 (1941).
    """
    n = len(X)
    scaled = (X - X.mean(axis=0)) / deviations(X)
    spread = float(_squares(scaled).sum())
    if n < 4 or spread == 0:
        return False
    ratio = float(_squares(np.diff(scaled, axis=0)).sum()) / (2 * spread)
    return ratio < 1 - SIGNIFICANT * np.sqrt((n - 2) / (n**2 - 1))


def _folds(n: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows to keep, for each of some folds at random."""
    for held_out in np.array_split(generator.permutation(n), min(FOLDS, n)):
        kept = np.ones(n, bool)
        kept[held_out] = False
        yield kept


def _halves(n: int, ahead: int) -> Iterator[np.ndarray]:
    """Rows to keep, early and late, in the proportion of what is known to what is asked."""
    count = int(np.clip(round(n * n / (n + ahead)), 1, n - 1))
    for early in (True, False):
        kept = np.arange(n) < count
        yield kept if early else kept[::-1]


def _directions(P: np.ndarray, cutoff: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The singular value decomposition without what is at rounding level, or at the cut-off."""
    import scipy.linalg  # a third of a second

    U, s, Vh = scipy.linalg.svd(P, full_matrices=False, check_finite=False)
    cutoff = max(P.shape, default=0) * np.finfo(s.dtype).eps if cutoff is None else cutoff
    kept = int(np.count_nonzero(s > cutoff * s[:1]))
    return U[:, :kept], s[:kept], Vh[:kept]


def _squares(E: np.ndarray) -> np.ndarray:
    return (np.abs(E) ** 2).sum(axis=0)
