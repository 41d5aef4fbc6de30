"""Subpackages come when somebody asks for them, and no earlier."""

from __future__ import annotations

import subprocess
import sys

import pytest

import eagle

LAZY = ("attention", "distributed", "estimators", "transformer")


@pytest.mark.parametrize("name", LAZY)
def test_a_subpackage_is_there_after_import_eagle(name):
    if name != "distributed":
        pytest.importorskip("sklearn" if name == "estimators" else "torch")
    code = f"import sys, eagle; before = 'eagle.{name}' in sys.modules; eagle.{name}; print(before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert name in dir(eagle)


def test_what_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'eagle' has no attribute 'distribute'"):
        eagle.distribute  # noqa: B018


def test_import_eagle_imports_nothing_heavy():
    heavy = ("torch", "sklearn", "mpi4py", "matplotlib", "dask", "pandas", "jax", "scipy", "numba")
    code = f"import sys, eagle; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
