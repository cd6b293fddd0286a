"""A card for each model: where it comes from, its state, and what to do with it."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from robustness import models
from robustness.base.permissions import Action
from robustness.base.progress import MEGABYTES, Pace
from robustness.base.text import counted, plain
from robustness.evaluation.condition import perturbation_label
from robustness.models.engine_and_limits import engine_text, limits
from robustness.models.own import add
from robustness.models.own.add import as_toml
from robustness.models.own.describe import stated_licence
from robustness.models.own.stated_preprocessing import value_of
from robustness.models.own.trials import FramingTrial
from robustness.models.weights.fetch import download
from robustness.models.weights.weight_files import (
    NOT_DOWNLOADED,
    find_whole,
    lacks_package,
    parameters_text,
    size_text,
    state_text,
)
from robustness.pictures.fitting import Framing
from robustness.ui.browser.html import html
from robustness.ui.computation.progress import Work
from robustness.ui.display import results
from robustness.ui.session import access
from robustness.ui.session.boundary import boundary

GROUPS: Mapping[str, tuple[str, str]] = {
    models.OWN: ("Your own", "Described in your models file."),
    models.OFFLINE: ("Ready offline", "Their weights come with the installation."),
    models.STUDY: ("The study", "The four networks of the original study."),
    models.MODERN: ("Modern", "Newer networks, convolutional and transformers."),
}


_DIGITS = 12


def show(states: Mapping[str, models.WeightsState]) -> None:
    """Draw a card for each model, group by group."""
    st.markdown(
        "Every file is checked against its published hash before use. A model without its weights "
        "is never replaced by another one."
    )
    for group, (title, text) in GROUPS.items():
        records = [record for record in models.REGISTRY if record.group == group]
        if not records:
            continue
        st.markdown(f"**{title}.** {text}")
        for record, column in zip(records, results.cells(4), strict=False):
            with column.container(
                border=True, key=f"weights_{record.name}", gap="xsmall", height="stretch"
            ):
                _card(record, states[record.name])


def _card(record: models.ModelRecord, state: models.WeightsState) -> None:
    text, facts = state_text(record, state), _facts(record)
    good = None if text == NOT_DOWNLOADED else state.ready
    st.html(html("weights", label=record.label, good=good, state=text, facts=facts))
    if not state.ready and (state.path or not record.weights.url or lacks_package(record)):
        st.caption(plain(state.reason))
    for limit in limits(record):
        st.caption(plain(limit))
    if record.accuracy:
        st.caption(plain(f"When added: {record.accuracy.text}."))
    with st.container(horizontal=True, gap="small"):
        with st.popover("Source", icon=":material/info:"):
            st.html(results.html_table(("Weights", record.label), _origin(record, state)))
        if not state.ready:
            download_button(record)
        if record.group == models.OWN:
            _remove_button(record)


def _facts(record: models.ModelRecord) -> str:
    count = parameters_text(record)
    parts = [
        f"{count} parameters" if count else "",
        size_text(record),
        record.input_text,
        engine_text(record),
    ]
    return " · ".join(filter(None, parts))


def _origin(record: models.ModelRecord, state: models.WeightsState) -> list[tuple[str, str]]:
    weights = record.weights
    rows = [("Source", weights.source)]
    if record.base:
        rows.append(("Calibrated", f"{record.base.label}, temperature {record.temperature:g}"))
    if weights.own:
        digest = _shortened(models.digest(record)) if state.path else "none"
        rows.append(("Digest", digest))
        rows.append(("Licence", stated_licence(weights.own.path) or "not stated"))
        rows += _preparation(record)
    else:
        rows.append(("Published hash", weights.digest or "none"))
    if state.path is not None:
        rows.append(("Found at", str(state.path)))
    else:
        rows.append(("Searched at", "\n".join(map(str, weights.paths()))))
    if origin := record.origin:
        rows += [
            ("Parent", f"{models.label(origin.parent)}, {_shortened(origin.digest)}"),
            ("Trained on", ", ".join(map(perturbation_label, origin.trained_on))),
            (
                "Training",
                f"{counted(origin.image_count, 'image')}, {counted(origin.epochs, 'epoch')}, rate "
                f"{origin.rate:g}, seed {origin.seed}, interpolated by {origin.share:g}",
            ),
            ("Recommended", "yes" if origin.recommended else "no"),
        ]
    published = record.published
    if published.source:
        rows.append(("Source of accuracy", published.source))
    if published.robustness_source:
        rows.append(("Source of mCE", published.robustness_source))
    return rows


def _preparation(record: models.ModelRecord) -> list[tuple[str, str]]:
    """How images are prepared for a model of the user's, and what that was found by."""
    normalisation, accuracy = value_of(record.normalisation), record.accuracy
    value = normalisation if isinstance(normalisation, str) else as_toml(normalisation)
    found_by = f", from {accuracy.normalisation}" if accuracy and accuracy.normalisation else ""
    rows = [("Normalisation", value + found_by), ("Images", record.framing.text)]
    if accuracy and accuracy.crop_correct is not None:
        usual = FramingTrial(Framing(), accuracy.crop_correct).text
        own = FramingTrial(record.framing, accuracy.correct).text
        rows.append(("Correct", f"of {counted(accuracy.images, 'image')}: {own}; {usual}"))
    return rows


def _shortened(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:_DIGITS]}…"


def download_button(record: models.ModelRecord) -> None:
    """Draw a button that fetches the published weights of ``record``, unless they are here.

    There is none for a model that needs a package first. During the download, progress, rate, time
    left and a Cancel button follow.
    """
    weights = record.weights
    if not weights.url or lacks_package(record) or find_whole(weights) is not None:
        return
    work = Work(f"download of {record.name}", record.name)
    st.button(
        f"Download {size_text(record)}",
        icon=":material/download:",
        on_click=work.ask,
        **access.allowed(
            Action.DOWNLOAD_WEIGHTS,
            key=f"download_{record.name}",
            thing=record.name,
            help=f"Fetches the published ImageNet weights of {record.label}.",
        ),
    )
    if work.requested:
        with boundary():
            _fetch(record, work)


def _fetch(record: models.ModelRecord, work: Work) -> None:
    pace = Pace(MEGABYTES)
    with work.bar(f"Connecting for {record.label} …") as show:
        access.require(Action.DOWNLOAD_WEIGHTS, thing=record.name)

        def note(done: int, total: int) -> None:
            pace.note(done, total)
            show(done / total if total else 0.0, pace.text)

        download(record.name, note)
    st.rerun()


def _remove_button(record: models.ModelRecord) -> None:
    with st.popover(
        "Remove",
        icon=":material/delete:",
        disabled=bool(refused := access.refusal(Action.CHANGE_MODELS)),
        help=refused or None,
    ):
        st.markdown(
            f"Remove {plain(record.label)} from your models? Runs stay. An uploaded file is "
            "deleted; any other file stays."
        )
        if st.button("Remove it", key=f"remove_{record.name}"):
            with boundary():
                access.require(Action.CHANGE_MODELS, thing=record.name)
                add.remove(record.name)
                st.rerun()
