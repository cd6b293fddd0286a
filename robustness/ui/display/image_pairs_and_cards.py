"""Drawing of results: image pairs, thumbnails, a card for each model, and charts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from robustness import models
from robustness.base.text import points, share, visible
from robustness.charts.verdict_signs_and_words import verdict
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.perturbations import Images
from robustness.pictures.eight_bits import to_png, to_uint8
from robustness.pictures.framed_picture import Picture
from robustness.report.facts_and_cautions import listed_metrics
from robustness.statistics.robustness_ranking_and_verdicts import UNSURE
from robustness.ui.browser import components
from robustness.ui.browser.escaped_html import Html, html
from robustness.ui.computation.shared_results import original_png
from robustness.ui.session.choice_controls_and_link import new_in_link, set_in_link

GAIN = 3
_IMAGE = "&image="
"""Before the position of an image at the end of the text of a selection."""
_BOX = {"displayModeBar": True, "displaylogo": False, "modeBarButtons": [["select2d", "pan2d"]]}
_MOST_SELECTED = 200
NO_TOOLBAR = {"displayModeBar": False}


def show_pictures(
    picture: Picture,
    image: Images,
    what: str,
    scores: Mapping[str, NDArray[np.float64]],
    *,
    captions: tuple[str, str] = ("Original", "Perturbed"),
    gain: int = GAIN,
    signed: bool = False,
    follows: bool = False,
    remedied: tuple[Mapping[str, Any], Sequence[Images]] = ({}, ()),
    drawing: int = 0,
) -> None:
    """Draw the original, the perturbed image and their difference times ``gain``, lossless.

    ``signed`` is as for ``amplified_difference``. ``scores`` are the ``picture_scores`` of
    ``image``, one value each. With ``follows``, the same original was drawn just before and is not
    sent again. ``remedied`` are the texts and the image of a remedy, which is drawn beside them.
    ``drawing`` is the number of the drawing with the predictions that stand beside them.
    """
    header, after = pair_of(picture, image, what, scores, captions=captions, gain=gain)
    header |= {"drawing": drawing, "signed": signed, **remedied[0]}
    original = b"" if follows else original_png(picture)
    with st.container(key="pictures"):
        third = b"".join(map(to_png, remedied[1]))
        components.pair("pictures pair", header, original, after, third)


def pair_of(
    picture: Picture,
    image: Images,
    what: str,
    scores: Mapping[str, NDArray[np.float64]],
    *,
    captions: tuple[str, str] = ("Original", "Perturbed"),
    gain: int = GAIN,
) -> tuple[dict[str, Any], bytes]:
    """The texts about both images and ``image`` as a PNG, for ``show_pictures``."""
    before, after = captions
    ssim, psnr = scores["ssim"].item(), scores["psnr"].item()
    header = {
        "before": before,
        "after": after,
        "altBefore": f"The {before.lower()} image, {visible(picture.name)}",
        "altAfter": f"Perturbed image: {what}",
        "gain": gain,
        "text": f"Visual change: SSIM {ssim:.3f} (1 is identical), PSNR {psnr:.1f} dB."
        if np.isfinite(psnr)
        else "No change: both images are identical (SSIM 1).",
    }
    return header, to_png(image)


def headline(text: str) -> Html:
    """A page's main result in one sentence."""
    return html("headline", text=text)


def cells(in_a_row: int, gap: Literal["small", "medium"] = "small") -> Iterator[DeltaGenerator]:
    """Yield cells without end, row by row; a row is drawn when its first cell is taken."""
    while True:
        yield from st.columns(in_a_row, gap=gap)


def card(
    row: Measurement, changed: str = "Perturbed", *, alone: bool = True, accepted: str = ""
) -> Html:
    """One model's verdict and top-5 for both images; ``changed`` is the second one's title.

    Unless ``alone``, the verdict stands elsewhere. ``accepted`` says what the safe threshold does.
    """

    def name(index: int) -> str:
        return models.class_name(row.model, index)

    def bars(classes: Sequence[int], shares: Sequence[float]) -> list[tuple[str, float, bool]]:
        pairs = zip(classes, shares, strict=True)
        return [(name(index), share, index == row.label) for index, share in pairs]

    before = name(row.clean_top1)
    detail = f"Confidence change: {points(row.scores['confidence_change'])} points"
    if not row.consistent:
        detail = f"{before}: {share(row.clean_probability)} → {share(row.retained_probability)}"
    for metric in listed_metrics([row]):
        detail += f". {metric.label}: {row.scores[metric.name]:{metric.form}}"
    if row.clean_probability < UNSURE:
        detail += ". Low confidence on the original: treat with caution"
    if accepted:
        detail += f". {accepted}"
    return html(
        "card",
        row=row,
        verdict=verdict(row) if alone else None,
        label=models.label(row.model),
        before=before,
        after=name(row.top1),
        detail=detail,
        changed=changed,
        bars=zip(
            bars(row.clean_top5, row.clean_top5_probabilities),
            bars(row.top5, row.top5_probabilities),
            strict=True,
        ),
    )


def clicked(
    figure: go.Figure, key: str, alt: str, state_key: str, link: str, before: Callable[[], None]
) -> list[str]:
    """Draw a chart and return the ``customdata`` of the clicked point; [] without a click.

    One with a ``dragmode`` has a button to draw a box around several points. The session stores the
    ``customdata`` under ``state_key`` for a figure that replaces this one and for a return to the
    page; the link carries it as ``link``. A click first calls ``before``.
    """

    def note() -> None:
        before()
        st.session_state[state_key] = _customdata(st.session_state[key])

    st.plotly_chart(
        figure,
        key=key,
        on_select=note,
        selection_mode=("points", "box"),
        config=_BOX if figure.layout.dragmode else NO_TOOLBAR,
        alt=alt,
    )
    return in_link(state_key, link)


def in_link(state_key: str, link: str) -> list[str]:
    """The session's value ``state_key``, or the link's if that is new."""
    state, values = st.session_state, new_in_link(link)
    if values is not None and (values or not state.get("arrived")):
        state[state_key] = values
    set_in_link(link, list(state.get(state_key) or []))
    return list(state.get(state_key) or [])


def _customdata(event: Any) -> Any:
    """The ``customdata`` of the first selected point, or of all points if they are images."""
    selected = [point.get("customdata") for point in event["selection"]["points"]]
    points = [
        data if isinstance(data, list) else [data] for data in selected if data not in (None, [])
    ]
    texts = dict.fromkeys(str(values[0]) for values in points)
    if len(texts) < 2 or not all(_IMAGE in text for text in texts):
        return points[0] if points else None
    places = [text.rpartition(_IMAGE)[2] for text in texts]
    return [next(iter(texts)).rpartition(_IMAGE)[0] + _IMAGE + ",".join(places[:_MOST_SELECTED])]


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table without interaction."""
    return html("table", head=head, rows=rows)


_SIDE = 112  # pixels


def thumbnail_uri(image: Images) -> str:
    """``image`` (S, S, 3), 112 pixels a side, as the URI of a JPEG."""
    small = cv2.resize(to_uint8(image), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return jpeg_uri(np.asarray(small, np.uint8))


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """8-bit RGB ``pixels`` (H, W, 3) as the URI of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
