"""The options of the choice of a model and of safe thresholds; see ``base.options``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, TypedDict

from robustness.base.errors import ParameterError
from robustness.base.options import Option
from robustness.statistics.choice import MARGIN
from robustness.statistics.threshold import MAX_ERROR


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(","):
        part = part.strip()
        if not part:  # as after a comma at the end
            continue
        name, sign, number = part.rpartition("=")
        name = name.strip()
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan  # which fails the comparison below
        if not sign or not name or not 0 <= weight < math.inf:
            raise ParameterError(f"expected NAME=NUMBER with a number of 0 or more, got {part!r}")
        if name in weights:
            raise ParameterError(f"expected each name once, got {name!r} twice")
        weights[name] = weight
    return weights


class ChoiceOptions(TypedDict, total=False):
    """All options of a choice, as ``Criteria`` explains them."""

    weights: Annotated[
        Mapping[str, float] | None,
        Option(
            None,
            'how much perturbations or risks matter, such as "low light=3,fog=2,others=0" '
            "(default: each 1)",
            metavar="A=N,B=N",
            read=_weights,
            label="What matters most",
            help="Counts three times as much as the rest.",
            blank="all alike",
            key="matters",
        ),
    ]
    min_accuracy: Annotated[
        float | None,
        Option(
            None,
            "on the originals",
            metavar="SHARE",
            label="Min accuracy on originals, %",
            blank="none",
            scale=100.0,
            most=100.0,
        ),
    ]
    max_latency_ms: Annotated[
        float | None,
        Option(
            None,
            "milliseconds for one image, as measured in the run",
            metavar="N",
            label="Max latency, ms",
            blank="none",
        ),
    ]
    max_megabytes: Annotated[
        float | None,
        Option(None, "size of the weights", metavar="N", label="Max size, MB", blank="none"),
    ]
    margin: Annotated[
        float,
        Option(
            MARGIN,
            "a smaller difference is a tie (default: 0.01)",
            metavar="SHARE",
            label="Smallest difference that matters, points",
            blank="1",
            scale=100.0,
            most=100.0,
        ),
    ]
    worst_pair: Annotated[
        bool,
        Option(
            False,
            "rank by the worst pair of the run's domain instead of all conditions",
            label="Rank by the worst pair of the domain",
            help="Each model's worst pair of perturbations, found on one half of the images and "
            "judged on the other.",
        ),
    ]
    remedies: Annotated[
        bool,
        Option(
            False,
            "also rank each model with each remedy of the run",
            label="Include remedies",
            help="Also rank each model with each remedy.",
            key="choose_remedies",
        ),
    ]


class ThresholdOptions(TypedDict, total=False):
    """The options of safe thresholds."""

    max_error: Annotated[
        float,
        Option(
            MAX_ERROR,
            f"share of accepted predictions that may be wrong (default: {MAX_ERROR:g})",
            metavar="SHARE",
            label="Max error among accepted, %",
            blank=f"{100 * MAX_ERROR:g}",
            scale=100.0,
            most=99.0,
        ),
    ]
    each_condition: Annotated[
        bool,
        Option(
            False,
            "keep the promise in each condition, not over all together; this needs many images",
            label="In each condition",
            help="Otherwise over all conditions together. This needs many images.",
        ),
    ]
