"""The options of evaluations, matches and trainings, and of all else that shows images to models.

The command line, Python, files of requests, the forms and docs have them from here; see
``base.options``. Models and conditions are no options: each of these names them in its own way.
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


class EvaluationOptions(RunOptions, EngineOptions, total=False):
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
