"""Drawing of results: images, a card for each model, charts, and the blocks of a report.

A block that offers a choice has a control on a page. Besides, the buttons that copy the current
check as text and that download a report, and heat maps of where models look, which are computed on
request.
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
from robustness.statistics.study import UNSURE
from robustness.ui import components
from robustness.ui.html import Html, html
from robustness.ui.jobs import CachedWork
from robustness.ui.session import (
    listed,
    new_in_link,
    one_of,
    option_input,
    sentence,
    set_in_link,
)
from robustness.ui.shared import is_sample, original_png

GAIN = 3
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
    remedy_texts, remedied_images = remedied
    header.update(drawing=drawing, signed=signed)
    header.update(remedy_texts)
    before = b"" if follows else original_png(picture)
    with st.container(key="pictures"):
        behind_remedy = b"".join(to_png(remedied_image) for remedied_image in remedied_images)
        components.pair("pictures pair", header, before, after, behind_remedy)


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
    if np.isfinite(psnr):
        text = f"Visual change: SSIM {ssim:.3f} (1 is identical), PSNR {psnr:.1f} dB."
    else:  # without any difference, PSNR is infinite
        text = "No change: both images are identical (SSIM 1)."
    header = {
        "before": before,
        "after": after,
        "altBefore": f"The {before.lower()} image, {visible(picture.name)}",
        "altAfter": f"Perturbed image: {what}",
        "gain": gain,
        "text": text,
    }
    return header, to_png(image)


def headline(text: str) -> Html:
    """A page's main result in one sentence."""
    return html("headline", words=text.split(" "))


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
    bars_before = _bars(row, row.clean_top5, row.clean_top5_probabilities)
    bars_after = _bars(row, row.top5, row.top5_probabilities)
    return html(
        "card",
        row=row,
        verdict=verdict(row) if alone else None,
        label=models.label(row.model),
        before=models.class_name(row.model, row.clean_top1),
        after=models.class_name(row.model, row.top1),
        detail=_card_detail(row, accepted),
        changed=changed,
        bars=zip(bars_before, bars_after, strict=True),
    )


def _bars(
    row: Measurement, classes: Sequence[int], probabilities: Sequence[float]
) -> list[tuple[str, float, bool]]:
    """The name, the probability and whether it is the true class, for each of ``classes``."""
    bars = []
    for index, probability in zip(classes, probabilities, strict=True):
        bars.append((models.class_name(row.model, index), probability, index == row.label))
    return bars


def _card_detail(row: Measurement, accepted: str) -> str:
    """The sentences below the bars of a card."""
    if row.consistent:
        parts = [f"Confidence change: {points(row.scores['confidence_change'])} points"]
    else:
        class_before = models.class_name(row.model, row.clean_top1)
        probability_before = share(row.clean_probability)
        parts = [f"{class_before}: {probability_before} → {share(row.retained_probability)}"]
    for metric in listed_metrics([row]):
        parts.append(f"{metric.label}: {row.scores[metric.name]:{metric.form}}")
    if row.clean_probability < UNSURE:
        parts.append("Low confidence on the original: treat with caution")
    if accepted:
        parts.append(accepted)
    return ". ".join(parts)


def clicked_point(
    figure: go.Figure, key: str, alt: str, state_key: str, link: str, before: Callable[[], None]
) -> list[str]:
    """Draw a chart and return the ``customdata`` of the clicked point; [] without a click.

    The session stores the ``customdata`` under ``state_key`` for a figure that replaces this one
    and for a return to the page; the link carries it as ``link``. A click first calls ``before``.
    """

    def remember_click() -> None:
        before()
        st.session_state[state_key] = _customdata(st.session_state[key])

    st.plotly_chart(
        figure,
        key=key,
        on_select=remember_click,
        selection_mode="points",
        config=NO_TOOLBAR,
        alt=alt,
    )
    return in_link(state_key, link)


def in_link(state_key: str, link: str) -> list[str]:
    """The session's value ``state_key``, or the link's if that is new; the link then has it."""
    state = st.session_state
    linked = new_in_link(link)
    # On arrival from another page, a link that names nothing is no wish to drop the selection.
    if linked is not None and (linked or not state.get("arrived")):
        state[state_key] = linked
    values = list(state.get(state_key) or [])
    set_in_link(link, values)
    return values


