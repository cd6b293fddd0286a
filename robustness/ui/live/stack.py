"""The active perturbations, in step between the stack in the browser, the link and the session.

The latest change wins: a move in the browser, or a link that differs from the last one seen, as
after Back. The search has a thumbnail of the image under each perturbation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import streamlit as st
from numpy.typing import NDArray

from robustness.base.errors import PluginError
from robustness.base.text import plain
from robustness.images.framing import Picture
from robustness.images.pixels import to_uint8
from robustness.measure.condition import Condition
from robustness.perturbations import REGISTRY, Perturbation, apply, ordered
from robustness.report.charts import value_and_severity
from robustness.report.image import link_values
from robustness.ui import components
from robustness.ui.components import first_strength
from robustness.ui.draw import jpeg_uri
from robustness.ui.live.request import LiveRequest
from robustness.ui.session import brief, link_number
from robustness.ui.shared import cached

SIDE = 72
"""Side of a thumbnail in pixels; parameters in pixels scale with it."""


def thumbnail_uris(picture: Picture) -> Mapping[str, str]:
    """``picture`` under each perturbation at its first strength, as URIs by perturbation.

    For display only: nothing is measured on them.
    """
    thumbnails = _thumbnails(picture, REGISTRY.names)
    return {name: jpeg_uri(thumbnail) for name, thumbnail in thumbnails.items()}


@cached(16)
def _thumbnails(
    picture: Picture, perturbations: tuple[str, ...]
) -> Mapping[str, NDArray[np.uint8]]:
    resized = cv2.resize(picture.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    clean = np.asarray(resized, dtype=np.float32)[np.newaxis]
    thumbnails = {}
    for name in perturbations:
        record = REGISTRY[name]
        try:
            perturbed = apply(record, clean, first_strength(record))
        except PluginError:  # the others are of use; the page says it once this one is chosen
            perturbed = clean
        thumbnails[name] = to_uint8(perturbed[0])
    return thumbnails


FIRST = {"gaussian_blur": 0.6}
"""The first view without a link: a perturbation that only some models withstand."""

DIGITS = 6
"""Decimal digits of a strength, in the stack as in the link: what a breaking strength needs."""

_KEY = "stack"
"""Session key of the component, as Streamlit keeps what it reports."""

_STEPS = "steps"
"""Session key: the steps of the stack."""

_LAST_LINK = "seen link"
"""Session key: the perturbations of the link when it was last read or written."""

_LAST_REPORT = "steps taken"
"""Session key: the number of the browser's last report whose steps were taken."""

_REVISION = "steps given"
"""Session key: how often the steps were replaced here, which the browser then takes."""

_PLAYED = "steps to play"
"""Session key: the revision of steps that the browser plays from 0 to their strengths."""

VIEW = "view"
LIVE = "live"
MAP = "map"
STUDY = "study"
"""The parameter of the chosen view, and the views by their names in links."""


@dataclass(frozen=True)
class StackStep:
    """One perturbation of the stack; a ``hidden`` one keeps its place without effect."""

    name: str
    strength: float
    hidden: bool = False


@dataclass(frozen=True)
class Stack:
    """The perturbations in the order of application; ``dragging`` while a slider is moved."""

    steps: tuple[StackStep, ...]
    dragging: bool = False

    @property
    def condition(self) -> Condition:
        """The condition of the visible steps."""
        return Condition.of({step.name: step.strength for step in self.steps if not step.hidden})


def begin() -> None:
    """Show something on a first visit with an empty link."""
    is_first_visit = _STEPS not in st.session_state
    is_link_empty = not set(st.query_params) - {VIEW}
    if is_first_visit and is_link_empty:
        _give([StackStep(name, strength) for name, strength in FIRST.items()])
        st.session_state[_LAST_LINK] = {}


def current() -> Stack:
    """The current stack; updates the link unless a slider is held."""
    state = st.session_state
    link = _link()
    # On arrival from another page, the link may name no perturbation.
    is_link_new = link != state.get(_LAST_LINK) and (link or not state.get("arrived"))
    report = components.sent(_KEY, "stack")
    is_dragging = False
    if report is not None and report["n"] > state.get(_LAST_REPORT, 0):
        state[_LAST_REPORT] = report["n"]
        state[_STEPS] = checked(report.get("steps"))
        is_dragging = bool(report.get("held"))
    elif _STEPS not in state or is_link_new:
        _give(_steps_of(link))
        state[_LAST_LINK] = link
    if not is_dragging:
        _write(state[_STEPS])
        _warn_of_strengths(state.get(_LAST_LINK, {}))
    return Stack(tuple(state[_STEPS]), is_dragging)


def _warn_of_strengths(link: Mapping[str, str]) -> None:
    """Say which values of the link are no strengths."""
    for name, text in link.items():
        record = REGISTRY[name]
        if _strength(record, text) is None:
            expected = "a strength from 0 to 1"
            if not record.graded:
                expected += ", true or false"
            warning = f"Expected {expected}, got {name}={brief(text)} in the link; ignored."
            st.warning(plain(warning), icon=":material/link_off:")


