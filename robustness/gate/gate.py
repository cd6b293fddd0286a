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

Verdicts on the limits of a budget: kept, broken, or not shown with so few images.

A verdict compares the limit with the 95% interval of the figure. A minimum is kept if the whole
interval is above it, and broken if the whole interval is below it. Otherwise, and with too few
images for an interval, it is not shown.

Output of a check: JSON, JUnit XML, and Markdown for a step summary.
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
from robustness.models.record import model_name
from robustness.report.facts import own_preprocessing, trained_on
from robustness.report.run import RunFigures
from robustness.report.tables import flat, in_brackets
from robustness.report.threshold import THRESHOLD
from robustness.runs import Run, compare
from robustness.runs.comparison import paired_grids
from robustness.runs.remedies import RemediedModel, remedied_models, remedied_names
from robustness.statistics import FEWEST
from robustness.statistics.pairs import changes
from robustness.statistics.tables import model_tables
from robustness.statistics.threshold import FEWEST_UNITS, MAX_ERROR, SUITE

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

MAX_RULES = 500
MAX_PATTERN = 500

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

_TITLES: Mapping[str, str] = {name: str(Rule.model_fields[name].title) for name in LIMITS}
"""What each is a limit on, in two or three words."""


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


KEPT = "kept"
BROKEN = "broken"
NOT_SHOWN = "not shown"

Entry = Mapping[str, Any]

LABEL_FREE = {"consistency", "flip_rate"}
"""Figures that need no labels."""

