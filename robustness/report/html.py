"""The report as one HTML file that opens offline: charts, pictures and Plotly itself are in it.

A content security policy names the scripts by their hashes and forbids all requests: nothing that
came from outside can run, or call home, even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import IO, Any

from robustness import __version__
from robustness.base.text import visible
from robustness.report.content import Block, Case, Cases, Chart, Report, Section, Text, Titled
from robustness.report.wording import folded

_HERE = Path(__file__).parent
_FROM_OUTSIDE = {"name", "x", "y", "text", "customdata", "categoryarray", "ticktext"}
"""Parts of a figure that hold words of others, which Plotly would read as tags."""


def html_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The whole report; the pictures are read and written one at a time."""
    for piece in _page(report, when):
        file.write(piece.encode("utf-8", "backslashreplace"))


def _page(report: Report, when: datetime) -> Iterator[str]:
    figures: dict[str, Any] = {}
    sections = [
        *report.sections,
        Section("Methods", report.methods),
        Section("Limits", []),
        Section("Manifest", []),
    ]
    yield _head(report)
    yield _opening(report, sections, when)
    for place, section in enumerate(sections):
        yield f'<section aria-labelledby="s{place}"><h2 id="s{place}">{_text(section.title)}</h2>\n'
        for block in section.blocks:
            yield from _block(block, figures)
        if section.title == "Limits":
            yield _limits(report)
        if section.title == "Manifest":
            yield _manifest(report)
        yield "</section>\n"
    yield f"</main>\n<footer>Made by Robustness {escape(__version__)}.</footer>\n"
    yield f'<script type="application/json" id="figures">{script_json(figures)}</script>\n'
    yield f"<script>{_plotly()}</script>\n<script>{_asset('report.js')}</script>\n"
    yield "</body>\n</html>\n"


def _head(report: Report) -> str:
    scripts = " ".join(_hash(script) for script in (_plotly(), _asset("report.js")))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n"
    )


def _opening(report: Report, sections: Sequence[Section], when: datetime) -> str:
    facts = [*report.facts, ("Report of", f"{when:%Y-%m-%d %H:%M} UTC")]
    answer = "".join(f"<p>{_text(sentence)}</p>" for sentence in report.answer)
    note = f'<p class="note">{_text(report.note)}</p>' if report.note else ""
    cautions = "".join(f'<p class="caution">{_text(text)}</p>\n' for text in report.cautions)
    rows = "".join(f"<div><dt>{_text(n)}</dt><dd>{_text(v)}</dd></div>" for n, v in facts)
    links = "".join(
        f'<li><a href="#s{place}">{_text(section.title)}</a></li>'
        for place, section in enumerate(sections)
    )
    return (
        '<body>\n<header>\n<p class="kicker">Robustness report</p>\n'
        f'<h1>{_text(report.title)}</h1>\n<p class="question">{_text(report.question)}</p>\n'
        f'<div class="answer">{answer}{note}</div>\n{cautions}'
        f'<dl class="facts">{rows}</dl>\n<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        '<noscript><p class="caution">The charts need JavaScript; the tables hold the same '
        "numbers.</p></noscript>\n</header>\n<main>\n"
    )


def _block(block: Block, figures: dict[str, Any]) -> Iterator[str]:
    if isinstance(block, Text):
        yield f"<p>{_text(block.text)}</p>\n"
    elif isinstance(block, Titled):
        yield _table(block)
    elif isinstance(block, Chart):
        yield _chart(block, figures)
    else:
        yield from _cases(block)


def _table(block: Titled) -> str:
    head, rows = block.table
    columns = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    caption = _text(block.caption)
    table = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{columns}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>\n"
    )
    if not block.long:
        return table
    return f"<details><summary>{caption}: {len(rows):,} rows</summary>{table}</details>\n"


def _chart(block: Chart, figures: dict[str, Any]) -> str:
    name = f"c{len(figures)}"
    figure = json.loads(block.figure.to_json())
    figure["layout"].pop("template", None)  # the page has one for day and one for night
    figures[name] = _harmless(figure)
    note = f"<figcaption>{_text(block.note)}</figcaption>" if block.note else ""
    height = figure["layout"]["height"]
    return (
        f'<figure class="chart"><h3>{_text(block.title)}</h3>'
        f'<div class="plot" id="{name}" role="img" aria-label="{_text(block.alt)}" '
        f'style="min-height:{int(height)}px"></div>{note}</figure>\n'
    )


def _harmless(value: Any, outside: bool = False) -> Any:
    """``value`` with the words of others such that Plotly shows them and reads no tags in them."""
    if isinstance(value, Mapping):
        return {
            key: _harmless(part, outside or key in _FROM_OUTSIDE) for key, part in value.items()
        }
    if isinstance(value, list):
        return [_harmless(part, outside) for part in value]
    if isinstance(value, str) and outside:
        return escape(visible(value), quote=False)
    return value


def _cases(block: Cases) -> Iterator[str]:
    if block.caption:
        yield f"<h3>{_text(block.caption)}</h3>\n"
    yield '<ul class="cases">\n'
    for case in block.read():
        yield _case(case)
    yield "</ul>\n"


def _case(case: Case) -> str:
    badge = ""
    if case.kept is not None:
        word, sign = ("kept", "✓") if case.kept else ("changed", "✗")
        badge = f' <span class="badge {word}">{sign} {word}</span>'
    shots = "".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(shot.png).decode()}" '
        f'alt="{_text(shot.alt)}" {_size(shot.png)}><figcaption>{_text(shot.caption)}</figcaption>'
        "</figure>"
        for shot in case.shots
    )
    lines = "".join(f"<p>{_text(line)}</p>" for line in case.lines)
    wide = " wide" if len(case.shots) > 2 else ""
    return (
        f'<li class="case{wide}"><h4>{_text(case.title)}{badge}</h4>'
        f'<div class="shots">{shots}</div>{lines}</li>\n'
    )


def _size(png: bytes) -> str:
    """The sides that the head of a PNG names, so that nothing moves while pictures are decoded."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    return f'width="{width}" height="{height}"'


def _limits(report: Report) -> str:
    items = "".join(f"<li>{_text(limit)}</li>" for limit in report.limits)
    return f"<ul>{items}</ul>\n"


def _manifest(report: Report) -> str:
    parts = report.replay.split("`")
    told = "".join(
        f"<code>{_text(part)}</code>" if at % 2 else _text(part) for at, part in enumerate(parts)
    )
    shown = escape(folded(report.manifest))
    return f"<p>{told}</p>\n<details><summary>The manifest</summary><pre>{shown}</pre></details>\n"


def script_json(value: Any) -> str:
    """``value`` as JSON that may stand within a ``<script>``: nothing in it can end that."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    return escape(visible(text))


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
