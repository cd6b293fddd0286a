"""The view Attack: one attack and its noise control; further steps follow on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from robustness import models, report
from robustness.attacks import NORMS, REGISTRY, Attack, AttackSpec, Outcome, Step, craft
from robustness.attacks.image import (
    Masking,
    Smallest,
    Transfer,
    attackable,
    gradient_masking,
    smallest_epsilon,
    transfers,
)
from robustness.base.errors import GradientError
from robustness.base.text import counted, plain, share, some
from robustness.images.framing import Picture
from robustness.images.pixels import LEVELS
from robustness.measure.condition import AttackCondition
from robustness.measure.loop import picture_scores
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, spec_of, version_for
from robustness.measure.strength import labelled
from robustness.report.blocks import Text
from robustness.report.image import (
    attack_answer,
    epsilon_section,
    noise_answer,
    sizes,
    transfer_section,
)
from robustness.report.tables import verdict
from robustness.ui import draw, shared
from robustness.ui.draw import report_button
from robustness.ui.html import html
from robustness.ui.jobs import CachedWork
from robustness.ui.live import stories
from robustness.ui.session import forget_unless, leave_link, listed, one_of, sentence, slider
from robustness.ui.shared import work_key

EPSILONS = {
    "linf": (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
    "l2": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
}
"""Slider values: L∞ in 255ths, since an 8-bit image holds no smaller change; L2 directly."""

FIRST = ("apgd", "square", "autoattack")
"""The attacks that need no knowledge of attacks; the others are advanced."""

FIRST_EPSILON = 2.0
"""At 8/255, noise changes some predictions of the bundled models, too."""

MOST_RESTARTS = 10


_ADVANCED = ("norm", "target", "steps_", "restarts")
"""Prefixes of the advanced controls' parameters in the link."""

STRONGEST = "apgd"
"""The attack for the smallest epsilon, unless the chosen one needs no gradients: below 1/255 fewer
images hold against it than against PGD (docs/attacks.md has the figures)."""

BLACK_BOX = "square"
QUERIES = 100
"""The attack without gradients that looks for masking, and its steps."""

BISECTION_PASSES = 20
"""Approximate number of epsilons that a bisection tries, for its progress."""


