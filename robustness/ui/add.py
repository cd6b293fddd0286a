"""The form "Add a model" of the Models page: a file is inspected, and the user says the rest."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import streamlit as st

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.roles import Action
from robustness.base.text import counted, plain, points, share, some
from robustness.images.framing import FITS, INTERPOLATIONS, MIN_SHARE, STUDY
from robustness.models import own
from robustness.models.describe import UNDECIDED, Description, model_file, name_of, propose
from robustness.models.formats import ENDINGS, FORMATS, ZERO_SHOT, is_saved_model
from robustness.models.metadata import IMAGENET
from robustness.models.record import TEMPLATE, check_class_names, imagenet
from robustness.models.trials import USUAL, clearly_better
from robustness.ui import draw, session
from robustness.ui.jobs import Work
from robustness.ui.patches import UploadedFile
from robustness.ui.session import boundary, fragment, page_link, sentence

UPLOAD = "Upload"
ON_SERVER = "File on the server"
_WEIGHTS_ENDINGS = [record.weights_ending for record in FORMATS if record.weights_ending]
SIDECAR_ENDINGS = (*_WEIGHTS_ENDINGS, ".json", ".txt")
"""Endings of what may be uploaded along with a model."""

_FORMATS = ", ".join(f"{record.name} ({record.ending})" for record in FORMATS)

_INSPECTED = "model inspected"  # keys of the session
_DONE = "model added"
_COUNT = "models added"

_STEP = re.compile(r"(\d+) of (\d+)")
_BY_FILE = "As in the file"
_IMAGENET = "ImageNet (1,000 classes)"
_TYPED = "One per line"
_OUTPUTS = {"probabilities": "probabilities", "logits": "logits"}
_MAX_TRIALS = 4
_NEEDED = {
    "input_size": "the input size",
    "labels": "the class names",
    "normalisation": "the normalisation",
}
_CHOOSE_NORMALISATION = "Choose a normalisation, or give a folder of labelled images to find it."


@dataclass(frozen=True)
class _Source:
    """Where the model comes from: uploaded ``files``, or a ``path`` on the server.

    ``trusted`` says that its user lets a SavedModel run.
    """

    path: str = ""
    trusted: bool = False
    files: Sequence[UploadedFile] = ()

    @property
    def key(self) -> str:
        """A text that tells this model from another one; "" where none is given."""
        return self.path or " ".join(file.file_id for file in self.files)

    @property
    def name(self) -> str:
        """A name for the model, after its file rather than one of weights or metadata."""
        if self.path:
            return name_of(Path(self.path))
        for file in self.files:
            if Path(file.name).suffix.lower() in ENDINGS:
                return name_of(Path(file.name))
        return name_of(Path(self.files[0].name))

    @contextmanager
    def opened(self) -> Iterator[tuple[Path, Path | None]]:
        """The file or folder, and the temporary folder with the uploaded files; None without."""
        if self.path:
            yield Path(self.path).expanduser(), None
            return
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file in self.files:
                # The last part alone: an uploaded name may lead out of the folder.
                path = folder / Path(file.name).name
                path.write_bytes(file.getbuffer())
            yield folder, folder


@dataclass
class _Form:
    """What the user typed: the ``name``, ``choices``, ``classes`` and a folder of ``images``.

    ``problem`` is why the file is not inspected with them.
    """

    name: str = ""
    choices: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    images: str = ""
    problem: str = ""

    def key(self, source: _Source) -> str:
        """A text that tells this inspection of ``source`` from another one."""
        return repr((source.key, source.trusted, self.choices, self.classes, self.images))


@dataclass(frozen=True)
class _Inspected:
    """The model ``source`` by its ``file`` alone, and by the last good ``description``.

    ``last`` is the key of the last inspection, and ``error`` why it failed.
    """

    source: str
    file: Description | None = None
    description: Description | None = None
    last: str = ""
    error: str = ""


def show() -> None:
    """Draw the form; nothing for those who may not add models."""
    if session.refusal(Action.CHANGE_MODELS):
        return
    with st.container(border=True):
        st.header("Add a model", anchor="add")
        fragment(_form)()


def _form() -> None:
    """Draw the choice of a file, what it has, the fields, and the button that adds the model."""
    source = _source_input()
    if source.key or st.session_state.get("arrived"):
        st.session_state.pop(_DONE, None)
    if not source.key:
        _say_added()
        return
    inspected: _Inspected = st.session_state.get(_INSPECTED) or _Inspected("")
    if inspected.source != source.key:
        inspected = _Inspected(source.key)
    status = st.container()  # above the fields, which decide what is inspected
    form = _Form(source.name)
    if inspected.file is not None and inspected.description is not None:
        _fields(inspected.file, inspected.description, form)
    key = form.key(source)
    work = Work("Inspecting", key)
    with status:
        if not form.problem and key != inspected.last and not work.is_cancelled():
            try:
                session.require(Action.CHANGE_MODELS, thing=source.name)
                description = _described(source, form, work)
            except RobustnessError as error:  # keeps the last description
                inspected = replace(inspected, last=key, error=sentence(error))
            else:
                file = inspected.file or description
                inspected = _Inspected(source.key, file, description, key)
            st.session_state[_INSPECTED] = inspected
            st.rerun()
        if inspected.error:
            st.error(plain(inspected.error), icon=":material/error:")
        elif inspected.description is not None:
            _say_what_it_has(inspected.description)
    if inspected.description is not None:
        is_current = key == inspected.last and not inspected.error and not form.problem
        _finish(source, form, inspected.description, is_current)


def _say_added() -> None:
    """Say which model was added just now, if any, with a link to try it."""
    name = st.session_state.get(_DONE)
    if name:
        with st.container(horizontal=True, vertical_alignment="center", key="added"):
            st.markdown(f":material/check: **{plain(name)}** added.", width="content")
            page_link("app.py", "Try it", ":material/tune:", {"models": name})


def _source_input() -> _Source:
    """Draw the choice of the model's file: an upload, or a path on the server."""
    kind = st.segmented_control(
        "Model",
        (UPLOAD, ON_SERVER),
        default=UPLOAD,
        required=True,
        key="add_kind",
        label_visibility="collapsed",
    )
    if kind == ON_SERVER:
        path = st.text_input(
            "Path",
            key="add_path",
            placeholder="/models/digits.onnx",
            help=f"{_FORMATS}, or the folder of a SavedModel or a CLIP model. The file stays where "
            "it is.",
        )
        path = path.strip()
        trusted = False
        if is_saved_model(Path(os.path.expanduser(path))):
            trusted = st.checkbox(
                "I trust this SavedModel. It is a program, and the server's account runs it.",
                key=f"trusted {path}",
            )
        return _Source(path, trusted)
    files = st.file_uploader(
        "Model file, with its weights and metadata if they are separate",
        type=[*ENDINGS, *SIDECAR_ENDINGS],
        accept_multiple_files=True,
        key=f"add_upload {st.session_state.get(_COUNT, 0)}",
        help=f"Up to {st.get_option('server.maxUploadSize')} MB per file; for larger ones, give a "
        "path on the server. A separate process with limits on memory and time reads it. A "
        "SavedModel is a program and cannot be uploaded.",
    )
    return _Source(files=tuple(files or ()))


