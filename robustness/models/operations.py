"""The table of operations that can be replayed, and the values that they read.

Operations on elements, alone and together: sums, products, normalisations, attention.

Operations on feature maps (N, C, H, W): convolutions, pooling, resizing.

Operations that move, count or rearrange elements.

An OpenVINO graph, and its replay in TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models import engine  # noqa: F401  (keeps OpenVINO silent)
from robustness.models.engine import F32, Floats, core
from robustness.models.frameworks import folded_shapes, tensorflow

_INLINE = 1024
"""Elements up to which a constant becomes part of TensorFlow's graph, where it can be folded."""

Shape = tuple[int | None, ...]


class Value:
    """A tensor whose axis k is the graph's axis ``order[k]``.

    OpenVINO's convolutions have channels first, TensorFlow's last. With the order stored beside
    the tensor, a transposition costs nothing until an operation needs the axes in place. Values
    that do not depend on the image are NumPy arrays in the graph's order.
    """

    def __init__(self, tensor: Any, order: Sequence[int] | None = None) -> None:
        self.tensor = tensor
        self.order = tuple(range(len(tensor.shape)) if order is None else order)
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
        moved = [axis for axis in axes if sizes[axis] != 1]
        if moved == sorted(moved) and sizes.count(None) <= 1:  # no data has to move
            return tf.reshape(self.tensor, [-1 if sizes[a] is None else sizes[a] for a in axes])
        return tf.transpose(self.tensor, axes)

    def transposed(self, axes: Sequence[int]) -> Value:
        """The value whose axis k is this one's axis ``axes[k]``."""
        if self.is_constant:
            return Value(self.tensor.transpose(axes))
        return Value(self.tensor, [list(axes).index(axis) for axis in self.order])

    def expanded(self, rank: int) -> Value:
        """The value with axes of size 1 in front, up to ``rank``."""
        more = rank - self.rank
        if more <= 0:
            return self
        front = self.tensor[(None,) * more]
        return Value(front, (*range(more), *(axis + more for axis in self.order)))

    def stored_axes(self, axes: Sequence[int]) -> list[int]:
        """Positions in the tensor of the graph's ``axes``, which may be negative."""
        return [self.order.index(axis % self.rank) for axis in axes]


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


FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
"""Element types that are all computed in float32, as OpenVINO is asked to."""

SMALL_INTEGERS = frozenset({"u8", "i8", "u16", "i16", "u4", "i4"})
"""Element types of quantised values, which are held in float32: gradients pass through those."""

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
    source = node.sources[0]
    kind = node.kinds[0]
    tensor = x.at(x.order)
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
    low = node.attributes["min"]
    high = node.attributes["max"]
    tf = tensorflow()
    tensor = x.at(x.order)
    if (low, high) == (0, 6):
        return Value(tf.nn.relu6(tensor), x.order)
    return Value(tf.clip_by_value(tensor, low, high), x.order)


@operation("Elu")
def _elu(node: Node, x: Value) -> Value:
    tf = tensorflow()
    tensor = x.at(x.order)
    alpha = node.attributes["alpha"]
    return Value(
        tf.where(tensor > 0, tensor, alpha * tf.math.expm1(tf.minimum(tensor, 0.0))), x.order
    )


@operation("Selu")
def _selu(_node: Node, x: Value, alpha: Value, scale: Value) -> Value:
    tf = tensorflow()
    tensor = x.at(x.order)
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
    tf = tensorflow()
    tensor = x.at(x.order)
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
    first = node.attributes["transpose_a"]
    second = node.attributes["transpose_b"]
    left = x.plain
    right = y.plain
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
    plain = x.plain
    groups = int(node.attributes["num_groups"])
    rows = tf.reshape(plain, (tf.shape(plain)[0], groups, -1))
    centred = rows - tf.reduce_mean(rows, 2, True)
    variance = tf.reduce_mean(tf.square(centred), 2, True)
    normal = centred * tf.math.rsqrt(variance + node.attributes["epsilon"])
    shape = (1, -1, *(1,) * (x.rank - 2))  # one number a channel
    factor, shift = (Value(value.array.reshape(shape)).plain for value in (scale, bias))
    return Value(tf.reshape(normal, tf.shape(plain)) * factor + shift)


