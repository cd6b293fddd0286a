"""Verdicts on the limits of a budget: kept, broken, or not shown with so few images.

A verdict compares the limit with the 95% interval of the figure. A minimum is kept if the whole
interval is above it, and broken if the whole interval is below it. Otherwise, and with too few
images for an interval, it is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from typing import Any

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError
from robustness.base.text import some
from robustness.evaluation.condition import named, perturbation_label
from robustness.gate.budget import ACCEPTING, ATTACK, BREAKING, FIGURES, REGRESSIONS, Budget, Rule
from robustness.gate.verdict import BROKEN, KEPT, NOT_SHOWN, Check, Verdict
from robustness.report.questions import RunFigures
from robustness.report.questions.threshold import THRESHOLD
from robustness.report.shared_parts import own_preprocessing, trained_on
from robustness.runs import Run, compare
from robustness.runs.compare import identified, shared_grids
from robustness.runs.remedies import RemediedModel, remedied_models, remedied_names
from robustness.statistics.differences import changes
from robustness.statistics.summaries import tables
from robustness.statistics.thresholds import FEWEST, MAX_ERROR, SUITE

Entry = Mapping[str, Any]

LABEL_FREE = {"consistency", "flip_rate"}
"""Figures that need no labels."""

_NAMED = 2
"""Limits of a budget that are named in the reason why a model is ruled out."""

_ALL_CONDITIONS = dict.fromkeys(("condition", "perturbation", "strength"))
"""The condition of figures on all conditions together."""


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
    own = _of_models(run, baseline)
    patterns = [rule.model for rule in rules if rule.on_remedies]
    limited = [e for e in remedied if any(fnmatchcase(e.id, pattern) for pattern in patterns)]
    further = _of_remedies(run, baseline, limited, own)
    verdict_by_limit: dict[tuple[Any, ...], Verdict] = {}
    for rule in rules:
        verdicts = [*_verdicts(budget, rule, own), *_accepting(rule, run)]
        if rule.on_remedies:
            verdicts += _verdicts(budget, rule, further)
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

    ``unchanged`` are models with the weights and the preprocessing that they had; ``labelled``
    counts images.
    """

    figures: Sequence[Entry]
    differences: Sequence[Entry]
    unchanged: Set[str]
    labelled: int


def _of_models(run: Run, baseline: Run | None) -> Tables:
    figures = run.figures()
    spec, before = run.manifest.spec, None if baseline is None else baseline.manifest.spec
    return Tables(
        figures=[
            *({**entry, **_ALL_CONDITIONS} for entry in figures.summary),
            *figures.by_perturbation,
        ],
        differences=[] if baseline is None else compare(baseline, run).differences,
        unchanged={
            name
            for name in spec.model_names
            if before is not None
            and name in before.model_names
            and before.of_models([name]).models == spec.of_models([name]).models
            and before.framing_of(name) == spec.framing_of(name)
        },
        labelled=figures.labelled,
    )


def _of_remedies(
    run: Run, baseline: Run | None, remedied: Sequence[RemediedModel], of_models: Tables
) -> Tables:
    """As ``_of_models``, of models behind remedies."""
    grids = [model.grid for model in remedied]
    differences: Sequence[Entry] = []
    if baseline is not None and remedied:
        before = [model.grid for model in remedied_models(baseline, baseline.rows.grids())]
        differences = changes(shared_grids((before, grids), identified(baseline, run)))
    tables_by_remedy = tables(grids)
    return Tables(
        figures=[
            *({**own.summary, **_ALL_CONDITIONS} for own in tables_by_remedy),
            *(entry for own in tables_by_remedy for entry in own.by_perturbation),
        ],
        differences=differences,
        unchanged={model.id for model in remedied if of_models.unchanged >= {*model.names}},
        labelled=of_models.labelled,
    )


def _verdicts(budget: Budget, rule: Rule, tables: Tables) -> Iterator[Verdict]:
    for limit, bound in rule.limits.items():
        if limit == BREAKING:
            yield from _breaking(budget, rule, bound, tables.figures)
            continue
        if limit in ACCEPTING:
            continue
        entries = tables.figures if limit in FIGURES else tables.differences
        for entry in entries:
            if limit == ATTACK and entry["perturbation"] not in ATTACKS:
                continue
            if rule.fits(entry["model"], entry["perturbation"], entry["strength"]):
                yield from _judged(limit, bound, entry, tables)


