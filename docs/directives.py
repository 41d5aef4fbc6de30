"""Directives that let the code speak: facts of a method, the modules of the package."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes

import eagle

PACKAGE = Path(eagle.__file__).parent


class Generated(SphinxDirective):
    """A directive that writes reStructuredText, which is then parsed as if a person had."""

    def lines(self) -> list[str]:
        """What it writes."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse it."""
        source = StringList(self.lines(), source=type(self).__name__)
        return nested_parse_to_nodes(self.state, source)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A list-table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


def words(names: frozenset[str]) -> str:
    """Names of options, as in ``rank``, ``cutoff``."""
    return ", ".join(f"``{name}``" for name in sorted(names))


class MethodDirective(Generated):
    """Facts that the class of a method states, and its docstring: ``.. method-facts:: cg``."""

    required_arguments = 1

    def lines(self) -> list[str]:
        """A table and an autoclass."""
        name = self.arguments[0]
        kind = eagle.METHODS[name]
        default, options = kind(), "``ridge``"
        if default.supports:
            options += ", " + words(default.supports)
        if kind.out_of_core or kind.matrix_free:
            inputs = "an array" + ", a mapped file read piece by piece" * (
                kind.out_of_core or "memory_limit" in default.supports
            )
            inputs += ", sparse, a LinearOperator" * kind.matrix_free
        else:
            inputs = "an array"
        accuracy = kind.default_rtol
        facts = [
            ("``method=``", f'``"{name}"``, ``eagle.{kind.__name__}(...)``'),
            ("A may be", inputs),
            ("options of the problem", options),
            ("``rtol=None`` means", "the accuracy floor" if accuracy is None else f"{accuracy:g}"),
            ("``maxiter=None`` means", f"{kind.default_maxiter}"),
        ]
        return [
            *table(("fact", "value"), facts),
            f".. autoclass:: eagle.{kind.__name__}",
        ]


class ModulesDirective(Generated):
    """Modules in the order given, with the first sentence of each and the modules that it uses."""

    has_content = True
    option_spec: ClassVar = {}

    def lines(self) -> list[str]:
        """A table, a row for every name in the content."""
        names = [name for line in self.content for name in line.split()]
        rows = []
        for name in names:
            path = source_of(name)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            sentence = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
            sentence = re.sub("`+", "``", sentence)  # not every module has a page to link to
            used = ", ".join(f"``{other}``" for other in uses(tree, name))
            rows.append((f"``{name}``", sentence, used or "nothing"))
        return table(("module", "what it is", "uses"), rows)


def source_of(name: str) -> Path:
    """The file of a module that is named relative to the package, ``methods.base``."""
    path = PACKAGE.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def uses(tree: ast.Module, name: str) -> list[str]:
    """Modules of the package that a module imports, at its head or later, relative to it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("eagle"):
            base = node.module.removeprefix("eagle").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.add(full if source_of(full).exists() else base)
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("eagle.")
                for alias in node.names
                if alias.name.startswith("eagle.")
            }
    return sorted(found - {name, ""})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("method-facts", MethodDirective)
    app.add_directive("modules", ModulesDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
