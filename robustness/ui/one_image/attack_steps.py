"""Steps after an attack, each a sentence and a button, and the report of the attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models, report
from robustness.attacks import AttackSpec, Outcome
from robustness.attacks.attack_image import Transfer, attackable, transfers
from robustness.attacks.epsilon_sweep import (
    Point,
    Smallest,
    masking_signs,
    over_epsilon,
    smallest_epsilon,
)
from robustness.base.errors import GradientError
from robustness.base.text import counted, plain
from robustness.charts import attacks
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.evaluation.sweep import Reach, attack_reach, comparison, natural_reach, resolution
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.pictures.picture import Picture
from robustness.report.attack import transfer_section
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks, results
from robustness.ui.display.export_buttons import report_button
from robustness.ui.one_image.attack_outcome import attack_key
from robustness.ui.session.sentences import sentence

STRONGEST = "apgd"
"""What the smallest epsilon and the curve are found with, unless the attack needs no gradients:
below 1/255 fewer images hold against it than against PGD (docs/attacks.md has the figures)."""

COUNTERPART = {True: ("square", 100), False: ("pgd", None)}
"""By whether the attack is white-box: the other kind, and its steps, to look for masking."""

REACHING = (("fab_t", "linf"), ("fab_t", "l2"), ("pgd", "linf"), ("deepfool", "l2"))
"""Attacks and norms that stand beside the natural perturbations."""

BISECTION_PASSES = 20
"""About how many epsilons a bisection tries: what its progress is measured by."""


def show_report(
    picture: Picture, outcome: Outcome, rows: Sequence[Measurement], truth: str | None
) -> None:
    """Draw its button. What transfers is in the report if it is known when that is made."""
    attack, names = outcome.spec, [row.model for row in rows]
    request = spec_of(picture, names, [AttackCondition.of_spec(attack)], attack.seed)
    transferred = transferring(picture, outcome, names)
    report_button(
        lambda: report.of_attack(
            request,
            picture,
            outcome,
            rows,
            [labelled(entry, truth) for entry in transferred.cached or ()],
        ),
        f"{attack.name}-{outcome.model}",
    )


def show(picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None) -> None:
    """Draw the sections."""
    _transfer(picture, outcome, names, truth)
    _over_epsilon(picture, outcome, names, truth)
    _reach(picture, outcome)


def transferring(picture: Picture, outcome: Outcome, names: Sequence[str]) -> Measuring:
    """The attack of ``outcome`` on each of the models ``names``, judged by all of them."""
    spec, able = outcome.spec, attackable(names, outcome.spec, outcome.model)
    return Measuring(
        "Transfer",
        attack_key(f"transfer from {able}", picture, names, spec),
        [picture],
        lambda nameless: transfers(nameless[0], names, spec, outcome.model),
        len(names) * (spec.total_steps + 1 + len(names)),
        (Transfer,),
    )


def _transfer(picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None) -> None:
    st.header("Does it fool other models?", anchor=False)
    if len(names) < 2:
        st.caption("Choose more than one model in the sidebar to see which share the weakness.")
        return
    spec = outcome.spec
    found = transferring(picture, outcome, names).on_request(
        f"Attack each of the {len(names)} models",
        f"{spec.record.label} with these settings on every model, each result tested on all.",
    )
    if found is None:
        return
    sources = dict.fromkeys(entry.source for entry in found)
    blind = [models.label(name) for name in names if name not in sources]
    if blind:
        reason = "no gradients" if spec.target is None else "no gradients, or no such target"
        st.caption(plain(f"No attack on {', '.join(blind)}: {reason}."))
    if not found:
        return
    entries = [labelled(entry, truth) for entry in found]
    blocks.draw(transfer_section(entries).blocks)


def _over_epsilon(
    picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None
) -> None:
    st.header("What is the smallest epsilon?", anchor=False)
    able = attackable(names, outcome.spec, outcome.model)
    others = ", ".join(models.label(name) for name in names if name not in able)
    if others:
        st.caption(plain(f"Without {others}: their classes do not include the target."))
    names = able
    spec = outcome.spec
    if spec.record.white_box and spec.name != STRONGEST:
        spec = AttackSpec.of(STRONGEST, norm=spec.norm, seed=spec.seed, target=spec.target)
    other, steps = COUNTERPART[spec.record.white_box]
    beside = AttackSpec.of(other, norm=spec.norm, steps=steps, seed=spec.seed, target=spec.target)
    total = spec.total_steps * (1 + BISECTION_PASSES // 2) + beside.total_steps
    found = Measuring(
        "Finding the smallest epsilon",
        attack_key("epsilon", picture, names, replace(spec, epsilon=0.0)),
        [picture],
        lambda nameless: _strengths(nameless[0], [spec, beside], names),
        len(names) * total,
        (Point, Smallest, str),
        said=lambda _, share: f"Finding the smallest epsilon: {share:.0%}",
    ).on_request(
        f"Find the smallest epsilon of {counted(len(names), 'model')}",
        f"Finds the smallest epsilon with {spec.record.label}; {beside.record.label} checks for "
        "gradient masking.",
    )
    if found is None:
        return
    for refusal in (event for event in found if isinstance(event, str)):
        st.warning(plain(refusal), icon=":material/block:")
    points = [labelled(event, truth) for event in found if isinstance(event, Point)]
    smallest = [event for event in found if isinstance(event, Smallest)]
    if smallest:
        _strength_results(spec, points, smallest)
        _masking(points)


def _strength_results(
    spec: AttackSpec, points: Sequence[Point], smallest: Sequence[Smallest]
) -> None:
    frame = pd.DataFrame([point.as_row() for point in points if point.attack == spec.name])
    results.chart(
        st,
        attacks.over_epsilon(frame, spec.norm),
        "over_epsilon",
        "Confidence in the original class by epsilon; the table below gives each model's smallest "
        "epsilon.",
    )
    st.caption(
        "Open markers: the prediction is incorrect or, without a true class, "
        f"{spec.record.label} succeeds. Measured before rounding to 8 bits."
    )
    st.html(results.html_table(_SMALLEST_HEAD, [_smallest_row(entry) for entry in smallest]))
    if spec.norm == "linf" and any(e.epsilon and e.epsilon < 1 / 255 for e in smallest):
        st.caption(
            "An 8-bit image cannot hold changes below 1/255: a saved file needs a whole level."
        )


def _masking(points: Sequence[Point]) -> None:
    """Warn of each sign that gradients mislead."""
    signs = [
        f"{models.label(name)}: {sign}"
        for name in dict.fromkeys(point.model for point in points)
        for sign in masking_signs([point for point in points if point.model == name])
    ]
    for sign in signs:
        st.warning(plain(sign), icon=":material/visibility_off:")
    if not signs:
        st.caption(
            "No sign of gradient masking: success rises with epsilon, and the gradient attack does "
            "at least as well as the one without gradients."
        )


def _strengths(
    picture: Picture, specs: Sequence[AttackSpec], names: Sequence[str]
) -> Iterator[Any]:
    """Curves of all ``specs`` and the smallest epsilon of the first; a sentence per failure."""
    for name in names:
        try:
            classifier = models.load(name, side=picture.side)
            yield from smallest_epsilon(picture, classifier, specs[0])
            for spec in specs:
                yield from over_epsilon(picture, classifier, spec)
        except GradientError as error:
            yield sentence(error)


_SMALLEST_HEAD = ("Model", "Smallest epsilon", "L∞ there", "L2 there", "SSIM there")


def _smallest_row(entry: Smallest) -> tuple[str, ...]:
    label = models.label(entry.model)
    if entry.epsilon is None:
        return label, "never", "", "", ""
    size = f"{255 * entry.epsilon:.2g}/255" if entry.norm == "linf" else f"{entry.epsilon:.2g}"
    return label, size, f"{255 * entry.linf:.2g}/255", f"{entry.l2:.2g}", f"{entry.ssim:.5f}"


def _reach(picture: Picture, outcome: Outcome) -> None:
    st.header("How does it compare with natural perturbations?", anchor=False)
    model, seed = outcome.model, outcome.spec.seed
    label = models.label(model)
    reaches = Measuring(
        "Comparing",
        attack_key("reach", picture, [model], AttackSpec.of(STRONGEST, seed=seed)),
        [picture],
        lambda nameless: _reaches(nameless[0], model, seed),
        len(PERTURBATIONS) * 21 + len(REACHING) * 150,
        (Reach,),
        said=lambda _, share: f"Comparing: {share:.0%}",
    ).on_request(
        f"Compare {len(REACHING)} attacks with {len(PERTURBATIONS)} perturbations",
        f"For each: how far the image moved when {plain(label)}'s prediction first changes.",
    )
    if reaches is None:
        return
    frame = pd.DataFrame([entry.as_row() for entry in reaches])
    st.markdown(f"**{comparison(reaches)}**")
    results.chart(st, attacks.reach(frame), "reach", comparison(reaches) + " All values are below.")
    st.caption(
        "Each marker shows where the prediction first changes: further left means a smaller "
        "change. Open markers never change it; they show the strongest setting. Resolution of the "
        f"perturbations' strengths: {resolution()}."
    )
    with st.expander("All values", icon=":material/table_rows:"):
        ordered = sorted(reaches, key=lambda entry: (not entry.breaks, entry.l2))
        head = ("Change", "Setting", "L2", "SSIM", "Changes the prediction")
        values = [
            (
                e.label,
                e.setting,
                f"{e.l2:.3g}",
                f"{e.ssim:.3f}",
                "yes" if e.breaks else "never",
            )
            for e in ordered
        ]
        st.html(results.html_table(head, values))


def _reaches(picture: Picture, model: str, seed: int) -> Iterator[Any]:
    specs = [AttackSpec.of(name, norm=norm, seed=seed) for name, norm in REACHING]
    try:
        yield from attack_reach(picture, model, specs)
    except GradientError:
        yield from attack_reach(picture, model, [AttackSpec.of("square", seed=seed)])
    yield from natural_reach(picture, model, PERTURBATIONS.names, seed)
