"""``eagle info``: what a report of a problem should contain."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import eagle
from eagle.commands.common import say

SUMMARY = "versions, BLAS, threads, optional packages"
TEXT = "Print what a report of a problem should contain."

OPTIONAL = {
    "scikit-learn": "sklearn",
    "matplotlib": "plot",
    "torch": "torch",
    "safetensors": "torch",
    "jax": "jax",
    "array-api-compat": "arrays",
    "mpi4py": "mpi",
    "pandas": "parquet",
    "pyarrow": "parquet",
    "threadpoolctl": "",
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    # There are none.


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    rows = [
        ("eagle", eagle.__version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, _version(name) or "not installed") for name in ("numpy", "scipy", "numba")),
        *(("BLAS", line) for line in _blas()),
        ("CPUs", str(_cpus())),
        *((name, os.environ[name]) for name in THREADS if name in os.environ),
    ]
    for name, extra in OPTIONAL.items():
        target = f"'eagle-solver[{extra}]'" if extra else name
        rows.append((name, _version(name) or f"not installed (pip install {target})"))
    rows.append(("cupy", _cupy()))
    width = max(len(name) for name, _ in rows)
    say(*(f"{name:{width}}  {value}" for name, value in rows))
    return 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cupy() -> str:
    """Its version, and the name of its distribution, which that of CUDA is part of."""
    for found in importlib.metadata.distributions():
        if found.name == "cupy" or found.name.startswith(("cupy-cuda", "cupy-rocm")):
            return f"{found.version} ({found.name})"
    return "not installed (pip install cupy-cuda12x, for CUDA 12)"


def _cpus() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _blas() -> list[str]:
    """One line for each BLAS that is loaded, or what numpy was built with."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        built: Any = np.show_config(mode="dicts")
        blas = built.get("Build Dependencies", {}).get("blas", {})
        return [f"{blas.get('name', 'unknown')} {blas.get('version', '')} (numpy's)"]
    import scipy.linalg  # noqa: F401 (loads a BLAS of its own)

    return [
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads "
        f"({Path(pool['filepath']).parent.name})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ] or ["none found"]
