"""Text from outside, made harmless before it meets a reader: file names, labels, titles."""

from __future__ import annotations

import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$^=&])")
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories of what cannot be seen, or turns the direction of what stands beside it."""


def plain(text: str) -> str:
    """``text`` such that Markdown shows it as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def visible(text: str) -> str:
    """``text`` on one line, every character that cannot be seen as its number, such as U+202E.

    Two names that differ stay different, and none can turn the text around it.
    """
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        f"U+{ord(sign):04X}" if unicodedata.category(sign) in _HIDDEN else sign for sign in line
    )
