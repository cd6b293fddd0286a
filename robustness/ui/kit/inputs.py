"""The controls that pages share: picture, models, perturbations. Their state lives in the URL."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from robustness.base.errors import ImageError, UnknownNameError
from robustness.evaluation.condition import Condition
from robustness.evaluation.suites import study_conditions
from robustness.perturbations import MAX_SEED, REGISTRY, Perturbation
from robustness.pictures.fitting import ACCEPTED_EXTENSIONS, DEFAULT_FIT, FITS
from robustness.pictures.picture import Picture
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.pictures.samples import sample_bytes
from robustness.ui.kit import memo as cached
from robustness.ui.kit.run_link import leave, linked_picture
from robustness.ui.kit.state import keep, restore
from robustness.ui.kit.text import plain

FIRST_SAMPLE = "chelsea"
FIRST_STRENGTHS = {"gaussian_blur": 0.6}
"""What a visitor without a link sees first: a change that some models survive and some do not."""


def start_state() -> None:
    """Gives a first visit without a link something to look at; leaves a link's state alone.

    Called by the Live page, ahead of the controls.
    """
    if "visited" not in st.session_state:
        st.session_state["visited"] = True
        if not st.query_params:
            for name, strength in FIRST_STRENGTHS.items():
                st.session_state[name] = strength
                st.query_params[name] = f"{strength:g}"  # a widget's first value is not written


def picture_input() -> Picture:
    """Gallery, upload and camera; the picture chosen.

    A file that cannot be used is named in one sentence, and the sample stays.
    """
    return pictures_input(several=False)[0]


def pictures_input(*, several: bool) -> list[Picture]:
    """Like ``picture_input``; with ``several``, further samples and files may join."""
    sample, fit = current_sample(), current_fit()
    gallery, upload = st.columns([6, 5], gap="medium")
    version = st.session_state.setdefault("upload_version", 0)
    with upload:
        key = f"upload_{version}"
        st.file_uploader(
            "Upload photos" if several else "Upload a photo",
            type=list(ACCEPTED_EXTENSIONS),
            accept_multiple_files=several,
            key=key,
            on_change=_remember,
            args=(key,),
            help="It stays on the server that runs this page, and is not part of the link.",
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            _camera(f"camera_{version}")
            _picture_options()
    given = _uploaded(fit) or _of_a_run()
    with gallery, st.container(key="gallery"):
        _gallery(None if given else sample)
        others = [name for name in SAMPLES.names if given or name != sample]
        also = (
            st.multiselect("Score these samples as well", others, key="also", bind="query-params")
            if several
            else []
        )
    if not several:
        return given[-1:] or [cached.sample_picture(sample, fit)]
    first = given or [cached.sample_picture(sample, fit)]
    return [*first, *(cached.sample_picture(name, fit) for name in also)]


def _camera(key: str) -> None:
    with st.popover("Camera", icon=":material/photo_camera:"):
        if st.toggle("Turn the camera on", key="camera_on"):
            st.camera_input("Take a photo", key=key, on_change=_remember, args=(key,))


def _picture_options() -> None:
    restore("fit", DEFAULT_FIT)
    with st.popover("Picture options", icon=":material/crop:"):
        fit = st.segmented_control(
            "Fit to the square that models see",
            FITS,
            default=DEFAULT_FIT,
            required=True,
            key="fit",
            bind="query-params",
            help="crop: centre of the picture, as ImageNet models are tested; squash: "
            "the whole picture, distorted; letterbox: the whole picture with grey bars.",
        )
    keep("fit", fit)


def _remember(key: str) -> None:
    """Keeps what was uploaded for the session, so that it goes along to the other pages."""
    given = st.session_state[key]
    files = given if isinstance(given, list) else [given] if given else []
    st.session_state["uploads"] = [(file.name, file.getvalue()) for file in files]
    if files:
        leave()


def _of_a_run() -> list[Picture]:
    picture = linked_picture()
    return [] if picture is None else [picture]


def _uploaded(fit: str) -> list[Picture]:
    pictures = []
    for name, data in st.session_state.get("uploads", []):
        try:
            pictures.append(cached.uploaded_picture(name, data, fit))
        except ImageError as error:
            st.error(plain(str(error)), icon=":material/broken_image:")
    if pictures:
        names = ", ".join(plain(picture.name) for picture in pictures)
        st.info(
            f"Showing {names}. An uploaded picture stays on this server and is not part of the "
            "link: whoever opens the link sees the sample instead.",
            icon=":material/lock:",
        )
    return pictures


def sample_input() -> str:
    """The gallery alone; the name of the sample chosen."""
    sample = current_sample()
    with st.container(key="gallery", width=640):
        _gallery(sample)
    return sample


def current_sample() -> str:
    """The sample named in the link; the first one, with a sentence, if there is no such sample."""
    chosen = st.query_params.get("sample", FIRST_SAMPLE)
    try:
        return SAMPLES[chosen].name
    except UnknownNameError as error:
        st.warning(plain(str(error)), icon=":material/link_off:")
        return FIRST_SAMPLE


def current_fit() -> str:
    """How a picture becomes square, as chosen on the page or in the link."""
    fit = st.session_state.get("fit") or st.query_params.get("fit", DEFAULT_FIT)
    return fit if fit in FITS else DEFAULT_FIT


def _gallery(selected: str | None) -> None:
    for column, sample in zip(
        st.columns(len(SAMPLES), gap="small", wrap=False), SAMPLES, strict=True
    ):
        with column, st.container(key=f"sample-{sample.name}", gap="xsmall"):
            st.image(_thumbnail(sample.name), width="stretch", alt=sample.alt)
            st.button(
                sample.name.capitalize(),
                key=f"choose_{sample.name}",
                type="primary" if sample.name == selected else "secondary",
                width="stretch",
                help=sample.label,
                on_click=_choose_sample,
                args=(sample.name,),
            )


def _choose_sample(name: str) -> None:
    leave()
    st.query_params["sample"] = name
    st.session_state["uploads"] = []
    st.session_state["upload_version"] = (
        st.session_state.get("upload_version", 0) + 1
    )  # a fresh uploader: the sample replaces the upload


@cache
def _thumbnail(name: str, side: int = 160) -> bytes:
    with Image.open(io.BytesIO(sample_bytes(name))) as image:
        square = min(image.size)
        left, top = (image.width - square) // 2, (image.height - square) // 2
        small = image.convert("RGB").resize(
            (side, side), Image.Resampling.LANCZOS, (left, top, left + square, top + square)
        )
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


def seed_input() -> int:
    """The seed of the random perturbations."""
    restore("seed", 0)
    seed = st.number_input(
        "Seed",
        min_value=0,
        max_value=MAX_SEED,
        step=1,
        key="seed",
        bind="query-params",
        help="The same seed gives the same noise, here and on the command line.",
    )
    keep("seed", seed)
    return int(seed)


def perturbation_controls() -> dict[str, float]:
    """Sliders and switches for every perturbation, by family; {name: strength}."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("##### Perturb", width="stretch")
        st.button(
            "Reset",
            icon=":material/restart_alt:",
            on_click=_reset,
            key="reset",
            help="Sets every perturbation to 0.",
        )
    families: dict[str, list[Perturbation]] = {}
    for record in REGISTRY:
        families.setdefault(record.family, []).append(record)
    strengths = {}
    for family, records in families.items():
        if any(record.in_study for record in records):
            st.markdown(f"**{family}**")
            place: Any = contextlib.nullcontext()
        else:
            active = any(
                st.session_state.get(record.name) or record.name in st.query_params
                for record in records
            )
            place = st.expander(f"**{family}**", expanded=active)
        with place:
            for record in records:
                strengths[record.name] = _control(record)
    return strengths


