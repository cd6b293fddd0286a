"""Present mode of Evaluations: the answer, the worst images of a run one by one, and the end."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models, runs
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain, share
from robustness.images.framing import Picture
from robustness.images.pixels import to_png
from robustness.matching import Match
from robustness.measure.condition import Condition, short
from robustness.report import closing
from robustness.report.closing import Camera, Closing
from robustness.report.run import RunFigures
from robustness.report.tables import verdict_of
from robustness.runs import Run
from robustness.runs.cases import WORST, RowSelection
from robustness.ui import draw, shared
from robustness.ui.frame import fragment
from robustness.ui.html import drawings, html
from robustness.ui.live import stories
from robustness.ui.live.stories import SLIDE
from robustness.ui.session import sentence

MOST_IMAGES = 6
"""Images that a run presents, each under another perturbation."""

MOST_PAIRS = 3
"""Pairs of images that a match presents."""

SECONDS = 6.0
"""How long a slide stays while they play."""

_STYLE = Path(__file__).with_name("present.css")
_PLAYING = "slides play"
_SINCE = "slide since"

Slide = Callable[[], None]
"""Draws a slide."""

Row = Mapping[str, Any]


def frame() -> None:
    """Draw the exit and the style of Present mode, if the link asks for it."""
    with st.container():  # keeps the elements below in their places
        stories.frame(with_stories=False)
        if stories.is_presented():
            st.html(_STYLE)


def show(slides: Sequence[Slide]) -> bool:
    """Draw the slide that the link names, and return whether it takes the place of the page.

    The first slide is the answer on the page itself; ``slides`` follow it.
    """
    if not stories.is_presented():
        return False
    total = len(slides) + 1
    number = min(max(_number(), 1), total)
    with st.container(key="presenting-slides"):
        _controls(number, total)
    if number == 1:
        return False
    with st.container(key="slide"):
        slides[number - 2]()
    return True


def _number() -> int:
    """The number of the slide in the link, from 1."""
    text = st.query_params.get(SLIDE, "1")
    return int(text) if text.isdecimal() and len(text) < 4 else 1


def _controls(number: int, total: int) -> None:
    """Draw the buttons that lead from slide to slide, which keys press, too."""
    if total == 1:
        return
    if st.session_state.get(_SINCE, (0, 0.0))[0] != number:
        st.session_state[_SINCE] = number, time.monotonic()
    playing = bool(st.session_state.get(_PLAYING)) and number < total
    with st.container(horizontal=True, width="content", vertical_alignment="center", key="slides"):
        _button("Back", ":material/chevron_left:", "Left", number - 1, number == 1)
        st.markdown(f"{number} / {total}", width="content")
        _button("Next", ":material/chevron_right:", "Right", number + 1, number == total)
        st.button(
            "Pause" if playing else "Play",
            key="play slides",
            icon=":material/pause:" if playing else ":material/play_arrow:",
            type="tertiary",
            shortcut="P",
            on_click=_play,
            args=(not playing, number == total),
        )
    if playing:
        fragment(_advance, run_every=1.0)(number)


def _button(label: str, icon: str, key: str, target: int, disabled: bool) -> None:
    st.button(
        label,
        key=f"slide {label}",
        icon=icon,
        type="tertiary",
        shortcut=key,
        on_click=_open,
        args=(target,),
        disabled=disabled,
    )


def _open(number: int) -> None:
    """Show the slide ``number``, the first without a parameter in the link."""
    if number > 1:
        st.query_params[SLIDE] = str(number)
    else:
        st.query_params.pop(SLIDE, None)


def _play(begins: bool, is_at_end: bool) -> None:
    st.session_state[_PLAYING] = begins
    if begins and is_at_end:
        _open(1)


def _advance(number: int) -> None:
    """Go on once the slide ``number`` has been in sight for long enough."""
    _, since = st.session_state[_SINCE]
    if time.monotonic() - since >= SECONDS:
        _open(number + 1)
        st.rerun()


# --- the images of a run --------------------------------------------------------------------------


@dataclass(frozen=True)
class WorstImage:
    """An image under the ``condition``, an id, where it fails; ``rows`` has one of each model."""

    image: str
    condition: str
    rows: tuple[Row, ...]


def run_slides(of: RunFigures, folder: Path) -> list[Slide]:
    """A slide for each of the worst images of a run, and the last word.

    ``folder`` has the runs among which a match may be.
    """
    slides: list[Slide] = [partial(_draw_image, of.run, each) for each in worst_images(of)]
    camera = closing.profile_camera(of.run.manifest.spec.profiles)
    if camera is None:
        camera = _matched_camera(of, folder)
    last = _closing(of.run, camera, of)
    if last is not None:
        slides.append(partial(_draw_closing, of, last))
    return slides


def match_slides(answer: Match, reference: Run | None) -> list[Slide]:
    """The accuracy to expect, pairs of images, and the last word on a run of the ``reference``."""
    slides: list[Slide] = []
    if answer.expected_accuracy:
        slides.append(partial(_draw_accuracy, answer))
    slides += [partial(_draw_pair, *pair) for pair in answer.pairs[:MOST_PAIRS]]
    if reference is not None:
        of = RunFigures(reference)
        camera = closing.profile_camera(reference.manifest.spec.profiles)
        if camera is None:
            camera = closing.matched_camera(answer, of.statistics)
        last = _closing(reference, camera, of)
        if last is not None and last.camera is not None:
            slides.append(partial(_draw_closing, of, last))
    return slides


def _matched_camera(of: RunFigures, folder: Path) -> Camera | None:
    """The camera of the latest match with the images of the run as its reference."""
    for entry in runs.listing(folder):
        if entry.match is None or entry.match.reference != of.run.manifest.dataset.source:
            continue
        answer = runs.read_answer(entry.folder)
        camera = answer and closing.matched_camera(answer, of.statistics)
        if camera:
            return camera
    return None


@shared.cached(16)
def _closing(run: Run, camera: Camera | None, _of: RunFigures) -> Closing | None:
    return closing.closing(_of.statistics, camera)


def _draw_closing(of: RunFigures, last: Closing) -> None:
    """Draw the last sentence, and the shares that it names beside an image under each condition."""
    st.html(draw.headline(last.sentence))
    with st.container(key="closing"):
        st.html(drawings([last.picture(_condition_images(of.run, last)).drawing]))
        st.caption(closing.NOTE)


def _condition_images(run: Run, last: Closing) -> dict[str, str]:
    """One image under each condition of ``last``, by condition; none where it cannot be read.

    It is the worst under the hardest condition.
    """
    entries = [entry for entry in (last.hardest, last.camera) if entry is not None]
    ids = [str(entry["condition"]) for entry in entries]
    cases = run.cases.first(RowSelection(last.model, conditions=(ids[0],)), WORST, 1)
    if not cases:
        return {}
    profiles = run.manifest.spec.profiles
    try:
        picture = run.picture_for(str(cases[0]["image"]), last.model)
        images = {"": draw.thumbnail_uri(picture.image)}
        for name in ids:
            condition = Condition.parse(profiles.get(name, (name,))[0])
            changed = shared.change(picture, condition, run.seed).image
            images[name] = draw.thumbnail_uri(changed)
    except RobustnessError:
        return {}
    return images


def _draw_accuracy(answer: Match) -> None:
    """Draw what to expect of each model on the camera's images, the best model first."""
    expected = sorted(answer.expected_accuracy, key=lambda entry: entry.value, reverse=True)
    best = expected[0]
    text = f"Expect {models.label(best.model)} to be right on {share(best.value, 0)} of your images"
    if best.reference is not None:
        text += f"; on the reference it is on {share(best.reference, 0)}"
    st.html(draw.headline(f"{text}."))
    st.html(html("expected", models=[(models.label(entry.model), entry) for entry in expected]))