def show(picture: Picture, names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draw the view."""
    answer, controls = st.columns([7, 3], gap="medium")  # on a narrow screen the answer is above
    with controls, st.container(key="attack-controls"):
        st.html(html("target", name="controls"))
        attacked_model, spec = _attack_input(names, seed)
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
        outcome = _measure(picture, attacked_model, spec)
        rows = [row(picture, adversarial(picture, outcome), name, spec, truth) for name in alike]
        _show_outcome(picture, outcome, rows)
        if others := [models.label(name) for name in names if name not in alike]:
            names_of_others = some(others, len(others))
            st.caption(
                plain(f"Not compared, as they see another version of the image: {names_of_others}.")
            )
    with reports:
        _show_report(picture, outcome, rows, truth)
    with st.container(key="attack-details"):
        _show_steps(picture, outcome, alike, truth, len(names))
        if opened := draw.section_expander("top-5 classes, heat maps"):
            with opened:
                _in_detail(picture, outcome, rows)


def _show_outcome(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> None:
    """Draw the result of one attack: headline, noise control, images and verdicts."""
    st.html(draw.headline(attack_answer(outcome, rows)))
    if outcome.success:
        if outcome.beats_noise:
            st.caption(plain(noise_answer(outcome)))
        else:  # so would chance
            st.warning(plain(noise_answer(outcome)), icon=":material/grain:")
    draw.show_pictures(
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
        draw.draw([sizes(outcome), Text("All figures are of the saved 8-bit image.")])


def _in_detail(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> None:
    """Draw the top-5 classes of each model, and where the models look."""
    for entry, slot in zip(rows, draw.cells(2), strict=False):
        slot.html(draw.card(entry, "Adversarial"))
    draw.section(
        ["Original", "Adversarial"],
        lambda _: np.stack([picture.image, outcome.image]),
        {r.model: tuple(dict.fromkeys((r.clean_top1, r.top1))) for r in rows},
    )


def _measure(picture: Picture, model: str, spec: AttackSpec) -> Outcome:
    """The outcome of the attack, cached or computed with progress; stops the page if cancelled."""

    def events(nameless: Picture) -> Iterator[Step | Outcome]:  # loads once it begins
        yield from craft(nameless, models.load(model, side=picture.side), spec)

    outcome: Outcome
    (outcome,) = CachedWork(
        "Attacking",
        _key("attack", picture, [model], spec),
        picture,
        events,
        spec.total_steps + 1,
        (Outcome,),
    ).at_once()
    return outcome


def _key(what: str, picture: Picture, names: Sequence[str], spec: AttackSpec) -> str:
    """The key of work ``what`` with ``spec`` on ``picture`` and the models ``names``."""
    condition = AttackCondition.of_spec(spec)
    return work_key(f"{what} {spec}", picture, names, [condition], spec.seed)


def adversarial(picture: Picture, outcome: Outcome) -> Picture:
    """The attacked image as an image with its own name."""
    return Picture.of(f"{picture.name}, adversarial", outcome.image, framing=picture.framing)


def row(
    picture: Picture, changed: Picture, model: str, spec: AttackSpec, truth: str | None
) -> Measurement:
    """The prediction of ``model`` for ``changed``, with that for ``picture``.

    ``truth`` is the true class of both.
    """
    hashed = ((model, models.digest(models.REGISTRY[model])),)
    conditions = (AttackCondition.of_spec(spec),)
    run = Request(hashed, conditions, ((model, picture.framing),), spec.seed)
    return labelled(shared.comparison(run, picture, model, changed), truth)


# --- controls -------------------------------------------------------------------------------------


def _attack_input(names: Sequence[str], seed: int) -> tuple[str, AttackSpec]:
    """The attacked model, one of ``names``, and the attack."""
    model = listed("Model attacked", {name: models.label(name) for name in names}, "attacked")
    above = st.container()
    if "advanced" not in st.session_state:
        is_attack_advanced = st.query_params.get("attack") not in (None, *FIRST)
        is_advanced = is_attack_advanced or any(map(_is_advanced, st.query_params))
        st.session_state["advanced"] = is_advanced
    advanced = st.toggle(
        "Advanced",
        key="advanced",
        on_change=_leave_advanced,
        help=f"{len(REGISTRY) - len(FIRST)} more attacks, the norm, the target and the effort.",
    )
    with above:
        others = [name for name in REGISTRY.names if name not in FIRST] if advanced else []
        labels = {name: REGISTRY[name].label for name in (*FIRST, *others)}
        name = listed("Attack", labels, "attack", FIRST[0])
    record = REGISTRY[name]
    if not advanced:
        with above:
            epsilon = _epsilon_input("linf")
        return model, AttackSpec.of(name, norm="linf", epsilon=epsilon, seed=seed)
    norm = one_of(
        "Measured by",
        {name: NORMS[name].label for name in record.norms},
        "norm",
        help="; ".join(f"{NORMS[n].label}: {NORMS[n].meaning}" for n in record.norms) + ".",
    )
    with above:
        epsilon = _epsilon_input(norm)
    target = _target_input(record, model)
    steps, restarts = _effort_input(record)
    return model, AttackSpec.of(
        name, norm=norm, epsilon=epsilon, steps=steps, restarts=restarts, seed=seed, target=target
    )


def _is_advanced(name: str) -> bool:
    return name.startswith(_ADVANCED) or name == "epsilon_l2"


def _leave_advanced() -> None:
    """Remove the values of the advanced controls from the link."""
    if not st.session_state["advanced"]:
        for name in filter(_is_advanced, list(st.query_params)):
            del st.query_params[name]


def _target_input(record: Attack, model: str) -> int | None:
    """The target class; None for any other class."""
    labels = models.REGISTRY[model].labels()
    if not record.targeted:
        st.selectbox(
            "Target class", [], index=None, disabled=True, placeholder="Not used by this attack"
        )
        return None
    forget_unless(labels.names, "target")
    chosen = st.selectbox(
        "Target class",
        labels.names,
        index=None,
        key="target",
        bind="query-params",
        placeholder="Any other class; type to search",
    )
    return None if chosen is None else labels.names.index(chosen)


def _epsilon_input(norm: str) -> float:
    values = EPSILONS[norm]
    leave_link("epsilon" if norm == "l2" else "epsilon_l2")
    if norm == "linf":
        texts = {level: f"{level:g}/255" for level in values}
        return slider("Epsilon, largest change", texts, "epsilon", FIRST_EPSILON) / LEVELS
    texts = {size: f"{size:g} of a pixel's full range" for size in values}
    return slider("Epsilon, length of the change", texts, "epsilon_l2", 0.5)


def _effort_input(record: Attack) -> tuple[int, int]:
    """Steps and restarts."""
    left, right = st.columns(2, gap="small")
    steps = left.number_input(
        "Steps",
        min_value=1,
        max_value=record.most_steps,
        value=record.steps,
        key=f"steps_{record.name}",
        bind="query-params",
        disabled=record.most_steps == 1,
    )
    if not record.random:
        return int(steps), 1
    restarts = right.number_input(
        "Restarts",
        min_value=1,
        max_value=MOST_RESTARTS,
        value=1,
        key="restarts",
        bind="query-params",
        help="Number of random starts; the best result counts.",
    )
    return int(steps), int(restarts)


# --- further steps --------------------------------------------------------------------------------


def _show_report(
    picture: Picture, outcome: Outcome, rows: Sequence[Measurement], truth: str | None
) -> None:
    """Draw the button of the report, which includes the steps computed so far."""
    attack = outcome.spec
    names = [row.model for row in rows]
    request = spec_of(picture, names, [AttackCondition.of_spec(attack)], attack.seed)
    transferred = _transferring(picture, outcome, names)
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


def _show_steps(
    picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None, chosen: int
) -> None:
    """Draw the sections; ``names`` are those of the ``chosen`` models that see the image alike."""
    if chosen > len(names) == 1:
        st.header("Does it fool other models?", anchor=False)
        st.caption("No other chosen model sees the image alike.")
    else:
        _transfer(picture, outcome, names, truth)
    _epsilon(picture, outcome, names)


def _transferring(picture: Picture, outcome: Outcome, names: Sequence[str]) -> CachedWork:
    """The attack of ``outcome`` on each of the models ``names``, judged by all of them."""
    spec = outcome.spec
    able = attackable(names, outcome.spec, outcome.model)
    return CachedWork(
        "Transfer",
        _key(f"transfer from {able}", picture, names, spec),
        picture,
        lambda nameless: transfers(nameless, names, spec, outcome.model),
        len(names) * (spec.total_steps + 1 + len(names)),
        (Transfer,),
    )


def _transfer(picture: Picture, outcome: Outcome, names: Sequence[str], truth: str | None) -> None:
    st.header("Does it fool other models?", anchor=False)
    if len(names) < 2:
        st.caption("Choose more than one model in the sidebar to see which share the weakness.")
        return
    spec = outcome.spec
    events = _transferring(picture, outcome, names).on_request(
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
    draw.draw(transfer_section(entries).blocks)


def _finding(picture: Picture, outcome: Outcome, names: Sequence[str]) -> CachedWork:
    """The smallest epsilon of each of the models ``names``, and signs of gradient masking."""
    spec = outcome.spec
    names = attackable(names, outcome.spec, outcome.model)
    alike = partial(
        AttackSpec.of, epsilon=spec.epsilon, norm=spec.norm, seed=spec.seed, target=spec.target
    )
    gradient = spec if spec.name == STRONGEST else alike(STRONGEST)
    black_box = alike(BLACK_BOX, steps=QUERIES) if spec.record.white_box else spec
    chosen = gradient if spec.record.white_box else black_box
    passes = chosen.total_steps * (1 + BISECTION_PASSES // 2)
    return CachedWork(
        "Finding the smallest epsilon",
        _key("epsilon", picture, names, chosen),
        picture,
        lambda nameless: _smallest(nameless, names, chosen, gradient, black_box),
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
        draw.draw(epsilon_section(results).blocks)


def _without_refusals(events: Sequence[Any] | None) -> list[Smallest | Masking]:
    return [event for event in events or () if not isinstance(event, str)]
