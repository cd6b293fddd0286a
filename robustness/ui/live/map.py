"""The view Map: what each model predicts along the strength of each perturbation of one image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import report
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.base.turns import TURNS, Pace, Unit, duration
from robustness.images.framing import Picture
from robustness.measure import STEPS
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import spec_of, study_conditions
from robustness.measure.strength import COARSE, Band, Break, labelled, strengths, sweep
from robustness.perturbations import REGISTRY
from robustness.report import strength
from robustness.report.blocks import Titled
from robustness.ui import cells as ui_cells
from robustness.ui import components, draw
from robustness.ui.draw import report_button
from robustness.ui.html import drawings, html
from robustness.ui.jobs import CachedWork, Work
from robustness.ui.live import stack, stories
from robustness.ui.live.page import say_unusable, usable
from robustness.ui.live.study import measure
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


def show(picture: Picture, model_names: Sequence[str], seed: int, truth: str | None) -> None:
    """Draw the view: the sentence, the map, and the study's figures below it."""
    say_unusable(model_names)
    with st.container(horizontal=True, vertical_alignment="bottom", key="map-controls"):
        st.html(html("target", name="controls"))  # in the row, which keeps its height meanwhile
        options = {_STUDY: "The study's ten", _ALL: f"All {len(REGISTRY)}"}
        chosen = one_of("Perturbations", options, "rows", shows_label=False)
        report_place = st.container(width="content")
    shows_all = chosen == _ALL
    perturbations = [record.name for record in REGISTRY if shows_all or record.in_study]
    with st.container(key="map-style"):
        if stories.is_presented():
            st.html(_STYLE)
    with st.container(key="image-map"):
        drawing = _Drawing(picture, usable(model_names), perturbations, seed, truth)
        mapped_models = drawing.fill(asks=shows_all)
    with st.container(key="map-details"):
        if mapped_models:
            bands = drawing.bands()
            _show_details(picture, mapped_models, seed, truth, bands, report_place)


def _show_details(
    picture: Picture,
    model_names: Sequence[str],
    seed: int,
    truth: str | None,
    bands: Sequence[Band],
    report_place: DeltaGenerator,
) -> None:
    """Draw the study's figures and, in detail, one perturbation; then the button of the report."""
    measured = measure(picture, model_names, seed, truth)
    spec = spec_of(picture, model_names, study_conditions(), seed)
    content = report.of_map(spec, [picture], measured, bands)
    for caution in content.cautions:
        st.warning(plain(caution), icon=":material/help:")
    _, study, *others = content.sections  # the first is the map, which is drawn above
    st.header(study.title, anchor=False)
    st.caption(plain(f"{content.answer[-2]} {content.answer[-1]}"))
    draw.draw(study.blocks)
    swept = _in_detail(picture, model_names, seed, truth)
    for section in others:
        st.header(section.title, anchor=False)
        draw.draw(section.blocks)

    def build() -> report.Report:
        return report.of_map(spec, [picture], measured, bands, swept)

    with report_place:
        report_button(build, "map")


