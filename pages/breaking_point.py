"""The Breaking-point page: the smallest strength at which each model's answer changes."""

from __future__ import annotations

from functools import partial

import streamlit as st

from robustness import report
from robustness.evaluation.condition import Condition
from robustness.evaluation.spec import make_spec
from robustness.ui import breaking_point
from robustness.ui.kit import inputs
from robustness.ui.kit.model_input import model_input
from robustness.ui.kit.page import frame
from robustness.ui.kit.report_button import report_button

frame(
    "Breaking point",
    "How strong must a perturbation be until a model's answer changes? A sweep over the strength, "
    "then bisection to 0.5 % of the range.",
)
with st.sidebar:
    st.divider()
    chosen_models = model_input()
    seed = inputs.seed_input()
picture = inputs.picture_input()
perturbation = inputs.perturbation_input()
if not chosen_models:
    st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
    st.stop()
found = breaking_point.measure(picture, perturbation, chosen_models, seed)
spec = make_spec(
    chosen_models, [Condition.of({perturbation: 1.0})], seed=seed, fit=inputs.current_fit()
)
report_button(partial(report.of_sweep, spec, picture, found), f"breaking-point-{perturbation}")
breaking_point.show(picture, perturbation, chosen_models, seed, found)
breaking_point.show_summary(picture, chosen_models, seed)
