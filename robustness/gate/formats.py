"""The result of a check as a JSON-ready record, a sentence, JUnit XML and Markdown."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from robustness.base.text import counted, visible
from robustness.gate.budget import LOSS, described
from robustness.gate.gate import Check
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN, UNTESTED

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#!|~:$&@])")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_dict(check: Check) -> dict[str, Any]:
    """Return the result of a check as a JSON-ready record."""
    return {
        "run": check.run.id,
        "passed": check.passed,
        "notes": list(check.notes),
        "verdicts": [vars(verdict) for verdict in check.verdicts],
    }


def headline(check: Check) -> str:
    """Return the sentence on whether the run keeps its limits."""
    limits = counted(len(check.verdicts), "limit")
    if check.passed:
        largest_losses = {verdict.limit_text for verdict in check.verdicts if verdict.limit == LOSS}
        only_losses = all(verdict.limit == LOSS for verdict in check.verdicts)
        if only_losses and len(largest_losses) == 1:
            return f"Release passes: no model loses more than {largest_losses.pop()}."
        verb = "holds" if len(check.verdicts) == 1 else "hold"
        return f"Release passes: {limits} {verb}."
    failing = check.broken
    broken_count = sum(verdict.outcome == BROKEN for verdict in failing)
    untested_count = sum(verdict.outcome == UNTESTED for verdict in failing)
    undecided_count = len(failing) - broken_count - untested_count
    if broken_count == 0 and untested_count:
        return f"Release fails: {untested_count} of {limits} untested, {undecided_count} undecided."
    if broken_count == 0:
        return f"Too few images to decide on the release: {undecided_count} of {limits} undecided."
    text = f"Release fails: {broken_count} of {limits} broken"
    if undecided_count:
        text += f", and {undecided_count} more undecided"
    if untested_count:
        text += f", {untested_count} untested"
    return f"{text}."


def junit(check: Check) -> bytes:
    """Return the result of a check as JUnit XML.

    It has one suite, with one test case for each limit, model and condition.
    """
    root = ElementTree.Element("testsuites")
    broken = check.broken
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
        if verdict.requirements:
            properties = ElementTree.SubElement(case, "properties")
            for requirement in verdict.requirements:
                ElementTree.SubElement(
                    properties, "property", name="requirement", value=_xml(requirement)
                )
        if verdict in broken:
            failure = ElementTree.SubElement(
                case, "failure", message=_xml(verdict.sentence), type=verdict.outcome
            )
            limit = described(verdict.limit, check.run.score)
            failure.text = _xml(f"{limit}: {verdict.sentence}")
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(verdict.sentence)
    if check.notes:
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(check.notes))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _xml(text: str) -> str:
    """Replace the characters of ``text`` that XML does not allow."""
    return _NOT_XML.sub("\ufffd", text)


_SIGNS = {BROKEN: "❌", UNTESTED: "❓", NOT_SHOWN: "⚠️", KEPT: "✅"}
"""The sign of each outcome, in the order of the table."""


def markdown(check: Check) -> str:
    """Return the result of a check as Markdown: a heading, a sentence, and a table.

    Rows of the table with limits that are broken come first.
    """
    run = check.run
    images = counted(run.images, "image")
    title = _escaped(run.manifest.dataset.title)
    lines = [
        f"## Robustness: {headline(check)}",
        "",
        f"Run {_escaped(run.id)}, {images} of {title}.",
        "",
    ]
    for note in check.notes:
        lines += [_escaped(note), ""]
    lines += [
        "| outcome | model | condition | limit | expected | measured |",
        "|---|---|---|---|---|---|",
    ]
    for outcome, sign in _SIGNS.items():
        for verdict in check.verdicts:
            if verdict.outcome != outcome:
                continue
            cells = (
                f"{sign} {outcome}",
                _escaped(verdict.model),
                _escaped(verdict.where),
                f"`{verdict.limit}`",
                verdict.limit_text,
                verdict.figure_text,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return ``text`` on one line, with invisible characters shown and Markdown escaped."""
    return _MARKDOWN.sub(r"\\\1", visible(text))
