"""Opens a user's model: reads it safely, checks it against its description, chooses stages."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.disk import Version, require_regular, version
from robustness.base.errors import WeightsError
from robustness.base.zips import BoundedZip
from robustness.models.in_tensorflow.internals import layer_output
from robustness.models.in_tensorflow.runtime import keras, tensorflow
from robustness.models.inspection_process import inspection
from robustness.models.labels import imagenet
from robustness.models.model_record import ModelRecord, Stages, UserFile

MOST_STAGES = 6
SIMPLEX_TOLERANCE = 1e-3
"""Accepted distance of an image's probabilities from a sum of 1; half precision rounds."""

_CHANGE_NOTHING = {"Dropout", "SpatialDropout2D", "ZeroPadding2D", "Rescaling", "Normalization"}
"""Layers that are not stages: they do not change features, or belong to the input."""

_AGREEMENT = 1e-4
"""Largest difference between answers to the same image, relative to the largest of them."""

_CONFIG = "config.json"
_LARGEST_CONFIG = 8 * 2**20
_MOST_FILES = 10_000
_MAX_RATIO = 20
"""Unpacked bytes per byte of file; Keras does not compress, and weights hardly shrink."""

_FREE_BYTES = 32 * 2**20  # a small file of zeros may shrink a lot and is harmless
_ANSWER = "answer"

_PROCESS = "robustness.models.in_tensorflow.keras_inspection"

_UNKNOWN: Mapping[str, Any] = {"shape": None, "classes": None, "logits": None}

Floats = NDArray[np.float32]
Shape = tuple[int, int]

_sound: dict[tuple[Path, Version, Shape | None], dict[str, Any]] = {}
"""Facts of the ``.keras`` files that ran within the limits, by the shape of the images."""

NOT_FINITE = (
    "its output for an image is not finite (NaN or infinity), as with damaged weights; train or "
    "save it again"
)

OTHER_OUTPUTS = (
    'if these are logits, write output = "logits"; if they come from a sigmoid, export the model '
    "without it"
)

SIGMOID = (
    "Its outputs all lie between 0 and 1, as after a sigmoid: taken as logits they give nearly "
    "equal probabilities. Export the model without the sigmoid."
)


def open_user_network(record: ModelRecord, file: UserFile) -> tuple[Any, Stages]:
    """The functional model of ``record``, with probabilities as output, and its feature stages.

    Raises ``WeightsError`` for a file that differs from its description: not a Keras model, with
    code inside, for other classes or images, or without probabilities. The message continues a
    sentence that begins with the model's name.
    """
    k = keras()
    if file.path.is_dir():
        network = _saved_model(file.path, record.shape)
    else:
        if not file.kind:  # a network of this process is no file from outside
            keras_told(file.path, record.shape)
        network = _keras_file(file.path)
    labels = record.labels()
    background = _check_shapes(network, record.shape, len(labels), labels == imagenet())
    _check_answers(record, file, network)
    stages = _stages(file, network)
    answer = network.output[:, 1:] if background else network.output
    if file.output == "logits":
        answer = k.layers.Softmax(name="probabilities", dtype="float32")(answer)
    elif background:
        answer = answer / k.ops.sum(answer, axis=1, keepdims=True)
    return (network if answer is network.output else k.Model(network.inputs, answer)), stages


