"""The perturbations that are on: what the stack in the browser, the link and the session say of it.

The newest word counts: what was moved in the browser, or a link that is not the one last seen, as
when somebody goes back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import streamlit as st

from robustness.base.text import nearest, plain
from robustness.evaluation.condition import Condition
from robustness.perturbations import REGISTRY, Perturbation, ordered
from robustness.pictures.picture import Picture
from robustness.report.copy_as import link_values
from robustness.ui.browser import components
from robustness.ui.controls.picture_input import CAMERA_FILE, USABLE
from robustness.ui.live.thumbnails import thumbnails

FIRST = {"gaussian_blur": 0.6}
"""What a visitor without a link sees first: a change that some models survive and some do not."""

_ALIKE = 0.8
"""From which on a name in the link is taken for a perturbation's with a slip of the pen."""

DIGITS = 4
"""Of a strength: as fine as the link is exact."""

_KEY = "stack"
_STEPS, _SEEN, _TAKEN, _REV, _FILES = "steps", "seen link", "steps taken", "steps given", "of files"


@dataclass(frozen=True)
class StackStep:
    """One perturbation of the stack; ``hidden`` ones keep their place and do nothing."""

    name: str
    strength: float
    hidden: bool = False


@dataclass(frozen=True)
class Stack:
    """What is on, in the order in which it is applied; ``held`` while a slider is being moved."""

    steps: tuple[StackStep, ...]
    held: bool = False

    @property
    def condition(self) -> Condition:
        """What the image is put under."""
        return Condition.of({step.name: step.strength for step in self.steps if not step.hidden})


def current() -> Stack:
    """The stack as it is now; keeps the link in step unless a slider is held."""
    state = st.session_state
    report = components.sent(_KEY, "stack")
    link = _of_link()
    held = False
    if report and report["n"] > state.get(_TAKEN, 0):
        state[_TAKEN] = report["n"]
        state[_STEPS] = checked(report.get("steps"))
        held = bool(report.get("held"))
    elif _STEPS not in state and not st.query_params:
        _give([StackStep(name, strength) for name, strength in FIRST.items()])
    elif _STEPS not in state or (link != state.get(_SEEN) and _speaks(link)):
        _give(_steps_of(link))
        state[_SEEN] = link
    files = state.get(USABLE, [])
    if files and files not in ([CAMERA_FILE], state.get(_FILES)) and state[_STEPS]:
        _give([])
    state[_FILES] = files
    if not held:
        _write(state[_STEPS])
        for problem in (*_problems(state.get(_SEEN, {})), *_strangers()):
            st.warning(plain(problem), icon=":material/link_off:")
    return Stack(tuple(state[_STEPS]), held)


def kept() -> Stack:
    """The stack as ``current`` last found it."""
    return Stack(tuple(st.session_state[_STEPS]))


def show(stack: Stack, picture: Picture, shown: str, ticket: str) -> None:
    """Draws the stack; ``shown`` names what the page now shows, ``ticket`` is that of ``held``."""
    state = st.session_state
    picking = state.get(_KEY, {}).get("picking") if _KEY in state else None
    components.stack(
        key=_KEY,
        data={
            "n": state.get(_TAKEN, 0),
            "rev": state.get(_REV, 0),
            "steps": [asdict(step) | {"text": said(step)} for step in stack.steps],
            "picture": picture.digest,
            "shown": shown,
            "ticket": ticket,
            "thumbs": thumbnails(picture) if picking == picture.digest else "",
        },
        on_stack_change=components.nothing,
        on_picking_change=components.nothing,
    )


def said(step: StackStep) -> str:
    """What a step is worth, as a person would say it: "3 px, severity 3"."""
    record = REGISTRY[step.name]
    severity = record.severity_at(step.strength)
    exact = severity and record.severity_strengths[severity - 1] == step.strength
    about = "" if exact else "about "
    level = f", {about}severity {severity}" if severity else ""
    return f"{record.value_text(step.strength)}{level}"


