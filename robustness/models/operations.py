"""The operations of OpenVINO, replayed in TensorFlow, and graphs of them.

A function for each type of operation is in ``TABLE``. ``Graph`` replays a whole model with them,
for gradients and heat maps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.engine import F32, Floats, core
from robustness.models.frameworks import folded_shapes, tensorflow

_INLINE = 1024
"""Elements up to which a constant becomes part of TensorFlow's graph, where it can be folded."""

Shape = tuple[int | None, ...]
"""The sizes of axes; None where one is not fixed."""


# --- values and nodes -----------------------------------------------------------------------------


class Value:
    """A tensor whose axis k is the graph's axis ``order[k]``.

    OpenVINO's convolutions have channels first, TensorFlow's last. With the order stored beside
    the tensor, a transposition costs nothing until an operation needs the axes in place. Values
    that do not depend on the image are NumPy arrays in the graph's order.
    """

    def __init__(self, tensor: Any, order: Sequence[int] | None = None) -> None:
        self.tensor = tensor
        if order is None:
            order = range(len(tensor.shape))
        self.order = tuple(order)
        self._constants: dict[tuple[int, ...], Any] = {}

    @property
    def is_constant(self) -> bool:
        return isinstance(self.tensor, np.ndarray)

    @property
    def rank(self) -> int:
        return len(self.order)

    @property
    def stored(self) -> Shape:
        """Sizes of the tensor's axes; None where one is not fixed."""
        return tuple(self.tensor.shape)

    @property
    def shape(self) -> Shape:
        """Sizes of the graph's axes; None where one is not fixed."""
        return tuple(self.stored[self.order.index(axis)] for axis in range(self.rank))

    @property
    def plain(self) -> Any:
        """The tensor with its axes in the graph's order."""
        return self.at(range(self.rank))

    @property
    def array(self) -> NDArray[Any]:
        """The known value. Raises ``NotImplementedError`` for one that depends on the image."""
        if not self.is_constant:
            raise NotImplementedError("a setting that depends on the image")
        return self.tensor

    def at(self, order: Sequence[int]) -> Any:
        """The tensor with its axes in ``order``; computed once for a known value."""
        order = tuple(order)
        if self.is_constant:
            if order not in self._constants:
                array = self.tensor.transpose(order)
                if array.size > _INLINE:  # stored outside of the graph that uses it
                    with tensorflow().init_scope():
                        array = tensorflow().constant(array)
                self._constants[order] = array
            return self._constants[order]
        axes = [self.order.index(axis) for axis in order]
        if axes == sorted(axes):
            return self.tensor
        tf = tensorflow()
        sizes = self.stored
        larger_axes = [axis for axis in axes if sizes[axis] != 1]
        if larger_axes == sorted(larger_axes) and sizes.count(None) <= 1:  # no data has to move
            return tf.reshape(self.tensor, _with_one_open([sizes[axis] for axis in axes]))
        return tf.transpose(self.tensor, axes)

    def transposed(self, axes: Sequence[int]) -> Value:
        """The value whose axis k is this one's axis ``axes[k]``."""
        if self.is_constant:
            return Value(self.tensor.transpose(axes))
        return Value(self.tensor, [list(axes).index(axis) for axis in self.order])

    def expanded(self, rank: int) -> Value:
        """The value with axes of size 1 in front, up to ``rank``."""
        added = rank - self.rank
        if added <= 0:
            return self
        expanded = self.tensor[(None,) * added]
        moved_axes = [axis + added for axis in self.order]
        return Value(expanded, (*range(added), *moved_axes))

    def stored_axes(self, axes: Sequence[int]) -> list[int]:
        """The axes of the tensor that are the graph's ``axes``, which may be negative."""
        return [self.order.index(axis % self.rank) for axis in axes]

    def stored_axis(self, axis: int) -> int:
        """The axis of the tensor that is the graph's ``axis``, which may be negative."""
        return self.order.index(axis % self.rank)


def _with_one_open(sizes: Sequence[int | None]) -> list[int]:
    """Return the target of a reshape to ``sizes``, one of which may be None."""
    return [-1 if size is None else size for size in sizes]


@dataclass(frozen=True)
class Node:
    """An operation of an OpenVINO graph.

    ``reads`` are its inputs, as names of nodes and output numbers; ``sources`` are their element
    types, ``kinds`` those of its outputs; ``shapes`` are its outputs' shapes, with None for a size
    that is not fixed.
    """

    name: str
    type: str
    attributes: Mapping[str, Any]
    reads: tuple[tuple[str, int], ...]
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    shapes: tuple[Shape | None, ...]

    @property
    def shape(self) -> Shape:
        """The shape of the only output. Raises ``NotImplementedError`` if its rank is not fixed."""
        if self.shapes[0] is None:
            raise NotImplementedError("a result whose rank is not fixed")
        return self.shapes[0]


Function = Callable[..., Value | list[Value]]

TABLE: dict[str, Function] = {}
"""By operation type, the function that replays it: from its ``Node`` and input values to its one
output or the list of all. It raises ``NotImplementedError`` with the name of an unknown form."""


def operation(*types: str) -> Callable[[Function], Function]:
    """A decorator that adds a function to the table for each of ``types``."""

    def register(function: Function) -> Function:
        TABLE.update(dict.fromkeys(types, function))
        return function

    return register


def node_of(node: Any) -> Node:
    """The ``Node`` of an OpenVINO node."""
    inputs = [source.get_source_output() for source in node.inputs()]
    return Node(
        name=node.get_name(),
        type=node.get_type_name(),
        attributes=node.get_attributes(),
        reads=tuple((source.get_node().get_name(), source.get_index()) for source in inputs),
        sources=tuple(source.get_element_type().get_type_name() for source in inputs),
        kinds=tuple(output.get_element_type().get_type_name() for output in node.outputs()),
        shapes=tuple(axis_sizes(output.get_partial_shape()) for output in node.outputs()),
    )


def axis_sizes(partial: Any) -> Shape | None:
    """The sizes of OpenVINO's ``partial`` shape; None if their number is not fixed."""
    if partial.rank.is_dynamic:
        return None
    return tuple(size.get_length() if size.is_static else None for size in partial)


# --- operations on elements -----------------------------------------------------------------------

FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
"""Element types that are all computed in float32, as OpenVINO is asked to."""

SMALL_INTEGERS = frozenset({"u8", "i8", "u16", "i16", "u4", "i4"})
"""Element types of quantised values, which are held in float32 so that gradients pass."""

