"""Perturbations as code of other libraries, where those have an equivalent.

The code takes float images in [0, 1]: on these the libraries round no more often than this package.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from robustness.perturbations.arrays import light_gain
from robustness.perturbations.blur import GAUSSIAN_TRUNCATE, defocus_alias
from robustness.perturbations.geometric import QUARTER_TURNS
from robustness.perturbations.perturbation import REFERENCE_SIDE, REGISTRY

RANDOM = "same distribution, other random numbers"
SQUARE = "same square in whole pixels, at another random place"


class At(NamedTuple):
    """A perturbation at a strength; ``value`` is its parameter, ``side`` that of the image."""

    strength: float
    value: float
    side: int

    @property
    def pixels(self) -> float:
        """``value``, a length in pixels at side 224, in pixels of the image."""
        return self.value * self.side / REFERENCE_SIDE


Code = Callable[[At], Sequence[str]]
"""The transforms of a library, one per line; none if it has no equivalent at that strength."""


@dataclass(frozen=True)
class Equivalent:
    """The equivalent of a perturbation in a library.

    ``closeness`` is the largest difference measured, in 8-bit levels, or a text if it is random.
    """

    code: Code
    closeness: int | str = 0

    @property
    def closeness_text(self) -> str:
        """The closeness in words."""
        if isinstance(self.closeness, str):
            return self.closeness
        if self.closeness == 0:
            return "exact"
        return f"largest measured difference {self.closeness} of 255 levels"


@dataclass(frozen=True)
class Library:
    """A library and its equivalents by perturbation.

    ``frame`` is the code around the transforms. ``needed`` is the code before it, by the word in
    the transforms that needs it.
    """

    title: str
    frame: str
    needed: Mapping[str, str]
    equivalents: Mapping[str, Equivalent]


def library_code(
    library: Library, steps: Sequence[tuple[str, float]], side: int = REFERENCE_SIDE
) -> str | None:
    """Code of ``library`` that applies ``steps``, (perturbation, strength), in this order.

    ``side`` is that of the images in pixels. None if a step has no equivalent or strength 0, and
    without steps.
    """
    lines = []
    for name, strength in steps:
        record, equivalent = REGISTRY[name], library.equivalents.get(name)
        at = At(strength, record.parameter_at(strength), side)
        transforms = equivalent.code(at) if equivalent and strength > 0 else ()
        if equivalent is None or not transforms:
            return None
        setting = f", {record.value_text(strength)}" if record.graded else ""
        lines += [f"# {record.label}{setting}: {equivalent.closeness_text}"]
        lines += [f"{line}," for line in transforms]
    if not lines:
        return None
    text = "\n".join(lines)
    before = "".join(code for word, code in library.needed.items() if word in text)
    return before + library.frame.format(side=side, transforms=textwrap.indent(text, " " * 8))


def _range(value: float) -> str:
    """``value`` as both ends of a range."""
    return f"({value:.9g}, {value:.9g})"


def _gaussian_radius(at: At) -> int:
    """Pixels from the middle of a Gaussian kernel to its end."""
    return int(GAUSSIAN_TRUNCATE * at.pixels + 0.5)


# --- albumentations -------------------------------------------------------------------------------

_CLIPPED = "A.Lambda(image=clipped, p=1)"
_BGR = "A.Lambda(image=bgr, p=1)"
"""Before and after a codec: albumentations encodes RGB as if it were BGR."""


def _codec(kind: str) -> Equivalent:
    code = 'A.ImageCompression(compression_type="{}", quality_range={}, p=1)'
    return Equivalent(lambda at: [_BGR, code.format(kind, _range(at.value)), _BGR])


def _blurred(at: At) -> list[str]:
    radius = _gaussian_radius(at)
    width = _range(2 * radius + 1)
    return [
        f"A.Pad(padding={radius}, border_mode=cv2.BORDER_REPLICATE, p=1)",
        f"A.GaussianBlur(blur_limit={width}, sigma_limit={_range(at.pixels)}, p=1)",
        f"A.CenterCrop(height={at.side}, width={at.side}, p=1)",
    ]


def _defocused(at: At) -> list[str]:
    # albumentations has disks of whole pixels only.
    radius, alias = _range(at.pixels), _range(defocus_alias(at.strength))
    return [f"A.Defocus(radius={radius}, alias_blur={alias}, p=1)"] * at.pixels.is_integer()


def _reduced(at: At, enlarged: str) -> list[str]:
    scale = _range(round(at.pixels) / at.side)
    how = f'{{"downscale": cv2.INTER_AREA, "upscale": cv2.{enlarged}}}'
    return [f"A.Downscale(scale_range={scale}, interpolation_pair={how}, p=1)"]


def _pixelated(at: At) -> list[str]:
    # Squares of unequal sizes lie elsewhere in OpenCV.
    return _reduced(at, "INTER_NEAREST") * (at.side % round(at.pixels) == 0)


def _impulses(at: At) -> list[str]:
    white = at.value / 2
    code = "A.PixelDropout(dropout_prob={:.9g}, per_channel=True, drop_value={}, p=1)"
    return [code.format(white / (1 - white), 0), code.format(white, 1)]


def _covered(at: At) -> list[str]:
    size = _range(round(at.value * at.side))
    return [
        f"A.CoarseDropout(num_holes_range=(1, 1), hole_height_range={size}, "
        f"hole_width_range={size}, fill=0.5, p=1)"
    ]


def _one(code: str, value: Callable[[float], float] = float) -> Code:
    """``code`` with a function of the parameter as its range."""
    return lambda at: [code.format(_range(value(at.value)))]


def _gain(stops: float) -> float:
    return light_gain(2.0**stops)


_EXPOSED = Equivalent(_one("A.MultiplicativeNoise(multiplier={}, p=1)", _gain))

ALBUMENTATIONS = Library(
    title="albumentations",
    needed={
        "cv2.": "import cv2\n",
        "": "import albumentations as A  # 2.0.8; AlbumentationsX renamed arguments\n\n",
        "clipped": "def clipped(image, **_):\n    return image.clip(0, 1)\n\n",
        "bgr": "def bgr(image, **_):\n    return image[..., ::-1].copy()\n\n",
    },
    frame="""transform = A.Compose(
    [
{transforms}
    ]
)
# image: float32 RGB in [0, 1], shape ({side}, {side}, 3)
perturbed = transform(image=image)["image"]
""",
    equivalents={
        "brightness": Equivalent(
            _one(
                "A.HueSaturationValue(hue_shift_limit=(0, 0), sat_shift_limit=(0, 0), "
                "val_shift_limit={}, p=1)",
                lambda value: 255 * value,
            ),
            6,
        ),
        "gaussian_blur": Equivalent(_blurred),
        "defocus_blur": Equivalent(_defocused, 3),
        "rotation": Equivalent(
            lambda at: [
                f"A.Rotate(limit={_range(at.value)}, interpolation=cv2.INTER_CUBIC, "
                "border_mode=cv2.BORDER_REFLECT_101, p=1)",
                _CLIPPED,
            ]
        ),
        "horizontal_flip": Equivalent(lambda at: ["A.HorizontalFlip(p=1)"]),
        "vertical_flip": Equivalent(lambda at: ["A.VerticalFlip(p=1)"]),
        "gaussian_noise": Equivalent(_one("A.GaussNoise(std_range={}, p=1)"), RANDOM),
        "salt_and_pepper": Equivalent(
            _one("A.SaltAndPepper(amount={}, salt_vs_pepper=(0.5, 0.5), p=1)"), RANDOM
        ),
        "impulse_noise": Equivalent(_impulses, RANDOM),
        "pixelate": Equivalent(_pixelated, 1),
        "low_resolution": Equivalent(lambda at: _reduced(at, "INTER_CUBIC"), 1),
        "jpeg_compression": _codec("jpeg"),
        "webp_compression": _codec("webp"),
        "saved_as_jpeg": _codec("jpeg"),
        "exposure": _EXPOSED,
        "darkness": _EXPOSED,
        "gamma": Equivalent(_one("A.RandomGamma(gamma_limit={}, p=1)", lambda value: 100 * value)),
        "zoom_in": Equivalent(
            lambda at: [
                f"A.Affine(scale={_range(at.value)}, interpolation=cv2.INTER_CUBIC, p=1)",
                _CLIPPED,
            ],
            1,
        ),
        "occlusion": Equivalent(_covered, SQUARE),
    },
)

# --- torchvision ----------------------------------------------------------------------------------


def _jpeg(at: At) -> list[str]:
    return [
        "v2.Lambda(lambda image: (255 * image).round().to(torch.uint8))",
        f"v2.JPEG({_range(at.value)})",
        "v2.ToDtype(torch.float32, scale=True)",
    ]


def _turned(at: At) -> list[str]:
    # At other angles torchvision has neither mirrored corners nor a bicubic kernel.
    return [f"v2.RandomRotation({_range(at.value)})"] * (at.value in QUARTER_TURNS)


def _gaussian(at: At) -> list[str]:
    radius = _gaussian_radius(at)
    return [
        f'v2.Pad({radius}, padding_mode="edge")',
        f"v2.GaussianBlur({2 * radius + 1}, {_range(at.pixels)})",
        f"v2.CenterCrop({at.side})",
    ]


_BY_CHANNEL = Equivalent(
    lambda at: [
        "v2.Lambda(lambda image: torch.cat([v2.functional.adjust_contrast(channel, "
        f"{at.value:.9g}) for channel in image.split(1)]))"
    ]
)
_BRIGHTENED = Equivalent(_one("v2.ColorJitter(brightness={})", _gain))

TORCHVISION = Library(
    title="torchvision",
    needed={"torch.": "import torch\n", "": "from torchvision.transforms import v2\n\n"},
    frame="""transform = v2.Compose(
    [
{transforms}
    ]
)
# image: a tensor, float32 RGB in [0, 1], shape (3, {side}, {side})
perturbed = transform(image)
""",
    equivalents={
        "increased_contrast": _BY_CHANNEL,
        "contrast": _BY_CHANNEL,
        "gaussian_blur": Equivalent(_gaussian, 1),
        "rotation": Equivalent(_turned),
        "horizontal_flip": Equivalent(lambda at: ["v2.RandomHorizontalFlip(p=1)"]),
        "vertical_flip": Equivalent(lambda at: ["v2.RandomVerticalFlip(p=1)"]),
        "gaussian_noise": Equivalent(
            lambda at: [f"v2.GaussianNoise(sigma={at.value:.9g})"], RANDOM
        ),
        "jpeg_compression": Equivalent(_jpeg),
        "saved_as_jpeg": Equivalent(_jpeg),
        "exposure": _BRIGHTENED,
        "darkness": _BRIGHTENED,
        "gamma": Equivalent(
            lambda at: [
                f"v2.Lambda(lambda image: v2.functional.adjust_gamma(image, {at.value:.9g}))"
            ]
        ),
        "occlusion": Equivalent(
            lambda at: [
                f"v2.RandomErasing(p=1, scale={_range(at.value**2)}, ratio=(1, 1), value=0.5)"
            ],
            SQUARE,
        ),
    },
)

LIBRARIES = (ALBUMENTATIONS, TORCHVISION)