_NAMED = 2
"""Limits of a budget, and conditions of each, that the reason why a model is ruled out names."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One limit on one model and condition; without ``perturbation``, on all conditions together.

    ``where`` describes the condition. ``value`` is the figure, with its bounds ``low`` and ``high``
    (None with too few images). A breaking strength covers all strengths, so its ``condition`` is
    None; ``value`` and ``high`` are None if no strength of the run breaks the model. What a model
    accepts without a safe threshold has no figure. ``of`` names the figure as ``statistics`` does;
    for ``max_regression`` it is the robust accuracy under attack on labelled images, otherwise the
    consistency. ``max_error`` is what a threshold promises, for limits on accepted predictions.
    ``attacked`` is how many of the ``images`` consistency counts under attack: those with a
    prediction to break. None without attacks, and for figures that count every image.
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

    @property
    def sentence(self) -> str:
        """The figure and the limit."""
        if self.limit == BREAKING:
            return f"{self.figure_text}; wanted: not below {self.limit_text}"
        sign = "at least" if self.limit.startswith("min") else "at most"
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
        return f"{self.wanted:g}" if self.limit == BREAKING else f"{100 * self.wanted:g}%"

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
    """The verdicts on a run; ``broken`` are those that fail the gate.

    ``notes`` say what hardened models were trained on.
    """

    run: Run
    budget: Budget
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> list[Verdict]:
        failing = {BROKEN, NOT_SHOWN} if self.budget.unsure_fails else {BROKEN}
        return [verdict for verdict in self.verdicts if verdict.outcome in failing]

    @property
    def passed(self) -> bool:
        return not self.broken


def check(
    budget: Budget, run: Run, baseline: Run | None = None, *, remedies: bool = False
) -> Check:
    """Check ``run`` against ``budget``; ``baseline`` is the run that the budget names.

    With ``remedies`` a limit on a model is one on it behind each remedy of ``run``, too. Raises
    ``ParameterError`` if a limit cannot be checked, because it matches nothing in the run, needs
    labels or needs several strengths; ``RunError`` for a run without rows.
    """
    remedied: list[RemediedModel] = []
    if remedies or any(rule.on_remedies for rule in budget.rules):
        remedied = remedied_models(run, run.rows.grids())
    for rule in budget.rules:
        names = [model.id for model in remedied]
        spec = run.manifest.spec
        budget.check_patterns(rule, spec.model_names, spec.pooled_conditions, names)
    if baseline is None and budget.compares:
        raise ParameterError(
            f"{budget.path}: a limit on regression needs a run to compare with: give a baseline."
        )
    if not run.images:
        raise ParameterError(f"The run {run.id} has no image that could be read.")
    notes = (
        *(trained_on(*entry) for entry in run.manifest.trained_on.items()),
        *own_preprocessing([run.manifest.spec]),
    )
    rules = [*_extended(budget.rules, remedied)] if remedies else budget.rules
    patterns = [rule.model for rule in rules if rule.on_remedies]
    limited = [e for e in remedied if any(fnmatchcase(e.id, pattern) for pattern in patterns)]
    tables = _tables(run, baseline, limited)
    verdict_by_limit: dict[tuple[Any, ...], Verdict] = {}
    for rule in rules:
        verdicts = [*_verdicts(budget, rule, tables), *_accepting(rule, run)]
        missing = set(rule.limits) - {verdict.limit for verdict in verdicts}
        if missing:
            raise ParameterError(_reason(budget, sorted(missing)[0], rule))
        for verdict in verdicts:  # a later rule replaces an earlier one
            verdict_by_limit[verdict.model, verdict.where, verdict.limit] = verdict
    return Check(run, budget, tuple(verdict_by_limit.values()), notes)


def _extended(rules: Sequence[Rule], remedied: Sequence[RemediedModel]) -> Iterator[Rule]:
    """``rules``, each on a model followed by one for every remedy before it."""
    for rule in rules:
        yield rule
        for model in [] if rule.on_remedies else remedied:
            if all(fnmatchcase(name, rule.model) for name in model.names):
                yield rule.model_copy(update={"model": escape(model.id)})


@dataclass(frozen=True)
class Tables:
    """The figures that limits are compared with.

    ``remedied`` are the models behind remedies, ``unchanged`` those with the weights and the
    preprocessing that they had; ``labelled`` counts images.
    """

    figures: Sequence[Entry]
    differences: Sequence[Entry]
    remedied: Set[str]
    unchanged: Set[str]
    labelled: int


def _tables(run: Run, baseline: Run | None, remedied: Sequence[RemediedModel]) -> Tables:
    figures = run.figures()
    spec = run.manifest.spec
    grids = [model.grid for model in remedied]
    of_remedies = model_tables(grids)
    wholes = [*figures.summary, *(own.summary for own in of_remedies)]
    all_conditions = dict.fromkeys(("condition", "perturbation", "strength"))
    differences: list[Entry] = []
    unchanged: set[str] = set()
    if baseline is not None:
        differences += compare(baseline, run).differences
        before = baseline.manifest.spec
        unchanged |= {
            name
            for name in spec.model_names
            if name in before.model_names
            and before.of_models([name]).models == spec.of_models([name]).models
            and before.framing_of(name) == spec.framing_of(name)
        }
        unchanged |= {model.id for model in remedied if unchanged >= {*model.names}}
    if baseline is not None and remedied:
        first = [model.grid for model in remedied_models(baseline, baseline.rows.grids())]
        digests = baseline.rows.axes.digests, run.rows.axes.digests
        differences += changes(paired_grids((first, grids), digests))
    return Tables(
        figures=[
            *({**whole, **all_conditions} for whole in wholes),
            *figures.by_perturbation,
            *(entry for own in of_remedies for entry in own.by_perturbation),
        ],
        differences=differences,
        remedied={model.id for model in remedied},
        unchanged=unchanged,
        labelled=figures.labelled,
    )


def _verdicts(budget: Budget, rule: Rule, tables: Tables) -> Iterator[Verdict]:
    figures = tables.figures
    differences = tables.differences
    if not rule.on_remedies:
        figures = _without_remedies(figures, tables.remedied)
        differences = _without_remedies(differences, tables.remedied)
    for limit, bound in rule.limits.items():
        if limit == BREAKING:
            yield from _breaking(budget, rule, bound, figures)
            continue
        if limit in ACCEPTING:
            continue
        for entry in figures if limit in FIGURES else differences:
            if limit == ATTACK and entry["perturbation"] not in ATTACKS:
                continue
            if rule.fits(entry["model"], entry["perturbation"], entry["strength"]):
                yield from _judged(limit, bound, entry, tables)


def _without_remedies(entries: Sequence[Entry], remedied: Set[str]) -> list[Entry]:
    return [entry for entry in entries if entry["model"] not in remedied]


def _judged(limit: str, bound: float, entry: Entry, tables: Tables) -> Iterator[Verdict]:
    """The verdict on one figure; nothing if it is unknown without labels."""
    condition = entry["condition"]
    figure = _figure_of_limit(limit, entry)
    if limit in FIGURES:
        key = figure
    else:
        key = f"{figure}_difference"
    value = entry.get(key)
    low = entry.get(f"{key}_low")
    high = entry.get(f"{key}_high")
    if value is None:
        return
    attacked = _attacked_images(limit, figure, entry, tables)
    images = entry["n_images"]
    if figure not in LABEL_FREE:
        images = min(images, tables.labelled)
    elif condition is not None and attacked is not None:
        images = attacked
    if limit in REGRESSIONS:
        if _has_unmoved_predictions(figure, entry, tables):
            low = high = 0.0
        # A limit is on the loss, which is the difference with the other sign.
        value = _negated(value)
        least_loss = _negated(high)
        high = _negated(low)
        low = least_loss
    yield Verdict(
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
        outcome=_outcome(limit, bound, low, high),
        images=images,
        of=figure,
        attacked=attacked,
    )


def _figure_of_limit(limit: str, entry: Entry) -> str:
    """The name in ``statistics`` of the figure of ``entry`` that ``limit`` is on."""
    if limit == LOSS:
        return str(entry["judged_by"])
    if limit in REGRESSIONS:
        return REGRESSIONS[limit]
    if limit == "min_robust_accuracy" and entry["perturbation"] in ATTACKS:
        return "perturbed_accuracy"  # what one attack leaves
    return FIGURES[limit]


def _attacked_images(limit: str, figure: str, entry: Entry, tables: Tables) -> int | None:
    """How many images the figure counts under attack; None if it counts every image or none is."""
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
    """Whether a model with the same weights as before predicts the same under each condition."""
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
    return 0.0 - value  # not -value, which gives -0.0


_ROUNDING = 1e-9  # of sums: 0.6 - 0.4 is not quite 0.2


def _outcome(limit: str, bound: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return NOT_SHOWN
    if limit.startswith("max"):
        bound, low, high = -bound, -high, -low
    if low >= bound - _ROUNDING:
        return KEPT
    return BROKEN if high < bound - _ROUNDING else NOT_SHOWN


def _breaking(
    budget: Budget, rule: Rule, bound: float, figures: Sequence[Entry]
) -> Iterator[Verdict]:
    """Verdicts on the strengths at which consistency falls below the rule's level.

    ``low`` is the smallest strength whose interval reaches below the level, ``high`` the smallest
    whose interval lies below it. Nothing is known between two strengths of the run, nor below the
    smallest one.
    """
    level = rule.breaking_level
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in figures:
        name = entry["perturbation"]
        if entry["strength"] is not None and rule.fits(entry["model"], name, entry["strength"]):
            groups.setdefault((entry["model"], entry["series"]), []).append(entry)
    for (model, series), entries in groups.items():
        perturbation = entries[0]["perturbation"]
        if len(entries) < 2:
            continue  # one strength cannot show where a model breaks
        smallest = min(entry["strength"] for entry in entries)
        largest = max(entry["strength"] for entry in entries)
        if largest < bound - _ROUNDING:
            raise ParameterError(
                f"{budget.path}: {BREAKING} of {bound:g} cannot be checked: the run has "
                f"{perturbation} up to strength {largest:g} only."
            )
        low = _first_below(level, entries, "consistency_low", unknown=0.0)
        value = _first_below(level, entries, "consistency", unknown=1.0)
        high = _first_below(level, entries, "consistency_high", unknown=1.0)
        unseen = low == smallest and bound < smallest - _ROUNDING
        holds = low is None or (low >= bound - _ROUNDING and not unseen)
        if holds:
            outcome = KEPT
        elif high is not None and high < bound - _ROUNDING:
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
    """The smallest strength whose rate ``key`` is below ``level``, None if none is.

    A rate that is None, as bounds are with too few images, counts as ``unknown``.
    """
    strengths = []
    for entry in entries:
        rate = unknown if entry[key] is None else entry[key]
        if rate < level:
            strengths.append(entry["strength"])
    return min(strengths, default=None)


def _accepting(rule: Rule, run: Run) -> Iterator[Verdict]:
    """Verdicts on the predictions that the safe threshold of each model accepts.

    The error is kept if a threshold promises it. Without one it is broken where even the most
    promising threshold certainly accepts more errors, else not shown.
    """
    limits = {name: rule.limits[name] for name in ACCEPTING if name in rule.limits}
    if not limits:
        return
    max_error = rule.max_accepted_error or MAX_ERROR
    options = {"max_error": max_error}
    for entry in RunFigures(run, options=options).answer(THRESHOLD).entries:
        if entry["strongest"] is None or not rule.fits(entry["model"], None, None):
            continue
        low = entry["error"][SUITE]["low"]
        missing = BROKEN if low is not None and low > max_error else NOT_SHOWN
        for limit, bound in limits.items():
            accepted = limit == "min_accepted"
            bounds = entry["acceptance"] if accepted else entry["error"][SUITE]
            outcome = missing
            if entry["threshold"] is not None:
                outcome = KEPT
                if accepted:
                    outcome = _outcome(limit, bound, bounds["low"], bounds["high"])
            elif accepted:
                bounds = dict.fromkeys(bounds)
            yield Verdict(
                model=entry["model"],
                limit=limit,
                wanted=bound,
                **bounds,
                outcome=outcome,
                images=entry["images"],
                of="accepted" if accepted else "error",
                max_error=max_error,
            )


def _reason(budget: Budget, limit: str, rule: Rule) -> str:
    """Why ``limit`` could not be checked."""
    reason = "the baseline shares no image, model and condition with this run"
    remedy = "choose another"
    covered = "all perturbations" if rule.perturbation == "*" else rule.perturbation
    why = {
        BREAKING: f"the run has {covered} at one strength only; evaluate several, such as "
        "--strength 0.2,0.4,0.6,0.8,1",
        "max_regression": f"{reason}; {remedy}",
        "max_accuracy_regression": f"{reason}, or has no labels; {remedy}",
        "max_robust_accuracy_regression": f"{reason}, or has no attack on labelled images; "
        f"{remedy}",
        "min_robust_accuracy": "the run has no attack on labelled images",
        ATTACK: f"the run has no attack {rule.perturbation}",
        **dict.fromkeys(
            ACCEPTING,
            "predictions behind a remedy have no probabilities; leave out the limit or the remedies"
            if rule.on_remedies
            else f"it needs probabilities of at least {FEWEST_UNITS} images under perturbations",
        ),
        "min_consistency": "it covers no row of the run, or every attacked image was already "
        "incorrect",
    }.get(limit, "the images of the run have no labels")
    return f"{budget.path}: {limit} cannot be checked: {why}."


def rule_out(
    budget: Budget, several: Sequence[Run], baseline: Run | None = None, *, remedies: bool = False
) -> Callable[[Run], dict[str, str]]:
    """Why ``budget`` rules out candidates, by their ids: a function of each of ``several`` runs.

    Of several, a limit on models that only other runs have does not count. ``baseline`` and
    ``remedies`` are as for ``check``, which says what that raises.
    """

    def has_model(run: Run, rule: Rule) -> bool:
        names = [*run.manifest.spec.model_names, *remedied_names(run)]
        return any(fnmatchcase(name, rule.model) for name in names)

    def reasons(run: Run) -> dict[str, str]:
        rules = []
        for rule in budget.rules:
            # A pattern that fits no run at all stays, so that ``check`` refuses it by name.
            is_of_others = any(has_model(other, rule) for other in several)
            if has_model(run, rule) or not is_of_others:
                rules.append(rule)
        limits_of_run = replace(budget, rules=tuple(rules))
        return exclusions(check(limits_of_run, run, baseline, remedies=remedies))

    return reasons


def exclusions(check: Check, *, said: Callable[[str], str] = named) -> dict[str, str]:
    """Why ``check`` rules out candidates, by their ids: what they break, else what is open.

    ``said`` gives the words for the id of a condition: those of a command, unless others.
    """
    reasons: dict[str, str] = {}
    for outcome, verb in (
        (BROKEN, "it breaks the limit on"),
        (NOT_SHOWN, "too few images to show"),
    ):
        conditions_by_limit: dict[str, dict[str, list[str]]] = {}
        for verdict in check.broken:
            if verdict.outcome != outcome or verdict.model in reasons:
                continue
            condition = said(verdict.condition) if verdict.condition else verdict.where
            limits = conditions_by_limit.setdefault(verdict.model, {})
            limits.setdefault(verdict.limit, []).append(condition)
        for model, limits in conditions_by_limit.items():
            texts = []
            for limit, conditions in limits.items():
                texts.append(f"{_TITLES[limit]} ({some(conditions, _NAMED)})")
            reasons[model] = f"{verb} {some(texts, _NAMED)}"
    return reasons


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#!|~:$&@])")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_dict(check: Check) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "run": check.run.id,
        "passed": check.passed,
        "notes": list(check.notes),
        "verdicts": [vars(verdict) for verdict in check.verdicts],
    }


def headline(check: Check) -> str:
    """Whether the run keeps its limits, in one sentence."""
    total = len(check.verdicts)
    broken = check.broken
    limits = counted(total, "limit")
    if check.passed:
        lost = {verdict.wanted for verdict in check.verdicts if verdict.limit == LOSS}
        if len(lost) == 1 and all(verdict.limit == LOSS for verdict in check.verdicts):
            most = counted(f"{100 * lost.pop():g}", "point")
            return f"Release passes: no model loses more than {most}."
        return f"Release passes: {limits} {'holds' if total == 1 else 'hold'}."
    sure = sum(verdict.outcome == BROKEN for verdict in broken)
    unsure = len(broken) - sure
    if not sure:
        return f"Too few images to decide on the release: {unsure} of {limits} undecided."
    text = f"Release fails: {sure} of {limits} broken"
    return f"{text}, and {unsure} more undecided." if unsure else f"{text}."


def junit(check: Check) -> bytes:
    """JUnit XML: one suite, and one test case for each limit, model and condition."""
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
        if verdict in broken:
            failure = ElementTree.SubElement(
                case, "failure", message=_xml(verdict.sentence), type=verdict.outcome
            )
            failure.text = _xml(f"{LIMITS[verdict.limit]}: {verdict.sentence}")
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(verdict.sentence)
    if check.notes:
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(check.notes))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _xml(text: str) -> str:
    """``text`` without characters that XML does not allow."""
    return _NOT_XML.sub("\ufffd", text)


_SIGNS = {BROKEN: "❌", NOT_SHOWN: "⚠️", KEPT: "✅"}


def markdown(check: Check) -> str:
    """A heading, a sentence and a table, failures first."""
    rows = sorted(check.verdicts, key=lambda verdict: list(_SIGNS).index(verdict.outcome))
    cells = [
        (
            f"{_SIGNS[verdict.outcome]} {verdict.outcome}",
            _plain(verdict.model),
            _plain(verdict.where),
            f"`{verdict.limit}`",
            verdict.limit_text,
            verdict.figure_text,
        )
        for verdict in rows
    ]
    lines = [
        f"## Robustness: {headline(check)}",
        "",
        f"Run {_plain(check.run.id)}, {counted(check.run.images, 'image')} of "
        f"{_plain(check.run.manifest.dataset.title)}.",
        "",
        *(line for note in check.notes for line in (_plain(note), "")),
        "| outcome | model | condition | limit | expected | measured |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """``text`` escaped for Markdown, on one line, with invisible characters shown."""
    return _MARKDOWN.sub(r"\\\1", visible(text))