def _customdata(event: Any) -> Any:
    """The ``customdata`` of the first selected point that has any."""
    for point in event["selection"]["points"]:
        data = point.get("customdata")
        if data is None or data == []:
            continue
        return data if isinstance(data, list) else [data]
    return None


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table without interaction."""
    return html("table", head=head, rows=rows)


_THUMBNAIL_SIDE = 112
"""Pixels."""


def thumbnail_uri(image: Images) -> str:
    """``image`` (S, S, 3), 112 pixels a side, as the URI of a JPEG."""
    size = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    small = cv2.resize(to_uint8(image), size, interpolation=cv2.INTER_AREA)
    return jpeg_uri(np.asarray(small, np.uint8))


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """8-bit RGB ``pixels`` (H, W, 3) as the URI of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/jpeg;base64,{encoded}"


# --- blocks of a report ---------------------------------------------------------------------------


SELECTIONS = tuple(question.link for question in REGISTRY if question.link)
"""Parameters of the link that select images; a click in one chart replaces that in another."""

Clicked = Callable[[Sequence[str], Mapping[str, str]], None]
"""Draws what a click on a point opens, with its ``customdata`` and the options chosen by key."""


def draw(blocks: Sequence[Block]) -> None:
    """Draw ``blocks``; a click opens nothing."""
    _draw(blocks, _open_nothing, "", {})


def _open_nothing(_customdata: Sequence[str], _options: Mapping[str, str]) -> None:
    """What a click opens on pages that have nothing to open."""


def linked_map(block: Map, result: str, clicked: Callable[[], None]) -> None:
    """Draw the map ``block``; a click is remembered for ``result`` and calls ``clicked``."""
    state_key = f"{block.link} of {result}"

    def choose() -> None:
        deselect(result)
        report = components.sent(f"{block.link}s", "chosen") or {}
        st.session_state[state_key] = [str(report.get("key"))]
        clicked()

    chosen_tile = "".join(in_link(state_key, block.link))
    components.band_map(f"{block.link}s", block.drawing, choose, chosen=chosen_tile)


def question(
    question: Question[Any], figures: RunFigures, clicked: Clicked, result: str
) -> RunFigures:
    """Draw the section of ``question`` with its options; in one line where it has only a sentence.

    A click on a chart is remembered for ``result``. Returns ``figures`` with the chosen options.
    """
    section = question.section(figures)
    if section is None:
        return figures
    title = plain(section.title)
    first, *others = section.blocks
    if isinstance(first, Text) and not others:
        st.markdown(f"**{title}.** {plain(first.text)}", help=first.help or None)
        return figures
    st.header(title, anchor=False, help=section.about or None)
    if question.options:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            values = options_input(question, figures)
        figures = RunFigures(figures.analysis, values)
        section = question.section(figures) or section
    _draw(section.blocks, clicked, result, {})
    return figures


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
    """Draw ``blocks``, given the options ``chosen`` around them, by key.

    ``row`` takes further controls, so that those of nested choices stand side by side.
    """
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
            if row is None:
                row = st.container(horizontal=True, vertical_alignment="bottom")
            option = _option(block, row)
            _draw(block.read(option), clicked, result, {**chosen, block.key: option}, row)
        elif isinstance(block, Columns):
            for column, part in zip(_columns(block), block.columns, strict=True):
                with column:
                    _draw(part, clicked, result, chosen)
        elif isinstance(block, Cases):
            _cases(block)


def _columns(block: Columns) -> list[DeltaGenerator]:
    """Containers side by side, one for each of the columns of ``block``."""
    if len(block.columns) == 2:
        return st.columns([2, 3], gap="medium")
    return st.columns(len(block.columns), gap="medium")


def _cases(block: Cases) -> None:
    st.caption(plain(block.caption))
    with st.container(key=f"cases {block.caption}"):
        for case in block.read():
            cell = st.container()
            for shot in case.shots:
                cell.image(shot.png, width="stretch", output_format="PNG", alt=shot.alt)
            cell.html(html("case", case=case))


def _option(block: Chooser, row: DeltaGenerator) -> str:
    """Draw the choice of ``block`` and return the chosen option; a single one has no control."""
    first = block.first or next(iter(block.options))
    if len(block.options) == 1:
        return first
    with row:
        if block.listed:
            return listed(block.label, block.options, block.key, first=first)
        return one_of(block.label, block.options, block.key, first=first)


