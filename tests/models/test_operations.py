"""Every operation of the table against OpenVINO, and its slope against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as o

from robustness.models.engine import core
from robustness.models.frameworks import tensorflow
from robustness.models.operations import (
    NORMALISATION,
    TABLE,
    Graph,
    UnknownOperationError,
    simplified,
)

Make = Callable[[Any], Any]
Floats = NDArray[np.float32]

MAPS, TOKENS = (-1, 6, 8, 7), (-1, 5, 12)
PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}


def numbers(*shape: int, low: float = -1, high: float = 1) -> Floats:
    """The same for the same shape: all different, so that a small step changes no order."""
    count = int(np.prod(shape))
    places = np.random.default_rng(shape).permutation(count).reshape(shape)
    return (low + (high - low) * (places + 0.5) / count).astype(np.float32)


def weights(*shape: int, low: float = -1, high: float = 1) -> Any:
    return o.constant(numbers(*shape, low=low, high=high))


def whole(*values: int) -> Any:
    return o.constant(np.array(values, np.int64))


def one(value: float) -> Any:
    return o.constant(np.array(value, np.int64 if isinstance(value, int) else np.float32))


def pooled(kind: str, **settings: Any) -> Make:
    start = {"strides": [2, 2], "kernel_shape": [3, 3], "pads_begin": [1, 1], "pads_end": [1, 1]}
    told = {**start, **settings}
    if kind == "max":
        told |= {"dilations": [1, 1]}
        return lambda x: o.max_pool(x, **told).output(0)
    return lambda x: o.avg_pool(x, **{"exclude_pad": False, **told})


def convolved(*, steps: int = 1, dilation: int = 1, pads: tuple[int, int] = (0, 0)) -> Make:
    edges = [pads[0]] * 2, [pads[1]] * 2
    return lambda x: o.convolution(
        x, weights(4, 6, 3, 3), [steps] * 2, *edges, [dilation] * 2, "explicit"
    )


def grouped(groups: int, *, steps: int = 1, dilation: int = 1, each: int = 2) -> Make:
    kernel = weights(groups, each, 6 // groups, 3, 3)
    return lambda x: o.group_convolution(
        x, kernel, [steps] * 2, [1, 1], [1, 1], [dilation] * 2, "explicit"
    )


def parts(x: Any) -> Any:
    return o.space_to_batch(x, whole(1, 1, 2, 3), whole(0, 0, 0, 2), whole(0, 0, 0, 0))


def resized(mode: str, how: str = "half_pixel", **more: Any) -> Make:
    return lambda x: o.interpolate(
        x, whole(11, 5), mode, "sizes", coordinate_transformation_mode=how, axes=whole(2, 3), **more
    )


UNARY = {
    name: getattr(o, function)
    for name, function in {
        "Abs": "absolute", "Atan": "atan", "Cos": "cos", "Cosh": "cosh", "Erf": "erf",
        "Exp": "exp", "HSigmoid": "hsigmoid", "HSwish": "hswish", "Mish": "mish",
        "Negative": "negative", "Relu": "relu", "Sigmoid": "sigmoid", "Sin": "sin",
        "Sinh": "sinh", "SoftPlus": "softplus", "SoftSign": "softsign", "Tan": "tan",
        "Tanh": "tanh",
    }.items()
}  # fmt: skip
INNER = {"Acos": o.acos, "Asin": o.asin}  # of values from -1 to 1 alone
POSITIVE = {"Log": o.log, "Sqrt": o.sqrt}
PAIRS = {
    "Add": o.add, "Divide": o.divide, "Maximum": o.maximum, "Minimum": o.minimum,
    "Multiply": o.multiply, "SquaredDifference": o.squared_difference, "Subtract": o.subtract,
}  # fmt: skip
COMPARISONS = {
    "Equal": o.equal, "Greater": o.greater, "GreaterEqual": o.greater_equal, "Less": o.less,
    "LessEqual": o.less_equal, "NotEqual": o.not_equal,
}  # fmt: skip
LOGICAL = {"LogicalAnd": o.logical_and, "LogicalOr": o.logical_or, "LogicalXor": o.logical_xor}
SUMS = {
    "ReduceL1": o.reduce_l1, "ReduceL2": o.reduce_l2, "ReduceMax": o.reduce_max,
    "ReduceMean": o.reduce_mean, "ReduceMin": o.reduce_min, "ReduceProd": o.reduce_prod,
    "ReduceSum": o.reduce_sum,
}  # fmt: skip


def each(
    functions: Mapping[str, Any], use: Callable[[Any, Any], Any], after: str = ""
) -> dict[str, Make]:
    return {name + after: partial(use, function) for name, function in functions.items()}


def compared(function: Any) -> Make:
    return lambda x: o.select(function(x, one(0.1)), o.multiply(x, one(2.0)), x)


def logical(function: Any) -> Make:
    return lambda x: o.select(function(o.less(x, one(0.2)), o.less(one(-0.3), x)), x, one(0.5))


SMOOTH: dict[str, Make] = {
    **UNARY,
    **each(INNER, lambda f, x: f(o.multiply(x, one(0.4)))),
    **each(POSITIVE, lambda f, x: f(o.add(x, one(3.0)))),
    **each(PAIRS, lambda f, x: f(x, weights(1, 6, 1, 7, low=0.5))),
    "Power": lambda x: o.power(o.add(x, one(3.0)), one(2.5)),
    **{name: compared(function) for name, function in COMPARISONS.items()},
    **{name: logical(function) for name, function in LOGICAL.items()},
    "LogicalNot": lambda x: o.select(o.logical_not(o.less(x, one(0.0))), x, one(0.0)),
    "Select": lambda x: o.select(o.less(x, one(0.0)), o.exp(x), x),
    **each(SUMS, lambda f, x: f(x, whole(2, 3), True), ", kept"),
    **each(SUMS, lambda f, x: f(x, whole(1, -1), False)),
    "ReduceLogicalAnd": lambda x: o.select(
        o.reduce_logical_and(o.less(x, one(0.9)), whole(1), True), x, one(0.0)
    ),
    "ReduceLogicalOr": lambda x: o.select(
        o.reduce_logical_or(o.less(x, one(-0.9)), whole(1), True), x, one(0.0)
    ),
    "Clamp": lambda x: o.clamp(x, -0.3, 0.4),
    "Clamp as ReLU6": lambda x: o.clamp(o.multiply(x, one(9.0)), 0.0, 6.0),
    "Elu": lambda x: o.elu(x, 0.7),
    "Selu": lambda x: o.selu(x, one(1.67), one(1.05)),
    "HardSigmoid": lambda x: o.hard_sigmoid(x, one(0.4), one(0.5)),
    "Gelu": lambda x: o.gelu(x, "erf"),
    "Gelu, approximated": lambda x: o.gelu(x, "tanh"),
    "Swish": lambda x: o.swish(x, one(1.5)),
    "PRelu": lambda x: o.prelu(x, weights(6)),
    "Transpose": lambda x: o.exp(o.transpose(x, whole(0, 2, 3, 1))),
    "Reshape": lambda x: o.reshape(x, whole(0, -1, 14), True),
    "Squeeze": lambda x: o.squeeze(o.reduce_mean(x, whole(2), True), whole(2)),
    "Unsqueeze": lambda x: o.unsqueeze(x, whole(2)),
    "ShapeOf": lambda x: o.reshape(x, o.concat([o.gather(o.shape_of(x), whole(1, 0), one(0)),
                                                whole(56)], 0), False),
    "Broadcast": lambda x: o.broadcast(o.reduce_mean(x, whole(1), True), o.shape_of(x)),
    "Broadcast, both ways": lambda x: o.broadcast(x, whole(2, 1, 6, 1, 1), None, "bidirectional"),
    "Tile": lambda x: o.tile(x, whole(1, 2, 1, 3)),
    "Concat": lambda x: o.concat([x, o.exp(x)], 1),
    "Split": lambda x: o.multiply(*o.split(x, one(1), 2).outputs()),
    "VariadicSplit": lambda x: o.concat(
        o.variadic_split(x, one(2), whole(3, 5)).outputs()[::-1], 2
    ),
    "Slice": lambda x: o.slice(x, whole(7, 1), whole(-100, 2**31), whole(-2, 1), whole(2, 3)),
    "StridedSlice": lambda x: o.strided_slice(
        x, whole(0, 1, 0, 0), whole(0, 5, 3, 0), whole(1, 2, 1, 1),
        [1, 0, 0, 1], [1, 0, 0, 1], shrink_axis_mask=[0, 0, 1, 0],
    ),
    "Gather": lambda x: o.gather(x, whole(4, 0, -1), one(1)),
    "Gather of one": lambda x: o.gather(o.transpose(x, whole(0, 2, 3, 1)), one(-1), one(3)),
    "Gather of one as a row": lambda x: o.gather(x, whole(2), one(1)),
    "GatherND": lambda x: o.gather_nd(
        o.transpose(x, whole(1, 2, 3, 0)), o.constant([[3, 1], [0, 2]])
    ),
    "ScatterNDUpdate": lambda x: o.scatter_nd_update(
        o.transpose(x, whole(1, 0, 2, 3)), o.constant(np.array([[1], [4]])),
        o.constant(numbers(2, 2, 8, 7)),
    ),
    **each(
        {mode: mode for mode in ("constant", "edge", "reflect", "symmetric")},
        lambda mode, x: o.pad(
            x, whole(0, 0, 1, 2), whole(0, 1, 2, 0), mode, one(0.5) if mode == "constant" else None
        ),
        ", Pad",
    ),
    "CumSum": lambda x: o.cum_sum(x, one(2), exclusive=True, reverse=True),
    "DepthToSpace": lambda x: o.depth_to_space(
        o.concat([x, o.slice(x, whole(0), whole(2), whole(1), whole(1))], 1), "blocks_first", 2
    ),
    "SpaceToDepth": lambda x: o.space_to_depth(
        o.slice(x, whole(0), whole(6), whole(1), whole(3)), "blocks_first", 2
    ),
    "SpaceToBatch": parts,
    "BatchToSpace": lambda x: o.batch_to_space(
        o.exp(parts(x)), whole(1, 1, 2, 3), whole(0, 0, 0, 2), whole(0, 0, 1, 0)
    ),
    "ShuffleChannels": lambda x: o.shuffle_channels(x, 1, 3),
    "MatMul": lambda x: o.matmul(x, weights(7, 5), False, False),
    "MatMul of both": lambda x: o.matmul(x, o.exp(x), False, True),
    "MatMul, first turned": lambda x: o.matmul(x, weights(8, 3), True, False),
    "Einsum": lambda x: o.einsum([x, weights(6, 9)], "nchw,ck->nkhw"),
    "Softmax": lambda x: o.softmax(x, 1),
    "LogSoftmax": lambda x: o.log_softmax(x, -1),
    "MVN": lambda x: o.mvn(x, whole(1, 3), True, 1e-3, "inside_sqrt"),
    "MVN, outside": lambda x: o.mvn(x, whole(2), True, 1e-2, "outside_sqrt"),
    "MVN, centred": lambda x: o.mvn(x, whole(2), False, 1e-2, "outside_sqrt"),
    "GroupNormalization": lambda x: o.group_normalization(x, weights(6), weights(6), 3, 1e-3),
    "NormalizeL2": lambda x: o.normalize_l2(x, whole(1), 1e-3, "add"),
    "NormalizeL2, at least": lambda x: o.normalize_l2(x, whole(2), 1e-3, "max"),
    "LRN": lambda x: o.lrn(x, whole(1), 0.3, 0.75, 2.0, 5),
    "Convolution": convolved(pads=(1, 1)),
    "Convolution in steps": convolved(steps=2, pads=(1, 1)),
    "Convolution, dilated": convolved(dilation=2, pads=(2, 2)),
    "Convolution, other edges": convolved(steps=2, pads=(0, 1)),
    "Convolution over three axes": lambda x: o.convolution(
        o.unsqueeze(x, whole(1)), weights(4, 1, 3, 3, 1), [1, 2, 1], [1, 1, 0], [1, 0, 0], [1] * 3
    ),
    "GroupConvolution": grouped(2),
    "GroupConvolution in steps": grouped(3, steps=2),
    "GroupConvolution, depthwise": grouped(6),
    "GroupConvolution, depthwise in steps": grouped(6, steps=2, each=1),
    "GroupConvolution, depthwise and dilated": grouped(6, dilation=2, each=1),
    "MaxPool": pooled("max"),
    "MaxPool, rounded up": pooled("max", rounding_type="ceil", pads_end=[0, 0]),
    "AvgPool": pooled("average"),
    "AvgPool without its edges": pooled("average", exclude_pad=True),
    "AvgPool, rounded up": pooled("average", rounding_type="ceil", exclude_pad=True),
    "AdaptiveAvgPool": lambda x: o.adaptive_avg_pool(x, whole(3, 5)),
    "Interpolate, nearest": resized("nearest", nearest_mode="floor"),
    "Interpolate, linear": resized("linear_onnx"),
    "Interpolate, cubic": resized("cubic", cube_coeff=-0.5),
    "Interpolate, corners": resized("linear_onnx", "align_corners"),
    "Interpolate by scales": lambda x: o.interpolate(
        x, o.constant(np.array([1.7, 2.0], np.float32)), "cubic", "scales", axes=whole(2, 3)
    ),
}  # fmt: skip
"""By what is tried: a function of feature maps (N, C, H, W), or of tokens, that has a slope."""

ATTENTION: dict[str, Make] = {
    "ScaledDotProductAttention": lambda x: o.scaled_dot_product_attention(x, o.exp(x), o.sin(x)),
    "ScaledDotProductAttention, masked": lambda x: o.scaled_dot_product_attention(
        x, x, x, o.constant(numbers(5, 5) > -0.5), one(0.3)
    ),
    "ScaledDotProductAttention, added to": lambda x: o.scaled_dot_product_attention(
        x, x, x, weights(5, 5)
    ),
    "OneHot": lambda x: o.multiply(
        x, o.one_hot(o.convert(o.floor(o.multiply(o.reduce_max(x, whole(2), False), one(9.0))),
                               "i64"), one(12), one(1.0), one(0.5), 2)
    ),
    "Range": lambda x: o.multiply(x, o.reshape(o.convert(
        o.range(one(1), o.add(o.gather(o.shape_of(x), one(0), one(0)), one(1)), one(1), "i64"),
        "f32"), whole(-1, 1, 1), False)),
}  # fmt: skip

STEPS: dict[str, tuple[Make, Callable[[Floats], Floats]]] = {
    "Round": (lambda x: o.round(o.multiply(x, one(3.0))), lambda x: np.full_like(x, 3)),
    "Round, away from 0": (
        lambda x: o.round(o.multiply(x, one(3.0)), "half_away_from_zero"),
        lambda x: np.full_like(x, 3),
    ),
    "Convert": (
        lambda x: o.convert(o.convert(o.multiply(o.abs(x), one(99.0)), "u8"), "f32"),
        lambda x: 99 * np.sign(x),
    ),
    "FakeQuantize": (
        lambda x: o.fake_quantize(x, one(-0.5), one(0.5), one(-1.0), one(2.0), 16),
        lambda x: np.where(np.abs(x) < 0.5, np.float32(3), np.float32(0)),
    ),
}
"""By what is tried: a function in steps, and the slope of what it is without them."""

FLAT: dict[str, Make] = {
    "Ceiling": lambda x: o.ceiling(o.multiply(x, one(3.0))),
    "Floor": lambda x: o.floor(o.multiply(x, one(3.0))),
    "Sign": o.sign,
    "FloorMod": lambda x: o.floor_mod(o.multiply(x, one(9.0)), one(2.0)),
    "ConvertLike": lambda x: o.convert_like(o.less(x, one(0.0)), x),
}
"""Functions without a slope, or with one only between jumps."""


OF_MAPS: dict[str, Make] = {**SMOOTH, **FLAT, **{name: make for name, (make, _) in STEPS.items()}}


def model_of(*makes: Make, shape: tuple[int, ...] = MAPS) -> Any:
    x = o.parameter(shape, np.float32, "x")
    return openvino.Model([o.result(make(x)) for make in makes], [x])


@dataclass(frozen=True)
class Tried:
    """The results of TensorFlow and OpenVINO for one function of the same input."""

    found: Floats
    expected: Floats
    factors: Floats
    """The weights of a sum of all its numbers."""
    slope: Floats
    """The gradient of that sum, by TensorFlow."""
    changes: list[tuple[Floats, float]]
    """By how much OpenVINO's sum changes along small directions."""


