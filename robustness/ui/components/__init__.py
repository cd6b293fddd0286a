"""Our own browser components: sliders that report while held, the stack, images to compare.

Each is a version 2 component of Streamlit built from the files in this folder. They need no build
step and load nothing from elsewhere. Their reports come from a browser and are not trusted.
"""

from __future__ import annotations

import base64
import json
import struct
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from robustness.measure.strength import ROUNDS
from robustness.perturbations import REGISTRY, Perturbation, ordered
from robustness.report import maps
from robustness.report.maps import BandMap
from robustness.ui.html import Html
from robustness.ui.patches import ComponentRenderer

_HERE = Path(__file__).parent

_DRAWING = "drawing"
"""Session key: the number of the last drawing."""

FIRST_STRENGTH = 0.6
"""First strength of a perturbation without a setting of the study: ImageNet-C's severity 3."""


def _files(*names: str) -> str:
    return "\n".join((_HERE / name).read_text("utf-8") for name in names)


@cache
def style() -> str:
    """The CSS of the components."""
    return maps.style() + _files("answers.css", "slider.css", "components.css")


def first_strength(record: Perturbation) -> float:
    """The strength with which ``record`` is added."""
    if not record.graded:
        return 1.0
    if record.study_strength is None:
        return FIRST_STRENGTH
    return record.study_strength


def marks(record: Perturbation) -> list[dict[str, Any]]:
    """The marks of the slider of ``record``: the study's setting and ImageNet-C's severities."""
    if not record.graded:
        return []
    labels_at: dict[float, list[str]] = {}
    for severity, strength in enumerate(record.severity_strengths, start=1):
        labels_at.setdefault(strength, []).append(f"severity {severity}")
    if record.study_strength is not None:
        labels_at.setdefault(record.study_strength, []).append("the study's setting")
    slider_marks = []
    for strength in sorted(labels_at):
        slider_marks.append(
            {
                "value": strength,
                "label": ", ".join(labels_at[strength]),
                "strong": strength == record.study_strength,
            }
        )
    return slider_marks


def _records() -> list[dict[str, Any]]:
    """The data of each perturbation that the stack shows, in the order of the registry."""
    every_perturbation = dict.fromkeys(REGISTRY.names, 1.0)
    order = [record.name for record, _ in ordered(every_perturbation)]
    return [
        {
            "name": record.name,
            "label": record.label,
            "risk": record.risk,
            "about": f"{record.parameter[0].upper()}{record.parameter[1:]}",
            "graded": record.graded,
            "study": record.study_strength,
            "first": first_strength(record),
            "order": order.index(record.name),
            "marks": marks(record),
        }
        for record in REGISTRY
    ]


def _component(name: str, script: str) -> ComponentRenderer:
    """A component without isolated styles."""
    return st.components.v2.component(f"robustness_{name}", js=script, isolate_styles=False)


_BUILT_IN = REGISTRY.names


@cache
def _stack(perturbations: tuple[str, ...]) -> ComponentRenderer:
    """The stack for ``perturbations``, all of the registry: plugins may add some later."""
    name = "stack"
    if perturbations != _BUILT_IN:
        # Another script needs another name: Streamlit knows a component by it.
        checksum = zlib.crc32(" ".join(perturbations).encode())
        name = f"stack_{checksum:x}"
    records = f"const RECORDS = {json.dumps(_records())};\nconst ROUNDS = {list(ROUNDS)};\n"
    scripts = _files("slider.js", "picker.js", "bands.js", "stack.js")
    return _component(name, records + scripts)


def stack(**arguments: Any) -> Any:
    """Draw the stack, with the arguments of any component."""
    return _stack(REGISTRY.names)(**arguments)


_pair = _component("pair", _files("slider.js", "pair.js"))
_answers = _component("answers", _files("slider.js", "answers.js"))
_camera = _component("camera", _files("slider.js", "camera.js"))
_remedies = _component("remedies", _files("slider.js", "remedies.js"))
_map = _component("map", _files("map.js"))
_settled = _component("settled", _files("slider.js", "settled.js"))
_place = _component("place", _files("place.js"))
_stage = _component("stage", _files("stage.js"))
_history = _component("history", _files("dragging.js", "texts.js", "history.js"))


def pack(header: Mapping[str, Any], images: Sequence[bytes]) -> bytes:
    """``header`` and ``images`` as one message for ``unpack`` of the scripts.

    It is the header's length in four bytes, the header as JSON with the ``sizes`` of the images,
    and the images.
    """
    sizes = [len(image) for image in images]
    encoded_header = json.dumps({**header, "sizes": sizes}).encode()
    header_length = struct.pack(">I", len(encoded_header))
    return b"".join([header_length, encoded_header, *images])


