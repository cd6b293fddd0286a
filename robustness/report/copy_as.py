"""Texts that reproduce one condition on one image: a link, a command, Python, TOML."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from urllib.parse import urlencode

from robustness import models
from robustness.base.errors import ParameterError
from robustness.evaluation.condition import CLEAN, Condition
from robustness.evaluation.correctness import sample_class
from robustness.evaluation.framings import options
from robustness.evaluation.request import Request
from robustness.perturbations import REGISTRY
from robustness.pictures.samples import SAMPLE

TRUE_CLASS = "shows"
"""Parameter of a link: the true class of its image, unless it is known."""

REMEDY = "remedy"
"""Parameter of a link: the remedy whose effect is shown."""

LINK, COMMAND, PYTHON, TOML = "Link", "Command line", "Python", "TOML"

_DEFAULT_SEED = 0


def copies(
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
    said = None if sample is not None and truth == sample_class(sample) else truth
    texts = {
        COMMAND: _command(spec, picture_name, sample, said),
        PYTHON: _python(spec, picture_name, sample, truth),
        TOML: _toml(spec, sample),
    }
    linked = sample is not None and not spec.conditions[0].needs_model
    return {LINK: _link(spec, str(sample), said), **texts} if linked else texts


def link_values(condition: Condition) -> dict[str, str]:
    """The perturbations of ``condition`` as parameters of a link to the Live page."""
    return {
        name: _number(strength) if REGISTRY[name].graded else "true"
        for name, strength in condition.steps
        if strength > 0
    }


def query(values: Mapping[str, str | list[str]]) -> str:
    """``values`` as the part of a link from its question mark on."""
    return f"?{urlencode(values, doseq=True)}"


def _number(value: float) -> str:
    """The shortest text that reads back as ``value``."""
    return repr(float(value)).removesuffix(".0")


def _link(spec: Request, sample: str, truth: str | None) -> str:
    # Every link names the sample: without parameters the Live page shows a first visit.
    values: dict[str, str | list[str]] = {"sample": sample, **link_values(spec.conditions[0])}
    if truth is not None:
        values[TRUE_CLASS] = truth
    if spec.model_names != models.default_names():
        values["models"] = list(spec.model_names)
    if spec.seed != _DEFAULT_SEED:
        values["seed"] = str(spec.seed)
    values |= options(dict(spec.framings))
    for chain in spec.remedies:
        values[REMEDY] = chain.id
    return query(values)


def _command(spec: Request, picture_name: str, sample: str | None, truth: str | None) -> str:
    condition = spec.conditions[0]
    image = _path(picture_name, sample)
    words = ["python", "-m", "robustness", "predict", image, "--models", ",".join(spec.model_names)]
    words += ["--under", CLEAN if condition.idle else condition.id]
    if truth is not None:
        words += ["--true-class", truth]
    if spec.seed != _DEFAULT_SEED:
        words += ["--seed", str(spec.seed)]
    for option, value in options(dict(spec.framings)).items():
        words += [f"--{option}", value]
    if spec.remedies:
        words += ["--remedies", ",".join(chain.id for chain in spec.remedies)]
    return shlex.join(words)


def _path(name: str, sample: str | None) -> str:
    """The sample, or the file ``name`` in a form that is no option and no sample."""
    if sample is not None:
        return f"{SAMPLE}{sample}"
    return f"./{name}" if name.startswith(("-", SAMPLE)) else name


def _python(spec: Request, picture_name: str, sample: str | None, truth: str | None) -> str:
    values = spec.conditions[0].as_dict()
    if "attack" in values:
        settings = ", ".join(f"{k}={v!r}" for k, v in values.items() if k != "attack")
        condition = f"api.Condition.attack({values['attack']!r}, {settings})"
    else:
        condition = f"api.Condition.of({values!r})"
    picture = {picture_name: _path(picture_name, sample)}
    truths = {picture_name: truth}
    labels = "" if truth is None else f", labels={truths!r}"
    columns = ["model", "clean_top1", "top1", "probability", "consistent"]
    columns += ["correct"] * (truth is not None) + ["remedies"] * bool(spec.remedies)
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


def _toml(spec: Request, sample: str | None) -> str:
    source = "samples" if sample else "PHOTOS"
    return f"# python -m robustness evaluate {source} --request FILE.toml\n{spec.as_toml()}"
