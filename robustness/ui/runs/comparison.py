"""The comparison of runs on the Runs page: the choice, and what changed since the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from robustness import models, runs
from robustness import statistics as figures
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.charts import differences
from robustness.charts.dataset import QUANTITIES
from robustness.charts.tables import Table
from robustness.evaluation.condition import short
from robustness.report import comparison
from robustness.report.questions import choice
from robustness.report.questions.candidates import choose
from robustness.runs import Comparison, Listed
from robustness.runs.compare import flips, incomparable
from robustness.statistics import ModelChoice
from robustness.statistics.differences import BETTER, WORSE, said
from robustness.ui.browser.html import html
from robustness.ui.display import results
from robustness.ui.session.inputs import one_of
from robustness.ui.session.run_link import baseline_id
from robustness.ui.session.sentences import sentence

COMPARE = "compare"
"""Parameter of the link: the compared runs, the baseline first."""

FLIPPED = 6
"""Flipped images that are shown, each way."""

Entry = Mapping[str, Any]


def chosen() -> list[str]:
    """The compared runs in the link, the baseline first."""
    return list(dict.fromkeys(st.query_params.get_all(COMPARE)))


def tick(name: str, runs: Mapping[str, Listed]) -> str:
    """The checkbox to compare the run ``name``; if that is impossible, disabled with the reason.

    Returns the reason once a run is ticked, as a touch screen shows no help.
    """
    key = f"compare {name}"
    names = [each for each in chosen() if each in runs]
    why = "" if not names or name in names else _why_not(runs[names[0]], runs[name])
    manifest = runs[name].manifest
    if manifest is not None and manifest.race is not None:
        why = "A race stops early: compare runs of all images."
    st.session_state[key] = name in chosen()  # the link decides
    st.checkbox(
        "Compare",
        key=key,
        on_change=_toggle,
        args=(name, runs),
        disabled=bool(why),
        help=plain(why) or None,
    )
    return why if names else ""


def _why_not(baseline: Listed, other: Listed) -> str:
    try:
        written = _written(baseline, other)
        return _incomparable(str(baseline.folder), str(other.folder), *written)
    except (RobustnessError, OSError):  # the comparison says what is wrong
        return ""


@st.cache_data(show_spinner=False, max_entries=256)
def _incomparable(first: str, second: str, *_written: int) -> str:
    return incomparable(*(runs.load(Path(f), unfinished=True) for f in (first, second)))


def _written(*entries: Listed) -> list[int]:
    return [(entry.folder / runs.MANIFEST_FILE).stat().st_mtime_ns for entry in entries]


def pointer(folder: Path, runs: Mapping[str, Listed]) -> None:
    """One line above the list that says where the comparison is."""
    count = len(names := chosen())
    pinned = runs.get(baseline_id(folder))
    if count > 1:
        st.markdown(f"[Go to the comparison of {count} runs](#comparison)")
    elif names:
        st.caption("Tick another run to compare.")
    elif pinned is not None:
        st.caption(f"Tick a run to compare it with the baseline, {plain(pinned.title)}.")


def _toggle(name: str, runs: Mapping[str, Listed]) -> None:
    names = chosen()
    if name in names:
        forget(name)
        return
    pinned = baseline_id(runs[name].folder.parent)
    if not names and pinned in runs and pinned != name:
        names = [pinned]
    by_hand = names[:1] if names[:1] != _by_age(names, runs)[:1] or names[:1] == [pinned] else []
    rest = [each for each in (*names, name) if each not in by_hand]
    _choose([*by_hand, *_by_age(rest, runs)])
    if names:
        st.toast("The comparison is below the list.", icon=":material/arrow_downward:")


def _by_age(names: Sequence[str], runs: Mapping[str, Listed]) -> list[str]:
    """The oldest run first, missing ones last."""

    def created(name: str) -> tuple[bool, str]:
        manifest = runs[name].manifest if name in runs else None
        return manifest is None, "" if manifest is None else manifest.created

    return sorted(names, key=created)


def forget(name: str) -> None:
    """Remove the run ``name`` from the comparison."""
    _choose([each for each in chosen() if each != name])


def _choose(names: Sequence[str]) -> None:
    if names:
        st.query_params[COMPARE] = list(names)
    else:
        st.query_params.pop(COMPARE, None)


def show(folder: Path, runs: Mapping[str, Listed]) -> None:
    """Draw the comparison of the chosen runs, if any."""
    names = chosen()
    if not names:
        return
    with st.container(border=True, key="comparison"):
        st.header("Comparison", anchor="comparison")
        gone = [name for name in names if name not in runs]
        for name in gone:
            st.warning(f"No run {plain(name)} here.", icon=":material/link_off:")
        there = [name for name in names if name in runs]
        if len(there) < 2:
            st.info("Tick another run to compare.", icon=":material/difference:")
            st.button("Clear", on_click=_choose, args=([],))
            return
        _controls(there, runs)
        compared = {name: _compare(runs[there[0]], runs[name]) for name in there[1:]}
        _choice([runs[name] for name in there])
        quantity = _quantity(list(compared.values()))
        for place, (name, found) in enumerate(compared.items()):
            with st.container(key=f"change-{place}"):
                _one(runs[name], found, quantity)


def _choice(entries: Sequence[Listed]) -> None:
    """Draw which model to choose among all that the compared runs have, if they differ."""
    if len({name for e in entries for name in _models(e)}) == min(map(len, map(_models, entries))):
        return
    try:
        found = _chosen(tuple(str(entry.folder) for entry in entries), *_written(*entries))
    except (RobustnessError, OSError) as error:
        told = sentence(error) if isinstance(error, RobustnessError) else "A run is gone."
        st.caption(plain(f"No choice among these runs: {told}"))
        return
    st.markdown(f"**{plain(found.sentences[0])}** {plain(' '.join(found.sentences[1:]))}")
    st.html(results.html_table(*choice.table(found.models, found.quantity).table))


def _models(entry: Listed) -> Sequence[str]:
    return () if entry.manifest is None else entry.manifest.spec.model_names


@st.cache_resource(show_spinner="Choosing …", max_entries=16)
def _chosen(folders: Sequence[str], *_written: int) -> ModelChoice:
    return choose([runs.load(Path(folder), unfinished=True) for folder in folders])


def _quantity(compared: Sequence[Comparison | str]) -> str:
    """The compared quantity: one that is known, by default the one the verdict uses."""
    entries = [e for each in compared if not isinstance(each, str) for e in each.differences]
    overall = [entry for entry in entries if entry["condition"] is None]
    titles = {
        name: QUANTITIES[name]
        for name in figures.QUANTITIES
        if any(entry[f"{name}_difference"] is not None for entry in entries)
    }
    if not titles:
        return "consistency"
    return one_of("Quantity", titles, "change_of", first=overall[0]["judged_by"], shows_label=False)


def _controls(there: Sequence[str], runs: Mapping[str, Listed]) -> None:
    st.session_state["baseline"] = there[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Baseline",
            there,
            format_func=lambda name: _title(runs[name]),
            key="baseline",
            on_change=_rebase,
            args=(there,),
        )
        st.button("Clear", on_click=_choose, args=([],))
    st.caption("By default your baseline or the pinned run, else the oldest ticked one.")


def _rebase(there: Sequence[str]) -> None:
    baseline = st.session_state["baseline"]
    _choose([baseline, *(name for name in there if name != baseline)])


def _title(entry: Listed) -> str:
    assert entry.manifest is not None
    made = entry.manifest.created[:16].replace("T", " ")
    return f"{entry.title}, {entry.manifest.how}, {made} UTC"


@st.cache_resource(show_spinner="Comparing …", max_entries=16)
def _compared(first: str, second: str, *_written: int) -> Comparison:
    baseline, other = (runs.load(Path(folder), unfinished=True) for folder in (first, second))
    return runs.compare(baseline, other, said=short)


def _compare(baseline: Listed, other: Listed) -> Comparison | str:
    """The comparison, or why there is none."""
    try:
        written = _written(baseline, other)
        return _compared(str(baseline.folder), str(other.folder), *written)
    except RobustnessError as error:
        return sentence(error)
    except OSError as error:  # deleted meanwhile
        gone = isinstance(error, FileNotFoundError)
        return "The run is gone." if gone else f"The run cannot be read: {error.strerror}."


def _one(other: Listed, compared_runs: Comparison | str, quantity: str) -> None:
    st.subheader(plain(_title(other)), anchor=False)
    if isinstance(compared_runs, str):
        st.error(plain(compared_runs), icon=":material/error:")
        return
    known = [e for e in compared_runs.differences if e[f"{quantity}_difference"] is not None]
    if known:
        _changes(compared_runs, known, quantity, other.folder.name)
    elif compared_runs.differences:
        st.info(f"{QUANTITIES[quantity]} is not available in both runs.")
    if not compared_runs.differences:
        text = f"Cannot compare. {' '.join(compared_runs.notes)}"
        st.warning(plain(text), icon=":material/difference:")
    elif compared_runs.notes:
        st.caption("Differences between the runs: " + plain(" ".join(compared_runs.notes)))


def _changes(compared_runs: Comparison, entries: Sequence[Entry], quantity: str, name: str) -> None:
    overall = [entry for entry in entries if entry["perturbation"] is None]
    st.html(html("changes", sentences=[comparison.sentence(entry, quantity) for entry in overall]))
    count, columns = counted(compared_runs.images, "shared image"), comparison.figures(quantity)
    right = st.container()
    if _moved(overall, quantity):
        left, right = st.columns([2, 3], gap="medium")
        results.chart(
            left,
            differences.run_differences(overall, quantity),
            f"changes {name}",
            "Change of each model with its interval; the table holds the numbers.",
        )
    with right:
        st.html(results.html_table(*Table.of(overall, [*comparison.MODEL, *columns])))
        st.caption(
            f"{count}, all shared conditions. Intervals are 95%, paired by image.",
            help="Exact sign-flip test over images with Holm's correction.",
        )
    each = [entry for entry in entries if entry["perturbation"] is not None]
    details = st.expander(_summary(each, quantity), key=f"conditions of {name}", on_change="rerun")
    if details.open:  # its images take long to read
        with details:
            _by_condition(compared_runs, each, quantity, name)


def _moved(entries: Sequence[Entry], quantity: str) -> bool:
    """Whether any prediction changed."""
    return any(entry[f"{quantity}_moved"] for entry in entries)


def _summary(entries: Sequence[Entry], quantity: str) -> str:
    verdicts = [entry[f"{quantity}_verdict"] for entry in entries]
    counts = [f"{verdicts.count(word)} {said(word)}" for word in (BETTER, WORSE)]
    return f"By condition: {', '.join(counts)}, of {len(entries)}"


def _by_condition(
    compared_runs: Comparison, entries: Sequence[Entry], quantity: str, name: str
) -> None:
    names = list(dict.fromkeys(entry["model"] for entry in entries))
    model = st.selectbox("Model", names, format_func=models.label, key=f"changes of {name}")
    mine = [entry for entry in entries if entry["model"] == model]
    if _moved(mine, quantity):
        results.chart(
            st,
            differences.run_differences(mine, quantity),
            f"changes by condition {name}",
            "Change under each condition with its interval; the table holds the numbers.",
        )
    columns = [*comparison.CONDITION, *comparison.figures(quantity)]
    st.html(results.html_table(*Table.of(mine, columns)))
    most = sorted(mine, key=lambda entry: -entry[f"{quantity}_moved"])
    condition = st.selectbox(
        "Images that flipped under",
        [str(entry["condition"]) for entry in most],
        format_func=short,
        key=f"flipped {name}",
        help="Conditions with most flipped images first. Below an image: its prediction before and "
        "now.",
    )
    try:
        _flipped(compared_runs, model, condition, quantity, name)
    except RobustnessError as error:
        st.caption(plain(f"The images cannot be shown: {sentence(error)}"))


def _flipped(
    compared_runs: Comparison, model: str, condition: str, quantity: str, name: str
) -> None:
    """Draw the images on which ``model`` got worse, and those on which it got better."""
    both = flips(compared_runs.baseline, compared_runs.other, model, condition, quantity)
    for which, mine in zip(("Now worse", "Now better"), both, strict=True):
        shown = f", the first {FLIPPED}" if len(mine) > FLIPPED else ""
        st.markdown(f"**{which}: {counted(len(mine), 'image')}{shown}**")
        drawn = [
            results.thumbnail(compared_runs.other, model, each.image, condition, each[1:])
            for each in mine[:FLIPPED]
        ]
        results.row(drawn, f"{which} {name}")
