"""Sphinx configuration. Build with ``sphinx-build -W -n docs docs/_build``."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes

import eagle

project = "eagle"
author = "The EAGLE developers"
copyright = author
version = release = eagle.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
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


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("methods", MethodsDirective)
