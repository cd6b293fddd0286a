"""Networks of the catalogue built in OpenVINO directly, without importing TensorFlow.

The definition of a network takes Keras, or what stands in for it here: the few layers of the
bundled models, as operations of OpenVINO with their weights. Inside, values are (1, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.conversion import Conversion, use_of
from robustness.models.engine import core
from robustness.models.graph import ANY_BATCH, study_models
from robustness.models.operations import Operations, simplified
from robustness.models.record import LayerWeights, ModelRecord
from robustness.models.weights import require, verified_bytes

# ruff: noqa: N802 - the layers have Keras' names.


_CHANNELS_SECOND = [0, 3, 1, 2]
_CHANNELS_LAST = [0, 2, 3, 1]

Layer = Callable[[Any], Any]


class _Value:
    """A value in the graph; ``shape`` is (1, H, W, C) or (1, C), as Keras has it."""

    def __init__(self, output: Any, shape: tuple[int, ...]) -> None:
        self.output = output
        self.shape = shape


class OpenVinoLayers:
    """Stands in for Keras in the definition of a network; ``weights`` are those of each layer.

    It has what the definitions of bundled models use, with the names and arguments of
    ``keras.layers``. Initialisers are ignored.
    """

    def __init__(self, weights: LayerWeights) -> None:
        core()  # before any other use of OpenVINO
        from openvino import opset15

        self._operations = opset15
        self._weights = weights
        self._values: dict[str, _Value] = {}
        self.layers = self

    def graph(self, answer: _Value, images: _Value, stages: Sequence[str]) -> Any:
        """Return the OpenVINO model whose outputs are ``answer`` and the layers ``stages``.

        The latter have their channels last.
        """
        import openvino

        operations = self._operations
        outputs = [answer.output]
        for stage in stages:
            value = self._values[stage]
            output = value.output
            if len(value.shape) == 4:
                output = operations.transpose(output, np.array(_CHANNELS_LAST)).output(0)
                output.get_node().set_friendly_name(f"{stage}_channels_last")
            outputs.append(output)
        results = [operations.result(output) for output in outputs]
        return openvino.Model(results, [images.output.get_node()], "network")

    def Model(self, images: _Value, answer: _Value, name: str = "") -> tuple[_Value, _Value]:
        return images, answer

    def Input(self, shape: tuple[int, int, int]) -> _Value:
        images = self._operations.parameter([1, *shape], np.float32, "pixels")
        return _Value(images.output(0), (1, *shape))

    def Conv2D(
        self,
        filters: int,
        size: int,
        *,
        name: str,
        strides: int = 1,
        padding: str = "same",
        activation: str = "",
        use_bias: bool = True,
        kernel_initializer: str = "",
    ) -> Layer:
        kernel, *bias = self._weights[name]

        def call(value: _Value) -> _Value:
            convolution = self._operations.convolution(
                self._channels_second(value),
                self._constant(kernel.transpose(3, 2, 0, 1)),
                strides=[strides, strides],
                pads_begin=[0, 0],
                pads_end=[0, 0],
                dilations=[1, 1],
                auto_pad="same_upper",
            )
            output = convolution.output(0)
            if use_bias:
                bias_of_channels = self._constant(bias[0][None, :, None, None])
                output = self._operations.add(output, bias_of_channels).output(0)
            if activation:
                output = self._operations.relu(output).output(0)
            return self._value(output, name)

        return call

    def DepthwiseConv2D(
        self,
        size: int,
        *,
        name: str,
        strides: int = 1,
        padding: str = "same",
        use_bias: bool = False,
        depthwise_initializer: str = "",
    ) -> Layer:
        (kernel,) = self._weights[name]

        def call(value: _Value) -> _Value:
            convolution = self._operations.group_convolution(
                self._channels_second(value),
                self._constant(kernel.transpose(2, 3, 0, 1)[:, :, None]),
                strides=[strides, strides],
                pads_begin=[0, 0],
                pads_end=[0, 0],
                dilations=[1, 1],
                auto_pad="same_upper",
            )
            return self._value(convolution.output(0), name)

        return call

    def BatchNormalization(self, *, epsilon: float, name: str) -> Layer:
        statistics = [self._constant(array) for array in self._weights[name]]

        def call(value: _Value) -> _Value:
            output = self._operations.batch_norm_inference(value.output, *statistics, epsilon)
            return self._value(output.output(0), name)

        return call

    def ReLU(self, max_value: float, *, name: str) -> Layer:
        def call(value: _Value) -> _Value:
            output = self._operations.clamp(value.output, 0.0, max_value)
            return self._value(output.output(0), name)

        return call

    def Add(self, *, name: str) -> Callable[[Sequence[_Value]], _Value]:
        def call(values: Sequence[_Value]) -> _Value:
            first, second = values
            output = self._operations.add(first.output, second.output)
            return self._value(output.output(0), name)

        return call

    def Concatenate(self, *, name: str) -> Callable[[Sequence[_Value]], _Value]:
        def call(values: Sequence[_Value]) -> _Value:
            outputs = [value.output for value in values]
            return self._value(self._operations.concat(outputs, axis=1).output(0), name)

        return call

    def Identity(self, *, name: str) -> Layer:
        def call(value: _Value) -> _Value:
            return self._value(value.output, name)

        return call

    def MaxPooling2D(self, size: int, strides: int, *, name: str) -> Layer:
        def call(value: _Value) -> _Value:
            output = self._operations.max_pool(
                value.output,
                strides=[strides, strides],
                dilations=[1, 1],
                pads_begin=[0, 0],
                pads_end=[0, 0],
                kernel_shape=[size, size],
                rounding_type="floor",
                auto_pad="valid",
            )
            return self._value(output.output(0), name)

        return call

    def GlobalAveragePooling2D(self, *, name: str) -> Layer:
        def call(value: _Value) -> _Value:
            output = self._operations.reduce_mean(value.output, np.array([2, 3]), keep_dims=False)
            return self._value(output.output(0), name)

        return call

    def Dense(
        self, units: int, *, activation: str, name: str, kernel_initializer: str = ""
    ) -> Layer:
        kernel, bias = self._weights[name]

        def call(value: _Value) -> _Value:
            product = self._operations.matmul(
                value.output, self._constant(kernel), transpose_a=False, transpose_b=False
            )
            logits = self._operations.add(product, self._constant(bias[None]))
            return self._value(self._operations.softmax(logits, axis=1).output(0), name)

        return call

    def Softmax(self, *, name: str) -> Layer:
        def call(value: _Value) -> _Value:
            return self._value(self._operations.softmax(value.output, axis=1).output(0), name)

        return call

    def _value(self, output: Any, name: str) -> _Value:
        """Return the value ``output`` of the layer ``name``, which is noted for ``graph``."""
        batch, channels, *sides = output.shape
        value = _Value(output, (batch, *sides, channels))
        self._values[name] = value
        return value

    def _channels_second(self, value: _Value) -> Any:
        """Return the output of ``value`` as (1, C, H, W); only the input is not so already."""
        if value.output.get_node().get_type_name() != "Parameter":
            return value.output
        order = np.array(_CHANNELS_SECOND)
        return self._operations.transpose(value.output, order).output(0)

    def _constant(self, values: NDArray[Any]) -> Any:
        return self._operations.constant(np.ascontiguousarray(values, np.float32))


def build_and_write(record: ModelRecord, side: int, target: Path) -> Conversion:
    """Write the study model of the bundled ``record`` for images of ``side`` to ``target``.

    The model is not tried out: its weights have the published digest, and tests compare its answers
    with those of Keras. Raises ``WeightsError`` for other weights, and ``OSError`` if nothing can
    be written.
    """
    import openvino

    read = record.weights.read
    assert read is not None
    layers = OpenVinoLayers(read(verified_bytes(record.weights, require(record))))
    images, answer = record.build(layers)
    network = layers.graph(answer, images, [layer for _, layer in record.stages])
    study = study_models(network, use_of(record, side), tapped=True)(ANY_BATCH)
    try:
        openvino.save_model(study.model, target, compress_to_fp16=False)
    except RuntimeError as error:  # what it raises on a full disk
        raise OSError(str(error)) from error
    return Conversion(study.stages, Operations(simplified(study.model)).missing)
