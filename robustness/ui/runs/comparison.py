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
from robustness.report.results import comparison
from robustness.runs import Comparison, Listed
from robustness.statistics.differences import BETTER, WORSE, said
from robustness.ui.browser.html import html
from robustness.ui.session.inputs import one_of
from robustness.ui.session.sentences import sentence
from robustness.ui.shown import results

COMPARE = "compare"
"""Parameter of the link: the compared runs, the baseline first."""

Entry = Mapping[str, Any]


def chosen() -> list[str]:
    """The compared runs in the link, the baseline first."""
    return list(dict.fromkeys(st.query_params.get_all(COMPARE)))


def tick(name: str, known: Mapping[str, Listed]) -> None:
    """The checkbox to compare the run ``name``."""
    key = f"compare {name}"
    st.session_state[key] = name in chosen()  # the link decides
    st.checkbox("Compare", key=key, on_change=_toggle, args=(name, known))


def _toggle(name: str, known: Mapping[str, Listed]) -> None:
    names = chosen()
    if name in names:
        forget(name)
        return
    by_hand = names[:1] if names[:1] != _by_age(names, known)[:1] else []
    rest = [each for each in (*names, name) if each not in by_hand]
    _choose([*by_hand, *_by_age(rest, known)])
    if names:
        st.toast("The comparison is at the top of the page.", icon=":material/arrow_upward:")


def _by_age(names: Sequence[str], known: Mapping[str, Listed]) -> list[str]:
    """The oldest run first, missing ones last."""

    def created(name: str) -> tuple[bool, str]:
        manifest = known[name].manifest if name in known else None
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


def show(folder: Path, known: Mapping[str, Listed]) -> None:
    """Draw the comparison of the chosen runs, if any."""
    names = chosen()
    if not names:
        return
    with st.container(border=True, key="comparison"):
        st.header("Comparison", anchor=False)
        gone = [name for name in names if name not in known]
        for name in gone:
            st.warning(f"No run {plain(name)} here.", icon=":material/link_off:")
        there = [name for name in names if name in known]
        if len(there) < 2:
            st.info("Tick another run below to compare.", icon=":material/difference:")
            st.button("Clear", on_click=_choose, args=([],))
            return
        _controls(there, known)
        compared = {name: _found(known[there[0]], known[name]) for name in there[1:]}
        quantity = _quantity(list(compared.values()))
        for place, (name, found) in enumerate(compared.items()):
            with st.container(key=f"change-{place}"):
                _one(known[name], found, quantity)


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


def _controls(there: Sequence[str], known: Mapping[str, Listed]) -> None:
    st.session_state["baseline"] = there[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Baseline",
            there,
            format_func=lambda name: _title(known[name]),
            key="baseline",
            on_change=_rebase,
            args=(there,),
        )
        st.button("Clear", on_click=_choose, args=([],))
    st.caption("By default the oldest ticked run.")


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


def _found(baseline: Listed, other: Listed) -> Comparison | str:
    """The comparison, or why there is none."""
    paths = [entry.folder for entry in (baseline, other)]
    try:
        written = [(path / runs.MANIFEST_FILE).stat().st_mtime_ns for path in paths]
        return _compared(str(paths[0]), str(paths[1]), *written)
    except RobustnessError as error:
        return sentence(error)
    except OSError as error:  # deleted meanwhile
        gone = isinstance(error, FileNotFoundError)
        return "The run is gone." if gone else f"The run cannot be read: {error.strerror}."


def _one(other: Listed, found: Comparison | str, quantity: str) -> None:
    st.subheader(plain(_title(other)), anchor=False)
    if isinstance(found, str):
        st.error(plain(found), icon=":material/error:")
        return
    known = [e for e in found.differences if e[f"{quantity}_difference"] is not None]
    if known:
        _changes(found, known, quantity, other.folder.name)
    elif found.differences:
        st.info(f"{QUANTITIES[quantity]} is not available in both runs.")
    if not found.differences:
        text = f"Cannot compare. {' '.join(found.apart)}"
        st.warning(plain(text), icon=":material/difference:")
    elif found.apart:
        st.caption("Differences between the runs: " + plain(" ".join(found.apart)))


def _changes(found: Comparison, known: Sequence[Entry], quantity: str, name: str) -> None:
    overall = [entry for entry in known if entry["perturbation"] is None]
    st.html(html("changes", sentences=[comparison.sentence(entry, quantity) for entry in overall]))
    count, columns = counted(found.images, "shared image"), comparison.figures(quantity)
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
            f"{count}, all shared conditions. Intervals are 95 %, paired by image.",
            help="Exact sign-flip test over images with Holm's correction.",
        )
    each = [entry for entry in known if entry["perturbation"] is not None]
    with st.expander(_summary(each, quantity)):
        _by_condition(each, quantity, name)


def _moved(entries: Sequence[Entry], quantity: str) -> bool:
    """Whether any prediction changed."""
    return any(entry[f"{quantity}_moved"] for entry in entries)


def _summary(entries: Sequence[Entry], quantity: str) -> str:
    verdicts = [entry[f"{quantity}_verdict"] for entry in entries]
    counts = [f"{verdicts.count(word)} {said(word)}" for word in (BETTER, WORSE)]
    return f"By condition: {', '.join(counts)}, of {len(entries)}"


def _by_condition(entries: Sequence[Entry], quantity: str, name: str) -> None:
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
