"""Sentences on several models: a run over many images, and a Scorecard.

They claim an order, and a worst perturbation, only where the difference is significant.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from robustness import statistics
from robustness.base.text import counted
from robustness.charts.tables import Entry
from robustness.evaluation.condition import series
from robustness.evaluation.measurement import Measurement
from robustness.report.wording import (
    common_rate,
    listed,
    model,
    models_of,
    overlap,
    rate,
    sentence,
    share,
)
from robustness.statistics import Figures, scorecard
from robustness.statistics.choice_sentences import NAMES

NOTHING_TO_BREAK = "no attack had a correct prediction to break"

Significant = Set[tuple[str, str]]
"""(better, worse) of every significant difference."""


def _order(
    ranking: Sequence[Entry], by: str, significant: Significant, unknown: str, digits: int
) -> str:
    """The highest and the lowest of ``ranking``; ``unknown`` says why there is no order."""
    group = [entry for entry in ranking if entry[by] is not None]
    if not group:
        return NOTHING_TO_BREAK
    what = NAMES[by]
    best, worst = scorecard.ends(group, by)
    most = common_rate(best, digits, by)
    if len(group) == 1:
        return f"{models_of(best)}: {what} {most}"
    if not worst:
        return f"all {len(group)} models have the same {what}, {most}"
    span = (
        f"{models_of(best)} {'has' if len(best) == 1 else 'have'} the highest {what}, {most}; "
        f"{models_of(worst)} the lowest, {common_rate(worst, digits, by)}"
    )
    others = [entry for entry in group if entry not in best]
    close = [e for e in others if any((b["model"], e["model"]) not in significant for b in best)]
    if unknown or not significant:
        return f"{span}; {unknown or 'no difference is significant'}"
    if close:
        return f"{span}; the highest is not significantly above {models_of(close)}"
    each = "the difference is" if len(others) == 1 else "the lead over each other model is"
    return f"{span}; {each} significant"


# --- a run ----------------------------------------------------------------------------------------


def of_run(found: Figures) -> str:
    """Which model to choose in the run ``found``."""
    chosen = found.choice
    told = chosen.sentences if chosen.compared else ()
    return headline(found.summary, found.pairs(), found.pairs_under_attack, told)


def headline(
    summary: Sequence[Entry],
    pairs: Sequence[Entry],
    under_attack: Sequence[Entry] = (),
    chosen: Sequence[str] = (),
) -> str:
    """Which model to choose: the sentences ``chosen``, or what one model alone scores.

    ``summary`` and ``pairs`` are the tables of a run; ``under_attack`` are the pairs by robust
    accuracy, if models are ranked by something else.
    """
    rankings = scorecard.rankings(summary)
    names = [entry["model"] for entry in summary]
    attacks = [told for each in rankings if (told := _under_attack(each, under_attack))]
    if chosen and len(rankings) == 1:
        return " ".join([*chosen, *([sentence(*attacks, names=names)] if attacks else [])])
    led = (_leader(ranking, ranking[0]["ranked_by"], pairs) for ranking in rankings)
    return sentence(*led, *attacks, names=names)


def _leader(ranking: Sequence[Entry], by: str, pairs: Sequence[Entry]) -> str:
    mine = [pair for pair in pairs if pair["label_set"] == ranking[0]["label_set"]]
    significant = {(pair["better"], pair["worse"]) for pair in mine if pair["established"]}
    unknown = "" if mine else "no image was evaluated with every model, so there is no order"
    return _order(ranking, by, significant, unknown, 1)


def _under_attack(ranking: Sequence[Entry], pairs: Sequence[Entry]) -> str:
    by = "robust_accuracy"
    if ranking[0]["ranked_by"] == by or all(entry[by] is None for entry in ranking):
        return ""
    return f"under attack, {_leader(ranking, by, pairs)}"


def harm_in_run(found: Figures) -> str:
    """The perturbations with the lowest and the highest consistency."""
    each = found.over_models
    if not each:
        return sentence(NOTHING_TO_BREAK)
    worst, best = each[0], each[-1]
    if len(each) == 1:
        return sentence(f"only {worst['series']} was tested")
    if best["consistency"] - worst["consistency"] < 1e-12:
        return sentence(
            f"consistency is the same under each of the {len(each)} perturbations, "
            f"{share(worst['consistency'])}"
        )
    over = "mean consistency of the models" if len(found.summary) > 1 else "consistency"
    span = (
        f"{over}: lowest under {worst['series']}, {rate(worst)}; highest under {best['series']}, "
        f"{rate(best)}"
    )
    if worst["consistency_low"] is None:
        return sentence(span)
    if not best["above_lowest"]:
        return sentence(span, "no difference between perturbations is significant")
    low = [entry["series"] for entry in each[1:] if not entry["above_lowest"]]
    high = [entry["series"] for entry in each[:-1] if not entry["below_highest"]]
    return sentence(span, _not_apart("lowest", low), _not_apart("highest", high))


def _not_apart(end: str, others: Sequence[str]) -> str:
    return f"not significantly different from the {end}: {listed(others)}" if others else ""


def basis_of_run(found: Figures) -> str:
    """Images, conditions, significant differences and labels."""
    conditions = len({entry["condition"] for entry in found.by_perturbation})
    return sentence(
        f"{counted(found.images, 'image')} under {counted(conditions, 'condition')}",
        _differences(found.pairs(), advised=found.choice.more_images is not None),
        _labels(found.summary[0]),
        "too few images for intervals" if found.images < statistics.FEWEST else "",
    )


def _differences(pairs: Sequence[Entry], *, advised: bool) -> str:
    """How many differences are significant, and how many images the closest other needs.

    That number is left out where the headline has ``advised`` it for a tie.
    """
    if not pairs:
        return ""
    rest = [pair for pair in pairs if not pair["established"]]
    count = f"{len(pairs) - len(rest)} of {counted(len(pairs), 'difference')} between models"
    told = f"{count} {'is' if len(pairs) == 1 else 'are'} significant"
    if not rest or advised:
        return told
    known = [pair for pair in rest if pair["more_images"] is not None]
    closest = min(known, key=lambda pair: pair["more_images"]) if known else rest[0]
    names = f"{model(closest['better'])} and {model(closest['worse'])}"
    return f"{told} ({names}: {statistics.advice(closest)})"


def _labels(entry: Entry) -> str:
    """The accuracy of the leading model."""
    before, after = entry["clean_accuracy"], entry["perturbed_accuracy"]
    if before is None or after is None:
        return "without labels there is no accuracy"
    labels, images = entry["n_labelled"], entry["n_images"]
    on = "all labelled" if labels == images else f"{labels:,} of {images:,} labelled"
    found = f"{on}; {model(entry['model'])} is correct on {share(before)} of the originals"
    if entry["drop"] == 0:
        return f"{found} and of the perturbed images"
    low, high = entry["drop_low"], entry["drop_high"]
    doubt = " (no significant difference)" if low is None or low <= 0 <= high else ""
    return f"{found} and {share(after)} of the perturbed images{doubt}"


# --- a Scorecard ----------------------------------------------------------------------------------


def of_scorecard(summary: Sequence[Entry], rows: Sequence[Measurement], images: int) -> str:
    """Which model is most consistent; a difference is significant if intervals do not overlap.

    ``summary`` is ``scorecard.summarise`` of ``rows`` on so many ``images``.
    """
    unknown = "" if scorecard.has_intervals(summary) else "too few images to rank"
    rankings = scorecard.rankings(summary)
    clauses = (_scored(ranking, unknown) for ranking in rankings)
    return sentence(*clauses, names=[entry["model"] for entry in summary])


def _scored(ranking: Sequence[Entry], unknown: str) -> str:
    significant = {
        (a["model"], b["model"])
        for a in ranking
        for b in ranking
        if a["consistency"] > b["consistency"] and not overlap(a, b)
    }
    told = _order(ranking, "consistency", significant, unknown, 0)
    shares = [entry["perturbed_accuracy"] for entry in ranking]
    if None in shares:
        return told
    low, high = share(min(shares), 0), share(max(shares), 0)
    return f"{told}; accuracy {low if low == high else f'{low} to {high}'}"


def harm_in_scorecard(summary: Sequence[Entry], rows: Sequence[Measurement], images: int) -> str:
    """The perturbations with the fewest and the most unchanged predictions."""
    kept: dict[str, list[bool]] = {}
    for row in rows:
        kept.setdefault(series(row.condition), []).append(row.consistent)
    shares = {name: sum(stayed) / len(stayed) for name, stayed in kept.items()}
    low, high = min(shares.values()), max(shares.values())
    if len(shares) == 1:
        return sentence(f"only {next(iter(shares))} was tested")
    if low == high:
        return sentence(
            f"{share(low, 0)} of the predictions are unchanged under each of the {len(shares)} "
            "perturbations"
        )
    worst = [name for name, value in shares.items() if value == low]
    best = [name for name, value in shares.items() if value == high]
    count = f"{sum(kept[worst[0]])} of {len(kept[worst[0]])}"
    return sentence(
        f"fewest predictions unchanged: {listed(worst)} ({count}{' each' * (len(worst) > 1)})",
        f"most: {listed(best)}",
    )


def basis_of_scorecard(summary: Sequence[Entry], rows: Sequence[Measurement], images: int) -> str:
    """The number of images, and predictions with low confidence."""
    conditions = len({row.condition for row in rows})
    return sentence(
        f"{counted(images, 'image')} under {counted(conditions, 'condition')}",
        low_confidence(rows),
    )


def low_confidence(rows: Sequence[Measurement]) -> str:
    """How many predictions on originals have low confidence; "" for none."""
    if not (cases := scorecard.unsure(rows)):
        return ""
    what = counted(len(cases), "prediction")
    return f"{what} on an original below {share(scorecard.UNSURE, 0)} confidence"
