"""A hardened model against its parent, in sentences and tables, for terminal and files."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.base.text import counted, points, share
from robustness.charts import run_and_change_maps
from robustness.charts.ranking_and_condition_tables import Column, Table
from robustness.evaluation.perturbation_and_attack_conditions import readable
from robustness.hardening import GroupDifference, Hardening
from robustness.hardening.judgement import MOST_LOSS, ORIGINALS, TRAINED, UNSEEN
from robustness.report.blocks import Map, Text, Titled
from robustness.report.facts_and_cautions import trained_on
from robustness.report.names_and_sentences import model
from robustness.statistics.model_pairs_and_ranks import round_up

_TITLES = {
    ORIGINALS: "Originals",
    TRAINED: "Perturbations trained on",
    UNSEEN: "Perturbations of other families",
}


def sentences(hardening: Hardening) -> Iterator[str]:
    """The answer, shortest first."""
    judgement = hardening.judgement
    unseen, originals = judgement.group(UNSEEN), judgement.group(ORIGINALS)
    gain = f"{_points(unseen)} on perturbations of other families"
    most = f"a loss above {points(MOST_LOSS, '.0f')} points on originals"
    if not judgement.labelled:
        yield (
            "No recommendation: without labels only consistency is measured, and training "
            "optimises agreement with the parent."
        )
    elif not hardening.share:
        yield (
            f"Not recommended: {hardening.name} has the weights of {model(hardening.parent)}, as "
            "no step towards the trained ones was better on the images that choose."
        )
    elif judgement.recommended:
        yield f"Recommended: {gain}; {most} is excluded."
    elif not judgement.gain_established:
        yield f"Not recommended: {gain}, which is no significant gain."
    elif originals.low is not None and originals.difference > -MOST_LOSS:
        loss = (
            f"a loss of up to {points(-originals.low, '.1f')} points on originals is not excluded"
        )
        yield f"Not recommended: {gain}, but {loss}."
    else:
        yield f"Not recommended: {gain}, but {_points(originals)} on originals."
    trained = judgement.group(TRAINED)
    if judgement.labelled and trained.significant:
        yield f"Perturbations trained on: {_points(trained)}."
    if more := judgement.more_images:
        decided = "exclude the loss" if judgement.gain_established else "show a gain of 1 point"
        yield f"About {counted(round_up(more), 'more labelled image')} would {decided}."
    share_ = f"interpolated by {hardening.share:g} from {model(hardening.parent)}"
    yield (
        f"{hardening.name} was trained on {counted(hardening.train, 'image')} without labels, "
        f"{share_}, and judged on {counted(judgement.images, 'other image')}."
    )
    if hardening.left_out:
        copies = counted(hardening.left_out, "image")
        yield f"{copies} left out, as copies of others."
    if hardening.unreadable:
        yield f"{counted(hardening.unreadable, 'image')} could not be read."


def _points(group: GroupDifference) -> str:
    """The difference in points with its interval."""
    text = f"{points(group.difference)} points"
    if group.low is None or group.high is None:
        return text
    return f"{text} ({points(group.low)} to {points(group.high)})"


def before_and_after(hardening: Hardening) -> Map:
    """The share of good predictions of the parent and of the trained model, by condition."""
    judgement = hardening.judgement
    quantity = "perturbed_accuracy" if judgement.labelled else "consistency"
    changes = [
        run_and_change_maps.ShareChange(
            hardening.name,
            "" if group.name == ORIGINALS else group.name,
            before=group.before,
            after=group.after,
            low=group.low,
            high=group.high,
            significant=group.significant,
            n=judgement.images,
        )
        for group in judgement.conditions
    ]
    titles = (model(hardening.parent), hardening.name)
    return Map(
        "Before and after",
        run_and_change_maps.before_and_after(changes, quantity, titles),
        "In percent, by growing strength. A pale change is not significant.",
    )


def blocks(hardening: Hardening) -> list[Text | Titled]:
    """Tables of the groups and of the single conditions."""
    judgement = hardening.judgement
    measured = "Accuracy" if judgement.labelled else "Agreement with the parent's prediction"
    columns: list[Column] = [
        ("", lambda group: _label(group.name)),
        ("Before", lambda group: share(group.before)),
        ("After", lambda group: share(group.after)),
        ("Difference, 95% interval", _points),
        ("Significant", lambda group: "yes" if group.significant else "no"),
    ]
    return [
        Titled(measured, Table.of(judgement.groups, columns)),
        Titled(f"{measured}, by perturbation", Table.of(judgement.conditions, columns)),
        Text(trained_on(hardening.name, hardening.trained_on)),
    ]


def _label(name: str) -> str:
    condition = readable(name)
    return _TITLES.get(name) or (name if condition is None else condition.described)
