"""Match my camera: the form that starts a match as a job, and its answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import streamlit as st

from robustness import matching, models, runs
from robustness.base.errors import ParameterError
from robustness.base.options import options_of
from robustness.base.roles import Action
from robustness.base.text import plain, some
from robustness.datasets.dataset import KNOWN
from robustness.matching import Correct, Match, MatchSettings
from robustness.matching.run import MOST_PRODUCTION, MOST_REFERENCE
from robustness.measure.options import MatchOptions, ViewOptions
from robustness.report import match
from robustness.runs import Listed, MatchRequest, Run
from robustness.ui import draw, jobs, session
from robustness.ui.evaluations import presentation, table
from robustness.ui.evaluations.inputs import (
    COMPARE,
    FROM_FILE,
    QUESTION,
    dataset_of,
    last_written,
    source_input,
)
from robustness.ui.frame import boundary
from robustness.ui.inputs import (
    framing_input,
    model_input,
    other_inputs,
    seed_input,
)
from robustness.ui.live import stories
from robustness.ui.session import RUN, do, fragment
from robustness.ui.shared import analysis_of, opened_run

_PROFILE_FILE = "match.toml"
_LABELLED_WIDTH = 224


def form() -> None:
    """Draw the two sources and the button, which queues the match and opens it."""
    left, right = st.columns(2, gap="large")
    with left:
        production = source_input("Images of my camera", "production_", samples=False)
        st.caption("20 or more, without labels.")
    with right:
        reference = source_input("Reference images", samples=False)
        st.caption(
            "At least 20 images of the same kind of scene. With labels, you get an accuracy."
        )
    with st.expander("Settings", icon=":material/tune:"):
        names = model_input()
        seed = seed_input()
        fit, side = framing_input()
        chosen = other_inputs(MatchOptions, {"seed": seed, "fit": fit, "side": side})
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Match",
            type="primary",
            icon=":material/compare:",
            **session.allowed(
                Action.EVALUATE, key="match", disabled=not (production and reference)
            ),
        )
        missing = []
        if not production:
            missing.append("images of your camera")
        if not reference:
            missing.append("reference images")
        if missing:
            st.caption(f"Still needed: {some(missing, len(missing))}.")
        else:
            st.caption(
                "Takes some minutes, less if you reuse a reference. Runs in the background. You "
                "can close this page."
            )
    if pressed and production and reference:
        with boundary():
            settings = MatchSettings(models=names, **options_of(ViewOptions, chosen))
            _submit(production, reference, settings)


def _submit(production: str, reference: str, settings: MatchSettings) -> None:
    """Queue the match of two sources and open it; raises ``ParameterError`` for too few images."""
    production_images = dataset_of(production, last_written(production))
    reference_images = dataset_of(reference, last_written(reference))
    fewest = min(len(production_images), len(reference_images))
    if fewest < matching.FEWEST:
        raise ParameterError(
            f"Expected at least {matching.FEWEST} images on each side, got {fewest} on "
            "one: add more."
        )
    image_count = min(len(production_images), MOST_PRODUCTION)
    image_count += min(len(reference_images), MOST_REFERENCE)
    request = MatchRequest(
        title=f"Match of {production_images.title}",
        production=production,
        reference=reference,
        images=image_count,
        settings=settings,
    )
    table.choose(jobs.submit([request]))
    st.rerun()


def show(entry: Listed, request: MatchRequest) -> None:
    """Draw the progress or the answer of a match, and what can be done with it."""
    folder = entry.folder
    if stories.is_presented() and _present(entry, request):
        return
    # Before the answer is read: the other way round, work that ends in between would seem to have
    # stopped without one.
    is_active = jobs.is_active(folder)
    answer = request.answer(folder)
    first_answer = runs.read_first_answer(folder) if answer is None else None
    if is_active:
        jobs.progress(folder, "it continues")
        if answer is None and first_answer is None:
            fragment(_redraw_with_first, run_every=jobs.SECONDS_BETWEEN)(folder)
    elif answer is None:
        jobs.stopped(folder, "This match is not finished.")
    shown = answer or first_answer
    if shown is not None:
        with boundary():
            correct = runs.read_labels(folder, shown)
            labelled = matching.with_labels(shown, correct)
            if answer is not None:
                answer = labelled
            headline, others = match.headline(labelled)
            st.html(draw.headline(headline))
            if others:
                st.markdown(plain(" ".join(others)))
            if shown.sample:
                _labelling(entry, labelled, correct)
            if answer is None:
                draw.draw(list(match.blocks(labelled)))
    with st.container(horizontal=True):
        if answer is not None:
            _profile_buttons(folder.name, request.settings, answer)
            stories.present_button("the answer, the accuracy to expect and pairs of images")
        with st.popover("Manage", icon=":material/more_horiz:"):
            table.manage(entry)
    if answer is not None:
        if not answer.conditions:
            is_unexplained = answer.different and not answer.matched
            reason = "There is no difference"
            if is_unexplained:
                reason = "The difference is not explained"
            st.caption(f"{reason}: nothing to evaluate. The profile is for comparison alone.")
        reference = _reference_run(entry, request, answer)
        figures = None if reference is None else analysis_of(reference).figures
        draw.draw(list(match.blocks(answer, figures)))
    labels = ", ".join(models.label(name) for name in request.settings.models)
    st.caption(
        f"{plain(entry.title)} · {plain(labels)} · seed {request.settings.seed} · "
        f"{plain(folder.name)}. To share it, copy the link: anyone with access to this server can "
        "open it."
    )


def _present(entry: Listed, request: MatchRequest) -> bool:
    """Draw a slide of the answer, if there is one, and return whether it replaces the page."""
    answer = request.answer(entry.folder)
    if answer is None:
        return False
    reference = _reference_run(entry, request, answer)
    labelled = matching.with_labels(answer, runs.read_labels(entry.folder, answer))
    headline, _ = match.headline(labelled)
    return presentation.show(
        presentation.match_slides(labelled, reference),
        presentation.match_answer(labelled, headline),
    )


def _redraw_with_first(folder: Path) -> None:
    """Draw the page again as soon as the first part of the answer is there."""
    if runs.read_first_answer(folder) is not None:
        st.rerun()


def _labelling(entry: Listed, answer: Match, correct: Correct) -> None:
    """Draw the first image that is not labelled for each model, with the buttons that do it."""
    image_count = len(answer.sample)
    labelled_count = 0
    for image in answer.sample:
        if not all((image.name, model_name) in correct for model_name in image.predictions):
            break
        labelled_count += 1
    is_complete = labelled_count == image_count
    with st.expander(
        "Label twenty of your images to narrow this",
        expanded=len(correct) > 0 and not is_complete,
        icon=":material/label:",
    ):
        st.caption(f"{match.forecasts(answer)} Drawn at random, with seed {answer.settings.seed}.")
        st.progress(
            labelled_count / image_count, text=f"{labelled_count} of {image_count} images labelled"
        )
        if not is_complete:
            image = answer.sample[labelled_count]
            left, right = st.columns([1, 2])
            left.image(
                image.image, width=_LABELLED_WIDTH, alt=f"Image {labelled_count + 1} to label"
            )
            with right:
                for model_name, prediction in image.predictions.items():
                    st.markdown(f"{plain(models.label(model_name))}: **{plain(prediction)}**")
                    _label_buttons(entry, answer, correct, image.name, model_name)
        if correct:
            st.button(
                "Remove the labels",
                icon=":material/delete:",
                on_click=do,
                args=(_store_labels, entry, answer, {}),
                **session.allowed(Action.EVALUATE, key="unlabel", thing=entry.folder.name),
            )


def _label_buttons(
    entry: Listed, answer: Match, correct: Correct, image_name: str, model_name: str
) -> None:
    """Draw the buttons that say whether a model's prediction for an image is correct."""
    chosen = correct.get((image_name, model_name))
    with st.container(horizontal=True):
        for text, value, icon in (
            ("Correct", True, ":material/check:"),
            ("Incorrect", False, ":material/close:"),
        ):
            labels = {**correct, (image_name, model_name): value}
            st.button(
                text,
                icon=icon,
                type="primary" if chosen is value else "secondary",
                on_click=do,
                args=(_store_labels, entry, answer, labels),
                **session.allowed(
                    Action.EVALUATE, key=f"{text} {model_name}", thing=entry.folder.name
                ),
            )


