"""The Scorecard page: the ten perturbations of the study on one or more images."""

from __future__ import annotations

from robustness import report
from robustness.evaluation.correctness import labelled
from robustness.evaluation.request import spec_of
from robustness.ui import scorecard
from robustness.ui.controls.model_input import require_models, sidebar_input
from robustness.ui.controls.picture_input import pictures_input
from robustness.ui.display.buttons import report_button
from robustness.ui.page import page

with page(
    "Scorecard",
    "The study's ten perturbations on one or more images: which predictions change, and how "
    "far the features move.",
):
    model_names, seed = sidebar_input()
    pictures, true_classes = pictures_input(model_names)
    conditions = scorecard.study_conditions_input()
    require_models(model_names)
    found = scorecard.measure(pictures, model_names, conditions, seed)
    rows = [labelled(row, true_classes.get(row.image_digest)) for row in found]
    spec = spec_of(pictures[0], model_names, conditions, seed)
    content = report.of_scorecard(spec, pictures, rows)
    report_button(lambda: content, "scorecard")
    scorecard.show(content, rows, pictures, spec)
