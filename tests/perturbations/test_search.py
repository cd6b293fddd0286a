"""People find a perturbation by their own words, inflected and misspelt as they come."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from robustness.perturbations import REGISTRY, Perturbation, search
from robustness.perturbations.search import MOST_LETTERS, find

BLURS = {"gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "glass_blur"}
NOISES = {"gaussian_noise", "salt_and_pepper", "impulse_noise", "shot_noise", "speckle_noise"}

SAID: dict[str, dict[str, set[str]]] = {
    "anybody": {
        "dark": {"darkness", "vignetting"},
        "darker": {"darkness"},
        "shaky": {"motion_blur"},
        "grainy": {"gaussian_noise", "shot_noise", "speckle_noise"},
        "pixelated": {"pixelate"},
        "noisy": NOISES,
        "tilted": {"rotation", "perspective"},
        "zoomed": {"zoom_in", "zoom_out", "zoom_blur"},
        "covered": {"occlusion"},
        "dirty lens": {"spatter"},
        "black and white": {"greyscale"},
        "old phone": {"low_resolution", "jpeg_compression", "gaussian_noise"},
        "sunglasses": {"darkness", "warm_cast"},
        "blurry": BLURS,
    },
    "a photographer": {
        "overexposed": {"exposure"},
        "underexposed": {"darkness"},
        "out of focus": {"gaussian_blur", "defocus_blur"},
        "not sharp": {"gaussian_blur", "defocus_blur", "motion_blur"},
        "blown out": {"exposure"},
        "high ISO": {"gaussian_noise", "shot_noise"},
        "white balance": {"warm_cast", "cool_cast"},
        "desaturated": {"greyscale"},
        "lens flare": set(),
    },
    "a driver": {
        "rainy": {"spatter"},
        "foggy": {"fog"},
        "snowing": {"snow"},
        "driving at night": {"darkness"},
        "headlights": {"brightness", "exposure"},
        "wet windscreen": {"spatter"},
        "icy windshield": {"frost"},
        "tunnel": {"darkness"},
    },
    "a guard at the monitors": {
        "CCTV": {"low_resolution"},
        "night vision": {"greyscale"},
        "infrared": {"greyscale"},
        "flickering lamps": {"rolling_bands"},
        "low quality": {"low_resolution"},
        "blocked view": {"occlusion"},
        "bad signal": set(),
        "interference": {"impulse_noise"},
    },
    "a drone pilot": {
        "vibrating": {"motion_blur", "zoom_blur", "elastic_transform"},
        "wobbly": {"elastic_transform"},
        "hazy": {"fog", "contrast"},
        "far away": {"zoom_out"},
        "seen from the side": {"perspective"},
    },
    "a parent": {
        "upside down": {"rotation", "vertical_flip"},
        "crooked": {"rotation", "perspective"},
        "too bright": {"brightness", "exposure"},
        "fuzzy": {"gaussian_blur", "defocus_blur", "motion_blur"},
        "finger over the lens": {"occlusion"},
        "smudged": {"spatter", "glass_blur"},
        "selfie": {"horizontal_flip"},
    },
    "somebody with a messenger": {
        "whatsapp": {"jpeg_compression"},
        "screenshot": {"jpeg_compression", "webp_compression"},
        "compressed": {"jpeg_compression", "webp_compression"},
        "low res": {"low_resolution"},
        "webcam": {"low_resolution", "gaussian_noise"},
        "instagram filter": {"saturate"},
    },
    "a bad typist": {
        "blury": BLURS,
        "gausian": {"gaussian_blur", "gaussian_noise"},
        "constrast": {"contrast", "increased_contrast"},
        "rotaion": {"rotation"},
        "pixalated": {"pixelate"},
        "vigneting": {"vignetting"},
        "brigthness": {"brightness"},
        "saturatoin": {"saturate"},
        "oclusion": {"occlusion"},
        "compresion": {"jpeg_compression", "webp_compression"},
    },
}
WORDS = {words: names for said in SAID.values() for words, names in said.items() if names}


def names(query: str) -> list[str]:
    return [record.name for record in find(query).records]


def matches(record: Perturbation, query: str) -> bool:
    """Whether ``record`` alone has every word of ``query``."""
    return search._match(search._query_words(query), search._said(record)[-1])


@pytest.mark.parametrize("words", WORDS)
def test_everyday_words_find_what_they_mean(words: str) -> None:
    found = names(words)
    assert WORDS[words] <= {*found}
    assert len(found) <= len(WORDS[words]) + 4, "it is lost among others"


def test_the_best_match_comes_first() -> None:
    for record in REGISTRY:
        assert names(record.label)[0] == record.name
    assert names("frost")[0] == "frost"
    assert names("dark")[0] == "darkness"
    assert names("light")[0] == "brightness"


def test_nothing_asked_finds_all_in_their_order() -> None:
    assert names("") == names(" ?!") == list(REGISTRY.names)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("jpg", {"jpeg_compression", "saved_as_jpeg"}),
        ("rain", {"spatter", "chromatic_aberration"}),
        ("Handheld", {"motion_blur"}),
        ("sel", {"horizontal_flip"}),
        ("salt & pep", {"salt_and_pepper"}),
        ("blur foc", {"defocus_blur", "gaussian_blur"}),
        ("lur", set()),
        ("fog zebra", set()),
    ],
)
def test_a_word_is_found_by_its_beginning(query: str, expected: set[str]) -> None:
    assert {*names(query)} == expected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("zebra", ["blur", "noise"]),
        ("foggy zebra", ["foggy"]),
        ("rian", ["rain"]),
        ("cat", ["cast"]),
        ("日本語", ["blur", "noise"]),
        ("z" * 10_000, ["blur", "noise"]),
    ],
)
def test_without_a_match_it_says_what_to_try(query: str, said: list[str]) -> None:
    found = find(query)
    assert not found.records
    assert found.no_match == f"No match. Try {' or '.join(f'“{word}”' for word in said)}."
    assert all(find(word).records for word in said)


def test_a_long_query_is_cut() -> None:
    assert names("fog " * 10_000) == ["fog"]
    assert names(f"{'fog ':{MOST_LETTERS}}zebra") == ["fog"]


@pytest.mark.parametrize("record", REGISTRY, ids=lambda record: record.name)
def test_a_further_word_finds_its_record_and_is_needed_for_that(record: Perturbation) -> None:
    assert 2 <= len(set(record.search)) == len(record.search)
    bare = replace(record, search=())
    for word in record.search:
        assert re.fullmatch("[a-z]{2,}", word)
        assert matches(record, word)
        assert not matches(bare, word), f"{word!r} finds it already"
    for said in (record.label, record.name, record.family, record.risk):
        assert matches(record, said.upper())
    assert not matches(record, f"{record.label} zebra")
