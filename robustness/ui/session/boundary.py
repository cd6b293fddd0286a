"""Where an error for the user becomes its sentence, whatever part of a page meets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import streamlit as st

from robustness.base.access import Action
from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.ui.server.faults import FAULTS
from robustness.ui.session.access import require
from robustness.ui.session.sentences import sentence

Given = ParamSpec("Given")


@contextmanager
def boundary(icon: str = ":material/error:") -> Iterator[None]:
    """Ends what is drawn within at the first ``RobustnessError``, and says what that says.

    So it does where the disk or a folder refuses itself in a place that expects nothing of the
    kind; the operator finds that among the faults. What Streamlit raises to stop or rerun a script
    passes through.
    """
    try:
        yield
    except RobustnessError as error:
        st.error(plain(sentence(error)), icon=icon)
    except OSError as error:
        FAULTS.note(error)
        reason = (error.strerror or type(error).__name__).rstrip(".")
        st.error(
            f"A file that this needs cannot be read or written on the server: {plain(reason)}. "
            "Nothing that was kept is lost; try again, or ask the operator of this dashboard.",
            icon=icon,
        )


def fragment(
    draw: Callable[Given, None], *, run_every: float | None = None
) -> Callable[Given, None]:
    """``draw`` as a part of a page that reruns alone: outside of the page's own boundary."""

    @wraps(draw)
    def entered(*given: Given.args, **named: Given.kwargs) -> None:
        require(Action.LOOK)
        draw(*given, **named)

    return st.fragment(boundary()(entered), run_every=run_every)
