"""The report as Markdown: a section of a model card, and what the command line prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import IO

from robustness.base.text import visible
from robustness.charts.ranking_and_condition_tables import Table
from robustness.report.blocks import Map, Report, Text, Titled
from robustness.report.names_and_sentences import code_parts, folded, visible_part

_SIGNS = re.compile(r"([\\`*_\[\]<>#|~&]|(?<=:)/(?=/)|(?<=www)\.)")
"""Signs with a meaning within a line of Markdown, and those that make a link of a word."""

Say = Callable[[str], str]
"""Makes a text safe to show."""


def markdown_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """A section headed "Robustness": answers, tables, limits, and the manifest."""
    for line in _lines(report, when):
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def printed(report: Report) -> str:
    """Answers, cautions and tables for a terminal: aligned, nothing escaped."""
    answers = "\n".join(f"- {visible(sentence)}" for sentence in report.answer)
    notes = [Text(text) for text in (report.note, *report.cautions) if text]
    return f"{answers}\n{printed_blocks([*notes, *report.brief])}".strip()


def printed_blocks(blocks: Iterable[Text | Titled | Map]) -> str:
    """Paragraphs and tables for a terminal: aligned, nothing escaped."""
    return "\n".join(_blocks(blocks, visible))


def _blocks(blocks: Iterable[Text | Titled | Map], say: Say) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Text):
            yield f"\n{say(block.text)}"
        elif isinstance(block, Map):
            yield from _table(block.title, block.drawing.table, say)
        else:
            yield from _table(block.caption, block.table, say)


def _lines(report: Report, when: datetime) -> Iterator[str]:
    yield "## Robustness"
    yield f"\n**{escaped(report.title)}**"
    yield ""
    for question, sentence in report.answers:
        yield f"- **{escaped(question)}** {escaped(sentence)}"
    if report.note:
        yield f"\n{escaped(report.note)}"
    for caution in report.cautions:
        yield f"\n> {escaped(caution)}"
    yield from _blocks(report.brief, escaped)
    yield "\n### Limits\n"
    for limit in report.limits:
        yield f"- {escaped(limit)}"
    yield "\n### How it was measured\n"
    for name, value in report.facts_at(when):
        yield f"- {escaped(name)}: {escaped(value)}"
    replay = (
        f"`{part}`" if code else _without_signs(visible_part(part))
        for part, code in code_parts(report.replay)
    )
    yield f"\n{''.join(replay)}"
    yield "\n<details><summary>Manifest</summary>\n"
    manifest = folded(report.manifest).replace("`", "\\u0060")  # none can end the block
    yield f"```json\n{manifest}\n```"
    yield "\n</details>"


def _table(caption: str, table: Table, say: Say) -> Iterator[str]:
    head, *rows = [
        [say(cell).replace("|", "\\|") if say is visible else say(cell) for cell in row]
        for row in (table.head, *table.rows)
    ]
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]
    yield f"\n### {say(caption)}\n"
    for row in (head, ["-" * width for width in widths], *rows):
        yield f"| {' | '.join(map(str.ljust, row, widths))} |"


def _without_signs(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)


def escaped(text: str) -> str:
    """``text`` on one line, without a sign that has a meaning in Markdown."""
    return _without_signs(visible(text))
