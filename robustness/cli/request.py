"""The options of a request: which images, models and conditions, of a dataset."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.cli import console
from robustness.cli.console import add_shared, names, request_of

if TYPE_CHECKING:
    from robustness.datasets import ImageNetCTree
    from robustness.measure.condition import Condition
    from robustness.measure.request import Request
    from robustness.runs import Plan

_REQUEST_OPTIONS = (
    "models",
    "perturbations",
    "conditions",
    "suite",
    "strength",
    "severities",
    "epsilon",
    "attack_steps",
    "attack_restarts",
    "seed",
    "fit",
    "side",
    "remedies",
)
"""Options that a request's file or run says: they are refused beside it."""

_SELECTION = ("limit", "sample", "batch", "labels", "own_classes")
"""Options for the images of a source: they are refused beside a run."""

_DEGREES = ("strength", "severities", "epsilon", "attack_steps", "attack_restarts")
"""Those of ``_REQUEST_OPTIONS`` that conditions have: they are refused beside --conditions."""


def add_request(evaluated: argparse.ArgumentParser, *, runs: bool = False) -> None:
    """Add the options of a request; with ``runs``, --request also names a saved run."""
    of_run = "; or all of a saved run, and its images without a SOURCE" if runs else ""
    evaluated.add_argument(
        "--request",
        type=Path,
        metavar="FILE.toml|RUN" if runs else "FILE.toml",
        help=f"read models, conditions, seed, fit and side from a file instead of options{of_run}",
    )
    add_shared(evaluated, "--models")
    which = evaluated.add_mutually_exclusive_group()
    which.add_argument(
        "--perturbations",
        metavar="A,B",
        type=names,
        help="perturbations or attacks, instead of a suite",
    )
    which.add_argument(
        "--suite",
        type=_suite,
        metavar="study|imagenet-c|imagenet-c-jpeg|FILE.toml",
        help="default: study (ten perturbations); imagenet-c-jpeg adds JPEG compression of "
        "quality 85, as in the published images; a file: its conditions, as `match` writes it",
    )
    which.add_argument(
        "--conditions",
        metavar="C,C",
        type=_written,
        help='perturbations with their strengths, such as "fog=0.6,fog=0.2+gaussian_blur=0.4", or '
        'attacks, such as "pgd(epsilon=2/255)"',
    )
    how = evaluated.add_mutually_exclusive_group()
    how.add_argument(
        "--strength", type=_strengths, metavar="S[,S]", help="one or several, from 0 to 1"
    )
    evaluated.add_argument(
        "--epsilon", metavar="E[,E]", type=names, help="epsilon of attacks, such as 2/255,8/255"
    )
    evaluated.add_argument("--attack-steps", type=int, metavar="N", help="steps of attacks")
    evaluated.add_argument(
        "--attack-restarts", type=int, metavar="N", help="random starts of attacks (default: 1)"
    )
    how.add_argument(
        "--severities",
        type=_severities,
        metavar="1-5",
        help="ImageNet-C severities, such as 3 or 1-5 or 1,3,5",
    )
    add_shared(evaluated, "--seed", "--fit", "--side", "--remedies")
    evaluated.add_argument("--limit", type=int, metavar="N", help="the first N images")
    evaluated.add_argument(
        "--sample", type=int, metavar="N", help="N images drawn at random with the seed"
    )
    evaluated.add_argument(
        "--batch", type=int, metavar="N", help="images per batch (default: by memory)"
    )
    evaluated.add_argument(
        "--own-classes",
        action="store_true",
        help="predict among the classes of the dataset alone, as published for ImageNet-A and -R",
    )
    evaluated.add_argument(
        "--labels",
        choices=("folders", "known", "none"),
        default="folders",
        help="true classes from subfolders or the table (default); known: the same, but other "
        "names count as no class; or none",
    )


def _suite(text: str) -> str:
    if text not in ("study", "imagenet-c", "imagenet-c-jpeg") and not text.endswith(".toml"):
        raise argparse.ArgumentTypeError(
            f"expected study, imagenet-c, imagenet-c-jpeg or a .toml file, got {text!r}"
        )
    return text


def _written(text: str) -> list[str]:
    """Conditions separated by commas, which attacks have within their parentheses, too."""
    return re.split(r",(?![^()]*\))", text)


def _strengths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, or several separated by commas, got {text!r}"
        ) from None


def _severities(text: str) -> list[int]:
    levels: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            start = int(first)
            stop = min(int(last or first), start + 10)  # larger ones are refused later
            levels += range(start, stop + 1)
    except ValueError:
        levels = []
    if not levels:
        raise argparse.ArgumentTypeError(f"expected such as 3, 1-5 or 1,3,5, got {text!r}")
    return levels


def requested_run(options: argparse.Namespace) -> Path | None:
    """The folder of the run that --request names; None for a file, and without --request."""
    from robustness import runs

    named = options.request
    if named is None or named.is_file() or (named.suffix == ".toml" and not named.is_dir()):
        return None
    return runs.folder_of(str(named), options.out)


def plan(options: argparse.Namespace, source: str | None) -> Plan:
    """What to evaluate on ``source``, or what the run of --request did.

    Without ``source`` the images are those of that run.
    """
    from robustness import runs
    from robustness.runs.manifest import read

    folder = requested_run(options)
    if folder is None:
        if source is None:
            raise ParameterError(
                "Expected a SOURCE, a run in --request, or a table with --predictions, got none."
            )
        request = spec(options)  # which may list the images
        return runs.plan(images(options, source), request, **selection(options))
    own = [name for name in _REQUEST_OPTIONS if name != "remedies"]
    if twice := _option_names(options, (*own, *_SELECTION)):
        raise ParameterError(f"Expected either the run {options.request} or {twice}, got both.")
    return runs.reevaluation_plan(read(folder), source, options.remedies)


