"""The scores under a graph's closing softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustness.models.in_tensorflow.replay.graph import Graph, Output, replayed
from robustness.models.in_tensorflow.replay.operation_table import Node
from robustness.models.in_tensorflow.replay.value import Value
from robustness.models.in_tensorflow.runtime import tensorflow

_LEAVING = {"Result", "Convert", "FakeQuantize", "Round", "Clamp"}
"""Operations after a softmax that hardly change probabilities."""

_MOVING = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "StridedSlice"}
"""Operations that only select and arrange values, so they apply to scores as well."""

_SCALING = {"Multiply", "Divide", "Add", "Subtract"}


class Ending:
    """The path from scores to a graph's first result, probabilities (N, classes)."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._moves: list[Node] = []
        self._scores = self._under(graph.results[0])
        if self._scores is None:
            self._moves = []

    def of(self, images: Any, intermediates: Sequence[Output] = ()) -> tuple[Any, list[Value]]:
        """TensorFlow scores (N, classes) that differ as the log probabilities of the classes do.

        Confident probabilities round to 0 and 1, which no gradient passes through. Also returns the
        values of the outputs ``intermediates``, which lead to the scores.
        """
        tf = tensorflow()
        start = self._scores or self._graph.results[0]
        found, *others = self._graph.run(images, [start, *intermediates])
        if self._scores is None:
            return tf.math.log(tf.maximum(found.plain, np.finfo(np.float32).tiny)), others
        for node in reversed(self._moves):
            reads = self._graph.reads(node)
            (found,) = replayed(node, reads, {**self._graph.constants, reads[0]: found})
        return found.plain, others

    def _under(self, output: Output) -> Output | None:
        """The input of the last softmax before ``output``; None if there is none."""
        while True:
            node = self._graph.nodes[output[0]]
            if node.type in ("Softmax", "Exp"):
                return node.reads[0]
            if node.type in _MOVING:
                self._moves.append(node)
            elif node.type in _SCALING:
                (way,) = self._way_through(node) or (None,)
                if way is None:
                    return None
                output = way
                continue
            elif node.type not in _LEAVING:
                return None
            output = node.reads[0]

    def _way_through(self, node: Node) -> list[Output]:
        """Values that ``node`` scales by one number for all classes of an image; maybe none."""
        first, second = node.reads
        sizes: dict[Output, Value | None] = {
            way: self._graph.constants.get(way) for way in node.reads
        }
        for way, other in ((first, second), (second, first)):
            known = sizes[other]
            if sizes[way] is None and known is not None and known.array.size == 1:
                return [way]
        source = self._graph.nodes[second[0]].shapes[second[1]]
        return [first] if node.type == "Divide" and source and source[-1] == 1 else []