def _reset() -> None:
    for record in REGISTRY:
        st.session_state[record.name] = 0.0 if record.graded else False


def _control(record: Perturbation) -> float:
    if not record.graded:
        return float(st.toggle(record.label, key=record.name, bind="query-params"))
    strength = st.slider(
        record.label,
        min_value=0.0,
        max_value=1.0,
        step=0.01,
        key=record.name,
        bind="query-params",
        help=f"{record.parameter[0].upper()}{record.parameter[1:]}. {record.source}",
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.caption(_physical(record, strength), width="stretch")
        if record.study_strength is not None:
            st.button(
                "Study",
                key=f"study_{record.name}",
                type="tertiary",
                on_click=_set_strength,
                args=(record.name, record.study_strength),
                help=f"The study's setting: {record.value_text(record.study_strength)}",
            )
    return float(strength)


def _set_strength(name: str, strength: float) -> None:
    st.session_state[name] = strength


def _physical(record: Perturbation, strength: float) -> str:
    text = record.value_text(strength)
    severity = record.severity_at(strength)
    return f"{text} · ImageNet-C severity {severity}" if severity else text


STUDY_SETTINGS, ONE_DIAL, EACH_ITS_OWN = "study settings", "one dial", "each its own"


def study_conditions_input() -> tuple[Condition, ...]:
    """The study's ten conditions: at its settings, all at one strength, or each at its own."""
    mode = st.segmented_control(
        "Strength of the ten perturbations",
        (STUDY_SETTINGS, ONE_DIAL, EACH_ITS_OWN),
        default=STUDY_SETTINGS,
        required=True,
        key="mode",
        bind="query-params",
    )
    if mode == ONE_DIAL:
        dial = st.slider(
            "Strength of all ten",
            min_value=0.05,
            max_value=1.0,
            value=0.6,
            step=0.05,
            key="dial",
            bind="query-params",
            help="Where ImageNet-C has the perturbation, 0.2 is its severity 1 and 1 its severity "
            "5. Flips have no strength: they are applied whole.",
        )
        return study_conditions(strength=float(dial))
    if mode == EACH_ITS_OWN:
        records = [record for record in REGISTRY if record.in_study]
        columns = st.columns(5, gap="medium")
        return tuple(
            Condition.of({record.name: _own_strength(columns[place % 5], record)})
            for place, record in enumerate(records)
        )
    return study_conditions()


def _own_strength(place: DeltaGenerator, record: Perturbation) -> float:
    key = f"own_{record.name}"
    if not record.graded:
        return float(place.toggle(record.label, value=True, key=key, bind="query-params"))
    return float(
        place.slider(
            record.label,
            min_value=0.0,
            max_value=1.0,
            value=record.study_strength,
            step=0.01,
            key=key,
            bind="query-params",
        )
    )


def perturbation_input() -> str:
    """One perturbation, by family; its name."""
    return str(
        st.selectbox(
            "Perturbation",
            REGISTRY.names,
            index=REGISTRY.names.index("gaussian_blur"),
            format_func=lambda name: REGISTRY[name].label,
            key="perturbation",
            bind="query-params",
        )
    )
