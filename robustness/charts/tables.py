"""Results as text tables for pages and reports.

``entries`` are a table of ``robustness.statistics``; unknown values are empty cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import pandas as pd

from robustness import models
from robustness import statistics as figures
from robustness.attacks import NORMS
from robustness.base.text import counted, format_figure, points, share
from robustness.evaluation.condition import AttackCondition, Condition, perturbation_label, setting
from robustness.metrics import FEATURES, PICTURE, PREDICTION, Metric
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.features import RESCALED
from robustness.metrics.metric import TABLES
from robustness.statistics.model_choice import NOT_COMPARED

Entry = Mapping[str, Any]
Column = tuple[str, Callable[[Any], str]]
"""The title of a column, and the function from an entry to the text of its cell."""


class Table(NamedTuple):
    """Column titles and rows of text, not escaped."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, entries: Iterable[Any], columns: Sequence[Column]) -> Self:
        """A table with a row per entry."""
        return cls(
            tuple(title for title, _ in columns),
            [tuple(say(entry) for _, say in columns) for entry in entries],
        )


def interval(entry: Entry, name: str, digits: int = 0) -> str:
    """The interval of the share ``name`` as text, or "no interval"."""
    low, high = entry[f"{name}_low"], entry[f"{name}_high"]
    if low is None:
        return "no interval"
    return f"{share(low, digits)} to {share(high, digits)}"


def in_brackets(entry: Entry, name: str, form: str = ".1%") -> str:
    """The interval of the figure ``name`` in parentheses after a space; "" if there is none."""
    low, high = entry[f"{name}_low"], entry[f"{name}_high"]
    if low is None:
        return ""
    return f" ({format_figure(low, form)} to {format_figure(high, form)})"


def with_interval(entry: Entry, name: str, form: str = ".1%") -> str:
    """The figure ``name`` and its interval, "83.1% (82.0% to 84.2%)"; "" if there is none."""
    if entry[name] is None:
        return ""
    return f"{format_figure(entry[name], form)}{in_brackets(entry, name, form)}"


def in_points(entry: Entry, name: str) -> str:
    """The difference ``name`` and its interval in points, "+3.1 (+1.0 to +5.2)"; "" for none."""
    if entry[name] is None:
        return ""
    low, high = entry[f"{name}_low"], entry[f"{name}_high"]
    interval = "" if low is None else f" ({points(low)} to {points(high)})"
    return f"{points(entry[name])}{interval}"


def figure(name: str, form: str) -> Callable[[Entry], str]:
    """A function from an entry to its figure ``name`` as text; "" if there is none."""
    return lambda entry: "" if entry[name] is None else format_figure(entry[name], form)


def rate(name: str, form: str = ".1%") -> Callable[[Entry], str]:
    """A function from an entry to its figure ``name`` with the interval, as ``with_interval``."""
    return partial(with_interval, name=name, form=form)


def label(name: str = "model") -> Callable[[Entry], str]:
    """A function from an entry to the label of the model in its field ``name``."""
    return lambda entry: models.label(entry[name])


def ranking(entries: Sequence[Entry], by: str) -> Table:
    """The ranking: ranks, consistency, similarity, and accuracies if known.

    Of consistency and accuracy, the one that the models are ranked ``by`` comes first.
    """
    consistent: list[Column] = [("Consistency", figure("consistency", ".1%"))]
    accurate: list[Column] = [
        ("Perturbed accuracy", figure("perturbed_accuracy", ".1%")),
        ("Original accuracy", figure("clean_accuracy", ".1%")),
        LABELLED,
    ]
    if by == "perturbed_accuracy":
        first, order = by, [*accurate, *consistent]
    else:
        labelled = any(entry["clean_accuracy"] is not None for entry in entries)
        first, order = "consistency", [*consistent, *(accurate if labelled else [])]
    rivals = Counter(entry["label_set"] for entry in entries)

    def rank(entry: Entry) -> str:
        if rivals[entry["label_set"]] == 1 < rivals.total():
            return NOT_COMPARED
        low, high = entry["place_low"], entry["place_high"]
        return str(low) if low == high else f"{low} to {high}"

    columns: list[Column] = [
        ("Rank", rank),
        ("Model", label()),
        order[0],
        ("95% interval", lambda entry: interval(entry, first, 1)),
        *order[1:],
        *similarities(entries, ".3f"),
        *listed_metrics(entries),
    ]
    if any(entry["robust_accuracy"] is not None for entry in entries):
        columns[2:2] = [
            ("Robust accuracy", rate("robust_accuracy")),
            ("Attacks succeed", broken_by_attacks),
        ]
    return Table.of(entries, columns)