@operation("NormalizeL2")
def _normalise_l2(node: Node, x: Value, axes: Value) -> Value:
    tf = tensorflow()
    tensor = x.at(x.order)
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


MAPS = (0, 2, 3, 1)
"""The order of axes that TensorFlow wants of feature maps: (N, H, W, C)."""

Pads = list[list[int]]


def _check_maps(x: Value) -> None:
    if x.rank != 4:
        raise NotImplementedError(f"{x.rank - 2} axes of places in place of 2")


def _pads(node: Node, before: Shape, windows: Sequence[int]) -> Pads:
    """The padding of each spatial axis, of the sizes ``before``."""
    kind = str(node.attributes["auto_pad"]).lower().rpartition(".")[2]
    begin = list(node.attributes["pads_begin"])
    end = list(node.attributes["pads_end"])
    if kind == "valid":
        begin = end = [0, 0]
    elif kind.startswith("same"):
        strides = node.attributes["strides"]
        sizes = node.shapes[0] or ()
        for axis, (size, after) in enumerate(zip(before, sizes[2:], strict=True)):
            if size is None or after is None:
                raise NotImplementedError("maps of a size that is not fixed")
            whole = max(0, (after - 1) * strides[axis] + windows[axis] - size)
            begin[axis] = whole // 2
            end[axis] = whole - whole // 2
        if kind == "same_lower":
            begin, end = end, begin
    return [list(pair) for pair in zip(begin, end, strict=True)]


def _padded(
    tensor: Any, pads: Pads, reach: Sequence[int], strides: Sequence[int]
) -> tuple[Any, str]:
    """``tensor`` (N, ..., C), and the name of the padding that it still needs.

    TensorFlow also takes padding as numbers, but with these its optimiser of graphs can end the
    process: 2.21 does, with a strided convolution's gradient for any number of images.
    """
    if not any(map(any, pads)):
        return tensor, "VALID"
    if pads == [_same(*sizes) for sizes in zip(tensor.shape[1:-1], reach, strides, strict=True)]:
        return tensor, "SAME"
    return tensorflow().pad(tensor, [[0, 0], *pads, [0, 0]]), "VALID"