def _described(source: _Source, form: _Form, work: Work) -> Description:
    """Inspect the model's file with what the user typed.

    Raises ``ParameterError`` for a file that is not there and a SavedModel that is not trusted,
    and what ``propose`` raises.
    """
    choices = dict(form.choices)
    with work.bar("Inspecting …") as show_progress, source.opened() as (path, _):
        if not path.exists():
            raise ParameterError(f"There is no file {path} on this server.")

        def said(step: str) -> None:
            share_done = 0.0
            counts = _STEP.search(step)
            if counts:
                share_done = int(counts[1]) / int(counts[2])
            show_progress(share_done, plain(step))

        file = model_file(path)
        with tempfile.TemporaryDirectory() as folder:
            if is_saved_model(file) and not source.trusted:
                raise ParameterError(
                    "Expected a model file, got a SavedModel, which is a program: convert it to "
                    "ONNX, or give its folder on the server and tick that you trust it."
                )
            if form.classes:
                labels = Path(folder) / "labels.txt"
                labels.write_text("\n".join(form.classes), encoding="utf-8")
                choices["labels"] = str(labels)
            images = Path(form.images).expanduser() if form.images else None
            description = propose(file, choices, name=source.name, images=images, said=said)
    if form.classes:  # they are to be written beside the entry
        description = replace(description, classes=form.classes).renamed(source.name)
    return description


