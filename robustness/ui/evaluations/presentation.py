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
from robustness.images.pixels import to_png
from robustness.matching import Match
from robustness.measure.condition import Condition, physical
from robustness.report import closing, failures
from robustness.report.closing import Camera, Closing
from robustness.report.run import RunFigures
from robustness.report.tables import percent, verdict_of
from robustness.runs import MatchRequest, Run
from robustness.runs.cases import WORST, RowSelection
from robustness.statistics import Figures
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
"""Key of the session: whether slides follow each other by themselves."""

_SINCE = "slide since"
"""Key of the session: the number of the slide in sight, and the monotonic time it came."""

Slide = Callable[[], None]
"""Draws a slide."""

Row = Mapping[str, Any]


def frame() -> None:
    """Draw the exit and the style of Present mode, if the link asks for it."""
    with st.container():  # keeps the elements below in their places
        stories.frame(with_stories=False)
        if stories.is_presented():
            st.html(_STYLE)


def show(slides: Sequence[Slide], answer: Slide | None = None) -> bool:
    """Draw the slide that the link names, and return whether it takes the place of the page.

    The first slide is ``answer``, by default the answer on the page itself; ``slides`` follow it.
    """
    if not stories.is_presented():
        return False
    total = len(slides) + 1
    number = min(max(_number(), 1), total)
    with st.container(key="presenting-slides"):
        _controls(number, total)
    if number == 1 and answer is None:
        return False
    with st.container(key="slide"):
        if number == 1 and answer is not None:
            answer()
        else:
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
    last_number, _ = st.session_state.get(_SINCE, (0, 0.0))
    if last_number != number:
        st.session_state[_SINCE] = (number, time.monotonic())
    is_first = number == 1
    is_last = number == total
    plays = bool(st.session_state.get(_PLAYING)) and not is_last
    with st.container(horizontal=True, width="content", vertical_alignment="center", key="slides"):
        _step_button("Back", ":material/chevron_left:", "Left", number - 1, disabled=is_first)
        st.markdown(f"{number} / {total}", width="content")
        _step_button("Next", ":material/chevron_right:", "Right", number + 1, disabled=is_last)
        st.button(
            "Pause" if plays else "Play",
            key="play slides",
            icon=":material/pause:" if plays else ":material/play_arrow:",
            type="tertiary",
            shortcut="P",
            on_click=_play,
            args=(not plays, is_last),
        )
    if plays:
        fragment(_advance, run_every=1.0)(number)


def _step_button(label: str, icon: str, key: str, target: int, *, disabled: bool) -> None:
    """Draw a button, which the ``key`` of a keyboard presses, too, to the slide ``target``."""
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
    """The name of an image, the id of a condition where it fails, and the row of each model."""

    image: str
    condition: str
    rows: tuple[Row, ...]


def run_slides(figures: RunFigures, folder: Path) -> list[Slide]:
    """A slide for each of the worst images of a run, and the last word.

    ``folder`` has the runs among which a match may be.
    """
    slides: list[Slide] = []
    for worst in worst_images(figures):
        slides.append(partial(_draw_image, figures.run, worst))
    camera = closing.profile_camera(figures.run.manifest.spec.profiles)
    if camera is None:
        camera = _matched_camera(figures, folder)
    last = _closing(figures.run, camera, figures)
    if last is not None:
        slides.append(partial(_draw_closing, figures, last))
    return slides


def match_slides(answer: Match, reference: Run | None) -> list[Slide]:
    """The accuracy to expect, pairs of images, and the last word on a run of the ``reference``.

    They follow ``match_answer``, which has the first of the pairs.
    """
    slides: list[Slide] = []
    if answer.expected_accuracy:
        slides.append(partial(_draw_accuracy, answer))
    for pair in answer.pairs[1:MOST_PAIRS]:
        slides.append(partial(_draw_pair, "Your image, and ours perturbed to match.", pair))
    if reference is not None:
        figures = RunFigures(shared.analysis_of(reference))
        camera = closing.profile_camera(reference.manifest.spec.profiles)
        if camera is None:
            camera = closing.matched_camera(answer, figures.statistics)
        last = _closing(reference, camera, figures)
        if last is not None and last.camera is not None:
            slides.append(partial(_draw_closing, figures, last))
    return slides


