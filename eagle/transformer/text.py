"""A `Rule` in words: as formulas, as a Python function, as a table."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

OWN_LIFT = 0.9  # energy of P in the range of S below which the lift is not the paper's


def formula(rule: Any) -> str:
    """The update in mathematics, a few lines."""
    transposed = rule.config.transposed
    S = any(layer.sketch is not None for layer in rule.layers)
    lines = ["A' = A^T,  B' = C^T,  C' = B^T,  D' = 0"] if transposed else []
    if rule.config.regime == "estimation":
        lines = ["A' = A^T,  B' = I,  C' = B^T,  D' = 0"]
    a, b, c, d = ("A'", "B'", "C'", "D'") if transposed else ("A", "B", "C", "D")
    if not transposed:
        lines += [f"on each of {rule.config.machines} machines, with its own columns A, B:"]
    if S:
        own = "" if rule.config.regime == "compute-limited" else "  (S_l = I where not listed)"
        lines += [f"At = {a} S_l,  Bt = {b} S_l{own}"]
        lift = f"At^T {a}" if rule.config.lift == "full" else "At^T At S_l^T"
        lift = f"At^T {a} P_l" if any(layer.lift is not None for layer in rule.layers) else lift
        x, y = "At", "Bt"
    else:
        lift, x, y = f"{a}^T {a}", a, b
    norm = "|At|" if S else "|A_l|"
    lines += [
        f"{a} <- {a} - eta_l {norm}^-2 {x} {lift}",
        f"{b} <- {b} - eta_l {norm}^-2 {y} {lift}",
        f"{c} <- {c} - gamma_l {norm}^-2 {x} {x}^T {c}",
        f"{d} <- {d} + gamma_l {norm}^-2 {y} {x}^T {c}",
    ]
    if not transposed:
        lines += ["then C and D are averaged over the machines"]
    answer = "W = D'^T" if rule.config.regime == "estimation" else "D = D'^T"
    return "\n".join([*lines, answer] if transposed else lines)


def code(rule: Any) -> str:
    """A Python module with a function ``rule(A, B, C)`` around `eagle.update.update`."""
    steps: list[list[Any]] = [[layer.eta_step, layer.gamma_step] for layer in rule.layers]
    names, extra = "eta, gamma", ""
    visible, _ = rule.config.machine_features
    sketched = any(layer.sketch is not None for layer in rule.layers)
    own_lift = any(layer.lift is not None for layer in rule.layers)
    for step, layer in zip(steps, rule.layers, strict=True):
        if not sketched:
            continue
        S = np.eye(visible) if layer.sketch is None else layer.sketch
        names, extra = "eta, gamma, S", f', sketch=np.array(S), lift="{rule.config.lift}"'
        step.append(S.tolist())
        if own_lift:  # the last layer, which needs no A, has none
            P = S @ S.T if layer.lift is None else layer.lift
            names, extra = "eta, gamma, S, P", ", sketch=np.array(S), lift=np.array(P)"
            step.append(P.tolist())
    imports = "Blocks, average, update" if not rule.config.transposed else "Blocks, update"
    head = f"import numpy as np\n\nfrom eagle.update import {imports}\n\n"
    table = "".join(f"    {json.dumps(step)},\n" for step in steps)
    head += f"# {names} per step\nSTEPS = [\n{table}]\n\n\n"
    if not rule.config.transposed:
        return head + (
            "def rule(A, B, C):\n"
            f"    own = [np.split(X, {rule.config.machines}, axis=1) for X in (A, B)]\n"
            "    D = np.zeros((len(B), C.shape[1]))\n"
            "    machines = [Blocks(*blocks, C, D) for blocks in zip(*own)]\n"
            f"    for {names} in STEPS:\n"
            f"        stepped = [update(each, eta, gamma{extra}) for each in machines]\n"
            "        machines = average(stepped)\n"
            "    return machines[0].D\n"
        )
    estimation = rule.config.regime == "estimation"
    given, queries = ("A, B", "np.eye(len(A))") if estimation else ("A, B, C", "C.T")
    return head + (
        f"def rule({given}):\n"
        f"    queries = {queries}\n"
        "    D = np.zeros((len(queries), len(B)))\n"
        "    blocks = Blocks(A.T, queries, B.T, D)\n"
        f"    for {names} in STEPS:\n"
        f"        blocks = update(blocks, eta, gamma{extra})\n"
        "    return blocks.D.T\n"
    )


def summary(rule: Any) -> str:
    """Whether the model follows it, the formulas, and a line for each layer."""
    verdict = "follows" if rule.learned else "does NOT follow"
    overlaps = [each.structure.overlap for each in rule.layers if each.structure]
    others = any(overlap is not None and overlap < OWN_LIFT for overlap in overlaps)
    lift = ", but lifts other columns than its sketch sees" if others else ""
    lines = [f"The {rule.config.regime} model {verdict} the rule{lift}"]
    lines += [f"  because {reason}" for reason in rule.reasons]
    lines += ["", "  " + formula(rule).replace("\n", "\n  "), ""]
    lines += ["layer    eta  gamma  |A_l|  off QK  off VP  spread  rank"]
    if rule.config.regime == "compute-limited":
        lines[-1] += "  P in S   full"
    for index, layer in enumerate(rule.layers):
        last = index + 1 == len(rule.layers)
        eta = "unused" if last else f"{layer.eta:6.3f}"  # A is not needed any more
        row = f"{index:5d} {eta} {layer.gamma:6.3f} {layer.norm:6.3g}"
        if layer.structure:
            s = layer.structure
            row += f" {s.off_pattern_QK:7.3f} {s.off_pattern_VP:7.3f}"
            row += f" {s.spread:7.3f} {s.rank:5d}"
            if s.overlap is not None and s.full is not None:
                row += f" {s.overlap:8.3f} {s.full:6.3f}"
        lines.append(row)
    if np.isfinite(rule.model_error):
        text = f"test error: model {rule.model_error:.3g}, rule {rule.rule_error:.3g}, "
        text += f"quantised weights {rule.quantised_error:.3g}; "
        lines += ["", text + f"between rule and model {rule.distance:.3g}"]
    return "\n".join(lines)