def replay(graph: Graph, x: Floats) -> list[tuple[Floats, Floats, Floats]]:
    """TensorFlow's results, factors and slopes, in a graph for any number of images."""
    tf = tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((None, *x.shape[1:]))], autograph=False)
    def run(images: Any) -> Any:
        told = []
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(images)
            for part in graph.run(images, graph.results):
                found = tf.cast(part.plain, tf.float32)
                places = tf.reshape(tf.range(tf.size(found), dtype=tf.float32), tf.shape(found))
                factors = tf.cos(places)
                told.append((found, factors, tf.reduce_sum(found * factors)))
        return [
            (found, factors, tf.zeros_like(images) if slope is None else slope)
            for found, factors, total in told
            for slope in [tape.gradient(total, images)]
        ]

    return [tuple(part.numpy() for part in parts) for parts in run(tf.constant(x))]


STEP = np.float32(2e-4)


def is_taken_as_it_is(make: Make, shape: tuple[int, ...]) -> bool:
    """Whether the replay knows the function's operations; other graphs are rewritten as a whole."""
    types = {node.get_type_name() for node in model_of(make, shape=shape).get_ops()}
    return "ShapeOf" not in types and types <= {*TABLE, "Parameter", "Constant"}


@cache
def all_tried(shape: tuple[int, ...]) -> dict[str, Tried]:
    """Every function of an input of this shape, many in a graph: each would be compiled alone."""
    makes = OF_MAPS if shape == MAPS else ATTENTION
    simple = {name: make for name, make in makes.items() if is_taken_as_it_is(make, shape)}
    others = {name: make for name, make in makes.items() if name not in simple}
    return {**tried(simple, shape), **tried(others, shape)}


