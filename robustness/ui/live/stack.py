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
    return {name: jpeg_uri(small) for name, small in _small(picture, REGISTRY.names).items()}


@cached(16)
def _small(picture: Picture, names: tuple[str, ...]) -> Mapping[str, NDArray[np.uint8]]:
    resized = cv2.resize(picture.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    clean = np.asarray(resized, dtype=np.float32)[np.newaxis]
    images = {}
    for record in map(REGISTRY.__getitem__, names):
        try:
            changed = apply(record, clean, first_strength(record))
        except PluginError:  # the others are of use; the page says it once this one is chosen
            changed = clean
        images[record.name] = to_uint8(changed[0])
    return images


FIRST = {"gaussian_blur": 0.6}
"""The first view without a link: a perturbation that only some models withstand."""

DIGITS = 6
"""Decimal digits of a strength, in the stack as in the link: what a breaking strength needs."""

_KEY = "stack"
_STEPS = "steps"
_LAST_LINK = "seen link"
_TAKEN = "steps taken"
_REV = "steps given"

VIEW = "view"
LIVE = "live"
MAP = "map"
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
    if _STEPS not in st.session_state and not {*st.query_params} - {"view"}:
        _give([StackStep(name, strength) for name, strength in FIRST.items()])
        st.session_state[_LAST_LINK] = {}


def current() -> Stack:
    """The current stack; updates the link unless a slider is held."""
    state = st.session_state
    link = _of_link()
    # On arrival from another page, the link may name no perturbation.
    is_link_new = link != state.get(_LAST_LINK) and (link or not state.get("arrived"))
    report = components.sent(_KEY, "stack")
    dragging = False
    if report and report["n"] > state.get(_TAKEN, 0):
        state[_TAKEN] = report["n"]
        state[_STEPS] = checked(report.get("steps"))
        dragging = bool(report.get("held"))
    elif _STEPS not in state or is_link_new:
        _give(_steps_of(link))
        state[_LAST_LINK] = link
    if not dragging:
        _write(state[_STEPS])
        for name, text in state.get(_LAST_LINK, {}).items():
            if _strength(REGISTRY[name], text) is None:
                kinds = "" if REGISTRY[name].graded else ", true or false"
                said = f"a strength from 0 to 1{kinds}, got {name}={brief(text)} in the link"
                st.warning(plain(f"Expected {said}; ignored."), icon=":material/link_off:")
    return Stack(tuple(state[_STEPS]), dragging)


def last_stack() -> Stack:
    """The stack that ``current`` returned last."""
    return Stack(tuple(st.session_state[_STEPS]))


def open_live(name: str, strength: float) -> None:
    """Show the view Live with one perturbation in place of all others, as Back can undo."""
    state = st.session_state
    target = link_values(Condition.of({name: strength}))
    _give([StackStep(name, strength)] if strength else [])
    state[VIEW] = LIVE
    gone: dict[str, list[str]] = {each: [] for each in (VIEW, *_of_link())}
    st.query_params.update({**gone, **target})  # once: one entry in the browser's history
    state[_LAST_LINK] = target


def show(stack: Stack, request: LiveRequest, ticket: str, drawing: int) -> None:
    """Draw the stack below the images of ``request``, for which ``ticket`` stands."""
    state = st.session_state
    picture = request.picture
    picking = state.get(_KEY, {}).get("picking") if _KEY in state else None
    thumbs = ""
    if picking == picture.digest:  # in one row, in the order of the registry
        thumbs = jpeg_uri(np.concatenate([*_small(picture, REGISTRY.names).values()], axis=1))
    components.stack(
        key=_KEY,
        data={
            "n": state.get(_TAKEN, 0),
            "rev": state.get(_REV, 0),
            "steps": [asdict(step) | {"text": said(step)} for step in stack.steps],
            "picture": picture.digest,
            "shown": request.id,
            "ofBands": request.bands_id,
            "ticket": ticket,
            "drawing": drawing,
            "thumbs": thumbs,
        },
        on_stack_change=components.nothing,
        on_picking_change=components.nothing,
    )


def said(step: StackStep) -> str:
    """The physical value and severity of a step, such as "3 px, severity 3"."""
    return value_and_severity(REGISTRY[step.name], step.strength)


def checked(value: Any) -> list[StackStep]:
    """The valid steps of ``value``, which comes from a browser."""
    steps = []
    for entry in value if isinstance(value, list) else []:
        values = entry if isinstance(entry, dict) else {}
        name = values.get("name")
        strength = values.get("strength")
        is_name = isinstance(name, str) and name in REGISTRY
        if is_name and isinstance(strength, int | float) and 0 <= strength <= 1:
            exact = round(float(strength), DIGITS)
            steps.append(StackStep(str(name), exact, bool(values.get("hidden"))))
    return _in_order(steps)


def _give(steps: Sequence[StackStep]) -> None:
    """Send ``steps`` to the browser."""
    state = st.session_state
    state[_STEPS] = _in_order(steps)
    state[_REV] = state.get(_REV, 0) + 1


def _in_order(steps: Iterable[StackStep]) -> list[StackStep]:
    by_name = {step.name: step for step in steps}
    order = [record.name for record, _ in ordered(dict.fromkeys(by_name, 1.0))]
    return [by_name[name] for name in order]


# --- the link -------------------------------------------------------------------------------------


def _of_link() -> dict[str, str]:
    """The perturbations of the link, with their texts."""
    said = {name: st.query_params.get_all(name) for name in REGISTRY.names}
    return {name: values[-1] for name, values in said.items() if values}


def _steps_of(link: Mapping[str, str]) -> list[StackStep]:
    read = ((name, _strength(REGISTRY[name], text)) for name, text in link.items())
    return [StackStep(name, strength) for name, strength in read if strength]


def _strength(record: Perturbation, text: str) -> float | None:
    """The strength of ``record`` that the link's ``text`` gives; None if it is invalid."""
    if not record.graded and text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    strength = link_number(text, 0, 1)
    return None if strength is None else round(strength, DIGITS)


def _write(steps: Sequence[StackStep]) -> None:
    """Write ``steps`` to the link if they differ: one entry in the browser's history."""
    link = _of_link()
    target = link_values(Stack(tuple(steps)).condition)
    if _steps_of(link) == _steps_of(target) and set(link) >= set(target):
        st.session_state[_LAST_LINK] = link
        return
    gone: dict[str, list[str]] = {name: [] for name in link if name not in target}
    st.query_params.update({**gone, **target})  # an empty list removes a name
    st.session_state[_LAST_LINK] = target