def _table(block: Titled) -> None:
    if block.long:
        with st.expander(plain(block.caption)):
            st.html(html_table(*block.table))
        return
    st.markdown(f"**{plain(block.caption)}**")
    st.html(html_table(*block.table))


def _chart(block: Chart, clicked: Clicked, result: str, chosen: Mapping[str, str]) -> None:
    st.markdown(f"**{plain(block.title)}**")
    if not block.link:
        key = "_".join([block.title, *chosen.values()])
        st.plotly_chart(block.figure, key=key, config=NO_TOOLBAR, alt=block.alt)
        if block.note:
            st.caption(plain(block.note.strip()))
        return
    point = clicked_point(
        block.figure,
        key="_".join([f"{block.link}s", *chosen.values()]),
        alt=block.alt,
        state_key=f"{block.link} of {result}",
        link=block.link,
        before=partial(deselect, result),
    )
    note = f"{block.note} Click to see the images."
    st.caption(plain(note.strip()))
    if point:
        clicked(point, chosen)


def _map(block: Map, clicked: Clicked, result: str, chosen: Mapping[str, str]) -> None:
    if block.title:
        st.markdown(f"**{plain(block.title)}**")
    if block.link:
        linked_map(block, result, components.nothing)
        tile = in_link(f"{block.link} of {result}", block.link)
        if tile:
            clicked(tile, chosen)
    else:
        components.band_map(block.title or "map", block.drawing)
    if block.note:
        st.caption(plain(block.note))


def options_input(question: Question[Any], figures: RunFigures) -> dict[str, Any]:
    """Draw those options of ``question`` whose needs the run of ``figures`` meets.

    Returns the values of all by name; an option that is not drawn has its default.
    """
    names = question.names(figures)
    score = figures.run.score
    values: dict[str, Any] = {}
    for name, field in question.fields.items():
        if score:  # its mean stands in place of the accuracy
            label = field.option.label.replace("accuracy", score)
            field = field._replace(option=field.option._replace(label=label))
        need = question.option_needs.get(name)
        if need is None or need.met(figures):
            values[name] = option_input(field, names)
        else:
            values[name] = field.option.default
    return values


# --- copies and reports ---------------------------------------------------------------------------


_LANGUAGES = {LINK: None, COMMAND: "bash", WRITTEN: "bash", PYTHON: "python", TOML: "toml"}


def copy_button(spec: Request, picture: Picture, truth: str | None) -> None:
    """Draw the button; ``spec`` has one condition, and ``truth`` is the true class."""
    sample = picture.name if is_sample(picture) else None
    with st.popover("Copy as", icon=":material/content_copy:"):
        if sample is None:
            st.caption("Replace the file name with its path: links cannot include uploads.")
        texts = reproduction_texts(spec, picture.name, sample=sample, truth=truth)
        for title, text in texts.items():
            if title == LINK:
                # The text is the query alone; the address is the one that this browser has opened.
                address = (st.context.url or "").partition("?")[0]
                text = f"{address.rstrip('/')}/{text}"
            st.markdown(f"**{title}**")
            st.code(text, language=_LANGUAGES[title], wrap_lines=True)


def report_button(build: Callable[[], Report], name: str) -> None:
    """Draw the button of the HTML, and those of the other formats in a popover.

    ``name`` is the files' name without a suffix. A click calls ``build`` outside of the page's
    thread; the page does not rerun.
    """
    button = partial(_file_button, build, _stem(name))
    main, *others = [format for format in FORMATS.values() if not format.needs_browser]
    with st.container(horizontal=True, vertical_alignment="center", width="content", gap="xsmall"):
        button(
            main,
            "Report",
            key=main.label,
            help="One HTML file; opens offline. For a PDF, print it.",
            width="content",
        )
        with st.popover("Other formats"), st.container(key="report-formats", gap="small"):
            for format in others:
                button(format)
                if format.companion is not None:
                    label = f"Columns of the {format.label}"
                    button(format, label, suffix=format.companion_suffix, write=format.companion)


def record_buttons(build: Callable[[], Report], name: str) -> None:
    """Draw a button for each format of a report without rows; see ``report_button``."""
    for format in FORMATS.values():
        if not format.needs_browser and not format.rows_only:
            _file_button(build, _stem(name), format, key=f"record {format.label}")


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "report"


