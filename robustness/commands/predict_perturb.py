"""The commands ``perturbations``, ``predict`` and ``perturb``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.files import write_file
from robustness.base.text import share
from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared

_FIELDS = (
    *("name", "label", "family", "risk", "search", "graded", "random", "parameter", "unit"),
    *("study_strength", "monotone", "imagenet_c", "severity_strengths", "source"),
)
"""Fields of a perturbation in ``perturbations --json``."""


if TYPE_CHECKING:
    from robustness.evaluation.condition import Condition
    from robustness.pictures.fitting import Framing
    from robustness.pictures.picture import Picture


def add(parsers: Parsers) -> None:
    """Add ``perturbations``, ``predict`` and ``perturb``."""
    listing = add_command(
        parsers, "perturbations", perturbations_command, asks_models=False, asks_plugins=True
    )
    listing.add_argument("words", nargs="*", metavar="WORD", help="only matching perturbations")
    add_shared(listing, "--json")

    shared = ("--json", "images", "--models", "--seed", "--fit")
    predict = add_command(parsers, "predict", predict_command, *shared)
    predict.add_argument(
        "--under",
        metavar="CONDITION",
        help="predict the study image under a condition such as fog=0.6+rotation=0.25; "
        "`clean` is the original",
    )
    add_shared(predict, "--true-class", "--remedies", "--side")

    perturb = add_command(parsers, "perturb", perturb_command, asks_plugins=True)
    add_shared(perturb, "image")
    perturb.add_argument(
        "--model", metavar="NAME", help="write what this model sees (default: the study image)"
    )
    perturb.add_argument("--perturbation", required=True, metavar="NAME")
    perturb.add_argument("--strength", required=True, type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    add_shared(perturb, "--seed", "--fit", "--side")


def perturbations_command(options: argparse.Namespace) -> None:
    """List the perturbations, or those that match words such as "too dark", best match first."""
    from robustness.perturbations.search import find

    matches = find(" ".join(options.words))
    if not matches.records:
        raise ParameterError(matches.no_match)
    if options.json:
        documents = [
            {name: getattr(record, name) for name in _FIELDS} for record in matches.records
        ]
        console.print_json(documents)
        return
    for record in matches.records:
        at, setting = record.study_strength, ""
        if at is not None:
            setting = f"study: {at:g} = {record.value_text(at)}"
        text = f"{record.name:22}{record.label:36}{record.family:26}{record.parameter:35}{setting}"
        console.say(text.rstrip())


def predict_command(options: argparse.Namespace) -> None:
    """Top-5 classes of images, and whether the prediction is correct or changed.

    Each model sees the images as it is described, unless --fit or --side say otherwise.
    """
    from robustness import models
    from robustness.charts.prediction_marks import verdict_of
    from robustness.charts.tables import Table
    from robustness.evaluation.correctness import is_correct, label_index, true_class
    from robustness.perturbations import check_seed
    from robustness.remedies import parse
    from robustness.report import Titled, printed_blocks

    check_seed(options.seed)
    condition, names = _condition(options.under), models.resolve(options.models)
    truths = [true_class(image, options.true_class, names) for image in options.images]
    answers = _answers(options, names) if condition is None else _under(condition, options, names)
    predictions, documents = [], []
    for (place, name), answer in sorted(answers, key=lambda row: row[0][0]):
        label = label_index(name, truths[place])
        entry = {
            "image": options.images[place],
            "model": name,
            "consistent": answer["clean_top1"] == answer["top1"],
            "correct": is_correct(label, answer["top1"]),
            "top": [_prediction_entry(name, *row) for row in answer["top"]],
        }
        if remedied := answer["remedies"]:
            entry["remedies"] = [
                {
                    "remedy": remedy,
                    "consistent": answer["clean_top1"] == top1,
                    "correct": is_correct(label, top1),
                    **_prediction_entry(name, top1, probability),
                }
                for remedy, top1, probability in remedied
            ]
        judged = condition is not None or label is not None
        mark = f": {verdict_of({**answer, 'label': label}).said}" if judged else ""
        top = [(row["name"], share(row["probability"])) for row in entry["top"]]
        predictions.append(entry)
        documents.append(
            Titled(f"{entry['image']}, {name}{mark}", Table(("Class", "Confidence"), top))
        )
        if remedied:
            after = [
                (
                    parse(row["remedy"]).label,
                    row["name"],
                    share(row["probability"]),
                    verdict_of(
                        {
                            **answer,
                            "label": label,
                            "top1": row["index"],
                            "probability": row["probability"],
                        }
                    ).said,
                )
                for row in entry["remedies"]
            ]
            head = ("Remedy", "Class", "Confidence", "Prediction")
            documents.append(Titled(f"{entry['image']}, {name}, with remedies", Table(head, after)))
    console.end_progress()
    if options.json:
        console.print_json({"predictions": predictions})
        return
    console.say(printed_blocks(documents).strip())


Answers = Iterator[tuple[tuple[int, str], Mapping[str, Any]]]
"""By image position and model: top-1 on the original and now, (class, probability) of the ``top``,
and (remedy, class, probability) of ``remedies``."""


def _answers(options: argparse.Namespace, names: Sequence[str]) -> Answers:
    """Each model's prediction for each image."""
    from robustness import models
    from robustness.evaluation.framings import by_framing
    from robustness.evaluation.remedy_trials import loader_with_remedies
    from robustness.metrics.predictions import top_k
    from robustness.remedies import parse_all

    chains = parse_all(options.remedies)
    groups = by_framing(options.fit, options.side, names)
    pictures = [picture(options, image, list(groups)) for image in options.images]
    for own, alike in groups.items():
        for name in alike:
            console.progress(f"{name} ...")
            for place, shown in enumerate(pictures):
                image = shown.at(own).image[None]
                probabilities = models.load(name, side=own.side)(image).probabilities
                top = [(int(c), float(probabilities[0, c])) for c in top_k(probabilities)[0]]
                (top1, probability), *_ = top
                values = dict.fromkeys(("clean_top1", "top1"), top1)
                sure = dict.fromkeys(("clean_probability", "probability"), probability)
                remedied = []
                for chain in chains:
                    after = loader_with_remedies(chain, alike)(name, side=own.side)(image)
                    best = int(after.probabilities[0].argmax())
                    remedied.append((chain.id, best, float(after.probabilities[0, best])))
                yield (place, name), {**values, **sure, "top": top, "remedies": remedied}


