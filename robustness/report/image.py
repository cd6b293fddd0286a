"""The report of a Live view: one image under one condition. An attack's report uses its parts.

The report of an attack on one image.

Texts that reproduce one condition on one image: a link, a command, Python, TOML.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import models
from robustness.attacks import NORMS, Outcome, parse_epsilon
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
    blocks = [Titled("Predictions", verdicts(rows)), *([remedied] if remedied else [])]

    def images() -> Iterator[Case]:
        after = perturbed(picture, [condition], spec.seed)[0]
        alt = f"{picture.name} under {condition.described}"
        return image_case(picture, after, "perturbed", alt, GAIN, rows)

    changed = [row for row in rows if not row.consistent]
    row = min(changed or rows, key=lambda r: r.retained_probability - r.clean_probability)
    before = class_title(row.model, row.clean_top1)
    fall = f"{before} {share(row.clean_probability)} → {share(row.retained_probability)}"
    now = f", now {class_title(row.model, row.top1)} {share(row.probability)}" if changed else ""
    ssim = rows[0].scores["ssim"]
    psnr = rows[0].scores["psnr"]
    visible = f"SSIM {ssim:.3f}, PSNR {psnr:.1f} dB" if np.isfinite(psnr) else "no visible change"
    basis = f"one image under one condition ({visible})"
    return Report(
        title=f"{picture.name} under {condition.described}",
        answers=[
            (
                "Does the perturbation change the prediction?",
                sentence(f"{condition.described}: {tally(rows)}"),
            ),
            (
                "Which prediction changes most on this image?",
                sentence(f"{model(row.model)}: {fall}{now}", names=[row.model]),
            ),
            ("What is this based on?", sentence(basis, low_confidence(rows))),
        ],
        facts=facts(spec, [picture], rows),
        cautions=cautions(rows),
        sections=[
            Section("Image and predictions", [Cases("", images), *blocks]),
            Section("Top-5 classes", [top5(row) for row in rows]),
            features(rows),
        ],
        brief=blocks,
        methods=methods.blocks(spec.conditions, []),
        limits=methods.limits(),
        manifest=provenance_record(spec, [(picture.name, picture.digest)]),
        replay="Reproduce it in the view Live with this image, strengths, models and seed.",
        data=data(rows, {}),
    )


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
    """The image, the ``changed`` one (224, 224, 3), and their difference times ``gain``.

    ``caption``, ``alt`` and ``rows`` belong to the changed one; ``signed`` is as for
    ``amplified_difference``.
    """
    difference = amplified_difference(picture.image, changed, gain, signed=signed)
    yield Case(
        picture.name,
        [
            clean_shot(picture),
            Shot(to_png(changed), caption, alt),
            Shot(
                to_png(difference),
                f"difference x {gain}",
                f"Difference of both images; {'grey' if signed else 'black'} is unchanged",
            ),
        ],
        None,
        [answer_line(row) for row in rows],
    )


def verdicts(rows: Sequence[Measurement]) -> Table:
    """The verdict on each prediction, and the predictions."""
    columns: list[Column] = [
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        (
            "Original",
            lambda r: f"{class_title(r.model, r.clean_top1)} {share(r.clean_probability)}",
        ),
        ("Perturbed", lambda row: f"{class_title(row.model, row.top1)} {share(row.probability)}"),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("Cosine", lambda row: f"{row.scores['cosine']:.3f}"),
        ("Cosine, rescaled", lambda row: f"{row.scores['cosine_rescaled']:.3f}"),
        *(
            (metric.column_title, lambda row, m=metric: f"{row.scores[m.name]:{m.form}}")
            for metric in report_facts.listed_metrics(rows)
        ),
    ]
    return Table.of(rows, columns)


def top5(row: Measurement) -> Titled:
    """The five most likely classes before and after, of one model."""
    clean = zip(row.clean_top5, row.clean_top5_probabilities, strict=True)
    after = zip(row.top5, row.top5_probabilities, strict=True)
    cells = [
        (class_title(row.model, a), share(p), class_title(row.model, b), share(q))
        for (a, p), (b, q) in zip(clean, after, strict=True)
    ]
    head = ("Original", "Confidence", "Perturbed", "Confidence")
    return Titled(model(row.model), Table(head, cells))


def similarity(rows: Sequence[Measurement]) -> Chart:
    """The chart of cosine and Euclidean similarity, for every model."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    return Chart(
        "Feature similarity",
        charts.similarity_bars(frame),
        style.describe(frame, [n for pair in RESCALED.items() for n in pair]),
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
    names = [n for n in dict.fromkeys(frame["model"]) if n in MODELS]
    whose = " and ".join(f"{model(name)}'s" for name in names if MODELS[name].head_reads_map)
    note = (
        "From the first layers to the embedding: 1 = unchanged, 0 = as similar as unrelated images."
    )
    if whose:
        note += f" {whose} head reads its last stage before this averaging."
    return Chart(
        "Where the features diverge",
        charts.stage_lines(frame, metric),
        style.describe(
            frame.assign(model=frame["model"] + " " + frame["stage"]), [metric, RESCALED[metric]]
        ),
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
    values = {**asdict(attack), "model": outcome.model}
    aim = "any other class" if attack.target is None else title(outcome, attack.target)
    target = "" if attack.target is None else f" --target {attack.target}"
    text = attack.size_text
    epsilon = text if parse_epsilon(text) == attack.epsilon else repr(attack.epsilon)

    def images() -> Iterator[Case]:
        alt = f"{picture.name} after {attack_title(outcome)}"
        gain = outcome.gain
        return image_case(picture, outcome.image, "adversarial", alt, gain, rows, signed=True)

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
        sections=[
            Section("Image and predictions", [Cases("", images), table]),
            Section("Noise of the same size", [sizes(outcome)]),
            *([transfer_section(transfer)] if transfer else []),
            *([epsilon_section(smallest)] if smallest else []),
            Section("Top-5 classes", [top5(row) for row in rows]),
            features(rows),
        ],
        brief=[table, sizes(outcome)],
        methods=methods.blocks(spec.conditions, ["Noise"]),
        limits=methods.limits(),
        manifest={**provenance_record(spec, [(picture.name, picture.digest)]), "attack": values},
        replay=(
            f"With the same image, `python -m robustness attack IMAGE --model {outcome.model} "
            f"--attack {attack.name} --norm {attack.norm} --epsilon {epsilon} --steps "
            f"{attack.steps} --restarts {attack.restarts} --seed {attack.seed}"
            f"{framing_options(spec.of_models([outcome.model]))}{target} --to OUT.png` "
            "reproduces the attacked image."
        ),
        data=data(
            [replace(row, image=picture.name) for row in rows],
            {
                "attack": [{"model": outcome.model, **outcome.as_row()}],
                "transfer": [entry.as_row() for entry in transfer],
            },
        ),
    )


