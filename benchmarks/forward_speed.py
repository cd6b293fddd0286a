"""Times one forward pass of each network against TensorFlow's compiled pass of the same network.

In one process and in turns of several calls, with the product of two matrices in TensorFlow as
the measure of what the processor can do. Strictly alternating, the passes of small networks took
up to 15 (OpenVINO) and 7 (TensorFlow) percent longer than among their own, as the other engine's
threads were still spinning; in turns as here they took as long as among their own.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from itertools import filterfalse
from typing import Any

import numpy as np

from benchmarks import onnx_speed
from benchmarks.study_networks import StudyNetwork, random_classifier, study_network
from benchmarks.timing import in_turns_ms
from robustness import models
from robustness.models import ModelRecord
from robustness.models.frameworks import tensorflow
from robustness.models.weights import lacks_package

CALLS_A_TURN = {1: 4, 11: 2}
"""By batch size; a pass of many images lasts too long for the others' threads to matter."""
MATRIX_SIDE = 2048


def measure(turns: int = 5) -> Iterator[dict[str, Any]]:
    """Yields one row a network and batch size, of the engine that is chosen.

    ``ratio`` is ``reference_ms``, TensorFlow's, over ``ms``; ``share_of_matrix_rate`` is the
    float32 rate over that of the product of two 2048 x 2048 matrices. Rates count the
    multiply-adds of convolutions and dense layers only, two operations each. It is None for
    transformers, whose layers lie within others.
    """
    tf = tensorflow()
    matrix = tf.random.normal((MATRIX_SIDE, MATRIX_SIDE))
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    for record in filterfalse(lacks_package, models.REGISTRY):
        classifier = random_classifier(record.name)
        network = study_network(record.name)
        reference = _reference(network)
        operations = _operations(record, network.model)
        for batch, calls in CALLS_A_TURN.items():
            images = np.random.default_rng(0).random((batch, 224, 224, 3), np.float32)
            ms, reference_ms, product_ms = in_turns_ms(
                partial(classifier, images),
                partial(reference, images),
                lambda: product().numpy(),
                turns=turns,
                calls_a_turn=calls,
            )
            matrix_rate = 2 * MATRIX_SIDE**3 / product_ms
            yield {
                "model": record.name,
                "batch": batch,
                "engine": classifier.engine,
                "ms": ms,
                "reference_ms": reference_ms,
                "ratio": reference_ms / ms,
                "share_of_matrix_rate": operations and operations * batch / ms / matrix_rate,
            }


def _reference(network: StudyNetwork) -> Callable[[Any], Any]:
    """The pass by TensorFlow: probabilities, and each stage's activations averaged over places."""
    tf = tensorflow()
    spec = tf.TensorSpec((None, 224, 224, 3), tf.float32)

    @tf.function(input_signature=[spec], autograph=False)
    def forward(images: Any) -> Any:
        found, *stages = network.model(network.prepare(images), training=False)
        between = [tuple(range(1, stage.shape.rank - 1)) for stage in stages]
        pooled = map(tf.reduce_mean, stages, between)
        return [found, *(tf.identity(values) for values in pooled)]

    traced = forward.get_concrete_function()
    return lambda images: [values.numpy() for values in traced(tf.constant(images))]


def _operations(record: ModelRecord, network: Any) -> int | None:
    return None if record.weights.requires else 2 * multiply_adds(network)


def multiply_adds(network: Any) -> int:
    """Multiply-adds of the convolutions and dense layers of a Keras network, for one image."""
    total = 0
    for layer in network.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        height, width = layer.output.shape[1:3] if len(layer.output.shape) == 4 else (1, 1)
        total += int(np.prod(kernel.shape)) * height * width
    return total


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How many times faster than TensorFlow at batch 1, by what is taken together."""
    ones = [row for row in rows if row["batch"] == 1]
    study = [row for row in ones if models.REGISTRY[row["model"]].group == models.STUDY]
    ready = [row for row in ones if models.REGISTRY[row["model"]].group == models.OFFLINE]
    eight = [row["ratio"] for row in study + ready]
    reference_ms, ms = (sum(row[column] for row in study) for column in ("reference_ms", "ms"))
    return {
        "the study's four, summed": reference_ms / ms,
        f"geometric mean of those and the {len(ready)} offline": statistics.geometric_mean(eight),
    }


def main() -> None:
    """Prints the table and its summary."""
    print(
        f"{'model':20}{'batch':>6}{'ms':>10}{'TensorFlow ms':>16}{'ratio':>8}{'of matrix rate':>17}"
    )
    rows = []
    for row in measure():
        rows.append(row)
        share = row["share_of_matrix_rate"]
        print(
            f"{row['model']:20}{row['batch']:6}{row['ms']:10.1f}{row['reference_ms']:16.1f}"
            f"{row['ratio']:8.2f}{'' if share is None else f'{share:.2f}':>17}",
            flush=True,
        )
    for what, ratio in summary(rows).items():
        print(f"at batch 1, {what}: {ratio:.2f} times faster than TensorFlow")
    onnx_speed.main()


def print_json() -> None:
    """Prints the rows as one JSON list."""
    print(json.dumps(list(measure()), indent=1))


if __name__ == "__main__":
    main()
