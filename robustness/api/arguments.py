"""Calls of the public functions: what they need is loaded, their arguments are checked.

The models that can run, including a user's own.
"""

from __future__ import annotations

import itertools
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

Function = TypeVar("Function", bound=Callable[..., Any])


def checked_call(function: Function) -> Function:
    """``checked_arguments`` with the plugins and the models of ``models.toml`` loaded before."""
    checked = checked_arguments(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        plugins.load()
        own.refresh()
        return checked(*args, **kwargs)

    return call  # type: ignore[return-value]


_NO_KEYS = ("name", "what", "weights", "calls")
"""Arguments of ``add_model`` that are no keys of ``models.toml``."""


@checked_call
def model_names(*, ready: bool = True) -> tuple[str, ...]:
    """The names of the models that can run here, or of all."""
    return tuple(
        record.name for record in models.REGISTRY if not ready or models.state(record).ready
    )


@checked_call
def add_model(
    name: str,
    what: Any,
    *,
    labels: str | PathLike[str] | Sequence[str] | None = None,
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
    keys of ``models.toml``; ``labels`` may also be a list of names. With ``fit``, ``crop_pct``,
    ``interpolation``, ``resize``, ``antialias`` or ``padding`` a model sees images so, at its own
    input size; timm and Hugging Face say them, and one with classes of its own has the fit
    ``squash`` unless one is given. ``preprocess`` is the ``transforms()`` of torchvision's weights,
    which are read, or a function from one perturbed image at the input size, uint8 (H, W, 3), to
    the array that the model gets a batch of; then Square is the only attack. ``calls`` limit the
    calls of a function: ``batch``, ``timeout``, ``version``. Raises ``ParameterError`` for what is
    missing or wrong, ``WeightsError`` for a model that cannot be used.
    """
    arguments = {**locals()}
    values = {key: arguments[key] for key in arguments if key not in _NO_KEYS}
    for key in ("padding", "features"):
        values[key] = None if values[key] is None else list(values[key])
    return describe.add_model(
        name, what, values, calls, None if weights is None else Path(fspath(weights))
    )


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
    called = name or getattr(what, "__name__", None) or type(what).__name__
    if isinstance(what, str | PathLike):
        called = name or re.split(r"[:/]", fspath(what))[-1].partition(".")[0]
    plain = re.sub(r"\W+", "_", called).strip("_") or "model"
    free = (plain if number == 1 else f"{plain}_{number}" for number in itertools.count(1))
    chosen = name or next(candidate for candidate in free if candidate not in models.REGISTRY)
    return add_model(chosen, what, **described)


@checked_call
def load_model(name: str) -> models.Classifier:
    """The model called ``name``, ready to be called.

    Called with study images (N, 224, 224, 3), float32 RGB in [0, 1], it returns ``probabilities``
    (N, classes) and ``features`` by stage, (N, D) each. Raises ``UnknownNameError`` or
    ``WeightsError``.
    """
    return models.load(name)


def names_of(chosen: Any) -> list[str] | None:
    """The names of models that are given by name, or as what ``model`` returned; None for None.

    ``chosen`` is one of them or a list.
    """
    if chosen is None:
        return None
    names = []
    for one in chosen if isinstance(chosen, list | tuple) else [chosen]:
        record = getattr(one, "record", one)
        if not isinstance(record, str | models.ModelRecord):
            raise ParameterError(
                f"Expected the name of a model, got {type(one).__name__}: add it with "
                "robustness.model(..., labels=..., normalisation=...) first."
            )
        names.append(record if isinstance(record, str) else record.name)
    return names
