"""Keras networks: read safely, filled with verified weights, and converted to OpenVINO."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.errors import WeightsError
from robustness.base.files import BoundedZip, require_regular
from robustness.base.validation import json_values
from robustness.models.formats import MAX_BYTES
from robustness.models.frameworks import frozen, keras, layer_output, tensorflow, translated
from robustness.models.record import LayerWeights, ModelRecord, Stages
from robustness.models.weights import require, verified_bytes

_CONFIG = "config.json"
_LARGEST_CONFIG = 8 * 2**20  # bytes
_MOST_FILES = 10_000
_MAX_RATIO = 20
"""Most unpacked bytes per byte of a file: Keras does not compress, and weights hardly shrink."""

_FREE_BYTES = 32 * 2**20  # a small file of zeros may shrink a lot and is harmless


def open_keras(path: Path, shape: tuple[int, int]) -> Any:
    """The functional network in the file or SavedModel ``path``.

    ``shape`` is the height and width of the images that a SavedModel takes. Raises ``WeightsError``
    for a path that does not hold a whole network of Keras' own layers. The message continues a
    sentence.
    """
    if path.is_dir():
        return _saved_model(path, shape)
    _check_declared(path)
    k = keras()
    try:
        model = k.saving.load_model(str(path), compile=False, safe_mode=True)
        return k.Model(model.inputs, model.outputs)
    except Exception as error:  # Keras raises many types for a damaged file
        raise WeightsError(
            f"{path} cannot be loaded as a functional or sequential Keras model "
            f"({type(error).__name__}); save it again with this version of Keras, {k.__version__}."
        ) from error


def image_shape(network: Any, shape: tuple[int, int] | None) -> tuple[int, int] | None:
    """The height and width of the images that ``network`` takes; None if they are open.

    ``shape`` is what they are expected to be, and what they are where the network leaves them open.
    Raises ``WeightsError``, whose message continues a sentence, for a network that does not take
    RGB images of that shape, channels last.
    """
    if len(network.inputs) != 1:
        raise WeightsError(f"expected a model with one input, got {len(network.inputs)}.")
    sizes = tuple(network.inputs[0].shape)
    height: int | None = None
    width: int | None = None
    if shape is not None:
        height, width = shape
    elif len(sizes) == 4:
        height, width = sizes[1:3]
    fits = (
        len(sizes) == 4
        and sizes[1] in (None, height)
        and sizes[2] in (None, width)
        and sizes[3] in (None, 3)
    )
    if not fits:
        raise WeightsError(
            f"expected input images of shape (N, {height or 'any'}, {width or 'any'}, 3), got "
            f"{sizes}; correct input_size, or use a model of RGB images, channels last."
        )
    if not height or not width:
        return None
    return height, width


def named_stages(network: Any, names: Sequence[str]) -> Stages:
    """The layers ``names`` of ``network`` as stages; raises ``WeightsError`` for an unknown one."""
    usable = []
    for layer in network.layers:
        output = layer_output(network, layer)
        if output is None or output is network.inputs[0]:
            continue
        if 2 <= len(output.shape) <= 4:
            usable.append(layer.name)
    for name in names:
        if name not in usable:
            raise WeightsError(
                f"there is no layer {name!r} whose features could be compared; among its layers "
                f"are {', '.join(usable[-8:])}."
            )
    return tuple((name, name) for name in names)


def _screen(path: Path) -> tuple[dict[str, Any], int]:
    """The configuration of the ``.keras`` file ``path``, and the number of its unpacked bytes.

    Nothing in the file is run. Raises ``WeightsError`` unless the file is an archive of Keras' own
    layers alone, and for one that would take far more memory than its size explains.
    """
    try:
        require_regular(path, MAX_BYTES)  # a pipe may never end
        with BoundedZip(path, _MOST_FILES) as archive:
            packed_bytes = path.stat().st_size
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
            if unpacked_bytes > max(_FREE_BYTES, _MAX_RATIO * packed_bytes):
                raise WeightsError(
                    f"{path} is not loaded: its {packed_bytes:,} bytes would unpack to "
                    f"{unpacked_bytes:,}, as no weights do; save the model again with "
                    "model.save('x.keras')."
                )
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
    for item in json_values(config):
        if isinstance(item, dict) and "class_name" in item:
            _check_class(path, item)
    return config, unpacked_bytes


def _check_class(path: Path, item: dict[str, Any]) -> None:
    """Raise ``WeightsError`` unless ``item``, of a configuration, names a class of Keras' own."""
    name = str(item["class_name"])
    # A Lambda layer holds code.
    if "lambda" in name.lower():
        raise WeightsError(
            f"{path.name} holds a Lambda layer, which is code, and is not loaded; replace the "
            "layer with one of Keras' own and save the model again."
        )
    # Keras would import the package of another class. A registered one has a ">" in its name.
    module = str(item.get("module") or "")
    package = module.partition(".")[0]
    is_foreign = bool(module) and package not in ("keras", "builtins")
    is_registered = ">" in str(item.get("registered_name") or "")
    if is_foreign or is_registered:
        raise WeightsError(
            f"{path.name} uses {name}, which is not part of Keras, and is not loaded; export "
            "the model as a SavedModel with model.export(folder)."
        )


