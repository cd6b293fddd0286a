"""What several reports share: facts, cautions, rows, images, and commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

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
from robustness.report.blocks import Data, Shot, class_title, model
from robustness.report.tables import percent, verdict
from robustness.statistics import study

if TYPE_CHECKING:
    from robustness.runs import Run


def facts(
    spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]
) -> list[tuple[str, str]]:
    """The request, in short."""
    names = ", ".join(picture.name for picture in pictures[:5])
    if len(pictures) > 5:
        names += f" and {len(pictures) - 5} more"
    pairs = [("Images", names)]
    class_of_image = {
        row.image: class_title(row.model, row.label) for row in rows if row.label is not None
    }
    if class_of_image:
        pairs.append(("True class", ", ".join(dict.fromkeys(class_of_image.values()))))
    pairs += [
        ("Conditions", f"{len(spec.conditions):,}"),
        ("Measurements", f"{len(rows):,}"),
        ("Models", ", ".join(model(name) for name in spec.model_names)),
        ("Seed", str(spec.seed)),
    ]
    framings = preprocessing(spec)
    if framings:
        pairs.append(("Preprocessing", framings))
    return pairs


def shared_manifest(run: Run) -> dict[str, Any]:
    """The manifest of ``run`` to hand on: its source tells nothing of this machine, nor secrets."""
    values = run.manifest.as_dict()
    source = _shared_source(values["dataset"]["source"])
    return {**values, "dataset": {**values["dataset"], "source": source}}


def _shared_source(source: str) -> str:
    """The last part of an absolute path, and an address without its password."""
    for path in (PurePosixPath(source), PureWindowsPath(source)):
        if path.is_absolute():
            return path.name
    return re.sub(r"(?<=://)[^/@\s]*@", "", source)


def preprocessing(spec: Request) -> str:
    """How the models see the images, unless all take study images: then "".

    Such as "crop at 384 px", or that of each model, and what an epsilon in L2 is there.
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
            texts.append(f"{framing.text} for {', '.join(map(model, names))}")
    attacks = dict.fromkeys(attack for each in spec.conditions for attack in each.attacks)
    for attack in attacks:
        for framing in models_of_framing:
            side = framing.side
            epsilon = attack.at_side(side)
            if epsilon != attack.epsilon:
                texts.append(f"{attack.size_text} in L2 is {epsilon:.3g} at {side} px")
    return "; ".join(texts)


def own_preprocessing(specs: Iterable[Request]) -> list[str]:
    """A caution if the models of ``specs`` see images otherwise; [] if they do not."""
    framings = {framing for spec in specs for framing in spec.by_framing}
    if len(framings) < 2:
        return []
    return [
        f"{OWN_PREPROCESSING.capitalize()}: differences are those of model and preprocessing "
        "together. For the weights alone, evaluate with one fit and side for all models."
    ]


def cautions(rows: Sequence[Measurement]) -> list[str]:
    """What to know before reading the numbers: low confidence on an original, other classes."""
    several = len({row.image for row in rows}) > 1
    cases = []
    for image, name, probability in study.unsure(rows):
        where = f" on {visible(image)}" if several else ""
        cases.append(f"{model(name)} ({percent(probability)}{where})")
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
    """How many predictions on originals have low confidence; "" for none."""
    cases = study.unsure(rows)
    if not cases:
        return ""
    predictions = counted(len(cases), "prediction")
    return f"{predictions} on an original below {share(study.UNSURE, 0)} confidence"


def several_label_sets(names: Iterable[str]) -> list[str]:
    """A caution if the models ``names`` do not all have the same classes; [] if they do."""
    if len(models.by_labels(dict.fromkeys(names))) < 2:
        return []
    return [
        "Models are ranked only against those with the same classes: with fewer classes, a "
        "prediction changes less easily."
    ]


def trained_on(name: str, perturbations: Sequence[str]) -> str:
    """The caution on what a model was trained on, and on a benchmark's corruptions among it."""
    labels = []
    in_benchmark = False
    for perturbation in perturbations:
        if perturbation in PERTURBATIONS:
            labels.append(PERTURBATIONS[perturbation].label)
            in_benchmark = in_benchmark or bool(PERTURBATIONS[perturbation].imagenet_c)
        else:
            labels.append(perturbation)
    scores = ", and scores on ImageNet-C, which has such corruptions," if in_benchmark else ""
    return (
        f"{model(name)} was trained on {join_names(labels, len(labels))}: results under these"
        f"{scores} show nothing of unseen perturbations."
    )


def answer_line(row: Measurement) -> str:
    """One model's verdict and predictions for one image, on a line."""
    mark = verdict(row)
    before = f"{class_title(row.model, row.clean_top1)} {share(row.clean_probability)}"
    after = share(row.probability)
    if not row.consistent:
        after = f"{class_title(row.model, row.top1)} {after}"
    return f"{mark.sign} {model(row.model)}: {before} → {after} ({mark.text})"


def clean_shot(picture: Picture) -> Shot:
    """The original image."""
    return Shot(to_png(picture.image), "original", f"{picture.name}, original")


def perturbed_shot(picture: Picture, condition: Condition, seed: int) -> Shot:
    """The image under ``condition``."""
    image = perturbed(picture, [condition], seed)[0]
    return Shot(to_png(image), "perturbed", f"{picture.name} under {condition.described}")


def listed_metrics(rows: Sequence[Measurement]) -> list[Metric]:
    """The metrics in ``rows`` that belong into every table of models."""
    scores = rows[0].scores if rows else {}
    return [metric for metric in METRICS if TABLES in metric.views and metric.name in scores]


def data(rows: Sequence[Measurement], tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Data:
    """``rows`` as a report has them; their images are numbered in order of appearance."""
    digests = list(dict.fromkeys(row.image_digest for row in rows))
    number_of = {digest: number for number, digest in enumerate(digests)}
    numbers = [number_of[row.image_digest] for row in rows]
    return Data(lambda: iter([to_table(rows, numbers)]), tables, own_scores())


def command(spec: Request, name: str) -> str:
    """The start of the command line that repeats the request: the command ``name``, its models."""
    models_text = ",".join(spec.model_names)
    options_text = f"--models {models_text} --seed {spec.seed}{framing_options(spec)}"
    return f"python -m robustness {name} {options_text}"


def framing_options(spec: Request) -> str:
    """The options that give the models the framings of ``spec``, each after a space."""
    values = options(dict(spec.framings))
    return "".join(f" --{option} {value}" for option, value in values.items())
