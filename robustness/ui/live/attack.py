"""The view Attack: one attack and its noise control; further steps follow on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from robustness.perturbations import Images
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
from robustness.ui.live.page import classes_to_explain
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


def show(picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draw the view Attack."""
    answer, controls = st.columns([7, 3], gap="medium")  # on a narrow screen the answer is above
    # First, as the style keeps its height: what is below it then stays in its place.
    answer_place = answer.container(key="attack-answer")
    with controls, st.container(key="attack-controls"):
        st.html(html("target", name="controls"))
        attacked_model, spec = _attack_input(model_names, seed)
        report_place = st.container()
    # An attack has one framing, that of the attacked model: others would see another image.
    framing = version_for(picture, attacked_model).framing
    compared = [name for name in model_names if version_for(picture, name).framing == framing]
    not_compared = [models.label(name) for name in model_names if name not in compared]
    picture = version_for(picture, attacked_model)
    with answer_place:
        condition = AttackCondition.of_spec(spec)
        stories.show_story(picture, model_names, seed, f"{attacked_model} {condition.id}")
        outcome = _measure(picture, attacked_model, spec)
        attacked_picture = adversarial(picture, outcome)
        rows = [row(picture, attacked_picture, name, spec, truth) for name in compared]
        _show_outcome(picture, outcome, rows)
        if not_compared:
            labels = some(not_compared, len(not_compared))
            st.caption(plain(f"Not compared, as they see another version of the image: {labels}."))
    with report_place:
        _show_report(picture, outcome, rows, truth)
    with st.container(key="attack-details"):
        _show_steps(picture, outcome, compared, truth, chosen_count=len(model_names))
        details = draw.section_expander("top-5 classes, heat maps")
        if details is not None:
            with details:
                _in_detail(picture, outcome, rows)


