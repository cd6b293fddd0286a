"""The section "Add a model" of the Models page: a file is inspected, then described."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from robustness.base.access import Action
from robustness.base.errors import ParameterError
from robustness.base.text import counted, plain
from robustness.models.file_formats.formats import ENDINGS, FORMATS, is_saved_model
from robustness.models.own import package
from robustness.models.own.describe import IMAGENET, NORMALISATIONS
from robustness.models.own.propose import (
    Description,
    clearly_better,
    cropping_cost,
    name_of,
    propose,
)
from robustness.models.own.user_models import parsed_size, size_text
from robustness.pictures.fitting import FITS, Framing
from robustness.ui.computation.progress import Work
from robustness.ui.display import results
from robustness.ui.session import access
from robustness.ui.session.boundary import boundary

UPLOAD, ON_SERVER = "Upload", "File on the server"
SIDECAR_ENDINGS = (*filter(None, (record.weights_ending for record in FORMATS)), ".json", ".txt")
"""Endings of what may be uploaded along with a model."""

_FORMATS = ", ".join(f"{record.name} ({record.ending})" for record in FORMATS)

_FOUND, _GIVEN, _DONE = "model proposed", "model answers", "model added"
_COUNTED = re.compile(r"(\d+) of (\d+)")
_LINES = "class lines"
"""Stands for ``labels`` among answers: the classes themselves."""

_NAMES = {
    "labels": "Classes",
    "input_size": "Input size (px)",
    "normalisation": "Normalisation",
    "fit": "Fit",
    "output": "Output",
    "title": "Title",
}
_AS_FOUND, _TRY = "As found", "Try the usual ones"
_IMAGENET, _TYPED = "ImageNet (1,000 classes)", "One per line"
_OUTPUTS = ("probabilities", "logits")
_MAX_TRIALS = 4


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
        """Tell this model from another one; empty where none is given."""
        return self.path or " ".join(file.file_id for file in self.files)

    @property
    def name(self) -> str:
        """A name for the model."""
        names = [self.path] if self.path else [file.name for file in self.files]
        endings = (*ENDINGS, ".zip")
        mine = [name for name in names if Path(name).suffix.lower() in endings]
        return name_of(Path((mine or names)[0]))

    @contextmanager
    def at(self) -> Iterator[tuple[Path, Path | None]]:
        """The file, folder or archive, and the temporary folder with the uploaded files."""
        if self.path:
            yield Path(self.path).expanduser(), None
            return
        with tempfile.TemporaryDirectory() as folder:
            written = [Path(folder) / Path(file.name).name for file in self.files]
            for path, file in zip(written, self.files, strict=True):
                path.write_bytes(file.getbuffer())
            if len(written) == 1 and written[0].suffix.lower() == ".zip":
                yield written[0], None
            else:
                yield Path(folder), Path(folder)


def show() -> None:
    """Draw the section; nothing for those who may not add models."""
    if access.refusal(Action.CHANGE_MODELS):
        return
    st.header("Add a model", anchor="add")
    st.markdown(
        "The file is read in a separate process with limits on memory and time. The page asks only "
        "for what the file does not tell. A SavedModel is a program and cannot be uploaded."
    )
    if added := st.session_state.pop(_DONE, ""):
        st.success(plain(added), icon=":material/check:")
    source = _source()
    images = st.text_input(
        "Folder of labelled images (optional)",
        key="add_images",
        help="On the server, with one subfolder per class. Used to find the normalisation. "
        "Without it, ImageNet models are tried on the bundled images.",
    ).strip()
    work = Work("Inspecting", source.key)
    st.button(
        "Inspect",
        key="inspect",
        icon=":material/search:",
        disabled=not source.key,
        on_click=_ask,
        args=(work, {}),
    )
    if source.key and work.requested:
        with boundary():
            _inspect(source, images, work)
    if source.key:
        work.is_cancelled()
    key, found = st.session_state.get(_FOUND, ("", None))
    if source.key and key == source.key:
        _review(source, found, work)


def _source() -> _Source:
    kind = st.segmented_control("Model", (UPLOAD, ON_SERVER), default=UPLOAD, key="add_kind")
    if kind == ON_SERVER:
        path = st.text_input(
            "Path",
            key="add_path",
            placeholder="/models/digits.onnx",
            help=f"{_FORMATS}, or a SavedModel or JATIC_ONNX folder. The file stays where it is.",
        )
        path = path.strip()
        trusted = is_saved_model(Path(os.path.expanduser(path))) and st.checkbox(
            "I trust this SavedModel. It is a program, and the server's account runs it.",
            key=f"trusted {path}",
        )
        return _Source(path, trusted)
    files = st.file_uploader(
        "Model file, with its weights and metadata if they are separate",
        type=[*ENDINGS, *SIDECAR_ENDINGS, ".zip"],
        accept_multiple_files=True,
        key="add_upload",
        help=f"Up to {st.get_option('server.maxUploadSize')} MB per file; for larger ones, give a "
        "path on the server.",
    )
    return _Source(files=tuple(files or ()))


def _ask(work: Work, values: Mapping[str, Any]) -> None:
    st.session_state[_GIVEN] = values
    st.session_state.pop(_FOUND, None)
    work.ask()


def _inspect(source: _Source, images: str, work: Work) -> None:
    access.require(Action.CHANGE_MODELS, thing=source.name)
    choices = dict(st.session_state.get(_GIVEN, {}))
    with work.bar("Inspecting …") as show, source.at() as (path, _):
        if not path.exists():
            raise ParameterError(f"There is no file {path} on this server.")

        def said(step: str) -> None:
            match = _COUNTED.search(step)
            show(int(match[1]) / int(match[2]) if match else 0.0, plain(step))

        with package.opened(path) as (file, _), tempfile.TemporaryDirectory() as folder:
            if is_saved_model(file) and not source.trusted:
                raise ParameterError(
                    "Expected a model file, got a SavedModel, which is a program: convert it to "
                    "ONNX, or give its folder on the server and tick that you trust it."
                )
            if lines := choices.pop(_LINES, None):
                choices["labels"] = str(Path(folder) / "labels.txt")
                Path(choices["labels"]).write_text("\n".join(lines), encoding="utf-8")
            description = propose(
                file,
                choices,
                name=source.name,
                images=Path(images).expanduser() if images else None,
                said=said,
            )
    if lines:  # they are to be written beside the entry
        description = replace(description, classes=tuple(lines)).renamed(source.name)
    st.session_state[_FOUND] = source.key, description


def _review(source: _Source, description: Description, work: Work) -> None:
    _draw(description)
    answers = _questions(description)
    choices = {**st.session_state.get(_GIVEN, {}), **answers}
    st.button(
        "Inspect again with these values",
        key="inspect again",
        disabled=not answers,
        on_click=_ask,
        args=(work, choices),
    )
    if description.missing:
        return
    name = st.text_input("Name", value=description.name, key=f"add_name {source.key}")
    if st.button(
        f"Add {name}",
        key="add_model",
        type="primary",
        icon=":material/add:",
        disabled=bool(answers),
    ):
        with boundary():
            _add(source, description.renamed(name.strip()))


def _add(source: _Source, description: Description) -> None:
    access.require(Action.CHANGE_MODELS, thing=description.name)
    with source.at() as (path, uploaded), package.opened(path) as (_, unpacked):
        file = description.write(unpacked or uploaded)
    st.session_state[_DONE] = f"{description.name} is added; {file.name} describes it."
    for key in (_FOUND, _GIVEN):
        st.session_state.pop(key, None)
    st.rerun()


# --- what is proposed, and the questions that it leaves open --------------------------------------


def _draw(description: Description) -> None:
    """Draw what was found: values with their sources, trials, and predictions for the samples."""
    st.subheader(f"{description.name}: {description.format}", anchor=False)
    rows = [
        (_NAMES[key], _text(description, key), description.sources.get(key, "given"))
        for key in _NAMES
        if key in description.entry
    ]
    st.html(results.html_table(("Value", "Found", "Source"), rows))
    if description.trials:
        count = counted(description.tried_on, "labelled image")
        st.markdown(f"Normalisations tried on {count}, best first:")
        st.html(
            results.html_table(("Normalisation", "Correct", "Confidence"), _trials(description))
        )
    if better := clearly_better(
        description.trials, description.entry.get("normalisation"), description.tried_on
    ):
        st.warning(
            plain(f"{better.name} is clearly better than the chosen normalisation."),
            icon=":material/warning:",
        )
    if description.warning:
        st.warning(plain(description.warning), icon=":material/warning:")
    if cost := cropping_cost(description.framings, description.tried_on):
        st.markdown(cost)
    if description.samples:
        st.markdown("Predictions for the bundled images:")
        samples = [
            (answer["image"], answer["class"], f"{answer['confidence']:.1%}")
            for answer in description.samples
        ]
        st.html(results.html_table(("Image", "Prediction", "Confidence"), samples))
    if description.native:
        st.caption(
            f"Predictions come from {description.native.runtime}. OpenVINO agrees on "
            f"{description.native.agreement:.1%} of the images; probabilities differ by up to "
            f"{description.native.largest:.2f}."
        )


def _trials(description: Description) -> list[tuple[str, str, str]]:
    return [
        (
            trial_result.name,
            f"{trial_result.correct} of {description.tried_on}",
            f"{trial_result.confidence:.1%}",
        )
        for trial_result in description.trials[:_MAX_TRIALS]
    ]


def _text(description: Description, key: str) -> str:
    if key == "labels" and description.classes:
        more = "…" if len(description.classes) > 4 else ""
        names = ", ".join(description.classes[:4])
        return f"{counted(len(description.classes), 'class')}: {names}{more}"
    value = description.entry[key]
    if isinstance(value, Mapping):
        return (
            f"{value['order']}, 0 to {value['scale']:g}, mean {value['mean']}, std {value['std']}"
        )
    if key == "input_size":
        return size_text(value)
    return "ImageNet" if value == IMAGENET else str(value)


def _questions(description: Description) -> dict[str, Any]:
    """Draw controls for what is missing, and folded ones for the rest; return what was answered."""
    answers: dict[str, Any] = {}
    missing = [key for key in _NAMES if key in description.missing]
    if missing:
        st.markdown("Missing from the file. Choose, then inspect again:")
        for key in missing:
            answers |= _CONTROLS[key](description)
    with st.expander("Change values"):
        for key in _NAMES:
            if key not in missing:
                answers |= _CONTROLS[key](description)
        st.code(description.toml, language="toml")
    now = {"output": _OUTPUTS[0], **description.entry}
    return {key: value for key, value in answers.items() if value != now.get(key)}


def _key(description: Description, control: str) -> str:
    return f"add {control} {description.name}"  # nothing typed for one model stays for the next


def _labels(description: Description) -> dict[str, Any]:
    kinds = (
        [_TYPED, _IMAGENET] if "labels" in description.missing else [_AS_FOUND, _TYPED, _IMAGENET]
    )
    chosen = st.selectbox(_NAMES["labels"], kinds, key=_key(description, "labels"))
    if chosen != _TYPED:
        return {"labels": IMAGENET} if chosen == _IMAGENET else {}
    text = st.text_area("Classes, one per line", key=_key(description, "lines"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {_LINES: lines} if lines and tuple(lines) != description.classes else {}


def _input_size(description: Description) -> dict[str, Any]:
    size = st.text_input(
        _NAMES["input_size"],
        size_text(description.entry.get("input_size", 224)),
        key=_key(description, "size"),
        help="One side of a square, or height x width.",
    )
    return {"input_size": parsed_size(size)}


def _normalisation(description: Description) -> dict[str, Any]:
    choices: dict[str, Any] = {
        trial_result.name: trial_result.value for trial_result in description.trials
    }
    choices = choices or {name: name for name in NORMALISATIONS}
    choices = {_AS_FOUND: None, **choices} if "normalisation" in description.entry else choices
    choices = {_TRY: None, **choices} if "labels" in description.missing else choices
    chosen = st.selectbox(
        _NAMES["normalisation"],
        list(choices),
        index=0 if description.trials or None in choices.values() else None,
        key=_key(description, "normalisation"),
        help="Pixel values that the network was trained on; the best first if images were tried.",
    )
    value = choices[chosen] if chosen else None
    return {} if value is None else {"normalisation": value}


def _fit(description: Description) -> dict[str, Any]:
    fit = description.entry.get("fit", "")
    choices = FITS if fit else ("", *FITS)
    chosen = st.selectbox(
        _NAMES["fit"],
        choices,
        index=choices.index(fit),
        format_func=lambda choice: choice or f"crop at {Framing().side} px",
        key=_key(description, "fit"),
        help="How images become its input. With a fit it is measured at its own size.",
    )
    return {"fit": chosen} if chosen else {}


def _output(description: Description) -> dict[str, Any]:
    index = _OUTPUTS.index(description.entry.get("output", _OUTPUTS[0]))
    return {
        "output": st.selectbox(
            _NAMES["output"], _OUTPUTS, index=index, key=_key(description, "output")
        )
    }


def _title(description: Description) -> dict[str, Any]:
    title = st.text_input(
        _NAMES["title"], description.entry.get("title", ""), key=_key(description, "title")
    ).strip()
    return {"title": title} if title else {}


_CONTROLS = {
    "labels": _labels,
    "input_size": _input_size,
    "normalisation": _normalisation,
    "fit": _fit,
    "output": _output,
    "title": _title,
}
