"""The controls of the Dataset page: which pictures, which perturbations, how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from robustness.base import settings
from robustness.base.access import Action
from robustness.base.errors import ParameterError
from robustness.base.text import plain
from robustness.datasets import FOLDERS, NO_LABELS, SAMPLES
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
from robustness.ui.dataset.uploads import upload
from robustness.ui.kit import access
from robustness.ui.kit.inputs import listed, one_of
from robustness.ui.kit.picture_input import fit_input

BUNDLED, UPLOADED, ON_SERVER = "samples", "upload", "server"
OWN_CHOICE = "own"
_SUITES = {
    STUDY_SUITE: "The study's ten",
    IMAGENET_C_SUITE: "ImageNet-C's 19 by severity",
    OWN_CHOICE: "My own choice",
}
_LABELLINGS = {FOLDERS: "from sub-folders or the table", NO_LABELS: "none"}

WITHOUT_CLASSES = f"For that, choose {_LABELLINGS[NO_LABELS]!r} under Options, Classes."
"""What to do about labels that are no classes."""


@dataclass(frozen=True)
class Request:
    """What the page's controls ask for; ``source`` is as ``open_dataset`` takes it."""

    source: str
    conditions: tuple[Condition, ...]
    labelling: str
    limit: int | None
    fit: str


def request_input() -> Request | None:
    """Draws the controls; None while something is missing, which is said."""
    left, right = st.columns(2, gap="large")
    with left:
        source = _source_input()
    with right:
        conditions = _conditions_input()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            limit = _limit_input()
            labelling, fit = _options()
    if source is None or not conditions:
        return None
    return Request(source, conditions, labelling, limit, fit)


def _source_input() -> str | None:
    allowed = settings.path(settings.DATASETS)
    kinds = {BUNDLED: "Bundled samples", UPLOADED: "Upload"}
    if allowed is not None:
        kinds[ON_SERVER] = "On the server"
    kind = one_of("Pictures", kinds, "source")
    if kind == UPLOADED:
        return _upload_input()
    if kind == ON_SERVER and allowed is not None:
        return _server_input(allowed)
    st.caption(
        "Five photographs, enough to see what a run tells and too few to rank models. Upload your "
        "own for that, or evaluate a folder from the command line and open the run here."
    )
    return SAMPLES


def _upload_input() -> str | None:
    refused = access.refusal(Action.UPLOAD)
    given = st.file_uploader(
        "Several pictures, or one zip archive",
        type=[*ACCEPTED_EXTENSIONS, "zip"],
        accept_multiple_files=True,
        key="dataset_upload",
        disabled=bool(refused),
        help=refused
        or "In an archive, each sub-folder may be a class: named by its index, its synset or its "
        "name. What you upload stays on the server that runs this page, beside the run.",
    )
    if len(given) > 1 and any(file.name.lower().endswith(".zip") for file in given):
        st.error(
            f"Expected one zip archive or several pictures, got {len(given)} files of both kinds: "
            "take some of them out."
        )
        return None
    if given and refused:
        return None
    path = upload(given)
    if path is None:
        st.caption("Nothing is uploaded yet.")
        return None
    return str(path)


def _server_input(allowed: Path) -> str | None:
    found = _below(allowed)
    if not found:
        st.info(f"There is nothing to evaluate in the folder {plain(str(allowed))}.")
        return None
    name = listed("Folder, archive or table", found, "server_source")
    return str(allowed / name) if name in found else None


def _below(allowed: Path) -> list[str]:
    """What may be chosen: the operator's folder itself, and what lies right in it."""
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
        st.caption("Each at its study setting.")
        return suite_conditions(STUDY_SUITE)
    if suite == OWN_CHOICE:
        names: Sequence[str] = st.multiselect(
            "Which",
            REGISTRY.names,
            default=["gaussian_blur", "fog"],
            format_func=lambda name: REGISTRY[name].label,
            key="dataset_perturbations",
            bind="query-params",
            placeholder="Choose at least one perturbation",
        )
        strengths = st.pills(
            "Strengths",
            [0.2, 0.4, 0.6, 0.8, 1.0],
            selection_mode="multi",
            default=[0.6],
            key="strengths",
            bind="query-params",
            help="Where ImageNet-C has the perturbation, these are its severities 1 to 5.",
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
        "Saved as JPEG afterwards",
        key="as_jpeg",
        bind="query-params",
        help="With quality 85, as the published pictures were: published mCE is of such files.",
    )
    suite = IMAGENET_C_JPEG_SUITE if as_jpeg else IMAGENET_C_SUITE
    return suite_conditions(suite, severities=sorted(severities)) if severities else ()


def _limit_input() -> int | None:
    return st.number_input(
        "Largest number of pictures",
        min_value=1,
        value=None,
        step=1,
        key="limit",
        bind="query-params",
        placeholder="all",
    )


def _options() -> tuple[str, str]:
    with st.popover("Options", icon=":material/tune:"):
        labelling = one_of(
            "Classes", _LABELLINGS, "labelling", help="With classes the run tells accuracies, too."
        )
        fit = fit_input("dataset_fit")
    return labelling, fit
