"""The views of the Models page: all models with their checks, weights, and published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.text import are, counted, plain
from robustness.models.model_check import OK, ModelCheck, check_model, last_check
from robustness.models.weights.weight_files import parameters_text, state_text
from robustness.ui.computation.progress import Work
from robustness.ui.display import results
from robustness.ui.models import add_model, cards
from robustness.ui.server.streamlit_internals import ColumnConfig
from robustness.ui.session.inputs import one_of


def show() -> None:
    """Draw what is ready, the form for another model, and the chosen view."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    subject = are(len(ready), len(states), "model")
    st.html(results.headline(f"{subject[0].upper()}{subject[1:]} ready on this machine."))
    add_model.show()
    view = one_of("View", _VIEWS, "view", shows_label=False)
    if view == "models":
        place = st.container()
        _check(ready)
        checks = {name: last_check(models.REGISTRY[name]) for name in ready}
        records = sorted(_records(), key=lambda record: not states[record.name].ready)
        with place:
            _table([_row(r, states[r.name], checks.get(r.name)) for r in records])
        for name, check in checks.items():
            for note in filter(None, (check.problem, *check.notes)) if check else ():
                st.warning(plain(f"{models.label(name)}: {note}"), icon=":material/warning:")
    elif view == "weights":
        cards.show(states)
    else:
        _table([_published(record) for record in _records()])
        st.caption(
            "The sources are listed under Weights; accuracy by fit is under Methods in Reference."
        )


_VIEWS = {
    "models": "All models",
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
            "Check": st.column_config.TextColumn(width=105),
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
                help="Median time for one image on this machine, at the last check.",
            ),
        },
    )


def _percent(text: str) -> ColumnConfig:
    return st.column_config.NumberColumn(format="%.1f", help=text + " In percent.")


def _row(
    record: models.ModelRecord, state: models.WeightsState, check: ModelCheck | None
) -> dict[str, object]:
    return {
        "Model": record.label,
        "State": state_text(record, state),
        "Check": _verdict(check) if check else "not checked",
        "Known images": check.images_text if check else None,
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


def _verdict(check: ModelCheck) -> str:
    return f"{'✓' if check.state == OK else '✗'} {check.state}"


def _check(ready: Sequence[str]) -> None:
    """Draw the button, and check the models once it was pressed."""
    work = Work("Checking", " ".join(ready))
    st.button(
        f"Check {counted(len(ready), 'ready model')}",
        key="check_models",
        icon=":material/fact_check:",
        disabled=not ready,
        on_click=work.ask,
        help="Reads the weights, converts the graph, predicts images with known results, and "
        "measures latency. If the probability is known, it must match, too: a wrong channel order "
        "may change it alone. Your own ImageNet models are also tried with the usual "
        "normalisations.",
    )
    if work.requested:
        for _ in work.with_progress(map(check_model, ready), len(ready)):
            pass  # each is kept as the last check of its model
    work.is_cancelled()
