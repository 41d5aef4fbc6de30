"""Threads, processes and file systems: what a library must not care about, or touch."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import eagle
from tests.systems import solve, system

PACKAGE = Path(eagle.__file__).parent
METHODS = {name: kind() for name, kind in eagle.METHODS.items()} | {
    "auto": "auto",
    "cholesky": eagle.Eagle("cholesky"),
    "compiled": eagle.Direct("gelsy", kernel="numba"),
    "sparse signs": eagle.Compressed(8, sketch="sparse-sign"),
}

# Uses BLAS, LAPACK and every kernel.
SOLVES = """
import numpy as np, eagle
def answers(seed=0):
    problem = eagle.problems.low_rank(40, 30, rank=6, condition=50, rng=seed)
    blocks = problem.A, problem.B, problem.C
    methods = [
        "auto",
        "direct",
        eagle.Direct("gelsy", kernel="numba"),
        eagle.Compressed(12, sketch="sparse-sign"),
    ]
    values = [eagle.solve(*blocks, method=method, rng=0).value for method in methods]
    stack = eagle.solve(*(np.stack([block] * 3) for block in blocks), rng=0).value
    return [value.tobytes() for value in [*values, stack]]
"""


# Root's licence to write anywhere (CAP_DAC_OVERRIDE) ends with the exec after this.
OBEY_PERMISSIONS = """
import ctypes, os, sys
drop_from_bounding_set, dac_override = 24, 1
ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def run(code: str, *, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that may do no more than file permissions allow."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **settings}
    before = [sys.executable, "-c", OBEY_PERMISSIONS] if sys.platform == "linux" else []
    return subprocess.run(
        [*(before or [sys.executable]), "-B", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("name", METHODS)
def test_concurrent_solves_do_not_notice_each_other(name):
    """Equal to the last bit: no state is shared, and no result depends on the clock."""
    given = [system("tall", condition=2, seed=seed) for seed in range(4)] * 4

    def value(number: int) -> bytes:
        blocks = given[number]
        options = {"method": METHODS[name], "rng": number, "maxiter": 300}
        result = solve(blocks, **options)
        return result.value.tobytes() + np.float64(result.error_estimate).tobytes()

    one_by_one = [value(number) for number in range(len(given))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(value, range(len(given))))
    assert together == one_by_one


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_agree_with_their_parent(start, tmp_path):
    """Also after the parent has used BLAS, numba and threads, which a fork does not inherit."""
    (tmp_path / "work.py").write_text(SOLVES, encoding="utf-8")
    code = f"""
import multiprocessing, work
if __name__ == "__main__":
    mine = [work.answers(seed) for seed in range(4)]
    with multiprocessing.get_context({start!r}).Pool(2) as pool:
        assert pool.map(work.answers, range(4)) == mine
"""
    script = tmp_path / "main.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    """A copy of the package, and a home, in which nothing can be written."""
    top = tmp_path_factory.mktemp("read_only")
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(PACKAGE, top / "site" / "eagle", ignore=ignore)
    (top / "home").mkdir()
    folders = [path for path in (top, *top.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield top
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


def test_nothing_needs_to_be_written(read_only):
    """numba finds no place for what it compiles, and the library works all the same."""
    code = (
        SOLVES
        + f"""
import os, tempfile
from eagle.algebra import qr
assert eagle.__file__.startswith({str(read_only)!r})
for folder in (os.path.dirname(eagle.__file__), os.path.expanduser("~"), os.getcwd()):
    try:
        open(os.path.join(folder, "file"), "w")
    except OSError:
        continue
    raise AssertionError(folder + " can be written to")
assert len(answers()) == 5
"""
    )
    home = str(read_only / "home")
    done = run(
        code,
        folder=read_only / "home",
        PYTHONPATH=str(read_only / "site"),
        HOME=home,
        XDG_CACHE_HOME=home,
        NUMBA_CACHE_DIR="",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_nothing_is_written_but_what_numba_has_compiled(tmp_path):
    cache = tmp_path / "compiled"
    code = (
        """
import os, sys
written = []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
def hook(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        written.append(str(arguments[0]))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "os.truncate"):
        written.append(str(arguments[0]))
sys.addaudithook(hook)
"""
        + SOLVES
        + """
answers()
print("\\n".join(written))
"""
    )
    compiled = {"NUMBA_CACHE_DIR": str(cache), "NUMBA_DISABLE_JIT": "0"}
    done = run(code, folder=tmp_path, **compiled)
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert written, "the hook saw nothing, not even numba"
    assert [path for path in written if cache not in (path, *path.parents)] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compiled"]


EXTRAS = {
    "eagle.transformer": ("torch", "torch"),
    "eagle.estimators": ("sklearn", "sklearn"),
}


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_extra_is_named_in_one_line(module, tmp_path):
    package, extra = EXTRAS[module]
    code = f"import sys; sys.modules[{package!r}] = None; import {module}"
    done = run(code, folder=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(f"ImportError: {module} needs ")
    assert last.endswith(f": pip install 'eagle-solver[{extra}]'")
