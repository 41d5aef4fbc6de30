"""What is written: PNG, CSV and JSON for every figure, and one page with all of them."""

import base64
import html
import json
from pathlib import Path
from typing import Any

from benchmarks.common import write_csv, write_json
from benchmarks.paper import registry
from benchmarks.paper.common import Outcome, Sheet, Verdict
from eagle.gallery.plotting import save
from eagle.tables import replacing

COLOURS = dict(zip(Verdict, ("#00704f", "#b04a00", "#666"), strict=True))
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { white-space: nowrap; }
img { max-width: 100%; height: auto; }
section { margin-top: 3rem; }
.verdict { font-weight: 600; white-space: nowrap; }
.small { color: #555; font-size: .9rem; }
.wide { overflow-x: auto; }
"""


def write(
    page: registry.Page,
    folder: Path,
    sheet: Sheet | None,
    outcome: Outcome,
    circumstances: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """One figure's files. Each appears whole or not at all."""
    if sheet is not None:
        save(sheet.figure, folder / f"{page.name}.png")
        write_csv(folder / f"{page.name}.csv", sheet.rows)
        if sheet.points:
            write_csv(folder / f"{page.name}-curves.csv", sheet.points)
    record = {name: getattr(page, name) for name in ("name", "title", "text", "claim")}
    record |= {name: getattr(outcome, name) for name in ("verdict", "count", "sentence")}
    record["checks"] = [
        {name: getattr(check, name) for name in ("claim", "found", "verdict", "why")}
        for check in outcome.checks
    ]
    record |= {"drawn": sheet is not None, "circumstances": circumstances, "facts": facts}
    write_json(folder / f"{page.name}.json", record)


def write_page(folder: Path) -> Path:
    """The report: everything that was ever drawn into this folder, pictures embedded."""
    paths = [folder / f"{name}.json" for name in registry.names()]
    records = [
        _escaped(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()
    ]
    path = folder / "index.html"
    with replacing(path) as file:
        file.write(_page(folder, records).encode())
    return path


def _escaped(value: Any) -> Any:
    """With every text fit for HTML."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return html.escape(value) if isinstance(value, str) else value


def _page(folder: Path, records: list[dict[str, Any]]) -> str:
    verdicts = [check["verdict"] for record in records for check in record["checks"]]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict)
    seconds = sum(record["circumstances"]["seconds"] for record in records)
    introduction = (
        "Figures and tables of Lutz, Gangrade, Daneshmand, Saligrama, <i>Linear Transformers "
        "Implicitly Discover Unified Numerical Algorithms</i>, arXiv:2509.19702, measured again "
        "with <code>python -m benchmarks.paper</code>. Verdicts are computed from the numbers in "
        f"the CSV files beside this page, claim by claim: {counts}. {seconds:.0f} seconds in all."
    )
    lines = [(r["name"], _verdict(r["verdict"], r["count"]), r["sentence"]) for r in records]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>The paper's evaluation, redone</title><style>{STYLE}</style>",
        "<h1>The paper's evaluation, redone</h1>",
        f"<p>{introduction}</p>",
        _table("Verdicts", "<th>what<th>verdict<th>decided by", lines),
        _checks("Where the paper's claims do not hold in our hands", records, Verdict.DIFFERS),
        _checks("What else was measured", records, Verdict.NOT_COMPARABLE),
        *(_section(folder, record) for record in records),
        "<section><h2>Machine and versions</h2>",
        *_machines(records),
        "</section></html>\n",
    ]
    return "\n".join(parts)


def _table(heading: str, head: str, lines: list[tuple[str, str, str]]) -> str:
    """A table whose lines begin with the name of a figure."""
    rows = "\n".join(
        f"<tr><td><a href='#{name}'>{name}</a><td>{second}<td>{third}</tr>"
        for name, second, third in lines
    )
    table = f"<div class=wide><table><tr>{head}</tr>\n{rows}\n</table></div>"
    return f"<h2>{heading}</h2>\n{table if lines else '<p>Nowhere.</p>'}"


def _checks(heading: str, records: list[dict[str, Any]], verdict: Verdict) -> str:
    """A table of all checks of one verdict."""
    lines = [
        (record["name"], check["claim"], _found(check))
        for record in records
        for check in record["checks"]
        if check["verdict"] == verdict
    ]
    return _table(heading, "<th>where<th>claim<th>measured", lines)


def _section(folder: Path, record: dict[str, Any]) -> str:
    name = record["name"]
    items = "".join(
        f"<li>{_verdict(check['verdict'])}: <i>{check['claim']}</i>: {_found(check)}"
        for check in record["checks"]
    )
    how = ", ".join(f"{key} {value}" for key, value in record["circumstances"].items())
    text = record["text"].replace("\n\n", "</p><p>").replace("``", "")
    picture = links = ""
    if record["drawn"]:
        data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        picture = f"<img alt='{record['title']}' src='data:image/png;base64,{data}'>"
        tables = [f"{each}.csv" for each in (name, f"{name}-curves")]
        there = [table for table in tables if (folder / table).exists()]
        links = " ".join(f"<a href='{table}'>{table}</a>" for table in there)
    return (
        f"<section id={name}><h2>{record['title']}</h2><p>The paper: {record['claim']}</p>"
        f"<ul>{items}</ul>{picture}<p>{text}</p><p class=small>{links} {how}</p></section>"
    )


def _machines(records: list[dict[str, Any]]) -> list[str]:
    """Facts, and for which figures they hold."""
    groups: dict[str, list[str]] = {}
    for record in records:
        text = ", ".join(f"{key} {fact}" for key, fact in record["facts"].items() if key != "load")
        groups.setdefault(text, []).append(record["name"])
    return [f"<p class=small>{', '.join(names)}: {text}</p>" for text, names in groups.items()]


def _verdict(verdict: str, words: str = "") -> str:
    colour = COLOURS[Verdict(verdict)]
    return f"<span class=verdict style='color: {colour}'>{words or verdict}</span>"


def _found(check: dict[str, Any]) -> str:
    differs = check["why"] and check["verdict"] == Verdict.DIFFERS
    return check["found"] + (f" ({check['why']})" if differs else "")
