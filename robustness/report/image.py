"""Reports of one image under a condition or after an attack, and texts that reproduce a result.

These texts are a link, commands, Python code and TOML.
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
    model_label,
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
"""The factor by which the difference between two images is amplified for display."""


def of_live(
    spec: Request,
    picture: Picture,
    rows: Sequence[Measurement],
    remedied: Titled | None = None,
) -> Report:
    """Return the report of one image under one condition.

    ``rows`` are the measurements of ``picture`` under the only condition of ``spec``, one for each
    model. ``remedied`` is the table of predictions with a remedy, if one was tried.
    """
    condition = spec.conditions[0]
    tables = [Titled("Predictions", verdicts(rows))]
    if remedied is not None:
        tables.append(remedied)

    heading = f"{picture.name} under {condition.described}"

    def read_images() -> Iterator[Case]:
        changed = perturbed(picture, [condition], spec.seed)[0]
        yield image_case(picture, changed, "perturbed", heading, GAIN, rows)

    basis = f"one image under one condition ({_change_text(rows[0])})"
    return Report(
        title=heading,
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
            Section("Image and predictions", [Cases("", read_images), *tables]),
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
    """Return the sentence on the prediction that lost most confidence in the original class.

    If predictions changed, it is one of these.
    """
    changed = [row for row in rows if not row.consistent]
    row = min(changed or rows, key=lambda row: row.retained_probability - row.clean_probability)
    before = share(row.clean_probability)
    after = share(row.retained_probability)
    text = f"{model_label(row.model)}: {class_title(row.model, row.clean_top1)} {before} → {after}"
    if changed:
        text += f", now {class_title(row.model, row.top1)} {share(row.probability)}"
    return sentence(text, names=[row.model])


def _change_text(row: Measurement) -> str:
    """Return how much an image changed, such as "SSIM 0.912, PSNR 27.4 dB"."""
    ssim = row.scores["ssim"]
    psnr = row.scores["psnr"]
    # The PSNR of equal images is infinite.
    if not np.isfinite(psnr):
        return "no visible change"
    return f"SSIM {ssim:.3f}, PSNR {psnr:.1f} dB"


def image_case(
    picture: Picture,
    changed: NDArray[np.float32],
    caption: str,
    alt: str,
    gain: int,
    rows: Sequence[Measurement],
    *,
    signed: bool = False,
) -> Case:
    """Return an image, the ``changed`` one, and the difference of both times ``gain``.

    ``changed`` has the shape (S, S, 3), the ``caption`` and the text alternative ``alt``. ``rows``
    are its measurements. ``signed`` is as for ``amplified_difference``.
    """
    difference = amplified_difference(picture.image, changed, gain, signed=signed)
    colour_of_zero = "grey" if signed else "black"
    shots = [
        clean_shot(picture),
        Shot(to_png(changed), caption, alt),
        Shot(
            to_png(difference),
            f"difference x {gain}",
            f"Difference of both images; {colour_of_zero} is unchanged",
        ),
    ]
    return Case(picture.name, shots, None, [answer_line(row) for row in rows])


def verdicts(rows: Sequence[Measurement]) -> Table:
    """Return the table of predictions before and after, with verdicts and metrics."""

    def original(row: Measurement) -> str:
        return f"{class_title(row.model, row.clean_top1)} {share(row.clean_probability)}"

    def after(row: Measurement) -> str:
        return f"{class_title(row.model, row.top1)} {share(row.probability)}"

    columns: list[Column] = [
        ("Model", lambda row: model_label(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        ("Original", original),
        ("Perturbed", after),
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
    """Return the table of the five most likely classes of one model, before and after."""
    table_rows = []
    before = zip(row.clean_top5, row.clean_top5_probabilities, strict=True)
    after = zip(row.top5, row.top5_probabilities, strict=True)
    for (class_before, share_before), (class_after, share_after) in zip(before, after, strict=True):
        cells = (
            class_title(row.model, class_before),
            share(share_before),
            class_title(row.model, class_after),
            share(share_after),
        )
        table_rows.append(cells)
    head = ("Original", "Confidence", "Perturbed", "Confidence")
    return Titled(model_label(row.model), Table(head, table_rows))


def similarity(rows: Sequence[Measurement]) -> Chart:
    """Return the chart of the similarity of the embeddings, for every model."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    columns: list[str] = []
    for name, rescaled in RESCALED.items():
        columns += [name, rescaled]
    return Chart(
        "Feature similarity",
        charts.similarity_bars(frame),
        style.describe(frame, columns),
        "Similarity of the two images to the network: 1 is identical, 0 is as different as "
        "unrelated images. Unscaled values in parentheses.",
    )