LABELLED: Column = (
    "Labelled images",
    lambda entry: f"{entry['n_labelled']:,} of {entry['n_images']:,}",
)


def labels_note(entries: Sequence[Entry], quantity: str) -> str:
    """A sentence on the number of labels behind an accuracy; "" if every image has one."""
    partly = [entry for entry in entries if entry["n_labelled"] < entry["n_images"]]
    if "accuracy" not in quantity or not partly:
        return ""
    names: dict[str, list[str]] = {}
    for entry in entries:
        names.setdefault(LABELLED[1](entry), []).append(models.label(entry["model"]))
    counts = [
        count if len(names) == 1 else f"{count} for {', '.join(dict.fromkeys(of_count))}"
        for count, of_count in names.items()
    ]
    return f"Accuracy counts only images with a label: {'; '.join(counts)}."


def broken_by_attacks(entry: Entry, name: str = "attack_success") -> str:
    """The success rate of attacks with the number of images behind it."""
    if entry[name] is None:
        return "no correct image to break"
    images = "image" if entry.get("of") == "consistency" else "correct image"
    return f"{with_interval(entry, name)} of {counted(entry['n_attacked'], images)}"


def similarities(
    entries: Sequence[Entry], form: str, names: Iterable[str] = RESCALED
) -> list[Column]:
    """A column per similarity of the embeddings, rescaled unless the rows are too old."""
    columns = []
    for name in names:
        title, rescaled = METRICS[name].column_title, RESCALED[name]
        if all(entry[rescaled] is None for entry in entries):
            columns.append((title, figure(name, form)))
        else:
            columns.append((f"{title}, rescaled", figure(rescaled, form)))
    return columns


def listed_metrics(entries: Sequence[Entry]) -> list[Column]:
    """A column per metric that belongs into every table of models."""
    return [
        (metric.column_title, partial(with_interval, name=metric.name, form=metric.form))
        for metric in METRICS
        if TABLES in metric.views and all(metric.name in entry for entry in entries)
    ]


def _by_subject() -> list[Metric]:
    """The metrics, those of predictions first."""
    subjects = (PREDICTION, FEATURES, PICTURE)
    return sorted(METRICS, key=lambda metric: subjects.index(metric.subject))


def metric_titles(view: str) -> dict[str, str]:
    """The titles of the metrics of ``view`` by column, with those of rescaled similarities."""
    titles = {}
    for metric in _by_subject():
        if view in metric.views:
            titles[metric.name] = metric.label
            if metric.name in RESCALED:
                titles[RESCALED[metric.name]] = f"{metric.label}, rescaled"
    return titles


def pairs(entries: Sequence[Entry]) -> Table:
    """Every pair of models: the difference, its test, and advice on more images."""

    def interval(entry: Entry) -> str:
        low, high = entry["difference_low"], entry["difference_high"]
        return "none" if low is None else f"{points(low)} to {points(high)}"

    columns: list[Column] = [
        ("Better", label("better")),
        ("Worse", label("worse")),
        ("Images", figure("n_images", ",")),
        ("Difference, points", lambda entry: points(entry["difference"])),
        ("95% interval", interval),
        ("p, corrected", lambda entry: p_text(entry["p_holm"])),
        ("Verdict", figures.advice),
    ]
    return Table.of(entries, columns)


