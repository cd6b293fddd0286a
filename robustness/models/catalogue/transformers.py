"""Vision Transformers from KerasHub presets: architecture, weights and stages.

KerasHub is optional and imported only to load one of these models. A preset's weights are read as
plain HDF5 and its configurations as data; no class that they name is built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import WeightsError
from robustness.base.files import read_regular
from robustness.models.internals import all_layers
from robustness.models.model_record import Normalisation, Weights
from robustness.models.tensorflow_runtime import keras
from robustness.models.weights import sources

SIDE, PATCH, CLASSES = 224, 16, 1000
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

CONFIG, TASK = "config.json", "task.json"
_MOST_BYTES = 4 * 2**20  # of either
BACKBONE_WEIGHTS, HEAD_WEIGHTS = "model.weights.h5", "task.weights.h5"

_EPSILONS = (1e-6, 1e-12)
"""Epsilons of layer normalisation: KerasHub's, and that of the checkpoints it converted."""


@dataclass(frozen=True)
class Transformer:
    """An architecture: ``family`` begins KerasHub's class names, ``width`` is a token's.

    ``blocks`` is the number of encoder blocks, more than nine for all of ``STAGES``.
    ``normalisation`` is what the preset's own preprocessing must equal.
    """

    family: str
    heads: int
    width: int
    normalisation: Normalisation
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
        files = (CONFIG, TASK, BACKBONE_WEIGHTS, HEAD_WEIGHTS)
        return sources.preset(handle, files, self.load, ("keras_hub", "requirements-hub.txt"))

    def load(self, network: Any, folder: Path) -> Any:
        """Sets the weights of ``network``, as built, from the preset in ``folder``; rewires it.

        Raises ``WeightsError`` if the preset's configurations differ from this architecture, and
        ``ValueError``, ``OSError`` or ``KeyError`` when its weights do not fit.
        """
        backbone, task = _read(folder / CONFIG), _read(folder / TASK)
        fault = _fault(self, backbone, task)
        if fault:
            raise WeightsError(
                f"The preset in {folder} is not the published one ({fault}), so it is not used: "
                "delete it and download it again."
            )
        for weight in network.weights:  # Keras only warns of some layers that a file lacks
            weight.assign(np.full(weight.shape, np.nan, np.float32))
        network.backbone.load_weights(str(folder / BACKBONE_WEIGHTS))
        network.load_task_weights(str(folder / HEAD_WEIGHTS))  # the rest: the head alone
        if any(np.isnan(weight.numpy()).any() for weight in network.weights):
            raise ValueError("the files lack weights")
        for layer in all_layers(network.backbone):
            if isinstance(layer, keras().layers.LayerNormalization):
                layer.epsilon = backbone["config"].get("layer_norm_epsilon", layer.epsilon)
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


# --- a preset's configurations, as data -----------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    config = json.loads(read_regular(path, _MOST_BYTES))
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object")
    return config


def _fault(transformer: Transformer, backbone: dict[str, Any], task: dict[str, Any]) -> str:
    """How the configurations differ from ``transformer``; "" if they do not."""
    family, head = transformer.family, _config(task)
    nested = head.get("backbone")
    preprocessor = _config(head.get("preprocessor"))
    converter = preprocessor.get("image_converter")
    classes = [
        (backbone, f"{family}Backbone"),
        (nested, f"{family}Backbone"),
        (task, f"{family}ImageClassifier"),
        *([(converter, f"{family}ImageConverter")] if converter is not None else []),
    ]
    for section, expected in classes:
        class_name = section.get("class_name") if isinstance(section, dict) else None
        if class_name != expected:
            return f"expected the class {expected}, got {_short(class_name)}"
    for config in (_config(backbone), _config(nested)):
        switches = {name: True for name in config if name.startswith("use_")}
        fault = _difference(config, transformer.backbone | switches)
        if fault:
            return fault
        epsilon = config.get("layer_norm_epsilon", _EPSILONS[0])
        if epsilon not in _EPSILONS:
            return f"expected layer_norm_epsilon 1e-06 or 1e-12, got {_short(epsilon)}"
    activation = head.get("activation")
    if activation not in (None, "linear", "softmax"):  # the output is the softmax in any case
        return f"expected the activation softmax or none, got {_short(activation)}"
    expected_head = {"num_classes": CLASSES, "pooling": "token"}
    if head.get("intermediate_dim") is not None:
        expected_head["intermediate_dim"] = "none"
    return _difference(head, expected_head) or (
        _preprocessing_fault(_config(converter), transformer.normalisation) if converter else ""
    )


def _config(section: Any) -> dict[str, Any]:
    config = section.get("config") if isinstance(section, dict) else None
    return config if isinstance(config, dict) else {}


def _difference(config: dict[str, Any], expected: dict[str, Any]) -> str:
    for name, value in expected.items():
        actual = config.get(name)
        required = list(value) if isinstance(value, tuple) else value
        if name == "patch_size" and isinstance(actual, int):  # of a square patch
            actual = [actual, actual]
        if actual != required:
            return f"expected {name} {_short(required)}, got {_short(actual)}"
    return ""


def _preprocessing_fault(config: dict[str, Any], required: Normalisation) -> str:
    """How an image converter differs from ``required``, which is for pixels in [0, 1]."""
    size = config.get("crop_size") or config.get("image_size")
    if size is None and "height" in config:
        size = [config["height"], config.get("width")]
    if size not in (None, [SIDE, SIDE]):
        return f"expected images of {SIDE} pixels, got {_short(size)}"
    try:
        normalisation = _normalisation(config)
    except (TypeError, ValueError, ArithmeticError):
        return "its preprocessing is not one of numbers"
    mean, std = np.array(required.mean), np.array(required.std)
    expected = np.stack([1 / (255 * std), -mean / std], axis=1)
    for ours, theirs in zip(expected, normalisation, strict=True):
        if not np.isclose(theirs, ours, rtol=1e-4, atol=0).all():
            return (
                f"expected preprocessing by the factor {ours[0]:.6f} and the offset {ours[1]:.4f}, "
                f"got {theirs[0]:.6f} and {theirs[1]:.4f}"
            )
    return ""


def _normalisation(config: dict[str, Any]) -> NDArray[np.float64]:
    """Factor and offset of each channel, (3, 2), for pixels in [0, 255].

    KerasHub has written them as ``scale`` and ``offset``, and earlier as ``scale`` and then
    ``mean`` with ``variance`` or ``norm_mean`` with ``norm_std``.
    """

    def values(name: str, default: float) -> NDArray[np.float64]:
        triple = config.get(name)
        return np.broadcast_to(np.array(default if triple is None else triple, np.float64), 3)

    with np.errstate(all="raise"):
        mean = values("mean", 0.0) + values("norm_mean", 0.0)
        std = np.sqrt(values("variance", 1.0)) * values("norm_std", 1.0)
        return np.stack([values("scale", 1.0) / std, (values("offset", 0.0) - mean) / std], axis=1)


def _short(value: Any) -> str:
    """``value`` from an untrusted file, shortened for a sentence."""
    text = "nothing" if value is None else " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