def last_stack() -> Stack:
    """The stack that ``current`` returned last."""
    return Stack(tuple(st.session_state[_STEPS]))


def open_live(condition: Condition, *, plays: bool = False) -> None:
    """Show the view Live with ``condition`` in place of all perturbations, as Back can undo.

    ``plays``: the browser plays it, from no change to its strengths.
    """
    state = st.session_state
    target = link_values(condition)
    _give(_steps_of(target))
    if plays:
        state[_PLAYED] = state[_REVISION]
    state[VIEW] = LIVE
    removed: dict[str, list[str]] = {name: [] for name in (VIEW, *_link())}
    # In one call, which is one entry in the browser's history.
    st.query_params.update({**removed, **target})
    state[_LAST_LINK] = target


def show(stack: Stack, request: LiveRequest, ticket: str, drawing: int) -> None:
    """Draw the stack below the images of ``request``, for which ``ticket`` stands.

    ``drawing`` is the number of the drawing of images and predictions that it belongs to.
    """
    state = st.session_state
    picture = request.picture
    component_state = state.get(_KEY, {})
    thumbnails_uri = ""
    if component_state.get("picking") == picture.digest:  # the search is open on this image
        thumbnails = _thumbnails(picture, REGISTRY.names)
        # In one row, in the order of the registry.
        thumbnails_uri = jpeg_uri(np.concatenate(list(thumbnails.values()), axis=1))
    components.stack(
        key=_KEY,
        data={
            "n": state.get(_LAST_REPORT, 0),
            "rev": state.get(_REVISION, 0),
            "plays": state.get(_PLAYED) == state.get(_REVISION, 0),
            "steps": [asdict(step) | {"text": said(step)} for step in stack.steps],
            "picture": picture.digest,
            "shown": request.id,
            "ofBands": request.bands_id,
            "ticket": ticket,
            "drawing": drawing,
            "thumbs": thumbnails_uri,
        },
        on_stack_change=components.nothing,
        on_picking_change=components.nothing,
    )


def said(step: StackStep) -> str:
    """The physical value and severity of a step, such as "3 px, severity 3"."""
    return value_and_severity(REGISTRY[step.name], step.strength)


def checked(value: Any) -> list[StackStep]:
    """The valid steps of ``value``, which comes from a browser, in the order of application."""
    if not isinstance(value, list):
        return []
    steps = []
    for entry in value:
        step = _checked_step(entry)
        if step is not None:
            steps.append(step)
    return _in_order(steps)


def _checked_step(entry: Any) -> StackStep | None:
    if not isinstance(entry, dict):
        return None
    name = entry.get("name")
    strength = entry.get("strength")
    if not isinstance(name, str) or name not in REGISTRY:
        return None
    if not isinstance(strength, int | float) or not 0 <= strength <= 1:
        return None
    return StackStep(name, round(float(strength), DIGITS), hidden=bool(entry.get("hidden")))


def _give(steps: Sequence[StackStep]) -> None:
    """Replace the steps, in the browser too."""
    state = st.session_state
    state[_STEPS] = _in_order(steps)
    state[_REVISION] = state.get(_REVISION, 0) + 1


def _in_order(steps: Iterable[StackStep]) -> list[StackStep]:
    """``steps`` in the order of application; of several of one perturbation the last."""
    by_name = {step.name: step for step in steps}
    strengths = dict.fromkeys(by_name, 1.0)
    return [by_name[record.name] for record, _ in ordered(strengths)]


# --- the link -------------------------------------------------------------------------------------


def _link() -> dict[str, str]:
    """The perturbations of the link, with their texts; of several values of one the last."""
    texts = {}
    for name in REGISTRY.names:
        values = st.query_params.get_all(name)
        if values:
            texts[name] = values[-1]
    return texts


def _steps_of(link: Mapping[str, str]) -> list[StackStep]:
    """The steps of a link: those with a valid strength above 0."""
    steps = []
    for name, text in link.items():
        strength = _strength(REGISTRY[name], text)
        if strength:
            steps.append(StackStep(name, strength))
    return steps


def _strength(record: Perturbation, text: str) -> float | None:
    """The strength of ``record`` that the link's ``text`` gives; None if it is invalid."""
    if not record.graded and text.lower() == "true":
        return 1.0
    if not record.graded and text.lower() == "false":
        return 0.0
    strength = link_number(text, 0, 1)
    if strength is None:
        return None
    return round(strength, DIGITS)


def _write(steps: Sequence[StackStep]) -> None:
    """Write ``steps`` to the link if they differ: one entry in the browser's history."""
    link = _link()
    target = link_values(Stack(tuple(steps)).condition)
    has_same_steps = _steps_of(link) == _steps_of(target)
    if has_same_steps and set(link) >= set(target):
        st.session_state[_LAST_LINK] = link
        return
    removed: dict[str, list[str]] = {name: [] for name in link if name not in target}
    st.query_params.update({**removed, **target})  # an empty list removes a name
    st.session_state[_LAST_LINK] = target
