"""What can be done with a run: rename, tag, pin, delete, restore.

The table of all runs, with running jobs: select one for its answer, two for a comparison.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models, runs
from robustness.base.roles import Action, Role
from robustness.base.text import counted, plain, visible
from robustness.measure.condition import perturbation_label
from robustness.report.run import RunFigures
from robustness.report.threshold import THRESHOLD, ThresholdInUse, certified
from robustness.runs import MAX_TITLE, Listed, TaskRequest, analysis, keeping, notes
from robustness.runs import jobs as run_jobs
from robustness.runs.analysis import Headline
from robustness.runs.comparison import differences_in_setup
from robustness.runs.jobs import Job, outside_job, read_queue
from robustness.runs.keeping import DAY
from robustness.statistics.choice import NAMES
from robustness.ui import jobs as ui_jobs
from robustness.ui import session
from robustness.ui.draw import deselect
from robustness.ui.frame import fragment
from robustness.ui.jobs import begin
from robustness.ui.session import (
    RUN,
    accept_from,
    accepted_from,
    baseline_id,
    do,
    note_error,
    set_number,
)
from robustness.ui.shared import RESULT_CACHE

COMPARE = "compare"
"""Parameter of the link: the compared runs, the baseline first."""

PROFILE = "profile"
"""Parameter of the link: the match whose profile is evaluated, by default on its reference."""

FORM = "new-run"
"""Key of the session: whether the form of a new evaluation is open."""

LISTS = "lists-runs"
"""Key of the session: whether the table stands above an open run."""

_KEY = "runs table"
_TITLE = "run title"
_CLICKED = "run clicked"
_GREW = "table of runs grew"
_WITH = "compare with"
_WITH_PIXELS = 200
_LETTER_PIXELS = 7
_LEAST_PIXELS = 100
_MOST_STATE_PIXELS = 290
_MOST_DIFFERS_PIXELS = 420
_MODEL_PIXELS = 140
_ROW = 35
_ROWS = 10
_ROWS_ABOVE_A_RESULT = 5  # pixels; rows in sight
_WAITING = "Computing …"


def chosen() -> list[str]:
    """The runs that the link names, the baseline of a comparison first."""
    compared = list(dict.fromkeys(st.query_params.get_all(COMPARE)))
    if len(compared) > 1:
        return compared
    return st.query_params.get_all(RUN)[-1:] or compared


LIMITS = {
    "max_loss": "Largest acceptable loss, points",
    "min_consistency": "Min consistency, %",
    "min_score": "Min perturbed score, %",
}
"""The limits of a release by their parameters in the link; they belong to one run."""


LIMITS_TAKEN = "run whose limits these are"

BASELINE = "baseline"
"""Link parameter: the id of the run that the limits compare with."""


def forget_limits() -> None:
    """Empty the limits of a release, on the page and in the link."""
    st.session_state.pop(LIMITS_TAKEN, None)
    st.query_params.pop(BASELINE, None)
    for key in LIMITS:
        if st.session_state.get(key) is not None or key in st.query_params:
            set_number(key, None)


def choose(names: Sequence[str], *, with_limits: bool = False) -> None:
    """Have the link name the runs ``names``: one to open, or several to compare.

    ``with_limits`` keeps those of the run before, or of the form.
    """
    deselect()
    if not with_limits:
        forget_limits()
    st.session_state[FORM] = False
    if len(names) > 1:
        change_link({COMPARE: list(names), RUN: [], PROFILE: []})
    else:
        change_link({COMPARE: [], RUN: list(names), PROFILE: []})


def change_link(values: Mapping[str, str | list[str]]) -> None:
    """Have the link say ``values``, in one entry of the browser's history; empty ones leave it."""
    st.query_params.update(values)
    for name in values:
        if not values[name]:
            st.query_params.pop(name, None)


def is_listed(opens_form: bool) -> bool:
    """Whether the table is drawn: always, unless a run is open and nobody wants it."""
    return opens_form or not chosen() or bool(st.session_state.get(LISTS))


