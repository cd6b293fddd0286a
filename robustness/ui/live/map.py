"""The view Map: what each model predicts along the strength of each perturbation of one image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import models, report
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.base.turns import TURNS, Pace, Unit, duration
from robustness.images.framing import Picture
from robustness.measure import STEPS
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate
from robustness.measure.measurement import Measurement
from robustness.measure.request import spec_of, study_conditions
from robustness.measure.strength import COARSE, Band, Break, labelled, strengths, sweep
from robustness.models import REGISTRY as MODELS
from robustness.perturbations import REGISTRY
from robustness.report import strength
from robustness.report.blocks import Titled
from robustness.ui import cells as ui_cells
from robustness.ui import components, draw
from robustness.ui.draw import report_button
from robustness.ui.html import drawings, html
from robustness.ui.jobs import CachedWork, Work
from robustness.ui.live import stack, stories
from robustness.ui.live.page import usable
from robustness.ui.session import listed, one_of, session
from robustness.ui.shared import Turn, work_key

_STUDY = "study"
_ALL = "all"

AT_ONCE_SECONDS = 20.0
"""A map that takes longer, by estimate, waits for a click."""

_REDRAW_SECONDS = 0.4
"""How often a map is drawn while it fills; a long one less often."""

_NOTHING = Condition.of({})
_STYLE = Path(__file__).with_name("present_map.css")


def show(picture: Picture, names: Sequence[str], seed: int, truth: str | None) -> None:
    """Draw the view: the sentence, the map, and the study's figures below it."""
    for state in (models.state(MODELS[name]) for name in names):
        if not state.ready:
            st.error(plain(state.reason), icon=":material/model_training:")
    names = usable(names)
    with st.container(horizontal=True, vertical_alignment="bottom", key="map-controls"):
        st.html(html("target", name="controls"))  # in the row, which keeps its height meanwhile
        options = {_STUDY: "The study's ten", _ALL: f"All {len(REGISTRY)}"}
        chosen = one_of("Perturbations", options, "rows", shows_label=False)
        reports = st.container(width="content")
    rows = [record.name for record in REGISTRY if chosen == _ALL or record.in_study]
    with st.container(key="map-style"):
        if stories.is_presented():
            st.html(_STYLE)
    with st.container(key="image-map"):
        drawing = _Drawing(picture, names, rows, seed, truth)
        names = drawing.fill(asks=chosen == _ALL)
    with st.container(key="map-details"):
        if names:
            _show_details(picture, names, seed, truth, drawing.bands(), reports)


def _show_details(
    picture: Picture,
    names: Sequence[str],
    seed: int,
    truth: str | None,
    bands: Sequence[Band],
    reports: DeltaGenerator,
) -> None:
    """Draw the study's figures and, in detail, one perturbation; the report goes to ``reports``."""
    measured = _study(picture, names, seed, truth)
    spec = spec_of(picture, names, study_conditions(), seed)
    content = report.of_map(spec, [picture], measured, bands)
    for caution in content.cautions:
        st.warning(plain(caution), icon=":material/help:")
    _, *sections = content.sections
    study, *others = sections
    st.header(study.title, anchor=False)
    st.caption(plain(f"{content.answer[-2]} {content.answer[-1]}"))
    draw.draw(study.blocks)
    swept = _in_detail(picture, names, seed, truth)
    for section in others:
        st.header(section.title, anchor=False)
        draw.draw(section.blocks)
    with reports:
        whole = lambda: report.of_map(spec, [picture], measured, bands, swept)  # noqa: E731
        report_button(whole, "map")


