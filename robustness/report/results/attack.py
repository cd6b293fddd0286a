"""The report of an attack on one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from robustness.attacks import AttackSpec, Outcome, parse_epsilon
from robustness.attacks.transfer import Transfer
from robustness.charts import attacks
from robustness.charts.tables import Column, Table
from robustness.charts.verdict import LEGEND, verdict_of
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.spec import RunSpec
from robustness.pictures.eight_bits import LEVELS
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report import method_notes
from robustness.report.answers.attack import answer, described, title
from robustness.report.content import Block, Case, Cases, Chart, Report, Section, Shot, Titled
from robustness.report.results.measured import cautions, data, facts
from robustness.report.results.one_picture import moved, shown, top5, verdicts
from robustness.report.wording import model, share


def of_attack(
    spec: RunSpec,
    picture: Picture,
    outcome: Outcome,
    rows: Sequence[Measurement],
    transfer: Sequence[Transfer] = (),
) -> Report:
    """The report of ``outcome``, an attack on ``picture``.

    ``rows`` are what the models of ``spec``, the one attacked among them, make of the attack's
    image; its only condition is the attack's. ``transfer`` are the same attack on each model,
    judged by all.
    """
    attack = outcome.spec
    table = Titled("What each model makes of it", verdicts(rows))
    asked = {**asdict(attack), "model": outcome.model}
    return Report(
        title=f"{described(outcome)} against {model(outcome.model)} on {picture.name}",
        question=_question(outcome),
        answer=answer(outcome, rows),
        facts=[*facts(spec, [picture], rows), *_facts(outcome)],
        cautions=cautions(rows),
        sections=[
            Section(
                "The image and the answers",
                [Cases("", lambda: _shown(picture, outcome, rows)), table],
            ),
            _noise(picture, outcome),
            *_transfer(transfer),
            Section("The five most likely classes", [top5(row) for row in rows]),
            moved(rows),
        ],
        brief=[table, Titled("The attack beside noise of the same size", _sizes(outcome))],
        methods=method_notes.blocks(spec.conditions, [("Noise", method_notes.NOISE)]),
        limits=method_notes.LIMITS,
        manifest={**manifest(spec, [(picture.name, picture.digest)]), "attack": asked},
        replay=_replay(spec, outcome),
        data=data(
            [replace(row, image=picture.name) for row in rows],
            {
                "attack": [{"model": outcome.model, **outcome.as_row()}],
                "transfer": [entry.as_row() for entry in transfer],
            },
        ),
    )


def _question(outcome: Outcome) -> str:
    target = outcome.spec.target
    if target is None:
        return f"Does so small a change bring {model(outcome.model)} to another answer?"
    aim = title(outcome, target)
    return f"Does so small a change make {model(outcome.model)} see {aim}?"


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    spec = outcome.spec
    return [
        ("Model attacked", model(outcome.model)),
        ("Attack", f"{described(outcome)}, {method_notes.effort(spec)}"),
        ("Target", "any other class" if spec.target is None else title(outcome, spec.target)),
    ]


def _shown(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> Iterator[Case]:
    alt = f"{picture.name} after {described(outcome)}"
    return shown(picture, outcome.image, "adversarial", alt, outcome.gain, rows)


def _noise(picture: Picture, outcome: Outcome) -> Section:
    blocks: list[Block] = [Titled("The attack beside noise of the same size", _sizes(outcome))]
    if outcome.l2:
        caption = f"The one of {outcome.control.draws} random changes that came nearest."
        blocks.append(Cases(caption, lambda: _noisy(picture, outcome)))
    return Section("Is it more than noise?", blocks)


def _noisy(picture: Picture, outcome: Outcome) -> Iterator[Case]:
    control = outcome.control
    yield Case(
        title=f"{picture.name}, with noise",
        shots=[Shot(to_png(control.image), "noise", f"{picture.name} with noise")],
        verdict=None,
        lines=[f"{model(outcome.model)}: {title(outcome, control.top1)} {control.probability:.1%}"],
    )


def _sizes(outcome: Outcome) -> Table:
    control = outcome.control
    noise = f"{control.successes} of {control.draws}"
    changes: list[tuple[str, str, Any]] = [
        ("The attack", "yes" if outcome.success else "no", outcome)
    ]
    if outcome.l2:
        changes.append(("Noise, the nearest draw", noise, control))
    rows = [
        (
            name,
            succeeds,
            f"{title(outcome, found.top1)} {share(found.probability)}",
            f"{LEVELS * found.linf:.3g}/{LEVELS}",
            f"{found.l2:.3g}",
            f"{found.ssim:.3f}",
        )
        for name, succeeds, found in changes
    ]
    return Table(("Change", "Succeeds", "Answer", "L∞", "L2", "SSIM"), rows)


def _transfer(transfer: Sequence[Transfer]) -> list[Section]:
    if not transfer:
        return []
    words = {True: "yes", False: "no", None: "has other classes"}
    columns: list[Column] = [
        ("Made on", lambda entry: model(entry.source)),
        ("Judged by", lambda entry: model(entry.model)),
        ("Fooled", lambda entry: words[entry.success]),
        ("Prediction", lambda entry: verdict_of(entry.as_row()).said),
        ("Confidence in its original class", lambda entry: share(entry.retained_probability)),
    ]
    chart = Chart(
        "Made on one model, judged by another",
        attacks.transfer(pd.DataFrame([entry.as_row() for entry in transfer])),
        "Confidence of each judge in its original class; the table below holds the numbers.",
        f"{LEGEND} The percentage is the judge's confidence in its original class.",
    )
    return [
        Section(
            "Does it transfer?",
            [chart, Titled("Every pair of models", Table.of(transfer, columns))],
        )
    ]


def _replay(spec: RunSpec, outcome: Outcome) -> str:
    attack = outcome.spec
    target = "" if attack.target is None else f" --target {attack.target}"
    return (
        f"With the same image, `python -m robustness attack IMAGE --model {outcome.model} "
        f"--attack {attack.name} --norm {attack.norm} --epsilon {_epsilon(attack)} --steps "
        f"{attack.steps} --restarts {attack.restarts} --seed {attack.seed} --fit {spec.fit}"
        f"{target} --to OUT.png` makes the same image."
    )


def _epsilon(attack: AttackSpec) -> str:
    """Epsilon as it is stated, if that says it exactly."""
    text = attack.size_text
    return text if parse_epsilon(text) == attack.epsilon else repr(attack.epsilon)
