"""The smallest composition that breaks an image, where the answer is known, and by a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness import api
from robustness.cli import main
from robustness.measure.domain import Domain, domain_of, read_domain
from robustness.measure.search import CompositionSearch, Point, Progress, Tried, survey
from robustness.report.search import answer

NAMES = ("fog", "gaussian_noise", "darkness", "jpeg_compression")


def domain(high: float = 0.4, low: float = 0.0) -> Domain:
    return domain_of(
        {"name": "road", "min_accuracy": 0.7, "ranges": {name: [low, high] for name in NAMES}}
    )


def searched(domain: Domain, lead: Callable[[Point], float]) -> CompositionSearch:
    """The search where ``lead`` says by how much the original class leads at a point."""
    search = CompositionSearch(domain)
    steps = search.steps()
    points: Sequence[Point] = next(steps)
    while points:
        try:
            points = steps.send([lead(point) for point in points])
        except StopIteration:
            points = []
    return search


def test_what_only_two_together_break_is_found_at_its_smallest() -> None:
    # It breaks where fog and noise are both above 0.1 and sum to 0.35 or more.
    def lead(point: Point) -> float:
        fog, noise, _, _ = point
        return 1.0 if min(fog, noise) <= 0.1 else 0.35 - fog - noise - 1e-9

    search = searched(domain(), lead)
    fog, noise, *others = search.best
    assert others == [0, 0]
    assert 0.35 <= fog + noise <= 0.36
    assert min(fog, noise) > 0.1
    singles = [point for point in search.leads if sum(value > 0 for value in point) == 1]
    assert singles
    assert all(search.leads[point] > 0 for point in singles)


def test_the_exchange_finds_the_cheapest_mixture() -> None:
    # Fog counts three times as much as noise, and darkness not at all.
    found = searched(domain(), lambda point: 0.5 - 3 * point[0] - point[1]).best
    assert sum(found) == pytest.approx(0.17, abs=0.006)
    assert found[1:] == (0, 0, 0)


def test_what_nothing_breaks_is_tried_at_the_limit_and_the_closest_is_told() -> None:
    search = searched(domain(), lambda point: 2 - sum(point))
    assert search.best == (0.4,) * len(NAMES)
    assert search.leads[search.best] > 0


def test_it_stays_within_the_domain_and_begins_at_its_lowest_strengths() -> None:
    narrow = domain(high=0.4, low=0.1)
    search = searched(narrow, lambda point: 0.63 - sum(point))
    assert all(narrow.holds(search.condition(point)) for point in search.leads)
    assert sum(search.best) == pytest.approx(0.635, abs=0.006)
    assert survey(narrow)[0] == (0.1,) * len(NAMES)
    assert searched(narrow, lambda point: -1.0).best == (0.1,) * len(NAMES)


def test_lowering_any_perturbation_of_the_result_to_the_beginning_of_its_range_keeps_it() -> None:
    narrow = domain(high=0.4, low=0.1)
    lows = (0.1,) * len(NAMES)
    for seed in range(8):
        weights = np.random.default_rng(seed).uniform(0.2, 2, len(NAMES))

        def lead(point: Point, weights: Any = weights) -> float:
            return float(0.5 - weights @ (np.array(point) - lows))

        found = searched(narrow, lead).best
        assert lead(found) < 0
        for index, low in enumerate(lows):
            lowered = (*found[:index], low, *found[index + 1 :])
            assert lowered == found or lead(lowered) >= 0


def test_the_progress_of_several_models_ends_where_all_of_them_have_ended() -> None:
    progress = Progress(2)
    progress.note(Tried("first", done=24, total=100))
    assert (progress.done, progress.total) == (24, 200), "the second may take as long"
    progress.note(Tried("second", done=50, total=50))
    progress.note(Tried("first", done=80, total=80))
    assert progress.done == progress.total == 130


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("domain") / "road.toml"
    ranges = {name: [0, 0.3] for name in ("fog", "jpeg_compression")}
    path.write_text(domain_of({"name": "road", "min_accuracy": 0.7, "ranges": ranges}).as_toml())
    return path


def test_what_predict_says_of_what_perturb_writes_is_the_result(
    declared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(*words: str) -> Any:
        assert main.main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    models = ("--models", "EfficientNetLite0")
    filed = tmp_path / "broken.json"
    words = ["break", "sample:coffee", "--domain", str(declared), *models]
    document = printed(*words, "--to", str(filed))
    (found,) = document["breaks"]
    assert found["found"]
    assert found["size"] == round(found["size"], 6)
    assert json.loads(filed.read_text())["manifest"]["domain"] == document["domain"]
    assert len(found["condition"].split("+")) > 1
    written = tmp_path / "broken.png"
    words = ["perturb", "sample:coffee", "--model", "EfficientNetLite0"]
    assert main.main([*words, "--under", found["condition"], "--to", str(written)]) == 0
    capsys.readouterr()
    predicted = printed("predict", str(written), *models, "--fit", "squash", "--side", "224")
    (top, *_) = predicted["predictions"][0]["top"]
    assert top["index"] == found["top1"] != found["clean_top1"]
    assert top["probability"] == pytest.approx(found["probability"], abs=1e-6)

    # Of an image of something else, the prediction on the original is wrong.
    (from_python,) = api.smallest_breaks(
        "sample:coffee", declared, models="EfficientNetLite0", label="tench"
    )
    assert from_python.condition.id == found["condition"]
    assert "incorrect on the original" in answer(read_domain(declared), [from_python])


def test_perturb_wants_either_a_composition_or_a_strength(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["perturb", "sample:coffee", "--to", str(tmp_path / "out.png")]
    for wrong in (
        ["--perturbation", "fog"],
        ["--under", "fog=0.2", "--strength", "0.1"],
        ["--under", "pgd(epsilon=2/255)"],
    ):
        assert main.main([*words, *wrong]) == 2
        assert "Expected" in capsys.readouterr().err
