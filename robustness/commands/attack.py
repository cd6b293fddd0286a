"""The command ``attack``, which attacks a model on an image."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.base.errors import RobustnessError
from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.attacks import AttackSpec, Outcome
    from robustness.attacks.transfer import Transfer
    from robustness.pictures.picture import Picture

REPORTS = 10
"""Most progress lines of an attack."""

_TRANSFER_COLUMNS = {"model": "<20", "fooled too": "<15", "prediction": ""}


def add(parsers: Parsers) -> None:
    """Add ``attack``."""
    attack = add_command(parsers, "attack", attack_command, "--json", "image")
    attack._negative_number_matcher = re.compile(r"-[\d.]")  # so that -8/255 gets its sentence
    attack.add_argument("--model", required=True, metavar="NAME", help="model to attack")
    attack.add_argument(
        "--attack",
        default="pgd",
        metavar="NAME",
        help="default: pgd; others: apgd, autoattack, square (an unknown name lists all)",
    )
    attack.add_argument(
        "--epsilon",
        metavar="E",
        help="largest change of a pixel, as a share of its range (default: 8/255; in l2: 0.5)",
    )
    attack.add_argument("--steps", type=int, metavar="N", help="default: that of the attack")
    attack.add_argument("--norm", metavar="linf|l2", help="default: that of the attack")
    attack.add_argument("--target", metavar="CLASS", help="class to reach")
    attack.add_argument(
        "--restarts", type=int, default=1, metavar="N", help="random starts (default: 1)"
    )
    attack.add_argument(
        "--to",
        type=Path,
        metavar="OUT.png",
        help="write the image as PNG; read it back with --fit squash",
    )
    add_shared(attack, "--true-class", "--seed", "--fit", "--side")


def attack_command(options: argparse.Namespace) -> None:
    """Change an image slightly so that a model predicts another class."""
    from robustness import models
    from robustness.attacks import REGISTRY, Outcome, craft
    from robustness.evaluation.correctness import label_index, labelled, true_class
    from robustness.evaluation.sides import one_side
    from robustness.pictures.fitting import load_study_image, to_png
    from robustness.pictures.picture import Picture
    from robustness.pictures.samples import picture_file

    if options.to is not None:
        console.expect_png(options.to, "The adversarial image")
    (name,) = models.resolve([options.model])
    spec = _spec(options, name)
    truth = true_class(options.image, options.true_class, [name])
    side = one_side(options.side, [name])
    image = load_study_image(picture_file(options.image), fit=options.fit, side=side)
    picture = Picture.of(options.image, image, fit=options.fit)
    console.progress(f"loading {name} ...")
    every = max(1, spec.total_steps // REPORTS)
    for event in craft(picture, models.load(name, side=side), spec):
        if isinstance(event, Outcome):
            outcome = event  # the last event
        elif event.done % every == 0:
            label = REGISTRY[event.attack].label
            console.progress(f"{label}: step {event.done} of {event.total}")
    if options.to is not None:
        console.write_file(options.to, to_png(outcome.image))
    transfer = [labelled(entry, truth) for entry in _transfer(picture, outcome)]
    own = label_index(name, truth)
    console.end_progress()
    if options.json:
        judged = [entry.as_row() for entry in transfer]
        console.print_json({**outcome.as_row(), "label": own, "transfer": judged})
    else:
        _print_outcome(outcome, transfer, own)


def _spec(options: argparse.Namespace, name: str) -> AttackSpec:
    from robustness import models
    from robustness.attacks import AttackSpec, parse_epsilon

    target = None
    if options.target is not None:
        target = models.REGISTRY[name].labels().index(options.target)
    return AttackSpec.of(
        options.attack,
        epsilon=None if options.epsilon is None else parse_epsilon(options.epsilon),
        norm=options.norm,
        steps=options.steps,
        restarts=options.restarts,
        seed=options.seed,
        target=target,
    )


def _transfer(picture: Picture, outcome: Outcome) -> list[Transfer]:
    """The predictions of all other models with weights; models that fail are skipped by name."""
    from robustness import models
    from robustness.attacks.transfer import judged

    found: list[Transfer] = []
    for record in models.REGISTRY:
        if record.name == outcome.model or not models.state(record).ready:
            continue
        console.progress(f"asking {record.name} ...")
        try:
            found += judged(picture, outcome.image, outcome.spec, outcome.model, [record.name])
        except RobustnessError as error:
            console.progress(f"left out: {error}")
    return found


def _print_outcome(outcome: Outcome, transfer: list[Transfer], label: int | None) -> None:
    from robustness.charts.verdict import verdict_of
    from robustness.models import class_name

    told = verdict_of({**vars(outcome), "label": label}).said

    spec, control = outcome.spec, outcome.control
    aim = "" if spec.target is None else f" towards {class_name(outcome.model, spec.target)!r}"
    before = class_name(outcome.model, outcome.clean_top1)
    after = class_name(outcome.model, outcome.top1)
    console.say(
        f"{outcome.label}, {spec.norm} {spec.size_text}, on {outcome.model}{aim}: "
        f"{'succeeds' if outcome.success else 'fails'}\n"
        f"prediction    {before} {outcome.clean_probability:.1%} -> {after} "
        f"{outcome.probability:.1%}  {told}\n"
        f"change        linf {255 * outcome.linf:.3g}/255, l2 {outcome.l2:.3g}, SSIM "
        f"{outcome.ssim:.3f}\n"
        f"noise alone   of the same size does it in {control.successes} of {control.draws} draws"
    )
    if spec.epsilon and not outcome.l2:
        console.say("note          no other 8-bit image lies within this epsilon")
    if not transfer:
        return
    console.say("")
    fooled = {True: "yes", False: "no", None: "other classes"}
    console.print_table(
        _TRANSFER_COLUMNS,
        [
            (
                entry.model,
                fooled[entry.success],
                f"{class_name(entry.model, entry.top1)} {entry.probability:.1%}  "
                f"{verdict_of(entry.as_row()).said}",
            )
            for entry in transfer
        ],
    )
