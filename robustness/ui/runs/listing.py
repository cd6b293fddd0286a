"""The Runs page: searchable list of runs and actions on a run."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import streamlit as st

from robustness import models, report, runs
from robustness.base.access import Action, Role, Who
from robustness.base.text import counted, plain
from robustness.evaluation.condition import perturbation_label
from robustness.report.questions import choice
from robustness.report.wording import listed
from robustness.runs import MAX_TITLE, Listed, headlines, keeping, notes
from robustness.runs.jobs import is_queued
from robustness.ui.browser.html import Html, html
from robustness.ui.computation import jobs
from robustness.ui.display.buttons import report_button
from robustness.ui.runs import comparison, deleted, done, table
from robustness.ui.session import access
from robustness.ui.session.boundary import fragment
from robustness.ui.session.run_link import (
    RUN,
    baseline_id,
    own_baseline,
    page_link,
    runs_folder,
    set_baseline,
    show_what_is_no_run,
)

AT_ONCE = 10

HEADLINE_SECONDS = 1.0
"""Time limit for computing missing headlines in one visit; the rest follow on the next."""

_SHOWN, _UPLOADS = "runs shown", "runs uploaded"


def show() -> None:
    """Draw the page."""
    folder = runs_folder()
    keeping.tidy(folder)
    entries = runs.listing(folder)
    known = {entry.folder.name: entry for entry in entries if entry.manifest is not None}
    words = _toolbar(folder, known)
    done.say()
    jobs.said()
    comparison.pointer(folder, known)
    found = [entry for entry in known.values() if _matches(entry, words)]
    total = counted(len(known), "run")
    heading = total if len(found) == len(known) else f"{len(found):,} of {total}"
    st.header(heading, anchor=False)
    if not known:
        st.info(
            "No runs yet: start one on the Dataset page or the command line, or import one.",
            icon=":material/inventory_2:",
        )
    limit = int(st.session_state.get(_SHOWN, AT_ONCE))
    until = time.monotonic() + HEADLINE_SECONDS
    overview = st.container()
    for entry in found[:limit]:
        _card(entry, known, until)
    if len(found) > 1:
        with overview:  # drawn last, when headlines are known
            table.show(found, baseline_id(folder))
    if len(found) > limit:
        st.button(
            f"Show {min(AT_ONCE, len(found) - limit)} more",
            icon=":material/expand_more:",
            on_click=st.session_state.update,
            args=({_SHOWN: limit + AT_ONCE},),
        )
    comparison.show(folder, known)
    deleted.show(folder)
    show_what_is_no_run(entries)


def _toolbar(folder: Path, known: Mapping[str, Listed]) -> list[str]:
    """Draw search and import; return the search words."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search",
            key="search",
            bind="query-params",
            placeholder="title, tag, model or perturbation",
            icon=":material/search:",
            disabled=not known,
        )
        with st.popover("Import", icon=":material/upload:", **access.allowed(Action.IMPORT)):
            _import(folder)
    return text.casefold().split()


def _matches(entry: Listed, words: Sequence[str]) -> bool:
    manifest = entry.manifest
    if manifest is None:
        return False
    names = manifest.spec.model_names
    perturbations = {condition.name for condition in manifest.spec.conditions}
    texts = (
        entry.title,
        entry.folder.name,
        manifest.dataset.title,
        manifest.created,
        entry.note,
        *entry.tags,
        *names,
        *map(models.label, names),
        *perturbations,
        *map(perturbation_label, perturbations),
    )
    text = "\n".join(texts).casefold()
    return all(word in text for word in words)


# --- one run --------------------------------------------------------------------------------------


