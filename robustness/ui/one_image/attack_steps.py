"""Steps after an attack, each a sentence and a button, and the report of the attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import streamlit as st

from robustness import models, report
from robustness.attacks import AttackSpec, Outcome
from robustness.attacks.epsilon_search import Masking, Smallest, gradient_masking, smallest_epsilon
from robustness.attacks.transfer import Transfer, attackable, transfers
from robustness.base.errors import GradientError
from robustness.base.text import counted, plain, share
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
"""The attack for the smallest epsilon, unless the chosen one needs no gradients: below 1/255 fewer
images hold against it than against PGD (docs/attacks.md has the figures)."""

BLACK_BOX, QUERIES = "square", 100
"""The attack without gradients that looks for masking, and its steps."""

BISECTION_PASSES = 20
"""Approximate number of epsilons that a bisection tries, for its progress."""


def show_report(
    picture: Picture, outcome: Outcome, rows: Sequence[Measurement], truth: str | None
) -> None:
    """Draw the button of the report, which includes the steps computed so far."""
    attack, names = outcome.spec, [row.model for row in rows]
    request = spec_of(picture, names, [AttackCondition.of_spec(attack)], attack.seed)
    transferred = transferring(picture, outcome, names)
    smallest = _finding(picture, outcome, names)
    report_button(
        lambda: report.of_attack(
            request,
            picture,
            outcome,
            rows,
            [labelled(entry, truth) for entry in transferred.cached or ()],
            _without_refusals(smallest.cached),
        ),
        f"{attack.name}-{outcome.model}",
    )


def show(
    picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None, chosen: int
) -> None:
    """Draw the sections; ``names`` are those of the ``chosen`` models that see the image alike."""
    if chosen > len(names) == 1:
        st.header("Does it fool other models?", anchor=False)
        st.caption("No other chosen model sees the image alike.")
    else:
        _transfer(picture, outcome, names, truth)
    _epsilon(picture, outcome, names)


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
    """The smallest epsilon of each of the models ``names``, and signs of gradient masking."""
    spec, names = outcome.spec, attackable(names, outcome.spec, outcome.model)
    alike = partial(
        AttackSpec.of, epsilon=spec.epsilon, norm=spec.norm, seed=spec.seed, target=spec.target
    )
    gradient = spec if spec.name == STRONGEST else alike(STRONGEST)
    black_box = alike(BLACK_BOX, steps=QUERIES) if spec.record.white_box else spec
    chosen = gradient if spec.record.white_box else black_box
    passes = chosen.total_steps * (1 + BISECTION_PASSES // 2)
    return Measuring(
        "Finding the smallest epsilon",
        attack_key("epsilon", picture, names, chosen),
        [picture],
        lambda nameless: _smallest(nameless[0], names, chosen, gradient, black_box),
        len(names) * (passes + gradient.total_steps + 2 * black_box.total_steps),
        (Smallest, Masking, str),
        said=lambda _, done: f"Finding the smallest epsilon: {share(done, 0)}",
    )


def _smallest(
    picture: Picture,
    names: Sequence[str],
    chosen: AttackSpec,
    gradient: AttackSpec,
    black_box: AttackSpec,
) -> Iterator[Any]:
    """The smallest epsilon of ``chosen`` for each model, and what both others say of masking.

    Both are tried at the epsilon of ``chosen`` and at the smallest: where it last failed if it is
    the gradient attack, where it first succeeds if it is the other one. For a model without
    gradients, a sentence says so.
    """
    for name in names:
        try:
            classifier = models.load(name, side=picture.side)
            for event in smallest_epsilon(picture, classifier, chosen):
                yield event
            if isinstance(event, Smallest):  # the last
                least = event.failing_epsilon if chosen is gradient else event.epsilon
                epsilons = (chosen.epsilon, chosen.epsilon if least is None else least)
                yield from gradient_masking(picture, classifier, gradient, black_box, epsilons)
        except GradientError as error:
            yield sentence(error)


def _epsilon(picture: Picture, outcome: Outcome, names: Sequence[str]) -> None:
    st.header("What is the smallest epsilon?", anchor=False)
    able = attackable(names, outcome.spec, outcome.model)
    if others := ", ".join(models.label(name) for name in names if name not in able):
        st.caption(plain(f"Without {others}: their classes do not include the target."))
    events = _finding(picture, outcome, names).on_request(
        f"Find the smallest epsilon of {counted(len(able), 'model')}",
        "Finds the smallest epsilon with APGD; Square checks for gradient masking.",
    )
    for refusal in events or ():
        if isinstance(refusal, str):
            st.warning(plain(refusal), icon=":material/block:")
    if results := _without_refusals(events):
        blocks.draw(epsilon_section(results).blocks)


def _without_refusals(events: Sequence[Any] | None) -> list[Smallest | Masking]:
    return [event for event in events or () if not isinstance(event, str)]
