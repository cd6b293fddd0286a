"""Texts that reproduce one condition on one image: a link, a command, Python, TOML."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from urllib.parse import urlencode

from robustness import models
from robustness.base.errors import ParameterError
from robustness.evaluation.framing_of_models import options
from robustness.evaluation.labels_and_correctness import sample_class
from robustness.evaluation.perturbation_and_attack_conditions import CLEAN, Condition
from robustness.evaluation.request import Request
from robustness.perturbations import REGISTRY
from robustness.pictures.sample_files import SAMPLE

TRUE_CLASS = "shows"
"""Parameter of a link: the true class of its image, unless it is known."""

REMEDY = "remedy"
"""Parameter of a link: the remedy whose effect is shown."""

LINK, COMMAND, PYTHON, TOML = "Link", "Command line", "Python", "TOML"

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
    condition, framing = spec.conditions[0], options(dict(spec.framings))
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
    """For each model, the command that writes what it sees, and the one that predicts that."""
    ((name, strength),) = spec.conditions[0].steps
    options_of_request = options(dict(spec.framings))
    lines = []
    for model in spec.model_names:
        image = f"{model}.png" if len(spec.model_names) > 1 else "perturbed.png"
        words = ["perturb", path, "--model", model, "--perturbation", name]
        words += ["--strength", repr(strength), "--to", image]
        if spec.seed:
            words += ["--seed", str(spec.seed)]
        for option, value in options_of_request.items():
            words += [f"--{option}", value]
        lines.append(shlex.join([*_PROGRAM, *words]))
        lines.append(predict_written(image, model, spec.framing_of(model).side))
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