def list_button(runs: int) -> None:
    """Draw the button that shows or hides the table above an open run."""
    shows = bool(st.session_state.get(LISTS))
    st.button(
        "Hide the list" if shows else f"All {counted(runs, 'run')}",
        key="list runs",
        icon=":material/expand_less:" if shows else ":material/list:",
        on_click=st.session_state.update,
        args=({LISTS: not shows},),
    )


def title(entry: Listed, *, is_active: bool) -> str:
    """The title of a run and its size, as Markdown.

    Of a run at work, whose progress is told below, only the number of images it will have.
    """
    if (manifest := entry.manifest) is None:
        return f"**{plain(entry.title)}**"
    spec = manifest.spec
    images = counted(manifest.dataset.pictures if is_active else manifest.images, "image")
    if not entry.finished and not is_active:
        images = f"{manifest.images:,} of {counted(manifest.dataset.pictures, 'image')}"
    size = (
        images,
        counted(len(spec.pooled_conditions), "condition"),
        counted(len(spec.models), "model"),
    )
    text = f"**{plain(entry.title)}** {', '.join(size)}"
    if spec.variants:
        text += f", {counted(len(spec.variants), 'variant')}"
    return text


def matching(listed: Mapping[str, Listed], text: str) -> dict[str, Listed]:
    """The runs with all words of ``text`` in what describes them."""
    words = text.casefold().split()
    matches = {}
    for name, entry in listed.items():
        description = _description(entry).casefold()
        if all(word in description for word in words):
            matches[name] = entry
    return matches


def _description(entry: Listed) -> str:
    """What a search for the run looks through: its texts, models and perturbations."""
    texts = [entry.title, entry.folder.name, entry.created, entry.note, *entry.tags]
    for model in _models(entry):
        texts += [model, models.label(model)]
    if entry.manifest is None:
        texts.append(entry.kind)
    else:
        spec = entry.manifest.spec
        texts.append(entry.manifest.dataset.title)
        for perturbation in {*(condition.name for condition in spec.conditions), *spec.profiles}:
            texts += [perturbation, perturbation_label(perturbation)]
    return "\n".join(texts)


def show(folder: Path, listed: Mapping[str, Listed]) -> None:
    """Draw the runs ``listed`` of ``folder``; the table follows its jobs by itself."""
    has_jobs = bool(_working(folder, listed))
    lacks_figures = any(_headline(entry) is None for entry in listed.values())
    grows = has_jobs or lacks_figures
    seconds = ui_jobs.SECONDS_BETWEEN if grows else None
    fragment(_table, run_every=seconds)(folder, list(listed), grows)


def _working(folder: Path, listed: Mapping[str, Listed]) -> dict[str, Job]:
    """The jobs of ``folder`` by run, and what other processes do on those ``listed``."""
    jobs = {job.run: job for job in read_queue(folder)}
    for entry in listed.values():
        if not entry.reason and not entry.finished:
            job = outside_job(entry.folder)
            if job:
                jobs[job.run] = job
    return jobs


