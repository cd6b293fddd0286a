"""Remedies, and chains of them such as ``median+tta``: applied to batches, or as Python code.

A remedy acts between the perturbed image and the prediction, and needs no training. Some act on the
image: they denoise, sharpen, or restore contrast, exposure and colour. Their functions take and
return one 8-bit RGB image (S, S, 3), as a product's own code would, and are complete with OpenCV
and NumPy alone, so that a product can copy them. Others act on the prediction, by several views of
one image or by several models.

Batches are study images: float32 RGB in [0, 1], shape (N, S, S, 3), on the 8-bit grid.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.base.registry import Registry
from robustness.base.validation import checked_array, read_only
from robustness.images.pixels import from_uint8, to_uint8

Levels = NDArray[Any]
"""One 8-bit RGB image, uint8 (S, S, 3)."""

Plane = NDArray[np.float32]
Change = Callable[[Levels], Levels]

ON_IMAGE = "image"
ON_PREDICTION = "prediction"
GATED = "gated"
SEVERAL_MODELS = "several models"
"""What a remedy changes: the image, always or behind a gate; or the prediction, by several views of
the image or by several models."""

MEAN = "mean"
SUREST = "surest"
"""How the views become one prediction: their mean, or the view with the highest confidence if it
exceeds that of the first view by the margin."""


def unchanged(values: Any) -> Any:
    """``values`` themselves."""
    return values


@dataclass(frozen=True)
class ImageView:
    """One view of an image.

    ``change`` maps an image (S, S, 3) to the view. ``back`` maps a gradient (S, S, 3) with respect
    to the view to one with respect to the image; the default passes it straight through.
    """

    change: Change
    back: Callable[[Plane], Plane] = unchanged


ORIGINAL = ImageView(unchanged)
"""The image as it is."""


@dataclass(frozen=True)
class Gate:
    """The condition under which a gated remedy acts on an image.

    ``detector`` measures an image; the gate opens above ``threshold``. ``false_alarms`` is the
    share of originals, apart from those that set the threshold, on which it opens.
    """

    detector: Callable[[Levels], float]
    threshold: float
    false_alarms: float


@dataclass(frozen=True)
class Remedy:
    """A remedy with its data for tables, controls and reports.

    ``function`` is its change of one image: pure, deterministic, the same shape and type. ``views``
    replace it for a remedy of the kind ``ON_PREDICTION``; ``combine`` and ``margin`` say how they
    become one prediction. ``temperature`` divides the logits; a remedy that is written with one, as
    in temperature=1.7, has the ``range`` of it. ``against`` names, in words, what it should help
    against. ``original`` bounds the mean absolute change of an original photograph, in [0, 1]: that
    of the remedies here holds for 200 ImageNet photographs. None if it may change originals without
    a bound. ``source`` cites the method and its parameters.
    """

    name: str
    function: Change
    label: str
    kind: str
    against: str
    source: str
    original: float | None = None
    gate: Gate | None = None
    views: tuple[ImageView, ...] = field(default=(), repr=False)
    combine: str = MEAN
    margin: float = 0.0
    range: tuple[float, float] | None = None
    temperature: float = 1.0

    @property
    def id(self) -> str:
        """The name, with the temperature if it is written with one; ``parse`` reads it back."""
        if not self.range:
            return self.name
        number = str(self.temperature).removesuffix(".0")
        return f"{self.name}={number}"

    def gated(self, image: Levels) -> Levels:
        """Return ``image`` after the remedy, or itself while the gate is closed.

        Raises ``PluginError`` for a result that is no such image. The function cannot write to
        ``image``.
        """
        if self.gate is not None:
            is_open = self.gate.detector(image) > self.gate.threshold
            if not is_open:
                return image
        result = self.function(read_only(image))
        return checked_array(f"remedy {self.name!r}", result, image.shape, "uint8", "u1")


REGISTRY: Registry[Remedy] = Registry("remedy")
remedy = REGISTRY.decorator(Remedy)
"""A decorator that registers a function of one image; keywords are the fields of ``Remedy``."""


def _add_gated(name: str, ungated: str, gate: Gate, *, label: str, source: str) -> None:
    """Register the remedy ``ungated`` behind ``gate``, as ``name``."""
    remedy = REGISTRY[ungated]
    REGISTRY.add(replace(remedy, name=name, label=label, kind=GATED, gate=gate, source=source))


if TYPE_CHECKING:
    from robustness.perturbations import Images

Floats = NDArray[np.float32]

MOST = 8
"""Remedies in a chain; anyone may put a chain into a link."""


@dataclass(frozen=True)
class Chain:
    """Remedies in the order of their application; at most the last acts on the prediction.

    Created by ``parse``. ``id`` reads back as the chain.
    """

    remedies: tuple[Remedy, ...]

    @property
    def id(self) -> str:
        return "+".join(remedy.id for remedy in self.remedies)

    @property
    def label(self) -> str:
        return " + ".join(remedy.label for remedy in self.remedies)

    @property
    def last(self) -> Remedy:
        return self.remedies[-1]

    @property
    def on_image(self) -> bool:
        """Whether it gives one image, which needs no model."""
        return self.last.kind in (ON_IMAGE, GATED)

    @property
    def several_models(self) -> bool:
        """Whether it needs the predictions of several models."""
        return self.last.kind == SEVERAL_MODELS

    @property
    def changes_images(self) -> bool:
        """Whether a model predicts other images with it; else it acts on probabilities alone."""
        if self._views != (ORIGINAL,):
            return True
        return any(remedy.kind != ON_PREDICTION for remedy in self.remedies)

    @property
    def passes(self) -> int:
        """Forward passes an image, of each model."""
        return len(self._views)

    def image(self, image: Levels) -> Levels:
        """Return one 8-bit RGB image (H, W, 3) after the remedies on the image."""
        remedies = self.remedies
        if not self.on_image:
            remedies = remedies[:-1]
        for remedy in remedies:
            image = remedy.gated(np.ascontiguousarray(image))
        return image

    def images(self, images: Images) -> Images:
        """Return ``images`` (N, S, S, 3) after the remedies on the image, as a new array."""
        return self._changed(images, ORIGINAL)

    def views(self, images: Images) -> list[Images]:
        """Return the views of ``images`` that a model predicts, each (N, S, S, 3)."""
        if not self.changes_images:
            # They are not rounded, as gradients need images between those of 8 bits.
            return [images]
        return [self._changed(images, view) for view in self._views]

    @property
    def _views(self) -> tuple[ImageView, ...]:
        if self.on_image or not self.last.views:
            return (ORIGINAL,)
        return self.last.views

    def _changed(self, images: Images, view: ImageView) -> Images:
        changed = np.empty(images.shape, np.uint8)
        for index, image in enumerate(to_uint8(images)):
            changed[index] = view.change(self.image(image))
        return from_uint8(changed)

    def tempered(self, probabilities: Floats) -> Floats:
        """Return softmax(log p / T) of ``probabilities`` p (N, classes); top-1 classes stay."""
        if self.last.temperature == 1:
            return probabilities
        # As powers of ratios to the highest, which need no logarithm of 0.
        highest = probabilities.max(axis=1, keepdims=True).astype(np.float64)
        powers = (probabilities / highest) ** (1 / self.last.temperature)
        tempered = np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
        # Two nearly equal probabilities may become the same number, of which argmax takes the
        # first: the top-1 class gets the next larger number.
        top1 = probabilities.argmax(axis=1)
        (tied,) = np.nonzero(tempered.argmax(axis=1) != top1)
        tempered[tied, top1[tied]] = np.nextafter(tempered.max(axis=1)[tied], np.float32(2))
        return tempered

    def weights(self, probabilities: Floats) -> Floats:
        """Return the weights (views, N) of views with the ``probabilities`` (views, N, classes)."""
        view_count, image_count, _ = probabilities.shape
        if self.last.combine != SUREST:
            return np.full((view_count, image_count), 1 / view_count, np.float32)
        confidences = probabilities.max(axis=2)
        surest = confidences.argmax(axis=0)
        exceeds_first = confidences.max(axis=0) > confidences[0] + self.last.margin
        chosen = np.where(exceeds_first, surest, 0)
        return np.asarray(np.arange(view_count)[:, None] == chosen, np.float32)

    def back(self, gradients: Sequence[Floats]) -> Floats:
        """Return the gradient (N, S, S, 3) for the images, from the one of each view.

        It passes straight through the remedies on the image.
        """
        combined = np.zeros_like(gradients[0])
        for view, gradient in zip(self._views, gradients, strict=True):
            combined += np.stack([view.back(image) for image in gradient])
        return combined


def parse(text: str | Iterable[str] | Chain) -> Chain:
    """Return the chain of a text such as ``median`` or ``median+tta``, or of a list of such.

    Raises ``UnknownNameError`` for an unknown remedy, ``ParameterError`` for a remedy on the
    prediction before the end, for more than ``MOST``, for a temperature out of range or for a
    remedy without one, and for anything but names.
    """
    if isinstance(text, Chain):
        return text
    parts = []
    if isinstance(text, str):
        parts = [text]
    elif isinstance(text, Iterable):
        parts = list(text)
    if not parts or not all(isinstance(part, str) for part in parts):
        raise ParameterError(
            f"Expected the names of remedies, such as median+tta, got {text!r}. "
            "The command remedies lists them."
        )
    names = "+".join(parts).split("+")
    if len(names) > MOST:
        raise ParameterError(
            f"Expected at most {MOST} remedies in a chain, got {len(names)}. Leave some out."
        )
    chain = Chain(tuple(_remedy(name) for name in names))
    for remedy in chain.remedies[:-1]:
        if remedy.kind not in (ON_IMAGE, GATED):
            raise ParameterError(
                f"Expected {remedy.name} at the end of {chain.id}: it acts on the prediction. "
                "Put remedies on the image before it."
            )
    return chain


def _remedy(text: str) -> Remedy:
    text = text.strip()
    name, equals, number = text.partition("=")
    remedy = REGISTRY[name.strip()]
    if remedy.range is None:
        if equals:
            raise ParameterError(f"Expected {remedy.name} without a number, got {text!r}.")
        return remedy
    low, high = remedy.range
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ParameterError(
            f"Expected a number from {low:g} to {high:g}, as in {remedy.name}=1.7, got "
            f"{text!r}. The command calibrate fits it."
        )
    return replace(remedy, temperature=value, label=f"{remedy.label} {value:g}")


def parse_all(texts: str | Iterable[str]) -> tuple[Chain, ...]:
    """Return the chains of a text such as ``median,tta``, or of several texts, each once."""
    if isinstance(texts, str):
        texts = texts.split(",")
    chains: dict[Chain, None] = {}
    for text in texts:
        name = text.strip()
        if name:
            chains[parse(name)] = None
    return tuple(chains)


_HEAD = '''def remedied(image: np.ndarray) -> np.ndarray:
    """Apply the remedy to an RGB image, uint8 (H, W, 3); OpenCV reads images as BGR."""
'''


def python(chain: Chain) -> str:
    """Return Python code that does what ``chain`` does to one RGB image, uint8 (H, W, 3).

    It defines functions, of which the last, ``remedied``, calls the others. Raises
    ``ParameterError`` for a chain that acts on the prediction.
    """
    if not chain.on_image:
        raise ParameterError(
            f"Expected a remedy on the image to copy as code, got {chain.id}. Use "
            "load_model(name).with_remedies([...])."
        )
    functions: dict[str, Callable[..., Any]] = {}  # each once, though a remedy may come twice
    calls = []
    for remedy in chain.remedies:
        name = remedy.function.__name__
        functions[name] = remedy.function
        call = f"image = {name}(image)"
        if remedy.gate is not None:
            detector = remedy.gate.detector
            functions[detector.__name__] = detector
            call = f"if {detector.__name__}(image) > {remedy.gate.threshold}:\n    {call}"
        calls.append(call)
    parts = ["import cv2\nimport numpy as np"]
    for function in functions.values():
        source = inspect.getsource(function)
        without_decorator = source[source.index("def ") :].strip()
        parts.append(re.sub(r"\bLevels\b", "np.ndarray", without_decorator))
    body = textwrap.indent("\n".join([*calls, "return image"]), "    ")
    parts.append(f"{_HEAD}{body}\n")
    return "\n\n\n".join(parts)


_on_image = partial(remedy, kind=ON_IMAGE)


@_on_image(
    label="Median 3 x 3",
    against="impulse noise, salt and pepper",
    source="Xu, Evans & Qi, NDSS 2018 (feature squeezing), median smoothing",
    original=0.07,
)
def median(image: Levels) -> Levels:
    """The median of each 3 x 3 neighbourhood, by channel."""
    return cv2.medianBlur(image, 3)


@_on_image(
    label="Median 5 x 5",
    against="strong impulse noise",
    source="Tukey, Exploratory Data Analysis, 1977; a wider window than feature squeezing uses",
    original=0.11,
)
def median_5(image: Levels) -> Levels:
    """The median of each 5 x 5 neighbourhood, by channel."""
    return cv2.medianBlur(image, 5)


@_on_image(
    label="Bilateral filter",
    against="noise, with edges kept",
    source="Tomasi & Manduchi, ICCV 1998; diameter 5 as OpenCV advises for real time, both "
    "sigmas 75 as in OpenCV's tutorial 'Smoothing Images'",
    original=0.05,
)
def bilateral(image: Levels) -> Levels:
    """The mean of near pixels of similar colour."""
    return cv2.bilateralFilter(image, 5, 75, 75)


@_on_image(
    label="Non-local means",
    against="Gaussian and shot noise",
    source="Buades, Coll & Morel, CVPR 2005; search window 11, patch 3, strength 4 as in Xu, "
    "Evans & Qi, NDSS 2018",
    original=0.03,
)
def non_local_means(image: Levels) -> Levels:
    """The mean of pixels with similar surroundings."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.cvtColor(cv2.fastNlMeansDenoisingColored(bgr, None, 4, 4, 3, 11), cv2.COLOR_BGR2RGB)


