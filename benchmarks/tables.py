"""Real tables with holes in them, filled by `eagle.complete` and by others.

Sections: ``rows`` (data set by pattern of holes: the error of the filled entries in standard
deviations of their columns, beside RidgeCV, scikit-learn's imputers, SoftImpute and an iterated
SVD; what was expected of them, coverage and width of 90 % intervals, beside a bootstrap's),
``scattered`` (low rank with and without noise beside the oracle rank; 10,000 x 500), ``panels``
(states and countries that nothing was done to, filled beside two packages of synthetic controls).
Patterns: ``block`` half of the rows by half of the columns at random, ``late`` the same with the
later half of whatever has an order, ``scattered`` a fifth of all entries. Rivals are run as they
come, IterativeImputer not on tables where it would take hours. Twenty rows count: ten data sets
with a block, seven that have an order, and three without one scattered; seven more are shown.
Needs ``pip install -c constraints.txt '.[bench]'``; see `benchmarks.datasets`.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import eagle
from benchmarks.common import Report, Spread, Suite
from benchmarks.datasets import TABLES

NO_ORDER = ("diabetes", "wine", "breast cancer")  # of scikit-learn, beside `datasets.TABLES`
WITHIN = 1.05  # of the best rival's error
LARGE = 500  # columns from which IterativeImputer takes hours
DRAWS = 30  # of a bootstrap
TEN = 10  # the rank of an iterated SVD that nobody gave one
Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]

suite = Suite("tables", __doc__)
suite.add_argument("--data", nargs="+", metavar="NAME", help="only these data sets")
main = suite.main


@dataclass(frozen=True)
class Row:
    """One data set with one pattern of holes, and whether it is one of the twenty."""

    data: str
    X: np.ndarray
    ordered: int | None
    pattern: str
    counts: bool

    def missing(self, seed: int) -> np.ndarray:
        """Where the holes are."""
        rng = np.random.default_rng(seed)
        n, m = self.X.shape
        if self.pattern == "scattered":
            missing = rng.random(self.X.shape) < 0.2
            missing[(~missing).sum(axis=1) < 2] = False
            return missing
        missing = np.zeros((n, m), bool)
        late = self.ordered if self.pattern == "late" else None
        rows, columns = (
            (np.arange(size) if late == axis else rng.permutation(size))[size - size // 2 :]
            for axis, size in enumerate((n, m))
        )
        missing[np.ix_(rows, columns)] = True
        return missing

    def error(self, filled: np.ndarray, missing: np.ndarray) -> float:
        """Root mean square, in standard deviations of the whole columns."""
        deviations = self.X.std(axis=0)
        scaled = (filled - self.X) / np.where(deviations > 0, deviations, 1)
        return float(np.sqrt((scaled[missing] ** 2).mean()))


def all_rows(report: Report, wanted: list[str] | None) -> Iterator[Row]:
    """Data sets with each of their patterns."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

    sets: dict[str, tuple[Callable[[], np.ndarray], int | None]] = {}
    for name, table in TABLES.items():
        if table.installed:
            sets[name] = table.load, table.ordered
        else:
            report.say(f"{name}: not run, as {table.package} is not installed")
    loaders = load_diabetes, load_wine, load_breast_cancer
    for name, load in zip(NO_ORDER, loaders, strict=True):
        sets[name] = lambda load=load: load().data, None
    for name, (load, ordered) in sets.items():
        if wanted is not None and name not in wanted:
            continue
        X = load()
        yield Row(name, X, ordered, "block", True)
        if ordered is not None:
            yield Row(name, X, ordered, "late", True)
        yield Row(name, X, ordered, "scattered", ordered is None)


