"""The table of replayable operations, and the description of an operation's node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robustness.models.in_tensorflow.replay.value import Shape, Value


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
        """That of the only output. Raises ``NotImplementedError`` if its rank is not fixed."""
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
        shapes=tuple(_shape(output.get_partial_shape()) for output in node.outputs()),
    )


def _shape(partial: Any) -> Shape | None:
    if partial.rank.is_dynamic:
        return None
    return tuple(size.get_length() if size.is_static else None for size in partial)
