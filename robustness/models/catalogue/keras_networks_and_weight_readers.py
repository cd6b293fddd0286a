"""Keras builders of the catalogue's networks, and readers of their weights."""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.model_and_weights_record import LayerWeights
from robustness.models.tensorflow_and_keras_import import keras, tensorflow

UNSET = "zeros"
"""Initialiser of weights that a file fills: random ones take a third of a build's time."""

SQUEEZENET_FIRES = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""Squeeze width of each fire module; the two expansions have four times that.
Iandola et al., SqueezeNet, 2016; version 1.1 of its official repository."""


def squeezenet(k: Any = None) -> Any:
    """SqueezeNet 1.1, 224 x 224, in Keras without weights, or of the layers ``k``."""
    k = k or keras()
    layers = k.layers

    def conv(filters: int, size: int, name: str, strides: int = 1) -> Any:
        return layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            activation="relu",
            kernel_initializer=UNSET,
            name=name,
        )

    inputs = layers.Input((224, 224, 3))
    x = conv(64, 3, "conv1", strides=2)(inputs)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    for index, width in SQUEEZENET_FIRES.items():
        squeezed = conv(width, 1, f"fire{index}_squeeze1x1")(x)
        left = conv(4 * width, 1, f"fire{index}_expand1x1")(squeezed)
        right = conv(4 * width, 3, f"fire{index}_expand3x3")(squeezed)
        x = layers.Concatenate(name=f"fire{index}")([left, right])
        if index in (3, 5):
            x = layers.MaxPooling2D(3, 2, name=f"pool{index}")(x)
    x = conv(1000, 1, "conv10")(x)
    x = layers.GlobalAveragePooling2D(name="pool10")(x)
    return k.Model(inputs, layers.Softmax(name="probabilities")(x), name="SqueezeNet")


def read_squeezenet(data: bytes) -> LayerWeights:
    """Weights by layer of ``squeezenet()``: the arrays ``LAYER.0``, ``LAYER.1`` of an ``.npz``."""
    layers: dict[str, list[NDArray[Any]]] = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for name in arrays.files:
            layers.setdefault(name.rpartition(".")[0], []).append(arrays[name])
    return layers


LITE_STAGES = (
    # kernel, repeats, filters, expansion, stride
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
"""Tan & Le, EfficientNet, ICML 2019, table 1; the Lite variants keep it and drop squeeze-and-
excitation, use ReLU6 and leave the stem, the head and the depth of the first and last stage
unscaled (tensorflow/tpu, efficientnet/lite)."""


def lite_last_block(depth: float, stage: int) -> str:
    """Name of the last layer of ``stage`` (1 to 7) at the depth coefficient ``depth``."""
    index = sum(_repeats(depth, s) for s in range(stage)) - 1
    return f"block{index}_out"


def _repeats(depth: float, stage: int) -> int:
    repeats = LITE_STAGES[stage][1]
    return repeats if stage in (0, len(LITE_STAGES) - 1) else math.ceil(depth * repeats)


def efficientnet_lite(name: str, size: int, width: float, depth: float, k: Any = None) -> Any:
    """EfficientNet-Lite of input ``size`` with the given coefficients.

    In Keras without weights, or of the layers ``k``.
    """
    k = k or keras()
    layers = k.layers

    def normalised(x: Any, name: str, active: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
        return layers.ReLU(6.0, name=f"{name}_relu6")(x) if active else x

    # TensorFlow's "same" pads a stride-2 convolution more to the right, as the weights expect.
    spread = {"padding": "same", "use_bias": False}
    conv = {**spread, "kernel_initializer": UNSET}
    inputs = layers.Input((size, size, 3))
    x = layers.Conv2D(32, 3, strides=2, name="conv_stem", **conv)(inputs)
    x = normalised(x, "bn0")
    index = 0
    for stage, (kernel, _, filters, expansion, stride) in enumerate(LITE_STAGES):
        scaled = filters * width
        filters = max(8, int(scaled + 4) // 8 * 8)
        if filters < 0.9 * scaled:  # never down by more than a tenth
            filters += 8
        for repeat in range(_repeats(depth, stage)):
            block, shortcut = f"block{index}", x
            if expansion != 1:
                x = layers.Conv2D(
                    shortcut.shape[-1] * expansion, 1, name=f"{block}_expand_conv", **conv
                )(x)
                x = normalised(x, f"{block}_bn0")
            strides = stride if repeat == 0 else 1
            x = layers.DepthwiseConv2D(
                kernel,
                strides=strides,
                depthwise_initializer=UNSET,
                name=f"{block}_depthwise_conv",
                **spread,
            )(x)
            x = normalised(x, f"{block}_bn1")
            x = layers.Conv2D(filters, 1, name=f"{block}_project_conv", **conv)(x)
            x = normalised(x, f"{block}_bn2", active=False)
            if strides == 1 and shortcut.shape[-1] == filters:
                x = layers.Add(name=f"{block}_add")([x, shortcut])
            x = layers.Identity(name=f"{block}_out")(x)
            index += 1
    x = normalised(layers.Conv2D(1280, 1, name="conv_head", **conv)(x), "bn1")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(1000, activation="softmax", kernel_initializer=UNSET, name="fc")(x)
    return k.Model(inputs, x, name=name)


def read_efficientnet_lite(data: bytes) -> LayerWeights:
    """Weights by layer of ``efficientnet_lite()`` from a torch state dict."""
    grouped: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in _read_state_dict(data).items():
        layer, _, kind = key.rpartition(".")
        grouped.setdefault(layer, {})[kind] = array
    result: dict[str, list[NDArray[Any]]] = {}
    for layer, arrays in grouped.items():
        name = layer.replace("_blocks.", "block").replace("._", "_").lstrip("_")
        if "running_mean" in arrays:
            kinds = ("weight", "bias", "running_mean", "running_var")
            result[name] = [arrays[kind] for kind in kinds]
        elif layer == "_fc":
            result[name] = [arrays["weight"].T, arrays["bias"]]
        elif "depthwise" in layer:  # (C, 1, H, W) to (H, W, C, 1)
            result[name] = [arrays["weight"].transpose(2, 3, 0, 1)]
        else:  # OIHW to HWIO
            result[name] = [arrays["weight"].transpose(2, 3, 1, 0)]
    return result


_PICKLED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *view: view[:4],
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}
"""All that a state dict names. A tensor is a view of a storage: offset, shape, strides."""


class _StateDictUnpickler(pickle.Unpickler):
    """Raises ``KeyError`` for every other name, before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        return _PICKLED[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        _, kind, key, *_ = pid
        return key, kind


def _read_state_dict(data: bytes) -> dict[str, NDArray[Any]]:
    """{name: array} from the bytes of ``torch.save`` before its zip format.

    Five pickles (a number, a version, sizes of types, the tensors, the keys of their storages),
    then each storage with its length before it. The bytes are checked by their hash before.
    """
    stream = io.BytesIO(data)
    *_, tensors, keys = (_StateDictUnpickler(stream).load() for _ in range(5))
    kinds = dict(storage for storage, *_ in tensors.values())
    storages = {}
    for key in keys:
        length = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(length * kinds[key].itemsize), kinds[key])
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[key][offset:], shape, [step * kind.itemsize for step in strides]
        )
        for name, ((key, kind), offset, shape, strides) in tensors.items()
    }


