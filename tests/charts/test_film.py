"""Films as the browser gets them: lossless images, plain data, and nothing that asks for more."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from robustness import models
from robustness.charts import film as charts
from robustness.charts.verdict import verdict
from robustness.evaluation import film
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.sweep import Break, sweep
from robustness.pictures.eight_bits import to_uint8
from robustness.pictures.picture import Picture
from tests.support.oracles import photos
from tests.support.stand_ins import TWO, Stable

NAMES = [name for name, _ in TWO]
FOGGY = Condition.of({"fog": 0.5, "gaussian_blur": 0.4})


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture.of("coffee", photos("coffee")[0])


@pytest.fixture(scope="module")
def made(picture: Picture) -> film.FilmRows:
    events = film.shoot(picture, FOGGY, "fog", NAMES, steps=5, load=Stable().load)
    return film.assembled(FOGGY, "fog", events)


def test_the_pictures_read_back_are_the_perturbed_ones(
    made: film.FilmRows, picture: Picture
) -> None:
    _, pngs = charts.played(made, picture)
    images = [picture.image, *(frame.image for frame in made.frames)]
    for png, image in zip(pngs, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), to_uint8(image))


def test_the_data_says_of_each_frame_what_its_rows_say(
    made: film.FilmRows, picture: Picture
) -> None:
    told = {name: [labelled(row, "espresso") for row in rows] for name, rows in made.rows.items()}
    made = replace(made, rows=told)
    data, _ = charts.played(made, picture)
    assert json.loads(json.dumps(data, allow_nan=False))["title"] == data["title"]
    assert data["title"] == "Fog effect from 0 to 1, with Gaussian blur 0.4"
    assert [frame["strength"] for frame in data["frames"]] == [0, 0.25, 0.5, 0.75, 1]
    assert data["frames"][0]["text"] == "off"
    for shown, (name, rows) in zip(data["models"], made.rows.items(), strict=True):
        assert shown["label"] == models.label(name)
        assert shown["classes"][0] == models.class_name(name, rows[0].clean_top1)
        assert shown["break"] == made.breaks[name]
        for frame, row in zip(shown["frames"], rows, strict=True):
            assert frame["verdict"] == verdict(row)
            named = [shown["classes"][place] for place, _ in frame["top5"]]
            assert named == [models.class_name(name, index) for index in row.top5]
            shares = [share for _, share in frame["top5"]]
            assert shares == pytest.approx(row.top5_probabilities, abs=1e-4)
            assert frame["left"] == pytest.approx(row.retained_probability, abs=1e-4)
            assert frame["cosine"] == pytest.approx(row.scores["cosine_rescaled"], abs=1e-4)
            assert frame["euclidean"] == pytest.approx(row.scores["euclidean_rescaled"], abs=1e-4)


def test_a_sweep_marks_what_it_has_found_itself(picture: Picture) -> None:
    names = ["gaussian_noise", "gaussian_blur"]
    found = list(sweep(picture, names, NAMES, steps=5, repeats=2, load=Stable().load))
    for name in names:
        data, _ = charts.played_sweep(film.of_sweep(picture, name, found, 0), picture, found)
        breaks = [
            event for event in found if isinstance(event, Break) and event.perturbation == name
        ]
        assert [model["break"] for model in data["models"]] == [entry.strength for entry in breaks]
        assert "0.25, refined to 0.005" in data["note"]
        assert ("one of 2 seeds" in data["note"]) == (name == "gaussian_noise")


def test_the_script_asks_for_nothing_and_reads_no_text_as_tags() -> None:
    script = charts.script()
    assert "class Film {" in script
    assert not re.findall(r"fetch\(|XMLHttp|WebSocket|import\(|innerHTML|insertAdjacent", script)
    assert "</" not in script + charts.style()
