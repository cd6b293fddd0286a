"""The documents for people: their texts, and what is in them that can be held to its word."""

from __future__ import annotations

import argparse
import re
import textwrap

from benchmarks.support.repository import ROOT
from robustness.cli import main

DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))
}
"""The text of every document, by its path in the repository."""

README = DOCUMENTS["README.md"]

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def blocks(language: str, *texts: str) -> list[str]:
    """The blocks of code in ``language`` in ``texts``, or in all documents."""
    found = (match for text in texts or DOCUMENTS.values() for match in _BLOCK.finditer(text))
    return [textwrap.dedent(match[3]) for match in found if match[2] == language]


def code_of(text: str) -> list[tuple[str, str]]:
    """The blocks of ``text`` in their order, each with its language."""
    return [(match[2], textwrap.dedent(match[3])) for match in _BLOCK.finditer(text)]


def prose(text: str) -> str:
    """``text`` without its blocks of code."""
    return _BLOCK.sub("", text)


def headings(text: str) -> set[str]:
    """The anchors of the headings of ``text``, as a repository's page makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def first_column(text: str) -> list[str]:
    """The first cell of each row of the tables in ``text``, without heads and rules."""
    rows = re.findall(r"^\| (.*?) \|", re.sub(r"^\|.*\n\|(?:-+\|)+$", "", text, flags=re.M), re.M)
    return [row for row in rows if row.strip()]


def parser() -> argparse.ArgumentParser:
    """The command line's."""
    return main._parser()


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands or actions that ``parser`` offers, by name."""
    menus = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {name: command for menu in menus for name, command in menu.choices.items()}