def unpack(message: bytes, most: int | None = None) -> tuple[dict[str, Any], list[bytes]]:
    """The header given to ``pack``, with ``sizes``, and the images.

    Raises ``ValueError``, before any copy, unless the sizes add up to the rest of the message and
    are at most ``most``.
    """
    if len(message) < 4:
        raise ValueError("expected a message with a header")
    end_of_header = 4 + int.from_bytes(message[:4])
    header = json.loads(message[4:end_of_header])
    sizes = header.get("sizes") if isinstance(header, dict) else None
    # By type: True is an int, too.
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("expected sizes of at least 0")
    has_too_many = most is not None and len(sizes) > most
    if has_too_many or end_of_header + sum(sizes) != len(message):
        raise ValueError("expected sizes that add up to the message")
    images = []
    start = end_of_header
    for size in sizes:
        images.append(message[start : start + size])
        start += size
    return header, images


def pair(
    key: str, header: Mapping[str, Any], before: bytes, after: bytes, remedied: bytes = b""
) -> None:
    """Draw two or three PNGs of one size to compare.

    An empty ``before`` keeps the one shown; an empty ``remedied`` is left out.
    """
    images = [before, after]
    if remedied:
        images.append(remedied)
    _pair(key=key, data=pack(header, images))


def remedies(
    key: str, cards: Sequence[Mapping[str, Any]], chosen: str, clicked: Callable[[], None]
) -> None:
    """Draw a button per card; calls ``clicked`` when ``chosen`` reports one of them."""
    _remedies(key=key, data={"cards": cards, "chosen": chosen}, on_chosen_change=clicked)


def band_map(
    key: str, drawing: BandMap, clicked: Callable[[], None] | None = None, chosen: str = ""
) -> None:
    """Draw a map; calls ``clicked`` when ``chosen`` reports the ``key`` of a tile.

    The tile with the key ``chosen`` is marked.
    """
    _map(
        key=key, data={"html": drawing.html, "chosen": chosen}, on_chosen_change=clicked or nothing
    )


class Answers(NamedTuple):
    """The predictions: a headline, a row and a card per model, and a note once all are there."""

    headline: Html
    rows: Html
    cards: list[Html]
    note: str


def next_drawing() -> int:
    """The number of a drawing of images, stack and predictions that belong together.

    The browser drops a part with a smaller number than another. Numbers start at the time in
    milliseconds, as a page in the browser may outlive its session.
    """
    milliseconds = time.time_ns() // 10**6
    number = int(st.session_state.get(_DRAWING, milliseconds)) + 1
    st.session_state[_DRAWING] = number
    return number


def answers(place: AbstractContextManager[Any], key: str, content: Answers, drawing: int) -> None:
    """Draw the cards in ``place``, and the rest beside the images of the same ``drawing``."""
    with place:
        _answers(key=key, data={**content._asdict(), "drawing": drawing})


def settled(key: str, page_id: str) -> None:
    """Rerun the fragment around it once the predictions have settled on another id."""
    _settled(key=key, data={"shown": page_id}, on_settled_change=nothing)


def camera(key: str, frozen: Callable[[], None]) -> None:
    """Draw a live camera; calls ``frozen`` when ``frame`` has a new frame."""
    _camera(key=key, on_frozen_change=frozen, width="content")


def frame(key: str) -> bytes | None:
    """The frozen frame of the camera ``key``, an untrusted file; None without one."""
    report = sent(key, "frozen") or {}
    try:
        return base64.b64decode(report["png"], validate=True)
    except (KeyError, TypeError, ValueError):
        return None


def place(key: str, run_id: str) -> None:
    """Scroll back to the link to an image of the run that was followed."""
    _place(key=key, data={"id": run_id})


def stage(key: str, story: str) -> None:
    """Show the controls of Present mode while the pointer moves.

    The arrow keys follow the links of the stories before and after ``story``, where there are any.
    """
    _stage(key=key, data={"story": story})


def history(key: str) -> None:
    """Add to a page what no control of Streamlit does.

    This is a Back that leads to the previous page, our words for a lost connection and a refused
    file, and a mark while a file is dragged over the page.
    """
    _history(key=key)


def nothing() -> None:
    """An empty callback: a component reports only values with a callback."""


def sent(key: str, name: str) -> dict[str, Any] | None:
    """The last report ``name`` of the component ``key``, with its number ``n``; else None."""
    try:
        report = st.session_state[key][name]
    except (KeyError, TypeError):
        return None
    if isinstance(report, dict) and isinstance(report.get("n"), int):
        return report
    return None
