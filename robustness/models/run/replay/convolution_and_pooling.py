"""Operations on feature maps (N, C, H, W): convolutions, pooling, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.run.openvino_and_engine_choice import F32, Floats, core
from robustness.models.run.replay.operation_table_and_values import Node, Shape, Value, operation
from robustness.models.tensorflow_and_keras_import import tensorflow

MAPS = (0, 2, 3, 1)
"""The order of axes that TensorFlow wants of feature maps: (N, H, W, C)."""

Pads = list[list[int]]


def _check_maps(x: Value) -> None:
    if x.rank != 4:
        raise NotImplementedError(f"{x.rank - 2} axes of places in place of 2")


def _pads(node: Node, before: Shape, windows: Sequence[int]) -> Pads:
    """The padding of each spatial axis, of the sizes ``before``."""
    kind = str(node.attributes["auto_pad"]).lower().rpartition(".")[2]
    begin, end = list(node.attributes["pads_begin"]), list(node.attributes["pads_end"])
    if kind == "valid":
        begin = end = [0, 0]
    elif kind.startswith("same"):
        strides, sizes = node.attributes["strides"], node.shapes[0] or ()
        for axis, (size, after) in enumerate(zip(before, sizes[2:], strict=True)):
            if size is None or after is None:
                raise NotImplementedError("maps of a size that is not fixed")
            whole = max(0, (after - 1) * strides[axis] + windows[axis] - size)
            begin[axis], end[axis] = whole // 2, whole - whole // 2
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
    order, filters = (0, *places, 1), kernel.at((*places, 1, 0))
    return Value(_convolved(node, x.at(order), filters, kernel.shape[2:], x), order)


@operation("GroupConvolution")
def _group_convolution(node: Node, x: Value, kernel: Value) -> Value:
    """Depthwise, or each group by itself: TensorFlow has no slopes of the latter on a CPU."""
    _check_maps(x)
    tf = tensorflow()
    groups, _, read, *_ = kernel.shape
    window, strides = kernel.shape[3:], list(node.attributes["strides"])
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
    dilations, strides = list(node.attributes["dilations"]), list(node.attributes["strides"])
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
    window, strides = list(node.attributes["kernel"]), list(node.attributes["strides"])
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
    window, strides = list(node.attributes["kernel"]), list(node.attributes["strides"])
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
    strides, sizes = node.attributes["strides"], node.shapes[0] or ()
    ends = []
    for axis, (begin, end) in enumerate(pads):
        before, after = x.shape[2 + axis], sizes[2 + axis]
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