def _check_declared(path: Path) -> None:
    """Raise ``WeightsError`` for layers with more weights than the file holds.

    The variables of the network are declared only, which allocates no memory for them.
    """
    config, stored_bytes = _screen(path)
    k = keras()
    with k.StatelessScope(initialize_variables=False):
        try:
            network = k.saving.deserialize_keras_object({**config, "compile_config": None})
            declared = sum(math.prod(variable.shape) for variable in network.variables)
        except Exception:  # a layer that cannot be declared alone; loading the file decides
            return
    # A weight takes a byte at least.
    if declared > max(stored_bytes, _FREE_BYTES):
        raise WeightsError(
            f"{path.name} is not loaded: its layers declare {declared:,} weights, and the file "
            f"holds {stored_bytes:,} bytes of them."
        )


def _saved_model(path: Path, shape: tuple[int, int]) -> Any:
    """A functional network around the SavedModel ``path``, for images of ``shape``."""
    for part in path.rglob("*"):
        if not part.is_file() and not part.is_dir():
            raise WeightsError(
                f"{path} holds a pipe, a device or a broken link: expected the files and folders "
                "of a SavedModel alone."
            )
    k = keras()
    inputs = k.layers.Input((*shape, 3))
    for endpoint in ("serving_default", "serve"):
        try:
            outputs = k.layers.TFSMLayer(str(path), call_endpoint=endpoint)(inputs)
        except Exception as error:  # Keras raises many types here too; another endpoint may work
            reason = error
            continue
        if isinstance(outputs, dict):
            outputs = list(outputs.values())
        else:
            outputs = [outputs]
        return k.Model(inputs, outputs)
    raise WeightsError(
        f"{path} cannot be used as a SavedModel ({type(reason).__name__}): expected a signature "
        f"'serving_default' or 'serve' from images (N, {shape[0]}, {shape[1]}, 3) in float32."
    )


def load_network(record: ModelRecord) -> tuple[Any, Stages]:
    """The functional Keras network of ``record`` with its weights, and its feature stages.

    Raises ``WeightsError`` if the weights are missing, damaged or do not fit.
    """
    path = require(record)  # before the seconds that TensorFlow takes to import
    return record.weights.load(record, path)


def load_built(
    load: Callable[[Any, Path], Any], record: ModelRecord, path: Path
) -> tuple[Any, Stages]:
    """Build the network of ``record``, and ``load(network, path)`` its weights.

    Returns what ``load`` returns, and the feature stages. Raises ``WeightsError`` if the weights do
    not fit.
    """
    network = record.build()
    try:
        return load(network, path), record.stages
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"The weight file {path} does not fit {record.name} ({type(error).__name__}): "
            f"{record.weights.remedy}."
        ) from error


