"""Check a built site without a network: ``python docs/check_site.py docs/_build``.

Every link within the site leads to a page and an anchor that exist, every picture exists and says
in words what it shows, nothing is loaded from elsewhere, and addresses of other sites are well
formed. Prints what is wrong and exits with status 1, or prints one line of counts.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "src"), ("iframe", "src")}
FOLLOWED = {("a", "href"), *LOADED}
ELSEWHERE = {"http", "https"}
STATEMENTS = {"canonical", "next", "prev", "search", "index", "author"}  # of <link>: not loaded


class Page(HTMLParser):
    """What one page refers to, and what can be referred to in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.references: list[tuple[bool, str]] = []  # whether the browser loads it by itself
        self.anchors: set[str] = set()
        self.complaints: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect."""
        found = {name: value or "" for name, value in attributes}
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        for name, value in found.items():
            if (tag, name) in FOLLOWED:
                loaded = (tag, name) in LOADED and found.get("rel") not in STATEMENTS
                self.references.append((loaded, value))
        source = found.get("src", "")
        # Sphinx puts the file's name where nobody has written anything; "" says: decoration.
        if tag == "img" and found.get("alt", source).endswith(source.rpartition("/")[2]):
            self.complaints.append(f"picture without words: {source}")


def complaints(root: Path) -> tuple[list[str], str]:
    """What is wrong with the site in a folder, and how much there was to look at."""
    pages = {path.resolve(): Page(path) for path in sorted(root.rglob("*.html"))}
    found: list[str] = []
    count = 0
    for path, page in pages.items():
        here = path.relative_to(root.resolve())
        found += [f"{here}: {complaint}" for complaint in page.complaints]
        for loaded, reference in page.references:
            count += 1
            if problem := wrong(path, reference, loaded, pages):
                found.append(f"{here}: {problem}: {reference}")
    return found, f"{len(pages)} pages, {count} references"


def wrong(path: Path, reference: str, loaded: bool, pages: dict[Path, Page]) -> str | None:
    """What is wrong with a reference in the page at this path."""
    try:
        parts = urlsplit(reference)
    except ValueError:
        return "not an address"
    if parts.scheme == "data":
        return None
    if parts.scheme == "mailto":
        return None if "@" in parts.path else "not an address"
    if parts.scheme or parts.netloc:
        if loaded:
            return "loaded from elsewhere"
        well_formed = (
            parts.scheme in ELSEWHERE and "." in (parts.hostname or "") and " " not in reference
        )
        return None if well_formed else "not an address"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such file"
    anchored = parts.fragment and target in pages
    if anchored and unquote(parts.fragment) not in pages[target].anchors:
        return "no such anchor"
    return None


if __name__ == "__main__":
    problems, counts = complaints(Path(sys.argv[1]))
    for problem in problems:
        print(problem)
    print(counts)
    sys.exit(1 if problems else 0)
