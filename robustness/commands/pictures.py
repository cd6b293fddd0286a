"""The commands on pictures: list the perturbations, ask models, write a perturbed picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError
from robustness.commands.console import (
    end_progress,
    print_json,
    progress,
    remark,
    say,
    write_file,
)
from robustness.commands.options import Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Adds ``perturbations``, ``predict`` and ``perturb``."""
    add_command(
        parsers,
        "perturbations",
        perturbations_command,
        "list the perturbations",
        "--json",
        asks_models=False,
    )

    add_command(
        parsers,
        "predict",
        predict_command,
        "top-5 classes of pictures",
        *("--json", "images", "--models", "--fit"),
    )

    perturb = add_command(
        parsers,
        "perturb",
        perturb_command,
        "write a perturbed study image",
        asks_models=False,
    )
    perturb.add_argument("image", metavar="IMAGE")
    perturb.add_argument("--perturbation", required=True, metavar="NAME")
    perturb.add_argument("--strength", required=True, type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    add_shared(perturb, "--seed", "--fit")


def perturbations_command(options: argparse.Namespace) -> None:
    """Lists the perturbations."""
    from robustness.perturbations import REGISTRY

    rows = [
        {
            "name": record.name,
            "label": record.label,
            "family": record.family,
            "graded": record.graded,
            "random": record.random,
            "parameter": record.parameter,
            "unit": record.unit,
            "study_strength": record.study_strength,
            "monotone": record.monotone,
            "imagenet_c": record.imagenet_c,
            "severity_strengths": list(record.severity_strengths),
            "source": record.source,
        }
        for record in REGISTRY
    ]
    if options.json:
        print_json(rows)
        return
    for record in REGISTRY:
        setting = (
            ""
            if record.study_strength is None
            else f"study: {record.study_strength:g} = {record.value_text(record.study_strength)}"
        )
        say(f"{record.name:22}{record.family:20}{record.parameter:30}{setting}")


def predict_command(options: argparse.Namespace) -> None:
    """Top-5 classes of pictures, each model at its own published input size."""
    from robustness import models
    from robustness.metrics.predictions import top_k
    from robustness.pictures.decoding import decode, read_file
    from robustness.pictures.fitting import fit

    names = models.resolve(options.models)
    decoded = [(image, decode(read_file(image), name=image)) for image in options.images]
    fitted = {
        side: [fit(picture, fit=options.fit, side=side) for _, picture in decoded]
        for side in {models.REGISTRY[name].input_size for name in names}
    }
    tops: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for name in names:
        side = models.REGISTRY[name].input_size
        progress(f"{name} ...")
        classifier = models.load(name, side=side)
        labels = models.REGISTRY[name].labels()
        for index, picture in enumerate(fitted[side]):
            probabilities = classifier(picture[None]).probabilities
            tops[index, name] = [
                {
                    "index": int(c),
                    "synset": labels.synsets[c] if labels.synsets else None,
                    "name": models.class_name(name, int(c)),
                    "probability": float(probabilities[0, c]),
                }
                for c in top_k(probabilities)[0]
            ]
    end_progress()
    predictions = [
        {"image": image, "model": name, "top": tops[index, name]}
        for index, image in enumerate(options.images)
        for name in names
    ]
    if options.json:
        print_json({"predictions": predictions})
        return
    for entry in predictions:
        say(f"{entry['image']}  {entry['model']}")
        for answer in tops[options.images.index(entry["image"]), entry["model"]]:
            say(f"  {answer['probability']:7.1%}  {answer['name']}")


def perturb_command(options: argparse.Namespace) -> None:
    """Writes a perturbed study image."""
    from robustness.perturbations import REGISTRY, apply, check_seed
    from robustness.pictures.fitting import load_study_image, to_png

    record = REGISTRY[options.perturbation]
    if options.to.suffix.lower() != ".png":
        raise ParameterError(
            f"The perturbed picture is written losslessly: expected --to to end in .png, got "
            f"{str(options.to)!r}."
        )
    image = load_study_image(options.image, fit=options.fit)
    seed = check_seed(options.seed)
    result = apply(record, image[None], options.strength, seed=seed)[0]
    write_file(options.to, to_png(result))
    remark(f"{options.to}: {record.label}, {record.value_text(options.strength)}")
