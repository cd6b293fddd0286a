"""Bands: what a cell is, where a model breaks, and how a band is said and drawn."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from robustness import api
from robustness.base.errors import ParameterError
from robustness.cli import main
from robustness.measure import STEPS
from robustness.measure.strength import Band, Cell, strengths
from robustness.perturbations import REGISTRY
from robustness.report import maps as drawing


def band(good: str, *, name: str = "fog", label: int | None = 1, original: int = 1) -> Band:
    """A band with a cell for each character of ``good``, "+" or "-"."""
    at = np.linspace(0, 1, len(good)).round(2).tolist()
    cells = [Cell(s, 1 if sign == "+" else 2, 0.5) for s, sign in zip(at, good, strict=True)]
    return Band("SqueezeNet", name, tuple(cells), Cell(0.0, original, 0.5), label)


@pytest.mark.parametrize(
    ("signs", "at", "text"),
    [
        ("+++++", None, "correct always"),
        ("-----", 0.0, "incorrect always"),
        ("++---", 0.5, "correct up to 0.25, incorrect from 0.5"),
        ("+-+--", 0.25, "correct at 0, incorrect at 0.25, correct again at 0.5, "
                        "incorrect again from 0.75"),
        ("++--+", 0.5, "correct up to 0.25, incorrect from 0.5 to 0.75, correct again at 1"),
    ],
)  # fmt: skip
def test_a_band_says_where_its_model_breaks(signs: str, at: float | None, text: str) -> None:
    assert band(signs).breaks_at == at
    assert band(signs).text == text


@pytest.mark.parametrize("name", ["fog", "horizontal_flip"])
def test_a_coarse_band_is_the_beginning_of_the_complete_one(name: str) -> None:
    record = REGISTRY[name]
    every = strengths(record)
    assert sorted(every) == sorted(set(every))
    assert {0.0, 1.0} <= set(strengths(record, 5))
    assert len(every) == (STEPS if record.graded else 2)
    assert strengths(record, 9) == every[:9]


@pytest.mark.parametrize("count", [0, 1, 7, 22, STEPS + 5])
def test_a_band_has_no_other_number_of_strengths(count: int) -> None:
    with pytest.raises(ParameterError, match=f"got {count}"):
        strengths(REGISTRY["fog"], count)


def test_the_command_and_python_sweep_as_many_strengths_as_a_band_has() -> None:
    options = main._parsed(["sweep", "sample:coffee"])
    assert options.steps == inspect.signature(api.sweep).parameters["steps"].default == STEPS


def test_every_word_of_a_drawing_is_escaped_and_bad_tiles_are_marked() -> None:
    tiles = [drawing.Tile(1, "<q>"), drawing.Tile(-0.5, '"', text="&", key="'")]
    html = drawing.Strip(tiles, "<script>").html
    assert not re.search(r"<q>|<script>|=\"\"\"|>&<|data-key=\"'\"", html)
    assert html.count("rb-bad") == 1


def test_the_tiles_of_a_band_fill_its_width_in_the_order_of_strength() -> None:
    for signs in ("+++++", "+-+-" * 5 + "+"):
        tiles = drawing.strip(band(signs)).tiles
        assert sum(tile.width for tile in tiles) == pytest.approx(1)
        assert [tile.tone > 0 for tile in tiles] == [sign == "+" for sign in signs]
