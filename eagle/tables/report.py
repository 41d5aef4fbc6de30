"""One page on a completion: what was missing, what was filled and what to expect of it."""

from __future__ import annotations

import base64
import html as markup
import io
from typing import Any

import numpy as np

from eagle.tables.result import Completion

LARGEST = 400  # rows and columns of the picture of the pattern
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;"
    "color:#222}table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "img{max-width:100%}pre{background:#f6f6f6;padding:1em;overflow:auto}"
)


def html(completion: Completion, name: str) -> str:
    """A page that needs nothing beside it.

    Parameters
    ----------
    completion : Completion
        Of a table of real numbers.
    name : str
        Of the table.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    title = f"{markup.escape(name)}, filled"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{STYLE}</style><h1>{title}</h1>",
        f"<pre>{markup.escape(str(completion))}</pre>",
        "<h2>What was missing</h2>",
        _picture(_pattern, completion),
        "<h2>Errors to expect</h2>",
        _errors(completion),
        "<h2>Singular values of the filled table, standardised</h2>",
        _picture(_spectrum, completion),
        "<h2>Validation</h2>",
        _picture(_validation, completion),
        _tried(completion),
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _errors(completion: Completion) -> str:
    head = ["column", "filled", "expected error", "in standard deviations", "mean width"]
    counts = completion.counts
    widths = _array(completion.upper) - _array(completion.lower)
    rows = []
    for j in np.flatnonzero(counts):
        width = float(widths[completion.missing[:, j], j].mean())
        numbers = (
            completion.column_errors[j], completion.standardized_column_errors[j], width
        )  # fmt: skip
        rows.append([str(completion.columns[j]), str(counts[j]), *(f"{x:.3g}" for x in numbers)])
    return f"<p>Intervals of coverage {completion.coverage:g}.</p>" + _table(head, rows)


def _tried(completion: Completion) -> str:
    head = ["rows", "columns", "scaling", "ridge", "error left out, in standard deviations"]
    rows = []
    for group in completion.groups:
        size = [f"{len(group.rows)} from row {group.rows[0]}", str(len(group.columns))]
        for scaling, error in group.tried.items():
            chosen = scaling == group.scaling
            ridge = f"{group.ridge:.3g}" if chosen else ""
            rows.append([*size, scaling + (" (taken)" if chosen else ""), ridge, f"{error:.3g}"])
    return _table(head, rows) if rows else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(tag: str, cells: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{markup.escape(cell)}" for cell in cells)

    return "<table>" + line("th", head) + "".join(line("td", row) for row in rows) + "</table>"


def _picture(draw: Any, completion: Completion) -> str:
    """An image in the page, or nothing if there is nothing to draw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    what = draw(axes, completion)
    if not what:
        return ""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{markup.escape(what)}" src="data:image/png;base64,{data}">'


def _pattern(axes: Any, completion: Completion) -> str:
    missing = completion.missing
    rows, columns = (-(-size // LARGEST) for size in missing.shape)
    axes.imshow(missing[::rows, ::columns], aspect="auto", cmap="Greys", interpolation="nearest")
    axes.set(xlabel="columns", ylabel="rows")
    return "rows and columns of the table, black where entries were missing"


def _spectrum(axes: Any, completion: Completion) -> str:
    X = _array(completion.X)
    scaled = (X - X.mean(axis=0)) / completion.column_deviations
    values = np.linalg.svd(scaled, compute_uv=False)
    axes.semilogy(np.arange(1, len(values) + 1), np.maximum(values, np.finfo(float).tiny), ".-")
    axes.set(xlabel="number", ylabel="singular value")
    return "singular values of the filled table"


def _validation(axes: Any, completion: Completion) -> str:
    if completion.validation is not None:
        axes.plot(completion.validation.ranks, completion.validation.errors, ".-")
        axes.set(xlabel="factors", ylabel="error left out, std. dev.")
        return "error of left-out entries by number of factors"
    curves = [group.curve for group in completion.groups if len(group.curve) > 1]
    for curve in curves:
        axes.plot(np.arange(len(curve)), curve, ".-")
    axes.set(xlabel="directions", ylabel="relative error left out")
    return "error of left-out rows by number of directions" if curves else ""


def _array(frame: Any) -> np.ndarray:
    return np.asarray(frame, np.float64)
