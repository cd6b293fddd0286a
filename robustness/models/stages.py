"""Features within a graph of OpenVINO: the stages to compare, and the last grid for heat maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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

# --- the layout of features -----------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How a value holds the features at ``height`` x ``width`` positions of an image.

    The first axis is that of images, and ``channels`` is the axis of features. Positions are on
    the two other axes, or on a single one that begins with ``before`` tokens without a position,
    such as a class token.
    """

    channels: int
    height: int
    width: int
    before: int = 0

    @property
    def has_positions(self) -> bool:
        return self.height > 1 and self.width > 1


class FeatureWalk:
    """The values of a graph that depend on the image.

    ``layouts`` are those of the values whose positions in the image are known.
    """

    def __init__(self, graph: Operations) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.layouts: dict[Output, Layout] = {}
        self._dependent: set[Output] = set()
        for node in graph.nodes.values():
            # What reads a shape depends on the size of the image, but not on its pixels.
            reads_image = node.type != "ShapeOf" and bool(self.sources(node))
            if node.type != "Parameter" and not reads_image:
                continue
            for index in range(len(node.shapes)):
                output = (node.name, index)
                self._dependent.add(output)
                layout = self._layout(node, self.shape(output))
                if layout is not None:
                    self.layouts[output] = layout

    def sources(self, node: Node) -> list[Output]:
        """The values among those that ``node`` reads that depend on the image."""
        return [read for read in node.reads if read in self._dependent]

    def depends(self, output: Output) -> bool:
        """Whether ``output`` depends on the image."""
        return output in self._dependent

    def projects(self, node: Node) -> bool:
        """Whether ``node`` multiplies one value by weights."""
        if node.type not in _PROJECTIONS:
            return False
        return len(self.sources(node)) == 1 and len(node.reads) > 1

    def shape(self, output: Output) -> Shape:
        """The shape of ``output``; empty where its rank is not fixed."""
        return self.nodes[output[0]].shapes[output[1]] or ()

    def back(
        self, start: Output, ends: Callable[[Output], bool] | None = None
    ) -> Iterator[tuple[Node, Output]]:
        """Yield the nodes that lead to ``start``, nearest first, each with a value that it reads.

        The values depend on the image. Those for which ``ends`` is True are not followed further.
        """
        visited = {start}
        pending = [start]
        for output in pending:  # which grows
            node = self.nodes[output[0]]
            for read in self.sources(node):
                yield node, read
                if read in visited or (ends is not None and ends(read)):
                    continue
                visited.add(read)
                pending.append(read)

    def _layout(self, node: Node, shape: Shape) -> Layout | None:
        """The layout of an output of ``node`` with this ``shape``; None if it is not known."""
        if None in shape[1:]:
            return None
        sizes = tuple(size or 0 for size in shape)
        if node.type in _CONVOLUTIONS:
            if len(sizes) != 4:
                return None
            return Layout(1, height=sizes[2], width=sizes[3])
        source = self._source_with_layout(node)
        if source is None:
            return None
        layout = self.layouts[source]
        source_shape = self.shape(source)
        if node.type == "Transpose":
            axes = self.graph.constant(node.reads[1])
            if axes[:1] != [0]:
                return None
            return replace(layout, channels=axes.index(layout.channels))
        if node.type in _REARRANGING:
            return _rearranged(layout, source_shape, shape)
        channels_last = layout.channels == len(source_shape) - 1
        if node.type == "MatMul" and channels_last and self.projects(node):
            return layout
        if node.type in _MIXING or len(sizes) != len(source_shape):
            return None
        if len(sizes) == 4:
            # Pooling and padding change the number of positions.
            height, width = [sizes[axis] for axis in (1, 2, 3) if axis != layout.channels]
            return Layout(layout.channels, height, width)
        token_axis = 3 - layout.channels
        before = sizes[token_axis] - layout.height * layout.width
        if before < 0:
            return None
        return replace(layout, before=before)

    def _source_with_layout(self, node: Node) -> Output | None:
        """The value that ``node`` reads whose layout its result keeps: the first with positions."""
        sources = [source for source in self.sources(node) if source in self.layouts]
        for source in sources:
            if self.layouts[source].has_positions:
                return source
        if not sources:
            return None
        return sources[0]


def _rearranged(layout: Layout, source_shape: Shape, shape: Shape) -> Layout | None:
    """The layout after a reshape from ``source_shape`` to ``shape``; None if it is not known.

    Known are those that make one axis of the two axes of positions, or two of one.
    """
    if source_shape[1:] == shape[1:]:
        return layout
    if (len(source_shape), len(shape)) not in ((4, 3), (3, 4)) or layout.before:
        return None
    if len(shape) == 4:
        grid: Shape = (layout.height, layout.width)
    else:
        grid = (layout.height * layout.width,)
    channels_second = layout.channels == 1
    if channels_second and shape[2:] == grid:
        return Layout(1, layout.height, layout.width)
    if not channels_second and shape[1:-1] == grid:
        return Layout(len(shape) - 1, layout.height, layout.width)
    return None


