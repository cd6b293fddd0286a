"""The table of operations that can be replayed, and what each is told of its place in the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robustness.models.in_tensorflow.replay.value import Shape, Value


@dataclass(frozen=True)
class Node:
    """An operation of an OpenVINO graph.

    ``reads`` are its inputs, as names of nodes and numbers of their outputs; ``sources`` the
    element types of these, ``kinds`` those of its own outputs; ``shapes`` are of its outputs, with
    None for a size that is not fixed.
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
"""By type of operation what replays it: a function of its ``Node`` and the values it reads, to its
one output or the list of all. It raises ``NotImplementedError`` for a form that it does not know,
with what that is."""


def operation(*types: str) -> Callable[[Function], Function]:
    """Puts the function below it into the table, for each of ``types``."""

    def register(function: Function) -> Function:
        TABLE.update(dict.fromkeys(types, function))
        return function

    return register


def node_of(found: Any) -> Node:
    """The ``Node`` of a node of OpenVINO."""
    inputs = [source.get_source_output() for source in found.inputs()]
    return Node(
        name=found.get_name(),
        type=found.get_type_name(),
        attributes=found.get_attributes(),
        reads=tuple((source.get_node().get_name(), source.get_index()) for source in inputs),
        sources=tuple(source.get_element_type().get_type_name() for source in inputs),
        kinds=tuple(output.get_element_type().get_type_name() for output in found.outputs()),
        shapes=tuple(_shape(output.get_partial_shape()) for output in found.outputs()),
    )


def _shape(found: Any) -> Shape | None:
    if found.rank.is_dynamic:
        return None
    return tuple(size.get_length() if size.is_static else None for size in found)
