"""The command ``eagle``: demo, solve, complete, info."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import eagle
from eagle.result import ConvergenceWarning, Result
from eagle.tables import Table, TableError, check_output, read_table, write_table

__all__ = ["main"]

STATUS = """exit status:
  0    done
  1    done and written, but a solve ended without the accuracy that was asked for
  2    bad input; nothing was written
  130  interrupted; nothing was written"""

OPTIONAL = {
    "scikit-learn": "sklearn",
    "matplotlib": "plot",
    "torch": "torch",
    "mpi4py": "mpi",
    "pandas": "parquet",
    "pyarrow": "parquet",
    "threadpoolctl": "",
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the program; those of the process by default.

    Returns
    -------
    int
        Exit status, see ``eagle --help``.

    Examples
    --------
    >>> from eagle.cli import main
    >>> main(["complete", "--rank", "some", "table.csv", "-o", "filled.csv"])
    2
    """
    command = "eagle"
    try:
        arguments = _parser().parse_args(argv)
        command = f"eagle {arguments.command}"
        with warnings.catch_warnings():
            # Said below in one line, and by the exit status.
            warnings.simplefilter("ignore", ConvergenceWarning)
            status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as stop:  # argparse after --help or an error
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _complain(f"{command}: interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has enough; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _complain(f"{command}: error: not enough memory ({error})", 2)
    except (ValueError, TypeError, OSError, np.linalg.LinAlgError) as error:
        return _complain(f"{command}: error: {error}", 2)


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_line(message)} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="eagle",
        description="Hidden blocks of low-rank matrices, B A^+ C, with a certificate.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"eagle {eagle.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Any, summary: str, text: str) -> argparse.ArgumentParser:
        each = commands.add_parser(
            name,
            help=summary,
            description=text,
            epilog=STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        each.set_defaults(run=run)
        return each

    demo = add(
        "demo",
        _demo,
        "compare the methods on real data, on one screen",
        "Hide a block of a kernel matrix of handwritten digits and a block of their pixels, find\n"
        "them again by every method, and draw how the methods converge.",
    )
    demo.add_argument(
        "-o", "--output", type=Path, default=Path("convergence.png"), metavar="FILE",
        help="the picture: .png, .pdf or .svg (default %(default)s)",
    )  # fmt: skip
    demo.add_argument("--seed", type=_seed, default=0, help="of what is hidden (default 0)")

    solve = add(
        "solve",
        _solve,
        "B A^+ C from three files",
        "Compute D = B A^+ C, the hidden block of [[A, C], [B, D]], print how far to trust it and\n"
        "write it. Files: .npy, .npz with one array, .csv or .parquet.",
    )
    for name, shape in (("A", "d x n"), ("B", "d' x n"), ("C", "d x n'")):
        solve.add_argument(name, type=Path, help=shape)
    solve.add_argument("-o", "--output", type=Path, required=True, metavar="D", help="d' x n'")
    solve.add_argument("--rank", type=int, help="replace A by its best approximation of this rank")
    _add_options(solve)

    complete = add(
        "complete",
        _complete,
        "fill the missing entries of a table",
        "Fill the missing entries of a table from its complete rows. Missing are NaN and, in a\n"
        ".csv, cells that are empty or say NA, N/A, NaN, null or none. All else stays, in a .csv\n"
        "byte for byte. FILLED may be TABLE itself.",
    )
    complete.add_argument("table", type=Path, metavar="TABLE", help=".csv, .npy, .npz or .parquet")
    complete.add_argument("-o", "--output", type=Path, required=True, metavar="FILLED")
    complete.add_argument(
        "--rank", type=_rank, metavar="cv|none|INT",
        help="directions to use: by cross-validation, all, or this many (default cv; none with "
        "--ridge or --cutoff)",
    )  # fmt: skip
    complete.add_argument(
        "--header", action=argparse.BooleanOptionalAction,
        help="whether the first row of a .csv is a header (default: look)",
    )  # fmt: skip
    complete.add_argument(
        "--labels", action=argparse.BooleanOptionalAction,
        help="whether the first column of a .csv holds labels (default: look)",
    )  # fmt: skip
    complete.add_argument("--key", metavar="NAME", help="which array of a .npz")
    _add_options(complete)

    add(
        "info",
        _info,
        "versions, BLAS, threads, optional packages",
        "Print what a report of a problem should contain.",
    )
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `eagle.solve` by their own names."""
    add = parser.add_argument
    add("--method", default="auto", help=f"auto, {', '.join(eagle.METHODS)} (default auto)")
    add("--rtol", type=float, help="wanted relative error of the value")
    add("--maxiter", type=int, help="most iterations")
    add("--time-limit", type=float, metavar="SECONDS")
    add("--cutoff", type=float, help="relative singular value at or below which A is noise")
    add("--ridge", type=float, default=0.0, help="Tikhonov parameter (default 0)")
    add("--seed", type=_seed, default=0, help="of the random probes and folds (default 0)")
    add("--progress", action="store_true", help="show a progress bar")


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("method", "rtol", "maxiter", "time_limit", "cutoff", "ridge", "progress")
    return {name: getattr(arguments, name) for name in names} | {"rng": arguments.seed}


def _rank(text: str) -> str | int:
    if text in ("cv", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be cv, none or an integer, got {text!r}") from None


def _demo(arguments: argparse.Namespace) -> int:
    from eagle import demo

    demo.main(arguments.output, arguments.seed)
    return 0


def _solve(arguments: argparse.Namespace) -> int:
    check_output(arguments.output)
    A, B, C = (read_table(path).values for path in (arguments.A, arguments.B, arguments.C))
    result = eagle.solve(A, B, C, rank=arguments.rank, **_options(arguments))
    write_table(arguments.output, Table(result.value), result.value)
    _print(str(result), f"  written to      {arguments.output}")
    return _verdict("eagle solve", [result])


def _complete(arguments: argparse.Namespace) -> int:
    check_output(arguments.output)
    rank = arguments.rank
    if rank is None:
        rank = "cv" if arguments.cutoff is None and not arguments.ridge else "none"
    table = read_table(
        arguments.table, header=arguments.header, labels=arguments.labels, key=arguments.key
    )
    try:
        completion = eagle.complete(
            table.values, rank=None if rank == "none" else rank, **_options(arguments)
        )
    except ValueError as error:
        if not re.search(r"\b(row|column)s?\b", str(error)):  # about an option
            raise
        where = " (counting from 0)" if re.search(r"(row|column)s? \d", str(error)) else ""
        message = str(error).replace(" of X", "")
        raise TableError(f"{arguments.table}: {message}{where}") from None
    write_table(arguments.output, table, completion.X)
    _print(str(completion), *_kept(table), f"  written to      {arguments.output}")
    return _verdict("eagle complete", completion.results)


def _kept(table: Table) -> list[str]:
    kept = [name for name, texts in (("header", table.columns), ("labels", table.labels)) if texts]
    return [f"  kept            {' and '.join(kept)}"] if kept else []


def _verdict(command: str, results: Iterable[Result]) -> int:
    """1 and a line of warning if a result is less accurate than was asked for."""
    failed = [result for result in results if not result.converged]
    if not failed:
        return 0
    worst = max(failed, key=lambda result: result.error_estimate)
    return _complain(
        f"{command}: warning: not converged ({worst.status.name}, error estimate "
        f"{worst.error_estimate:.1e}). {worst.status.advice}",
        1,
    )


def _seed(text: str) -> int:
    """A seed from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, got {text!r}")
    return int(text)


def _info(arguments: argparse.Namespace) -> int:
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
    width = max(len(name) for name, _ in rows)
    _print(*(f"{name:{width}}  {value}" for name, value in rows))
    return 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpus() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _blas() -> list[str]:
    """One line for each BLAS that is loaded, or what numpy was built with."""
    try:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]
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


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _complain(message: str, status: int) -> int:
    sys.stderr.write(_line(message) + "\n")
    return status


def _line(message: str) -> str:
    return " ".join(message.split())
