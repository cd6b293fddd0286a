"""An OpenVINO graph, and its replay in TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from robustness.models.private_framework_interfaces import folded_shapes
from robustness.models.run import openvino_and_engine_choice  # noqa: F401  (keeps OpenVINO silent)
from robustness.models.run.replay import arithmetic, convolution_and_pooling, shape_operations  # noqa: F401  (the table)
from robustness.models.run.replay.operation_table_and_values import TABLE, Node, Value, node_of
from robustness.models.tensorflow_and_keras_import import tensorflow

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
        widens = node.get_type_name() == "Convert" and types[0] in arithmetic.SMALL_INTEGERS
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
                data, kind = constant.get_data(), constant.get_element_type().get_type_name()
                if kind in arithmetic.FLOATS | arithmetic.SMALL_INTEGERS:
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
        small = node.type == "Convert" and node.kinds[0] in arithmetic.SMALL_INTEGERS
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