class _Drawing:
    """The map of an image, which is drawn while it fills."""

    def __init__(
        self,
        picture: Picture,
        model_names: Sequence[str],
        perturbations: Sequence[str],
        seed: int,
        truth: str | None,
    ) -> None:
        self._picture = picture
        self._model_names = model_names
        self._perturbations = perturbations
        self._seed = seed
        self._truth = truth
        self._errors: dict[str, RobustnessError] = {}
        self._headline_place = st.empty()
        self._progress_place = st.empty()
        self._map_place = st.empty()
        self._thumbnails = stack.thumbnail_uris(picture)
        self._order: Sequence[str] = perturbations
        self._last_drawn = 0.0
        self._seconds_to_draw = 0.0

    def bands(self) -> list[Band]:
        """The bands so far: those with the original and more."""
        cells_by_band = ui_cells.read_cells(
            self._picture, self._working_models, self._perturbations, self._seed
        )
        bands = []
        for (perturbation, model_name), cells in cells_by_band.items():
            if len(cells) > 1 and cells[0].strength == 0:
                band = Band(model_name, perturbation, tuple(cells), cells[0])
                bands.append(band.labelled(self._truth))
        return bands

    @property
    def _working_models(self) -> list[str]:
        return [name for name in self._model_names if name not in self._errors]

    def fill(self, *, asks: bool) -> list[str]:
        """Compute what is missing, now or after a click; returns the models without an error.

        With ``asks`` it waits for the click even if it is estimated to take little time.
        """
        conditions = [Condition.of({name: 1.0}) for name in self._perturbations]
        key = work_key("map", self._picture, self._model_names, conditions, self._seed)
        work = Work("Map", key)
        seconds = self._estimate_seconds()
        needs_click = work.cancelled or asks or seconds > AT_ONCE_SECONDS
        if seconds > 0:
            if needs_click and not work.requested:
                self._offer(work, seconds)
            else:
                self._draw(self._perturbations)
                self._compute(work)
        self._finish()
        for text in dict.fromkeys(str(error) for error in self._errors.values()):
            st.error(plain(text), icon=":material/model_training:")
        return self._working_models

    def _offer(self, work: Work, seconds: float) -> None:
        """Draw the button that starts ``work``, with what it takes."""
        perturbations = counted(len(self._perturbations), "perturbation")
        model_count = counted(len(self._working_models), "model")
        text = f"{perturbations} and {model_count}: about {duration(seconds)}."
        if work.cancelled:
            text = f"Cancelled; what is computed stays. {text}"
        with self._progress_place.container():
            st.caption(text)
            st.button("Fill the map", icon=":material/play_arrow:", on_click=work.ask)

    def _estimate_seconds(self) -> float:
        """The estimated seconds of what is missing.

        Models without a measured rate first predict the first cells of two perturbations: the
        first includes their loading, the second shows their rate.
        """
        seconds = self._known_seconds()
        if seconds is None:
            with self._progress_place, st.spinner("Loading the models …"):
                for perturbation in self._perturbations[:2]:
                    self._predict(perturbation, COARSE, lambda: TURNS.turn(session()))
            seconds = self._known_seconds()
        return seconds or 0.0

    def _known_seconds(self) -> float | None:
        return ui_cells.seconds(
            self._picture, self._working_models, self._perturbations, self._seed
        )

    def _predict(self, perturbation: str, count: int, turn: Turn) -> None:
        """Compute the first ``count`` cells of a perturbation, and keep the errors of models."""
        band_strengths = strengths(REGISTRY[perturbation], count)
        results = ui_cells.cells(
            self._picture,
            self._working_models,
            _NOTHING,
            perturbation,
            band_strengths,
            self._seed,
            turn,
        )
        for model_name, result in results:
            if isinstance(result, RobustnessError):
                self._errors[model_name] = result

    def _compute(self, work: Work) -> None:
        """Compute the first cells of every band, then the rest, and draw meanwhile."""
        total = (COARSE + STEPS) * len(self._perturbations)
        done = 0
        pace = Pace(Unit("cells"), total, overall=True)
        bands_text = f"{counted(len(self._perturbations), 'band')} a model"
        with work.bar("Map: loading the models …", [self._progress_place]) as show_progress:

            def turn() -> AbstractContextManager[None]:
                text = bands_text
                if pace.seconds_left:
                    text += f", {duration(pace.seconds_left)} left"
                show_progress(done / total, text)
                self._draw(self._order)
                return TURNS.turn(session())

            for count in (COARSE, STEPS):
                if count == STEPS:  # each band has its first cells: the earliest break comes first
                    self._order = list(strength.mean_breaks(self.bands()))
                for perturbation in self._perturbations:
                    self._predict(perturbation, count, turn)
                    done += count
                    pace.note(done)

    def _draw(self, order: Sequence[str]) -> None:
        """Draw what is known, unless the last drawing is recent."""
        start = time.monotonic()
        # Drawing takes at most a tenth of the time, however large the map is.
        if start - self._last_drawn < max(_REDRAW_SECONDS, 10 * self._seconds_to_draw):
            return
        bands = self.bands()
        text = "Filling the map …"
        if self._order is not self._perturbations:
            text = f"So far: {strength.answer(bands)}"
        self._headline_place.html(draw.headline(text))
        band_maps = strength.band_maps(
            bands, self._thumbnails, columns=self._working_models, rows=order
        )
        self._map_place.html(drawings(band_map.drawing for band_map in band_maps))
        self._last_drawn = time.monotonic()
        self._seconds_to_draw = self._last_drawn - start

    def _finish(self) -> None:
        """Draw the map with clicks, once all rows are there the earliest break first."""
        bands = self.bands()
        is_complete = {band.perturbation for band in bands} == set(self._perturbations)
        if is_complete:
            text = strength.answer(bands)
        elif self._working_models:
            text = "Fill the map to see what breaks first."
        else:
            text = "No model can run."
        self._headline_place.html(draw.headline(text))
        band_maps = strength.band_maps(
            bands,
            self._thumbnails,
            keyed=True,
            columns=self._working_models,
            rows=() if is_complete else self._perturbations,
        )
        with self._map_place.container():
            for number, band_map in enumerate(band_maps):
                if band_map.title:
                    st.markdown(f"**{plain(band_map.title)}**")
                key = f"bands {number}"
                components.band_map(key, band_map.drawing, partial(_open, key))
            if stories.is_presented():
                legend = strength.brief_legend(bands)
            else:
                legend = strength.legend(bands)
            st.caption(f"{legend} Click a cell to open it in Live.")


def _open(key: str) -> None:
    """Replace the perturbations of Live by the cell that was clicked, and show it."""
    report = components.sent(key, "chosen") or {}
    _, perturbation, strength = str(report.get("key")).rsplit(" ", 2)
    stack.open_live(Condition.of({perturbation: float(strength)}))


# --- below the map --------------------------------------------------------------------------------


def sweeping(
    picture: Picture, perturbation: str, model_names: Sequence[str], seed: int
) -> CachedWork:
    """The sweep of one perturbation; its events are ``Measurement`` and ``Break``."""
    strength_count = len(strengths(REGISTRY[perturbation]))
    return CachedWork(
        what="Sweeping",
        key=work_key("sweep", picture, model_names, [Condition.of({perturbation: 1.0})], seed),
        picture=picture,
        events=lambda nameless: sweep(nameless, [perturbation], model_names, seed=seed),
        total=len(model_names) * (strength_count + 1),
    )


def _in_detail(
    picture: Picture, model_names: Sequence[str], seed: int, truth: str | None
) -> list[Measurement | Break]:
    """Draw the exact breaking strengths of a perturbation and its curves, once one is chosen."""
    st.header("In detail", anchor=False)
    options = {"": "Choose one"}
    options.update({record.name: record.label for record in REGISTRY})
    perturbation = listed("Perturbation", options, "perturbation")
    if not perturbation:
        st.caption("Exact breaking strengths, with confidence and similarity over strength.")
        return []
    events = sweeping(picture, perturbation, model_names, seed).at_once()
    swept = [labelled(event, truth) for event in events]
    breaks = [event for event in swept if isinstance(event, Break)]
    rows = [event for event in swept if isinstance(event, Measurement)]
    draw.draw([Titled("Breaking strengths", strength.breaking(breaks)), strength.curves(rows)])
    return swept
