"""Turns errors on any part of a page into sentences, without the server's folders."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import streamlit as st

from robustness.base import settings
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.permission_policy_and_check import Action
from robustness.base.round_robin_and_job_pauses import SupersededError
from robustness.base.text import plain
from robustness.runs import UPLOADS
from robustness.ui.server.counters import note_error
from robustness.ui.session.access import require

Arguments = ParamSpec("Arguments")

_FOLDERS = re.compile(r"(?<![\w.~:/<])(?:/[^\s/'\"`,;:()]+)+/")
"""The folders of an absolute path, but not parts of a web address or a fraction."""

_OF_AN_UPLOAD = re.compile(rf"{re.escape(UPLOADS)}/[0-9a-f]+/")
"""The folder of an upload in that of runs."""


def sentence(error: RobustnessError) -> str:
    """The sentence of ``error`` with each absolute path cut to its last part."""
    return without_folders(str(error))


def without_folders(text: str) -> str:
    """``text`` with each absolute path, and that of an upload, cut to its last part."""
    roots = {Path.cwd(), Path.home()}
    with suppress(ParameterError):  # the sentence may be about the settings
        named = [settings.value(record) for record in settings.REGISTRY if record.is_path]
        roots |= {folder for path in named if path is not None for folder in (path, path.parent)}
    for root in sorted(roots - {Path("/")}, key=lambda path: -len(str(path))):
        text = text.replace(f"{root}{os.sep}", "")  # their names may contain spaces
    return _FOLDERS.sub("", _OF_AN_UPLOAD.sub("", text))


@contextmanager
def boundary(icon: str = ":material/error:") -> Iterator[None]:
    """Stop drawing at the first ``RobustnessError`` and show its sentence.

    Does the same for an unexpected error of the disk, and logs it for the operator. A script
    with a newer run ends without a word: the newer one draws the page.
    Exceptions by which Streamlit stops or reruns a script pass through.
    """
    try:
        yield
    except RobustnessError as error:
        st.error(plain(sentence(error)), icon=icon)
    except SupersededError:
        st.stop()
    except OSError as error:
        note_error(error)
        logging.getLogger(__name__).exception("A page cannot read or write a file:")
        reason = (error.strerror or type(error).__name__).rstrip(".")
        st.error(
            f"The server cannot read or write a file: {plain(reason)}. "
            "Saved results are safe. Try again, or ask the operator of this dashboard.",
            icon=icon,
        )


_SAID = "said of the last click"


def do(action: Callable[..., str | None], *arguments: Any) -> None:
    """Perform the ``action`` of a click; ``say`` then shows what it returns, or why it failed."""
    try:
        st.session_state[_SAID] = True, action(*arguments)
    except RobustnessError as error:
        st.session_state[_SAID] = False, sentence(error)


def say() -> None:
    """Show the result of the last click."""
    done, text = st.session_state.pop(_SAID, (True, None))
    if text and done:
        st.success(plain(text), icon=":material/check:")
    elif text:
        st.error(plain(text), icon=":material/error:")


def fragment(
    draw: Callable[Arguments, None], *, run_every: float | None = None
) -> Callable[Arguments, None]:
    """``draw`` as a part of a page that reruns alone, with a boundary of its own."""

    @wraps(draw)
    def entered(*args: Arguments.args, **named: Arguments.kwargs) -> None:
        require(Action.LOOK)
        draw(*args, **named)

    return st.fragment(boundary()(entered), run_every=run_every)
