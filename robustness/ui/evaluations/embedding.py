"""The form that makes a map of the features of a run's images."""

from __future__ import annotations

import streamlit as st

from robustness import models
from robustness.base.permissions import Action
from robustness.base.text import counted
from robustness.evaluation.condition import short
from robustness.runs import Run
from robustness.runs.embedding_map import IMAGES, embedding_map, read_maps
from robustness.runs.row_selection import Chosen
from robustness.ui.computation.progress import Work
from robustness.ui.page import boundary
from robustness.ui.session import access
from robustness.ui.session.inputs import listed

_ABOUT = "how far perturbed images move in the features of a model"


def ask(run: Run) -> None:
    """Draw the choice of a model and a condition, and the button; make the map once asked to."""
    if not run.finished or run.is_from_table:
        return
    with st.expander("Make another map" if read_maps(run) else f"Map: {_ABOUT}"):
        _ask(run)


def _ask(run: Run) -> None:
    images = counted(min(IMAGES, run.manifest.images), "image")
    st.caption(f"Re-runs the model on up to {images}.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = {name: models.label(name) for name in run.manifest.spec.model_names}
        model = listed("Model", names, "new_map_model")
        conditions = {entry.id: short(entry.id) for entry in run.conditions}
        condition = listed("Condition", conditions, "new_map_condition")
        work = Work("map", f"{run.id} {model} {condition}")
        st.button(
            "Make a map",
            icon=":material/scatter_plot:",
            on_click=work.ask,
            **access.allowed(Action.MEASURE, key="make_map"),
        )
    if not work.requested:
        return
    with boundary():
        access.require(Action.MEASURE)
        with work.bar("Loading the model …") as show:

            def note(done: int, total: int) -> None:
                show(done / max(1, total), f"{done} of {counted(total, 'image')}")

            embedding_map(run, Chosen(model, conditions=(condition,)), note=note)
        st.rerun()