def _draw_pair(production: bytes, simulation: bytes) -> None:
    """Draw an image of the camera beside the reference image that is most like it."""
    st.html(draw.headline("Your image, and ours perturbed to match."))
    captions = ("Yours", "The reference, perturbed")
    uris = [_png_uri(png) for png in (production, simulation)]
    st.html(html("slide", shots=list(zip(uris, captions, strict=True)), lines=[]))


def worst_images(of: RunFigures) -> list[WorstImage]:
    """The worst image under each of the perturbations that do most harm, the hardest first.

    An attack has an image of its own for each model, and those of a published tree may be gone:
    both are left out.
    """
    run = of.run
    entries = [e for e in of.statistics.over_models if e["consistency"] is not None]
    entries.sort(key=lambda entry: entry["consistency"])
    found: list[WorstImage] = []
    positions: list[int] = []
    for name in dict.fromkeys(str(entry["perturbation"]) for entry in entries):
        if len(found) == MOST_IMAGES:
            break
        case = next(
            iter(run.cases.first(RowSelection(perturbation=name), WORST, 1, positions)), None
        )
        if case is None:
            continue
        condition = Condition.parse(str(case["condition"]))
        if condition.needs_model or condition.in_files or condition.idle:
            continue
        position = int(case["position"])
        chosen = [
            RowSelection(model, conditions=(str(case["condition"]),), positions=(position,))
            for model in run.manifest.spec.model_names
        ]
        rows = [row for selection in chosen for row in run.cases.both(selection, 1)]
        found.append(WorstImage(str(case["image"]), str(case["condition"]), tuple(rows)))
        positions.append(position)
    return found


def _draw_image(run: Run, worst: WorstImage) -> None:
    condition = Condition.parse(worst.condition)
    marks = [verdict_of(row) for row in worst.rows]
    good = sum(mark.good for mark in marks)
    word = "correct" if all(pd.notna(row["label"]) for row in worst.rows) else "unchanged"
    text = f"{short(worst.condition)}: {good} of {counted(len(marks), 'model')} {word}."
    st.html(draw.headline(text))
    first = worst.rows[0]
    is_labelled = pd.notna(first["label"])
    before = int(first["label"] if is_labelled else first["clean_top1"])
    name = models.class_name(str(first["model"]), before)
    try:
        picture = run.picture_for(worst.image, str(first["model"]))
        shots = [
            (_uri(picture), f"{'True class' if is_labelled else 'Original'}: {name}"),
            (_uri(picture, condition, run.seed), short(worst.condition)),
        ]
    except RobustnessError as error:
        shots = []
        st.caption(plain(f"The image cannot be shown: {sentence(error)}"))
    lines = [
        (
            models.label(str(row["model"])),
            row,
            mark,
            models.class_name(str(row["model"]), int(row["top1"])),
        )
        for row, mark in zip(worst.rows, marks, strict=True)
    ]
    st.html(html("slide", shots=shots, lines=lines))


def _uri(picture: Picture, condition: Condition | None = None, seed: int = 0) -> str:
    """The image, under ``condition`` if there is one, as a lossless URI."""
    image = picture.image
    if condition is not None:
        image = shared.change(picture, condition, seed).image
    return _png_uri(to_png(image))


def _png_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
