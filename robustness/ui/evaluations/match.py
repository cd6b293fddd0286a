"""Match my camera: the form that starts a match as a job, and its answer."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from robustness import matching, models, runs
from robustness.base.errors import ParameterError
from robustness.base.roles import Action
from robustness.base.text import plain, some
from robustness.datasets.dataset import KNOWN
from robustness.matching import Correct, Match, MatchSettings
from robustness.matching.run import MOST_PRODUCTION, MOST_REFERENCE
from robustness.report import match
from robustness.runs import Listed, MatchRequest, Run
from robustness.statistics import Figures
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
from robustness.ui.inputs import fit_input, model_input, overrides_of, seed_input, side_input
from robustness.ui.live import stories
from robustness.ui.session import RUN, do, fragment
from robustness.ui.shared import opened_run

_FILE = "match.toml"
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
        fit, side = overrides_of(fit_input("dataset_fit"), side_input("dataset_side"))
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Match",
            type="primary",
            icon=":material/compare:",
            **session.allowed(
                Action.EVALUATE, key="match", disabled=not (production and reference)
            ),
        )
        needs = {"images of your camera": production, "reference images": reference}
        if missing := [name for name, source in needs.items() if not source]:
            st.caption(f"Still needed: {some(missing, len(missing))}.")
        else:
            st.caption(
                "Takes some minutes, less if you reuse a reference. Runs in the background. You "
                "can close this page."
            )
    if pressed and production and reference:
        with boundary():
            sides = [dataset_of(source, last_written(source)) for source in (production, reference)]
            if (fewest := min(map(len, sides))) < matching.FEWEST:
                raise ParameterError(
                    f"Expected at least {matching.FEWEST} images on each side, got {fewest} on "
                    "one: add more."
                )
            saved = MatchRequest(
                title=f"Match of {sides[0].title}",
                production=production,
                reference=reference,
                images=min(len(sides[0]), MOST_PRODUCTION) + min(len(sides[1]), MOST_REFERENCE),
                settings=MatchSettings(models=names, fit=fit, side=side, seed=seed),
            )
            table.choose([jobs.submit_match(saved)])
            st.rerun()


def show(entry: Listed, saved: MatchRequest) -> None:
    """Draw the progress or the answer of the match ``saved``, and what can be done with it."""
    folder = entry.folder
    if stories.is_presented() and (found := runs.read_answer(folder)) is not None:
        reference = _reference_run(entry, saved, found)
        if presentation.show(presentation.match_slides(found, reference)):
            return
    active = jobs.is_active(folder)  # first: the work ends once the answer is there
    answer = runs.read_answer(folder)
    first = runs.read_first_answer(folder) if answer is None else None
    if active:
        jobs.progress(folder, "it continues")
        if answer is None and first is None:
            fragment(_redraw_with_first, run_every=jobs.SECONDS_BETWEEN)(folder)
    elif answer is None:
        jobs.stopped(folder, "This match is not finished.")
    if shown := answer or first:
        with boundary():
            correct = runs.read_labels(folder, shown)
            labelled = matching.with_labels(shown, correct)
            answer = labelled if answer else None
            headline, *rest = match.sentences(labelled)
            st.html(draw.headline(headline))
            if rest:
                st.markdown(plain(" ".join(rest)))
            if shown.sample:
                _labelling(entry, labelled, correct)
            if answer is None:
                draw.draw(list(match.blocks(labelled)))
    with st.container(horizontal=True):
        if answer is not None:
            _profile_buttons(folder.name, saved.settings, answer)
            stories.present_button("the answer, the accuracy to expect and pairs of images")
        with st.popover("Manage", icon=":material/more_horiz:"):
            table.manage(entry)
    if answer is not None and not answer.conditions:
        unknown = answer.different and not answer.matched
        why = "The difference is not explained" if unknown else "There is no difference"
        st.caption(f"{why}: nothing to evaluate. The profile is for comparison alone.")
    if answer is not None:
        draw.draw(list(match.blocks(answer, _figures(entry, saved, answer))))
    names = ", ".join(models.label(name) for name in saved.settings.models)
    st.caption(
        f"{plain(entry.title)} · {plain(names)} · seed {saved.settings.seed} · "
        f"{plain(folder.name)}. To share it, copy the link: anyone with access to this server can "
        "open it."
    )


def _redraw_with_first(folder: Path) -> None:
    """Draw the page again as soon as the first part of the answer is there."""
    if runs.read_first_answer(folder) is not None:
        st.rerun()


def _labelling(entry: Listed, answer: Match, correct: Correct) -> None:
    """Draw the next image to label, with a pair of buttons for each model."""
    models_of = {image.name: set(image.predictions) for image in answer.sample}
    done = [all((name, m) in correct for m in names) for name, names in models_of.items()]
    count = done.index(False) if False in done else len(done)
    with st.expander(
        "Label twenty of your images to narrow this",
        expanded=len(correct) > 0 and count < len(done),
        icon=":material/label:",
    ):
        st.caption(f"{match.forecasts(answer)} Drawn at random, with seed {answer.settings.seed}.")
        st.progress(count / len(done), text=f"{count} of {len(done)} images labelled")
        if count < len(done):
            image = answer.sample[count]
            left, right = st.columns([1, 2])
            left.image(image.image, width=_LABELLED_WIDTH, alt=f"Image {count + 1} to label")
            with right:
                for name, prediction in image.predictions.items():
                    _verdict(entry, answer, correct, image.name, name, prediction)
        if correct:
            st.button(
                "Remove the labels",
                icon=":material/delete:",
                on_click=do,
                args=(_keep, entry, answer, {}),
                **session.allowed(Action.EVALUATE, key="unlabel", thing=entry.folder.name),
            )


def _verdict(
    entry: Listed, answer: Match, correct: Correct, image: str, name: str, prediction: str
) -> None:
    """Draw what a model predicts for ``image``, and the buttons that say whether it is correct."""
    chosen = correct.get((image, name))
    st.markdown(f"{plain(models.label(name))}: **{plain(prediction)}**")
    with st.container(horizontal=True):
        for text, value in (("Correct", True), ("Incorrect", False)):
            st.button(
                text,
                icon=":material/check:" if value else ":material/close:",
                type="primary" if chosen is value else "secondary",
                on_click=do,
                args=(_keep, entry, answer, {**correct, (image, name): value}),
                **session.allowed(Action.EVALUATE, key=f"{text} {name}", thing=entry.folder.name),
            )


def _keep(entry: Listed, answer: Match, correct: Correct) -> None:
    session.require(Action.EVALUATE, thing=entry.folder.name)
    runs.write_labels(entry.folder, answer, correct)


def _figures(entry: Listed, saved: MatchRequest, answer: Match) -> Figures | None:
    """The figures of the last run of the reference under a perturbation of ``answer``; else None.

    It has two strengths or more of one.
    """
    run = _reference_run(entry, saved, answer)
    return None if run is None else run.figures()


def _reference_run(entry: Listed, saved: MatchRequest, answer: Match) -> Run | None:
    """The run that ``_figures`` are of."""
    for other in runs.listing(entry.folder.parent):
        manifest = other.manifest
        if manifest is None or manifest.status != runs.FINISHED:
            continue
        steps = [c.steps[0] for c in manifest.spec.conditions if len(c.steps) == 1]
        names = [name for name, _ in steps]
        if manifest.dataset.source == saved.reference and any(
            names.count(part.perturbation) > 1 for part in answer.perturbations
        ):
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
        _FILE,
        "application/toml",
        icon=":material/download:",
        on_click="ignore",
    )


def _evaluate(name: str, settings: MatchSettings) -> None:
    """Have the link ask for an evaluation of the reference under the profile, as it was matched."""
    st.session_state[QUESTION] = COMPARE
    st.session_state[table.FORM] = False  # the link opens the form, and Back closes it
    st.session_state["seed"] = settings.seed
    by_default = list(settings.models) == list(models.default_names())
    table.change_link(
        {
            **{RUN: [], table.COMPARE: [], QUESTION: [], "source": []},
            **{table.PROFILE: name, "suite": FROM_FILE, "labelling": KNOWN},
            "dataset_fit": settings.fit or [],
            "dataset_side": str(settings.side) if settings.side else [],
            "models": [] if by_default else list(settings.models),
            "seed": str(settings.seed) if settings.seed else [],
        }
    )
