"""Vision Transformers from KerasHub presets: architecture, weights and stages.

KerasHub is optional and imported only to load one of these models. A preset's weights are read as
plain HDF5 and its configuration as data; no class that it names is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.pydantic_validation import read_object
from robustness.models.model_and_weights_record import Weights
from robustness.models.private_framework_interfaces import all_layers
from robustness.models.tensorflow_and_keras_import import keras
from robustness.models.weights import preset_and_file_sources

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

CONFIG, BACKBONE_WEIGHTS, HEAD_WEIGHTS = "config.json", "model.weights.h5", "task.weights.h5"


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
        return preset_and_file_sources.preset(
            handle, files, self.load, ("keras_hub", "requirements-hub.txt")
        )

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
