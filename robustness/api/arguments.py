"""What public functions do before their work, and the functions of ``rb`` about models.

``checked_call`` loads plugins and a user's own models, and checks arguments by their annotations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

from robustness import models, plugins
from robustness.base.errors import ParameterError
from robustness.base.validation import checked_arguments
from robustness.models import describe, own
from robustness.models.variant import load_named

Function = TypeVar("Function", bound=Callable[..., Any])


def checked_call(function: Function) -> Function:
    """Check arguments as ``checked_arguments`` does, with plugins and own models loaded before.

    Own models are those of ``models.toml``. Both come first, as arguments may name what they add.
    """
    checked = checked_arguments(function)

    @wraps(checked)
    def call(*args: Any, **kwargs: Any) -> Any:
        plugins.load()
        own.refresh()
        return checked(*args, **kwargs)

    return call  # type: ignore[return-value]


_NO_KEYS = ("name", "what", "weights", "calls")
"""Arguments of ``add_model`` that are no keys of ``models.toml``."""


@checked_call
def model_names(*, ready: bool = True) -> tuple[str, ...]:
    """Return the names of the models that can run here or, unless ``ready``, of all."""
    names = []
    for record in models.REGISTRY:
        if not ready or models.state(record).ready:
            names.append(record.name)
    return tuple(names)


@checked_call
def add_model(
    name: str,
    what: Any,
    *,
    labels: str | PathLike[str] | Sequence[str] | None = None,
    templates: str | Sequence[str] | None = None,
    input_size: int | Sequence[int] | None = None,
    normalisation: str | Mapping[str, Any] | None = None,
    fit: str | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    resize: str | None = None,
    antialias: bool | None = None,
    padding: Sequence[int] | None = None,
    preprocess: Any = None,
    output: str | None = None,
    weights: str | PathLike[str] | None = None,
    features: Sequence[str] | None = None,
    runtime: str | None = None,
    title: str | None = None,
    family: str | None = None,
    year: int | None = None,
    **calls: Any,
) -> models.ModelRecord:
    """Add the model ``what`` as ``name`` until this process ends; return its record.

    ``what`` is a model file or SavedModel folder, a Keras model, a ``torch.nn.Module``, a folder in
    Hugging Face's format, ``"timm:NAME"`` with local ``weights``, or a function of normalised
    pixels, float32 (N, H, W, 3), that returns (N, classes). The other arguments are the
    keys of ``models.toml``; ``labels`` may also be a list of names. A CLIP folder takes any
    ``labels``, which ``templates`` such as "a photo of a {}." turn into prompts. With ``fit``,
    ``crop_pct``, ``interpolation``, ``resize``, ``antialias`` or ``padding`` a model sees images
    so, at its own input size; timm and Hugging Face say them, and one with classes of its own has
    the fit ``squash`` unless one is given. ``preprocess`` is the ``transforms()`` of torchvision's
    weights, which are read, or a function from one perturbed image at the input size, uint8
    (H, W, 3), to the array that the model gets a batch of; then Square is the only attack.
    ``calls`` limit the calls of a function: ``batch``, ``timeout``, ``version``. Raises
    ``ParameterError`` for what is missing or wrong, ``WeightsError`` for a model that cannot be
    used.
    """
    arguments = dict(locals())  # first of all, before there are other names
    values = {key: value for key, value in arguments.items() if key not in _NO_KEYS}
    for key in ("padding", "features", "templates"):
        if values[key] is not None and not isinstance(values[key], str):
            values[key] = list(values[key])
    weights_file = None
    if weights is not None:
        weights_file = Path(fspath(weights))
    return describe.add_model(name, what, values, calls, weights_file)


@checked_call
def remove_model(name: str) -> None:
    """Remove a model of your own: from this process, or from ``models.toml``.

    Its file stays, unless it was uploaded on the Models page. Raises ``UnknownNameError`` for a
    model that is not your own.
    """
    if not own.remove_from_process(name):
        own.remove(name)


@checked_call
def model(what: Any, *, name: str | None = None, **described: Any) -> models.ModelRecord:
    """Add the model ``what`` as ``add_model`` does, by default under the name of its class.

    ``evaluate`` and ``sweep`` take the returned record among their ``models``.
    """
    return add_model(name or _free_name(what), what, **described)


def _free_name(what: Any) -> str:
    """Return a name that no model has: that of the file, function or class, with a number."""
    if isinstance(what, str | PathLike):
        # The last part of a path, or of a text such as timm:NAME, without what follows a dot.
        called = re.split(r"[:/]", fspath(what))[-1].partition(".")[0]
    else:
        called = getattr(what, "__name__", None) or type(what).__name__
    plain = re.sub(r"\W+", "_", called).strip("_") or "model"
    name = plain
    number = 1
    while name in models.REGISTRY:
        number += 1
        name = f"{plain}_{number}"
    return name


@checked_call
def load_model(name: str) -> models.Classifier:
    """Load the model called ``name``, with remedies as in ``SqueezeNet+median``.

    Called with study images (N, 224, 224, 3), float32 RGB in [0, 1], it returns ``probabilities``
    (N, classes) and ``features`` by stage, (N, D) each. Raises ``UnknownNameError`` or
    ``WeightsError``.
    """
    return load_named(name)


def names_of(chosen: Any) -> list[str] | None:
    """Return the names of ``chosen`` models; None for None.

    ``chosen`` is a model or a list of them, each given by its name, as the record that ``model``
    returned, or as an object with such a ``record``. Raises ``ParameterError`` for anything else.
    """
    if chosen is None:
        return None
    if not isinstance(chosen, list | tuple):
        chosen = [chosen]
    names = []
    for model_or_name in chosen:
        record = getattr(model_or_name, "record", model_or_name)
        if isinstance(record, str):
            names.append(record)
        elif isinstance(record, models.ModelRecord):
            names.append(record.name)
        else:
            raise ParameterError(
                f"Expected the name of a model, got {type(model_or_name).__name__}: add it with "
                "robustness.model(..., labels=..., normalisation=...) first."
            )
    return names
