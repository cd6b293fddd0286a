"""The controls of a new evaluation: the question, images, models, and settings with defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.base.roles import Action
from robustness.base.text import counted, plain
from robustness.base.toml import parse_toml
from robustness.datasets import FOLDERS, KNOWN, NO_LABELS, SAMPLES, Dataset, open_dataset
from robustness.images.decoding import ACCEPTED_EXTENSIONS
from robustness.matching import Match
from robustness.measure.condition import Condition, pool_profiles
from robustness.measure.request import (
    IMAGENET_C_JPEG_SUITE,
    IMAGENET_C_SUITE,
    SEVERITIES,
    STUDY_SUITE,
    Request,
    graded_conditions,
    make_spec,
    profile_note,
    read_conditions,
    suite_conditions,
)
from robustness.perturbations import REGISTRY
from robustness.remedies import REGISTRY as REMEDIES
from robustness.runs import MatchRequest, find_match, title_of
from robustness.ui import session
from robustness.ui.evaluations import limits
from robustness.ui.evaluations.table import PROFILE, forget_limits
from robustness.ui.inputs import fit_input, model_input, overrides_of, seed_input, side_input
from robustness.ui.session import (
    RUN,
    keep_in_link,
    listed,
    one_of,
    page_link,
    runs_folder,
    set_number,
)
from robustness.ui.shared import cached
from robustness.ui.uploads import upload

UPLOADED = "upload"
ON_SERVER = "server"
OWN_CHOICE = "own"
FROM_FILE = "file"
_SUITES = {
    STUDY_SUITE: "The study's ten",
    IMAGENET_C_SUITE: "ImageNet-C's 19 by severity",
    OWN_CHOICE: "My own choice",
    FROM_FILE: "A file",
}
_LABELLINGS = {
    FOLDERS: "from subfolders or the table",
    KNOWN: "known classes only",
    NO_LABELS: "none",
}

WITHOUT_CLASSES = (
    f"Under Settings, Classes: choose {_LABELLINGS[KNOWN]!r} to evaluate these images without a "
    f"class, or {_LABELLINGS[NO_LABELS]!r} to ignore all classes."
)
"""Advice for labels that are not classes."""


QUESTION = "question"
"""Parameter of the link: what the evaluation is for."""

COMPARE = "compare"
WEAKNESSES = "weaknesses"
RELEASE = "release"
MATCH = "match"
QUESTIONS = {
    COMPARE: "Compare models",
    WEAKNESSES: "Find weaknesses",
    RELEASE: "Check a release",
    MATCH: "Match my camera",
}
_ABOUT = {
    COMPARE: "Which of several models stays correct most often, and at what cost.",
    WEAKNESSES: "Under which perturbations, strengths and classes models fail first.",
    RELEASE: "Is the new model at least as good as today's?",
    MATCH: "What a camera does to images, and the accuracy to expect from each model.",
}
DEFAULTS = "defaults of"
"""Key of the session: the question whose defaults the form has taken."""

_FIRST_SUITES = {WEAKNESSES: IMAGENET_C_SUITE}
_MAX_LOSS = 2.0

_FILE = "file of conditions"


class NewRun(NamedTuple):
    """What the controls ask for; ``source`` is as ``open_dataset`` takes it."""

    source: str
    spec: Request
    labelling: str
    limit: int | None


def question_input() -> str:
    """Draw the choice of the question."""
    question = one_of("What do you want to know?", QUESTIONS, QUESTION)
    _take_defaults(question)
    st.caption(_ABOUT[question])
    return question


def run_input(question: str) -> NewRun | None:
    """Draw the controls for ``question``; None while something is missing, which is said."""
    matched = _matched()
    if matched is not None:
        name = st.query_params[PROFILE]
        perturbations = matched[1].perturbations
        parts = "; ".join(f"{REGISTRY[p.perturbation].label}: {p.value}" for p in perturbations)
        size = counted(len(matched[1].conditions), "composition")
        title = title_of(runs_folder() / name)
        with st.container(horizontal=True, vertical_alignment="center", key="profile"):
            st.markdown(f"**{plain(title)}**: {plain(parts)}. {size}.")
            page_link("pages/evaluations.py", "Open the match", ":material/compare:", {RUN: name})
    left, right = st.columns(2, gap="large")
    with left:
        source = source_input(reference=matched[0].reference if matched else None)
    with right:
        names = model_input()
        if not names:
            st.info("Choose at least one model.", icon=":material/model_training:")
        elif question == COMPARE and len(names) < 2:
            st.caption("Choose a second model to compare.")
    with st.container():  # keeps what is below in its place
        if question == RELEASE:
            limits.limits_input()
    with st.expander("Settings", icon=":material/tune:"):
        conditions, how, labelling, limit = _settings_input(matched)
    if source is None or not names or not conditions:
        return None
    return NewRun(source, make_spec(names, conditions, **how), labelling, limit)


def _take_defaults(question: str) -> None:
    """Have the controls take the defaults of ``question`` once it is chosen."""
    before = st.session_state.get(DEFAULTS)
    if before == question:
        return
    st.session_state[DEFAULTS] = question
    if before == RELEASE:
        forget_limits()
    if question == MATCH:
        return
    if st.session_state.get("suite") != FROM_FILE:
        st.session_state.pop("suite", None)  # the link has one that the user chose
        st.session_state.pop("severities", None)
    if question == RELEASE and "max_loss" not in st.query_params:
        set_number("max_loss", _MAX_LOSS)


def _matched() -> tuple[MatchRequest, Match] | None:
    """The match whose profile the link names.

    Raises ``RunError`` if it is not there, ``ParameterError`` for a profile without conditions.
    """
    name = st.query_params.get(PROFILE)
    if name is None:
        return None
    saved, answer = find_match(runs_folder(), name)
    if not answer.conditions:
        raise ParameterError(
            f"Expected a profile to evaluate, but {saved.title} found none: choose another match."
        )
    return saved, answer


def _settings_input(
    matched: tuple[MatchRequest, Match] | None,
) -> tuple[tuple[Condition, ...], dict[str, Any], str, int | None]:
    """Draw what has a default: conditions, arguments of ``make_spec``, labelling and limit."""
    left, right = st.columns(2, gap="large")
    with left:
        conditions = _conditions_input(matched)
        labels = {remedy.name: remedy.label for remedy in REMEDIES if remedy.range is None}
        keep_in_link("tried_remedies", labels, [])
        remedies = st.multiselect(
            "Remedies",
            list(labels),
            format_func=labels.__getitem__,
            key="tried_remedies",
            placeholder="None; choose what may help",
            help="Each is tried on every image under every perturbation, without training. The run "
            "says what it gains, what it costs on originals, and how long it takes.",
        )
    with right:
        labelling = one_of(
            "Classes", _LABELLINGS, "labelling", help="With classes the run has accuracies, too."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            limit: int | None = st.number_input(
                "Max images",
                min_value=1,
                value=None,
                step=1,
                key="limit",
                bind="query-params",
                placeholder="all",
            )
            seed = seed_input()
        fit, side = overrides_of(fit_input("dataset_fit"), side_input("dataset_side"))
    how = {"seed": seed, "fit": fit, "side": side, "remedies": remedies}
    return conditions, how, labelling, limit


def last_written(source: str) -> tuple[int, ...]:
    """When the file or folder ``source``, or a folder directly in it, last changed."""
    path = Path(source)
    if source == SAMPLES or not path.exists():
        return ()
    folders = [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
    return tuple(entry.stat().st_mtime_ns for entry in (path, *sorted(folders)))


@cached(4)
def dataset_of(source: str, written: tuple[int, ...]) -> Dataset:
    """The dataset at ``source``, opened once while ``last_written`` stays the same."""
    return open_dataset(source)


def source_input(
    label: str = "Images", prefix: str = "", *, samples: bool = True, reference: str | None = None
) -> str | None:
    """Draw the choice of images, by default a match's ``reference`` or the bundled ``samples``.

    ``prefix`` begins the keys of a second one on the page.
    """
    allowed = settings.value(settings.DATASETS)
    kinds = {UPLOADED: "Upload"}
    if allowed is not None:
        kinds[ON_SERVER] = "On the server"
        if one_of(label, kinds, f"{prefix}source") == ON_SERVER:
            return _server_input(allowed, f"{prefix}server_source")
    label = f"{label}, or one zip archive"
    return _upload_input(label, f"{prefix}dataset_upload", samples, reference)


def _upload_input(label: str, key: str, samples: bool, reference: str | None) -> str | None:
    refused = session.refusal(Action.UPLOAD)
    files = st.file_uploader(
        label,
        type=[*ACCEPTED_EXTENSIONS, "zip"],
        accept_multiple_files=True,
        key=key,
        disabled=bool(refused),
        help=refused
        or "Subfolders of an archive may be classes, named by index, synset or name. Uploads stay "
        "on this server, with the run.",
    )
    if len(files) > 1 and any(file.name.lower().endswith(".zip") for file in files):
        st.error(
            f"Expected images or one zip archive, got {len(files)} files of both: remove some."
        )
        return None
    if files and refused:
        return None
    path = upload(files, key)
    if path is None and reference is not None:
        st.caption("Without an upload: the reference images of the match.")
        return reference
    if path is None and samples:
        st.caption(
            "No images? Try five samples (too few to choose).",
            help="For a folder, use the command line and open the run here.",
        )
        return SAMPLES
    return None if path is None else str(path)


def _server_input(allowed: Path, key: str) -> str | None:
    """Draw the choice of what lies directly in the folder ``allowed`` by the operator."""
    try:
        entries = sorted(allowed.iterdir())
    except OSError as error:
        raise ParameterError(
            f"The folder of the setting 'datasets', {allowed}, cannot be listed: {error.strerror}."
        ) from error
    names = [
        path.name
        for path in entries
        if not path.name.startswith(".")
        and path.resolve().is_relative_to(allowed.resolve())
        and (path.is_dir() or path.suffix.lower() == ".zip")
    ]
    if not names:
        st.info(f"The folder {plain(str(allowed))} has nothing to evaluate.")
        return None
    name = listed("Folder, archive or table", names, key)
    return str(allowed / name) if name in names else None


def _conditions_input(matched: tuple[MatchRequest, Match] | None) -> tuple[Condition, ...]:
    first = _FIRST_SUITES.get(st.session_state[QUESTION], STUDY_SUITE)
    suite = one_of("Perturbations", _SUITES, "suite", first=first)
    if suite == STUDY_SUITE:
        st.caption("Each at the study's setting.")
        return suite_conditions(STUDY_SUITE)
    if suite == FROM_FILE:
        return _file_input(matched)
    if suite == OWN_CHOICE:
        labels = {record.name: record.label for record in REGISTRY}
        keep_in_link("dataset_perturbations", labels, ["gaussian_blur", "fog"])
        names: Sequence[str] = st.multiselect(
            "Which",
            list(labels),
            format_func=labels.__getitem__,
            key="dataset_perturbations",
            placeholder="Choose at least one perturbation",
        )
        strengths = st.pills(
            "Strengths",
            [0.2, 0.4, 0.6, 0.8, 1.0],
            selection_mode="multi",
            default=[0.6],
            key="strengths",
            bind="query-params",
            help="Equal to ImageNet-C's severities 1 to 5 for its corruptions.",
        )
        return graded_conditions(names, strengths=sorted(strengths)) if strengths else ()
    finds = st.session_state[QUESTION] == WEAKNESSES
    severities = st.pills(
        "Severities",
        SEVERITIES,
        selection_mode="multi",
        default=list(SEVERITIES) if finds else [1, 3, 5],
        key="severities",
        bind="query-params",
    )
    as_jpeg = st.toggle(
        "Save as JPEG afterwards",
        key="as_jpeg",
        bind="query-params",
        help="Quality 85, like the published images, on which published mCE is measured.",
    )
    suite = IMAGENET_C_JPEG_SUITE if as_jpeg else IMAGENET_C_SUITE
    return suite_conditions(suite, severities=sorted(severities)) if severities else ()


def _file_input(matched: tuple[MatchRequest, Match] | None) -> tuple[Condition, ...]:
    refused = session.refusal(Action.UPLOAD)
    file = st.file_uploader(
        "Profile or request, TOML",
        type="toml",
        key="suite_file",
        disabled=bool(refused),
        help=refused or "As *robustness match* or *Match my camera* write it. Not in the link.",
    )
    if file is not None and not refused:
        st.session_state[_FILE] = file.name, file.getvalue()
    elif matched is not None:
        st.caption("Without a file: the profile of the match.")
        return matched[1].conditions
    if _FILE not in st.session_state:
        st.caption("No file yet.")
        return ()
    name, data = st.session_state[_FILE]
    conditions = read_conditions(name, data)
    st.caption(plain(f"{name}: {counted(len(pool_profiles(conditions)), 'condition')}."))
    return conditions


def side_note(spec: Request) -> str:
    """``profile_note`` of the profile that is evaluated; "" without one."""
    if st.session_state.get("suite") != FROM_FILE:
        return ""
    if _FILE in st.session_state:
        name, data = st.session_state[_FILE]
        return profile_note(name, spec, parse_toml(data, name))
    matched = _matched()
    table = {"match": {"side": matched[1].framing.side}} if matched else {}
    return profile_note("The profile", spec, table)
