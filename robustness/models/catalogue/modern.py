"""The modern models, as data: newer networks of Keras, and transformers of KerasHub."""

from __future__ import annotations

from typing import Any

from robustness.models.catalogue.common import (
    INSIDE_MODEL,
    KERAS_TABLE,
    MINUS_ONE_TO_ONE,
    RESNET50_STAGES,
    TORCH,
    add_keras_application,
)
from robustness.models.in_tensorflow.keras_applications import convnext_tiny, mobilenet_v3_large
from robustness.models.in_tensorflow.transformers import STAGES, Transformer
from robustness.models.model_record import MODERN, REGISTRY, ModelRecord, PublishedScores

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
            normalisation=transformer.normalisation,
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
    Transformer("ViT", heads=12, width=768, normalisation=MINUS_ONE_TO_ONE),
    "keras/vit/keras/vit_base_patch16_224_imagenet/4",
    label="ViT-B/16",
    parameters=86_567_656,
    published=PublishedScores(81.2, source="google-research/vision_transformer, README.md"),
)
_add_transformer(
    "DeiTTiny",
    Transformer("DeiT", heads=3, width=192, normalisation=TORCH),
    "keras/deit/keras/deit_tiny_distilled_patch16_224_imagenet/1",
    label="DeiT-Tiny",
    parameters=5_717_800,
    published=PublishedScores(74.5, 91.9, _DEIT_TABLE),
)
_add_transformer(
    "DeiTSmall",
    Transformer("DeiT", heads=6, width=384, normalisation=TORCH),
    "keras/deit/keras/deit_small_distilled_patch16_224_imagenet/1",
    label="DeiT-Small",
    parameters=22_051_432,
    published=PublishedScores(81.2, 95.4, _DEIT_TABLE),
)
