"""The comparison of runs: which got worse or better since the baseline, and on which images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import streamlit as st

from robustness import models, report, runs, statistics
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.images.pixels import to_png
from robustness.measure.condition import Condition, short
from robustness.report import choice, comparison
from robustness.report.blocks import Map, class_title
from robustness.report.charts import QUANTITIES
from robustness.report.choice import choose
from robustness.runs import Comparison, Listed
from robustness.runs.comparison import flips
from robustness.statistics import ModelChoice
from robustness.ui import components, draw, shared
from robustness.ui.draw import report_button
from robustness.ui.evaluations import table as run_table
from robustness.ui.live import stories
from robustness.ui.session import one_of, sentence
from robustness.ui.shared import cached, opened_run

_PIXELS = 132
"""The width of a flipped image."""

FLIPPED = 6
"""Flipped images that are shown, each way."""

Entry = Mapping[str, Any]


def show(names: Sequence[str], listed: Mapping[str, Listed]) -> None:
    """Draw what changed in the runs ``names`` since the first, the baseline."""
    with st.container(border=True, key="comparison"):
        for name in names:
            if name not in listed:
                st.warning(f"No run {plain(name)} here.", icon=":material/link_off:")
        there = [name for name in names if name in listed]
        if len(there) < 2:
            st.info("Select another run to compare.", icon=":material/difference:")
            return
        others = {name: _compare(there[0], name) for name in there[1:]}
        headline = st.container()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.session_state["baseline"] = there[0]
            st.selectbox(
                "Baseline",
                there,
                # The browser returns a title: two runs of one minute may have the same.
                format_func=lambda name: f"{_title(listed[name])}, {name}",
                key="baseline",
                on_change=lambda: run_table.choose(
                    list(dict.fromkeys([st.session_state["baseline"], *there]))
                ),
                help="Default: the pinned run, or the oldest selected.",
            )
            run_table.comparison_input(listed[there[0]].folder.parent, there)
            quantity = _quantity(list(others.values()))
            compared_runs = [each for each in others.values() if not isinstance(each, str)]
            if len(others) == 1 and compared_runs and compared_runs[0].differences:
                report_button(
                    partial(report.of_comparison, *compared_runs), "-against-".join(there[::-1])
                )
            stories.present_button("what changed and its map")
        changes = comparison.headline(compared_runs, quantity)
        chosen = _choice([listed[name] for name in there])
        sentences = [*filter(None, [changes]), *(chosen.sentences if chosen else ())]
        headline.html(draw.headline((sentences or ["These runs cannot be compared."])[0]))
        if chosen:
            st.markdown(plain(" ".join(sentences[1:])))
            entries = choice.placed(chosen)
            table = choice.table(entries, chosen).table
            st.html(draw.html_table(*table))
        for place, (name, compared) in enumerate(others.items()):
            with st.container(key=f"change-{place}"):
                _one(listed[name], compared, quantity, is_only=len(others) == 1)


def _choice(entries: Sequence[Listed]) -> ModelChoice | None:
    """Which model to choose among all that the compared runs have, if they differ."""
    names = [e.manifest.spec.model_names if e.manifest else () for e in entries]
    if len({*chain(*names)}) == min(map(len, names)):
        return None
    try:
        return _choose([opened_run(entry.folder.name) for entry in entries])
    except RobustnessError:  # each comparison says why
        return None


_choose = cached(16, "Choosing …")(choose)


def _quantity(compared: Sequence[Comparison | str]) -> str:
    """The compared quantity: one that is available, by default the one the verdict uses."""
    entries = [e for one in compared if not isinstance(one, str) for e in one.differences]
    overall = [entry for entry in entries if entry["condition"] is None]
    titles = {
        name: QUANTITIES[name]
        for name in statistics.QUANTITIES
        if any(entry[f"{name}_difference"] is not None for entry in entries)
    }
    if not titles:
        return "consistency"
    first = comparison.quantity_of(overall[0])
    return one_of("Quantity", titles, "change_of", first=first, shows_label=False)


def _title(entry: Listed) -> str:
    assert entry.manifest is not None
    created = entry.manifest.created[:16].replace("T", " ")
    return f"{entry.title}, {created} UTC, {entry.manifest.how}"  # what differs first


def _compare(baseline: str, other: str) -> Comparison | str:
    """The comparison of two runs by their ids, or why there is none."""
    try:
        return _compared(opened_run(baseline), opened_run(other))
    except RobustnessError as error:
        return sentence(error)
    except OSError as error:  # such as deleted meanwhile
        return f"The run cannot be read: {error.strerror}."


@cached(16, "Comparing …")
def _compared(baseline: runs.Run, other: runs.Run) -> Comparison:
    return runs.compare(baseline, other, said=short)


def _one(other: Listed, compared_runs: Comparison | str, quantity: str, *, is_only: bool) -> None:
    title = plain(_title(other))
    if is_only:
        st.caption(f"This run: {title}, {plain(other.folder.name)}")
    else:
        st.header(title, anchor=False)
    if isinstance(compared_runs, str):
        st.error(plain(compared_runs), icon=":material/error:")
        return
    entries = [e for e in compared_runs.differences if e[f"{quantity}_difference"] is not None]
    if entries:
        _changes(compared_runs, entries, quantity, other.folder.name)
    elif compared_runs.differences:
        st.info(f"{QUANTITIES[quantity]} is not available in both runs.")
    if not compared_runs.differences:
        text = f"No change can be shown. {' '.join(compared_runs.notes)}"
        st.warning(plain(text), icon=":material/difference:")
    elif compared_runs.notes:
        st.caption("Differences between the runs: " + plain(" ".join(compared_runs.notes)))


def _changes(compared_runs: Comparison, entries: Sequence[Entry], quantity: str, name: str) -> None:
    """Draw the blocks of the report; below the map the images that flipped in the chosen cell."""
    for block in comparison.tables(entries, quantity):
        if isinstance(block, Map):
            _map(compared_runs, block, entries, quantity, name)
        elif block.long:
            draw.draw([block])
        else:
            st.html(draw.html_table(*block.table))
            st.caption(
                f"{counted(compared_runs.images, 'shared image')}, all shared conditions. "
                f"{statistics.TEST_SUMMARY}",
                help="Intervals are 95%, paired by image. Exact sign-flip test over images with "
                "Holm's correction.",
            )


def _map(
    compared_runs: Comparison, block: Map, entries: Sequence[Entry], quantity: str, name: str
) -> None:
    map_key = f"changes map {name}"
    chosen_key = f"changes chosen {name}"

    def choose() -> None:
        report = components.sent(map_key, "chosen") or {}
        st.session_state[chosen_key] = str(report.get("key"))

    chosen = st.session_state.get(chosen_key, "")
    components.band_map(map_key, block.drawing, choose, chosen)
    st.caption(f"{block.note} Click a cell for the images that flipped.")
    cells = comparison.by_condition(entries, quantity)
    if chosen not in map(comparison.key, cells):
        return
    model, condition = json.loads(chosen)
    where = f"under {short(condition)}" if condition else "on the originals"
    st.markdown(f"**{plain(models.label(model))} {where}**")
    run = compared_runs.other
    try:
        both = flips(compared_runs.baseline, run, model, condition, quantity)
        for which, flipped in zip(("Now worse", "Now better"), both, strict=True):
            first = f", the first {FLIPPED}" if len(flipped) > FLIPPED else ""
            st.caption(
                f"{which}: {counted(len(flipped), 'image')}{first}",
                help="Below an image: its prediction before and now.",
            )
            with st.container(horizontal=True, gap="small", key=f"{which} {name}"):
                for flip in flipped[:FLIPPED]:
                    done = Condition.parse(flip.condition) if flip.condition else Condition.of({})
                    picture = run.picture_for(flip.image, model)
                    image = picture.image  # also of an attack, which takes too long for a glance
                    if done.in_files:
                        image = run.perturbed(picture, done)
                    elif not done.needs_model:
                        image = shared.change(picture, done, run.seed).image
                    classes = (class_title(model, index) for index in (flip.before, flip.after))
                    st.image(
                        to_png(image),
                        caption=plain(" → ".join(classes)),
                        width=_PIXELS,
                        output_format="PNG",
                        alt=f"{picture.name} under {done.described}",
                    )
    except RobustnessError as error:
        st.caption(plain(f"The images cannot be shown: {sentence(error)}"))
