"""The report of an attack on one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from robustness.attacks import NORMS, Outcome, parse_epsilon
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks.epsilon_and_gradient_masking import Masking, Smallest
from robustness.attacks.transfer import Transfer
from robustness.base.text import counted, share
from robustness.charts.ranking_and_condition_tables import Column, Table
from robustness.charts.verdict_signs_and_words import tally, verdict_of
from robustness.evaluation.labels_and_correctness import is_correct
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.evaluation.provenance import provenance_record
from robustness.evaluation.request import Request
from robustness.metrics.proportion_and_difference_intervals import rate_interval
from robustness.pictures.eight_bits import LEVELS
from robustness.pictures.framed_picture import Picture
from robustness.report import methods_and_registry_tables
from robustness.report.blocks import Case, Cases, Report, Section, Text, Titled
from robustness.report.facts_and_cautions import cautions, data, facts, framing_options
from robustness.report.names_and_sentences import class_title, model, sentence
from robustness.report.one_image_report import features, image_case, top5, verdicts

INVISIBLE = 0.01
"""Largest change of a pixel, a share of its range, that is called invisible: contrasts below about
1 % are below the threshold of sight."""


def of_attack(
    spec: Request,
    picture: Picture,
    outcome: Outcome,
    rows: Sequence[Measurement],
    transfer: Sequence[Transfer] = (),
    smallest: Sequence[Smallest | Masking] = (),
) -> Report:
    """The report of ``outcome``, an attack on ``picture``.

    ``rows`` are the measurements of the attacked image by all models of ``spec``, whose only
    condition is the attack. ``transfer`` is the same attack on each model, judged by all, and
    ``smallest`` what ``epsilon_section`` takes.
    """
    attack = outcome.spec
    table = Titled("Predictions", verdicts(rows))
    values = {**asdict(attack), "model": outcome.model}
    aim = "any other class" if attack.target is None else title(outcome, attack.target)
    target = "" if attack.target is None else f" --target {attack.target}"
    text = attack.size_text
    epsilon = text if parse_epsilon(text) == attack.epsilon else repr(attack.epsilon)

    def images() -> Iterator[Case]:
        alt = f"{picture.name} after {attack_title(outcome)}"
        gain = outcome.gain
        return image_case(picture, outcome.image, "adversarial", alt, gain, rows, signed=True)

    return Report(
        title=f"{attack_title(outcome)} against {model(outcome.model)} on {picture.name}",
        answers=answers(outcome, rows),
        facts=[
            *facts(spec, [picture], rows),
            ("Model attacked", model(outcome.model)),
            ("Attack", f"{attack_title(outcome)}, {methods_and_registry_tables.effort(attack)}"),
            ("Target", aim),
        ],
        cautions=cautions(rows),
        sections=[
            Section("Image and predictions", [Cases("", images), table]),
            Section("Noise of the same size", [sizes(outcome)]),
            *([transfer_section(transfer)] if transfer else []),
            *([epsilon_section(smallest)] if smallest else []),
            Section("Top-5 classes", [top5(row) for row in rows]),
            features(rows),
        ],
        brief=[table, sizes(outcome)],
        methods=methods_and_registry_tables.blocks(spec.conditions, ["Noise"]),
        limits=methods_and_registry_tables.limits(),
        manifest={**provenance_record(spec, [(picture.name, picture.digest)]), "attack": values},
        replay=(
            f"With the same image, `python -m robustness attack IMAGE --model {outcome.model} "
            f"--attack {attack.name} --norm {attack.norm} --epsilon {epsilon} --steps "
            f"{attack.steps} --restarts {attack.restarts} --seed {attack.seed}"
            f"{framing_options(spec.of_models([outcome.model]))}{target} --to OUT.png` "
            "reproduces the attacked image."
        ),
        data=data(
            [replace(row, image=picture.name) for row in rows],
            {
                "attack": [{"model": outcome.model, **outcome.as_row()}],
                "transfer": [entry.as_row() for entry in transfer],
            },
        ),
    )


def sizes(outcome: Outcome) -> Titled:
    """The attack and noise of the same size, with how far each moves the image."""
    control = outcome.control
    rate = rate_interval(control.successes, control.draws)
    noise = (
        f"{control.successes} of {control.draws} ({share(rate.low, 0)} to {share(rate.high, 0)})"
    )
    changes: list[tuple[str, str, Any]] = [
        (attack_title(outcome), "yes" if outcome.success else "no", outcome)
    ]
    if outcome.l2:
        changes.append(("Noise, the closest draw", noise, control))
    rows = [
        (
            name,
            succeeds,
            f"{title(outcome, size.top1)} {share(size.probability)}",
            f"{LEVELS * size.linf:.3g}/{LEVELS}",
            f"{size.l2:.3g}",
            f"{size.ssim:.3f}",
        )
        for name, succeeds, size in changes
    ]
    head = ("Change", "Succeeds", "Prediction", "L∞", "L2", "SSIM")
    return Titled("Attack and noise of the same size", Table(head, rows))


def transfer_section(transfer: Sequence[Transfer]) -> Section:
    """On which models an image made on another has an effect; at least one of ``transfer``."""
    words = {True: "yes", False: "no", None: "other classes"}
    columns: list[Column] = [
        ("Made on", lambda entry: model(entry.source)),
        ("Judged by", lambda entry: model(entry.model)),
        ("Fooled", lambda entry: words[entry.success]),
        ("Prediction", lambda entry: verdict_of(entry.as_row()).said),
        ("Confidence in its original class", lambda entry: share(entry.retained_probability)),
    ]
    transferred = [entry for entry in transfer if entry.source != entry.model]
    fooled = sum(entry.success is True for entry in transferred)
    title = f"{fooled} of {counted(len(transferred), 'attack')} transfer"
    return Section("Transfer to other models", [Titled(title, Table.of(transfer, columns))])


def epsilon_section(events: Sequence[Smallest | Masking]) -> Section:
    """The smallest epsilon of each model, at least one, and signs of gradient masking."""
    smallest = [event for event in events if isinstance(event, Smallest)]
    attack, norm = ATTACKS[smallest[0].attack], NORMS[smallest[0].norm]
    columns: list[Column] = [
        ("Model", lambda entry: model(entry.model)),
        ("Smallest epsilon", lambda entry: _size(entry.epsilon, entry.norm)),
    ]
    title = f"Smallest epsilon of {attack.label} ({norm.label})"
    masking = [event for event in events if isinstance(event, Masking)]
    texts = []
    for entry in masking:
        name = model(entry.model)
        if entry.flat:
            texts.append(
                f"{name}: the gradient is zero at the original, so it shows attacks no direction."
            )
        if entry.epsilon is not None:
            texts.append(
                f"{name}: {ATTACKS[entry.black_box].label}, which uses predictions only, succeeds "
                f"at {_size(entry.epsilon, entry.norm)}, where {ATTACKS[entry.gradient].label} "
                "fails: gradients mislead."
            )
    if masking and not texts:
        texts = [
            "No sign of gradient masking: the gradient attack does at least as well as the one "
            "without gradients."
        ]
    if norm.name == "linf" and any(e.epsilon and e.epsilon < 1 / LEVELS for e in smallest):
        texts.append(
            "An 8-bit image cannot hold changes below 1/255: a saved file needs a whole level."
        )
    return Section(
        "Smallest epsilon", [Titled(title, Table.of(smallest, columns)), *map(Text, texts)]
    )


def _size(epsilon: float | None, norm: str) -> str:
    if epsilon is None:
        return "never"
    return f"{LEVELS * epsilon:.2g}/{LEVELS}" if norm == "linf" else f"{epsilon:.2g}"


def answers(outcome: Outcome, rows: Sequence[Measurement]) -> list[tuple[str, str]]:
    """The questions that an attack answers; ``rows`` are of all models for the attacked image."""
    rest = [row for row in rows if row.model != outcome.model]
    who = model(rest[0].model) if len(rest) == 1 else "other models"
    doubt = "this is one image, and a stronger attack may succeed where this fails"
    names = [row.model for row in rest]
    return [
        ("Does the attack change the prediction?", attack_answer(outcome, rows)),
        ("Does noise of the same size do the same?", noise_answer(outcome)),
        *(
            [
                (
                    "Do other models change, too?",
                    sentence(f"{who}: {tally(rest)}", doubt, names=names),
                )
            ]
            if rest
            else []
        ),
    ]


def attack_title(outcome: Outcome) -> str:
    """The attack with its norm and size: "PGD (L∞, epsilon 8/255)"."""
    spec, by = outcome.spec, f", by {outcome.by_label}" if outcome.by_label else ""
    side = len(outcome.image)
    here = spec.at_side(side)
    at = "" if here == spec.epsilon else f", which is {here:.3g} at {side} px"
    return f"{spec.record.label} ({NORMS[spec.norm].label}, epsilon {spec.size_text}{at}{by})"


def title(outcome: Outcome, index: int) -> str:
    """The class ``index`` of the attacked model."""
    return class_title(outcome.model, index)


def attack_answer(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """The effect of the attack on the attacked model."""
    spec, name = outcome.spec, model(outcome.model)
    after = f"{title(outcome, outcome.top1)}, {share(outcome.probability, 0)}"
    if outcome.success:
        size = f"A change of {spec.size_text} ({NORMS[spec.norm].label})"
        text = (
            f"{'An invisible change' if outcome.linf <= INVISIBLE else size} fools {name}: {after}"
        )
    else:
        aim = "" if spec.target is None else f" towards {title(outcome, spec.target)}"
        text = f"{spec.record.label}{aim} fails on {name}: {after}"
    mine = next((row for row in rows if row.model == outcome.model), None)
    wrong = mine is not None and is_correct(mine.label, mine.clean_top1) is False
    now = "correct" if mine is not None and mine.top1 == mine.label else "still incorrect"
    return sentence(text, f"incorrect on the original, now {now}" if wrong else "")


def noise_answer(outcome: Outcome) -> str:
    """How often random changes of the same size do the same."""
    control = outcome.control
    if not outcome.l2:
        return sentence("the attack left the image unchanged, so noise is no comparison")
    draws = f"{control.draws} equally large random changes"
    if not control.successes:
        return sentence(f"{draws}: none fools it")
    verb = "fools" if control.successes == 1 else "fool"
    news = outcome.success
    return sentence(
        f"{draws}: {control.successes} {verb} it",
        "the attack is no better than noise" if news else "",
    )
