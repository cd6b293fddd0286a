"""The report as a PDF for print, made by fpdf2: no browser and no library of the system."""

from __future__ import annotations

from datetime import datetime
from typing import IO

from robustness.report.content import Cases, Chart, Film, Printed, Report, Section, Text, Titled
from robustness.report.formats.pdf_paper import ACCENT, RAISED, WARN, Paper
from robustness.report.wording import folded


def pdf_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The whole report on A4."""
    paper = Paper(report.title, when)
    _opening(paper, report, when)
    for section in report.sections:
        _section(paper, section)
    _section(paper, Section("Methods", report.methods))
    paper.heading("Limits")
    for limit in report.limits:
        paper.words(f"•  {limit}", gap=1.5)
    paper.heading("Manifest")
    paper.words(report.replay.replace("`", ""))
    paper.words(folded(report.manifest, 100), size=6.5, leading=3.2, lines=True)
    file.write(paper.bytes())


def _opening(paper: Paper, report: Report, when: datetime) -> None:
    paper.words("Robustness report", bold=True, colour=ACCENT, gap=0.5)
    paper.words(report.title, bold=True, size=19, leading=8.5, gap=2)
    lines = [
        (text, sentence == report.answer[0] and text == sentence)
        for question, sentence in report.answers
        for text in (question, sentence)
    ]
    paper.boxed([*lines, *([(report.note, False)] if report.note else [])], RAISED)
    for caution in report.cautions:
        paper.boxed([(caution, False)], WARN)
    for name, value in report.facts_at(when):
        paper.fact(name, value)


def _section(paper: Paper, section: Section) -> None:
    paper.heading(section.title, max(map(paper.height, section.printed[:1]), default=0.0))
    for block in section.printed:
        _block(paper, block)


def _block(paper: Paper, block: Printed) -> None:
    if isinstance(block, Text):
        paper.words(block.text)
    elif isinstance(block, Titled):
        paper.table(block)
    elif isinstance(block, Chart):
        paper.chart(block)
    elif isinstance(block, Cases):
        paper.cases(block)
    elif isinstance(block, Film):
        paper.cases(block.stills)
