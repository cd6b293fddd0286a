"""Variants are named as models are: their names read back, and requests take them among models."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.measure.condition import Condition
from robustness.measure.request import Request, make_spec, read_request
from robustness.models import resolve
from robustness.models.variant import parse_variant

FOG = [Condition.of({"fog": 0.4})]
NAMES = [
    "SqueezeNet+median",
    "SqueezeNet+median+tta",
    "SqueezeNet+median+temperature=1.7",
    "SqueezeNet+EfficientNetLite0+median+average",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_variant_reads_back(name: str) -> None:
    assert parse_variant(name).name == name


def test_a_label_and_blanks_name_it_too() -> None:
    assert parse_variant("squeezenet 1.1 + Median 3 x 3").name == "SqueezeNet+median"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("SqueezNet+median", UnknownNameError, "no model called 'SqueezNet'. Did you mean 'Sq"),
        ("SqueezeNet+medain", UnknownNameError, "no remedy called 'medain'. Did you mean 'median'"),
        ("SqueezeNet+", UnknownNameError, "no remedy called ''"),
        ("SqueezeNet+EfficientNetLite0", ParameterError, r"SqueezeNet\+median, got 'SqueezeNet\+E"),
        ("SqueezeNet+EfficientNetLite0+median", ParameterError, "changes one model"),
        ("SqueezeNet+average", ParameterError, "combines models: expected two"),
        ("SqueezeNet+tta+median", ParameterError, "Expected tta at the end"),
    ],
)
def test_a_wrong_name_is_told_in_a_sentence(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make_spec([text], FOG)


def names(spec: Request) -> list[str]:
    return [variant.name for variant in spec.variants]


def test_a_request_takes_variants_among_models(tmp_path: Path) -> None:
    spec = make_spec(["EfficientNetLite0", NAMES[0], NAMES[3]], FOG)
    assert spec.model_names == ("EfficientNetLite0", "SqueezeNet")
    assert names(spec) == [NAMES[0], NAMES[3]]
    file = tmp_path / "request.toml"
    file.write_text(spec.as_toml())
    assert read_request(file) == spec


def test_remedies_are_a_way_to_name_a_variant_of_each_model() -> None:
    both = ["SqueezeNet", "EfficientNetLite0"]
    by_remedies = make_spec(both, FOG, remedies=["median", "flip"])
    named = [f"{model}+{remedy}" for model in both for remedy in ("median", "flip")]
    assert make_spec(named, FOG) == by_remedies
    assert names(make_spec([*both, named[0]], FOG, remedies=["median"])) == [named[0], named[2]]


def test_what_takes_models_alone_says_so() -> None:
    with pytest.raises(ParameterError, match="Expected models without remedies here"):
        resolve(["SqueezeNet+median"])
