"""The report of an attack on one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from robustness.attacks import AttackSpec, Outcome, parse_epsilon
from robustness.attacks.attack_image import Transfer
from robustness.charts import attacks
from robustness.charts.tables import Column, Table
from robustness.charts.verdict import LEGEND, verdict_of
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.request import Request
from robustness.pictures.eight_bits import LEVELS
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report import answers, methods
from robustness.report.answers.one_image import described, title
from robustness.report.content import Block, Case, Cases, Chart, Report, Section, Shot, Titled
from robustness.report.results.measured import cautions, data, facts, framing_options
from robustness.report.results.one_picture import moved, shown, top5, verdicts
from robustness.report.wording import model, share


def of_attack(
    spec: Request,
    picture: Picture,
    outcome: Outcome,
    rows: Sequence[Measurement],
    transfer: Sequence[Transfer] = (),
) -> Report:
    """The report of ``outcome``, an attack on ``picture``.

    ``rows`` are the measurements of the attacked image by all models of ``spec``, whose only
    condition is the attack. ``transfer`` is the same attack on each model, judged by all.
    """
    attack = outcome.spec
    table = Titled("Predictions", verdicts(rows))
    asked = {**asdict(attack), "model": outcome.model}
    return Report(
        title=f"{described(outcome)} against {model(outcome.model)} on {picture.name}",
        answers=answers.told(answers.ATTACK, outcome, rows),
        facts=[*facts(spec, [picture], rows), *_facts(outcome)],
        cautions=cautions(rows),
        sections=[
            Section(
                "Image and predictions",
                [Cases("", lambda: _shown(picture, outcome, rows)), table],
            ),
            _noise(picture, outcome),
            *_transfer(transfer),
            Section("Top-5 classes", [top5(row) for row in rows]),
            moved(rows),
        ],
        brief=[table, Titled("Attack and noise of the same size", _sizes(outcome))],
        methods=methods.blocks(spec.conditions, ["Noise"]),
        limits=methods.limits(),
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


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    spec = outcome.spec
    return [
        ("Model attacked", model(outcome.model)),
        ("Attack", f"{described(outcome)}, {methods.effort(spec)}"),
        ("Target", "any other class" if spec.target is None else title(outcome, spec.target)),
    ]


def _shown(picture: Picture, outcome: Outcome, rows: Sequence[Measurement]) -> Iterator[Case]:
    alt = f"{picture.name} after {described(outcome)}"
    return shown(picture, outcome.image, "adversarial", alt, outcome.gain, rows)


def _noise(picture: Picture, outcome: Outcome) -> Section:
    blocks: list[Block] = [Titled("Attack and noise of the same size", _sizes(outcome))]
    if outcome.l2:
        caption = f"The closest of {outcome.control.draws} random changes."
        blocks.append(Cases(caption, lambda: _noisy(picture, outcome)))
    return Section("Noise of the same size", blocks)


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
        changes.append(("Noise, the closest draw", noise, control))
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
    return Table(("Change", "Succeeds", "Prediction", "L∞", "L2", "SSIM"), rows)


def _transfer(transfer: Sequence[Transfer]) -> list[Section]:
    if not transfer:
        return []
    words = {True: "yes", False: "no", None: "other classes"}
    columns: list[Column] = [
        ("Made on", lambda entry: model(entry.source)),
        ("Judged by", lambda entry: model(entry.model)),
        ("Fooled", lambda entry: words[entry.success]),
        ("Prediction", lambda entry: verdict_of(entry.as_row()).said),
        ("Confidence in its original class", lambda entry: share(entry.retained_probability)),
    ]
    chart = Chart(
        "Transfer between models",
        attacks.transfer(pd.DataFrame([entry.as_row() for entry in transfer])),
        "Confidence of each judging model in its original class; the table below holds the "
        "numbers.",
        f"{LEGEND} Percentages: confidence of the judging model in its original class.",
    )
    return [
        Section(
            "Transfer",
            [chart, Titled("All pairs of models", Table.of(transfer, columns))],
        )
    ]


def _replay(spec: Request, outcome: Outcome) -> str:
    attack = outcome.spec
    target = "" if attack.target is None else f" --target {attack.target}"
    return (
        f"With the same image, `python -m robustness attack IMAGE --model {outcome.model} "
        f"--attack {attack.name} --norm {attack.norm} --epsilon {_epsilon(attack)} --steps "
        f"{attack.steps} --restarts {attack.restarts} --seed {attack.seed}"
        f"{framing_options(spec, [outcome.model])}{target} --to OUT.png` "
        "reproduces the attacked image."
    )


def _epsilon(attack: AttackSpec) -> str:
    """Epsilon as text that reads back exactly."""
    text = attack.size_text
    return text if parse_epsilon(text) == attack.epsilon else repr(attack.epsilon)
