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
from robustness.base.pydantic_validation import RefusedError, StrictTable, checked, expected
from robustness.base.text import did_you_mean
from robustness.base.untrusted_toml import parse_toml, read_toml
from robustness.evaluation.perturbation_and_attack_conditions import Condition, perturbation_name
from robustness.models.model_and_weights_record import model_name
from robustness.statistics.safe_confidence_thresholds import MAX_ERROR

ATTACK = "max_attack_success"
"""Only for attacks: the share of correct predictions they break."""

FIGURES: Mapping[str, str] = {
    "min_consistency": "consistency",
    "min_accuracy": "perturbed_accuracy",
    "min_robust_accuracy": "robust_accuracy",
    "max_accuracy_drop": "drop",
    ATTACK: "flip_rate",
}
"""Limits on figures of ``statistics``."""

LOSS = "max_regression"

REGRESSIONS: Mapping[str, str] = {
    LOSS: "consistency",
    "max_accuracy_regression": "perturbed_accuracy",
    "max_robust_accuracy_regression": "robust_accuracy",
}
"""Limits on how much a figure may lose against the baseline."""

BREAKING = "min_breaking_strength"

ACCEPTING = ("max_accepted_error", "min_accepted")
"""Limits on the predictions that a safe threshold accepts, over all conditions without attacks."""

MAX_RULES, MAX_PATTERN = 500, 500

Share = Annotated[float, Field(ge=0, le=1), expected("a number between 0 and 1")]
Pattern = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PATTERN),  # reading a pattern takes the square of its length
    expected(f"a name, or a pattern such as *, of up to {MAX_PATTERN} characters"),
]


class Rule(StrictTable):
    """Limits and where they apply: a table ``[[limit]]`` of the file.

    ``model`` and ``perturbation`` are patterns as of file names. A ``model`` with a + is one behind
    a remedy; other patterns fit models without remedies. Without a perturbation the limits apply to
    all conditions together. ``strength`` restricts them to one. ``breaking_level`` is the
    consistency below which a model counts as broken. ``limits`` are those that the table has.
    """

    model: Annotated[Pattern, AfterValidator(model_name)] = "*"
    perturbation: Annotated[Pattern, AfterValidator(perturbation_name)] | None = None
    strength: Share | None = None
    breaking_level: Share = 0.5
    min_consistency: Share | None = Field(
        None, description="share of predictions that the perturbation leaves unchanged"
    )
    min_accuracy: Share | None = Field(
        None, description="share of correct predictions under the perturbation"
    )
    max_accuracy_drop: Share | None = Field(
        None, description="accuracy on the originals minus accuracy under the perturbation"
    )
    min_robust_accuracy: Share | None = Field(
        None, description="share of labelled images that stay correct under every attack"
    )
    max_attack_success: Share | None = Field(
        None,
        description="share of correct predictions that the attack breaks (of all predictions "
        "without labels)",
    )
    min_breaking_strength: Share | None = Field(
        None,
        description="smallest strength of the run at which consistency falls below breaking_level",
    )
    max_accepted_error: Annotated[float | None, expected("a number between 0 and 1")] = Field(
        None,
        gt=0,
        lt=1,
        description="largest share of wrong predictions among those that a threshold of confidence "
        "accepts",
    )
    min_accepted: Share | None = Field(
        None,
        description="share of predictions that the threshold for max_accepted_error accepts "
        f"(for {MAX_ERROR:g} without one)",
    )
    max_regression: Share | None = Field(
        None,
        description="consistency lost",
    )
    max_accuracy_regression: Share | None = Field(
        None, description="accuracy under perturbation lost"
    )
    max_robust_accuracy_regression: Share | None = Field(None, description="robust accuracy lost")

    @property
    def limits(self) -> Mapping[str, float]:
        limits = {name: getattr(self, name) for name in LIMITS}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = self.perturbation is not None
        if not self.limits:
            raise RefusedError(f"expected a limit, one of {', '.join(LIMITS)}")
        if named and (accepting := [limit for limit in ACCEPTING if limit in self.limits]):
            raise RefusedError(f"{accepting[0]} covers all conditions: give no perturbation")
        if BREAKING in self.limits and (not named or self.strength is not None):
            raise RefusedError(
                f"{BREAKING} covers all strengths of a perturbation: give perturbation, such as "
                '"*", and no strength'
            )
        if ATTACK in self.limits and not named:
            raise RefusedError(f'{ATTACK} needs an attack: give perturbation, such as "*" or "pgd"')
        if self.strength is not None and not named:
            raise RefusedError('a strength needs a perturbation: give one, such as "*" or "fog"')
        return self

    @property
    def on_remedies(self) -> bool:
        """Whether it is on models behind remedies."""
        return "+" in self.model

    def fits(self, model: str, perturbation: str | None, strength: float | None) -> bool:
        """Whether the rule applies; ``perturbation`` None stands for all conditions together."""
        if not fnmatchcase(model, self.model):
            return False
        if self.perturbation is None or perturbation is None:
            return self.perturbation is None and perturbation is None
        same = self.strength is None or (
            strength is not None and abs(strength - self.strength) < 1e-9
        )
        return same and fnmatchcase(perturbation, self.perturbation)


