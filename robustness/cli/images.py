"""The commands on one image or a few, of which nothing is kept unless the user asks for files.

``predict`` and ``perturb`` show what models and perturbations do, ``study`` and ``sweep`` measure
models under perturbations, ``break`` searches a domain, and ``attack`` attacks a model.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ImageError, ParameterError, RobustnessError
from robustness.base.files import expect_writable, make_folder, write_file
from robustness.base.text import counted, csv_cell, share, some
from robustness.cli import console
from robustness.cli.console import Parsers, add_command, add_shared, names, request_of
from robustness.measure import STEPS

if TYPE_CHECKING:
    from robustness.attacks import AttackSpec, Outcome
    from robustness.images.framing import Framing, Picture
    from robustness.measure.condition import Condition
    from robustness.measure.measurement import Measurement
    from robustness.measure.request import Request
    from robustness.measure.strength import Break
    from robustness.models.variant import Variant
    from robustness.remedies import Chain
    from robustness.report import Titled

REPORTS = 10
"""Most progress lines of an attack."""


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
    change = perturb.add_mutually_exclusive_group(required=True)
    change.add_argument("--perturbation", metavar="NAME", help="with --strength")
    change.add_argument(
        "--under", metavar="CONDITION", help="a composition such as fog=0.2+gaussian_noise=0.1"
    )
    perturb.add_argument("--strength", type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    add_shared(perturb, "--seed", "--fit", "--side")


def predict_command(options: argparse.Namespace) -> int:
    """Top-5 classes of images, and whether the prediction is correct or changed.

    Each model sees the images as it is described, unless --fit or --side say otherwise. Exit status
    2 if an image cannot be read; the others are predicted all the same.
    """
    from robustness.measure.condition import CLEAN, Condition
    from robustness.measure.labels import label_index, true_class
    from robustness.measure.loop import evaluate
    from robustness.report import printed_blocks

    if options.under is None or options.under == CLEAN:
        condition = Condition.of({})
    else:
        condition = Condition.parse(options.under)
    spec = request_of(options, options.models, [condition])
    model_names = spec.model_names
    true_classes = [true_class(image, options.true_class, model_names) for image in options.images]
    framings = list(spec.by_framing)
    pictures = []
    for number, image in enumerate(options.images):
        try:
            # By number, as the same image may be given twice.
            pictures.append(replace(picture(options, image, framings), name=str(number)))
        except ImageError as error:
            console.remark(f"robustness: {error.with_hint}")
    if len(pictures) < len(options.images):
        status = console.EXIT_BAD_INPUT
    else:
        status = 0
    if not pictures:
        return status

    console.progress(f"loading {', '.join(model_names)} ...")
    rows = []
    for row in evaluate(spec, pictures):
        console.progress(f"{row.model} ...")
        rows.append(row)
    console.end_progress()
    rows.sort(key=lambda row: int(row.image))

    documents: list[dict[str, Any]] = []
    tables: list[Titled] = []
    row_of = {(row.image, row.model): row for row in rows}
    for row in rows:
        if row.base:
            continue
        of_variants = {
            variant: row_of[row.image, variant.name]
            for variant in spec.variants
            if row.model in variant.models
        }
        image = options.images[int(row.image)]
        label = label_index(row.model, true_classes[int(row.image)])
        documents.append(_prediction_document(image, row, label, of_variants))
        # Without a condition and a true class there is nothing to judge.
        with_verdict = options.under is not None or label is not None
        tables.append(_prediction_table(image, row, label, with_verdict=with_verdict))
        if of_variants:
            tables.append(_variant_table(image, row, label, of_variants))
    if options.json:
        console.print_json({"predictions": documents})
    else:
        console.say(printed_blocks(tables).strip())
    return status


def picture(options: argparse.Namespace, image: str, framings: Sequence[Framing]) -> Picture:
    """Return the image in each of ``framings``, which follow from --fit and --side."""
    from robustness.images.decoding import picture_file
    from robustness.images.framing import load_picture

    overrides = (options.fit, options.side)
    return load_picture(picture_file(image), framings, name=image, overrides=overrides)


def _prediction_document(
    image: str,
    row: Measurement,
    label: int | None,
    of_variants: Mapping[Variant, Measurement],
) -> dict[str, Any]:
    from robustness.measure.labels import is_correct

    document: dict[str, Any] = {
        "image": image,
        "model": row.model,
        "consistent": row.clean_top1 == row.top1,
        "correct": is_correct(label, row.top1),
        "top": [
            _class_document(row.model, index, probability)
            for index, probability in zip(row.top5, row.top5_probabilities, strict=True)
        ],
    }
    if of_variants:
        document["remedies"] = [
            {
                "remedy": variant.chain.id,
                "consistent": row.clean_top1 == behind.top1,
                "correct": is_correct(label, behind.top1),
                **_class_document(row.model, behind.top1, behind.probability),
            }
            for variant, behind in of_variants.items()
        ]
    return document


def _class_document(model_name: str, index: int, probability: float) -> dict[str, Any]:
    from robustness import models

    synsets = models.REGISTRY[model_name].labels().synsets
    return {
        "index": index,
        "synset": synsets[index] if synsets else None,
        "name": models.class_name(model_name, index),
        "probability": probability,
    }


def _prediction_table(
    image: str, row: Measurement, label: int | None, *, with_verdict: bool
) -> Titled:
    from robustness import models
    from robustness.report import Titled
    from robustness.report.tables import Table, verdict_of

    caption = f"{image}, {row.model}"
    if with_verdict:
        caption += f": {verdict_of({**row.as_row(), 'label': label}).said}"
    cells = [
        (models.class_name(row.model, index), share(probability))
        for index, probability in zip(row.top5, row.top5_probabilities, strict=True)
    ]
    return Titled(caption, Table(("Class", "Confidence"), cells))


def _variant_table(
    image: str,
    row: Measurement,
    label: int | None,
    of_variants: Mapping[Variant, Measurement],
) -> Titled:
    """Return a table of the predictions of the variants of a model."""
    from robustness import models
    from robustness.report import Titled
    from robustness.report.tables import Table, verdict_of

    judged = {**row.as_row(), "label": label}
    cells = []
    for variant, behind in of_variants.items():
        verdict = verdict_of({**judged, "top1": behind.top1, "probability": behind.probability})
        cells.append(
            (
                variant.chain.label,
                models.class_name(row.model, behind.top1),
                share(behind.probability),
                verdict.said,
            )
        )
    head = ("Remedy", "Class", "Confidence", "Prediction")
    return Titled(f"{image}, {row.model}, with remedies", Table(head, cells))


def perturb_command(options: argparse.Namespace) -> None:
    """Write a perturbed image, as a model sees it, and say how to predict those very pixels."""
    from robustness import models
    from robustness.images.pixels import to_png
    from robustness.measure.loop import perturbed
    from robustness.measure.request import framing
    from robustness.perturbations import check_seed
    from robustness.report.image import predict_written

    condition = _condition_to_write(options)
    console.expect_png(options.to, "The perturbed image")
    model_name = None
    if options.model is not None:
        model_name = models.REGISTRY[options.model].name
    original = picture(options, options.image, [framing(options.fit, options.side, model_name)])
    (perturbed_image,) = perturbed(original, [condition], check_seed(options.seed))
    write_file(options.to, to_png(perturbed_image))
    console.remark(f"{options.to}: {condition.described}")
    command = predict_written(options.to, model_name, original.side)
    console.remark(f"To predict these pixels: {command}")


def _condition_to_write(options: argparse.Namespace) -> Condition:
    """Return the perturbations that ``perturb`` is asked for; raises for an attack."""
    from robustness.measure.condition import Condition

    if options.under is None:
        if options.strength is None:
            raise ParameterError(f"Expected --strength beside {options.perturbation}, got none.")
        return Condition.of({options.perturbation: options.strength})
    if options.strength is not None:
        raise ParameterError("Expected the strengths within --under, got --strength as well.")
    condition = Condition.parse(options.under)
    if condition.needs_model or condition.in_files:
        raise ParameterError(
            f"Expected perturbations such as fog=0.2+gaussian_noise=0.1, got {condition.id}."
        )
    return condition


def add_strengths(parsers: Parsers) -> None:
    """Add ``study`` and ``sweep``."""
    study = add_command(parsers, "study", study_command, "--json", "images", "--models")
    study.add_argument(
        "--perturbations", metavar="A,B", type=names, help="default: the study's ten"
    )
    study.add_argument(
        "--strength", type=float, metavar="S", help="0 to 1 (default: the study setting of each)"
    )
    study.add_argument(
        "--as-published",
        action="store_true",
        help="the published study on one image: its four networks, a bundled model in place of "
        "each without weights, its ten perturbations, and its tables",
    )
    study.add_argument("--out", type=Path, metavar="DIR", help="also write tables and images")
    add_shared(study, "--true-class", "--seed", "--fit", "--side", "--remedies")

    sweep = add_command(parsers, "sweep", sweep_command, "--json", "image")
    choice = sweep.add_mutually_exclusive_group()
    choice.add_argument("--perturbation", metavar="NAME", help="default: the study's ten")
    choice.add_argument("--all", action="store_true", help="all perturbations")
    add_shared(sweep, "--models")
    sweep.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        metavar="N",
        help=f"number of strengths (default: {STEPS})",
    )
    add_shared(sweep, "--true-class", "--seed", "--fit", "--side", "--remedies")


def study_command(options: argparse.Namespace) -> None:
    """Consistency and feature similarity under the perturbations."""
    from robustness.measure.labels import true_class
    from robustness.measure.loop import evaluate
    from robustness.measure.request import study_conditions
    from robustness.measure.rows import provenance_record
    from robustness.measure.strength import labelled
    from robustness.statistics.study import network_entries, networks, summarise

    conditions = study_conditions(options.perturbations, options.strength)
    if options.as_published:
        _expect_nothing_else(options)
        study_networks = networks()
        options.models = [network.model for network in study_networks]
    spec = request_of(options, options.models, conditions)
    model_names = spec.model_names
    framings = list(spec.by_framing)
    pictures = [picture(options, image, framings) for image in options.images]
    if options.out is not None:
        make_folder(options.out)  # now rather than after all the work
    true_classes = {
        original.name: true_class(original.name, options.true_class, model_names)
        for original in pictures
    }
    rows: list[Measurement] = []
    total = len(pictures) * (len(model_names) + len(spec.variants)) * len(conditions)
    console.progress(f"loading {', '.join(model_names)} ...")
    for row in evaluate(spec, pictures):
        rows.append(labelled(row, true_classes[row.image]))
        if len(rows) % len(conditions) == 0:
            console.progress(
                f"{len(rows)} of {counted(total, 'measurement')}, {row.image}, {row.model}"
            )
    console.end_progress()
    sources = [(original.name, original.source) for original in pictures]
    document: dict[str, Any] = {
        "manifest": provenance_record(spec, sources),
        "summary": summarise([row for row in rows if not row.base]),
        "measurements": [row.as_row() for row in rows],
    }
    if options.as_published:
        document["networks"] = network_entries(study_networks, document["summary"])
    if options.out is not None:
        _write_tables(document, options.out)
        _write_images(pictures, conditions, options.seed, options.out)
    if options.json:
        console.print_json(document)
        return
    from robustness import report

    if options.as_published:
        content = report.of_study(spec, pictures[0], rows, study_networks)
    else:
        content = report.of_map(spec, pictures, rows)
    console.say(report.printed(content))


def _expect_nothing_else(options: argparse.Namespace) -> None:
    """Raise ``ParameterError`` for what --as-published decides, and for several images."""
    for name in ("models", "perturbations", "strength", "remedies"):
        if getattr(options, name) not in (None, ()):
            raise ParameterError(
                f"Expected --as-published without --{name}, got both; the study fixes its "
                "networks and perturbations."
            )
    if len(options.images) > 1:
        raise ParameterError(
            f"Expected one image with --as-published, got {len(options.images)}: the study has one."
        )


def _write_tables(document: dict[str, Any], out: Path) -> None:
    """Write ``study.json`` and ``measurements.csv`` into the folder ``out``."""
    import pandas as pd

    def cell(value: Any) -> Any:
        return csv_cell(value) if isinstance(value, str) else value

    table = pd.json_normalize(document["measurements"]).map(cell)
    write_file(out / "study.json", console.as_json(document).encode())
    write_file(out / "measurements.csv", table.to_csv(index=False).encode())


def _write_images(
    pictures: Sequence[Picture], conditions: Sequence[Condition], seed: int, out: Path
) -> None:
    """Write every picture, clean and under ``conditions``, into folders of their own in ``out``.

    Where models see a picture in several framings, each has a folder.
    """
    from robustness.images.pixels import to_png
    from robustness.measure.loop import perturbed

    for picture_number, original in enumerate(pictures, start=1):
        for version_number, version in enumerate(original.versions, start=1):
            folder = out / f"picture-{picture_number}"
            if version_number > 1:
                suffix = f"-{version_number}-{version.framing.fit}-{version.side}"
                folder = folder.with_name(folder.name + suffix)
            write_file(folder / "clean.png", to_png(version.image))
            images = perturbed(version, conditions, seed)
            for condition, image in zip(conditions, images, strict=True):
                write_file(folder / f"{condition.name}.png", to_png(image))


def sweep_command(options: argparse.Namespace) -> None:
    """The strength at which each model's prediction changes or becomes incorrect."""
    from robustness import models, report
    from robustness.measure.condition import Condition
    from robustness.measure.labels import true_class
    from robustness.measure.request import make_spec
    from robustness.measure.strength import Break, labelled, sweep
    from robustness.models.variant import loader
    from robustness.perturbations import REGISTRY
    from robustness.remedies import parse_all

    if options.perturbation:
        perturbation_names = [REGISTRY[options.perturbation].name]
    else:
        perturbation_names = [record.name for record in REGISTRY if options.all or record.in_study]
    conditions = [Condition.of({name: 1.0}) for name in perturbation_names]
    spec = make_spec(
        options.models, conditions, seed=options.seed, fit=options.fit, side=options.side
    )
    model_names = spec.model_names
    known_class = true_class(options.image, options.true_class, model_names)
    original = picture(options, options.image, list(spec.by_framing))
    names_by_chain = {chain: list(model_names) for chain in parse_all(options.remedies)}
    for variant in spec.variants:
        names_with_chain = names_by_chain.setdefault(variant.chain, [])
        names_with_chain += [name for name in variant.models if name not in names_with_chain]
    # Before any work, as this refuses a remedy that the models cannot use.
    loaders = {chain: loader(chain, names) for chain, names in names_by_chain.items()}

    def run_sweep(chain: Chain | None) -> list[Measurement | Break]:
        suffix = "" if chain is None else f" with {chain.id}"
        load = models.load if chain is None else loaders[chain]
        swept_names = model_names if chain is None else names_by_chain[chain]
        console.progress(f"loading the models{suffix} ...")
        events: list[Measurement | Break] = []
        for event in sweep(
            original,
            perturbation_names,
            swept_names,
            load=load,
            steps=options.steps,
            seed=options.seed,
        ):
            events.append(labelled(event, known_class))
            if isinstance(event, Break):
                console.progress(f"{event.perturbation}, {event.model}{suffix}: done")
        return events

    events_without_remedy = run_sweep(None)
    events_by_chain = {chain: run_sweep(chain) for chain in loaders}
    console.end_progress()
    if options.json:
        console.print_json(_sweep_document(events_without_remedy, events_by_chain))
        return
    events_without_remedy.sort(key=_points_first)
    content = report.of_map(
        spec.with_remedies(()), [original], swept=events_without_remedy, remedied=events_by_chain
    )
    console.say(report.printed(content))


