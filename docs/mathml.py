"""Formulas as MathML, which browsers know: no script, nothing fetched from elsewhere.

Brackets and roots grow only with a font that has a table for it. Where a reader has none of those
that `site.css` names, DejaVu Serif steps in, which comes with matplotlib.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset_file
from sphinx.writers.html5 import HTML5Translator

FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSerif.ttf")


def as_mathml(formula: str, *, block: bool) -> str:
    """MathML, in which bars stand as close to what is between them as brackets do."""
    return re.sub(
        r"<mo([^>]*)>([|∥‖])</mo>",
        r'<mo\1 lspace="0" rspace="0">\2</mo>',
        tex2mathml(formula, as_block=block),
    )


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line."""
    self.body.append(as_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula by itself."""
    self.body.append(f'<div class="formula">{as_mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def keep_punctuation(app: Sphinx, document: nodes.document) -> None:
    """Keep a formula and the comma after it on one line, which browsers do for words only."""
    for formula in list(document.findall(nodes.math)):
        parent, place = formula.parent, formula.parent.index(formula)
        after = parent[place + 1] if place + 1 < len(parent) else None
        marks = re.match(r"[,.;:!?)]+", after.astext()) if isinstance(after, nodes.Text) else None
        if marks:
            together = nodes.inline("", "", formula.deepcopy(), nodes.Text(marks[0]))
            together["classes"].append("unbroken")
            parent[place : place + 2] = [together, nodes.Text(after.astext()[marks.end() :])]


def copy_font(app: Sphinx, exception: Exception | None) -> None:
    """Put the font where the style sheet looks for it."""
    if exception is None and app.builder.format == "html":
        copy_asset_file(FONT, app.outdir / "_static")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer, ``html_math_renderer = "mathml"``."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-read", keep_punctuation)
    app.connect("build-finished", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
