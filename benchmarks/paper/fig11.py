"""Figure 11: one ratio of the two constants in every layer.

What the paper's figure shows is not known to us. Drawn is what its text states about the constants:
the ratio ``a1 a3 / (a1 a2)`` of every layer, and what the prediction loses when
``a1 a3 = 1.92 a1 a2`` is imposed on the rule read out of the unconstrained models (the last layer,
where eta has no effect, keeps its gamma): by moving gamma, eta, or both by the same factor,
whichever is closest to the transformer. The squared error is that between the predictions of the
tied rule and the transformer's.
"""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.looks import COLOURS, marker, style
from benchmarks.paper.common import Check, Checks, Rows, Setting, Sheet
from benchmarks.paper.training import FULL_RANK, LAYERS, products
from benchmarks.transformer import Models
from eagle.transformer import Rule, sample_batch
from eagle.transformer.rule import task_of
from eagle.transformer.train import typical

CLAIM = (
    "Setting a1 a3 = 1.92 a1 a2 costs a squared prediction error of 3.5e-4, under the model's own "
    "of 1e-3."
)
RATIO = 1.92
COST = 3.5e-4
BATCHES = 16


def draw(setting: Setting, sheet: Sheet) -> None:
    left, right = sheet.panels(2, width=4.2, height=3.4)
    for index, regime in enumerate(FULL_RANK):
        for seed, rule in setting.models.rules(regime).items():
            ratios = [gamma / eta for eta, gamma in (products(rule, k) for k in LAYERS[:-1])]
            left.plot(ratios, **style(regime, index, marker=marker(index)))
            place = {"regime": regime, "seed": seed}
            sheet.points += [place | {"layer": k, "ratio": r} for k, r in enumerate(ratios)]
    left.axhline(RATIO, color="0.5", linewidth=1)
    left.set(xlabel="layer", ylabel="a1 a3 / (a1 a2)", xticks=range(3), title="grey: 1.92")
    for seed, own in sheet.points.of(regime="unconstrained").by("seed"):
        ratios = own.column("ratio")
        errors = tied_errors(setting.models, seed)
        sheet.row(seed=seed, least=min(ratios), most=max(ratios), **errors)
    bars = {"model": "transformer", "tied": "tied rule", "between": "between the two"}
    for k, (name, label) in enumerate(bars.items()):
        places = np.arange(len(sheet.rows)) + 0.2 * (k - 1)
        right.bar(places, sheet.rows.column(name), 0.18, label=label, color=COLOURS[k + 3])
    right.set(xlabel="seed", xticks=range(len(sheet.rows)), title="unconstrained")
    right.set(ylabel="mean square of an entry of D")


def tied(rule: Rule, moved: float) -> Rule:
    """The rule with ``gamma = RATIO eta`` in all layers but the last; `moved`: gamma's share."""
    *inner, last = rule.layers
    changed = []
    for layer in inner:
        off = RATIO * layer.eta_step / layer.gamma_step
        eta, gamma = layer.eta_step / off ** (1 - moved), layer.gamma_step * off**moved
        changed.append(replace(layer, eta_step=eta, gamma_step=gamma))
    return replace(rule, layers=(*changed, last))


def tied_errors(models: Models, seed: int) -> dict[str, float]:
    """Errors of the transformer and of the closest tied rule, and what is between them."""
    model, rule = models.run("unconstrained", seed).model, models.rule("unconstrained", seed)
    rules = {moved: tied(rule, moved) for moved in (0.0, 0.5, 1.0)}
    task, generator = task_of(model.config, model.task), torch.Generator().manual_seed(seed)
    errors: dict[float, list[list[float]]] = {moved: [] for moved in rules}
    with torch.no_grad():
        for _ in range(BATCHES):
            batch = sample_batch(task, 1024, generator=generator)
            theirs = model.predict(batch)
            for moved, each in rules.items():
                ours = each.predict(batch)
                pairs = ((theirs, batch.D), (ours, batch.D), (theirs, ours))
                errors[moved].append([float((x - y).square().mean()) for x, y in pairs])
    names = ("model", "tied", "between")
    found = [
        {"moved": moved} | dict(zip(names, typical(each).tolist(), strict=True))
        for moved, each in errors.items()
    ]
    return min(found, key=lambda row: row["between"])


def judge(rows: Rows) -> Checks:
    own, between = (float(np.median(rows.column(name))) for name in ("model", "between"))
    least, most = min(rows.column("least")), max(rows.column("most"))
    yield Check(
        f"imposing the ratio 1.92 moves the prediction by about {COST:g}",
        f"it moves by {between:.2g}",
        COST / 1.5 <= between <= COST * 1.5,
    )
    yield Check(
        "imposing the ratio 1.92 moves the prediction by less than the model's own error",
        f"it moves by {between:.2g}, the model's own error is {own:.2g} (the paper's: 1e-3)",
        between < own,
        f"each layer has a ratio of its own, from {least:.2f} to {most:.2f}",
    )
