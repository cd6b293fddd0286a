"""Where in a network an explanation takes hold: its last grid of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from robustness.base.errors import ExplanationError
from robustness.models.in_tensorflow.replay.graph import Graph, Output
from robustness.models.in_tensorflow.replay.operation import Node
from robustness.models.in_tensorflow.replay.value import Shape, Value
from robustness.models.in_tensorflow.runtime import tensorflow

_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_PROJECTIONS = {*_CONVOLUTIONS, "MatMul"}
_POOLING = {"MaxPool", "AvgPool"}
_PASSING = {"Transpose", "Convert", "FakeQuantize"}
_PICKING = {"Gather", "Slice", "StridedSlice"}
_REARRANGING = {"Reshape", "Squeeze", "Unsqueeze"}
_MIXING = {"MatMul", "ScaledDotProductAttention", "Einsum", "ShapeOf", "Broadcast", "Tile"}
"""Operations whose result has places of its own, or none."""


@dataclass(frozen=True)
class Layout:
    """How a value holds features of places: ``channels`` is their axis, beside that of images.

    The places are ``height`` times ``width``; on two axes, or on one that begins with ``before``
    other tokens, such as a class token.
    """

    channels: int
    height: int
    width: int
    before: int = 0

    @property
    def has_places(self) -> bool:
        return self.height > 1 and self.width > 1


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


class _GridWalk:
    """What is known of the places of each value of a graph that depends on the image."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = graph.nodes
        self.layouts: dict[Output, Layout] = {}
        for node in graph.nodes.values():
            for place in range(len(node.shapes)):
                layout = self._layout(node, place)
                if layout is not None and (node.name, place) not in graph.known:
                    self.layouts[node.name, place] = layout

    # --- layouts, from the image on ---------------------------------------------------------------

    def _layout(self, node: Node, place: int) -> Layout | None:
        shape = node.shapes[place]
        if shape is None or None in shape[1:]:
            return None
        sizes = tuple(size or 0 for size in shape)
        if node.type in _CONVOLUTIONS:
            return Layout(1, *sizes[2:]) if len(sizes) == 4 else None
        sources = [source for source in self._graph.reads(node) if source in self.layouts]
        if not sources:
            return None
        source = max(sources, key=lambda source: self.layouts[source].has_places)
        layout, before = self.layouts[source], self._shape(source)
        if node.type == "Transpose":
            axes = self._graph.known[node.reads[1]].array.tolist()
            return Layout(axes.index(layout.channels), *_grid(layout)) if axes[0] == 0 else None
        if node.type in _REARRANGING:
            return _rearranged(layout, len(before), sizes)
        if node.type == "MatMul" and self._projects(node) and layout.channels == len(before) - 1:
            return layout
        if node.type in _MIXING or len(sizes) != len(before):
            return None
        if len(sizes) == 4:
            height, width = (s for axis, s in enumerate(sizes) if axis not in (0, layout.channels))
            return Layout(layout.channels, height, width)
        more = sizes[3 - layout.channels] - layout.height * layout.width
        return Layout(layout.channels, layout.height, layout.width, more) if more >= 0 else None

    def _projects(self, node: Node) -> bool:
        """Whether ``node`` multiplies by weights, and so learns features."""
        return node.type in _PROJECTIONS and any(way in self._graph.known for way in node.reads)

    def _shape(self, output: Output) -> Shape:
        return self._nodes[output[0]].shapes[output[1]] or ()

    # --- from the answer back ---------------------------------------------------------------------

    def last(self) -> Output | None:
        """The output that holds the last grid; None if it is not one."""
        found: set[Output] = set()
        for reader, read in self._back(self._graph.results[0], self._ends):
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
        tokens = len(self._shape(read)) == 3 and self.layouts[read].before > 0
        return tokens and reader.type in _PICKING and (reader.name, 0) not in self.layouts

    def _before_pooling(self, output: Output) -> Output:
        while self._nodes[output[0]].type in _POOLING | _PASSING:
            source = self._nodes[output[0]].reads[0]
            if not self._ends(source):
                break
            output = source
        return output

    def _read_by_attention(self) -> Output | None:
        """What the keys of the last attention are computed of, if that has places."""
        inner = {node.name for node, _ in self._back(self._graph.results[0])}
        for node in reversed(self._nodes.values()):
            keys = self._keys(node) if node.name in inner else None
            for reader, read in self._back(keys) if keys else ():
                if self._projects(reader):
                    return read if self._ends(read) else None
        return None

    def _keys(self, node: Node) -> Output | None:
        """The keys of an attention that ``node`` ends or weighs."""
        if node.type == "ScaledDotProductAttention":
            return node.reads[1]
        if node.type != "Softmax" or len(node.shape) < 3:
            return None
        for reader, _ in self._back((node.name, 0)):
            depends = all(way not in self._graph.known for way in reader.reads)
            if reader.type in ("MatMul", "Einsum") and depends:
                return reader.reads[1]
        return None

    def _back(
        self, start: Output, ends: Callable[[Output], bool] = lambda _: False
    ) -> Iterator[tuple[Node, Output]]:
        """Nodes back from ``start``, nearest first, each with what it reads of the image; no
        further than an output that ``ends``."""
        seen = {start}
        pending = [start]
        for output in pending:
            node = self._nodes[output[0]]
            for read in self._graph.reads(node):
                if read in self._graph.known:
                    continue
                yield node, read
                if read not in seen and not ends(read):
                    seen.add(read)
                    pending.append(read)


def _grid(layout: Layout) -> tuple[int, int, int]:
    return layout.height, layout.width, layout.before


def _rearranged(layout: Layout, rank: int, sizes: tuple[int, ...]) -> Layout | None:
    """The layout after a reshape to ``sizes`` of a value of ``rank`` axes: places on two axes
    become one or the other way round, with the channels before or behind them."""
    if (rank, len(sizes)) not in ((4, 3), (3, 4)):
        return layout if rank == len(sizes) and layout.channels < rank else None
    first = layout.channels == 1
    grid = (layout.height, layout.width) if len(sizes) == 4 else (layout.height * layout.width,)
    places = sizes[2:] if first else sizes[1:-1]
    if places != grid or layout.before:
        return None
    return Layout(1 if first else len(sizes) - 1, layout.height, layout.width)
