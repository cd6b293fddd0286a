"""Output of a check: JSON, JUnit XML, and Markdown for a step summary."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from robustness.base.text import counted, visible
from robustness.gate.budget_rules import LIMITS, LOSS
from robustness.gate.budget_verdicts import BROKEN, KEPT, NOT_SHOWN, Check

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#!|~:$&@])")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_dict(check: Check) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "run": check.run.id,
        "passed": check.passed,
        "notes": list(check.notes),
        "verdicts": [vars(verdict) for verdict in check.verdicts],
    }


def headline(check: Check) -> str:
    """Whether the run keeps its limits, in one sentence."""
    total, broken = len(check.verdicts), check.broken
    limits = counted(total, "limit")
    if check.passed:
        lost = {verdict.wanted for verdict in check.verdicts if verdict.limit == LOSS}
        if len(lost) == 1 and all(verdict.limit == LOSS for verdict in check.verdicts):
            most = counted(f"{100 * lost.pop():g}", "point")
            return f"Release passes: no model loses more than {most}."
        return f"Release passes: {limits} {'holds' if total == 1 else 'hold'}."
    sure = sum(verdict.outcome == BROKEN for verdict in broken)
    unsure = len(broken) - sure
    if not sure:
        return f"Too few images to decide on the release: {unsure} of {limits} undecided."
    text = f"Release fails: {sure} of {limits} broken"
    return f"{text}, and {unsure} more undecided." if unsure else f"{text}."


def junit(check: Check) -> bytes:
    """JUnit XML: one suite, and one test case for each limit, model and condition."""
    root, broken = ElementTree.Element("testsuites"), check.broken
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_xml(f"robustness of {check.run.id}"),
        tests=str(len(check.verdicts)),
        failures=str(len(broken)),
        errors="0",
        time=f"{check.run.seconds:.3f}",
    )
    for verdict in check.verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_xml(f"robustness.{verdict.model}"),
            name=_xml(f"{verdict.limit}, {verdict.where}"),
        )
        if verdict in broken:
            failure = ElementTree.SubElement(
                case, "failure", message=_xml(verdict.sentence), type=verdict.outcome
            )
            failure.text = _xml(f"{LIMITS[verdict.limit]}: {verdict.sentence}")
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(verdict.sentence)
    if check.notes:
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(check.notes))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _xml(text: str) -> str:
    """``text`` without characters that XML does not allow."""
    return _NOT_XML.sub("\ufffd", text)


_SIGNS = {BROKEN: "❌", NOT_SHOWN: "⚠️", KEPT: "✅"}


def markdown(check: Check) -> str:
    """A heading, a sentence and a table, failures first."""
    rows = sorted(check.verdicts, key=lambda verdict: list(_SIGNS).index(verdict.outcome))
    cells = [
        (
            f"{_SIGNS[verdict.outcome]} {verdict.outcome}",
            _plain(verdict.model),
            _plain(verdict.where),
            f"`{verdict.limit}`",
            verdict.limit_text,
            verdict.figure_text,
        )
        for verdict in rows
    ]
    lines = [
        f"## Robustness: {headline(check)}",
        "",
        f"Run {_plain(check.run.id)}, {counted(check.run.images, 'image')} of "
        f"{_plain(check.run.manifest.dataset.title)}.",
        "",
        *(line for note in check.notes for line in (_plain(note), "")),
        "| outcome | model | condition | limit | expected | measured |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """``text`` escaped for Markdown, on one line, with invisible characters shown."""
    return _MARKDOWN.sub(r"\\\1", visible(text))
