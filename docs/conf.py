"""Sphinx configuration. Build with ``sphinx-build -W -n docs docs/_build``."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes
from sphinx.writers.html5 import HTML5Translator

import eagle

project = "eagle"
author = "The EAGLE developers"
copyright = author
version = release = eagle.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Single backticks link to what is documented here and are italics otherwise.
default_role = "autolink"
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(numpy|scipy|sklearn|pandas)(\..*)?")]

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"eagle {release}"
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["math.css"]


class MethodsDirective(SphinxDirective):
    """One section for each method in `eagle.METHODS`, so that a new one documents itself."""

    def run(self) -> list[nodes.Node]:
        """Parse what a person would have written."""
        lines = [
            line
            for key, kind in eagle.METHODS.items()
            for line in (key, "-" * len(key), "", f".. autoclass:: eagle.{kind.__name__}", "")
        ]
        return nested_parse_to_nodes(
            self.state,
            StringList(lines, source="eagle.METHODS"),
            allow_section_headings=True,
        )


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Formulas as MathML, which browsers know: no script, nothing fetched from elsewhere."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Displayed formulas likewise."""
    self.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def number_citations(app: Sphinx, document: nodes.document) -> None:
    """Show [1] where numpydoc has made a label unique."""
    for text in list(document.findall(nodes.Text)):
        if unique := re.fullmatch(r"R[0-9a-f]{8,}-(\d+)", text.astext()):
            text.parent.replace(text, nodes.Text(unique[1]))


def setup(app: Sphinx) -> None:
    """Register all of the above."""
    app.add_directive("methods", MethodsDirective)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-read", number_citations, priority=900)
