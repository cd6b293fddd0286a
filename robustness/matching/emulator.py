"""An emulator of image statistics: from those of an original and strengths to those perturbed.

A small network learns it from simulated reference images, so that a fit needs no simulation.
Statistics are scaled: 0 is the mean of the reference, 1 the deviation of simulated images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.turns import Note
from robustness.images.pixels import from_uint8
from robustness.matching.saving import FileScale
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
"""Share of the perturbations that are weak, as those of cameras are."""
_WEAK = 0.15
"""Largest strength of a weak perturbation."""
_WEAKEST = 0.005
_HIDDEN = 160
_LAST_SCALE = 0.1
"""Of the initial weights of the last layer: training begins near the originals."""
_EPOCHS = 90
_BATCH = 128
_RATE = 2e-3
"""Learning rate of Adam at the start."""
_DECAY = 1e-5
"""Decay of the weights."""
_MOMENTUM = 0.9
"""Of Adam's average of gradients."""
_SQUARES = 0.999
"""Of Adam's average of squared gradients."""
_TINY = 1e-8
_CLIP = 2
"""Largest error that counts squared, in standard deviations."""
_LEAK = np.float32(0.05)
"""Slope of a hidden unit below 0."""
_FLOOR = 0.02
"""Added to a strength before its logarithm is taken."""
_CENTRE = 3.9
"""Added to the logarithm, which is then 0 at strength 0."""
_MOST_INPUT = 4
_LEAST_SCALE = 1e-6
_TEST = 10
"""Of so many simulations one measures the error."""


def matchable() -> tuple[str, ...]:
    """Return the names of the perturbations that a match may contain."""
    return tuple(record.name for record in REGISTRY if record.matchable)