def _show_outcome(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> None:
    """Draw the result of one attack: headline, noise control, images and verdicts."""
    st.html(draw.headline(attack_answer(outcome, rows)))
    if outcome.success:
        if outcome.beats_noise:
            st.caption(plain(noise_answer(outcome)))
        else:  # noise of this size changes the prediction, too
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
    lines = []
    for entry in rows:
        class_name = models.class_name(entry.model, entry.top1)
        lines.append((models.label(entry.model), entry, verdict(entry), class_name))
    st.html(html("verdicts", lines=lines))
    with st.container(key="attack-sizes"):
        draw.draw([sizes(outcome), Text("All figures are of the saved 8-bit image.")])


def _in_detail(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> None:
    """Draw the top-5 classes of each model, and where the models look."""
    for entry, cell in zip(rows, draw.cells(2), strict=False):
        cell.html(draw.card(entry, "Adversarial"))

    def images_of(_model_name: str) -> Images:
        return np.stack([picture.image, outcome.image])

    draw.section(["Original", "Adversarial"], images_of, classes_to_explain(rows))


def _measure(picture: Picture, model_name: str, spec: AttackSpec) -> Outcome:
    """The outcome of the attack, cached or computed with progress; stops the page if cancelled."""

    def events(nameless_picture: Picture) -> Iterator[Step | Outcome]:
        # A generator, so that the model is loaded below the progress bar.
        classifier = models.load(model_name, side=picture.side)
        yield from craft(nameless_picture, classifier, spec)

    work = CachedWork(
        what="Attacking",
        key=_key("attack", picture, [model_name], spec),
        picture=picture,
        events=events,
        total=spec.total_steps + 1,
        results=(Outcome,),
    )
    outcome: Outcome
    (outcome,) = work.at_once()
    return outcome


def _key(what: str, picture: Picture, model_names: Sequence[str], spec: AttackSpec) -> str:
    """The key of work ``what`` with ``spec`` on ``picture`` and the models ``model_names``."""
    condition = AttackCondition.of_spec(spec)
    return work_key(f"{what} {spec}", picture, model_names, [condition], spec.seed)


def adversarial(picture: Picture, outcome: Outcome) -> Picture:
    """The attacked image as an image with its own name."""
    return Picture.of(f"{picture.name}, adversarial", outcome.image, framing=picture.framing)


def row(
    picture: Picture,
    attacked_picture: Picture,
    model_name: str,
    spec: AttackSpec,
    truth: str | None,
) -> Measurement:
    """The prediction of a model for ``attacked_picture``, with that for ``picture``.

    ``truth`` is the true class of both.
    """
    weights = models.digest(models.REGISTRY[model_name])
    request = Request(
        ((model_name, weights),),
        (AttackCondition.of_spec(spec),),
        ((model_name, picture.framing),),
        spec.seed,
    )
    return labelled(shared.comparison(request, picture, model_name, attacked_picture), truth)


# --- controls -------------------------------------------------------------------------------------


def _attack_input(model_names: Sequence[str], seed: int) -> tuple[str, AttackSpec]:
    """Draw the controls; return the attacked model and the attack."""
    model_labels = {name: models.label(name) for name in model_names}
    attacked_model = listed("Model attacked", model_labels, "attacked")
    basic_controls = st.container()
    if "advanced" not in st.session_state:
        st.session_state["advanced"] = _is_link_advanced()
    advanced = st.toggle(
        "Advanced",
        key="advanced",
        on_change=_leave_advanced,
        help=f"{len(REGISTRY) - len(FIRST)} more attacks, the norm, the target and the effort.",
    )
    attack_names = list(FIRST)
    if advanced:
        attack_names += [name for name in REGISTRY.names if name not in FIRST]
    with basic_controls:
        labels = {name: REGISTRY[name].label for name in attack_names}
        attack_name = listed("Attack", labels, "attack", FIRST[0])
    record = REGISTRY[attack_name]
    if not advanced:
        with basic_controls:
            epsilon = _epsilon_input("linf")
        spec = AttackSpec.of(attack_name, norm="linf", epsilon=epsilon, seed=seed)
        return attacked_model, spec
    norms = [NORMS[name] for name in record.norms]
    norm = one_of(
        "Measured by",
        {each.name: each.label for each in norms},
        "norm",
        help="; ".join(f"{each.label}: {each.meaning}" for each in norms) + ".",
    )
    with basic_controls:
        epsilon = _epsilon_input(norm)
    target = _target_input(record, attacked_model)
    steps, restarts = _effort_input(record)
    spec = AttackSpec.of(
        attack_name,
        norm=norm,
        epsilon=epsilon,
        steps=steps,
        restarts=restarts,
        seed=seed,
        target=target,
    )
    return attacked_model, spec


def _is_link_advanced() -> bool:
    """Whether the link names an attack or a setting that only the advanced controls have."""
    attack_name = st.query_params.get("attack")
    if attack_name is not None and attack_name not in FIRST:
        return True
    return any(_is_advanced(name) for name in st.query_params)


def _is_advanced(parameter: str) -> bool:
    return parameter.startswith(_ADVANCED) or parameter == "epsilon_l2"


def _leave_advanced() -> None:
    """Remove the values of the advanced controls from the link."""
    if st.session_state["advanced"]:
        return
    for parameter in list(st.query_params):
        if _is_advanced(parameter):
            del st.query_params[parameter]


def _target_input(record: Attack, model_name: str) -> int | None:
    """The index of the target class; None for any other class."""
    if not record.targeted:
        st.selectbox(
            "Target class", [], index=None, disabled=True, placeholder="Not used by this attack"
        )
        return None
    class_names = models.REGISTRY[model_name].labels().names
    forget_unless(class_names, "target")
    chosen = st.selectbox(
        "Target class",
        class_names,
        index=None,
        key="target",
        bind="query-params",
        placeholder="Any other class; type to search",
    )
    if chosen is None:
        return None
    return class_names.index(chosen)


def _epsilon_input(norm: str) -> float:
    """The largest size of the change in ``norm``, of pixel values in [0, 1]."""
    if norm == "l2":
        leave_link("epsilon")
        texts = {size: f"{size:g} of a pixel's full range" for size in EPSILONS["l2"]}
        return slider("Epsilon, length of the change", texts, "epsilon_l2", 0.5)
    leave_link("epsilon_l2")
    texts = {level: f"{level:g}/255" for level in EPSILONS["linf"]}
    return slider("Epsilon, largest change", texts, "epsilon", FIRST_EPSILON) / LEVELS


def _effort_input(record: Attack) -> tuple[int, int]:
    """The numbers of steps and of restarts."""
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
    spec = outcome.spec
    model_names = [entry.model for entry in rows]
    request = spec_of(picture, model_names, [AttackCondition.of_spec(spec)], spec.seed)
    transfer_work = _transfer_work(picture, outcome, model_names)
    epsilon_work = _epsilon_work(picture, outcome, model_names)

    def build() -> report.Report:
        transferred = [labelled(entry, truth) for entry in transfer_work.cached or ()]
        smallest = _without_refusals(epsilon_work.cached)
        return report.of_attack(request, picture, outcome, rows, transferred, smallest)

    report_button(build, f"{spec.name}-{outcome.model}")


def _show_steps(
    picture: Picture,
    outcome: Outcome,
    model_names: Sequence[str],
    truth: str | None,
    chosen_count: int,
) -> None:
    """Draw the further steps; ``model_names`` are those of the chosen models that see one image."""
    if chosen_count > len(model_names) == 1:
        st.header("Does it fool other models?", anchor=False)
        st.caption("No other chosen model sees the image alike.")
    else:
        _transfer(picture, outcome, model_names, truth)
    _epsilon(picture, outcome, model_names)


def _transfer_work(picture: Picture, outcome: Outcome, model_names: Sequence[str]) -> CachedWork:
    """The attack of ``outcome`` on each of the models, judged by all of them."""
    spec = outcome.spec
    attacked = attackable(model_names, spec, outcome.model)
    return CachedWork(
        what="Transfer",
        key=_key(f"transfer from {attacked}", picture, model_names, spec),
        picture=picture,
        events=lambda nameless: transfers(nameless, model_names, spec, outcome.model),
        total=len(model_names) * (spec.total_steps + 1 + len(model_names)),
        results=(Transfer,),
    )


def _transfer(
    picture: Picture, outcome: Outcome, model_names: Sequence[str], truth: str | None
) -> None:
    st.header("Does it fool other models?", anchor=False)
    if len(model_names) < 2:
        st.caption("Choose more than one model in the sidebar to see which share the weakness.")
        return
    spec = outcome.spec
    transferred = _transfer_work(picture, outcome, model_names).on_request(
        f"Attack each of the {len(model_names)} models",
        f"{spec.record.label} with these settings on every model, each result tested on all.",
    )
    if transferred is None:
        return
    sources = {entry.source for entry in transferred}
    not_attacked = [models.label(name) for name in model_names if name not in sources]
    if not_attacked:
        reason = "no gradients"
        if spec.target is not None:
            reason = "no gradients, or no such target"
        st.caption(plain(f"No attack on {', '.join(not_attacked)}: {reason}."))
    if transferred:
        draw.draw(transfer_section([labelled(entry, truth) for entry in transferred]).blocks)


def _epsilon_work(picture: Picture, outcome: Outcome, model_names: Sequence[str]) -> CachedWork:
    """The smallest epsilon of each of the models, and signs of gradient masking."""
    spec = outcome.spec
    attacked = attackable(model_names, spec, outcome.model)
    gradient = spec
    if spec.name != STRONGEST:
        gradient = _same_settings(spec, STRONGEST)
    if spec.record.white_box:
        chosen = gradient
        black_box = _same_settings(spec, BLACK_BOX, steps=QUERIES)
    else:
        chosen = spec
        black_box = spec
    steps_of_bisection = chosen.total_steps * (1 + BISECTION_PASSES // 2)
    steps_of_masking = gradient.total_steps + 2 * black_box.total_steps
    return CachedWork(
        what="Finding the smallest epsilon",
        key=_key("epsilon", picture, attacked, chosen),
        picture=picture,
        events=lambda nameless: _smallest(nameless, attacked, chosen, gradient, black_box),
        total=len(attacked) * (steps_of_bisection + steps_of_masking),
        results=(Smallest, Masking, str),
        said=lambda _, done: f"Finding the smallest epsilon: {share(done, 0)}",
    )


def _same_settings(spec: AttackSpec, attack_name: str, steps: int | None = None) -> AttackSpec:
    """Another attack with the settings of ``spec``, but for its effort."""
    return AttackSpec.of(
        attack_name,
        epsilon=spec.epsilon,
        norm=spec.norm,
        steps=steps,
        seed=spec.seed,
        target=spec.target,
    )


def _smallest(
    picture: Picture,
    model_names: Sequence[str],
    chosen: AttackSpec,
    gradient: AttackSpec,
    black_box: AttackSpec,
) -> Iterator[Any]:
    """The smallest epsilon of ``chosen`` for each model, and what both others say of masking.

    Both are tried at the epsilon of ``chosen`` and at the smallest: where it last failed if it is
    the gradient attack, where it first succeeds if it is the other one. For a model without
    gradients, a sentence says so.
    """
    for name in model_names:
        try:
            classifier = models.load(name, side=picture.side)
            smallest = None
            for event in smallest_epsilon(picture, classifier, chosen):
                if isinstance(event, Smallest):
                    smallest = event
                yield event
            if smallest is None:
                continue
            second_epsilon = smallest.epsilon
            if chosen is gradient:
                second_epsilon = smallest.failing_epsilon
            if second_epsilon is None:
                second_epsilon = chosen.epsilon
            epsilons = (chosen.epsilon, second_epsilon)
            yield from gradient_masking(picture, classifier, gradient, black_box, epsilons)
        except GradientError as error:
            yield sentence(error)


def _epsilon(picture: Picture, outcome: Outcome, model_names: Sequence[str]) -> None:
    st.header("What is the smallest epsilon?", anchor=False)
    attacked = attackable(model_names, outcome.spec, outcome.model)
    not_attacked = [models.label(name) for name in model_names if name not in attacked]
    if not_attacked:
        labels = ", ".join(not_attacked)
        st.caption(plain(f"Without {labels}: their classes do not include the target."))
    events = _epsilon_work(picture, outcome, model_names).on_request(
        f"Find the smallest epsilon of {counted(len(attacked), 'model')}",
        "Finds the smallest epsilon with APGD; Square checks for gradient masking.",
    )
    for event in events or ():
        if isinstance(event, str):  # the sentence of a model that cannot be attacked
            st.warning(plain(event), icon=":material/block:")
    results = _without_refusals(events)
    if results:
        draw.draw(epsilon_section(results).blocks)


def _without_refusals(events: Sequence[Any] | None) -> list[Smallest | Masking]:
    return [event for event in events or () if not isinstance(event, str)]
