"""The commands: each takes its parsed options, makes one call of the core, and prints.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.commands.console import (
    as_json,
    end_progress,
    make_folder,
    print_json,
    progress,
    write_file,
)

if TYPE_CHECKING:
    from robustness.evaluation.measurement import Measurement
    from robustness.evaluation.sweep import Break


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
        print(f"{record.name:22}{record.family:20}{record.parameter:30}{setting}")


def predict_command(options: argparse.Namespace) -> None:
    """Top-5 classes of pictures, each model at its own published input size."""
    from robustness import models
    from robustness.metrics.predictions import top_k
    from robustness.pictures.fitting import decode, fit, read_file

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
        print(f"{entry['image']}  {entry['model']}")
        for answer in tops[options.images.index(entry["image"]), entry["model"]]:
            print(f"  {answer['probability']:7.1%}  {answer['name']}")


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
    print(f"{options.to}: {record.label}, {record.value_text(options.strength)}", file=sys.stderr)


def study_command(options: argparse.Namespace) -> None:
    """Consistency and feature similarity under the perturbations."""
    from robustness.evaluation.loop import evaluate, perturbed
    from robustness.evaluation.provenance import manifest
    from robustness.evaluation.spec import make_spec
    from robustness.evaluation.suites import study_conditions
    from robustness.pictures.fitting import load_study_image
    from robustness.pictures.picture import Picture
    from robustness.statistics.scorecard import summarise

    conditions = study_conditions(options.perturbations, options.strength)
    spec = make_spec(options.models, conditions, seed=options.seed, fit=options.fit)
    pictures = [
        Picture.of(image, load_study_image(image, fit=options.fit)) for image in options.images
    ]
    if options.out is not None:
        make_folder(options.out)  # now rather than after all the work
    rows: list[Measurement] = []
    total = len(pictures) * len(spec.models) * len(conditions)
    progress(f"loading {', '.join(spec.model_names)} ...")
    for row in evaluate(spec, pictures):
        rows.append(row)
        if len(rows) % len(conditions) == 0:
            progress(f"{len(rows)} of {total} measurements, {row.image}, {row.model}")
    end_progress()
    result: dict[str, Any] = {
        "manifest": manifest(spec, [(picture.name, picture.digest) for picture in pictures]),
        "summary": summarise(rows),
        "measurements": [row.as_row() for row in rows],
    }
    if options.out is not None:
        from robustness.pictures.fitting import to_png

        write_file(options.out / "study.json", as_json(result).encode())
        write_file(options.out / "measurements.csv", _csv(rows).encode(errors="backslashreplace"))
        for number, picture in enumerate(pictures, start=1):
            folder = options.out / f"picture-{number}"
            write_file(folder / "clean.png", to_png(picture.image))
            for condition, image in zip(
                conditions, perturbed(picture, conditions, spec.seed), strict=True
            ):
                write_file(folder / f"{condition.name}.png", to_png(image))
    if options.json:
        print_json(result)
    else:
        _print_ranking(result["summary"], len(pictures), len(conditions))


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
    progress("loading the models ...")
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
            progress(f"{event.perturbation}, {event.model}: done")
        else:
            points.append(event)
    end_progress()
    if options.json:
        print_json(
            {
                "points": [row.as_row() for row in points],
                "breaking": [entry.as_row() for entry in breaks],
            }
        )
        return
    print("perturbation          model               breaks at  physical value")
    for entry in sorted(breaks, key=lambda b: 2.0 if b.strength is None else b.strength):
        at, value = "never", ""
        if entry.strength is not None:
            at = f"{entry.strength:.3f}"
            value = REGISTRY[entry.perturbation].value_text(entry.strength)
        print(f"{entry.perturbation:22}{entry.model:20}{at:>9}  {value}")
    groups = by_labels(dict.fromkeys(entry.model for entry in breaks))
    for labels, members in groups:
        first = most_fragile([entry for entry in breaks if entry.model in members])
        if first is not None:
            among = f" of the models of {labels.title}" if len(groups) > 1 else ""
            print(f"\nMost fragile{among}: {first.model} under {first.perturbation}.")


def _print_ranking(summary: list[dict[str, Any]], pictures: int, conditions: int) -> None:
    from robustness.statistics import scorecard

    print(f"{pictures} picture(s) x {conditions} perturbation(s)\n")
    print("rank  model               consistency  95 % interval   cosine  Euclidean")
    rankings = scorecard.rankings(summary)
    for ranking in rankings:
        if len(rankings) > 1:
            print(f"models of {ranking[0]['label_set']}:")
        for rank, entry in enumerate(ranking, start=1):
            interval = f"{entry['consistency_low']:.0%} to {entry['consistency_high']:.0%}"
            print(
                f"{rank:4}  {entry['model']:18}{entry['consistency']:13.0%}  {interval:14}"
                f"{entry['cosine']:8.3f}{entry['euclidean']:11.3f}"
            )
    if len(rankings) > 1:
        print("\nModels are ranked only against those that tell the same classes apart.")
    if scorecard.unsettled_pairs(summary):
        print(
            "\nIntervals of neighbouring models overlap: with this few images the order is not "
            "established."
        )


def _csv(rows: list[Measurement]) -> str:
    import pandas as pd

    return pd.json_normalize([row.as_row() for row in rows]).to_csv(index=False)
