"""Turns errors on any part of a page into sentences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import streamlit as st

from robustness.base.errors import RobustnessError
from robustness.base.permissions import Action
from robustness.base.scheduler import SupersededError
from robustness.base.text import plain
from robustness.ui.server.counters import note_error
from robustness.ui.session.access import require
from robustness.ui.session.sentences import sentence

Arguments = ParamSpec("Arguments")


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
