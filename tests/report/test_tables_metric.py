"""A metric that is registered appears wherever metrics do, by its record alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.stand_in_models import Stable
from robustness import metrics
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate
from robustness.measure.measurement import Measurement
from robustness.measure.request import spec_of
from robustness.measure.rows import dictionary, own_scores, to_table
from robustness.metrics import PICTURE, Metric
from robustness.report import charts, facts, image, maps, methods, tables
from robustness.statistics import Figures
from tests.support.pages import sample

NAME = "change_in_percent"


def _largest(clean: Any, perturbed: Any) -> Any:
    return 100.0 * np.abs(perturbed - clean).max((1, 2, 3)).astype(np.float64)


@pytest.fixture
def record() -> Iterator[Metric]:
    """A metric without an upper bound, where lower is better."""
    new = Metric(
        NAME,
        _largest,
        label="Largest change",
        subject=PICTURE,
        higher_is_better=False,
        formula="max |perturbed - clean|",
        meaning="The largest change of any pixel.",
        high=float("inf"),
        unit="levels",
        form=".1f",
    )
    metrics.REGISTRY.add(new)
    yield new
    metrics.REGISTRY.exchange([NAME], [])


@pytest.fixture
def rows(record: Metric) -> list[Measurement]:
    conditions = [Condition.of({"brightness": strength}) for strength in (0.3, 0.6, 0.9)]
    picture = sample("coffee")
    spec = spec_of(picture, ["SqueezeNet", "EfficientNetLite0"], conditions, 0)
    return list(evaluate(spec, [picture], load=Stable().load))


def test_it_is_a_column_with_its_unit(record: Metric, rows: list[Measurement]) -> None:
    (column,) = [entry for entry in dictionary(own_scores()) if entry["column"] == NAME]
    assert column["unit"] == "levels"
    assert "lower is better" in column["meaning"]
    assert to_table(rows, range(len(rows)))[NAME].null_count == 0


def test_the_methods_explain_it(record: Metric) -> None:
    assert (record.label, record.meaning) in methods.glossary()
    assert record.label in [row[0] for row in methods.metric_table().rows]


def test_every_table_and_chart_has_it(record: Metric, rows: list[Measurement]) -> None:
    frame = pd.DataFrame([row.as_row() for row in rows])
    figures = Figures(frame)
    assert record.label in tables.ranking(figures.ranking("consistency"), "consistency").head
    assert record.label in image.verdicts(rows).head
    assert record in facts.listed_metrics(rows)
    assert charts.strength_titles()[NAME] == charts.quantities()[NAME] == record.label
    curve = charts.over_strength(frame, NAME)
    assert curve.layout.yaxis.range[1] >= max(frame[NAME])
    (row,) = maps.rows(figures, NAME)
    for model, cells in row.cells.items():
        means = frame[frame["model"] == model].groupby("strength")[NAME].mean()
        assert [cell.value for cell in cells] == pytest.approx(means.tolist())
