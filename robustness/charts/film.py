"""A film for the browser: plain data and images, and the script and style that show it.

Pages and HTML reports use the same files, which load nothing and need no build step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from robustness import models
from robustness.base.text import visible
from robustness.charts.look import model_style
from robustness.charts.verdict import change, no_change, tally, verdict
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import is_correct
from robustness.evaluation.film import FilmRows
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.sweep import Break, resolution
from robustness.metrics.features import RESCALED
from robustness.perturbations import REGISTRY
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture

_FILES = Path(__file__).parent / "browser"

SLIDER = _FILES / "slider.js"
"""The slider script, which the player and all other components need before them."""

_STYLE = (_FILES / "answers.css", _FILES / "slider.css", _FILES / "film.css")

Played = tuple[Mapping[str, Any], Sequence[bytes]]
"""JSON-ready data for ``film.js``, and PNGs: the original, then each frame."""


@cache
def script() -> str:
    """The script that defines ``new Film(place, data, pictures)``."""
    return "\n".join(path.read_text("utf-8") for path in (SLIDER, _FILES / "film.js"))


@cache
def style() -> str:
    """The CSS of a film, for light and dark pages."""
    return "\n".join(path.read_text("utf-8") for path in _STYLE)


def moving(perturbation: str) -> str:
    """The perturbation that moves in a film, such as "Fog from 0 to 1"."""
    record = REGISTRY[perturbation]
    return f"{record.label} from 0 to 1" if record.graded else f"{record.label}, off and on"


def title(film: FilmRows) -> str:
    """The title of a film, such as "Fog from 0 to 1, with Gaussian blur 0.4"."""
    fixed = f", with {Condition.of(film.fixed).short}" if film.fixed else ""
    return f"{moving(film.perturbation)}{fixed}"


def played(
    film: FilmRows, picture: Picture, *, breaks: Sequence[Break] = (), note: str = ""
) -> Played:
    """All of ``film``, a film of ``picture``, for the browser.

    ``breaks`` replace the first changed frames as marks; ``note`` is shown below.
    """
    marked = {entry.model: (entry.strength, entry.correct) for entry in breaks}
    marked = marked or {name: _first_change(film, rows) for name, rows in film.rows.items()}
    text = REGISTRY[film.perturbation].value_text
    data = {
        "title": title(film),
        "before": "Original",
        "altBefore": "The original image",
        "altAfter": f"The image under {REGISTRY[film.perturbation].label}",
        "frames": [
            {
                "strength": frame.strength,
                "text": text(frame.strength),
                "summary": tally([rows[at] for rows in film.rows.values()]),
            }
            for at, frame in enumerate(film.frames)
        ],
        "models": [
            _model(rows, *marked[name], film.perturbation) for name, rows in film.rows.items()
        ],
        "note": note,
    }
    images = [picture.image, *(frame.image for frame in film.frames)]
    return data, [to_png(image) for image in images]


def played_sweep(film: FilmRows, picture: Picture, found: Sequence[object]) -> Played:
    """``played`` of the film ``of_sweep``, with the breaks in ``found`` as marks."""
    breaks = [
        event
        for event in found
        if isinstance(event, Break) and event.perturbation == film.perturbation
    ]
    repeats = max(entry.repeats for entry in breaks)
    note = f"Resolution of the marks: {resolution(breaks[0].grid)}." if breaks[0].graded else ""
    if repeats > 1:
        note += f" The film shows one of {repeats} seeds; the marks are the median over all."
    return played(film, picture, breaks=breaks, note=note)


def _first_change(film: FilmRows, rows: Sequence[Measurement]) -> tuple[float | None, bool | None]:
    """The strength of the first frame that changes the prediction, and whether it is correct."""
    at = film.breaks[rows[0].model]
    there = (row for row in rows if not row.consistent)
    return at, None if at is None else is_correct(rows[0].label, next(there).top1)


def _model(
    rows: Sequence[Measurement], strength: float | None, after: bool | None, perturbation: str
) -> dict[str, Any]:
    """The data of one model; ``classes`` lists each name once, the original class first.

    It changes at ``strength``, to a prediction that is correct or not (``after``).
    """
    name, own = rows[0].model, rows[0].clean_top1
    places = {own: 0}
    for row in rows:
        for index in row.top5:
            places.setdefault(index, len(places))
    cosine, euclidean = RESCALED["cosine"], RESCALED["euclidean"]
    return {
        "label": visible(models.label(name)),
        "colour": model_style(name)[0],
        "classes": [visible(models.class_name(name, index)) for index in places],
        "break": strength,
        "breakText": _broken(perturbation, strength, is_correct(rows[0].label, own), after),
        "frames": [
            {
                "verdict": verdict(row),
                "top5": [
                    [places[index], round(share, 4)]
                    for index, share in zip(row.top5, row.top5_probabilities, strict=True)
                ],
                "left": round(row.retained_probability, 4),
                "cosine": round(row.scores[cosine], 4),
                "euclidean": round(row.scores[euclidean], 4),
            }
            for row in rows
        ],
    }


def _broken(
    perturbation: str, strength: float | None, before: bool | None, after: bool | None
) -> str:
    """Where the prediction first changes, as a clause after the name of the model."""
    record = REGISTRY[perturbation]
    if strength is None:
        return no_change(before)
    where = f"at {strength:.3f}, {record.value_text(strength)}"
    if strength == 0:
        where = "at 0, by the fixed perturbations"
    elif not record.graded:
        where = "when switched on"
    return change(before, after, where)
