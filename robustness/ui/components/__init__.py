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
from itertools import accumulate
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
    return FIRST_STRENGTH if record.study_strength is None else record.study_strength


def marks(record: Perturbation) -> list[dict[str, Any]]:
    """The marks of the slider of ``record``: the study's setting and ImageNet-C's severities."""
    if not record.graded:
        return []
    positions: dict[float, list[str]] = {}
    for severity, strength in enumerate(record.severity_strengths, start=1):
        positions.setdefault(strength, []).append(f"severity {severity}")
    if record.study_strength is not None:
        positions.setdefault(record.study_strength, []).append("the study's setting")
    return [
        {"value": value, "label": ", ".join(names), "strong": value == record.study_strength}
        for value, names in sorted(positions.items())
    ]


def _records() -> list[dict[str, Any]]:
    """The data of each perturbation that the stack shows, in the order of the registry."""
    order = [record.name for record, _ in ordered(dict.fromkeys(REGISTRY.names, 1.0))]
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


_FIRST = REGISTRY.names


@cache
def _stack(names: tuple[str, ...]) -> ComponentRenderer:
    """The stack for the perturbations ``names``; plugins may add some later."""
    suffix = "" if names == _FIRST else f"_{zlib.crc32(' '.join(names).encode()):x}"
    records = f"const RECORDS = {json.dumps(_records())};\nconst ROUNDS = {list(ROUNDS)};\n"
    scripts = _files("slider.js", "picker.js", "bands.js", "stack.js")
    return _component(f"stack{suffix}", records + scripts)


def stack(**mounted: Any) -> Any:
    """Draw the stack; ``mounted`` is as for any component."""
    return _stack(REGISTRY.names)(**mounted)


_pair = _component("pair", _files("slider.js", "pair.js"))
_answers = _component("answers", _files("slider.js", "answers.js"))
_camera = _component("camera", _files("slider.js", "camera.js"))
_remedies = _component("remedies", _files("slider.js", "remedies.js"))
_map = _component("map", _files("map.js"))
_settled = _component("settled", _files("slider.js", "settled.js"))
_place = _component("place", _files("place.js"))
_stage = _component("stage", _files("stage.js"))
_history = _component("history", _files("dragging.js", "texts.js", "history.js"))


def pack(header: Mapping[str, Any], pictures: Sequence[bytes]) -> bytes:
    """``header`` and ``pictures`` as one message for ``unpack`` of the scripts."""
    head = json.dumps({**header, "sizes": [len(picture) for picture in pictures]}).encode()
    return b"".join([struct.pack(">I", len(head)), head, *pictures])


def unpack(message: bytes, most: int | None = None) -> tuple[dict[str, Any], list[bytes]]:
    """The header given to ``pack``, with ``sizes``, and the images.

    Raises ``ValueError``, before any copy, unless the sizes add up to the rest of the message and
    are at most ``most``.
    """
    if len(message) < 4:
        raise ValueError("expected a message with a header")
    at = 4 + int.from_bytes(message[:4])
    header = json.loads(message[4:at])
    sizes = header.get("sizes") if isinstance(header, dict) else None
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("expected sizes of at least 0")
    if (most is not None and len(sizes) > most) or at + sum(sizes) != len(message):
        raise ValueError("expected sizes that add up to the message")
    ends = [at + end for end in accumulate(sizes)]
    return header, [message[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def pair(
    key: str, header: Mapping[str, Any], before: bytes, after: bytes, remedied: bytes = b""
) -> None:
    """Draw two or three PNGs of one size to compare; an empty ``before`` keeps the one shown."""
    _pair(key=key, data=pack(header, [before, after, *([remedied] if remedied else [])]))


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
    state = st.session_state
    state[_DRAWING] = state.get(_DRAWING, time.time_ns() // 10**6) + 1
    return int(state[_DRAWING])


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


def place(key: str, what: str) -> None:
    """Scroll back to the link to an image of ``what`` that was followed."""
    _place(key=key, data={"id": what})


def stage(key: str, story: str) -> None:
    """Show the controls of Present mode while the pointer moves.

    The arrow keys follow the links of the stories before and after ``story``, where there are any.
    """
    _stage(key=key, data={"story": story})


def history(key: str) -> None:
    """What every page has: a Back that leads to the previous page, our words for a lost connection
    and a refused file, and a mark while a file is dragged over it."""
    _history(key=key)


def nothing() -> None:
    """An empty callback: a component reports only values with a callback."""


def sent(key: str, name: str) -> dict[str, Any] | None:
    """The last report ``name`` of the component ``key``, with its number ``n``; else None."""
    try:
        report = st.session_state[key][name]
    except (KeyError, TypeError):
        return None
    whole = isinstance(report, dict) and isinstance(report.get("n"), int)
    return report if whole else None
