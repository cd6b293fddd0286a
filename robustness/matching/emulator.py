"""An emulator of image statistics: from those of an original and strengths to those perturbed.

A small network learns it from simulated reference images, so that a fit needs no simulation.
Statistics are scaled: 0 is the mean of the reference, 1 the deviation of simulated images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.turns import Note
from robustness.images.pixels import from_uint8
from robustness.matching.simulation import simulated_statistics
from robustness.matching.statistics import NAMES as STATISTICS
from robustness.matching.statistics import Floats, Values, batch_statistics
from robustness.perturbations import REGISTRY

Layers = tuple[tuple[Floats, Floats], ...]
"""Weights and biases of each layer."""

SIMULATIONS = 8000
MOST = 3
"""Perturbations that an estimate may combine."""
_WEAK_SHARE = 0.3
_WEAK = 0.15
_WEAKEST = 0.005
"""Share of the perturbations that are weak, as those of cameras are, and strengths of these."""
_HIDDEN = 160
_LAST_SCALE = 0.1
"""Of the initial weights of the last layer: training begins near the originals."""
_EPOCHS = 90
_BATCH = 128
_RATE = 2e-3
_DECAY = 1e-5
_MOMENTUM = 0.9
_SQUARES = 0.999
_TINY = 1e-8
"""Of Adam: learning rate at the start, decay of weights, averages of gradients and squares."""
_CLIP = 2
"""Largest error that counts squared, in standard deviations."""
_LEAK = np.float32(0.05)
_FLOOR = 0.02
_CENTRE = 3.9
_MOST_INPUT = 4
_LEAST_SCALE = 1e-6
"""Added to a strength and to its logarithm; largest input and least scale of a statistic."""
_TEST = 10
"""Of so many simulations one measures the error."""


def matchable() -> tuple[str, ...]:
    """Names of the perturbations that a match may contain."""
    return tuple(record.name for record in REGISTRY if record.matchable)


@dataclass(frozen=True)
class Emulator:
    """A trained emulator."""

    names: tuple[str, ...]
    centre: Floats
    scale: Floats
    originals: Floats
    layers: Layers
    error: Values
    """Covariance of its error on one image."""

    def scaled(self, statistics: Floats) -> Floats:
        return (statistics - self.centre) / self.scale

    def images(self, strengths: Values) -> Floats:
        """Scaled statistics (N, D) of the reference's images at ``strengths`` (K,)."""
        features = np.tile(_features(strengths[None]), (len(self.originals), 1))
        inputs = np.hstack([features, _inputs(self.originals)])
        return self.originals + _forward(self.layers, inputs.astype(np.float32))[-1]

    def means(self, rows: slice) -> Callable[[Values], Values]:
        """The means (n, D) of ``images`` as a function of strengths (n, K), faster."""
        (first, bias), (second, more), (last, end) = self.layers
        count = 3 * len(self.names)
        hidden = _inputs(self.originals)[rows] @ first[count:] + bias
        base = self.originals[rows].mean(0) + end

        def mean(strengths: Values) -> Values:
            features = _features(strengths).astype(np.float32) @ first[:count]
            values = _leaky(_leaky(hidden + features[:, None]) @ second + more)
            return np.asarray(base + values.mean(1) @ last, np.float64)

        return mean

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays, to be stored."""
        parts = {f"layer{index}": part for index, part in enumerate(sum(self.layers, ()))}
        others = {key: np.asarray(value) for key, value in vars(self).items() if key != "layers"}
        return others | parts

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Emulator:
        """The emulator that has these ``arrays``."""
        names = tuple(arrays["names"].tolist())
        layers = tuple((arrays[f"layer{k}"], arrays[f"layer{k + 1}"]) for k in (0, 2, 4))
        others = {key: arrays[key] for key in ("centre", "scale", "originals", "error")}
        return Emulator(names, layers=layers, **others)


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
    strengths = np.zeros((SIMULATIONS, len(names)))
    for composition in strengths:
        active = draws.choice(len(names), draws.integers(1, MOST + 1), replace=False)
        high = np.where(draws.random(len(active)) < _WEAK_SHARE, _WEAK, 1.0)
        composition[active] = draws.uniform(_WEAKEST, high)

    outputs = simulated_statistics(
        pixels,
        rows,
        [dict(zip(names, values, strict=True)) for values in strengths.tolist()],
        [str(index) for index in range(SIMULATIONS)],
        seed,
        lambda done: note("Simulating the reference", done, SIMULATIONS),
    )
    centre = statistics.mean(0)
    scale = outputs.std(0) + _LEAST_SCALE
    originals = (statistics - centre) / scale
    inputs = np.hstack([_features(strengths), _inputs(originals)[rows]]).astype(np.float32)
    targets = (outputs - centre) / scale - originals[rows]
    test = np.arange(SIMULATIONS) % _TEST == 0
    layers = _train_layers(inputs[~test], targets[~test], draws, note)
    error = np.cov((targets[test] - _forward(layers, inputs[test])[-1]).T)
    return Emulator(names, centre, scale, originals, layers, error)


def _features(strengths: Values) -> Values:
    return np.hstack([2 * strengths, np.log(strengths + _FLOOR) + _CENTRE, 2 * strengths**2])


def _inputs(originals: Floats) -> Floats:
    scaled = originals / (originals.std(0) + _LEAST_SCALE)
    return np.clip(scaled, -_MOST_INPUT, _MOST_INPUT)


def _forward(layers: Layers, inputs: Floats) -> list[Floats]:
    """The values of all layers, inputs first."""
    values = [inputs]
    for index, (weights, biases) in enumerate(layers):
        result = values[-1] @ weights + biases
        values.append(result if index == len(layers) - 1 else _leaky(result))
    return values


def _leaky(values: Floats) -> Floats:
    return np.maximum(values, _LEAK * values)


def _train_layers(
    inputs: Floats, targets: Floats, draws: np.random.Generator, note: Note
) -> Layers:
    """Layers trained by Adam on the clipped squared error, with a cosine schedule."""
    sizes = (inputs.shape[1], _HIDDEN, _HIDDEN, targets.shape[1])
    layers = tuple(
        (draws.normal(0, np.sqrt(2 / a), (a, b)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    )
    layers[-1][0][:] *= _LAST_SCALE
    moments = [[(np.zeros_like(part), np.zeros_like(part)) for part in layer] for layer in layers]
    steps = _EPOCHS * (len(inputs) // _BATCH)
    count = 0
    for epoch in range(_EPOCHS):
        order = draws.permutation(len(inputs))
        for start in range(0, len(inputs) - _BATCH + 1, _BATCH):
            batch = order[start : start + _BATCH]
            count += 1
            rate = _RATE / 2 * (1 + np.cos(np.pi * count / steps))
            values = _forward(layers, inputs[batch])
            slope = np.clip(values[-1] - targets[batch], -_CLIP, _CLIP) * np.float32(2 / _BATCH)
            for index in range(len(layers) - 1, -1, -1):
                gradients = values[index].T @ slope, slope.sum(0)
                slope = (slope @ layers[index][0].T) * np.where(values[index] > 0, 1, _LEAK)
                for part, gradient, (mean, square) in zip(
                    layers[index], gradients, moments[index], strict=True
                ):
                    mean += (1 - _MOMENTUM) * (gradient - mean)
                    square += (1 - _SQUARES) * (gradient * gradient - square)
                    size = np.sqrt(square / (1 - _SQUARES**count)) + _TINY
                    step = mean / (1 - _MOMENTUM**count) / size
                    part -= (rate * (step + _DECAY * part)).astype(np.float32)
        note("Learning the reference", epoch + 1, _EPOCHS)
    return layers
