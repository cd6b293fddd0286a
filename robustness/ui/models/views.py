"""The views of the Models page: all models, the self-check, weights, and published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.text import counted, plain
from robustness.models.run.openvino import chosen
from robustness.models.selfcheck import Answer, SelfCheck, self_checks
from robustness.models.weights.weight_files import parameters_text, state_text
from robustness.ui.computation.cache import RESULT_CACHE
from robustness.ui.computation.progress import Work
from robustness.ui.display import results
from robustness.ui.models import add_model, cards
from robustness.ui.server.streamlit_internals import ColumnConfig
from robustness.ui.session.inputs import one_of


def show() -> None:
    """Draw what is ready, the form for another model, and the chosen view."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    are = "is" if len(ready) == 1 else "are"
    st.html(results.headline(f"{len(ready)} of {len(states)} models {are} ready on this machine."))
    add_model.show()
    view = one_of("View", _VIEWS, "view", shows_label=False)
    if view == "models":
        records = sorted(_records(), key=lambda record: not states[record.name].ready)
        _table([_row(record, states[record.name]) for record in records])
        st.caption("Latency comes from the self-check.")
    elif view == "check":
        _self_check(ready)
    elif view == "weights":
        cards.show(states)
    else:
        _table([_published(record) for record in _records()])
        st.caption(
            "The sources are listed under Weights; accuracy by fit is under Methods in Reference."
        )


_VIEWS = {
    "models": "All models",
    "check": "Self-check",
    "weights": "Weights",
    "published": "Published figures",
}


def _records() -> list[models.ModelRecord]:
    order = list(cards.GROUPS)
    return sorted(models.REGISTRY, key=lambda record: order.index(record.group))


def _table(rows: Sequence[Mapping[str, object]]) -> None:
    st.dataframe(
        pd.DataFrame(rows),
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
                help="Median time for one image on this machine, from the self-check.",
            ),
        },
    )


def _percent(text: str) -> ColumnConfig:
    return st.column_config.NumberColumn(format="%.1f", help=text + " In percent.")


def _row(record: models.ModelRecord, state: models.WeightsState) -> dict[str, object]:
    check = _last_check(record.name) if state.ready else None
    return {
        "Model": record.label,
        "State": state_text(record, state),
        "Self-check": _verdict(check) if check else "not run",
        "Latency": check.milliseconds if check else None,
        "Group": cards.GROUPS[record.group][0],
        "Parameters": parameters_text(record),
        "Input": record.input_text,
    }


def _published(record: models.ModelRecord) -> dict[str, object]:
    published = record.published
    return {
        "Model": record.label,
        "Family": record.family,
        "Year": record.year,
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


def _key(name: str) -> str:
    return f"self-check {name} {models.digest(models.REGISTRY[name])} {chosen()}"


def _last_check(name: str) -> SelfCheck | None:
    cached = RESULT_CACHE.get(_key(name))
    return cached[0] if cached else None


def _self_check(ready: Sequence[str]) -> None:
    """Draw the button, and the existing checks."""
    st.markdown(
        "Each ready model predicts images whose reference prediction is known. If the reference "
        "probability is known, it must match, too: a wrong channel order or scale may change the "
        "probability alone. Models run at their own input size here. Your own ImageNet models are "
        "also tried with the usual normalisations."
    )
    work = Work("Checking", " ".join(map(_key, ready)))
    st.button(
        f"Check {counted(len(ready), 'ready model')}",
        key="self_check",
        icon=":material/fact_check:",
        disabled=not ready,
        on_click=work.ask,
    )
    if work.requested:
        for check in work.with_progress(self_checks(list(ready)), len(ready)):
            RESULT_CACHE.put(_key(check.model), [check])
    work.is_cancelled()
    checks = [last for name in ready if (last := _last_check(name))]
    if not checks:
        return
    rows = [row for check in checks for row in _rows(check)]
    st.html(results.html_table(_HEAD, rows))
    for check in checks:
        if check.better:
            label = models.REGISTRY[check.model].label
            st.warning(plain(f"{label}: {check.better}"), icon=":material/warning:")
    rounded = [check.rounding for check in checks if check.rounding is not None]
    if rounded:
        st.caption(
            "The setting 'precision' is below float32: probabilities of these images change "
            f"by up to {max(rounded):.1%}."
        )


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
