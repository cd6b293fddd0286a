"""The view Attack: one attack and its noise control; further steps follow on request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from robustness import models
from robustness.attacks import Outcome
from robustness.base.text import plain, some
from robustness.charts.prediction_marks import verdict
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.framings import version_for
from robustness.evaluation.loop import picture_scores
from robustness.evaluation.measurement import Measurement
from robustness.pictures.picture import Picture
from robustness.report.attack import attack_answer, noise_answer, sizes
from robustness.report.blocks import Text
from robustness.ui.browser.html import html
from robustness.ui.display import blocks, explanations, results
from robustness.ui.one_image import attack_steps, stories
from robustness.ui.one_image.attack_outcome import adversarial, measure, row
from robustness.ui.one_image.attack_request import attack_input


def show(picture: Picture, names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draw the view."""
    answer, controls = st.columns([7, 3], gap="medium")  # on a narrow screen the answer is above
    with controls, st.container(key="attack-controls"):
        st.html(html("target", name="controls"))
        attacked_model, spec = attack_input(names, seed)
        reports = st.container()
    # An attack has one framing, that of the attacked model: others would see another image.
    alike = tuple(
        name
        for name in names
        if version_for(picture, name).framing == version_for(picture, attacked_model).framing
    )
    picture = version_for(picture, attacked_model)
    with answer, st.container(key="attack-answer"):
        condition = AttackCondition.of_spec(spec)
        stories.show_story(picture, names, seed, f"{attacked_model} {condition.id}")
        outcome = measure(picture, attacked_model, spec)
        rows = [row(picture, adversarial(picture, outcome), name, spec, truth) for name in alike]
        _show_outcome(picture, outcome, rows)
        if others := [models.label(name) for name in names if name not in alike]:
            names_of_others = some(others, len(others))
            st.caption(plain(f"Without {names_of_others}: they see the image otherwise."))
    with reports:
        attack_steps.show_report(picture, outcome, rows, truth)
    with st.container(key="attack-details"):
        attack_steps.show(picture, outcome, alike, truth, len(names))
        if opened := explanations.in_detail("top-5 classes, heat maps"):
            with opened:
                _in_detail(picture, outcome, rows, truth)


def _show_outcome(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> None:
    """Draw the result of one attack: headline, noise control, images and verdicts."""
    st.html(results.headline(attack_answer(outcome, rows)))
    if outcome.success:
        draw, icon = (st.success, "verified") if outcome.beats_noise else (st.warning, "grain")
        draw(plain(noise_answer(outcome)), icon=f":material/{icon}:")
    results.show_pictures(
        picture,
        outcome.image,
        f"{outcome.spec.record.label} against {models.label(outcome.model)}",
        picture_scores(picture.image[None], outcome.image[None]),
        captions=("Original", "Adversarial"),
        gain=outcome.gain,
        signed=True,
    )
    lines = [
        (models.label(r.model), r, verdict(r), models.class_name(r.model, r.top1)) for r in rows
    ]
    st.html(html("verdicts", lines=lines))
    with st.container(key="attack-sizes"):
        blocks.draw([sizes(outcome), Text("All figures are of the saved 8-bit image.")])


def _in_detail(
    picture: Picture, outcome: Outcome, rows: Sequence[Measurement], truth: str | None
) -> None:
    """Draw the top-5 classes of each model, those under noise, and where the models look."""
    cards = [results.card(entry, "Adversarial") for entry in rows]
    if outcome.l2:
        control = outcome.control
        noisy = Picture.of(f"{picture.name}, noisy", control.image, framing=picture.framing)
        noise = row(picture, noisy, outcome.model, outcome.spec, truth)
        cards.append(results.card(noise, f"Noise, the closest of {control.draws} draws"))
    for card, slot in zip(cards, results.cells(2), strict=False):
        slot.html(card)
    explanations.section(
        ["Original", "Adversarial"],
        lambda _: np.stack([picture.image, outcome.image]),
        {r.model: tuple(dict.fromkeys((r.clean_top1, r.top1))) for r in rows},
    )