def checked(given: Any) -> list[StackStep]:
    """The steps of ``given``, which came from a browser: whatever is no step is left out."""
    steps = []
    for entry in given if isinstance(given, list) else []:
        values = entry if isinstance(entry, dict) else {}
        name, strength = values.get("name"), values.get("strength")
        known = isinstance(name, str) and name in REGISTRY
        if known and isinstance(strength, int | float) and 0 <= strength <= 1:
            exact = round(float(strength), DIGITS)
            steps.append(StackStep(str(name), exact, bool(values.get("hidden"))))
    return _in_order(steps)


def _speaks(link: Mapping[str, str]) -> bool:
    """Whether the link decides: one that brings a visitor from another page may say nothing."""
    return bool(link) or not st.session_state.get("arrived")


def _give(steps: Sequence[StackStep]) -> None:
    """Has the browser take over ``steps``."""
    state = st.session_state
    state[_STEPS] = _in_order(steps)
    state[_REV] = state.get(_REV, 0) + 1


def _in_order(steps: Iterable[StackStep]) -> list[StackStep]:
    by_name = {step.name: step for step in steps}
    order = [record.name for record, _ in ordered(dict.fromkeys(by_name, 1.0))]
    return [by_name[name] for name in order]


# --- the link -------------------------------------------------------------------------------------


def _of_link() -> dict[str, str]:
    """What the link says of perturbations."""
    said = {name: st.query_params.get_all(name) for name in REGISTRY.names}
    return {name: values[-1] for name, values in said.items() if values}


def _steps_of(link: Mapping[str, str]) -> list[StackStep]:
    read = ((name, _strength(REGISTRY[name], text)) for name, text in link.items())
    return [StackStep(name, strength) for name, strength in read if strength]


def _strength(record: Perturbation, text: str) -> float | None:
    """What the link's ``text`` means for ``record``; None if it is no strength."""
    if not record.graded and text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        strength = float(text)
    except ValueError:
        return None
    inside = math.isfinite(strength) and 0 <= strength <= 1
    return round(strength, DIGITS) if inside else None


def _problems(link: Mapping[str, str]) -> list[str]:
    """A sentence for each perturbation of the link whose strength means nothing."""
    return [
        f"The link asks for {name}={text}, which is left out: expected a strength from 0 to 1"
        + ("." if REGISTRY[name].graded else ", true or false.")
        for name, text in link.items()
        if _strength(REGISTRY[name], text) is None
    ]


def _strangers() -> list[str]:
    """A sentence for each name in the link that is nearly a perturbation's."""
    return [
        f"The link asks for {name}, which is left out: there is no such perturbation. Did you mean "
        f"{meant}?"
        for name in st.query_params
        if name not in REGISTRY and (meant := _meant(name))
    ]


@lru_cache(maxsize=256)  # it is asked at every move
def _meant(name: str) -> str:
    """The perturbation that ``name`` is nearly; "" for something else."""
    longest = max(map(len, REGISTRY.names))
    found = nearest(name, REGISTRY.names, cutoff=_ALIKE) if len(name) <= 2 * longest else ()
    return next(iter(found), "")


def query(steps: Iterable[StackStep]) -> dict[str, str]:
    """``steps`` as a link says them."""
    return link_values(Stack(tuple(steps)).condition)


def _write(steps: Sequence[StackStep]) -> None:
    """Has the link say ``steps``, unless it does: one entry in the browser's history."""
    link, wanted = _of_link(), query(steps)
    if _steps_of(link) == _steps_of(wanted) and set(link) >= set(wanted):
        st.session_state[_SEEN] = link
        return
    gone: dict[str, list[str]] = {name: [] for name in link if name not in wanted}
    st.query_params.update({**gone, **wanted})  # an empty list takes it out of the link
    st.session_state[_SEEN] = wanted