def _card(entry: Listed, known: Mapping[str, Listed], until: float) -> None:
    name = entry.folder.name
    with st.container(border=True, key=f"run-{name}", gap="xxsmall"):
        if entry.manifest is not None and is_queued(entry.folder):
            fragment(_follow, run_every=jobs.SECONDS_BETWEEN)(entry.folder)
        else:
            st.html(_description(entry, *_results(entry, until)))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            incomparable = comparison.tick(name, known)
            page_link("pages/dataset.py", "Open", ":material/analytics:", {RUN: name})
            if entry.manifest is not None and entry.manifest.status != runs.FINISHED:
                jobs.buttons(entry.folder, is_queued(entry.folder), "card")
            if entry.manifest is not None and entry.manifest.images:
                report_button(
                    lambda: report.of_run(runs.load(entry.folder, unfinished=True)),
                    name,
                    key=f"report-{name}",
                )
            with st.popover("Manage", icon=":material/more_horiz:"):
                _manage(entry)
        if incomparable:
            st.caption(plain(incomparable))


def _follow(folder: Path) -> None:
    """Draw the state of a run in progress; redraw the page when it ends."""
    entry = runs.listed(folder)
    if entry.manifest is None or not is_queued(folder):
        st.rerun()
    st.html(_description(entry))


def _results(entry: Listed, until: float) -> tuple[str, str]:
    """The headline of a run, and how many images have labels; "" while unknown."""
    manifest = entry.manifest
    assert manifest is not None
    if manifest.race is not None:
        return next(iter(entry.race_results), ""), ""
    found = headlines.stored(entry.folder, manifest)
    if found is None and time.monotonic() < until:
        found = headlines.compute(entry.folder, manifest)
    if not found or not (entries := found["models"]):
        return "", ""
    by = entries[0]["ranked_by"]
    pairs = [[p for p in found["pairs"] if (p["quantity"] == by) is mine] for mine in (True, False)]
    labels = max(entry["n_labelled"] for entry in entries)
    images = max(entry["n_images"] for entry in entries)
    told = "no labels" if not labels else f"{labels:,} of {images:,} labelled"
    answer = choice.headline(entries, pairs[0], pairs[1], found["choice"])
    return answer, "all labelled" if labels == images else told


def _description(entry: Listed, headline: str = "", labels: str = "") -> Html:
    manifest = entry.manifest
    assert manifest is not None
    done = manifest.images + manifest.unreadable
    finished = manifest.status == runs.FINISHED
    images = manifest.images if finished else manifest.dataset.pictures
    badges = []
    if not finished:
        state = "under way" if is_queued(entry.folder) else "unfinished"
        badges.append(f"{state}: {done:,} of {manifest.dataset.pictures:,}")
    if manifest.race is not None:
        badges.append("race")
    if entry.imported:
        badges.append("imported")
    if entry.owner == access.me() and access.role() is not Role.OWNER:
        badges.append("yours")
    if baseline_id(entry.folder.parent) == entry.folder.name:
        badges.append("baseline")
    badges += entry.tags
    perturbations = list(dict.fromkeys(c.series for c in manifest.spec.conditions))
    facts = (
        f"{counted(images, 'image')} of {manifest.dataset.title}",
        *([labels] if labels else []),
        ", ".join(map(models.label, manifest.spec.model_names)),
        f"{counted(len(manifest.spec.conditions), 'condition')}: {listed(perturbations, 4)}",
        manifest.how,
        f"{manifest.created[:16].replace('T', ' ')} UTC",
        *([f"of {entry.owner}"] if "@" in entry.owner else []),
        *([entry.note] if entry.note else []),
    )
    values = {"title": entry.title, "badges": badges, "facts": facts, "name": entry.folder.name}
    return html("run", headline=headline, **values)


