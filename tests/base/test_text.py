"""What is said of a word that nobody knows."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest

from robustness.base.text import (
    are,
    counted,
    csv_cell,
    did_you_mean,
    format_figure,
    from_csv_cell,
    in_sentence,
    nearest,
    plain,
    unhidden,
    visible,
)
from tests.support.property_tests import property_test

KNOWN = ("labels", "path", "Year")


def test_the_nearest_word_is_named_before_all_of_them() -> None:
    assert did_you_mean("labls", KNOWN) == "Did you mean 'labels'? Known: labels, path, Year"
    assert did_you_mean("YEAR", KNOWN) == "Did you mean 'Year'? Known: labels, path, Year"
    assert did_you_mean("spanner", KNOWN) == "Known: labels, path, Year"


@pytest.mark.parametrize(
    ("number", "thing", "said"),
    [
        (1, "point", "1 point"),
        ("1", "point", "1 point"),
        ("1.0", "point", "1.0 points"),
        (1200, "forward pass", "1,200 forward passes"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int | str, thing: str, said: str) -> None:
    assert counted(number, thing) == said


@pytest.mark.parametrize(
    ("count", "total", "said"),
    [
        (0, 1, "the model is not"),
        (1, 1, "the model is"),
        (2, 2, "both models are"),
        (1, 3, "1 of 3 models is"),
        (3, 3, "all 3 models are"),
    ],
)
def test_a_verb_agrees_with_what_it_is_said_of(count: int, total: int, said: str) -> None:
    assert are(count, total, "model") == said


@property_test(
    lambda st: [st.text() | st.text("='\\x1b-+@\\t1é", max_size=6)],
    *("'a\\x1b", "''=1", "a\udcff.png"),
)
def test_a_cell_is_harmless_and_reads_back(text: str) -> None:
    cell = csv_cell(text)
    assert from_csv_cell(cell) == text
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", cell)
    assert re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell, re.I) or not re.match(
        r"[=+\-@\t\r\n]", cell
    )


@pytest.mark.parametrize("cell", ["'tis.png", "it's", "-0.5", "fog=0.6", "a b", "'", r"C:\a.png"])
def test_cells_of_other_tables_stay(cell: str) -> None:
    assert from_csv_cell(cell) == csv_cell(cell) == cell


@property_test(lambda st: [st.integers(0, 800), st.integers(1, 800), st.sampled_from([0, 1])])
def test_halves_are_rounded_away_from_zero(good: int, images: int, digits: int) -> None:
    exact = Fraction(100 * good * 10**digits, images)
    expected = math.floor(exact + Fraction(1, 2)) / 10**digits
    for sign in (1, -1):
        text = format_figure(sign * (good / images), f".{digits}%")
        assert abs(float(text.removesuffix("%"))) == expected


def test_as_many_as_asked_for_are_near_the_nearest_first() -> None:
    assert nearest("crane", ("crane bird", "crone", "tench"), most=2) == ["crone", "crane bird"]
    assert nearest("crane", ("crane bird", "crone", "tench")) == ["crone"]
    assert nearest("crane", ("crone",), cutoff=0.9) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("holiday photos", "holiday photos"),
        ("evil\u202egpj.exe", "evilU+202Egpj.exe"),
        ("two\n lines\tand\x00nothing", "two lines andU+0000nothing"),
        ("Ångström, 写真", "Ångström, 写真"),
    ],
)
def test_what_cannot_be_seen_stands_as_its_number(text: str, said: str) -> None:
    assert visible(text) == said
    assert " ".join(unhidden(text).split()) == said
    assert plain(text).replace("\\", "") == said


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("Fog effect", "fog effect"),
        ("Gaussian blur", "Gaussian blur"),
        ("JPEG compression", "JPEG compression"),
        ("WebP compression", "WebP compression"),
    ],
)
def test_a_label_in_a_sentence_is_small_but_for_names(label: str, said: str) -> None:
    assert in_sentence(label) == said
