"""What models and their classes are called, and which models tell the same classes apart."""

from __future__ import annotations

from collections.abc import Iterable

from robustness.models.labels import Labels
from robustness.models.model_record import REGISTRY


def label(name: str) -> str:
    """The readable name of the model called ``name``; itself for one that is not known here."""
    return REGISTRY[name].label if name in REGISTRY else name


def class_name(model: str, index: int) -> str:
    """What the model called ``model`` names its class ``index``.

    The index itself where that is not known, as in a run from another machine.
    """
    return REGISTRY[model].class_name(index) if model in REGISTRY else str(index)


def by_labels(names: Iterable[str]) -> list[tuple[Labels, tuple[str, ...]]]:
    """The models ``names`` in groups that tell the same classes apart, in order of appearance.

    Only within a group is it fair to rank: keeping an answer among ten classes is easier than
    among a thousand. Models that are not registered here, as in a run from another machine, form
    a group of their own.
    """
    groups: dict[str, tuple[Labels, list[str]]] = {}
    for name in names:
        labels = REGISTRY[name].labels() if name in REGISTRY else Labels("unknown classes", ())
        groups.setdefault(labels.key, (labels, []))[1].append(name)
    return [(labels, tuple(members)) for labels, members in groups.values()]
