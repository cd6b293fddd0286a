"""ONNX files made byte by byte: small networks, and whatever no exporter would write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64, STRING, BOOL, FLOAT16, UINT8, INT8 = 1, 7, 8, 9, 10, 2, 3
"""``TensorProto.DataType``."""

_KINDS = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.int64): INT64,
    np.dtype(np.bool_): BOOL,
    np.dtype(np.float16): FLOAT16,
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
}


def message(*fields: tuple[int, Any]) -> bytes:
    """A protocol buffer of (number, value): integers, floats, and what is text or bytes."""
    parts = []
    for number, value in fields:
        if isinstance(value, bool | int | np.integer):
            parts.append(_varint(number << 3) + _varint(int(value) & (1 << 64) - 1))
        elif isinstance(value, float):
            parts.append(_varint(number << 3 | 5) + struct.pack("<f", value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(_varint(number << 3 | 2) + _varint(len(data)) + data)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def tensor(name: str, values: NDArray[Any]) -> bytes:
    dims = [(1, size) for size in values.shape]
    return message(*dims, (2, _KINDS[values.dtype]), (8, name), (9, values.tobytes()))


def outside(name: str, shape: Sequence[int], location: str) -> bytes:
    """A tensor of float32 whose values lie in another file."""
    entry = message((1, "location"), (2, location))
    return message(*((1, size) for size in shape), (2, FLOAT), (8, name), (13, entry), (14, 1))


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> bytes:
    domain = attributes.pop("domain", "")
    return message(
        *((1, name) for name in inputs),
        *((2, name) for name in outputs),
        (3, f"node_{outputs[0]}" if outputs else "node"),
        (4, kind),
        *((5, _attribute(name, value)) for name, value in attributes.items()),
        (7, domain),
    )


class Graph(bytes):
    """A graph as the value of a node's attribute."""


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, Graph):
        return message((1, name), (6, bytes(value)), (20, 5))
    if isinstance(value, np.ndarray):
        return message((1, name), (5, tensor("", value)), (20, 4))
    if isinstance(value, str):
        return message((1, name), (4, value), (20, 3))
    if isinstance(value, float):
        return message((1, name), (2, value), (20, 1))
    if isinstance(value, int):
        return message((1, name), (3, value), (20, 2))
    return message((1, name), *((8, item) for item in value), (20, 7))


def value(name: str, shape: Sequence[int | str] | None, kind: int = FLOAT) -> bytes:
    """A named input or output; a text in the shape is a size that is free."""
    dims = [message((1, size) if isinstance(size, int) else (2, size)) for size in shape or ()]
    told = [] if shape is None else [(2, message(*((1, dim) for dim in dims)))]
    return message((1, name), (2, message((1, message((1, kind), *told)))))


def graph(
    nodes: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    weights: Iterable[bytes] = (),
) -> Graph:
    return Graph(
        message(
            *((1, each) for each in nodes),
            (2, "graph"),
            *((5, each) for each in weights),
            *((11, each) for each in inputs),
            *((12, each) for each in outputs),
        )
    )


def model(
    nodes: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    weights: Iterable[bytes] = (),
    metadata: Iterable[tuple[str, str]] = (),
) -> bytes:
    return message(
        (1, 8),
        (7, bytes(graph(nodes, inputs, outputs, weights))),
        *((8, message((1, domain), (2, 17))) for domain in ("", "com.example")),
        (8, message((1, "com.microsoft"), (2, 1))),
        *((14, message((1, key), (2, text))) for key, text in metadata),
    )


IMAGE = value("image", ["n", 3, 8, 8])


