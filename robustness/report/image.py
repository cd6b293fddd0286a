"""Reports of one image under one condition or after an attack, and texts that reproduce them.

The texts are a link, a command, Python and TOML.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import models
from robustness.attacks import NORMS, Control, Outcome, parse_epsilon
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks.image import Masking, Smallest, Transfer
from robustness.base.errors import ParameterError
from robustness.base.text import counted, share
from robustness.images.decoding import SAMPLE
from robustness.images.framing import Picture
from robustness.images.pixels import LEVELS, to_png
from robustness.measure.condition import CLEAN, Condition
from robustness.measure.labels import is_correct, sample_class
from robustness.measure.loop import perturbed
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, options
from robustness.measure.rows import provenance_record
from robustness.metrics import Metric
from robustness.metrics.intervals import rate_interval
from robustness.metrics.scores import RESCALED, amplified_difference
from robustness.models import REGISTRY as MODELS
from robustness.perturbations import REGISTRY
from robustness.report import charts, methods, style
from robustness.report import facts as report_facts
from robustness.report.blocks import (
    Case,
    Cases,
    Chart,
    Columns,
    Report,
    Section,
    Shot,
    Text,
    Titled,
    class_title,
    model,
    sentence,
)
from robustness.report.facts import (
    answer_line,
    cautions,
    clean_shot,
    data,
    facts,
    framing_options,
    low_confidence,
)
from robustness.report.tables import Column, Table, tally, verdict, verdict_of

GAIN = 3
"""By which the difference between the two images is amplified."""


def of_live(
    spec: Request,
    picture: Picture,
    rows: Sequence[Measurement],
    remedied: Titled | None = None,
) -> Report:
    """The report of the ``rows`` that the only condition of ``spec`` gave on ``picture``.

    ``remedied`` are the predictions with a remedy.
    """
    condition = spec.conditions[0]
    tables = [Titled("Predictions", verdicts(rows))]
    if remedied is not None:
        tables.append(remedied)

    def images() -> Iterator[Case]:
        changed = perturbed(picture, [condition], spec.seed)[0]
        alt = f"{picture.name} under {condition.described}"
        return image_case(picture, changed, "perturbed", alt, GAIN, rows)

    basis = f"one image under one condition ({_visible_change(rows[0])})"
    return Report(
        title=f"{picture.name} under {condition.described}",
        answers=[
            (
                "Does the perturbation change the prediction?",
                sentence(f"{condition.described}: {tally(rows)}"),
            ),
            ("Which prediction changes most on this image?", _largest_fall(rows)),
            ("What is this based on?", sentence(basis, low_confidence(rows))),
        ],
        facts=facts(spec, [picture], rows),
        cautions=cautions(rows),
        sections=[
            Section("Image and predictions", [Cases("", images), *tables]),
            Section("Top-5 classes", [top5(row) for row in rows]),
            features(rows),
        ],
        brief=tables,
        methods=methods.blocks(spec.conditions, []),
        limits=methods.limits(),
        manifest=provenance_record(spec, [(picture.name, picture.digest)]),
        replay="Reproduce it in the view Live with this image, strengths, models and seed.",
        data=data(rows, {}),
    )


def _largest_fall(rows: Sequence[Measurement]) -> str:
    """The sentence on the largest loss of confidence, of a changed prediction if there is one."""
    changed = [row for row in rows if not row.consistent]
    row = min(changed or rows, key=lambda row: row.retained_probability - row.clean_probability)
    before = share(row.clean_probability)
    after = share(row.retained_probability)
    text = f"{model(row.model)}: {class_title(row.model, row.clean_top1)} {before} → {after}"
    if changed:
        text += f", now {class_title(row.model, row.top1)} {share(row.probability)}"
    return sentence(text, names=[row.model])


def _visible_change(row: Measurement) -> str:
    ssim = row.scores["ssim"]
    psnr = row.scores["psnr"]
    # The PSNR of equal images is infinite.
    return f"SSIM {ssim:.3f}, PSNR {psnr:.1f} dB" if np.isfinite(psnr) else "no visible change"


def image_case(
    picture: Picture,
    changed: NDArray[np.float32],
    caption: str,
    alt: str,
    gain: int,
    rows: Sequence[Measurement],
    *,
    signed: bool = False,
) -> Iterator[Case]:
    """The image, the ``changed`` one (S, S, 3), and their difference times ``gain``.

    ``caption``, ``alt`` and ``rows`` belong to the changed one; ``signed`` is as for
    ``amplified_difference``.
    """
    difference = amplified_difference(picture.image, changed, gain, signed=signed)
    unchanged = "grey" if signed else "black"
    shots = [
        clean_shot(picture),
        Shot(to_png(changed), caption, alt),
        Shot(
            to_png(difference),
            f"difference x {gain}",
            f"Difference of both images; {unchanged} is unchanged",
        ),
    ]
    yield Case(picture.name, shots, None, [answer_line(row) for row in rows])


def verdicts(rows: Sequence[Measurement]) -> Table:
    """The verdict on each prediction, and the predictions."""
    columns: list[Column] = [
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        (
            "Original",
            lambda row: f"{class_title(row.model, row.clean_top1)} {share(row.clean_probability)}",
        ),
        ("Perturbed", lambda row: f"{class_title(row.model, row.top1)} {share(row.probability)}"),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("Cosine", lambda row: f"{row.scores['cosine']:.3f}"),
        ("Cosine, rescaled", lambda row: f"{row.scores['cosine_rescaled']:.3f}"),
    ]
    for metric in report_facts.listed_metrics(rows):
        columns.append((metric.column_title, partial(_score_text, metric=metric)))
    return Table.of(rows, columns)


def _score_text(row: Measurement, metric: Metric) -> str:
    return f"{row.scores[metric.name]:{metric.form}}"


def top5(row: Measurement) -> Titled:
    """The five most likely classes before and after, of one model."""
    body = []
    for clean_class, clean_probability, after_class, after_probability in zip(
        row.clean_top5,
        row.clean_top5_probabilities,
        row.top5,
        row.top5_probabilities,
        strict=True,
    ):
        cells = (
            class_title(row.model, clean_class),
            share(clean_probability),
            class_title(row.model, after_class),
            share(after_probability),
        )
        body.append(cells)
    head = ("Original", "Confidence", "Perturbed", "Confidence")
    return Titled(model(row.model), Table(head, body))


def similarity(rows: Sequence[Measurement]) -> Chart:
    """The chart of cosine and Euclidean similarity, for every model."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    columns = [column for name_and_rescaled in RESCALED.items() for column in name_and_rescaled]
    return Chart(
        "Feature similarity",
        charts.similarity_bars(frame),
        style.describe(frame, columns),
        "Similarity of the two images to the network: 1 is identical, 0 is as different as "
        "unrelated images. Unscaled values in parentheses.",
    )


