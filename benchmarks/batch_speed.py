"""Times a band, a map, the study and a sweep against the bare forward passes that they need.

One image, the four offline models. The bare passes are those of the distinct images that the work
itself made, replayed: the same batches through the same classifiers, with nothing around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

from benchmarks.offline_models import NAMES
from benchmarks.timing import interleaved_ms
from robustness import models
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Picture, study_image
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate
from robustness.measure.request import make_spec, study_conditions
from robustness.measure.strength import strengths, sweep
from robustness.models import Classifier, Outputs
from robustness.perturbations import REGISTRY
from robustness.ui import cells
from robustness.ui.shared import LIMIT, ResultCache

SWEPT = "gaussian_blur"


def measure(repeats: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of each piece of work and of its bare passes, and their ratio."""
    picture = Picture.of("coffee", study_image(sample_bytes("coffee")))
    for name in NAMES:
        models.load(name)
    spec = make_spec(NAMES, study_conditions())
    ten = [record.name for record in REGISTRY if record.in_study]
    work: dict[str, Callable[[], object]] = {
        "band, 21 strengths": lambda: _map(picture, [SWEPT]),
        "map, 10 perturbations": lambda: _map(picture, ten),
        "study, 10 perturbations": lambda: list(evaluate(spec, [picture])),
        "sweep, 21 strengths": lambda: list(sweep(picture, [SWEPT], NAMES)),
    }
    rows = []
    for what, run in work.items():
        passes = _passes(run)

        def bare(passes: list[tuple[Classifier, Any]] = passes) -> None:
            for classifier, images in passes:
                classifier(images)

        work_ms, bare_ms = interleaved_ms(run, bare, repeats=repeats)
        rows.append({"what": what, "ms": work_ms, "bare_ms": bare_ms, "ratio": work_ms / bare_ms})
    return rows


def _map(picture: Picture, perturbations: Sequence[str]) -> None:
    """Compute the cells of a page's map, of which nothing is cached."""
    with patch.object(cells, "RESULT_CACHE", ResultCache(LIMIT)):
        for name in perturbations:
            at = strengths(REGISTRY[name])
            list(cells.cells(picture, NAMES, Condition.of({}), name, at, 0, nullcontext))


def _passes(run: Callable[[], object]) -> list[tuple[Classifier, Any]]:
    """The forward passes that ``run`` makes: classifier and batch."""
    made: list[tuple[Classifier, Any]] = []
    plain = Classifier.__call__

    def recorded(self: Classifier, images: Any) -> Outputs:
        made.append((self, images))
        return plain(self, images)

    with patch.object(Classifier, "__call__", recorded):
        run()
    return made


def main() -> None:
    """Prints the table."""
    print(f"{'what':30}{'ms':>8}{'bare ms':>10}{'ratio':>8}")
    for row in measure():
        print(f"{row['what']:30}{row['ms']:8.0f}{row['bare_ms']:10.0f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
