"""The figures: what they show, and that colour is never the only thing that tells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest

from robustness.measure.condition import Condition
from robustness.models import REGISTRY
from robustness.report import charts, style

EIGHT = REGISTRY.names[:8]
MANY = pytest.mark.parametrize("names", [EIGHT[4:5], EIGHT], ids=["one model", "eight models"])


def answer_rows(names: tuple[str, ...]) -> pd.DataFrame:
    """A row a model, with values that tell the columns and the models apart."""
    return pd.DataFrame(
        {
            "model": name,
            "cosine": 0.9 - place / 20,
            "cosine_rescaled": 0.8 - place / 20,
            "euclidean": 0.6 - place / 20,
            "euclidean_rescaled": 0.5 - place / 20,
        }
        for place, name in enumerate(names)
    )


def stages(names: tuple[str, ...], lowest: float = 0.4) -> pd.DataFrame:
    """A row a model and stage, three stages each; the deepest at ``lowest`` for the first."""
    return pd.DataFrame(
        {
            "model": name,
            "stage": f"{name} stage {stage}",
            "depth": stage / 2,
            "cosine": value + place / 100,
            "cosine_rescaled": value + place / 100 - 0.1,
            "euclidean": value / 2,
            "euclidean_rescaled": value / 2 - 0.1,
        }
        for place, name in enumerate(names)
        for stage, value in enumerate((0.9, 0.7, lowest))
    )


def labels(names: tuple[str, ...]) -> list[str]:
    return [REGISTRY[name].label for name in names]


# --- bars -----------------------------------------------------------------------------------------


@MANY
def test_bars_show_a_pair_for_each_model(names: tuple[str, ...]) -> None:
    frame = answer_rows(names)
    figure = charts.similarity_bars(frame)
    bars = {trace.name: trace for trace in figure.data}
    assert list(bars) == ["Cosine similarity, rescaled", "Euclidean similarity, rescaled"]
    for trace, metric in zip(figure.data, ("cosine", "euclidean"), strict=True):
        shown = frame[f"{metric}_rescaled"].tolist()
        assert (trace.type, trace.orientation, list(trace.y)) == ("bar", "h", labels(names))
        assert list(trace.x) == shown
        assert [float(text.split()[0]) for text in trace.text] == pytest.approx(shown, abs=0.005)


# --- lines ----------------------------------------------------------------------------------------


@MANY
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_stage_lines_draw_a_line_a_model_from_shallow_to_deep(
    names: tuple[str, ...], metric: str
) -> None:
    frame = stages(names)
    figure = charts.stage_lines(frame, metric)
    assert [trace.name for trace in figure.data] == labels(names)
    for name, trace in zip(names, figure.data, strict=True):
        rows = frame[frame["model"] == name]
        assert list(trace.y) == rows[f"{metric}_rescaled"].tolist()
        told = [tuple(each) for each in trace.customdata]
        assert told == list(zip(rows["stage"], rows[metric], strict=True))
        assert "%{fullData.name}" in trace.hovertemplate
    assert np.mean([trace.x for trace in figure.data], axis=0) == pytest.approx([0.0, 0.5, 1.0])
    assert figure.layout.yaxis.title.text.lower() == f"{metric} similarity, rescaled"
    lowest = min(0.0, frame[f"{metric}_rescaled"].min())
    assert figure.layout.yaxis.range[0] < lowest - 0.03  # room for half a marker


@pytest.fixture
def with_own_models() -> Iterator[tuple[str, ...]]:
    """The names of all models, eight of the user's among them."""
    own = [replace(REGISTRY["SqueezeNet"], name=f"own-{at}", label=f"Own {at}") for at in range(8)]
    REGISTRY.exchange((), own)
    yield REGISTRY.names
    REGISTRY.exchange([record.name for record in own], ())


def test_every_model_has_a_look_of_its_own(with_own_models: tuple[str, ...]) -> None:
    styles = [style.model_style(name) for name in with_own_models]
    assert len(styles) >= 23
    for first, second in ((0, 1), (1, 2)):
        told = {(style[first], style[second]) for style in styles}
        assert len(told) == len(styles), "never colour alone"
    for one, other in itertools.pairwise(styles):
        assert one[0] != other[0]
        assert one[1] != other[1]
    figure = charts.stage_lines(stages(with_own_models))
    assert len({trace.marker.symbol for trace in figure.data}) == 16


# --- words ----------------------------------------------------------------------------------------


HOSTILE = "<a href='javascript:x'>net</a>\u202e &lt;b>"


def test_the_name_of_a_model_from_elsewhere_is_no_tag_and_turns_nothing() -> None:
    safe = "&lt;a href='javascript:x'>net&lt;/a>U+202E &amp;lt;b>"
    lines = charts.stage_lines(stages((HOSTILE,))).data[0]
    assert lines.name == safe
    assert all(told[0] == f"{safe} stage {at}" for at, told in enumerate(lines.customdata))
    frame = measured_rows().assign(model=HOSTILE)
    assert charts.movement(frame.iloc[:1]).data[0].name == safe
    assert unescape(safe) == HOSTILE.replace("\u202e", "U+202E")


def test_the_ranking_shows_intervals() -> None:
    summary = [
        {"model": m, "consistency": 0.5, "consistency_low": 0.3, "consistency_high": 0.9}
        for m in ("ResNet50", "SqueezeNet")
    ]
    (measured,) = charts.ranking(summary, "consistency", "Consistency").data
    assert list(measured.x) == [0.5, 0.5]
    assert list(measured.error_x.array) == pytest.approx([0.4, 0.4])
    assert list(measured.error_x.arrayminus) == pytest.approx([0.2, 0.2])


def measured_rows() -> pd.DataFrame:
    """Two models, two perturbations, two strengths; the second model breaks at 1."""
    return pd.DataFrame(
        [
            {
                "model": model,
                "condition": Condition.of({perturbation: strength}).id,
                "perturbation": perturbation,
                "strength": strength,
                "parameter": strength / 2,
                "retained_probability": 0.9 - 0.5 * strength * place,
                "consistent": not (place and strength == 1.0),
                "clean_top1": 3,
                "top1": 4 if place and strength == 1.0 else 3,
                "label": None,
                "cosine": 1 - strength / 2,
                "cosine_rescaled": 1 - strength,
                "euclidean": 1 - strength / 2,
                "euclidean_rescaled": 1 - strength,
                "ssim": 1 - strength,
                "divergence": strength / 2,
            }
            for place, model in enumerate(("SqueezeNet", "VGG16"))
            for perturbation in ("brightness", "fog")
            for strength in (0.5, 1.0)
        ]
    )
