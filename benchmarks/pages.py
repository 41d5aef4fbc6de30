"""The measured tables and pictures of README and docs, made from what benchmarks wrote.

``python -m benchmarks.pages PATH ...`` rewrites what stands between ``<!-- measured: NAME -->`` and
``<!-- end -->``. A PATH is a file of ``python -m benchmarks all --json FILE`` or of one benchmark,
which then has its own tables alone, or the folder of ``python -m benchmarks.paper all --output
FOLDER``. Under each table stand its command, the machine and versions. A table of which a row is
missing stays as it is; so do all for rows of ``--quick``, which ``--print`` shows instead.
"""

import json
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import datasets, real, regret, scaling, tables
from benchmarks.common import Parser, Rows, Spread
from benchmarks.compare import read
from benchmarks.limits import asymmetric, communication, condition
from benchmarks.paper import registry
from benchmarks.paper.common import Verdict
from eagle.gallery.plotting import save

ROOT = Path(__file__).parents[1]
VERSIONS = ("numpy", "scipy", "torch", "blas", "python", "eagle")
REGION = re.compile(r"(?<=<!-- measured: )([\w-]+)( -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)
PAPER = "benchmarks.paper all --data FOLDER"
Row = Mapping[str, Any]


class Missing(LookupError):
    """A row that a table needs is not there."""


@dataclass(frozen=True)
class Item:
    """A table or a picture: who measures it, in which sections, and how it is made of the rows."""

    command: str  # after ``python -m``
    sections: tuple[str, ...]  # how their titles start
    make: Callable[[Rows], Any]

    @property
    def benchmark(self) -> str:
        """Whose rows it needs."""
        return self.command.split()[0 if self.command == PAPER else 1]


TABLES: dict[str, Item] = {}
PICTURES: dict[str, Item] = {}


def region(command: str, *sections: str) -> Callable[[Callable[[Rows], str]], Any]:
    """Register the table of a function under its name, with hyphens."""

    def register(make: Callable[[Rows], str]) -> None:
        TABLES[make.__name__.replace("_", "-")] = Item(f"benchmarks {command}", sections, make)

    return register


def main(argv: list[str] | None = None) -> int:
    """Rewrite the pages; 1 if a table that was measured lacks rows."""
    parser = Parser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--print", action="store_true", dest="shown", help="and write nothing")
    options = parser.parse_args(argv)
    texts: dict[str, str] = {}
    figures: dict[str, Any] = {}
    left: list[str] = []
    for path in options.paths:
        try:
            content = folder(path) if path.is_dir() else read(path)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        if content["facts"].get("quick") and not options.shown:
            parser.error(f"{path} is of a quick run, which is for --print alone")
        rows = revived(content["rows"])
        for name, text in made(TABLES, rows, left):
            texts[name] = f"{text}\n\n{measured(TABLES[name].command, content['facts'])}"
        figures |= {} if options.shown else made(PICTURES, rows, left)
    if options.shown:
        print("\n\n".join(f"## {name}\n\n{text}" for name, text in texts.items()))
    for page in [] if options.shown else pages():
        page.write_text(updated(page.read_text(encoding="utf-8"), texts), encoding="utf-8")
    for name, figure in figures.items():
        save(figure, ROOT / "docs/_static" / f"{name}.png")
    print(*(f"{line}\n" for line in left), sep="", end="", file=sys.stderr)
    return int(bool(left))


def pages() -> list[Path]:
    """All that may have regions."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def updated(page: str, texts: dict[str, str]) -> str:
    """A page with what was made in the place of what stood there."""
    return REGION.sub(lambda m: m[1] + m[2] + texts[m[1]] if m[1] in texts else m[0], page)


def made(items: dict[str, Item], rows: Rows, left: list[str]) -> Iterator[tuple[str, Any]]:
    """Names and what these rows are enough for; of what else was measured, why not, into `left`."""
    for name, item in items.items():
        if own := rows.of(benchmark=item.benchmark):
            try:
                parts = [part(own, start) for start in item.sections]
                yield name, item.make(Rows(row for each in parts for row in each))
            except LookupError as missing:  # a row, or a cell of one
                left.append(f"{name}: left as it is: {missing}")


def measured(command: str, facts: Row) -> str:
    """How and on what."""
    threads = facts["threads"] if isinstance(facts["threads"], dict) else {}
    few = "".join(f", {name}={count}" for name, count in threads.items())
    versions = ", ".join(f"{name} {facts[name]}" for name in VERSIONS)
    return (
        f"`python -m {command}`: {facts['usable_cores']} cores of {facts['processor']}{few}; "
        f"{versions}; load {facts['load']}."
    )


def revived(rows: Iterable[Row]) -> Rows:
    """Rows as the benchmark had them: of a spread median and ends, of infinity the number."""

    def cell(value: Any) -> Any:
        if isinstance(value, dict) and "median" in value:
            ends = (cell(value[name]) for name in ("min", "median", "max"))
            return Spread(tuple(ends), value["better"])
        return float(value) if value in ("nan", "inf", "-inf") else value

    return Rows({name: cell(value) for name, value in row.items()} for row in rows)


def folder(path: Path) -> dict[str, Any]:
    """What the paper's figures left there, a row for each claim."""
    files = [path / f"{name}.json" for name in registry.names()]
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    if not records:
        raise ValueError(f"{path} has no figure of `python -m benchmarks.paper`")
    rows = [
        {"benchmark": "benchmarks.paper", "section": record["title"]} | check
        for record in records
        for check in record["checks"]
    ]
    quick = any(record["circumstances"]["sizes"] == "quick" for record in records)
    return {"facts": records[0]["facts"] | {"quick": quick}, "rows": rows}


# -- rows, words, tables ---------------------------------------------------------------------


def part(rows: Rows, start: str) -> Rows:
    """Those of the sections whose titles start so."""
    found = Rows(row for row in rows if row["section"].startswith(start))
    if not found:
        raise Missing(f"no section {start!r}")
    return found


def one(rows: Rows, **where: Any) -> Row:
    """The row with these values."""
    found = rows.of(**where)
    if len(found) != 1:
        wanted = ", ".join(f"{name} {value}" for name, value in where.items())
        raise Missing(f"{len(found)} rows with {wanted}")
    return found[0]


def covering(rows: Rows, name: str, *wanted: Any) -> Rows:
    """All of them, if each of these values is in one."""
    if missing := [str(value) for value in wanted if not rows.of(**{name: value})]:
        raise Missing(f"no row with {name} {', '.join(missing)}")
    return rows


class Words(string.Formatter):
    """In ``{name:2}`` a number has two digits, a spread is its median, what is not there a dash."""

    def format_field(self, value: Any, spec: str) -> str:
        value = value.median if isinstance(value, Spread) else value
        if value is None or value != value:
            return "-"
        if not spec.isdigit():
            return format(value, spec)
        text = f"{value:.{spec}g}"
        return f"{value:.0f}" if "e+" in text and abs(value) < 1e5 else text


def say(template: str, row: Row) -> str:
    """The template with the cells of a row."""
    return Words().vformat(template, (), row)


def number(value: Any) -> str:
    """To two digits."""
    return say("{x:2}", {"x": value})


def bold(text: str, when: bool) -> str:
    return f"**{text}**" if when else text


def table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    heads = list(heads)
    rows = [f"| {' | '.join(cells)} |" for cells in (heads, *lines)]
    rows.insert(1, "|---" * len(heads) + "|")
    return "\n".join(rows)


def listed(rows: Iterable[Row], columns: dict[str, str]) -> str:
    """A line for each row, a template for each column; a first cell that comes again is empty."""
    lines = [[say(template, row) for template in columns.values()] for row in rows]
    for above, line in reversed(list(pairwise(lines))):
        line[0] = "" if line[0] == above[0] else line[0]
    return table(columns, lines)


Places = dict[str, dict[str, Any]]  # words, and the cells that a row there has


def grid(rows: Rows, down: Places, along: Places, template: str) -> list[list[str]]:
    """Lines whose cells are one row each."""
    return [
        [words, *(say(template, one(rows, **line, **column)) for column in along.values())]
        for words, line in down.items()
    ]


def listing(
    name: str, command: str, section: str, columns: dict[str, str], *needs: Any, **where: Any
) -> None:
    """Register a table of rows as they are; of `needs` the first is a cell, then its values."""

    def make(rows: Rows) -> str:
        found = rows.of(**where)
        return listed(covering(found, *needs) if needs else found, columns)

    TABLES[name] = Item(command, (section,), make)


# -- least squares beside others -------------------------------------------------------------

KINDS = ("kind", *regret.GRIDS, "batches", "sparse")
PROBLEM = "{what}, κ {condition:.0e}, {dtype}"


@region("regret", "")
def regret_classes(rows: Rows) -> str:
    """One line for each class, and one for all."""
    rows, lines = covering(rows.having("more_us"), *KINDS), []
    for kind, own in [*rows.by("kind"), ("**all**", rows)]:
        torch = [ratio for ratio in own.column("over_torch") if ratio == ratio]
        cells = {
            "class": kind, "problems": len(own), "middle": np.median(own.column("ratio")),
            "lost": sum(map(regret.regretted, own)), "worse": own.column("accurate").count(False),
            "torch": np.median(torch) if torch else None,
        }  # fmt: skip
        lines.append(max(own, key=lambda row: row["ratio"]) | cells)
    return listed(lines, {
        "class": "{class}", "problems": "{problems}", "median": "{middle:2}", "worst": "{ratio:3}",
        "where": PROBLEM, "lost": "{lost}", "less accurate": "{worse}",
        "to torch's gelsy, median": "{torch:2}",
    })  # fmt: skip


@region("regret", "")
def regret_rows(rows: Rows) -> str:
    """Every row; what is lost in bold."""
    shown = [
        row | {"mark": bold(number(row["ratio"]), regret.regretted(row))}
        for row in covering(rows.having("more_us"), *KINDS)
    ]
    return listed(shown, {
        "problem": PROBLEM, "ms": "{ms:3}", "best rival": "{best}", "its ms": "{their_ms:3}",
        "ratio": "{mark}", "to torch's gelsy": "{over_torch:2}",
        "error, its error": "{error:.0e}, {their_error:.0e}",
    })  # fmt: skip


@region("crossovers", "by rank", "by condition", "by d /", "by n,", "by d:")
def crossover(rows: Rows) -> str:
    """Ratios along each walk, and where they pass 1."""
    shown = []
    for row in rows:
        along = ", ".join(f"{row[name]} at {name}" for name in row if name.isdigit())
        shown.append(row | {"walk": row["section"].removeprefix("by "), "along": along})
    return listed(shown, {
        "walk": "{walk}", "rival": "{rival}", "its time over ours": "{along}",
        "faster": "{crossover}",
    })  # fmt: skip


METHODS = {
    "`auto`": "auto", "EAGLE, Cholesky": "cholesky", "EAGLE, minimax: products alone": "minimax",
    "scipy `solve`: LU, square and full rank only": "LU solve", "scipy `lstsq`, gelsy": "gelsy",
    "scipy `lstsq`, gelsd (its default)": "gelsd", "numpy `lstsq`": "numpy lstsq",
    "numpy `pinv`": "numpy pinv",
}  # fmt: skip


@region("central --sections speed", "speed")
def products(rows: Rows) -> str:
    """Seconds in units of one product."""
    along = {
        f"n = {n}, κ = {kappa:.0e}": {"n": n, "condition": kappa}
        for n in (1000, 2000)
        for kappa in (1e4, 1e8)
    }
    down = {words: {"method": method} for words, method in METHODS.items()}
    rates = [100 * rate for rate in rows.of(method="minimax").column("gemm rate")]
    return (
        f"{table(['', *along], grid(rows, down, along, '{gemms:2} ({error:.1e})'))}\n\nThe form "
        f"with products alone runs at {min(rates):.2g} to {max(rates):.2g} % of the rate of one "
        "product."
    )


@region("central --sections real --data FOLDER", "real")
def real_errors(rows: Rows) -> str:
    """How often an error is at or under gelsd's."""
    counts = covering(rows.having("matrices"), "method", "cholesky", "minimax", "auto")
    shares = (f"{row['method']} on {100 * row['won'] / row['matrices']:.0f} %" for row in counts)
    return (
        f"Errors at or under gelsd's among {counts[0]['matrices']} matrices of the SuiteSparse "
        f"collection, with consistent B and C: {', '.join(shares)}."
    )


listing("iterations", "benchmarks central --sections floor", "floor", {
    "$\\kappa$": "{condition:.0e}", "paper, (1/3, 1)": "{paper}", "minimax": "{minimax}",
    "Cholesky": "{cholesky}",
}, "condition", 1e2, 1e4, 1e8, 1e12, size="240 x 240", dtype="float64")  # fmt: skip
listing("compressed", "benchmarks limited --sections compressed", "compressed", {
    "n": "{n}", "rank": "{rank}", "ms": "{ms:2}", "LAPACK's best": "{best_rival}",
    "ratio": "{ratio:2}", "error": "{error}", "its error": "{rival_error}",
}, "n", 2000, 5000, method="auto")  # fmt: skip


@region("limited --sections planner", "regret")
def planner(rows: Rows) -> str:
    """Median and worst of the regrets."""
    regrets = [row["regret"].median for row in rows]
    return say(
        f"Over {len(rows)} problems the time of `auto` is {np.median(regrets):.2g} times that of "
        "the best single method in the median, and {regret:2} times at worst: {d} x {n} of rank "
        "{rank}, κ {condition:.0e}, {auto_ms} ms.",
        rows[int(np.argmax(regrets))],
    )


SOLVERS = ["eagle auto", "eagle, the kernel alone", "numpy pinv", "torch pinv cpu"]
SOLVERS += ["torch lstsq gelsd cpu", "torch lstsq gelsy cpu"]


@region("dropin --sections batches", "batches")
def batches(rows: Rows) -> str:
    """Microseconds a problem, and who is wrong without a word."""
    lines = []
    for n in (16, 32, 64):
        for dtype in ("float64", "float32"):
            cells = [one(rows, n=n, dtype=dtype, who=who)["us_each"].median for who in SOLVERS]
            best = min(cells[:1] + cells[2:])
            texts = (bold(number(each), each == best) for each in cells)
            lines.append([f"{n} x {n}, {dtype}", *texts])
    wrong = {who: sum(own.column("silently")) for who, own in rows.by("who")}
    told = ", ".join(f"{who.removesuffix(' cpu')} {n}" for who, n in wrong.items() if n)
    return (
        f"{table(['', *SOLVERS], lines)}\n\nWrong without a word, by more than a hundred "
        f"rounding units times the condition, in all: {told or 'nobody'}; `eagle.lstsq`: "
        f"{wrong['eagle auto']}."
    )


@region("dropin --sections methods", "lstsq of a batch")
def batch_methods(rows: Rows) -> str:
    """Options of a batch beside a loop."""
    along = {f"{n} x {n}": {"n": n} for n in (16, 32, 64, 128)}
    down = {f"`{what}`": {"what": what} for what, _ in rows.by("what")}
    lines = grid(rows, down, along, "{us_each:2}, loop {loop_us:2}")
    last = {"numpy pinv, no certificate": list(down.values())[-1]}
    return table(["", *along], lines + grid(rows, last, along, "{pinv_us:2}"))


listing("mixed", "benchmarks dropin --sections mixed", "EAGLE, float64", {
    "shape": "{shape}", "rank": "{rank}", "$\\kappa$": "{condition:.0e}",
    "time over double's": "{ratio:2}", "iterations, double's and its": "{iterations}",
    "error": "{mixed_error:.0e}", "double's": "{double_error:.0e}",
}, "shape", "1000 x 1000", "4000 x 1000")  # fmt: skip


@region("dropin --sections backward", "backward")
def backward(rows: Rows) -> str:
    """The backward pass over the forward one."""
    covering(rows, "shape", "1000 x 1000, rank 1000, 10 x 100")
    down = {shape: {"shape": shape} for shape, _ in rows.by("shape")}
    along = {who: {"who": who} for who, _ in rows.by("who")}
    return table(["", *along], grid(rows, down, along, "{ratio:2}"))


# -- machine learning ------------------------------------------------------------------------

listing("nystroem", "benchmarks dropin --sections nystroem", "Nystroem", {
    "data": "{data}", "dtype": "{dtype}", "gamma": "{gamma}", "ours": "{ms:3}",
    "theirs": "{their_ms:3}", "ratio": "{ratio:2}", "error": "{error:.1e}",
    "their error": "{their_error:.1e}",
}, "data", "digits", "100,000 x 20")  # fmt: skip
listing("attention-speed", "benchmarks attention --sections speed", "speed", {
    "tokens": "{n}", "landmarks": "{landmarks}", "pass": "{what}", "exact, ms": "{exact_ms:2}",
    "eagle": "{eagle:2}", "eagle, ridge given": "{ridge_given:2}", "six steps": "{six_steps:2}",
    "six steps, fused": "{six_fused:2}",
}, "n", 1024, 4096, 16384)  # fmt: skip


@region("attention --sections error", "error")
def attention(rows: Rows) -> str:
    """Distances from softmax attention."""
    shown = covering(rows.of(n=2048, landmarks=64), "tokens", "smooth", "text", "white")
    won = sum(row["eagle"] <= row["six_steps"] for row in rows)
    columns = {
        "tokens": "{tokens}", "temperature": "{temperature:g}", "eagle": "{eagle:2}",
        "it said": "{said:2}", "six steps": "{six_steps:2}", "pseudo-inverse": "{pinv:2}",
        "mean value": "{mean_value:2}",
    }  # fmt: skip
    return (
        f"{listed(shown, columns)}\n\nWith 512 and 2048 tokens and 32 to 128 landmarks it is at "
        f"least as close as six steps in {won} of {len(rows)} cases."
    )


@region("tables --sections rows scattered", "")
def holes(rows: Rows) -> str:
    """A line for each data set and pattern of holes, and how many are won."""
    large = one(part(rows, "low rank"), shape="10000 x 500")
    names = (*datasets.TABLES, *tables.NO_ORDER)
    rows = covering(rows.having("over_best_rival"), "data", *names)
    shown = [
        row
        | {
            "star": "" if row["one_of_20"] else " *", "seconds": row["ms"] / 1e3,
            "mark": bold(number(row["error"]), row["over_best_rival"] > tables.WITHIN),
        }
        for row in rows
    ]  # fmt: skip
    columns = {"data": "{data}", "holes": "{pattern}{star}", "eagle": "{mark}"}
    columns |= {name: f"{{{name}:2}}" for name in tables.RIVALS}
    columns |= {
        "expected / error": "{expected_over_error:2}", "coverage": "{coverage:.3f}",
        "width": "{width:2}", "a bootstrap's": "{bootstrap_width:2}", "seconds": "{seconds:2}",
    }  # fmt: skip
    counts, starred = (
        f"{sum(row['over_best_rival'] <= tables.WITHIN for row in own)} of {len(own)}"
        for own in (rows.of(one_of_20=True), rows.of(one_of_20=False))
    )
    blocks = [row for row in rows if row["pattern"] != "scattered"]
    return f"{listed(shown, columns)}\n\n" + say(
        f"Within 5 % of the best rival on {counts} rows that count, and on {starred} with a star, "
        f"which are shown beside them; in bold where not. IterativeImputer takes {_slower(rows)} "
        f"times as long in the median, {_slower(blocks)} for blocks and "
        f"{_slower(rows.of(pattern='scattered'))} for scattered holes. "
        "A table of {shape} with a fifth missing, ten factors and noise takes {seconds:2} seconds "
        "and has the error {error:2}; with the known rank it is {oracle_rank_error:2}.",
        large,
    )


def _slower(rows: Iterable[Row]) -> str:
    """How many times as long IterativeImputer takes, in the median."""
    times = [row["times_faster_than_iterative"] for row in rows]
    known = [each for each in times if each == each]
    return number(np.median(known)) if known else "-"


# -- precision, links, machines --------------------------------------------------------------


def _title(study: Any) -> str:
    """How the section of one of `benchmarks.limits` is called."""
    return str(study.__doc__.partition("\n")[0].rstrip("."))


@region("limits condition", _title(condition))
def against_condition(rows: Rows) -> str:
    """Errors in double precision."""
    along = {
        f"{data}, {kappa:.0e}": {"dtype": "float64", "data": data, "condition": kappa}
        for data in condition.DATA
        for kappa in (1e6, 1e10, 1e13, 1e15)
    }
    told = Rows(row | {"told": "" if row["converged"] else ", not converged"} for row in rows)
    down = {name: {"method": name} for name in (*condition.OURS, *condition.RIVALS)}
    lines = grid(told, down, along, "{error:.0e}{told}")
    return f"{table(['', *along], lines)}\n\n{list(condition.conclude(rows))[-1]}."


@region("limits asymmetric", _title(asymmetric))
def without_structure(rows: Rows) -> str:
    """Distances against noise, X asymmetric."""
    along: Places = {
        "EAGLE": {"method": "auto"}, "sketched": {"method": "sketched (ours)"},
        "gelsd": {"method": "SVD lstsq"}, "pinv": {"method": "pinv"},
        asymmetric.RULE: {"method": asymmetric.RULE}, "krylov": {"method": "krylov (ours)"},
    }  # fmt: skip
    own, levels = rows.of(data="asymmetric"), (0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1)
    lines = grid(own, {f"{x:g}": {"noise": x} for x in levels}, along, "{distance:.0e}")
    for line, noise in zip(lines, levels, strict=True):
        auto = one(own, noise=noise, method="auto")
        line += [say("{misfit:.1e}", auto), say("{inconsistency:.1e}", auto)]
    sentences = "\n".join(f"* {sentence}" for sentence in asymmetric.conclude(rows))
    return f"{table(['noise', *along, 'misfit', 'reported'], lines)}\n\n{sentences}"


@region("limits communication", _title(communication))
def slow_links(rows: Rows) -> str:
    """Seconds by link; the fastest that is right in bold."""
    lines = []
    for data, of_data in rows.by("data"):
        for link in ("10 us, 10 GB/s", "1 ms, 100 MB/s", "100 ms, 10 MB/s"):
            cells = [one(of_data, link=link, method=name) for name in communication.METHODS]
            right = [row for row in cells if row["error"] <= 10 * communication.RTOL]
            best = min((row["seconds"].median for row in right), default=0.0)
            texts = (bold(number(r["seconds"]), r["seconds"].median == best) for r in cells)
            lines.append([data, link, *texts])
    names = (f"`{name}`" for name in communication.METHODS.values())
    return table(("data", "link", *names), lines)


@region("distributed --sections rounds machines", "rounds", "machines")
def rounds(rows: Rows) -> str:
    """Krylov beside theory and the paper's rule."""
    own, many = part(rows, "rounds").of(kappa=1e3), part(rows, "machines")
    down = {f"{alpha:g}": {"alpha": alpha} for alpha in (1.0, 0.3, 0.1, 0.03, 0.01, 0.001)}
    along = {f"krylov, {count} machines": {"M": count} for count in (3, 4, 8)}
    lines = grid(own, down, along, "{krylov}")
    for line, place in zip(lines, down.values(), strict=True):
        four = one(own, M=4, **place)
        line += [say("{theory:.0f}", four), say("{paper}", four)]
    heads = ("$\\alpha$", *along, "theory", "paper's rule, 4 machines")
    counts, sizes = (", ".join(map(str, many.column(name))) for name in ("krylov", "M"))
    return f"{table(heads, lines)}\n\nAt $\\alpha = 0.05$: {counts} rounds with {sizes} machines."


@region("distributed --sections mpi", "mpi")
def mpi(rows: Rows) -> str:
    """What a round takes beside the raw Allreduce."""
    shown = [row | {"us": 1e6 * row["a_round"]} for row in rows.of(d=200).having("method")]
    return listed(shown, {
        "": "`{method}`", "rounds": "{rounds}", "a round, µs": "{us:2}",
        "over the raw Allreduce": "{over_allreduce:2}", "equal on all ranks": "{equal_on_ranks}",
    })  # fmt: skip


listing("dask", "benchmarks distributed --sections dask", "Dask", {
    "data": "{section}", "call": "{by}", "seconds": "{seconds:2}", "error": "{error:.0e}",
    "sent": "{sent:2}",
})  # fmt: skip


# -- sketches, real matrices, the paper ------------------------------------------------------


@region("limited --sections epochs", "epochs")
def epochs(rows: Rows) -> str:
    """Epochs to two errors."""
    own = [one(rows, condition=1e4, size=f"n/{k}") for k in (2, 4, 8)]
    words = {
        "default": "default: exact steps, reshuffled columns",
        "random columns": "exact steps, random columns with repetition",
        "full lift (.95, 1)": "full lift, $(\\eta, \\gamma) = (0.95, 1)$",
        "paper's lift": "the paper's lift", "sgd": "stochastic gradient descent",
    }  # fmt: skip
    lines = ([text, *(row[name] for row in own)] for name, text in words.items())
    return table(("", "$r = n/2$", "$n/4$", "$n/8$"), lines)


@region("real --data FOLDER", "seconds to")
def real_matrices(rows: Rows) -> str:
    """Seconds to the paper's residual, the fastest in bold; and what more digits cost."""
    found, first = covering(rows, "matrix", *real.FULL), Counter[str]()
    low, goal, high = (f"to {each:g}" for each in (real.GOALS[0], real.GOAL, real.GOALS[-1]))
    methods, lines = [method for method, _ in found.by("method")], []
    for (matrix, label), own in found.by("matrix", "A"):
        best = min(own.having(goal).column(goal), default=None)
        first.update(own.of(**{goal: best}).having(goal).column("method"))
        cells = {
            row["method"]: f"> {row['seconds'].split()[1]}"
            if str(row["seconds"]).startswith("over")
            else bold(number(row[goal]), row[goal] == best)
            for row in own
        }
        lines.append([matrix, label, *(cells.get(method, "") for method in methods)])
    more = {
        method: np.median([row[high] / row[low] for row in own])
        for method, both in found.by("method")
        if (own := both.having(low).having(high))
    }
    return (
        f"{table(('matrix', 'A', *methods), lines)}\n\nFirst: "
        f"{', '.join(f'{name} {count}' for name, count in first.most_common())}. Seconds {high} "
        f"in units of those {low}, in the median: "
        f"{', '.join(f'{name} {number(times)}' for name, times in more.items())}."
    )


def claims(verdict: Verdict) -> Callable[[Rows], str]:
    """A table with a line for each claim of the paper that has this verdict."""

    def safe(text: str) -> str:  # nothing in it is a mark of Markdown or of a formula
        return re.sub(r"([\\*_|$<`])", r"\\\1", text)

    def line(row: Row) -> list[str]:
        why = f" ({row['why']})" if row["why"] and verdict == Verdict.DIFFERS else ""
        return [safe(row["claim"]), safe(row["found"] + why), row["section"].partition(":")[0]]

    return lambda rows: table(
        ("the paper says", "measured", ""), map(line, rows.of(verdict=verdict))
    )


TABLES["paper-agrees"] = Item(PAPER, ("",), claims(Verdict.AGREES))
TABLES["paper-differs"] = Item(PAPER, ("",), claims(Verdict.DIFFERS))

PICTURES["scaling"] = Item("benchmarks scaling", scaling.WALKS, scaling.draw)
for _name, _draw in (("real-seconds", real.draw_seconds), ("real-goals", real.draw_goals)):
    PICTURES[_name] = Item("benchmarks real", ("seconds to",), _draw)
for _study in (condition, asymmetric, communication):
    _name = f"limits-{_study.__name__.rpartition('.')[2]}"
    PICTURES[_name] = Item("benchmarks limits", (_title(_study),), _study.draw)


if __name__ == "__main__":
    sys.exit(main())
