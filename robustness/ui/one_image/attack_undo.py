"""The step after an attack that tries to undo it by a natural perturbation."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from robustness import models
from robustness.attacks import Outcome
from robustness.charts.verdict import LEGEND, judged, percent
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import is_correct
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.pictures.picture import Picture
from robustness.ui.computation import cache
from robustness.ui.display import results
from robustness.ui.one_image import stack
from robustness.ui.one_image.attack_outcome import adversarial, row
from robustness.ui.page import fragment
from robustness.ui.session.inputs import perturbation_input, slider

_OPEN = "undo open"


@fragment
def show(picture: Picture, outcome: Outcome, names: tuple[str, ...], truth: str | None) -> None:
    """Draw the question, and its answer on request; reruns alone when a control changes."""
    st.header("Does a natural perturbation undo it?", anchor=False)
    if not (st.session_state.get(_OPEN) or {"undo", "undo_strength"} & {*st.query_params}):
        st.caption("Perturbs the attacked image: an attack often survives less than the image.")
        st.button(
            "Perturb the attacked image",
            icon=":material/play_arrow:",
            on_click=st.session_state.update,
            args=({_OPEN: True},),
        )
        return
    condition = _condition()
    changed = adversarial(picture, outcome)
    altered = cache.change(changed, condition, outcome.spec.seed)
    perturbed = cache.change(picture, condition, outcome.spec.seed)
    caption = f"With {condition.label}"
    results.show_pictures(
        changed,
        altered.image,
        f"the attack and {condition.label}",
        altered.scores,
        captions=("Adversarial", caption),
        key="pictures-undo",
    )
    spec = spec_of(picture, names, [condition], outcome.spec.seed)
    attacked = [row(picture, changed, model, outcome.spec, truth) for model in names]
    both = cache.all_answers(spec, changed, names, altered)
    alone = cache.all_answers(spec, picture, names, perturbed)
    _table(outcome, condition, attacked, both, alone)


def _condition() -> Condition:
    """The perturbation of the adversarial image."""
    step = stack.first_step() or stack.StackStep("jpeg_compression", 0.2)
    left, right = st.columns(2, gap="medium")
    with left:
        name = perturbation_input("Perturbation of the adversarial image", step.name, "undo")
    with right:
        record = PERTURBATIONS[name]
        first = step.strength if step.name == name else 0.2
        values = sorted({*(step / 100 for step in range(101)), first})
        texts = {value: f"{value:g}: {record.value_text(value)}" for value in values}
        strength = slider("Strength", texts, "undo_strength", first)
    return Condition.of({name: strength})


def _table(
    outcome: Outcome,
    condition: Condition,
    attacked: Sequence[Measurement],
    both: Sequence[Measurement],
    alone: Sequence[Measurement],
) -> None:
    """Each model's predictions for all four images, and whether its original one is back."""
    lines = [
        (
            models.label(fooled.model) + (" (attacked)" if fooled.model == outcome.model else ""),
            _verdict(fooled.consistent, undone.top1 == fooled.clean_top1),
            _answer(fooled, fooled.clean_top1, fooled.clean_probability),
            *(_answer(fooled, row.top1, row.probability) for row in (fooled, undone, natural)),
        )
        for fooled, undone, natural in zip(attacked, both, alone, strict=True)
    ]
    head = (
        *("Model", "Fixed?", "Original", "Adversarial"),
        *(f"Adversarial + {condition.label}", f"Original + {condition.label}"),
    )
    st.html(results.html_table(head, lines))
    st.caption(LEGEND)


def _answer(row: Measurement, index: int, probability: float) -> str:
    """The class ``index`` with its verdict, beside the original prediction of ``row``."""
    sign = judged(index == row.clean_top1, is_correct(row.label, index)).sign
    return f"{sign} {models.class_name(row.model, index)} {percent(probability)}"


def _verdict(untouched: bool, back: bool) -> str:
    if untouched:
        return "not fooled" if back else "newly wrong"
    return "yes" if back else "no"
