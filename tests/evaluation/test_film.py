"""Films: the loop's own images and rows, at every strength of one perturbation."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from robustness.base.errors import UnknownNameError
from robustness.evaluation import film
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import evaluate, perturbed
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import RunSpec
from robustness.evaluation.sweep import sweep
from robustness.pictures.picture import Picture
from tests.support.oracles import photos
from tests.support.stand_ins import TWO, Stable

NAMES = [name for name, _ in TWO]
BOTH = Condition.of({"gaussian_noise": 0.3, "rotation": 0.2})


@pytest.fixture
def picture() -> Picture:
    return Picture.of("coffee", photos("coffee")[0])


def shot(picture: Picture, condition: Condition, name: str, **options: Any) -> film.FilmRows:
    events = film.shoot(picture, condition, name, NAMES, load=Stable().load, **options)
    return film.assembled(condition, name, events)


def test_every_frame_is_what_the_loop_gives_at_its_strength(picture: Picture) -> None:
    found = shot(picture, BOTH, "gaussian_noise", steps=11, seed=5)
    assert found.fixed == {"rotation": 0.2}
    assert [frame.strength for frame in found.frames] == pytest.approx(np.linspace(0, 1, 11))
    conditions = [
        Condition.of({"gaussian_noise": frame.strength, "rotation": 0.2}) for frame in found.frames
    ]
    images = perturbed(picture, conditions, 5)
    np.testing.assert_array_equal([frame.image for frame in found.frames], images)
    rows = list(evaluate(RunSpec(TWO, tuple(conditions), 5), [picture], load=Stable().load))
    assert [row for rows in found.rows.values() for row in rows] == rows


def test_a_model_breaks_at_the_first_frame_that_changes_its_answer(picture: Picture) -> None:
    found = shot(picture, BOTH, "rotation", steps=5)
    rows = next(iter(found.rows.values()))

    def answers(*kept: bool) -> list[Measurement]:
        return [
            replace(row, top1=row.clean_top1 + (not stays))
            for row, stays in zip(rows, kept, strict=True)
        ]

    made_up = {
        "comes back": answers(True, True, False, True, False),
        "never": answers(*[True] * 5),
        "at once": answers(*[False] * 5),
    }
    breaks = replace(found, rows=made_up).breaks
    assert breaks == {"comes back": 0.5, "never": None, "at once": 0.0}


def test_a_switch_has_two_frames(picture: Picture) -> None:
    found = shot(picture, BOTH, "horizontal_flip")
    off, on = (frame.image for frame in found.frames)
    np.testing.assert_array_equal(off, perturbed(picture, [BOTH], 0)[0])
    assert not np.array_equal(off, on)


def test_nobody_is_asked_any_longer_once_it_is_closed(picture: Picture) -> None:
    models = Stable()
    events = film.shoot(picture, BOTH, "rotation", NAMES, load=models.load)
    assert len(list(islice(events, 3))) == 3
    events.close()  # type: ignore[attr-defined]
    assert [len(model.batches) for model in models.loaded.values()] == [1, 1], "the clean images"


def test_a_sweep_is_a_film_for_which_no_model_is_asked_again(picture: Picture) -> None:
    models = Stable()
    events = list(
        sweep(picture, ["gaussian_noise"], NAMES, steps=5, repeats=2, seed=4, load=models.load)
    )
    times = [len(model.batches) for model in models.loaded.values()]
    found = film.of_sweep(picture, "gaussian_noise", events, 4)
    assert [len(model.batches) for model in models.loaded.values()] == times
    expected = shot(
        picture, Condition.of({"gaussian_noise": 1.0}), "gaussian_noise", steps=5, seed=4
    )
    assert found.rows == expected.rows
    for one, other in zip(found.frames, expected.frames, strict=True):
        assert one.strength == other.strength
        np.testing.assert_array_equal(one.image, other.image)


def test_what_is_no_perturbation_cannot_move(picture: Picture) -> None:
    with pytest.raises(UnknownNameError, match="rotation"):
        film.conditions(BOTH, "rotaton")