def layers(rows: Sequence[Measurement]) -> Chart:
    """Return the chart of the similarity at each stage, for every model."""
    return stages(charts.stage_frame(rows), "cosine")


def features(rows: Sequence[Measurement]) -> Section:
    """Return the section with the charts of features."""
    return Section("Features", [Columns([[similarity(rows)], [layers(rows)]])])


def stages(frame: pd.DataFrame, metric: str) -> Chart:
    """Return the chart of a similarity ``metric`` over the stages of the networks.

    ``frame`` has the columns that ``charts.stage_frame`` returns.
    """
    note = (
        "From the first layers to the embedding: 1 = unchanged, 0 = as similar as unrelated images."
    )
    possessives = []
    for name in dict.fromkeys(frame["model"]):
        # A model of another machine may not be registered here.
        if name in MODELS and MODELS[name].head_reads_map:
            possessives.append(f"{model_label(name)}'s")
    if possessives:
        note += f" {' and '.join(possessives)} head reads its last stage before this averaging."
    named_stages = frame.assign(model=frame["model"] + " " + frame["stage"])
    return Chart(
        "Where the features diverge",
        charts.stage_lines(frame, metric),
        style.describe(named_stages, [metric, RESCALED[metric]]),
        note,
    )


INVISIBLE = 0.01
"""The largest change of a pixel, as a share of its range, that is called invisible: contrasts below
about 1% are below the threshold of sight."""


