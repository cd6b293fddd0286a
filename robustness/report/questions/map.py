"""How far perturbed images move in the features of a model."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.base.text import counted
from robustness.charts.run_failures import embedding_map
from robustness.evaluation.condition import short
from robustness.report.blocks import Block, Chart, Chooser
from robustness.report.questions.question import IMAGES, Question
from robustness.report.wording import model
from robustness.runs.embedding_map import EmbeddingMap, read_maps


def _blocks(maps: Sequence[EmbeddingMap]) -> list[Block]:
    if not maps:
        return []
    of = {map_.name: map_ for map_ in maps}
    options = {name: f"{model(e.model)}, {short(e.condition)}" for name, e in of.items()}
    first = maps[0].name
    return [
        Chooser(
            "Map of",
            "map_of",
            options,
            lambda name: _map(of[name], options[name]),
            printed=[first],
            first=first,
            listed=True,
        )
    ]


def _map(map_: EmbeddingMap, title: str) -> list[Block]:
    left = f" {counted(map_.left_out, 'image')} could no longer be read." if map_.left_out else ""
    chart = Chart(
        title,
        embedding_map(map_.points, map_.explained),
        f"{counted(len(map_.points), 'image')} with the perturbed version in the plane of the two "
        "main components of the features.",
        f"Each line joins an original to its perturbed image. Crosses are failures.{left}",
        link="map",
    )
    return [chart]


MAP = Question(
    "map",
    "Map",
    _blocks,
    "how far perturbed images move",
    figures=lambda of: read_maps(of.run),
    link="map",
    view=IMAGES,
)