@_on_image(
    label="Unsharp mask",
    against="blur",
    source="Pillow's UnsharpMask: radius 2, amount 150%",
)
def unsharp_mask(image: Levels) -> Levels:
    """The image with its difference from a blurred copy added 1.5 times."""
    blurred = cv2.GaussianBlur(image, (0, 0), 2)
    return cv2.addWeighted(image, 2.5, blurred, -1.5, 0)


@_on_image(
    label="CLAHE",
    against="low local contrast",
    source="Zuiderveld, Graphics Gems IV, 1994; clip limit 2 and 8 x 8 tiles as in OpenCV's "
    "tutorial",
)
def clahe(image: Levels) -> Levels:
    """Contrast-limited adaptive histogram equalisation of the lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@_on_image(
    label="Autocontrast",
    against="low contrast, fog",
    source="Pillow's ImageOps.autocontrast, with one gain for all channels and a cutoff of 0.5%",
)
def autocontrast(image: Levels) -> Levels:
    """Stretch all channels alike, so that 0.5% of the values become 0 and 0.5% become 255."""
    low, high = np.percentile(image, (0.5, 99.5))
    gain = 255 / max(high - low, 1)
    return np.clip((image - low) * gain + 0.5, 0, 255).astype(np.uint8)


@_on_image(
    label="Gamma normalisation",
    against="wrong brightness",
    source="middle grey, 18% of the light (Reinhard et al., SIGGRAPH 2002), is 46% of the pixel "
    "range; the power that brings the mean there",
)
def gamma(image: Levels) -> Levels:
    """Raise to the power that brings the mean to middle grey."""
    mean = np.clip(image.mean() / 255, 0.02, 0.98)
    power = np.log(0.46) / np.log(mean)
    table = 255 * (np.arange(256) / 255) ** power
    return cv2.LUT(image, np.rint(table).astype(np.uint8))


@_on_image(
    label="Exposure normalisation",
    against="wrong exposure",
    source="Reinhard et al., SIGGRAPH 2002, equations 1 and 2: the log-average light becomes 18%",
)
def exposure(image: Levels) -> Levels:
    """Scale the light so that its log-average becomes middle grey."""
    light = (image / 255.0) ** 2.2
    average = np.exp(np.log(light.mean(axis=2) + 1e-4).mean())
    bright = np.clip(light * 0.18 / average, 0, 1) ** (1 / 2.2)
    return np.rint(255 * bright).astype(np.uint8)


@_on_image(
    label="Grey world",
    against="colour casts",
    source="Buchsbaum, Journal of the Franklin Institute 1980",
)
def grey_world(image: Levels) -> Levels:
    """Scale each channel so that all have the same mean."""
    means = image.mean(axis=(0, 1)) + 1e-3
    return np.clip(np.rint(image * (means.mean() / means)), 0, 255).astype(np.uint8)


@_on_image(
    label="JPEG, quality 75",
    against="adversarial changes, faint noise",
    source="Guo et al., ICLR 2018 (input transformations), JPEG quality 75",
    original=0.05,
)
def jpeg(image: Levels) -> Levels:
    """Save and read back as JPEG of quality 75."""
    file = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 75]
    )[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))


@_on_image(
    label="Resize to half and back",
    against="fine noise",
    source="OpenCV's documentation of resize: INTER_AREA to shrink, INTER_CUBIC to enlarge",
    original=0.09,
)
def resize(image: Levels) -> Levels:
    """Average to half the side, then enlarge smoothly (bicubic)."""
    height, width = image.shape[:2]
    half = max(1, width // 2), max(1, height // 2)
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


# Gated remedies: each acts only on images that its detector finds in need of it. Each threshold was
# set on 100 ImageNet photographs, so that 2 of them open the gate: the half of those in
# docs/datasets.md that chooses. False alarms are counted on the other half.


def impulsive(image: Levels) -> float:
    """The share of values that differ from the median of their 3 x 3 neighbourhood by over 64."""
    return float((cv2.absdiff(image, cv2.medianBlur(image, 3)) > 64).mean())


def flat(image: Levels) -> float:
    """The share of the range 0 to 255 that 99% of the grey values leave unused."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey, (0.5, 99.5))
    return float(1 - (high - low) / 255)


