"""Table 1: distance between the states of the transformer and of the extracted rule.

Mean squared difference per entry of the state after every layer, times 1e4, median over the seeds
there are, with the constants fitted layer by layer; the paper has ten seeds and divides by the size
of Z. The estimation regime is not in the paper's table.
"""

import numpy as np

from benchmarks.looks import COLOURS
from benchmarks.paper.common import FACTOR, Check, Checks, Rows, Setting, Sheet
from benchmarks.transformer import PAPER
from eagle.transformer.config import REGIMES

CLAIM = "The rule follows the transformer to a few 1e-4 per entry in every layer and regime."


def draw(setting: Setting, sheet: Sheet) -> None:
    for regime, ax in zip(REGIMES, sheet.panels(len(REGIMES), width=2.7), strict=True):
        tables = [setting.models.fidelity(regime, seed) for seed in setting.models.seeds(regime)]
        fitted = 1e4 * np.array([table.fitted for table in tables])
        universal = 1e4 * np.array([table.universal for table in tables])
        paper = PAPER.get(regime)
        for layer, column in enumerate(fitted.T):
            sheet.row(
                regime=regime, layer=layer, paper=paper[layer] if paper else None,
                fitted=float(np.median(column)), least=float(column.min()),
                most=float(column.max()),
                same_constants_everywhere=float(np.median(universal[:, layer])),
            )  # fmt: skip
        own = Rows(sheet.rows.of(regime=regime)[1:])
        places, heights = np.arange(1, len(own) + 1), np.array(own.column("fitted"))
        if paper:
            ax.bar(places - 0.2, paper[1:], 0.38, color=COLOURS[0], label="paper, mean of 10 seeds")
        ax.bar(
            places + 0.2 * bool(paper), heights, 0.38, color=COLOURS[2], ecolor="0.3",
            label="here, median and range",
            yerr=abs(heights - [own.column("least"), own.column("most")]),
        )  # fmt: skip
        ax.set(title=regime, xlabel="after layer", xticks=places)
        if regime == REGIMES[0]:
            ax.set(ylabel="mean squared distance x 1e4")


def judge(rows: Rows) -> Checks:
    for regime in PAPER:
        own = [row for row in rows.of(regime=regime) if row["layer"] > 0]
        pairs = ", ".join(f"{row['fitted']:.2g} ({row['paper']:g})" for row in own)
        yield Check(
            f"{regime}: distances as in the paper (within a factor of {FACTOR:g}, or smaller)",
            f"{regime}: {pairs}",
            all(row["fitted"] <= FACTOR * row["paper"] for row in own),
            "these models lift the columns of later layers, which the rule read out follows",
        )