def keras_application(name: str, **options: Any) -> Any:
    """The network ``name`` of ``keras.applications`` without weights."""
    return getattr(keras().applications, name)(weights=None, **options)


def efficientnet_b0(deviations: Sequence[float]) -> Any:
    """Keras' EfficientNet-B0 with the rescaling that it adds only for ``weights="imagenet"``.

    The published file holds standard deviations where its normalisation layer takes variances,
    so Keras divides by the square roots of these ``deviations`` once more:
    keras/src/applications/efficientnet.py.
    """
    k = keras()

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        output = layer(*arguments, **options)
        if isinstance(layer, k.layers.Normalization):
            scale = [std**-0.5 for std in deviations]
            return k.layers.Rescaling(scale, name="normalization_rescaling")(output)
        return output

    return k.models.clone_model(keras_application("EfficientNetB0"), call_function=call)


def _with_named_stages(network: Any, readers: Mapping[str, str], replace: Any = None) -> Any:
    """A clone of ``network`` without weights, with named layers for stages that have none.

    ``readers`` maps a layer to the name of the stage that it reads. ``replace`` makes a layer's
    clone if its class changes.
    """
    identity = keras().layers.Identity

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        if layer.name in readers:
            read, *others = arguments
            arguments = (identity(name=readers[layer.name])(read), *others)
        return layer(*arguments, **options)

    return keras().models.clone_model(network, clone_function=replace, call_function=call)


def mobilenet_v3_large() -> Any:
    """MobileNetV3-Large with a fixed name for a layer that Keras numbers per process."""
    network = keras_application("MobileNetV3Large", input_shape=(224, 224, 3))
    return _with_named_stages(network, {"logits": "embedding"})


def convnext_tiny() -> Any:
    """Keras' ConvNeXt-Tiny with named stages and true depthwise convolutions.

    Keras uses convolutions with as many groups as channels, which TensorFlow runs on a CPU only
    through XLA: compiled again for each batch size, and four to five times slower on two cores.
    """
    k, tf = keras(), tensorflow()

    class Depthwise(k.layers.Conv2D):  # type: ignore[name-defined]
        """Keeps the weights of the grouped convolution, so that the published file fits."""

        def call(self, inputs: Any) -> Any:
            kernel = tf.transpose(tf.convert_to_tensor(self.kernel), (0, 1, 3, 2))
            output = tf.nn.depthwise_conv2d(inputs, kernel, (1, 1, 1, 1), "SAME")
            return tf.nn.bias_add(output, tf.convert_to_tensor(self.bias))

    def replace(layer: Any) -> Any:
        depthwise = type(layer) is k.layers.Conv2D and layer.groups == layer.filters
        return (Depthwise if depthwise else type(layer)).from_config(layer.get_config())

    readers = {
        "convnext_tiny_downsampling_block_0": "stage1",
        "convnext_tiny_downsampling_block_1": "stage2",
        "convnext_tiny_downsampling_block_2": "stage3",
        "convnext_tiny_head_gap": "stage4",
    }
    return _with_named_stages(keras_application("ConvNeXtTiny"), readers, replace)