_ALIKE = (
    "Abs",
    "Acos",
    "Asin",
    "Atan",
    "Cos",
    "Cosh",
    "Erf",
    "Exp",
    "Floor",
    "Log",
    "LogicalNot",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Tan",
    "Tanh",
)
"""Operations on an element that have the same name in ``tf.math``."""

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

_BINARY_ALIKE = (
    "Add",
    "Equal",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
    "LogicalXor",
    "Maximum",
    "Minimum",
    "Multiply",
    "NotEqual",
    "SquaredDifference",
    "Subtract",
)
"""Operations on two elements that have the same name in ``tf.math``."""

_BINARY: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "Divide": lambda tf, x, y: x / y if x.dtype.is_floating else x // y,
    "FloorMod": lambda tf, x, y: tf.math.floormod(x, y),
    "Power": lambda tf, x, y: tf.pow(x, y),
}


def _of_math(name: str) -> Callable[..., Any]:
    """The function of ``tf.math`` for the operation ``name``, called with ``tf`` first."""
    snake_case = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()

    def call(tf: Any, *arguments: Any) -> Any:
        return getattr(tf.math, snake_case)(*arguments)

    return call


def unary(function: Callable[[Any, Any], Any]) -> Callable[[Node, Value], Value]:
    """Make the replay of an element-wise operation from a function of TensorFlow and a tensor."""

    def replay(_node: Node, x: Value) -> Value:
        return Value(function(tensorflow(), x.at(x.order)), x.order)

    return replay


def binary(function: Callable[[Any, Any, Any], Any]) -> Callable[[Node, Value, Value], Value]:
    """Make the replay of an element-wise operation on two values, as ``unary`` does."""

    def replay(_node: Node, x: Value, y: Value) -> Value:
        tf = tensorflow()
        (left, right), order = aligned(x, y)
        return Value(function(tf, tf.convert_to_tensor(left), right), order)

    return replay


TABLE.update({name: unary(_of_math(name)) for name in _ALIKE})
TABLE.update({name: unary(function) for name, function in _UNARY.items()})
TABLE.update({name: binary(_of_math(name)) for name in _BINARY_ALIKE})
TABLE.update({name: binary(function) for name, function in _BINARY.items()})


def aligned(*values: Value) -> tuple[list[Any], tuple[int, ...]]:
    """The tensors of ``values``, ready to be broadcast, and the order of their axes.

    The order is that of the largest value, so that the largest is not moved.
    """
    rank = max(value.rank for value in values)

    def size(value: Value) -> tuple[bool, int, int]:
        element_count = int(np.prod([length or 1 for length in value.stored]))
        return not value.is_constant, value.rank, element_count

    order = max(values, key=size).expanded(rank).order
    tensors = []
    for value in values:
        if value.rank == 0:
            tensors.append(value.plain)
        else:
            tensors.append(value.expanded(rank).at(order))
    return tensors, order


@operation("Convert", "ConvertLike")
def _convert(node: Node, x: Value, *_like: Value) -> Value:
    tf = tensorflow()
    source = node.sources[0]
    kind = node.kinds[0]
    tensor = x.at(x.order)
    floats = FLOATS | SMALL_INTEGERS
    if kind in FLOATS or (kind in SMALL_INTEGERS and source not in FLOATS):
        return Value(tf.cast(tensor, tf.float32), x.order)
    if kind in SMALL_INTEGERS:  # truncated, with the slope of the value before
        truncated = tf.sign(tensor) * tf.floor(tf.abs(tensor))
        return Value(tensor + tf.stop_gradient(truncated - tensor), x.order)
    if kind == "boolean":
        return Value(tf.not_equal(tensor, tf.cast(0, tensor.dtype)), x.order)
    if kind not in ("i32", "i64") or source not in floats | {"i32", "i64", "boolean"}:
        raise NotImplementedError(f"from {source} to {kind}")
    return Value(tf.cast(tensor, getattr(tf, kind.replace("i", "int"))), x.order)


@operation("Round")
def _round(node: Node, x: Value) -> Value:
    """Round to whole numbers, with the slope of the value before."""
    tf = tensorflow()
    tensor = x.at(x.order)
    if node.attributes.get("mode") == "half_away_from_zero":
        nearest = tf.sign(tensor) * tf.floor(tf.abs(tensor) + 0.5)
    else:
        nearest = tf.round(tensor)
    return Value(tensor + tf.stop_gradient(nearest - tensor), x.order)


@operation("FakeQuantize")
def _fake_quantize(node: Node, x: Value, *limits: Value) -> Value:
    """Quantise, with the slope of the value before it is rounded (straight-through estimator)."""
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
    tf = tensorflow()
    low = node.attributes["min"]
    high = node.attributes["max"]
    tensor = x.at(x.order)
    if low == 0 and high == 6:
        return Value(tf.nn.relu6(tensor), x.order)
    return Value(tf.clip_by_value(tensor, low, high), x.order)


@operation("Elu")
def _elu(node: Node, x: Value) -> Value:
    tf = tensorflow()
    tensor = x.at(x.order)
    below = node.attributes["alpha"] * tf.math.expm1(tf.minimum(tensor, 0.0))
    return Value(tf.where(tensor > 0, tensor, below), x.order)


@operation("Selu")
def _selu(_node: Node, x: Value, alpha: Value, scale: Value) -> Value:
    tf = tensorflow()
    tensor = x.at(x.order)
    below = alpha.array * tf.math.expm1(tf.minimum(tensor, 0.0))
    return Value(scale.array * tf.where(tensor > 0, tensor, below), x.order)


@operation("HardSigmoid")
def _hard_sigmoid(_node: Node, x: Value, slope: Value, offset: Value) -> Value:
    line = slope.array * x.at(x.order) + offset.array
    return Value(tensorflow().clip_by_value(line, 0.0, 1.0), x.order)


@operation("Gelu")
def _gelu(node: Node, x: Value) -> Value:
    approximate = str(node.attributes.get("approximation_mode", "erf")).lower() == "tanh"
    return Value(tensorflow().nn.gelu(x.at(x.order), approximate), x.order)


@operation("Swish")
def _swish(_node: Node, x: Value, *slope: Value) -> Value:
    beta = float(slope[0].array) if slope else 1.0
    return Value(tensorflow().nn.silu(x.at(x.order), beta), x.order)


@operation("PRelu")
def _prelu(_node: Node, x: Value, slope: Value) -> Value:
    """A ``slope`` (C,) has a number for each channel."""
    if slope.rank == 1 and x.rank > 1 and slope.shape[0] != 1:
        slope = Value(slope.array.reshape(-1, *(1,) * (x.rank - 2)))
    tf = tensorflow()
    (tensor, below), order = aligned(x, slope)
    return Value(tf.nn.relu(tensor) + below * tf.minimum(tensor, 0.0), order)


