"""Times a dataset run against the same run with TensorFlow's passes, and against bare passes.

The four offline models under the study's ten perturbations, files on disk. The bare passes are the
same number of frames in full batches of 16, with nothing around them. All in turns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.offline_models import NAMES, run_by
from benchmarks.support.image_folders import flat_folder
from robustness import models, runs
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Picture, study_image
from robustness.measure.loop import frames
from robustness.measure.request import make_spec, study_conditions
from robustness.models.classifier import MAX_BATCH
from robustness.models.engine import OPENVINO, TENSORFLOW


def measure(images: int = 64, repeats: int = 3) -> dict[str, Any]:
    """Seconds of a run over ``images`` images, with TensorFlow, and bare: the best of each.

    ``ratio`` is that with TensorFlow over ours, ``share`` the bare passes over our run.
    """
    spec = make_spec(NAMES, study_conditions())
    picture = Picture.of("coffee", study_image(sample_bytes("coffee")))
    made = frames([picture] * MAX_BATCH, spec.conditions, 0).reshape(-1, *picture.image.shape)
    passes = images * (1 + len(spec.conditions)) // MAX_BATCH

    def bare() -> None:
        with run_by(OPENVINO):
            classifiers = [models.load(name) for name in NAMES]
        for classifier in classifiers:
            for number in range(passes):
                start = number * MAX_BATCH % len(made)
                classifier(made[start : start + MAX_BATCH])

    with tempfile.TemporaryDirectory() as folder:
        source = flat_folder(Path(folder) / "pictures", images)

        def run(engine: str = OPENVINO) -> None:
            plan = runs.plan(str(source), spec)
            with run_by(engine), runs.start(plan, Path(folder) / "runs") as writer:
                for _ in writer.perform():
                    pass

        work: tuple[Callable[[], None], ...] = (run, lambda: run(TENSORFLOW), bare)
        for each in work:
            each()
        seconds = [[_seconds(each) for each in work] for _ in range(repeats)]
    run_s, reference_s, bare_s = (min(column) for column in zip(*seconds, strict=True))
    return {
        "images": images,
        "run_s": run_s,
        "reference_s": reference_s,
        "bare_s": bare_s,
        "ratio": reference_s / run_s,
        "share": bare_s / run_s,
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Prints the table."""
    row = measure()
    rates = {column: row["images"] / row[column] for column in ("run_s", "reference_s", "bare_s")}
    print(
        f"{row['images']} images: run {row['run_s']:.1f} s, with TensorFlow "
        f"{row['reference_s']:.1f} s, bare passes {row['bare_s']:.1f} s: {rates['run_s']:.2f}, "
        f"{rates['reference_s']:.2f} and {rates['bare_s']:.2f} pictures/s\n"
        f"{row['ratio']:.2f} times faster than with TensorFlow, {row['share']:.0%} of the bare rate"
    )


if __name__ == "__main__":
    main()