@dataclass(frozen=True)
class Emulator:
    """A trained emulator of the D statistics of N reference images under K perturbations."""

    names: tuple[str, ...]
    """Of the perturbations."""
    centre: Floats
    scale: Floats
    originals: Floats
    """Scaled statistics (N, D) of the reference images."""
    layers: Layers
    error: Values
    """Covariance (D, D) of the error on one image."""

    def scaled(self, statistics: Floats) -> Floats:
        """Return ``statistics`` (n, D) of images, scaled."""
        return (statistics - self.centre) / self.scale

    def images(self, strengths: Values) -> Floats:
        """Return scaled statistics (N, D) of the reference's images at ``strengths`` (K,)."""
        features = np.tile(_strength_features(strengths[None]), (len(self.originals), 1))
        inputs = np.hstack([features, _original_features(self.originals)]).astype(np.float32)
        return self.originals + _layer_values(self.layers, inputs)[-1]

    def means(self, rows: slice) -> Callable[[Values], Values]:
        """Return a function from strengths (n, K) to the means (n, D) of ``images`` over ``rows``.

        It is faster than ``images``: the originals' part of the first layer is computed once, and
        as the last layer is linear, its inputs are averaged instead of its outputs.
        """
        (first_weights, first_biases), (second_weights, second_biases), last_layer = self.layers
        last_weights, last_biases = last_layer
        feature_count = 3 * len(self.names)
        original_features = _original_features(self.originals)[rows]
        from_originals = original_features @ first_weights[feature_count:] + first_biases
        offset = self.originals[rows].mean(0) + last_biases

        def emulated_means(strengths: Values) -> Values:
            features = _strength_features(strengths).astype(np.float32)
            from_strengths = features @ first_weights[:feature_count]
            first = _leaky_relu(from_originals + from_strengths[:, None])
            second = _leaky_relu(first @ second_weights + second_biases)
            return np.asarray(offset + second.mean(1) @ last_weights, np.float64)

        return emulated_means

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the emulator as named arrays, from which ``from_arrays`` makes it again."""
        arrays = {
            "names": np.asarray(self.names),
            "centre": self.centre,
            "scale": self.scale,
            "originals": self.originals,
            "error": self.error,
        }
        for index, (weights, biases) in enumerate(self.layers):
            arrays[f"layer{2 * index}"] = weights
            arrays[f"layer{2 * index + 1}"] = biases
        return arrays

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Emulator:
        """Return the emulator that gave these ``arrays``."""
        layers = []
        for index in (0, 2, 4):
            layers.append((arrays[f"layer{index}"], arrays[f"layer{index + 1}"]))
        return Emulator(
            names=tuple(arrays["names"].tolist()),
            centre=arrays["centre"],
            scale=arrays["scale"],
            originals=arrays["originals"],
            layers=tuple(layers),
            error=arrays["error"],
        )


def version() -> str:
    """Return a text that changes with what emulators are trained on and each number above."""
    numbers = {}
    for name, value in globals().items():
        if isinstance(value, float | int | np.number):
            numbers[name] = value
    return f"{matchable()} {STATISTICS} {numbers}"


def train(
    pixels: NDArray[np.uint8], seed: int, note: Note, saved: FileScale | None = None
) -> Emulator:
    """Train an emulator on simulations of the reference images ``pixels`` (N, S, S, 3).

    Those that were ``saved`` like production's files are simulated from these.
    """
    names = matchable()
    statistics = batch_statistics(lambda index: from_uint8(pixels[index]), len(pixels))
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(pixels), SIMULATIONS)
    strengths = np.zeros((SIMULATIONS, len(names)))
    for composition in strengths:
        count = rng.integers(1, MOST + 1)
        active = rng.choice(len(names), count, replace=False)
        is_weak = rng.random(len(active)) < _WEAK_SHARE
        composition[active] = rng.uniform(_WEAKEST, np.where(is_weak, _WEAK, 1.0))

    simulated = simulated_statistics(
        pixels if saved is None else saved,
        rows,
        strengths=[dict(zip(names, values, strict=True)) for values in strengths.tolist()],
        digests=[str(index) for index in range(SIMULATIONS)],
        seed=seed,
        note=lambda done: note("Simulating the reference", done, SIMULATIONS),
    )
    centre = statistics.mean(0)
    scale = simulated.std(0) + _LEAST_SCALE
    originals = (statistics - centre) / scale
    original_features = _original_features(originals)[rows]
    inputs = np.hstack([_strength_features(strengths), original_features]).astype(np.float32)
    targets = (simulated - centre) / scale - originals[rows]
    is_test = np.arange(SIMULATIONS) % _TEST == 0
    layers = _train_layers(inputs[~is_test], targets[~is_test], rng, note)
    errors = targets[is_test] - _layer_values(layers, inputs[is_test])[-1]
    return Emulator(names, centre, scale, originals, layers, error=np.cov(errors.T))


def _strength_features(strengths: Values) -> Values:
    """Inputs (n, 3 K) of the network: linear, logarithmic for weak strengths, and squared."""
    logarithms = np.log(strengths + _FLOOR) + _CENTRE
    return np.hstack([2 * strengths, logarithms, 2 * strengths**2])


def _original_features(originals: Floats) -> Floats:
    """Inputs (N, D) of the network, of about unit deviation."""
    scaled = originals / (originals.std(0) + _LEAST_SCALE)
    return np.clip(scaled, -_MOST_INPUT, _MOST_INPUT)


def _layer_values(layers: Layers, inputs: Floats) -> list[Floats]:
    """The ``inputs`` (n, inputs), followed by the outputs of each layer; the last is linear."""
    values = [inputs]
    for weights, biases in layers[:-1]:
        values.append(_leaky_relu(values[-1] @ weights + biases))
    last_weights, last_biases = layers[-1]
    values.append(values[-1] @ last_weights + last_biases)
    return values


def _leaky_relu(values: Floats) -> Floats:
    return np.maximum(values, _LEAK * values)


def _train_layers(inputs: Floats, targets: Floats, rng: np.random.Generator, note: Note) -> Layers:
    """Layers trained by Adam on the clipped squared error, with a cosine schedule."""
    layers = _initial_layers((inputs.shape[1], _HIDDEN, _HIDDEN, targets.shape[1]), rng)
    optimizer = _Adam(layers)
    total_steps = _EPOCHS * (len(inputs) // _BATCH)
    for epoch in range(_EPOCHS):
        order = rng.permutation(len(inputs))
        for start in range(0, len(inputs) - _BATCH + 1, _BATCH):
            batch = order[start : start + _BATCH]
            gradients = _gradients(layers, inputs[batch], targets[batch])
            step = optimizer.steps + 1
            rate = _RATE / 2 * (1 + np.cos(np.pi * step / total_steps))
            optimizer.update(gradients, rate)
        note("Learning the reference", epoch + 1, _EPOCHS)
    return layers


def _initial_layers(sizes: Sequence[int], rng: np.random.Generator) -> Layers:
    """Normal weights of He et al. (2015), and biases of 0."""
    layers = []
    for input_count, output_count in pairwise(sizes):
        deviation = np.sqrt(2 / input_count)
        weights = rng.normal(0, deviation, (input_count, output_count)).astype(np.float32)
        layers.append((weights, np.zeros(output_count, np.float32)))
    layers[-1][0][:] *= _LAST_SCALE
    return tuple(layers)


def _gradients(layers: Layers, inputs: Floats, targets: Floats) -> list[tuple[Floats, Floats]]:
    """The gradients of the weights and biases of each layer, by backpropagation."""
    values = _layer_values(layers, inputs)
    slope = np.clip(values[-1] - targets, -_CLIP, _CLIP) * np.float32(2 / _BATCH)
    gradients = []
    for index in reversed(range(len(layers))):
        gradients.append((values[index].T @ slope, slope.sum(0)))
        weights, _ = layers[index]
        slope = (slope @ weights.T) * np.where(values[index] > 0, 1, _LEAK)
    return gradients[::-1]


class _Adam:
    """Adam (Kingma & Ba 2015) with decoupled decay of weights; it changes ``layers`` in place."""

    def __init__(self, layers: Layers) -> None:
        self.parameters = [part for layer in layers for part in layer]
        self.means = [np.zeros_like(part) for part in self.parameters]
        self.squares = [np.zeros_like(part) for part in self.parameters]
        self.steps = 0

    def update(self, gradients: Sequence[tuple[Floats, Floats]], rate: float) -> None:
        self.steps += 1
        flat_gradients = [part for layer in gradients for part in layer]
        for parameter, gradient, mean, square in zip(
            self.parameters, flat_gradients, self.means, self.squares, strict=True
        ):
            mean += (1 - _MOMENTUM) * (gradient - mean)
            square += (1 - _SQUARES) * (gradient * gradient - square)
            # Both averages begin at 0, which the divisions correct.
            size = np.sqrt(square / (1 - _SQUARES**self.steps)) + _TINY
            step = mean / (1 - _MOMENTUM**self.steps) / size
            parameter -= (rate * (step + _DECAY * parameter)).astype(np.float32)