class _Drawing:
    """The map of an image, which is drawn while it fills."""

    def __init__(
        self,
        picture: Picture,
        names: Sequence[str],
        rows: Sequence[str],
        seed: int,
        truth: str | None,
    ) -> None:
        self._picture = picture
        self._names = names
        self._rows = rows
        self._seed = seed
        self._truth = truth
        self._errors: dict[str, RobustnessError] = {}
        self._sentence = st.empty()
        self._progress = st.empty()
        self._map = st.empty()
        self._images = stack.thumbnail_uris(picture)
        self._order: Sequence[str] = rows
        self._drawn = self._took = 0.0

    def bands(self) -> list[Band]:
        """The bands so far: those with more than the original."""
        cells = ui_cells.read_cells(self._picture, self._good, self._rows, self._seed)
        return [
            Band(name, row, tuple(own), own[0]).labelled(self._truth)
            for (row, name), own in cells.items()
            if len(own) > 1 and own[0].strength == 0
        ]

    @property
    def _good(self) -> list[str]:
        return [name for name in self._names if name not in self._errors]

    def fill(self, *, asks: bool) -> list[str]:
        """Compute what is missing, now or when asked for; returns the models without an error."""
        conditions = [Condition.of({name: 1.0}) for name in self._rows]
        key = work_key("map", self._picture, self._names, conditions, self._seed)
        work = Work("Map", key)
        left = self._seconds()
        waits = work.cancelled or asks or left > AT_ONCE_SECONDS
        if left and waits and not work.requested:
            bands = len(self._rows)
            several = len(self._good)
            what = f"{counted(bands, 'perturbation')} and {counted(several, 'model')}"
            cancelled = "Cancelled; what is computed stays. " if work.cancelled else ""
            with self._progress.container():
                st.caption(f"{cancelled}{what}: about {duration(left)}.")
                st.button("Fill the map", icon=":material/play_arrow:", on_click=work.ask)
            left = 0
        if left:
            self._draw(self._rows)
            self._compute(work)
        self._finish()
        for error in dict.fromkeys(map(str, self._errors.values())):
            st.error(plain(error), icon=":material/model_training:")
        return self._good

    def _seconds(self) -> float:
        """The estimate; models without a measured rate first predict a few cells.

        Of the first row, which includes their loading, and of the second.
        """
        left = ui_cells.seconds(self._picture, self._good, self._rows, self._seed)
        if left is None:
            with self._progress, st.spinner("Loading the models …"):
                for row in self._rows[:2]:
                    self._cells(row, COARSE, lambda: TURNS.turn(session()))
            left = ui_cells.seconds(self._picture, self._good, self._rows, self._seed)
        return left or 0.0

    def _cells(self, row: str, count: int, turn: Turn) -> None:
        at = strengths(REGISTRY[row], count)
        for name, result in ui_cells.cells(
            self._picture, self._good, _NOTHING, row, at, self._seed, turn
        ):
            if isinstance(result, RobustnessError):
                self._errors[name] = result

    def _compute(self, work: Work) -> None:
        """Compute the first cells of every band, then the rest, and draw meanwhile."""
        steps = [(count, row) for count in (COARSE, STEPS) for row in self._rows]
        pace = Pace(Unit("cells"), sum(count for count, _ in steps), overall=True)
        with work.bar("Map: loading the models …", [self._progress]) as tick:
            done = 0
            text = f"{counted(len(self._rows), 'band')} a model"

            def turn() -> AbstractContextManager[None]:
                left = f", {duration(pace.seconds_left)} left" if pace.seconds_left else ""
                tick(done / sum(count for count, _ in steps), f"{text}{left}")
                self._draw(self._order)
                return TURNS.turn(session())

            for place_of_row, (count, row) in enumerate(steps):
                if place_of_row == len(self._rows):
                    self._order = [*strength.mean_breaks(self.bands())]
                self._cells(row, count, turn)
                done += count
                pace.note(done)

    def _draw(self, order: Sequence[str]) -> None:
        """Draw what is known, unless the last drawing is recent."""
        start = time.monotonic()
        if start - self._drawn < max(_REDRAW_SECONDS, 10 * self._took):
            return
        bands = self.bands()
        said = "Filling the map …"
        if self._order is not self._rows:
            said = f"So far: {strength.answer(bands)}"
        self._sentence.html(draw.headline(said))
        drawn = strength.band_maps(bands, self._images, columns=self._good, rows=order)
        self._map.html(drawings(each.drawing for each in drawn))
        self._drawn = time.monotonic()
        self._took = self._drawn - start

    def _finish(self) -> None:
        """Draw the map with clicks, once all rows are there the earliest break first."""
        bands = self.bands()
        complete = {band.perturbation for band in bands} == {*self._rows}
        waiting = "Fill the map to see what breaks first." if self._good else "No model can run."
        said = strength.answer(bands) if complete else waiting
        self._sentence.html(draw.headline(said))
        drawn = strength.band_maps(
            bands,
            self._images,
            keyed=True,
            columns=self._good,
            rows=() if complete else self._rows,
        )
        with self._map.container():
            for number, each in enumerate(drawn):
                if each.title:
                    st.markdown(f"**{plain(each.title)}**")
                key = f"bands {number}"
                components.band_map(key, each.drawing, partial(_open, key))
            legend = strength.legend(bands)
            if stories.is_presented():
                legend = strength.brief_legend(bands)
            st.caption(f"{legend} Click a cell to open it in Live.")


def _open(key: str) -> None:
    """Replace the perturbations of Live by the cell that was clicked, and show it."""
    sent = components.sent(key, "chosen") or {}
    _, row, strength = str(sent.get("key")).rsplit(" ", 2)
    stack.open_live(row, float(strength))


# --- below the map --------------------------------------------------------------------------------


def _study(
    picture: Picture, names: Sequence[str], seed: int, truth: str | None
) -> list[Measurement]:
    """The rows at the study's settings."""
    conditions = study_conditions()
    spec = spec_of(picture, names, conditions, seed)
    rows = CachedWork(
        "Scoring",
        work_key("score", picture, names, conditions, seed),
        picture,
        lambda nameless: evaluate(spec, [nameless]),
        len(names) * len(conditions),
    ).at_once()
    return [labelled(row, truth) for row in rows]


def sweeping(picture: Picture, perturbation: str, names: Sequence[str], seed: int) -> CachedWork:
    """The sweep of one perturbation; its events are ``Measurement`` and ``Break``."""
    steps = len(strengths(REGISTRY[perturbation]))
    return CachedWork(
        "Sweeping",
        work_key("sweep", picture, names, [Condition.of({perturbation: 1.0})], seed),
        picture,
        lambda nameless: sweep(nameless, [perturbation], names, seed=seed),
        len(names) * (steps + 1),
    )


def _in_detail(
    picture: Picture, names: Sequence[str], seed: int, truth: str | None
) -> list[Measurement | Break]:
    """Draw the exact breaking strengths of a perturbation and its curves, once one is chosen."""
    st.header("In detail", anchor=False)
    every = {record.name: record.label for record in REGISTRY}
    name = listed("Perturbation", {"": "Choose one", **every}, "perturbation")
    if not name:
        st.caption("Exact breaking strengths, with confidence and similarity over strength.")
        return []
    swept = [labelled(event, truth) for event in sweeping(picture, name, names, seed).at_once()]
    breaks = [event for event in swept if isinstance(event, Break)]
    draw.draw(
        [
            Titled("Breaking strengths", strength.breaking(breaks)),
            strength.curves([event for event in swept if isinstance(event, Measurement)]),
        ]
    )
    return swept