def layers(rows: Sequence[Measurement]) -> Chart:
    """The chart of the layers, for every model."""
    return stages(charts.stage_frame(rows), "cosine")


def features(rows: Sequence[Measurement]) -> Section:
    """All charts of features."""
    return Section("Features", [Columns([[similarity(rows)], [layers(rows)]])])


def stages(frame: pd.DataFrame, metric: str) -> Chart:
    """Where the features diverge; ``frame`` is of ``stage_frame``."""
    note = (
        "From the first layers to the embedding: 1 = unchanged, 0 = as similar as unrelated images."
    )
    reading_maps = [
        f"{model(name)}'s"
        for name in dict.fromkeys(frame["model"])
        if name in MODELS and MODELS[name].head_reads_map
    ]
    if reading_maps:
        note += f" {' and '.join(reading_maps)} head reads its last stage before this averaging."
    named_stages = frame.assign(model=frame["model"] + " " + frame["stage"])
    return Chart(
        "Where the features diverge",
        charts.stage_lines(frame, metric),
        style.describe(named_stages, [metric, RESCALED[metric]]),
        note,
    )


INVISIBLE = 0.01
"""Largest change of a pixel, a share of its range, that is called invisible: contrasts below about
1 % are below the threshold of sight."""


def of_attack(
    spec: Request,
    picture: Picture,
    outcome: Outcome,
    rows: Sequence[Measurement],
    transfer: Sequence[Transfer] = (),
    smallest: Sequence[Smallest | Masking] = (),
) -> Report:
    """The report of ``outcome``, an attack on ``picture``.

    ``rows`` are the measurements of the attacked image by all models of ``spec``, whose only
    condition is the attack. ``transfer`` is the same attack on each model, judged by all, and
    ``smallest`` what ``epsilon_section`` takes.
    """
    attack = outcome.spec
    table = Titled("Predictions", verdicts(rows))
    aim = "any other class" if attack.target is None else title(outcome, attack.target)

    def images() -> Iterator[Case]:
        alt = f"{picture.name} after {attack_title(outcome)}"
        gain = outcome.gain
        return image_case(picture, outcome.image, "adversarial", alt, gain, rows, signed=True)

    sections = [
        Section("Image and predictions", [Cases("", images), table]),
        Section("Noise of the same size", [sizes(outcome)]),
    ]
    if transfer:
        sections.append(transfer_section(transfer))
    if smallest:
        sections.append(epsilon_section(smallest))
    sections += [Section("Top-5 classes", [top5(row) for row in rows]), features(rows)]

    manifest = provenance_record(spec, [(picture.name, picture.digest)])
    manifest["attack"] = {**asdict(attack), "model": outcome.model}
    tables = {
        "attack": [{"model": outcome.model, **outcome.as_row()}],
        "transfer": [entry.as_row() for entry in transfer],
    }
    return Report(
        title=f"{attack_title(outcome)} against {model(outcome.model)} on {picture.name}",
        answers=answers(outcome, rows),
        facts=[
            *facts(spec, [picture], rows),
            ("Model attacked", model(outcome.model)),
            ("Attack", f"{attack_title(outcome)}, {methods.effort(attack)}"),
            ("Target", aim),
        ],
        cautions=cautions(rows),
        sections=sections,
        brief=[table, sizes(outcome)],
        methods=methods.blocks(spec.conditions, ["Noise"]),
        limits=methods.limits(),
        manifest=manifest,
        replay=_attack_replay(spec, outcome),
        data=data([replace(row, image=picture.name) for row in rows], tables),
    )