def _table(folder: Path, names: Sequence[str], grows: bool) -> None:
    """Draw the table of the runs ``names``, with what has changed since the page was drawn."""
    listed = {}
    for name in names:
        entry = runs.listed(folder / name)
        if not entry.reason:
            listed[name] = entry
    jobs = _working(folder, listed)
    without_figures = [entry for entry in listed.values() if _headline(entry) is None]
    if st.session_state.pop(_CLICKED, False) or grows != bool(jobs or without_figures):
        st.rerun()  # the selection or the end of the last job changes the page
    if without_figures:
        begin("headlines", lambda: _compute_headlines(without_figures))
    selected = chosen()
    pinned = baseline_id(folder)
    compared_with = _compared_with(listed, pinned)
    shares = _share_titles(listed.values())
    rows = [
        _row(entry, compared_with.get(name), jobs.get(name), pinned, shares)
        for name, entry in listed.items()
    ]
    if not rows:  # somebody deleted the last one just now
        return
    columns = [column for column in rows[0] if any(row[column] not in (None, "") for row in rows)]
    # A growing table that was drawn during a click shows the ticks from before: draw them anew.
    was_growing = st.session_state.get(_GREW, False)
    st.session_state[_GREW] = grows
    ticked = [number for number, name in enumerate(listed) if name in selected]
    _tick(ticked, anew=grows or was_growing)
    percentages = st.column_config.NumberColumn(format="%.1f%%")
    rows_in_sight = min(len(rows), _ROWS_ABOVE_A_RESULT if selected else _ROWS)
    st.dataframe(
        pd.DataFrame(rows)[columns],
        hide_index=True,
        height=_ROW * (rows_in_sight + 1) + 3,
        key=_KEY,
        on_select=lambda: _select(selected, listed),
        selection_mode="multi-row",
        placeholder="",
        alt="Evaluations, the newest first",
        column_config=dict.fromkeys(shares, percentages)
        | {
            "Evaluation": st.column_config.ButtonColumn(
                type="tertiary",
                alignment="left",
                on_click=_open,
                args=(list(listed),),
                key=_TITLE,
                width="medium",
            ),
            "State": st.column_config.TextColumn(width=_pixels(rows, "State", _MOST_STATE_PIXELS)),
            "Differs": st.column_config.TextColumn(
                help="From the baseline." if pinned in listed else "From the run before.",
                width=_pixels(rows, "Differs", _MOST_DIFFERS_PIXELS),
            ),
            "First model": st.column_config.TextColumn(width=_MODEL_PIXELS),
            "Made": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        },
    )


def _pixels(rows: Sequence[Mapping[str, Any]], column: str, most: int) -> int:
    """The width of a column whose texts should not be cut, and leave room for others."""
    letters = max(len(row[column]) for row in rows)
    return min(max(_LEAST_PIXELS, _LETTER_PIXELS * letters + 20), most)


def _compared_with(listed: Mapping[str, Listed], pinned: str) -> dict[str, Listed]:
    """The run that the column Differs compares each run with: the baseline, or the one before."""
    comparable_runs = [name for name, entry in listed.items() if entry.manifest is not None]
    if pinned in comparable_runs:
        return dict.fromkeys(comparable_runs, listed[pinned])
    return {newer: listed[older] for newer, older in pairwise(comparable_runs)}


def _tick(rows: Sequence[int], *, anew: bool) -> None:
    """Have the table tick ``rows``.

    Unless ``anew``, a table that does so already is left alone, so that arrow keys go on from
    where they are.
    """
    table = st.session_state.get(_KEY)
    ticked = sorted(table["selection"]["rows"]) if table else []
    if anew or ticked != list(rows):
        st.session_state[_KEY] = {"selection": {"rows": rows, "columns": [], "cells": []}}


def _select(before: Sequence[str], listed: Mapping[str, Listed]) -> None:
    """Take the ticked rows into the link."""
    names = list(listed)
    ticked = [names[row] for row in st.session_state[_KEY]["selection"]["rows"]]
    if len(ticked) > 1:  # a match or a training compares with nothing
        ticked = [name for name in ticked if listed[name].manifest is not None]
    choose(in_order(ticked, before, listed))
    st.session_state[LISTS] = True  # for the next tick
    st.session_state[_CLICKED] = True


def _open(names: Sequence[str]) -> None:
    """Open the run whose title was clicked."""
    choose([names[st.session_state[_TITLE]["row"]]])
    st.session_state[LISTS] = False
    st.session_state[_CLICKED] = True