def tried(makes: Mapping[str, Make], shape: tuple[int, ...]) -> dict[str, Tried]:
    model = model_of(*makes.values(), shape=shape)
    x = numbers(2, *shape[1:])
    compiled = core().compile_model(model, "CPU", PRECISE)

    def asked(values: Floats) -> list[Floats]:
        found = compiled(values)
        return [np.array(found[place]) for place in range(len(makes))]

    expected = asked(x)
    around = []
    for seed in range(2):
        direction = np.random.default_rng(seed).choice([-1, 1], x.shape).astype(np.float32) * STEP
        around.append((direction, asked(x + direction), asked(x - direction)))
    found = {}
    told = replay(Graph(simplified(model)), x)
    for place, (name, (values, factors, slope)) in enumerate(zip(makes, told, strict=True)):
        changes = [
            (direction, float(((ahead[place] - behind[place]) * factors).sum(dtype=np.float64)) / 2)
            for direction, ahead, behind in around
        ]
        found[name] = Tried(values, expected[place], factors, slope, changes)
    return found


def assert_equal(found: Floats, expected: Floats) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", [*SMOOTH, *ATTENTION])
def test_an_operation_and_its_slope_are_openvinos(name: str) -> None:
    tried = all_tried(MAPS if name in SMOOTH else TOKENS)[name]
    assert_equal(tried.found, tried.expected)
    assert np.isfinite(tried.slope).all()
    assert np.abs(tried.slope).max() > 0
    size = np.linalg.norm(tried.slope) * STEP
    for direction, changed in tried.changes:
        expected = (tried.slope.astype(np.float64) * direction).sum()
        assert abs(changed - expected) <= 0.02 * size, (changed, expected)