def _points_first(event: Measurement | Break) -> float:
    """Return a key that sorts points first, then breaks from the smallest strength to never.

    The sweep itself gives the breaks by perturbation.
    """
    from robustness.measure.strength import Break

    if not isinstance(event, Break):
        return -1.0
    if event.never:
        return 2.0
    return event.strength or 0.0


def _sweep_document(
    events_without_remedy: Sequence[Measurement | Break],
    events_by_chain: Mapping[Chain, Sequence[Measurement | Break]],
) -> dict[str, Any]:
    document: dict[str, Any] = _events_document(events_without_remedy)
    if events_by_chain:
        document["remedies"] = [
            {"remedy": chain.id, **_events_document(events)}
            for chain, events in events_by_chain.items()
        ]
    return document


def _events_document(events: Sequence[Measurement | Break]) -> dict[str, Any]:
    from robustness.measure.strength import Break

    return {
        "points": [event.as_row() for event in events if not isinstance(event, Break)],
        "breaking": [event.as_row() for event in events if isinstance(event, Break)],
    }


def add_break(parsers: Parsers) -> None:
    """Add ``break``."""
    breaking = add_command(parsers, "break", break_command, "--json", "image")
    breaking.add_argument(
        "--domain",
        required=True,
        type=Path,
        metavar="FILE.toml|PRESET",
        help="the domain to search in, or outdoor-camera, phone or scanner",
    )
    add_shared(breaking, "--models", "--true-class", "--seed", "--fit", "--side")
    breaking.add_argument(
        "--to", type=Path, metavar="FILE", help="also write a report, as `report` does"
    )


