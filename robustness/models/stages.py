"""How features lie in a graph of OpenVINO: its stages, its head, its last grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness.base.errors import ExplanationError
from robustness.models.formats import UnusableError
from robustness.models.frameworks import tensorflow
from robustness.models.operations import Graph, Node, Operations, Output, Shape, Value

_CONVOLUTIONS = {
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
}
_PROJECTIONS = {*_CONVOLUTIONS, "MatMul"}
_REARRANGING = {"Reshape", "Squeeze", "Unsqueeze"}
_MIXING = {"MatMul", "ScaledDotProductAttention", "Einsum", "ShapeOf", "Broadcast", "Tile"}
"""Operations whose result has other positions, or none."""


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
                self.layouts |= {output: layout for output, layout in layouts.items() if layout}

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
        visited = {start}
        pending = [start]
        for output in pending:
            node = self.nodes[output[0]]
            for read in self.sources(node):
                yield node, read
                if read not in visited and not ends(read):
                    visited.add(read)
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
        layout = self.layouts[source]
        before = self.shape(source)
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


MOST_STAGES = 6
"""Feature stages of a model whose description names none."""

EMBEDDING = "embedding"
"""Name of the last stage: what the classifier head reads."""

_NO_STAGES = {"Pad", "Slice", "StridedSlice", "Split", "VariadicSplit", "Transpose"}
"""Operations that move features and compute none."""


@dataclass(frozen=True)
class FeatureStage:
    """A feature stage: the operation by its friendly name, and whether its channels come second."""

    name: str
    operation: str
    channels_second: bool


def find_stages(model: Any, named: Sequence[str]) -> tuple[FeatureStage, ...]:
    """The stages of ``model`` for one image, shallow to deep; all its shapes must be known.

    Those ``named`` by operation or tensor, else up to ``MOST_STAGES``: the last features at each
    resolution of a convolutional network, the sums of a transformer's blocks, and last the input of
    the head. Empty without a head with weights. Raises ``UnusableError`` for an unknown name.
    """
    stages = _Stages(model)
    if named:
        return tuple(stages.named(name) for name in named)
    head = stages.head()
    if head is None:
        return ()
    inner = stages.inner(head)
    places = np.linspace(0, len(inner) - 1, min(MOST_STAGES - 1, len(inner))).round().astype(int)
    return (*(inner[place] for place in places), stages.stage(EMBEDDING, head))


def make_names_unique(model: Any) -> None:
    """Gives every operation of ``model`` a friendly name of its own."""
    names: set[str] = set()
    for place, operation in enumerate(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if name in names:
            operation.set_friendly_name(f"{name}#{place}")
        names.add(operation.get_friendly_name())


class _Stages:
    """The operations of a model that hold features, by their friendly names."""

    def __init__(self, model: Any) -> None:
        self._walk = FeatureWalk(Operations(model))
        self._operations = {o.get_name(): o for o in model.get_ordered_ops()}
        self._usable = [
            name
            for name in self._operations
            if self._walk.depends((name, 0)) and 2 <= len(self._shape(name)) <= 4
        ]

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of its first output; empty where a part of it is not known."""
        shapes = self._walk.nodes[name].shapes
        sizes = (shapes[0] if shapes else None) or ()
        return () if None in sizes else tuple(size or 0 for size in sizes)

    def head(self) -> str | None:
        """The input of the last node with weights before the output."""
        (answer,) = self._walk.graph.results
        for node, read in self._walk.back(answer):
            if self._walk.projects(node):
                return None if self._walk.nodes[read[0]].type == "Parameter" else read[0]
        return None

    def inner(self, head: str) -> list[FeatureStage]:
        """The candidates before ``head``, shallow to deep."""
        before = {head, *(read[0] for _, read in self._walk.back((head, 0)))}
        names = [name for name in self._usable if name in before]
        maps: dict[str, str] = {}
        for name in names:
            shape = self._shape(name)
            layout = self._walk.layouts.get((name, 0))
            # A dilated convolution of TensorFlow Lite sees parts of the image as a batch.
            if layout is None or len(shape) != 4 or shape[0] != 1:
                continue
            if self._walk.nodes[name].type in _NO_STAGES:
                continue
            if layout.height * layout.width > 1 and shape[layout.channels] > 1:
                title = f"{layout.height} x {layout.width}"
                maps.pop(title, None)  # shallow to deep by the last of each
                maps[title] = name
        sums = filter(self._is_block_sum, names)
        blocks = {f"block {place}": name for place, name in enumerate(sums, 1)}
        chosen = blocks if len(blocks) > len(maps) else maps
        return [self.stage(title, name) for title, name in chosen.items() if name != head]

    def _is_block_sum(self, name: str) -> bool:
        """Whether it adds what a block of a transformer has found to what the block read."""
        node = self._walk.nodes[name]
        shape = self._shape(name)
        return (
            node.type == "Add"
            and len(shape) == 3
            and shape[0] == 1
            and len(self._walk.sources(node)) == len(node.reads)
            and all(self._walk.shape(read) == shape for read in node.reads)
        )

    def named(self, name: str) -> FeatureStage:
        """The stage that a description names."""
        friendly = {key: self._operations[key].get_friendly_name() for key in self._usable}
        for key in self._usable:
            if name == friendly[key] or name in self._operations[key].output(0).get_names():
                return self.stage(name, key)
        raise UnusableError(
            f"there is no operation {name!r} whose features could be compared; among its "
            f"operations are {', '.join(list(friendly.values())[-8:])}"
        )

    def stage(self, title: str, name: str) -> FeatureStage:
        """The stage ``title`` at the node ``name``."""
        shape = self._shape(name)
        layout = self._walk.layouts.get((name, 0))
        second = False
        if len(shape) == 4:
            # Where no convolution says it, maps of a square image have two equal sides.
            second = layout.channels == 1 if layout else shape[2] == shape[3] != shape[1]
        return FeatureStage(title, self._operations[name].get_friendly_name(), second)


