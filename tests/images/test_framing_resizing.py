"""Each resizing agrees with its library to one grey level, on photographs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images.decoding import decode, sample_bytes
from robustness.images.framing import FITS, INTERPOLATIONS, Framing, fitted
from robustness.models.frameworks import tensorflow

PHOTOGRAPHS = {
    "odd": decode(sample_bytes("chelsea")).crop((3, 5, 398, 300)),  # 395 x 295
    "small": decode(sample_bytes("rocket")).resize((111, 77)),  # enlarged, for most sides
}
WHITE = (255, 255, 255)


def check(image: Image.Image, framing: Framing, expected: Any, levels: int = 1) -> None:
    made = np.asarray(fitted(image, framing), np.int16)
    expected = np.rint(np.clip(np.asarray(expected, np.float32), 0, 255)).astype(np.int16)
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() <= levels, framing


def aliasings(*names: str) -> list[tuple[str, bool]]:
    return [(name, antialias) for name in names for antialias in (True, False)]


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize(
    ("interpolation", "antialias"),
    [("nearest", True), ("area", True), *aliasings("bilinear", "bicubic", "lanczos")],
)
def test_tensorflow(photograph: str, interpolation: str, antialias: bool) -> None:
    tf, image = tensorflow(), PHOTOGRAPHS[photograph]
    pixels = np.asarray(image)
    short, (height, width) = min(image.size), pixels.shape[:2]
    top, left = (height - short) // 2, (width - short) // 2
    square = pixels[top : top + short, left : left + short]
    how = {
        "method": {"lanczos": "lanczos3"}.get(interpolation, interpolation),
        "antialias": antialias,
    }
    for side, share in ((96, 0.875), (150, 1.0)):
        described = (side, share, interpolation, "tensorflow", antialias, (0, 0, 0))
        central = tf.image.central_crop(square, share) if share < 1 else square
        expected = tf.image.resize(central, (side, side), **how)
        check(image, Framing("crop", *described), expected)
        whole = tf.image.central_crop(pixels, share) if share < 1 else pixels
        check(image, Framing("squash", *described), tf.image.resize(whole, (side, side), **how))
        expected = tf.image.resize_with_pad(whole, side, side, **how)
        check(image, Framing("letterbox", *described), expected)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS["opencv"])
def test_opencv(photograph: str, interpolation: str) -> None:
    image = PHOTOGRAPHS[photograph]
    flag = getattr(
        cv2,
        "INTER_"
        + {"bilinear": "LINEAR", "bicubic": "CUBIC", "lanczos": "LANCZOS4"}.get(
            interpolation, interpolation.upper()
        ),
    )
    scale = 128 / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    resized = cv2.resize(np.asarray(image), size, interpolation=flag)
    top, left = (size[1] - 112) // 2, (size[0] - 112) // 2
    expected = resized[top : top + 112, left : left + 112]
    check(image, Framing("crop", 112, None, interpolation, "opencv"), expected, levels=0)
    expected = cv2.resize(np.asarray(image), (112, 112), interpolation=flag)
    check(image, Framing("squash", 112, None, interpolation, "opencv"), expected, levels=0)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize(
    ("interpolation", "antialias"), [("nearest", True), *aliasings("bilinear", "bicubic")]
)
def test_torch(photograph: str, interpolation: str, antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is missing")
    image = PHOTOGRAPHS[photograph]
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    how = {
        "interpolation": transforms.InterpolationMode[interpolation.upper()],
        "antialias": antialias,
    }
    for side, share in ((96, 0.9), (224, 224 / 232), (128, 1.0)):
        size = int(side / share + 1e-9)
        described = (side, share, interpolation, "torch", antialias)
        for fit, to in (("crop", size), ("squash", (size, size))):
            transform = transforms.Compose(
                [transforms.Resize(to, **how), transforms.CenterCrop(side)]
            )
            expected = transform(tensor).permute(1, 2, 0).numpy()
            check(image, Framing(fit, *described), expected)
            expected = 255 * transform(tensor.float() / 255).permute(1, 2, 0).numpy()
            check(image, Framing(fit, *described), expected)


# what timm 1.0.31 and torchvision 0.28 do to Pillow images: side, crop_pct, crop_mode, then the
# size that the image is resized to, and the corner of the square in it
TIMM = [
    ("coffee", 224, 0.875, "center", "bicubic", (384, 256), (80, 16)),
    ("chelsea", 224, 0.95, "center", "bilinear", (353, 235), (64, 6)),
    ("rocket", 96, 0.9, "center", "lanczos", (158, 106), (31, 5)),
    ("motorcycle", 260, 0.965, "squash", "hamming", (269, 269), (4, 4)),
    ("rocket", 224, 1.0, "border", "bicubic", (224, 149), (0, -37)),
    ("chelsea", 224, 0.9, "border", "box", (248, 165), (12, -29)),
]


@pytest.mark.parametrize("case", TIMM, ids=lambda case: "-".join(map(str, case[:4])))
def test_pillow_as_torchvision_and_timm_use_it(case: tuple[Any, ...]) -> None:
    name, side, share, mode, interpolation, size, (left, top) = case
    image = decode(sample_bytes(name))
    resized = image.resize(size, Image.Resampling[interpolation.upper()])
    expected = Image.new("RGB", (side, side), (124, 116, 104))
    expected.paste(resized, (-left, -top))
    fit = {"center": "crop", "squash": "squash", "border": "letterbox"}[mode]
    framing = Framing(fit, side, share, interpolation, "pil", padding=(124, 116, 104))
    check(image, framing, expected, levels=0)
    factory = pytest.importorskip("timm.data.transforms_factory", reason="timm is not installed")
    transform = factory.transforms_imagenet_eval(
        side, crop_pct=share, crop_mode=mode, interpolation=interpolation, normalize=False
    )
    check(image, framing, transform(image).permute(1, 2, 0), levels=0)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
@pytest.mark.parametrize("fit", FITS)
def test_no_shape_takes_a_giant_image(fit: str, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, WHITE)
    for library, names in INTERPOLATIONS.items():
        for name in names:
            made = np.asarray(fitted(image, Framing(fit, 64, None, name, library, padding=WHITE)))
            assert (made == 255).all()
            assert made.shape == (64, 64, 3)


def test_the_middle_of_a_long_image_stays_the_middle() -> None:
    image = Image.new("RGB", (2001, 20))
    image.paste((255, 0, 0), (1000, 0, 1001, 20))
    for library in INTERPOLATIONS:
        red = np.asarray(fitted(image, Framing("crop", 64, None, "bilinear", library)))[32, :, 0]
        assert abs(np.average(np.arange(64), weights=red) - 31.5) <= 2  # of 3.7 a column


def test_a_resizing_that_no_library_has_is_refused() -> None:
    image = PHOTOGRAPHS["small"]
    for library, name in (("pil", "area"), ("torch", "lanczos"), ("opencv", "hamming")):
        with pytest.raises(UnknownNameError, match=r"^There is no [^.]*\. Known: [^.]*\.$"):
            fitted(image, Framing("crop", 64, None, name, library))
    with pytest.raises(UnknownNameError, match="Known: study, pil, torch, tensorflow, opencv"):
        fitted(image, Framing(resize="keras"))
    for library, name in (("pil", "bicubic"), ("opencv", "bilinear"), ("torch", "nearest")):
        with pytest.raises(ParameterError, match="antialias"):
            fitted(image, Framing("crop", 64, None, name, library, antialias=False))
