"""The classifiers: what there is, whether it is ready, and one compiled pass over each.

Nothing here imports TensorFlow until a model is loaded.
"""

from collections.abc import Iterable

from robustness.models import catalogue
from robustness.models.classifier import Classifier, Outputs
from robustness.models.labels import Labels, imagenet
from robustness.models.loaded import load
from robustness.models.model_record import (
    MODERN,
    OFFLINE,
    OWN,
    REGISTRY,
    STUDY,
    ModelRecord,
    OwnFile,
    PackagedFile,
    Preset,
    PublishedFile,
    PublishedScores,
)
from robustness.models.weights import WeightsState, default_names, digest, require, resolve, state

__all__ = [
    "MODERN",
    "OFFLINE",
    "OWN",
    "REGISTRY",
    "STUDY",
    "Classifier",
    "Labels",
    "ModelRecord",
    "Outputs",
    "OwnFile",
    "PackagedFile",
    "Preset",
    "PublishedFile",
    "PublishedScores",
    "WeightsState",
    "by_labels",
    "catalogue",
    "class_name",
    "default_names",
    "digest",
    "imagenet",
    "label",
    "load",
    "require",
    "resolve",
    "state",
]


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


def label(name: str) -> str:
    """The readable name of the model called ``name``; itself for one that is not known here."""
    return REGISTRY[name].label if name in REGISTRY else name


def class_name(model: str, index: int) -> str:
    """What the model called ``model`` names its class ``index``."""
    return REGISTRY[model].labels().names[index]
