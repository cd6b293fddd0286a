"""The Adversarial page: how little an attacker must change a picture."""

from __future__ import annotations

import streamlit as st

from robustness.ui import (
    adversarial,
    adversarial_input,
    adversarial_report,
    adversarial_studies,
    adversarial_undo,
    inputs,
)
from robustness.ui.frame import frame
from robustness.ui.model_input import model_input

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
model, spec = adversarial_input.attack_input(chosen_models, seed)
outcome = adversarial.measure(picture, model, spec)
beside = st.container()
adversarial.show(picture, outcome, chosen_models)
with beside:
    adversarial_report.show(picture, outcome, chosen_models)
adversarial_studies.show(picture, outcome, chosen_models)
adversarial_undo.show(picture, outcome, chosen_models)