_add_gated(
    "median_if_impulsive",
    "median",
    Gate(impulsive, threshold=0.02, false_alarms=0.05),
    label="Median if impulsive",
    source="the 3 x 3 median of feature squeezing behind a detector of outliers, as in Hwang & "
    "Haddad's adaptive median, IEEE Transactions on Image Processing 1995",
)
_add_gated(
    "autocontrast_if_flat",
    "autocontrast",
    Gate(flat, threshold=0.35, false_alarms=0.09),
    label="Autocontrast if flat",
    source="Pillow's autocontrast behind a detector of low contrast, as scikit-image's "
    "is_low_contrast",
)


def view(
    *, flip: bool = False, turn: int = 0, scale: float = 1.0, shift: tuple[float, float] = (0, 0)
) -> ImageView:
    """Return a view: the image after a flip, quarter turns, and an enlargement around its centre.

    ``shift`` moves the centre, in shares of the side. Beyond the edges the image is mirrored.
    """

    def matrix(side: int) -> Plane:
        """The affine map (2, 3) of pixels of the image to pixels of the view."""
        angle = math.pi / 2 * turn
        cosine = round(math.cos(angle))
        sine = round(math.sin(angle))
        rotation = scale * np.array([[cosine, sine], [-sine, cosine]])
        mirror = np.diag([-1 if flip else 1, 1])
        linear = rotation @ mirror
        centre = (side - 1) / 2
        offset = centre - linear @ [centre, centre] - scale * side * np.array(shift)
        return np.column_stack([linear, offset]).astype(np.float32)

    def change(image: Levels) -> Levels:
        side = len(image)
        warped = cv2.warpAffine(
            image, matrix(side), (side, side), borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(warped)

    def back(gradient: Plane) -> Plane:
        side = len(gradient)
        inverse = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(gradient, matrix(side), (side, side), flags=inverse)
        # A pixel of the image is so many of the view.
        return np.asarray(warped * np.float32(scale**2))

    return ImageView(change, back)


_EIGHTH = 8 / 7
"""Crops of 7/8 of the side: 224 of 256 pixels, as in Krizhevsky et al."""

FLIPS = (ORIGINAL, view(flip=True))
CROPS = (
    view(scale=_EIGHTH),
    *(view(scale=_EIGHTH, shift=(x, y)) for x in (-1 / 16, 1 / 16) for y in (-1 / 16, 1 / 16)),
)
SCALES = (ORIGINAL, view(scale=7 / 8), view(scale=_EIGHTH))
TURNS = (ORIGINAL, *(view(turn=turn) for turn in (1, 2, 3)))


def _add(
    name: str,
    views: tuple[ImageView, ...] = (),
    *,
    kind: str = ON_PREDICTION,
    label: str,
    against: str,
    source: str,
    **more: Any,
) -> None:
    REGISTRY.add(Remedy(name, unchanged, label, kind, against, source, views=views, **more))


_add(
    "flip",
    FLIPS,
    label="Average with the mirror image",
    against="chance of the viewpoint",
    source="He et al., CVPR 2016, horizontal flips at test time",
)
_add(
    "five_crops",
    CROPS,
    label="Average of five crops",
    against="chance of the frame",
    source="Krizhevsky, Sutskever & Hinton, NeurIPS 2012: centre and corners, 224 of 256 pixels",
)
_add(
    "three_scales",
    SCALES,
    label="Average of three scales",
    against="unusual size",
    source="Simonyan & Zisserman, ICLR 2015, multi-scale evaluation; 7/8, 1 and 8/7",
)
_add(
    "tta",
    (*FLIPS, *CROPS, SCALES[1]),
    label="Test-time augmentation",
    against="chance of viewpoint, frame and size",
    source="the mean over mirror image, five crops and three scales of the papers that those cite",
)
_add(
    "mixture",
    (ORIGINAL, ImageView(median), ImageView(autocontrast), ImageView(gamma)),
    label="Average of original, median, autocontrast and gamma",
    against="unknown conditions",
    source="this project's choice: the mean over the image and its three cheapest restorations",
)
_add(
    "upright",
    TURNS,
    label="Turn upright if surer",
    against="rotation",
    combine=SUREST,
    margin=0.2,
    source="Gidaris, Singh & Komodakis, ICLR 2018: the four quarter turns; a turn counts if "
    "its confidence exceeds that of the image by the margin 0.2",
)
_add(
    "temperature",
    label="Temperature",
    against="overconfidence, with a number as in temperature=1.7",
    source="Guo, Pleiss, Sun & Weinberger, ICML 2017: one temperature divides all logits",
    range=(0.05, 20.0),
)
_add(
    "average",
    kind=SEVERAL_MODELS,
    label="Average of the models",
    against="errors of single models",
    source="Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017: the mean of the probabilities",
)
_add(
    "vote",
    kind=SEVERAL_MODELS,
    label="Vote of the models",
    against="errors of single models",
    source="Hansen & Salamon, PAMI 1990: the plurality of the top-1 classes; the mean probability "
    "decides between equal counts",
)
