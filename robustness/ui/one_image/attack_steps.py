"""Steps after an attack, each a sentence and a button, and the report of the attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from robustness import models, report
from robustness.attacks import AttackSpec, Outcome
from robustness.attacks.epsilon_sweep import Point, Smallest, over_epsilon, smallest_epsilon
from robustness.attacks.transfer import Transfer, attackable, transfers
from robustness.base.errors import GradientError
from robustness.base.text import counted, plain
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.pictures.picture import Picture
from robustness.report.attack import epsilon_section, transfer_section
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks
from robustness.ui.display.export_buttons import report_button
from robustness.ui.one_image.attack_outcome import attack_key
from robustness.ui.session.sentences import sentence

STRONGEST = "apgd"
"""The attack for the smallest epsilon and the curve, unless the attack needs no gradients:
below 1/255 fewer images hold against it than against PGD (docs/attacks.md has the figures)."""

COUNTERPART = {True: ("square", 100), False: ("pgd", None)}
"""By whether the attack is white-box: the other kind, and its steps, to look for masking."""

BISECTION_PASSES = 20
"""Approximate number of epsilons that a bisection tries, for its progress."""


def show_report(
    picture: Picture, outcome: Outcome, rows: Sequence[Measurement], truth: str | None
) -> None:
    """Draw the button of the report, which includes the steps computed so far."""
    attack, names = outcome.spec, [row.model for row in rows]
    request = spec_of(picture, names, [AttackCondition.of_spec(attack)], attack.seed)
    transferred, smallest = transferring(picture, outcome, names), _finding(picture, outcome, names)
    report_button(
        lambda: report.of_attack(
            request,
            picture,
            outcome,
            rows,
            [labelled(entry, truth) for entry in transferred.cached or ()],
            _sizes(smallest.cached, truth),
        ),
        f"{attack.name}-{outcome.model}",
    )


def show(picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None) -> None:
    """Draw the sections."""
    _transfer(picture, outcome, names, truth)
    _smallest(picture, outcome, names, truth)


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
    events = transferring(picture, outcome, names).on_request(
        f"Attack each of the {len(names)} models",
        f"{spec.record.label} with these settings on every model, each result tested on all.",
    )
    if events is None:
        return
    sources = dict.fromkeys(entry.source for entry in events)
    blind = [models.label(name) for name in names if name not in sources]
    if blind:
        reason = "no gradients" if spec.target is None else "no gradients, or no such target"
        st.caption(plain(f"No attack on {', '.join(blind)}: {reason}."))
    if not events:
        return
    entries = [labelled(entry, truth) for entry in events]
    blocks.draw(transfer_section(entries).blocks)


def _finding(picture: Picture, outcome: Outcome, names: Sequence[str]) -> Measuring:
    """The smallest epsilon of each of the models ``names``, and confidence over epsilon."""
    spec, names = outcome.spec, attackable(names, outcome.spec, outcome.model)
    if spec.record.white_box and spec.name != STRONGEST:
        spec = AttackSpec.of(STRONGEST, norm=spec.norm, seed=spec.seed, target=spec.target)
    other, steps = COUNTERPART[spec.record.white_box]
    control = AttackSpec.of(other, norm=spec.norm, steps=steps, seed=spec.seed, target=spec.target)
    total = spec.total_steps * (1 + BISECTION_PASSES // 2) + control.total_steps
    return Measuring(
        "Finding the smallest epsilon",
        attack_key("epsilon", picture, names, replace(spec, epsilon=0.0)),
        [picture],
        lambda nameless: _strengths(nameless[0], [spec, control], names),
        len(names) * total,
        (Point, Smallest, str),
        said=lambda _, share: f"Finding the smallest epsilon: {share:.0%}",
    )


def _smallest(picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None) -> None:
    st.header("What is the smallest epsilon?", anchor=False)
    able = attackable(names, outcome.spec, outcome.model)
    if others := ", ".join(models.label(name) for name in names if name not in able):
        st.caption(plain(f"Without {others}: their classes do not include the target."))
    events = _finding(picture, outcome, names).on_request(
        f"Find the smallest epsilon of {counted(len(able), 'model')}",
        "The strongest attack at ever smaller epsilons; another kind checks for gradient masking.",
    )
    for refusal in events or ():
        if isinstance(refusal, str):
            st.warning(plain(refusal), icon=":material/block:")
    if sizes := _sizes(events, truth):
        blocks.draw(epsilon_section(sizes).blocks)


def _sizes(events: Sequence[Any] | None, truth: str | None) -> list[Point | Smallest]:
    """``events`` without refusals; nothing where each model refused."""
    sizes = [labelled(e, truth) if isinstance(e, Point) else e for e in events or ()]
    return [e for e in sizes if not isinstance(e, str)]


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
