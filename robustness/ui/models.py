"""The views of the Models page: all models with their checks, weights, and published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.roles import Action
from robustness.base.text import are, counted, format_figure, plain
from robustness.base.turns import MEGABYTES, Pace
from robustness.measure.condition import perturbation_label
from robustness.models import own
from robustness.models.check import (
    OK,
    ModelCheck,
    check_model,
    engine_text,
    last_check,
    limitations,
)
from robustness.models.formats import ZERO_SHOT
from robustness.models.metadata import value_of
from robustness.models.own import as_toml
from robustness.models.weights import (
    NOT_DOWNLOADED,
    download,
    find_whole,
    lacks_package,
    parameters_text,
    size_text,
    state_text,
)
from robustness.ui import add, draw, session
from robustness.ui.html import html
from robustness.ui.jobs import Work
from robustness.ui.patches import ColumnConfig
from robustness.ui.session import boundary, one_of

GROUPS: Mapping[str, tuple[str, str]] = {
    models.OWN: ("Your own", "Described in your models file."),
    models.OFFLINE: ("Ready offline", "Their weights come with the installation."),
    models.STUDY: ("The study", "The four networks of the original study."),
    models.MODERN: ("Modern", "Newer networks, convolutional and transformers."),
}


def show() -> None:
    """Draw what is ready, the form for another model, and the chosen view."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    subject = are(len(ready), len(states), "model")
    st.html(draw.headline(f"{subject[0].upper()}{subject[1:]} ready on this machine."))
    add.show()
    view = one_of("View", _VIEWS, "view", shows_label=False)
    if view == "models":
        _show_models(states, ready)
    elif view == "weights":
        _cards(states)
    else:
        _show_published_figures()


def _show_models(states: Mapping[str, models.WeightsState], ready: Sequence[str]) -> None:
    """Draw the table of all models, the button that checks them, and what the checks noted."""
    table_container = st.container()
    _check(ready)  # before the table is filled, which shows the new results
    checks = {name: last_check(models.REGISTRY[name]) for name in ready}
    records = sorted(_records(), key=lambda record: not states[record.name].ready)
    rows = [_row(record, states[record.name], checks.get(record.name)) for record in records]
    with table_container:
        _table(_without_empty_columns(rows))
        unchecked = [name for name in ready if checks[name] is None]
        if unchecked:
            st.caption(f"{counted(len(unchecked), 'ready model')} not checked yet.")
    for name, check in checks.items():
        if check is None:
            continue
        for note in (check.problem, *check.notes):
            if note:
                st.warning(plain(f"{models.label(name)}: {note}"), icon=":material/warning:")


def _without_empty_columns(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return [{name: row[name] for name in columns} for row in rows]


def _show_published_figures() -> None:
    rows = []
    for record in _records():
        published = record.published
        row = {
            "Model": record.label,
            "Family": record.family,
            "Year": record.year,
            "Top-1": published.top1,
            "Top-5": published.top5,
            "mCE": published.mce,
        }
        rows.append(row)
    _table(rows)
    st.caption(
        "The sources are listed under Weights; accuracy by fit is under Methods in Reference."
    )


_VIEWS = {
    "models": "All models",
    "weights": "Weights",
    "published": "Published figures",
}


def _records() -> list[models.ModelRecord]:
    order = list(GROUPS)
    return sorted(models.REGISTRY, key=lambda record: order.index(record.group))


def _table(rows: Sequence[Mapping[str, object]]) -> None:
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height="content",
        placeholder="",
        column_config={
            "Model": st.column_config.TextColumn(width=150),  # Streamlit fades a pinned one
            "Check": st.column_config.TextColumn(width=105),
            "Year": st.column_config.NumberColumn(format="%d"),
            "Top-1": _percent("Published ImageNet validation accuracy."),
            "Top-5": _percent("Published ImageNet validation accuracy."),
            "mCE": _percent(
                "Published mean corruption error on ImageNet-C, relative to AlexNet; lower is "
                "better. From the published image files, with other weights of the same "
                "architecture."
            ),
            "Latency": st.column_config.NumberColumn(
                format="%.0f ms",
                help="Median time for one image on this machine, at the last check.",
            ),
        },
    )


def _percent(text: str) -> ColumnConfig:
    return st.column_config.NumberColumn(format="%.1f", help=text + " In percent.")


def _row(
    record: models.ModelRecord, state: models.WeightsState, check: ModelCheck | None
) -> dict[str, object]:
    check_text = None
    images_text = None
    milliseconds = None
    if check is not None:
        mark = "✓" if check.state == OK else "✗"
        check_text = f"{mark} {check.state}"
        images_text = check.images_text
        milliseconds = check.milliseconds
    return {
        "Model": record.label,
        "State": state_text(record, state),
        "Check": check_text,
        "Known images": images_text,
        "Latency": milliseconds,
        "Group": GROUPS[record.group][0],
        "Parameters": parameters_text(record),
        "Input": record.input_text,
    }


