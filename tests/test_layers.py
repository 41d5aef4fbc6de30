"""The package as its architecture page draws it: imports run one way, and functions are short."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
LONGEST = 60  # lines of a function without its docstring
LONG: dict[str, str] = {  # "module.function": why it is longer
    "eagle.problem.certificate.judge": "the table of its module, a line for each row",
}


def name(path: Path) -> str:
    """``eagle.methods.base``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def parsed(folder: str) -> dict[str, ast.Module]:
    """The modules of a package."""
    paths = ROOT.glob(f"{folder}/**/*.py")
    return {name(path): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


MODULES = parsed("eagle")


def imports(tree: ast.Module, names: set[str]) -> set[str]:
    """The modules of the package that one imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports have full names"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {each if each in names else str(node.module) for each in full}
    return found & names


GRAPH = {module: imports(tree, {*MODULES}) for module, tree in MODULES.items()}


def layers(page: str) -> dict[str, int]:
    """The layer of every room, from the numbered list under its heading."""
    section = page.split("\n## Layers\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\d+\. ((?:`\w+`(?:, )?)+):", section, re.MULTILINE)
    return {
        room: place for place, line in enumerate(lines) for room in re.findall(r"`(\w+)`", line)
    }


def room(module: str) -> str:
    """The folder or module right below the package; ``eagle`` for its head."""
    return module.split(".")[1] if "." in module else module


def arrows_up(graph: dict[str, set[str]], layer: dict[str, int]) -> list[str]:
    """Imports from a layer further up."""
    return [
        f"{module} imports {other}"
        for module in sorted(graph)
        for other in sorted(graph[module])
        if layer[room(other)] > layer[room(module)]
    ]


def test_every_module_has_a_layer() -> None:
    found = layers(PAGE.read_text(encoding="utf-8"))
    assert set(found) | {"__main__"} == set(map(room, MODULES))


def test_imports_run_one_way() -> None:
    layer = layers(PAGE.read_text(encoding="utf-8"))
    layer["__main__"] = max(layer.values())
    assert arrows_up(GRAPH, layer) == []


def strangers(tree: ast.Module) -> set[str]:
    """Private names of other modules that one imports: an underscore is all that keeps them in."""
    return {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("eagle")
        for alias in node.names
        if re.match("_[^_]", alias.name)
    }


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_private_name_stays_in_its_module(module: str) -> None:
    assert not strangers(MODULES[module])


def test_no_modules_import_each_other() -> None:
    graphlib.TopologicalSorter(GRAPH).prepare()  # raises an error that shows the circle


def test_what_these_tests_look_for_is_found() -> None:
    late = ast.parse("def f():\n    from eagle.run import flow\n    import eagle.api, numpy")
    names = {"eagle", "eagle.api", "eagle.run", "eagle.run.flow"}
    assert imports(late, names) == {"eagle.run.flow", "eagle.api"}
    graph = {
        "eagle.algebra.a": {"eagle.run.b", "eagle.algebra.c"},
        "eagle.run.b": {"eagle.algebra.c"},
    }
    page = "\n## Layers\n\n1. `algebra`, `x`: one\n2. `run`: two\n\n## Next\n1. `y`: three\n"
    assert layers(page) == {"algebra": 0, "x": 0, "run": 1}
    assert arrows_up(graph, layers(page)) == ["eagle.algebra.a imports eagle.run.b"]
    assert strangers(ast.parse("from eagle.run import _a, __version__, b")) == {"eagle.run._a"}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def lengths(tree: ast.Module) -> dict[str, int]:
    """Lines of every function of a module, the docstring not counted."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            found[node.name] = body[-1].end_lineno - body[0].lineno + 1 if body else 0
    return found


def test_no_function_is_long_without_a_reason() -> None:
    long = {
        f"{module}.{function}"
        for module, tree in (MODULES | parsed("benchmarks")).items()
        for function, lines in lengths(tree).items()
        if lines > LONGEST
    }
    assert long == set(LONG)
    text = 'def f():\n    """Two\n\n    lines."""\n    x = 1\n    return (\n        x\n    )\n'
    assert lengths(ast.parse(text)) == {"f": 4}
