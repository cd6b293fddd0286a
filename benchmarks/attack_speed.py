"""Times an attack of 20 steps against the 20 passes forward and back that it needs.

The bare passes are a ``tf.function`` of their own around the same graph: the cross-entropy of one
class and its gradient, on one image, with nothing around them. Both run in turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.offline_models import NAMES
from benchmarks.study_networks import study_network
from benchmarks.timing import interleaved_ms
from robustness import models
from robustness.attacks import AttackSpec, attack
from robustness.images.decoding import sample_bytes
from robustness.images.framing import study_image
from robustness.models import Classifier
from robustness.models.frameworks import tensorflow

STEPS = 20


def measure(repeats: int = 7) -> list[dict[str, Any]]:
    """One row a model: milliseconds of PGD and of its bare passes, and their ratio.

    PGD is the whole call: the clean answer, the steps, and the verdict.
    """
    image = study_image(sample_bytes("coffee"))[None]
    spec = AttackSpec.of("pgd", epsilon=8 / 255, steps=STEPS)
    rows = []
    for name in NAMES:
        classifier = models.load(name)
        step = _bare_step(classifier)
        own = np.array([classifier(image).probabilities[0].argmax()])

        def ours(classifier: Classifier = classifier) -> None:
            attack(classifier, image, None, spec)

        def bare(step: Any = step, own: Any = own) -> None:
            for _ in range(STEPS):
                step(image, own).numpy()

        ours_ms, bare_ms = interleaved_ms(ours, bare, repeats=repeats)
        rows.append({"model": name, "ms": ours_ms, "bare_ms": bare_ms, "ratio": ours_ms / bare_ms})
    return rows


def _bare_step(classifier: Classifier) -> Any:
    tf = tensorflow()
    graph = study_network(classifier.record.name)

    @tf.function(reduce_retracing=True)
    def step(images: Any, classes: Any) -> Any:
        images = tf.convert_to_tensor(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            probabilities = graph.model(graph.prepare(images), training=False)[0]
            loss = tf.keras.losses.sparse_categorical_crossentropy(classes, probabilities)
        return tape.gradient(loss, images)

    return lambda images, classes: step(tf.constant(images), tf.constant(classes))


def main() -> None:
    """Prints the table."""
    print(f"{'model':20}{'PGD ms':>8}{'bare ms':>10}{'ratio':>8}")
    for row in measure():
        print(f"{row['model']:20}{row['ms']:8.0f}{row['bare_ms']:10.0f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
