"""How the blocks of a report look on a page, with controls where they offer a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness.base.text import plain
from robustness.report.blocks import (
    Block,
    Cases,
    Chart,
    Chooser,
    Columns,
    Map,
    Text,
    Titled,
)
from robustness.report.questions import REGISTRY
from robustness.report.questions.question_and_figures import Option, Question, RunFigures
from robustness.statistics.choice_criteria_and_cost import OTHERS
from robustness.ui.browser import components
from robustness.ui.browser.escaped_html import html
from robustness.ui.display import image_pairs_and_cards
from robustness.ui.session.choice_controls_and_link import listed, one_of, set_in_link

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

    chosen = image_pairs_and_cards.in_link(state_key, block.link)
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
            st.html(image_pairs_and_cards.html_table(*block.table))
        return
    st.markdown(f"**{plain(block.caption)}**")
    st.html(image_pairs_and_cards.html_table(*block.table))


def _chart(block: Chart, clicked: Clicked, result: str, chosen: Mapping[str, str]) -> None:
    key = "_".join([f"{block.link}s" if block.link else block.title, *chosen.values()])
    st.markdown(f"**{plain(block.title)}**")
    point: Sequence[str] = ()
    if block.link:
        point = image_pairs_and_cards.clicked(
            block.figure,
            key,
            block.alt,
            f"{block.link} of {result}",
            block.link,
            partial(deselect, result),
        )
    else:
        st.plotly_chart(
            block.figure, key=key, config=image_pairs_and_cards.NO_TOOLBAR, alt=block.alt
        )
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
        if point := image_pairs_and_cards.in_link(f"{block.link} of {result}", block.link):
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
    key, default = option.key or option.name, option.default
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
