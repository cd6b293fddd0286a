"""What a model must keep up: a TOML file of limits, checked word by word.

::

    baseline = "runs/last"          # needed for the limits of regression alone

    [[limit]]                       # over all conditions of the run, for every model
    min_consistency = 0.6

    [[limit]]                       # each perturbation at each strength of the run
    perturbation = "*"
    min_consistency = 0.3

    [[limit]]                       # the last limit of a kind that fits is the one that counts
    model = "EfficientNet*"
    perturbation = "gaussian_*"
    strength = 0.6
    min_consistency = 0.5
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError
from robustness.base.toml import check_words, read_toml

ATTACK = "max_attack_success"
"""A limit on attacks alone: how many correct predictions they break."""

FIGURES: Mapping[str, str] = {
    "min_consistency": "consistency",
    "min_accuracy": "perturbed_accuracy",
    "min_robust_accuracy": "robust_accuracy",
    "max_accuracy_drop": "drop",
    ATTACK: "flip_rate",
}
"""Limits on a figure of ``statistics``."""

REGRESSIONS: Mapping[str, str] = {
    "max_regression": "consistency",
    "max_accuracy_regression": "perturbed_accuracy",
    "max_robust_accuracy_regression": "robust_accuracy",
}
"""Limits on what a figure may have lost against the baseline."""

BREAKING = "min_breaking_strength"

LIMITS: Mapping[str, str] = {
    "min_consistency": "share of answers that the perturbation leaves",
    "min_accuracy": "share of right answers under the perturbation",
    "max_accuracy_drop": "clean accuracy minus the perturbed one",
    "min_robust_accuracy": "share of labelled images that are correct under every attack",
    ATTACK: "share of the model's correct images that the attack breaks (without labels: of all)",
    BREAKING: "smallest strength of the run at which consistency falls below breaking_level",
    "max_regression": "consistency lost against the baseline; under attack on labelled images, "
    "robust accuracy",
    "max_accuracy_regression": "perturbed accuracy lost against the baseline",
    "max_robust_accuracy_regression": "robust accuracy lost against the baseline",
}
"""The kinds of limits, all in [0, 1]."""

_PATTERNS, _NUMBERS = ("model", "perturbation"), ("strength", "breaking_level")


@dataclass(frozen=True)
class Rule:
    """Limits with what they are on.

    ``model`` and ``perturbation`` are patterns as of file names; without a perturbation the limits
    are on all conditions together. ``strength`` restricts them to one. ``breaking_level`` is the
    consistency below which a model counts as broken.
    """

    limits: Mapping[str, float]
    model: str = "*"
    perturbation: str | None = None
    strength: float | None = None
    breaking_level: float = 0.5

    def fits(self, model: str, perturbation: str | None, strength: float | None) -> bool:
        """Whether it is on that model and condition; on no perturbation: all conditions."""
        if not fnmatchcase(model, self.model):
            return False
        if self.perturbation is None or perturbation is None:
            return self.perturbation is None and perturbation is None
        same = self.strength is None or (
            strength is not None and abs(strength - self.strength) < 1e-9
        )
        return same and fnmatchcase(perturbation, self.perturbation)


@dataclass(frozen=True)
class Budget:
    """The rules in the order of the file; ``baseline`` is a run's folder or id as written.

    ``unsure_fails`` says whether a limit counts as broken that the interval leaves open.
    """

    path: Path
    rules: tuple[Rule, ...]
    baseline: str | None = None
    unsure_fails: bool = True


def read_budget(path: Path) -> Budget:
    """The budget in the TOML file ``path``.

    Raises ``ParameterError`` for a file that cannot be read, an unknown word (with the one that
    may be meant), a limit outside of [0, 1], and for no limit at all.
    """
    values = read_toml(path)
    check_words(path, values, ("baseline", "when_unsure", "limit"))
    tables = values.get("limit", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise ParameterError(f"{path}: expected at least one table [[limit]], got none.")
    rules = tuple(_rule(path, table) for table in tables)
    baseline = values.get("baseline")
    if baseline is not None and not isinstance(baseline, str):
        raise ParameterError(f"{path}: expected baseline to name a run, got {baseline!r}.")
    unsure = values.get("when_unsure", "fail")
    if unsure not in ("fail", "pass"):
        raise ParameterError(
            f'{path}: expected when_unsure to be "fail" or "pass", got {unsure!r}.'
        )
    return Budget(path, rules, baseline, unsure == "fail")


def _rule(path: Path, table: Mapping[str, Any]) -> Rule:
    check_words(path, table, (*_PATTERNS, *_NUMBERS, *LIMITS))
    given = {name: table[name] for name in _PATTERNS if name in table}
    for name, pattern in given.items():
        if not (isinstance(pattern, str) and pattern):
            raise ParameterError(f"{path}: expected {name} to be a pattern, got {pattern!r}.")
    limits = _shares(path, table, LIMITS)
    if not limits:
        raise ParameterError(
            f"{path}: a [[limit]] says nothing: expected one of {', '.join(LIMITS)}."
        )
    given |= _shares(path, table, _NUMBERS)
    if BREAKING in limits and ("perturbation" not in table or "strength" in table):
        raise ParameterError(
            f"{path}: {BREAKING} is of a perturbation over all its strengths: give perturbation = "
            '"*" or a name, and no strength.'
        )
    if ATTACK in limits and "perturbation" not in table:
        raise ParameterError(
            f'{path}: {ATTACK} is of an attack: give perturbation = "*" or the attack\'s name.'
        )
    if "strength" in table and "perturbation" not in table:
        raise ParameterError(
            f'{path}: a strength is that of a perturbation: give perturbation = "*" or a name.'
        )
    return Rule(limits, **given)


def _shares(path: Path, table: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Those of ``names`` that the table has, each of them in [0, 1]."""
    found = {name: table[name] for name in names if name in table}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ParameterError(f"{path}: expected {name} to lie between 0 and 1, got {value!r}.")
    return {name: float(value) for name, value in found.items()}
