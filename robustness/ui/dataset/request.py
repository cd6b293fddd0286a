"""Controls of the Dataset page: images, perturbations and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from robustness.base import settings
from robustness.base.access import Action
from robustness.base.errors import ParameterError
from robustness.base.text import plain
from robustness.datasets import FOLDERS, KNOWN, NO_LABELS, SAMPLES
from robustness.evaluation.condition import Condition
from robustness.evaluation.suites import (
    IMAGENET_C_JPEG_SUITE,
    IMAGENET_C_SUITE,
    SEVERITIES,
    STUDY_SUITE,
    graded_conditions,
    suite_conditions,
)
from robustness.perturbations import REGISTRY
from robustness.pictures.decoding import ACCEPTED_EXTENSIONS
from robustness.remedies import REGISTRY as REMEDIES
from robustness.ui.controls.picture_input import fit_input, side_input
from robustness.ui.dataset.uploads import upload
from robustness.ui.session import access
from robustness.ui.session.inputs import keep_in_link, listed, one_of

BUNDLED, UPLOADED, ON_SERVER = "samples", "upload", "server"
OWN_CHOICE = "own"
_SUITES = {
    STUDY_SUITE: "The study's ten",
    IMAGENET_C_SUITE: "ImageNet-C's 19 by severity",
    OWN_CHOICE: "My own choice",
}
_STOPS = {
    "all": "All images are done",
    "settled": "Best is certain",
    "ordered": "Order is certain",
}
_UNTIL = {name: "" if name == "all" else name for name in _STOPS}
_LABELLINGS = {
    FOLDERS: "from subfolders or the table",
    KNOWN: "known classes only",
    NO_LABELS: "none",
}

WITHOUT_CLASSES = (
    f"Under Options, Classes: choose {_LABELLINGS[KNOWN]!r} to evaluate these images without a "
    f"class, or {_LABELLINGS[NO_LABELS]!r} to ignore all classes."
)
"""Advice for labels that are not classes."""


@dataclass(frozen=True)
class RunForm:
    """What the page's controls ask for.

    ``source`` is as ``open_dataset`` takes it, ``fit`` and ``side`` as ``framings.framing`` does.
    ``until`` is the goal of a race, "" for every image. ``remedies`` are the names of those that
    are tried.
    """

    source: str
    conditions: tuple[Condition, ...]
    labelling: str
    limit: int | None
    fit: str
    side: str
    until: str = ""
    remedies: tuple[str, ...] = ()


def request_input() -> RunForm | None:
    """Draws the controls; None while something is missing, which is said."""
    left, right = st.columns(2, gap="large")
    with left:
        source = _source_input()
    with right:
        conditions = _conditions_input()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            limit = _limit_input()
            labelling, fit, side = _options()
        until = one_of(
            "Evaluate until",
            _STOPS,
            "until",
            help="A race evaluates images in random order, each under a few conditions, and stops "
            "once the best model or the order is certain, often after a tenth of the work. It does "
            "not say how each model fares under every perturbation.",
        )
        labels = {name: REMEDIES[name].label for name in REMEDIES.names}
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
    if source is None or not conditions:
        return None
    how = labelling, limit, fit, side, _UNTIL[until]
    return RunForm(source, conditions, *how, tuple(remedies))


def _source_input() -> str | None:
    allowed = settings.value(settings.DATASETS)
    kinds = {BUNDLED: "Bundled samples", UPLOADED: "Upload"}
    if allowed is not None:
        kinds[ON_SERVER] = "On the server"
    kind = one_of("Images", kinds, "source")
    if kind == UPLOADED:
        return _upload_input()
    if kind == ON_SERVER and allowed is not None:
        return _server_input(allowed)
    st.caption(
        "Five images: enough to see what a run shows, too few to rank models. To rank them, "
        "upload your own images, or evaluate a folder on the command line and open the run here."
    )
    return SAMPLES


def _upload_input() -> str | None:
    refused = access.refusal(Action.UPLOAD)
    given = st.file_uploader(
        "Images, or one zip archive",
        type=[*ACCEPTED_EXTENSIONS, "zip"],
        accept_multiple_files=True,
        key="dataset_upload",
        disabled=bool(refused),
        help=refused
        or "Subfolders of an archive may be classes, named by index, synset or name. Uploads stay "
        "on this server, with the run.",
    )
    if len(given) > 1 and any(file.name.lower().endswith(".zip") for file in given):
        st.error(
            f"Expected images or one zip archive, got {len(given)} files of both: remove some."
        )
        return None
    if given and refused:
        return None
    path = upload(given)
    if path is None:
        st.caption("No upload yet.")
        return None
    return str(path)


def _server_input(allowed: Path) -> str | None:
    found = _below(allowed)
    if not found:
        st.info(f"The folder {plain(str(allowed))} has nothing to evaluate.")
        return None
    name = listed("Folder, archive or table", found, "server_source")
    return str(allowed / name) if name in found else None


def _below(allowed: Path) -> list[str]:
    """The choices: the operator's folder and its direct contents."""
    try:
        entries = sorted(allowed.iterdir())
    except OSError as error:
        raise ParameterError(
            f"The folder of the setting 'datasets', {allowed}, cannot be listed: {error.strerror}."
        ) from error
    return [
        path.name
        for path in entries
        if not path.name.startswith(".")
        and path.resolve().is_relative_to(allowed.resolve())
        and (path.is_dir() or path.suffix.lower() == ".zip")
    ]


def _conditions_input() -> tuple[Condition, ...]:
    suite = one_of("Perturbations", _SUITES, "suite")
    if suite == STUDY_SUITE:
        st.caption("Each at the study's setting.")
        return suite_conditions(STUDY_SUITE)
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
    severities = st.pills(
        "Severities",
        SEVERITIES,
        selection_mode="multi",
        default=[1, 3, 5],
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


def _limit_input() -> int | None:
    return st.number_input(
        "Max images",
        min_value=1,
        value=None,
        step=1,
        key="limit",
        bind="query-params",
        placeholder="all",
    )


def _options() -> tuple[str, str, str]:
    with st.popover("Options", icon=":material/tune:"):
        labelling = one_of(
            "Classes", _LABELLINGS, "labelling", help="With classes the run has accuracies, too."
        )
        fit = fit_input("dataset_fit")
        side = side_input("dataset_side")
    return labelling, fit, side
