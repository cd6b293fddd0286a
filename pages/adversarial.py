"""The Adversarial page: how little an attacker must change a picture."""

from __future__ import annotations

import streamlit as st

from robustness.ui.adversarial import outcome as adversarial
from robustness.ui.adversarial import report, request, studies, undo
from robustness.ui.kit import inputs
from robustness.ui.kit.model_input import model_input
from robustness.ui.kit.page import frame

frame(
    "Adversarial",
    "How little must be changed on purpose until a model errs? Attacks that follow the model's "
    "gradient, beside noise of the same size and natural perturbations.",
)
with st.sidebar:
    st.divider()
    chosen_models = model_input()
    seed = inputs.seed_input()
picture = inputs.picture_input()
if not chosen_models:
    st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
    st.stop()
model, spec = request.attack_input(chosen_models, seed)
outcome = adversarial.measure(picture, model, spec)
beside = st.container()
adversarial.show(picture, outcome, chosen_models)
with beside:
    report.show(picture, outcome, chosen_models)
studies.show(picture, outcome, chosen_models)
undo.show(picture, outcome, chosen_models)
