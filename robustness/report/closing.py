"""The last sentence on a run: what a model loses by a camera, and under the hardest perturbation.

It says only what a test shows: a loss that is significant over all conditions of the model, a loss
that is too small to matter, or a camera that is significantly easier than the hardest condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustness.base.text import figure_text, in_sentence
from robustness.matching import Match
from robustness.measure.condition import Condition, physical, short
from robustness.perturbations import REGISTRY
from robustness.report.blocks import (
    LABELS,
    PROFILE,
    Block,
    Map,
    Question,
    RunFigures,
    Text,
    all_figures,
    model_label,
)
from robustness.report.maps import BandMap, MapRow, Strip, Tick, Tile
from robustness.report.tables import Entry, with_interval
from robustness.statistics import FEWEST, Figures
from robustness.statistics.losses import is_harder, losses

_SURROUNDING = ("fog", "snow", "rain", "frost", "darkness")
"""Perturbations with the preposition "in"; the others have "under"."""

_STAYS = "stays at"
_DROPS = "drops"
_IS = "is at"

NOTE = "Blue: correct. Orange: incorrect. The dot has its 95% interval."


@dataclass(frozen=True)
class Camera:
    """The condition of a run that stands for the images of a camera.

    ``id`` is that of the condition. ``perturbation`` is its name if the camera has only one, else
    "".
    """

    id: str
    perturbation: str


@dataclass(frozen=True)
class Closing:
    """The last sentence on a run, and the figures of the model that it is about.

    ``score`` is the name of the score of a run of scores, "" for shares of correct predictions.
    ``hardest`` and ``camera`` are the entries of ``Figures.by_perturbation`` of the two clauses,
    None where no test allows the clause.
    """

    model: str
    sentence: str
    hardest: Entry | None
    camera: Entry | None
    score: str = ""

    @property
    def note(self) -> str:
        """How to read the picture."""
        if self.score:
            return f"Blue: mean {self.score}. The dot has its 95% interval."
        return NOTE

    def picture(self, images: Mapping[str, str] | None = None) -> Map:
        """Return a map of the accuracies that the sentence names, each with its interval.

        ``images`` maps conditions to the URI of an example, and "" to that of an original.
        """
        images = images or {}
        rows = []
        entry_with_originals = self.hardest or self.camera
        if entry_with_originals is not None:
            image = images.get("", "")
            rows.append(self._row("Originals", entry_with_originals, "clean_accuracy", image))
        if self.camera is not None:
            image = images.get(str(self.camera["condition"]), "")
            rows.append(self._row("Your camera", self.camera, "perturbed_accuracy", image))
        if self.hardest is not None:
            condition = str(self.hardest["condition"])
            image = images.get(condition, "")
            rows.append(self._row(physical(condition), self.hardest, "perturbed_accuracy", image))
        caption = f"Mean {self.score}" if self.score else "Share of images correct"
        drawing = BandMap("Images", [model_label(self.model)], rows, caption)
        return Map("", drawing, self.note)

    def _row(self, label: str, entry: Entry, name: str, image: str) -> MapRow:
        """Return a row with the share ``name`` of ``entry`` as a bar, its interval as a tick."""
        share = float(entry[name])
        text = with_interval(entry, name)
        tiles = []
        if share > 0:
            title = f"{self.score} {text}" if self.score else f"{text} correct"
            tiles.append(Tile(0.9, title, width=share, text=figure_text(entry, name, ".0%")))
        if share < 1:
            title = f"{self.score} lacking" if self.score else "incorrect"
            tiles.append(Tile(-0.9, title, width=1 - share))
        tick = Tick(share, text, low=entry[f"{name}_low"], high=entry[f"{name}_high"])
        return MapRow(label, [Strip(tiles, text, [tick])], image)


def closing(figures: Figures, camera: Camera | None = None) -> Closing | None:
    """Return the last sentence on the best model of a run, None where no test allows one.

    Without a best model it is about the first by rank. At least ``FEWEST`` images must have a
    label, as for an interval.
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
    significant_losses = []
    for loss in losses(grid):
        if loss.key.id not in entries:
            continue
        if camera is not None and loss.key.id == camera.id:
            camera_loss = loss
        elif loss.significant:
            significant_losses.append(loss)
    hardest = max(significant_losses, key=lambda loss: loss.difference.value or 0.0, default=None)

    clauses = []
    camera_entry = None
    if camera is not None and camera_loss is not None:
        verb = ""
        if camera_loss.significant:
            verb = _DROPS
        elif camera_loss.negligible:
            verb = _STAYS
        elif hardest is not None and is_harder(grid, hardest.key.id, camera_loss.key.id):
            verb = _IS
        if verb:
            camera_entry = entries[camera_loss.key.id]
            phrase = _camera_phrase(camera)
            clauses.append(_clause(phrase, model_label(name), verb, camera_entry, figures.score))
    hardest_entry = None
    if hardest is not None:
        hardest_entry = entries[hardest.key.id]
        subject = "it" if clauses else model_label(name)
        clauses.append(
            _clause(_phrase(hardest.key.id), subject, _DROPS, hardest_entry, figures.score)
        )
    if not clauses:
        return None
    text = "; ".join(clauses)
    text = f"{text[0].upper()}{text[1:]}."
    return Closing(name, text, hardest_entry, camera_entry, figures.score)


