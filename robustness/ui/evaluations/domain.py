"""The form of a domain, and the record of its run.

The form says where a domain starts from, its ranges, its limit, and what it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from robustness import runs
from robustness.base.errors import ParameterError
from robustness.base.roles import Action
from robustness.base.text import counted, in_sentence, plain
from robustness.datasets import Dataset
from robustness.matching import Match
from robustness.matching.domain import (
    FLOOR,
    PRESETS,
    range_around,
    ranges_of_images,
    usual_limit,
)
from robustness.measure.domain import (
    FEWEST_RANGES,
    MOST_TEXT,
    Domain,
    Range,
    domain_of,
    range_of,
    read_domain,
)
from robustness.perturbations import REGISTRY
from robustness.report.blocks import Report, RunFigures
from robustness.report.record import of_record
from robustness.ui import draw, session
from robustness.ui.session import listed, one_of
from robustness.ui.shared import cached

_IMAGES = "images"
_CAMERA = "camera"
_FILE = "file"

_UPLOADED = "file of a domain"
"""Key of the session: name and bytes of the file of a domain, which the uploader loses."""

_LIMITS = {"min_accuracy": "Accuracy", "min_consistency": "Consistency"}

_STEP = 0.01
_HIGHEST = 0.3
"""Where the range of a perturbation ends that the proposal does not have."""

_SET_HERE = "set in the form"
"""The source of a range that was moved."""


def domain_input(images: Dataset | None, matched: Match | None) -> Domain | None:
    """Draw the controls of a domain; None while something is missing, which is said.

    It starts from a preset, from the ``images``, or from the camera that was ``matched``.
    Raises ``ParameterError`` for a file that is no domain.
    """
    starts = {name: preset.title.capitalize() for name, preset in PRESETS.items()}
    starts[_IMAGES] = "My images"
    first = next(iter(starts))
    if matched is not None and matched.perturbations:
        starts = {_CAMERA: "My camera", **starts}
        first = _CAMERA
    starts[_FILE] = "A file"
    start = listed("Domain", starts, "domain_start", first=first)
    if start == _FILE:
        domain = uploaded_domain()
        if domain is not None:
            _show_declared(domain)
    else:
        ranges = _proposed(start, images, matched)
        title = starts[start].lower()
        if start == _IMAGES and images is not None:
            title = images.title[:MOST_TEXT]
        domain = None
        if ranges is not None:
            domain = _edited(start, title, ranges, limit=usual_limit(images))
    if domain is not None:
        _show_size(domain)
    return domain


def uploaded_domain() -> Domain | None:
    """Draw the upload of a domain's file; None while there is none.

    Raises ``ParameterError`` for a file that is no domain.
    """
    refused = session.refusal(Action.UPLOAD)
    file = st.file_uploader(
        "Domain, TOML",
        type="toml",
        key="domain_file",
        disabled=bool(refused),
        help=refused
        or "As *robustness domain init* writes it, or *Save the domain* under *Test a domain* on "
        "the page Evaluations. Not in the link.",
    )
    if file is not None and not refused:
        st.session_state[_UPLOADED] = file.name, file.getvalue()
    if _UPLOADED not in st.session_state:
        st.caption("No file yet.")
        return None
    name, data = st.session_state[_UPLOADED]
    return read_domain(Path(name), data)


def _show_declared(domain: Domain) -> None:
    """Say what the file of a domain declares."""
    st.markdown(f"**{plain(domain.name)}**: {plain(domain.limit_text)}")
    for each in domain.ranges:
        parts = [each.text, each.requirement, each.source]
        st.caption(plain("; ".join(part for part in parts if part)))


@cached(8, "Looking how far the images range …")
def _ranges_of(digest: str, _images: Dataset) -> Mapping[str, Any]:
    """The ranges that the images show whose names have this ``digest``."""
    return ranges_of_images(_images)


def _proposed(start: str, images: Dataset | None, matched: Match | None) -> dict[str, Range] | None:
    """The ranges that the form starts from; None while there are no images to start from."""
    if start == _CAMERA:
        assert matched is not None
        origin = f"the match of {counted(matched.images, 'image')}"
        tables = {
            part.perturbation: range_around(part.strength, origin) for part in matched.perturbations
        }
    elif start == _IMAGES:
        if images is None:
            st.caption("Choose images first.")
            return None
        try:
            tables = dict(_ranges_of(images.digest, images))
        except ParameterError as error:
            st.info(plain(str(error)), icon=":material/image_search:")
            return None
    else:
        tables = dict(PRESETS[start].ranges)
    return {name: range_of(name, table) for name, table in tables.items()}


def _edited(start: str, title: str, proposed: Mapping[str, Range], *, limit: str) -> Domain | None:
    """Draw the controls of what ``start`` proposes; None with fewer ranges than a domain has.

    The domain is called ``title`` unless it is given another name, and has the kind of ``limit``
    unless the other one is chosen.
    """
    preset = PRESETS.get(start)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", title, key=f"domain name {start}", max_chars=MOST_TEXT)
        limit = one_of("Must hold", _LIMITS, "domain_limit", first=limit)
        percentage = st.number_input(
            "At least, %",
            min_value=0.0,
            max_value=100.0,
            value=100 * FLOOR,
            step=1.0,
            format="%g",
            key="domain floor",
            help="Under every combination. Accuracy needs labels, consistency none.",
        )
    labels = {record.name: record.label for record in REGISTRY}
    names: Sequence[str] = st.multiselect(
        "Perturbations",
        list(labels),
        list(proposed),
        format_func=labels.__getitem__,
        key=f"domain perturbations {start}",
        placeholder="Choose two or more",
    )
    ranges: dict[str, dict[str, Any]] = {}
    for index, perturbation in enumerate(names):
        # Row by row, so that a phone keeps their order.
        if index % 2 == 0:
            columns = st.columns(2, gap="medium")
        with columns[index % 2]:
            ranges[perturbation] = _range_input(start, perturbation, proposed)
    with st.expander("Owner, requirements, what is left out", icon=":material/assignment:"):
        declared = _declaration_input(names, preset.outside if preset is not None else ())
    if len(names) < FEWEST_RANGES:
        st.info(f"Choose {FEWEST_RANGES} perturbations or more.", icon=":material/tune:")
        return None
    for perturbation, requirement in declared.pop("requirements").items():
        ranges[perturbation]["requirement"] = requirement
    return domain_of(
        {"name": name.strip() or title, limit: percentage / 100, "ranges": ranges, **declared}
    )


def _range_input(start: str, name: str, proposed: Mapping[str, Range]) -> dict[str, Any]:
    """Draw the range of one perturbation; return it as a file has it."""
    record = REGISTRY[name]
    if not record.graded:
        st.markdown(f"{record.label}: on or off")
        return {"strength": [0.0, 1.0]}
    known = proposed.get(name)
    low = 0.0
    high = _HIGHEST
    if known is not None:
        low = round(known.low, 2)
        high = max(low + _STEP, round(known.high, 2))
    first, last = st.slider(
        record.label,
        0.0,
        1.0,
        (low, high),
        step=_STEP,
        key=f"domain {name} {start}",
        help=None if known is None else known.source or None,
    )
    if known is not None and (first, last) == (low, high):
        table = known.as_dict()  # which may lie between the steps of the slider
    else:
        first = min(first, 1 - _STEP)
        last = max(last, first + _STEP)  # a range has two ends
        table = {"strength": [first, last], "source": _SET_HERE}
    ends = [record.value_text(strength) for strength in table["strength"]]
    st.caption(" to ".join(ends))
    return table


def _declaration_input(names: Sequence[str], outside: Sequence[str]) -> dict[str, Any]:
    """Draw what a domain says besides; return it as its file has it, and ``requirements``."""
    declared: dict[str, Any] = {}
    requirements: dict[str, str] = {}
    left, right = st.columns(2, gap="large")
    with left:
        owner = st.text_input("Owner", key="domain owner", max_chars=MOST_TEXT).strip()
        if owner:
            declared["owner"] = owner
        text = st.text_area(
            "Outside what is tested, one a line",
            "\n".join(outside),
            key=f"domain outside {'; '.join(outside)}",
            help="What belongs to the domain and is not tested.",
        )
        lines = [line.strip()[:MOST_TEXT] for line in text.splitlines()]
        declared["outside"] = [line for line in lines if line]
    with right:
        requirement = _requirement_input("the limit", "domain requirement")
        if requirement:
            declared["requirement"] = requirement
        for name in names:
            key = f"domain requirement {name}"
            requirement = _requirement_input(in_sentence(REGISTRY[name].label), key)
            if requirement:
                requirements[name] = requirement
    return {**declared, "requirements": requirements}


def _requirement_input(subject: str, key: str) -> str:
    text: str = st.text_input(
        f"Requirement: {subject}", key=key, placeholder="id", max_chars=MOST_TEXT
    )
    return text.strip()


def _show_size(domain: Domain) -> None:
    """Say what tests the domain, beside the button that saves its file."""
    pairs = counted(len(domain.pairs), "pair")
    rows = counted(len(domain.array), "combination")
    conditions = counted(len(domain.conditions), "condition")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Save the domain",
            domain.as_toml(),
            "domain.toml",
            key="domain_toml",
            icon=":material/download:",
            on_click="ignore",
        )
        st.caption(f"{pairs}, and {rows} of all ranges: {conditions}.")


def record_popover(figures: RunFigures, folder: Path) -> None:
    """Draw what writes the record of the run of ``figures``; ``folder`` has earlier runs."""
    run = figures.run
    with st.popover("Record", icon=":material/assignment_turned_in:"):
        st.caption("To file and sign: what was tested, and which limits hold. For a PDF, print it.")
        titles = {}
        for entry in runs.listing(folder):
            manifest = entry.manifest
            if manifest is None or not entry.finished or manifest.spec.domain is None:
                continue
            if entry.folder.name != run.id:
                titles[entry.folder.name] = f"{entry.title}, {entry.folder.name}"
        since = None
        if titles:
            since = st.selectbox(
                "Changes since",
                list(titles),
                index=None,
                format_func=titles.__getitem__,
                key=f"record since {run.id}",
                placeholder="No earlier run",
            )
        build = partial(_record, figures, None if since is None else folder / since)
        draw.record_buttons(build, f"record-{run.id}")


def _record(figures: RunFigures, since: Path | None) -> Report:
    return of_record(figures, None if since is None else runs.load(since))
