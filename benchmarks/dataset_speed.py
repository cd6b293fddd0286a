"""Times a dataset run against the bare batched forward passes of the same models.

The four offline models under the study's ten perturbations, files on disk. The bare passes are the
same number of frames in full batches of 16, with nothing around them, taken in turns with the run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness import models, runs
from robustness.evaluation.loop import frames
from robustness.evaluation.spec import make_spec
from robustness.evaluation.suites import study_conditions
from robustness.models.classifier import MAX_BATCH
from robustness.pictures.fitting import study_image
from robustness.pictures.picture import Picture
from robustness.pictures.samples import sample_bytes
from tests.support.made_datasets import flat_folder

NAMES = [record.name for record in models.REGISTRY if record.group == models.OFFLINE]


def measure(images: int = 64, repeats: int = 3) -> dict[str, Any]:
    """Seconds of a run over ``images`` pictures and of its bare passes, the best of each."""
    spec = make_spec(NAMES, study_conditions())
    classifiers = [models.load(name) for name in NAMES]
    picture = Picture.of("coffee", study_image(sample_bytes("coffee")))
    made = frames([picture] * MAX_BATCH, spec.conditions, 0).reshape(-1, *picture.image.shape)
    passes = images * (1 + len(spec.conditions)) // MAX_BATCH

    def bare() -> None:
        for classifier in classifiers:
            for number in range(passes):
                start = number * MAX_BATCH % len(made)
                classifier(made[start : start + MAX_BATCH])

    with tempfile.TemporaryDirectory() as folder:
        source = flat_folder(Path(folder) / "pictures", images)

        def run() -> None:
            plan = runs.plan(str(source), spec)
            with runs.start(plan, Path(folder) / "runs") as session:
                for _ in session.perform():
                    pass

        run()
        bare()
        seconds = [(_seconds(run), _seconds(bare)) for _ in range(repeats)]
    run_s, bare_s = (min(column) for column in zip(*seconds, strict=True))
    return {"images": images, "run_s": run_s, "bare_s": bare_s, "share": bare_s / run_s}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Prints the table."""
    row = measure()
    print(
        f"{row['images']} pictures: run {row['run_s']:.1f} s, bare passes {row['bare_s']:.1f} s: "
        f"{row['images'] / row['run_s']:.2f} of {row['images'] / row['bare_s']:.2f} pictures/s, "
        f"{row['share']:.0%} of the bare rate"
    )


if __name__ == "__main__":
    main()
