"""Tables for labelled runs: accuracy, calibration, corruption errors, robust accuracy.

``entries`` are a table of ``robustness.statistics``; unknown values are empty cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robustness import models
from robustness import statistics as figures
from robustness.attacks import NORMS
from robustness.base.text import points
from robustness.charts.tables import (
    LABELLED,
    Column,
    Entry,
    Table,
    broken_by_attacks,
    figure,
    interval,
    label,
    with_interval,
)
from robustness.evaluation.condition import AttackCondition, Condition, perturbation_label
from robustness.statistics.imagenet_c import ALEXNET_ERRORS


def accuracy(labelled: Sequence[Entry]) -> Table:
    """Accuracies per model; ``labelled`` are entries of ``summary`` with labels."""
    columns: list[Column] = [
        ("Model", label()),
        LABELLED,
        ("Original top-1", figure("clean_accuracy", ".1%")),
        ("Perturbed top-1", figure("perturbed_accuracy", ".1%")),
        ("Accuracy lost", figure("drop", ".1%")),
        ("95% interval", lambda entry: interval(entry, "drop", 1)),
        ("Relative loss", figure("relative_drop", ".1%")),
    ]
    if any(entry["clean_accuracy_top5"] is not None for entry in labelled):
        columns += [
            ("Original top-5", figure("clean_accuracy_top5", ".1%")),
            ("Perturbed top-5", figure("perturbed_accuracy_top5", ".1%")),
        ]
    return Table.of(labelled, columns)


def calibration(labelled: Sequence[Entry]) -> Table:
    """Expected calibration error and overconfidence per model; ``labelled`` have labels."""
    columns: list[Column] = [
        ("Model", label()),
        LABELLED,
        ("Original ECE", _ece("clean_ece")),
        ("By chance", figure("clean_ece_by_chance", ".3f")),
        ("Perturbed ECE", _ece("perturbed_ece")),
        ("Per condition", _ece("condition_ece")),
        ("By chance", figure("condition_ece_by_chance", ".3f")),
        ("Original overconfidence", _too_sure("clean_overconfidence")),
        ("Perturbed overconfidence", _too_sure("overconfidence")),
    ]
    return Table.of(labelled, columns)


def corruption_errors(entries: Sequence[Entry]) -> Table:
    """CE of every corruption and their means, in percent of AlexNet's errors, with intervals."""
    names = [corruption["corruption"] for corruption in entries[0]["corruptions"]]
    head = ["CE, in percent", *(models.label(entry["model"]) for entry in entries)]
    mean = f"Mean of {len(names)} of {len(ALEXNET_ERRORS)} corruptions"
    rows = [
        [mean, *(_ce(entry, "mean_ce") for entry in entries)],
        [f"{mean}, relative", *(_ce(entry, "mean_relative_ce") for entry in entries)],
    ]
    rows += [
        [perturbation_label(name), *(_ce(entry["corruptions"][at], "ce") for entry in entries)]
        for at, name in enumerate(names)
    ]
    return Table(head, rows)


def _ece(name: str) -> Callable[[Entry], str]:
    return lambda entry: with_interval(entry, name, ".3f")


def _ce(entry: Entry, name: str) -> str:
    return with_interval(entry, name, ".1f")


CALIBRATION_NOTE = (
    f"ECE, expected calibration error: the mean distance from the diagonal in {figures.BINS} bins "
    "of confidence. Perturbed: over all rows, where errors of two conditions can cancel; per "
    "condition: the mean over conditions. By chance: the ECE of a perfectly calibrated model on "
    "as few images. Overconfidence: mean confidence minus accuracy, in points. 95% intervals in "
    "parentheses. Confidence is the model's own top-1 probability, not rescaled where the "
    "probabilities of a quantised model do not sum to 1."
)


def _too_sure(name: str) -> Callable[[Entry], str]:
    def cell(entry: Entry) -> str:
        low, high = entry[f"{name}_low"], entry[f"{name}_high"]
        between = "" if low is None else f" ({points(low)} to {points(high)})"
        return "" if entry[name] is None else f"{points(entry[name])}{between}"

    return cell


def robust_accuracy(entries: Sequence[Entry]) -> Table:
    """Robust accuracy per model and epsilon, with the strongest single attack."""
    columns: list[Column] = [
        ("Model", label()),
        ("Measured by", lambda entry: NORMS[entry["norm"]].label),
        ("Epsilon", lambda entry: _attack(entry).spec.size_text),
        ("Attacks", lambda entry: str(entry["attacks"])),
        ("Images", lambda entry: str(entry["n_images"])),
        ("Robust", lambda entry: with_interval(entry, "robust")),
        ("Attacks succeed", lambda entry: broken_by_attacks(entry, "success")),
        ("Strongest attack", lambda entry: _attack(entry).series),
        ("robust to it", figure("strongest_left", ".1%")),
    ]
    return Table.of(entries, columns)


def _attack(entry: Entry) -> AttackCondition:
    condition = Condition.parse(entry["strongest"])
    assert isinstance(condition, AttackCondition)
    return condition


ROBUST_NOTE = (
    "Robust: the share of all labelled images that are correct under every attack tried at this "
    "epsilon and all smaller ones (without labels: unchanged). It is an upper bound: a stronger "
    "attack may break more. Success counts only images that were correct before the attack."
)