def _finish(source: _Source, form: _Form, description: Description, is_current: bool) -> None:
    """Draw the evidence, the question about the default models, and the button that adds it."""
    _evidence(description)
    entry = dict(description.entry)
    # Models with a fit of their own see another image than the default ones.
    if not description.missing and not entry.get("fit"):
        entry["default"] = st.checkbox(
            "Select it by default for every visitor", key=_key(description, "default")
        )
    complete = replace(description, entry=entry).renamed(form.name)
    missing = [_NEEDED.get(name, name) for name in description.missing]
    problem = ""
    if own.name_problem(form.name):  # said below the name
        missing.append("a valid name")
    elif not missing:
        try:
            own.check(complete.name, complete.entry)
        except ParameterError as error:
            problem = sentence(error)
            _say_problem(problem)
    lacks = ""
    if missing:
        lacks = some(missing, len(missing))
    elif problem or not is_current:
        lacks = "a correction of the error above"
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Add model",
            key="add_model",
            type="primary",
            icon=":material/add:",
            disabled=bool(lacks),
        )
        if lacks:
            st.caption(f"Still needed: {lacks}.")
    if pressed:
        with boundary():
            _add(source, complete)


def _add(source: _Source, description: Description) -> None:
    """Write the model to the user's file, and empty the form."""
    session.require(Action.CHANGE_MODELS, thing=description.name)
    with source.opened() as (_, uploaded):
        description.write(uploaded)
    st.session_state[_DONE] = description.name
    del st.session_state[_INSPECTED]
    st.session_state[_COUNT] = st.session_state.get(_COUNT, 0) + 1  # empties the uploader
    st.session_state.pop("add_path", None)
    st.rerun()


# --- what was found -------------------------------------------------------------------------------


def _say_what_it_has(description: Description) -> None:
    """Say what the file has, and what it lacks."""
    st.markdown(f"**{plain(description.name)}**: {', '.join(_facts(description))}.")
    lacks = _what_it_lacks(description)
    if lacks:
        st.info(" ".join(lacks), icon=":material/edit:")


def _facts(description: Description) -> list[str]:
    """The format of the file, its input and outputs, and its normalisation, where known."""
    entry = description.entry
    facts = [description.format]
    size = entry.get("input_size")
    if size:
        facts.append(f"{own.size_text(size)} px")
    if description.outputs:
        facts.append(counted(description.outputs, "output"))
    output = str(entry.get("output", ""))
    if output:
        facts.append(output)
    source = description.sources.get("normalisation")
    if source:
        normalisation = entry["normalisation"]
        if not isinstance(normalisation, str):
            normalisation = "of its own"
        facts.append(f"normalisation {normalisation} (from {source})")
    return facts


def _what_it_lacks(description: Description) -> list[str]:
    """A sentence for each thing that the user has to say."""
    outputs = description.outputs
    missing = description.missing
    sentences = []
    if "input_size" in missing:
        sentences.append("The file leaves the input size open: enter it.")
    # The normalisation is asked for once the classes are known.
    if "labels" in missing:
        if outputs:
            sentences.append(f"{counted(outputs, 'output')}: name {counted(outputs, 'class')}.")
        else:
            sentences.append("The file does not name its classes: enter them.")
    elif "normalisation" in missing:
        sentences.append(UNDECIDED if description.trials else _CHOOSE_NORMALISATION)
    return sentences