LIMITS: Mapping[str, str] = {
    name: field.description for name, field in Rule.model_fields.items() if field.description
}
"""The kinds of limits, all in [0, 1], and what each is a limit on."""


class _File(StrictTable):
    baseline: Annotated[str | None, expected("a run's folder or id")] = None
    when_unsure: Literal["fail", "pass"] = "fail"
    limit: list[Rule] = Field(min_length=1)


@dataclass(frozen=True)
class Budget:
    """The rules in the order of the file; ``baseline`` is a run's folder or id as written.

    ``unsure_fails`` says whether an undecided limit fails the gate.
    """

    path: Path
    rules: tuple[Rule, ...]
    baseline: str | None = None
    unsure_fails: bool = True

    @property
    def compares(self) -> bool:
        """Whether it has limits on regression, which need a baseline."""
        return any(set(rule.limits) & set(REGRESSIONS) for rule in self.rules)

    def check_patterns(
        self,
        rule: Rule,
        models: Sequence[str],
        conditions: Sequence[Condition],
        remedied: Sequence[str] = (),
    ) -> None:
        """Raise ``ParameterError`` for a pattern of ``rule`` that matches nothing in a run.

        ``remedied`` are the ids of its models behind remedies.
        """
        names = tuple(dict.fromkeys(condition.name for condition in conditions))
        for what, pattern, options in (
            ("model", rule.model, [*models, *(remedied if rule.on_remedies else ())]),
            ("perturbation", rule.perturbation or "*", names),
        ):
            if any(fnmatchcase(name, pattern) for name in options):
                continue
            if what == "model" and rule.on_remedies and not remedied:
                raise ParameterError(
                    f"{self.path}: expected a run that tried remedies for "
                    f"{pattern!r}, got one without.",
                    hint="Evaluate with --remedies.",
                )
            raise ParameterError(
                f"{self.path}: the run has no {what} {pattern!r}. {did_you_mean(pattern, options)}."
            )
        if rule.strength is not None and not any(
            rule.fits(model, condition.name, condition.strength)
            for condition in conditions
            for model in [*models, *remedied]
        ):
            raise ParameterError(
                f"{self.path}: the run has no {rule.perturbation} at strength {rule.strength:g}."
            )


def read_budget(path: Path, data: bytes | None = None) -> Budget:
    """The budget in the TOML file ``path``, from its bytes ``data`` if they are given.

    Raises ``ParameterError`` for an invalid one.
    """
    values = read_toml(path) if data is None else parse_toml(data, path.name)
    file = checked(_File, values, str(path))
    if (count := len(file.limit)) > MAX_RULES:
        raise ParameterError(f"{path}: expected up to {MAX_RULES} tables [[limit]], got {count:,}.")
    return Budget(path, tuple(file.limit), file.baseline, file.when_unsure == "fail")
