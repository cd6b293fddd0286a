"""Verdicts on the limits of a budget: kept, broken, or not shown with so few images.

A verdict compares the limit with the 95% interval of the figure. A minimum is kept if the whole
interval is above it, and broken if the whole interval is below it. Otherwise, and with too few
images for an interval, it is not shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from robustness import statistics
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError
from robustness.base.text import counted, did_you_mean
from robustness.evaluation.condition import Condition, named, perturbation_label
from robustness.runs import Run, compare, racing
from robustness.runs.compare import told as told_before
from robustness.runs.gate.budget import ATTACK, BREAKING, FIGURES, REGRESSIONS, Budget, Rule
from robustness.runs.racing import Limit, Race

KEPT, BROKEN, NOT_SHOWN = "kept", "broken", "not shown"

Entry = Mapping[str, Any]

LABEL_FREE = {"consistency", "flip_rate"}
"""Figures that need no labels."""

_TOGETHER = dict.fromkeys(("condition", "perturbation", "strength"))
"""The condition of figures on all conditions together."""


@dataclass(frozen=True)
class Verdict:
    """One limit on one model and condition; without ``perturbation``, on all conditions together.

    ``where`` describes the condition. ``value`` is the figure, with its bounds ``low`` and ``high``
    (None with too few images). A breaking strength covers all strengths, so its ``condition`` is
    None; ``value`` and ``high`` are None if no strength of the run breaks the model. A race knows
    bounds alone, so its ``value`` is None. ``of`` names
    the figure as ``statistics`` does; for ``max_regression`` it is the robust accuracy under attack
    on labelled images, otherwise the consistency.
    """

    model: str
    where: str
    condition: str | None
    perturbation: str | None
    strength: float | None
    limit: str
    wanted: float
    value: float | None
    low: float | None
    high: float | None
    outcome: str
    images: int
    of: str = "consistency"

    @property
    def sentence(self) -> str:
        """The figure and the limit."""
        if self.limit == BREAKING:
            return f"{self.found}; wanted: not below {self.wanted:g}"
        sign = "at least" if self.limit.startswith("min") else "at most"
        pictures = counted(self.images, "image")
        if self.limit == ATTACK:
            pictures += " with a prediction to break"
        return f"{self.found} on {pictures}; wanted: {sign} {self.wanted:.1%}"

    @property
    def found(self) -> str:
        """The figure with its interval."""
        if self.limit == BREAKING:
            low, high = ("none" if x is None else f"{x:g}" for x in (self.low, self.high))
            return f"breaks at {low}" if low == high else f"breaks at {low} to {high}"
        of = " of robust accuracy" if self.of == "robust_accuracy" else ""
        if self.value is None and self.low is not None and self.high is not None:
            return f"{self.low:.1%} to {self.high:.1%}"  # of a race
        if self.low is None or self.high is None:
            return f"{self.value:.1%}{of} (fewer than {statistics.FEWEST} images: no interval)"
        return f"{self.value:.1%}{of} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Check:
    """The verdicts on a run; ``broken`` are those that fail the gate.

    ``notes`` name figures that earlier versions computed differently.
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


def check(budget: Budget, run: Run, baseline: Run | None = None) -> Check:
    """Check ``run`` against ``budget``; ``baseline`` is the run that the budget names.

    Raises ``ParameterError`` if a limit cannot be checked, because it matches nothing in the run,
    needs labels or needs several strengths; ``RunError`` for a run without rows.
    """
    for rule in budget.rules:
        _check_patterns(budget, rule, run.manifest.spec.model_names, run.conditions)
        if baseline is None and set(rule.limits) & set(REGRESSIONS):
            raise ParameterError(
                f"{budget.path}: a limit on regression needs a run to compare with: add "
                'baseline = "RUN" at the top.'
            )
    if not run.images:
        raise ParameterError(f"The run {run.id} has no image that could be read.")
    if (race := run.manifest.race) is not None:
        return Check(run, budget, tuple(_raced(budget, run, race.unit)), (race_note(run),))
    told = run.figures()
    before = () if baseline is None else baseline.manifest.spec.models
    tables = Tables(
        figures=[*({**entry, **_TOGETHER} for entry in told.summary), *told.by_perturbation],
        differences=[] if baseline is None else compare(baseline, run).differences,
        weights={name for name, _ in set(run.manifest.spec.models) & set(before)},
        labelled=told.labelled,
    )
    found: dict[tuple[Any, ...], Verdict] = {}
    for rule in budget.rules:
        verdicts = list(_verdicts(budget, rule, tables))
        missing = set(rule.limits) - {verdict.limit for verdict in verdicts}
        if missing:
            raise ParameterError(_reason(budget, sorted(missing)[0], rule))
        for verdict in verdicts:  # a later rule replaces an earlier one
            found[verdict.model, verdict.where, verdict.limit] = verdict
    notes = [told_before(run)]
    if baseline is not None:
        notes.append(told_before(baseline))
    return Check(run, budget, tuple(found.values()), tuple(note for note in notes if note))


