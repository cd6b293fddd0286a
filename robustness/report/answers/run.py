"""What a run over many images answers, in three sentences that claim no more than it shows.

The first says who keeps its answer, or who stays correct under attack, the second which
perturbation does most harm, the third on what this rests. Differences between models count only
where ``statistics.compare`` establishes them, differences between perturbations only where
``over_models`` finds them significant.
"""

from __future__ import annotations

from collections.abc import Sequence

from robustness import statistics
from robustness.base.text import counted
from robustness.charts.tables import Entry
from robustness.report.wording import (
    common_rate,
    listed,
    model,
    models_of,
    rate,
    sentence,
    share,
)
from robustness.statistics import scorecard

NOTHING_TO_BREAK = "no attack had a correct prediction to break"


def answer(
    summary: Sequence[Entry],
    pairs: Sequence[Entry],
    perturbations: Sequence[Entry],
    *,
    images: int,
    conditions: int,
    unfinished: str = "",
    under_attack: Sequence[Entry] = (),
) -> tuple[str, str, str]:
    """Three sentences on the tables ``summary``, ``compare`` and ``over_models`` of one run.

    ``unfinished`` says how far the run is, where it has not ended. ``under_attack`` are the pairs
    by robust accuracy, for a run that is ranked by another quantity.
    """
    return (
        who(summary, pairs, under_attack),
        sentence(_harm(perturbations, len(summary), conditions)),
        sentence(
            _basis(images, conditions, unfinished),
            _settled(pairs),
            _labels(summary),
            _few(images),
        ),
    )


def who(
    summary: Sequence[Entry], pairs: Sequence[Entry], under_attack: Sequence[Entry] = ()
) -> str:
    """The first sentence of ``answer``: which model is ahead, if that is known."""
    groups = scorecard.rankings(summary)
    return sentence(
        *(_who(group, pairs) for group in groups),
        *(_attacked(group, under_attack) for group in groups),
    )


_NAMES = {
    "consistency": "consistency",
    "perturbed_accuracy": "accuracy",
    "robust_accuracy": "robust accuracy",
}


def _who(every_model: Sequence[Entry], all_pairs: Sequence[Entry]) -> str:
    by = every_model[0]["ranked_by"]
    what, group = _NAMES[by], [entry for entry in every_model if entry[by] is not None]
    if not group:
        return NOTHING_TO_BREAK
    best, worst = scorecard.ends(group, by)
    most = common_rate(best, name=by)
    pairs = [pair for pair in all_pairs if pair["label_set"] == best[0]["label_set"]]
    if len(group) == 1:
        return f"{models_of(best)} has {'an' if what[0] == 'a' else 'a'} {what} of {most}"
    if not worst:
        return (
            f"all {len(group)} models have the same {what}, {most}, so none is more robust than "
            "another here"
        )
    least = common_rate(worst, name=by)
    span = f"{what} runs from {least} ({models_of(worst)}) to {most} ({models_of(best)})"
    if not pairs:
        return f"no image was evaluated with every model, so nothing is said of their order: {span}"
    established = {(p["better"], p["worse"]) for p in pairs if p["established"]}
    if not established:
        return f"no model is established as more robust than another: {span}"
    others = [entry for entry in group if entry not in best]
    rivals = [e for e in others if any((b["model"], e["model"]) not in established for b in best)]
    last = ""
    if len(others) > 1:  # the other end is one model's only where that is established
        above = [better for better, worse in established if worse == worst[0]["model"]]
        settled = len(above) == len(group) - 1
        last = f"; {models_of(worst)} has the lowest" if settled else "; the lowest is"
        last += f", {least}" if settled else f" {least}, of {models_of(worst)}"
    highest = f"{models_of(best)} {'has' if len(best) == 1 else 'have'} the highest {what}, {most}"
    if rivals:
        return f"{highest}, which is not established against {models_of(rivals)}{last}"
    every = f"each of the other {len(others)} models"
    if len(others) == 1:
        every = f"{models_of(others)}, {common_rate(others, name=by)}"
    return f"{highest}, established against {every}{last}"


