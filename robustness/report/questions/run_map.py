"""What each model of a run withstands: the map that begins its answer."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.attacks import REGISTRY as ATTACKS
from robustness.charts import run_map
from robustness.charts.tables import labels_note
from robustness.report.blocks import Map, Text, Titled
from robustness.report.questions.question import Question
from robustness.statistics import Figures

SHARES = {
    "perturbed_accuracy": "Share correct",
    "consistency": "Share of predictions unchanged",
}


def about(figures: Figures) -> str:
    """What the cells of the map show."""
    quantity = run_map.quantity_of(figures)
    names = {entry["perturbation"] for entry in figures.by_perturbation}
    attacked = "" if names.isdisjoint(ATTACKS.names) else _ATTACKED[quantity]
    texts = (f"{SHARES[quantity]}, in percent, by growing strength.{attacked}",)
    return " ".join(filter(None, (*texts, labels_note(figures.summary, quantity))))


_ATTACKED = {
    "perturbed_accuracy": " Under attack: of the images correct before.",
    "consistency": " Under attack: of the predictions to break.",
}


def keyed(figures: Figures, marks: run_map.Marks | None = None) -> Map:
    """The map, with a selection of images behind each cell, and ``marks`` in some."""
    drawing = run_map.run_map(figures, keyed=True, marks=marks)
    return Map("", drawing, about(figures), link="cell")


def _brief(figures: Figures) -> Sequence[Titled | Text | Map]:
    title = SHARES[run_map.quantity_of(figures)]
    return [Map(title, run_map.run_map(figures), about(figures))]


RUN_MAP = Question(
    "run_map",
    "Robustness by strength",
    lambda figures: [Map("", run_map.run_map(figures), about(figures))],
    "what each model withstands",
    link="cell",
    brief=_brief,
    view="",
)
