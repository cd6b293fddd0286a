"""A Keras network as a graph of OpenVINO, and as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from robustness.models.in_tensorflow.internals import frozen, layer_output, translated
from robustness.models.in_tensorflow.runtime import keras, tensorflow
from robustness.models.model_record import Stages


def keras_graph(
    network: Any, stages: Stages, shape: tuple[int, int], *, has_functions: bool = False
) -> Any:
    """The OpenVINO model of the functional ``network`` for any batch of pixels (N, *shape, 3).

    Its outputs are those of the network, then the values of ``stages``. It copies weights. Batch
    normalisations of maps stay one operation each, whose statistics can be replaced.
    ``has_functions`` is whether variables may be inside functions, as in a SavedModel. Raises
    whatever the front end raises.
    """
    taps = [layer_output(network, network.get_layer(layer)) for _, layer in stages]
    tapped = keras().Model(network.inputs, [*network.outputs, *taps])
    with _whole_normalisations():
        traced = _traced(tapped, shape)
    return translated(frozen(traced) if has_functions else traced)


def keras_function(network: Any, shape: tuple[int, int]) -> Callable[[Any], list[Any]]:
    """A function from pixels (N, *shape, 3) to every output of ``network``; safe in threads."""
    traced, constant = _traced(network, shape), tensorflow().constant
    return lambda pixels: [np.asarray(output) for output in traced(constant(pixels))]


def _traced(network: Any, shape: tuple[int, int]) -> Any:
    tf = tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((None, *shape, 3), tf.float32)], autograph=False)
    def answers(pixels: Any) -> Any:
        found = tf.nest.flatten(network(pixels, training=False))
        return [tf.cast(output, tf.float32) for output in found]

    return answers.get_concrete_function()


@contextmanager
def _whole_normalisations() -> Iterator[None]:
    """Has Keras trace batch normalisations of maps as one operation instead of four."""
    tf, layer_type = tensorflow(), keras().layers.BatchNormalization
    call = layer_type.call

    def whole(layer: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if len(inputs.shape) != 4 or layer.axis not in (-1, 3) or inputs.dtype != tf.float32:
            return call(layer, inputs, training=training, mask=mask)
        mean, variance = map(tf.convert_to_tensor, (layer.moving_mean, layer.moving_variance))
        scale = tf.ones_like(mean) if layer.gamma is None else layer.gamma
        offset = tf.zeros_like(mean) if layer.beta is None else layer.beta
        return tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, mean, variance, layer.epsilon, is_training=False
        )[0]

    layer_type.call = whole
    try:
        yield
    finally:
        layer_type.call = call
