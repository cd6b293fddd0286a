"""Where a graph of OpenVINO holds features: the vector that the head reads, and the stages.

Walks from the image to the answer know two things of an operation: whether its values depend on
the image, and, of feature maps, whether channels come second (NCHW) or last (NHWC).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_STAGES = 6
"""Feature stages of a model whose description names none."""

EMBEDDING = "embedding"
"""Name of the last stage: what the classifier head reads."""

_CONVOLUTIONS = {
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
}
_HEADS = {*_CONVOLUTIONS, "MatMul"}
_NO_MAPS = {"ShapeOf", "Reshape", "Squeeze", "Unsqueeze", "MatMul", "Transpose"}
"""Operations whose output is not laid out as their input is."""

_NO_STAGES = {"Pad", "Slice", "StridedSlice", "Split", "VariadicSplit", "Transpose"}
"""Operations that move features and compute none."""

_TO_LAST, _TO_SECOND = [0, 2, 3, 1], [0, 3, 1, 2]


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
    walk = _StageWalk(model)
    if named:
        return tuple(walk.named(name) for name in named)
    head = walk.head()
    if head is None:
        return ()
    inner = [stage for stage in walk.stages(head) if stage.operation != head]
    places = np.linspace(0, len(inner) - 1, min(MOST_STAGES - 1, len(inner))).round().astype(int)
    return (*(inner[place] for place in places), walk.stage(EMBEDDING, head))


def name_apart(model: Any) -> None:
    """Gives every operation of ``model`` a friendly name of its own."""
    seen: set[str] = set()
    for place, operation in enumerate(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if name in seen:
            operation.set_friendly_name(f"{name}#{place}")
        seen.add(operation.get_friendly_name())


class _StageWalk:
    """What is known of each operation of a model, by its friendly name."""

    def __init__(self, model: Any) -> None:
        self._ordered = [o for o in model.get_ordered_ops() if o.get_output_size()]
        self._operations = {o.get_friendly_name(): o for o in self._ordered}
        self._answers = model.get_results()
        self._depends: set[str] = set()
        self._channels_second: dict[str, bool] = {}
        for operation in self._ordered:
            self._visit(operation)

    def _visit(self, operation: Any) -> None:
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        sources = [source.get_friendly_name() for source in _sources(operation)]
        if kind == "Parameter" or (
            kind != "ShapeOf" and any(source in self._depends for source in sources)
        ):
            self._depends.add(name)
        second = self._layout(operation, kind, sources)
        if second is not None and name in self._depends and len(_shape(operation)) == 4:
            self._channels_second[name] = second

    def _layout(self, operation: Any, kind: str, sources: list[str]) -> bool | None:
        if kind in _CONVOLUTIONS:
            return True
        known = [self._channels_second[source] for source in sources if self._is_map(source)]
        if kind == "Transpose" and known:
            order = _constant(operation.input_value(1).get_node())
            turned = {True: _TO_LAST, False: _TO_SECOND}[known[0]]
            return not known[0] if order == turned else None
        if kind == "MatMul":  # one dense layer for all places
            dense = known == [False] and not all(source in self._depends for source in sources)
            return False if dense else None
        return None if kind in _NO_MAPS or not known else known[0]

    def _is_map(self, name: str) -> bool:
        return name in self._channels_second

    def head(self) -> str | None:
        """The operation that the last one with constant weights reads on the way to the answer."""
        pending = [source for result in self._answers for source in _sources(result)]
        seen: set[str] = set()
        while pending:
            operation = pending.pop(0)
            name = operation.get_friendly_name()
            if name in seen or name not in self._depends:
                continue
            seen.add(name)
            sources = _sources(operation)
            within = [s for s in sources if s.get_friendly_name() in self._depends]
            if operation.get_type_name() in _HEADS and len(within) == 1 < len(sources):
                read = str(within[0].get_friendly_name())
                return None if within[0].get_type_name() == "Parameter" else read
            pending += within
        return None

    def stages(self, head: str) -> list[FeatureStage]:
        """The candidates before ``head``, shallow to deep."""
        before = self._before(head)
        inner = [o for o in self._ordered if o.get_friendly_name() in before]
        maps: dict[tuple[int, int], FeatureStage] = {}
        for operation in inner:
            name, shape = operation.get_friendly_name(), _shape(operation)
            # A dilated convolution of TensorFlow Lite sees parts of the image as a batch.
            parts = shape[:1] != (1,)
            if not self._is_map(name) or parts or operation.get_type_name() in _NO_STAGES:
                continue
            second = self._channels_second[name]
            (height, width), channels = (shape[2:], shape[1]) if second else (shape[1:3], shape[3])
            if height * width > 1 and channels > 1:
                maps.pop((height, width), None)  # shallow to deep by the last of each
                maps[height, width] = FeatureStage(f"{height} x {width}", name, second)
        sums = [o.get_friendly_name() for o in inner if self._is_block_sum(o)]
        blocks = [FeatureStage(f"block {place}", name, False) for place, name in enumerate(sums, 1)]
        return blocks if len(blocks) > len(maps) else list(maps.values())

    def _is_block_sum(self, operation: Any) -> bool:
        """Whether it adds what a block of a transformer has found to what the block read."""
        shape = _shape(operation)
        return (
            operation.get_type_name() == "Add"
            and len(shape) == 3
            and shape[0] == 1
            and all(
                source.get_friendly_name() in self._depends and _shape(source) == shape
                for source in _sources(operation)
            )
        )

    def _before(self, head: str) -> set[str]:
        """``head`` and all that depends on the image before it."""
        found: set[str] = set()
        pending = [head]
        while pending:
            name = pending.pop()
            if name in self._depends and name not in found:
                found.add(name)
                pending += [s.get_friendly_name() for s in _sources(self._operations[name])]
        return found

    def named(self, name: str) -> FeatureStage:
        """The stage that a description names."""
        for operation in self._ordered:
            known = {operation.get_friendly_name(), *operation.output(0).get_names()}
            usable = operation.get_friendly_name() in self._depends
            if name in known and usable and 2 <= len(_shape(operation)) <= 4:
                return self.stage(name, operation.get_friendly_name())
        usable_names = [o.get_friendly_name() for o in self._ordered if self._is_usable(o)]
        raise StageError(
            f"there is no operation {name!r} whose features could be compared; among its "
            f"operations are {', '.join(usable_names[-8:])}."
        )

    def _is_usable(self, operation: Any) -> bool:
        name = operation.get_friendly_name()
        return name in self._depends and 2 <= len(_shape(operation)) <= 4

    def stage(self, name: str, operation: str) -> FeatureStage:
        shape = _shape(self._operations[operation])
        # Where no convolution says it, maps of a square image have two equal sides.
        guessed = len(shape) == 4 and shape[2] == shape[3] != shape[1]
        return FeatureStage(name, operation, self._channels_second.get(operation, guessed))


def _sources(operation: Any) -> list[Any]:
    """The operations that ``operation`` reads."""
    return [value.get_node() for value in operation.input_values()]


def _shape(operation: Any) -> tuple[int, ...]:
    """The shape of its first output; empty where a part of it is not known."""
    shape = operation.output(0).partial_shape
    return tuple(shape.to_shape()) if shape.is_static else ()


def _constant(operation: Any) -> list[int]:
    """The values of a constant, as a list; empty of anything else."""
    if operation.get_type_name() != "Constant":
        return []
    values: Iterable[int] = operation.get_data().flatten().tolist()
    return list(values)
