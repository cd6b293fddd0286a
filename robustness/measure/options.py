"""The options of evaluations, matches and trainings, and of all else that shows images to models.

The command line, Python, files of requests, the forms and docs have them from here; see
``base.options``. Models, and conditions that are not named but given whole, are no options: each of
these has them in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict

from robustness.base.errors import ParameterError
from robustness.base.options import Option


def _side(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text):
        raise ParameterError(
            f"expected a side in pixels, such as 384, got {text!r}; the side of a model is part of "
            "its description"
        )
    return int(text)


STUDY_SUITE = "study"
IMAGENET_C_SUITE = "imagenet-c"
IMAGENET_C_JPEG_SUITE = "imagenet-c-jpeg"

SUITES = (STUDY_SUITE, IMAGENET_C_SUITE, IMAGENET_C_JPEG_SUITE)


def _suite(text: str) -> str:
    if text not in SUITES and not text.endswith(".toml"):
        raise ParameterError(f"expected {', '.join(SUITES)} or a .toml file, got {text!r}")
    return text


def _strengths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ParameterError(
            f"expected a number, or several separated by commas, got {text!r}"
        ) from None


def _severities(text: str) -> list[int]:
    levels: list[int] = []
    try:
        for part in text.split(","):
            first_text, _, last_text = part.partition("-")
            first = int(first_text)
            last = int(last_text or first_text)
            # A typing error such as 1-5000000000 shall not fill the memory before the levels
            # above 5 are refused.
            last = min(last, first + 10)
            levels += range(first, last + 1)
    except ValueError:
        levels = []
    if not levels:
        raise ParameterError(f"expected such as 3, 1-5 or 1,3,5, got {text!r}")
    return levels


def _epsilons(text: str) -> list[str | float]:
    return [part.strip() for part in text.split(",") if part.strip()]


class ConditionOptions(TypedDict, total=False):
    """Conditions by name: the perturbations of a suite, or others and attacks, and how strong."""

    perturbations: Annotated[
        Sequence[str] | None,
        Option(None, "perturbations or attacks, instead of a suite", metavar="A,B", label="Which"),
    ]
    suite: Annotated[
        str | None,
        Option(
            None,
            "default: study (ten perturbations); imagenet-c-jpeg adds JPEG compression of "
            "quality 85, as in the published images; a file: its conditions, as `match` writes it",
            metavar="study|imagenet-c|imagenet-c-jpeg|FILE.toml",
            read=_suite,
            label="Perturbations",
        ),
    ]
    strengths: Annotated[
        Sequence[float] | None,
        Option(
            None,
            "one or several, from 0 to 1",
            metavar="S[,S]",
            flag="--strength",
            read=_strengths,
            label="Strengths",
        ),
    ]
    severities: Annotated[
        Sequence[int] | None,
        Option(
            None,
            "ImageNet-C severities, such as 3 or 1-5 or 1,3,5",
            metavar="1-5",
            read=_severities,
            label="Severities",
        ),
    ]
    epsilon: Annotated[
        Sequence[str | float] | None,
        Option(None, "epsilon of attacks, such as 2/255,8/255", metavar="E[,E]", read=_epsilons),
    ]
    attack_steps: Annotated[int | None, Option(None, "steps of attacks", metavar="N")]
    attack_restarts: Annotated[
        int | None, Option(None, "random starts of attacks (default: 1)", metavar="N")
    ]


_SEED = Option(0, "seed of what is random (default: 0)", metavar="N")


class ViewOptions(TypedDict, total=False):
    """How models see images, and what is random."""

    seed: Annotated[int, _SEED._replace(label="Seed")]
    fit: Annotated[
        str | None,
        Option(
            None,
            "how an image becomes square, for all models (default: as each is described)",
            metavar="crop|squash|letterbox",
            label="Fit to the square that models see",
            key="dataset_fit",
        ),
    ]
    side: Annotated[
        int | None,
        Option(
            None,
            "side of that square, for all models (default: as each is described)",
            metavar="PIXELS",
            read=_side,
            label="Side of that square (px)",
            key="dataset_side",
        ),
    ]


class RequestOptions(ViewOptions, total=False):
    """What a request has beside its models and conditions; the keys of its TOML file."""

    remedies: Annotated[
        Sequence[str],
        Option(
            (),
            "try remedies, such as median,autocontrast,tta or median+tta; see `remedies`",
            metavar="A,B",
            label="Remedies",
            key="tried_remedies",
        ),
    ]


Labelling: TypeAlias = Literal["folders", "known", "none"]
"""Where classes come from, as ``datasets`` explains it."""


class ImageOptions(TypedDict, total=False):
    """Which images of a source are evaluated, how many at once, and what their classes are."""

    limit: Annotated[
        int | None,
        Option(None, "the first N images", metavar="N", label="Max images", blank="all", least=1),
    ]
    sample: Annotated[
        int | None, Option(None, "N images drawn at random with the seed", metavar="N")
    ]
    batch: Annotated[int | None, Option(None, "images per batch (default: by memory)", metavar="N")]
    own_classes: Annotated[
        bool,
        Option(
            False,
            "predict among the classes of the dataset alone, as published for ImageNet-A and -R",
        ),
    ]
    labelling: Annotated[
        Labelling,
        Option(
            "folders",
            "true classes from subfolders or the table (default); known: the same, but other "
            "names count as no class; or none",
            flag="--labels",
            choices={
                "folders": "from subfolders or the table",
                "known": "known classes only",
                "none": "none",
            },
            label="Classes",
            help="With classes the run has accuracies, too.",
        ),
    ]


class RunOptions(RequestOptions, ImageOptions, total=False):
    """What a run depends on beside its source, models and conditions."""


class EngineOptions(TypedDict, total=False):
    """Where the work is done."""

    engine: Annotated[
        str, Option("local", "where the work is done (default: local)", metavar="local|ray")
    ]
    address: Annotated[
        str | None, Option(None, "address of a running Ray cluster", metavar="HOST:PORT")
    ]


class SpecOptions(ConditionOptions, RequestOptions, total=False):
    """What makes a request beside its models."""


class EvaluationOptions(ConditionOptions, RunOptions, EngineOptions, total=False):
    """All options of an evaluation."""


class MatchOptions(ViewOptions, total=False):
    """All options of a match; the views are those of ``MatchSettings``."""

    out: Annotated[
        str | PathLike[str] | None,
        Option(None, "write the profile, a suite for `evaluate`", metavar="FILE.toml", read=Path),
    ]
    labels: Annotated[
        str | PathLike[str] | None,
        Option(
            None,
            "labels of some PRODUCTION images, which narrow the accuracy; if there is no such "
            "file, it is written for you to fill in",
            metavar="FILE.csv",
            read=Path,
        ),
    ]


EPOCHS = 5
"""Passes over the images of a training, unless others are asked for."""


class TrainingOptions(TypedDict, total=False):
    """All options of a training, as ``hardening.Settings`` explains them."""

    epochs: Annotated[
        int, Option(EPOCHS, f"passes over the images (default: {EPOCHS})", metavar="N")
    ]
    rate: Annotated[float | None, Option(None, "learning rate (default: the model's)", metavar="R")]
    seed: Annotated[int, _SEED]
