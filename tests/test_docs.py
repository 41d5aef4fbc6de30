"""README and docs: their examples run, their links lead somewhere, their names exist."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eagle

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
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
    if "eagle.transformer" in page.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
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
                timeout=120,
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
    assert commands[1].endswith("python -m pytest")
    assert not any("\n" in command for command in commands)


def test_reference_covers_the_public_names() -> None:
    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    methods = {kind.__name__ for kind in eagle.METHODS.values()}  # listed by a directive
    missing = [
        name
        for name in eagle.__all__
        if name not in methods and not re.search(rf"eagle\.{name}\b", reference)
    ]
    assert not missing, "add them to docs/reference.md"


def test_reference_covers_the_transformer() -> None:
    pytest.importorskip("torch")
    import eagle.transformer

    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    names = eagle.transformer.__all__
    missing = [name for name in names if not re.search(rf":: {name}$", reference, re.MULTILINE)]
    assert not missing, "add them to docs/reference.md"


def test_reference_covers_the_distributed() -> None:
    import eagle.distributed

    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    section = reference.split("## Distributed")[1].split("\n## ")[0]
    names = eagle.distributed.__all__
    missing = [name for name in names if not re.search(rf":: {name}$", section, re.MULTILINE)]
    assert not missing, "add them to docs/reference.md"


def test_reference_covers_the_estimators() -> None:
    pytest.importorskip("sklearn")
    import eagle.estimators

    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    names = eagle.estimators.__all__
    missing = [name for name in names if not re.search(rf":: {name}$", reference, re.MULTILINE)]
    assert not missing, "add them to docs/reference.md"


def test_changelog_has_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(eagle.__version__)}\b", changes, re.MULTILINE)
