"""The kinds of sources that weights come from, each a function that returns ``Weights``."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from robustness.base import settings
from robustness.models import keras
from robustness.models.record import LayerWeights, ModelRecord, Stages, UserFile, Weights

_FETCH_ANEW = "delete it and download it again"


def published_file(url: str, size: int | None, digest: str) -> Weights:
    """One file on a public host, in Keras' HDF5 layout.

    ``size`` is in bytes, and ``digest`` the published hash.
    """
    name = url.rsplit("/", 1)[1]

    def paths() -> tuple[Path, ...]:
        return (*_configured(name), _cached(name), keras_cache() / name)

    def load(network: Any, path: Path) -> Any:
        network.load_weights(str(path))
        return network

    return Weights(
        source=url,
        name=name,
        paths=paths,
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

    ``path`` is that of the file within the package. ``requirement`` pins the package; it is empty
    for a file of the dashboard itself. ``size`` is in bytes. ``read`` turns the file's bytes into
    arrays by Keras layer name. ``converted_from`` is the SHA-256 of a published file with the same
    arrays in another format.
    """

    def paths() -> tuple[Path, ...]:
        spec = importlib.util.find_spec(package)  # finds a package without running it
        if spec is None or not spec.submodule_search_locations:
            return ()
        return (Path(spec.submodule_search_locations[0]) / path,)

    if requirement:
        source = f"pip install {requirement}"
        remedy = f"run 'pip install --force-reinstall --no-deps {requirement}'"
    else:
        source = "part of the dashboard"
        remedy = "fetch the dashboard's own files again"
    identity = ""
    if converted_from:
        # Saved runs from before the conversion know the weights by the digest of that file.
        identity = f"sha256:{converted_from}"
    return Weights(
        source=source,
        name=Path(path).name,
        paths=paths,
        load=partial(keras.load_arrays, read),
        read=read,
        digest=f"sha256:{sha256}",
        size=size,
        remedy=remedy,
        requirement=requirement,
        identity=identity,
    )


def preset(
    handle: str,
    files: tuple[str, ...],
    load: Callable[[Any, Path], Any],
    requires: tuple[str, str],
) -> Weights:
    """A KerasHub preset: a folder of ``files`` on Kaggle, without published hashes.

    ``handle`` is owner/model/framework/name/version. ``load(network, folder)`` sets the weights of
    the network that the record's ``build`` returned, and returns a functional network that has the
    record's stages. ``requires`` is as in ``Weights``.
    """
    name = handle.split("/")[-2]
    source = f"https://www.kaggle.com/api/v1/models/{handle}"

    def paths() -> tuple[Path, ...]:
        kagglehub_cache = _folder_of_environment("KAGGLEHUB_CACHE", ".cache/kagglehub")
        return (*_configured(name), kagglehub_cache / "models" / handle, _cached(name))

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
    """The file or the Python object of a whole model of the user's."""
    if file.call is None:
        source = str(file.path)
    elif file.call.reference:
        source = file.call.reference
    else:
        source = f"a {file.kind} of this process"

    def paths() -> tuple[Path, ...]:
        return (file.path,)

    def load(record: ModelRecord, path: Path) -> tuple[Any, Stages]:
        return keras.open_keras(path, record.shape), ()

    return Weights(source=source, name=file.path.name, paths=paths, load=load, own=file)


def keras_cache() -> Path:
    """Keras's folder of downloaded weights (``$KERAS_HOME/models``)."""
    return _folder_of_environment("KERAS_HOME", ".keras") / "models"


def _folder_of_environment(variable: str, default: str) -> Path:
    """The folder in an environment variable; if it is unset or empty, ``default`` in the home."""
    folder = os.environ.get(variable)
    if folder:
        return Path(folder)
    return Path.home() / default


def _cached(name: str) -> Path:
    return settings.cache_folder() / "weights" / name


def _configured(name: str) -> tuple[Path, ...]:
    """The path ``name`` in the folder of the setting for weights; empty if it is not set."""
    folder = settings.value(settings.WEIGHTS_DIR)
    if not folder:
        return ()
    return (folder / name,)
