"""Parts that several reports share: facts, cautions, rows, images, and commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustness import models
from robustness.base.text import counted, join_names, share, visible
from robustness.images.framing import Framing, Picture
from robustness.images.pixels import to_png
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.measure.measurement import Measurement
from robustness.measure.request import OWN_PREPROCESSING, Request, options
from robustness.measure.rows import own_scores, to_table
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics import Metric
from robustness.metrics.record import TABLES
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.report.blocks import Data, Shot, class_title, model_label
from robustness.report.tables import percent, verdict
from robustness.statistics import study

if TYPE_CHECKING:
    from robustness.runs import Run


_NAMED_IMAGES = 5
"""Images that the facts of a report name."""


def facts(
    spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]
) -> list[tuple[str, str]]:
    """Return the request ``spec`` in short, as pairs of a name and a value."""
    names = ", ".join(picture.name for picture in pictures[:_NAMED_IMAGES])
    if len(pictures) > _NAMED_IMAGES:
        names += f" and {len(pictures) - _NAMED_IMAGES} more"
    pairs = [("Images", names)]
    class_of_image = {}
    for row in rows:
        if row.label is not None:
            class_of_image[row.image] = class_title(row.model, row.label)
    if class_of_image:
        pairs.append(("True class", ", ".join(dict.fromkeys(class_of_image.values()))))
    pairs += [
        ("Conditions", f"{len(spec.conditions):,}"),
        ("Measurements", f"{len(rows):,}"),
        ("Models", ", ".join(model_label(name) for name in spec.model_names)),
        ("Seed", str(spec.seed)),
    ]
    framings = preprocessing(spec)
    if framings:
        pairs.append(("Preprocessing", framings))
    return pairs


def shared_manifest(run: Run) -> dict[str, Any]:
    """Return the manifest of ``run`` without paths of this machine and without passwords."""
    manifest = run.manifest.as_dict()
    dataset = manifest["dataset"]
    return {**manifest, "dataset": {**dataset, "source": _shared_source(dataset["source"])}}


def _shared_source(source: str) -> str:
    """Return the last part of an absolute path, or an address without its user and password."""
    # A run may come from another operating system.
    for path in (PurePosixPath(source), PureWindowsPath(source)):
        if path.is_absolute():
            return path.name
    return re.sub(r"(?<=://)[^/@\s]*@", "", source)


def preprocessing(spec: Request) -> str:
    """Return how the models see the images, such as "crop at 384 px"; "" for study images.

    If models see images in different ways, the text has that of each model. It also has each
    epsilon in L2 that is another at the side of a model than at that of study images.
    """
    models_of_framing = spec.by_framing
    if list(models_of_framing) == [Framing()]:
        return ""
    texts = []
    if len(models_of_framing) == 1:
        texts += [framing.text for framing in models_of_framing]
    else:
        texts.append(OWN_PREPROCESSING)
        for framing, names in models_of_framing.items():
            labels = [model_label(name) for name in names]
            texts.append(f"{framing.text} for {', '.join(labels)}")
    attacks = dict.fromkeys(attack for condition in spec.conditions for attack in condition.attacks)
    for attack in attacks:
        for framing in models_of_framing:
            epsilon = attack.at_side(framing.side)
            if epsilon != attack.epsilon:
                texts.append(f"{attack.size_text} in L2 is {epsilon:.3g} at {framing.side} px")
    return "; ".join(texts)


def own_preprocessing(specs: Iterable[Request]) -> list[str]:
    """Return a caution if the models of ``specs`` see images in different ways, else []."""
    framings = {framing for spec in specs for framing in spec.by_framing}
    if len(framings) < 2:
        return []
    return [
        f"{OWN_PREPROCESSING.capitalize()}: differences are those of model and preprocessing "
        "together. For the weights alone, evaluate with one fit and side for all models."
    ]


def cautions(rows: Sequence[Measurement]) -> list[str]:
    """Return the sentences to read before the figures of ``rows``.

    They are on low confidence on an original, on models with different classes, and on what models
    were trained on.
    """
    several_images = len({row.image for row in rows}) > 1
    cases = []
    for image, name, probability in study.unsure(rows):
        where = f" on {visible(image)}" if several_images else ""
        cases.append(f"{model_label(name)} ({percent(probability)}{where})")
    texts = []
    if cases:
        texts.append(f"Low confidence on the original, treat with caution: {', '.join(cases)}.")
    names = list(dict.fromkeys(row.model for row in rows))
    texts += several_label_sets(names)
    for name in names:
        if name in models.REGISTRY and models.REGISTRY[name].trained_on:
            texts.append(trained_on(name, models.REGISTRY[name].trained_on))
    return texts


def low_confidence(rows: Sequence[Measurement]) -> str:
    """Return the clause on how many predictions on originals have low confidence, "" for none."""
    cases = study.unsure(rows)
    if not cases:
        return ""
    predictions = counted(len(cases), "prediction")
    return f"{predictions} on an original below {share(study.UNSURE, 0)} confidence"


def several_label_sets(names: Iterable[str]) -> list[str]:
    """Return a caution if the models ``names`` do not all have the same classes, else []."""
    if len(models.by_labels(dict.fromkeys(names))) < 2:
        return []
    return [
        "Models are ranked only against those with the same classes: with fewer classes, a "
        "prediction changes less easily."
    ]


def trained_on(name: str, perturbations: Sequence[str]) -> str:
    """Return the caution on a model that was trained on ``perturbations``.

    It covers scores on ImageNet-C if one of the perturbations is a corruption of that benchmark.
    """
    labels = []
    in_benchmark = False
    for perturbation in perturbations:
        # A perturbation of another installation has no record here.
        if perturbation not in PERTURBATIONS:
            labels.append(perturbation)
            continue
        record = PERTURBATIONS[perturbation]
        labels.append(record.label)
        if record.imagenet_c:
            in_benchmark = True
    scores = ", and scores on ImageNet-C, which has such corruptions," if in_benchmark else ""
    return (
        f"{model_label(name)} was trained on {join_names(labels, len(labels))}: results under these"
        f"{scores} show nothing of unseen perturbations."
    )


def answer_line(row: Measurement) -> str:
    """Return the verdict and the predictions of one model for one image, on a line."""
    mark = verdict(row)
    before = f"{class_title(row.model, row.clean_top1)} {share(row.clean_probability)}"
    after = share(row.probability)
    if not row.consistent:
        after = f"{class_title(row.model, row.top1)} {after}"
    return f"{mark.sign} {model_label(row.model)}: {before} → {after} ({mark.text})"


def clean_shot(picture: Picture) -> Shot:
    """Return the original image with its caption."""
    return Shot(to_png(picture.image), "original", f"{picture.name}, original")


def perturbed_shot(picture: Picture, condition: Condition, seed: int) -> Shot:
    """Return the image under ``condition`` with its caption."""
    image = perturbed(picture, [condition], seed)[0]
    return Shot(to_png(image), "perturbed", f"{picture.name} under {condition.described}")


def listed_metrics(rows: Sequence[Measurement]) -> list[Metric]:
    """Return the metrics of ``rows`` that are shown in every table of models."""
    scores = rows[0].scores if rows else {}
    return [metric for metric in METRICS if TABLES in metric.views and metric.name in scores]


def data(rows: Sequence[Measurement], tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Data:
    """Return ``rows`` and ``tables`` as the data of a report.

    Images are numbered in order of appearance.
    """
    digests = list(dict.fromkeys(row.image_digest for row in rows))
    number_of_digest = {digest: number for number, digest in enumerate(digests)}
    image_numbers = [number_of_digest[row.image_digest] for row in rows]

    def read() -> Iterator[pa.Table]:
        yield to_table(rows, image_numbers)

    return Data(read, tables, own_scores())


def command(spec: Request, name: str) -> str:
    """Return the command ``name`` with the options that repeat ``spec``: models, seed, framings.

    ``name`` may include arguments, as in "sweep IMAGE".
    """
    models_text = ",".join(spec.model_names)
    options_text = f"--models {models_text} --seed {spec.seed}{framing_options(spec)}"
    return f"python -m robustness {name} {options_text}"


def framing_options(spec: Request) -> str:
    """Return the options that give the models the framings of ``spec``, each after a space."""
    texts = []
    for option, value in options(dict(spec.framings)).items():
        texts.append(f" --{option} {value}")
    return "".join(texts)