def _judged(limit: str, bound: float, entry: Entry, tables: Tables) -> Iterator[Verdict]:
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
        if entry["model"] in tables.unchanged and not _moved(figure, entry, tables):
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
        wanted=bound,
        value=value,
        low=low,
        high=high,
        outcome=_outcome(limit, bound, low, high),
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
        if largest < bound - _ROUNDING:
            raise ParameterError(
                f"{budget.path}: {BREAKING} of {bound:g} cannot be checked: the run has "
                f"{perturbation} up to strength {largest:g} only."
            )
        low, value, high = (
            min(
                (e["strength"] for e in entries if _bound(e, key) < rule.breaking_level),
                default=None,
            )
            for key in ("consistency_low", "consistency", "consistency_high")
        )
        unseen = low == smallest and bound < smallest - _ROUNDING
        holds = low is None or (low >= bound - _ROUNDING and not unseen)
        certain = high is not None and high < bound - _ROUNDING
        yield Verdict(
            model=model,
            where=perturbation + series.removeprefix(perturbation_label(perturbation)),
            condition=None,
            perturbation=perturbation,
            strength=None,
            limit=BREAKING,
            wanted=bound,
            value=value,
            low=low,
            high=high,
            outcome=KEPT if holds else BROKEN if certain else NOT_SHOWN,
            images=min(entry["n_images"] for entry in entries),
        )


def _accepting(rule: Rule, run: Run) -> Iterator[Verdict]:
    """Verdicts on the predictions that the safe threshold of each model accepts.

    The error is kept if a threshold promises it. Without one it is broken where even the most
    promising threshold accepts more errors on these images, else not shown.
    """
    limits = {name: rule.limits[name] for name in ACCEPTING if name in rule.limits}
    if not limits:
        return
    max_error = rule.max_accepted_error or MAX_ERROR
    options = {"max_error": max_error}
    for entry in RunFigures(run, options=options).answer(THRESHOLD).entries:
        if entry["strongest"] is None or not rule.fits(entry["model"], None, None):
            continue
        error = entry["error"][SUITE]["value"]
        missing = BROKEN if error is not None and error > max_error else NOT_SHOWN
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
                where="all conditions",
                condition=None,
                perturbation=None,
                strength=None,
                limit=limit,
                wanted=bound,
                **bounds,
                outcome=outcome,
                images=entry["images"],
                of="accepted" if accepted else "error",
                max_error=max_error,
            )


def _bound(entry: Entry, key: str) -> float:
    """A rate or its bound; 0 or 1 with too few images for bounds."""
    value: float | None = entry[key]
    if value is None:
        return 0.0 if key.endswith("_low") else 1.0
    return value


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
            else f"it needs probabilities of at least {FEWEST} images under perturbations",
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

    def fits(rule: Rule, run: Run) -> bool:
        names = [*run.manifest.spec.model_names, *remedied_names(run)]
        return any(fnmatchcase(name, rule.model) for name in names)

    def reasons(run: Run) -> dict[str, str]:
        rules = [r for r in budget.rules if fits(r, run) or not any(fits(r, o) for o in several)]
        part = replace(budget, rules=tuple(rules))
        return exclusions(check(part, run, baseline, remedies=remedies))

    return reasons


def exclusions(check: Check) -> dict[str, str]:
    """Why ``check`` rules out candidates, by their ids: what they break, else what is open."""
    reasons: dict[str, str] = {}
    for outcome, what in ((BROKEN, "it breaks"), (NOT_SHOWN, "too few images to show")):
        limits: dict[str, list[str]] = {}
        for verdict in check.broken:
            if verdict.outcome == outcome and verdict.model not in reasons:
                limits.setdefault(verdict.model, []).append(f"{verdict.limit}, {verdict.where}")
        reasons |= {name: f"{what} {some(mine, _NAMED)}" for name, mine in limits.items()}
    return reasons
