"""Flip one sign at a time and see whether a test notices: ``python tests/mutation.py``.

Every binary ``+`` and ``-``, ``+=`` and ``-=``, and unary ``-`` of the modules below is turned
around, and those tests of that module that run its line are run, the fastest first, until one
fails. A mutant that survives is a sign that no test holds; `EQUIVALENT` lists those that change
nothing that can be seen, each with the reason. Kernels run as plain Python, which spares compiling
each mutant, and tests are collected once: each mutant is a fork of the process that has collected
them, in which the functions of one module get the code with the sign flipped.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 10  # seconds of computing, and as many times a test's own: what takes longer never ends
WAIT = 30  # times as many seconds on the clock: machines that wait for each other for ever

CONFORMANCE, EAGLE = "tests/methods/test_conformance.py", "tests/methods/eagle/test_method.py"
FLOW, CERTIFICATE = "tests/run/test_flow.py", "tests/problem/test_certificate.py"
BASELINES, BLOCKS = "tests/methods/test_baselines.py", "tests/problem/test_blocks.py"
COMPRESSED, SKETCHED = "tests/methods/test_compressed.py", "tests/methods/test_sketched.py"
BLAS, OPERAND = "tests/algebra/test_blas.py", "tests/algebra/test_operand.py"
CONDITIONING = "tests/methods/eagle/test_conditioning.py"
TESTS: dict[str, list[str]] = {
    "eagle/update.py": ["tests/test_update.py"],
    "eagle/algebra/base.py": [BLAS, EAGLE, FLOW],
    "eagle/algebra/blas.py": [BLAS, EAGLE],
    "eagle/algebra/dense.py": [CONDITIONING, BLOCKS, EAGLE],
    "eagle/algebra/numbers.py": [CERTIFICATE, EAGLE, FLOW],
    "eagle/algebra/stacked.py": [CONDITIONING, BLOCKS, FLOW],
    "eagle/algebra/sketch.py": [OPERAND, COMPRESSED],
    "eagle/algebra/qr.py": ["tests/algebra/test_qr.py"],
    "eagle/algebra/lu.py": ["tests/algebra/test_lu.py", "tests/run/test_batch.py"],
    "eagle/algebra/threads.py": [BLAS],
    "eagle/problem/certificate.py": [CERTIFICATE, "tests/algebra/test_qr.py", CONFORMANCE],
    "eagle/problem/blocks.py": [BLOCKS, FLOW, "tests/run/test_opinions.py", CONFORMANCE],
    "eagle/methods/eagle/schedule.py": ["tests/methods/eagle/test_schedule.py", EAGLE],
    "eagle/methods/eagle/conditioning.py": [CONDITIONING, EAGLE, CONFORMANCE],
    "eagle/methods/eagle/rules.py": [CONDITIONING, EAGLE, FLOW, CONFORMANCE],
    "eagle/methods/eagle/method.py": [EAGLE, FLOW, CONFORMANCE],
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
    "eagle/methods/direct.py": [CERTIFICATE, BASELINES, FLOW, CONFORMANCE],
    "eagle/methods/factored.py": ["tests/test_api.py", BLOCKS, CONFORMANCE],
    "eagle/methods/lsmr.py": [BASELINES, CONFORMANCE],
    "eagle/methods/norms.py": [BASELINES, CONFORMANCE],
    "eagle/run/driver.py": ["tests/run/test_driver.py", "tests/test_api.py", FLOW, CONFORMANCE],
    "eagle/run/batch.py": ["tests/algebra/test_qr.py", "tests/run/test_batch.py"],
    "eagle/run/opinions.py": ["tests/run/test_opinions.py"],
}
TESTS |= {
    f"eagle/distributed/methods/{path.name}": [
        f"tests/distributed/test_{name}.py"
        for name in ("steps", "methods", "noise", "certificate", "shards", "rates")
    ]
    for path in sorted((ROOT / "eagle" / "distributed" / "methods").glob("*.py"))
}
TESTS |= {
    f"eagle/{name}.py": [f"tests/{test}.py"]
    for name, test in {
        "algebra/operand": "algebra/test_operand",
        "algebra/homes": "algebra/test_homes",
        "algebra/running": "test_streaming",
        "problem/checks": "problem/test_checks",
        "problem/fit": "problem/test_fit",
        "problem/options": "problem/test_options",
        "problem/result": "problem/test_result",
        "problem/results": "problem/test_result",
        "problem/weights": "problem/test_weights",
        "run/flow": "run/test_flow",
        "run/machine": "run/test_machine",
        "run/plan": "run/test_plan",
        "held": "test_solver",
        "solver": "test_solver",
        "streaming": "test_streaming",
        "chunks": "distributed/test_chunks",
    }.items()
}

# Path, code of the line with {} for the sign: why nothing can be seen.
KEPT = "kept = min(int(np.count_nonzero(np.abs(np.diagonal(R)) > noise)), min(state.A.shape) {} k)"
SAME = "Gaussian numbers and their conjugates have the same distribution"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("eagle/algebra/blas.py", "MOST = 2**31 {} 1  # entries of a vector: BLAS counts in 32 bits"): (
        "vectors of 2^31 entries would tell, and do not fit a test"
    ),
    (
        "eagle/distributed/methods/apc.py",
        "factors, stream = problem.factors, session.comm.rank {} 1",
    ): "any stream of random numbers does that nobody else draws from",
    ("eagle/distributed/methods/normal.py", "image=more[:, :n] {} drift[:, :n],"): (
        "rounding errors have either sign"
    ),
    (
        "eagle/methods/sketched/orthogonal.py",
        KEPT,
    ): "a bound for what the noise level does not let through anyway",
    (
        "eagle/methods/eagle/rules.py",
        "return (self.rho == 0) | self.num.isfinite(self.change {} self.left)",
    ): "neither the sum nor the difference is finite where one of them is not",
    ("eagle/algebra/qr.py", "width = (n + wide + LANES {} 1) // LANES * LANES"): (
        "columns of zeros beyond the last one change no number"
    ),
    ("eagle/algebra/qr.py", "phase = x[0] / head if head > 0 else x[0] * 0 {} 1"): (
        "a head that is zero has every phase: both signs make a reflector"
    ),
    ("eagle/algebra/base.py", "draw = draw {} 1j * rng.standard_normal(shape)"): SAME,
    (
        "eagle/methods/elimination.py",
        "G = (G {} 1j * rng.standard_normal((COUNT, rows)).T) / 2**0.5",
    ): SAME,
}


@dataclass(frozen=True)
class Mutant:
    """One sign in one place, and the lines of its statement."""

    path: str
    line: int
    column: int
    length: int
    new: str
    lines: range
    imported: bool  # outside of functions: it counts when the module is imported

    def apply(self, source: str, sign: str | None = None) -> str:
        """The source with the sign flipped, or with something else in its place."""
        lines = source.splitlines(keepends=True)
        raw, new = lines[self.line - 1].encode(), self.new if sign is None else sign
        raw = raw[: self.column] + new.encode() + raw[self.column + self.length :]
        lines[self.line - 1] = raw.decode()
        return "".join(lines)

    def shown(self, source: str) -> str:
        """Its line."""
        return source.splitlines()[self.line - 1].strip()


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
    statements = {}  # line: lines of the innermost statement, of whose body it is not
    for node in ast.walk(tree):  # from the outermost on
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or 0
            within = range(node.lineno, last + 1)
            statements |= dict.fromkeys(within, within)
    functions = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        for part in (node.body if isinstance(node.body, list) else [node.body])
        for inner in ast.walk(part)
    }
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
        within, imported = statements[place[0]], id(node) not in functions
        found.append(Mutant(path, *place, len(sign), FLIPPED[sign], within, imported))
    return sorted(found, key=lambda each: (each.line, each.column))


class Recorder:
    """A plugin of pytest that notes which test runs which lines, and for how long."""

    def __init__(self, record: Path) -> None:
        self.record, self.seconds = record, dict[str, float]()
        import coverage

        self.coverage = coverage.Coverage(str(record), source=["eagle"], config_file=False)
        self.coverage.set_option("run:relative_files", True)
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Name the test that runs."""
        self.coverage.switch_context(item.nodeid)
        begun, failed = time.process_time(), item.session.testsfailed
        result = yield
        self.seconds[item.nodeid] = time.process_time() - begun
        self.coverage.switch_context("")
        if item.session.testsfailed > failed:
            self.seconds[item.nodeid] = float("inf")
            print(f"{item.nodeid} fails without any mutation and is left out", flush=True)
        return result

    def pytest_sessionfinish(self) -> None:
        """Save it all."""
        self.coverage.stop()
        self.coverage.save()
        seconds = json.dumps(self.seconds, indent=0)
        self.record.with_suffix(".json").write_text(seconds, encoding="utf-8")


