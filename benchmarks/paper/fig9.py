"""Figure 9: weights before and after sparsification and clustering.

W_QK of the unconstrained model, seed 0, as trained (above) and with the two values that are left
(below). The rows are test errors of all models with two values in W_QK and three in W_VP;
compute-limited ones keep the factors of their nearest projector instead, which is not sparse.
"""

from __future__ import annotations

from benchmarks.paper.common import Check, Drawing, Rows, Setting, panels, select
from benchmarks.paper.training import LAYERS, REGIMES, picture
from eagle.transformer.extract import quantised

CLAIM = "Two values in W_QK and three in W_VP do without loss of quality."
LOSS = 1.1  # times the test error


def draw(setting: Setting) -> Drawing:
    """Pictures of one model, errors of all."""
    models = setting.models
    trained = models.run("unconstrained", 0).model
    figure, axes = panels(4, 2, width=2.4, height=2.4)
    halves = {"trained": trained, "two values": quantised(trained)}
    for half, (how, model) in enumerate(halves.items()):
        for layer in LAYERS:
            W = model.W_QK[layer, 0].detach().numpy()
            picture(axes[4 * half + layer], W, f"layer {layer}, {how}")
    rows = [
        {
            "regime": regime,
            "seed": seed,
            "trained": rule.model_error,
            "quantised": rule.quantised_error,
        }
        for regime in REGIMES
        for seed, rule in zip(models.seeds(regime), models.rules(regime), strict=True)
    ]
    return Drawing(figure, rows)


def judge(rows: Rows) -> list[Check]:
    """The worst seed of every regime."""
    checks = []
    for regime in dict.fromkeys(row["regime"] for row in rows):
        worst = max(row["quantised"] / row["trained"] for row in select(rows, regime=regime))
        checks.append(
            Check(
                f"{regime}: quality is kept",
                f"{regime}: quantised, at most {worst:.3g} times the error",
                worst <= LOSS,
                "two values cannot express a direction that was dropped in late layers",
            )
        )
    return checks