def sizes(outcome: Outcome) -> Titled:
    """The attack and noise of the same size, with how far each moves the image."""
    control = outcome.control
    rate = rate_interval(control.successes, control.draws)
    noise = (
        f"{control.successes} of {control.draws} ({share(rate.low, 0)} to {share(rate.high, 0)})"
    )
    changes: list[tuple[str, str, Any]] = [
        (attack_title(outcome), "yes" if outcome.success else "no", outcome)
    ]
    if outcome.l2:
        changes.append(("Noise, the closest draw", noise, control))
    rows = [
        (
            name,
            succeeds,
            f"{title(outcome, size.top1)} {share(size.probability)}",
            f"{LEVELS * size.linf:.3g}/{LEVELS}",
            f"{size.l2:.3g}",
            f"{size.ssim:.3f}",
        )
        for name, succeeds, size in changes
    ]
    head = ("Change", "Succeeds", "Prediction", "L∞", "L2", "SSIM")
    return Titled("Attack and noise of the same size", Table(head, rows))


def transfer_section(transfer: Sequence[Transfer]) -> Section:
    """On which models an image made on another has an effect; at least one of ``transfer``."""
    words = {True: "yes", False: "no", None: "other classes"}
    columns: list[Column] = [
        ("Made on", lambda entry: model(entry.source)),
        ("Judged by", lambda entry: model(entry.model)),
        ("Fooled", lambda entry: words[entry.success]),
        ("Prediction", lambda entry: verdict_of(entry.as_row()).said),
        ("Confidence in its original class", lambda entry: share(entry.retained_probability)),
    ]
    transferred = [entry for entry in transfer if entry.source != entry.model]
    fooled = sum(entry.success is True for entry in transferred)
    title = f"{fooled} of {counted(len(transferred), 'attack')} transfer"
    return Section("Transfer to other models", [Titled(title, Table.of(transfer, columns))])


