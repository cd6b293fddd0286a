"""Words for people: text from outside made harmless, the word it was to be, and counted things."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$^=&])")
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories of what cannot be seen, or turns the direction of what stands beside it."""


def plain(text: str) -> str:
    """``text`` such that Markdown shows it as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", visible(text))


def visible(text: str) -> str:
    """``text`` on one line, every character that cannot be seen as its number, such as U+202E.

    Two names that differ stay different, and none can turn the text around it.
    """
    return unhidden(" ".join(text.split()))


def unhidden(text: str) -> str:
    """As ``visible``, with its white space as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"U+{ord(sign):04X}"
        if unicodedata.category(sign) in _HIDDEN and not sign.isspace()
        else sign
        for sign in text
    )


def nearest(
    word: str,
    known: Iterable[str],
    *,
    most: int = 1,
    cutoff: float = 0.6,
    key: Callable[[str], str] = str.lower,
) -> list[str]:
    """Up to ``most`` of ``known`` that ``word`` may be meant for, the nearest first.

    They are compared by their ``key``, and are alike in ``cutoff`` (0 to 1) of it or more.
    """
    by_key = {key(name): name for name in known}
    close = difflib.get_close_matches(key(word), by_key, n=most, cutoff=cutoff)
    return [by_key[found] for found in close]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What follows on "there is no ``word``.": the nearest of ``known``, and all of them."""
    names = tuple(known)
    hint = "".join(f"Did you mean {name!r}? " for name in nearest(word, names))
    return f"{hint}Known: {', '.join(names)}"


def counted(number: int, thing: str) -> str:
    """``number`` and ``thing``, in the plural unless it is one."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def some(names: Sequence[str], most: int) -> str:
    """The first ``most`` of ``names`` with commas between, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
