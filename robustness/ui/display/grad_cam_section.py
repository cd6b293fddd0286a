"""Heat maps of where models look, computed once asked for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import plain, share
from robustness.perturbations import Images
from robustness.pictures.eight_bits import to_png
from robustness.pictures.framed_picture import image_digest
from robustness.ui.browser.escaped_html import Html, html
from robustness.ui.computation.background_work_and_cache import CachedWork
from robustness.ui.display import image_pairs_and_cards
from robustness.ui.session.error_boundary import sentence

SWITCH = "attention"
"""Key of the switch of ``section``, in links too."""


@dataclass(frozen=True)
class View:
    """The evidence for one class in one image, drawn over it.

    ``peak`` is the strongest cell as a share of the strongest of all the model's views.
    """

    png: bytes
    peak: float
    cells: tuple[int, int]


def section_expander(about: str) -> DeltaGenerator | None:
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
    if not st.toggle(
        "Where does the model look?",
        key=SWITCH,
        bind="query-params",
        help="Shows which parts of the image support the prediction (Grad-CAM). Takes about as "
        "long as another forward pass for each image and class.",
    ):
        return
    st.html(_legend())
    columns = image_pairs_and_cards.cells(2, gap="medium")
    for (model, indices), column in zip(classes.items(), columns, strict=False):
        with column.container(key=f"attention-{model}", border=True):
            _draw(model, captions, indices, looking(model, images_of(model), indices).at_once())


def looking(model: str, images: Images, classes: Sequence[int]) -> CachedWork:
    """The views of ``model``: of ``images`` (N, S, S, 3) for each of ``classes``, or why not."""
    parts = [models.digest(models.REGISTRY[model]), *map(image_digest, images), *map(str, classes)]
    return CachedWork(
        f"Looking with {plain(models.label(model))}",
        " ".join(["attention", model, *parts]),
        None,
        lambda _: _views(model, images, classes),
        len(images) * len(classes),
    )


def _draw(
    model: str, captions: Sequence[str], classes: Sequence[int], views: Sequence[View | str]
) -> None:
    """Draw one model's maps: a row of images for each class."""
    label = models.label(model)
    maps = [view for view in views if isinstance(view, View)]
    for refusal in views[len(maps) :]:
        st.info(plain(str(refusal)), icon=":material/visibility_off:")
    if not maps:
        return
    height, width = maps[0].cells
    st.html(html("heat_maps", model=label, height=height, width=width))
    for row, index in enumerate(classes):
        title = models.class_name(model, index)
        st.html(html("evidence", label=title))
        columns = st.columns(len(captions), gap="small", wrap=False)
        for column, caption, view in zip(
            columns, captions, maps[row * len(captions) :], strict=False
        ):
            column.image(
                view.png,
                caption=f"{plain(caption)}: {_peak(view)}",
                width="stretch",
                alt=f"{caption}: evidence of {label} for {title}, {_peak(view)}",
                output_format="PNG",
            )


def _peak(view: View) -> str:
    return f"peak\u00a0{share(view.peak, 0)}" if view.peak > 0 else "none"


@cache
def _legend() -> Html:
    from robustness.models.run import heat_map

    bar = base64.b64encode(to_png(heat_map.colour_bar())).decode()
    return html("heat_scale", bar=bar)


def _views(model: str, images: Images, classes: Sequence[int]) -> Iterator[View | str]:
    from robustness.models.run import heat_map

    try:
        classifier = models.load(model, side=images.shape[1])
        repeated = np.concatenate([images] * len(classes))
        maps = heat_map.heat_maps(classifier, repeated, np.repeat(classes, len(images)))
        for image, heat in zip(repeated, maps.relative, strict=True):
            yield View(to_png(heat_map.overlay(image, heat)), float(heat.max()), maps.cells)
    except RobustnessError as error:
        yield sentence(error)
    except Exception as error:  # a graph may fail in any way, such as for lack of memory
        yield f"The maps of {models.label(model)} cannot be computed ({type(error).__name__})."