@suite.section
def rows(report: Report, options: argparse.Namespace) -> None:
    """Every data set with its patterns of holes, and who fills them."""
    warnings.simplefilter("ignore")  # of rivals that do not converge
    report.section("errors in standard deviations, over splits", ("data", "pattern"))
    for row in all_rows(report, options.data):
        large = row.X.shape[1] > LARGE
        seeds = range(options.seed, options.seed + (1 if large or options.quick else 5))
        rivals = _rivals(row, options.quick)
        found: dict[str, list[tuple[float, float]]] = {who: [] for who in ("eagle", *rivals)}
        said, covered, widths, bootstrapped = [], [], [], []
        for seed in seeds:
            missing = row.missing(seed)
            holed = np.where(missing, np.nan, row.X)
            start = time.perf_counter()
            done = eagle.complete(holed, rng=seed)
            seconds = time.perf_counter() - start
            found["eagle"].append((row.error(done.X, missing), seconds))
            said.append(_ratio(done, row.X, missing))
            inside = (done.lower <= row.X) & (done.upper >= row.X)
            covered.append(float(inside[missing].mean()))
            deviations = np.where(row.X.std(axis=0) > 0, row.X.std(axis=0), 1)
            widths.append(float((((done.upper - done.lower) / deviations)[missing]).mean()))
            if not large and row.pattern != "scattered":
                bootstrapped.append(_bootstrap(holed, missing, deviations, seed))
            for who, fill in rivals.items():
                if row.X.size > 20_000 and who == "IterativeImputer" and seed > options.seed:
                    continue  # a minute each
                start = time.perf_counter()
                filled = fill(holed, missing)
                found[who].append((row.error(filled, missing), time.perf_counter() - start))
        errors = {who: Spread(tuple(e for e, _ in each)) for who, each in found.items()}
        # A rival that ran on one split is compared on that split.
        over = max(
            float(np.median([e for e, _ in found["eagle"]][: len(found[who])])) / errors[who].median
            for who in rivals
        )
        times = {who: float(np.median([t for _, t in each])) for who, each in found.items()}
        report.row(
            data=row.data, pattern=row.pattern, one_of_20=row.counts, error=errors["eagle"],
            **{who: errors[who].median if who in errors else np.nan for who in RIVALS},
            over_best_rival=over, verdict="within 5 %" if over <= WITHIN else "LOST",
            expected_over_error=float(np.median(said)), coverage=float(np.median(covered)),
            width=float(np.median(widths)),
            bootstrap_width=float(np.median(bootstrapped)) if bootstrapped else np.nan,
            ms=1e3 * times["eagle"],
            times_faster_than_iterative=times.get("IterativeImputer", np.nan) / times["eagle"],
        )  # fmt: skip


def _ratio(done: eagle.Completion, X: np.ndarray, missing: np.ndarray) -> float:
    """Expected error over the error, in the deviations of what was observed."""
    scaled = (done.X - X) / done.column_deviations
    return done.standardized_error / float(np.sqrt((scaled[missing] ** 2).mean()))


def _bootstrap(holed: np.ndarray, missing: np.ndarray, deviations: np.ndarray, seed: int) -> float:
    """Width of 90 % intervals of a ridge regression on resampled rows, with its residuals."""
    rng = np.random.default_rng(seed)
    rows, columns = missing.any(axis=1), missing.any(axis=0)
    A, B, C = holed[~rows][:, ~columns], holed[rows][:, ~columns], holed[~rows][:, columns]
    draws = []
    for _ in range(DRAWS):
        some = rng.integers(len(A), size=len(A))
        model = _ridge(A[some], C[some])
        left = np.setdiff1d(np.arange(len(A)), some)
        residuals = C[left] - model.predict(A[left]).reshape(len(left), -1)
        noise = residuals[rng.integers(len(left), size=len(B))]
        draws.append(model.predict(B).reshape(len(B), -1) + noise)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return float(((high - low) / deviations[columns]).mean())


def _ridge(A: np.ndarray, C: np.ndarray) -> Any:
    from sklearn.linear_model import RidgeCV

    largest = np.linalg.norm(A - A.mean(axis=0), 2) ** 2
    return RidgeCV(largest * np.logspace(-14, 1, 61)).fit(A, C)


RIVALS = ("RidgeCV", "KNNImputer", "IterativeImputer", "SoftImpute", "iterated SVD")


