"""Figures 2 to 5, 9, 10, 12 to 14 and 17, and Table 1: what training finds.

The paper's figures are named by what they are about; where its layout is not known to us, the
quantity that its text states is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.common import Report
from benchmarks.transformer import Models, table1
from eagle.plotting import COLOURS, MARKERS
from eagle.transformer.config import REGIMES
from eagle.transformer.extract import quantised

LAYERS = range(4)


def fig2(report: Report, models: Models) -> Any:
    """Test error against training steps, every regime and seed."""
    figure, axes = _figure(1, 1, (6.4, 4.0))
    report.section("fig2: test error, untrained and trained")
    for colour, regime in zip(COLOURS, REGIMES, strict=False):
        for seed in models.seeds(regime):
            run = models.run(regime, seed)
            points = [(0, run.untrained)] + [
                (r.step, r.test) for r in run.log if r.test is not None
            ]
            axes.plot(*zip(*points, strict=True), color=colour, label=None if seed else regime)
            report.row(
                regime=regime, seed=seed, untrained=run.untrained, trained=run.test,
                times=run.untrained / run.test,
            )  # fmt: skip
    axes.set(xlabel="step", ylabel="test error, mean square of D", yscale="log")
    _tidy(axes)
    axes.legend(frameon=False)
    return figure


def fig3(report: Report, models: Models) -> Any:
    """Weights W_QK and W_VP per layer, unconstrained."""
    return _weights(models, "unconstrained")


def fig4(report: Report, models: Models) -> Any:
    """Weights W_QK and W_VP per layer, distributed: machines side by side."""
    return _weights(models, "distributed")


def fig5(report: Report, models: Models) -> Any:
    """Weights W_QK and W_VP per layer, compute-limited."""
    return _weights(models, "compute-limited")


def fig9(report: Report, models: Models) -> Any:
    """Weights before and after sparsification and clustering, and what it costs."""
    run = models.run("unconstrained", 0)
    figure, axes = _figure(2, 4, (9.0, 4.6))
    after = quantised(run.model)
    for layer in LAYERS:
        for row, model in zip(axes, (run.model, after), strict=True):
            _picture(row[layer], model.W_QK[layer, 0].detach().numpy(), f"W_QK, layer {layer}")
    report.section("fig9: test error with 2 values in W_QK and 3 in W_VP")
    for regime in REGIMES:
        for seed, rule in zip(models.seeds(regime), models.rules(regime), strict=True):
            report.row(
                regime=regime, seed=seed, model=rule.model_error, quantised=rule.quantised_error
            )
    return figure


def fig10(report: Report, models: Models) -> Any:
    """Scaling laws: a1 a2 and a1 a3 against the largest norm in a batch."""
    figure, axes = _figure(1, 2, (9.0, 4.0))
    report.section("fig10: slope of log(-a1 a2) and log(-a1 a3) against log |A_l|; the rule: -2")
    for i, regime in enumerate(("unconstrained", "distributed", "estimation")):
        for ax, name, layers in zip(axes, ("eta", "gamma"), (LAYERS[:3], LAYERS), strict=True):
            pairs = [
                (rule.layers[k].norm, getattr(rule.layers[k], f"{name}_step"))
                for rule in models.rules(regime)
                for k in layers
            ]
            norms, steps = np.array(pairs).T
            ax.plot(norms, steps, MARKERS[i], color=COLOURS[i], label=regime)
            fit = scipy.stats.linregress(np.log(norms), np.log(steps))
            report.row(
                regime=regime, constant=name, slope=fit.slope, standard_error=fit.stderr,
                at_norm_1=float(np.exp(fit.intercept)),
            )  # fmt: skip
    for ax, name, value in zip(axes, ("-a1 a2", "-a1 a3"), (1.0, 1.9), strict=True):
        x = np.geomspace(0.4, 9, 2)
        ax.plot(x, value / x**2, color="0.6", label=f"{value:g} |A|^-2")
        ax.set(xscale="log", yscale="log", xlabel="|A_l|, batch maximum", ylabel=name)
        _tidy(ax)
        ax.legend(frameon=False, fontsize=8)
    return figure


def fig12(report: Report, models: Models) -> Any:
    """Eigenvalues of W_QK, compute-limited: a projector of rank 5 has ones and zeros."""
    figure, axes = _figure(1, 4, (10.0, 2.8))
    report.section("fig12: eigenvalues of W_QK / a1, the five largest, and the largest of the rest")
    for seed, rule in zip(
        models.seeds("compute-limited"), models.rules("compute-limited"), strict=True
    ):
        for layer, ax in zip(LAYERS, axes, strict=True):
            values = rule.layers[layer].structure.eigenvalues
            ax.plot(values, MARKERS[seed], color=COLOURS[seed], label=f"seed {seed}")
            ax.set(title=f"layer {layer}", xlabel="index")
            _tidy(ax)
            five = {f"value{i}": float(values[i]) for i in range(5)}
            report.row(seed=seed, layer=layer, **five, rest=float(abs(values[5:]).max()))
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def fig13(report: Report, models: Models) -> Any:
    """Off-diagonal entries of W_QK, compute-limited, against those of a random projector."""
    figure, axes = _figure(1, 4, (10.0, 2.8))
    report.section("fig13: Kolmogorov-Smirnov test of the entries against a random projector's")
    rules = models.rules("compute-limited")
    for layer, ax in zip(LAYERS, axes, strict=True):
        entries = []
        for rule in rules:
            S = rule.layers[layer].sketch
            entries.append((S @ S.T)[~np.eye(18, dtype=bool)])
        deviation = np.sqrt(5 * 13 / (18 * 20 * 17))
        ax.hist(np.concatenate(entries), bins=40, density=True, color=COLOURS[0], alpha=0.6)
        x = np.linspace(-0.7, 0.7, 200)
        ax.plot(x, scipy.stats.norm.pdf(x, scale=deviation), color=COLOURS[1])
        ax.set(title=f"layer {layer}", xlabel="entry")
        _tidy(ax)
        values = [rule.layers[layer].structure.gaussian for rule in rules]
        report.row(layer=layer, **{f"p, seed {i}": value for i, value in enumerate(values)})
    return figure


def fig14(report: Report, models: Models) -> Any:
    """Compute-limited: how much of what W_VP lifts is in the columns that W_QK sees."""
    rules = models.rules("compute-limited")
    figure, axes = _figure(1, len(rules), (4.2 * len(rules), 3.4))
    report.section(
        "fig14: energy of the lift P_l inside the range of S_k; chance 0.08, paper 1 at k = l"
    )
    for seed, (rule, ax) in enumerate(zip(rules, np.atleast_1d(axes), strict=True)):
        bases = [np.linalg.qr(layer.sketch)[0] for layer in rule.layers]
        table = np.zeros((3, 4))
        for i in range(3):
            P = rule.layers[i].lift
            for k, Q in enumerate(bases):
                table[i, k] = (np.linalg.norm(Q.T @ P @ Q) / np.linalg.norm(P)) ** 2
                ax.text(k, i, f"{table[i, k]:.2f}", ha="center", va="center", color="w")
            agreement = rule.layers[i].structure.agreement
            own = {f"S_{k}": table[i, k] for k in range(4)}
            report.row(seed=seed, layer=i, **own, QK_to_VP=agreement)
        ax.imshow(table, vmin=0, vmax=1)
        ax.set(title=f"seed {seed}", xlabel="sketch of layer", ylabel="lift of layer")
        ax.set(xticks=range(4), yticks=range(3))
    return figure


def fig17(report: Report, models: Models) -> Any:
    """Trained with noise of variance 0.01: the same rule, other constants."""
    figure, axes = _figure(1, 2, (9.0, 3.6))
    report.section("fig17: constants with and without noise, in units of |A_l|^-2")
    for i, regime in enumerate(("unconstrained", "distributed", "estimation")):
        for noisy in (False, True):
            rule = models.rule(regime, 0, noisy)
            style = {"color": COLOURS[i], "linestyle": "--" if noisy else "-", "marker": MARKERS[i]}
            label = f"{regime}{', noisy' * noisy}"
            axes[0].plot(rule.eta[:-1], **style)
            axes[1].plot(rule.gamma, label=label, **style)
            report.row(
                regime=regime, noisy=noisy, learned=rule.learned,
                eta=" ".join(f"{value:.2f}" for value in rule.eta[:-1]),
                gamma=" ".join(f"{value:.2f}" for value in rule.gamma),
                test=models.run(regime, 0, noisy).test, noiseless=rule.model_error,
            )  # fmt: skip
    for ax, name in zip(axes, ("eta", "gamma"), strict=True):
        ax.set(title=name, xlabel="layer", xticks=list(LAYERS))
        _tidy(ax)
    axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def table(report: Report, models: Models) -> None:
    """Table 1: distance between the states of transformer and rule, layer by layer."""
    table1(report, models)


def _weights(models: Models, regime: str) -> Any:
    """W_QK above W_VP, one column per layer; machines below each other."""
    model = models.run(regime, 0).model
    figure, axes = _figure(2, 4, (9.0, 4.8))
    visible, hidden = model.config.machine_features
    for layer in LAYERS:
        W_QK = model.W_QK[layer, 0].detach().numpy()
        W_VP = model.W_VP[layer].detach().flatten(0, 1).numpy().copy()
        if layer == 3:  # what does not reach D was never trained
            W_VP[:, np.arange(W_VP.shape[1]) % (visible + hidden) < visible] = 0
        _picture(axes[0, layer], W_QK, f"W_QK, layer {layer}")
        _picture(axes[1, layer], W_VP, f"W_VP, layer {layer}")
    return figure


def _picture(axes: Any, W: np.ndarray, title: str) -> None:
    limit = abs(W).max()
    axes.imshow(W, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set_title(f"{title}, {limit:.2g}", fontsize=9)
    axes.set(xticks=[], yticks=[])


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


def _tidy(axes: Any) -> None:
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


FIGURES: dict[str, Callable[[Report, Models], Any]] = {
    "fig2": fig2,
    "fig3": fig3,
    "fig4": fig4,
    "fig5": fig5,
    "fig9": fig9,
    "fig10": fig10,
    "fig12": fig12,
    "fig13": fig13,
    "fig14": fig14,
    "fig17": fig17,
    "table1": table,
}
