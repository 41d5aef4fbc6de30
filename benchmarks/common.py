"""What every benchmark needs: a command line, machine facts, timing with its spread, tables."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import eagle
from eagle.run.machine import memory
from eagle.tables import replacing

PACKAGES = ("numpy", "scipy", "numba", "torch", "scikit-learn", "mpi4py")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Parser(argparse.ArgumentParser):
    """Bad input is one line and exit status 2."""

    def __init__(self, **settings: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def whole(least: int) -> Callable[[str], int]:
    """For a command line: an integer of at least `least`."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def positive(text: str) -> float:
    """For a command line: a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be finite and positive, got {text}")
    return value


def new_file(text: str) -> Path:
    """For a command line: a file that will be written, in a folder that is there."""
    path = Path(text)
    if path.exists() and not path.is_file():
        raise argparse.ArgumentTypeError(f"{path} is not a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def existing_folder(text: str) -> Path:
    """For a command line: a folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return Path(text)


def make_folder(parser: argparse.ArgumentParser, path: Path) -> None:
    """The folder of ``--output``, once the rest of the command line has been found good."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {path}: {error.strerror}")


def refuse_unknown(
    parser: argparse.ArgumentParser, kind: str, names: Iterable[str], known: Sequence[str]
) -> None:
    """For names of figures or studies, which have defaults that `choices` does not let through."""
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no {kind} {', '.join(unknown)}: choose from {', '.join(known)}")


def command_line(name: str, description: str | None) -> Parser:
    """What every benchmark takes."""
    parser = Parser(prog=f"python -m benchmarks {name}", description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first look")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write every row to FILE")
    parser.add_argument("--seed", type=whole(0), default=0)
    return parser


Section = Callable[["Report", argparse.Namespace], None]


class Suite:
    """A benchmark of several sections: its command line, and the loop over those asked for.

    What its file defines below is decorated with `section` and prints tables into a report;
    `add_argument` is that of its command line.
    """

    def __init__(self, name: str, description: str | None):
        self.name = name
        self.sections: dict[str, Section] = {}
        self.slow: set[str] = set()
        self._parser = command_line(name, description)
        self._parser.add_argument("--sections", nargs="+", choices=self.sections, metavar="NAME")
        self.add_argument, self.error = self._parser.add_argument, self._parser.error

    def section(self, function: Section) -> Section:
        """Register under its own name, with hyphens."""
        self.sections[function.__name__.replace("_", "-")] = function
        return function

    def not_quick(self, function: Section) -> Section:
        """Register what ``--quick`` leaves out."""
        self.slow.add(function.__name__.replace("_", "-"))
        return self.section(function)

    def main(self, argv: list[str] | None = None) -> int:
        """Run the sections asked for, print tables, and save rows."""
        options = self._parser.parse_args(argv)
        warnings.simplefilter("ignore", eagle.ConvergenceWarning)
        report = Report(self.name, quick=options.quick)
        try:
            for name in options.sections or self.sections:
                if not (options.quick and name in self.slow):
                    self.sections[name](report, options)
        finally:  # hours of work survive what fails after them
            report.save(options.json)
        return 0


@dataclass(frozen=True)
class Spread:
    """A number that was measured several times.

    Prints as ``median (least .. most)``. `better` says which way is an improvement.
    """

    values: tuple[float, ...]
    better: str = "less"

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("values is empty")
        if self.better not in ("less", "more"):
            raise ValueError(f"better must be 'less' or 'more', got {self.better!r}")

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    def over(self, other: Spread, better: str = "less") -> Spread:
        """Ratios repeat by repeat: runs that were made one after the other share their luck."""
        pairs = zip(self.values, other.values, strict=True)
        return Spread(tuple(a / b for a, b in pairs), better)

    def scaled(self, factor: float) -> Spread:
        return Spread(tuple(factor * value for value in self.values), self.better)

    def as_json(self) -> dict[str, Any]:
        quartiles = np.quantile(self.values, [0.25, 0.75]).tolist()
        ends = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        return ends | {"quartiles": quartiles, "repeats": len(self.values), "better": self.better}

    def __str__(self) -> str:
        return f"{_text(self.median)} ({_text(min(self.values))} .. {_text(max(self.values))})"


def measure(
    functions: Mapping[str, Callable[[], Any]],
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Spread]:
    """Seconds of several functions, each warmed up, then in turn, so that drift hits all alike."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return {name: Spread(tuple(values)) for name, values in seconds.items()}


