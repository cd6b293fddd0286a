"""Paths of weights, without reading any file."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from robustness.base import settings
from robustness.models.model_record import (
    ModelRecord,
    PackagedFile,
    Preset,
    PublishedFile,
    UserFile,
)


def keras_cache() -> Path:
    """Keras's folder of downloaded weights (``$KERAS_HOME/models``)."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def product_cache() -> Path:
    """This product's cache folder; the setting ``cache`` moves it."""
    return settings.cache_folder()


def places(weights: PublishedFile | Preset) -> tuple[Path, ...]:
    """Paths to search for a file or folder, in order; downloads go to the last."""
    configured = settings.value(settings.WEIGHTS_DIR)
    cached = product_cache() / "weights" / weights.name
    if isinstance(weights, Preset):
        chosen = os.environ.get("KAGGLEHUB_CACHE")  # where KerasHub downloads to
        hub = Path(chosen) if chosen else Path.home() / ".cache" / "kagglehub"
        found = (hub / "models" / weights.handle, cached)
    else:
        found = (cached, keras_cache() / weights.name)
    return (configured / weights.name, *found) if configured else found


def all_places(record: ModelRecord) -> tuple[Path, ...]:
    """Paths to search for the weights of ``record``, of any kind.

    Empty if they come with a package that is not installed.
    """
    weights = record.weights
    if isinstance(weights, UserFile):
        return (weights.path,)
    if not isinstance(weights, PackagedFile):
        return places(weights)
    spec = importlib.util.find_spec(weights.package)  # finds a package without running it
    folders = (spec and spec.submodule_search_locations) or ()
    return tuple(Path(folder) / weights.path for folder in folders[:1])
