"""The end of the Adversarial page: what undoes the attack, and where the models look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
from robustness.ui.adversarial.outcome import adversarial, row
from robustness.ui.browser.components import marks
from robustness.ui.computation import cache
from robustness.ui.display import explanations, results
from robustness.ui.page import fragment
from robustness.ui.session.inputs import live_slider, perturbation_input, strengths


@fragment
def show(picture: Picture, outcome: Outcome, names: tuple[str, ...], truth: str | None) -> None:
    """Draw both questions and their answers; reruns alone when a control of theirs changes.

    To be drawn last on the page.
    """
    st.header("Does a natural perturbation undo it?", anchor=False)
    condition = _condition()
    changed = adversarial(picture, outcome)
    altered = cache.change(changed, condition, outcome.spec.seed)
    beside = cache.change(picture, condition, outcome.spec.seed)
    together = f"With {condition.label}"
    results.show_pictures(
        changed,
        altered.image,
        f"the attack and {condition.label}",
        altered.scores,
        captions=("Adversarial", together),
        key="pictures-undo",
    )
    spec = spec_of(picture, names, [condition], outcome.spec.seed)
    attacked = [row(picture, changed, model, outcome.spec, truth) for model in names]
    both = cache.all_answers(spec, changed, names, altered)
    alone = cache.all_answers(spec, picture, names, beside)
    _table(outcome, condition, attacked, both, alone)
    captions, images = ["Original", "Adversarial"], [picture.image, outcome.image]
    answers = [attacked]
    if condition.strength:
        captions.append(together)
        images.append(altered.image)
        answers.append(both)
    explanations.section(captions, lambda _: np.stack(images), _classes(answers))


def _condition() -> Condition:
    """The perturbation of the adversarial image."""
    left, right = st.columns(2, gap="medium")
    with left:
        name = perturbation_input(
            "Perturbation of the adversarial image", "jpeg_compression", "undo"
        )
    with right:
        record, first = PERTURBATIONS[name], 0.2
        strength = live_slider(
            *("Strength", strengths(record, first), "undo_strength", first),
            marked=[mark["value"] for mark in marks(record)],
        )
    return Condition.of({name: strength})


def _table(
    outcome: Outcome,
    condition: Condition,
    attacked: Sequence[Measurement],
    both: Sequence[Measurement],
    alone: Sequence[Measurement],
) -> None:
    """The answers of each model to all four images, and whether its own one is back."""
    lines = [
        (
            models.label(made.model) + (" (attacked)" if made.model == outcome.model else ""),
            _verdict(made.consistent, undone.top1 == made.clean_top1),
            _answer(made, made.clean_top1, made.clean_probability),
            *(_answer(made, row.top1, row.probability) for row in (made, undone, natural)),
        )
        for made, undone, natural in zip(attacked, both, alone, strict=True)
    ]
    head = (
        *("Model", "Undone?", "Original", "Adversarial"),
        *(f"Adversarial + {condition.label}", f"Original + {condition.label}"),
    )
    st.html(results.html_table(head, lines))
    st.caption(LEGEND)


def _classes(answers: Sequence[Sequence[Measurement]]) -> dict[str, tuple[int, ...]]:
    """By model: the class of the original, and each new one of the other images."""
    found = {}
    for rows in zip(*answers, strict=True):
        tops = (rows[0].clean_top1, *(row.top1 for row in rows))
        found[rows[0].model] = tuple(dict.fromkeys(tops))
    return found


def _answer(row: Measurement, index: int, probability: float) -> str:
    """The class ``index`` with its verdict, beside the original prediction of ``row``."""
    sign = judged(index == row.clean_top1, is_correct(row.label, index)).sign
    return f"{sign} {models.class_name(row.model, index)} {percent(probability)}"


def _verdict(untouched: bool, back: bool) -> str:
    if untouched:
        return "not fooled" if back else "changed now"
    return "yes" if back else "no"
