"""The controls for the inputs of a page: models and seed, an image and its fit, its true class.

An image is a sample, an upload, a frame of the camera, or an image of a run. The true class is
known for samples and labelled images; otherwise the user enters it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import models
from robustness.base.errors import ImageError, RobustnessError, UnknownNameError
from robustness.base.options import fields_of
from robustness.base.roles import Action
from robustness.base.text import counted, plain, some, visible
from robustness.images.decoding import ACCEPTED_EXTENSIONS
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.framing import FITS, STUDY_FRAMING, Overrides, Picture
from robustness.measure.labels import sample_class
from robustness.measure.options import ViewOptions
from robustness.measure.request import by_framing, framing
from robustness.models.record import imagenet
from robustness.perturbations.record import MAX_SEED
from robustness.report.image import TRUE_CLASS
from robustness.ui import components, session, uploads
from robustness.ui.draw import thumbnail_uri
from robustness.ui.html import html
from robustness.ui.patches import UploadedFile, forget_files
from robustness.ui.session import (
    RUN,
    UPLOAD,
    brief,
    do,
    keep_in_link,
    leave,
    new_in_link,
    one_of,
    option_input,
    page_link,
    sentence,
    set_in_link,
    warn_of_link,
)
from robustness.ui.shared import (
    Framings,
    is_sample,
    likeliest_class,
    linked_class,
    linked_picture,
    sample_picture,
    uploaded_picture,
)


def sidebar_input(fixed_names: tuple[str, ...] = ()) -> tuple[tuple[str, ...], int]:
    """Draw the choice of models and the seed in the sidebar; return both.

    A view with models of its own, ``fixed_names``, has their names instead of the choice.
    """
    with st.sidebar:
        st.divider()
        names = fixed_names or model_input()
        if fixed_names:
            labels = [models.label(name) for name in fixed_names]
            st.caption(plain(f"This view has its own models: {', '.join(labels)}."))
        seed = seed_input()
        st.button(
            "Another draw",
            icon=":material/casino:",
            on_click=_take_next_seed,
            help="Random perturbations take the next seed.",
        )
        return names, seed


def _take_next_seed() -> None:
    st.session_state["seed"] = (st.session_state.get("seed", 0) + 1) % (MAX_SEED + 1)


def require_models(names: Sequence[str]) -> None:
    """Stop the page with a hint if ``names`` is empty.

    Raises ``AccessError`` if this session may not measure.
    """
    session.require(Action.MEASURE)
    if not names:
        st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
        st.stop()


def model_input() -> tuple[str, ...]:
    """Draw the choice of models, with a link to more; return the names of the chosen ones.

    Stops the page if no model is ready to use.
    """
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    if not ready:
        st.error(plain("; ".join(state.reason for state in states.values())))
        st.stop()
    _warn_of_linked_models()
    texts = _model_texts()
    keep_in_link(
        "models",
        {name: texts[name] for name in ready},
        list(models.default_names()),
        warns=False,
        goes_along=True,
    )
    chosen = st.multiselect(
        "Models",
        ready,
        format_func=texts.__getitem__,
        key="models",
        placeholder="Choose at least one model",
    )
    missing = len(states) - len(ready)
    if missing:
        label = f"Get {counted(missing, 'more model')}"
        query = {"view": "weights"}
        page_link("pages/models.py", label, ":material/download:", query)
    return tuple(chosen)


def _warn_of_linked_models() -> None:
    """Warn of each model of the link that cannot run here, with the reason."""
    for name in st.query_params.get_all("models"):
        if not name:  # the link says that no model is chosen
            continue
        try:
            models.require(models.REGISTRY[name])
        except RobustnessError as error:
            warn_of_link("models", name, sentence(error).removesuffix("."))


def _model_texts() -> dict[str, str]:
    """The text of each registered model: its label, or its name where the label is ambiguous."""
    uses: Counter[str] = Counter()
    for record in models.REGISTRY:
        uses.update({record.name, record.label})
    texts = {}
    for record in models.REGISTRY:
        is_unique = uses[record.label] == 1
        texts[record.name] = record.label if is_unique else record.name
    return texts


_VIEW = fields_of(ViewOptions)


def other_inputs(record: type, drawn: Mapping[str, object]) -> dict[str, object]:
    """Draw the inputs of the options of ``record`` that are not among those ``drawn``.

    Returns the values of all by name.
    """
    values = dict(drawn)
    for field in fields_of(record).values():
        if field.option.label and field.name not in values:
            values[field.name] = option_input(field)
    return values


def seed_input() -> int:
    """Draw the seed of the random perturbations."""
    state = st.session_state
    last = state.get("kept seed", 0)
    # Streamlit forgets the control when its page is left; a link's seed is newer than the kept one.
    if last and state.get("arrived") and "seed" not in st.query_params:
        state["seed"] = last
        st.query_params["seed"] = str(last)
    seed = st.number_input(
        _VIEW["seed"].option.label,
        min_value=0,
        max_value=MAX_SEED,
        step=1,
        key="seed",
        bind="query-params",
        help="The same seed gives the same noise, here and on the command line.",
    )
    state["kept seed"] = seed
    return int(seed)


USABLE = "usable uploads"
"""Session key: whether an upload is shown."""

_ENTERED = "true classes"
"""Session key: entered classes by image digest."""

_SUGGESTION = "true class suggestions"
"""Session key: where the likeliest class is suggested, for which image and models."""


def true_class_input(picture: Picture, names: Sequence[str]) -> str | None:
    """Draw the choice of the true class of ``picture``, one of those of the models ``names``.

    Returns the class, or None while it is unknown.
    """
    st.session_state.pop(_SUGGESTION, None)
    options = _class_options(names)
    st.markdown("True class", width="content")
    known = _known_class(picture, options)
    # A link that does not include the upload says nothing about its class either.
    is_shared = not uploads.is_own(st.query_params.get(UPLOAD, uploads.OWN))
    in_link = is_shared or not st.session_state.get(USABLE)
    entered: dict[str, str | None] = st.session_state.setdefault(_ENTERED, {})
    if in_link:
        linked = new_in_link(TRUE_CLASS)
        if linked and linked[-1] in options:
            entered[picture.digest] = linked[-1]
        elif linked:
            warn_of_link(TRUE_CLASS, linked[-1])
    key = TRUE_CLASS if in_link else f"{TRUE_CLASS} {picture.digest}"
    choice = entered.get(picture.digest, known)
    if choice not in options:
        choice = known
    st.session_state[key] = choice

    def remember() -> None:
        entered[picture.digest] = st.session_state[key]

    chosen: str | None = st.selectbox(
        "True class",
        options,
        index=None,
        key=key,
        on_change=remember,
        placeholder="Choose the class",
        label_visibility="collapsed",
        width="stretch",
    )
    if in_link:
        # Streamlit's own binding loses it where a page is left before its script has ended.
        is_default = chosen is None or chosen == known
        set_in_link(TRUE_CLASS, [] if is_default else [str(chosen)])
    if chosen is None:
        place = st.container(width="content", key="likeliest")
        st.session_state[_SUGGESTION] = place, picture, names
    return chosen


def _class_options(names: Sequence[str]) -> list[str]:
    """The classes of the models ``names``, each once; those of ImageNet without a model."""
    all_labels = [labels for labels, _ in models.by_labels(names)] or [imagenet()]
    options: dict[str, None] = {}  # for its order
    for labels in all_labels:
        options.update(dict.fromkeys(labels.names))
    return list(options)


def _known_class(picture: Picture, options: Sequence[str]) -> str | None:
    """The class of a labelled image of a run or of a sample, if it is one of ``options``."""
    known = linked_class(picture)
    if not known and is_sample(picture):
        known = sample_class(picture.name)
    if known not in options:
        return None
    return known


def suggest_true_class() -> None:
    """Draw a button for the likeliest class of the page's image, if its class is unknown.

    Called last on a page: the models have predicted the original by then.
    """
    suggestion = st.session_state.pop(_SUGGESTION, None)
    if suggestion is None:
        return
    place, picture, names = suggestion
    class_name = likeliest_class(picture, names)
    if class_name:
        place.button(
            f"{visible(class_name)}?",
            key="likeliest class",
            help=f"Set {visible(class_name)} as the true class",
            on_click=st.session_state[_ENTERED].update,
            args=({picture.digest: class_name},),
        )


FIRST_SAMPLE = "chelsea"

AS_DESCRIBED = "default"
"""As a fit or a side: that of each model."""

SIDES = (224, 240, 260, 384)
"""Sides offered beside those of the models: the bundled models' input sizes, and a common one of
larger models."""

_CAMERA = "live camera"
_STORY = "story of the image"
_LOCK = ":material/lock:"
_UPLOADER_WIDTH = 250
"""Pixels."""


def is_own_image() -> bool:
    """Whether the page shows an upload, or another image that is no sample."""
    own = (UPLOAD, RUN)
    return bool(st.session_state.get("uploads")) or any(key in st.query_params for key in own)


def picture_input(names: Sequence[str], *, camera: bool) -> tuple[Picture, str | None]:
    """Draw the picker; return the chosen image and its true class, if known.

    Of several uploads it is the last. For an unusable file it shows one sentence and keeps the
    sample. Classes are those of the models ``names``. ``camera``: the page follows a running
    camera.
    """
    state = st.session_state
    if not state.get("uploads"):  # as after a reload
        state["uploads"] = list(uploads.uploads(st.query_params.get(UPLOAD, "")))
    story = st.query_params.get("story", "")
    if story != state.setdefault(_STORY, story):
        state[_STORY] = story
        if story:
            _drop_uploads()  # a story has an image of its own
    sample = _current_sample()
    overrides = _current_overrides()
    framings = tuple(by_framing(*overrides, names)) or (framing(*overrides),)

    picker = _picker_input(camera)
    if picker.refusal:
        st.caption(plain(picker.refusal))
    uploaded = _uploaded(framings)
    of_run = None if uploaded else linked_picture(names)
    picture = uploaded or of_run or _shared(framings)
    with picker.gallery:
        _sample_buttons(shown=None if picture else sample)
    with st.container(key="shown-image"):
        if uploaded:
            _say_upload_is_shown(uploaded)
        elif of_run:
            run_id = plain(st.query_params.get(RUN, ""))
            st.caption(f"Showing {plain(brief(of_run.name))}. An image of the run {run_id}.")
    if picture is None:
        picture = sample_picture(sample, framings)
    if of_run is None:  # an image of a run keeps the fit and side of the run
        picture = replace(picture, overrides=overrides)
    _say_what_models_see(picture, names)
    with picker.true_class:
        return picture, true_class_input(picture, names)


class _Picker(NamedTuple):
    """Containers that are filled once the image is known, and why uploads are refused, or ""."""

    gallery: DeltaGenerator
    true_class: DeltaGenerator
    refusal: str


def _picker_input(camera: bool) -> _Picker:
    """Draw the row with samples, uploader, camera, fit, sharing and true class."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="picker"):
        gallery = st.container(horizontal=True, gap="xxsmall", width="content", key="gallery")
        refusal = _upload_input()
        if camera:
            components.camera(_CAMERA, partial(do, _freeze))
        else:
            st.empty()  # so that what follows stays where it is in every view
        with st.popover("Fit", icon=":material/crop:", key="framing"):
            fit_input("fit")
            side_input("side")
        files = st.session_state.get("uploads", [])
        uploads.button(files[-1:])
        true_class = st.container(
            horizontal=True, vertical_alignment="center", gap="small", key="true-class"
        )
    return _Picker(gallery, true_class, refusal)


