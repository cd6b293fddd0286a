"""The command line: parse, make one call of the core, print, exit code.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
Every ``RobustnessError`` ends in its sentence on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness import __version__
from robustness.errors import ImageError, ParameterError, RobustnessError

if TYPE_CHECKING:
    from robustness.types import Measurement

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (0, 2 for bad input, 130 when interrupted)."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # the name of a file may not be encodable
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options.command(options)
        sys.stdout.flush()
    except RobustnessError as error:
        _end_progress()
        print(f"robustness: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        _end_progress()
        print("robustness: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m robustness",
        description="How robust are image classifiers to real-world perturbations?",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = _command(commands, "models", _models, "list the models and whether they are ready")
    actions = listing.add_subparsers(metavar="[download]")
    fetch = actions.add_parser("download", help="fetch the published weights of models")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="name of a model")
    fetch.set_defaults(command=_download)

    _command(commands, "perturbations", _perturbations, "list the perturbations")

    predict = _command(commands, "predict", _predict, "top-5 classes of pictures")
    _add_images(predict)
    _add_models(predict)
    _add_fit(predict)

    perturb = _command(commands, "perturb", _perturb, "write a perturbed study image", json=False)
    perturb.add_argument("image", metavar="IMAGE")
    perturb.add_argument("--perturbation", required=True, metavar="NAME")
    perturb.add_argument("--strength", required=True, type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    _add_seed(perturb)
    _add_fit(perturb)

    study = _command(
        commands, "study", _study, "consistency and feature similarity under the perturbations"
    )
    _add_images(study)
    _add_models(study)
    study.add_argument(
        "--perturbations", metavar="A,B", type=_names, help="default: the study's ten"
    )
    study.add_argument(
        "--strength", type=float, metavar="S", help="0 to 1; default: each one's study setting"
    )
    study.add_argument("--out", type=Path, metavar="DIR", help="also write tables and pictures")
    _add_seed(study)
    _add_fit(study)

    swept = _command(commands, "sweep", _sweep, "the strength at which each model's answer breaks")
    swept.add_argument("image", metavar="IMAGE", help="a picture file")
    which = swept.add_mutually_exclusive_group()
    which.add_argument("--perturbation", metavar="NAME", help="default: the study's ten")
    which.add_argument("--all", action="store_true", help="every perturbation there is")
    _add_models(swept)
    swept.add_argument(
        "--steps", type=int, default=21, metavar="N", help="strengths swept (default: 21)"
    )
    swept.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="seeds of a random one (default: 5)"
    )
    _add_seed(swept)
    _add_fit(swept)
    return parser


def _command(
    commands: Any, name: str, run: Any, help_: str, *, json: bool = True
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help_, description=help_[0].upper() + help_[1:] + "."
    )
    command.set_defaults(command=run)
    if json:
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return command


def _add_images(command: argparse.ArgumentParser) -> None:
    command.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file")


def _add_models(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--models",
        metavar="A,B",
        type=_names,
        help="default: the study's that are ready, else the offline ones",
    )


def _add_fit(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--fit",
        default="crop",
        metavar="crop|squash|letterbox",
        help="how a picture becomes square (default: crop)",
    )


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"expected names with commas between, got {text!r}")
    return names


def _models(options: argparse.Namespace) -> None:
    from robustness import models

    rows: list[dict[str, Any]] = []
    for record in models.REGISTRY:
        state = models.state(record)
        rows.append(
            {
                "name": record.name,
                "group": record.group,
                "parameters": record.parameters,
                "input_size": record.input_size,
                "ready": state.ready,
                "weights_bytes": record.weights.size,
                "reason": state.reason,
            }
        )
    if options.json:
        _print_json(rows)
        return
    for row in rows:
        state_text = "ready" if row["ready"] else row["reason"]
        millions = f"{row['parameters'] / 1e6:.1f} M"
        print(
            f"{row['name']:18}{row['group']:9}{millions:>8}{row['input_size']:5} px  {state_text}"
        )


def _download(options: argparse.Namespace) -> None:
    from robustness import models
    from robustness.models.download import download

    for name in options.names:
        models.REGISTRY[name]  # a typo in the last name must not come up after the first download
    for name in options.names:
        path = download(name, partial(_download_progress, name))
        _end_progress()
        print(f"{name}: {path}")


def _download_progress(name: str, done: int, total: int) -> None:
    if sys.stderr.isatty() or done * 10 // total != (done - 2**16) * 10 // total:  # a line a tenth
        _progress(f"{name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB ({done / total:.0%})")


def _perturbations(options: argparse.Namespace) -> None:
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
        _print_json(rows)
        return
    for record in REGISTRY:
        setting = (
            ""
            if record.study_strength is None
            else f"study: {record.study_strength:g} = {record.value_text(record.study_strength)}"
        )
        print(f"{record.name:22}{record.family:20}{record.parameter:30}{setting}")


def _predict(options: argparse.Namespace) -> None:
    from robustness import models
    from robustness.images import decode, fit, read_file
    from robustness.metrics.predictions import top_k

    names = models.resolve(options.models)
    decoded = [(image, decode(read_file(image), name=image)) for image in options.images]
    fitted = {
        side: [fit(picture, fit=options.fit, side=side) for _, picture in decoded]
        for side in {models.REGISTRY[name].input_size for name in names}
    }
    labels, synsets = models.class_names(), models.synsets()
    tops: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for name in names:
        side = models.REGISTRY[name].input_size
        _progress(f"{name} ...")
        classifier = models.load(name, side=side)
        for index, picture in enumerate(fitted[side]):
            probabilities = classifier(picture[None]).probabilities
            tops[index, name] = [
                {
                    "index": int(c),
                    "synset": synsets[c],
                    "name": labels[c],
                    "probability": float(probabilities[0, c]),
                }
                for c in top_k(probabilities)[0]
            ]
    _end_progress()
    predictions = [
        {"image": image, "model": name, "top": tops[index, name]}
        for index, image in enumerate(options.images)
        for name in names
    ]
    if options.json:
        _print_json({"predictions": predictions})
        return
    for entry in predictions:
        print(f"{entry['image']}  {entry['model']}")
        for answer in tops[options.images.index(entry["image"]), entry["model"]]:
            print(f"  {answer['probability']:7.1%}  {answer['name']}")


def _perturb(options: argparse.Namespace) -> None:
    from robustness.images import load_study_image, to_png
    from robustness.perturbations import REGISTRY, apply
    from robustness.types import check_seed

    record = REGISTRY[options.perturbation]
    if options.to.suffix.lower() != ".png":
        raise ParameterError(
            f"The perturbed picture is written losslessly: expected --to to end in .png, got "
            f"{str(options.to)!r}."
        )
    image = load_study_image(options.image, fit=options.fit)
    seed = check_seed(options.seed)
    result = apply(record, image[None], options.strength, seed=seed)[0]
    _write(options.to, to_png(result))
    print(f"{options.to}: {record.label}, {record.value_text(options.strength)}", file=sys.stderr)


def _study(options: argparse.Namespace) -> None:
    from robustness.evaluate import evaluate, make_spec, manifest, perturbed, summarise
    from robustness.images import load_study_image
    from robustness.types import Picture, study_conditions

    conditions = study_conditions(options.perturbations, options.strength)
    spec = make_spec(options.models, conditions, seed=options.seed, fit=options.fit)
    pictures = [
        Picture.of(image, load_study_image(image, fit=options.fit)) for image in options.images
    ]
    rows: list[Measurement] = []
    total = len(pictures) * len(spec.models) * len(conditions)
    _progress(f"loading {', '.join(spec.model_names)} ...")
    for row in evaluate(spec, pictures):
        rows.append(row)
        if len(rows) % len(conditions) == 0:
            _progress(f"{len(rows)} of {total} measurements, {row.image}, {row.model}")
    _end_progress()
    result: dict[str, Any] = {
        "manifest": manifest(spec, [(picture.name, picture.digest) for picture in pictures]),
        "summary": summarise(rows),
        "measurements": [row.as_row() for row in rows],
    }
    if options.out is not None:
        from robustness.images import to_png

        _write(options.out / "study.json", _json(result).encode())
        _write(options.out / "measurements.csv", _csv(rows).encode(errors="backslashreplace"))
        for number, picture in enumerate(pictures, start=1):
            folder = options.out / f"picture-{number}"
            _write(folder / "clean.png", to_png(picture.image))
            for condition, image in zip(
                conditions, perturbed(picture, conditions, spec.seed), strict=True
            ):
                _write(folder / f"{condition.name}.png", to_png(image))
    if options.json:
        _print_json(result)
    else:
        _print_ranking(result["summary"], len(pictures), len(conditions))


def _sweep(options: argparse.Namespace) -> None:
    from robustness.images import load_study_image
    from robustness.perturbations import REGISTRY
    from robustness.sweep import Break, most_fragile, sweep
    from robustness.types import Picture

    if options.perturbation:
        names = [REGISTRY[options.perturbation].name]
    else:
        names = [record.name for record in REGISTRY if options.all or record.in_study]
    picture = Picture.of(options.image, load_study_image(options.image, fit=options.fit))
    points: list[Measurement] = []
    breaks: list[Break] = []
    _progress("loading the models ...")
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
            _progress(f"{event.perturbation}, {event.model}: done")
        else:
            points.append(event)
    _end_progress()
    if options.json:
        _print_json(
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
    first = most_fragile(breaks)
    if first is not None:
        print(f"\nMost fragile: {first.model} under {first.perturbation}.")


def _print_ranking(summary: list[dict[str, Any]], pictures: int, conditions: int) -> None:
    print(f"{pictures} picture(s) x {conditions} perturbation(s)\n")
    print("rank  model               consistency  95 % interval   cosine  Euclidean")
    for rank, entry in enumerate(summary, start=1):
        interval = f"{entry['consistency_low']:.0%} to {entry['consistency_high']:.0%}"
        print(
            f"{rank:4}  {entry['model']:18}{entry['consistency']:13.0%}  {interval:14}"
            f"{entry['cosine']:8.3f}{entry['euclidean']:11.3f}"
        )
    if len(summary) > 1:
        unsettled = any(
            below["consistency_high"] >= above["consistency_low"]
            for above, below in itertools.pairwise(summary)
        )
        if unsettled:
            print(
                "\nIntervals of neighbouring models overlap: with this few images the order is "
                "not established."
            )


def _csv(rows: list[Measurement]) -> str:
    import pandas as pd

    return pd.json_normalize([row.as_row() for row in rows]).to_csv(index=False)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror or error}; choose another place."
        ) from error


def _json(document: Any) -> str:
    # ASCII alone: any name of a file then survives any encoding of stdout.
    return json.dumps(document, indent=2, allow_nan=False)


def _print_json(document: Any) -> None:
    _end_progress()
    print(_json(document))


_progress_shown = False


def _progress(text: str) -> None:
    """Says on stderr what is being done: on a terminal in one line that overwrites itself."""
    global _progress_shown
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        _progress_shown = True
    else:
        print(text, file=sys.stderr, flush=True)


def _end_progress() -> None:
    global _progress_shown
    if _progress_shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        _progress_shown = False
