"""The commands ``predict`` and ``perturb``.

The commands ``study`` and ``sweep``, which measure models on a few images.

The command ``attack``, which attacks a model on an image.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import RobustnessError
from robustness.base.files import expect_writable, make_folder, write_file
from robustness.base.text import counted, csv_cell, share, some
from robustness.cli import console
from robustness.cli.console import Parsers, add_command, add_shared, names, request_of
from robustness.measure import STEPS

if TYPE_CHECKING:
    from robustness.images.framing import Framing, Picture


def add_predictions(parsers: Parsers) -> None:
    """Add ``predict`` and ``perturb``."""
    shared = ("--json", "images", "--models", "--seed", "--fit")
    predict = add_command(parsers, "predict", predict_command, *shared)
    predict.add_argument(
        "--under",
        metavar="CONDITION",
        help="predict the study image under a condition such as fog=0.6+rotation=0.25; "
        "`clean` is the original",
    )
    add_shared(predict, "--true-class", "--remedies", "--side")

    perturb = add_command(parsers, "perturb", perturb_command, "image")
    perturb.add_argument(
        "--model", metavar="NAME", help="write what this model sees (default: the study image)"
    )
    perturb.add_argument("--perturbation", required=True, metavar="NAME")
    perturb.add_argument("--strength", required=True, type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    add_shared(perturb, "--seed", "--fit", "--side")


def predict_command(options: argparse.Namespace) -> None:
    """Top-5 classes of images, and whether the prediction is correct or changed.

    Each model sees the images as it is described, unless --fit or --side say otherwise.
    """
    from robustness import models
    from robustness.measure.condition import CLEAN, Condition
    from robustness.measure.labels import is_correct, label_index, true_class
    from robustness.measure.loop import evaluate
    from robustness.remedies import parse
    from robustness.report import Titled, printed_blocks
    from robustness.report.tables import Table, verdict_of

    original = options.under in (None, CLEAN)
    condition = Condition.of({}) if original else Condition.parse(options.under)
    names = models.resolve(options.models)
    spec = request_of(options, names, [condition])
    truths = [true_class(image, options.true_class, names) for image in options.images]
    pictures = [
        replace(picture(options, image, list(spec.by_framing)), name=str(place))
        for place, image in enumerate(options.images)
    ]
    console.progress(f"loading {', '.join(names)} ...")
    rows = []
    for row in evaluate(spec, pictures):
        console.progress(f"{row.model} ...")
        rows.append(row)
    console.end_progress()
    predictions = []
    documents = []
    for row in sorted(rows, key=lambda row: int(row.image)):
        image = options.images[int(row.image)]
        label = label_index(row.model, truths[int(row.image)])
        top = zip(row.top5, row.top5_probabilities, strict=True)
        entry: dict[str, Any] = {
            "image": image,
            "model": row.model,
            "consistent": row.clean_top1 == row.top1,
            "correct": is_correct(label, row.top1),
            "top": [_prediction_entry(row.model, *prediction) for prediction in top],
        }
        judged = {**row.as_row(), "label": label}
        mark = "" if options.under is None and label is None else f": {verdict_of(judged).said}"
        classes = [(shown["name"], share(shown["probability"])) for shown in entry["top"]]
        title = f"{image}, {row.model}"
        documents.append(Titled(title + mark, Table(("Class", "Confidence"), classes)))
        after = []
        for trial in row.remedies:
            prediction = _prediction_entry(row.model, trial.top1, trial.probability)
            entry.setdefault("remedies", []).append(
                {
                    "remedy": trial.remedy,
                    "consistent": row.clean_top1 == trial.top1,
                    "correct": is_correct(label, trial.top1),
                    **prediction,
                }
            )
            verdict = verdict_of({**judged, "top1": trial.top1, "probability": trial.probability})
            confidence = share(trial.probability)
            after.append((parse(trial.remedy).label, prediction["name"], confidence, verdict.said))
        if after:
            head = ("Remedy", "Class", "Confidence", "Prediction")
            documents.append(Titled(f"{title}, with remedies", Table(head, after)))
        predictions.append(entry)
    if options.json:
        console.print_json({"predictions": predictions})
    else:
        console.say(printed_blocks(documents).strip())


def picture(options: argparse.Namespace, image: str, framings: Sequence[Framing]) -> Picture:
    """The image in each of ``framings``, which follow from --fit and --side."""
    from robustness.images.decoding import picture_file
    from robustness.images.framing import load_picture

    overrides = options.fit, options.side
    return load_picture(picture_file(image), framings, name=image, overrides=overrides)


def _prediction_entry(name: str, index: int, probability: float) -> dict[str, Any]:
    from robustness import models

    synsets = models.REGISTRY[name].labels().synsets
    return {
        "index": index,
        "synset": synsets[index] if synsets else None,
        "name": models.class_name(name, index),
        "probability": probability,
    }


def perturb_command(options: argparse.Namespace) -> None:
    """Write a perturbed image, as a model sees it, and say how to predict those very pixels."""
    from robustness import models
    from robustness.images.pixels import to_png
    from robustness.measure.request import framing
    from robustness.perturbations import REGISTRY, apply, check_seed
    from robustness.report.image import predict_written

    record = REGISTRY[options.perturbation]
    console.expect_png(options.to, "The perturbed image")
    name = None if options.model is None else models.REGISTRY[options.model].name
    shown = picture(options, options.image, [framing(options.fit, options.side, name)])
    seed = check_seed(options.seed)
    streams = [shown.stream]
    result = apply(record, shown.image[None], options.strength, seed=seed, digests=streams)[0]
    write_file(options.to, to_png(result))
    console.remark(f"{options.to}: {record.label}, {record.value_text(options.strength)}")
    console.remark(f"To predict these pixels: {predict_written(options.to, name, shown.side)}")


if TYPE_CHECKING:
    from robustness.measure.measurement import Measurement
    from robustness.measure.strength import Break
    from robustness.remedies import Chain


def add_strengths(parsers: Parsers) -> None:
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
    from robustness.images.pixels import to_png
    from robustness.measure.labels import true_class
    from robustness.measure.loop import evaluate, perturbed
    from robustness.measure.request import study_conditions
    from robustness.measure.rows import provenance_record
    from robustness.measure.strength import labelled
    from robustness.models import resolve
    from robustness.statistics.study import summarise

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
    from robustness.measure.condition import Condition
    from robustness.measure.labels import true_class
    from robustness.measure.loop import loader_with_remedies
    from robustness.measure.request import make_spec
    from robustness.measure.strength import Break, labelled, sweep
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
    from robustness.measure.strength import Break

    if not isinstance(event, Break):
        return -1.0
    return 2.0 if event.never else event.strength or 0.0


def _document(events: Sequence[Measurement | Break]) -> dict[str, Any]:
    from robustness.measure.strength import Break

    return {
        "points": [event.as_row() for event in events if not isinstance(event, Break)],
        "breaking": [event.as_row() for event in events if isinstance(event, Break)],
    }


if TYPE_CHECKING:
    from robustness.attacks import AttackSpec, Outcome
    from robustness.images.framing import Picture
    from robustness.measure.measurement import Measurement
    from robustness.measure.request import Request

REPORTS = 10
"""Most progress lines of an attack."""


def add_attack(parsers: Parsers) -> None:
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
    from robustness.attacks.image import Transfer, is_fooled
    from robustness.images.pixels import to_png
    from robustness.measure.labels import true_class
    from robustness.measure.request import framing
    from robustness.measure.strength import labelled

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
    from robustness.measure.condition import AttackCondition
    from robustness.measure.loop import measure_batch, picture_scores
    from robustness.measure.measurement import Batch
    from robustness.measure.request import framing, make_spec

    ready = [record.name for record in models.REGISTRY if models.state(record).ready]
    ready.sort(key=lambda name: name != outcome.model)
    names = [name for name in ready if framing(*original.overrides, name) == original.framing]
    if others := [name for name in ready if name not in names]:
        console.remark(f"not compared, as they see another version of the image: {some(others, 5)}")
    condition = AttackCondition.of_spec(outcome.spec)
    seed = outcome.spec.seed
    fit, side = original.overrides
    request = make_spec(names, [condition], seed=seed, fit=fit, side=side)
    clean = original.image[None]
    changed = outcome.image[None]
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