# --- stages ---------------------------------------------------------------------------------------

MOST_STAGES = 6
"""The most feature stages of a model whose description names none."""

EMBEDDING = "embedding"
"""Name of the last stage: what the classifier head reads."""

_NO_STAGES = {"Pad", "Slice", "StridedSlice", "Split", "VariadicSplit", "Transpose"}
"""Operations that move features and compute none."""


@dataclass(frozen=True)
class FeatureStage:
    """A feature stage: its ``operation``, by friendly name, and where its channels are.

    They are on the second axis with ``channels_second``, else on the last.
    """

    name: str
    operation: str
    channels_second: bool


def find_stages(model: Any, named: Sequence[str]) -> tuple[FeatureStage, ...]:
    """The feature stages of ``model``, shallow to deep.

    ``model`` is for one image, with known shapes. The stages are those ``named`` by operation or
    tensor. If none is named, they are up to ``MOST_STAGES``: the last features at each resolution
    of a convolutional network, or the sums after the blocks of a transformer, and the input of the
    head. The result is empty if there is no head with weights. Raises ``UnusableError`` for an
    unknown name.
    """
    finder = _StageFinder(model)
    if named:
        return tuple(finder.named(name) for name in named)
    head = finder.head()
    if head is None:
        return ()
    candidates = finder.before(head)
    count = min(MOST_STAGES - 1, len(candidates))
    chosen = np.linspace(0, len(candidates) - 1, count).round().astype(int)
    stages = [candidates[index] for index in chosen]
    stages.append(finder.stage(EMBEDDING, head))
    return tuple(stages)


class _StageFinder:
    """Finds the operations of a model whose outputs are features.

    Operations are known by their names, which are unique, not by their friendly names.
    """

    def __init__(self, model: Any) -> None:
        self._walk = FeatureWalk(Operations(model))
        self._operations = {
            operation.get_name(): operation for operation in model.get_ordered_ops()
        }
        self._usable = []
        for name in self._operations:
            if self._walk.depends((name, 0)) and 2 <= len(self._shape(name)) <= 4:
                self._usable.append(name)

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of the first output of ``name``; empty where a part of it is not known."""
        if not self._walk.nodes[name].shapes:
            return ()
        sizes = self._walk.shape((name, 0))
        if None in sizes:
            return ()
        return tuple(size or 0 for size in sizes)

    def head(self) -> str | None:
        """The operation that the head reads: the last that is multiplied by weights."""
        (answer,) = self._walk.graph.results
        for node, read in self._walk.back(answer):
            if not self._walk.projects(node):
                continue
            name = read[0]
            if self._walk.nodes[name].type == "Parameter":
                return None
            return name
        return None

    def before(self, head: str) -> list[FeatureStage]:
        """The candidates for stages that lead to ``head``, shallow to deep."""
        leading = {head}
        for _, read in self._walk.back((head, 0)):
            leading.add(read[0])
        maps: dict[str, str] = {}
        blocks: dict[str, str] = {}
        for name in self._usable:
            if name not in leading:
                continue
            if self._is_map(name):
                layout = self._walk.layouts[name, 0]
                title = f"{layout.height} x {layout.width}"
                # The last map of each resolution, in the order of these last maps.
                maps.pop(title, None)
                maps[title] = name
            if self._is_block_sum(name):
                blocks[f"block {len(blocks) + 1}"] = name
        candidates = maps
        if len(blocks) > len(maps):
            candidates = blocks
        return [self.stage(title, name) for title, name in candidates.items() if name != head]

    def _is_map(self, name: str) -> bool:
        """Whether ``name`` computes feature maps, of several positions and channels."""
        layout = self._walk.layouts.get((name, 0))
        shape = self._shape(name)
        # A dilated convolution of TensorFlow Lite sees parts of the image as a batch.
        if layout is None or len(shape) != 4 or shape[0] != 1:
            return False
        if self._walk.nodes[name].type in _NO_STAGES:
            return False
        return layout.height * layout.width > 1 and shape[layout.channels] > 1

    def _is_block_sum(self, name: str) -> bool:
        """Whether ``name`` adds the result of a transformer's block to what the block reads."""
        node = self._walk.nodes[name]
        shape = self._shape(name)
        return (
            node.type == "Add"
            and len(shape) == 3
            and shape[0] == 1
            and len(self._walk.sources(node)) == len(node.reads)
            and all(self._walk.shape(read) == shape for read in node.reads)
        )

    def named(self, title: str) -> FeatureStage:
        """The stage that a description names by an operation's friendly name or by its tensor."""
        friendly_names = []
        for name in self._usable:
            operation = self._operations[name]
            friendly_name = operation.get_friendly_name()
            if title == friendly_name or title in operation.output(0).get_names():
                return self.stage(title, name)
            friendly_names.append(friendly_name)
        raise UnusableError(
            f"there is no operation {title!r} whose features could be compared; among its "
            f"operations are {', '.join(friendly_names[-8:])}"
        )

    def stage(self, title: str, name: str) -> FeatureStage:
        """The stage called ``title`` at the operation ``name``."""
        shape = self._shape(name)
        layout = self._walk.layouts.get((name, 0))
        if len(shape) != 4:
            channels_second = False
        elif layout is not None:
            channels_second = layout.channels == 1
        else:
            # Where no convolution tells it: maps of a square image have two equal sides.
            channels_second = shape[2] == shape[3] != shape[1]
        friendly_name = self._operations[name].get_friendly_name()
        return FeatureStage(title, friendly_name, channels_second)


