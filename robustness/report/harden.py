"""A hardened model against its parent, in sentences and tables, for terminal and files."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.base.text import counted, figure_text, format_figure, points
from robustness.hardening import GroupDifference, Hardening
from robustness.hardening.judgement import MOST_LOSS, ORIGINALS, TRAINED, UNSEEN
from robustness.report import maps
from robustness.report.blocks import Map, Text, Titled, model
from robustness.report.facts import trained_on
from robustness.report.tables import Column, Entry, Table, figure, in_brackets
from robustness.statistics.pairs import round_up

_TITLES = {
    ORIGINALS: "Originals",
    TRAINED: "Perturbations trained on",
    UNSEEN: "Perturbations of other families",
}


def sentences(hardening: Hardening) -> Iterator[str]:
    """The answer, shortest first."""
    judgement = hardening.judgement
    quantity = _quantity(hardening)
    originals, trained, unseen = (_entry(hardening, group) for group in judgement.groups)
    gained, lost, learned = (_points(entry, quantity) for entry in (unseen, originals, trained))
    gain = f"{gained} on perturbations of other families"
    most = f"a loss above {points(MOST_LOSS, '.0f')} points on originals"
    low = judgement.group(ORIGINALS).low
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
    elif low is not None and judgement.group(ORIGINALS).difference > -MOST_LOSS:
        most = figure_text(originals, f"{quantity}_difference_low", lambda at: points(-at, ".1f"))
        loss = f"a loss of up to {most} points on originals is not excluded"
        yield f"Not recommended: {gain}, but {loss}."
    else:
        yield f"Not recommended: {gain}, but {lost} on originals."
    if judgement.labelled and judgement.group(TRAINED).significant:
        yield f"Perturbations trained on: {learned}."
    if judgement.more_images is not None:
        more = counted(round_up(judgement.more_images), "more labelled image")
        decided = "exclude the loss" if judgement.gain_established else "show a gain of 1 point"
        yield f"About {more} would {decided}."
    train = counted(hardening.train, "image")
    share = format_figure(hardening.share, "g")
    others = counted(judgement.images, "other image")
    yield (
        f"{hardening.name} was trained on {train} without labels, interpolated by {share} from "
        f"{model(hardening.parent)}, and judged on {others}."
    )
    if hardening.left_out:
        yield f"{counted(hardening.left_out, 'image')} left out, as copies of others."
    if hardening.unreadable:
        yield f"{counted(hardening.unreadable, 'image')} could not be read."


def _quantity(hardening: Hardening) -> str:
    return "perturbed_accuracy" if hardening.judgement.labelled else "consistency"


def _change(hardening: Hardening, group: GroupDifference) -> maps.ShareChange:
    condition = "" if group.name in _TITLES else group.name
    images = hardening.judgement.images
    shares = (group.before, group.after, group.low, group.high)
    return maps.ShareChange(hardening.name, condition, *shares, group.significant, images)


def _entry(hardening: Hardening, group: GroupDifference) -> Entry:
    """The figures of ``group``, as the map has those of originals and conditions."""
    return {**_change(hardening, group).entry(_quantity(hardening)), "group": group}


def _points(entry: Entry, quantity: str) -> str:
    """The difference in points with its interval."""
    name = f"{quantity}_difference"
    text = figure_text(entry, name, points)
    bounds = in_brackets(entry, name, points)
    return f"{text} points{bounds}"


def blocks(hardening: Hardening) -> list[Text | Titled | Map]:
    """A map of the conditions before and after, and a table of the groups."""
    judgement = hardening.judgement
    quantity = _quantity(hardening)
    groups = (judgement.group(ORIGINALS), *judgement.conditions)
    changes = [_change(hardening, group) for group in groups]
    titles = (model(hardening.parent), hardening.name)
    columns: list[Column] = [
        ("", lambda entry: _TITLES[entry["group"].name]),
        ("Before", figure(f"{quantity}_a", ".1%")),
        ("After", figure(f"{quantity}_b", ".1%")),
        ("Difference, 95% interval", lambda entry: _points(entry, quantity)),
        ("Significant", lambda entry: "yes" if entry["group"].significant else "no"),
    ]
    return [
        Map(
            "Before and after",
            maps.before_and_after(changes, quantity, titles),
            "In percent, by growing strength. A pale change is not significant.",
        ),
        Titled(
            "Accuracy" if judgement.labelled else "Agreement with the parent's prediction",
            Table.of([_entry(hardening, group) for group in judgement.groups], columns),
        ),
        Text(trained_on(hardening.name, hardening.trained_on)),
    ]
