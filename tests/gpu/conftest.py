"""Without an accelerator nothing here is collected; asked directly, pytest says why."""

from __future__ import annotations

from tests.gpu.accelerators import FOUND, REASON

collect_ignore_glob = [] if FOUND else ["test_*.py"]
if "torch cuda" not in FOUND:
    collect_ignore_glob.append("test_cuda_*.py")


def pytest_report_header() -> str:
    """One line above the tests, when this folder is what was asked for."""
    return f"accelerators: {', '.join(FOUND)}" if FOUND else REASON
