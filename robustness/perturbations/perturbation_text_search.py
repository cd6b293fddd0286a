"""Search for perturbations, for pages and the command line.

It covers label, name, family, risk and ``search`` of the records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from robustness.base.text import nearest
from robustness.perturbations.perturbation import REGISTRY, Perturbation, words

MOST_LETTERS = 80
"""Longest query; the rest is ignored."""

_MISSPELT, _RELATED = 0.8, 0.6
"""Similarity from which a word counts as a misspelling or a suggestion."""

_LETTERS = 4
"""Shorter words are never misspellings."""

_USUAL = ("blur", "noise")
"""Suggestions if no word is similar."""

_FILLERS = words(
    "a an and at by for from in is it like looks my not of on or over seen taken the to too very "
    "was with image images photo photos image images"
)
_ENDING = re.compile(
    r"(.{3,}?)(?:i?ness|ation|at(?:ed|es|ing|e)|ions?|ings?|ed|ers?|est|ish|es|s|ly|e|i?y)"
    r"|(.{2,})[ey]"
)


class SearchResult(NamedTuple):
    """The perturbations found, best match first; without any, words to try instead."""

    records: tuple[Perturbation, ...]
    instead: tuple[str, ...] = ()

    @property
    def no_match(self) -> str:
        """The sentence for an empty result."""
        return f"No match. Try {' or '.join(f'“{word}”' for word in self.instead)}."


def find(query: str) -> SearchResult:
    """The perturbations that match every word of ``query``, those by their label first.

    A word without a match is taken as a misspelling of the nearest known one.
    """
    return _find(query[:MOST_LETTERS], tuple(REGISTRY))


@lru_cache(maxsize=256)
def _find(query: str, records: tuple[Perturbation, ...]) -> SearchResult:
    vocabulary = dict.fromkeys(word for record in records for word in _said(record)[-1])
    terms: list[str] = []
    instead: list[str] = []
    asked = words(query)
    for word in [word for word in asked if word not in _FILLERS] or asked:
        near = [word] if _match([word], vocabulary) else nearest(word, vocabulary, cutoff=_RELATED)
        instead += near
        misspelt = nearest(word, near, cutoff=_MISSPELT) if len(word) >= _LETTERS else []
        terms += misspelt or [word]
    matches = [record for record in records if _match(terms, _said(record)[-1])]

    def place(record: Perturbation) -> int:
        """Smaller is better: words of the label, their forms, other words, family."""
        said = _said(record)
        return sum([not {*asked} <= {*said[0]}, *(not _match(terms, each) for each in said)])

    if matches:
        return SearchResult(tuple(sorted(matches, key=place)))
    return SearchResult((), tuple(instead[:3]) or _USUAL)


@lru_cache(maxsize=256)
def _said(record: Perturbation) -> tuple[tuple[str, ...], ...]:
    """Words of the label; also of name and ``search``; also of family and risk."""
    label = words(record.label)
    own = (*label, *words(record.name), *record.search)
    return label, own, (*own, *words(f"{record.family} {record.risk}"))


def _match(query_words: Iterable[str], words: Iterable[str]) -> bool:
    return all(
        any(word.startswith(part) or _stem(word) == _stem(part) for word in words)
        for part in query_words
    )


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    """``word`` without its endings: "fog" of "foggy", "dark" of "darker" and "darkness"."""
    word = re.sub(r"([^aeious])\1$", r"\1", word)
    ending = _ENDING.fullmatch(word)
    return _stem(ending[1] or ending[2]) if ending else word
