"""Table 1: distance between the states of the transformer and of the extracted rule.

Mean squared difference per entry of the state after every layer, times 1e4, median over the seeds
there are; the paper has ten seeds and divides by the size of Z. *Blocks*: cross blocks dropped, the
others as learned, which is how the paper extracts the compute-limited rule. *Literal*: an identity
and one constant in each block, which is how it extracts the others. *Fitted*: our rule, which keeps
a sketch and a lift where directions were dropped. The estimation regime is not in its table.
"""

import numpy as np

from benchmarks.looks import COLOURS
from benchmarks.paper.common import FACTOR, Check, Checks, Rows, Setting, Sheet
from benchmarks.transformer import PAPER
from eagle.transformer.config import REGIMES

CLAIM = "The rule follows the transformer to a few 1e-4 per entry in every layer and regime."
WHY = {
    "blocks": "what is dropped, under 0.3 % of the energy, is the noise of training",
    "literal": "late layers drop visible directions, which one identity cannot express",
}


def draw(setting: Setting, sheet: Sheet) -> None:
    for regime, ax in zip(REGIMES, sheet.panels(len(REGIMES), width=2.7), strict=True):
        tables = [setting.models.fidelity(regime, seed) for seed in setting.models.seeds(regime)]
        fitted = 1e4 * np.array([table.fitted for table in tables])
        blocks = 1e4 * np.array([table.blocks for table in tables])
        literal = 1e4 * np.array([table.literal for table in tables])
        universal = 1e4 * np.array([table.universal for table in tables])
        paper = PAPER.get(regime)
        for layer, column in enumerate(fitted.T):
            sheet.row(
                regime=regime, layer=layer, paper=paper[layer] if paper else None,
                blocks=float(np.median(blocks[:, layer])),
                literal=float(np.median(literal[:, layer])),
                fitted=float(np.median(column)), least=float(column.min()),
                most=float(column.max()),
                same_constants_everywhere=float(np.median(universal[:, layer])),
            )  # fmt: skip
        own = Rows(sheet.rows.of(regime=regime)[1:])
        places, heights = np.arange(1, len(own) + 1), np.array(own.column("fitted"))
        if paper:
            label = "paper, mean of 10 seeds"
            ax.bar(places - 0.27, paper[1:], 0.26, color=COLOURS[0], label=label)
        ax.bar(places, own.column("blocks"), 0.26, color=COLOURS[5], label="here, blocks")
        ax.bar(
            places + 0.27, heights, 0.26, color=COLOURS[2], ecolor="0.3",
            label="here, fitted: median and range",
            yerr=abs(heights - [own.column("least"), own.column("most")]),
        )  # fmt: skip
        ax.set(title=regime, xlabel="after layer", xticks=places)
        if regime == REGIMES[0]:
            ax.set(ylabel="mean squared distance x 1e4")


def judge(rows: Rows) -> Checks:
    for regime in PAPER:
        own = [row for row in rows.of(regime=regime) if row["layer"] > 0]
        for name, factor in (("blocks", 1.0), ("literal", FACTOR)):
            if name == "literal" and regime == "compute-limited":  # not what the paper did there
                continue
            pairs = ", ".join(f"{row[name]:.2g} ({row['paper']:g})" for row in own)
            bound = "at most" if factor == 1 else f"at most {factor:g} times"
            yield Check(
                f"{regime}, {name}: {bound} the paper's distances",
                f"{regime}, {name}: {pairs}",
                all(row[name] <= factor * row["paper"] for row in own),
                WHY[name],
            )
