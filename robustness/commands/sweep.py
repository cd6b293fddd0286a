"""The command that finds the strength at which each model's answer breaks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.evaluation.measurement import Measurement
    from robustness.evaluation.sweep import Break


_COLUMNS = {"perturbation": "<22", "model": "<20", "breaks at": ">9", "  physical value": ""}


def add(parsers: Parsers) -> None:
    """Adds ``sweep``."""
    swept = add_command(parsers, "sweep", sweep_command, "--json", "image")
    which = swept.add_mutually_exclusive_group()
    which.add_argument("--perturbation", metavar="NAME", help="default: the study's ten")
    which.add_argument("--all", action="store_true", help="every perturbation there is")
    add_shared(swept, "--models")
    swept.add_argument(
        "--steps", type=int, default=21, metavar="N", help="strengths swept (default: 21)"
    )
    swept.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="seeds of a random one (default: 5)"
    )
    add_shared(swept, "--seed", "--fit")


def sweep_command(options: argparse.Namespace) -> None:
    """The strength at which each model's answer breaks."""
    from robustness.evaluation.sweep import Break, most_fragile, sweep
    from robustness.models import by_labels
    from robustness.perturbations import REGISTRY
    from robustness.pictures.fitting import load_study_image
    from robustness.pictures.picture import Picture

    if options.perturbation:
        names = [REGISTRY[options.perturbation].name]
    else:
        names = [record.name for record in REGISTRY if options.all or record.in_study]
    picture = Picture.of(options.image, load_study_image(options.image, fit=options.fit))
    points: list[Measurement] = []
    breaks: list[Break] = []
    console.progress("loading the models ...")
    for event in sweep(
        picture,
        names,
        options.models,
        steps=options.steps,
        repeats=options.repeats,
        seed=options.seed,
        fit=options.fit,
    ):
        if isinstance(event, Break):
            breaks.append(event)
            console.progress(f"{event.perturbation}, {event.model}: done")
        else:
            points.append(event)
    console.end_progress()
    if options.json:
        console.print_json(
            {
                "points": [row.as_row() for row in points],
                "breaking": [entry.as_row() for entry in breaks],
            }
        )
        return
    rows = []
    for entry in sorted(breaks, key=lambda b: 2.0 if b.strength is None else b.strength):
        at, value = "never", ""
        if entry.strength is not None:
            at = f"{entry.strength:.3f}"
            value = REGISTRY[entry.perturbation].value_text(entry.strength)
        rows.append((entry.perturbation, entry.model, at, f"  {value}"))
    console.print_table(_COLUMNS, rows)
    groups = by_labels(dict.fromkeys(entry.model for entry in breaks))
    for labels, members in groups:
        first = most_fragile([entry for entry in breaks if entry.model in members])
        if first is not None:
            among = f" of the models of {labels.title}" if len(groups) > 1 else ""
            console.say(f"\nMost fragile{among}: {first.model} under {first.perturbation}.")
