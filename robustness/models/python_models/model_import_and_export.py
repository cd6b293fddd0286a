"""Models that are objects of Python: recognised, called, exported to a file with their graph."""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib.machinery import PathFinder
from operator import attrgetter
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from robustness.base.errors import ParameterError, RobustnessError, WeightsError
from robustness.models.classifier_with_probabilities_and_features import Classifier
from robustness.models.graph.inspection_and_conversion import use_of
from robustness.models.graph.preprocessing_and_probabilities import probabilities_of
from robustness.models.model_and_weights_record import FUNCTION, ModelRecord, PythonCall, UserFile
from robustness.models.own.file_and_library_metadata import size_of
from robustness.models.python_models.function_pass_and_caller import (
    LiveModel,
    as_array,
    model_pixels,
)
from robustness.models.run.openvino_and_engine_choice import Floats, first_line
from robustness.models.weights.preset_and_file_sources import user_file
from robustness.models.weights.weights_state_and_digest import file_digest
from robustness.pictures.framing_and_study_image import Framing, study_image
from robustness.pictures.sample_files import REGISTRY as SAMPLES
from robustness.pictures.sample_files import sample_bytes

KERAS_MODEL = "Keras model"


def opened(what: Any) -> LiveModel:
    """The model ``what``; raises ``ParameterError`` for any other object."""
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    if keras is not None and isinstance(what, keras.Model):
        return _keras(what)
    if torch is not None and isinstance(what, torch.nn.Module):
        from robustness.models.python_models.torch_and_hugging_face import opened_module

        return opened_module(what)
    if callable(what) and not isinstance(what, type):
        return LiveModel(FUNCTION, what)
    hint = " Load these weights into their network." if isinstance(what, Mapping) else ""
    raise ParameterError(
        "Expected a model file, a Keras model, a torch.nn.Module, a folder in Hugging Face's "
        f'format, "timm:NAME" or a function, got {type(what).__name__}.{hint}'
    )


def preprocessed(what: Any, preprocess: Callable[[Any], Any]) -> LiveModel:
    """The model ``what``, whose input ``preprocess`` makes of each image.

    It gets an image (H, W, 3) of 8 bits, and ``what`` a batch of what it returns.
    """
    torch = sys.modules.get("torch")
    is_torch = torch is not None and isinstance(what, torch.nn.Module)
    model = opened(what)  # refuses what is none
    network = copy.deepcopy(what).cpu().eval() if is_torch else what

    def ask(pixels: Any) -> Any:
        levels = np.rint(255 * pixels).astype(np.uint8)
        batch = [preprocess(image) for image in levels]
        if torch is not None and (is_torch or isinstance(batch[0], torch.Tensor)):
            with torch.inference_mode():
                answer = network(torch.stack([torch.as_tensor(item) for item in batch]))
                return getattr(answer, "logits", answer)
        return network(np.stack([np.asarray(item) for item in batch]))

    return LiveModel(
        f"{model.kind} with preprocess",
        ask,
        model.labels,
        {"normalisation": "0..1", "fit": "crop"},
        limit="preprocess shows no graph",
    )


def _keras(model: Any) -> LiveModel:
    def ask(pixels: Any) -> Any:
        return model(pixels, training=False)

    def export(folder: Path, _shape: tuple[int, int]) -> Path:
        path = folder / "model.keras"
        model.save(path)
        return path

    def content() -> str:
        digest = hashlib.sha256(model.to_json().encode())
        for weights in model.get_weights():
            digest.update(np.ascontiguousarray(weights).tobytes())
        return f"sha256:{digest.hexdigest()}"

    shape = tuple(getattr(model, "input_shape", None) or ())
    fixed = len(shape) == 4 and None not in shape[1:3]
    entry = {"input_size": size_of(*shape[1:3])} if fixed else {}
    return LiveModel(KERAS_MODEL, ask, entry=entry, export=export, content=content)


# --- by name --------------------------------------------------------------------------------------

_importing = threading.Lock()
_imported: dict[str, str] = {}
"""The digest of the source of each module when it was imported."""


def opened_reference(record: ModelRecord, source: Path, call: PythonCall) -> LiveModel:
    """The model that ``module:name`` names; raises ``WeightsError`` where there is none."""
    try:
        return opened(imported(call.reference, source, call.folder))
    except RobustnessError as error:
        raise WeightsError(f"{record.name}: {error}") from error


def source_of(reference: str, folder: Path) -> Path:
    """The file of the module in ``reference``, found without importing anything.

    It is looked for where Python looks, then in ``folder``, where it should be otherwise.
    """
    parts = reference.partition(":")[0].split(".")
    places, origin = [*sys.path, str(folder)], None
    for part in parts:
        spec = PathFinder.find_spec(part, places)
        origin = spec.origin if spec else None
        places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(origin) if origin else folder.joinpath(*parts).with_suffix(".py")


def imported(reference: str, source: Path, folder: Path) -> Any:
    """The object ``module:name``; the module is reloaded once its ``source`` has changed.

    Raises ``WeightsError`` where that fails.
    """
    module, _, name = reference.partition(":")
    with _importing:
        place = "" if str(folder) in sys.path else str(folder)
        if place:  # searched last
            sys.path.append(place)
        try:
            now = file_digest(source, "sha256:")
            value: Any = importlib.import_module(module)
            if _imported.get(module, now) != now:
                value = importlib.reload(value)
            _imported[module] = now
        except Exception as error:  # importing may raise anything
            text = " ".join(str(error).split())
            raise WeightsError(
                f"The module {module!r} cannot be imported ({type(error).__name__}: {text})."
            ) from error
        finally:
            if place and place in sys.path:  # the module may have removed it itself
                sys.path.remove(place)
    try:
        return attrgetter(name)(value)
    except AttributeError as error:
        raise WeightsError(f"The module {module!r} has no {name!r}.") from error


# --- as a file ------------------------------------------------------------------------------------

_TOLERANCE = 1e-3
"""Accepted difference of a probability between a network and its exported file."""


_workplace = cache(partial(tempfile.TemporaryDirectory, prefix="robustness-"))


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
