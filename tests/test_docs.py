"""README and docs: their examples run, their links lead somewhere, their names exist."""

from __future__ import annotations

import ast
import doctest
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import eagle

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/methods/*.md")])
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of a page in one language, each with its line number."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, fence.start(1)), fence[1]) for fence in fences]


def having(language: str) -> pytest.MarkDecorator:
    """The pages that have blocks in one language."""
    some = [page for page in PAGES if blocks(page, language)]
    return pytest.mark.parametrize("page", some, ids=lambda page: str(page.relative_to(ROOT)))


@having("python")
def test_python_examples_give_the_output_that_is_printed(page: Path) -> None:
    if re.search(r"eagle\.(transformer|attention)", page.read_text(encoding="utf-8")):
        pytest.importorskip("torch")
    if page.name == "arrays.md":
        pytest.importorskip("torch")
        pytest.importorskip("jax")
    if "eagle.estimators" in page.read_text(encoding="utf-8"):
        pytest.importorskip("sklearn")
        pytest.importorskip("pandas")
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    names: dict[str, object] = {}  # shared by the blocks of a page, top to bottom
    for line, code in blocks(page, "python"):
        example = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
        assert example.examples, f"{page.name}:{line}: a python block without >>> is not tested"
        complaints: list[str] = []
        runner.run(example, out=complaints.append, clear_globs=False)
        assert not complaints, "".join(complaints)
        names.update(example.globs)


@having("console")
def test_shell_examples_give_the_output_that_is_printed(page: Path, tmp_path: Path) -> None:
    if "eagle train" in page.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
    checker = doctest.OutputChecker()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for line, text in blocks(page, "console"):
        for command, wanted in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            run = subprocess.run(
                re.sub(r"^eagle\b", f"{sys.executable} -m eagle", command),
                shell=True,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
            same = checker.check_output(wanted, run.stdout, FLAGS)
            assert same, f"{page.name}:{line}: $ {command}\n{run.stdout}\nin place of\n{wanted}"


@pages
def test_relative_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|<)([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_readme_sets_up_with_exactly_two_commands() -> None:
    commands = [code.strip() for _, code in blocks(ROOT / "README.md", "bash")]
    assert len(commands) == 2
    assert commands[0].endswith("eagle demo")
    assert re.search(r"python -m pytest( -n \d+)?$", commands[1])
    assert not any("\n" in command for command in commands)


def required(extra: str) -> set[str]:
    """Packages that an extra brings, by way of other extras too."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = set()
    for requirement in table["optional-dependencies"][extra]:
        name, others = re.match(r"([\w-]+)(?:\[(.*?)\])?", requirement).groups()
        found |= {name} if others is None else set().union(*map(required, others.split(",")))
    return found


def test_first_command_of_the_readme_brings_what_its_first_example_needs() -> None:
    first = blocks(ROOT / "README.md", "bash")[0][1]
    extra = re.search(r"pip install '\.\[(\w+)\]'", first)[1]
    assert "as_frame=True" in blocks(ROOT / "README.md", "python")[0][1]  # scikit-learn, by pandas
    assert required(extra) >= {"scikit-learn", "pandas", "narwhals", "matplotlib"}


def exported(module: Path) -> list[str]:
    """``__all__`` of a module, read and not imported: extras may be missing."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def documented() -> set[str]:
    """Full names that the reference and the pages of the methods describe."""
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "docs/reference.md", *ROOT.glob("docs/methods/*.md"))
    )
    listed = re.findall(r"^(?:   |\.\. data:: )(eagle[\w.]+)$", text, re.MULTILINE)
    methods = re.findall(r"^\.\. method-facts:: ([\w-]+)$", text, re.MULTILINE)
    return {*listed, *(f"eagle.{eagle.METHODS[name].__name__}" for name in methods)}


PUBLIC = ("", "attention", "distributed", "estimators", "transformer")


@pytest.mark.parametrize("package", PUBLIC)
def test_reference_covers_the_public_names(package: str) -> None:
    module = ROOT / "eagle" / f"{package}.py"
    names = exported(module if module.exists() else ROOT / "eagle" / package / "__init__.py")
    prefix = f"eagle.{package}.".replace("..", ".")
    missing = [name for name in names if prefix + name not in documented()]
    assert names
    assert not missing, "add them to docs/reference.md"


def test_every_method_has_a_page() -> None:
    pages = {path.stem for path in ROOT.glob("docs/methods/*.md")}
    assert pages == {*eagle.METHODS, "index"}
    index = (ROOT / "docs/methods/index.md").read_text(encoding="utf-8")
    for name in eagle.METHODS:
        page = (ROOT / f"docs/methods/{name}.md").read_text(encoding="utf-8")
        assert f".. method-facts:: {name}\n" in page
        assert f"({name}.md)" in index


def modules() -> set[str]:
    """Every module of the package but its own head, ``methods.base``."""
    paths = [path.relative_to(ROOT / "eagle") for path in ROOT.glob("eagle/**/*.py")]
    names = {".".join(path.with_suffix("").parts).removesuffix("__init__") for path in paths}
    return {name.removesuffix(".") for name in names} - {"", "__main__"}


def test_architecture_names_every_module_once_and_no_other() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. modules::\n\n((?:   .+\n)+)", text, re.MULTILINE)
    names = [name for block in listed for name in block.split()]
    assert len(names) == len(set(names))
    assert set(names) == modules()


def test_site_check_finds_what_is_broken(tmp_path: Path) -> None:
    def check(body: str) -> str:
        (tmp_path / "index.html").write_text(f"<html><body>{body}</body></html>")
        command = [sys.executable, str(ROOT / "docs/check_site.py"), str(tmp_path)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert run.returncode == (run.stdout.count("\n") > 1)
        return run.stdout

    (tmp_path / "other.html").write_text('<html><body><p id="here">x</p></body></html>')
    (tmp_path / "picture.png").write_bytes(b"")
    whole = (
        '<a href="other.html#here">x</a><a href="https://example.org/a?b=c">x</a>'
        '<a href="#top" id="top">x</a><img src="picture.png" alt="a picture">'
        '<img src="picture.png" alt="">'
    )
    assert check(whole) == "2 pages, 5 references\n"
    broken = {
        '<a href="missing.html">x</a>': "no such file",
        '<a href="other.html#there">x</a>': "no such anchor",
        '<a href="#nowhere">x</a>': "no such anchor",
        '<img src="lost.png" alt="lost">': "no such file",
        '<img src="picture.png" alt="_images/picture.png">': "picture without words",
        '<img src="picture.png">': "picture without words",
        '<script src="https://example.org/x.js"></script>': "loaded from elsewhere",
        '<a href="htps://example.org">x</a>': "not an address",
        '<a href="https://nowhere">x</a>': "not an address",
    }
    for body, complaint in broken.items():
        assert complaint in check(whole + body)


@pages
def test_fractions_have_braces(page: Path) -> None:
    # What makes MathML of the formulas reads \frac12 x as 12 over x.
    assert not re.findall(r"\\[td]?frac(?:[^{]|\{[^{}]*\}[^{])", page.read_text(encoding="utf-8"))


def test_citation_has_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {eagle.__version__}\n" in citation


def test_conda_recipe_has_this_version() -> None:
    recipe = (ROOT / "conda.recipe/meta.yaml").read_text(encoding="utf-8")
    assert f'\n  version: "{eagle.__version__}"\n' in recipe


def test_changelog_has_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(eagle.__version__)}\b", changes, re.MULTILINE)