def spec(options: argparse.Namespace) -> Request:
    """The request, from a file or from the options."""
    from robustness.measure import request
    from robustness.measure.request import read_request

    if options.request is None:
        spec = request_of(options, options.models, _conditions(options))
        if note := request.profile_note(options.suite or "", spec):
            console.remark(f"robustness: {note}")
        return spec
    own = [name for name in _REQUEST_OPTIONS if name != "models" or names_models(options)]
    if twice := _option_names(options, own):
        raise ParameterError(f"Expected either {options.request} or {twice}, got both.")
    return read_request(options.request, options.models)


def names_models(options: argparse.Namespace) -> bool:
    """Whether the file of --request names models."""
    from robustness.base.toml import read_toml

    return options.request is not None and bool(read_toml(options.request).get("models"))


def option_names(options: argparse.Namespace, *others: str) -> str:
    """The names of the given options, of ``add_request`` and ``others``; "" for none."""
    return _option_names(options, (*_REQUEST_OPTIONS, *_SELECTION, "request", *others))


def _option_names(options: argparse.Namespace, names: Sequence[str]) -> str:
    default = options.parser.get_default
    set_options = (name for name in names if getattr(options, name) != default(name))
    return ", ".join(f"--{name.replace('_', '-')}" for name in set_options)


def _conditions(options: argparse.Namespace) -> tuple[Condition, ...]:
    from robustness.attacks import REGISTRY as ATTACKS
    from robustness.measure import request
    from robustness.measure.condition import Condition

    if published := _published(options):
        wrong = ("suite", "strength", "epsilon", "attack_steps", "attack_restarts")
        if options.conditions or (twice := _option_names(options, wrong)):
            raise ParameterError(
                f"{published.title} is already perturbed: expected --perturbations and "
                f"--severities at most, got {'--conditions' if options.conditions else twice}."
            )
        return request.stored_conditions(published, options.perturbations, options.severities)
    if options.conditions:
        if twice := _option_names(options, _DEGREES):
            raise ParameterError(f"Expected either --conditions or {twice}, got both.")
        return tuple(Condition.parse(text) for text in options.conditions)
    attacks = [name for name in options.perturbations or () if ATTACKS.find(name)]
    attacked = _attacks(options, attacks)
    plain = [name for name in options.perturbations or () if name not in attacks]
    if attacks and not plain:
        if options.strength is not None or options.severities:
            raise ParameterError(
                "Attacks take no --strength or --severities: expected --epsilon, such as "
                "2/255,8/255."
            )
        return attacked
    suite = options.suite or request.STUDY_SUITE
    severities = options.severities
    fixed = suite == request.STUDY_SUITE or suite.endswith(".toml")
    if not fixed and options.strength is None:
        severities = severities or request.SEVERITIES
    degrees = {"strengths": options.strength, "severities": severities}
    if plain:
        return (*request.graded_conditions(plain, **degrees), *attacked)
    return request.suite_conditions(suite, **degrees)


def _published(options: argparse.Namespace) -> ImageNetCTree | None:
    """The source, if it is a published tree with its originals; ``images`` takes it as listed."""
    from robustness.datasets import PAIRED, ImageNetCTree, open_dataset

    source = getattr(options, "source", None) or getattr(options, "run", None) or ""
    dataset = open_dataset(source) if PAIRED in source and "://" not in source else None
    options.listed = {source: dataset}
    return dataset if isinstance(dataset, ImageNetCTree) else None


def _attacks(options: argparse.Namespace, names: list[str]) -> tuple[Condition, ...]:
    """The attacks ``names`` at every epsilon.

    Steps and restarts apply to the attacks that have any; if none has, they are refused.
    """
    from robustness.attacks import REGISTRY, parse_epsilon
    from robustness.measure.condition import Condition

    restarts = 1 if options.attack_restarts is None else options.attack_restarts
    if _option_names(options, ("epsilon", "attack_steps", "attack_restarts")) and not names:
        raise ParameterError(
            "--epsilon, --attack-steps and --attack-restarts expect an attack in --perturbations. "
            f"Known: {', '.join(REGISTRY.names)}."
        )
    records = [REGISTRY[name] for name in names]
    stepping = [record for record in records if record.most_steps > 1] or records
    random = [record for record in records if record.random] or records
    epsilons = [parse_epsilon(text) for text in options.epsilon or ["8/255"]]
    return tuple(
        Condition.attack(
            record.name,
            epsilon=epsilon,
            steps=options.attack_steps if record in stepping else None,
            restarts=restarts if record in random else 1,
        )
        for record in records
        for epsilon in dict.fromkeys(epsilons)
    )


def images(options: argparse.Namespace, source: str) -> str | ImageNetCTree:
    """``source``, as it is listed already if it is."""
    listed: str | ImageNetCTree = getattr(options, "listed", {}).get(source) or source
    return listed


def selection(options: argparse.Namespace) -> dict[str, Any]:
    """Which images, and where their labels come from, for ``runs.plan``."""
    return {
        "labelling": options.labels,
        **{name: getattr(options, name) for name in ("limit", "sample", "batch", "own_classes")},
    }