def _store_labels(entry: Listed, answer: Match, correct: Correct) -> None:
    session.require(Action.EVALUATE, thing=entry.folder.name)
    runs.write_labels(entry.folder, answer, correct)


def _reference_run(entry: Listed, request: MatchRequest, answer: Match) -> Run | None:
    """The last finished run of the reference that tells how a perturbation of ``answer`` grows.

    It has this perturbation alone at two strengths or more. None if no run has.
    """
    matched_names = {part.perturbation for part in answer.perturbations}
    for other in runs.listing(entry.folder.parent):
        manifest = other.manifest
        if manifest is None or manifest.status != runs.FINISHED:
            continue
        if manifest.dataset.source != request.reference:
            continue
        strength_counts: Counter[str] = Counter()
        for condition in manifest.spec.conditions:
            if len(condition.steps) == 1:
                perturbation_name, _ = condition.steps[0]
                strength_counts[perturbation_name] += 1
        if any(strength_counts[name] > 1 for name in matched_names):
            return opened_run(other.folder.name)
    return None


def _profile_buttons(name: str, settings: MatchSettings, answer: Match) -> None:
    st.button(
        "Evaluate with this profile",
        type="primary" if answer.matched else "secondary",
        icon=":material/play_arrow:",
        on_click=_evaluate,
        args=(name, settings),
        disabled=not answer.conditions,
    )
    st.download_button(
        "Download the profile",
        matching.as_toml(answer),
        _PROFILE_FILE,
        "application/toml",
        icon=":material/download:",
        on_click="ignore",
    )


def _evaluate(name: str, settings: MatchSettings) -> None:
    """Have the link ask for an evaluation of the reference under the profile, as it was matched."""
    st.session_state[QUESTION] = COMPARE
    st.session_state[table.FORM] = False  # the link opens the form, and Back closes it
    st.session_state["seed"] = settings.seed
    values: dict[str, str | list[str]] = {
        RUN: [],  # an empty list leaves the link
        table.COMPARE: [],
        QUESTION: [],
        "source": [],
        table.PROFILE: name,
        "suite": FROM_FILE,
        "labelling": KNOWN,
        "dataset_fit": settings.fit or [],
        "dataset_side": [],
        "models": [],
        "seed": [],
    }
    if settings.side:
        values["dataset_side"] = str(settings.side)
    if list(settings.models) != list(models.default_names()):
        values["models"] = list(settings.models)
    if settings.seed:
        values["seed"] = str(settings.seed)
    table.change_link(values)
