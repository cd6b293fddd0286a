"""Classes of models that are not on this machine, as the saved runs that name them tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustness.models.labels import Labels, imagenet, named_classes

_LABELS: dict[str, Labels | None] = {}
"""By model; None where two runs disagree: then predictions keep their index instead of a name."""


def note(classes: Mapping[str, str | Sequence[str]]) -> None:
    """Remember the classes of each model: their names in order, or "imagenet"."""
    for name, names in classes.items():
        labels = from_names(names)
        before = _LABELS.setdefault(name, labels)
        if before is not None and before.key != labels.key:
            _LABELS[name] = None


def from_names(names: str | Sequence[str]) -> Labels:
    """The classes named in a manifest."""
    return imagenet() if isinstance(names, str) else named_classes("classes of a table", names)


def labels_of(name: str) -> Labels | None:
    """The classes of the model ``name``; None if no open run tells them."""
    return _LABELS.get(name)
