"""The Dataset page: many images at once, with statistics that take images as the unit."""

from __future__ import annotations

from robustness.runs.jobs import is_queued
from robustness.ui.controls.model_input import ask_for_a_model, sidebar_input
from robustness.ui.dataset import results
from robustness.ui.dataset.new_run import new_run
from robustness.ui.dataset.saved_run import about, saved_run
from robustness.ui.page import page

with page(
    "Dataset",
    "Many images at once: which models stay correct, with intervals, and where they fail. "
    "Runs continue in the background, are saved, and open by their link.",
):
    model_names, seed = sidebar_input()
    if model_names:
        new_run(model_names, seed)
    else:
        ask_for_a_model()
    opened = saved_run()
    if opened is not None:
        if opened.run.images or not is_queued(opened.run.folder):
            results.show(opened)
        about(opened.run)
