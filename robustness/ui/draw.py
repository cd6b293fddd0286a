"""Drawing of results: image pairs, thumbnails, a card for each model, and charts.

How the blocks of a report look on a page, with controls where they offer a choice.

Buttons that copy the current check as text, and that download a result's report.

Heat maps of where models look, computed once asked for.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Literal

import cv2
import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import plain, points, share, visible
from robustness.images.framing import Picture, image_digest
from robustness.images.pixels import to_png, to_uint8
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request
from robustness.perturbations import Images
from robustness.report import FORMATS, Report
from robustness.report.blocks import (
    Block,
    Cases,
    Chart,
    Chooser,
    Columns,
    Map,
    Option,
    Question,
    RunFigures,
    Text,
    Titled,
)
from robustness.report.facts import listed_metrics
from robustness.report.formats import Format, Write, rendered
from robustness.report.image import COMMAND, LINK, PYTHON, TOML, WRITTEN, reproduction_texts
from robustness.report.run import REGISTRY
from robustness.report.tables import verdict
from robustness.statistics.choice import OTHERS
from robustness.statistics.study import UNSURE
from robustness.ui import components
from robustness.ui.html import Html, html
from robustness.ui.jobs import CachedWork
from robustness.ui.session import listed, new_in_link, one_of, sentence, set_in_link
from robustness.ui.shared import is_sample, original_png

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
    ssim = scores["ssim"].item()
    psnr = scores["psnr"].item()
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


def clicked_point(
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
    state = st.session_state
    values = new_in_link(link)
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


SELECTIONS = tuple(question.link for question in REGISTRY if question.link)
"""Parameters of the link that select images; a click in one chart replaces that in another."""

Clicked = Callable[[Sequence[str], Mapping[str, str]], None]
"""Draws what a click on a point opens, with its ``customdata`` and the options chosen by key."""


def draw(blocks: Sequence[Block]) -> None:
    """Draw ``blocks`` without clicks."""
    _draw(blocks, lambda *_: None, "", {})


def linked_map(block: Map, result: str, clicked: Callable[[], None]) -> None:
    """Draw the map ``block``; a click is remembered for ``result`` and calls ``clicked``."""
    state_key = f"{block.link} of {result}"

    def choose() -> None:
        deselect(result)
        report = components.sent(f"{block.link}s", "chosen") or {}
        st.session_state[state_key] = [str(report.get("key"))]
        clicked()

    chosen = in_link(state_key, block.link)
    components.band_map(f"{block.link}s", block.drawing, choose, chosen="".join(chosen))


def question(question: Question[Any], of: RunFigures, clicked: Clicked, result: str) -> RunFigures:
    """Draw the section of ``question`` with its options; in one line where it has only a sentence.

    A click on a chart is remembered for ``result``. Returns ``of`` with the options.
    """
    section = question.section(of)
    if section is None:
        return of
    title = plain(section.title)
    first, *rest = section.blocks
    if isinstance(first, Text) and not rest:
        st.markdown(f"**{title}.** {plain(first.text)}", help=first.help or None)
        return of
    st.header(title, anchor=False, help=section.about or None)
    if question.options:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            values = options_input(question.options, of)
        of = RunFigures(of.run, of.statistics, values)
        section = question.section(of) or section
    _draw(section.blocks, clicked, result, {})
    return of


def deselect(result: str = "") -> None:
    """Forget what was clicked in the charts of ``result``, and what the link has of any."""
    for link in SELECTIONS:
        set_in_link(link, [])
        st.session_state.pop(f"{link} of {result}", None)


def _draw(
    blocks: Sequence[Block],
    clicked: Clicked,
    result: str,
    chosen: Mapping[str, str],
    row: DeltaGenerator | None = None,
) -> None:
    """Draw ``blocks``, given the options ``chosen`` around them; ``row`` takes further controls."""
    for block in blocks:
        if isinstance(block, Text):
            st.caption(plain(block.text), help=block.help or None)
        elif isinstance(block, Titled):
            _table(block)
        elif isinstance(block, Chart):
            _chart(block, clicked, result, chosen)
        elif isinstance(block, Map):
            _map(block, clicked, result, chosen)
        elif isinstance(block, Chooser):
            row = row or st.container(horizontal=True, vertical_alignment="bottom")
            option = _option(block, row)
            _draw(block.read(option), clicked, result, {**chosen, block.key: option}, row)
        elif isinstance(block, Columns):
            shares = [2, 3] if len(block.columns) == 2 else len(block.columns)
            places = st.columns(shares, gap="medium")
            for column, part in zip(places, block.columns, strict=True):
                with column:
                    _draw(part, clicked, result, chosen)
        elif isinstance(block, Cases):
            st.caption(plain(block.caption))
            with st.container(key=f"cases {block.caption}"):
                for case in block.read():
                    cell = st.container()
                    for shot in case.shots:
                        cell.image(shot.png, width="stretch", output_format="PNG", alt=shot.alt)
                    cell.html(html("case", case=case))


def _option(block: Chooser, row: DeltaGenerator) -> str:
    """The chosen option; one alone is not asked for."""
    first = block.first or next(iter(block.options))
    if len(block.options) == 1:
        return first
    with row:
        draw = listed if block.listed else one_of
        return draw(block.label, block.options, block.key, first=first)


def _table(block: Titled) -> None:
    if block.long:
        with st.expander(plain(block.caption)):
            st.html(html_table(*block.table))
        return
    st.markdown(f"**{plain(block.caption)}**")
    st.html(html_table(*block.table))


def _chart(block: Chart, clicked: Clicked, result: str, chosen: Mapping[str, str]) -> None:
    key = "_".join([f"{block.link}s" if block.link else block.title, *chosen.values()])
    st.markdown(f"**{plain(block.title)}**")
    point: Sequence[str] = ()
    if block.link:
        point = clicked_point(
            block.figure,
            key,
            block.alt,
            f"{block.link} of {result}",
            block.link,
            partial(deselect, result),
        )
    else:
        st.plotly_chart(block.figure, key=key, config=NO_TOOLBAR, alt=block.alt)
    box = " To select several, draw a box (top right)." if block.figure.layout.dragmode else ""
    note = f"{block.note} Click to see the images.{box}" if block.link else block.note
    if note:
        st.caption(plain(note.strip()))
    if point:
        clicked(point, chosen)


def _map(block: Map, clicked: Clicked, result: str, chosen: Mapping[str, str]) -> None:
    if block.title:
        st.markdown(f"**{plain(block.title)}**")
    if not block.link:
        components.band_map(block.title or "map", block.drawing)
    else:
        linked_map(block, result, components.nothing)
        if point := in_link(f"{block.link} of {result}", block.link):
            clicked(point, chosen)
    if block.note:
        st.caption(plain(block.note))


def options_input(options: Sequence[Option], of: RunFigures) -> dict[str, Any]:
    """Draw the ``options`` that the run of ``of`` has what they need for; return all values."""
    return {
        option.name: _value(option, of)
        if option.needs is None or option.needs.met(of)
        else option.default
        for option in options
    }


def _value(option: Option, of: RunFigures) -> Any:
    key = option.key or option.name
    default = option.default
    if isinstance(default, bool):
        return st.toggle(option.label, key=key, bind="query-params", help=option.help)
    if isinstance(default, Mapping):
        most: list[str] = st.multiselect(
            option.label,
            option.names(of),
            key=key,
            bind="query-params",
            placeholder=option.blank,
            help=option.help,
        )
        return dict.fromkeys(most, 3.0) | ({OTHERS: 1.0} if most else {})
    number = st.number_input(
        option.label,
        min_value=0.0,
        max_value=option.most,
        value=None,
        key=key,
        bind="query-params",
        placeholder=option.blank,
        help=option.help,
    )
    return default if number is None else number / option.scale


_LANGUAGES = {LINK: None, COMMAND: "bash", WRITTEN: "bash", PYTHON: "python", TOML: "toml"}


def copy_button(spec: Request, picture: Picture, truth: str | None) -> None:
    """Draw the button; ``spec`` has one condition, and ``truth`` is the true class."""
    sample = picture.name if is_sample(picture) else None
    with st.popover("Copy as", icon=":material/content_copy:"):
        if sample is None:
            st.caption("Replace the file name with its path: links cannot include uploads.")
        for title, text in reproduction_texts(
            spec, picture.name, sample=sample, truth=truth
        ).items():
            if title == LINK:  # to this page, as this browser has opened it
                text = f"{(st.context.url or '').partition('?')[0].rstrip('/')}/{text}"
            st.markdown(f"**{title}**")
            st.code(text, language=_LANGUAGES[title], wrap_lines=True)


def report_button(build: Callable[[], Report], name: str) -> None:
    """Draw the button of the HTML, and those of the other formats in a popover.

    ``name`` is the files' name without a suffix.
    A click calls ``build`` outside of the page's thread; the page does not rerun.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "report"

    def button(format: Format, label: str, suffix: str, write: Write) -> None:
        is_first = format is first
        st.download_button(
            "Report" if is_first else label,
            partial(_file, build, write),
            f"{stem}{suffix}",
            format.mime,
            key=f"report {label}",
            icon=f":material/{format.icon}:",
            on_click="ignore",
            help="One HTML file; opens offline. For a PDF, print it." if is_first else None,
            width="content" if is_first else "stretch",
        )

    first, *others = (format for format in FORMATS.values() if not format.needs_browser)
    with st.container(horizontal=True, vertical_alignment="center", width="content", gap="xsmall"):
        button(first, first.label, first.suffix, first.write)
        with st.popover("Other formats"), st.container(key="report-formats", gap="small"):
            for format in others:
                button(format, format.label, format.suffix, format.write)
                if format.companion is not None:
                    label = f"Columns of the {format.label}"
                    button(format, label, format.companion_suffix, format.companion)


def _file(build: Callable[[], Report], write: Write) -> bytes:
    return rendered(build(), write, datetime.now(UTC))


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
    columns = cells(2, gap="medium")
    for (model, indices), column in zip(classes.items(), columns, strict=False):
        with column.container(key=f"attention-{model}", border=True):
            _draw_heat_maps(
                model, captions, indices, looking(model, images_of(model), indices).at_once()
            )


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


def _draw_heat_maps(
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
    from robustness.models import heat_map

    bar = base64.b64encode(to_png(heat_map.colour_bar())).decode()
    return html("heat_scale", bar=bar)


def _views(model: str, images: Images, classes: Sequence[int]) -> Iterator[View | str]:
    from robustness.models import heat_map

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