def _attacked(group: Sequence[Entry], pairs: Sequence[Entry]) -> str:
    """Who stays correct under the attacks of a run that is ranked by something else."""
    by = "robust_accuracy"
    if group[0]["ranked_by"] == by or all(entry[by] is None for entry in group):
        return ""
    return f"under attack, {_who([{**entry, 'ranked_by': by} for entry in group], pairs)}"


def _harm(perturbations: Sequence[Entry], models: int, conditions: int) -> str:
    if not perturbations:
        return NOTHING_TO_BREAK
    worst, best = perturbations[0], perturbations[-1]
    over = "on average over the models " if models > 1 else ""
    if len(perturbations) == 1:
        degrees = "" if conditions == 1 else f", at {conditions} strengths,"
        return (
            f"only {worst['series']}{degrees} was tried, which says nothing of other perturbations"
        )
    if best["consistency"] - worst["consistency"] < 1e-12:
        return (
            f"under each of the {len(perturbations)} perturbations the same share of answers "
            f"stayed, {share(worst['consistency'])}"
        )
    if worst["consistency_low"] is None:
        return (
            f"{over}the share of answers that stayed runs from {rate(worst)} under "
            f"{worst['series']} to {rate(best)} under {best['series']}, on these images"
        )
    if not best["above_lowest"]:
        return (
            f"no perturbation stands out: {over}consistency runs from {rate(worst)} under "
            f"{worst['series']} to {rate(best)} under {best['series']}, which is no significant "
            f"difference among {len(perturbations)} perturbations"
        )
    low = [entry["series"] for entry in perturbations[1:] if not entry["above_lowest"]]
    high = [entry["series"] for entry in perturbations[:-1] if not entry["below_highest"]]
    return (
        f"{over}consistency is lowest under {worst['series']}, {rate(worst)}"
        f"{_hedge('below', low)}, and highest under {best['series']}, {rate(best)}"
        f"{_hedge('above', high)}"
    )


def _hedge(side: str, others: Sequence[str]) -> str:
    return f", but not significantly {side} {listed(others)}" if others else ""


def _basis(images: int, conditions: int, unfinished: str) -> str:
    start = f"this rests on {counted(images, 'image')} under {counted(conditions, 'condition')}"
    return f"{start} of an unfinished run ({unfinished})" if unfinished else start


def _settled(pairs: Sequence[Entry]) -> str:
    if not pairs:
        return ""
    open_pairs = [pair for pair in pairs if not pair["established"]]
    count = counted(len(pairs), "difference") + " between models"
    if not open_pairs:
        if len(pairs) == 1:
            return "the difference between the models is established"
        return f"the {count} are all established"
    known = [pair for pair in open_pairs if pair["more_images"] is not None]
    closest = min(known, key=lambda pair: pair["more_images"]) if known else open_pairs[0]
    names = f"{model(closest['better'])} and {model(closest['worse'])}"
    advice = statistics.advice(closest)
    if len(pairs) == 1:
        return f"the difference between {names} is not established ({advice})"
    settled = len(pairs) - len(open_pairs)
    verb = "is" if settled == 1 else "are"
    return f"of the {count}, {settled} {verb} established (between {names}: {advice})"


def _labels(summary: Sequence[Entry]) -> str:
    """What is known of right and wrong, of the model that leads the ranking."""
    entry = summary[0]
    if entry["clean_accuracy"] is None or entry["perturbed_accuracy"] is None:
        return "it tells whether answers stayed, not whether they were right, as labels are missing"
    labels, images = entry["n_labelled"], entry["n_images"]
    on = f"{labels:,} of {counted(images, 'image')} {'has' if labels == 1 else 'have'} a label"
    if labels == images > 1:
        on = f"all {images:,} images have a label"
    before, after = entry["clean_accuracy"], entry["perturbed_accuracy"]
    found = f"{on}, and {model(entry['model'])} is correct for"
    if entry["drop"] == 0:
        return f"{found} {share(before)} of them, before and after perturbation"
    found += f" {share(before)} of them and {share(after)} of them perturbed"
    low, high = entry["drop_low"], entry["drop_high"]
    if low is None or low <= 0 <= high:
        return f"{found}, which is no significant difference"
    return found


def _few(images: int) -> str:
    if images >= statistics.FEWEST:
        return ""
    return "these are too few for an interval, so it tells nothing of others"