_REDUCTIONS_ALIKE = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
"""Reductions that have the same name in ``tf.math``."""

_REDUCTIONS: Mapping[str, Callable[[Any, Any, list[int], bool], Any]] = {
    "ReduceL1": lambda tf, x, axes, keep: tf.reduce_sum(tf.abs(x), axes, keep),
    "ReduceL2": lambda tf, x, axes, keep: tf.sqrt(tf.reduce_sum(tf.square(x), axes, keep)),
    "ReduceLogicalAnd": lambda tf, x, axes, keep: tf.reduce_all(x, axes, keep),
    "ReduceLogicalOr": lambda tf, x, axes, keep: tf.reduce_any(x, axes, keep),
}


def _reduction(
    function: Callable[[Any, Any, list[int], bool], Any],
) -> Callable[[Node, Value, Value], Value]:
    """Make the replay of a reduction from a function of TensorFlow, a tensor, axes and a flag.

    The flag is whether the axes are kept with size 1.
    """

    def replay(node: Node, x: Value, axes: Value) -> Value:
        tf = tensorflow()
        reduced_axes = [axis % x.rank for axis in axes.array.reshape(-1).tolist()]
        stored_axes = x.stored_axes(reduced_axes)
        reduced = function(tf, x.at(x.order), stored_axes, True)
        if node.attributes["keep_dims"]:
            return Value(reduced, x.order)
        kept_axes = [axis for axis in range(x.rank) if axis not in reduced_axes]
        order = [kept_axes.index(axis) for axis in x.order if axis in kept_axes]
        if stored_axes:  # without axes, ``squeeze`` would remove all of size 1
            reduced = tf.squeeze(reduced, stored_axes)
        return Value(reduced, order)

    return replay


TABLE.update({name: _reduction(_of_math(name)) for name in _REDUCTIONS_ALIKE})
TABLE.update({name: _reduction(function) for name, function in _REDUCTIONS.items()})


@operation("MatMul")
def _matmul(node: Node, x: Value, y: Value) -> Value:
    tf = tensorflow()
    if min(x.rank, y.rank) < 2:
        raise NotImplementedError("a vector")
    transpose_a = node.attributes["transpose_a"]
    transpose_b = node.attributes["transpose_b"]
    a = x.plain
    b = y.plain
    if y.rank == 2 and x.rank > 2 and not transpose_a:  # one large product instead of many
        rows = tf.reshape(a, (-1, x.shape[-1] or tf.shape(a)[-1]))
        product = tf.matmul(rows, b, transpose_b=transpose_b)
        if node.shape.count(None) <= 1:
            sizes: Any = _with_one_open(node.shape)
        else:
            sizes = tf.concat([tf.shape(a)[:-1], tf.shape(product)[-1:]], 0)
        return Value(tf.reshape(product, sizes))
    return Value(tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b))


@operation("Einsum")
def _einsum(node: Node, *parts: Value) -> Value:
    tensors = [part.plain for part in parts]
    return Value(tensorflow().einsum(node.attributes["equation"], *tensors))


@operation("Softmax", "LogSoftmax")
def _softmax(node: Node, x: Value) -> Value:
    tf = tensorflow()
    axis = x.stored_axis(int(node.attributes.get("axis", 1)))
    function = tf.nn.softmax if node.type == "Softmax" else tf.nn.log_softmax
    return Value(function(x.at(x.order), axis), x.order)


@operation("ScaledDotProductAttention")
def _attention(node: Node, query: Value, key: Value, value: Value, *more: Value) -> Value:
    """``more`` may be a mask and a scale.

    A mask of truth values says which keys count; one of numbers is added to the scores.
    """
    tf = tensorflow()
    if node.attributes.get("causal"):
        raise NotImplementedError("a causal mask")
    queries = query.plain
    keys = key.plain
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
    tf = tensorflow()
    tensor = x.at(x.order)
    stored_axes = x.stored_axes(axes.array.reshape(-1).tolist())
    centred = tensor - tf.reduce_mean(tensor, stored_axes, keepdims=True)
    if not node.attributes["normalize_variance"]:
        return Value(centred, x.order)
    variance = tf.reduce_mean(tf.square(centred), stored_axes, keepdims=True)
    epsilon = node.attributes["eps"]
    if str(node.attributes["eps_mode"]).lower().endswith("outside_sqrt"):
        return Value(centred / (tf.sqrt(variance) + epsilon), x.order)
    return Value(centred * tf.math.rsqrt(variance + epsilon), x.order)


@operation("GroupNormalization")
def _group_normalisation(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    tf = tensorflow()
    plain = x.plain
    groups = int(node.attributes["num_groups"])
    rows = tf.reshape(plain, (tf.shape(plain)[0], groups, -1))
    centred = rows - tf.reduce_mean(rows, 2, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), 2, keepdims=True)
    normalised = centred * tf.math.rsqrt(variance + node.attributes["epsilon"])
    shape_of_channels = (1, -1, *(1,) * (x.rank - 2))
    factor = Value(scale.array.reshape(shape_of_channels)).plain
    shift = Value(bias.array.reshape(shape_of_channels)).plain
    return Value(tf.reshape(normalised, tf.shape(plain)) * factor + shift)


@operation("NormalizeL2")
def _normalise_l2(node: Node, x: Value, axes: Value) -> Value:
    tf = tensorflow()
    tensor = x.at(x.order)
    stored_axes = x.stored_axes(axes.array.reshape(-1).tolist())
    square = tf.reduce_sum(tf.square(tensor), stored_axes, keepdims=True)
    epsilon = node.attributes["eps"]
    if str(node.attributes["eps_mode"]).lower().endswith("add"):
        square += epsilon
    else:
        square = tf.maximum(square, epsilon)
    return Value(tensor * tf.math.rsqrt(square), x.order)


@operation("LRN")
def _local_response(node: Node, x: Value, axes: Value) -> Value:
    """Across channels, as in AlexNet and GoogLeNet."""
    size = int(node.attributes["size"])
    if axes.array.reshape(-1).tolist() != [1] or x.rank != 4 or size % 2 == 0:
        raise NotImplementedError("other than across an odd number of channels")
    normalised = tensorflow().nn.local_response_normalization(
        x.at(MAPS),
        depth_radius=size // 2,
        bias=node.attributes["bias"],
        alpha=node.attributes["alpha"] / size,
        beta=node.attributes["beta"],
    )
    return Value(normalised, MAPS)


# --- feature maps ---------------------------------------------------------------------------------

