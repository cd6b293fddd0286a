"""Operations that bring elements together: reductions, products, normalisations, attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robustness.models.in_tensorflow.replay.operation_table import TABLE, Node, operation
from robustness.models.in_tensorflow.replay.value import Value
from robustness.models.in_tensorflow.runtime import tensorflow

_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "ReduceL1": lambda tf, x, axes: tf.reduce_sum(tf.abs(x), axes, True),
    "ReduceL2": lambda tf, x, axes: tf.sqrt(tf.reduce_sum(tf.square(x), axes, True)),
    "ReduceLogicalAnd": lambda tf, x, axes: tf.reduce_all(x, axes, True),
    "ReduceLogicalOr": lambda tf, x, axes: tf.reduce_any(x, axes, True),
    "ReduceMax": lambda tf, x, axes: tf.reduce_max(x, axes, True),
    "ReduceMean": lambda tf, x, axes: tf.reduce_mean(x, axes, True),
    "ReduceMin": lambda tf, x, axes: tf.reduce_min(x, axes, True),
    "ReduceProd": lambda tf, x, axes: tf.reduce_prod(x, axes, True),
    "ReduceSum": lambda tf, x, axes: tf.reduce_sum(x, axes, True),
}


def _reduction(function: Callable[..., Any]) -> Callable[[Node, Value, Value], Value]:
    def replay(node: Node, x: Value, axes: Value) -> Value:
        tf = tensorflow()
        gone = [axis % x.rank for axis in axes.array.reshape(-1).tolist()]
        places = x.stored_axes(gone)
        reduced = function(tf, x.at(x.order), places)
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
    asked, found = query.plain, key.plain
    width = query.shape[-1]
    if width is None:
        raise NotImplementedError("queries of a width that is not fixed")
    scale = more[1].plain if len(more) > 1 else np.float32(width**-0.5)
    scores = tf.matmul(asked * scale, found, transpose_b=True)
    if more and node.sources[3] == "boolean":
        scores = tf.where(more[0].plain, scores, -np.inf)
    elif more:
        scores += more[0].plain
    return Value(tf.matmul(tf.nn.softmax(scores), value.plain))


# --- normalisations -------------------------------------------------------------------------------


def _per_channel(array: Any, rank: int) -> Value:
    """One number a channel (C,), as a value (1, C, 1, ...) of ``rank`` axes."""
    return Value(np.asarray(array).reshape(1, -1, *(1,) * (rank - 2)))


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
    factor, shift = (_per_channel(value.array, x.rank).plain for value in (scale, bias))
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
    found = tensorflow().nn.local_response_normalization(
        x.at(order),
        size // 2,
        node.attributes["bias"],
        node.attributes["alpha"] / size,
        node.attributes["beta"],
    )
    return Value(found, order)
