"""Tables of what the labels say: accuracy, calibration, corruption errors, and under attack.

``entries`` are a table of ``robustness.statistics``; what is not known is an empty cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robustness import models
from robustness import statistics as figures
from robustness.attacks import NORMS
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
    """What the labels say per model; ``labelled`` are entries of ``summary`` that have labels."""
    columns: list[Column] = [
        ("Model", label()),
        LABELLED,
        ("Top-1 clean", figure("clean_accuracy", ".1%")),
        ("perturbed", figure("perturbed_accuracy", ".1%")),
        ("Lost", figure("drop", ".1%")),
        ("95 % interval", lambda entry: interval(entry, "drop", 1)),
        ("Of the clean", figure("relative_drop", ".1%")),
        ("Top-5 clean", figure("clean_accuracy_top5", ".1%")),
        ("perturbed", figure("perturbed_accuracy_top5", ".1%")),
    ]
    return Table.of(labelled, columns)


def calibration(labelled: Sequence[Entry]) -> Table:
    """Expected calibration errors per model, and by how much it is too sure.

    ``labelled`` are entries that have labels.
    """
    columns: list[Column] = [
        ("Model", label()),
        LABELLED,
        ("ECE clean", _ece("clean_ece")),
        ("by chance", figure("clean_ece_by_chance", ".3f")),
        ("perturbed", _ece("perturbed_ece")),
        ("per condition", _ece("condition_ece")),
        ("by chance", figure("condition_ece_by_chance", ".3f")),
        ("Too sure, clean", _too_sure("clean_overconfidence")),
        ("perturbed", _too_sure("overconfidence")),
    ]
    return Table.of(labelled, columns)


def corruption_errors(entries: Sequence[Entry]) -> Table:
    """CE of every corruption and their means, in percent of AlexNet's error, with intervals."""
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
    "of confidence. Perturbed: of all rows together, where too sure under one condition makes up "
    "for too unsure under another; per condition: the mean of each condition's own. By chance: "
    "what a perfectly calibrated model would show on so few images, which the 95 % intervals in "
    "brackets allow for: they may begin far below the figure. Too sure: mean confidence less "
    "accuracy, in points; below 0 it is too unsure."
)


def _too_sure(name: str) -> Callable[[Entry], str]:
    def cell(entry: Entry) -> str:
        low, high = entry[f"{name}_low"], entry[f"{name}_high"]
        between = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
        return "" if entry[name] is None else f"{100 * entry[name]:+.1f}{between}"

    return cell


def robust_accuracy(entries: Sequence[Entry]) -> Table:
    """What no attack broke, per model and epsilon, and which attack broke most by itself."""
    columns: list[Column] = [
        ("Model", label()),
        ("Measured by", lambda entry: NORMS[entry["norm"]].label),
        ("Epsilon", lambda entry: _attack(entry).spec.size_text),
        ("Attacks", lambda entry: str(entry["attacks"])),
        ("Images", lambda entry: str(entry["n_images"])),
        ("Robust", lambda entry: with_interval(entry, "robust")),
        ("Attacks succeed", lambda entry: broken_by_attacks(entry, "success")),
        ("Strongest attack", lambda entry: _attack(entry).series),
        ("left by it alone", figure("strongest_left", ".1%")),
    ]
    return Table.of(entries, columns)


def _attack(entry: Entry) -> AttackCondition:
    found = Condition.parse(entry["strongest"])
    assert isinstance(found, AttackCondition)
    return found


ROBUST_NOTE = (
    "Robust: the share of all labelled images that are correct under every attack tried at this "
    "epsilon and all smaller ones (without labels: unchanged). It is an upper bound: a stronger "
    "attack may break more. Success counts only images that the model got right before the attack; "
    "an attack has nothing to break in the others, which count neither as unchanged nor as changed."
)
