"""The feature stages of a graph of OpenVINO, and the vector that its head reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness.models.graph_files.features import FeatureWalk
from robustness.models.in_tensorflow.replay.graph import Operations

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


class StageError(ValueError):
    """A stage that is asked for is not there; the message says what is."""


def find_stages(model: Any, named: Sequence[str]) -> tuple[FeatureStage, ...]:
    """The stages of ``model`` for one image, shallow to deep; all its shapes must be known.

    Those ``named`` by operation or tensor, else up to ``MOST_STAGES``: the last features at each
    resolution of a convolutional network, the sums of a transformer's blocks, and last the input of
    the head. Empty without a head with weights. Raises ``StageError`` for an unknown name.
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


def name_apart(model: Any) -> None:
    """Gives every operation of ``model`` a friendly name of its own."""
    seen: set[str] = set()
    for place, operation in enumerate(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if name in seen:
            operation.set_friendly_name(f"{name}#{place}")
        seen.add(operation.get_friendly_name())


class _Stages:
    """The operations of a model that hold features, by their friendly names."""

    def __init__(self, model: Any) -> None:
        self._walk = FeatureWalk(Operations(model))
        self._operations = {o.get_name(): o for o in model.get_ordered_ops()}
        self._usable = [name for name in self._operations if self._is_usable(name)]

    def _is_usable(self, name: str) -> bool:
        return self._walk.depends((name, 0)) and 2 <= len(self._shape(name)) <= 4

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of its first output; empty where a part of it is not known."""
        shapes = self._walk.nodes[name].shapes
        sizes = (shapes[0] if shapes else None) or ()
        return () if None in sizes else tuple(size or 0 for size in sizes)

    def head(self) -> str | None:
        """What the last node with weights reads on the way to the answer."""
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
            shape, layout = self._shape(name), self._walk.layouts.get((name, 0))
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
        node, shape = self._walk.nodes[name], self._shape(name)
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
        raise StageError(
            f"there is no operation {name!r} whose features could be compared; among its "
            f"operations are {', '.join(list(friendly.values())[-8:])}."
        )

    def stage(self, title: str, name: str) -> FeatureStage:
        """The stage ``title`` at the node ``name``."""
        shape, layout = self._shape(name), self._walk.layouts.get((name, 0))
        second = False
        if len(shape) == 4:
            # Where no convolution says it, maps of a square image have two equal sides.
            second = layout.channels == 1 if layout else shape[2] == shape[3] != shape[1]
        return FeatureStage(title, self._operations[name].get_friendly_name(), second)