def in_order(
    names: Sequence[str], before: Sequence[str], listed: Mapping[str, Listed]
) -> list[str]:
    """``names`` with the baseline first: the one compared ``before``, the pinned one, the oldest.

    The rest follow by age.
    """
    if not names:
        return []
    by_age = sorted(names, key=lambda name: listed[name].created)
    pinned = baseline_id(listed[names[0]].folder.parent)
    if len(before) > 1 and before[0] in names:
        baseline = before[0]
    elif pinned in names:
        baseline = pinned
    else:
        baseline = by_age[0]
    return [baseline, *(name for name in by_age if name != baseline)]


def comparable(folder: Path) -> dict[str, str]:
    """The titles of the finished runs of ``folder`` by id."""
    pinned = baseline_id(folder)
    titles = {}
    for entry in runs.listing(folder):
        if entry.manifest and entry.manifest.status == runs.FINISHED:
            name = entry.folder.name
            baseline = " (baseline)" if name == pinned else ""
            titles[name] = f"{entry.title}, {name}{baseline}"
    return titles


def comparison_input(folder: Path, names: Sequence[str]) -> None:
    """Draw a list of runs to compare with ``names``: on a phone, ticks are far away."""
    titles = {name: title for name, title in comparable(folder).items() if name not in names}
    if titles:
        st.selectbox(
            "Compare with",
            list(titles),
            index=None,
            format_func=titles.__getitem__,
            key=_WITH,
            placeholder="Compare with …",
            label_visibility="collapsed",
            width=_WITH_PIXELS,
            on_change=_compare,
            args=(folder, names),
        )


def _compare(folder: Path, names: Sequence[str]) -> None:
    listed = {entry.folder.name: entry for entry in runs.listing(folder)}
    compared = [name for name in (*names, st.session_state[_WITH]) if name in listed]
    st.session_state[_WITH] = None
    choose(in_order(compared, names, listed))


def _share_titles(listed: Iterable[Listed]) -> list[str]:
    """The titles of the columns of the first model's shares, with those of the runs' scores."""
    titles = [name.capitalize() for name in NAMES.values()]
    for entry in listed:
        title = _share_title("perturbed_accuracy", _score(entry))
        if title not in titles:
            titles.append(title)
    return titles


def _share_title(quantity: str, score: str) -> str:
    """The title of ``quantity``; ``score`` is the name of the score of a run of scores, or ""."""
    title = NAMES[quantity].capitalize()
    return title.replace("accuracy", score) if score else title


def _row(
    entry: Listed, other: Listed | None, job: Job | None, pinned: str, shares: Sequence[str]
) -> dict[str, Any]:
    """The cells of a run by column; it differs from ``other``. ``shares`` are ``_share_titles``."""
    manifest = entry.manifest
    _, image_count = _images(entry)
    differences = ""
    if manifest and other and other.manifest:
        differences = differences_in_setup(other.manifest, manifest)
    conditions = None
    if manifest:
        conditions = len(manifest.spec.pooled_conditions)
        if entry.finished:
            image_count = manifest.images
    return {
        "Evaluation": entry.title,
        "Made": pd.to_datetime(entry.created, errors="coerce", utc=True),
        "State": _state(entry, job, pinned),
        **_headline_cells(_headline(entry), _score(entry), shares),
        "Differs": differences,
        "Images": image_count if manifest else image_count or None,
        "Models": len(_models(entry)),
        "Conditions": conditions,
        "Tags": ", ".join(entry.tags),
        "Note": entry.note,
        "Set-up": entry.record.how if entry.record else "",
        "Owner": entry.owner if "@" in entry.owner else "",
        "Id": entry.folder.name,
    }


def _score(entry: Listed) -> str:
    """The name of the score of a run of scores, "" for others."""
    if entry.manifest is None or entry.manifest.score is None:
        return ""
    return entry.manifest.score.name


