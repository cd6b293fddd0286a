"""A declared domain: its file, its checks, and the conditions that test it."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.base.errors import RobustnessError
from robustness.measure.domain import Domain, domain_of, read_domain, strength_at
from robustness.perturbations import REGISTRY

VALUES: dict[str, Any] = {
    "name": "outdoor camera",
    "owner": "Perception",
    "min_accuracy": 0.7,
    "requirement": "REQ-1",
    "side": 224,
    "outside": ['"lens" flare'],
    "ranges": {
        "fog": [0, 0.3],
        "gaussian_noise": {"strength": [0.1, 0.2], "requirement": "REQ-7"},
        "darkness": {"value": [0, -1.2], "unit": "stops", "source": "data sheet"},
        "horizontal_flip": [0, 1],
    },
}


@pytest.fixture
def domain() -> Domain:
    return domain_of(VALUES)


def test_a_domain_reads_back_from_its_file_and_json(domain: Domain, tmp_path: Path) -> None:
    file = tmp_path / "domain.toml"
    file.write_text(domain.as_toml(), encoding="utf-8")
    assert read_domain(file) == domain_of(domain.as_dict()) == domain
    assert read_domain(file).digest == domain.digest
    other = domain_of({**VALUES, "min_accuracy": 0.8})
    assert other.digest != domain.digest


def test_physical_values_are_strengths(domain: Domain) -> None:
    darkness = domain.ranges[2]
    assert (darkness.low, darkness.high) == pytest.approx((0, 0.3), abs=1e-5)
    for record in REGISTRY:
        try:
            strength = strength_at(record, record.value_at(0.37))
        except RobustnessError:
            continue
        assert record.value_at(strength) == pytest.approx(record.value_at(0.37), rel=1e-4)


def test_cells_set_their_perturbations_alone(domain: Domain) -> None:
    assert [cell.limit.id for cell in domain.singles] == [
        "fog=0.3+gaussian_noise=0.1",
        "gaussian_noise=0.2",
        "darkness=0.3+gaussian_noise=0.1",
        "horizontal_flip=1.0+gaussian_noise=0.1",
    ]
    fog_and_noise = domain.pairs[0]
    assert fog_and_noise.limit.id == "fog=0.3+gaussian_noise=0.2"
    assert fog_and_noise.middle.id == "fog=0.15+gaussian_noise=0.15"
    assert len(domain.pairs) == 6
    assert domain.requirements_of(fog_and_noise.limit) == ("REQ-1", "REQ-7")
    assert all(domain.holds(condition) for condition in domain.conditions)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(REGISTRY.names), min_size=2, max_size=9, unique=True),
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 100)), min_size=9, max_size=9),
)
def test_the_array_has_every_two_levels_of_every_two_ranges(
    names: list[str], ends: list[tuple[int, int]]
) -> None:
    ranges = {}
    for name, (low, width) in zip(names, ends, strict=False):
        high = min(100, low + width)
        ranges[name] = [low / 100, high / 100] if REGISTRY[name].graded else [0, 1]
    domain = domain_of({**VALUES, "ranges": ranges})
    rows = [dict(condition.steps) for condition in domain.array]
    rows.append({})  # the original, which every run has
    for one, other in combinations(domain.ranges, 2):
        pairs = {(row.get(one.perturbation, 0), row.get(other.perturbation, 0)) for row in rows}
        assert set(product(one.levels, other.levels)) <= pairs
    assert all(domain.holds(condition) for condition in domain.conditions)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"ranges": {"fog": [0, 0.3]}}, ["2 perturbations", "got 1"]),
        ({"ranges": {"fogg": [0, 0.3], "contrast": [0, 1]}}, ["fogg", "fog"]),
        ({"ranges": {"fog": [0.3, 0], "contrast": [0, 1]}}, ["fog", "lower", "0.3 and 0"]),
        ({"ranges": {"fog": [0, 1.3], "contrast": [0, 1]}}, ["fog", "0 to 1", "1.3"]),
        ({"ranges": {"fog": [0, 1e-7], "contrast": [0, 1]}}, ["fog", "0.001 apart", "1e-07"]),
        (
            {"ranges": {"darkness": {"value": [-1, 0], "unit": "stops"}, "fog": [0, 1]}},
            ["darkness", "lower", "-1 and 0 stops"],
        ),
        ({"ranges": {"fog": [0], "contrast": [0, 1]}}, ["fog", "two numbers"]),
        ({"ranges": {"fog": 3, "contrast": [0, 1]}}, ["fog", "two numbers", "3"]),
        ({"ranges": [1]}, ["table of ranges", "[1]"]),
        (
            {"ranges": {"fog": {"value": [0, 9]}, "contrast": [0, 1]}},
            ["from 0 to 3", "fog amount", "9"],
        ),
        (
            {"ranges": {"darkness": {"value": [0, -1], "unit": "lux"}, "fog": [0, 1]}},
            ["'stops'", "'lux'"],
        ),
        (
            {"ranges": {"saturate": {"value": [1, 2]}, "fog": [0, 1]}},
            ["saturate", "expected strengths"],
        ),
        ({"ranges": {"horizontal_flip": [0, 0.5], "fog": [0, 1]}}, ["on or off", "[0, 0.5]"]),
        ({"min_consistency": 0.5}, ["either min_accuracy or min_consistency"]),
        ({"min_accuracy": 70.0}, ["between 0 and 1", "70"]),
        ({"nme": "x"}, ["'nme'", "name"]),
        ({"side": 0}, ["side"]),
    ],
)
def test_bad_input_says_what_was_expected_and_what_came(
    changes: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(RobustnessError) as caught:
        domain_of({**VALUES, **changes}, "domain.toml")
    for part in ["domain.toml", *parts]:
        assert part in str(caught.value), str(caught.value)