@pytest.mark.parametrize("name", STEPS)
def test_what_is_rounded_has_the_slope_of_what_is_not(name: str) -> None:
    tried = all_tried(MAPS)[name]
    assert_equal(tried.found, tried.expected)
    expected = STEPS[name][1](numbers(2, *MAPS[1:]))
    np.testing.assert_allclose(tried.slope, expected * tried.factors, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FLAT)
def test_what_has_no_slope_is_openvinos(name: str) -> None:
    tried = all_tried(MAPS)[name]
    assert_equal(tried.found, tried.expected)


def test_every_operation_is_tried() -> None:
    """By the types in the graphs as they are replayed, which is not always what was asked for."""
    tried: list[tuple[Make, tuple[int, ...]]]
    tried = [(make, MAPS) for make in OF_MAPS.values()]
    tried += [(make, TOKENS) for make in ATTENTION.values()]
    found = {"Result", NORMALISATION}  # the latter is tried below, where it is not folded
    for make, shape in tried:
        graph = Graph(simplified(model_of(make, shape=shape)))
        found |= {node.type for node in graph.nodes.values()}
    assert set(TABLE) - found == set()


def test_a_normalisation_that_is_not_folded_is_openvinos() -> None:
    scale, offset, mean = (weights(6, low=low) for low in (-1.0, -0.5, -0.2))
    model = model_of(
        lambda x: o.batch_norm_inference(x, scale, offset, mean, weights(6, low=0.5), 1e-3)
    )
    graph, x = Graph(simplified(model, fold_normalisations=False)), numbers(2, *MAPS[1:])
    assert NORMALISATION in {node.type for node in graph.nodes.values()}
    (found,) = graph.run(tensorflow().constant(x), graph.results)
    assert_equal(found.at(range(4)).numpy(), core().compile_model(model, "CPU", PRECISE)(x)[0])


def test_a_resize_to_all_sizes_takes_any_number_of_images() -> None:
    model = model_of(
        lambda x: o.interpolate(
            x,
            o.concat([o.gather(o.shape_of(x), whole(0, 1), one(0)), whole(11, 5)], 0),
            "linear_onnx",
            "sizes",
        )
    )
    graph, x = Graph(simplified(model)), numbers(2, *MAPS[1:])
    (found,) = graph.run(tensorflow().constant(x), graph.results)
    assert_equal(found.plain.numpy(), core().compile_model(model, "CPU", PRECISE)(x)[0])


def test_a_form_that_is_not_known_is_named() -> None:
    model = model_of(lambda x: o.depth_to_space(x, "depth_first", 1))
    graph = Graph(simplified(model))
    with pytest.raises(UnknownOperationError, match=r"DepthToSpace \(channels before blocks\)"):
        graph.run(numbers(1, 6, 8, 7), graph.results)
