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
_LARGEST_CONFIG = 8 * 2**20
_MOST_FILES = 10_000
_MAX_RATIO = 20
"""Unpacked bytes per byte of file; Keras does not compress, and weights hardly shrink."""

_FREE_BYTES = 32 * 2**20  # a small file of zeros may shrink a lot and is harmless


def open_keras(path: Path, shape: tuple[int, int]) -> Any:
    """The functional network at ``path``; that of a SavedModel is for images of ``shape``.

    Raises ``WeightsError`` for a path that is not a whole network of Keras' own layers alone. The
    message continues a sentence.
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
    """Height and width of the images of ``network``, that are ``shape`` where it leaves them open.

    Raises ``WeightsError`` for a network of others, as ``open_keras`` does.
    """
    if len(network.inputs) != 1:
        raise WeightsError(f"expected a model with one input, got {len(network.inputs)}.")
    sizes = tuple(network.inputs[0].shape)
    sides = shape or ((None, None) if len(sizes) != 4 else sizes[1:3])
    if len(sizes) != 4 or any(
        size not in (None, expected) for size, expected in zip(sizes[1:], (*sides, 3), strict=True)
    ):
        height, width = (side or "any" for side in sides)
        raise WeightsError(
            f"expected input images of shape (N, {height}, {width}, 3), got {sizes}; correct "
            "input_size, or use a model of RGB images, channels last."
        )
    height, width = sides
    return (height, width) if height and width else None


def named_stages(network: Any, names: Sequence[str]) -> Stages:
    """The layers ``names`` of ``network`` as stages; raises ``WeightsError`` for an unknown one."""
    outputs = {layer.name: layer_output(network, layer) for layer in network.layers}
    usable = [
        name
        for name, output in outputs.items()
        if output is not None and 2 <= len(output.shape) <= 4 and output is not network.inputs[0]
    ]
    for name in names:
        if name not in usable:
            raise WeightsError(
                f"there is no layer {name!r} whose features could be compared; among its layers "
                f"are {', '.join(usable[-8:])}."
            )
    return tuple((name, name) for name in names)


def _screen(path: Path) -> tuple[dict[str, Any], int]:
    """The configuration of a ``.keras`` file, and the bytes of what it holds.

    Raises ``WeightsError`` unless it is an archive of Keras' own layers alone, and for one that
    would take far more memory than its size explains. Nothing of it is run. A ``Lambda`` layer
    holds code, and a class of another package would have that package imported.
    """
    try:
        require_regular(path, MAX_BYTES)  # a pipe may never end
        with BoundedZip(path, _MOST_FILES) as archive:
            packed = path.stat().st_size
            unpacked = sum(e.file_size for e in archive.infolist())
            if unpacked > max(_FREE_BYTES, _MAX_RATIO * packed):
                raise WeightsError(
                    f"{path} is not loaded: its {packed:,} bytes would unpack to {unpacked:,}, as "
                    "no weights do; save the model again with model.save('x.keras')."
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
        if not isinstance(item, dict) or "class_name" not in item:
            continue
        name = str(item["class_name"])
        module = str(item.get("module") or "")
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
    return config, unpacked


def _check_declared(path: Path) -> None:
    """Raises ``WeightsError`` for layers with more weights than the file holds.

    Nothing is allocated: the variables of the network are declared alone.
    """
    config, stored = _screen(path)
    k = keras()
    with k.StatelessScope(initialize_variables=False):
        try:
            network = k.saving.deserialize_keras_object({**config, "compile_config": None})
            declared = sum(math.prod(variable.shape) for variable in network.variables)
        except Exception:  # a layer that cannot be declared alone; loading the file decides
            return
    if declared > max(stored, _FREE_BYTES):
        raise WeightsError(
            f"{path.name} is not loaded: its layers declare {declared:,} weights, and the file "
            f"holds {stored:,} bytes of them."
        )


def _saved_model(path: Path, shape: tuple[int, int]) -> Any:
    """A functional model around a SavedModel."""
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
        return k.Model(inputs, answers)
    raise WeightsError(
        f"{path} cannot be used as a SavedModel ({type(reason).__name__}): expected a signature "
        f"'serving_default' or 'serve' from images (N, {shape[0]}, {shape[1]}, 3) in float32."
    )


def load_network(record: ModelRecord) -> tuple[Any, Stages]:
    """The functional Keras model of ``record`` with its weights, and its feature stages.

    Raises ``WeightsError`` if weights are missing, damaged or do not fit.
    """
    path = require(record)  # before the seconds that TensorFlow takes to import
    return record.weights.load(record, path)


def load_built(
    load: Callable[[Any, Path], Any], record: ModelRecord, path: Path
) -> tuple[Any, Stages]:
    """As ``load_network``, of weights that ``load`` reads into what ``build`` returned."""
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
    """As ``load_network``, of a file whose bytes ``read`` turns into arrays."""
    by_layer = read(verified_bytes(record.weights, path))
    network = record.build()
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(by_layer[layer.name])
    return network, record.stages


def keras_graph(
    network: Any, stages: Stages, shape: tuple[int, int], *, has_functions: bool = False
) -> Any:
    """The OpenVINO model of the functional ``network`` for any batch of pixels (N, *shape, 3).

    Its outputs are those of the network, then the values of ``stages``. It copies weights. Batch
    normalisations of maps stay one operation each, whose statistics can be replaced.
    ``has_functions`` is whether variables may be inside functions, as in a SavedModel. Raises
    whatever the front end raises.
    """
    taps = [layer_output(network, network.get_layer(layer)) for _, layer in stages]
    tapped = keras().Model(network.inputs, [*network.outputs, *taps])
    with _whole_normalisations(), _plain_functions():
        traced = _traced(tapped, shape)
    return translated(frozen(traced) if has_functions else traced)


def keras_function(network: Any, shape: tuple[int, int]) -> Callable[[Any], list[Any]]:
    """A function from pixels (N, *shape, 3) to every output of ``network``; safe in threads."""
    traced = _traced(network, shape)
    constant = tensorflow().constant
    return lambda pixels: [np.asarray(output) for output in traced(constant(pixels))]


def _traced(network: Any, shape: tuple[int, int]) -> Any:
    tf = tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((None, *shape, 3), tf.float32)], autograph=False)
    def answers(pixels: Any) -> Any:
        outputs = tf.nest.flatten(network(pixels, training=False))
        return [tf.cast(output, tf.float32) for output in outputs]

    return answers.get_concrete_function()


@contextmanager
def _whole_normalisations() -> Iterator[None]:
    """Make Keras trace batch normalisations of maps as one operation instead of four."""
    tf = tensorflow()
    layer_type = keras().layers.BatchNormalization
    call = layer_type.call

    def whole(layer: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if len(inputs.shape) != 4 or layer.axis not in (-1, 3) or inputs.dtype != tf.float32:
            return call(layer, inputs, training=training, mask=mask)
        mean, variance = map(tf.convert_to_tensor, (layer.moving_mean, layer.moving_variance))
        scale = tf.ones_like(mean) if layer.gamma is None else layer.gamma
        offset = tf.zeros_like(mean) if layer.beta is None else layer.beta
        return tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, mean, variance, layer.epsilon, is_training=False
        )[0]

    layer_type.call = whole
    try:
        yield
    finally:
        layer_type.call = call


@contextmanager
def _plain_functions() -> Iterator[None]:
    """Has Keras trace grouped convolutions as operations.

    It compiles them by XLA, since TensorFlow lacks them on a CPU; OpenVINO reads no such function.
    """
    tf = tensorflow()
    function = tf.function

    def plain(*arguments: Any, **options: Any) -> Any:
        if options.get("jit_compile"):
            return arguments[0] if arguments else lambda call: call
        return function(*arguments, **options)

    tf.function = plain
    try:
        yield
    finally:
        tf.function = function
