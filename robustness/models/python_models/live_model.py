"""A model in Python, and its export to a model file, which has features and gradients."""

from __future__ import annotations

import hashlib
import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from robustness.base.errors import RobustnessError
from robustness.models.classifier import Classifier
from robustness.models.graph.inspection import use_of
from robustness.models.graph.use import probabilities_of
from robustness.models.model_record import ModelRecord, UserFile
from robustness.models.python_models.function_pass import Ask, as_array, model_pixels
from robustness.models.run.openvino import Floats, first_line
from robustness.models.weights.sources import user_file
from robustness.pictures.fitting import Framing, study_image
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.pictures.samples import sample_bytes

Export = Callable[[Path, tuple[int, int]], Path]
"""Writes the model to a folder, for images of a height and width, and returns its file."""


@dataclass(frozen=True)
class LiveModel:
    """A model in Python. What it does not tell is empty or None.

    ``ask`` maps normalised pixels (N, H, W, 3) to answers (N, classes). ``entry`` is what it says
    of itself by the keys of ``models.toml``, beside its ``labels``. ``export`` is None for a model
    whose graph cannot be had; ``limit`` then says why, as a clause. ``content`` is the digest of
    what is exported, for a format whose files hold the time as well.
    """

    kind: str
    ask: Ask
    labels: tuple[str, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)
    export: Export | None = None
    content: Callable[[], str] | None = None
    limit: str = "a function shows no graph"


_TOLERANCE = 1e-3
"""Accepted difference of a probability between a network and its exported file."""


@cache
def _workplace() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="robustness-")


def new_folder() -> Path:
    """An empty folder that lasts as long as this process."""
    return Path(tempfile.mkdtemp(dir=_workplace().name))


def as_graph(
    record: ModelRecord, model: LiveModel, load: Callable[[ModelRecord], Classifier]
) -> Classifier | str:
    """The classifier of the exported ``model``, or a clause that says why there is none.

    ``load`` loads a record. The file's predictions must be those of the model.
    """
    if model.export is None:
        return model.limit
    own = record.weights.own
    assert own, "a model of the user's"
    try:
        path = model.export(new_folder(), record.shape)
        content = model.content() if model.content else ""
        file = UserFile(path, own.output, own.features, "", model.kind, content)
        classifier = load(replace(record, weights=user_file(file)))
    except Exception as error:  # an exporter raises anything
        text = f"{type(error).__name__}: {first_line(error)}"
        reason = str(error) if isinstance(error, RobustnessError) else text
        return f"its graph could not be exported ({reason.removesuffix('.')})"
    images = _varied_images(classifier.side)
    use = use_of(record, classifier.side)
    rows = np.concatenate([as_array(model.ask(image[None])) for image in model_pixels(images, use)])
    difference = np.abs(probabilities_of(rows, use) - classifier(images).probabilities).max()
    if difference > _TOLERANCE:
        return f"the exported graph predicts differently (probabilities differ by {difference:.2g})"
    return classifier


def _varied_images(side: int) -> Floats:
    """Four photographs, the same inverted and dark, and four images of noise: (16, S, S, 3)."""
    framing = Framing(side=side)
    photographs = [study_image(sample_bytes(name), framing) for name in SAMPLES.names[:4]]
    levels = np.rint(255 * np.stack(photographs))
    noise = np.random.default_rng(0).integers(0, 256, levels.shape)
    noise[0] = noise[0, :1, :1]  # one colour
    images = np.concatenate([levels, 255 - levels, levels // 8, noise])
    return images.astype(np.float32) / np.float32(255)


def source_text(what: Any, answers: Any) -> str:
    """Identify the function ``what`` by its source and its ``answers`` to two images.

    Weights that it holds elsewhere show in the answers alone.
    """
    function = getattr(what, "__wrapped__", what)
    try:
        text = inspect.getsource(function if inspect.isroutine(function) else type(function))
    except (OSError, TypeError, SyntaxError, TokenError):  # the file may have changed since
        text = f"{type(what).__module__}.{type(what).__qualname__}"
    rounded = np.round(np.asarray(answers, np.float64), 4) + 0.0
    return f"{text}\nanswers: {hashlib.sha256(rounded.tobytes()).hexdigest()}\n"
