"""The commands on pictures: list the perturbations, ask models, write a perturbed picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared

_TOLD = (
    *("name", "label", "family", "risk", "search", "graded", "random", "parameter", "unit"),
    *("study_strength", "monotone", "imagenet_c", "severity_strengths", "source"),
)
"""What ``perturbations --json`` tells of a record."""


if TYPE_CHECKING:
    from robustness.evaluation.condition import Condition


def add(parsers: Parsers) -> None:
    """Adds ``perturbations``, ``predict`` and ``perturb``."""
    listing = add_command(parsers, "perturbations", perturbations_command, asks_models=False)
    listing.add_argument("words", nargs="*", metavar="WORD", help="only those found by these words")
    add_shared(listing, "--json")

    shared = ("--json", "images", "--models", "--seed", "--fit")
    predict = add_command(parsers, "predict", predict_command, *shared)
    predict.add_argument(
        "--under",
        metavar="CONDITION",
        help="ask about the study image, as everything else does, under such as "
        "fog=0.6+rotation=0.25, or clean",
    )

    perturb = add_command(parsers, "perturb", perturb_command, asks_models=False)
    add_shared(perturb, "image")
    perturb.add_argument("--perturbation", required=True, metavar="NAME")
    perturb.add_argument("--strength", required=True, type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    add_shared(perturb, "--seed", "--fit")


def perturbations_command(options: argparse.Namespace) -> None:
    """List the perturbations, or those that words such as "too dark" find, the best match first."""
    from robustness.perturbations.search import find

    found = find(" ".join(options.words))
    if not found.records:
        raise ParameterError(found.no_match)
    if options.json:
        told = [{name: getattr(record, name) for name in _TOLD} for record in found.records]
        console.print_json(told)
        return
    for record in found.records:
        at, setting = record.study_strength, ""
        if at is not None:
            setting = f"study: {at:g} = {record.value_text(at)}"
        console.say(f"{record.name:22}{record.family:20}{record.parameter:30}{setting}")


def predict_command(options: argparse.Namespace) -> None:
    """Top-5 classes of pictures.

    Each model is asked at its own published input size; about a picture of 224 x 224 pixels, which
    is a study image already, at that size, as everything else asks it. So it is with --under.
    """
    from robustness import models
    from robustness.metrics.predictions import top_k
    from robustness.perturbations import check_seed
    from robustness.pictures.decoding import decode, read_file
    from robustness.pictures.fitting import STUDY_SIDE, check_fit, fit
    from robustness.pictures.picture import Picture
    from robustness.pictures.samples import picture_file

    check_fit(options.fit)
    seed, condition = check_seed(options.seed), _condition(options.under)
    names = models.resolve(options.models)
    decoded = [decode(read_file(picture_file(image)), name=image) for image in options.images]
    fitted: dict[tuple[int, int], Any] = {}
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for name in names:
        console.progress(f"{name} ...")
        labels = models.REGISTRY[name].labels()
        for index, picture in enumerate(decoded):
            is_study_image = picture.size == (STUDY_SIDE, STUDY_SIDE) or condition is not None
            side = STUDY_SIDE if is_study_image else models.REGISTRY[name].input_size
            if (index, side) not in fitted:
                fitted[index, side] = fit(picture, fit=options.fit, side=side)
            image, classifier = fitted[index, side], models.load(name, side=side)
            if condition is not None:
                image = condition.against(Picture.of("", image), seed, classifier)
            probabilities = classifier(image[None]).probabilities
            top = [
                {
                    "index": int(c),
                    "synset": labels.synsets[c] if labels.synsets else None,
                    "name": models.class_name(name, int(c)),
                    "probability": float(probabilities[0, c]),
                }
                for c in top_k(probabilities)[0]
            ]
            found[index, name] = {"image": options.images[index], "model": name, "top": top}
    console.end_progress()
    predictions = [found[index, name] for index in range(len(decoded)) for name in names]
    if options.json:
        console.print_json({"predictions": predictions})
        return
    for entry in predictions:
        console.say(f"{entry['image']}  {entry['model']}")
        for answer in entry["top"]:
            console.say(f"  {answer['probability']:7.1%}  {answer['name']}")


def _condition(text: str | None) -> Condition | None:
    from robustness.evaluation.condition import CLEAN, Condition

    if text is None:
        return None
    return Condition.of({}) if text == CLEAN else Condition.parse(text)


def perturb_command(options: argparse.Namespace) -> None:
    """Write a perturbed study image."""
    from robustness.perturbations import REGISTRY, apply, check_seed
    from robustness.pictures.fitting import load_study_image, to_png
    from robustness.pictures.samples import picture_file

    record = REGISTRY[options.perturbation]
    console.expect_png(options.to, "The perturbed picture")
    image = load_study_image(picture_file(options.image), fit=options.fit)
    seed = check_seed(options.seed)
    result = apply(record, image[None], options.strength, seed=seed)[0]
    console.write_file(options.to, to_png(result))
    console.remark(f"{options.to}: {record.label}, {record.value_text(options.strength)}")
