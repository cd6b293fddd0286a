"""People find a perturbation by their own words, inflected and misspelt as they come."""

from __future__ import annotations

import pytest

from robustness.perturbations import REGISTRY
from robustness.perturbations.record import MOST_LETTERS, find

BLURS = {"gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "glass_blur"}
NOISES = {"gaussian_noise", "salt_and_pepper", "impulse_noise", "shot_noise", "speckle_noise"}

WORDS: dict[str, set[str]] = {
    "darker": {"darkness"},
    "shaky": {"motion_blur"},
    "grainy": {"gaussian_noise", "shot_noise", "speckle_noise"},
    "noisy": NOISES,
    "blurry": BLURS,
    "tilted": {"rotation", "perspective"},
    "dirty lens": {"spatter"},
    "black and white": {"greyscale"},
    "old phone": {"low_resolution", "jpeg_compression", "gaussian_noise"},
    "overexposed": {"exposure"},
    "out of focus": {"gaussian_blur", "defocus_blur"},
    "high ISO": {"gaussian_noise", "shot_noise"},
    "white balance": {"warm_cast", "cool_cast"},
    "driving at night": {"darkness"},
    "wet windscreen": {"spatter"},
    "flickering lamps": {"rolling_bands"},
    "vibrating": {"motion_blur", "zoom_blur", "elastic_transform"},
    "seen from the side": {"perspective"},
    "upside down": {"rotation", "vertical_flip"},
    "finger over the lens": {"occlusion"},
    "whatsapp": {"jpeg_compression"},
    "low res": {"low_resolution"},
    "driving into the sun": {"lens_flare"},
    "fisheye": {"lens_distortion", "chromatic_aberration", "vignetting"},
    "hot air": {"turbulence"},
    "date and time": {"timestamp"},
    # misspelt
    "gausian": {"gaussian_blur", "gaussian_noise"},
    "constrast": {"contrast", "increased_contrast"},
    "saturatoin": {"saturate"},
    "compresion": {"jpeg_compression", "webp_compression"},
}


def names(query: str) -> list[str]:
    return [record.name for record in find(query).records]


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
        ("rain", {"rain", "spatter", "chromatic_aberration"}),
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


def test_every_word_of_a_record_finds_it() -> None:
    for record in REGISTRY:
        assert 2 <= len(set(record.search)) == len(record.search)
        for said in (*record.search, record.label, record.name, record.family, record.risk):
            assert record.name in names(said.upper()), said
