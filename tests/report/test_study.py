"""The study as published: its networks or their stand-ins, and its figures beside measured ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from robustness import models
from robustness.measure.loop import evaluate
from robustness.measure.request import make_spec, study_conditions
from robustness.report.blocks import Text, Titled
from robustness.report.study import fetching, of_study, stand_ins
from robustness.statistics import study
from robustness.statistics.study import Network
from tests.conftest import register
from tests.support.pages import sample

PUBLISHED_TABLES = {
    "VGG16": ("138M", "90.1%", "40%", "0.62", "0.91"),
    "ResNet50": ("25.6M", "92.1%", "0%", "0.47", "0.95"),
    "DenseNet121": ("8.0M", "93.6%", "90%", "0.65", "0.94"),
    "EfficientNet-B0": ("5.3M", "93.3%", "20%", "0.27", "0.85"),
}
"""As the study prints them: parameters, top-5, consistency, cosine and Euclidean similarity."""


def test_a_network_with_weights_runs_itself_and_bundled_models_stand_in_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = replace(models.REGISTRY["DenseNet121"], weights=models.REGISTRY["SqueezeNet"].weights)
    register(monkeypatch, ready)
    found = study.networks()
    assert [network.name for network in found] == [*study.STAND_INS], "in the study's order"
    for network in found:
        stand_in = study.STAND_INS[network.name]
        assert network.model == ("DenseNet121" if network.name == "DenseNet121" else stand_in)
    assert stand_ins(found).startswith("VGG16, ResNet50 and EfficientNet-B0 have no weights here")
    assert "models download VGG16 ResNet50 EfficientNetB0`" in fetching(found)
    complete = [Network(network.name, network.name) for network in found]
    assert stand_ins(complete) == fetching(complete) == ""


def test_published_figures_stand_beside_those_of_the_catalogue_and_the_measured_ones() -> None:
    networks = study.networks()
    spec = make_spec([network.model for network in networks], study_conditions())
    rows = list(evaluate(spec, [sample("coffee")]))
    content = of_study(spec, sample("coffee"), rows, networks)
    results, network_table, *by_perturbation = [
        block.table for block in content.brief if isinstance(block, Titled)
    ]
    (note,) = [block.text for block in content.brief if isinstance(block, Text)]
    of_model: dict[str, Any] = {entry["model"]: entry for entry in study.summarise(rows)}
    for network, result, facts in zip(networks, results.rows, network_table.rows, strict=True):
        label = models.label(network.name)
        parameters, top5, *published = PUBLISHED_TABLES[label]
        assert (facts[0], facts[2], facts[4]) == (label, parameters, top5)
        assert facts[5] == f"{models.REGISTRY[network.name].published.top5}%"
        assert [result[2], result[4], result[6]] == published
        measured = of_model[network.model]
        assert result[3] == f"{measured['consistency']:.0%}"
        assert result[5] == f"{measured['cosine']:.2f}"
        assert models.label(network.model) in result[1]
    assert "93.6%" in note
    assert "92.3%" in note, "the two tables differ, and neither is silently the one"
    for network, table in zip(networks, by_perturbation, strict=True):
        answers = [row[4] for row in table.rows]
        assert len(answers) == 10
        assert answers.count("yes") == round(10 * of_model[network.model]["consistency"])