def match_answer(answer: Match, headline: str) -> Slide | None:
    """The ``headline`` of a match over a pair of images that shows it; None if it has no pairs."""
    if not answer.pairs:
        return None
    return partial(_draw_pair, headline, answer.pairs[0])


def _matched_camera(figures: RunFigures, folder: Path) -> Camera | None:
    """The camera of the latest match with the images of the run as its reference."""
    source = figures.run.manifest.dataset.source
    for entry in runs.listing(folder):
        request = entry.record
        if not isinstance(request, MatchRequest) or request.reference != source:
            continue
        answer = request.answer(entry.folder)
        if answer is None:
            continue
        camera = closing.matched_camera(answer, figures.statistics)
        if camera:
            return camera
    return None


@shared.cached(16)
def _closing(run: Run, camera: Camera | None, _figures: RunFigures) -> Closing | None:
    return closing.closing(_figures.statistics, camera)


def _draw_closing(figures: RunFigures, last: Closing) -> None:
    """Draw the last sentence, and the shares that it names beside an image under each condition."""
    st.html(draw.headline(last.sentence))
    with st.container(key="closing"):
        st.html(drawings([last.picture(_condition_images(figures.run, last)).drawing]))
        st.caption(plain(last.note))


def _condition_images(run: Run, last: Closing) -> dict[str, str]:
    """The worst image under the hardest condition of ``last``, under each of its conditions.

    URIs by the condition's id, "" for the original; {} where the image cannot be read.
    """
    entries = [entry for entry in (last.hardest, last.camera) if entry is not None]
    condition_ids = [str(entry["condition"]) for entry in entries]
    hardest = RowSelection(last.model, conditions=(condition_ids[0],))
    cases = run.cases.first(hardest, WORST, 1)
    if not cases:
        return {}
    profiles = run.manifest.spec.profiles
    try:
        picture = run.picture_for(str(cases[0]["image"]), last.model)
        uris = {"": draw.thumbnail_uri(picture.image)}
        for condition_id in condition_ids:
            # Of a profile, the first of its compositions.
            text = profiles.get(condition_id, (condition_id,))[0]
            changed = shared.change(picture, Condition.parse(text), run.seed).image
            uris[condition_id] = draw.thumbnail_uri(changed)
    except RobustnessError:
        return {}
    return uris


def _draw_accuracy(answer: Match) -> None:
    """Draw what to expect of each model on the camera's images, the best model first."""
    expected = sorted(answer.expected_accuracy, key=lambda entry: entry.value, reverse=True)
    best = expected[0]
    text = f"Expect {models.label(best.model)} to be right on {share(best.value, 0)} of your images"
    if best.reference is not None:
        text += f"; on the reference it is on {share(best.reference, 0)}"
    st.html(draw.headline(f"{text}."))
    labelled = [(models.label(entry.model), entry) for entry in expected]
    st.html(html("expected", models=labelled))


def _draw_pair(headline: str, pair: tuple[bytes, bytes]) -> None:
    """Draw an image of the camera beside the reference image that is most like it."""
    production, simulation = pair
    st.html(draw.headline(headline))
    shots = [
        (_png_uri(production), "Yours"),
        (_png_uri(simulation), "The reference, perturbed"),
    ]
    st.html(html("slide", shots=shots, lines=[]))