def _headline_cells(headline: Headline | None, score: str, shares: Sequence[str]) -> dict[str, Any]:
    """The first model and its ``shares`` in percent, or why there is none.

    ``score`` is the name of what a run of scores has in place of the accuracy.
    """
    cells: dict[str, Any] = {"First model": _WAITING, **dict.fromkeys(shares)}
    best = None
    if headline:
        cells["First model"] = headline.problem
        best = next(iter(headline.models), None)
    if best:
        cells["First model"] = models.label(best["model"])
        for key in NAMES:
            if best[key] is not None:
                cells[_share_title(key, score)] = 100 * best[key]
    return cells


def _state(entry: Listed, job: Job | None, pinned: str) -> str:
    states: list[str] = []
    if entry.kind != "run":
        states.append(entry.kind)
    if not entry.finished:
        states.append(_unfinished(entry, job))
    if entry.folder.name == pinned:
        states.append("baseline")
    if entry.owner == session.me() and session.role() is not Role.OWNER:
        states.append("yours")
    return ", ".join(states)


def _unfinished(entry: Listed, job: Job | None) -> str:
    """What is being done to an unfinished task, or how far it came."""
    if job and job.by:
        return job.text
    if job:
        return f"in another process: {job.text}"
    if entry.kind != "run":
        return "unfinished"
    done, image_count = _images(entry)
    return f"unfinished: {done:,} of {counted(image_count, 'image')}"


def _images(entry: Listed) -> tuple[int, int]:
    """How many images are done, and how many there are."""
    record = entry.record
    if record is None:
        return 0, 0
    if isinstance(record, TaskRequest):
        return 0, record.images
    return record.images + record.unreadable, record.dataset.pictures


def _models(entry: Listed) -> tuple[str, ...]:
    return entry.record.model_names if entry.record else ()


def _headline(entry: Listed) -> Headline | None:
    """The scores of the run's models, the best first; None until somebody had them computed.

    There are none in an unfinished run, one that cannot be read, and another task.
    """
    manifest = entry.manifest
    if manifest is None or manifest.status != runs.FINISHED:
        return Headline()
    stored = analysis.read_headline(entry.folder, manifest)
    if stored:
        return stored
    computed = RESULT_CACHE.get(_headline_key(entry))
    return computed[0] if computed else None


def _headline_key(entry: Listed) -> str:
    return f"headline {entry.folder} {entry.manifest!r}"


def _compute_headlines(entries: Sequence[Listed]) -> None:
    for entry in entries:
        _compute_headline(entry)


def _compute_headline(entry: Listed) -> None:
    """Compute the figures of a finished run for ``_headline``."""
    assert entry.manifest is not None
    try:
        headline = analysis.compute_headline(entry.folder, entry.manifest)
    except Exception as error:  # a defect of ours, or of a plugin: the other runs have figures
        note_error(error)
        logging.getLogger(__name__).exception("The figures of %s", entry.folder)
        headline = Headline(problem=f"Failed: {type(error).__name__}, see the log")
    RESULT_CACHE.put(_headline_key(entry), [headline])


def manage(entry: Listed) -> None:
    """Draw the fields and buttons for the run of ``entry``."""
    name = entry.folder.name
    st.text_input("Title", value=entry.title, key=f"title {name}", max_chars=MAX_TITLE)
    st.text_input(
        "Tags",
        value=", ".join(entry.tags),
        key=f"tags {name}",
        max_chars=notes.MAX_TAGS,
        help="Separated by commas.",
    )
    st.text_area("Note", value=entry.note, key=f"note {name}", max_chars=notes.MAX_NOTE)
    st.button(
        "Save",
        on_click=do,
        args=(_describe, entry),
        **session.allowed(Action.RENAME, entry.owner, key=f"rename {name}", thing=name),
    )
    what = entry.kind
    if entry.manifest is not None:
        is_pinned = notes.baseline(entry.folder.parent) == name
        st.button(
            "Unpin baseline" if is_pinned else "Pin as baseline",
            icon=":material/keep:",
            on_click=do,
            args=(_pin, entry, "" if is_pinned else name),
            **session.allowed(
                Action.PIN,
                key=f"pin {name}",
                thing=name,
                help="Everyone's comparisons start from this run.",
            ),
        )
    st.divider()
    days = counted(keeping.bin_days(), "day")
    sure = st.checkbox(f"Confirm deletion; the bin keeps the {what} for {days}", key=f"sure {name}")
    if refused := session.refusal(Action.DELETE, entry.owner):
        st.caption(plain(refused))
    st.button(
        f"Delete this {what}",
        icon=":material/delete:",
        on_click=do,
        args=(_delete, entry),
        **session.allowed(
            Action.DELETE, entry.owner, key=f"delete {name}", thing=name, disabled=not sure
        ),
    )