def _sample_buttons(shown: str | None) -> None:
    """Draw a button for each sample; the one called ``shown`` is marked."""
    st.html(html("style", css=_thumbnails()))
    for record in SAMPLES:
        # A thumbnail covers the label, which screen readers read.
        label = record.name.capitalize()
        is_shown = record.name == shown
        if is_shown:
            label += ", shown"
        st.button(
            label,
            key=f"choose_{record.name}",
            type="primary" if is_shown else "secondary",
            help=record.alt,
            on_click=_choose_sample,
            args=(record.name,),
        )


def _say_upload_is_shown(picture: Picture) -> None:
    """Say that an upload is shown, and whether links include it."""
    if uploads.shared(st.query_params.get(UPLOAD, "")):
        about = "Links include it."
    else:
        about = "Links do not include uploads."
    count = len(st.session_state["uploads"])
    if count > 1:
        about = f"It is the last of {count} uploads. {about}"
    st.caption(f"Showing {plain(brief(picture.name))}. {about}")


def _say_what_models_see(picture: Picture, names: Sequence[str]) -> None:
    """Say how the models ``names`` see ``picture``, unless all see the usual study image."""
    groups = by_framing(*picture.overrides, names)
    if len(groups) > 1:
        views = []
        for view, names_of_view in groups.items():
            labels = [plain(models.label(name)) for name in names_of_view]
            views.append(f"{some(labels, 3)}: {view.text}")
        st.caption("Each model sees its own version of the image.", help="; ".join(views))
        return
    only_view = next(iter(groups), STUDY_FRAMING)
    if only_view != STUDY_FRAMING:
        st.caption(f"The models see the image as shown: {only_view.text}.")