def epsilon_section(events: Sequence[Smallest | Masking]) -> Section:
    """The smallest epsilon of each model, at least one, and signs of gradient masking."""
    smallest = [event for event in events if isinstance(event, Smallest)]
    attack = ATTACKS[smallest[0].attack]
    norm = NORMS[smallest[0].norm]
    columns: list[Column] = [
        ("Model", lambda entry: model(entry.model)),
        ("Smallest epsilon", lambda entry: _size(entry.epsilon, entry.norm)),
    ]
    title = f"Smallest epsilon of {attack.label} ({norm.label})"
    masking = [event for event in events if isinstance(event, Masking)]
    texts = []
    for entry in masking:
        name = model(entry.model)
        if entry.flat:
            texts.append(
                f"{name}: the gradient is zero at the original, so it shows attacks no direction."
            )
        if entry.epsilon is not None:
            texts.append(
                f"{name}: {ATTACKS[entry.black_box].label}, which uses predictions only, succeeds "
                f"at {_size(entry.epsilon, entry.norm)}, where {ATTACKS[entry.gradient].label} "
                "fails: gradients mislead."
            )
    if masking and not texts:
        texts = [
            "No sign of gradient masking: the gradient attack does at least as well as the one "
            "without gradients."
        ]
    if norm.name == "linf" and any(e.epsilon and e.epsilon < 1 / LEVELS for e in smallest):
        texts.append(
            "An 8-bit image cannot hold changes below 1/255: a saved file needs a whole level."
        )
    return Section(
        "Smallest epsilon", [Titled(title, Table.of(smallest, columns)), *map(Text, texts)]
    )


def _size(epsilon: float | None, norm: str) -> str:
    if epsilon is None:
        return "never"
    return f"{LEVELS * epsilon:.2g}/{LEVELS}" if norm == "linf" else f"{epsilon:.2g}"


def answers(outcome: Outcome, rows: Sequence[Measurement]) -> list[tuple[str, str]]:
    """The questions that an attack answers; ``rows`` are of all models for the attacked image."""
    rest = [row for row in rows if row.model != outcome.model]
    who = model(rest[0].model) if len(rest) == 1 else "other models"
    doubt = "this is one image, and a stronger attack may succeed where this fails"
    names = [row.model for row in rest]
    return [
        ("Does the attack change the prediction?", attack_answer(outcome, rows)),
        ("Does noise of the same size do the same?", noise_answer(outcome)),
        *(
            [
                (
                    "Do other models change, too?",
                    sentence(f"{who}: {tally(rest)}", doubt, names=names),
                )
            ]
            if rest
            else []
        ),
    ]


def attack_title(outcome: Outcome) -> str:
    """The attack with its norm and size: "PGD (L∞, epsilon 8/255)"."""
    spec = outcome.spec
    by = f", by {outcome.by_label}" if outcome.by_label else ""
    side = len(outcome.image)
    here = spec.at_side(side)
    at = "" if here == spec.epsilon else f", which is {here:.3g} at {side} px"
    return f"{spec.record.label} ({NORMS[spec.norm].label}, epsilon {spec.size_text}{at}{by})"


def title(outcome: Outcome, index: int) -> str:
    """The class ``index`` of the attacked model."""
    return class_title(outcome.model, index)


