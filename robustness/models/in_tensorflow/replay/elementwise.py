"""Operations on each element alone, and on pairs of elements; the axes stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robustness.models.in_tensorflow.replay.operation_table import TABLE, Node, operation
from robustness.models.in_tensorflow.replay.value import Value
from robustness.models.in_tensorflow.runtime import tensorflow

FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
"""Element types that are all computed in float32, as OpenVINO is asked to."""

SMALL_INTEGERS = frozenset({"u8", "i8", "u16", "i16", "u4", "i4"})
"""Element types of quantised values, which are held in float32: gradients pass through those."""

_UNARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "Abs": lambda tf, x: tf.abs(x),
    "Acos": lambda tf, x: tf.acos(x),
    "Asin": lambda tf, x: tf.asin(x),
    "Atan": lambda tf, x: tf.atan(x),
    "Ceiling": lambda tf, x: tf.math.ceil(x),
    "Cos": lambda tf, x: tf.cos(x),
    "Cosh": lambda tf, x: tf.cosh(x),
    "Erf": lambda tf, x: tf.math.erf(x),
    "Exp": lambda tf, x: tf.exp(x),
    "Floor": lambda tf, x: tf.floor(x),
    "HSigmoid": lambda tf, x: tf.nn.relu6(x + 3.0) / 6.0,
    "HSwish": lambda tf, x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "Log": lambda tf, x: tf.math.log(x),
    "LogicalNot": lambda tf, x: tf.logical_not(x),
    "Mish": lambda tf, x: x * tf.tanh(tf.math.softplus(x)),
    "Negative": lambda tf, x: -x,
    "Relu": lambda tf, x: tf.nn.relu(x),
    "Sigmoid": lambda tf, x: tf.sigmoid(x),
    "Sign": lambda tf, x: tf.sign(x),
    "Sin": lambda tf, x: tf.sin(x),
    "Sinh": lambda tf, x: tf.sinh(x),
    "SoftPlus": lambda tf, x: tf.math.softplus(x),
    "SoftSign": lambda tf, x: x / (1.0 + tf.abs(x)),
    "Sqrt": lambda tf, x: tf.sqrt(x),
    "Tan": lambda tf, x: tf.tan(x),
    "Tanh": lambda tf, x: tf.tanh(x),
}

_BINARY: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "Add": lambda tf, x, y: tf.add(x, y),
    "Divide": lambda tf, x, y: x / y if x.dtype.is_floating else x // y,
    "Equal": lambda tf, x, y: tf.equal(x, y),
    "FloorMod": lambda tf, x, y: tf.math.floormod(x, y),
    "Greater": lambda tf, x, y: tf.greater(x, y),
    "GreaterEqual": lambda tf, x, y: tf.greater_equal(x, y),
    "Less": lambda tf, x, y: tf.less(x, y),
    "LessEqual": lambda tf, x, y: tf.less_equal(x, y),
    "LogicalAnd": lambda tf, x, y: tf.logical_and(x, y),
    "LogicalOr": lambda tf, x, y: tf.logical_or(x, y),
    "LogicalXor": lambda tf, x, y: tf.math.logical_xor(x, y),
    "Maximum": lambda tf, x, y: tf.maximum(x, y),
    "Minimum": lambda tf, x, y: tf.minimum(x, y),
    "Multiply": lambda tf, x, y: tf.multiply(x, y),
    "NotEqual": lambda tf, x, y: tf.not_equal(x, y),
    "Power": lambda tf, x, y: tf.pow(x, y),
    "SquaredDifference": lambda tf, x, y: tf.math.squared_difference(x, y),
    "Subtract": lambda tf, x, y: tf.subtract(x, y),
}


def unary(function: Callable[[Any, Any], Any]) -> Callable[[Node, Value], Value]:
    """What replays an operation on each element, of TensorFlow and a tensor."""
    return lambda _node, x: Value(function(tensorflow(), x.at(x.order)), x.order)


def binary(function: Callable[[Any, Any, Any], Any]) -> Callable[[Node, Value, Value], Value]:
    """What replays an operation on pairs of elements, of TensorFlow and two tensors."""

    def replay(_node: Node, x: Value, y: Value) -> Value:
        tf = tensorflow()
        (left, right), order = aligned(x, y)
        return Value(function(tf, tf.convert_to_tensor(left), right), order)

    return replay


TABLE.update({name: unary(function) for name, function in _UNARY.items()})
TABLE.update({name: binary(function) for name, function in _BINARY.items()})


def aligned(*values: Value) -> tuple[list[Any], tuple[int, ...]]:
    """The tensors of ``values`` as they broadcast, and the order of their axes.

    It is that of the largest, which then is not moved.
    """
    rank = max(value.rank for value in values)
    leader = max(values, key=lambda value: (not value.is_constant, value.rank, _elements(value)))
    order = leader.expanded(rank).order
    return [value.expanded(rank).at(order) if value.rank else value.plain for value in values], (
        order
    )


def _elements(value: Value) -> int:
    return int(np.prod([size or 1 for size in value.stored]))


@operation("Convert", "ConvertLike")
def _convert(node: Node, x: Value, *_like: Value) -> Value:
    tf = tensorflow()
    source, kind, tensor = node.sources[0], node.kinds[0], x.at(x.order)
    floats = FLOATS | SMALL_INTEGERS
    if kind in FLOATS or (kind in SMALL_INTEGERS and source not in FLOATS):
        return Value(tf.cast(tensor, tf.float32), x.order)
    if kind in SMALL_INTEGERS:  # cut off, and yet with the slope of what was cut
        return Value(tensor + tf.stop_gradient(_cut(tensor) - tensor), x.order)
    if kind == "boolean":
        return Value(tf.not_equal(tensor, tf.cast(0, tensor.dtype)), x.order)
    if kind not in ("i32", "i64") or source not in floats | {"i32", "i64", "boolean"}:
        raise NotImplementedError(f"from {source} to {kind}")
    return Value(tf.cast(tensor, getattr(tf, kind.replace("i", "int"))), x.order)


def _cut(tensor: Any) -> Any:
    tf = tensorflow()
    return tf.sign(tensor) * tf.floor(tf.abs(tensor))


@operation("Round")
def _rounded(node: Node, x: Value) -> Value:
    """To the nearest whole number, with the slope of what was rounded."""
    tf = tensorflow()
    tensor = x.at(x.order)
    if node.attributes.get("mode") == "half_away_from_zero":
        nearest = tf.sign(tensor) * tf.floor(tf.abs(tensor) + 0.5)
    else:
        nearest = tf.round(tensor)
    return Value(tensor + tf.stop_gradient(nearest - tensor), x.order)


@operation("FakeQuantize")
def _fake_quantize(node: Node, x: Value, *limits: Value) -> Value:
    """Quantised, with the slope of what it is before it is rounded: straight-through."""
    tf = tensorflow()
    (tensor, low, high, out_low, out_high), order = aligned(x, *limits)
    steps = float(node.attributes["levels"] - 1)
    share = (tf.clip_by_value(tensor, low, high) - low) / (high - low)
    share += tf.stop_gradient(tf.round(share * steps) / steps - share)
    return Value(share * (out_high - out_low) + out_low, order)


@operation("Select")
def _select(_node: Node, condition: Value, x: Value, y: Value) -> Value:
    (chosen, left, right), order = aligned(condition, x, y)
    return Value(tensorflow().where(chosen, left, right), order)


@operation("Clamp")
def _clamp(node: Node, x: Value) -> Value:
    low, high = node.attributes["min"], node.attributes["max"]
    tf, tensor = tensorflow(), x.at(x.order)
    if (low, high) == (0, 6):
        return Value(tf.nn.relu6(tensor), x.order)
    return Value(tf.clip_by_value(tensor, low, high), x.order)


@operation("Elu")
def _elu(node: Node, x: Value) -> Value:
    tf, tensor = tensorflow(), x.at(x.order)
    alpha = node.attributes["alpha"]
    return Value(
        tf.where(tensor > 0, tensor, alpha * tf.math.expm1(tf.minimum(tensor, 0.0))), x.order
    )


@operation("Selu")
def _selu(_node: Node, x: Value, alpha: Value, scale: Value) -> Value:
    tf, tensor = tensorflow(), x.at(x.order)
    below = alpha.array * tf.math.expm1(tf.minimum(tensor, 0.0))
    return Value(scale.array * tf.where(tensor > 0, tensor, below), x.order)


@operation("HardSigmoid")
def _hard_sigmoid(_node: Node, x: Value, slope: Value, offset: Value) -> Value:
    tensor = x.at(x.order)
    return Value(tensorflow().clip_by_value(slope.array * tensor + offset.array, 0.0, 1.0), x.order)


@operation("Gelu")
def _gelu(node: Node, x: Value) -> Value:
    approximate = str(node.attributes.get("approximation_mode", "erf")).lower() == "tanh"
    return Value(tensorflow().nn.gelu(x.at(x.order), approximate), x.order)


@operation("Swish")
def _swish(_node: Node, x: Value, *slope: Value) -> Value:
    tf, tensor = tensorflow(), x.at(x.order)
    return Value(tf.nn.silu(tensor, float(slope[0].array) if slope else 1.0), x.order)


@operation("PRelu")
def _prelu(_node: Node, x: Value, slope: Value) -> Value:
    """A slope of one axis is that of the channels."""
    if slope.rank == 1 and x.rank > 1 and slope.shape[0] != 1:
        slope = Value(slope.array.reshape(-1, *(1,) * (x.rank - 2)))
    tf = tensorflow()
    (tensor, below), order = aligned(x, slope)
    return Value(tf.nn.relu(tensor) + below * tf.minimum(tensor, 0.0), order)
