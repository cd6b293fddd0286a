"""The options of a request: which images, models and conditions, of a dataset."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.base.errors import ParameterError
from robustness.base.options import fields_of, options_of
from robustness.cli import console
from robustness.cli.console import add_options, add_shared, request_of
from robustness.measure.options import (
    ConditionOptions,
    EvaluationOptions,
    ImageOptions,
    RequestOptions,
    RunOptions,
)

if TYPE_CHECKING:
    from robustness.datasets import Dataset, ImageNetCTree
    from robustness.measure.condition import Condition
    from robustness.measure.domain import Domain
    from robustness.measure.request import Request
    from robustness.runs import Plan

_ATTACK_OPTIONS = ("epsilon", "attack_steps", "attack_restarts")
"""Options that expect an attack among the perturbations."""

_DEGREE_OPTIONS = ("strengths", "severities", *_ATTACK_OPTIONS)
"""Options that say how strong conditions are: they are refused beside --conditions."""

_REQUEST_OPTIONS = (
    "models",
    "conditions",
    "domain",
    *fields_of(ConditionOptions),
    *fields_of(RequestOptions),
)
"""Options that a request's file or run answers: they are refused beside it."""

_IMAGE_OPTIONS = tuple(fields_of(ImageOptions))
"""Options that choose images of a source and label them: they are refused beside a run."""


def add_request(evaluated: argparse.ArgumentParser, *, runs: bool = False) -> None:
    """Add the options of a request; with ``runs``, --request also names a saved run."""
    metavar = "FILE.toml"
    meaning = "read models, conditions, seed, fit and side from a file instead of options"
    if runs:
        metavar += "|RUN"
        meaning += "; or all of a saved run, and its images without a SOURCE"
    evaluated.add_argument("--request", type=Path, metavar=metavar, help=meaning)
    add_shared(evaluated, "--models")
    condition_choice = evaluated.add_mutually_exclusive_group()
    add_options(condition_choice, ConditionOptions, "perturbations", "suite")
    condition_choice.add_argument(
        "--conditions",
        metavar="C,C",
        type=_condition_texts,
        help='perturbations with their strengths, such as "fog=0.6,fog=0.2+gaussian_blur=0.4", or '
        'attacks, such as "pgd(epsilon=2/255)"',
    )
    condition_choice.add_argument(
        "--domain",
        type=Path,
        metavar="FILE.toml|PRESET",
        help="the pairs and the covering array of a domain, as `domain init` writes it, or of "
        "outdoor-camera, phone or scanner",
    )
    degree_choice = evaluated.add_mutually_exclusive_group()
    add_options(degree_choice, ConditionOptions, "strengths", "severities")
    add_options(evaluated, ConditionOptions, *_ATTACK_OPTIONS)
    add_options(evaluated, RunOptions)


def _condition_texts(text: str) -> list[str]:
    # Attacks have commas within their parentheses, too, as in pgd(epsilon=2/255,steps=5).
    comma_outside_parentheses = r",(?![^()]*\))"
    return re.split(comma_outside_parentheses, text)


def requested_run(options: argparse.Namespace) -> Path | None:
    """Return the folder of the run that --request names; None for a file or without --request."""
    from robustness.runs import folder_of

    request_path = options.request
    if request_path is None or request_path.is_file():
        return None
    if request_path.suffix == ".toml" and not request_path.is_dir():
        return None  # a file that is missing, which its reader says better
    return folder_of(str(request_path), options.out)


def plan(options: argparse.Namespace, source: str | None) -> Plan:
    """Plan the evaluation of ``source``, or repeat that of the run that --request names.

    Without ``source`` the images are those of that run. Raises ``ParameterError`` for options that
    contradict each other.
    """
    from robustness import runs
    from robustness.runs.manifest import read

    folder = requested_run(options)
    if folder is None:
        if source is None:
            raise ParameterError(
                "Expected a SOURCE, a run in --request, or a table with --predictions, got none."
            )
        request = spec(options)  # before the images, which it may have listed for them
        return runs.plan(images(options, source), request, **selection(options))
    # Remedies may be tried on the request of a run; all else is answered by the run.
    answered = [name for name in _REQUEST_OPTIONS if name != "remedies"]
    contradicting = _set_options(options, (*answered, *_IMAGE_OPTIONS))
    if contradicting:
        raise ParameterError(
            f"Expected either the run {options.request} or {contradicting}, got both."
        )
    return runs.reevaluation_plan(read(folder), source, options.remedies)


def spec(options: argparse.Namespace) -> Request:
    """Return the request, read from the file of --request or made of the options.

    Raises ``ParameterError`` for options beside a file that answers them.
    """
    from robustness.measure import request

    if options.domain is not None and options.request is None:
        return _domain_spec(options)
    if options.request is None:
        spec = request_of(options, options.models, _conditions(options))
        note = request.profile_note(options.suite or "", spec)
        if note:
            console.remark(f"robustness: {note}")
        return spec
    answered = list(_REQUEST_OPTIONS)
    if not names_models(options):
        answered.remove("models")
    contradicting = _set_options(options, answered)
    if contradicting:
        raise ParameterError(f"Expected either {options.request} or {contradicting}, got both.")
    return request.read_request(options.request, options.models)


