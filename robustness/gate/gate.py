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

A check of a run against a budget gives a verdict on each limit. It compares the limit with the 95%
interval of the figure: a minimum is kept if the whole interval is above it, and broken if the whole
interval is below it. Otherwise, and with too few images for an interval, the outcome is not shown.

The result of a check can be written as JSON, as JUnit XML, and as Markdown for a step summary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from xml.etree import ElementTree

from pydantic import AfterValidator, Field, model_validator

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError
from robustness.base.text import counted, did_you_mean, figure_text, format_figure, some, visible
from robustness.base.toml import parse_toml, read_toml
from robustness.base.validation import RefusedError, StrictTable, checked, expected
from robustness.measure.condition import Condition, named, perturbation_label, perturbation_name
from robustness.measure.domain import Domain, domain_of
from robustness.measure.request import Request
from robustness.models.record import model_name
from robustness.models.variant import Variant
from robustness.report.facts import own_preprocessing, trained_on
from robustness.report.run import RunFigures
from robustness.report.tables import flat, in_brackets
from robustness.report.threshold import THRESHOLD
from robustness.runs import Analysis, Run, compare
from robustness.runs.comparison import paired_grids
from robustness.statistics import FEWEST
from robustness.statistics.domain import FIGURES as DOMAIN_FIGURES
from robustness.statistics.domain import Judged, judge_domain
from robustness.statistics.grid import Grid
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN, ROUNDING, UNTESTED
from robustness.statistics.limits import outcome as outcome_of
from robustness.statistics.pairs import changes
from robustness.statistics.tables import model_tables
from robustness.statistics.threshold import FEWEST_UNITS, MAX_ERROR, SUITE

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


def _titled(limit: str, score: str) -> str:
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


Entry = Mapping[str, Any]
"""A record of a table of ``statistics``."""

LABEL_FREE = {"consistency", "flip_rate"}
"""Figures that need no labels."""

