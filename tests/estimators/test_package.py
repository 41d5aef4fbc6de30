"""The subpackage as a whole: what it exports, and that nothing else needs scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['sklearn'] = None\n"


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    ).stderr


def test_without_scikit_learn_the_extra_is_named() -> None:
    last = run(WITHOUT + "import eagle.estimators").strip().splitlines()[-1]
    assert last == (
        "ImportError: eagle.estimators needs scikit-learn: pip install 'eagle-solver[sklearn]'"
    )


def test_eagle_works_without_scikit_learn() -> None:
    assert run(WITHOUT + "import eagle; eagle.lstsq([[1.0]], [1.0], rng=0)") == ""
    assert run("import eagle, sys; assert 'sklearn' not in sys.modules") == ""


def test_exports_what_it_lists() -> None:
    pytest.importorskip("sklearn")
    import eagle.estimators

    for name in eagle.estimators.__all__:
        assert getattr(eagle.estimators, name).__module__.startswith("eagle.estimators.")