RACED: Mapping[str, Literal["consistent", "correct", "drop"]] = {
    "min_consistency": "consistent",
    "min_accuracy": "correct",
    "max_accuracy_drop": "drop",
}
"""Limits that a race can decide, with what they limit."""


def race_limits(
    budget: Budget, names: Sequence[str], conditions: Sequence[Condition]
) -> dict[tuple[str, str, str], Limit]:
    """The limits of ``budget`` for a race, by model, kind and condition, "" for all conditions.

    Raises ``ParameterError`` for a limit that a race cannot decide.
    """
    found: dict[tuple[str, str, str], Limit] = {}
    for rule in budget.rules:
        _check_patterns(budget, rule, names, conditions)
        for limit, wanted in rule.limits.items():
            if limit not in RACED:
                raise ParameterError(
                    f"{budget.path}: expected limits among {', '.join(RACED)} for a race, got "
                    f"{limit}: evaluate all images instead.",
                    hint="Leave out --until.",
                )
            for model, condition in itertools.product(names, (None, *conditions)):
                name, strength = (condition.name, condition.strength) if condition else (None, None)
                if rule.fits(model, name, strength):
                    ids = (condition.id,) if condition else ()
                    found[model, limit, "".join(ids)] = Limit(model, RACED[limit], ids, wanted)
    return found


def race_note(run: Run) -> str:
    """How the race ``run`` ended."""
    return " ".join(racing.sentences(run.raced or {}, run.manifest.dataset.pictures))


def _raced(budget: Budget, run: Run, unit: Literal["image", "class"]) -> Iterator[Verdict]:
    """The verdicts on a race: its bounds hold whenever it ended, also for another budget."""
    limits = race_limits(budget, run.manifest.spec.model_names, run.conditions)
    race = Race(goal="gate", unit=unit, limits=tuple(limits.values()))
    told = run.track(race).outcome()["limits"]
    of = {condition.id: condition for condition in run.conditions}
    for (model, limit, id_), entry in zip(limits, told, strict=True):
        condition = of.get(id_)
        yield Verdict(
            model=model,
            where="all conditions" if condition is None else named(condition.id),
            condition=None if condition is None else condition.id,
            perturbation=None if condition is None else condition.name,
            strength=None if condition is None else condition.strength,
            limit=limit,
            wanted=entry["wanted"],
            value=None,
            low=entry["low"],
            high=entry["high"],
            outcome=entry["outcome"],
            images=run.images,
            of=FIGURES[limit],
        )


@dataclass(frozen=True)
class Tables:
    """The figures that limits are compared with.

    ``weights`` are models whose weights did not change; ``labelled`` counts images.
    """

    figures: Sequence[Entry]
    differences: Sequence[Entry]
    weights: Collection[str]
    labelled: int


def _check_patterns(
    budget: Budget, rule: Rule, models: Sequence[str], conditions: Sequence[Condition]
) -> None:
    """Raise ``ParameterError`` for a pattern that matches nothing."""
    names = tuple(dict.fromkeys(condition.name for condition in conditions))
    for what, pattern, known in (
        ("model", rule.model, models),
        ("perturbation", rule.perturbation or "*", names),
    ):
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ParameterError(
                f"{budget.path}: the run has no {what} {pattern!r}. {did_you_mean(pattern, known)}."
            )
    if rule.strength is not None and not any(
        rule.fits(model, condition.name, condition.strength)
        for condition in conditions
        for model in models
    ):
        raise ParameterError(
            f"{budget.path}: the run has no {rule.perturbation} at strength {rule.strength:g}."
        )


def _verdicts(budget: Budget, rule: Rule, tables: Tables) -> Iterator[Verdict]:
    for limit, wanted in rule.limits.items():
        if limit == BREAKING:
            yield from _breaking(budget, rule, wanted, tables.figures)
            continue
        entries = tables.figures if limit in FIGURES else tables.differences
        for entry in entries:
            if limit == ATTACK and entry["perturbation"] not in ATTACKS:
                continue
            if rule.fits(entry["model"], entry["perturbation"], entry["strength"]):
                yield from _judged(limit, wanted, entry, tables)