def _upload_input() -> str:
    """Draw the uploader; return why this session may not upload, or ""."""
    state = st.session_state
    version = state.setdefault("upload_version", 0)
    key = f"upload_{version}"
    taken_key = f"{key} taken"
    if key not in state or state["page"] not in state.get(taken_key, ()):
        state[taken_key] = (state["page"],)  # the uploader is new, and empty, on each page
    refusal = session.refusal(Action.UPLOAD)

    def take() -> None:
        _take(key, _files(state[key]))

    files = st.file_uploader(
        "Upload photos",
        type=list(ACCEPTED_EXTENSIONS),
        accept_multiple_files=True,
        key=key,
        on_change=take,
        disabled=bool(refusal),
        label_visibility="collapsed",
        width=_UPLOADER_WIDTH,
    )
    # Streamlit ends a callback at the next request of the browser, and does not call it again.
    if state[taken_key] != _noted(_files(files)):
        _take(key, _files(files))
    return refusal


def _freeze() -> None:
    """Make the frozen camera frame the image."""
    data = components.frame(_CAMERA)
    if data is None:
        return
    session.require(Action.UPLOAD)
    st.session_state["uploads"] = [("camera.png", data)]
    _link_to_own()


def fit_input(key: str) -> str:
    """Draw the choice of how images become square."""
    return one_of(
        _VIEW["fit"].option.label,
        (AS_DESCRIBED, *FITS),
        key,
        goes_along=True,
        help="default: each model with its own preprocessing. For all models alike: crop, the "
        "centre of the image, as ImageNet models are tested; squash, the whole image, distorted; "
        "letterbox, the whole image with grey bars.",
    )