def _file_button(
    build: Callable[[], Report],
    stem: str,
    format: Format,
    label: str = "",
    *,
    key: str = "",
    suffix: str = "",
    write: Write | None = None,
    help: str | None = None,
    width: Literal["content", "stretch"] = "stretch",
) -> None:
    """Draw the button that downloads what ``build`` returns in ``format``, or as ``write`` does."""
    label = label or format.label

    def file() -> bytes:
        return rendered(build(), write or format.write, datetime.now(UTC))

    st.download_button(
        label,
        file,
        f"{stem}{suffix or format.suffix}",
        format.mime,
        key=f"report {key or label}",
        icon=f":material/{format.icon}:",
        on_click="ignore",
        help=help,
        width=width,
    )


# --- heat maps ------------------------------------------------------------------------------------


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
    """Draw the folded part of a view that ends with ``section``.

    Returns its container, or None while it is closed. A link with heat maps opens it.
    """
    key = "show_in_detail"
    if SWITCH in st.query_params and key not in st.session_state:
        st.session_state[key] = True
    expander = st.expander(f"**In detail** · {about}", key=key, bind="query-params")
    return expander if expander.open else None


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
            views = looking(model, images_of(model), indices).at_once()
            _draw_heat_maps(model, captions, indices, views)


def looking(model: str, images: Images, classes: Sequence[int]) -> CachedWork:
    """The work that yields a ``View`` of ``model`` for each of ``images`` (N, S, S, 3) and class.

    The views go image by image for the first of ``classes``, then for the next. If the model fails,
    a sentence that says why takes their place.
    """
    key_parts = ["attention", model, models.digest(models.REGISTRY[model])]
    key_parts.extend(image_digest(image) for image in images)
    key_parts.extend(str(index) for index in classes)

    def views(_picture: object) -> Iterator[View | str]:
        return _views(model, images, classes)

    return CachedWork(
        what=f"Looking with {plain(models.label(model))}",
        key=" ".join(key_parts),
        picture=None,
        events=views,
        total=len(images) * len(classes),
    )


def _draw_heat_maps(
    model: str, captions: Sequence[str], classes: Sequence[int], views: Sequence[View | str]
) -> None:
    """Draw one model's maps: a row of images for each class."""
    label = models.label(model)
    maps = [view for view in views if isinstance(view, View)]
    refusals = [view for view in views if isinstance(view, str)]
    for refusal in refusals:
        st.info(plain(refusal), icon=":material/visibility_off:")
    if not maps:
        return
    height, width = maps[0].cells
    st.html(html("heat_maps", model=label, height=height, width=width))
    for row, index in enumerate(classes):
        title = models.class_name(model, index)
        st.html(html("evidence", label=title))
        columns = st.columns(len(captions), gap="small", wrap=False)
        maps_of_row = maps[row * len(captions) :]
        # There are fewer maps where the model failed after some of them.
        for column, caption, view in zip(columns, captions, maps_of_row, strict=False):
            column.image(
                view.png,
                caption=f"{plain(caption)}: {_peak(view)}",
                width="stretch",
                alt=f"{caption}: evidence of {label} for {title}, {_peak(view)}",
                output_format="PNG",
            )


def _peak(view: View) -> str:
    if view.peak > 0:
        return f"peak\u00a0{share(view.peak, 0)}"
    return "none"


@cache
def _legend() -> Html:
    """The scale of the colours."""
    from robustness.models import heat_map

    bar = base64.b64encode(to_png(heat_map.colour_bar())).decode()
    return html("heat_scale", bar=bar)


def _views(model: str, images: Images, classes: Sequence[int]) -> Iterator[View | str]:
    """Compute what ``looking`` promises."""
    from robustness.models import heat_map

    try:
        classifier = models.load(model, side=images.shape[1])
        repeated = np.concatenate([images] * len(classes))
        maps = heat_map.heat_maps(classifier, repeated, np.repeat(classes, len(images)))
        for image, heat in zip(repeated, maps.relative, strict=True):
            png = to_png(heat_map.overlay(image, heat))
            yield View(png, peak=float(heat.max()), cells=maps.cells)
    except RobustnessError as error:
        yield sentence(error)
    except Exception as error:  # a graph may fail in any way, such as for lack of memory
        yield f"The maps of {models.label(model)} cannot be computed ({type(error).__name__})."