MAPS = (0, 2, 3, 1)
"""The order of axes that TensorFlow wants of feature maps: (N, H, W, C)."""

_OPEN_MAPS = "maps of a size that is not fixed"

Pads = list[list[int]]
"""The padding before and behind each spatial axis."""


def _check_maps(x: Value) -> None:
    if x.rank != 4:
        raise NotImplementedError(f"{x.rank - 2} spatial axes instead of 2")


def _pads(node: Node, sizes: Shape, windows: Sequence[int]) -> Pads:
    """The padding of the spatial axes, which have the ``sizes``; ``windows`` move along them."""
    kind = str(node.attributes["auto_pad"]).lower().rpartition(".")[2]
    begin = list(node.attributes["pads_begin"])
    end = list(node.attributes["pads_end"])
    if kind == "valid":
        return [[0, 0], [0, 0]]
    if kind.startswith("same"):
        strides = node.attributes["strides"]
        result_sizes = (node.shapes[0] or ())[2:]
        for axis, (size, result_size) in enumerate(zip(sizes, result_sizes, strict=True)):
            if size is None or result_size is None:
                raise NotImplementedError(_OPEN_MAPS)
            total = max(0, (result_size - 1) * strides[axis] + windows[axis] - size)
            begin[axis] = total // 2
            end[axis] = total - total // 2
        if kind == "same_lower":
            begin, end = end, begin
    return [list(pair) for pair in zip(begin, end, strict=True)]


def _padded(
    tensor: Any, pads: Pads, windows: Sequence[int], strides: Sequence[int]
) -> tuple[Any, str]:
    """Pad ``tensor`` (N, ..., C) unless TensorFlow can; return it and the padding that is left.

    TensorFlow also takes padding as numbers, but with these its optimiser of graphs can end the
    process: 2.21 does, with a strided convolution's gradient for any number of images.
    """
    if not any(map(any, pads)):
        return tensor, "VALID"
    axes = zip(tensor.shape[1:-1], windows, strides, strict=True)
    if pads == [_same_pads(*size_window_stride) for size_window_stride in axes]:
        return tensor, "SAME"
    return tensorflow().pad(tensor, [[0, 0], *pads, [0, 0]]), "VALID"


