"""The last word on a run says what tests show, and nothing where they show nothing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.synthetic_rows import rows
from robustness.measure.condition import Condition
from robustness.report.closing import Camera, Closing, closing
from robustness.statistics import Figures

IMAGES = 200
CORRECT = 180
"""Originals that the model predicts correctly."""

CONDITIONS = [Condition.of({name: 0.6}) for name in ("darkness", "fog", "jpeg_compression")]
CAMERA = Camera(CONDITIONS[0].id, "darkness")


def last(
    *correct: int, labelled: bool = True, gained: int = 0, camera: Camera | None = CAMERA
) -> Closing | None:
    """The last word where so many images are correct under each of ``CONDITIONS``.

    Under the first, ``gained`` of them were incorrect before.
    """
    order = np.arange(IMAGES)
    clean = order < CORRECT
    under = np.stack([order < count for count in correct], axis=1)
    under[CORRECT : CORRECT + gained, 0] = True
    frame = rows(
        under == clean[:, None],
        conditions=CONDITIONS,
        clean_correct=clean if labelled else None,
        correct=under if labelled else None,
        labels=np.zeros(IMAGES, int) if labelled else None,
    )
    return closing(Figures(frame), camera)


@pytest.mark.parametrize(
    ("correct", "gained", "said"),
    [
        (
            (180, 110, 170),
            0,
            "In your camera's darkness SqueezeNet 1.1 stays at 90%; in fog it drops from 90% to "
            "55%.",
        ),
        (
            (150, 110, 170),
            0,
            "In your camera's darkness SqueezeNet 1.1 drops from 90% to 75%; in fog it drops from "
            "90% to 55%.",
        ),
        (  # neither lost nor kept for sure, but surely easier than fog
            (166, 110, 170),
            10,
            "In your camera's darkness SqueezeNet 1.1 is at 88%; in fog it drops from 90% to 55%.",
        ),
        ((166, 172, 175), 10, "In fog SqueezeNet 1.1 drops from 90% to 86%."),
        ((180, 179, 179), 0, "In your camera's darkness SqueezeNet 1.1 stays at 90%."),
    ],
)
def test_each_clause_needs_its_test(correct: tuple[int, ...], gained: int, said: str) -> None:
    found = last(*correct, gained=gained)
    assert found is not None
    assert found.sentence == said


def test_nothing_is_said_without_a_test() -> None:
    assert last(166, 178, 179, gained=12) is None
    assert last(180, 178, 179, camera=None) is None
    assert last(180, 110, 170, labelled=False) is None


def test_the_picture_has_every_figure_of_the_sentence_with_its_interval() -> None:
    found = last(180, 110, 170)
    assert found is not None
    picture = found.picture({"": "data:,original"})
    assert [row.label for row in picture.drawing.rows] == [
        "Originals",
        "Your camera",
        "Fog effect, fog 2.5 x",
    ]
    assert picture.drawing.rows[0].image == "data:,original"
    texts = [row[1] for row in picture.drawing.table.rows]
    assert [text.partition(" ")[0] for text in texts] == ["90.0%", "90.0%", "55.0%"]
    assert all(" to " in text for text in texts)