def _domain_spec(options: argparse.Namespace) -> Request:
    from robustness.measure import request

    contradicting = _set_options(options, _DEGREE_OPTIONS)
    if contradicting:
        raise ParameterError(f"Expected either --domain or {contradicting}, got both.")
    return request.domain_spec(
        domain(options),
        options.models,
        **options_of(RequestOptions, vars(options)),
    )


def domain(options: argparse.Namespace, *, of_run: bool = False) -> Domain:
    """Return the domain of --domain: that of a file, or a preset, whose limit suits the images.

    ``of_run``: the source is a saved run, so that there are no images to look at.
    """
    from robustness.datasets import NO_LABELS, open_dataset
    from robustness.matching.domain import names_preset, open_domain

    source = _source(options)
    if of_run or not source or not names_preset(options.domain):
        return open_domain(options.domain)
    options.listed = {source: open_dataset(source)}
    has_labels = options.labelling != NO_LABELS
    return open_domain(options.domain, options.listed[source], has_labels=has_labels)


def names_models(options: argparse.Namespace) -> bool:
    """Return whether --request is given and its file names models."""
    from robustness.base.toml import read_toml

    if options.request is None:
        return False
    return bool(read_toml(options.request).get("models"))


def names_conditions(options: argparse.Namespace) -> bool:
    """Return whether an option says what the conditions are."""
    choices = ("request", "conditions", "domain", *fields_of(ConditionOptions))
    return bool(_set_options(options, choices))


def option_names(options: argparse.Namespace, *others: str, allowed: Sequence[str] = ()) -> str:
    """List the options that are set, as typed; "" for none.

    They are those of ``add_request`` and ``others``, without the ``allowed`` ones.
    """
    names = [*_REQUEST_OPTIONS, *_IMAGE_OPTIONS, "request", *others]
    return _set_options(options, [name for name in names if name not in allowed])


def _set_options(options: argparse.Namespace, names: Sequence[str]) -> str:
    """List those of the options ``names`` that differ from their defaults; "" for none."""
    declared = fields_of(EvaluationOptions)
    flags = []
    for name in names:
        if getattr(options, name) == options.parser.get_default(name):
            continue
        if name in declared:
            flags.append(declared[name].flag)
        else:
            flags.append(f"--{name.replace('_', '-')}")
    return ", ".join(flags)


def _conditions(options: argparse.Namespace) -> tuple[Condition, ...]:
    from robustness.measure.condition import Condition
    from robustness.measure.request import named_conditions

    published = _published(options)
    if published is not None:
        return _stored_conditions(options, published)
    if options.conditions:
        contradicting = _set_options(options, _DEGREE_OPTIONS)
        if contradicting:
            raise ParameterError(f"Expected either --conditions or {contradicting}, got both.")
        return tuple(Condition.parse(text) for text in options.conditions)
    return named_conditions(**options_of(ConditionOptions, vars(options)))


def _stored_conditions(
    options: argparse.Namespace, published: ImageNetCTree
) -> tuple[Condition, ...]:
    """Return the conditions of a ``published`` tree, whose images are perturbed already."""
    from robustness.measure import request

    if options.conditions:
        wrong = "--conditions"
    else:
        wrong = _set_options(options, ("suite", "strengths", *_ATTACK_OPTIONS))
    if wrong:
        raise ParameterError(
            f"{published.title} is already perturbed: expected --perturbations and "
            f"--severities at most, got {wrong}."
        )
    return request.stored_conditions(published, options.perturbations, options.severities)


def _published(options: argparse.Namespace) -> ImageNetCTree | None:
    """Return the source if it is a published tree with its originals, otherwise None.

    To tell which it is, the source is opened; ``images`` hands it on, so that it is listed once.
    """
    from robustness.datasets import PAIRED, ImageNetCTree, open_dataset

    source = _source(options)
    dataset = None
    if PAIRED in source and "://" not in source:
        dataset = open_dataset(source)
    options.listed = {source: dataset}
    if isinstance(dataset, ImageNetCTree):
        return dataset
    return None


def _source(options: argparse.Namespace) -> str:
    """Return the source of the images, which `check` calls a run, as it may be one; "" for none."""
    return getattr(options, "source", None) or getattr(options, "run", None) or ""


def images(options: argparse.Namespace, source: str) -> str | Dataset:
    """Return ``source`` for ``runs.plan``: as ``spec`` has listed it, or by its name."""
    listed: Dataset | None = getattr(options, "listed", {}).get(source)
    return listed or source


def selection(options: argparse.Namespace) -> ImageOptions:
    """Return the keywords of ``runs.plan`` for the choice of images and their labels."""
    return options_of(ImageOptions, vars(options))