def _attack_replay(spec: Request, outcome: Outcome) -> str:
    """The sentence with the command that makes the attacked image again."""
    attack = outcome.spec
    epsilon = attack.size_text
    if parse_epsilon(epsilon) != attack.epsilon:
        epsilon = repr(attack.epsilon)  # the short text is rounded
    words = [
        f"python -m robustness attack IMAGE --model {outcome.model}",
        f"--attack {attack.name} --norm {attack.norm} --epsilon {epsilon}",
        f"--steps {attack.steps} --restarts {attack.restarts} --seed {attack.seed}",
    ]
    command = " ".join(words) + framing_options(spec.of_models([outcome.model]))
    if attack.target is not None:
        command += f" --target {attack.target}"
    return f"With the same image, `{command} --to OUT.png` reproduces the attacked image."


def sizes(outcome: Outcome) -> Titled:
    """The attack and noise of the same size, with how far each moves the image."""
    control = outcome.control
    success = "yes" if outcome.success else "no"
    body = [(attack_title(outcome), success, *_size_cells(outcome, outcome))]
    if outcome.l2:
        rate = rate_interval(control.successes, control.draws)
        bounds = f"{share(rate.low, 0)} to {share(rate.high, 0)}"
        successes = f"{control.successes} of {control.draws} ({bounds})"
        body.append(("Noise, the closest draw", successes, *_size_cells(outcome, control)))
    head = ("Change", "Succeeds", "Prediction", "L∞", "L2", "SSIM")
    return Titled("Attack and noise of the same size", Table(head, body))


def _size_cells(outcome: Outcome, change: Outcome | Control) -> tuple[str, str, str, str]:
    """The prediction of the attacked model after ``change``, and the size of the change."""
    return (
        f"{title(outcome, change.top1)} {share(change.probability)}",
        f"{LEVELS * change.linf:.3g}/{LEVELS}",
        f"{change.l2:.3g}",
        f"{change.ssim:.3f}",
    )


