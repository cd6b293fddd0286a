"""A budget: limits that a model must meet, in a TOML file.

::

    baseline = "runs/last"          # only needed by limits on regression

    [[limit]]                       # on all conditions together, for every model
    min_consistency = 0.6

    [[limit]]                       # on each perturbation at each strength of the run
    perturbation = "*"
    min_consistency = 0.3

    [[limit]]                       # of several limits of a kind, the last that fits counts
    model = "EfficientNet*"
    perturbation = "gaussian_*"
    strength = 0.6
    min_consistency = 0.5

    [[limit]]                       # on models behind a remedy of the run
    model = "EfficientNet*+median"
    min_accuracy = 0.6
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from robustness.base.errors import ParameterError
from robustness.base.text import did_you_mean
from robustness.base.toml import parse_toml, read_toml
from robustness.base.validation import RefusedError, StrictTable, checked, expected
from robustness.measure.condition import Condition, perturbation_name
from robustness.measure.domain import Domain, domain_of
from robustness.models.record import model_name
from robustness.statistics.threshold import MAX_ERROR

ATTACK = "max_attack_success"
"""The limit on the share of correct predictions that an attack breaks."""

FIGURES: Mapping[str, str] = {
    "min_consistency": "consistency",
    "min_accuracy": "perturbed_accuracy",
    "min_robust_accuracy": "robust_accuracy",
    "max_accuracy_drop": "drop",
    ATTACK: "flip_rate",
}
"""The figure of ``statistics`` that each limit is on."""

LOSS = "max_regression"

REGRESSIONS: Mapping[str, str] = {
    LOSS: "consistency",
    "max_accuracy_regression": "perturbed_accuracy",
    "max_robust_accuracy_regression": "robust_accuracy",
}
"""The figure of ``statistics`` for each limit on the loss against the baseline.