def in_child(function: str, *arguments: Any) -> Any:
    """What a function of `benchmarks.children` returns in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.children", function, *map(str, arguments)]
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(child.stdout)


def gemm(n: int) -> Callable[[], Any]:
    """One general product of two n x n matrices: the unit of most tables."""
    from eagle.algebra.blas import product

    A = np.asfortranarray(np.random.default_rng(0).standard_normal((n, n)))
    return lambda: product(A, A)


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory, BLAS, thread settings, versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    set_threads = {name: os.environ[name] for name in THREADS if name in os.environ}
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_GB": round(memory() / 1e9, 1),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "threads": set_threads or "not set",
        "python": platform.python_version(),
        **versions,
        "eagle": eagle.__version__,
    }


def _processor() -> str:
    """The model name where Linux tells it."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


class Rows(list[dict[str, Any]]):
    """Rows of a table, and what is asked of them."""

    def of(self, **where: Any) -> Rows:
        """Those with these values."""
        wanted = where.items()
        return Rows(row for row in self if all(row.get(name) == cell for name, cell in wanted))

    def by(self, *names: str) -> Iterator[tuple[Any, Rows]]:
        """A cell, or several, and the rows that have it, in the order in which they come."""
        for cells in dict.fromkeys(tuple(row[name] for name in names) for row in self):
            own = self.of(**dict(zip(names, cells, strict=True)))
            yield cells if len(names) > 1 else cells[0], own

    def having(self, name: str) -> Rows:
        """Those in which this cell is not None."""
        return Rows(row for row in self if row.get(name) is not None)

    def column(self, name: str) -> list[Any]:
        """One cell of all of them."""
        return [row[name] for row in self]

    def number(self, name: str, **where: Any) -> float:
        """One number of the one row with these values; infinity if it was not reached."""
        (row,) = self.of(**where)
        return np.inf if row[name] is None else float(row[name])


class Report:
    """Prints tables as they come and keeps every row for a JSON file."""

    def __init__(self, name: str, *, quick: bool = False):
        self.rows: list[dict[str, Any]] = []
        self.facts = {"benchmark": name, "quick": quick, **machine_facts()}
        self.title = ""
        self.by: tuple[str, ...] = ()
        self.header: list[str] = []
        print(" ".join(f"{key}={value}" for key, value in self.facts.items()))

    def section(self, title: str, by: Sequence[str] = ()) -> None:
        """Start a table whose rows are told apart by the cells `by`, or by all cells of text."""
        self.title, self.by, self.header = title, tuple(by), []
        print(f"\n## {title}")

    def row(self, **cells: Any) -> None:
        """Print one row, with a header before the first, and keep it."""
        names = self.by or [name for name, cell in cells.items() if isinstance(cell, str | bool)]
        key = " ".join(f"{name}={_text(cells[name])}" for name in names if name in cells)
        self.rows.append({"section": self.title, "key": key.strip(), **cells})
        if list(cells) != self.header:
            self.header = list(cells)
            print("  ".join(f"{name:>14}" for name in cells))
        print("  ".join(f"{_text(cell):>14}" for cell in cells.values()), flush=True)

    def say(self, sentence: str) -> None:
        """A conclusion in words."""
        print(sentence, flush=True)

    def save(self, path: str | Path | None) -> None:
        """Write facts and rows, if a path was given; every row names its benchmark."""
        if path:
            rows = [{"benchmark": self.facts["benchmark"], **row} for row in self.rows]
            write_json(Path(path), {"facts": self.facts, "rows": _plain(rows)})


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Whole or not at all; of a `Spread` the median."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        spreads = {name: cell.median for name, cell in row.items() if isinstance(cell, Spread)}
        writer.writerow({**row, **spreads})
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _plain(value: Any) -> Any:
    """What JSON knows; numbers that it does not know become words."""
    if isinstance(value, Spread):
        return _plain(value.as_json())
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if cell == 0 or 1e-3 <= abs(cell) < 1e4 else f"{cell:.1e}"
    return str(cell)
