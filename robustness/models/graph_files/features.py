"""Values of a graph of OpenVINO that depend on the image, and how features lie in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from robustness.models.in_tensorflow.replay.graph import Operations, Output
from robustness.models.in_tensorflow.replay.operation_table import Node
from robustness.models.in_tensorflow.replay.value import Shape

_CONVOLUTIONS = {
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
}
_PROJECTIONS = {*_CONVOLUTIONS, "MatMul"}
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


class FeatureWalk:
    """The values of a graph that depend on the image, and the ``layouts`` of those with places."""

    def __init__(self, graph: Operations) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.layouts: dict[Output, Layout] = {}
        self._dependent: set[Output] = set()
        for node in graph.nodes.values():
            outputs = [(node.name, place) for place in range(len(node.shapes))]
            if node.type == "Parameter" or (node.type != "ShapeOf" and self.sources(node)):
                self._dependent.update(outputs)
                layouts = {output: self._layout(node, self.shape(output)) for output in outputs}
                self.layouts |= {output: found for output, found in layouts.items() if found}

    def sources(self, node: Node) -> list[Output]:
        """The values that ``node`` reads and that depend on the image."""
        return [read for read in node.reads if read in self._dependent]

    def depends(self, output: Output) -> bool:
        """Whether ``output`` depends on the image."""
        return output in self._dependent

    def projects(self, node: Node) -> bool:
        """Whether ``node`` multiplies by weights, and so learns features."""
        return node.type in _PROJECTIONS and len(self.sources(node)) == 1 < len(node.reads)

    def shape(self, output: Output) -> Shape:
        """The shape of ``output``; empty where its rank is not fixed."""
        return self.nodes[output[0]].shapes[output[1]] or ()

    def back(
        self, start: Output, ends: Callable[[Output], bool] = lambda _: False
    ) -> Iterator[tuple[Node, Output]]:
        """Nodes back from ``start``, nearest first, each with what it reads of the image; no
        further than an output that ``ends``."""
        seen = {start}
        pending = [start]
        for output in pending:
            node = self.nodes[output[0]]
            for read in self.sources(node):
                yield node, read
                if read not in seen and not ends(read):
                    seen.add(read)
                    pending.append(read)

    def _layout(self, node: Node, shape: Shape) -> Layout | None:
        if None in shape[1:]:
            return None
        sizes = tuple(size or 0 for size in shape)
        if node.type in _CONVOLUTIONS:
            return Layout(1, *sizes[2:]) if len(sizes) == 4 else None
        sources = [source for source in self.sources(node) if source in self.layouts]
        if not sources:
            return None
        source = max(sources, key=lambda source: self.layouts[source].has_places)
        layout, before = self.layouts[source], self.shape(source)
        if node.type == "Transpose":
            axes = self.graph.constant(node.reads[1])
            if axes[:1] != [0]:
                return None
            return Layout(axes.index(layout.channels), layout.height, layout.width, layout.before)
        if node.type in _REARRANGING:
            return _rearranged(layout, before, shape)
        if node.type == "MatMul" and self.projects(node) and layout.channels == len(before) - 1:
            return layout
        if node.type in _MIXING or len(sizes) != len(before):
            return None
        if len(sizes) == 4:
            height, width = (s for axis, s in enumerate(sizes) if axis not in (0, layout.channels))
            return Layout(layout.channels, height, width)
        more = sizes[3 - layout.channels] - layout.height * layout.width
        return Layout(layout.channels, layout.height, layout.width, more) if more >= 0 else None


def _rearranged(layout: Layout, before: Shape, shape: Shape) -> Layout | None:
    """The layout after a reshape from ``before`` to ``shape``: places on two axes become one or the
    other way round, with the channels before or behind them."""
    if before[1:] == shape[1:]:
        return layout
    if (len(before), len(shape)) not in ((4, 3), (3, 4)):
        return None
    first = layout.channels == 1
    grid = (layout.height, layout.width) if len(shape) == 4 else (layout.height * layout.width,)
    places = shape[2:] if first else shape[1:-1]
    if places != grid or layout.before:
        return None
    return Layout(1 if first else len(shape) - 1, layout.height, layout.width)
