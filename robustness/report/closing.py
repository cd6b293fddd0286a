"""The last word on a run: a sentence and a picture that join a folder of images and a camera.

Only what a test shows is said: a loss that is significant over all conditions of the model, a loss
that is too small to matter, or a camera that is significantly easier than the hardest condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustness.base.text import figure_text, in_sentence
from robustness.matching import Match
from robustness.measure.condition import Condition, short
from robustness.perturbations import REGISTRY
from robustness.report.blocks import LABELS, Block, Map, Need, Question, RunFigures, Text
from robustness.report.blocks import model as model_label
from robustness.report.maps import BandMap, MapRow, Strip, Tick, Tile
from robustness.report.tables import Entry, with_interval
from robustness.statistics import FEWEST, Figures
from robustness.statistics.losses import is_harder, losses

_IN = ("fog", "snow", "rain", "frost", "darkness")
"""Perturbations that one is in; one is under the others."""

_STAYS = "stays at"
_DROPS = "drops"
_IS = "is at"

NOTE = "Blue: correct. Orange: incorrect. The dot has its 95% interval."


@dataclass(frozen=True)
class Camera:
    """The condition ``id`` of a run that stands for a camera.

    ``perturbation`` is the only one that the camera has; "" for several.
    """

    id: str
    perturbation: str


@dataclass(frozen=True)
class Closing:
    """The sentence, and the figures of the model ``model`` that it is about.

    ``hardest`` and ``camera`` are entries of ``Figures.by_perturbation``; None where no test allows
    a clause.
    """

    model: str
    sentence: str
    hardest: Entry | None
    camera: Entry | None

    def picture(self, images: Mapping[str, str] | None = None) -> Map:
        """The shares that the sentence names, each with its interval.

        ``images`` are URIs by condition, "" for the original.
        """
        images = images or {}
        rows = []
        first = self.hardest or self.camera
        if first is not None:
            rows.append(_row("Originals", first, "clean_accuracy", images.get("", "")))
        for title, entry in (("Your camera", self.camera), ("", self.hardest)):
            if entry is not None:
                condition = str(entry["condition"])
                label = title or short(condition)
                rows.append(_row(label, entry, "perturbed_accuracy", images.get(condition, "")))
        drawing = BandMap("Images", [model_label(self.model)], rows, "Share of images correct")
        return Map("", drawing, NOTE)


def closing(figures: Figures, camera: Camera | None = None) -> Closing | None:
    """The last word on the model to choose; None where no test allows one.

    That needs labels, and at least as many images as an interval does.
    """
    if figures.labelled < FEWEST:
        return None
    name = next(iter(figures.choice.best), str(figures.summary[0]["model"]))
    grid = next(each for each in figures.grids if each.model == name)
    entries = {
        str(entry["condition"]): entry
        for entry in figures.by_perturbation
        if entry["model"] == name and entry["perturbed_accuracy"] is not None
    }
    tested = [loss for loss in losses(grid) if loss.key.id in entries]
    own = next((loss for loss in tested if camera is not None and loss.key.id == camera.id), None)
    harmful = [loss for loss in tested if loss.significant and loss is not own]
    hardest = max(harmful, key=lambda loss: loss.difference.value or 0.0, default=None)
    verb = ""
    if own is not None:
        if own.significant:
            verb = _DROPS
        elif own.negligible:
            verb = _STAYS
        elif hardest is not None and is_harder(grid, hardest.key.id, own.key.id):
            verb = _IS
    in_camera = entries[own.key.id] if own is not None and verb else None
    at_worst = entries[hardest.key.id] if hardest is not None else None
    clauses = []
    if camera is not None and in_camera is not None:
        clauses.append(_clause(_camera_place(camera), model_label(name), verb, in_camera))
    if at_worst is not None:
        who = "it" if clauses else model_label(name)
        clauses.append(_clause(_place(str(at_worst["condition"])), who, _DROPS, at_worst))
    if not clauses:
        return None
    text = "; ".join(clauses)
    sentence = f"{text[0].upper()}{text[1:]}."
    return Closing(name, sentence, at_worst, in_camera)


def profile_camera(compositions: Mapping[str, Sequence[str]]) -> Camera | None:
    """The camera of a run with a profile, by the ids of its compositions; None without one."""
    for name, ids in compositions.items():
        steps = {step for each in ids for step, _ in Condition.parse(each).steps}
        return Camera(name, steps.pop() if len(steps) == 1 else "")
    return None


def matched_camera(match: Match, figures: Figures) -> Camera | None:
    """The camera of ``match``, if a run with ``figures`` has its only perturbation as strong.

    That is a strength within the interval of the match.
    """
    if not match.matched or len(match.perturbations) != 1:
        return None
    part = match.perturbations[0]
    for entry in figures.by_perturbation:
        condition = str(entry["condition"])
        is_alone = condition == Condition.of({part.perturbation: entry["strength"] or 0.0}).id
        if is_alone and part.low <= entry["strength"] <= part.high:
            return Camera(condition, part.perturbation)
    return None


def _clause(where: str, who: str, verb: str, entry: Entry) -> str:
    """Such as "in fog it drops from 90 to 55%"."""
    after = figure_text(entry, "perturbed_accuracy", ".0%")
    if verb != _DROPS:
        return f"{where} {who} {verb} {after}"
    before = figure_text(entry, "clean_accuracy", ".0%")
    return f"{where} {who} drops from {before} to {after}"


def _named(perturbation: str) -> str:
    if perturbation in _IN:
        return perturbation
    return in_sentence(REGISTRY[perturbation].label)


def _place(condition: str) -> str:
    """Where a model is under ``condition``, such as "in fog" or "under random noise"."""
    parsed = Condition.parse(condition)
    names = [name for name, _ in parsed.steps if name in REGISTRY]
    if len(names) != 1:
        return f"under {in_sentence(short(condition))}"
    return f"{'in' if names[0] in _IN else 'under'} {_named(names[0])}"


def _camera_place(camera: Camera) -> str:
    """Where a model is behind the camera, such as "in your camera's darkness"."""
    if not camera.perturbation:
        return "on your camera's images"
    preposition = "in" if camera.perturbation in _IN else "under"
    return f"{preposition} your camera's {_named(camera.perturbation)}"


def _row(label: str, entry: Entry, name: str, image: str) -> MapRow:
    value = float(entry[name])
    text = with_interval(entry, name)
    tiles = [
        Tile(0.9, f"{text} correct", value, figure_text(entry, name, ".0%")),
        Tile(-0.9, "incorrect", 1 - value),
    ]
    tick = Tick(value, text, low=entry[f"{name}_low"], high=entry[f"{name}_high"])
    return MapRow(label, [Strip([tile for tile in tiles if tile.width > 0], text, [tick])], image)


def _blocks(of: RunFigures) -> list[Block]:
    last = closing(of.statistics, profile_camera(of.run.manifest.spec.profiles))
    if last is None or last.camera is None:
        return []
    return [Text(last.sentence), last.picture()]


CLOSING: Question[RunFigures] = Question(
    "closing",
    "Your camera",
    _blocks,
    "what its images cost, beside the hardest perturbation",
    figures=lambda of: of,
    needs=(LABELS, Need("a profile", lambda of: bool(of.run.manifest.spec.profiles))),
)
"""The last word on a run under a profile."""