def side_input(key: str) -> str:
    """Draw the choice of the side of that square, in pixels."""
    return one_of(
        _VIEW["side"].option.label,
        (AS_DESCRIBED, *map(str, _sides())),
        key,
        goes_along=True,
        help="default: each model with its own preprocessing. Models with a larger input see more "
        "detail. A strength looks the same at any side.",
    )


def _sides() -> list[int]:
    sides_of_models = {record.framing.side for record in models.REGISTRY}
    return sorted(sides_of_models.union(SIDES))


def framing_input() -> Overrides:
    """Draw the choice of fit and side for an evaluation or a match; return both, for all models."""
    return overrides_of(fit_input(_VIEW["fit"].key), side_input(_VIEW["side"].key))


def overrides_of(fit: str, side: str) -> Overrides:
    """What ``fit_input`` and ``side_input`` chose, for all models."""
    fit_of_all = None if fit == AS_DESCRIBED else fit
    side_of_all = None if side == AS_DESCRIBED else int(side)
    return fit_of_all, side_of_all


def _files(value: Any) -> list[UploadedFile]:
    """The files of an uploader's ``value``, which is a list, a single file or None."""
    if isinstance(value, list):
        return value
    return [value] if value else []


def _take(key: str, files: Sequence[UploadedFile]) -> None:
    """Make ``files`` this session's uploads, and note that those of the uploader ``key`` are."""
    do(_accept, files)
    st.session_state[f"{key} taken"] = _noted(files)  # last, as it marks the rest as done