def _manage(entry: Listed) -> None:
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
        on_click=done.do,
        args=(_describe, entry),
        **access.allowed(Action.RENAME, entry.owner, key=f"rename {name}", thing=name),
    )
    _baseline_button(entry)
    finished = entry.manifest is not None and entry.manifest.status == runs.FINISHED
    st.download_button(
        "Download as zip",
        data=partial(_archive, entry.folder, access.who()),
        file_name=f"{name}.zip",
        mime="application/zip",
        icon=":material/download:",
        on_click="ignore",
        **access.allowed(
            Action.EXPORT,
            key=f"download {name}",
            thing=name,
            disabled=not finished,
            help="Rows and manifest, without images; can be imported here or elsewhere."
            if finished
            else "Only a finished run can be downloaded: continue this one first.",
        ),
    )
    st.divider()
    days = counted(keeping.bin_days(), "day")
    sure = st.checkbox(f"Confirm deletion; the bin keeps the run for {days}", key=f"sure {name}")
    if refused := access.refusal(Action.DELETE, entry.owner):
        st.caption(plain(refused))
    st.button(
        "Delete this run",
        icon=":material/delete:",
        on_click=done.do,
        args=(_delete, entry),
        **access.allowed(
            Action.DELETE, entry.owner, key=f"delete {name}", thing=name, disabled=not sure
        ),
    )


def _baseline_button(entry: Listed) -> None:
    """Pins the run as everyone's baseline or, for who may not, chooses it for this session."""
    name, refused = entry.folder.name, access.refusal(Action.PIN)
    current = (own_baseline() if refused else notes.baseline(entry.folder.parent)) == name
    raced = entry.manifest is not None and entry.manifest.race is not None and not current
    if refused:
        label = "Clear my baseline" if current else "Use as my baseline"
        about = f"Your comparisons start from this run, in this session. {refused}"
    else:
        label = "Unpin baseline" if current else "Pin as baseline"
        about = "Everyone's comparisons start from this run."
    st.button(
        label,
        key=f"pin {name}",
        icon=":material/keep:",
        on_click=done.do,
        args=(_choose_baseline if refused else _pin, entry, "" if current else name),
        disabled=raced,
        help="A race cannot be compared." if raced else about,
    )


def _choose_baseline(entry: Listed, name: str) -> str:
    set_baseline(name)
    return f"{entry.title} is {'your' if name else 'no longer your'} baseline in this session."


def _archive(folder: Path, by: Who) -> bytes:
    """The run as a zip, created on demand."""
    access.require(Action.EXPORT, thing=folder.name, by=by)
    stream = io.BytesIO()
    runs.write_archive(runs.load(folder), stream)
    return stream.getvalue()


def _describe(entry: Listed) -> str:
    name = entry.folder.name
    access.require(Action.RENAME, runs.owner_of(entry.folder), name)
    texts = {what: str(st.session_state[f"{what} {name}"]) for what in ("title", "tags", "note")}
    notes.update(entry.folder, **texts)
    return f"Saved {runs.title_of(entry.folder)}."


def _pin(entry: Listed, name: str) -> str:
    access.require(Action.PIN, thing=entry.folder.name)
    notes.set_baseline(entry.folder.parent, name)
    return f"{entry.title} is {'the' if name else 'no longer the'} baseline."


def _delete(entry: Listed) -> str:
    access.require(Action.DELETE, runs.owner_of(entry.folder), entry.folder.name)
    runs.to_bin(entry.folder, access.me())
    comparison.forget(entry.folder.name)
    return f"Moved {entry.title} ({entry.folder.name}) to the bin."


# --- from elsewhere -------------------------------------------------------------------------------


def _import(folder: Path) -> None:
    # Another key draws an empty uploader: what was imported is not offered again.
    key = f"uploaded run {st.session_state.get(_UPLOADS, 0)}"
    given = st.file_uploader(
        "Run as zip",
        type="zip",
        key=key,
        help="Downloaded here or written by *runs export*. For larger files use *runs import*.",
    )
    st.caption("Includes everything except the images.")
    st.button(
        "Import it",
        key="import run",
        type="primary",
        disabled=given is None,
        on_click=done.do,
        args=(_bring, folder, key),
    )


def _bring(folder: Path, key: str) -> str:
    st.session_state[_UPLOADS] = st.session_state.get(_UPLOADS, 0) + 1
    given = st.session_state[key]
    access.require(Action.IMPORT, thing=given.name)
    keeping.check_begin(folder)
    run = runs.import_run(io.BytesIO(given.getvalue()), folder, access.me())
    return f"Imported {run.title} ({run.folder.name})."
