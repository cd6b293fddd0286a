"""Criteria for the choice of a model: weights of perturbations, and limits of cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.base.text import share
from robustness.perturbations import REGISTRY
from robustness.perturbations.perturbation_text_search import find
from robustness.statistics.measurement_grid import ConditionKey
from robustness.statistics.robust_accuracy_under_attack import budgets

Floats = NDArray[np.float64]

OTHERS = "others"
"""The name for the weight of every other perturbation."""

MARGIN = 0.01
"""Default of the smallest difference that matters: 1 point."""

EQUIVALENCE = 0.02
"""Two models are as good as each other if the 95% interval of their difference lies within 2 points
to either side."""

CLEARLY_FASTER = 1.1
"""How many times as fast a model is in every turn for its speed to decide."""


@dataclass(frozen=True)
class Criteria:
    """The criteria of a choice.

    ``weights`` (0 or more) are by perturbation, risk, family or a word that finds perturbations;
    ``OTHERS`` is for all others, 1 by default. ``min_accuracy`` is a share of the
    originals, ``max_latency_ms`` milliseconds an image, ``max_megabytes`` the size of the weights
    (1 MB = 10**6 bytes). A latency whose spread reaches down to ``max_latency_ms`` meets it. A
    difference below ``margin``, a share, is a tie.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    max_megabytes: float | None = None
    margin: float = MARGIN

    @property
    def equivalence(self) -> float:
        """The largest difference of models that are as good as each other."""
        return max(EQUIVALENCE, self.margin)

    def __post_init__(self) -> None:
        for name, value, most in (
            ("min_accuracy", self.min_accuracy, 1.0),
            ("max_latency_ms", self.max_latency_ms, math.inf),
            ("max_megabytes", self.max_megabytes, math.inf),
            ("margin", self.margin, 1.0),
            *((f"weight of {name}", weight, math.inf) for name, weight in self.weights.items()),
        ):
            if value is not None and not 0 <= value <= most:
                up_to = "" if math.isinf(most) else f" to {most:g}"
                raise ParameterError(f"Expected {name} to be a number from 0{up_to}, got {value}.")


@dataclass(frozen=True)
class Cost:
    """The cost of a model; None if unknown.

    ``turns_ms`` are milliseconds of a pass over one image, in each turn of all models that were
    ``measured`` together: when, in UTC, or "". ``latency_ms`` is their median, ``latency_low_ms``
    and ``latency_high_ms`` are the fastest and the slowest turn; ``waiting`` is the share of the
    time in which the ``machine`` (processor, cores, engine) had no core free for them.
    ``megabytes`` are those of the weights, ``memory_megabytes`` those of the loaded model.
    """

    latency_ms: float | None = None
    megabytes: float | None = None
    memory_megabytes: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    waiting: float | None = None
    turns_ms: tuple[float, ...] = ()
    measured: str = ""
    machine: str = ""

    @property
    def least_ms(self) -> float | None:
        """The latency that a free machine may have at best; None if unknown."""
        low = self.latency_low_ms
        return None if low is None else low * (1 - (self.waiting or 0.0))


def reasons_against(
    accuracies: Mapping[str, float | None], criteria: Criteria, costs: Mapping[str, Cost]
) -> dict[str, str]:
    """The reasons why models are ruled out, by model; ``accuracies`` are of the originals."""
    reasons = {}
    floor = criteria.min_accuracy
    if floor is not None and all(accuracy is None for accuracy in accuracies.values()):
        raise ParameterError(
            "A floor of accuracy needs labelled images, and this run has none: leave out "
            "min_accuracy, or evaluate images with labels."
        )
    for name, accuracy in accuracies.items():
        cost = costs.get(name, Cost())
        if floor is not None and (accuracy is None or accuracy < floor):
            measured = "unknown" if accuracy is None else share(accuracy)
            reasons[name] = f"accuracy {measured}, wanted at least {share(floor)}"
        for most, value, least, what, unit in (
            (criteria.max_latency_ms, cost.latency_ms, cost.least_ms, "latency", "ms"),
            (criteria.max_megabytes, cost.megabytes, cost.megabytes, "size", "MB"),
        ):
            if most is not None and (least is None or least > most):
                measured = "unknown" if least is None else f"{value:.1f} {unit}"
                reasons[name] = f"{what} {measured}, wanted at most {most:g} {unit}"
    return reasons


def weights_of(
    keys: Sequence[ConditionKey], weight_by_name: Mapping[str, float], quantity: str
) -> tuple[Floats, dict[str, list[str]]]:
    """The weights (conditions,), and the perturbations that each name stands for."""
    if quantity == "robust_accuracy":
        if weight_by_name:
            raise ParameterError(
                "Weights are for perturbations, and this run has attacks alone: leave them out."
            )
        return np.ones(len(budgets(keys))), {}
    present = dict.fromkeys(key.perturbation for key in keys)
    weights = np.full(len(keys), weight_by_name.get(OTHERS, 1.0))
    meant: dict[str, list[str]] = {}
    for word, weight in weight_by_name.items():
        if word == OTHERS:
            continue
        # Called so, or of that risk or family, or else found by a search.
        texts = [(r.name, {r.name, r.label, r.risk, r.family}) for r in REGISTRY]
        names = {name for name, own in texts if word.casefold() in map(str.casefold, own)}
        names = names or {record.name for record in find(word).records} or {word}
        meant[word] = [name for name in present if name in names]
        if not meant[word]:
            raise ParameterError(
                f"There is nothing called {word!r} among the run's perturbations: "
                f"{', '.join(present)}. A weight is for a perturbation, or for a risk: "
                f"{', '.join(dict.fromkeys(record.risk for record in REGISTRY))}."
            )
        weights[[key.perturbation in meant[word] for key in keys]] = weight
    if not weights.any():
        raise ParameterError("Every weight is 0: expected one above 0.")
    return weights, meant
