"""A hardened model against its parent, in sentences and tables, for terminal and files."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.base.text import counted, figure_text, format_figure, points
from robustness.hardening import GroupDifference, Hardening
from robustness.hardening.judgement import MOST_LOSS, ORIGINALS, TRAINED, UNSEEN
from robustness.report import maps
from robustness.report.blocks import Map, Text, Titled, model_label
from robustness.report.facts import trained_on
from robustness.report.harm import levels
from robustness.report.tables import Column, Entry, Table, figure, in_brackets, rate
from robustness.statistics.pairs import round_up

_TITLES = {
    ORIGINALS: "Originals",
    TRAINED: "Perturbations trained on",
    UNSEEN: "Perturbations of other families",
}


def sentences(hardening: Hardening) -> Iterator[str]:
    """Yield the sentences on a training: the recommendation, and what it is based on."""
    judgement = hardening.judgement
    yield _recommendation(hardening)
    trained = judgement.group(TRAINED)
    if judgement.labelled and trained.significant:
        yield f"Perturbations trained on: {_difference(hardening, trained)}."
    if judgement.more_images is not None:
        images = counted(round_up(judgement.more_images), "more labelled image")
        effect = "exclude the loss" if judgement.gain_established else "show a gain of 1 point"
        yield f"About {images} would {effect}."
    train = counted(hardening.train, "image")
    share = format_figure(hardening.share, "g")
    others = counted(judgement.images, "other image")
    yield (
        f"{hardening.name} was trained on {train} without labels, interpolated by {share} from "
        f"{model_label(hardening.parent)}, and judged on {others}."
    )
    if hardening.left_out:
        yield f"{counted(hardening.left_out, 'image')} left out, as copies of others."
    if hardening.unreadable:
        yield f"{counted(hardening.unreadable, 'image')} could not be read."


def _recommendation(hardening: Hardening) -> str:
    """Return the sentence on whether to use the hardened model, with the figure that decides."""
    judgement = hardening.judgement
    originals = judgement.group(ORIGINALS)
    gain = f"{_difference(hardening, judgement.group(UNSEEN))} on perturbations of other families"
    if not judgement.labelled:
        return (
            "No recommendation: without labels only consistency is measured, and training "
            "optimises agreement with the parent."
        )
    if not hardening.share:
        parent = model_label(hardening.parent)
        return (
            f"Not recommended: {hardening.name} has the weights of {parent}, as no step towards "
            "the trained ones was better on the images that choose."
        )
    if judgement.recommended:
        excluded = f"a loss above {points(MOST_LOSS, '.0f')} points on originals"
        return f"Recommended: {gain}; {excluded} is excluded."
    if not judgement.gain_established:
        return f"Not recommended: {gain}, which is no significant gain."
    if originals.low is not None and originals.difference > -MOST_LOSS:
        entry = _entry(hardening, originals)
        low = f"{_quantity(hardening)}_difference_low"
        loss = figure_text(entry, low, lambda bound: points(-bound, ".1f"))
        return (
            f"Not recommended: {gain}, but a loss of up to {loss} points on originals is not "
            "excluded."
        )
    return f"Not recommended: {gain}, but {_difference(hardening, originals)} on originals."


def _difference(hardening: Hardening, group: GroupDifference) -> str:
    """Return the difference of ``group`` in points, with its interval."""
    return _points(_entry(hardening, group), _quantity(hardening))


def _quantity(hardening: Hardening) -> str:
    return "perturbed_accuracy" if hardening.judgement.labelled else "consistency"


def _change(hardening: Hardening, group: GroupDifference) -> maps.ShareChange:
    is_condition = group.name not in _TITLES
    return maps.ShareChange(
        model=hardening.name,
        condition=group.name if is_condition else "",
        before=group.before,
        after=group.after,
        low=group.low,
        high=group.high,
        significant=group.significant,
        n=hardening.judgement.images,
    )


def _entry(hardening: Hardening, group: GroupDifference) -> Entry:
    """Return the figures of ``group`` by the names that a comparison gives them."""
    return {**_change(hardening, group).entry(_quantity(hardening)), "group": group}


def _points(entry: Entry, quantity: str) -> str:
    """Return the difference of ``entry`` in points, with its interval."""
    name = f"{quantity}_difference"
    text = figure_text(entry, name, points)
    bounds = in_brackets(entry, name, points)
    return f"{text} points{bounds}"


def blocks(hardening: Hardening) -> list[Text | Titled | Map]:
    """Return a map of the conditions before and after, and a table of the groups of these."""
    judgement = hardening.judgement
    quantity = _quantity(hardening)
    groups = (judgement.group(ORIGINALS), *judgement.conditions)
    changes = [_change(hardening, group) for group in groups]
    titles = (model_label(hardening.parent), hardening.name)
    columns: list[Column] = [
        ("", lambda entry: _TITLES[entry["group"].name]),
        ("Before", figure(f"{quantity}_a", ".1%")),
        ("After", figure(f"{quantity}_b", ".1%")),
        ("Difference, points", rate(f"{quantity}_difference", points)),
        ("Significant", lambda entry: "yes" if entry["group"].significant else "no"),
    ]
    drawing = maps.before_and_after(changes, quantity, titles)
    return [
        Map(
            "Before and after",
            drawing,
            f"In percent{levels(drawing)}. A pale change is not significant.",
        ),
        Titled(
            "Accuracy" if judgement.labelled else "Agreement with the parent's prediction",
            Table.of([_entry(hardening, group) for group in judgement.groups], columns),
        ),
        Text(trained_on(hardening.name, hardening.trained_on)),
    ]
