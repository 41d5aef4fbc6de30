"""Figure 9: weights before and after sparsification and clustering.

W_QK of the unconstrained model, seed 0, as trained (above) and with the two values that are left
(below). The rows are test errors of all models with two values in W_QK and three in W_VP;
compute-limited ones keep the factors of their nearest projector instead, which is not sparse.
"""

from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import LAYERS, picture
from eagle.transformer.config import REGIMES
from eagle.transformer.extract import quantised

CLAIM = "Two values in W_QK and three in W_VP do without loss of quality."
LOSS = 1.1  # times the test error


def draw(setting: Setting, sheet: Sheet) -> None:
    trained = setting.models.run("unconstrained", 0).model
    axes = sheet.panels(4, 2, width=2.4, height=2.4)
    for half, how, model in ((0, "trained", trained), (4, "two values", quantised(trained))):
        for layer in LAYERS:
            W = model.W_QK[layer, 0].detach().numpy()
            picture(axes[half + layer], W, f"layer {layer}, {how}")
    for regime in REGIMES:
        for seed, rule in setting.models.rules(regime).items():
            errors = {"trained": rule.model_error, "quantised": rule.quantised_error}
            sheet.row(regime=regime, seed=seed, **errors)


def judge(rows: Rows) -> Checks:
    """The worst seed of every regime."""
    for regime, own in rows.by("regime"):
        worst = max(row["quantised"] / row["trained"] for row in own)
        yield Check(
            f"{regime}: quality is kept",
            f"{regime}: quantised, at most {worst:.3g} times the error",
            worst <= LOSS,
            "two values cannot express a direction that was dropped in late layers",
        )