@dataclass
class Trials:
    """A plugin of pytest that runs tests on one mutant after the other in place of once."""

    mutants: list[Mutant]
    records: list[Path]
    report: Callable[[Mutant, str], bool]

    def __post_init__(self) -> None:
        self.seconds: dict[str, float] = {}
        for record in self.records:
            self.seconds |= json.loads(record.with_suffix(".json").read_text(encoding="utf-8"))

    def chosen(self, items: list[pytest.Item], mutant: Mutant) -> list[pytest.Item]:
        """Tests that run the line, and those that no record knows, fastest first."""
        known = set() if mutant.imported else set(self.seconds)
        known |= {test for test, seconds in self.seconds.items() if seconds == float("inf")}
        for record in self.records:
            from coverage import CoverageData

            data = CoverageData(str(record))
            data.read()
            contexts = data.contexts_by_lineno(mutant.path)
            known -= {test for line in mutant.lines for test in contexts.get(line, [])}
        left = (item for item in items if item.nodeid not in known)
        return sorted(left, key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try one mutant after the other."""
        for mutant in self.mutants:
            items = self.chosen(session.items, mutant)
            ends = {
                "": "SURVIVED",
                "SIGALRM": "SURVIVED, or waits",
                None: "SURVIVED, as no test runs it",
            }
            killer = (
                fork(lambda mutant=mutant, items=items: self.run(mutant, items)) if items else None
            )
            if not self.report(mutant, ends.get(killer, f"killed by {killer}")):
                break
        return True

    def run(self, mutant: Mutant, items: list[pytest.Item]) -> str:
        """The first test that fails, if one does, without another word."""
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        exchange(mutant)
        for item, following in zip(items, [*items[1:], None], strict=True):
            most = int(LIMIT * (1 + self.seconds.get(item.nodeid, LIMIT)))
            signal.alarm(WAIT * most)
            most += int(time.process_time())
            resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                return item.nodeid
        return ""


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a module and of all functions in it, in order."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def exchange(mutant: Mutant) -> None:
    """Flip the sign in a module, in this process."""
    module = importlib.import_module(mutant.path.removesuffix(".py").replace("/", "."))
    file = str(module.__file__)
    source = Path(file).read_text(encoding="utf-8")
    old, new = (compile(text, file, "exec") for text in (source, mutant.apply(source)))
    if mutant.imported:  # functions look constants up in the module
        exec(new, vars(module))
        return
    turned = dict(zip(codes(old), codes(new), strict=True))
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == file:
            thing.__code__ = turned[thing.__code__]


def fork(job: Callable[[], str]) -> str:
    """What a job in a fork of this process returns, or which signal has ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.write(writing, job().encode())
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(writing)
    with open(reading, encoding="utf-8") as answer:
        if code > 0:
            raise RuntimeError("a process has failed")
        return answer.read() if code == 0 else signal.Signals(-code).name


def run(tests: list[str], plugin: object) -> str:
    """Exit status of pytest."""
    options = ["-qq", "-s", "-p", "no:cacheprovider", "--no-header", "--rootdir", "."]
    return str(int(pytest.main([*options, *tests], plugins=[plugin])))


def main() -> int:
    """Print one line per mutant and how many survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths such as eagle/update.py; all unless told")
    parser.add_argument("--list", action="store_true", help="show the mutants only")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument(
        "--checkpoint",
        type=lambda given: Path(given).resolve(),
        help="file to go on from; survivors are tried again",
    )
    arguments = parser.parse_args()
    for path in arguments.modules:
        if path not in TESTS:
            parser.error(f"{path} is not among the modules that have tests listed here")
    os.environ.update(NUMBA_DISABLE_JIT="1", PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    begun = time.perf_counter()
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in TESTS}
    wanted = [m for path in arguments.modules or TESTS for m in mutants(path, sources[path])]

    def name(mutant: Mutant) -> str:
        source = sources[mutant.path]
        change = f"{mutant.shown(source)}  ->  {mutant.shown(mutant.apply(source))}"
        return f"{mutant.path}:{mutant.line}:{mutant.column}  {change}"

    if arguments.list:
        print(*map(name, wanted), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "copy"
        ignore = shutil.ignore_patterns(".git", "__pycache__", ".*cache", "_build", "*.egg-info")
        shutil.copytree(ROOT, folder, ignore=ignore)
        os.chdir(folder)
        sys.path[0] = str(folder)
        checkpoint = arguments.checkpoint or Path(top) / "done.json"
        done = json.loads(checkpoint.read_text(encoding="utf-8")) if checkpoint.exists() else {}

        def report(mutant: Mutant, outcome: str) -> bool:
            """Note what came out; whether there is time for more."""
            done[name(mutant)] = outcome
            print(f"{outcome}  {name(mutant)}", flush=True)
            checkpoint.write_text(json.dumps(done, indent=0), encoding="utf-8")
            return time.perf_counter() - begun < arguments.seconds

        sources_of_all = [path.read_bytes() for path in sorted((ROOT / "eagle").rglob("*.py"))]

        def record(test: str) -> Path:
            """Which lines the tests of a file run, noted once."""
            digest = hashlib.sha256(b"".join([*sources_of_all, (ROOT / test).read_bytes()]))
            file = checkpoint.with_name(f"{checkpoint.stem}-{digest.hexdigest()[:12]}.coverage")
            if not file.with_suffix(".json").exists():
                fork(lambda: run([test], Recorder(file)))
            return file

        for path in arguments.modules or TESTS:
            todo = []
            for mutant in mutants(path, sources[path]):
                line = mutant.shown(mutant.apply(sources[path], "{}"))
                if why := EQUIVALENT.get((path, line)):
                    done[name(mutant)] = f"equivalent: {why}"
                elif done.get(name(mutant), "SURVIVED").startswith("SURVIVED"):
                    todo.append(mutant)
            if todo and time.perf_counter() - begun < arguments.seconds:
                trials = Trials(todo, [record(test) for test in TESTS[path]], report)
                if fork(lambda trials=trials, path=path: run(TESTS[path], trials)) != "0":
                    raise RuntimeError(f"{path} cannot be tried")
                done |= json.loads(checkpoint.read_text(encoding="utf-8"))
    counts = {
        word: sum(o.startswith(word) for o in done.values())
        for word in ("killed", "SURVIVED", "equivalent")
    }
    print(f"{len(done)} mutants: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return 1 if counts["SURVIVED"] else 0


if __name__ == "__main__":
    sys.exit(main())