def _under(condition: Condition, options: argparse.Namespace, names: Sequence[str]) -> Answers:
    """The prediction of each model for each image under ``condition``."""
    from robustness.evaluation.loop import evaluate
    from robustness.evaluation.request import make_spec

    how = {"seed": options.seed, "fit": options.fit, "side": options.side}
    spec = make_spec(names, [condition], remedies=options.remedies, **how)
    pictures = [
        replace(picture(options, image, list(spec.by_framing)), name=str(place))
        for place, image in enumerate(options.images)
    ]
    for row in evaluate(spec, pictures):
        console.progress(f"{row.model} ...")
        top = list(zip(row.top5, row.top5_probabilities, strict=True))
        remedied = [(remedy.remedy, remedy.top1, remedy.probability) for remedy in row.remedies]
        yield (int(row.image), row.model), {**row.as_row(), "top": top, "remedies": remedied}


def picture(options: argparse.Namespace, image: str, framings: Sequence[Framing]) -> Picture:
    """The image in each of ``framings``, which follow from --fit and --side."""
    from robustness.pictures.picture import load_picture
    from robustness.pictures.samples import picture_file

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


def _condition(text: str | None) -> Condition | None:
    from robustness.evaluation.condition import CLEAN, Condition

    if text is None:
        return None
    return Condition.of({}) if text == CLEAN else Condition.parse(text)


def perturb_command(options: argparse.Namespace) -> None:
    """Write a perturbed image, as a model sees it."""
    from robustness import models
    from robustness.evaluation.framings import framing
    from robustness.perturbations import REGISTRY, apply, check_seed
    from robustness.pictures.eight_bits import to_png

    record = REGISTRY[options.perturbation]
    console.expect_png(options.to, "The perturbed image")
    name = None if options.model is None else models.REGISTRY[options.model].name
    shown = picture(options, options.image, [framing(options.fit, options.side, name)])
    seed, streams = check_seed(options.seed), [shown.stream]
    result = apply(record, shown.image[None], options.strength, seed=seed, digests=streams)[0]
    write_file(options.to, to_png(result))
    console.remark(f"{options.to}: {record.label}, {record.value_text(options.strength)}")
