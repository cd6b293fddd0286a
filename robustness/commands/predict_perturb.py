"""The commands ``predict`` and ``perturb``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.files_and_locks import write_file
from robustness.base.text import share
from robustness.commands import console
from robustness.commands.subcommands_and_options import Parsers, add_command, add_shared, request_of

if TYPE_CHECKING:
    from robustness.pictures.framed_picture import Picture
    from robustness.pictures.framing_and_study_image import Framing


def add(parsers: Parsers) -> None:
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
    from robustness.charts.ranking_and_condition_tables import Table
    from robustness.charts.verdict_signs_and_words import verdict_of
    from robustness.evaluation.labels_and_correctness import is_correct, label_index, true_class
    from robustness.evaluation.loop import evaluate
    from robustness.evaluation.perturbation_and_attack_conditions import CLEAN, Condition
    from robustness.remedies import parse
    from robustness.report import Titled, printed_blocks

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
    predictions, documents = [], []
    for row in sorted(rows, key=lambda row: int(row.image)):
        image, label = (
            options.images[int(row.image)],
            label_index(row.model, truths[int(row.image)]),
        )
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
    from robustness.pictures.framed_picture import load_picture
    from robustness.pictures.sample_files import picture_file

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
    from robustness.evaluation.framing_of_models import framing
    from robustness.perturbations import REGISTRY, apply, check_seed
    from robustness.pictures.eight_bits import to_png
    from robustness.report.copy_as_link_or_code import predict_written

    record = REGISTRY[options.perturbation]
    console.expect_png(options.to, "The perturbed image")
    name = None if options.model is None else models.REGISTRY[options.model].name
    shown = picture(options, options.image, [framing(options.fit, options.side, name)])
    seed, streams = check_seed(options.seed), [shown.stream]
    result = apply(record, shown.image[None], options.strength, seed=seed, digests=streams)[0]
    write_file(options.to, to_png(result))
    console.remark(f"{options.to}: {record.label}, {record.value_text(options.strength)}")
    console.remark(f"To predict these pixels: {predict_written(options.to, name, shown.side)}")
