"""The controls of a new evaluation: the question, images, models, and settings with defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.base.files import file_errors
from robustness.base.options import fields_of, options_of
from robustness.base.roles import Action
from robustness.base.text import counted, plain, some
from robustness.base.toml import parse_toml
from robustness.datasets import KNOWN, NAMED, NO_LABELS, SAMPLES, Dataset, open_dataset
from robustness.datasets.rows import REGISTRY as DATASETS
from robustness.images.decoding import ACCEPTED_EXTENSIONS
from robustness.matching import Match
from robustness.measure.condition import Condition, pool_profiles
from robustness.measure.options import (
    IMAGENET_C_JPEG_SUITE,
    IMAGENET_C_SUITE,
    STUDY_SUITE,
    ConditionOptions,
    ImageOptions,
    RequestOptions,
    RunOptions,
)
from robustness.measure.request import (
    SEVERITIES,
    Request,
    domain_spec,
    graded_conditions,
    make_spec,
    profile_note,
    read_conditions,
    suite_conditions,
)
from robustness.models.variant import variants_of
from robustness.perturbations import REGISTRY
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies import parse_all
from robustness.runs import MatchRequest, find_match, title_of
from robustness.ui import session
from robustness.ui.evaluations import limits
from robustness.ui.evaluations.domain import domain_input
from robustness.ui.evaluations.table import PROFILE, forget_limits
from robustness.ui.inputs import (
    framing_input,
    model_input,
    option_input,
    other_inputs,
    seed_input,
)
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
    IMAGENET_C_SUITE: "ImageNet-C",
    OWN_CHOICE: "My choice",
    FROM_FILE: "File",
}
_FIELDS = fields_of(RunOptions)
_CONDITIONS = fields_of(ConditionOptions)
_LABELLINGS = _FIELDS["labelling"].option.choices or {}

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
DOMAIN = "domain"
QUESTIONS = {
    COMPARE: "Compare models",
    WEAKNESSES: "Find weaknesses",
    RELEASE: "Check a release",
    DOMAIN: "Test a domain",
    MATCH: "Match my camera",
}
_ABOUT = {
    COMPARE: "Which of several models stays correct most often, and at what cost.",
    WEAKNESSES: "Under which perturbations, strengths and classes models fail first.",
    RELEASE: "Is the new model at least as good as today's?",
    DOMAIN: "Where a model must work, and which combinations of perturbations break it there.",
    MATCH: "What a camera does to images, and the accuracy to expect from each model.",
}
DEFAULTS = "defaults of"
"""Key of the session: the question whose defaults the form has taken."""

_FIRST_SUITES = {WEAKNESSES: IMAGENET_C_SUITE}
_MAX_LOSS = 2.0

_FILE = "file of conditions"
"""Key of the session: name and bytes of the file of conditions, which the uploader loses."""


class Matched(NamedTuple):
    """The match whose profile is evaluated, as it was asked for and as it was answered."""

    request: MatchRequest
    answer: Match


class NewRun(NamedTuple):
    """What the controls ask for; ``source`` is as ``open_dataset`` takes it."""

    source: str
    spec: Request
    options: ImageOptions


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
        _draw_profile(matched.answer)
    left, right = st.columns(2, gap="medium")
    with left:
        source = source_input(reference=None if matched is None else matched.request.reference)
    with right:
        model_names = model_input()
        if not model_names:
            st.info("Choose at least one model.", icon=":material/model_training:")
        elif question == COMPARE and len(model_names) < 2:
            st.caption("Choose a second model to compare.")
    with st.container():  # keeps what is below in its place
        if question == RELEASE:
            limits.limits_input()
        declared = None
        if question == DOMAIN:
            images = None if source is None else dataset_of(source, last_written(source))
            declared = domain_input(images, None if matched is None else matched.answer)
    with st.expander("Settings", icon=":material/tune:"):
        chosen = _settings_input(matched, model_names, has_conditions=question != DOMAIN)
    if source is None or not model_names:
        return None
    if declared is not None:
        spec = domain_spec(declared, model_names, **options_of(RequestOptions, chosen.options))
        return NewRun(source, spec, options_of(ImageOptions, chosen.options))
    if not chosen.conditions:
        return None
    spec = make_spec(model_names, chosen.conditions, **options_of(RequestOptions, chosen.options))
    return NewRun(source, spec, options_of(ImageOptions, chosen.options))


def _draw_profile(answer: Match) -> None:
    """Say what the profile of a match does, with a link to the match."""
    name = st.query_params[PROFILE]
    parts = []
    for part in answer.perturbations:
        parts.append(f"{REGISTRY[part.perturbation].label}: {part.value}")
    size = counted(len(answer.conditions), "composition")
    title = title_of(runs_folder() / name)
    with st.container(horizontal=True, vertical_alignment="center", key="profile"):
        st.markdown(f"**{plain(title)}**: {plain('; '.join(parts))}. {size}.")
        page_link("pages/evaluations.py", "Open the match", ":material/compare:", {RUN: name})


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
        # Without them the controls take their defaults, or what the user chose from the link.
        st.session_state.pop("suite", None)
        st.session_state.pop("severities", None)
    if question == RELEASE and "max_loss" not in st.query_params:
        set_number("max_loss", _MAX_LOSS)


def _matched() -> Matched | None:
    """The match whose profile the link names.

    Raises ``RunError`` if it is not there, ``ParameterError`` for a profile without conditions.
    """
    name = st.query_params.get(PROFILE)
    if name is None:
        return None
    request, answer = find_match(runs_folder(), name)
    if not answer.conditions:
        raise ParameterError(
            f"Expected a profile to evaluate, but {request.title} found none: choose another match."
        )
    return Matched(request, answer)


class _Settings(NamedTuple):
    """What has a default."""

    conditions: tuple[Condition, ...]
    options: RunOptions


def _settings_input(
    matched: Matched | None, model_names: Sequence[str], *, has_conditions: bool
) -> _Settings:
    """Draw the controls of what has a default; the conditions if ``has_conditions``."""
    left, right = st.columns(2, gap="medium")
    conditions: tuple[Condition, ...] = ()
    with left:
        if has_conditions:
            conditions = _conditions_input(matched)
        labels = {remedy.name: remedy.label for remedy in REMEDIES if remedy.range is None}
        keep_in_link("tried_remedies", labels, [])
        remedies = st.multiselect(
            _FIELDS["remedies"].option.label,
            list(labels),
            format_func=labels.__getitem__,
            key="tried_remedies",
            placeholder="None; choose what may help",
            help="Each makes a variant of every model, without training. The run says what it "
            "gains, what it costs on originals, and how long it takes.",
        )
        if remedies and model_names:
            _say_variants(remedies, model_names)
    with right:
        labelling = option_input(_FIELDS["labelling"])
        with st.container(horizontal=True, vertical_alignment="bottom"):
            limit = option_input(_FIELDS["limit"])
            seed = seed_input()
        fit, side = framing_input()
        drawn = {
            "remedies": remedies,
            "labelling": labelling,
            "limit": limit,
            "seed": seed,
            "fit": fit,
            "side": side,
        }
        chosen = other_inputs(RunOptions, drawn)
    return _Settings(conditions, options_of(RunOptions, chosen))


_MOST_VARIANTS = 2
"""Variants that the form names; the rest is counted."""


def _say_variants(remedies: Sequence[str], model_names: Sequence[str]) -> None:
    """Name the variants that the run will have beside its models."""
    labels = []
    for chain in parse_all(remedies):
        labels += [variant.label for variant in variants_of(model_names, chain)]
    st.caption(plain(f"Adds {counted(len(labels), 'variant')}: {some(labels, _MOST_VARIANTS)}."))


def last_written(source: str) -> tuple[int, ...]:
    """When the file or folder ``source`` last changed, then each folder directly in it.

    Nanoseconds since 1970; () for the bundled samples and for what does not exist.
    """
    path = Path(source)
    if source == SAMPLES or not path.exists():
        return ()
    paths = [path]
    if path.is_dir():
        paths += sorted(entry for entry in path.iterdir() if entry.is_dir())
    return tuple(entry.stat().st_mtime_ns for entry in paths)


@cached(4)
def dataset_of(source: str, written: tuple[int, ...]) -> Dataset:
    """The dataset at ``source``, opened once while ``last_written`` stays the same."""
    return open_dataset(source)


def source_input(
    label: str = "Images", prefix: str = "", *, samples: bool = True, reference: str | None = None
) -> str | None:
    """Draw the choice of images, by default a match's ``reference`` or the bundled ``samples``.

    ``prefix`` begins the keys of a second one on the page. Returns the source as ``open_dataset``
    takes it, None while there is none.
    """
    datasets_folder = settings.value(settings.DATASETS)
    if datasets_folder is not None or list(DATASETS):
        kinds = {UPLOADED: "Upload", ON_SERVER: "On the server"}
        if one_of(label, kinds, f"{prefix}source") == ON_SERVER:
            return _server_input(datasets_folder, f"{prefix}server_source")
    return _upload_input(
        f"{label}, or one zip archive",
        f"{prefix}dataset_upload",
        samples=samples,
        reference=reference,
    )


def _upload_input(label: str, key: str, *, samples: bool, reference: str | None) -> str | None:
    """Draw the uploader; without an upload return ``reference``, or the samples if allowed."""
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
    if path is not None:
        return str(path)
    if reference is not None:
        st.caption("Without an upload: the reference images of the match.")
        return reference
    if samples:
        st.caption(
            "No images? Try five samples (too few to choose).",
            help="For a folder, use the command line and open the run here.",
        )
        return SAMPLES
    return None


def _server_input(folder: Path | None, key: str) -> str | None:
    """Draw the choice of plugins' datasets and of what lies in the operator's ``folder`` of some.

    Raises ``ParameterError`` for a folder that cannot be listed.
    """
    names = {f"{NAMED}{record.name}": record.label for record in DATASETS}
    label = "Dataset" if names else "Folder, archive or table"
    if folder is not None:
        names |= {name: name for name in _names_in(folder)}
    if not names:
        st.info(f"The folder {plain(str(folder))} has nothing to evaluate.")
        return None
    name = listed(label, names, key)
    if name not in names:
        return None
    if folder is None or name.startswith(NAMED):
        return name
    return str(folder / name)


def _names_in(folder: Path) -> list[str]:
    """The folders and zip archives directly in ``folder``; raises ``ParameterError``."""
    with file_errors(f"The folder of the setting 'datasets', {folder}, cannot be listed"):
        entries = sorted(folder.iterdir())
    names = []
    for path in entries:
        if path.name.startswith("."):
            continue
        if not path.resolve().is_relative_to(folder.resolve()):  # a link that leads elsewhere
            continue
        if path.is_dir() or path.suffix.lower() == ".zip":
            names.append(path.name)
    return names


def _conditions_input(matched: Matched | None) -> tuple[Condition, ...]:
    """Draw the choice of a suite and what it leaves open; () while nothing is chosen."""
    first = _FIRST_SUITES.get(st.session_state[QUESTION], STUDY_SUITE)
    suite = one_of(_CONDITIONS["suite"].option.label, _SUITES, "suite", first=first)
    if suite == STUDY_SUITE:
        st.caption("Each at the study's setting.")
        return suite_conditions(STUDY_SUITE)
    if suite == FROM_FILE:
        return _file_input(matched)
    if suite == OWN_CHOICE:
        return _own_choice_input()
    return _imagenet_c_input()


def _own_choice_input() -> tuple[Condition, ...]:
    labels = {record.name: record.label for record in REGISTRY}
    keep_in_link("dataset_perturbations", labels, ["gaussian_blur", "fog"])
    names: Sequence[str] = st.multiselect(
        _CONDITIONS["perturbations"].option.label,
        list(labels),
        format_func=labels.__getitem__,
        key="dataset_perturbations",
        placeholder="Choose at least one perturbation",
    )
    strengths = st.pills(
        _CONDITIONS["strengths"].option.label,
        [0.2, 0.4, 0.6, 0.8, 1.0],
        selection_mode="multi",
        default=[0.6],
        key="strengths",
        bind="query-params",
        help="Equal to ImageNet-C's severities 1 to 5 for its corruptions.",
    )
    if not strengths:
        return ()
    return graded_conditions(names, strengths=sorted(strengths))


def _imagenet_c_input() -> tuple[Condition, ...]:
    st.caption("19 corruptions, by severity.")
    default = [1, 3, 5]
    if st.session_state[QUESTION] == WEAKNESSES:
        default = list(SEVERITIES)
    severities = st.pills(
        _CONDITIONS["severities"].option.label,
        SEVERITIES,
        selection_mode="multi",
        default=default,
        key="severities",
        bind="query-params",
    )
    as_jpeg = st.toggle(
        "Save as JPEG afterwards",
        key="as_jpeg",
        bind="query-params",
        help="Quality 85, like the published images, on which published mCE is measured.",
    )
    if not severities:
        return ()
    suite = IMAGENET_C_JPEG_SUITE if as_jpeg else IMAGENET_C_SUITE
    return suite_conditions(suite, severities=sorted(severities))


def _file_input(matched: Matched | None) -> tuple[Condition, ...]:
    """Draw the upload of a file of conditions; without one they are those of the match."""
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
        return matched.answer.conditions
    if _FILE not in st.session_state:
        st.caption("No file yet.")
        return ()
    name, data = st.session_state[_FILE]
    conditions = read_conditions(name, data)
    st.caption(plain(f"{name}: {counted(len(pool_profiles(conditions)), 'condition')}."))
    return conditions


def side_note(spec: Request) -> str:
    """What ``profile_note`` says of the profile that is evaluated by ``spec``; "" without one."""
    if st.session_state.get("suite") != FROM_FILE:
        return ""
    if _FILE in st.session_state:
        name, data = st.session_state[_FILE]
        return profile_note(name, spec, parse_toml(data, name))
    matched = _matched()
    table = {}
    if matched is not None:
        table["match"] = {"side": matched.answer.framing.side}
    return profile_note("The profile", spec, table)
