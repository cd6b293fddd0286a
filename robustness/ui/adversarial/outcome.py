"""Results of the Adversarial page: the attacked image, the predictions, and the control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import streamlit as st

from robustness import models
from robustness.attacks import AttackSpec, Outcome, Step, craft
from robustness.base.text import plain
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.loop import picture_scores
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request
from robustness.pictures.picture import Picture
from robustness.report.attack import attacked, noise_answer, sizes
from robustness.report.blocks import Text
from robustness.ui.computation import cache
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks, results


def measure(picture: Picture, model: str, spec: AttackSpec) -> Outcome:
    """The outcome of the attack, cached or computed with progress; stops the page if cancelled."""
    outcome: Outcome
    (outcome,) = Measuring(
        "Attacking",
        attack_key("attack", picture, [model], spec),
        [picture],
        lambda nameless: _events(nameless[0], model, spec),
        spec.total_steps + 1,
        (Outcome,),
    ).at_once()
    return outcome


def _events(picture: Picture, model: str, spec: AttackSpec) -> Iterator[Step | Outcome]:
    yield from craft(picture, models.load(model, side=picture.side), spec)


def attack_key(what: str, picture: Picture, names: Sequence[str], spec: AttackSpec) -> str:
    """The key of work ``what`` with ``spec`` on ``picture`` and the models ``names``."""
    condition = AttackCondition.of_spec(spec)
    return work_key(f"{what} {spec}", [picture], names, [condition], spec.seed)


def adversarial(picture: Picture, outcome: Outcome) -> Picture:
    """The attacked image as an image with its own name."""
    return Picture.of(f"{picture.name}, adversarial", outcome.image, fit=picture.fit)


def row(
    picture: Picture, changed: Picture, model: str, spec: AttackSpec, truth: str | None
) -> Measurement:
    """What ``model`` makes of ``changed``, beside its prediction for ``picture``.

    ``truth`` is the true class of both.
    """
    hashed = ((model, models.digest(models.REGISTRY[model])),)
    conditions = (AttackCondition.of_spec(spec),)
    run = Request(hashed, conditions, spec.seed, picture.fit, side=picture.side)
    return labelled(cache.comparison(run, picture, model, changed), truth)


def show(picture: Picture, outcome: Outcome, truth: str | None) -> None:
    """Draw the result of one attack: headline, noise control and images."""
    made = row(picture, adversarial(picture, outcome), outcome.model, outcome.spec, truth)
    st.html(results.headline(attacked(outcome, [made])))
    if outcome.success:
        draw, icon = (st.success, "verified") if outcome.beats_noise else (st.warning, "grain")
        draw(plain(noise_answer(outcome)), icon=f":material/{icon}:")
    results.show_pictures(
        picture,
        outcome.image,
        f"{outcome.label} against {models.label(outcome.model)}",
        picture_scores(picture.image[None], outcome.image[None]),
        captions=("Original", "Adversarial"),
        gain=outcome.gain,
    )
    blocks.draw([sizes(outcome), Text("All figures are of the saved 8-bit image.")])


def show_answers(
    picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None
) -> None:
    """Draw each model's predictions, the attacked model first, and those under noise."""
    spec, control = outcome.spec, outcome.control
    changed = adversarial(picture, outcome)
    attack, noise = st.columns(2, gap="small")
    attack.header("Attacked model", anchor=False)
    attack.html(results.card(row(picture, changed, outcome.model, spec, truth), "Adversarial"))
    noise.header("Noise of the same size", anchor=False)
    if outcome.l2:
        noisy = Picture.of(f"{picture.name}, noisy", control.image, fit=picture.fit)
        noise.html(results.card(row(picture, noisy, outcome.model, spec, truth), "Noise"))
        noise.caption(f"The closest of {control.draws} draws.")
    else:
        noise.caption("Nothing changed, so there is nothing to compare.")
    others = [name for name in names if name != outcome.model]
    if others:
        st.header("Other models on the same image", anchor=False)
        slots = results.card_slots(len(others))
        for slot, name in zip(slots, others, strict=True):
            slot.html(results.card(row(picture, changed, name, spec, truth), "Adversarial"))