def break_command(options: argparse.Namespace) -> None:
    """The smallest composition within a domain that changes each model's prediction.

    Its size is the sum of its strengths. Lowering any of its perturbations to the beginning of its
    range keeps the prediction. The domain is one as `evaluate --domain` takes it.
    """
    from robustness import models, report
    from robustness.matching.domain import open_domain
    from robustness.measure.labels import true_class
    from robustness.measure.request import domain_spec
    from robustness.measure.search import Progress, SmallestBreak, smallest_breaks

    if options.to is not None:
        report.format_of(options.to)  # now rather than after all the work
    domain = open_domain(options.domain)
    model_names = models.resolve(options.models)
    spec = domain_spec(domain, model_names, seed=options.seed, fit=options.fit, side=options.side)
    known_class = true_class(options.image, options.true_class, model_names)
    options.fit = options.fit or domain.fit
    options.side = options.side or domain.side
    original = picture(options, options.image, list(spec.by_framing))
    console.progress(f"loading {', '.join(model_names)} ...")
    breaks: list[SmallestBreak] = []
    progress = Progress(len(model_names))
    for event in smallest_breaks(original, domain, model_names, seed=spec.seed):
        if isinstance(event, SmallestBreak):
            breaks.append(event.labelled(known_class))
        else:
            progress.note(event)
            console.phase("searching", progress.done, progress.total)
    console.end_progress()
    answer = report.of_breaks(domain, original, breaks)
    written = []
    if options.to is not None:
        written = report.write(answer, options.to)
    if options.json:
        document = {
            "domain": {**domain.as_dict(), "digest": domain.digest},
            "breaks": [found.as_row() for found in breaks],
        }
        console.print_json(document)
        return
    console.say(report.printed(answer))
    for path in written:
        console.say(str(path))


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
    from robustness.images.pixels import to_png
    from robustness.measure.labels import true_class
    from robustness.measure.request import framing
    from robustness.measure.strength import labelled

    if options.to is not None:
        console.expect_png(options.to, "The adversarial image")
        expect_writable(options.to)
    (model_name,) = models.resolve([options.model])
    spec = _spec(options, model_name)
    known_class = true_class(options.image, options.true_class, [model_name])
    original = picture(options, options.image, [framing(options.fit, options.side, model_name)])
    console.progress(f"loading {model_name} ...")
    steps_per_report = max(1, spec.total_steps // REPORTS)
    for event in craft(original, models.load(model_name, side=original.side), spec):
        if isinstance(event, Outcome):
            outcome = event  # the last event
        elif event.done % steps_per_report == 0:
            label = REGISTRY[event.attack].label
            console.progress(f"{label}: step {event.done} of {event.total}")
    if options.to is not None:
        write_file(options.to, to_png(outcome.image))
    request, measurements = _predict_attacked(original, outcome)
    rows = [labelled(row, known_class) for row in measurements]
    console.end_progress()
    if options.json:
        console.print_json(_attack_document(outcome, rows))
    else:
        from robustness import report

        console.say(report.printed(report.of_attack(request, original, outcome, rows)))


def _attack_document(outcome: Outcome, rows: Sequence[Measurement]) -> dict[str, Any]:
    """Return the document of an attack; the first of ``rows`` is that of the attacked model."""
    from robustness.attacks.image import Transfer, is_fooled

    transfers = []
    for row in rows:
        if row.model == outcome.model:
            continue
        success = is_fooled(outcome.spec, outcome.model, row.model, row.top1, row.clean_top1)
        transfer = Transfer(
            source=outcome.model,
            model=row.model,
            success=success,
            clean_top1=row.clean_top1,
            clean_probability=row.clean_probability,
            top1=row.top1,
            probability=row.probability,
            retained_probability=row.retained_probability,
            label=row.label,
        )
        transfers.append(transfer.as_row())
    return {**outcome.as_row(), "label": rows[0].label, "transfer": transfers}


def _spec(options: argparse.Namespace, model_name: str) -> AttackSpec:
    from robustness import models
    from robustness.attacks import AttackSpec, parse_epsilon

    epsilon = None
    if options.epsilon is not None:
        epsilon = parse_epsilon(options.epsilon)
    target = None
    if options.target is not None:
        target = models.REGISTRY[model_name].labels().index(options.target)
    return AttackSpec.of(
        options.attack,
        epsilon=epsilon,
        norm=options.norm,
        steps=options.steps,
        restarts=options.restarts,
        seed=options.seed,
        target=target,
    )


def _predict_attacked(original: Picture, outcome: Outcome) -> tuple[Request, list[Measurement]]:
    """Measure the attacked image on all models with weights that see the image alike.

    Returns their request and one measurement a model, the attacked model first. Models that see
    the image otherwise, and those that fail, are left out and named on stderr.
    """
    import numpy as np

    from robustness import models
    from robustness.measure.condition import AttackCondition
    from robustness.measure.loop import measure_batch, picture_scores
    from robustness.measure.measurement import Batch
    from robustness.measure.request import framing, make_spec

    fit, side = original.overrides
    ready = [record.name for record in models.REGISTRY if models.state(record).ready]
    ready.sort(key=lambda name: name != outcome.model)  # the attacked model first
    compared = []
    with_other_framing = []
    for name in ready:
        if framing(fit, side, name) == original.framing:
            compared.append(name)
        else:
            with_other_framing.append(name)
    if with_other_framing:
        console.remark(
            f"not compared, as they see another version of the image: {some(with_other_framing, 5)}"
        )
    condition = AttackCondition.of_spec(outcome.spec)
    request = make_spec(compared, [condition], seed=outcome.spec.seed, fit=fit, side=side)
    clean_images = original.image[None]
    attacked_images = outcome.image[None]
    batch = Batch(
        [original],
        np.stack([clean_images, attacked_images], axis=1),
        [picture_scores(clean_images, attacked_images)],
    )
    rows: list[Measurement] = []
    for name in compared:
        console.progress(f"predicting with {name} ...")
        try:
            ((row,),) = measure_batch(request, batch, models.load(name, side=original.side))
        except RobustnessError as error:
            console.progress(f"left out: {error}")
        else:
            rows.append(row)
    return request, rows
