"""Recognise model objects and how to call them; find those named ``module:name``."""

from __future__ import annotations

import copy
import hashlib
import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.errors import ParameterError, RobustnessError, WeightsError
from robustness.models.model_record import FUNCTION, ModelRecord, PythonCall
from robustness.models.own.stated_preprocessing import size_of
from robustness.models.python_models.function_pass import as_array
from robustness.models.python_models.live_model import LiveModel
from robustness.models.weights.weight_files import file_digest

KERAS_MODEL, MAITE_MODEL = "Keras model", "maite model"

_importing = threading.Lock()
_imported: dict[str, str] = {}
"""The digest of the source of each module when it was imported."""


def opened(what: Any) -> LiveModel:
    """The model ``what``; raises ``ParameterError`` for any other object."""
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    if callable(what) and _index2label(what):
        return _maite(what)
    if keras is not None and isinstance(what, keras.Model):
        return _keras(what)
    if torch is not None and isinstance(what, torch.nn.Module):
        from robustness.models.python_models.torch_modules import opened_module

        return opened_module(what)
    if callable(what) and not isinstance(what, type):
        return LiveModel(FUNCTION, what)
    hint = " Load these weights into their network." if isinstance(what, Mapping) else ""
    raise ParameterError(
        "Expected a model file, a Keras model, a torch.nn.Module, a folder in Hugging Face's "
        f'format, "timm:NAME", a maite model or a function, got {type(what).__name__}.{hint}'
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


def opened_reference(record: ModelRecord, source: Path, call: PythonCall) -> LiveModel:
    """The model that ``module:name`` names; raises ``WeightsError`` where there is none."""
    try:
        return opened(imported(call.reference, source, call.folder))
    except RobustnessError as error:
        raise WeightsError(f"{record.name}: {error}") from error


def _index2label(what: Any) -> Mapping[Any, Any]:
    metadata = getattr(what, "metadata", None)
    labels = metadata.get("index2label") if isinstance(metadata, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}


def _maite(model: Any) -> LiveModel:
    """maite's protocol: a sequence of images (C, H, W) in, a sequence of answers out."""
    names = _index2label(model)
    try:
        labels = tuple(str(names[index]) for index in sorted(names, key=int))
    except ValueError as error:
        raise ParameterError(
            "Expected whole numbers as keys of the model's index2label, got others."
        ) from error

    def ask(pixels: Any) -> Any:
        return as_array(list(model(list(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))))))

    return LiveModel(MAITE_MODEL, ask, labels, limit="maite's protocol shows no graph")


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


def source_of(reference: str, folder: Path) -> Path:
    """The file of the module in ``reference``, found without importing anything.

    It is looked for where Python looks, then in ``folder``, where it should be otherwise.
    """
    module = reference.partition(":")[0]
    places = [*sys.path, str(folder)]
    origin = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            origin = None
            break
        origin, places = spec.origin, list(spec.submodule_search_locations or ())
    if origin is None:
        return folder / Path(*module.split(".")).with_suffix(".py")
    return Path(origin)


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
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            raise WeightsError(f"The module {module!r} has no {name!r}.") from error
    return value
