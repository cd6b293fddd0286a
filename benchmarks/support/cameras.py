"""Cameras that share no code with the perturbations: from linear light to the saved file.

A photograph is taken back to linear light and seen again: by a lens, a sensor behind a colour
mosaic, and the processing of the device, up to JPEG or video. What follows on it, such as a
messenger, is part of some cameras. A camera takes one photograph (H, W, 3), 8-bit BGR, and random
draws, and returns the bytes of a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[Any]
"""8-bit pixels."""
Light = NDArray[Any]
"""Light or values in [0, 1], float32."""
Draws = np.random.Generator
Camera = Callable[[Bytes, Draws], bytes]

_LEVELS = 4095
_FRAMES = 9
_RATE = 15


@dataclass(frozen=True)
class Device:
    """A device, from light to pixels.

    ``side``: short side of the sensor in pixels. ``exposure``: factor of the light. ``light``:
    colour of the light in blue, green, red; ``balance``: share of it that the device removes.
    ``blur``: radius of the lens's blur, ``shake``: length of the motion, in pixels of the sensor.
    ``falloff``: light lost in the corners. ``veil``: scattered light. ``electrons``: full well.
    ``floor``: read noise in electrons. ``gain``: after the sensor. ``denoise``: strength of the
    noise reduction, ``sharpen`` of the sharpening, ``contrast`` of the S-curve, ``local`` of local
    tone mapping. ``saturation``: factor. ``gamma``: of the tone curve, on top of that of sRGB.
    ``mono``: a sensor without colour.
    """

    side: int = 640
    exposure: float = 1.0
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    balance: float = 1.0
    blur: float = 0.4
    shake: float = 0.0
    falloff: float = 0.0
    veil: float = 0.0
    electrons: float = 8000.0
    floor: float = 3.0
    gain: float = 1.0
    denoise: float = 0.0
    sharpen: float = 0.0
    contrast: float = 0.0
    local: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0
    mono: bool = False

    def develop(self, photo: Bytes, draws: Draws) -> Bytes:
        """The 8-bit BGR image of ``photo``."""
        scene = _linear(_resized(photo, self.side))
        raw = self._sensed(self._through_lens(scene, draws), draws)
        return self._processed(self._demosaiced(raw))

    def _through_lens(self, scene: Light, draws: Draws) -> Light:
        light: Light = scene * np.float32(self.exposure) * np.array(self.light, np.float32)
        if self.veil:
            light = light * (1 - self.veil) + self.veil * np.float32(0.75 * self.exposure)
        if self.blur:
            light = cv2.GaussianBlur(light, (0, 0), self.blur)
        if self.shake:
            light = cv2.filter2D(light, -1, _path(self.shake, draws))
        if self.falloff:
            rows, columns = np.mgrid[-1 : 1 : light.shape[0] * 1j, -1 : 1 : light.shape[1] * 1j]
            angle = 1 / (1 + 0.5 * self.falloff * (rows**2 + columns**2)) ** 2  # as cos^4
            light = light * angle[..., None].astype(np.float32)
        return light

    def _sensed(self, light: Light, draws: Draws) -> NDArray[np.uint16]:
        """Counts of the sensor (H, W), of even sides; one colour a pixel."""
        height, width = (size // 2 * 2 for size in light.shape[:2])
        light = light[:height, :width]
        plane = light @ np.array([0.2, 0.5, 0.3], np.float32)
        if not self.mono:
            plane = light[..., 1].copy()
            plane[::2, ::2] = light[::2, ::2, 2]
            plane[1::2, 1::2] = light[1::2, 1::2, 0]
        electrons = draws.poisson(np.clip(plane, 0, 1.2) * self.electrons).astype(np.float64)
        electrons += draws.normal(0, self.floor, plane.shape)
        electrons += draws.normal(0, self.floor / 4, (height, 1))  # rows are read one by one
        counts = electrons / self.electrons * self.gain * (_LEVELS - 128) + 128
        return np.clip(np.round(counts), 0, _LEVELS).astype(np.uint16)

    def _demosaiced(self, raw: NDArray[np.uint16]) -> Light:
        """Linear light (H, W, 3) after white balance."""
        if self.mono:
            colour: Light = np.repeat(raw[..., None], 3, 2)
        else:
            colour = cv2.demosaicing(raw, cv2.COLOR_BayerRGGB2BGR_EA)
        light = (colour.astype(np.float32) - 128) / (_LEVELS - 128)
        if not self.mono:
            cast = np.array(self.light, np.float32) ** -self.balance
            light *= cast / cast[1]
        return np.clip(light, 0, 1)

    def _processed(self, light: Light) -> Bytes:
        grey = light @ np.array([0.114, 0.587, 0.299], np.float32)
        light = grey[..., None] + np.float32(self.saturation) * (light - grey[..., None])
        values = _encoded(np.clip(light, 0, 1)) ** np.float32(self.gamma)
        values += np.float32(self.contrast) * (values - 0.5) * values * (1 - values) * 4
        image = _eight_bits(values)
        if self.denoise:
            image = _denoised(image, self.denoise)
        if self.local:
            image = _locally_toned(image, self.local)
        if self.sharpen:
            soft = cv2.GaussianBlur(image, (0, 0), 1.1)
            image = cv2.addWeighted(image, 1 + self.sharpen, soft, -self.sharpen, 0)
        return image


def _resized(image: Bytes, side: int) -> Bytes:
    height, width = image.shape[:2]
    scale = side / min(height, width)
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def _linear(image: Bytes) -> Light:
    values = image.astype(np.float32) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: Light) -> Light:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _eight_bits(values: Light) -> Bytes:
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)


def _path(length: float, draws: Draws) -> Light:
    """The path of a shaken hand as a kernel: a curve of ``length`` pixels."""
    size = int(length) * 2 + 3
    direction = draws.uniform(0, 2 * np.pi)
    turn = draws.normal(0, 0.8)
    steps = np.linspace(-0.5, 0.5, 60) * length
    angles = direction + turn * steps / length
    kernel = np.zeros((size, size), np.float32)
    x = np.round(size / 2 - 0.5 + steps * np.cos(angles)).astype(int)
    y = np.round(size / 2 - 0.5 + steps * np.sin(angles)).astype(int)
    np.add.at(kernel, (y, x), 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _denoised(image: Bytes, strength: float) -> Bytes:
    """Noise reduction that smears fine texture, and colour more than light."""
    parts = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    luma = cv2.bilateralFilter(parts[..., 0], 7, 12 * strength, 2.2)
    colour = [cv2.medianBlur(cv2.GaussianBlur(parts[..., c], (0, 0), 2), 5) for c in (1, 2)]
    return np.asarray(cv2.cvtColor(cv2.merge([luma, *colour]), cv2.COLOR_YCrCb2BGR), np.uint8)


def _locally_toned(image: Bytes, strength: float) -> Bytes:
    parts = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
    toned = cv2.createCLAHE(clipLimit=1 + 3 * strength, tileGridSize=(6, 6)).apply(parts[..., 0])
    parts[..., 0] = toned
    return np.asarray(cv2.cvtColor(parts, cv2.COLOR_LAB2BGR), np.uint8)


def _jpeg(image: Bytes, quality: int) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _decoded(data: bytes) -> Bytes:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _photograph(photo: Bytes, draws: Draws, *, device: Device, quality: int) -> bytes:
    return _jpeg(device.develop(photo, draws), quality)


def _video(
    photo: Bytes, draws: Draws, *, device: Device, codec: str, suffix: str, small: int, pan: float
) -> bytes:
    """A frame of a video in which the camera pans, saved as JPEG.

    OpenCV's writer sets no rate: ``small`` is the short side at which the video is written, and
    what the codec loses is that of its default rate.
    """
    direction = draws.uniform(0, 2 * np.pi)
    wide = _resized(device.develop(photo, draws), small + 16)
    height = wide.shape[0] - 16
    width = wide.shape[1] - 16
    size = (width // 16 * 16, height // 16 * 16)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"video.{suffix}")
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), _RATE, size)
        if not writer.isOpened():
            raise RuntimeError(f"OpenCV here cannot write {codec} video")
        for frame in range(_FRAMES):
            shift = pan * (frame - _FRAMES // 2)
            move = np.array(
                [[1, 0, -8 - shift * np.cos(direction)], [0, 1, -8 - shift * np.sin(direction)]]
            )
            still = cv2.warpAffine(wide, move, size, borderMode=cv2.BORDER_REFLECT)
            grain = draws.normal(0, 2.5, still.shape)  # differs from frame to frame
            writer.write(np.clip(still + grain, 0, 255).astype(np.uint8))
        writer.release()
        reader = cv2.VideoCapture(path)
        frames = [reader.read()[1] for _ in range(_FRAMES)]
        reader.release()
    return _jpeg(next(still for still in reversed(frames) if still is not None), 85)


def _messenger(photo: Bytes, draws: Draws, *, device: Device) -> bytes:
    """Sent twice: made smaller and compressed each time."""
    image = device.develop(photo, draws)
    for side, quality in ((480, 50), (240, 32)):
        image = _decoded(_jpeg(_resized(image, side), quality))
    return _jpeg(image, 60)


def _screenshot(photo: Bytes, draws: Draws, *, device: Device) -> bytes:
    """A preview, shown too large on a screen of another gamma."""
    image = _decoded(_jpeg(_resized(device.develop(photo, draws), 110), 75))
    shown = _resized(image, 420)
    return _jpeg(_eight_bits((shown.astype(np.float32) / 255) ** np.float32(0.8)), 90)


def _print(photo: Bytes, draws: Draws, *, device: Device) -> bytes:
    """A print on paper, faded, dotted and scanned."""
    image: Light = _resized(device.develop(photo, draws), 360).astype(np.float32) / 255
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    for channel, angle in enumerate((0.3, 1.3, 0.8)):
        turned = columns * np.cos(angle) + rows * np.sin(angle)
        across = rows * np.cos(angle) - columns * np.sin(angle)
        screen = np.cos(turned * 1.9) * np.cos(across * 1.9) * 0.16
        image[..., channel] = np.clip(image[..., channel] + screen, 0, 1)
    image = cv2.GaussianBlur(image, (0, 0), 0.9)
    paper = np.array([0.72, 0.86, 0.93], np.float32)
    ink = np.array([0.2, 0.17, 0.16], np.float32)
    return _jpeg(_eight_bits(ink + image * (paper - ink)), 80)


def _camera(take: Callable[..., bytes], device: Device, **options: Any) -> Camera:
    return partial(take, device=device, **options)


CAMERAS: dict[str, Camera] = {
    "daylight phone": _camera(
        _photograph,
        Device(side=720, denoise=0.6, sharpen=0.6, contrast=0.25, saturation=1.15),
        quality=88,
    ),
    "night phone": _camera(
        _photograph,
        Device(
            side=480,
            exposure=0.05,
            light=(0.7, 1.0, 1.25),
            balance=0.6,
            electrons=1500,
            floor=5,
            gain=11,
            denoise=3.0,
            sharpen=1.2,
            shake=3,
        ),
        quality=80,
    ),
    "action camera": _camera(
        _photograph,
        Device(side=540, contrast=0.9, saturation=1.4, sharpen=1.8, exposure=1.35, falloff=0.7),
        quality=70,
    ),
    "security video": _camera(
        _video,
        Device(
            side=288,
            exposure=0.15,
            electrons=1200,
            floor=6,
            gain=5,
            saturation=0.4,
            denoise=2.0,
            blur=0.9,
        ),
        codec="mp4v",
        suffix="mp4",
        small=240,
        pan=0.6,
    ),
    "dashboard video": _camera(
        _video,
        Device(side=400, shake=4, contrast=0.5, saturation=0.8, veil=0.12, electrons=3000),
        codec="VP80",
        suffix="webm",
        small=320,
        pan=2.5,
    ),
    "old webcam": _camera(
        _photograph,
        Device(
            side=240,
            exposure=0.4,
            light=(1.25, 1.0, 0.8),
            balance=0.2,
            electrons=900,
            floor=9,
            gain=2.2,
            blur=0.8,
            denoise=0.8,
            saturation=0.7,
        ),
        quality=35,
    ),
    "messenger": _camera(_messenger, Device(side=600, denoise=1.0, sharpen=0.5)),
    "screenshot": _camera(_screenshot, Device(side=500)),
    "factory": _camera(
        _photograph,
        Device(
            side=320,
            mono=True,
            exposure=1.5,
            contrast=1.2,
            falloff=1.6,
            electrons=2500,
            sharpen=0.8,
            gamma=1.3,
        ),
        quality=92,
    ),
    "tungsten compact": _camera(
        _photograph,
        Device(
            side=600,
            light=(0.45, 0.85, 1.3),
            balance=0.35,
            exposure=0.7,
            denoise=1.2,
            sharpen=0.7,
        ),
        quality=85,
    ),
    "local tone mapping": _camera(
        _photograph,
        Device(side=600, exposure=0.5, local=1.0, saturation=1.5, sharpen=1.0, gamma=0.8),
        quality=85,
    ),
    "hazy drone": _camera(
        _photograph,
        Device(side=400, veil=0.45, exposure=0.9, blur=0.7, sharpen=0.8, denoise=1.0),
        quality=75,
    ),
    "door camera out of focus": _camera(
        _photograph,
        Device(side=360, blur=2.6, falloff=1.0, electrons=2000, denoise=1.5, contrast=0.3),
        quality=50,
    ),
    "scanned print": _camera(_print, Device(side=640, contrast=0.4)),
}
"""Fourteen cameras, two of which compress video."""


def photographs(folder: Path) -> list[Path]:
    """The images in ``folder``, at any depth, in the order of their names."""
    suffixes = {".jpg", ".jpeg", ".png"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)


def take(camera: str, path: Path, seed: int) -> bytes:
    """The file that ``camera`` makes of the photograph at ``path``; the same for the same seed."""
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise ValueError(f"{path} is no image that OpenCV reads")
    number = list(CAMERAS).index(camera)
    draws = np.random.default_rng([seed, number, *path.name.encode()])
    return CAMERAS[camera](np.asarray(photo, np.uint8), draws)
