"""Checks of scikit-learn's that cannot run in this process are not collected."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out array API checks: they need SCIPY_ARRAY_API before scipy is imported.

    `test_arrays` runs what they are about, in processes of their own.
    """
    items[:] = [item for item in items if not _of_array_api(item)]


def _of_array_api(item: Any) -> bool:
    check = getattr(item, "callspec", None) and item.callspec.params.get("check")
    name = getattr(getattr(check, "func", check), "__name__", "")
    return name.startswith("check_array_api")