def load_arrays(
    read: Callable[[bytes], LayerWeights], record: ModelRecord, path: Path
) -> tuple[Any, Stages]:
    """Build the network of ``record``, and set its weights from the file ``path``.

    ``read`` turns the bytes of the file into arrays by layer. Returns the network and its feature
    stages. Raises ``WeightsError`` for a damaged file.
    """
    arrays_by_layer = read(verified_bytes(record.weights, path))
    network = record.build()
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(arrays_by_layer[layer.name])
    return network, record.stages


def keras_graph(
    network: Any, stages: Stages, shape: tuple[int, int], *, has_functions: bool = False
) -> Any:
    """The OpenVINO model of the functional ``network`` for any batch of pixels (N, *shape, 3).

    Its outputs are those of the network, then the outputs of the layers of ``stages``. The weights
    are copied. Batch normalisations of feature maps stay one operation each, so that their
    statistics can be replaced. ``has_functions`` is whether variables may be inside functions, as
    in a SavedModel. Raises whatever the front end of OpenVINO raises.
    """
    taps = [layer_output(network, network.get_layer(layer)) for _, layer in stages]
    tapped_network = keras().Model(network.inputs, [*network.outputs, *taps])
    with _whole_normalisations(), _plain_functions():
        traced = _traced(tapped_network, shape)
    if has_functions:
        traced = frozen(traced)
    return translated(traced)


def keras_function(network: Any, shape: tuple[int, int]) -> Callable[[Any], list[Any]]:
    """A function from pixels (N, *shape, 3) to the list of all outputs of ``network``.

    Several threads may call it at once.
    """
    tf = tensorflow()
    traced = _traced(network, shape)

    def outputs(pixels: Any) -> list[Any]:
        return [np.asarray(output) for output in traced(tf.constant(pixels))]

    return outputs


def _traced(network: Any, shape: tuple[int, int]) -> Any:
    """The concrete function from pixels to the outputs of ``network`` in float32."""
    tf = tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((None, *shape, 3), tf.float32)], autograph=False)
    def answers(pixels: Any) -> Any:
        outputs = tf.nest.flatten(network(pixels, training=False))
        return [tf.cast(output, tf.float32) for output in outputs]

    return answers.get_concrete_function()


@contextmanager
def _whole_normalisations() -> Iterator[None]:
    """Have Keras trace batch normalisations of feature maps as one operation instead of four."""
    tf = tensorflow()
    layer_type = keras().layers.BatchNormalization
    original_call = layer_type.call

    def call(layer: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        # The fused operation normalises the last of four axes, in float32.
        if len(inputs.shape) != 4 or layer.axis not in (-1, 3) or inputs.dtype != tf.float32:
            return original_call(layer, inputs, training=training, mask=mask)
        mean = tf.convert_to_tensor(layer.moving_mean)
        variance = tf.convert_to_tensor(layer.moving_variance)
        scale = tf.ones_like(mean) if layer.gamma is None else layer.gamma
        offset = tf.zeros_like(mean) if layer.beta is None else layer.beta
        normalised, _, _ = tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, mean, variance, layer.epsilon, is_training=False
        )
        return normalised

    layer_type.call = call
    try:
        yield
    finally:
        layer_type.call = original_call


@contextmanager
def _plain_functions() -> Iterator[None]:
    """Have Keras trace grouped convolutions as operations.

    It compiles them by XLA, since TensorFlow lacks them on a CPU; OpenVINO reads no such function.
    """
    tf = tensorflow()
    original_function = tf.function

    def function(*arguments: Any, **options: Any) -> Any:
        if not options.get("jit_compile"):
            return original_function(*arguments, **options)
        if arguments:
            return arguments[0]
        return _unchanged  # used as @tf.function(jit_compile=True)

    tf.function = function
    try:
        yield
    finally:
        tf.function = original_function


def _unchanged(function: Any) -> Any:
    return function
