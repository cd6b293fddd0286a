"""Groups of classes that mean nearly the same, after the hypernyms of WordNet 3.0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from robustness.models.labels import Labels, imagenet

MOST_OF_A_GROUP = 60
"""ImageNet classes of the largest group: terriers and birds are groups, dogs are not."""

_FILE = Path(__file__).parent / "carried" / "wordnet.tsv"


@cache
def _synsets() -> dict[str, tuple[str, str]]:
    """(hypernym or "", word) by synset."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return {synset: (above, word) for synset, above, word in (line.split("\t") for line in lines)}


def _path(synset: str) -> Iterator[str]:
    """``synset`` and all above it."""
    synsets = _synsets()
    while synset in synsets:
        yield synset
        synset = synsets[synset][0]


@cache
def _sizes() -> Counter[str]:
    """How many of ImageNet's classes are below each synset."""
    return Counter(above for synset in imagenet().synsets or () for above in _path(synset))


@cache
def groups(labels: Labels) -> tuple[str, ...]:
    """The group of each class, as a synset: the highest hypernym of few enough classes.

    () where the classes have no synsets.
    """
    sizes = _sizes()
    return tuple(
        [above for above in _path(synset) if sizes[above] <= MOST_OF_A_GROUP][-1:][0]
        if synset in _synsets()
        else synset
        for synset in labels.synsets or ()
    )


def word(synset: str) -> str:
    """The first word of a synset; the synset itself if it is not known."""
    return _synsets().get(synset, ("", synset))[1]


def shared(labels: Labels, one: int, other: int) -> str:
    """The word of the lowest hypernym of two classes; "" where that is not known."""
    if labels.synsets is None:
        return ""
    above = set(_path(labels.synsets[one]))
    return next((word(synset) for synset in _path(labels.synsets[other]) if synset in above), "")
