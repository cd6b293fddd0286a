"""The comparison of runs: which got worse or better since the baseline, and on which images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import models, report, runs, statistics
from robustness.base.errors import RobustnessError
from robustness.base.files import file_errors
from robustness.base.text import counted, plain, share
from robustness.images.pixels import to_png
from robustness.measure.condition import Condition, short
from robustness.report import choice, comparison
from robustness.report.blocks import Map, class_title
from robustness.report.charts import quantity_title
from robustness.report.choice import choose
from robustness.runs import Comparison, Listed
from robustness.runs.comparison import Flip, flips, score_changes
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
        entries = {name: listed[name] for name in names if name in listed}
        if len(entries) < 2:
            st.info("Select another run to compare.", icon=":material/difference:")
            return
        baseline, *other_names = entries
        results = {name: _compare(baseline, name) for name in other_names}
        compared = [result for result in results.values() if isinstance(result, Comparison)]
        headline = st.container()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _baseline_input(entries)
            run_table.comparison_input(entries[baseline].folder.parent, list(entries))
            quantity = _quantity(compared)
            # A report is of two runs.
            if len(results) == 1 and compared and compared[0].differences:
                build = partial(report.of_comparison, compared[0])
                report_button(build, f"{other_names[0]}-against-{baseline}")
            stories.present_button("what changed and its map")
        _show_answer(headline, compared, quantity, list(entries.values()))
        for number, (name, result) in enumerate(results.items()):
            with st.container(key=f"change-{number}"):
                _one(entries[name], result, quantity, is_only=len(results) == 1)


def _baseline_input(entries: Mapping[str, Listed]) -> None:
    """Draw the choice of the baseline among ``entries``, whose first it is."""
    names = list(entries)

    def title(name: str) -> str:
        # With its id: the browser returns a title, and two runs of one minute may have the same.
        return f"{_title(entries[name])}, {name}"

    def change() -> None:
        baseline = st.session_state["baseline"]
        run_table.choose([baseline, *(name for name in names if name != baseline)])

    st.session_state["baseline"] = names[0]
    st.selectbox(
        "Baseline",
        names,
        format_func=title,
        key="baseline",
        on_change=change,
        help="Default: the pinned run, or the oldest selected.",
    )


def _show_answer(
    headline: DeltaGenerator,
    compared: Sequence[Comparison],
    quantity: str,
    entries: Sequence[Listed],
) -> None:
    """Draw what changed into ``headline``, and below it which model to choose of all runs."""
    sentences = []
    changes = comparison.headline(compared, quantity)
    if changes:
        sentences.append(changes)
    chosen = _choice(entries)
    if chosen:
        sentences += chosen.sentences
    if not sentences:
        sentences = ["These runs cannot be compared."]
    headline.html(draw.headline(sentences[0]))
    if chosen:
        st.markdown(plain(" ".join(sentences[1:])))
        table = choice.table(choice.placed(chosen), chosen).table
        st.html(draw.html_table(*table))


def _choice(entries: Sequence[Listed]) -> ModelChoice | None:
    """Which model to choose among all that the compared runs have, if they differ."""
    models_of_runs = [
        set(entry.manifest.spec.model_names) for entry in entries if entry.manifest is not None
    ]
    if all(names == models_of_runs[0] for names in models_of_runs):
        return None
    try:
        return _choose([opened_run(entry.folder.name) for entry in entries])
    except RobustnessError:  # each comparison says why
        return None


_choose = cached(16, "Choosing …")(choose)


def _quantity(compared: Sequence[Comparison]) -> str:
    """Draw the choice of the compared quantity, by default the one that the verdict uses."""
    entries = [entry for result in compared for entry in result.differences]
    titles = {}
    for name in statistics.QUANTITIES:
        if any(entry[f"{name}_difference"] is not None for entry in entries):
            titles[name] = quantity_title(name, compared[0].score)
    if not titles:
        return "consistency"
    overall = [entry for entry in entries if entry["condition"] is None]
    first = comparison.quantity_of(overall[0])
    return one_of("Quantity", titles, "change_of", first=first, shows_label=False)


def _title(entry: Listed) -> str:
    assert entry.manifest is not None
    created = entry.manifest.created[:16].replace("T", " ")
    return f"{entry.title}, {created} UTC, {entry.manifest.how}"  # what differs first


def _compare(baseline: str, other: str) -> Comparison | str:
    """The comparison of two runs by their ids, or why there is none."""
    try:
        with file_errors("The run cannot be read"):  # such as deleted meanwhile
            return _compared(opened_run(baseline), opened_run(other))
    except RobustnessError as error:
        return sentence(error)


@cached(16, "Comparing …")
def _compared(baseline: runs.Run, other: runs.Run) -> Comparison:
    return runs.compare(baseline, other, said=short)


def _one(other: Listed, result: Comparison | str, quantity: str, *, is_only: bool) -> None:
    """Draw the changes of the run ``other``; a ``result`` that is text says why not."""
    title = plain(_title(other))
    if is_only:
        st.caption(f"This run: {title}, {plain(other.folder.name)}")
    else:
        st.header(title, anchor=False)
    if isinstance(result, str):
        st.error(plain(result), icon=":material/error:")
        return
    notes = " ".join(result.notes)
    if not result.differences:
        st.warning(plain(f"No change can be shown. {notes}"), icon=":material/difference:")
        return
    column = f"{quantity}_difference"
    entries = [entry for entry in result.differences if entry[column] is not None]
    if entries:
        _changes(result, entries, quantity, other.folder.name)
    else:
        title = quantity_title(quantity, result.score)
        st.info(f"{title} is not available in both runs.")
    if notes:
        st.caption("Differences between the runs: " + plain(notes))


def _changes(result: Comparison, entries: Sequence[Entry], quantity: str, name: str) -> None:
    """Draw the blocks of the report; below the map the images that flipped in the chosen cell."""
    for block in comparison.tables(entries, quantity, result.score):
        if isinstance(block, Map):
            _map(result, block, entries, quantity, name)
        elif block.long:
            draw.draw([block])
        else:
            st.html(draw.html_table(*block.table))
            st.caption(
                f"{counted(result.images, 'shared image')}, all shared conditions. "
                f"{statistics.TEST_SUMMARY}",
                help="Intervals are 95%, paired by image. Exact sign-flip test over images with "
                "Holm's correction.",
            )


def _map(
    result: Comparison, block: Map, entries: Sequence[Entry], quantity: str, name: str
) -> None:
    """Draw the map of the changes, and the images that flipped in the cell that was clicked."""
    map_key = f"changes map {name}"
    chosen_key = f"changes chosen {name}"

    def choose() -> None:
        click = components.sent(map_key, "chosen") or {}
        st.session_state[chosen_key] = str(click.get("key"))

    chosen = st.session_state.get(chosen_key, "")
    components.band_map(map_key, block.drawing, choose, chosen)
    changed = f"whose {result.score} changed" if result.score else "that flipped"
    with st.container(key=f"map-note {name}"):
        st.caption(plain(stories.with_hint(block.note, f"Click a cell for the images {changed}.")))
    cells = comparison.by_condition(entries, quantity)
    if chosen not in map(comparison.key, cells):
        return
    model, condition = json.loads(chosen)
    where = f"under {short(condition)}" if condition else "on the originals"
    st.markdown(f"**{plain(models.label(model))} {where}**")
    try:
        worse, better = _changed_images(result, model, condition, quantity)
        _flipped(result, model, "Now worse", worse, name)
        _flipped(result, model, "Now better", better, name)
    except RobustnessError as error:
        st.caption(plain(f"The images cannot be shown: {sentence(error)}"))


class _ChangedImage(NamedTuple):
    """An image that got worse or better: its name and condition, "" for an original, and how."""

    image: str
    condition: str
    text: str


def _changed_images(
    result: Comparison, model: str, condition: str, quantity: str
) -> list[list[_ChangedImage]]:
    """The images that got worse, and those that got better."""
    if result.score:
        sides_of_scores = score_changes(result.baseline, result.other, model, condition)
        return [
            [
                _ChangedImage(each.image, condition, f"{share(each.before)} → {share(each.after)}")
                for each in side
            ]
            for side in sides_of_scores
        ]
    sides = flips(result.baseline, result.other, model, condition, quantity)
    return [[_flipped_image(model, flip) for flip in side] for side in sides]


def _flipped_image(model: str, flip: Flip) -> _ChangedImage:
    before = class_title(model, flip.before)
    after = class_title(model, flip.after)
    return _ChangedImage(flip.image, flip.condition, f"{before} → {after}")


def _flipped(
    result: Comparison, model: str, title: str, flipped: Sequence[_ChangedImage], name: str
) -> None:
    """Draw the first of the images that got worse or better by ``model``, under ``title``."""
    run = result.other
    first = f", the first {FLIPPED}" if len(flipped) > FLIPPED else ""
    st.caption(
        f"{title}: {counted(len(flipped), 'image')}{first}",
        help=f"Below an image: its {plain(result.score) or 'prediction'} before and now.",
    )
    with st.container(horizontal=True, gap="small", key=f"{title} {name}"):
        for flip in flipped[:FLIPPED]:
            condition = Condition.parse(flip.condition) if flip.condition else Condition.of({})
            picture = run.picture_for(flip.image, model)
            if condition.in_files:
                image = run.perturbed(picture, condition)
            elif condition.needs_model:
                image = picture.image  # to attack it anew takes too long for a glance
            else:
                image = shared.change(picture, condition, run.seed).image
            st.image(
                to_png(image),
                caption=plain(flip.text),
                width=_PIXELS,
                output_format="PNG",
                alt=f"{picture.name} under {condition.described}",
            )