_NAMED = 2
"""Limits, and conditions of each, that the reason why a model is ruled out names."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one limit for one model, under one condition or under all together.

    - ``perturbation`` is None for all conditions together, and ``where`` describes the condition in
      words. A breaking strength covers all strengths, so its ``condition`` is None.
    - ``limit`` is the name of the limit, and ``wanted`` its value.
    - ``value`` is the figure, and ``low`` and ``high`` are its bounds, which are None with too few
      images. For a breaking strength, ``value`` and ``high`` are None if no strength of the run
      breaks the model. A model without a safe threshold has no figure of what it accepts.
    - ``of`` is the name of the figure in ``statistics``. For ``max_regression`` this is the robust
      accuracy under attack on labelled images, otherwise the consistency.
    - ``max_error`` is the error that a safe threshold promises, for limits on what it accepts.
    - ``requirements`` are the ids of what asks for a limit of a domain.
    - ``attacked`` is how many of the ``images`` consistency counts under attack, which are those
      with a prediction to break. It is None without attacks, and for figures that count every
      image.
    """

    model: str
    where: str = "all conditions"
    condition: str | None = None
    perturbation: str | None = None
    strength: float | None = None
    limit: str
    wanted: float
    value: float | None
    low: float | None
    high: float | None
    outcome: str
    images: int
    of: str = "consistency"
    max_error: float | None = None
    attacked: int | None = None
    requirements: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The figure and the limit, such as "61.0% on 200 images; wanted: at least 50%"."""
        if self.limit == BREAKING:
            return f"{self.figure_text}; wanted: not below {self.limit_text}"
        sign = "at least" if self.limit.startswith("min") else "at most"
        if self.outcome == UNTESTED:
            return f"{self.figure_text}; wanted: {sign} {self.limit_text}"
        images = counted(self.images, "image")
        if self._leaves_out_images:
            images += f", {self.attacked:,} attacked"
        return f"{self.figure_text} on {images}; wanted: {sign} {self.limit_text}"

    @property
    def _leaves_out_images(self) -> bool:
        """Whether the figure counts more images under perturbations than under attack."""
        return self.attacked is not None and self.attacked < self.images

    @property
    def limit_text(self) -> str:
        """The limit in the unit of the figure: a strength, or a percentage."""
        if self.limit == BREAKING:
            return f"{self.wanted:g}"
        return f"{100 * self.wanted:g}%"

    @property
    def figure_text(self) -> str:
        """The figure with its interval."""
        fields = vars(self)
        if self.limit == BREAKING:
            low = figure_text(fields, "low", "g") or "none"
            high = figure_text(fields, "high", "g") or "none"
            if low == high:
                return f"breaks at {low}"
            return f"breaks at {low} to {high}"
        if self.outcome == UNTESTED:
            return "not tested"
        if self.value is None:
            return "no threshold"
        value = format_figure(self.value, ".1%")
        bounds = in_brackets(flat({}, "value", fields), "value")
        if not bounds:
            bounds = f" (fewer than {FEWEST} images: no interval)"
        return f"{value}{self._denominator_text}{bounds}"

    @property
    def _denominator_text(self) -> str:
        """What the figure is a share of, where it is not all images."""
        if self.of == "robust_accuracy":
            return " of robust accuracy"
        if self._leaves_out_images:
            return ", under attack of predictions to break"
        if self.of in LABEL_FREE and self.limit in FIGURES and self.perturbation in ATTACKS:
            return " of predictions to break"
        return ""


@dataclass(frozen=True)
class Check:
    """The verdicts on a run.

    ``notes`` say what hardened models were trained on, and whether the preprocessing of models
    differs.
    """

    run: Run
    budget: Budget
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> list[Verdict]:
        """The verdicts that fail the gate."""
        failing = {BROKEN}
        if self.budget.unsure_fails:
            failing |= {NOT_SHOWN, UNTESTED}
        return [verdict for verdict in self.verdicts if verdict.outcome in failing]

    @property
    def passed(self) -> bool:
        return not self.broken


def check(
    budget: Budget, run: Run, baseline: Run | None = None, *, remedies: bool = False
) -> Check:
    """Check ``run`` against ``budget``.

    ``baseline`` is the run to compare with for limits on regression. With ``remedies``, each limit
    on a model counts for each of its variants in ``run`` as well.

    Raises ``ParameterError`` if a limit cannot be checked, because it matches nothing in the run,
    needs labels or needs several strengths, and ``RunError`` for a run without rows.
    """
    spec = run.manifest.spec
    variant_grids: dict[Variant, Grid] = {}
    if remedies or any(rule.on_variants for rule in budget.rules):
        variant_grids = run.rows.variant_grids()
    variant_names = [variant.name for variant in variant_grids]
    for rule in budget.rules:
        budget.check_patterns(rule, spec.model_names, spec.pooled_conditions, variant_names)
    if baseline is None and budget.compares:
        raise ParameterError(
            f"{budget.path}: a limit on regression needs a run to compare with: give a baseline."
        )
    if not run.images:
        raise ParameterError(f"The run {run.id} has no image that could be read.")
    if run.score:
        _check_for_scores(budget, run.score)
    notes = [trained_on(name, names) for name, names in run.manifest.trained_on.items()]
    notes += own_preprocessing([spec])
    rules: Sequence[Rule] = budget.rules
    if remedies:
        rules = _rules_with_variants(rules, list(variant_grids))
    limited = {}
    for variant, grid in variant_grids.items():
        if any(rule.on_variants and fnmatchcase(variant.name, rule.model) for rule in rules):
            limited[variant] = grid
    tables = _read_tables(run, baseline, limited)
    verdict_by_limit: dict[tuple[str, str, str], Verdict] = {}
    for rule in rules:
        verdicts = [*_verdicts(budget, rule, tables), *_accepting(rule, run)]
        missing = set(rule.limits) - {verdict.limit for verdict in verdicts}
        if missing:
            raise ParameterError(_reason(budget, sorted(missing)[0], rule))
        # Of several limits of a kind, the last that fits counts.
        for verdict in verdicts:
            verdict_by_limit[verdict.model, verdict.where, verdict.limit] = verdict
    verdicts = list(verdict_by_limit.values())
    if budget.domain is not None:
        names = list(spec.model_names)
        if remedies:
            names += variant_names
        worst = run.manifest.worst_within(budget.domain)
        verdicts += _domain_verdicts(budget, names, tables, worst)
    return Check(run, budget, tuple(verdicts), tuple(notes))


def _check_for_scores(budget: Budget, score: str) -> None:
    """Raise ``ParameterError`` for a limit that no run of the ``score`` can meet."""
    limits: list[str] = []
    for rule in budget.rules:
        limits += rule.limits
    if budget.domain is not None:
        kind, _ = budget.domain.limit
        limits.append(kind)
    for limit in limits:
        if limit not in _OF_SCORES:
            raise ParameterError(
                f"{budget.path}: {limit} cannot be checked: the run has scores ({score}), and no "
                "predictions. Limit the mean score by min_accuracy."
            )


def _domain_verdicts(
    budget: Budget, model_names: Sequence[str], tables: Tables, worst: Sequence[Judged]
) -> list[Verdict]:
    """Return the verdicts on each model under each condition of the domain, and the ``worst`` ones.

    Raises ``ParameterError`` for a run with none of the conditions, or without labels where the
    limit needs them.
    """
    domain = budget.domain
    assert domain is not None
    kind, bound = domain.limit
    verdicts = []
    for judged in judge_domain(domain, tables.figures, model_names, worst):
        for each in judged.all:
            verdict = Verdict(
                model=each.model,
                where=each.condition.named,
                condition=each.condition.id,
                perturbation=each.condition.name,
                strength=each.condition.strength,
                limit=kind,
                wanted=bound,
                value=each.value,
                low=each.low,
                high=each.high,
                outcome=each.outcome,
                images=each.images,
                of=DOMAIN_FIGURES[kind],
                requirements=domain.requirements_of(each.condition),
            )
            verdicts.append(verdict)
    if all(verdict.outcome == UNTESTED for verdict in verdicts):
        raise ParameterError(
            f"{budget.path}: the run has no condition of the domain {domain.name!r}: evaluate it "
            "with the domain."
        )
    if all(verdict.value is None for verdict in verdicts):
        raise ParameterError(
            f"{budget.path}: {kind} cannot be checked: the images of the run have no labels."
        )
    return verdicts


def _rules_with_variants(rules: Sequence[Rule], variants: Sequence[Variant]) -> list[Rule]:
    """Return ``rules`` with a copy of each after it for the variants that it fits.

    A rule fits a variant if it fits all models of the variant.
    """
    extended = []
    for rule in rules:
        extended.append(rule)
        if rule.on_variants:
            continue
        for variant in variants:
            if all(fnmatchcase(name, rule.model) for name in variant.models):
                extended.append(rule.model_copy(update={"model": escape(variant.name)}))
    return extended


@dataclass(frozen=True)
class Tables:
    """The figures that limits are compared with.

    ``figures`` are those of the run, and ``differences`` are from the baseline to the run, both
    with entries of ``variants``, which are names. ``unchanged`` are the models and variants that
    have the same weights and preprocessing as in the baseline. ``labelled`` is the number of images
    with a label.
    """

    figures: Sequence[Entry]
    differences: Sequence[Entry]
    variants: Set[str]
    unchanged: Set[str]
    labelled: int


def _read_tables(run: Run, baseline: Run | None, variants: Mapping[Variant, Grid]) -> Tables:
    """Return the figures of ``run`` and of its ``variants``, and what they changed by."""
    statistics = Analysis(run).figures
    grids = list(variants.values())
    tables_of_variants = model_tables(grids)
    summaries = [*statistics.summary, *(tables.summary for tables in tables_of_variants)]
    figures: list[Entry] = []
    for summary in summaries:
        # A rule without a perturbation fits entries without one.
        figures.append({**summary, "condition": None, "perturbation": None, "strength": None})
    figures += statistics.by_perturbation
    for tables in tables_of_variants:
        figures += tables.by_perturbation

    differences: list[Entry] = []
    unchanged: set[str] = set()
    if baseline is not None:
        differences += compare(baseline, run).differences
        unchanged = _unchanged_models(baseline.manifest.spec, run.manifest.spec)
        unchanged |= {variant.name for variant in variants if unchanged.issuperset(variant.models)}
        if variants:
            grids_before = list(baseline.rows.variant_grids().values())
            digests = (baseline.rows.axes.digests, run.rows.axes.digests)
            differences += changes(paired_grids((grids_before, grids), digests))
    return Tables(
        figures=figures,
        differences=differences,
        variants={variant.name for variant in variants},
        unchanged=unchanged,
        labelled=statistics.labelled,
    )


def _unchanged_models(before: Request, after: Request) -> set[str]:
    """Return the models that have the same weights and the same framing in both requests."""
    unchanged = set()
    for name in after.model_names:
        if name not in before.model_names:
            continue
        same_weights = before.of_models([name]).models == after.of_models([name]).models
        if same_weights and before.framing_of(name) == after.framing_of(name):
            unchanged.add(name)
    return unchanged


def _verdicts(budget: Budget, rule: Rule, tables: Tables) -> Iterator[Verdict]:
    """Yield the verdicts of ``rule``, but for those on what a safe threshold accepts."""
    figures = tables.figures
    differences = tables.differences
    if not rule.on_variants:
        figures = _without(figures, tables.variants)
        differences = _without(differences, tables.variants)
    for limit, bound in rule.limits.items():
        if limit in ACCEPTING:
            continue
        if limit == BREAKING:
            yield from _breaking(budget, rule, bound, figures)
            continue
        for entry in figures if limit in FIGURES else differences:
            if limit == ATTACK and entry["perturbation"] not in ATTACKS:
                continue
            if rule.fits(entry["model"], entry["perturbation"], entry["strength"]):
                verdict = _judged(limit, bound, entry, tables)
                if verdict is not None:
                    yield verdict


def _without(entries: Sequence[Entry], variants: Set[str]) -> list[Entry]:
    return [entry for entry in entries if entry["model"] not in variants]


def _judged(limit: str, bound: float, entry: Entry, tables: Tables) -> Verdict | None:
    """Return the verdict on the figure of ``entry`` that ``limit`` is on, None if it is unknown.

    Accuracies are unknown without labels.
    """
    condition = entry["condition"]
    figure = _figure_of_limit(limit, entry)
    key = figure if limit in FIGURES else f"{figure}_difference"
    value = entry.get(key)
    low = entry.get(f"{key}_low")
    high = entry.get(f"{key}_high")
    if value is None:
        return None
    attacked = _attacked_images(limit, figure, entry, tables)
    images = entry["n_images"]
    if figure not in LABEL_FREE:
        images = min(images, tables.labelled)
    elif condition is not None and attacked is not None:
        images = attacked
    if limit in REGRESSIONS:
        if _has_unmoved_predictions(figure, entry, tables):
            low = 0.0
            high = 0.0
        # A limit is on the loss, which is the difference with the other sign.
        value = _negated(value)
        least_loss = _negated(high)
        high = _negated(low)
        low = least_loss
    return Verdict(
        model=entry["model"],
        where="all conditions" if condition is None else named(condition),
        condition=condition,
        perturbation=entry["perturbation"],
        strength=entry["strength"],
        limit=limit,
        wanted=bound,
        value=value,
        low=low,
        high=high,
        outcome=outcome_of(limit, bound, low, high),
        images=images,
        of=figure,
        attacked=attacked,
    )


def _figure_of_limit(limit: str, entry: Entry) -> str:
    """Return the name in ``statistics`` of the figure of ``entry`` that ``limit`` is on."""
    if limit == LOSS:
        return str(entry["judged_by"])
    if limit in REGRESSIONS:
        return REGRESSIONS[limit]
    if limit == "min_robust_accuracy" and entry["perturbation"] in ATTACKS:
        # The accuracy under one attack is what this attack leaves.
        return "perturbed_accuracy"
    return FIGURES[limit]


def _attacked_images(limit: str, figure: str, entry: Entry, tables: Tables) -> int | None:
    """Return how many images ``figure`` counts under attack.

    Returns None for a figure that counts every image, and if no image is attacked.
    """
    if figure not in LABEL_FREE:
        return None
    if limit in FIGURES:
        attacked: int | None = entry.get("n_attacked")
        return attacked
    if entry["condition"] is not None:
        return None
    # Differences say for each condition how many images had a prediction to break in both runs.
    counts = [
        difference[f"{figure}_images"]
        for difference in tables.differences
        if difference["model"] == entry["model"] and difference["perturbation"] in ATTACKS
    ]
    return max(counts, default=None)


def _has_unmoved_predictions(figure: str, entry: Entry, tables: Tables) -> bool:
    """Return whether a model predicts the same as before under each condition of ``entry``.

    That is not asked of a model with other weights than before.
    """
    if entry["model"] not in tables.unchanged:
        return False
    # All conditions together may hide gains and losses that cancel, so each of them counts.
    for difference in tables.differences:
        if difference["model"] != entry["model"]:
            continue
        if entry["condition"] not in (None, difference["condition"]):
            continue
        if difference[f"{figure}_moved"]:
            return False
    return True


def _negated(value: float | None) -> float | None:
    if value is None:
        return None
    # Not -value, which is -0.0 for 0.
    return 0.0 - value


def _breaking(
    budget: Budget, rule: Rule, bound: float, figures: Sequence[Entry]
) -> Iterator[Verdict]:
    """Yield verdicts on the smallest strengths at which the consistency of models is too low.

    Its interval goes from the smallest strength whose interval of the consistency reaches below the
    level of the rule, to the smallest strength whose interval lies below it. Nothing is known
    between two strengths of the run, nor below the smallest one.
    """
    level = rule.breaking_level
    entries_of_series: dict[tuple[str, str], list[Entry]] = {}
    for entry in figures:
        strength = entry["strength"]
        if strength is not None and rule.fits(entry["model"], entry["perturbation"], strength):
            key = (entry["model"], entry["series"])
            entries_of_series.setdefault(key, []).append(entry)
    for (model, series), entries in entries_of_series.items():
        perturbation = entries[0]["perturbation"]
        # One strength cannot show where a model breaks.
        if len(entries) < 2:
            continue
        smallest = min(entry["strength"] for entry in entries)
        largest = max(entry["strength"] for entry in entries)
        if largest < bound - ROUNDING:
            raise ParameterError(
                f"{budget.path}: {BREAKING} of {bound:g} cannot be checked: the run has "
                f"{perturbation} up to strength {largest:g} only."
            )
        low = _first_below(level, entries, "consistency_low", unknown=0.0)
        value = _first_below(level, entries, "consistency", unknown=1.0)
        high = _first_below(level, entries, "consistency_high", unknown=1.0)
        # A model that may break at the smallest strength may break below it as well.
        may_break_earlier = low == smallest and bound < smallest - ROUNDING
        if low is None or (low >= bound - ROUNDING and not may_break_earlier):
            outcome = KEPT
        elif high is not None and high < bound - ROUNDING:
            outcome = BROKEN
        else:
            outcome = NOT_SHOWN
        yield Verdict(
            model=model,
            where=perturbation + series.removeprefix(perturbation_label(perturbation)),
            perturbation=perturbation,
            limit=BREAKING,
            wanted=bound,
            value=value,
            low=low,
            high=high,
            outcome=outcome,
            images=min(entry["n_images"] for entry in entries),
        )


def _first_below(
    level: float, entries: Sequence[Entry], key: str, *, unknown: float
) -> float | None:
    """Return the smallest strength whose rate ``key`` is below ``level``, None if none is.

    A rate that is None, as bounds are with too few images, counts as ``unknown``.
    """
    strengths = []
    for entry in entries:
        rate = unknown if entry[key] is None else entry[key]
        if rate < level:
            strengths.append(entry["strength"])
    return min(strengths, default=None)


def _accepting(rule: Rule, run: Run) -> Iterator[Verdict]:
    """Yield verdicts on the predictions that the safe threshold of each model accepts.

    A limit on their error is kept if there is a threshold that promises it. Without one it is
    broken if even the most promising threshold certainly accepts more errors, else not shown.
    """
    limits = {name: rule.limits[name] for name in ACCEPTING if name in rule.limits}
    if not limits:
        return
    max_error = rule.max_accepted_error or MAX_ERROR
    figures = RunFigures(Analysis(run), {"max_error": max_error})
    for entry in figures.answer(THRESHOLD).entries:
        if entry["strongest"] is None or not rule.fits(entry["model"], None, None):
            continue
        error = entry["error"][SUITE]
        has_threshold = entry["threshold"] is not None
        outcome_without_threshold = NOT_SHOWN
        if error["low"] is not None and error["low"] > max_error:
            outcome_without_threshold = BROKEN
        for limit, bound in limits.items():
            if limit == "min_accepted":
                figure_name = "accepted"
                interval = entry["acceptance"]
            else:
                figure_name = "error"
                interval = error
            if not has_threshold:
                outcome = outcome_without_threshold
                if limit == "min_accepted":
                    # Without a threshold nothing is accepted.
                    interval = dict.fromkeys(interval)
            elif limit == "min_accepted":
                outcome = outcome_of(limit, bound, interval["low"], interval["high"])
            else:
                outcome = KEPT
            yield Verdict(
                model=entry["model"],
                limit=limit,
                wanted=bound,
                **interval,
                outcome=outcome,
                images=entry["images"],
                of=figure_name,
                max_error=max_error,
            )


def _reason(budget: Budget, limit: str, rule: Rule) -> str:
    """Return the sentence on why ``limit`` cannot be checked for any model and condition."""
    nothing_shared = "the baseline shares no image, model and condition with this run"
    covered = "all perturbations" if rule.perturbation == "*" else rule.perturbation
    if limit == BREAKING:
        reason = (
            f"the run has {covered} at one strength only; evaluate several, such as "
            "--strength 0.2,0.4,0.6,0.8,1"
        )
    elif limit == LOSS:
        reason = f"{nothing_shared}; choose another"
    elif limit == "max_accuracy_regression":
        reason = f"{nothing_shared}, or has no labels; choose another"
    elif limit == "max_robust_accuracy_regression":
        reason = f"{nothing_shared}, or has no attack on labelled images; choose another"
    elif limit == "min_robust_accuracy":
        reason = "the run has no attack on labelled images"
    elif limit == ATTACK:
        reason = f"the run has no attack {rule.perturbation}"
    elif limit in ACCEPTING and rule.on_variants:
        reason = (
            "predictions behind a remedy have no probabilities; leave out the limit or the remedies"
        )
    elif limit in ACCEPTING:
        reason = f"it needs probabilities of at least {FEWEST_UNITS} images under perturbations"
    elif limit == "min_consistency":
        reason = "it covers no row of the run, or every attacked image was already incorrect"
    else:
        reason = "the images of the run have no labels"
    return f"{budget.path}: {limit} cannot be checked: {reason}."


def rule_out(
    budget: Budget, several: Sequence[Run], baseline: Run | None = None, *, remedies: bool = False
) -> Callable[[Run], dict[str, str]]:
    """Return a function from a run to the reasons why ``budget`` rules out models, by their ids.

    The function takes one of the runs ``several``. A limit on models that only others of them have
    does not count for a run. ``baseline`` and ``remedies`` are as for ``check``, and the function
    raises what ``check`` raises.
    """

    def has_model(run: Run, rule: Rule) -> bool:
        spec = run.manifest.spec
        names = [*spec.model_names, *(variant.name for variant in spec.variants)]
        return any(fnmatchcase(name, rule.model) for name in names)

    def reasons(run: Run) -> dict[str, str]:
        rules = []
        for rule in budget.rules:
            # A pattern that fits no run at all stays, so that ``check`` refuses it by name.
            fits_some_run = any(has_model(other, rule) for other in several)
            if has_model(run, rule) or not fits_some_run:
                rules.append(rule)
        budget_of_run = replace(budget, rules=tuple(rules))
        return exclusions(check(budget_of_run, run, baseline, remedies=remedies))

    return reasons


def exclusions(check: Check, *, said: Callable[[str], str] = named) -> dict[str, str]:
    """Return the reasons why ``check`` rules out models, by their ids.

    The reason is what a model breaks or, if it breaks nothing, what is not shown. ``said`` returns
    the words for the id of a condition, by default those of the command line.
    """
    reasons: dict[str, str] = {}
    for outcome, verb in (
        (BROKEN, "it breaks the limit on"),
        (NOT_SHOWN, "too few images to show"),
        (UNTESTED, "it was not tested on"),
    ):
        limits_of_model: dict[str, dict[str, list[str]]] = {}
        for verdict in check.broken:
            if verdict.outcome != outcome or verdict.model in reasons:
                continue
            condition = said(verdict.condition) if verdict.condition else verdict.where
            conditions_of_limit = limits_of_model.setdefault(verdict.model, {})
            conditions_of_limit.setdefault(verdict.limit, []).append(condition)
        for model, conditions_of_limit in limits_of_model.items():
            texts = []
            for limit, conditions in conditions_of_limit.items():
                texts.append(f"{_titled(limit, check.run.score)} ({some(conditions, _NAMED)})")
            reasons[model] = f"{verb} {some(texts, _NAMED)}"
    return reasons


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#!|~:$&@])")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_dict(check: Check) -> dict[str, Any]:
    """Return the result of a check as a JSON-ready record."""
    return {
        "run": check.run.id,
        "passed": check.passed,
        "notes": list(check.notes),
        "verdicts": [vars(verdict) for verdict in check.verdicts],
    }


def headline(check: Check) -> str:
    """Return the sentence on whether the run keeps its limits."""
    limits = counted(len(check.verdicts), "limit")
    if check.passed:
        largest_losses = {verdict.wanted for verdict in check.verdicts if verdict.limit == LOSS}
        only_losses = all(verdict.limit == LOSS for verdict in check.verdicts)
        if only_losses and len(largest_losses) == 1:
            points = counted(f"{100 * largest_losses.pop():g}", "point")
            return f"Release passes: no model loses more than {points}."
        verb = "holds" if len(check.verdicts) == 1 else "hold"
        return f"Release passes: {limits} {verb}."
    failing = check.broken
    broken_count = sum(verdict.outcome == BROKEN for verdict in failing)
    untested_count = sum(verdict.outcome == UNTESTED for verdict in failing)
    undecided_count = len(failing) - broken_count - untested_count
    if broken_count == 0 and untested_count:
        return f"Release fails: {untested_count} of {limits} untested, {undecided_count} undecided."
    if broken_count == 0:
        return f"Too few images to decide on the release: {undecided_count} of {limits} undecided."
    text = f"Release fails: {broken_count} of {limits} broken"
    if undecided_count:
        text += f", and {undecided_count} more undecided"
    if untested_count:
        text += f", {untested_count} untested"
    return f"{text}."


def junit(check: Check) -> bytes:
    """Return the result of a check as JUnit XML.

    It has one suite, with one test case for each limit, model and condition.
    """
    root = ElementTree.Element("testsuites")
    broken = check.broken
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_xml(f"robustness of {check.run.id}"),
        tests=str(len(check.verdicts)),
        failures=str(len(broken)),
        errors="0",
        time=f"{check.run.seconds:.3f}",
    )
    for verdict in check.verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_xml(f"robustness.{verdict.model}"),
            name=_xml(f"{verdict.limit}, {verdict.where}"),
        )
        if verdict.requirements:
            properties = ElementTree.SubElement(case, "properties")
            for requirement in verdict.requirements:
                ElementTree.SubElement(
                    properties, "property", name="requirement", value=_xml(requirement)
                )
        if verdict in broken:
            failure = ElementTree.SubElement(
                case, "failure", message=_xml(verdict.sentence), type=verdict.outcome
            )
            limit = described(verdict.limit, check.run.score)
            failure.text = _xml(f"{limit}: {verdict.sentence}")
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(verdict.sentence)
    if check.notes:
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(check.notes))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _xml(text: str) -> str:
    """Replace the characters of ``text`` that XML does not allow."""
    return _NOT_XML.sub("\ufffd", text)


_SIGNS = {BROKEN: "❌", UNTESTED: "❓", NOT_SHOWN: "⚠️", KEPT: "✅"}
"""The sign of each outcome, in the order of the table."""


def markdown(check: Check) -> str:
    """Return the result of a check as Markdown: a heading, a sentence, and a table.

    Rows of the table with limits that are broken come first.
    """
    run = check.run
    images = counted(run.images, "image")
    title = _escaped(run.manifest.dataset.title)
    lines = [
        f"## Robustness: {headline(check)}",
        "",
        f"Run {_escaped(run.id)}, {images} of {title}.",
        "",
    ]
    for note in check.notes:
        lines += [_escaped(note), ""]
    lines += [
        "| outcome | model | condition | limit | expected | measured |",
        "|---|---|---|---|---|---|",
    ]
    for outcome, sign in _SIGNS.items():
        for verdict in check.verdicts:
            if verdict.outcome != outcome:
                continue
            cells = (
                f"{sign} {outcome}",
                _escaped(verdict.model),
                _escaped(verdict.where),
                f"`{verdict.limit}`",
                verdict.limit_text,
                verdict.figure_text,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return ``text`` on one line, with invisible characters shown and Markdown escaped."""
    return _MARKDOWN.sub(r"\\\1", visible(text))
