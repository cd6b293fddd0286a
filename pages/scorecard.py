"""The Scorecard page: the whole study on one picture, or a handful."""

from __future__ import annotations

from functools import partial

import streamlit as st

from robustness import report
from robustness.evaluation.spec import make_spec
from robustness.ui import scorecard
from robustness.ui.kit import inputs
from robustness.ui.kit.model_input import model_input
from robustness.ui.kit.page import frame
from robustness.ui.kit.report_button import report_button

frame(
    "Scorecard",
    "The study's ten perturbations on one picture or a handful: who keeps the answer, how far the "
    "features move, and what the numbers can and cannot say.",
)
with st.sidebar:
    st.divider()
    chosen_models = model_input()
    seed = inputs.seed_input()
pictures = inputs.pictures_input(several=True)
conditions = inputs.study_conditions_input()
if not chosen_models:
    st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
    st.stop()
rows = scorecard.measure(pictures, chosen_models, conditions, seed)
spec = make_spec(chosen_models, conditions, seed=seed, fit=inputs.current_fit())
report_button(partial(report.of_scorecard, spec, pictures, rows), "scorecard")
scorecard.show(rows, pictures, conditions, seed)
