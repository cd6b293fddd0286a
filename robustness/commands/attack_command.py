"""The command ``attack``, which attacks a model on an image."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.base.errors import RobustnessError
from robustness.base.files_and_locks import expect_writable, write_file
from robustness.base.text import some
from robustness.commands import console
from robustness.commands.predict_perturb import picture
from robustness.commands.subcommands_and_options import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.attacks import AttackSpec, Outcome
    from robustness.evaluation.measurement_and_image_batch import Measurement
    from robustness.evaluation.request import Request
    from robustness.pictures.framed_picture import Picture

REPORTS = 10
"""Most progress lines of an attack."""


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
    from robustness.attacks.transfer import Transfer, is_fooled
    from robustness.evaluation.framing_of_models import framing
    from robustness.evaluation.labels_and_correctness import labelled, true_class
    from robustness.pictures.eight_bits import to_png

    if options.to is not None:
        console.expect_png(options.to, "The adversarial image")
        expect_writable(options.to)
    (name,) = models.resolve([options.model])
    spec = _spec(options, name)
    truth = true_class(options.image, options.true_class, [name])
    original = picture(options, options.image, [framing(options.fit, options.side, name)])
    console.progress(f"loading {name} ...")
    every = max(1, spec.total_steps // REPORTS)
    for event in craft(original, models.load(name, side=original.side), spec):
        if isinstance(event, Outcome):
            outcome = event  # the last event
        elif event.done % every == 0:
            label = REGISTRY[event.attack].label
            console.progress(f"{label}: step {event.done} of {event.total}")
    if options.to is not None:
        write_file(options.to, to_png(outcome.image))
    request, answers = _answers(original, outcome)
    rows = [labelled(row, truth) for row in answers]
    console.end_progress()
    if options.json:
        others = [
            Transfer(
                source=outcome.model,
                model=row.model,
                success=is_fooled(outcome.spec, outcome.model, row.model, row.top1, row.clean_top1),
                clean_top1=row.clean_top1,
                clean_probability=row.clean_probability,
                top1=row.top1,
                probability=row.probability,
                retained_probability=row.retained_probability,
                label=row.label,
            ).as_row()
            for row in rows
            if row.model != outcome.model
        ]
        console.print_json({**outcome.as_row(), "label": rows[0].label, "transfer": others})
    else:
        from robustness import report

        console.say(report.printed(report.of_attack(request, original, outcome, rows)))


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


def _answers(original: Picture, outcome: Outcome) -> tuple[Request, list[Measurement]]:
    """The predictions of the attacked model, then of all others with weights that see the image
    alike.

    Those that do not, and a model that fails, are skipped by name.
    """
    import numpy as np

    from robustness import models
    from robustness.evaluation.framing_of_models import framing
    from robustness.evaluation.loop import measure_batch, picture_scores
    from robustness.evaluation.measurement_and_image_batch import Batch
    from robustness.evaluation.perturbation_and_attack_conditions import AttackCondition
    from robustness.evaluation.request import make_spec

    ready = [record.name for record in models.REGISTRY if models.state(record).ready]
    ready.sort(key=lambda name: name != outcome.model)
    names = [name for name in ready if framing(*original.overrides, name) == original.framing]
    if others := [name for name in ready if name not in names]:
        console.remark(f"not compared, as they see another version of the image: {some(others, 5)}")
    condition, seed = AttackCondition.of_spec(outcome.spec), outcome.spec.seed
    fit, side = original.overrides
    request = make_spec(names, [condition], seed=seed, fit=fit, side=side)
    clean, changed = original.image[None], outcome.image[None]
    batch = Batch([original], np.stack([clean, changed], 1), [picture_scores(clean, changed)])
    rows: list[Measurement] = []
    for name in names:
        console.progress(f"predicting with {name} ...")
        try:
            ((row,),) = measure_batch(request, batch, models.load(name, side=original.side))
        except RobustnessError as error:
            console.progress(f"left out: {error}")
        else:
            rows.append(row)
    return request, rows
