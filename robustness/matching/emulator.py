"""An emulator of image statistics: from those of an original and strengths to those perturbed.

A small network learns it from simulated reference images, so that a fit needs no simulation.
Statistics are scaled: 0 is the mean of the reference, 1 the deviation of simulated images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.progress import Note
from robustness.matching.image_statistics import NAMES as STATISTICS
from robustness.matching.image_statistics import Floats, batch_statistics
from robustness.perturbations import REGISTRY, compose
from robustness.pictures.eight_bits import from_uint8

SIMULATIONS = 8000
MOST = 3
"""Perturbations that an estimate may combine."""
_WEAK_SHARE, _WEAK, _WEAKEST = 0.3, 0.15, 0.005
"""Share of the perturbations that are weak, as those of cameras are, and strengths of these."""
_HIDDEN = 160
_LAST_SCALE = 0.1
"""Of the initial weights of the last layer: training begins near the originals."""
_EPOCHS = 90
_BATCH = 128
_RATE, _DECAY, _MOMENTUM, _SQUARES, _TINY = 2e-3, 1e-5, 0.9, 0.999, 1e-8
"""Of Adam: learning rate at the start, decay of weights, averages of gradients and squares."""
_CLIP = 2
"""Largest error that counts squared, in standard deviations."""
_LEAK = np.float32(0.05)


def matchable() -> tuple[str, ...]:
    """Names of the perturbations that a match may contain."""
    return tuple(record.name for record in REGISTRY if record.matchable)


@dataclass(frozen=True)
class Emulator:
    """A trained emulator; ``layers`` are pairs of weights and biases."""

    names: tuple[str, ...]
    centre: Floats
    scale: Floats
    originals: Floats
    layers: tuple[tuple[Floats, Floats], ...]
    error: NDArray[np.float64]
    """Covariance of its error on one image."""

    def scaled(self, statistics: Floats) -> Floats:
        return (statistics - self.centre) / self.scale

    def images(self, strengths: NDArray[np.float64], rows: slice = slice(None)) -> Floats:
        """Scaled statistics (N, D) of the reference's images at ``strengths`` (K,)."""
        originals = self.originals[rows]
        features = np.broadcast_to(_features(strengths[None]), (len(originals), 3 * len(strengths)))
        inputs = np.hstack([features, _inputs(self.originals)[rows]])
        return originals + _forward(self.layers, inputs.astype(np.float32))[-1]

    def means(self, rows: slice) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """The means (n, D) of ``images`` as a function of strengths (n, K), faster."""
        (first, bias), (second, more), (last, end) = self.layers
        count = 3 * len(self.names)
        hidden = _inputs(self.originals)[rows] @ first[count:] + bias
        base = self.originals[rows].mean(0) + end

        def mean(strengths: NDArray[np.float64]) -> NDArray[np.float64]:
            features = _features(strengths).astype(np.float32) @ first[:count]
            values = _leaky(_leaky(hidden + features[:, None]) @ second + more)
            return np.asarray(base + values.mean(1) @ last, np.float64)

        return mean

    def save(self, path: Path) -> None:
        """Write all of it as an ``.npz`` file."""
        arrays: dict[str, Any] = {
            f"layer{index}": part for index, part in enumerate(sum(self.layers, ()))
        }
        with path.open("wb") as file:
            np.savez(
                file,
                names=np.array(self.names),
                centre=self.centre,
                scale=self.scale,
                originals=self.originals,
                error=self.error,
                **arrays,
            )

    @staticmethod
    def load(path: Path) -> Emulator:
        """Read what ``save`` wrote; raises ``OSError``, ``ValueError`` or ``KeyError``."""
        with np.load(path, allow_pickle=False) as file:
            layers = tuple((file[f"layer{2 * k}"], file[f"layer{2 * k + 1}"]) for k in range(3))
            names = tuple(file["names"].tolist())
            arrays = (file["centre"], file["scale"], file["originals"])
            return Emulator(names, *arrays, layers, file["error"])


def version() -> str:
    """A text that changes with what an emulator is trained on, and with each number above."""
    numbers = {
        n: value for n, value in globals().items() if isinstance(value, float | int | np.number)
    }
    return f"{matchable()} {STATISTICS} {numbers}"


