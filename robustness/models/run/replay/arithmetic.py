"""Operations on elements, alone and together: sums, products, normalisations, attention."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robustness.models.run.replay.operation_table_and_values import TABLE, Node, Value, operation
from robustness.models.tensorflow_and_keras_import import tensorflow

FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
"""Element types that are all computed in float32, as OpenVINO is asked to."""

SMALL_INTEGERS = frozenset({"u8", "i8", "u16", "i16", "u4", "i4"})
"""Element types of quantised values, which are held in float32: gradients pass through those."""

_ALIKE = (
    *("Abs", "Acos", "Asin", "Atan", "Cos", "Cosh", "Erf", "Exp", "Floor", "Log", "LogicalNot"),
    *("Sigmoid", "Sign", "Sin", "Sinh", "Sqrt", "Tan", "Tanh"),
)
"""Operations on an element that ``tf.math`` names alike."""

_UNARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "Ceiling": lambda tf, x: tf.math.ceil(x),
    "HSigmoid": lambda tf, x: tf.nn.relu6(x + 3.0) / 6.0,
    "HSwish": lambda tf, x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "Mish": lambda tf, x: x * tf.tanh(tf.math.softplus(x)),
    "Negative": lambda tf, x: -x,
    "Relu": lambda tf, x: tf.nn.relu(x),
    "SoftPlus": lambda tf, x: tf.math.softplus(x),
    "SoftSign": lambda tf, x: x / (1.0 + tf.abs(x)),
}

_ALIKE_OF_TWO = (
    *("Add", "Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr"),
    *("LogicalXor", "Maximum", "Minimum", "Multiply", "NotEqual", "SquaredDifference", "Subtract"),
)

_BINARY: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "Divide": lambda tf, x, y: x / y if x.dtype.is_floating else x // y,
    "FloorMod": lambda tf, x, y: tf.math.floormod(x, y),
    "Power": lambda tf, x, y: tf.pow(x, y),
}


def _of_math(name: str) -> Callable[..., Any]:
    """The function of ``tf.math`` that is called as the operation ``name``."""
    called = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return lambda tf, *values: getattr(tf.math, called)(*values)


def unary(function: Callable[[Any, Any], Any]) -> Callable[[Node, Value], Value]:
    """A function of TensorFlow and a tensor that replays an element-wise operation."""
    return lambda _node, x: Value(function(tensorflow(), x.at(x.order)), x.order)


def binary(function: Callable[[Any, Any, Any], Any]) -> Callable[[Node, Value, Value], Value]:
    """A function of TensorFlow and two tensors that replays an element-wise operation."""

    def replay(_node: Node, x: Value, y: Value) -> Value:
        tf = tensorflow()
        (left, right), order = aligned(x, y)
        return Value(function(tf, tf.convert_to_tensor(left), right), order)

    return replay


TABLE.update({name: unary(_of_math(name)) for name in _ALIKE})
TABLE.update({name: unary(function) for name, function in _UNARY.items()})
TABLE.update({name: binary(_of_math(name)) for name in _ALIKE_OF_TWO})
TABLE.update({name: binary(function) for name, function in _BINARY.items()})


def aligned(*values: Value) -> tuple[list[Any], tuple[int, ...]]:
    """The tensors of ``values`` as they broadcast, and the order of their axes.

    It is that of the largest, which then is not moved.
    """
    rank = max(value.rank for value in values)

    def size(value: Value) -> tuple[bool, int, int]:
        return not value.is_constant, value.rank, int(np.prod([n or 1 for n in value.stored]))

    leader = max(values, key=size)
    order = leader.expanded(rank).order
    return [value.expanded(rank).at(order) if value.rank else value.plain for value in values], (
        order
    )


@operation("Convert", "ConvertLike")
def _convert(node: Node, x: Value, *_like: Value) -> Value:
    tf = tensorflow()
    source, kind, tensor = node.sources[0], node.kinds[0], x.at(x.order)
    floats = FLOATS | SMALL_INTEGERS
    if kind in FLOATS or (kind in SMALL_INTEGERS and source not in FLOATS):
        return Value(tf.cast(tensor, tf.float32), x.order)
    if kind in SMALL_INTEGERS:  # cut off, and yet with the slope of what was cut
        cut = tf.sign(tensor) * tf.floor(tf.abs(tensor))
        return Value(tensor + tf.stop_gradient(cut - tensor), x.order)
    if kind == "boolean":
        return Value(tf.not_equal(tensor, tf.cast(0, tensor.dtype)), x.order)
    if kind not in ("i32", "i64") or source not in floats | {"i32", "i64", "boolean"}:
        raise NotImplementedError(f"from {source} to {kind}")
    return Value(tf.cast(tensor, getattr(tf, kind.replace("i", "int"))), x.order)


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


_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "ReduceL1": lambda tf, x, *how: tf.reduce_sum(tf.abs(x), *how),
    "ReduceL2": lambda tf, x, *how: tf.sqrt(tf.reduce_sum(tf.square(x), *how)),
    "ReduceLogicalAnd": lambda tf, x, *how: tf.reduce_all(x, *how),
    "ReduceLogicalOr": lambda tf, x, *how: tf.reduce_any(x, *how),
    **{name: _of_math(name) for name in ("ReduceMax", "ReduceMean", "ReduceMin")},
    **{name: _of_math(name) for name in ("ReduceProd", "ReduceSum")},
}


def _reduction(function: Callable[..., Any]) -> Callable[[Node, Value, Value], Value]:
    def replay(node: Node, x: Value, axes: Value) -> Value:
        tf = tensorflow()
        gone = [axis % x.rank for axis in axes.array.reshape(-1).tolist()]
        places = x.stored_axes(gone)
        reduced = function(tf, x.at(x.order), places, True)
        if node.attributes["keep_dims"]:
            return Value(reduced, x.order)
        left = [axis for axis in range(x.rank) if axis not in gone]
        order = [left.index(axis) for axis in x.order if axis in left]
        return Value(tf.squeeze(reduced, places) if places else reduced, order)

    return replay


TABLE.update({name: _reduction(function) for name, function in _REDUCTIONS.items()})


@operation("MatMul")
def _matmul(node: Node, x: Value, y: Value) -> Value:
    tf = tensorflow()
    if min(x.rank, y.rank) < 2:
        raise NotImplementedError("a vector")
    first, second = node.attributes["transpose_a"], node.attributes["transpose_b"]
    left, right = x.plain, y.plain
    if y.rank == 2 and x.rank > 2 and not first:  # one large product in place of many
        rows = tf.reshape(left, (-1, x.shape[-1] or tf.shape(left)[-1]))
        product = tf.matmul(rows, right, transpose_b=second)
        if node.shape.count(None) <= 1:
            sizes: Any = [-1 if size is None else size for size in node.shape]
        else:
            sizes = tf.concat([tf.shape(left)[:-1], tf.shape(product)[-1:]], 0)
        return Value(tf.reshape(product, sizes))
    return Value(tf.matmul(left, right, transpose_a=first, transpose_b=second))


@operation("Einsum")
def _einsum(node: Node, *parts: Value) -> Value:
    return Value(tensorflow().einsum(node.attributes["equation"], *(part.plain for part in parts)))


@operation("Softmax", "LogSoftmax")
def _softmax(node: Node, x: Value) -> Value:
    tf = tensorflow()
    (place,) = x.stored_axes([int(node.attributes.get("axis", 1))])
    function = tf.nn.softmax if node.type == "Softmax" else tf.nn.log_softmax
    return Value(function(x.at(x.order), place), x.order)


@operation("ScaledDotProductAttention")
def _attention(node: Node, query: Value, key: Value, value: Value, *more: Value) -> Value:
    """``more`` are a mask, which is added or says what may be seen, and a scale."""
    tf = tensorflow()
    if node.attributes.get("causal"):
        raise NotImplementedError("a causal mask")
    queries, keys = query.plain, key.plain
    width = query.shape[-1]
    if width is None:
        raise NotImplementedError("queries of a width that is not fixed")
    scale = more[1].plain if len(more) > 1 else np.float32(width**-0.5)
    scores = tf.matmul(queries * scale, keys, transpose_b=True)
    if more and node.sources[3] == "boolean":
        scores = tf.where(more[0].plain, scores, -np.inf)
    elif more:
        scores += more[0].plain
    return Value(tf.matmul(tf.nn.softmax(scores), value.plain))


# --- normalisations -------------------------------------------------------------------------------


@operation("BatchNormInference")
def _batch_normalisation(node: Node, x: Value, *channels: Value) -> Value:
    """``channels`` are scale, offset, mean and variance, (C,) each."""
    tf = tensorflow()
    shape = [-1 if axis == 1 else 1 for axis in x.order]
    scale, offset, mean, variance = (tf.reshape(value.plain, shape) for value in channels)
    factor = scale * tf.math.rsqrt(variance + node.attributes["epsilon"])
    return Value(x.at(x.order) * factor + (offset - mean * factor), x.order)


@operation("MVN")
def _mean_variance_normalisation(node: Node, x: Value, axes: Value) -> Value:
    tf, tensor = tensorflow(), x.at(x.order)
    places = x.stored_axes(axes.array.reshape(-1).tolist())
    centred = tensor - tf.reduce_mean(tensor, places, True)
    if not node.attributes["normalize_variance"]:
        return Value(centred, x.order)
    variance = tf.reduce_mean(tf.square(centred), places, True)
    epsilon = node.attributes["eps"]
    if str(node.attributes["eps_mode"]).lower().endswith("outside_sqrt"):
        return Value(centred / (tf.sqrt(variance) + epsilon), x.order)
    return Value(centred * tf.math.rsqrt(variance + epsilon), x.order)


@operation("GroupNormalization")
def _group_normalisation(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    tf = tensorflow()
    plain, groups = x.plain, int(node.attributes["num_groups"])
    rows = tf.reshape(plain, (tf.shape(plain)[0], groups, -1))
    centred = rows - tf.reduce_mean(rows, 2, True)
    variance = tf.reduce_mean(tf.square(centred), 2, True)
    normal = centred * tf.math.rsqrt(variance + node.attributes["epsilon"])
    shape = (1, -1, *(1,) * (x.rank - 2))  # one number a channel
    factor, shift = (Value(value.array.reshape(shape)).plain for value in (scale, bias))
    return Value(tf.reshape(normal, tf.shape(plain)) * factor + shift)


@operation("NormalizeL2")
def _normalise_l2(node: Node, x: Value, axes: Value) -> Value:
    tf, tensor = tensorflow(), x.at(x.order)
    places = x.stored_axes(axes.array.reshape(-1).tolist())
    square = tf.reduce_sum(tf.square(tensor), places, True)
    epsilon = node.attributes["eps"]
    adds = str(node.attributes["eps_mode"]).lower().endswith("add")
    return Value(
        tensor * tf.math.rsqrt(square + epsilon if adds else tf.maximum(square, epsilon)), x.order
    )


@operation("LRN")
def _local_response(node: Node, x: Value, axes: Value) -> Value:
    """Across channels, as AlexNet and GoogLeNet have it."""
    size = int(node.attributes["size"])
    if axes.array.reshape(-1).tolist() != [1] or x.rank != 4 or size % 2 == 0:
        raise NotImplementedError("other than across an odd number of channels")
    order = (0, 2, 3, 1)
    normalised = tensorflow().nn.local_response_normalization(
        x.at(order),
        size // 2,
        node.attributes["bias"],
        node.attributes["alpha"] / size,
        node.attributes["beta"],
    )
    return Value(normalised, order)