def _evidence(description: Description) -> None:
    """Draw what supports the description: trials, warnings and predictions."""
    if description.trials:
        _trials(description)
    better = clearly_better(
        description.trials, description.entry.get("normalisation"), description.tried_on
    )
    if better:
        st.warning(
            plain(f"{better.name} is clearly better than the chosen normalisation."),
            icon=":material/warning:",
        )
    if description.warning:
        st.warning(plain(description.warning), icon=":material/warning:")
    if not description.missing:
        st.caption(f"Preprocessing: {description.preprocessing}.")
    if description.resizings:
        st.warning(plain(description.resizings), icon=":material/warning:")
    with st.expander("Details"):
        if description.samples:
            st.markdown("Predictions for the bundled images:")
            rows = []
            for sample in description.samples:
                rows.append((sample["image"], sample["class"], share(sample["confidence"])))
            st.html(draw.html_table(("Image", "Prediction", "Confidence"), rows))
        if description.native:
            st.caption(
                f"Predictions come from {description.native.runtime}. OpenVINO agrees on "
                f"{share(description.native.agreement)} of the images; probabilities differ by up "
                f"to {counted(points(description.native.largest, '.1f'), 'point')}."
            )
        st.code(description.toml, language="toml")


def _trials(description: Description) -> None:
    """Draw the best trials of normalisations as a table."""
    st.markdown(f"Normalisations tried on {counted(description.tried_on, 'labelled image')}:")
    rows = []
    for trial in description.trials[:_MAX_TRIALS]:
        row = (
            trial.name,
            f"{trial.correct} of {description.tried_on}",
            share(trial.confidence),
            share(trial.true_class_probability),
        )
        rows.append(row)
    head = ("Normalisation", "Correct", "Mean confidence", "Mean probability of the true class")
    st.html(draw.html_table(head, rows))


# --- the fields -----------------------------------------------------------------------------------


def _fields(file: Description, description: Description, form: _Form) -> None:
    """Draw the fields, and fill ``form`` with their values.

    ``file`` is what the file says by itself: the defaults. ``description`` also has what the user
    typed before.
    """
    left, right = st.columns(2, gap="medium")
    with left:
        name = st.text_input("Name", file.name, key=_key(file, "name"), live=True)
        form.name = name.strip()
        problem = own.name_problem(form.name)
        if problem:
            _say_problem(f"Name: {problem}.")
        _classes_field(description, form, is_named="labels" in file.sources)
        if file.format in [model_format.name for model_format in ZERO_SHOT]:
            _templates_field(file, form)
        if "input_size" not in file.sources:
            _input_size_field(file, form)
    with right:
        _choice(file, form, "normalisation", USUAL, "Find it with labelled images")
        form.images = st.text_input(
            "Folder of labelled images (optional)",
            key=_key(file, "images"),
            help="On the server, with one subfolder per class. The normalisations are tried on "
            "them. Without it, ImageNet models are tried on the bundled images.",
        ).strip()
        with st.expander("Preprocessing"):
            _choice(file, form, "fit", _by_name(FITS), "Automatic")
            stated = file.entry.get("crop_pct")
            crop_share = st.number_input(
                "Crop share (crop_pct)",
                min_value=MIN_SHARE,
                max_value=1.0,
                value=None,
                step=0.005,
                format="%.3f",
                key=_key(file, "crop_pct"),
                placeholder=f"{stated:g}" if stated else "0.875 of a crop",
            )
            if crop_share is not None:
                form.choices["crop_pct"] = crop_share
            _choice(file, form, "resize", _by_name(INTERPOLATIONS), STUDY)
            library = form.choices.get("resize", file.entry.get("resize", STUDY))
            _choice(file, form, "interpolation", _by_name(INTERPOLATIONS[library]), "bicubic")
        with st.expander("Output and title"):
            _choice(file, form, "output", _OUTPUTS, "Automatic")
            title = st.text_input("Title", key=_key(file, "title"), placeholder=name).strip()
            if title:
                form.choices["title"] = title


