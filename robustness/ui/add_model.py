"""The section "Add a model" of the Models page: a file is inspected, then described."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from robustness.base.access import Action
from robustness.base.errors import ParameterError
from robustness.base.text import plain
from robustness.models.file_formats.formats import ENDINGS, FORMATS, is_saved_model
from robustness.models.own import package
from robustness.models.own.apart import propose_apart
from robustness.models.own.proposal import Proposal, name_of
from robustness.ui import model_proposal
from robustness.ui.computation.progress import Work
from robustness.ui.session import access
from robustness.ui.session.boundary import boundary

UPLOAD, ON_SERVER = "Upload", "File on the server"
SIDECAR_ENDINGS = (*filter(None, (record.weights_ending for record in FORMATS)), ".json", ".txt")
"""Endings of what may be uploaded along with a model."""

_FOUND, _GIVEN, _DONE = "model proposed", "model answers", "model added"
_COUNTED = re.compile(r"(\d+) of (\d+)")


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
        wanted = (*ENDINGS, ".zip")
        mine = [name for name in names if Path(name).suffix.lower() in wanted]
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
            help="ONNX, TensorFlow Lite, OpenVINO (.xml), .keras, or a SavedModel or JATIC_ONNX "
            "folder. The file stays where it is.",
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
    given = dict(st.session_state.get(_GIVEN, {}))
    with work.bar("Inspecting …") as show, source.at() as (path, _):
        if not path.exists():
            raise ParameterError(f"There is no file {path} on this server.")
        _check_runs_nothing(path, source)
        with tempfile.TemporaryDirectory() as folder:
            if lines := given.pop(model_proposal.LINES, None):
                given["labels"] = str(Path(folder) / "labels.txt")
                Path(given["labels"]).write_text("\n".join(lines), encoding="utf-8")

            def said(step: str) -> None:
                counted = _COUNTED.search(step)
                show(int(counted[1]) / int(counted[2]) if counted else 0.0, plain(step))

            found = propose_apart(
                path,
                given,
                name=source.name,
                images=Path(images).expanduser() if images else None,
                said=said,
            )
    st.session_state[_FOUND] = source.key, model_proposal.with_classes(found, lines)


def _check_runs_nothing(path: Path, source: _Source) -> None:
    """Raises ``ParameterError`` for a SavedModel unless its user lets it run."""
    with package.opened(path) as (file, _):
        if is_saved_model(file) and not source.trusted:
            raise ParameterError(
                "Expected a model file, got a SavedModel, which is a program: convert it to ONNX, "
                "or give its folder on the server and tick that you trust it."
            )


def _review(source: _Source, proposal: Proposal, work: Work) -> None:
    model_proposal.show(proposal)
    answers = model_proposal.questions(proposal)
    given = {**st.session_state.get(_GIVEN, {}), **answers}
    st.button(
        "Inspect again with these values",
        key="inspect again",
        disabled=not answers,
        on_click=_ask,
        args=(work, given),
    )
    if proposal.missing:
        return
    name = st.text_input("Name", value=proposal.name, key=f"add_name {source.key}")
    if st.button(
        f"Add {name}",
        key="add_model",
        type="primary",
        icon=":material/add:",
        disabled=bool(answers),
    ):
        with boundary():
            _add(source, model_proposal.renamed(proposal, name.strip()))


def _add(source: _Source, proposal: Proposal) -> None:
    access.require(Action.CHANGE_MODELS, thing=proposal.name)
    with source.at() as (path, uploaded), package.opened(path) as (_, unpacked):
        file = proposal.write(unpacked or uploaded)
    st.session_state[_DONE] = f"{proposal.name} is added; {file.name} describes it."
    for key in (_FOUND, _GIVEN):
        st.session_state.pop(key, None)
    st.rerun()
