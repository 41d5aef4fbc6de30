"""Sphinx configuration. Build with ``sphinx-build -W -n docs docs/_build``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

import eagle

sys.path.insert(0, str(Path(__file__).parent))  # mathml, directives and pictures

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
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "directives",
    "mathml",
    "pictures",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "**sg_execution_times.rst"]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Single backticks link to what is documented here and are italics otherwise.
default_role = "autolink"
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(numpy|scipy|sklearn|pandas|torch)(\..*)?")]

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
templates_path = ["_templates"]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("eagle",),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
}

html_theme = "furo"
html_title = f"eagle {release}"
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]


def number_citations(app: Sphinx, document: nodes.document) -> None:
    """Show [1] where numpydoc has made a label unique."""
    for text in list(document.findall(nodes.Text)):
        if unique := re.fullmatch(r"R[0-9a-f]{8,}-(\d+)", text.astext()):
            text.parent.replace(text, nodes.Text(unique[1]))


def leave_out(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out what scikit-learn adds to every estimator for its metadata routing."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def mend_backlinks(
    app: Sphinx, page: str, template: str, context: dict[str, object], doctree: object
) -> None:
    """Lead from sources to pages of the reference, each of which has one subject.

    viewcode takes all that a module defines to be documented under one name, and gets anchors
    wrong where some of it is exported by `eagle` itself.
    """
    if page.startswith("_modules/"):
        link = r'(class="viewcode-back" href="[^"#]*/api/[^"#]*)#[^"]*"'
        context["body"] = re.sub(link, r'\1"', str(context.get("body", "")))


def setup(app: Sphinx) -> None:
    """Register the above."""
    app.connect("doctree-read", number_citations, priority=900)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("html-page-context", mend_backlinks)