def worst_images(figures: RunFigures) -> list[WorstImage]:
    """The worst image under each of the perturbations that do most harm, the hardest first.

    An attack has an image of its own for each model, and those of a published tree may be gone:
    both are left out.
    """
    run = figures.run
    worst: list[WorstImage] = []
    shown_positions: list[int] = []
    for perturbation in _hardest_first(figures.statistics):
        if len(worst) == MOST_IMAGES:
            break
        # An image is shown once, under the hardest of its perturbations.
        selection = RowSelection(perturbation=perturbation)
        cases = run.cases.first(selection, WORST, 1, shown_positions)
        if not cases:
            continue
        case = cases[0]
        condition_id = str(case["condition"])
        condition = Condition.parse(condition_id)
        if condition.needs_model or condition.in_files or condition.idle:
            continue
        position = int(case["position"])
        rows: list[Row] = []
        for model_name in run.manifest.spec.model_names:
            of_model = RowSelection(model_name, conditions=(condition_id,), positions=(position,))
            rows += run.cases.both(of_model, 1)
        worst.append(WorstImage(str(case["image"]), condition_id, tuple(rows)))
        shown_positions.append(position)
    return worst


def _hardest_first(figures: Figures) -> list[str]:
    """The perturbations, the hardest first: by consistency, or in a run of scores by the mean."""
    if figures.score:
        entries = figures.by_perturbation
        quantity = "perturbed_accuracy"
    else:
        entries = figures.over_models
        quantity = "consistency"
    values: dict[str, list[float]] = {}
    for entry in entries:
        if entry[quantity] is not None:
            values.setdefault(str(entry["perturbation"]), []).append(entry[quantity])
    # Of a perturbation that is told apart, as an attack in two norms, the hardest counts.
    lowest = {perturbation: min(shares) for perturbation, shares in values.items()}
    return sorted(lowest, key=lambda perturbation: lowest[perturbation])


def _draw_image(run: Run, worst: WorstImage) -> None:
    """Draw an image before and under its condition, and what each model predicts then."""
    if run.score:
        verdicts = [failures.score_mark(row, run.score) for row in worst.rows]
        original_caption = "Original"
        texts = []
        for row in worst.rows:
            texts.append(f"{share(float(row['clean_score']))} → {share(float(row['score']))}")
    else:
        verdicts = [verdict_of(row) for row in worst.rows]
        original_caption = _true_class(worst)
        texts = []
        for row in worst.rows:
            predicted = models.class_name(str(row["model"]), int(row["top1"]))
            texts.append(f"{percent(row['probability'])} {predicted}")
    good_count = sum(verdict.good for verdict in verdicts)
    good_models = f"{good_count} of {counted(len(verdicts), 'model')}"
    if run.score:
        said = f"{run.score} kept by {good_models}"
    else:
        said = f"{good_models} {_good_word(worst)}"
    condition_text = physical(worst.condition)
    st.html(draw.headline(f"{condition_text}: {said}."))
    model_name = str(worst.rows[0]["model"])
    shots = []
    try:
        picture = run.picture_for(worst.image, model_name)
        changed = shared.change(picture, Condition.parse(worst.condition), run.seed).image
        shots = [
            (_png_uri(to_png(picture.image)), original_caption),
            (_png_uri(to_png(changed)), condition_text),
        ]
    except RobustnessError as error:
        st.caption(plain(f"The image cannot be shown: {sentence(error)}"))
    labels = [models.label(str(row["model"])) for row in worst.rows]
    lines = list(zip(labels, verdicts, texts, strict=True))
    st.html(html("slide", shots=shots, lines=lines))


def _good_word(worst: WorstImage) -> str:
    """What a good prediction on the image is."""
    if all(pd.notna(row["label"]) for row in worst.rows):
        return "correct"
    return "unchanged"


def _true_class(worst: WorstImage) -> str:
    """The true class of the image or, without a label, the prediction on the original."""
    row = worst.rows[0]
    model_name = str(row["model"])
    if pd.notna(row["label"]):
        return f"True class: {models.class_name(model_name, int(row['label']))}"
    return f"Original: {models.class_name(model_name, int(row['clean_top1']))}"


def _png_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