def _rivals(row: Row, quick: bool) -> dict[str, Filler]:
    """Who else fills such a table, as they come."""
    import pandas as pd
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    def ridge(holed: np.ndarray, missing: np.ndarray) -> np.ndarray:
        rows, columns = missing.any(axis=1), missing.any(axis=0)
        model = _ridge(holed[~rows][:, ~columns], holed[~rows][:, columns])
        filled = holed.copy()
        values = model.predict(holed[rows][:, ~columns])
        filled[np.ix_(rows, columns)] = values.reshape(rows.sum(), columns.sum())
        return filled

    def standardised(fill: Callable[[np.ndarray], np.ndarray]) -> Filler:
        """Centred and scaled, without which it is far worse on most tables."""

        def filler(holed: np.ndarray, _: np.ndarray) -> np.ndarray:
            mean, scale = np.nanmean(holed, axis=0), np.nanstd(holed, axis=0)
            scale = np.where(scale > 0, scale, 1)
            return fill((holed - mean) / scale) * scale + mean

        return filler

    def soft(holed: np.ndarray) -> np.ndarray:
        from imputation_methods import SoftImputeImputer

        return np.asarray(SoftImputeImputer().impute(pd.DataFrame(holed)))

    def imputer(make: Callable[[], Any]) -> Filler:
        return lambda holed, _: make().fit_transform(holed)

    found: dict[str, Filler] = {}
    if row.pattern != "scattered":
        found["RidgeCV"] = ridge
    if row.X.size < 1e6 or not quick:
        found["KNNImputer"] = imputer(KNNImputer)
    if row.X.shape[1] <= LARGE and not (quick and row.X.shape[1] > 30):
        found["IterativeImputer"] = imputer(lambda: IterativeImputer(random_state=0))
    if importlib.util.find_spec("imputation_methods") and not (quick and row.X.size > 1e6):
        found["SoftImpute"] = standardised(soft)
    rank = min(TEN, min(row.X.shape) - 1)
    found["iterated SVD"] = standardised(lambda holed: _iterated_svd(holed, rank))
    return found


@suite.section
def scattered(report: Report, options: argparse.Namespace) -> None:
    """A fifth of a table of rank 5 or 10."""
    report.section("low rank, a fifth missing, relative error", ("shape", "noise"))
    sizes = [(200, 50, 5, 0.0), (200, 50, 5, 0.3)]
    sizes += [] if options.quick else [(10_000, 500, 10, 0.1)]
    for n, m, rank, noise in sizes:
        rng = np.random.default_rng(options.seed)
        X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
        X += noise * rng.standard_normal(X.shape)
        missing = rng.random(X.shape) < 0.2
        holed = np.where(missing, np.nan, X)
        start = time.perf_counter()
        done = eagle.complete(holed, rng=options.seed)
        seconds = time.perf_counter() - start
        oracle = eagle.complete(holed, rank=rank, rng=options.seed)

        def error(filled: np.ndarray, X: np.ndarray = X, at: np.ndarray = missing) -> float:
            return float(np.linalg.norm((filled - X)[at]) / np.linalg.norm(X[at]))

        assert done.factors is not None
        report.row(
            shape=f"{n} x {m}", noise=noise, rank=done.rank, error=error(done.X),
            oracle_rank_error=error(oracle.X),
            iterated_svd=error(_iterated_svd(holed, rank)) if n <= 200 else np.nan,
            expected=done.error_estimate, sweeps=done.factors.sweeps,
            stationarity=done.factors.stationarity, seconds=seconds,
        )  # fmt: skip


def _iterated_svd(holed: np.ndarray, rank: int, rounds: int = 100) -> np.ndarray:
    """Ten lines that anyone would write (Troyanskaya et al., Bioinformatics 17(6), 2001)."""
    missing = np.isnan(holed)
    filled = np.where(missing, np.nanmean(holed, axis=0), holed)
    for _ in range(rounds):
        try:
            U, s, Vh = np.linalg.svd(filled, full_matrices=False)
        except np.linalg.LinAlgError:  # OpenBLAS on some processors: it does not converge
            return np.full_like(holed, np.inf)
        filled[missing] = ((U[:, :rank] * s[:rank]) @ Vh[:rank])[missing]
    return filled