def of_attack(
    spec: Request,
    picture: Picture,
    outcome: Outcome,
    rows: Sequence[Measurement],
    transfer: Sequence[Transfer] = (),
    smallest: Sequence[Smallest | Masking] = (),
) -> Report:
    """Return the report of ``outcome``, an attack on ``picture``.

    - ``rows`` are the measurements of the attacked image by all models of ``spec``, whose only
      condition is the attack.
    - ``transfer`` is the same attack made on each model and judged by all of them.
    - ``smallest`` are the smallest epsilons of the models, and tests of gradient masking.
    """
    attack = outcome.spec
    table = Titled("Predictions", verdicts(rows))
    if attack.target is None:
        target = "any other class"
    else:
        target = title(outcome, attack.target)

    def read_images() -> Iterator[Case]:
        alt = f"{picture.name} after {attack_title(outcome)}"
        gain = outcome.gain
        yield image_case(picture, outcome.image, "adversarial", alt, gain, rows, signed=True)

    sections = [
        Section("Image and predictions", [Cases("", read_images), table]),
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
        title=f"{attack_title(outcome)} against {model_label(outcome.model)} on {picture.name}",
        answers=answers(outcome, rows),
        facts=[
            *facts(spec, [picture], rows),
            ("Model attacked", model_label(outcome.model)),
            ("Attack", f"{attack_title(outcome)}, {methods.effort(attack)}"),
            ("Target", target),
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
    """Return the sentence with the command that makes the attacked image again."""
    attack = outcome.spec
    epsilon = attack.size_text
    if parse_epsilon(epsilon) != attack.epsilon:
        # The short text is rounded, and would make another image.
        epsilon = repr(attack.epsilon)
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
    """Return the table that compares the attack with noise of the same size.

    An attack that left the image unchanged has no row for noise.
    """
    control = outcome.control
    success = "yes" if outcome.success else "no"
    rows = [(attack_title(outcome), success, *_size_cells(outcome, outcome))]
    if outcome.l2:
        rate = rate_interval(control.successes, control.draws)
        bounds = f"{share(rate.low, 0)} to {share(rate.high, 0)}"
        successes = f"{control.successes} of {control.draws} ({bounds})"
        rows.append(("Noise, the closest draw", successes, *_size_cells(outcome, control)))
    head = ("Change", "Succeeds", "Prediction", "L∞", "L2", "SSIM")
    return Titled("Attack and noise of the same size", Table(head, rows))


def _size_cells(outcome: Outcome, change: Outcome | Control) -> tuple[str, str, str, str]:
    """Return the prediction of the attacked model after ``change``, and three sizes of it."""
    return (
        f"{title(outcome, change.top1)} {share(change.probability)}",
        f"{LEVELS * change.linf:.3g}/{LEVELS}",
        f"{change.l2:.3g}",
        f"{change.ssim:.3f}",
    )


def transfer_section(transfer: Sequence[Transfer]) -> Section:
    """Return the section on attacks that fool models which they were not made on.

    ``transfer`` must have at least one entry.
    """
    columns: list[Column] = [
        ("Made on", lambda entry: model_label(entry.source)),
        ("Judged by", lambda entry: model_label(entry.model)),
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
    """Return the section on the smallest epsilon of each model, and on gradient masking.

    ``events`` must have a ``Smallest`` for at least one model.
    """
    smallest = [event for event in events if isinstance(event, Smallest)]
    masking = [event for event in events if isinstance(event, Masking)]
    attack = ATTACKS[smallest[0].attack]
    norm = NORMS[smallest[0].norm]
    columns: list[Column] = [
        ("Model", lambda entry: model_label(entry.model)),
        ("Smallest epsilon", lambda entry: _epsilon_text(entry.epsilon, entry.norm)),
    ]
    caption = f"Smallest epsilon of {attack.label} ({norm.label})"
    texts: list[str] = []
    for event in masking:
        texts += _masking_sentences(event)
    if masking and not texts:
        texts.append(
            "No sign of gradient masking: the gradient attack does at least as well as the one "
            "without gradients."
        )
    epsilons = [event.epsilon for event in smallest if event.epsilon]
    if norm.name == "linf" and min(epsilons, default=1.0) < 1 / LEVELS:
        texts.append(
            "An 8-bit image cannot hold changes below 1/255: a saved file needs a whole level."
        )
    table = Titled(caption, Table.of(smallest, columns))
    return Section("Smallest epsilon", [table, *map(Text, texts)])


def _masking_sentences(masking: Masking) -> list[str]:
    """Return a sentence for each sign that the gradients of a model hide its weakness."""
    name = model_label(masking.model)
    sentences = []
    if masking.flat:
        sentences.append(
            f"{name}: the gradient is zero at the original, so it shows attacks no direction."
        )
    if masking.epsilon is not None:
        black_box = ATTACKS[masking.black_box].label
        gradient = ATTACKS[masking.gradient].label
        epsilon = _epsilon_text(masking.epsilon, masking.norm)
        sentences.append(
            f"{name}: {black_box}, which uses predictions only, succeeds at {epsilon}, where "
            f"{gradient} fails: gradients mislead."
        )
    return sentences


def _epsilon_text(epsilon: float | None, norm: str) -> str:
    """Return ``epsilon`` in the unit of ``norm``; None is that of a model that no attack breaks."""
    if epsilon is None:
        return "never"
    if norm == "linf":
        return f"{LEVELS * epsilon:.2g}/{LEVELS}"
    return f"{epsilon:.2g}"


def answers(outcome: Outcome, rows: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Return pairs of a question about an attack and the sentence that answers it.

    ``rows`` are the measurements of the attacked image by all models.
    """
    pairs = [
        ("Does the attack change the prediction?", attack_answer(outcome, rows)),
        ("Does noise of the same size do the same?", noise_answer(outcome)),
    ]
    others = [row for row in rows if row.model != outcome.model]
    if others:
        subject = model_label(others[0].model) if len(others) == 1 else "other models"
        text = sentence(
            f"{subject}: {tally(others)}",
            "this is one image, and a stronger attack may succeed where this fails",
            names=[row.model for row in others],
        )
        pairs.append(("Do other models change, too?", text))
    return pairs


def attack_title(outcome: Outcome) -> str:
    """Return the attack with its norm and size, such as "PGD (L∞, epsilon 8/255)"."""
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
    """Return the name of the class ``index`` of the attacked model."""
    return class_title(outcome.model, index)


def attack_answer(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """Return the sentence on the effect of the attack on the attacked model."""
    spec = outcome.spec
    name = model_label(outcome.model)
    if not outcome.success:
        effect = f"{spec.record.label} fails on {name}"
        if spec.target is not None:
            target = title(outcome, spec.target)
            effect = f"{spec.record.label} towards {target} fails on {name}"
    elif outcome.linf <= INVISIBLE:
        effect = f"An invisible change fools {name}"
    else:
        effect = f"A change of {spec.size_text} ({NORMS[spec.norm].label}) fools {name}"
    prediction = f"{title(outcome, outcome.top1)}, {share(outcome.probability, 0)}"
    remark = ""
    row = next((row for row in rows if row.model == outcome.model), None)
    if row is not None and is_correct(row.label, row.clean_top1) is False:
        verdict_now = "correct" if row.top1 == row.label else "still incorrect"
        remark = f"incorrect on the original, now {verdict_now}"
    return sentence(f"{effect}: {prediction}", remark)


def noise_answer(outcome: Outcome) -> str:
    """Return the sentence on how often random changes of the same size do the same."""
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
"""The query parameter for the true class of the image, unless the class is known."""

REMEDY = "remedy"
"""The query parameter for the remedy whose effect is shown."""

LINK = "Link"
COMMAND = "Command line"
PYTHON = "Python"
TOML = "TOML"

WRITTEN = "Command line, with the image"
"""The title of the commands that write the perturbed image and predict it."""

_PROGRAM = ("python", "-m", "robustness")


def reproduction_texts(
    spec: Request, picture_name: str, *, sample: str | None, truth: str | None = None
) -> dict[str, str]:
    """Return the texts that reproduce the request ``spec`` for one image, by title.

    ``sample`` is the name of the sample image, None if the image is the file ``picture_name``.
    There is a link only for a sample, since links cannot include files, and not for an attack.
    ``truth`` is the true class if one was given. The texts have the remedies of ``spec``, except
    for a link, which has the last one only.

    Raises ``ParameterError`` unless ``spec`` has exactly one condition.
    """
    if len(spec.conditions) != 1:
        raise ParameterError(f"Expected one condition to copy, got {len(spec.conditions)}.")
    condition = spec.conditions[0]
    if sample is not None:
        path = f"{SAMPLE}{sample}"
    elif picture_name.startswith(("-", SAMPLE)):
        # The name alone would be read as an option, or as that of a sample.
        path = f"./{picture_name}"
    else:
        path = picture_name
    # Commands and links know the class of a sample without being told.
    class_to_tell = truth
    if sample is not None and truth == sample_class(sample):
        class_to_tell = None

    texts = {}
    if sample is not None and not condition.needs_model:
        texts[LINK] = _link(spec, sample, class_to_tell)
    texts[COMMAND] = _predict_command(spec, path, class_to_tell)
    if not condition.needs_model and not condition.idle and len(condition.steps) == 1:
        texts[WRITTEN] = _perturb_commands(spec, path)
    texts[PYTHON] = _python_code(spec, {picture_name: path}, truth)
    source = "samples" if sample else "PHOTOS"
    texts[TOML] = f"# python -m robustness evaluate {source} --request FILE.toml\n{spec.as_toml()}"
    return texts


def _predict_command(spec: Request, path: str, true_class: str | None) -> str:
    """Return the command that predicts the image at ``path`` under the condition of ``spec``."""
    condition = spec.conditions[0]
    condition_text = CLEAN if condition.idle else condition.id
    words = ["predict", path, "--models", ",".join(spec.model_names), "--under", condition_text]
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
    """Return the query of the Live page that shows ``sample`` under the condition of ``spec``."""
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
    """Return the command that predicts an image which the command ``perturb`` wrote.

    The image is the square of ``side`` pixels that a model sees. The framing of the model would
    crop it once more, so the command squashes it to its own size instead, which changes nothing.
    ``model`` is the model that sees such images, None for all that see study images.
    """
    words = ["predict", os.fspath(image)]
    if model is not None:
        words += ["--models", model]
    words += ["--fit", "squash", "--side", str(side)]
    return shlex.join([*_PROGRAM, *words])


def _perturb_commands(spec: Request, path: str) -> str:
    """Return two commands for each model: one writes the image that it sees, one predicts that."""
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
    """Return the perturbations of ``condition`` as query parameters of the Live page.

    A perturbation with strengths has its strength as value, another "true".
    """
    values = {}
    for name, strength in condition.steps:
        if strength <= 0:
            continue
        if REGISTRY[name].graded:
            values[name] = repr(float(strength)).removesuffix(".0")
        else:
            values[name] = "true"
    return values


def query(values: Mapping[str, str | list[str]]) -> str:
    """Return ``values`` as the query of a link, from its question mark on."""
    return f"?{urlencode(values, doseq=True)}"


def _python_code(spec: Request, pictures: Mapping[str, str], truth: str | None) -> str:
    """Return the code that evaluates ``pictures``, paths by name, by the request ``spec``."""
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