_POOLING = {"MaxPool", "AvgPool"}
_PASSING = {"Transpose", "Convert", "FakeQuantize"}
_PICKING = {"Gather", "Slice", "StridedSlice"}


@dataclass(frozen=True)
class FeatureGrid:
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


def find_last_grid(label: str, graph: Graph) -> FeatureGrid:
    """Finds it in ``graph``, whose first result is probabilities (N, classes).

    Of feature maps and tokens that are all read it is the last, before local pooling, where that
    comes last, as in VGG16, whose last convolution Selvaraju et al. take. Where only tokens of no
    place are read, such as a class token, it is what the last attention reads. Raises
    ``ExplanationError`` when no single grid of features leads to the answer.
    """
    walk = _GridWalk(graph)
    grid = walk.last()
    if grid is None:
        raise ExplanationError(
            f"Where {label} looks cannot be shown: expected a network whose answer is computed of "
            "one grid of features, as a convolutional network's is, and found none, or several."
        )
    return FeatureGrid(grid, walk.layouts[grid])


class _GridWalk(FeatureWalk):
    """The way from the answer of a graph back to the last features that still have places."""

    def last(self) -> Output | None:
        """The output that holds the last grid; None if it is not one."""
        last: set[Output] = set()
        for reader, read in self.back(self.graph.results[0], self._ends):
            if not self._ends(read):
                continue
            tokens = len(self.shape(read)) == 3 and self.layouts[read].before > 0
            if tokens and reader.type in _PICKING and (reader.name, 0) not in self.layouts:
                return self._read_by_attention()  # only tokens of no place are taken
            while self.nodes[read[0]].type in _POOLING | _PASSING:
                source = self.nodes[read[0]].reads[0]
                if not self._ends(source):
                    break
                read = source
            last.add(read)
        if not last:
            return self._read_by_attention()
        return next(iter(last)) if len(last) == 1 else None

    def _ends(self, output: Output) -> bool:
        return output in self.layouts and self.layouts[output].has_places

    def _read_by_attention(self) -> Output | None:
        """The input of the last attention's keys, if it has positions."""
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
