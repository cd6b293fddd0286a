"""The commands ``study`` and ``sweep``, which measure models on a few images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.files_and_locks import make_folder, write_file
from robustness.base.text import counted, csv_cell
from robustness.commands import console
from robustness.commands.predict_perturb import picture
from robustness.commands.subcommands_and_options import (
    Parsers,
    add_command,
    add_shared,
    names,
    request_of,
)
from robustness.evaluation import STEPS

if TYPE_CHECKING:
    from robustness.evaluation.breaking_strength_sweep import Break
    from robustness.evaluation.measurement_and_image_batch import Measurement
    from robustness.remedies import Chain


def add(parsers: Parsers) -> None:
    """Add ``study`` and ``sweep``."""
    study = add_command(parsers, "study", study_command, "--json", "images", "--models")
    study.add_argument(
        "--perturbations", metavar="A,B", type=names, help="default: the study's ten"
    )
    study.add_argument(
        "--strength", type=float, metavar="S", help="0 to 1 (default: the study setting of each)"
    )
    study.add_argument("--out", type=Path, metavar="DIR", help="also write tables and images")
    add_shared(study, "--true-class", "--seed", "--fit", "--side", "--remedies")

    swept = add_command(parsers, "sweep", sweep_command, "--json", "image")
    which = swept.add_mutually_exclusive_group()
    which.add_argument("--perturbation", metavar="NAME", help="default: the study's ten")
    which.add_argument("--all", action="store_true", help="all perturbations")
    add_shared(swept, "--models")
    swept.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        metavar="N",
        help=f"number of strengths (default: {STEPS})",
    )
    add_shared(swept, "--true-class", "--seed", "--fit", "--side", "--remedies")


def study_command(options: argparse.Namespace) -> None:
    """Consistency and feature similarity under the perturbations."""
    from robustness.evaluation.labels_and_correctness import labelled, true_class
    from robustness.evaluation.loop import evaluate, perturbed
    from robustness.evaluation.provenance import provenance_record
    from robustness.evaluation.suites_and_strengths import study_conditions
    from robustness.models import resolve
    from robustness.pictures.eight_bits import to_png
    from robustness.statistics.robustness_ranking_and_verdicts import summarise

    conditions = study_conditions(options.perturbations, options.strength)
    names = resolve(options.models)
    spec = request_of(options, names, conditions)
    framings = list(spec.by_framing)
    pictures = [picture(options, image, framings) for image in options.images]
    if options.out is not None:
        make_folder(options.out)  # now rather than after all the work
    truths = {shown.name: true_class(shown.name, options.true_class, names) for shown in pictures}
    rows: list[Measurement] = []
    total = len(pictures) * len(names) * len(conditions)
    console.progress(f"loading {', '.join(names)} ...")
    for row in evaluate(spec, pictures):
        rows.append(labelled(row, truths[row.image]))
        if len(rows) % len(conditions) == 0:
            console.progress(
                f"{len(rows)} of {counted(total, 'measurement')}, {row.image}, {row.model}"
            )
    console.end_progress()
    result: dict[str, Any] = {
        "manifest": provenance_record(spec, [(shown.name, shown.source) for shown in pictures]),
        "summary": summarise(rows),
        "measurements": [row.as_row() for row in rows],
    }
    if options.out is not None:
        import pandas as pd

        table = pd.json_normalize(result["measurements"])
        text = table.map(lambda value: csv_cell(value) if isinstance(value, str) else value)
        write_file(options.out / "study.json", console.as_json(result).encode())
        write_file(options.out / "measurements.csv", text.to_csv(index=False).encode())
        for number, shown in enumerate(pictures, start=1):
            for place, version in enumerate(shown.versions):
                at = f"-{place + 1}-{version.framing.fit}-{version.side}" if place else ""
                folder = options.out / f"picture-{number}{at}"
                write_file(folder / "clean.png", to_png(version.image))
                images = perturbed(version, conditions, options.seed)
                for condition, image in zip(conditions, images, strict=True):
                    write_file(folder / f"{condition.name}.png", to_png(image))
    if options.json:
        console.print_json(result)
    else:
        from robustness import report

        console.say(report.printed(report.of_map(spec, pictures, rows)))


def sweep_command(options: argparse.Namespace) -> None:
    """The strength at which each model's prediction changes or becomes incorrect."""
    from robustness import models, report
    from robustness.evaluation.breaking_strength_sweep import Break, sweep
    from robustness.evaluation.labels_and_correctness import labelled, true_class
    from robustness.evaluation.perturbation_and_attack_conditions import Condition
    from robustness.evaluation.remedied_models_and_trials import loader_with_remedies
    from robustness.evaluation.request import make_spec
    from robustness.perturbations import REGISTRY
    from robustness.remedies import parse_all

    if options.perturbation:
        names = [REGISTRY[options.perturbation].name]
    else:
        names = [record.name for record in REGISTRY if options.all or record.in_study]
    chosen = models.resolve(options.models)
    truth = true_class(options.image, options.true_class, chosen)
    conditions = [Condition.of({name: 1.0}) for name in names]
    how = {"seed": options.seed, "fit": options.fit, "side": options.side}
    spec = make_spec(chosen, conditions, **how)
    shown = picture(options, options.image, list(spec.by_framing))
    chains = parse_all(options.remedies)
    loaders = {chain: loader_with_remedies(chain, chosen) for chain in chains}

    def swept(chain: Chain | None = None) -> list[Measurement | Break]:
        suffix = f" with {chain.id}" if chain else ""
        console.progress(f"loading the models{suffix} ...")
        load = models.load if chain is None else loaders[chain]
        events: list[Measurement | Break] = []
        how = {"steps": options.steps, "seed": options.seed}
        for event in sweep(shown, names, chosen, load=load, **how):
            events.append(labelled(event, truth))
            if isinstance(event, Break):
                console.progress(f"{event.perturbation}, {event.model}{suffix}: done")
        return events

    plain = swept()
    remedied = {chain: swept(chain) for chain in loaders}
    console.end_progress()
    if options.json:
        documents = [
            {"remedy": chain.id, **_document(results)} for chain, results in remedied.items()
        ]
        console.print_json({**_document(plain), **({"remedies": documents} if documents else {})})
        return
    plain.sort(key=_points_first)
    content = report.of_map(spec, [shown], swept=plain, remedied=remedied)
    console.say(report.printed(content))


def _points_first(event: Measurement | Break) -> float:
    """A key that puts the points first, then the breaks from the smallest strength to never.

    The sweep itself gives the breaks by perturbation.
    """
    from robustness.evaluation.breaking_strength_sweep import Break

    if not isinstance(event, Break):
        return -1.0
    return 2.0 if event.never else event.strength or 0.0


def _document(events: Sequence[Measurement | Break]) -> dict[str, Any]:
    from robustness.evaluation.breaking_strength_sweep import Break

    return {
        "points": [event.as_row() for event in events if not isinstance(event, Break)],
        "breaking": [event.as_row() for event in events if isinstance(event, Break)],
    }
