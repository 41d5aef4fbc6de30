"""Arrays of other libraries. scikit-learn wants a variable set before scipy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from sklearn.tests import test_kernel_approximation as upstream

ROOT = Path(__file__).parents[2]

UPSTREAM = """
import warnings
from itertools import product
from sklearn.metrics.pairwise import kernel_metrics
from sklearn.tests import test_kernel_approximation as upstream
from eagle.estimators import Nystroem
upstream.Nystroem = Nystroem
warnings.filterwarnings("ignore", "n_components=")
kernels = [*kernel_metrics(), upstream._linear_kernel, "precomputed"]
test = upstream.test_nystroem_approximation_array_api
for device, dtype, kernel, size in product(
    [("numpy", None), ("torch", "cpu")], ["float32", "float64"], kernels, [2, 100]
):
    test(*device, dtype, kernel, size)
"""

OURS = """
import numpy as np, torch
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel
from eagle.estimators import Nystroem
X = (load_digits().data[:300] / 16).astype(np.float32)
for gamma in (1e-6, 1e-3):
    K = rbf_kernel(X.astype(float), gamma=gamma)
    nystroem = Nystroem(gamma=gamma, n_components=100, random_state=0, landmarks="leverage")
    wanted = nystroem.fit_transform(X).astype(float)
    with config_context(array_api_dispatch=True):
        Z = nystroem.fit_transform(torch.asarray(X))
        assert isinstance(Z, torch.Tensor) and Z.dtype == torch.float32
        assert nystroem.components_.dtype == torch.float32
        assert nystroem.normalization_.dtype == torch.float64
        part = nystroem.approximate_kernel(torch.asarray(X[:9]), rng=0).value
        try:
            nystroem.transform(X)
        except TypeError as error:
            assert str(error).startswith("X lives in numpy, but that of fit in torch on cpu")
        else:
            raise AssertionError
        bad = torch.asarray(X).clone()
        bad[0, 0] = torch.nan
        try:
            nystroem.transform(bad)
        except ValueError as error:
            assert "X contains NaN" in str(error)
    Z = Z.numpy().astype(float)
    error, limit = np.linalg.norm(Z @ Z.T - K), np.linalg.norm(wanted @ wanted.T - K)
    assert error <= 1.001 * limit + 1e-8 * np.linalg.norm(K), (error, limit)
    assert np.abs(part - Z[:9] @ Z[:9].T).max() < 1e-5
"""

REFUSALS = """
import torch
from sklearn import config_context
from eagle.estimators import BlockImputer, EagleRegressor
X = torch.eye(3)
for estimator in (BlockImputer(), EagleRegressor()):
    with config_context(array_api_dispatch=True):
        try:
            estimator.fit(X, X)
        except TypeError as error:
            name = type(estimator).__name__
            assert str(error).startswith(f"X lives in torch on cpu, which {name} cannot use"), error
        else:
            raise AssertionError
        estimator.fit([[1.0, 2], [3, 4]], [[1.0], [2]])
    estimator.fit(X, X)  # an array to scikit-learn
"""


if hasattr(upstream, "test_nystroem_approximation_array_api"):  # or Nystroem is for numpy only

    @pytest.mark.parametrize("code", [UPSTREAM, OURS + REFUSALS], ids=["upstream", "ours"])
    def test_tensors_are_used_or_refused(code: str) -> None:
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "SCIPY_ARRAY_API": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, run.stderr
