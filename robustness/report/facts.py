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
    more = f" and {len(pictures) - 5} more" if len(pictures) > 5 else ""
    labels = {row.image: class_title(row.model, row.label) for row in rows if row.label is not None}
    classes = ", ".join(dict.fromkeys(labels.values()))
    return [
        ("Images", f"{names}{more}"),
        *([("True class", classes)] if classes else []),
        ("Conditions", f"{len(spec.conditions):,}"),
        ("Measurements", f"{len(rows):,}"),
        ("Models", ", ".join(model(name) for name in spec.model_names)),
        ("Seed", str(spec.seed)),
        *([("Preprocessing", text)] if (text := preprocessing(spec)) else []),
    ]


def shared_manifest(run: Run) -> dict[str, Any]:
    """The manifest of ``run`` without what is only of this machine, or secret, in its source."""
    values = run.manifest.as_dict()
    return {
        **values,
        "dataset": {**values["dataset"], "source": _source(values["dataset"]["source"])},
    }


def _source(text: str) -> str:
    """The last part of an absolute path, and an address without its password."""
    for path in PurePosixPath(text), PureWindowsPath(text):
        if path.is_absolute():
            return path.name
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def preprocessing(spec: Request) -> str:
    """How the models see the images, unless all take study images: then "".

    Such as "crop at 384 px", or that of each model, and what an epsilon in L2 is there.
    """
    groups = spec.by_framing
    if list(groups) == [Framing()]:
        return ""
    several = len(groups) > 1
    texts = [
        f"{own.text} for {', '.join(map(model, names))}" if several else own.text
        for own, names in groups.items()
    ]
    sizes = [
        f"{attack.size_text} in L2 is {attack.at_side(own.side):.3g} at {own.side} px"
        for attack in dict.fromkeys(a for condition in spec.conditions for a in condition.attacks)
        for own in groups
        if attack.at_side(own.side) != attack.epsilon
    ]
    return "; ".join([*([OWN_PREPROCESSING] if several else []), *texts, *sizes])


def own_preprocessing(specs: Iterable[Request]) -> list[str]:
    """A caution if the models of ``specs`` see images otherwise; [] if they do not."""
    if len({own for spec in specs for own in spec.by_framing}) < 2:
        return []
    return [
        f"{OWN_PREPROCESSING.capitalize()}: differences are those of model and preprocessing "
        "together. For the weights alone, evaluate with one fit and side for all models."
    ]


def cautions(rows: Sequence[Measurement]) -> list[str]:
    """What to know before reading the numbers: low confidence on an original, other classes."""
    several = len({row.image for row in rows}) > 1
    cases = [
        f"{model(name)} ({percent(p)}{f' on {visible(image)}' if several else ''})"
        for image, name, p in study.unsure(rows)
    ]
    unsure = f"Low confidence on the original, treat with caution: {', '.join(cases)}."
    names = dict.fromkeys(row.model for row in rows)
    records = [models.REGISTRY[name] for name in names if name in models.REGISTRY]
    return [
        *([unsure] if cases else []),
        *several_label_sets(row.model for row in rows),
        *(trained_on(record.name, record.trained_on) for record in records if record.trained_on),
    ]


def low_confidence(rows: Sequence[Measurement]) -> str:
    """How many predictions on originals have low confidence; "" for none."""
    if not (cases := study.unsure(rows)):
        return ""
    what = counted(len(cases), "prediction")
    return f"{what} on an original below {share(study.UNSURE, 0)} confidence"


def several_label_sets(names: Iterable[str]) -> list[str]:
    """A caution if the models ``names`` do not all have the same classes; [] if they do."""
    if len(models.by_labels(dict.fromkeys(names))) < 2:
        return []
    return [
        "Models are ranked only against those with the same classes: with fewer classes, a "
        "prediction changes less easily."
    ]


def trained_on(name: str, perturbations: Sequence[str]) -> str:
    """What a model was trained on, and whether a benchmark's corruptions are among it."""
    labels = [PERTURBATIONS[p].label if p in PERTURBATIONS else p for p in perturbations]
    text = f"{model(name)} was trained on {join_names(labels, len(labels))}"
    benchmark = any(p in PERTURBATIONS and PERTURBATIONS[p].imagenet_c for p in perturbations)
    scores = ", and scores on ImageNet-C, which has such corruptions," if benchmark else ""
    return f"{text}: results under these{scores} show nothing of unseen perturbations."


def answer_line(row: Measurement) -> str:
    """One model's verdict and predictions for one image, on a line."""
    before, after = (class_title(row.model, index) for index in (row.clean_top1, row.top1))
    sentence = verdict(row)
    now = share(row.probability) if row.consistent else f"{after} {share(row.probability)}"
    return (
        f"{sentence.sign} {model(row.model)}: {before} {share(row.clean_probability)} → {now} "
        f"({sentence.text})"
    )


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
    order = {digest: at for at, digest in enumerate(dict.fromkeys(r.image_digest for r in rows))}
    positions = [order[row.image_digest] for row in rows]
    return Data(lambda: iter([to_table(rows, positions)]), tables, own_scores())


def command(spec: Request, what: str) -> str:
    """The start of the command line that repeats the request."""
    names = ",".join(spec.model_names)
    return f"python -m robustness {what} --models {names} --seed {spec.seed}{framing_options(spec)}"


def framing_options(spec: Request) -> str:
    """The options that give the models the framings of ``spec``, each after a space."""
    values = options(dict(spec.framings))
    return "".join(f" --{option} {value}" for option, value in values.items())
