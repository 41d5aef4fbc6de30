"""Table 4: property tests of the weights.

What the paper's table holds is not known to us beyond its list of tests (sparse, low rank, random)
and that quality must not be lost. Here: for every regime and layer the share of energy on the
pattern, whether what sparsification keeps is exactly the pattern, the rank, and the p-value of the
test for a random projector; medians over seeds. For each regime the errors of the transformer and
of the rule that stands in for it.
"""

from __future__ import annotations

import numpy as np

from benchmarks.paper.common import (
    Check,
    Drawing,
    Rows,
    Setting,
    finish,
    panels,
    select,
    style,
)
from benchmarks.paper.training import LAYERS, REGIMES
from eagle.plotting import COLOURS

CLAIM = "The extracted rule keeps the quality of the transformer."
LOSS = 1.1


def draw(setting: Setting) -> Drawing:
    """Energy on the pattern by layer; errors of model and rule."""
    models, rows = setting.models, []
    figure, (left, right) = panels(2, width=4.6, height=3.4)
    for index, regime in enumerate(REGIMES):
        rules = models.rules(regime)
        for layer in LAYERS:
            found = [rule.layers[layer].structure for rule in rules]
            gaussian = [each.gaussian for each in found if each.gaussian is not None]
            rows.append(
                {
                    "regime": regime,
                    "layer": layer,
                    "on_QK": 1 - float(np.median([each.off_pattern_QK for each in found])),
                    "on_VP": 1 - float(np.median([each.off_pattern_VP for each in found])),
                    "sparse": float(np.mean([each.sparse for each in found])),
                    "rank": float(np.median([each.rank for each in found])),
                    "random_p": float(np.median(gaussian)) if gaussian else None,
                    "model": float(np.median([rule.model_error for rule in rules])),
                    "rule": float(np.median([rule.rule_error for rule in rules])),
                }
            )
        own = select(rows, regime=regime)
        left.plot([100 * row["on_QK"] for row in own], marker="o", **style(regime, index))
    left.set(xlabel="layer", xticks=list(LAYERS), ylabel="% of energy of W_QK on the pattern")
    places = np.arange(len(REGIMES))
    firsts = [select(rows, regime=regime)[0] for regime in REGIMES]
    for offset, name, sign, colour in ((-0.1, "model", "s", 6), (0.1, "rule", "D", 4)):
        errors = [row[name] for row in firsts]
        right.plot(places + offset, errors, sign, color=COLOURS[colour], label=f"error, {name}")
    right.set(yscale="log", ylabel="mean square of an entry of D")
    right.set_xticks(places, [regime.replace("-", "-\n") for regime in REGIMES], fontsize=8)
    return Drawing(finish(figure, [left, right], columns=3), rows)


def judge(rows: Rows) -> list[Check]:
    """The rule against the model, regime by regime."""
    checks = []
    for regime in dict.fromkeys(row["regime"] for row in rows):
        row = select(rows, regime=regime)[0]
        checks.append(
            Check(
                f"{regime}: the rule is as good as the model",
                f"{regime}: {row['rule']:.3g} against {row['model']:.3g}",
                row["rule"] <= LOSS * row["model"],
            )
        )
    return checks