def transfer_section(transfer: Sequence[Transfer]) -> Section:
    """On which models an image made on another has an effect; at least one of ``transfer``."""
    columns: list[Column] = [
        ("Made on", lambda entry: model(entry.source)),
        ("Judged by", lambda entry: model(entry.model)),
        ("Fooled", _fooled),
        ("Prediction", lambda entry: verdict_of(entry.as_row()).said),
        ("Confidence in its original class", lambda entry: share(entry.retained_probability)),
    ]
    to_others = [entry for entry in transfer if entry.source != entry.model]
    fooled = sum(entry.success is True for entry in to_others)
    title = f"{fooled} of {counted(len(to_others), 'attack')} transfer"
    return Section("Transfer to other models", [Titled(title, Table.of(transfer, columns))])


def _fooled(entry: Transfer) -> str:
    if entry.success is None:
        return "other classes"
    return "yes" if entry.success else "no"


def epsilon_section(events: Sequence[Smallest | Masking]) -> Section:
    """The smallest epsilon of each model, at least one, and signs of gradient masking."""
    smallest = [event for event in events if isinstance(event, Smallest)]
    masking = [event for event in events if isinstance(event, Masking)]
    attack = ATTACKS[smallest[0].attack]
    norm = NORMS[smallest[0].norm]
    columns: list[Column] = [
        ("Model", lambda entry: model(entry.model)),
        ("Smallest epsilon", lambda entry: _size(entry.epsilon, entry.norm)),
    ]
    table = Titled(
        f"Smallest epsilon of {attack.label} ({norm.label})", Table.of(smallest, columns)
    )
    texts = [text for entry in masking for text in _masking_signs(entry)]
    if masking and not texts:
        texts = [
            "No sign of gradient masking: the gradient attack does at least as well as the one "
            "without gradients."
        ]
    if norm.name == "linf" and any(e.epsilon and e.epsilon < 1 / LEVELS for e in smallest):
        texts.append(
            "An 8-bit image cannot hold changes below 1/255: a saved file needs a whole level."
        )
    return Section("Smallest epsilon", [table, *map(Text, texts)])


def _masking_signs(masking: Masking) -> Iterator[str]:
    """A sentence for each sign that the gradients of a model hide its weakness."""
    name = model(masking.model)
    if masking.flat:
        yield f"{name}: the gradient is zero at the original, so it shows attacks no direction."
    if masking.epsilon is not None:
        black_box = ATTACKS[masking.black_box].label
        gradient = ATTACKS[masking.gradient].label
        yield (
            f"{name}: {black_box}, which uses predictions only, succeeds at "
            f"{_size(masking.epsilon, masking.norm)}, where {gradient} fails: gradients mislead."
        )


def _size(epsilon: float | None, norm: str) -> str:
    if epsilon is None:
        return "never"
    return f"{LEVELS * epsilon:.2g}/{LEVELS}" if norm == "linf" else f"{epsilon:.2g}"


def answers(outcome: Outcome, rows: Sequence[Measurement]) -> list[tuple[str, str]]:
    """The questions that an attack answers; ``rows`` are of all models for the attacked image."""
    pairs = [
        ("Does the attack change the prediction?", attack_answer(outcome, rows)),
        ("Does noise of the same size do the same?", noise_answer(outcome)),
    ]
    others = [row for row in rows if row.model != outcome.model]
    if others:
        who = model(others[0].model) if len(others) == 1 else "other models"
        doubt = "this is one image, and a stronger attack may succeed where this fails"
        names = [row.model for row in others]
        text = sentence(f"{who}: {tally(others)}", doubt, names=names)
        pairs.append(("Do other models change, too?", text))
    return pairs


def attack_title(outcome: Outcome) -> str:
    """The attack with its norm and size: "PGD (L∞, epsilon 8/255)"."""
    spec = outcome.spec
    size = f"epsilon {spec.size_text}"
    side = len(outcome.image)
    epsilon_at_side = spec.at_side(side)
    if epsilon_at_side != spec.epsilon:
        size += f", which is {epsilon_at_side:.3g} at {side} px"
    if outcome.by_label:
        size += f", by {outcome.by_label}"
    return f"{spec.record.label} ({NORMS[spec.norm].label}, {size})"


def title(outcome: Outcome, index: int) -> str:
    """The class ``index`` of the attacked model."""
    return class_title(outcome.model, index)


