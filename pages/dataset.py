"""The Dataset page: many pictures at once, with statistics that take pictures as the unit."""

from __future__ import annotations

from functools import partial

import streamlit as st

from robustness import report
from robustness.ui.dataset import page, results
from robustness.ui.kit import inputs
from robustness.ui.kit.model_input import model_input
from robustness.ui.kit.page import frame
from robustness.ui.kit.report_button import report_button

frame(
    "Dataset",
    "Many pictures at once: who keeps the answer, how certain that is, and which pictures break "
    "it. Runs are saved, can be gone on with, and open by their link.",
)
with st.sidebar:
    st.divider()
    chosen_models = model_input()
    seed = inputs.seed_input()
if chosen_models:
    page.new_run(chosen_models, seed)
else:
    st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
run = page.saved_run()
if run is not None:
    if run.run.images:
        report_button(partial(report.of_run, run.run), run.id)
    results.show(run)