def _judged(limit: str, wanted: float, entry: Entry, tables: Tables) -> Iterator[Verdict]:
    """The verdict on one figure; nothing if it is unknown without labels."""
    figure = _figure(limit, entry)
    name = figure if limit in FIGURES else f"{figure}_difference"
    value, low, high = (entry.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return
    images, attacked = entry["n_images"], entry.get("n_attacked")
    if figure not in LABEL_FREE:
        images = min(images, tables.labelled)
    elif entry["condition"] is not None and limit in FIGURES and attacked is not None:
        images = attacked
    if limit in REGRESSIONS:
        if entry["model"] in tables.weights and not _moved(figure, entry, tables):
            low = high = 0.0  # the same weights give the same predictions
        # The loss, so the sign changes.
        value, low, high = (None if x is None else 0.0 - x for x in (value, high, low))
    yield Verdict(
        model=entry["model"],
        where="all conditions" if entry["condition"] is None else named(entry["condition"]),
        condition=entry["condition"],
        perturbation=entry["perturbation"],
        strength=entry["strength"],
        limit=limit,
        wanted=wanted,
        value=value,
        low=low,
        high=high,
        outcome=_outcome(limit, wanted, low, high),
        images=images,
        of=figure,
    )


def _figure(limit: str, entry: Entry) -> str:
    """The figure of ``entry`` that ``limit`` restricts."""
    if limit == "max_regression":
        return str(entry["judged_by"])
    figure = FIGURES.get(limit) or REGRESSIONS[limit]
    alone = limit in FIGURES and entry["perturbation"] in ATTACKS
    return "perturbed_accuracy" if figure == "robust_accuracy" and alone else figure


def _moved(quantity: str, entry: Entry, tables: Tables) -> bool:
    """Whether any row of ``entry`` changed.

    For all conditions together each condition is checked, as gains and losses of an image may
    cancel in the total.
    """
    return any(
        other[f"{quantity}_moved"]
        for other in tables.differences
        if other["model"] == entry["model"] and entry["condition"] in (None, other["condition"])
    )


_ROUNDING = 1e-9  # of sums: 0.6 - 0.4 is not quite 0.2


def _outcome(limit: str, wanted: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return NOT_SHOWN
    if limit.startswith("max"):
        wanted, low, high = -wanted, -high, -low
    if low >= wanted - _ROUNDING:
        return KEPT
    return BROKEN if high < wanted - _ROUNDING else NOT_SHOWN


def _breaking(
    budget: Budget, rule: Rule, wanted: float, figures: Sequence[Entry]
) -> Iterator[Verdict]:
    """Verdicts on the strengths at which consistency falls below the rule's level.

    ``low`` is the smallest strength whose interval reaches below the level, ``high`` the smallest
    whose interval lies below it. Nothing is known between two strengths of the run, nor below the
    smallest one.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in figures:
        name = entry["perturbation"]
        if entry["strength"] is not None and rule.fits(entry["model"], name, entry["strength"]):
            groups.setdefault((entry["model"], entry["series"]), []).append(entry)
    for (model, series), entries in groups.items():
        perturbation = entries[0]["perturbation"]
        if len(entries) < 2:
            continue  # one strength cannot show where a model breaks
        strengths = [entry["strength"] for entry in entries]
        smallest, largest = min(strengths), max(strengths)
        if largest < wanted - _ROUNDING:
            raise ParameterError(
                f"{budget.path}: {BREAKING} of {wanted:g} cannot be checked: the run has "
                f"{perturbation} up to strength {largest:g} only."
            )
        low, value, high = (
            min(
                (e["strength"] for e in entries if _bound(e, key) < rule.breaking_level),
                default=None,
            )
            for key in ("consistency_low", "consistency", "consistency_high")
        )
        unseen = low == smallest and wanted < smallest - _ROUNDING
        kept = low is None or (low >= wanted - _ROUNDING and not unseen)
        certain = high is not None and high < wanted - _ROUNDING
        yield Verdict(
            model=model,
            where=perturbation + series.removeprefix(perturbation_label(perturbation)),
            condition=None,
            perturbation=perturbation,
            strength=None,
            limit=BREAKING,
            wanted=wanted,
            value=value,
            low=low,
            high=high,
            outcome=KEPT if kept else BROKEN if certain else NOT_SHOWN,
            images=min(entry["n_images"] for entry in entries),
        )


def _bound(entry: Entry, key: str) -> float:
    """A rate or its bound; 0 or 1 with too few images for bounds."""
    known: float | None = entry[key]
    if known is None:
        return 0.0 if key.endswith("_low") else 1.0
    return known


def _reason(budget: Budget, limit: str, rule: Rule) -> str:
    """Why ``limit`` could not be checked."""
    apart = "the run and its baseline share no image, model and condition that it covers"
    why = {
        BREAKING: f"the run has {rule.perturbation} at one strength only",
        "max_regression": apart,
        "max_accuracy_regression": f"{apart}, or have no labels",
        "max_robust_accuracy_regression": f"{apart}, or have no attack on labelled images",
        "min_robust_accuracy": "the run has no attack on labelled images",
        ATTACK: f"the run has no attack {rule.perturbation}",
        "min_consistency": "the run has no row that it covers, or every attacked image was "
        "already incorrect",
    }.get(limit, "the images of the run have no labels")
    return f"{budget.path}: {limit} cannot be checked: {why}."
