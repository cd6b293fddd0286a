"""Times one forward pass of each network as a share of this machine's matrix-product rate."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.study_networks import random_classifier
from benchmarks.timing import interleaved_ms
from robustness import models
from robustness.models.runtime import tensorflow

BATCHES = (1, 11)
MATRIX_SIDE = 2048


def measure(repeats: int = 7) -> list[dict[str, Any]]:
    """One row a network and batch size; ``share`` is its float32 rate over the matrix product's.

    The matrix product of two 2048 x 2048 matrices runs in turns with the network. Rates count
    the multiply-adds of convolutions and dense layers only, two operations each.
    """
    tf = tensorflow()
    matrix = tf.random.normal((MATRIX_SIDE, MATRIX_SIDE))
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    rows = []
    for record in models.REGISTRY:
        classifier = random_classifier(record.name)
        operations = 2 * multiply_adds(record.build())
        for batch in BATCHES:
            images = np.random.default_rng(0).random((batch, 224, 224, 3), np.float32)
            forward_ms, product_ms = interleaved_ms(
                partial(classifier, images),
                lambda: product().numpy(),
                repeats=repeats,
            )
            rate = operations * batch / forward_ms
            rows.append(
                {
                    "model": record.name,
                    "batch": batch,
                    "ms": forward_ms,
                    "share": rate / (2 * MATRIX_SIDE**3 / product_ms),
                }
            )
    return rows


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


def main() -> None:
    """Prints the table."""
    print(f"{'model':20}{'batch':>6}{'ms':>10}{'share of matrix product':>26}")
    for row in measure():
        print(f"{row['model']:20}{row['batch']:6}{row['ms']:10.1f}{row['share']:26.2f}")


if __name__ == "__main__":
    main()
