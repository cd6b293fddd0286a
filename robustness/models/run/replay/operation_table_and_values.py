"""The table of operations that can be replayed, and the values that they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.tensorflow_and_keras_import import tensorflow

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
        tf, sizes = tensorflow(), self.stored
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