def _same(size: int | None, reach: int, stride: int) -> list[int]:
    """The padding of TensorFlow's "SAME" on an axis."""
    if size is None:
        return []
    whole = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return [whole // 2, whole - whole // 2]


# --- convolutions ---------------------------------------------------------------------------------


@operation("Convolution")
def _convolution(node: Node, x: Value, kernel: Value) -> Value:
    """Over two axes, or over three; TensorFlow dilates none of these on a CPU."""
    places = range(2, x.rank)
    if len(places) != 3:
        _check_maps(x)
    elif any(step != 1 for step in node.attributes["dilations"]):
        raise NotImplementedError("three axes of places with a dilation")
    order = (0, *places, 1)
    filters = kernel.at((*places, 1, 0))
    return Value(_convolved(node, x.at(order), filters, kernel.shape[2:], x), order)


@operation("GroupConvolution")
def _group_convolution(node: Node, x: Value, kernel: Value) -> Value:
    """Depthwise, or each group by itself: TensorFlow has no slopes of the latter on a CPU."""
    _check_maps(x)
    tf = tensorflow()
    groups, _, read, *_ = kernel.shape
    window = kernel.shape[3:]
    strides = list(node.attributes["strides"])
    if read == 1 and strides[0] == strides[1]:
        filters = kernel.at((3, 4, 0, 1, 2))
        filters = tf.reshape(filters, (*window, groups, -1))
        dilations = list(node.attributes["dilations"])
        reach = _reach(window, dilations)
        tensor, padding = _padded(x.at(MAPS), _pads(node, x.shape[2:], reach), reach, strides)
        steps = [1, *strides, 1]
        convolved = tf.nn.depthwise_conv2d(tensor, filters, steps, padding, dilations=dilations)
        return Value(convolved, MAPS)
    tensors = tf.split(x.at(MAPS), groups, 3)
    kernels = tf.unstack(kernel.at((0, 3, 4, 2, 1)))
    convolved = [
        _convolved(node, part, filters, window, x)
        for part, filters in zip(tensors, kernels, strict=True)
    ]
    return Value(tf.concat(convolved, 3), MAPS)


def _convolved(node: Node, tensor: Any, filters: Any, window: Shape, x: Value) -> Any:
    dilations = list(node.attributes["dilations"])
    strides = list(node.attributes["strides"])
    reach = _reach(window, dilations)
    tensor, padding = _padded(tensor, _pads(node, x.shape[2:], reach), reach, strides)
    return tensorflow().nn.convolution(tensor, filters, strides, padding, dilations=dilations)


def _reach(window: Shape, dilations: Sequence[int]) -> list[int]:
    """Rows and columns that a dilated window covers."""
    return [((size or 0) - 1) * step + 1 for size, step in zip(window, dilations, strict=True)]


# --- pooling --------------------------------------------------------------------------------------


@operation("MaxPool")
def _max_pool(node: Node, x: Value) -> list[Value]:
    _check_maps(x)
    tf = tensorflow()
    window = list(node.attributes["kernel"])
    strides = list(node.attributes["strides"])
    if any(step != 1 for step in node.attributes.get("dilations", ())):
        raise NotImplementedError("a dilation")
    pads = _to_the_end(node, x, window, _pads(node, x.shape[2:], window))
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
    reach = _to_the_end(node, x, window, pads)
    tensor = x.at(MAPS)
    if not any(map(any, reach)):
        return Value(tf.nn.avg_pool2d(tensor, window, strides, "VALID"), MAPS)
    summed = tf.nn.avg_pool2d(tf.pad(tensor, [[0, 0], *reach, [0, 0]]), window, strides, "VALID")
    counted = [[0, 0], [0, 0]] if node.attributes["exclude-pad"] else pads
    counts = [
        _counts(size, window[axis], strides[axis], counted[axis], reach[axis])
        for axis, size in enumerate(x.shape[2:])
    ]
    scale = window[0] * window[1] / np.multiply.outer(*counts)
    return Value(summed * scale[None, :, :, None].astype(np.float32), MAPS)


def _to_the_end(node: Node, x: Value, window: list[int], pads: Pads) -> Pads:
    """``pads`` with what a last window reaches beyond them, where sizes are rounded up."""
    strides = node.attributes["strides"]
    sizes = node.shapes[0] or ()
    ends = []
    for axis, (begin, end) in enumerate(pads):
        before = x.shape[2 + axis]
        after = sizes[2 + axis]
        if before is None or after is None:
            raise NotImplementedError("maps of a size that is not fixed")
        reach = (after - 1) * strides[axis] + window[axis] - before - begin
        ends.append([begin, max(end, reach)])
    return ends


def _counts(
    size: int | None, window: int, stride: int, counted: list[int], reach: list[int]
) -> NDArray[np.float64]:
    """The number of positions that count in the average of each window along an axis."""
    assert size is not None
    place = np.arange(-reach[0], size + reach[1])
    counts = (place >= -counted[0]) & (place < size + counted[1])
    windows = np.lib.stride_tricks.sliding_window_view(counts, window)[::stride]
    return windows.sum(1).astype(np.float64)


@operation("AdaptiveAvgPool")
def _adaptive_average_pool(node: Node, x: Value, _size: Value) -> Value:
    _check_maps(x)
    matrices = []
    for before, after in zip(x.shape[2:], node.shape[2:], strict=True):
        if before is None or after is None:
            raise NotImplementedError("maps of a size that is not fixed")
        edges = np.arange(after + 1) * before
        matrix = np.zeros((after, before), np.float32)
        for row in range(after):
            part = slice(edges[row] // after, -(-edges[row + 1] // after))
            matrix[row, part] = 1 / (part.stop - part.start)
        matrices.append(matrix)
    return _through(x, {2: matrices[0], 3: matrices[1]})


# --- resizing -------------------------------------------------------------------------------------


@operation("Interpolate")
def _interpolate(node: Node, x: Value, *scales_and_axes: Value) -> Value:
    """A product with one matrix an axis, which OpenVINO itself is asked for."""
    by_scales = node.attributes["shape_calculation_mode"] == "scales"
    matrices = {}
    for axis, (before, after) in enumerate(zip(x.shape, node.shape, strict=True)):
        if before == after or (axis == 0 and after is None):  # the images, any number
            continue
        if before is None or after is None:
            raise NotImplementedError("maps of a size that is not fixed")
        scale = _scale(axis, *scales_and_axes) if by_scales else after / before
        matrices[axis] = _matrix(node, before, after, scale, by_scales)
    return _through(x, matrices)


def _scale(axis: int, *scales_and_axes: Value) -> float:
    """By how much ``axis`` grows; in ``scales_and_axes``, axes come last, if at all."""
    *_, scales = (value.array for value in scales_and_axes if value.array.dtype.kind == "f")
    axes = (
        scales_and_axes[-1].array.tolist()
        if scales_and_axes[-1].array.dtype.kind == "i"
        else range(len(scales))
    )
    return float(scales[axes.index(axis)])


def _matrix(node: Node, before: int, after: int, scale: float, by_scales: bool) -> Floats:
    """The matrix (``after``, ``before``) that resizes an axis as the node does."""
    from openvino import Model, opset13

    target = np.array([scale, 1], np.float32) if by_scales else np.array([after, before])
    image = opset13.parameter((1, 1, before, before), np.float32)
    names = ("mode", "shape_calculation_mode", "pads_begin", "pads_end")
    more = ("coordinate_transformation_mode", "nearest_mode", "antialias", "cube_coeff")
    settings = [node.attributes[name] for name in (*names, *more)]
    resized = opset13.interpolate(image, target, *settings, axes=np.array([2, 3]))
    compiled = core().compile_model(
        Model([resized], [image]), "CPU", {"INFERENCE_PRECISION_HINT": F32}
    )
    return compiled(np.eye(before, dtype=np.float32)[None, None])[0][0, 0]


def _through(x: Value, matrices: dict[int, Floats]) -> Value:
    """``x`` with each of its axes multiplied by its matrix (after, before)."""
    tf = tensorflow()
    tensor = x.at(x.order)
    letters = "abcdefg"[: x.rank]
    for axis, matrix in matrices.items():
        (place,) = x.stored_axes([axis])
        after = letters.replace(letters[place], "z")
        tensor = tf.einsum(f"{letters},z{letters[place]}->{after}", tensor, matrix)
    return Value(tensor, x.order)


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
    """``target`` is not read where one size at most is left open."""
    tf = tensorflow()
    if not target:
        return Value(tf.reshape(x.plain, _with_one_open(node)))
    sizes_after = target[0].plain
    if node.attributes["special_zero"]:
        tensor = x.plain
        sizes = tf.pad(tf.shape(tensor, sizes_after.dtype), [[0, max(0, len(node.shape) - x.rank)]])
        sizes_after = tf.where(tf.equal(sizes_after, 0), sizes[: len(node.shape)], sizes_after)
    return Value(tf.reshape(x.plain, sizes_after))


@operation("Squeeze", "Unsqueeze")
def _with_other_ones(node: Node, x: Value, *_axes: Value) -> Value:
    if node.shapes[0] is not None and node.shape.count(None) <= 1:
        return Value(tensorflow().reshape(x.plain, _with_one_open(node)))
    tf = tensorflow()
    axes = _axes[0].array.reshape(-1).tolist() if _axes else None
    if node.type == "Squeeze":
        return Value(tf.squeeze(x.plain, axes))
    tensor = x.plain
    rank = x.rank + len(axes or ())
    for axis in sorted(axis % rank for axis in axes or ()):
        tensor = tf.expand_dims(tensor, axis)
    return Value(tensor)


def _with_one_open(node: Node) -> list[int]:
    return [-1 if size is None else size for size in node.shape]


@operation("ShapeOf")
def _shape_of(node: Node, x: Value) -> Value:
    kind = number_type(node.kinds[0])
    if None not in x.shape:
        return Value(np.array(x.shape, kind.as_numpy_dtype))
    tf = tensorflow()
    sizes = tf.shape(x.tensor, kind)
    return Value(tf.stack([sizes[place] for place in x.stored_axes(range(x.rank))]))


@operation("Broadcast")
def _broadcast(node: Node, x: Value, target: Value, *axes: Value) -> Value:
    tf = tensorflow()
    mode = str(node.attributes["mode"]).lower()
    if mode == "explicit":
        at = axes[0].array.tolist()
        sizes: list[Any] = [1] * len(node.shape)
        for axis, size in zip(at, x.shape, strict=True):
            sizes[axis] = -1 if size is None else size
        return Value(tf.broadcast_to(tf.reshape(x.plain, sizes), target.plain))
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
    (axis,) = leader.stored_axes([node.attributes["axis"]])
    tensors = [part.at(leader.order) for part in parts]
    return Value(tensorflow().concat(tensors, axis), leader.order)


@operation("Split", "VariadicSplit")
def _split(node: Node, x: Value, axis: Value, *lengths: Value) -> list[Value]:
    (place,) = x.stored_axes([int(axis.array)])
    sizes = lengths[0].array.tolist() if lengths else node.attributes["num_splits"]
    parts = tensorflow().split(x.at(x.order), sizes, place)
    return [Value(part, x.order) for part in parts]


@operation("Slice")
def _cut_out(_node: Node, x: Value, start: Value, stop: Value, step: Value, *axes: Value) -> Value:
    at = axes[0].array.tolist() if axes else range(start.array.size)
    cuts = [slice(None)] * x.rank
    for place, *ends in zip(x.stored_axes(at), start.array, stop.array, step.array, strict=True):
        cuts[place] = _slice(x.stored[place], *map(int, ends))
    return Value(x.at(x.order)[tuple(cuts)], x.order)


def _slice(size: int | None, start: int, stop: int, step: int) -> slice:
    """The slice as Python means it: a stop before the beginning, going backwards, is none."""
    if size is None:
        most = np.iinfo(np.int32).max
        return slice(start, None if abs(stop) >= most else stop, step)
    first, last, _ = slice(start, stop, step).indices(size)
    return slice(first, None if last < 0 else last, step)


@operation("StridedSlice")
def _strided_slice(node: Node, x: Value, begin: Value, end: Value, *stride: Value) -> Value:
    def bits(name: str) -> int:
        return sum(1 << place for place, bit in enumerate(node.attributes.get(name, [])) if bit)

    limits = np.iinfo(np.int32)
    ends = [np.clip(value.array, limits.min, limits.max).astype(np.int32) for value in (begin, end)]
    strides = stride[0].array.astype(np.int32) if stride else np.ones_like(ends[0])
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = {name: bits(name) for name in names}
    return Value(tensorflow().strided_slice(x.plain, *ends, strides, **masks))


@operation("Gather")
def _gather(node: Node, x: Value, indices: Value, axis: Value) -> Value:
    tf = tensorflow()
    (place,) = x.stored_axes([int(axis.array)])
    batched = int(node.attributes.get("batch_dims", 0))
    if indices.is_constant and not batched and indices.array.size == 1 and not x.is_constant:
        # Cut out: the slope of a gather is scattered, which takes longer.
        index = int(indices.array.reshape(()))
        along = [slice(None)] * x.rank
        along[x.order.index(int(axis.array) % x.rank)] = slice(index, index + 1 or None)
        taken = Value(x.tensor[tuple(along)], x.order)
        return taken if indices.rank == 1 else _without(taken, int(axis.array) % x.rank, indices)
    at = indices.plain
    size = x.stored[place]
    if size is not None:
        at = tf.where(at < 0, at + tf.cast(size, at.dtype), at)
    gathered = tf.gather(x.plain, at, axis=int(axis.array), batch_dims=batched)
    return Value(gathered)


def _without(x: Value, axis: int, indices: Value) -> Value:
    """``x`` with its ``axis`` of size 1 in the shape of ``indices``, which hold one."""
    tf = tensorflow()
    if indices.rank == 0:
        place = x.order.index(axis)
        order = [at - (at > axis) for at in x.order if at != axis]
        return Value(tf.squeeze(x.tensor, [place]), order)
    plain = x.plain
    for _ in range(indices.rank - 1):
        plain = tf.expand_dims(plain, axis)
    return Value(plain)


@operation("GatherND")
def _gather_nd(node: Node, x: Value, indices: Value) -> Value:
    batched = int(node.attributes.get("batch_dims", 0))
    return Value(tensorflow().gather_nd(x.plain, indices.plain, batch_dims=batched))


@operation("ScatterNDUpdate")
def _scatter_nd_update(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    if str(node.attributes.get("reduction", "none")).lower() != "none":
        raise NotImplementedError("a reduction")
    tf = tensorflow()
    return Value(tf.tensor_scatter_nd_update(x.plain, indices.plain, updates.plain))


@operation("Pad")
def _pad(node: Node, x: Value, begin: Value, end: Value, *filled: Value) -> Value:
    tf = tensorflow()
    mode = str(node.attributes["pad_mode"]).rpartition(".")[2].upper()
    amounts = np.stack([begin.array, end.array], 1)[list(x.order)]
    if (amounts < 0).any():
        raise NotImplementedError("a negative amount")
    if mode == "EDGE":
        tensor = x.at(x.order)
        for axis, (before, after) in enumerate(amounts.tolist()):
            if before or after:
                last = tensor.shape[axis] - 1
                at = np.clip(np.arange(-before, last + 1 + after), 0, last)
                tensor = tf.gather(tensor, at, axis=axis)
        return Value(tensor, x.order)
    value = filled[0].plain if filled else 0
    return Value(tf.pad(x.at(x.order), amounts, mode, value), x.order)


@operation("Range")
def _range(node: Node, start: Value, stop: Value, step: Value) -> Value:
    tf = tensorflow()
    kind = tf.float32 if node.kinds[0].startswith("f") else number_type(node.kinds[0])
    ends = [tf.cast(tf.reshape(value.plain, ()), kind) for value in (start, stop, step)]
    return Value(tf.range(*ends))


@operation("OneHot")
def _one_hot(node: Node, indices: Value, depth: Value, on: Value, off: Value) -> Value:
    axis = int(node.attributes["axis"])
    encoded = tensorflow().one_hot(
        indices.plain, int(depth.array), on.plain, off.plain, axis % (indices.rank + 1)
    )
    return Value(encoded)


@operation("CumSum")
def _cumulative_sum(node: Node, x: Value, axis: Value) -> Value:
    (place,) = x.stored_axes([int(axis.array)])
    exclusive, reverse = (bool(node.attributes[name]) for name in ("exclusive", "reverse"))
    return Value(tensorflow().cumsum(x.at(x.order), place, exclusive, reverse), x.order)


@operation("DepthToSpace", "SpaceToDepth")
def _depth_and_space(node: Node, x: Value) -> Value:
    """Between channels (N, C, H, W) and places; in blocks of ``block_size`` rows and columns."""
    tf = tensorflow()
    side = int(node.attributes["block_size"])
    blocks_first = str(node.attributes["mode"]).lower().endswith("blocks_first")
    if x.rank != 4:
        raise NotImplementedError(f"{x.rank} axes")
    if not blocks_first:
        raise NotImplementedError("channels before blocks")
    act = tf.nn.depth_to_space if node.type == "DepthToSpace" else tf.nn.space_to_depth
    order = (0, 2, 3, 1)
    return Value(act(x.at(order), side), order)


@operation("SpaceToBatch", "BatchToSpace")
def _batch_and_space(node: Node, x: Value, blocks: Value, begin: Value, end: Value) -> Value:
    """Between places and parts of the batch, as around a dilated convolution."""
    tf = tensorflow()
    sides = blocks.array
    amounts = np.stack([begin.array, end.array], 1)
    if sides[0] != 1 or amounts[0].any():
        raise NotImplementedError("blocks of the batch")
    act = tf.space_to_batch if node.type == "SpaceToBatch" else tf.batch_to_space
    return Value(act(x.plain, sides[1:], amounts[1:]))


@operation("ShuffleChannels")
def _shuffle_channels(node: Node, x: Value) -> Value:
    tf = tensorflow()
    groups = int(node.attributes["group"])
    axis = int(node.attributes["axis"]) % x.rank
    (place,) = x.stored_axes([axis])
    sizes = [-1 if size is None else size for size in x.stored]
    channels = sizes[place]
    parted = [*sizes[:place], groups, channels // groups, *sizes[place + 1 :]]
    axes = list(range(len(parted)))
    axes[place], axes[place + 1] = axes[place + 1], axes[place]
    shuffled = tf.transpose(tf.reshape(x.at(x.order), parted), axes)
    return Value(tf.reshape(shuffled, sizes), x.order)


Output = tuple[str, int]
"""A value of a graph: the name of its node, and the number of the output."""

_SOURCES = {"Parameter", "Constant"}
_SHAPED = {"Reshape", "Squeeze", "Unsqueeze"}
"""Operations that keep the number of elements, so that one open size can be derived."""

NORMALISATION = "BatchNormInference"

_ROUNDING = {"FakeQuantize", "Round"}
_SMOOTH = 1 << 22
"""Enough levels that rounding makes no difference."""


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
    folded = {"ShapeOf", NORMALISATION} if fold_normalisations else {"ShapeOf"}
    if types & folded or types - set(TABLE) - _SOURCES:
        # For most graphs that is all; these take seconds where dense layers are large.
        folded_shapes(copy)
    return copy


_SUMS = {"Add", "Convolution", "GroupConvolution", "MatMul", "Multiply", "Subtract"}


def _sum_in_floats(model: Any) -> None:
    """Changes ``model`` to compute sums of quantised values in float32.

    ONNX files that are quantised dynamically sum in i32, which has no slope.
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
                return  # it may count places with them
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
        """The values of a constant; empty of anything else."""
        node = self._operations[output[0]]
        return node.get_data().flatten().tolist() if node.get_type_name() == "Constant" else []

    def reads(self, node: Node) -> tuple[Output, ...]:
        """The values that the replay of ``node`` reads, without shapes that are known already."""
        open_sizes = None if node.shapes[0] is None else node.shapes[0].count(None)
        if node.type in _SHAPED and open_sizes is not None and open_sizes <= 1:
            return node.reads[:1]
        return node.reads

    def back_from(self, outputs: Iterable[Output]) -> set[str]:
        """Names of all nodes that ``outputs`` depend on."""
        names: set[str] = set()
        pending = [name for name, _ in outputs]
        while pending:
            name = pending.pop()
            if name not in names:
                names.add(name)
                pending += [source for source, _ in self.reads(self.nodes[name])]
        return names


class Graph(Operations):
    """Operations that TensorFlow can replay. Raises ``UnknownOperationError`` for others."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        if self.missing:
            raise UnknownOperationError(", ".join(self.missing))
        (self.input,) = (node.name for node in self.nodes.values() if node.type == "Parameter")
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
                    for place, value in enumerate(replayed(node, sources, self.constants)):
                        self.constants[node.name, place] = Value(np.asarray(value.plain))

    @property
    def rounds(self) -> bool:
        """Whether it rounds values that depend on the image, as quantised models do."""
        return any(map(self._is_rounding, self.in_order(self._needed)))

    def _is_rounding(self, node: Node) -> bool:
        small = node.type == "Convert" and node.kinds[0] in SMALL_INTEGERS
        return (node.type in _ROUNDING or small) and (node.name, 0) not in self.constants

    def in_order(self, names: set[str]) -> list[Node]:
        """The operations among ``names``, each after those that it reads."""
        return [n for n in self.nodes.values() if n.name in names and n.type not in _SOURCES]

    def run(self, images: Any, outputs: Sequence[Output], *, smooth: bool = False) -> list[Value]:
        """In TensorFlow: the values of ``outputs`` for ``images``.

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
                node = replace(node, attributes={**node.attributes, "levels": _SMOOTH})
            for place, value in enumerate(replayed(node, self.reads(node), values)):
                shape = node.shapes[place]
                if shape is not None and not value.is_constant and None in value.stored:
                    value.tensor.set_shape([shape[axis] for axis in value.order])
                values[node.name, place] = value
        return [values[output] for output in outputs]

    def operation(self, output: Output) -> Any:
        """The OpenVINO output that holds the value ``output``."""
        return self._operations[output[0]].output(output[1])

    def smoothed(self) -> Any:
        """The OpenVINO model, changed to what ``run`` computes with ``smooth``."""
        from openvino import opset15 as operations

        for node in self.model.get_ordered_ops():
            if not self._is_rounding(self.nodes[node.get_name()]):
                continue
            smooth = node.input_value(0)
            if node.get_type_name() == "FakeQuantize":
                smooth = operations.fake_quantize(*node.input_values(), levels=_SMOOTH).output(0)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(smooth)
        self.model.validate_nodes_and_infer_types()
        return self.model


def replayed(node: Node, sources: Iterable[Output], values: Mapping[Output, Value]) -> list[Value]:
    """The outputs of ``node`` for the values that it reads."""
    try:
        outputs = TABLE[node.type](node, *(values[source] for source in sources))
    except NotImplementedError as error:
        raise UnknownOperationError(f"{node.type} ({error})") from error
    return outputs if isinstance(outputs, list) else [outputs]
