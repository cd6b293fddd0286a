"""Whole networks replayed: against OpenVINO, against Keras' own gradients, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as o

from robustness import models
from robustness.base.errors import GradientError
from robustness.models.engine import core
from robustness.models.frameworks import tensorflow
from robustness.models.keras import load_network
from robustness.models.operations import TABLE
from robustness.models.replay import ReplayedNetwork
from robustness.models.stages import find_last_grid
from tests.conftest import OFFLINE_NAMES
from tests.support.preparing import in_tensorflow

Floats = NDArray[np.float32]

SIDE, CLASSES = 6, 5
RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(8, 3, 3, 3)).astype(np.float32)
HEAD = RANDOM.normal(size=(8, CLASSES + 1)).astype(np.float32)
IMAGES = RANDOM.random((3, SIDE, SIDE, 3), np.float32)


def whole(*values: int) -> Any:
    return o.constant(np.array(values, np.int64))


def number(value: float) -> Any:
    return o.constant(np.float32(value))


def network(
    end: Callable[[Any], Any], batch: int = -1, inner: Callable[[Any], Any] = o.relu
) -> Any:
    """A convolution, ``inner``, an average, a dense layer of six logits, and ``end``."""
    images = o.parameter([batch, SIDE, SIDE, 3], np.float32, "images")
    pixels = o.transpose(images, whole(0, 3, 1, 2))
    maps = o.convolution(pixels, o.constant(KERNEL), [1, 1], [1, 1], [1, 1], [1, 1])
    vector = o.reduce_mean(inner(maps), whole(2, 3), False)
    scores = o.matmul(vector, o.constant(HEAD), False, False)
    return openvino.Model([end(scores)], [images])


def without_background(scores: Any) -> Any:
    """As the answer of a file with a class ahead of all others, in 256 steps, is used."""
    p = o.fake_quantize(o.softmax(scores, 1), *map(number, (0, 1, 0, 255)), 256)
    p = o.convert(o.convert(p, "u8"), "f32")
    p = o.multiply(o.subtract(p, number(0)), number(1 / 256))
    p = o.add(o.slice(p, whole(1), whole(6), whole(1), whole(1)), number(1e-12))
    return o.divide(p, o.reduce_sum(p, whole(1), True))


def only_five(scores: Any) -> Any:
    return o.slice(scores, whole(1), whole(6), whole(1), whole(1))


def powers(scores: Any) -> Any:
    e = o.exp(only_five(scores))
    return o.divide(e, o.reduce_sum(e, whole(1), True))


ENDINGS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda scores: o.softmax(only_five(scores), 1),
    "powers": powers,
    "in 256 steps": without_background,
    "as maps": lambda scores: o.reshape(
        o.softmax(o.unsqueeze(only_five(scores), whole(2, 3)), 1), whole(-1, CLASSES), False
    ),
    "a logarithm's power": lambda scores: o.exp(o.log_softmax(only_five(scores), 1)),
}


def expected_leads(factor: float = 1.0) -> Floats:
    """How far class 1 leads over class 0, of logits computed in NumPy."""
    padded = np.pad(IMAGES, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    maps = np.maximum(np.einsum("nhwcij,kcij->nhwk", windows, KERNEL), 0)
    logits = factor * maps.mean((1, 2)) @ HEAD
    return np.asarray(logits[:, 2] - logits[:, 1])


@pytest.mark.parametrize("name", ENDINGS)
def test_scores_are_those_under_the_closing_softmax(name: str) -> None:
    """A probability that rounds to 0 or 1 has no gradient left; large logits do."""
    factor = 1 if name == "powers" else 100  # those of large numbers are infinite
    model = network(lambda scores: ENDINGS[name](o.multiply(scores, number(factor))))
    found = ReplayedNetwork(model, "Small").gradients(
        IMAGES, np.zeros(3, np.int32), np.ones(3, np.int32)
    )
    np.testing.assert_allclose(found.lead, expected_leads(factor), rtol=1e-3)
    assert (np.abs(found.gradient).max((1, 2, 3)) > 0.01 * factor).all()


def shares(scores: Any) -> Any:
    p = o.add(o.abs(only_five(scores)), number(0.1))
    return o.divide(p, o.reduce_sum(p, whole(1), True))


def rest(scores: Any) -> Any:
    return o.subtract(number(1), o.softmax(only_five(scores), 1))


def negative_rest(scores: Any) -> Any:
    return o.add(o.multiply(o.softmax(only_five(scores), 1), number(-1)), number(1))


@pytest.mark.parametrize("end", [shares, rest, negative_rest])
def test_without_a_softmax_they_are_logarithms(end: Callable[[Any], Any]) -> None:
    model = network(end)
    found = ReplayedNetwork(model, "Small").gradients(IMAGES, np.zeros(3, np.int32))
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    expected = openvino.Core().compile_model(model, "CPU", precise)(IMAGES)[0]
    np.testing.assert_allclose(np.exp(found.scores), expected, rtol=1e-4)


def test_a_network_for_one_image_is_asked_for_one_at_a_time() -> None:
    made = {batch: network(ENDINGS["softmax"], batch) for batch in (-1, 1, 2)}
    slopes = {
        batch: ReplayedNetwork(model, "Small").gradients(
            IMAGES[: 2 * abs(batch)], np.zeros(2, np.int32)
        )
        for batch, model in made.items()
        if batch != 2
    }
    np.testing.assert_allclose(slopes[1].gradient, slopes[-1].gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slopes[1].scores, slopes[-1].scores, rtol=1e-4)


def steps(maps: Any) -> Any:
    return o.fake_quantize(maps, *map(number, (0, 16, 0, 16)), 256)


def dynamic_steps(maps: Any) -> Any:
    """As a file that onnxruntime quantises dynamically, which sums in i32."""
    step = o.divide(o.reduce_max(o.relu(maps), o.constant(np.arange(4)), False), number(255))
    levels = o.clamp(o.round(o.divide(maps, step), "half_to_even"), 0.0, 255.0)
    whole_levels = o.convert(o.convert(levels, "u8"), "i32")
    doubled = o.multiply(whole_levels, o.constant(np.array(2, np.int32)))
    return o.multiply(o.convert(doubled, "f32"), o.multiply(step, number(0.5)))


@pytest.mark.parametrize("steps", [steps, dynamic_steps])
def test_what_is_quantised_is_differentiated_and_its_scores_are_not_exact(steps: Any) -> None:
    plain = ReplayedNetwork(network(ENDINGS["softmax"]), "Small")
    quantised = ReplayedNetwork(network(ENDINGS["softmax"], inner=steps), "Small")
    assert plain.exact
    assert not quantised.exact
    classes = np.zeros(3, np.int32)
    one, other = (replay.gradients(IMAGES, classes).gradient for replay in (plain, quantised))
    assert (one * other).sum() > 0.98 * np.linalg.norm(one) * np.linalg.norm(other)


def test_an_operation_that_is_not_known_is_named() -> None:
    def regions(maps: Any) -> Any:
        return o.psroi_pooling(
            maps, o.constant(np.array([[0, 0, 0, 5, 5]], np.float32)), 8, 1, 1.0, 1, 1, "average"
        )

    with pytest.raises(GradientError, match=r"Small gives no gradients.*PSROIPooling.*'square'"):
        ReplayedNetwork(network(ENDINGS["softmax"], inner=regions), "Small")


def test_a_replay_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "Relu", TABLE["Abs"])
    with pytest.raises(GradientError, match=r"Small gives no gradients.*differ by.*'square'"):
        ReplayedNetwork(network(ENDINGS["softmax"]), "Small")


def test_a_graph_that_openvino_does_not_compile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("Exception from src/core.cpp:117:\nCheck failed")

    monkeypatch.setattr(type(core()), "compile_model", fails)
    with pytest.raises(GradientError, match=r"Small gives no gradients.*'square'"):
        ReplayedNetwork(network(ENDINGS["softmax"]), "Small")


@pytest.mark.parametrize(  # the others are wider and deeper Lite0s
    "name", [OFFLINE_NAMES[0], pytest.param(OFFLINE_NAMES[1], marks=pytest.mark.slow)]
)
def test_a_bundled_network_has_the_gradients_that_keras_has(
    classifiers: Mapping[str, models.Classifier], photographs: Floats, name: str
) -> None:
    """Its answers are held against OpenVINO's when it is made."""
    classifier = classifiers[name]
    assert isinstance(classifier.graph, ReplayedNetwork)
    images = np.stack([cv2.resize(image, (classifier.side,) * 2) for image in photographs[:2]])
    classes = classifier(images).probabilities.argmax(1).astype(np.int32)
    tf, network = tensorflow(), load_network(classifier.record)[0]
    found, pixels = classifier.gradients(images, classes), tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        probabilities = network(in_tensorflow(classifier.record, pixels))
        own = tf.gather(probabilities, classes, batch_dims=1)
        lead = tf.math.log((1 - own) / own)
    expected = tape.gradient(lead, pixels).numpy()
    scores = found.scores - np.logaddexp.reduce(found.scores, axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(scores), probabilities, atol=1e-5)
    # A unit at its kink may count on one side or on the other: few pixels, and not by much.
    difference, size = np.abs(found.gradient - expected), np.abs(expected)
    assert (difference > 1e-3 * size.max()).mean() < 0.05
    assert np.linalg.norm(difference) < 0.02 * np.linalg.norm(size)


