"""What this machine has: the least of what it says, its groups say, and a limit says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eagle.run.machine import memory

GB = 2**30


def tree(root, listing, limits):
    """Files as Linux has them."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in listing))
    for path, limit in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    return root


@pytest.fixture
def installed(monkeypatch):
    """A machine of 16 GB."""
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 2**22))


@pytest.mark.parametrize(
    ("listing", "limits", "wanted"),
    [
        ([], {}, 16),
        (["0::/"], {"memory.max": 3 * GB}, 3),  # a container with a name space of its own
        (["0::/a/b"], {"memory.max": "max", "a/memory.max": 2 * GB, "a/b/memory.max": "max"}, 2),
        (["0::/a/b"], {"a/memory.max": 4 * GB, "a/b/memory.max": GB}, 1),
        (["0::/a"], {"memory.max": 5 * GB}, 5),  # what lies deeper is not mounted
        (["4:memory:/x"], {"memory/x/memory.limit_in_bytes": 2 * GB}, 2),
        (["4:memory:/x"], {"memory/memory.limit_in_bytes": 3 * GB}, 3),
        (["4:cpu,memory:/", "0::/"], {"memory/memory.limit_in_bytes": 9223372036854771712}, 16),
        (["2:cpu:/x"], {"memory/x/memory.limit_in_bytes": GB, "x/memory.max": GB}, 16),
    ],
)
def test_the_least_limit_of_the_groups_counts(listing, limits, wanted, installed, tmp_path):
    assert memory(tree(tmp_path, listing, limits)) == wanted * GB


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_limit_of_the_address_space_counts():
    program = (
        "import resource; from eagle.run.machine import memory; "
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, resource.RLIM_INFINITY)); "
        "print(memory())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(said.stdout) <= 3 * GB, said.stderr
