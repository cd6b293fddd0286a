"""Where in a network an explanation takes hold: its last grid of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustness.base.errors import ExplanationError
from robustness.models.graph_files.features import FeatureWalk, Layout
from robustness.models.in_tensorflow.replay.graph import Graph, Output
from robustness.models.in_tensorflow.replay.operation_table import Node
from robustness.models.in_tensorflow.replay.value import Value
from robustness.models.in_tensorflow.runtime import tensorflow

_POOLING = {"MaxPool", "AvgPool"}
_PASSING = {"Transpose", "Convert", "FakeQuantize"}
_PICKING = {"Gather", "Slice", "StridedSlice"}


@dataclass(frozen=True)
class Grip:
    """A value of a graph that holds the last features which still have a place in the image."""

    output: Output
    layout: Layout

    def as_grid(self, tensor: Any, order: tuple[int, ...]) -> Any:
        """``tensor`` with axes in ``order`` as (N, height, width, channels)."""
        tf = tensorflow()
        axes = [axis for axis in range(len(order)) if axis != self.layout.channels]
        plain = Value(tensor, order).at([*axes, self.layout.channels])
        if len(order) == 3:
            plain = plain[:, self.layout.before :]
        sizes = (-1, self.layout.height, self.layout.width, plain.shape[-1])
        return tf.reshape(plain, sizes)


def grip(label: str, graph: Graph) -> Grip:
    """Finds it in ``graph``, whose first result is probabilities (N, classes).

    Of feature maps and tokens that are all read it is the last, before local pooling, where that
    comes last, as in VGG16, whose last convolution Selvaraju et al. take. Where only tokens of no
    place are read, such as a class token, it is what the last attention reads. Raises
    ``ExplanationError`` when no single grid of features leads to the answer.
    """
    walk = _GridWalk(graph)
    found = walk.last()
    if found is None:
        raise ExplanationError(
            f"Where {label} looks cannot be shown: expected a network whose answer is computed of "
            "one grid of features, as a convolutional network's is, and found none, or several."
        )
    return Grip(found, walk.layouts[found])


class _GridWalk(FeatureWalk):
    """The way from the answer of a graph back to the last features that still have places."""

    def last(self) -> Output | None:
        """The output that holds the last grid; None if it is not one."""
        found: set[Output] = set()
        for reader, read in self.back(self.graph.results[0], self._ends):
            if not self._ends(read):
                continue
            if self._picks_none(reader, read):
                return self._read_by_attention()
            found.add(self._before_pooling(read))
        if not found:
            return self._read_by_attention()
        return next(iter(found)) if len(found) == 1 else None

    def _ends(self, output: Output) -> bool:
        return output in self.layouts and self.layouts[output].has_places

    def _picks_none(self, reader: Node, read: Output) -> bool:
        """Whether ``reader`` takes tokens of no place alone of what it has ``read``."""
        tokens = len(self.shape(read)) == 3 and self.layouts[read].before > 0
        return tokens and reader.type in _PICKING and (reader.name, 0) not in self.layouts

    def _before_pooling(self, output: Output) -> Output:
        while self.nodes[output[0]].type in _POOLING | _PASSING:
            source = self.nodes[output[0]].reads[0]
            if not self._ends(source):
                break
            output = source
        return output

    def _read_by_attention(self) -> Output | None:
        """What the keys of the last attention are computed of, if that has places."""
        inner = {node.name for node, _ in self.back(self.graph.results[0])}
        for node in reversed(self.nodes.values()):
            keys = self._keys(node) if node.name in inner else None
            for reader, read in self.back(keys) if keys else ():
                if self.projects(reader):
                    return read if self._ends(read) else None
        return None

    def _keys(self, node: Node) -> Output | None:
        """The keys of an attention that ``node`` ends or weighs."""
        if node.type == "ScaledDotProductAttention":
            return node.reads[1]
        if node.type != "Softmax" or len(node.shape) < 3:
            return None
        for reader, _ in self.back((node.name, 0)):
            depends = len(self.sources(reader)) == len(reader.reads)
            if reader.type in ("MatMul", "Einsum") and depends:
                return reader.reads[1]
        return None
