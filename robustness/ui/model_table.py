"""The Models page: the table of models, the self-check, and the weights."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from robustness import models
from robustness.base.text import counted, plain
from robustness.models.run.openvino import chosen
from robustness.models.selfcheck import Answer, SelfCheck, self_checks
from robustness.models.weights.ready import parameters_text, state_text
from robustness.report import method_tables, methods
from robustness.ui import add_model, model_cards
from robustness.ui.computation.cache import RESULT_CACHE
from robustness.ui.computation.progress import Work
from robustness.ui.display import results


def show() -> None:
    """Draw the sections."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    are = "is" if len(ready) == 1 else "are"
    st.html(results.headline(f"{len(ready)} of {len(states)} models {are} ready on this machine."))
    place = st.container()
    checks = _self_check(ready)
    with place:
        _table(states, checks)
    add_model.show()
    _fits()
    model_cards.show(states)


def _fits() -> None:
    st.header("Accuracy by fit", anchor="fit")
    st.markdown(methods.note("Fit"))
    st.html(results.html_table(*methods.as_table(method_tables.fits())))


def _table(states: Mapping[str, models.WeightsState], checks: Mapping[str, SelfCheck]) -> None:
    order = list(model_cards.GROUPS)
    records = sorted(models.REGISTRY, key=lambda record: order.index(record.group))
    frame = pd.DataFrame(
        [_row(record, states[record.name], checks.get(record.name)) for record in records]
    )
    st.dataframe(
        frame,
        hide_index=True,
        height="content",
        placeholder="",
        column_config={
            "Model": st.column_config.TextColumn(pinned=True, width=150),
            "Self-check": st.column_config.TextColumn(width=105),
            "Year": st.column_config.NumberColumn(format="%d"),
            "Top-1": _percent("Published ImageNet validation accuracy."),
            "Top-5": _percent("Published ImageNet validation accuracy."),
            "mCE": _percent(
                "Published mean corruption error on ImageNet-C, relative to AlexNet; lower is "
                "better. From the published image files, with other weights of the same "
                "architecture."
            ),
            "Latency": st.column_config.NumberColumn(
                format="%.0f ms",
                help="One image on this machine: the median of passes of the self-check.",
            ),
        },
    )
    st.caption(
        "Click a column header to sort. Latency comes from the self-check below; "
        "sources of the published figures are listed with each model's weights."
    )


def _percent(text: str) -> ColumnConfig:
    return st.column_config.NumberColumn(format="%.1f", help=text + " In percent.")


def _row(
    record: models.ModelRecord, state: models.WeightsState, check: SelfCheck | None
) -> dict[str, object]:
    published = record.published
    return {
        "Model": record.label,
        "State": state_text(record, state),
        "Self-check": _verdict(check) if check else "not run",
        "Latency": check.milliseconds if check else None,
        "Group": model_cards.GROUPS[record.group][0],
        "Family": record.family,
        "Year": record.year,
        "Parameters": parameters_text(record),
        "Input": record.input_text,
        "Top-1": published.top1,
        "Top-5": published.top5,
        "mCE": published.mce,
    }


def _verdict(check: SelfCheck) -> str:
    if check.problem:
        return "✗ not run"
    if check.right is None:
        return "no reference image"
    return _met(check.right)


def _met(expectation: bool) -> str:
    return "✓ as expected" if expectation else "✗ differs"


# --- self-check -----------------------------------------------------------------------------------


def _self_check(ready: list[str]) -> dict[str, SelfCheck]:
    """Draw the section with its button; return the existing checks."""
    st.header("Self-check", anchor="self-check")
    st.markdown(
        "Each ready model predicts images with a known reference prediction, correct or not. If "
        "the reference probability is known, it must match, too: a wrong channel order or scale "
        "can keep the top-1 class and change only the probability. Models run at their own input "
        "size here; other pages give all models the same image of 224 x 224 pixels, so models "
        "with a larger input have slightly different probabilities there. Your own ImageNet models "
        "are also tried with the usual normalisations."
    )
    keys = {
        name: f"self-check {name} {models.digest(models.REGISTRY[name])} {chosen()}"
        for name in ready
    }
    work = Work("Checking", " ".join(keys.values()))
    st.button(
        f"Check {counted(len(ready), 'ready model')}",
        key="self_check",
        icon=":material/fact_check:",
        disabled=not ready,
        on_click=work.ask,
    )
    if work.requested:
        for check in work.with_progress(self_checks(ready), len(ready)):
            RESULT_CACHE.put(keys[check.model], [check])
    work.is_cancelled()
    found = {name: kept[0] for name, key in keys.items() if (kept := RESULT_CACHE.get(key))}
    if found:
        rows = [row for check in found.values() for row in _rows(check)]
        st.html(results.html_table(_HEAD, rows))
        for check in found.values():
            if check.better:
                label = models.REGISTRY[check.model].label
                st.warning(plain(f"{label}: {check.better}"), icon=":material/warning:")
        rounded = [check.rounding for check in found.values() if check.rounding is not None]
        if rounded:
            st.caption(
                "The setting 'precision' is below float32: probabilities of these images change "
                f"by up to {max(rounded):.1%}."
            )
    return found


_HEAD = ("Model", "Image", "Expected", "Predicted", "Verdict")


def _rows(check: SelfCheck) -> list[tuple[str, ...]]:
    label = models.REGISTRY[check.model].label
    if check.problem:
        return [(label, "", "", check.problem, "✗ not run")]
    if not check.answers:
        return [(label, "none", "", "", "no reference image")]
    return [
        (
            "" if place else label,
            answer.picture,
            _expected(answer),
            f"{answer.top1} {answer.probability:.1%}",
            _met(answer.right),
        )
        for place, answer in enumerate(check.answers)
    ]


def _expected(answer: Answer) -> str:
    names = " or ".join(answer.expected)
    reference = answer.expected_probability
    return names if reference is None else f"{names} {reference:.1%}"
