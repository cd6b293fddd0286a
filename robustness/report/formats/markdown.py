"""The report as a section of a model card: Markdown with tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO

from robustness.base.text import visible
from robustness.report.content import Film, Report, Titled
from robustness.report.wording import code_parts, folded, visible_part

_SIGNS = re.compile(r"([\\`*_\[\]<>#|~&]|(?<=:)/(?=/)|(?<=www)\.)")
"""What means something within a line of Markdown, and what would make a link of a word."""


def markdown_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """A section headed "Robustness": the answer, the tables, limits, and the manifest."""
    for line in _lines(report, when):
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def _lines(report: Report, when: datetime) -> Iterator[str]:
    yield "## Robustness"
    yield f"\n**{_text(report.title)}**"
    told = [report.question, *report.answer, *([report.note] if report.note else [])]
    yield f"\n{' '.join(map(_text, told))}"
    for caution in report.cautions:
        yield f"\n> {_text(caution)}"
    for titled in report.brief:
        yield from _table(titled)
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Film):
                yield f"\nThe HTML report plays it as a film: {_text(block.title)}."
    yield "\n### Limits\n"
    for limit in report.limits:
        yield f"- {_text(limit)}"
    yield "\n### How it was measured\n"
    for name, value in report.facts_at(when):
        yield f"- {_text(name)}: {_text(value)}"
    yield f"\n{_with_code(report.replay)}"
    yield "\n<details><summary>Manifest</summary>\n"
    manifest = folded(report.manifest).replace("`", "\\u0060")  # none can end the block
    yield f"```json\n{manifest}\n```"
    yield "\n</details>"


def _with_code(text: str) -> str:
    """``text`` with what stands between backticks as code."""
    return "".join(
        f"`{part}`" if code else _escaped(visible_part(part)) for part, code in code_parts(text)
    )


def _table(titled: Titled) -> Iterator[str]:
    head, rows = titled.table
    yield f"\n### {_text(titled.caption)}\n"
    yield _row(head)
    yield f"|{' --- |' * len(head)}"
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_text, cells))} |"


def _text(text: str) -> str:
    return _escaped(visible(text))


def _escaped(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)