# --- where an explanation takes hold --------------------------------------------------------------


def transformer(read: str) -> Any:
    """Two blocks of attention on 3 x 3 patches, with a class token ahead, and what is ``read``."""
    width = 8
    images = o.parameter([-1, SIDE, SIDE, 3], np.float32, "images")
    patches = o.convolution(
        o.transpose(images, whole(0, 3, 1, 2)),
        o.constant(RANDOM.normal(size=(width, 3, 2, 2)).astype(np.float32)),
        *([2, 2], [0, 0], [0, 0], [1, 1]),
    )
    tokens = o.transpose(o.reshape(patches, whole(0, width, 9), True), whole(0, 2, 1))
    first = o.broadcast(
        o.constant(RANDOM.normal(size=(1, 1, width)).astype(np.float32)),
        o.concat([o.gather(o.shape_of(images), whole(0), o.constant(0)), whole(1, width)], 0),
    )
    tokens = o.concat([first, tokens], 1)
    for block in range(2):
        normal = o.mvn(tokens, whole(2), True, 1e-6, "inside_sqrt")
        normal.set_friendly_name(f"normal{block}")
        weights = (RANDOM.normal(size=(width, width)).astype(np.float32) for _ in range(3))
        q, k, v = (o.matmul(normal, o.constant(w), False, False) for w in weights)
        tokens = o.add(
            tokens, o.matmul(o.softmax(o.matmul(q, k, False, True), -1), v, False, False)
        )
    if read == "class token":
        vector = o.gather(tokens, o.constant(0), o.constant(1))
    else:
        rest = o.slice(tokens, whole(1), whole(10), whole(1), whole(1))
        vector = o.reduce_mean(rest, whole(1), False)
    head = o.constant(RANDOM.normal(size=(width, CLASSES)).astype(np.float32))
    return openvino.Model([o.softmax(o.matmul(vector, head, False, False), 1)], [images])


@pytest.mark.parametrize(("read", "kind"), [("class token", "MVN"), ("all others", "Slice")])
def test_a_transformer_is_explained_by_what_its_last_attention_reads(read: str, kind: str) -> None:
    """Or by its last tokens, where all of them are averaged."""
    replay = ReplayedNetwork(transformer(read), "Small")
    found = find_last_grid("Small", replay.graph)
    assert replay.graph.nodes[found.output[0]].type == kind
    assert (found.layout.height, found.layout.width) == (3, 3)
    assert found.layout.before == (1 if kind == "MVN" else 0)
    if kind == "MVN":
        normals = [n.name for n in replay.graph.nodes.values() if n.type == "MVN"]
        assert found.output[0] == normals[-1]