def _say_problem(problem: str) -> None:
    st.error(plain(problem), icon=":material/error:")


def _key(file: Description, control: str) -> str:
    return f"add {control} {file.name}"  # nothing typed for one model stays for the next


def _by_name(names: Iterable[str]) -> dict[str, str]:
    """Each of ``names`` as its own value, for ``_choice``."""
    return {name: name for name in names}


def _classes_field(description: Description, form: _Form, *, is_named: bool) -> None:
    """Draw the field for the classes; ``is_named`` tells that the file names them."""
    outputs = description.outputs
    kinds = []
    if is_named:
        kinds.append(_BY_FILE)
    kinds.append(_TYPED)
    imagenet_count = len(imagenet())
    if outputs in (None, imagenet_count, imagenet_count + 1):  # some have one for the background
        kinds.append(_IMAGENET)
    chosen = kinds[0]
    if len(kinds) > 1:
        chosen = st.selectbox("Classes", kinds, key=_key(description, "labels"))
    if chosen == _IMAGENET:
        form.choices["labels"] = IMAGENET
    elif chosen == _TYPED:
        _class_names_field(description, form)


def _class_names_field(description: Description, form: _Form) -> None:
    """Draw the field for the names of classes, one a line, and what is wrong with them."""
    outputs = description.outputs
    label = "Class names, one per line"
    if outputs:
        label += f" ({outputs})"
    text = st.text_area(label, key=_key(description, "lines"))
    lines = [line.strip() for line in text.splitlines()]
    form.classes = tuple(line for line in lines if line)
    if not form.classes:
        return
    try:
        check_class_names(form.classes, "the class names", "line")
    except ParameterError as error:
        form.problem = sentence(error)
    if outputs and len(form.classes) != outputs:
        named = counted(len(form.classes), "class")
        form.problem = f"This model has {counted(outputs, 'output')}; you named {named}."
    if form.problem:
        _say_problem(form.problem)


def _templates_field(file: Description, form: _Form) -> None:
    """Draw the field for the templates of prompts, one a line."""
    text = st.text_area(
        "Prompt templates, one per line",
        placeholder=TEMPLATE,
        key=_key(file, "templates"),
        help="Each turns a class name into a prompt, in place of {}. Several are averaged.",
    )
    templates = [line.strip() for line in text.splitlines() if line.strip()]
    if templates:
        form.choices["templates"] = templates


def _input_size_field(file: Description, form: _Form) -> None:
    """Draw the field for the input size, which the file leaves open."""
    size = st.text_input(
        "Input size (px)",
        key=_key(file, "size"),
        placeholder="224, or height x width",
        help="The file leaves it open.",
    ).strip()
    if not size:
        return
    value = own.parsed_size(size)
    sides = value if isinstance(value, list) else [value]
    for side in sides:
        if not isinstance(side, int) or not own.SMALLEST <= side <= own.LARGEST:
            form.problem = (
                f"Expected one side, or height x width, of {own.SMALLEST} to {own.LARGEST} pixels, "
                f"got {size!r}."
            )
            _say_problem(form.problem)
            return
    form.choices["input_size"] = value


def _choice(
    file: Description, form: _Form, key: str, values: Mapping[str, Any], otherwise: str
) -> None:
    """Draw the choice of one of ``values``; by default what the file says, or ``otherwise``."""
    default = otherwise
    if key in file.sources:
        default = f"As found, from {file.sources[key]}"
    chosen = st.selectbox(key.capitalize(), [default, *values], key=_key(file, key))
    if chosen != default:
        form.choices[key] = values[chosen]