def keras_told(path: Path, given: Shape | None) -> dict[str, Any]:
    """Facts about a Keras model: its ``shape``, ``classes``, and whether it outputs ``logits``.

    Each is None if unknown, which for a SavedModel are all unless its shape is ``given``. Raises
    ``WeightsError`` for a file that is refused. A SavedModel runs in this process; a ``.keras``
    file first in one with limits on memory and time.
    """
    if path.is_dir():
        return _facts(_saved_model(path, given), given) if given else dict(_UNKNOWN)
    try:
        now = version(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    if (found := _sound.get((path, now, given))) is None:
        found = inspection(_PROCESS, path, {"shape": given})
        if "problem" in found:
            raise WeightsError(f"{path.name} cannot be used: {found['problem']}.")
        if "refusal" in found:
            raise WeightsError(found["refusal"])
        shape = tuple(found["shape"]) if found["shape"] else None
        found["shape"] = shape
        _sound[path, now, given] = _sound[path, now, shape] = found
    return found


def inspected(path: Path, given: Shape | None) -> dict[str, Any]:
    """The facts of a ``.keras`` file, which is built and run in this process.

    Raises ``WeightsError`` for a file that is refused.
    """
    _check_declared(path)
    return _facts(_keras_file(path), given)


def _facts(network: Any, given: Shape | None) -> dict[str, Any]:
    size = tuple(network.inputs[0].shape)
    images = len(size) == 4 and size[3] in (None, 3)
    told = size[1:3] if len(size) == 4 and None not in size[1:3] else given
    found = {**_UNKNOWN, "shape": told, "classes": network.outputs[0].shape[-1]}
    if images and told and len(network.inputs) == len(network.outputs) == 1:
        answers = _answers(network, np.random.default_rng(0).random((2, *told, 3), np.float32))
        found["logits"] = are_logits(answers, is_distribution(answers))
    return found


def _answers(network: Any, images: Floats) -> NDArray[np.float64]:
    try:
        found = network(tensorflow().constant(images), training=False)
        return np.asarray(found.numpy(), np.float64)
    except Exception as error:  # a graph may fail in any way on its first image
        raise WeightsError(
            f"the model fails on an image of its own size ({type(error).__name__})."
        ) from error


def is_distribution(answers: Any) -> bool:
    """Whether each row is finite, not negative, and sums to 1."""
    rows = np.asarray(answers, np.float64)
    return bool(
        np.isfinite(rows).all()
        and (rows >= -SIMPLEX_TOLERANCE).all()
        and np.abs(rows.sum(axis=1) - 1).max() <= SIMPLEX_TOLERANCE
    )


def are_logits(answers: Any, distribution: bool) -> bool | None:
    """Whether answers are logits; None if that is unknown, as after a sigmoid.

    ``distribution`` says whether their rows are probabilities that sum to 1.
    """
    if distribution:
        return False
    return None if np.min(answers) >= 0 and np.max(answers) <= 1 else True


def _screen(path: Path) -> tuple[dict[str, Any], int]:
    """The configuration of a ``.keras`` file, and the bytes of the weights in it.

    Raises ``WeightsError`` unless it is an archive of Keras' own layers alone. Nothing of it is
    run. A ``Lambda`` layer holds code, and a class of another package would have that package
    imported.
    """
    try:
        require_regular(path)  # a pipe may never end
        with BoundedZip(path, _MOST_FILES) as archive:
            weights = _weights_bytes(path, archive)
            if archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
                raise WeightsError(f"the configuration in {path} is too large to be one.")
            config = json.loads(archive.read(_CONFIG))
    except WeightsError:
        raise
    except Exception as error:  # zipfile raises nearly anything on hostile bytes
        raise WeightsError(
            f"{path} is not a model in Keras 3's own format; expected what model.save('x.keras') "
            "writes."
        ) from error
    for item in _objects(config):
        name, module = str(item["class_name"]), str(item.get("module") or "")
        if name == "Lambda" or "lambda" in name.lower():
            raise WeightsError(
                f"{path.name} holds a Lambda layer, which is code, and is not loaded; replace the "
                "layer with one of Keras' own and save the model again."
            )
        package = module.partition(".")[0]
        if (module and package not in ("keras", "builtins")) or ">" in str(
            item.get("registered_name") or ""
        ):
            raise WeightsError(
                f"{path.name} uses {name}, which is not part of Keras, and is not loaded; export "
                "the model as a SavedModel with model.export(folder)."
            )
    return config, weights


def _check_declared(path: Path) -> None:
    """Raises ``WeightsError`` for layers with more weights than the file holds.

    Nothing is allocated: the variables of the network are declared alone.
    """
    config, held = _screen(path)
    k = keras()
    with k.StatelessScope(initialize_variables=False):
        try:
            network = k.saving.deserialize_keras_object({**config, "compile_config": None})
            declared = sum(math.prod(variable.shape) for variable in network.variables)
        except Exception:  # a layer that cannot be declared alone; loading the file decides
            return
    if declared > max(held, _FREE_BYTES):
        raise WeightsError(
            f"{path.name} is not loaded: its layers declare {declared:,} weights, and the file "
            f"holds {held:,} bytes of them."
        )


def _weights_bytes(path: Path, archive: zipfile.ZipFile) -> int:
    """Bytes of the weights in the file.

    Raises ``WeightsError`` for a file that would take far more memory than its size explains. The
    weights are HDF5 inside the archive, which can declare arrays that it does not contain.
    """
    packed = path.stat().st_size
    most = max(_FREE_BYTES, _MAX_RATIO * packed)
    held = 0
    promised = sum(info.file_size for info in archive.infolist())
    if promised <= most:
        if any(name.endswith(".npz") for name in archive.namelist()):
            raise ValueError("an archive in the archive, which Keras does not write")
        weights = [name for name in archive.namelist() if name.endswith(".h5")]
        held = sum(_array_bytes(archive.read(name)) for name in weights)
        promised = max(promised, held)
    if promised > most:
        raise WeightsError(
            f"{path} is not loaded: its {packed:,} bytes would unpack to {promised:,}, as no "
            "weights do; save the model again with model.save('x.keras')."
        )
    return held


def _array_bytes(content: bytes) -> int:
    """Bytes of all arrays that the HDF5 file ``content`` declares."""
    import h5py

    found: list[int] = []

    def add(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found.append(math.prod(item.shape) * item.dtype.itemsize)

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(add)
    return sum(found)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every serialised object inside the JSON ``value``."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            if "class_name" in current:
                yield current
            pending += current.values()
        elif isinstance(current, list):
            pending += current


def _keras_file(path: Path) -> Any:
    _screen(path)
    k = keras()
    try:
        model = k.saving.load_model(str(path), compile=False, safe_mode=True)
        outputs = model.outputs[0] if len(model.outputs) == 1 else model.outputs
        return k.Model(model.inputs, outputs)
    except Exception as error:  # Keras raises many types for a damaged file
        raise WeightsError(
            f"{path} cannot be loaded as a functional or sequential Keras model "
            f"({type(error).__name__}); save it again with this version of Keras, {k.__version__}."
        ) from error


def _saved_model(path: Path, shape: tuple[int, int]) -> Any:
    """A functional model around a SavedModel, of which only the output is visible."""
    if any(not (part.is_file() or part.is_dir()) for part in path.rglob("*")):
        raise WeightsError(
            f"{path} holds a pipe, a device or a broken link: expected the files and folders of a "
            "SavedModel alone."
        )
    k = keras()
    inputs = k.layers.Input((*shape, 3))
    for endpoint in ("serving_default", "serve"):
        try:
            outputs = k.layers.TFSMLayer(str(path), call_endpoint=endpoint)(inputs)
        except Exception as error:  # as above; another endpoint may work
            reason = error
            continue
        answers = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
        if len(answers) != 1 or isinstance(answers[0], list | tuple):
            raise WeightsError(f"expected one output of {path}, got {len(answers)}.")
        return k.Model(inputs, k.layers.Identity(name=_ANSWER)(answers[0]))
    raise WeightsError(
        f"{path} cannot be used as a SavedModel ({type(reason).__name__}): expected a signature "
        f"'serving_default' or 'serve' from images {_images(shape)} in float32 "
        "to one output."
    )


def _images(shape: tuple[int, int]) -> str:
    return f"(N, {shape[0]}, {shape[1]}, 3)"


def _check_shapes(
    network: Any, size: tuple[int, int], classes: int, may_have_background: bool
) -> bool:
    """Whether the network has a background class ahead of its ``classes``.

    Raises ``WeightsError`` for other inputs and outputs.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise WeightsError(
            f"expected a model with one input and one output, got {len(network.inputs)} and "
            f"{len(network.outputs)}."
        )
    shape = tuple(network.inputs[0].shape)
    if len(shape) != 4 or any(
        got not in (None, wanted) for got, wanted in zip(shape[1:], (*size, 3), strict=True)
    ):
        raise WeightsError(
            f"expected input images of shape {_images(size)}, got {shape}; correct "
            "input_size, or use a model of RGB images, channels last."
        )
    answer = tuple(network.outputs[0].shape)
    if len(answer) != 2:
        raise WeightsError(f"expected an output of shape (N, classes), got {answer}.")
    background = may_have_background and answer[1] == classes + 1
    if answer[1] != classes and not background:
        raise WeightsError(f"{other_classes(answer[1], classes)}.")
    return background


def other_classes(found: int, named: int) -> str:
    """A clause for a network whose number of classes is not that of its labels."""
    if found == 1:
        return (
            "its output is one number for an image, as of one sigmoid; export it with one output "
            "for each class"
        )
    return f"the model has {found} classes, but its labels name {named}"


def _check_answers(record: ModelRecord, file: UserFile, network: Any) -> None:
    """Runs the model twice on two images and checks its outputs."""
    pictures = np.random.default_rng(0).random((2, *record.shape, 3), np.float32)
    images = (pictures * record.normalisation.scale).astype(np.float32)
    answers, again = (_answers(network, images) for _ in range(2))
    if not np.isfinite(answers).all():
        raise WeightsError(f"{NOT_FINITE}.")
    if not np.allclose(answers, again, rtol=0, atol=_AGREEMENT * max(1.0, np.abs(answers).max())):
        raise WeightsError(
            "its answers to the same image differ, as if it drew random numbers; export it without "
            "layers that do, such as augmentation."
        )
    distribution = is_distribution(answers)
    if file.output == "logits" and distribution:
        raise WeightsError(
            'its output is probabilities already; write output = "probabilities", or leave that '
            "line out."
        )
    if file.output != "logits" and not distribution:
        raise WeightsError(
            f"its output is not a distribution over the classes (an image's values sum to "
            f"{answers[0].sum():.3g}, the least is {answers[0].min():.3g}); {OTHER_OUTPUTS}."
        )


def _stages(file: UserFile, network: Any) -> Stages:
    """The layers that the description names, or the last one of each activation size."""
    outputs = {layer.name: layer_output(network, layer) for layer in network.layers}
    usable = {
        name: tuple(output.shape)
        for name, output in outputs.items()
        if output is not None and 2 <= len(output.shape) <= 4 and output is not network.inputs[0]
    }
    for name in file.features:
        if name not in usable:
            raise WeightsError(
                f"there is no layer {name!r} whose features could be compared; among its layers "
                f"are {', '.join(list(usable)[-8:])}."
            )
    chosen = file.features or _automatic(network, usable)
    return tuple((name, name) for name in chosen)


def _automatic(network: Any, usable: dict[str, tuple[int, ...]]) -> Sequence[str]:
    """Up to ``MOST_STAGES`` layers, shallow to deep; the last is what the head reads.

    For feature maps, the last layer at each resolution counts; for tokens and vectors, layers with
    weights. The head is the last layer with weights and everything after it.
    """
    weighted = [layer.name for layer in network.layers if layer.weights and layer.name in usable]
    idle = {layer.name for layer in network.layers if type(layer).__name__ in _CHANGE_NOTHING}
    names = list(usable)
    body = names[: names.index(weighted[-1])] if weighted else []
    body = [name for name in body if name not in idle]
    if not body:
        return names[-1:]
    last: dict[Any, str] = {}
    for name in body:
        shape = usable[name]
        if len(shape) != 4:
            if name in weighted:
                last[name] = name
        elif shape[1:3] != (1, 1):  # those weigh channels, beside the main path
            last[shape[1:3]] = name
    stages = [name for name in body if name in set(last.values()) | {body[-1]}]
    places = np.linspace(0, len(stages) - 1, min(MOST_STAGES, len(stages))).round().astype(int)
    return [stages[place] for place in places]