def _describe(entry: Listed) -> str:
    name = entry.folder.name
    session.require(Action.RENAME, runs.owner_of(entry.folder), name)
    texts = {what: str(st.session_state[f"{what} {name}"]) for what in ("title", "tags", "note")}
    notes.update(entry.folder, **texts)
    return f"Saved {runs.title_of(entry.folder)}."


def _pin(entry: Listed, name: str) -> str:
    session.require(Action.PIN, thing=entry.folder.name)
    notes.set_baseline(entry.folder.parent, name)
    return f"{entry.title} is {'the' if name else 'no longer the'} baseline."


def acceptance_button(of: RunFigures) -> None:
    """Draw the button that uses the safe thresholds of the run on One image, or ends their use.

    Nothing is drawn without such a threshold.
    """
    thresholds = {
        name: threshold
        for name, threshold in certified(of.run, of.answer(THRESHOLD)).items()
        if threshold is not None
    }
    if not thresholds:
        return
    in_use = accepted_from() == thresholds
    st.button(
        "Stop using" if in_use else "Use on One image",
        key="accept from",
        icon=":material/verified_user:",
        on_click=do,
        args=(_accept_from, {} if in_use else thresholds),
        help="Live then says which predictions would be rejected, in this browser tab.",
    )


def _accept_from(thresholds: Mapping[str, ThresholdInUse]) -> str:
    accept_from(thresholds)
    return f"One image {'uses' if thresholds else 'no longer uses'} these thresholds."


def _delete(entry: Listed) -> str:
    session.require(Action.DELETE, runs.owner_of(entry.folder), entry.folder.name)
    if run_jobs.is_queued(entry.folder):
        ui_jobs.require_cancel(entry.folder)
    runs.to_bin(entry.folder, session.me())
    choose([])
    return f"Moved {entry.title} ({entry.folder.name}) to the bin."


def show_bin(folder: Path) -> None:
    """Draw the runs in the bin of ``folder``, each with a button; nothing if it is empty."""
    entries = [
        entry
        for entry in runs.deleted(folder)
        if not session.refusal(Action.RESTORE, entry.entry.owner)
    ]
    if not entries:
        return
    with st.expander(f"Bin: {counted(len(entries), 'run')}", icon=":material/delete:"):
        for entry in entries:
            with st.container(horizontal=True, vertical_alignment="center"):
                name = entry.entry.folder.name
                said = f"{visible(entry.entry.title or name)} ({name})"
                if entry.when is None:
                    said += ", date of deletion unknown; stays here"
                else:
                    left = max(
                        0.0,
                        keeping.bin_days() - (time.time() - entry.when) / DAY,
                    )
                    left_text = counted(round(left), "day") if left >= 1 else "less than a day"
                    by = f" by {visible(entry.by)}" if "@" in entry.by else ""
                    said += f", deleted{by}; gone in {left_text}"
                st.caption(plain(said), width="stretch")
                st.button(
                    "Bring back",
                    key=f"restore {name}",
                    icon=":material/restore_from_trash:",
                    on_click=do,
                    args=(_restore, folder, name),
                )


def _restore(folder: Path, name: str) -> str:
    session.require(Action.RESTORE, runs.owner_of(runs.binned(folder, name)), name)
    return f"Restored {runs.restore(folder, name).name}."
