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
    best = figures.choice.best
    name = best[0] if best else str(figures.summary[0]["model"])
    grid = next(grid for grid in figures.grids if grid.model == name)
    entries = {
        str(entry["condition"]): entry
        for entry in figures.by_perturbation
        if entry["model"] == name and entry["perturbed_accuracy"] is not None
    }
    camera_loss = None
    other_losses = []
    for loss in losses(grid):
        if camera is not None and loss.key.id == camera.id and loss.key.id in entries:
            camera_loss = loss
        elif loss.key.id in entries:
            other_losses.append(loss)
    harmful = [loss for loss in other_losses if loss.significant]
    hardest = max(harmful, key=lambda loss: loss.difference.value or 0.0, default=None)

    camera_verb = ""
    if camera_loss is not None:
        if camera_loss.significant:
            camera_verb = _DROPS
        elif camera_loss.negligible:
            camera_verb = _STAYS
        elif hardest is not None and is_harder(grid, hardest.key.id, camera_loss.key.id):
            camera_verb = _IS
    clauses = []
    camera_entry = None
    if camera is not None and camera_loss is not None and camera_verb:
        camera_entry = entries[camera_loss.key.id]
        where = _camera_place(camera)
        clauses.append(_clause(where, model_label(name), camera_verb, camera_entry))
    hardest_entry = None
    if hardest is not None:
        hardest_entry = entries[hardest.key.id]
        subject = "it" if clauses else model_label(name)
        clauses.append(_clause(_place(hardest.key.id), subject, _DROPS, hardest_entry))
    if not clauses:
        return None
    text = "; ".join(clauses)
    return Closing(name, f"{text[0].upper()}{text[1:]}.", hardest_entry, camera_entry)


def profile_camera(compositions: Mapping[str, Sequence[str]]) -> Camera | None:
    """The camera of a run with a profile, by the ids of its compositions; None without one."""
    if not compositions:
        return None
    name, ids = next(iter(compositions.items()))
    perturbations = {step for each in ids for step, _ in Condition.parse(each).steps}
    return Camera(name, perturbations.pop() if len(perturbations) == 1 else "")


def matched_camera(match: Match, figures: Figures) -> Camera | None:
    """The camera of ``match``, if a run with ``figures`` has its only perturbation as strong.

    That is a strength within the interval of the match.
    """
    if not match.matched or len(match.perturbations) != 1:
        return None
    part = match.perturbations[0]
    for entry in figures.by_perturbation:
        condition = str(entry["condition"])
        strength = entry["strength"] or 0.0
        is_alone = condition == Condition.of({part.perturbation: strength}).id
        if is_alone and part.low <= strength <= part.high:
            return Camera(condition, part.perturbation)
    return None


def _clause(where: str, subject: str, verb: str, entry: Entry) -> str:
    """Such as "in fog it drops from 90 to 55%"."""
    after = figure_text(entry, "perturbed_accuracy", ".0%")
    if verb != _DROPS:
        return f"{where} {subject} {verb} {after}"
    before = figure_text(entry, "clean_accuracy", ".0%")
    return f"{where} {subject} drops from {before} to {after}"


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