def p_text(p: float) -> str:
    """A p-value as text with four digits."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def tests(entries: Sequence[Entry]) -> pd.DataFrame:
    """McNemar's tests per condition, as a frame."""
    return pd.DataFrame(
        {
            "Perturbation": perturbation_label(entry["perturbation"]),
            "Strength": setting(entry["condition"]),
            "Model A": models.label(entry["model_a"]),
            "Model B": models.label(entry["model_b"]),
            "Images": entry["n_images"],
            "Only A": entry["only_a"],
            "Only B": entry["only_b"],
            "p, corrected": p_text(entry["p_holm"]),
            "Significant": entry["established"],
        }
        for entry in entries
    )


def conditions(entries: Sequence[Entry]) -> pd.DataFrame:
    """All figures per model and condition with intervals, as a frame."""
    every = {"consistency": ("Consistency", ".1%"), "flip_rate": ("Flip rate", ".1%")}
    for metric in _by_subject():
        every[metric.name] = metric.column_title, metric.form
        if metric.name in RESCALED:
            every[RESCALED[metric.name]] = f"{metric.column_title}, rescaled", metric.form
    every |= {
        "clean_accuracy": ("Original accuracy", ".1%"),
        "perturbed_accuracy": ("Perturbed accuracy", ".1%"),
        "clean_accuracy_top5": ("Original top-5", ".1%"),
        "perturbed_accuracy_top5": ("Perturbed top-5", ".1%"),
        "drop": ("Accuracy lost", ".1%"),
        "relative_drop": ("Relative loss", ".1%"),
    }
    columns = {
        name: column
        for name, column in every.items()
        if any(entry.get(name) is not None for entry in entries)
    }
    errors: list[Column] = [
        ("Original ECE", rate("clean_ece", ".3f")),
        ("Perturbed ECE", rate("perturbed_ece", ".3f")),
        ("ECE by chance", figure("perturbed_ece_by_chance", ".3f")),
    ]
    labelled = "clean_accuracy" in columns
    attacked = any(entry["n_attacked"] is not None for entry in entries)
    return pd.DataFrame(
        {
            "Model": models.label(entry["model"]),
            "Perturbation": perturbation_label(entry["perturbation"]),
            "Strength": setting(entry["condition"]),
            "Severity": entry["severity"],
            "Images": entry["n_images"],
            **({"Labelled": entry["n_labelled"]} if labelled else {}),
            **({"Attacked": entry["n_attacked"]} if attacked else {}),
            **{title: with_interval(entry, name, form) for name, (title, form) in columns.items()},
            **({title: say(entry) for title, say in errors} if labelled else {}),
        }
        for entry in entries
    )


def robust_accuracy(entries: Sequence[Entry]) -> Table:
    """Robust accuracy per model and epsilon, with the strongest single attack."""

    def attack(entry: Entry) -> AttackCondition:
        condition = Condition.parse(entry["strongest"])
        assert isinstance(condition, AttackCondition)
        return condition

    columns: list[Column] = [
        ("Model", label()),
        ("Measured by", lambda entry: NORMS[entry["norm"]].label),
        ("Epsilon", lambda entry: attack(entry).spec.size_text),
        ("Attacks", lambda entry: str(entry["attacks"])),
        ("Images", lambda entry: str(entry["n_images"])),
        ("Robust", rate("robust")),
        ("Attacks succeed", lambda entry: broken_by_attacks(entry, "success")),
        ("Strongest attack", lambda entry: attack(entry).series),
        ("robust to it", figure("strongest_left", ".1%")),
    ]
    return Table.of(entries, columns)


ROBUST_NOTE = (
    "Robust: the share of all labelled images that are correct under every attack tried at this "
    "epsilon and all smaller ones (without labels: unchanged). It is an upper bound: a stronger "
    "attack may break more. Success counts only images that were correct before the attack."
)
