"""Times a study run against the script that one would write first.

That script calls ``model.predict`` for each model and image, then a second model's ``predict`` for
the features. Both get the study's four networks, one image and its ten perturbed versions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.study_networks import NAMES, random_classifier, stand_in
from benchmarks.timing import interleaved_ms
from robustness import models
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Picture, study_image
from robustness.measure.loop import evaluate, perturbed
from robustness.measure.request import make_spec, study_conditions
from robustness.models.frameworks import keras


def measure(repeats: int = 3) -> list[dict[str, Any]]:
    """Milliseconds of a whole study of one image, for both, and their ratio.

    A third row gives the bare batched forward passes, which ours needs at least.
    """
    picture = Picture.of("chelsea", study_image(sample_bytes("chelsea")))
    conditions = study_conditions()
    images = np.concatenate([picture.image[None], perturbed(picture, conditions, 0)])
    scripts = []
    for name in NAMES:
        record = models.REGISTRY[name]
        network = record.build()
        features = keras().Model(network.inputs, network.get_layer(record.stages[-1][1]).output)
        scripts.append((network, features))

    def first_script() -> None:
        for network, features in scripts:
            for image in images:
                network.predict(255 * image[None], verbose=0)
                features.predict(255 * image[None], verbose=0)

    stand_in()
    spec = make_spec(NAMES, conditions)

    def ours() -> None:
        list(evaluate(spec, [picture], load=random_classifier))

    def bare() -> None:
        for name in NAMES:
            random_classifier(name)(images)

    ours_ms, script_ms, bare_ms = interleaved_ms(ours, first_script, bare, repeats=repeats)
    return [
        {"what": "study run", "ms": ours_ms, "ratio": script_ms / ours_ms},
        {"what": "predict script", "ms": script_ms, "ratio": 1.0},
        {"what": "bare forward passes", "ms": bare_ms, "ratio": script_ms / bare_ms},
    ]


def main() -> None:
    """Prints the table."""
    print(f"{'what':24}{'ms':>10}{'times faster than the script':>32}")
    for row in measure():
        print(f"{row['what']:24}{row['ms']:10.0f}{row['ratio']:32.1f}")


if __name__ == "__main__":
    main()
