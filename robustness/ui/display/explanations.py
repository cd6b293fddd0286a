"""Heat maps of where models look, and the chart of where features diverge.

A thread computes heat maps, so that the page's script never waits: Streamlit finishes a script
before it reacts to a slider. A fragment polls for finished maps, shows them, and ends with the
last.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.perturbations import Images
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import image_digest
from robustness.ui.browser.html import Html, html
from robustness.ui.computation.cache import RESULT_CACHE
from robustness.ui.display import results
from robustness.ui.page import fragment
from robustness.ui.session.inputs import keep, one_of, restore
from robustness.ui.session.sentences import sentence

LOOK_SECONDS = 0.15
"""Seconds between checks for finished maps; each check also starts the next model."""

QUIET_SECONDS = 0.3
"""Seconds without another request before a map is computed, so that a moving slider has the machine
to itself."""

_RUNNING = "attention running"

SWITCH = "attention"
"""Key of the switch of ``section``, in links too."""


@dataclass(frozen=True)
class HeatMapRequest:
    """A request to one model: maps of ``images`` (N, S, S, 3) for each of ``classes``.

    ``key`` identifies it.
    """

    key: str
    model: str
    images: Images
    classes: tuple[int, ...]

    @classmethod
    def of(cls, model: str, images: Images, classes: Sequence[int]) -> HeatMapRequest:
        digests = [image_digest(image) for image in images]
        weights = models.digest(models.REGISTRY[model])
        key = " ".join(["attention", model, weights, *digests, *map(str, classes)])
        return cls(key, model, images, tuple(classes))


@dataclass(frozen=True)
class View:
    """The evidence for one class in one image, drawn over it.

    ``peak`` is the strongest cell as a share of the strongest of all the model's views.
    """

    png: bytes
    peak: float
    cells: tuple[int, int]


@dataclass(frozen=True)
class Attention:
    """One view for each class and image, by class first; or why there are none."""

    views: tuple[View, ...] = ()
    refusal: str = ""


def in_detail(about: str) -> DeltaGenerator | None:
    """Draw the folded part of a view that ends with ``section``; its container if it is open.

    A link with heat maps opens it.
    """
    key = "show_in_detail"
    if SWITCH in st.query_params and key not in st.session_state:
        st.session_state[key] = True
    folded = st.expander(f"**In detail** · {about}", key=key, bind="query-params")
    return folded if folded.open else None


def section(
    captions: Sequence[str],
    images_of: Callable[[str], Images],
    classes: Mapping[str, Sequence[int]],
) -> None:
    """Draw a switch and, while it is on, every model's maps.

    ``images_of`` returns the images that a model sees, one for each caption. ``classes`` are the
    distinct class indices to explain by model name, the original's first. Drawn last on a page,
    once; while the switch is off, nothing is computed or imported.
    """
    asked = st.toggle(
        "Where does the model look?",
        key=SWITCH,
        bind="query-params",
        help="Shows which parts of the image support the prediction (Grad-CAM). Takes about as "
        "long as another forward pass for each image and class.",
    )
    if not asked:
        return
    st.html(_legend())
    work = [HeatMapRequest.of(name, images_of(name), wanted) for name, wanted in classes.items()]
    complete = all(RESULT_CACHE.get(item.key) for item in work)
    shown = fragment(_show, run_every=None if complete else LOOK_SECONDS)
    shown(work, captions, None if complete else time.monotonic())


def _show(work: Sequence[HeatMapRequest], captions: Sequence[str], since: float | None) -> None:
    """Draw the finished maps; ``since`` is when they were requested, None once all are there."""
    answers = [(RESULT_CACHE.get(item.key) or [None])[0] for item in work]
    missing = [item for item, answer in zip(work, answers, strict=True) if answer is None]
    if missing and since is not None and time.monotonic() - since >= QUIET_SECONDS:
        _begin(missing[0])
    columns = results.cells(2, gap="medium")
    for item, answer, column in zip(work, answers, columns, strict=False):
        if answer is not None and answer.refusal:
            column.info(plain(answer.refusal), icon=":material/visibility_off:")
            continue
        with column.container(key=f"attention-{item.model}", border=True):
            if answer is None:
                st.caption(f"Looking with {plain(models.label(item.model))} …")
            else:
                _draw(item, captions, answer.views)
    if since is not None and not missing:
        st.rerun()  # draws the same once more and stops polling


def _draw(work: HeatMapRequest, captions: Sequence[str], views: Sequence[View]) -> None:
    """Draw one model's maps: a row of images for each class."""
    model = models.label(work.model)
    height, width = views[0].cells
    st.html(html("heat_maps", model=model, height=height, width=width))
    for row, index in enumerate(work.classes):
        label = models.class_name(work.model, index)
        st.html(html("evidence", label=label))
        columns = st.columns(len(captions), gap="small", wrap=False)
        for place, (column, caption) in enumerate(zip(columns, captions, strict=True)):
            view = views[row * len(captions) + place]
            column.image(
                view.png,
                caption=f"{plain(caption)}: {_peak(view)}",
                width="stretch",
                alt=f"{caption}: where {model} sees evidence for {label}, {_peak(view)}",
                output_format="PNG",
            )