def _check(ready: Sequence[str]) -> None:
    """Draw the button, and check the models once it was pressed."""
    work = Work("Checking", " ".join(ready))
    st.button(
        f"Check {counted(len(ready), 'ready model')}",
        key="check_models",
        icon=":material/fact_check:",
        disabled=not ready,
        on_click=work.ask,
        help="Reads the weights, converts the graph, predicts images with known results, and "
        "measures latency. If the probability is known, it must match, too: a wrong channel order "
        "may change it alone. Your own ImageNet models are also tried with the usual "
        "normalisations.",
    )
    if work.requested:
        for _ in work.with_progress(map(check_model, ready), len(ready)):
            pass  # each is kept as the last check of its model
    work.is_cancelled()


# --- weights --------------------------------------------------------------------------------------


_DIGITS = 12


def _cards(states: Mapping[str, models.WeightsState]) -> None:
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
        for record, column in zip(records, draw.cells(4), strict=False):
            with column.container(
                border=True, key=f"weights_{record.name}", gap="xsmall", height="stretch"
            ):
                _card(record, states[record.name])


def _card(record: models.ModelRecord, state: models.WeightsState) -> None:
    text = state_text(record, state)
    facts = [size_text(record), record.input_text, engine_text(record)]
    parameter_count = parameters_text(record)
    if parameter_count:
        facts.insert(0, f"{parameter_count} parameters")
    good = None if text == NOT_DOWNLOADED else state.ready
    known_facts = " · ".join(fact for fact in facts if fact)
    st.html(html("weights", label=record.label, good=good, state=text, facts=known_facts))
    # Where a download is all that is missing, its button says enough.
    if not state.ready and (state.path or not record.weights.url or lacks_package(record)):
        st.caption(plain(state.reason))
    for limit in limitations(record):
        st.caption(plain(limit))
    if record.accuracy:
        st.caption(plain(f"When added: {record.accuracy.text}."))
    with st.container(horizontal=True, gap="small"):
        with st.popover("Source", icon=":material/info:"):
            st.html(draw.html_table(("Weights", record.label), _origin(record, state)))
        if not state.ready:
            download_button(record)
        if record.group == models.OWN:
            _remove_button(record)


def _origin(record: models.ModelRecord, state: models.WeightsState) -> list[tuple[str, str]]:
    """The rows of a card's popover: where the weights and the published figures come from."""
    weights = record.weights
    rows = [("Source", weights.source)]
    if record.base:
        rows.append(("Calibrated", f"{record.base.label}, temperature {record.temperature:g}"))
    if weights.own:
        digest = _shortened(models.digest(record)) if state.path else "none"
        rows.append(("Digest", digest))
        rows += _preparation(record)
    else:
        rows.append(("Published hash", weights.digest or "none"))
    if state.path is not None:
        rows.append(("Found at", str(state.path)))
    else:
        rows.append(("Searched at", "\n".join(map(str, weights.paths()))))
    origin = record.origin
    if origin is not None:
        images = counted(origin.image_count, "image")
        epochs = counted(origin.epochs, "epoch")
        share = format_figure(origin.share, "g")
        trained_on = ", ".join(perturbation_label(name) for name in origin.trained_on)
        training = (
            f"{images}, {epochs}, rate {origin.rate:g}, seed {origin.seed}, interpolated by {share}"
        )
        rows.append(("Parent", f"{models.label(origin.parent)}, {_shortened(origin.digest)}"))
        rows.append(("Trained on", trained_on))
        rows.append(("Training", training))
        rows.append(("Recommended", "yes" if origin.recommended else "no"))
    published = record.published
    if published.source:
        rows.append(("Source of accuracy", published.source))
    if published.robustness_source:
        rows.append(("Source of mCE", published.robustness_source))
    return rows


def _preparation(record: models.ModelRecord) -> list[tuple[str, str]]:
    """How images are prepared for a model of the user's, and what that was found by."""
    normalisation = value_of(record.normalisation)
    text = normalisation if isinstance(normalisation, str) else as_toml(normalisation)
    accuracy = record.accuracy
    if accuracy and accuracy.normalisation:
        text += f", from {accuracy.normalisation}"
    rows = [("Normalisation", text), ("Images", record.framing.text)]
    file = record.weights.own
    if file and record.weights.format in ZERO_SHOT:
        rows.append(("Templates", "\n".join(file.templates)))
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
        **session.allowed(
            Action.DOWNLOAD_WEIGHTS,
            key=f"download_{record.name}",
            thing=record.name,
            help=f"Fetches the published ImageNet weights of {record.label}.",
        ),
    )
    if not work.requested:
        return
    pace = Pace(MEGABYTES)
    with boundary():
        with work.bar(f"Connecting for {record.label} …") as show:
            session.require(Action.DOWNLOAD_WEIGHTS, thing=record.name)

            def note(done: int, total: int) -> None:
                pace.note(done, total)
                show(done / total if total else 0.0, pace.text)

            download(record.name, note)
        st.rerun()


def _remove_button(record: models.ModelRecord) -> None:
    refusal = session.refusal(Action.CHANGE_MODELS)
    with st.popover(
        "Remove",
        icon=":material/delete:",
        disabled=bool(refusal),
        help=refusal or None,
    ):
        st.markdown(
            f"Remove {plain(record.label)} from your models? Runs stay. An uploaded file is "
            "deleted; any other file stays."
        )
        if st.button("Remove it", key=f"remove_{record.name}"):
            with boundary():
                session.require(Action.CHANGE_MODELS, thing=record.name)
                own.remove(record.name)
                st.rerun()
