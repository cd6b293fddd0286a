"""KerasHub's tasks on random weights, and a transformer's forward pass in NumPy."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf, softmax

from robustness import models
from robustness.models.catalogue import Transformer
from robustness.models.frameworks import keras
from robustness.models.record import Normalisation

Floats = NDArray[Any]

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="the optional keras-hub is not installed"
)
TRANSFORMERS = [r for r in models.REGISTRY if r.weights.requires]
EPSILON = 1e-12
"""Epsilon of the checkpoints that KerasHub converted; its own default differs."""


def hub() -> Any:
    keras()
    import keras_hub  # type: ignore[import-untyped]

    return keras_hub


def normalised(record: models.ModelRecord, images: Floats) -> Floats:
    return ((images - record.normalisation.mean) / record.normalisation.std).astype(np.float32)


def randomise(task: Any, images: Floats) -> None:
    """Random weights with which the answers to normalised ``images`` differ from each other."""
    rng = np.random.default_rng(3)
    for variable in task.variables:
        noise = rng.standard_normal(variable.shape, np.float32)
        variable.assign(variable.numpy() + np.float32(0.05) * noise)
    tokens = task.backbone(images).numpy()[:, 0]
    kernel = rng.normal(size=(tokens.shape[1], 1000))
    kernel *= 2 / ((tokens - tokens.mean(0)) @ kernel).std()
    task.output_dense.set_weights([kernel, -tokens.mean(0) @ kernel])


def with_epsilon(transformer: Transformer, norm: Normalisation) -> Any:
    """KerasHub's task, whose layer normalisations have ``EPSILON`` and who prepares images."""
    h, kind = hub(), transformer.family
    converter = getattr(h.layers, f"{kind}ImageConverter")(
        image_size=(224, 224),
        scale=[1 / 255 / s for s in norm.std],
        offset=[-m / s for m, s in zip(norm.mean, norm.std, strict=True)],
    )
    arguments = transformer.backbone | {"layer_norm_epsilon": EPSILON}
    backbone = getattr(h.models, f"{kind}Backbone")(**arguments)
    preprocessor = getattr(h.models, f"{kind}ImageClassifierPreprocessor")(converter)
    task = getattr(h.models, f"{kind}ImageClassifier")
    return task(backbone=backbone, num_classes=1000, preprocessor=preprocessor)


def layer_norm(layer: Any, x: Floats, epsilon: float) -> Floats:
    gamma, beta = (weight.numpy() for weight in (layer.gamma, layer.beta))
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def dense(layer: Any, x: Floats) -> Floats:
    kernel, bias = layer.get_weights()
    return x @ kernel + bias


product = partial(np.einsum, optimize=True)  # by matrix products


def attention(layer: Any, x: Floats) -> Floats:
    parts = (layer.query_dense, layer.key_dense, layer.value_dense)
    weights = [part.get_weights() for part in parts]
    q, k, v = (product("ntd,dhk->nhtk", x, w) + b[None, :, None] for w, b in weights)
    scores = softmax(q @ np.swapaxes(k, 2, 3) / np.sqrt(q.shape[-1]), axis=-1)
    kernel, bias = layer.output_dense.get_weights()
    return product("nhtk,hkd->ntd", scores @ v, kernel) + bias


def forward(task: Any, images: Floats, epsilon: float) -> tuple[Floats, list[Floats]]:
    """Probabilities for normalised ``images``, and the class token after blocks 1, 3, 6 and 9, as
    far as there are so many and the last is none of them, and at the end."""
    _, embed, encoder = task.backbone.layers
    kernel, bias = embed.patch_embedding.get_weights()
    patches = images.reshape(-1, 14, 16, 14, 16, 3).swapaxes(2, 3).reshape(-1, 196, 768)
    tokens = patches @ kernel.reshape(768, -1) + bias
    deit = hasattr(embed, "distillation_token")
    first = [embed.class_token, *([embed.distillation_token] if deit else [])]
    tiled = [np.repeat(token.numpy(), len(images), axis=0) for token in first]
    places = embed.position_embedding if deit else embed.position_embedding.embeddings
    x = np.concatenate([*tiled, tokens], axis=1) + places.numpy()
    features = []
    for number, block in enumerate(encoder.encoder_layers, start=1):
        x = x + attention(block.mha, layer_norm(block.layer_norm_1, x, epsilon))
        wide = block.mlp.dense if deit else block.mlp.dense_1
        narrow = block.output_layer.dense if deit else block.mlp.dense_2
        hidden = dense(wide, layer_norm(block.layer_norm_2, x, epsilon))
        x = x + dense(narrow, hidden * (1 + erf(hidden / np.sqrt(2))) / 2)
        if number in (1, 3, 6, 9) and block is not encoder.encoder_layers[-1]:
            features.append(x[:, 0])
    features.append(layer_norm(encoder.layer_norm, x, epsilon)[:, 0])
    return softmax(dense(task.output_dense, features[-1]), axis=-1), features
