"""Flip one sign at a time and see whether a test notices: ``python tests/mutation.py``.

Every binary ``+`` and ``-``, ``+=`` and ``-=``, and unary ``-`` of the modules below is turned
around in a copy of the checkout, and the tests of that module run on it until one fails. A mutant
that survives is a sign that no test holds; `EQUIVALENT` lists those that change nothing that can
be seen, each with the reason. Kernels run as plain Python, which spares compiling each mutant.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300  # seconds of computing: a mutant that takes longer never ends

CONFORMANCE, EAGLE = "tests/methods/test_conformance.py", "tests/methods/eagle/test_method.py"
FLOW, CERTIFICATE = "tests/run/test_flow.py", "tests/problem/test_certificate.py"
BASELINES, BLOCKS = "tests/methods/test_baselines.py", "tests/problem/test_blocks.py"
COMPRESSED, SKETCHED = "tests/methods/test_compressed.py", "tests/methods/test_sketched.py"
BLAS, OPERAND = "tests/algebra/test_blas.py", "tests/algebra/test_operand.py"
CONDITIONING = "tests/methods/eagle/test_conditioning.py"
TESTS: dict[str, list[str]] = {
    "eagle/algebra/base.py": [BLAS, EAGLE, FLOW],
    "eagle/algebra/blas.py": [BLAS, EAGLE],
    "eagle/algebra/dense.py": [CONDITIONING, BLOCKS, EAGLE],
    "eagle/algebra/numbers.py": [CERTIFICATE, EAGLE, FLOW],
    "eagle/algebra/stacked.py": [CONDITIONING, BLOCKS, FLOW],
    "eagle/algebra/sketch.py": [OPERAND, COMPRESSED],
    "eagle/algebra/qr.py": [
        "tests/algebra/test_qr.py::test_the_kernel_finds_value_and_rank",
        "tests/algebra/test_qr.py",
    ],
    "eagle/algebra/lu.py": ["tests/algebra/test_lu.py", "tests/run/test_batch.py"],
    "eagle/algebra/threads.py": [BLAS],
    "eagle/update.py": ["tests/test_update.py"],
    "eagle/methods/eagle/schedule.py": ["tests/methods/eagle/test_schedule.py", EAGLE],
    "eagle/methods/eagle/conditioning.py": [CONDITIONING, EAGLE, CONFORMANCE],
    "eagle/methods/eagle/rules.py": [CONDITIONING, EAGLE, FLOW, CONFORMANCE],
    "eagle/methods/eagle/method.py": [EAGLE, FLOW, CONFORMANCE],
    "eagle/problem/certificate.py": [CERTIFICATE, "tests/algebra/test_qr.py", CONFORMANCE],
    "eagle/problem/blocks.py": [BLOCKS, FLOW, CONFORMANCE],
    "eagle/run/driver.py": ["tests/run/test_driver.py", "tests/test_api.py", FLOW, CONFORMANCE],
    "eagle/run/batch.py": ["tests/algebra/test_qr.py", "tests/run/test_batch.py"],
    "eagle/run/opinions.py": ["tests/run/test_opinions.py"],
    "eagle/methods/sketched/epochs.py": [SKETCHED, CONFORMANCE],
    "eagle/methods/sketched/method.py": [SKETCHED, CONFORMANCE],
    "eagle/methods/sketched/orthogonal.py": [SKETCHED, CONFORMANCE],
    "eagle/methods/compressed/sketch.py": [OPERAND, COMPRESSED],
    "eagle/methods/compressed/method.py": [COMPRESSED, CONFORMANCE],
    "eagle/methods/compressed/ranges.py": [COMPRESSED, "tests/methods/test_again.py", CONFORMANCE],
    "eagle/methods/complete.py": ["tests/methods/test_complete.py"],
    "eagle/methods/pivoted.py": ["tests/methods/test_complete.py"],
    "eagle/methods/elimination.py": ["tests/methods/test_elimination.py"],
    "eagle/methods/cross.py": ["tests/methods/test_cross.py"],
    "eagle/methods/seminormal.py": ["tests/methods/test_seminormal.py"],
    "eagle/methods/conjugate_gradient.py": [BASELINES, CONFORMANCE],
    "eagle/methods/gradient_descent.py": [BASELINES, CONFORMANCE],
    "eagle/methods/newton_schulz.py": [BASELINES, CONFORMANCE],
    "eagle/methods/stochastic.py": [BASELINES, CONFORMANCE],
    "eagle/methods/direct.py": [BASELINES, FLOW, CONFORMANCE],
    "eagle/methods/factored.py": ["tests/test_api.py", BLOCKS, CONFORMANCE],
    "eagle/methods/lsmr.py": [BASELINES, CONFORMANCE],
    "eagle/methods/norms.py": [BASELINES, CONFORMANCE],
}
TESTS |= {
    f"eagle/distributed/methods/{path.name}": [
        f"tests/distributed/test_{name}.py"
        for name in ("steps", "methods", "noise", "certificate", "shards", "rates")
    ]
    for path in sorted((ROOT / "eagle" / "distributed" / "methods").glob("*.py"))
}

# Path, code of the line, mutated code of the line: why nothing can be seen.
NORMAL = "draw = draw {} 1j * rng.standard_normal(shape)"
PHASE = "phase = x[0] / head if head > 0 else x[0] * 0 {} 1"
PADDED = "width = (n + wide + LANES {} 1) // LANES * LANES"
MOST = "MOST = 2**31 {} 1  # entries of a vector: BLAS counts in 32 bits"
DRIFT = "image=more[:, :n] {} drift[:, :n],"
STREAM = "factors, stream = problem.factors, session.comm.rank {} 1"
KEPT = "kept = min(int(np.count_nonzero(np.abs(np.diagonal(R)) > noise)), min(state.A.shape) {} k)"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("eagle/algebra/blas.py", MOST.format("-"), MOST.format("+")): (
        "vectors of 2^31 entries would tell, and do not fit a test"
    ),
    ("eagle/distributed/methods/apc.py", STREAM.format("+"), STREAM.format("-")): (
        "any stream of random numbers does that nobody else draws from"
    ),
    ("eagle/distributed/methods/normal.py", DRIFT.format("+"), DRIFT.format("-")): (
        "rounding errors have either sign"
    ),
    ("eagle/methods/sketched/orthogonal.py", KEPT.format("-"), KEPT.format("+")): (
        "a bound for what the noise level does not let through anyway"
    ),
    ("eagle/algebra/qr.py", PADDED.format("-"), PADDED.format("+")): (
        "columns of zeros beyond the last one change no number"
    ),
    ("eagle/algebra/qr.py", PHASE.format("+"), PHASE.format("-")): (
        "a head that is zero has every phase: both signs make a reflector"
    ),
    ("eagle/algebra/base.py", NORMAL.format("+"), NORMAL.format("-")): (
        "Gaussian numbers and their conjugates have the same distribution"
    ),
}


@dataclass(frozen=True)
class Mutant:
    """One sign in one place."""

    path: str
    line: int
    column: int
    length: int
    new: str

    def apply(self, source: str) -> str:
        """The source with the sign flipped."""
        lines = source.splitlines(keepends=True)
        raw = lines[self.line - 1].encode()
        raw = raw[: self.column] + self.new.encode() + raw[self.column + self.length :]
        lines[self.line - 1] = raw.decode()
        return "".join(lines)

    def describe(self, source: str) -> tuple[str, str, str]:
        """Path, line before, line after."""
        before = source.splitlines()[self.line - 1].strip()
        return self.path, before, self.apply(source).splitlines()[self.line - 1].strip()


FLIPPED = {"+": "-", "-": "+", "+=": "-=", "-=": "+="}


def mutants(path: str, source: str) -> list[Mutant]:
    """All signs of a module, in order."""
    found = []
    raw = [line.encode() for line in source.splitlines(keepends=True)]

    def sign_between(start: tuple[int, int], stop: tuple[int, int], sign: str) -> tuple[int, int]:
        """Where the operator stands between its operands."""
        for line in range(start[0], stop[0] + 1):
            first = start[1] if line == start[0] else 0
            last = stop[1] if line == stop[0] else len(raw[line - 1])
            code = raw[line - 1][first:last].split(b"#")[0]
            if sign.encode() in code:
                return line, first + code.index(sign.encode())
        raise ValueError(f"{path}:{start[0]}: no {sign!r} found")

    tree = ast.parse(source)
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for name in ("annotation", "returns")
        if getattr(node, name, None) is not None
        for inner in ast.walk(getattr(node, name))
    }
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            sign = "+" if isinstance(node.op, ast.Add) else "-"
            start = node.left.end_lineno or 0, node.left.end_col_offset or 0
            place = sign_between(start, (node.right.lineno, node.right.col_offset), sign)
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
            sign = "+=" if isinstance(node.op, ast.Add) else "-="
            start = node.target.end_lineno or 0, node.target.end_col_offset or 0
            place = sign_between(start, (node.value.lineno, node.value.col_offset), sign)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, place = "-", (node.lineno, node.col_offset)
        else:
            continue
        found.append(Mutant(path, *place, len(sign), FLIPPED[sign]))
    return sorted(found, key=lambda each: (each.line, each.column))


def survives(folder: Path, tests: list[str]) -> bool:
    """Whether all tests pass, one file after the other, each in a fork of this process."""
    for test in tests:
        child = os.fork()
        if not child:
            code = 2
            try:
                code = _run(folder, test)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status):
            return False
    return True


def _run(folder: Path, test: str) -> int:
    """Exit status of pytest in a copy of the checkout, without a word."""
    import pytest

    os.chdir(folder)
    sys.path[0] = str(folder)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))  # ends the process
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--rootdir", str(folder)]
    return int(pytest.main([*options, test]))


def main() -> int:
    """Print one line per mutant and how many survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths such as eagle/update.py; all unless told")
    parser.add_argument("--list", action="store_true", help="show the mutants only")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument(
        "--checkpoint", type=Path, help="file to go on from; survivors are tried again"
    )
    arguments = parser.parse_args()
    os.environ.update(NUMBA_DISABLE_JIT="1", PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    begun = time.perf_counter()
    done: dict[str, str] = {}
    sound: set[str] = set()  # tests that pass without any mutation
    if arguments.checkpoint and arguments.checkpoint.exists():
        done = json.loads(arguments.checkpoint.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "copy"
        ignore = shutil.ignore_patterns(".git", "__pycache__", ".*cache", "_build", "*.egg-info")
        shutil.copytree(ROOT, folder, ignore=ignore)
        import numba  # noqa: F401 - imported once, for all forks
        import pytest  # noqa: F401
        import scipy.linalg
        import scipy.sparse.linalg  # noqa: F401

        for path in arguments.modules or TESTS:
            source = (ROOT / path).read_text(encoding="utf-8")
            for test in [] if arguments.list else TESTS[path]:
                if test not in sound and not survives(folder, [test]):
                    raise SystemExit(f"{test} fails without any mutation")
                sound.add(test)
            for mutant in mutants(path, source):
                key = mutant.describe(source)
                name = f"{path}:{mutant.line}:{mutant.column}  {key[1]}  ->  {key[2]}"
                if arguments.list:
                    print(name)
                    continue
                if done.get(name, "SURVIVED") != "SURVIVED":
                    continue
                if time.perf_counter() - begun > arguments.seconds:
                    break
                if key in EQUIVALENT:
                    outcome = f"equivalent: {EQUIVALENT[key]}"
                else:
                    (folder / path).write_text(mutant.apply(source), encoding="utf-8")
                    alive = survives(folder, TESTS[path])
                    outcome = "SURVIVED" if alive else "killed"
                    (folder / path).write_text(source, encoding="utf-8")
                done[name] = outcome
                print(f"{outcome}  {name}", flush=True)
                if arguments.checkpoint:
                    arguments.checkpoint.write_text(json.dumps(done, indent=0), encoding="utf-8")
    counts = {
        word: sum(o.startswith(word) for o in done.values())
        for word in ("killed", "SURVIVED", "equivalent")
    }
    print(f"{len(done)} mutants: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return 1 if counts["SURVIVED"] else 0


if __name__ == "__main__":
    sys.exit(main())