def small_nodes(image: str = "image", answer: str = "answer") -> list[bytes]:
    """The layers of ``small_network``, its batch normalisation folded in."""
    return [
        node("Conv", [image, "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalMaxPool", ["r2"], ["p2"]),
        node("Flatten", ["p2"], ["flat"]),
        node("Gemm", ["flat", "w3", "b3"], [answer]),
    ]


def small_weights(classes: int = 10, channels: int = 3, seed: int = 0) -> dict[str, Any]:
    """Random weights of ``small_nodes`` by name."""
    rng = np.random.default_rng(seed)
    shapes = {
        "w1": (16, channels, 3, 3),
        "b1": (16,),
        "w2": (32, 16, 3, 3),
        "b2": (32,),
        "w3": (32, classes),
        "b3": (classes,),
    }
    return {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


def weights_of(network: Any) -> dict[str, Any]:
    """The weights of a Keras ``small_network`` as ``small_nodes`` takes them."""
    kernel = network.get_layer("conv1").get_weights()[0]
    gamma, beta, mean, variance = network.get_layer("normal1").get_weights()
    scale = gamma / np.sqrt(variance + network.get_layer("normal1").epsilon)
    second, bias = network.get_layer("conv2").get_weights()
    head, head_bias = network.get_layer("head").get_weights()
    found = {
        "w1": (kernel * scale).transpose(3, 2, 0, 1),
        "b1": beta - mean * scale,
        "w2": second.transpose(3, 2, 0, 1),
        "b2": bias,
        "w3": head,
        "b3": head_bias,
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def small_model(
    weights: dict[str, Any] | None = None,
    *,
    image: bytes = IMAGE,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
    first: str = "image",
    last: str = "answer",
    outputs: Sequence[bytes] | None = None,
    extra: Sequence[bytes] = (),
) -> bytes:
    """A small network as an ONNX file, with nodes ``before`` and ``after`` it.

    It reads the tensor ``first``; what leaves the file is ``last``, unless ``outputs`` say it.
    """
    arrays = small_weights() if weights is None else weights
    tensors = [tensor(name, array) for name, array in arrays.items()]
    classes = len(arrays["b3"])
    return model(
        [*before, *small_nodes(first), *after],
        [image],
        [value(last, ["n", classes])] if outputs is None else outputs,
        [*tensors, *extra],
    )


def quantised_model(
    pool: Sequence[bytes] = (), after: Sequence[bytes] = (), *, batch: int | str = "n"
) -> bytes:
    """A small network in QDQ: weights in int8, activations and probabilities in coarse steps.

    Nodes ``pool`` lead from "r2" to "p2", nodes ``after`` from "answer" to "shares".
    """
    arrays = small_weights()
    names = {name: f"{name}_real" if name[0] == "w" else name for name in arrays}
    tensors = [tensor("steps", np.array(0.05, np.float32)), tensor("zero", np.array(8, np.uint8))]
    tensors += [tensor("fine", np.array(0.004, np.float32)), tensor("none", np.array(0, np.uint8))]
    tensors.append(tensor("weight_steps", np.array(0.01, np.float32)))
    nodes = []
    for name, array in arrays.items():
        if name[0] != "w":
            tensors.append(tensor(name, array))
            continue
        tensors.append(tensor(name, np.rint(array * 100).clip(-127, 127).astype(np.int8)))
        nodes.append(node("DequantizeLinear", [name, "weight_steps"], [names[name]]))
    nodes += [
        node("QuantizeLinear", ["image", "steps", "zero"], ["whole"]),
        node("DequantizeLinear", ["whole", "steps", "zero"], ["coarse"]),
        node("Conv", ["coarse", names["w1"], "b1"], ["c1"], kernel_shape=[3, 3], pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("QuantizeLinear", ["r1", "steps", "none"], ["r1_whole"]),
        node("DequantizeLinear", ["r1_whole", "steps", "none"], ["r1_coarse"]),
        node("Conv", ["r1_coarse", names["w2"], "b2"], ["c2"], kernel_shape=[3, 3]),
        node("Relu", ["c2"], ["r2"]),
        *(pool or [node("GlobalMaxPool", ["r2"], ["p2"])]),
        node("Flatten", ["p2"], ["flat"]),
        node("Gemm", ["flat", names["w3"], "b3"], ["answer"]),
        *(after or [node("Softmax", ["answer"], ["shares"], axis=1)]),
        node("QuantizeLinear", ["shares", "fine", "none"], ["shares_whole"]),
        node("DequantizeLinear", ["shares_whole", "fine", "none"], ["rounded"]),
    ]
    image, answer = value("image", [batch, 3, 8, 8]), value("rounded", [batch, 10])
    return model(nodes, [image], [answer], tensors)


ONLY_ONNXRUNTIME = [
    node("QuantizeLinear", ["r2", "steps", "none"], ["r2_whole"]),
    node(
        "QLinearGlobalAveragePool",
        ["r2_whole", "steps", "none", "steps", "none"],
        ["p2_whole"],
        domain="com.microsoft",
        channels_last=0,
    ),
    node("DequantizeLinear", ["p2_whole", "steps", "none"], ["p2"]),
]
"""A pooling from "r2" to "p2" that OpenVINO lacks."""