``max_regression`` is on the robust accuracy instead for differences under attack, which say so.
"""

BREAKING = "min_breaking_strength"

ACCEPTING = ("max_accepted_error", "min_accepted")
"""Limits on the predictions that a safe threshold accepts, over all conditions without attacks."""

MAX_RULES = 500
MAX_PATTERN = 500

Share = Annotated[float, Field(ge=0, le=1), expected("a number between 0 and 1")]
Pattern = Annotated[
    str,
    # The time to compile a pattern grows with the square of its length.
    Field(min_length=1, max_length=MAX_PATTERN),
    expected(f"a name, or a pattern such as *, of up to {MAX_PATTERN} characters"),
]


class Rule(StrictTable):
    """A table ``[[limit]]`` of the file: some limits, and where they apply.

    ``model`` and ``perturbation`` are patterns like those of file names. A ``model`` with a "+" is
    for variants, which are models behind remedies; other patterns are for models. Without a
    ``perturbation`` the limits apply to all conditions together. ``strength`` restricts them to one
    strength. ``breaking_level`` is the consistency below which a model counts as broken.
    """

    model: Annotated[Pattern, AfterValidator(model_name)] = "*"
    perturbation: Annotated[Pattern, AfterValidator(perturbation_name)] | None = None
    strength: Share | None = None
    breaking_level: Share = 0.5
    min_consistency: Share | None = Field(
        None,
        title="consistency",
        description="share of predictions that the perturbation leaves unchanged",
    )
    min_accuracy: Share | None = Field(
        None, title="accuracy", description="share of correct predictions under the perturbation"
    )
    max_accuracy_drop: Share | None = Field(
        None,
        title="accuracy drop",
        description="accuracy on the originals minus accuracy under the perturbation",
    )
    min_robust_accuracy: Share | None = Field(
        None,
        title="robust accuracy",
        description="share of labelled images that stay correct under every attack",
    )
    max_attack_success: Share | None = Field(
        None,
        title="attack success",
        description="share of correct predictions that the attack breaks (of all predictions "
        "without labels)",
    )
    min_breaking_strength: Share | None = Field(
        None,
        title="breaking strength",
        description="smallest strength of the run at which consistency falls below breaking_level",
    )
    max_accepted_error: Annotated[float | None, expected("a number between 0 and 1")] = Field(
        None,
        gt=0,
        lt=1,
        title="errors accepted",
        description="largest share of wrong predictions among those that a threshold of confidence "
        "accepts",
    )
    min_accepted: Share | None = Field(
        None,
        title="share accepted",
        description="share of predictions that the threshold for max_accepted_error accepts "
        f"(for {MAX_ERROR:g} without one)",
    )
    max_regression: Share | None = Field(
        None,
        title="consistency lost",
        description="consistency lost",
    )
    max_accuracy_regression: Share | None = Field(
        None, title="accuracy lost", description="accuracy under perturbation lost"
    )
    max_robust_accuracy_regression: Share | None = Field(
        None, title="robust accuracy lost", description="robust accuracy lost"
    )

    @property
    def limits(self) -> Mapping[str, float]:
        """The limits that the table has, by name."""
        limits = {}
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None:
                limits[name] = limit
        return limits

    @model_validator(mode="after")
    def _check(self) -> Self:
        limits = self.limits
        if not limits:
            raise RefusedError(f"expected a limit, one of {', '.join(LIMITS)}")
        has_perturbation = self.perturbation is not None
        if has_perturbation:
            for limit in ACCEPTING:
                if limit in limits:
                    raise RefusedError(f"{limit} covers all conditions: give no perturbation")
        if BREAKING in limits and (not has_perturbation or self.strength is not None):
            raise RefusedError(
                f"{BREAKING} covers all strengths of a perturbation: give perturbation, such as "
                '"*", and no strength'
            )
        if ATTACK in limits and not has_perturbation:
            raise RefusedError(f'{ATTACK} needs an attack: give perturbation, such as "*" or "pgd"')
        if self.strength is not None and not has_perturbation:
            raise RefusedError('a strength needs a perturbation: give one, such as "*" or "fog"')
        return self

    @property
    def on_variants(self) -> bool:
        """Whether the limits are on variants: models behind remedies."""
        return "+" in self.model

    def fits(self, model: str, perturbation: str | None, strength: float | None) -> bool:
        """Return whether the limits apply to a model under a perturbation at a strength.

        ``perturbation`` is None for all conditions together.
        """
        if not fnmatchcase(model, self.model):
            return False
        if self.perturbation is None or perturbation is None:
            return self.perturbation is None and perturbation is None
        if self.strength is not None:
            is_same = strength is not None and abs(strength - self.strength) < 1e-9
            if not is_same:
                return False
        return fnmatchcase(perturbation, self.perturbation)


LIMITS: Mapping[str, str] = {
    name: field.description for name, field in Rule.model_fields.items() if field.description
}
"""The kinds of limits, all in [0, 1], and a description of what each is on."""

_TITLES: Mapping[str, str] = {name: str(Rule.model_fields[name].title) for name in LIMITS}
"""What each limit is on, in two or three words."""

_OF_SCORES: Mapping[str, tuple[str, str]] = {
    "min_accuracy": ("{score}", "mean {score} under the perturbation"),
    "max_accuracy_drop": (
        "{score} drop",
        "mean {score} on the originals minus that under the perturbation",
    ),
    LOSS: ("{score} lost", "{score} lost"),
    "max_accuracy_regression": ("{score} lost", "{score} under perturbation lost"),
}
"""The limits that a run of scores can meet: what each is on there, in few words and described."""


def described(limit: str, score: str = "") -> str:
    """Return what ``limit`` is on; ``score`` is the name of the score of a run of scores."""
    if not score:
        return LIMITS[limit]
    _, description = _OF_SCORES[limit]
    return description.format(score=score)


def titled(limit: str, score: str) -> str:
    """Return what ``limit`` is on in two or three words; ``score`` is as for ``described``."""
    if not score:
        return _TITLES[limit]
    title, _ = _OF_SCORES[limit]
    return title.format(score=score)


class _File(StrictTable):
    """The tables and keys of a budget file."""

    baseline: Annotated[str | None, expected("a run's folder or id")] = None
    when_unsure: Literal["fail", "pass"] = "fail"
    limit: list[Rule] = Field(min_length=1)


@dataclass(frozen=True)
class Budget:
    """The content of a budget file.

    ``rules`` are in the order of the file. ``baseline`` is the folder or id of a run, as written.
    ``unsure_fails`` says whether a limit that is not shown to be kept fails the gate. A ``domain``
    has a limit of its own on each of its conditions.
    """

    path: Path
    rules: tuple[Rule, ...]
    baseline: str | None = None
    unsure_fails: bool = True
    domain: Domain | None = None

    @property
    def compares(self) -> bool:
        """Whether the budget has limits on regression, which need a baseline."""
        return any(set(rule.limits) & set(REGRESSIONS) for rule in self.rules)

    def check_patterns(
        self,
        rule: Rule,
        models: Sequence[str],
        conditions: Sequence[Condition],
        variants: Sequence[str] = (),
    ) -> None:
        """Raise ``ParameterError`` for a pattern of ``rule`` that matches nothing in a run.

        ``models``, ``conditions`` and ``variants`` are those of the run; models and variants are
        names.
        """
        model_names = list(models)
        if rule.on_variants:
            model_names += variants
        if not any(fnmatchcase(name, rule.model) for name in model_names):
            if rule.on_variants and not variants:
                raise ParameterError(
                    f"{self.path}: expected a run that tried remedies for "
                    f"{rule.model!r}, got one without.",
                    hint="Evaluate with --remedies.",
                )
            suggestion = did_you_mean(rule.model, model_names)
            raise ParameterError(f"{self.path}: the run has no model {rule.model!r}. {suggestion}.")
        pattern = rule.perturbation or "*"
        condition_names = tuple(dict.fromkeys(condition.name for condition in conditions))
        if not any(fnmatchcase(name, pattern) for name in condition_names):
            suggestion = did_you_mean(pattern, condition_names)
            raise ParameterError(
                f"{self.path}: the run has no perturbation {pattern!r}. {suggestion}."
            )
        if rule.strength is None:
            return
        for condition in conditions:
            for name in [*models, *variants]:
                if rule.fits(name, condition.name, condition.strength):
                    return
        raise ParameterError(
            f"{self.path}: the run has no {rule.perturbation} at strength {rule.strength:g}."
        )

    def check_limits_of_scores(self, score: str) -> None:
        """Raise ``ParameterError`` for a limit that no run of the ``score`` can meet."""
        limits: list[str] = []
        for rule in self.rules:
            limits += rule.limits
        if self.domain is not None:
            kind, _ = self.domain.limit
            limits.append(kind)
        for limit in limits:
            if limit not in _OF_SCORES:
                raise ParameterError(
                    f"{self.path}: {limit} cannot be checked: the run has scores ({score}), and no "
                    "predictions. Limit the mean score by min_accuracy."
                )


def read_budget(path: Path, data: bytes | None = None) -> Budget:
    """Return the budget in the TOML file ``path``, which may be a domain.

    ``data`` are the bytes of the file if they were read already. Raises ``ParameterError`` for an
    invalid budget.
    """
    values = read_toml(path) if data is None else parse_toml(data, path.name)
    if "ranges" in values:
        return Budget(path, (), domain=domain_of(values, str(path)))
    file = checked(_File, values, str(path))
    rule_count = len(file.limit)
    if rule_count > MAX_RULES:
        raise ParameterError(
            f"{path}: expected up to {MAX_RULES} tables [[limit]], got {rule_count:,}."
        )
    return Budget(
        path,
        tuple(file.limit),
        file.baseline,
        unsure_fails=file.when_unsure == "fail",
    )