def attack_answer(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """The effect of the attack on the attacked model."""
    spec = outcome.spec
    name = model(outcome.model)
    after = f"{title(outcome, outcome.top1)}, {share(outcome.probability, 0)}"
    if outcome.success:
        size = f"A change of {spec.size_text} ({NORMS[spec.norm].label})"
        text = (
            f"{'An invisible change' if outcome.linf <= INVISIBLE else size} fools {name}: {after}"
        )
    else:
        aim = "" if spec.target is None else f" towards {title(outcome, spec.target)}"
        text = f"{spec.record.label}{aim} fails on {name}: {after}"
    mine = next((row for row in rows if row.model == outcome.model), None)
    wrong = mine is not None and is_correct(mine.label, mine.clean_top1) is False
    now = "correct" if mine is not None and mine.top1 == mine.label else "still incorrect"
    return sentence(text, f"incorrect on the original, now {now}" if wrong else "")


def noise_answer(outcome: Outcome) -> str:
    """How often random changes of the same size do the same."""
    control = outcome.control
    if not outcome.l2:
        return sentence("the attack left the image unchanged, so noise is no comparison")
    draws = f"{control.draws} equally large random changes"
    if not control.successes:
        return sentence(f"{draws}: none fools it")
    verb = "fools" if control.successes == 1 else "fool"
    news = outcome.success
    return sentence(
        f"{draws}: {control.successes} {verb} it",
        "the attack is no better than noise" if news else "",
    )


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
    framing = options(dict(spec.framings))
    unknown = truth is not None and (sample is None or truth != sample_class(sample))
    # The sample, or the file in a form that is no option and no sample.
    path = f"./{picture_name}" if picture_name.startswith(("-", SAMPLE)) else picture_name
    path = path if sample is None else f"{SAMPLE}{sample}"
    remedies = [chain.id for chain in spec.remedies]

    under = CLEAN if condition.idle else condition.id
    words = ["predict", path, "--models", ",".join(spec.model_names), "--under", under]
    if unknown:
        words += ["--true-class", str(truth)]
    if spec.seed:
        words += ["--seed", str(spec.seed)]
    words += [word for option, value in framing.items() for word in (f"--{option}", str(value))]
    if remedies:
        words += ["--remedies", ",".join(remedies)]
    source = "samples" if sample else "PHOTOS"
    texts = {COMMAND: shlex.join([*_PROGRAM, *words])}
    if not condition.needs_model and not condition.idle and len(condition.steps) == 1:
        texts[WRITTEN] = _written(spec, path)
    texts[PYTHON] = _python(spec, {picture_name: path}, truth)
    texts[TOML] = f"# python -m robustness evaluate {source} --request FILE.toml\n{spec.as_toml()}"
    if sample is None or condition.needs_model:
        return texts
    # Every link names the sample: without parameters the Live page shows a first visit.
    values: dict[str, str | list[str]] = {"sample": sample, **link_values(condition)}
    values |= {TRUE_CLASS: str(truth)} if unknown else {}
    if spec.model_names != models.default_names():
        values["models"] = list(spec.model_names)
    values |= {"seed": str(spec.seed)} if spec.seed else {}
    values |= framing
    values |= {REMEDY: remedies[-1]} if remedies else {}
    return {LINK: query(values), **texts}


def predict_written(image: str | os.PathLike[str], model: str | None, side: int) -> str:
    """The command that predicts an ``image`` of ``side`` pixels, as ``perturb`` wrote it, as it is.

    A model's own framing would crop the square once more. ``model`` is the one that sees images so,
    None for those that see the study image.
    """
    models_option = [] if model is None else ["--models", model]
    unframed = ["--fit", "squash", "--side", str(side)]
    words = [*_PROGRAM, "predict", os.fspath(image), *models_option, *unframed]
    return shlex.join(words)


def _written(spec: Request, path: str) -> str:
    """For each model_name, the command that writes what it sees, and the one that predicts that."""
    ((name, strength),) = spec.conditions[0].steps
    options_of_request = options(dict(spec.framings))
    lines = []
    for model_name in spec.model_names:
        image = f"{model_name}.png" if len(spec.model_names) > 1 else "perturbed.png"
        words = ["perturb", path, "--model", model_name, "--perturbation", name]
        words += ["--strength", repr(strength), "--to", image]
        if spec.seed:
            words += ["--seed", str(spec.seed)]
        for option, value in options_of_request.items():
            words += [f"--{option}", value]
        lines.append(shlex.join([*_PROGRAM, *words]))
        lines.append(predict_written(image, model_name, spec.framing_of(model_name).side))
    return "\n".join(lines)


def link_values(condition: Condition) -> dict[str, str]:
    """The perturbations of ``condition`` as parameters of a link to the Live page."""
    return {
        name: repr(float(strength)).removesuffix(".0") if REGISTRY[name].graded else "true"
        for name, strength in condition.steps
        if strength > 0
    }


def query(values: Mapping[str, str | list[str]]) -> str:
    """``values`` as the part of a link from its question mark on."""
    return f"?{urlencode(values, doseq=True)}"


def _python(spec: Request, picture: Mapping[str, str], truth: str | None) -> str:
    values = spec.conditions[0].as_dict()
    if "attack" in values:
        settings = ", ".join(f"{k}={v!r}" for k, v in values.items() if k != "attack")
        condition = f"api.Condition.attack({values['attack']!r}, {settings})"
    else:
        condition = f"api.Condition.of({values!r})"
    labels = "" if truth is None else f", labels={dict.fromkeys(picture, truth)!r}"
    columns = ["model", "clean_top1", "top1", "probability", "consistent"]
    if truth is not None:
        columns.append("correct")
    if spec.remedies:
        columns.append("remedies")
    remedies = [chain.id for chain in spec.remedies]
    overrides = options(dict(spec.framings))
    lines = [
        "from robustness import api",
        "",
        "spec = api.make_spec(",
        f"    {list(spec.model_names)!r},",
        f"    conditions=[{condition}],",
        f"    seed={spec.seed},",
        *([f"    fit={overrides['fit']!r},"] if "fit" in overrides else []),
        *([f"    side={overrides['side']},"] if "side" in overrides else []),
        *([f"    remedies={remedies!r},"] if remedies else []),
        ")",
        f"rows = api.evaluate_pictures({picture!r}, spec{labels})",
        f"print(rows[{json.dumps(columns)}])",
    ]
    return "\n".join(lines) + "\n"