def train(pixels: NDArray[np.uint8], seed: int, note: Note) -> Emulator:
    """Train an emulator on simulations of the reference images ``pixels`` (N, S, S, 3)."""
    names = matchable()
    statistics = batch_statistics(lambda index: from_uint8(pixels[index]), len(pixels))
    draws = np.random.default_rng(seed)
    rows = draws.integers(0, len(pixels), SIMULATIONS)
    strengths = np.stack([_drawn(draws, names) for _ in rows])

    def simulated(index: int) -> Floats:
        values = dict(zip(names, strengths[index].tolist(), strict=True))
        return compose(
            from_uint8(pixels[rows[index]])[None], values, seed=seed, digests=[str(index)]
        )[0]

    outputs = batch_statistics(
        simulated, SIMULATIONS, lambda done: note("Simulating the reference", done, SIMULATIONS)
    )
    centre, scale = statistics.mean(0), outputs.std(0) + 1e-6
    originals = (statistics - centre) / scale
    inputs = np.hstack([_features(strengths), _inputs(originals)[rows]]).astype(np.float32)
    targets = (outputs - centre) / scale - originals[rows]
    test = np.arange(SIMULATIONS) % 10 == 0
    layers = _fitted(inputs[~test], targets[~test], draws, note)
    error = np.cov((targets[test] - _forward(layers, inputs[test])[-1]).T)
    return Emulator(names, centre, scale, originals, layers, error)


def _drawn(draws: np.random.Generator, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Strengths of a random composition."""
    strengths = np.zeros(len(names))
    active = draws.choice(len(names), draws.integers(1, MOST + 1), replace=False)
    high = np.where(draws.random(len(active)) < _WEAK_SHARE, _WEAK, 1.0)
    strengths[active] = draws.uniform(_WEAKEST, high)
    return strengths


def _features(strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([2 * strengths, np.log(strengths + 0.02) + 3.9, 2 * strengths**2])


def _inputs(originals: Floats) -> Floats:
    return np.clip(originals / (originals.std(0) + 1e-6), -4, 4)


def _forward(layers: tuple[tuple[Floats, Floats], ...], inputs: Floats) -> list[Floats]:
    """The values of all layers, inputs first."""
    values = [inputs]
    for index, (weights, biases) in enumerate(layers):
        result = values[-1] @ weights + biases
        values.append(result if index == len(layers) - 1 else _leaky(result))
    return values


def _leaky(values: Floats) -> Floats:
    return np.maximum(values, _LEAK * values)


def _fitted(
    inputs: Floats, targets: Floats, draws: np.random.Generator, note: Note
) -> tuple[tuple[Floats, Floats], ...]:
    """Layers trained by Adam on the clipped squared error, with a cosine schedule."""
    sizes = (inputs.shape[1], _HIDDEN, _HIDDEN, targets.shape[1])
    layers = tuple(
        (draws.normal(0, np.sqrt(2 / a), (a, b)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    )
    layers[-1][0][:] *= _LAST_SCALE
    parameters = [part for layer in layers for part in layer]
    first, second = ([np.zeros_like(part) for part in parameters] for _ in range(2))
    steps, count = _EPOCHS * (len(inputs) // _BATCH), 0
    for epoch in range(_EPOCHS):
        order = draws.permutation(len(inputs))
        for start in range(0, len(inputs) - _BATCH + 1, _BATCH):
            batch = order[start : start + _BATCH]
            count += 1
            rate = _RATE / 2 * (1 + np.cos(np.pi * count / steps))
            gradients = _gradients(layers, inputs[batch], targets[batch])
            for part, gradient, mean, square in zip(
                parameters, gradients, first, second, strict=True
            ):
                mean += (1 - _MOMENTUM) * (gradient - mean)
                square += (1 - _SQUARES) * (gradient * gradient - square)
                size = np.sqrt(square / (1 - _SQUARES**count)) + _TINY
                step = mean / (1 - _MOMENTUM**count) / size
                part -= (rate * (step + _DECAY * part)).astype(np.float32)
        note("Learning the reference", epoch + 1, _EPOCHS)
    return layers


def _gradients(
    layers: tuple[tuple[Floats, Floats], ...], inputs: Floats, targets: Floats
) -> list[Floats]:
    values = _forward(layers, inputs)
    slope = np.clip(values[-1] - targets, -_CLIP, _CLIP) * np.float32(2 / len(inputs))
    gradients: list[Floats] = []
    for index in range(len(layers) - 1, -1, -1):
        gradients = [values[index].T @ slope, slope.sum(0), *gradients]
        slope = (slope @ layers[index][0].T) * np.where(values[index] > 0, 1, _LEAK)
    return gradients
