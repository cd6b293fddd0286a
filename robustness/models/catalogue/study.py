"""The four networks of the study, as data."""

from __future__ import annotations

from functools import partial

from robustness.models.catalogue.common import (
    CAFFE,
    INSIDE_MODEL,
    KERAS_TABLE,
    RESNET50_STAGES,
    TESTBED,
    TORCH,
    add_keras_application,
)
from robustness.models.in_tensorflow.keras_applications import efficientnet_b0
from robustness.models.model_record import STUDY, PublishedScores

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
