"""Table 4: property tests of the weights.

What the paper's table holds is not known to us beyond its list of tests (sparse, low rank, random)
and that quality must not be lost. Here: for every regime and layer the share of energy on the
pattern, whether what sparsification keeps is exactly the pattern, the rank, and the p-value of the
test for a random projector; medians over seeds. For each regime the errors of the transformer and
of the rule that stands in for it.
"""

import numpy as np

from benchmarks.looks import COLOURS, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import LAYERS
from benchmarks.transformer import median
from eagle.transformer.config import REGIMES

CLAIM = "The extracted rule keeps the quality of the transformer."
LOSS = 1.1


def draw(setting: Setting, sheet: Sheet) -> None:
    left, right = sheet.panels(2, width=4.6, height=3.4, legend=3)
    for index, regime in enumerate(REGIMES):
        rules = list(setting.models.rules(regime).values())
        for layer in LAYERS:
            found = [rule.layers[layer].structure for rule in rules]
            sheet.row(
                regime=regime, layer=layer, on_QK=1 - median(found, "off_pattern_QK"),
                on_VP=1 - median(found, "off_pattern_VP"),
                sparse=float(np.mean([each.sparse for each in found])),
                rank=median(found, "rank"), random_p=median(found, "gaussian"),
                model=median(rules, "model_error"), rule=median(rules, "rule_error"),
            )  # fmt: skip
        energy = 100 * np.array(sheet.rows.of(regime=regime).column("on_QK"))
        left.plot(energy, **style(regime, index, marker="o"))
    left.set(xlabel="layer", xticks=list(LAYERS), ylabel="% of energy of W_QK on the pattern")
    places, firsts = np.arange(len(REGIMES)), sheet.rows.of(layer=0)
    for offset, name, sign, colour in ((-0.1, "model", "s", 6), (0.1, "rule", "D", 4)):
        look = {"color": COLOURS[colour], "label": f"error, {name}"}
        right.plot(places + offset, firsts.column(name), sign, **look)
    right.set(yscale="log", ylabel="mean square of an entry of D")
    right.set_xticks(places, [regime.replace("-", "-\n") for regime in REGIMES], fontsize=8)


def judge(rows: Rows) -> Checks:
    for regime, own in rows.by("regime"):
        rule, model = own[0]["rule"], own[0]["model"]
        found = f"{regime}: {rule:.3g} against {model:.3g}"
        yield Check(f"{regime}: the rule is as good as the model", found, rule <= LOSS * model)
