"""Structured input: nothing is converted, and whatever is wrong is said in one sentence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from robustness.base.errors import ParameterError
from robustness.base.registry import Registry
from robustness.base.validation import StrictTable, checked, expected, parsed_by


class Part(StrictTable):
    share: Annotated[float, Field(ge=0, le=1)] = 0.0


class Whole(StrictTable):
    count: int
    kind: Literal["big", "small"] = "big"
    size: Annotated[int, Field(ge=8, le=64), expected("a size from 8 to 64")] = 8
    parts: list[Part] = Field(default_factory=list)
    on: bool = False
    one: Annotated[Part | None, expected("a part")] = None
    name: Annotated[str, Field(max_length=3)] = ""
    ends: Annotated[list[float] | None, Field(min_length=2, max_length=2)] = None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "it: 'count' is missing: add it."),
        ({"count": 1, "knd": "big"}, "it: there is no 'knd'. Did you mean 'kind'? Known: "),
        ({"count": "1"}, "it: expected count to be a whole number, got '1'."),
        ({"count": 1.0}, "it: expected count to be a whole number, got 1.0."),
        ({"count": 1, "on": "true"}, "it: expected on to be "),
        ({"count": 1, "kind": "huge"}, "it: expected kind to be 'big' or 'small', got 'huge'."),
        ({"count": 1, "size": 5000}, "it: expected size to be a size from 8 to 64, got 5000."),
        ({"count": 1, "parts": 3}, "it: expected parts to be a list, got 3."),
        ({"count": 1, "parts": {}}, "it: expected tables [[parts]], got one table [parts]."),
        ({"count": 1, "parts": [3]}, "it: parts 1: expected a table, got 3."),
        ({"count": 1, "parts": [{}, {"share": 2}]}, "it: parts 2: expected share to be "),
        ({"count": 1, "parts": [{"share": float("nan")}]}, "it: parts 1: expected share to be "),
        ({"count": 1, "parts": [{"shar": 0}]}, "it: parts 1: there is no 'shar'. Did you mean "),
        ({"count": "x" * 10**6}, "it: expected count to be a whole number, got 'xxx"),
        ({"count": 1, "one": {"shar": 1}}, "it: one: there is no 'shar'. Did you mean 'share'?"),
        ({"count": 1, "name": "abcd"}, "it: expected name to be a text of at most 3 letters, got "),
        ({"count": 1, "ends": [1.0]}, "it: expected ends to be at least 2 items, got [1.0]."),
        ({"count": 1, "ends": [0.0] * 3}, "it: expected ends to be at most 2 items, got [0.0, "),
        ("text", "it: expected a table, got 'text'."),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_one_sentence(values: Any, said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        checked(Whole, values, "it")
    text = str(caught.value)
    assert text.startswith(said)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 200


class Painted(StrictTable):
    colours: list[Annotated[str, parsed_by(Registry("colour").__getitem__)]]


def test_what_a_registry_says_keeps_its_place() -> None:
    with pytest.raises(ParameterError, match=r"^it: colours 1: there is no colour called 'reed'\."):
        checked(Painted, {"colours": ["reed"]}, "it")
