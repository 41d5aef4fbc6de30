"""Tables for the documentation from ``python -m benchmarks regret --json FILE``.

``python -m benchmarks.regret_table FILE`` prints every row by class, ``--short`` one line for each
class; the machine and versions stand under either.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Parser, Rows
from benchmarks.compare import read
from benchmarks.regret import regretted

FACTS = ("numpy", "scipy", "torch", "blas", "python", "eagle")


def main(argv: list[str] | None = None) -> int:
    """Print Markdown."""
    parser = Parser(prog="python -m benchmarks.regret_table", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args(argv)
    try:
        content = read(options.file)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    rows = Rows(row for row in content["rows"] if "more_us" in row)
    print(short(rows) if options.short else long(rows))
    print(f"\n{machine(content['facts'])}")
    return 0


def short(rows: Rows) -> str:
    """One line for each class, and one for all."""
    lines = [
        "| class | problems | median | worst | where | lost | to torch's gelsy, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, own in [*rows.by("kind"), ("**all**", rows)]:
        worst = max(own, key=lambda row: row["ratio"])
        torch = [row["over_torch"] for row in own if not isinstance(row["over_torch"], str)]
        middle = f"{np.median(torch):.2g}" if torch else "-"
        lines.append(
            f"| {kind} | {len(own)} | {np.median(own.column('ratio')):.2g} | {worst['ratio']:.3g} "
            f"| {described(worst)} | {sum(map(regretted, own))} | {middle} |"
        )
    return "\n".join(lines)


def long(rows: Rows) -> str:
    """Every row; what is lost in bold."""
    lines = [
        "| problem | ms | best rival | its ms | ratio | to torch's gelsy | error, its error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"{row['ratio']:.2g}"
        ratio = f"**{ratio}**" if regretted(row) else ratio
        torch = row["over_torch"]
        lines.append(
            f"| {described(row)} | {row['ms']:.3g} | {row['best']} | {row['their_ms']:.3g} "
            f"| {ratio} "
            f"| {torch if isinstance(torch, str) else f'{torch:.2g}'} "
            f"| {row['error']:.0e}, {row['their_error']:.0e} |"
        )
    return "\n".join(lines).replace("nan", "-")


def described(row: dict[str, Any]) -> str:
    """A problem in a few words."""
    return f"{row['what']}, κ {row['condition']:.0e}, {row['dtype']}"


def machine(facts: dict[str, Any]) -> str:
    """What it was measured on."""
    versions = ", ".join(f"{name} {facts[name]}" for name in FACTS)
    return (
        f"{facts['usable_cores']} cores of {facts['processor']}; {versions}; load {facts['load']}."
    )


if __name__ == "__main__":
    sys.exit(main())