@suite.section
def panels(report: Report, options: argparse.Namespace) -> None:
    """Units that nothing was done to, each filled from the others after a date."""
    from pathlib import Path

    import pandas as pd

    report.section("placebos: error of what is filled in, and intervals", ("panel", "who"))
    spec = importlib.util.find_spec("causalpy")
    if spec is None or not spec.submodule_search_locations:
        report.say("not run, as causalpy is not installed")
        return
    folder = Path(spec.submodule_search_locations[0]) / "data"
    states = pd.read_csv(folder / "california_prop99.csv").set_index("Year").T
    countries = pd.read_csv(folder / "GDP_in_dollars_billions.csv").set_index("Time").T
    for name, panel, treated, start in (
        ("Prop 99", states, "California", 1989),
        ("GDP", countries, "UK", countries.columns[36]),
    ):
        after = np.array([column >= start for column in panel.columns])
        Y = panel.drop(index=treated).to_numpy(float)
        Y = Y[:6] if options.quick else Y
        fillers: dict[str, Callable[[int], np.ndarray]] = {"pysyncon": _pysyncon(Y, after)}
        if importlib.util.find_spec("okunfa"):
            fillers["okunfa"] = _okunfa(Y, after)
        for who in ("eagle", *fillers):
            errors, covered, start_time = [], [], time.perf_counter()
            for i in range(len(Y)):
                if who == "eagle":
                    done = eagle.complete(Y, treated={i: int(np.argmax(after))}, rng=options.seed)
                    filled = done.X[i, after]
                    inside = (done.lower <= Y) & (done.upper >= Y)
                    covered.append(float(inside[i, after].mean()))
                else:
                    filled = fillers[who](i)[after]
                errors.append(float(np.sqrt(((filled - Y[i, after]) ** 2).mean())))
            report.row(
                panel=name,
                who=who,
                median_error=float(np.median(errors)),
                rms_error=float(np.sqrt(np.mean(np.square(errors)))),
                coverage=float(np.mean(covered)) if covered else np.nan,
                seconds_each=(time.perf_counter() - start_time) / len(Y),
            )
        effects = eagle.complete(panel, treated={treated: start}, rng=options.seed).effects
        assert effects is not None
        report.say(f"{treated}: mean effect {effects.mean[0]:.3g}, p = {effects.p_values[0]:.2g}")


def _pysyncon(Y: np.ndarray, after: np.ndarray) -> Callable[[int], np.ndarray]:
    import pandas as pd
    from pysyncon import Synth

    def fill(i: int) -> np.ndarray:
        others = np.delete(np.arange(len(Y)), i)
        before = pd.DataFrame(Y[others][:, ~after].T, columns=others)
        own = pd.Series(Y[i, ~after], name=i)
        model = Synth()
        model.fit(X0=before, X1=own, Z0=before, Z1=own, custom_V=np.ones(len(before)))
        return model.W @ Y[others]

    return fill


def _okunfa(Y: np.ndarray, after: np.ndarray) -> Callable[[int], np.ndarray]:
    from okunfa.core import SyntheticControl

    periods = np.arange(Y.shape[1])
    thirds = np.array_split(periods[~after], 3)

    def fill(i: int) -> np.ndarray:
        units = {str(k): Y[k] for k in range(len(Y))}
        predictors = {
            f"part {part}": {name: float(path[third].mean()) for name, path in units.items()}
            for part, third in enumerate(thirds)
        }
        fit = SyntheticControl(outer_restarts=1).fit(
            outcome=units,
            periods=periods,
            treated=str(i),
            donors=[name for name in units if name != str(i)],
            pre_mask=~after,
            predictors=predictors,
        )
        return fit.synthetic

    return fill