def _same_pads(size: int | None, window: int, stride: int) -> list[int]:
    """The padding of an axis by TensorFlow's "SAME"; [] if the ``size`` is not fixed."""
    if size is None:
        return []
    result_size = -(-size // stride)
    total = max(0, (result_size - 1) * stride + window - size)
    return [total // 2, total - total // 2]


# --- convolutions ---------------------------------------------------------------------------------


@operation("Convolution")
def _convolution(node: Node, x: Value, kernel: Value) -> Value:
    """Over two spatial axes, or three; TensorFlow has no dilation of three on a CPU."""
    spatial_axes = range(2, x.rank)
    if len(spatial_axes) != 3:
        _check_maps(x)
    elif any(dilation != 1 for dilation in node.attributes["dilations"]):
        raise NotImplementedError("three spatial axes with a dilation")
    order = (0, *spatial_axes, 1)
    filters = kernel.at((*spatial_axes, 1, 0))
    return Value(_convolve(node, x.at(order), filters, kernel.shape[2:], x), order)


@operation("GroupConvolution")
def _group_convolution(node: Node, x: Value, kernel: Value) -> Value:
    """Depthwise if there is one input channel a group, else each group by itself.

    TensorFlow has grouped convolutions, but no gradients of them on a CPU.
    """
    _check_maps(x)
    tf = tensorflow()
    groups, _, channels_of_group, *_ = kernel.shape
    window = kernel.shape[3:]
    strides = list(node.attributes["strides"])
    if channels_of_group == 1 and strides[0] == strides[1]:
        filters = tf.reshape(kernel.at((3, 4, 0, 1, 2)), (*window, groups, -1))
        dilations = list(node.attributes["dilations"])
        dilated = _dilated(window, dilations)
        pads = _pads(node, x.shape[2:], dilated)
        tensor, padding = _padded(x.at(MAPS), pads, dilated, strides)
        convolved = tf.nn.depthwise_conv2d(
            tensor, filters, [1, *strides, 1], padding, dilations=dilations
        )
        return Value(convolved, MAPS)
    tensors = tf.split(x.at(MAPS), groups, 3)
    kernels = tf.unstack(kernel.at((0, 3, 4, 2, 1)))
    convolved_groups = []
    for tensor, filters in zip(tensors, kernels, strict=True):
        convolved_groups.append(_convolve(node, tensor, filters, window, x))
    return Value(tf.concat(convolved_groups, 3), MAPS)


def _convolve(node: Node, tensor: Any, filters: Any, window: Shape, x: Value) -> Any:
    """Convolve ``tensor`` (N, ..., C), which is ``x`` or a part of its channels."""
    dilations = list(node.attributes["dilations"])
    strides = list(node.attributes["strides"])
    dilated = _dilated(window, dilations)
    tensor, padding = _padded(tensor, _pads(node, x.shape[2:], dilated), dilated, strides)
    return tensorflow().nn.convolution(tensor, filters, strides, padding, dilations=dilations)


def _dilated(window: Shape, dilations: Sequence[int]) -> list[int]:
    """The sizes that a ``window`` covers with ``dilations``."""
    sizes = []
    for size, dilation in zip(window, dilations, strict=True):
        sizes.append(((size or 0) - 1) * dilation + 1)
    return sizes


# --- pooling --------------------------------------------------------------------------------------


@operation("MaxPool")
def _max_pool(node: Node, x: Value) -> list[Value]:
    _check_maps(x)
    tf = tensorflow()
    window = list(node.attributes["kernel"])
    strides = list(node.attributes["strides"])
    if any(dilation != 1 for dilation in node.attributes.get("dilations", ())):
        raise NotImplementedError("a dilation")
    pads = _pads_of_all_windows(node, x, window, _pads(node, x.shape[2:], window))
    tensor = x.at(MAPS)
    if any(map(any, pads)):
        tensor = tf.pad(tensor, [[0, 0], *pads, [0, 0]], constant_values=np.finfo(np.float32).min)
    return [Value(tf.nn.max_pool2d(tensor, window, strides, "VALID"), MAPS)]


@operation("AvgPool")
def _average_pool(node: Node, x: Value) -> Value:
    _check_maps(x)
    tf = tensorflow()
    window = list(node.attributes["kernel"])
    strides = list(node.attributes["strides"])
    pads = _pads(node, x.shape[2:], window)
    all_pads = _pads_of_all_windows(node, x, window, pads)
    tensor = x.at(MAPS)
    if not any(map(any, all_pads)):
        return Value(tf.nn.avg_pool2d(tensor, window, strides, "VALID"), MAPS)
    padded = tf.pad(tensor, [[0, 0], *all_pads, [0, 0]])
    average_with_pads = tf.nn.avg_pool2d(padded, window, strides, "VALID")
    counted_pads = [[0, 0], [0, 0]] if node.attributes["exclude-pad"] else pads
    counts = []
    for axis, size in enumerate(x.shape[2:]):
        assert size is not None
        counts.append(
            _counts(size, window[axis], strides[axis], counted_pads[axis], all_pads[axis])
        )
    scale = window[0] * window[1] / np.multiply.outer(*counts)
    return Value(average_with_pads * scale[None, :, :, None].astype(np.float32), MAPS)


def _pads_of_all_windows(node: Node, x: Value, window: list[int], pads: Pads) -> Pads:
    """``pads``, larger where the last window reaches beyond them.

    It does where the number of windows is rounded up.
    """
    strides = node.attributes["strides"]
    result_sizes = (node.shapes[0] or ())[2:]
    pads_of_all = []
    for axis, (begin, end) in enumerate(pads):
        size = x.shape[2 + axis]
        result_size = result_sizes[axis]
        if size is None or result_size is None:
            raise NotImplementedError(_OPEN_MAPS)
        last_window_end = (result_size - 1) * strides[axis] + window[axis]
        pads_of_all.append([begin, max(end, last_window_end - size - begin)])
    return pads_of_all


def _counts(
    size: int, window: int, stride: int, counted_pads: list[int], pads: list[int]
) -> NDArray[np.float64]:
    """The number of positions that count in the average of each window along an axis.

    Those are the positions of the map and of ``counted_pads``, a part of ``pads``.
    """
    positions = np.arange(-pads[0], size + pads[1])
    counts = (positions >= -counted_pads[0]) & (positions < size + counted_pads[1])
    windows = np.lib.stride_tricks.sliding_window_view(counts, window)[::stride]
    return windows.sum(1).astype(np.float64)


@operation("AdaptiveAvgPool")
def _adaptive_average_pool(node: Node, x: Value, _size: Value) -> Value:
    _check_maps(x)
    matrices = {}
    for axis in (2, 3):
        size = x.shape[axis]
        result_size = node.shape[axis]
        if size is None or result_size is None:
            raise NotImplementedError(_OPEN_MAPS)
        matrix = np.zeros((result_size, size), np.float32)
        for row in range(result_size):
            start = row * size // result_size
            stop = -(-(row + 1) * size // result_size)
            matrix[row, start:stop] = 1 / (stop - start)
        matrices[axis] = matrix
    return _multiplied(x, matrices)


# --- resizing -------------------------------------------------------------------------------------


@operation("Interpolate")
def _interpolate(node: Node, x: Value, *scales_and_axes: Value) -> Value:
    """Multiply each axis by a matrix, which OpenVINO itself computes."""
    by_scales = node.attributes["shape_calculation_mode"] == "scales"
    matrices = {}
    for axis, (size, result_size) in enumerate(zip(x.shape, node.shape, strict=True)):
        if size == result_size or (axis == 0 and result_size is None):  # any number of images
            continue
        if size is None or result_size is None:
            raise NotImplementedError(_OPEN_MAPS)
        scale = None
        if by_scales:
            scale = _scale(axis, [value.array for value in scales_and_axes])
        matrices[axis] = _resizing_matrix(node, size, result_size, scale)
    return _multiplied(x, matrices)


def _scale(axis: int, scales_and_axes: Sequence[NDArray[Any]]) -> float:
    """The factor by which ``axis`` grows.

    The last array of floats are the scales. If the last of all arrays has integers, these are the
    axes of the scales; else there is a scale for every axis.
    """
    scales = [array for array in scales_and_axes if array.dtype.kind == "f"][-1]
    axes = list(range(len(scales)))
    if scales_and_axes[-1].dtype.kind == "i":
        axes = scales_and_axes[-1].tolist()
    return float(scales[axes.index(axis)])


def _resizing_matrix(node: Node, size: int, result_size: int, scale: float | None) -> Floats:
    """The matrix (``result_size``, ``size``) that resizes an axis as ``node`` does.

    ``scale`` is None if ``node`` resizes to sizes instead of by scales.
    """
    from openvino import Model, opset13

    target = np.array([result_size, size])
    if scale is not None:
        target = np.array([scale, 1], np.float32)
    image = opset13.parameter((1, 1, size, size), np.float32)
    settings = (
        "mode",
        "shape_calculation_mode",
        "pads_begin",
        "pads_end",
        "coordinate_transformation_mode",
        "nearest_mode",
        "antialias",
        "cube_coeff",
    )
    resized = opset13.interpolate(
        image,
        target,
        axes=np.array([2, 3]),
        **{name: node.attributes[name] for name in settings},
    )
    compiled = core().compile_model(
        Model([resized], [image]), "CPU", {"INFERENCE_PRECISION_HINT": F32}
    )
    # The columns of the unit matrix are resized to those of the matrix.
    return compiled(np.eye(size, dtype=np.float32)[None, None])[0][0, 0]


def _multiplied(x: Value, matrices: Mapping[int, Floats]) -> Value:
    """``x`` with axes multiplied by their ``matrices`` (result size, size), by axis."""
    tf = tensorflow()
    tensor = x.at(x.order)
    letters = "abcdefg"[: x.rank]
    for axis, matrix in matrices.items():
        letter = letters[x.stored_axis(axis)]
        result_letters = letters.replace(letter, "z")
        tensor = tf.einsum(f"{letters},z{letter}->{result_letters}", tensor, matrix)
    return Value(tensor, x.order)


# --- shapes and positions -------------------------------------------------------------------------


def number_type(name: str) -> Any:
    """TensorFlow's type of the whole numbers that OpenVINO calls ``name``."""
    return {"i32": tensorflow().int32, "i64": tensorflow().int64}[name]


@operation("Result")
def _unchanged(_node: Node, x: Value) -> Value:
    return x


@operation("Transpose")
def _transpose(_node: Node, x: Value, axes: Value) -> Value:
    order = axes.array.tolist() or list(range(x.rank))[::-1]
    return x.transposed(order)


@operation("Reshape")
def _reshape(node: Node, x: Value, *target: Value) -> Value:
    """There is no ``target`` if at most one size of the result is open, as ``reads`` says."""
    tf = tensorflow()
    if not target:
        return Value(tf.reshape(x.plain, _with_one_open(node.shape)))
    result_rank = len(node.shape)
    result_sizes = target[0].plain
    if node.attributes["special_zero"]:  # a size of 0 is that of ``x``
        sizes = tf.shape(x.plain, result_sizes.dtype)
        sizes = tf.pad(sizes, [[0, max(0, result_rank - x.rank)]])[:result_rank]
        result_sizes = tf.where(tf.equal(result_sizes, 0), sizes, result_sizes)
    return Value(tf.reshape(x.plain, result_sizes))


@operation("Squeeze", "Unsqueeze")
def _squeeze(node: Node, x: Value, *axes: Value) -> Value:
    """Without ``axes``, all axes of size 1 are removed."""
    tf = tensorflow()
    if node.shapes[0] is not None and node.shape.count(None) <= 1:
        return Value(tf.reshape(x.plain, _with_one_open(node.shape)))
    known_axes = axes[0].array.reshape(-1).tolist() if axes else []
    if node.type == "Squeeze":
        return Value(tf.squeeze(x.plain, known_axes or None))
    tensor = x.plain
    rank = x.rank + len(known_axes)
    for axis in sorted(axis % rank for axis in known_axes):
        tensor = tf.expand_dims(tensor, axis)
    return Value(tensor)


@operation("ShapeOf")
def _shape_of(node: Node, x: Value) -> Value:
    kind = number_type(node.kinds[0])
    if None not in x.shape:
        return Value(np.array(x.shape, kind.as_numpy_dtype))
    tf = tensorflow()
    sizes = tf.shape(x.tensor, kind)
    return Value(tf.stack([sizes[axis] for axis in x.stored_axes(range(x.rank))]))


@operation("Broadcast")
def _broadcast(node: Node, x: Value, target: Value, *axes: Value) -> Value:
    tf = tensorflow()
    mode = str(node.attributes["mode"]).lower()
    if mode == "explicit":
        sizes: list[int | None] = [1] * len(node.shape)
        for axis, size in zip(axes[0].array.tolist(), x.shape, strict=True):
            sizes[axis] = size
        tensor = tf.reshape(x.plain, _with_one_open(sizes))
        return Value(tf.broadcast_to(tensor, target.plain))
    if mode == "bidirectional":
        sizes = tf.broadcast_dynamic_shape(tf.shape(x.plain), tf.cast(target.plain, tf.int32))
        return Value(tf.broadcast_to(x.plain, sizes))
    return Value(tf.broadcast_to(x.plain, target.plain))


@operation("Tile")
def _tile(_node: Node, x: Value, repeats: Value) -> Value:
    tf = tensorflow()
    times = repeats.plain
    if repeats.shape[0] is not None and repeats.shape[0] < x.rank:
        times = tf.pad(times, [[x.rank - repeats.shape[0], 0]], constant_values=1)
    return Value(tf.tile(x.expanded(int(times.shape[0])).plain, times))


@operation("Concat")
def _concat(node: Node, *parts: Value) -> Value:
    leader = max(parts, key=lambda part: not part.is_constant)
    axis = leader.stored_axis(node.attributes["axis"])
    tensors = [part.at(leader.order) for part in parts]
    return Value(tensorflow().concat(tensors, axis), leader.order)


@operation("Split", "VariadicSplit")
def _split(node: Node, x: Value, axis: Value, *lengths: Value) -> list[Value]:
    sizes = lengths[0].array.tolist() if lengths else node.attributes["num_splits"]
    parts = tensorflow().split(x.at(x.order), sizes, x.stored_axis(int(axis.array)))
    return [Value(part, x.order) for part in parts]


@operation("Slice")
def _slice(_node: Node, x: Value, start: Value, stop: Value, step: Value, *axes: Value) -> Value:
    known_axes = axes[0].array.tolist() if axes else range(start.array.size)
    slices = [slice(None)] * x.rank
    limits = zip(start.array.tolist(), stop.array.tolist(), step.array.tolist(), strict=True)
    for axis, limits_of_axis in zip(x.stored_axes(known_axes), limits, strict=True):
        slices[axis] = _python_slice(x.stored[axis], *limits_of_axis)
    return Value(x.at(x.order)[tuple(slices)], x.order)


def _python_slice(size: int | None, start: int, stop: int, step: int) -> slice:
    """The slice of an axis as Python has it.

    Backwards, a stop before the first element is None there, as -1 is the last element.
    """
    if size is None:
        is_open = abs(stop) >= np.iinfo(np.int32).max
        return slice(start, None if is_open else stop, step)
    first, last, _ = slice(start, stop, step).indices(size)
    return slice(first, None if last < 0 else last, step)


_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


@operation("StridedSlice")
def _strided_slice(node: Node, x: Value, begin: Value, end: Value, *stride: Value) -> Value:
    masks = {}
    for name in _MASKS:  # lists of flags, which TensorFlow has as the bits of a number
        flags = node.attributes.get(name, [])
        masks[name] = sum(1 << bit for bit, flag in enumerate(flags) if flag)
    limits = np.iinfo(np.int32)
    starts = np.clip(begin.array, limits.min, limits.max).astype(np.int32)
    stops = np.clip(end.array, limits.min, limits.max).astype(np.int32)
    strides = np.ones_like(starts)
    if stride:
        strides = stride[0].array.astype(np.int32)
    return Value(tensorflow().strided_slice(x.plain, starts, stops, strides, **masks))


@operation("Gather")
def _gather(node: Node, x: Value, indices: Value, axis: Value) -> Value:
    tf = tensorflow()
    gathered_axis = int(axis.array) % x.rank
    batch_dims = int(node.attributes.get("batch_dims", 0))
    if indices.is_constant and indices.array.size == 1 and not batch_dims and not x.is_constant:
        # A slice, as the gradient of a gather scatters, which takes longer.
        index = int(indices.array.reshape(()))
        slices = [slice(None)] * x.rank
        slices[x.stored_axis(gathered_axis)] = slice(index, index + 1 or None)
        element = Value(x.tensor[tuple(slices)], x.order)
        return _with_rank(element, gathered_axis, indices.rank)
    positions = indices.plain
    size = x.shape[gathered_axis]
    if size is not None:
        positions = tf.where(positions < 0, positions + tf.cast(size, positions.dtype), positions)
    return Value(tf.gather(x.plain, positions, axis=gathered_axis, batch_dims=batch_dims))


def _with_rank(x: Value, axis: int, rank: int) -> Value:
    """``x`` with ``rank`` axes of size 1 in place of its ``axis``, which has size 1."""
    tf = tensorflow()
    if rank == 1:
        return x
    if rank == 0:
        order = []
        for other in x.order:
            if other != axis:
                order.append(other - 1 if other > axis else other)
        return Value(tf.squeeze(x.tensor, [x.stored_axis(axis)]), order)
    plain = x.plain
    for _ in range(rank - 1):
        plain = tf.expand_dims(plain, axis)
    return Value(plain)


@operation("GatherND")
def _gather_nd(node: Node, x: Value, indices: Value) -> Value:
    batch_dims = int(node.attributes.get("batch_dims", 0))
    return Value(tensorflow().gather_nd(x.plain, indices.plain, batch_dims=batch_dims))


@operation("ScatterNDUpdate")
def _scatter_nd_update(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    if str(node.attributes.get("reduction", "none")).lower() != "none":
        raise NotImplementedError("a reduction")
    tf = tensorflow()
    return Value(tf.tensor_scatter_nd_update(x.plain, indices.plain, updates.plain))


@operation("Pad")
def _pad(node: Node, x: Value, begin: Value, end: Value, *fill: Value) -> Value:
    tf = tensorflow()
    mode = str(node.attributes["pad_mode"]).rpartition(".")[2].upper()
    amounts = np.stack([begin.array, end.array], 1)[list(x.order)]
    if (amounts < 0).any():
        raise NotImplementedError("a negative amount")
    if mode == "EDGE":
        tensor = x.at(x.order)
        for axis, (before, after) in enumerate(amounts.tolist()):
            if before or after:
                size = tensor.shape[axis]
                positions = np.clip(np.arange(-before, size + after), 0, size - 1)
                tensor = tf.gather(tensor, positions, axis=axis)
        return Value(tensor, x.order)
    fill_value = fill[0].plain if fill else 0
    return Value(tf.pad(x.at(x.order), amounts, mode, fill_value), x.order)


@operation("Range")
def _range(node: Node, start: Value, stop: Value, step: Value) -> Value:
    tf = tensorflow()
    kind = tf.float32 if node.kinds[0].startswith("f") else number_type(node.kinds[0])
    limits = [tf.cast(tf.reshape(value.plain, ()), kind) for value in (start, stop, step)]
    return Value(tf.range(*limits))


@operation("OneHot")
def _one_hot(node: Node, indices: Value, depth: Value, on: Value, off: Value) -> Value:
    axis = int(node.attributes["axis"])
    encoded = tensorflow().one_hot(
        indices.plain, int(depth.array), on.plain, off.plain, axis % (indices.rank + 1)
    )
    return Value(encoded)


@operation("CumSum")
def _cumulative_sum(node: Node, x: Value, axis: Value) -> Value:
    sums = tensorflow().cumsum(
        x.at(x.order),
        axis=x.stored_axis(int(axis.array)),
        exclusive=bool(node.attributes["exclusive"]),
        reverse=bool(node.attributes["reverse"]),
    )
    return Value(sums, x.order)


@operation("DepthToSpace", "SpaceToDepth")
def _depth_and_space(node: Node, x: Value) -> Value:
    """Move blocks of ``block_size`` rows and columns to channels (N, C, H, W), or back."""
    tf = tensorflow()
    if x.rank != 4:
        raise NotImplementedError(f"{x.rank} axes")
    if not str(node.attributes["mode"]).lower().endswith("blocks_first"):
        raise NotImplementedError("channels before blocks")
    block_size = int(node.attributes["block_size"])
    if node.type == "DepthToSpace":
        return Value(tf.nn.depth_to_space(x.at(MAPS), block_size), MAPS)
    return Value(tf.nn.space_to_depth(x.at(MAPS), block_size), MAPS)


@operation("SpaceToBatch", "BatchToSpace")
def _batch_and_space(node: Node, x: Value, blocks: Value, begin: Value, end: Value) -> Value:
    """Move blocks of positions to the batch, or back, as around a dilated convolution."""
    tf = tensorflow()
    block_shape = blocks.array
    amounts = np.stack([begin.array, end.array], 1)
    if block_shape[0] != 1 or amounts[0].any():
        raise NotImplementedError("blocks of the batch")
    if node.type == "SpaceToBatch":
        return Value(tf.space_to_batch(x.plain, block_shape[1:], amounts[1:]))
    return Value(tf.batch_to_space(x.plain, block_shape[1:], amounts[1:]))


@operation("ShuffleChannels")
def _shuffle_channels(node: Node, x: Value) -> Value:
    tf = tensorflow()
    groups = int(node.attributes["group"])
    axis = x.stored_axis(int(node.attributes["axis"]))
    sizes = _with_one_open(x.stored)
    sizes_of_groups = [*sizes[:axis], groups, sizes[axis] // groups, *sizes[axis + 1 :]]
    axes = list(range(len(sizes_of_groups)))
    axes[axis], axes[axis + 1] = axes[axis + 1], axes[axis]
    shuffled = tf.transpose(tf.reshape(x.at(x.order), sizes_of_groups), axes)
    return Value(tf.reshape(shuffled, sizes), x.order)


# --- graphs ---------------------------------------------------------------------------------------

Output = tuple[str, int]
"""A value of a graph: the name of its node, and the number of the output."""

_SOURCES = {"Parameter", "Constant"}
_SHAPED = {"Reshape", "Squeeze", "Unsqueeze"}
"""Operations that keep the number of elements, so that one open size can be derived."""

NORMALISATION = "BatchNormInference"

_ROUNDING = {"FakeQuantize", "Round"}
_SMOOTH_LEVELS = 1 << 22
"""So many levels of quantisation that rounding makes no difference."""


class UnknownOperationError(Exception):
    """A graph has an operation, or a form of it, that cannot be replayed; the message names it."""


def simplified(model: Any, *, fold_normalisations: bool = True) -> Any:
    """A copy of an OpenVINO model with constants folded and as few computed shapes as possible.

    Batch normalisations become part of the weights before them, unless ``fold_normalisations`` is
    false and no other operation needs it.
    """
    from openvino.passes import ConstantFolding, Manager

    copy = model.clone()
    _sum_in_floats(copy)
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(copy)
    types = {node.get_type_name() for node in copy.get_ops()}
    to_fold = {"ShapeOf"}
    if fold_normalisations:
        to_fold.add(NORMALISATION)
    if types & to_fold or types - set(TABLE) - _SOURCES:
        # Most graphs do not need these passes, which take seconds where dense layers are large.
        folded_shapes(copy)
    return copy


_SUMS = {"Add", "Convolution", "GroupConvolution", "MatMul", "Multiply", "Subtract"}


def _sum_in_floats(model: Any) -> None:
    """Change ``model`` to compute sums of quantised values in float32.

    ONNX files that are quantised dynamically sum in i32, which has no gradient. A model that counts
    positions with such values stays as it is.
    """
    from openvino import Type
    from openvino import opset15 as operations

    sums: dict[str, Any] = {}
    for node in model.get_ordered_ops():
        reads = [source.get_source_output() for source in node.inputs()]
        types = [read.get_element_type().get_type_name() for read in reads]
        widens = node.get_type_name() == "Convert" and types[0] in SMALL_INTEGERS
        if widens and node.get_element_type() == Type.i32:
            sums[node.get_name()] = node
        elif any(read.get_node().get_name() in sums for read in reads):
            if node.get_type_name() in _SUMS:
                sums[node.get_name()] = node
            elif node.get_type_name() != "Convert":
                return  # it may be an index of positions
    for node in sums.values():
        if node.get_type_name() == "Convert":
            real = operations.convert(node.input_value(0), np.float32).output(0)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(real)
            continue
        for source in node.inputs():
            read = source.get_source_output()
            if read.get_node().get_name() not in sums and not read.get_element_type().is_real():
                source.replace_source_output(operations.convert(read, np.float32).output(0))
    model.validate_nodes_and_infer_types()


class Operations:
    """The operations of a ``simplified`` OpenVINO model with one input, in order of evaluation.

    ``results`` are the model's outputs, in its order. ``missing`` are the types of operations that
    cannot be replayed, sorted.
    """

    def __init__(self, model: Any) -> None:
        self.model = model  # the memory of its constants
        self._operations = {node.get_name(): node for node in model.get_ordered_ops()}
        self.nodes = {name: node_of(node) for name, node in self._operations.items()}
        self.results: list[Output] = [(node.get_name(), 0) for node in model.get_results()]
        self._needed = self.back_from(self.results)
        types = {self.nodes[name].type for name in self._needed}
        self.missing = tuple(sorted(types - set(TABLE) - _SOURCES))

    def constant(self, output: Output) -> list[Any]:
        """The values of a constant; [] for anything else."""
        node = self._operations[output[0]]
        if node.get_type_name() != "Constant":
            return []
        values: list[Any] = node.get_data().flatten().tolist()
        return values

    def reads(self, node: Node) -> tuple[Output, ...]:
        """The values that the replay of ``node`` reads, without shapes that are known already."""
        shape = node.shapes[0]
        if node.type in _SHAPED and shape is not None and shape.count(None) <= 1:
            return node.reads[:1]
        return node.reads

    def back_from(self, outputs: Iterable[Output]) -> set[str]:
        """The names of all nodes that ``outputs`` depend on."""
        names: set[str] = set()
        pending = [name for name, _ in outputs]
        while pending:
            name = pending.pop()
            if name not in names:
                names.add(name)
                pending += [source for source, _ in self.reads(self.nodes[name])]
        return names


class Graph(Operations):
    """The operations of a model that TensorFlow can replay.

    ``constants`` are the values that do not depend on the image. Raises ``UnknownOperationError``
    for a model with other operations.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        if self.missing:
            raise UnknownOperationError(", ".join(self.missing))
        (self.input,) = [node.name for node in self.nodes.values() if node.type == "Parameter"]
        self.constants: dict[Output, Value] = {}
        for constant in model.get_ordered_ops():
            if constant.get_type_name() == "Constant":
                data = constant.get_data()
                kind = constant.get_element_type().get_type_name()
                if kind in FLOATS | SMALL_INTEGERS:
                    data = data.astype(np.float32, copy=False)
                self.constants[constant.get_name(), 0] = Value(data)
        for node in self.in_order(self._needed):
            sources = self.reads(node)
            if sources and all(source in self.constants for source in sources):
                with tensorflow().init_scope():
                    for index, value in enumerate(replayed(node, sources, self.constants)):
                        self.constants[node.name, index] = Value(np.asarray(value.plain))

    @property
    def rounds(self) -> bool:
        """Whether it rounds values that depend on the image, as quantised models do."""
        return any(self._is_rounding(node) for node in self.in_order(self._needed))

    def _is_rounding(self, node: Node) -> bool:
        """Return whether ``node`` rounds values that depend on the image."""
        if (node.name, 0) in self.constants:
            return False
        truncates = node.type == "Convert" and node.kinds[0] in SMALL_INTEGERS
        return truncates or node.type in _ROUNDING

    def in_order(self, names: set[str]) -> list[Node]:
        """The operations among ``names``, each after those that it reads."""
        return [
            node for node in self.nodes.values() if node.name in names and node.type not in _SOURCES
        ]

    def run(self, images: Any, outputs: Sequence[Output], *, smooth: bool = False) -> list[Value]:
        """Replay the graph for ``images``, a tensor; return the values of ``outputs``.

        With ``smooth``, quantisation has so many levels that nothing is rounded.
        """
        values = {**self.constants, (self.input, 0): Value(images)}
        for node in self.in_order(self.back_from(outputs)):
            if (node.name, 0) in values:
                continue
            if smooth and self._is_rounding(node):
                if node.type != "FakeQuantize":
                    values[node.name, 0] = values[node.reads[0]]
                    continue
                node = replace(node, attributes={**node.attributes, "levels": _SMOOTH_LEVELS})
            for index, value in enumerate(replayed(node, self.reads(node), values)):
                shape = node.shapes[index]
                if shape is not None and not value.is_constant and None in value.stored:
                    value.tensor.set_shape([shape[axis] for axis in value.order])
                values[node.name, index] = value
        return [values[output] for output in outputs]

    def operation(self, output: Output) -> Any:
        """The OpenVINO output that holds the value ``output``."""
        name, index = output
        return self._operations[name].output(index)

    def smoothed(self) -> Any:
        """The OpenVINO model, changed to what ``run`` computes with ``smooth``."""
        from openvino import opset15 as operations

        for node in self.model.get_ordered_ops():
            if not self._is_rounding(self.nodes[node.get_name()]):
                continue
            smooth = node.input_value(0)
            if node.get_type_name() == "FakeQuantize":
                smooth = operations.fake_quantize(
                    *node.input_values(), levels=_SMOOTH_LEVELS
                ).output(0)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(smooth)
        self.model.validate_nodes_and_infer_types()
        return self.model


def replayed(node: Node, sources: Iterable[Output], values: Mapping[Output, Value]) -> list[Value]:
    """The outputs of ``node`` for its ``sources`` among ``values``."""
    inputs = [values[source] for source in sources]
    try:
        outputs = TABLE[node.type](node, *inputs)
    except NotImplementedError as error:
        raise UnknownOperationError(f"{node.type} ({error})") from error
    return outputs if isinstance(outputs, list) else [outputs]