def attack_answer(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """The effect of the attack on the attacked model."""
    spec = outcome.spec
    name = model(outcome.model)
    after = f"{title(outcome, outcome.top1)}, {share(outcome.probability, 0)}"
    if not outcome.success:
        aim = "" if spec.target is None else f" towards {title(outcome, spec.target)}"
        text = f"{spec.record.label}{aim} fails on {name}: {after}"
    elif outcome.linf <= INVISIBLE:
        text = f"An invisible change fools {name}: {after}"
    else:
        text = f"A change of {spec.size_text} ({NORMS[spec.norm].label}) fools {name}: {after}"
    remark = ""
    row = next((row for row in rows if row.model == outcome.model), None)
    if row is not None and is_correct(row.label, row.clean_top1) is False:
        now = "correct" if row.top1 == row.label else "still incorrect"
        remark = f"incorrect on the original, now {now}"
    return sentence(text, remark)


def noise_answer(outcome: Outcome) -> str:
    """How often random changes of the same size do the same."""
    control = outcome.control
    if not outcome.l2:
        return sentence("the attack left the image unchanged, so noise is no comparison")
    draws = f"{control.draws} equally large random changes"
    if control.successes == 0:
        return sentence(f"{draws}: none fools it")
    verb = "fools" if control.successes == 1 else "fool"
    remark = "the attack is no better than noise" if outcome.success else ""
    return sentence(f"{draws}: {control.successes} {verb} it", remark)


TRUE_CLASS = "shows"
"""Parameter of a link: the true class of its image, unless it is known."""

REMEDY = "remedy"
"""Parameter of a link: the remedy whose effect is shown."""

LINK = "Link"
COMMAND = "Command line"
PYTHON = "Python"
TOML = "TOML"

WRITTEN = "Command line, with the image"
"""Commands that write the perturbed image and predict it, of a condition of one perturbation."""

_PROGRAM = ("python", "-m", "robustness")


def reproduction_texts(
    spec: Request, picture_name: str, *, sample: str | None, truth: str | None = None
) -> dict[str, str]:
    """The texts that reproduce ``spec``, which has one condition, by title.

    Each has the remedies of ``spec``; a link has one at most.

    ``sample`` names the sample shown. Without it the image is the file ``picture_name``, and there
    is no link, since links cannot include files; nor is there one for an attack. ``truth`` is the
    true class, None for a sample with a known one. Raises ``ParameterError`` unless there is
    exactly one condition.
    """
    if len(spec.conditions) != 1:
        raise ParameterError(f"Expected one condition to copy, got {len(spec.conditions)}.")
    condition = spec.conditions[0]
    if sample is not None:
        path = f"{SAMPLE}{sample}"
    elif picture_name.startswith(("-", SAMPLE)):
        path = f"./{picture_name}"  # else it would read as an option or a sample
    else:
        path = picture_name
    # A sample has its class without being told.
    told_class = truth
    if sample is not None and truth == sample_class(sample):
        told_class = None

    texts = {COMMAND: _predict_command(spec, path, told_class)}
    if not condition.needs_model and not condition.idle and len(condition.steps) == 1:
        texts[WRITTEN] = _written(spec, path)
    texts[PYTHON] = _python(spec, {picture_name: path}, truth)
    source = "samples" if sample else "PHOTOS"
    texts[TOML] = f"# python -m robustness evaluate {source} --request FILE.toml\n{spec.as_toml()}"
    if sample is None or condition.needs_model:
        return texts
    return {LINK: _link(spec, sample, told_class), **texts}


def _predict_command(spec: Request, path: str, true_class: str | None) -> str:
    """The command that predicts the image at ``path`` under the only condition of ``spec``."""
    condition = spec.conditions[0]
    under = CLEAN if condition.idle else condition.id
    words = ["predict", path, "--models", ",".join(spec.model_names), "--under", under]
    if true_class is not None:
        words += ["--true-class", true_class]
    if spec.seed:
        words += ["--seed", str(spec.seed)]
    for option, value in options(dict(spec.framings)).items():
        words += [f"--{option}", str(value)]
    if spec.remedies:
        words += ["--remedies", ",".join(chain.id for chain in spec.remedies)]
    return shlex.join([*_PROGRAM, *words])


def _link(spec: Request, sample: str, true_class: str | None) -> str:
    """The parameters of the Live page that show ``sample`` under the only condition of ``spec``."""
    # Every link names the sample: without parameters the Live page shows a first visit.
    values: dict[str, str | list[str]] = {"sample": sample, **link_values(spec.conditions[0])}
    if true_class is not None:
        values[TRUE_CLASS] = true_class
    if spec.model_names != models.default_names():
        values["models"] = list(spec.model_names)
    if spec.seed:
        values["seed"] = str(spec.seed)
    values |= options(dict(spec.framings))
    if spec.remedies:
        values[REMEDY] = spec.remedies[-1].id
    return query(values)


def predict_written(image: str | os.PathLike[str], model: str | None, side: int) -> str:
    """The command that predicts an ``image`` of ``side`` pixels without framing it again.

    ``perturb`` wrote the image as a model sees it; the framing of the model would crop the square
    once more. ``model`` is the one that sees images so, None for those that see the study image.
    """
    words = ["predict", os.fspath(image)]
    if model is not None:
        words += ["--models", model]
    words += ["--fit", "squash", "--side", str(side)]
    return shlex.join([*_PROGRAM, *words])


def _written(spec: Request, path: str) -> str:
    """For each model, the command that writes the image it sees, and the one that predicts that."""
    ((perturbation, strength),) = spec.conditions[0].steps
    framing = options(dict(spec.framings))
    lines = []
    for model_name in spec.model_names:
        image = f"{model_name}.png" if len(spec.model_names) > 1 else "perturbed.png"
        words = ["perturb", path, "--model", model_name, "--perturbation", perturbation]
        words += ["--strength", repr(strength), "--to", image]
        if spec.seed:
            words += ["--seed", str(spec.seed)]
        for option, value in framing.items():
            words += [f"--{option}", value]
        lines.append(shlex.join([*_PROGRAM, *words]))
        lines.append(predict_written(image, model_name, spec.framing_of(model_name).side))
    return "\n".join(lines)


def link_values(condition: Condition) -> dict[str, str]:
    """The perturbations of ``condition`` as parameters of a link to the Live page."""
    values = {}
    for name, strength in condition.steps:
        if strength > 0:
            is_graded = REGISTRY[name].graded
            values[name] = repr(float(strength)).removesuffix(".0") if is_graded else "true"
    return values


def query(values: Mapping[str, str | list[str]]) -> str:
    """``values`` as the part of a link from its question mark on."""
    return f"?{urlencode(values, doseq=True)}"


def _python(spec: Request, pictures: Mapping[str, str], truth: str | None) -> str:
    """The Python code that evaluates ``pictures``, paths by name, as ``spec`` says."""
    values = spec.conditions[0].as_dict()
    if "attack" in values:
        name = values.pop("attack")
        settings = ", ".join(f"{key}={value!r}" for key, value in values.items())
        condition = f"api.Condition.attack({name!r}, {settings})"
    else:
        condition = f"api.Condition.of({values!r})"
    arguments = [
        f"{list(spec.model_names)!r}",
        f"conditions=[{condition}]",
        f"seed={spec.seed}",
    ]
    framing = options(dict(spec.framings))
    if "fit" in framing:
        arguments.append(f"fit={framing['fit']!r}")
    if "side" in framing:
        arguments.append(f"side={framing['side']}")
    if spec.remedies:
        arguments.append(f"remedies={[chain.id for chain in spec.remedies]!r}")

    columns = ["model", "clean_top1", "top1", "probability", "consistent"]
    labels = ""
    if truth is not None:
        labels = f", labels={dict.fromkeys(pictures, truth)!r}"
        columns.append("correct")
    if spec.remedies:
        columns.append("remedies")
    lines = [
        "from robustness import api",
        "",
        "spec = api.make_spec(",
        *(f"    {argument}," for argument in arguments),
        ")",
        f"rows = api.evaluate_pictures({pictures!r}, spec{labels})",
        f"print(rows[{json.dumps(columns)}])",
    ]
    return "\n".join(lines) + "\n"