def _accept(files: Sequence[UploadedFile]) -> None:
    if files:
        session.require(Action.UPLOAD)
    st.session_state["uploads"] = [(file.name, file.getvalue()) for file in files]
    if files:
        _link_to_own()
    else:
        uploads.forget()
        st.query_params.pop(UPLOAD, None)


def _noted(files: Sequence[UploadedFile]) -> tuple[str, ...]:
    """This page, and the ids of its ``files``."""
    return (st.session_state["page"], *(file.file_id for file in files))


def _link_to_own() -> None:
    """Mark in the link that an upload is shown, which it includes for this browser alone."""
    leave()
    st.query_params[UPLOAD] = uploads.keep(st.session_state["uploads"])


def _uploaded(framings: Framings) -> Picture | None:
    """The last usable upload, if any; shows an error for the later ones, which are unusable."""
    picture: Picture | None = None
    refused: list[tuple[str, str]] = []
    for name, data in reversed(st.session_state.get("uploads", [])):
        try:
            picture = uploaded_picture(name, data, framings)
            break
        except ImageError as error:
            refused.append((name, sentence(error)))
    if refused:
        _say_refused(refused)
    st.session_state[USABLE] = picture is not None
    return picture


def _say_refused(refused: Sequence[tuple[str, str]]) -> None:
    """Show one error for all ``refused`` files, given by name and reason."""
    (_, message), *others = refused
    if others:
        names = some([name for name, _ in others], 3)
        message += f" {counted(len(others), 'more file')} cannot be read: {names}."
    st.error(plain(message), icon=":material/broken_image:")


def _shared(framings: Framings) -> Picture | None:
    """The link's shared image, if any; says it, or why a sample replaces the image."""
    link = st.query_params.get(UPLOAD)
    if link is None or st.session_state.get("uploads"):
        return None
    if uploads.is_mine(link):
        st.info("Your upload has ended; this is a sample. Upload the image again.", icon=_LOCK)
        return None
    if uploads.is_own(link):
        message = "The sender used their own image, which links do not include; this is a sample."
        st.info(message, icon=_LOCK)
        return None
    shared = uploads.shared(link)
    if shared is None:
        message = "The shared image has expired or was deleted; this is a sample."
        st.warning(message, icon=":material/link_off:")
        return None
    copy, data = shared
    try:
        picture = uploaded_picture(copy.name, data, framings)
    except ImageError as error:
        st.error(plain(sentence(error)), icon=":material/broken_image:")
        return None
    message = f"Showing {copy.name}, shared until {copy.expiry}."
    st.info(plain(message), icon=":material/share:")
    return picture


def _current_sample() -> str:
    """The link's sample; for an unknown one a warning, and the first sample."""
    chosen = st.query_params.get("sample", FIRST_SAMPLE)
    try:
        return SAMPLES[chosen].name
    except UnknownNameError as error:
        st.warning(plain(sentence(error)), icon=":material/link_off:")
        return FIRST_SAMPLE


def _current_overrides() -> Overrides:
    """The fit and the side chosen on the page or in the link."""
    fit = _current_choice("fit", FITS)
    side = _current_choice("side", [str(side) for side in _sides()])
    return overrides_of(fit, side)


def _current_choice(key: str, options: Collection[str]) -> str:
    """The control's value, or the link's before it is drawn; the default if it is no option."""
    value: str = st.session_state.get(key) or st.query_params.get(key, AS_DESCRIBED)
    if value not in options:
        return AS_DESCRIBED
    return value


def _choose_sample(name: str) -> None:
    leave()
    st.query_params["sample"] = name
    _drop_uploads()


def _drop_uploads() -> None:
    """Forget the uploads, which a sample replaces; the uploader is a fresh one."""
    st.session_state["uploads"] = []
    uploads.forget()
    version = st.session_state.get("upload_version", 0)
    forget_files(st.session_state.get(f"upload_{version}"))
    st.session_state["upload_version"] = version + 1


@cache
def _thumbnails() -> str:
    """The style that gives each sample's button its image."""
    uris = {name: thumbnail_uri(sample_picture(name).image) for name in SAMPLES.names}
    return "\n".join(
        f".st-key-choose_{name} button {{ background-image: url({uri}); }}"
        for name, uri in uris.items()
    )