def profile_camera(compositions: Mapping[str, Sequence[str]]) -> Camera | None:
    """Return the camera that a run with profiles stands for, None without a profile.

    ``compositions`` maps each profile to the ids of its conditions; the first profile counts.
    """
    if not compositions:
        return None
    profile, condition_ids = next(iter(compositions.items()))
    perturbations = set()
    for condition_id in condition_ids:
        perturbations |= {name for name, _ in Condition.parse(condition_id).steps}
    if len(perturbations) == 1:
        return Camera(profile, perturbations.pop())
    return Camera(profile, "")


def matched_camera(match: Match, figures: Figures) -> Camera | None:
    """Return the condition of a run that stands for the camera of ``match``.

    It is the first with the perturbation of the match alone, at a strength within the interval of
    the match. Returns None if there is no such condition, and for a match of several perturbations.
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


def _clause(phrase: str, subject: str, verb: str, entry: Entry, score: str) -> str:
    """Return a clause such as "in fog it drops from 90% to 55%".

    In a run of scores it names the ``score``: "in fog it drops from a mean IoU of 90% to 55%".
    """
    of_score = f"a mean {score} of " if score else ""
    after = figure_text(entry, "perturbed_accuracy", ".0%")
    if verb != _DROPS:
        return f"{phrase} {subject} {verb} {of_score}{after}"
    before = figure_text(entry, "clean_accuracy", ".0%")
    return f"{phrase} {subject} drops from {of_score}{before} to {after}"


def _phrase(condition: str) -> str:
    """Return the phrase for ``condition``, such as "in fog" or "under random noise"."""
    steps = Condition.parse(condition).steps
    names = [name for name, _ in steps if name in REGISTRY]
    if len(names) != 1:
        return f"under {in_sentence(short(condition))}"
    return f"{_preposition(names[0])} {_noun(names[0])}"


def _camera_phrase(camera: Camera) -> str:
    """Return the phrase for the images of a camera, such as "in your camera's darkness"."""
    if not camera.perturbation:
        return "on your camera's images"
    return f"{_preposition(camera.perturbation)} your camera's {_noun(camera.perturbation)}"


def _preposition(perturbation: str) -> str:
    return "in" if perturbation in _SURROUNDING else "under"


def _noun(perturbation: str) -> str:
    if perturbation in _SURROUNDING:
        return perturbation
    return in_sentence(REGISTRY[perturbation].label)


def _blocks(figures: RunFigures) -> list[Block]:
    camera = profile_camera(figures.run.manifest.spec.profiles)
    last = closing(figures.statistics, camera)
    if last is None or last.camera is None:
        return []
    return [Text(last.sentence), last.picture()]


CLOSING: Question[RunFigures] = Question(
    "closing",
    "Your camera",
    _blocks,
    "what its images cost, beside the hardest perturbation",
    figures=all_figures,
    needs=(LABELS, PROFILE),
)
"""The last sentence on a run under a profile."""
