"""The check of a run against a budget: a verdict on each limit.

A verdict compares a limit with the 95% interval of the figure: a minimum is kept if the whole
interval is above it, and broken if the whole interval is below it. Otherwise, and with too few
images for an interval, the outcome is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from typing import Any

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError
from robustness.base.text import counted, figure_text, format_figure, points, some
from robustness.gate.budget import (
    ACCEPTING,
    ATTACK,
    BREAKING,
    FIGURES,
    LOSS,
    REGRESSIONS,
    Budget,
    Rule,
    titled,
)
from robustness.measure.condition import named, perturbation_label
from robustness.measure.request import Request
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

Entry = Mapping[str, Any]
"""A record of a table of ``statistics``."""

LABEL_FREE = {"consistency", "flip_rate"}
"""Figures that need no labels."""

_LOSSES = {*REGRESSIONS, "max_accuracy_drop"}
"""Limits on a difference of two shares."""

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
        """The limit in the unit of the figure: a strength, points of a loss, or a percentage."""
        if self.limit == BREAKING:
            return f"{self.wanted:g}"
        if self._is_loss:
            return counted(points(self.wanted, "g"), "point")
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
        if self._is_loss:
            value = counted(_loss(self.value), "point")
            bounds = in_brackets(flat({}, "value", fields), "value", _loss)
        else:
            value = format_figure(self.value, ".1%")
            bounds = in_brackets(flat({}, "value", fields), "value")
        if not bounds:
            bounds = f" (fewer than {FEWEST} images: no interval)"
        return f"{value}{self._denominator_text}{bounds}"

    @property
    def _is_loss(self) -> bool:
        return self.limit in _LOSSES

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


def _loss(value: float) -> str:
    return points(value, ".1f")


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
        budget.check_limits_of_scores(run.score)
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
        (BROKEN, "limit broken:"),
        (NOT_SHOWN, "too few images to decide on"),
        (UNTESTED, "not tested on"),
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
                texts.append(f"{titled(limit, check.run.score)} ({some(conditions, _NAMED)})")
            reasons[model] = f"{verb} {some(texts, _NAMED)}"
    return reasons