def _peak(view: View) -> str:
    return f"peak\u00a0{view.peak:.0%}" if view.peak > 0 else "none"


@cache
def _legend() -> Html:
    from robustness.models.run import heat_map

    bar = base64.b64encode(to_png(heat_map.colour_bar())).decode()
    return html("heat_scale", bar=bar)


# --- computed beside the script -------------------------------------------------------------------


def _begin(work: HeatMapRequest) -> None:
    """Start ``work`` unless this session's last work is still running.

    One model at a time, so that no queue is left when the image changes.
    """
    running = st.session_state.get(_RUNNING)
    if running is None or running.done():
        st.session_state[_RUNNING] = _worker().submit(_compute, work)


def _compute(work: HeatMapRequest) -> None:
    if RESULT_CACHE.get(work.key):  # another session has requested the same meanwhile
        return
    try:
        answer = Attention(_views(work))
    except RobustnessError as error:
        answer = Attention(refusal=sentence(error))
    except Exception as error:  # a graph may fail in any way, such as for lack of memory
        answer = Attention(
            refusal=f"Where {models.label(work.model)} looks could not be computed "
            f"({type(error).__name__})."
        )
    RESULT_CACHE.put(work.key, [answer])


def _views(work: HeatMapRequest) -> tuple[View, ...]:
    from robustness.models.run import heat_map

    classifier = models.load(work.model, side=work.images.shape[1])
    images = np.concatenate([work.images] * len(work.classes))
    maps = heat_map.heat_maps(classifier, images, np.repeat(work.classes, len(work.images)))
    return tuple(
        View(to_png(heat_map.overlay(image, heat)), float(heat.max()), maps.cells)
        for image, heat in zip(images, maps.relative, strict=True)
    )


@st.cache_resource(show_spinner=False)
def _worker() -> ThreadPoolExecutor:
    """One thread for all sessions, so that maps never occupy the whole machine."""
    return ThreadPoolExecutor(1, thread_name_prefix="attention")


AVERAGED, BY_PLACE = "averaged", "by place"
_COMPARED = {AVERAGED: "averaged over the image", BY_PLACE: "place by place"}


def by_place_input() -> bool:
    """Whether activations are compared place by place; otherwise averaged over height and width."""
    restore("compared", AVERAGED)
    chosen = one_of(
        "Activations compared",
        _COMPARED,
        "compared",
        shows_label=False,
        help="Averaging hides content that only moved, such as under a flip. Comparing place by "
        "place counts it as fully as content that changed.",
    )
    keep("compared", chosen)
    return chosen == BY_PLACE