# --- the last grid --------------------------------------------------------------------------------

_POOLING = {"MaxPool", "AvgPool"}
_PASSING = {"Transpose", "Convert", "FakeQuantize"}
_PICKING = {"Gather", "Slice", "StridedSlice"}


@dataclass(frozen=True)
class FeatureGrid:
    """The last features of a graph that have positions in the image."""

    output: Output
    layout: Layout

    def as_grid(self, tensor: Any, order: tuple[int, ...]) -> Any:
        """The features in ``tensor``, whose axes are in ``order``, as (N, height, width, channels).

        Tokens without a position are left out.
        """
        tf = tensorflow()
        axes = [axis for axis in range(len(order)) if axis != self.layout.channels]
        features = Value(tensor, order).at([*axes, self.layout.channels])
        if len(order) == 3:
            features = features[:, self.layout.before :]
        sizes = (-1, self.layout.height, self.layout.width, features.shape[-1])
        return tf.reshape(features, sizes)


def find_last_grid(label: str, graph: Graph) -> FeatureGrid:
    """Find the last features with positions in ``graph``, for the heat maps of a model.

    ``label`` is the model's display name. The first result of ``graph`` is probabilities
    (N, classes). The grid is the last feature maps or tokens that lead to them; if local pooling
    follows, as in VGG16, it is what the pooling reads, as Selvaraju et al. take the last
    convolution. If the head reads a class token alone, it is what the last attention reads. Raises
    ``ExplanationError`` if no single grid leads to the probabilities.
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
    """The way from the probabilities of a graph back to the last features with positions."""

    def last(self) -> Output | None:
        """The output that holds the last grid; None if there is none, or more than one."""
        grids: set[Output] = set()
        for reader, read in self.back(self.graph.results[0], self._is_grid):
            if not self._is_grid(read):
                continue
            has_other_tokens = len(self.shape(read)) == 3 and self.layouts[read].before > 0
            picks = reader.type in _PICKING and (reader.name, 0) not in self.layouts
            if has_other_tokens and picks:
                # Only tokens without a position, such as a class token, are read from the grid.
                return self._read_by_attention()
            grids.add(self._before_pooling(read))
        if not grids:
            return self._read_by_attention()
        if len(grids) > 1:
            return None
        return grids.pop()

    def _is_grid(self, output: Output) -> bool:
        return output in self.layouts and self.layouts[output].has_positions

    def _before_pooling(self, grid: Output) -> Output:
        """The grid from which local pooling, and what hardly changes features, makes ``grid``."""
        while self.nodes[grid[0]].type in _POOLING | _PASSING:
            source = self.nodes[grid[0]].reads[0]
            if not self._is_grid(source):
                break
            grid = source
        return grid

    def _read_by_attention(self) -> Output | None:
        """The grid from which the last attention computes its keys; None if there is none."""
        leading = {node.name for node, _ in self.back(self.graph.results[0])}
        for node in reversed(self.nodes.values()):
            if node.name not in leading:
                continue
            keys = self._keys(node)
            if keys is None:
                continue
            for reader, read in self.back(keys):
                if self.projects(reader):
                    if self._is_grid(read):
                        return read
                    return None
        return None

    def _keys(self, node: Node) -> Output | None:
        """The keys of the attention that ``node`` computes, or whose weights are its softmax."""
        if node.type == "ScaledDotProductAttention":
            return node.reads[1]
        if node.type != "Softmax" or len(node.shape) < 3:
            return None
        for reader, _ in self.back((node.name, 0)):
            reads_only_image = len(self.sources(reader)) == len(reader.reads)
            if reader.type in ("MatMul", "Einsum") and reads_only_image:
                return reader.reads[1]
        return None
