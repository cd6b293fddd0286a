"""Results as text tables for pages and reports.

``entries`` are a table of ``robustness.statistics``; unknown values are empty cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

from robustness import models
from robustness.attacks import NORMS
from robustness.base.text import counted, figure_text, points
from robustness.evaluation.perturbation_and_attack_conditions import AttackCondition, Condition
from robustness.metrics import FEATURES, PICTURE, PREDICTION
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.metrics.metric import TABLES
from robustness.statistics import advice
from robustness.statistics.model_choice import NOT_COMPARED

Entry = Mapping[str, Any]
Form = str | Callable[[float], str]
"""How a figure is written: a format, or a function."""
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

    @classmethod
    def of_filled(cls, entries: Sequence[Any], columns: Sequence[Column]) -> Self:
        """A table with a row per entry, without columns that are empty in every row."""
        filled = [(title, say) for title, say in columns if any(say(entry) for entry in entries)]
        return cls.of(entries, filled)


def interval(entry: Entry, name: str, form: Form = ".0%", unknown: str = "no interval") -> str:
    """The interval of the figure ``name``, "82.0% to 84.2%"; ``unknown`` if there is none."""
    low, high = (figure_text(entry, f"{name}_{bound}", form) for bound in ("low", "high"))
    return f"{low} to {high}" if low and high else unknown


def in_brackets(entry: Entry, name: str, form: Form = ".1%") -> str:
    """The interval of the figure ``name`` in parentheses after a space; "" if there is none."""
    bounds = interval(entry, name, form, "")
    return f" ({bounds})" if bounds else ""


def with_interval(entry: Entry, name: str, form: Form = ".1%") -> str:
    """The figure ``name`` and its interval, "83.1% (82.0% to 84.2%)"; "" if there is none."""
    text = figure_text(entry, name, form)
    bounds = in_brackets(entry, name, form) if text else ""
    return f"{text}{bounds}"


def flat(entry: Entry, name: str, bounds: Entry) -> dict[str, Any]:
    """``entry`` with ``value``, ``low`` and ``high`` of ``bounds`` as the figure ``name``."""
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {**entry, **{f"{name}{end}": bounds[key] for end, key in ends.items()}}


def figure(name: str, form: Form) -> Callable[[Entry], str]:
    """A function from an entry to its figure ``name`` as text; "" if there is none."""
    return partial(figure_text, name=name, form=form)


def rate(name: str, form: Form = ".1%") -> Callable[[Entry], str]:
    """A function from an entry to its figure ``name`` with the interval, as ``with_interval``.

    By the form ``points`` it is a difference, "+3.1 (+1.0 to +5.2)".
    """
    return partial(with_interval, name=name, form=form)


def label(name: str = "model") -> Callable[[Entry], str]:
    """A function from an entry to the label of the model in its field ``name``."""
    return lambda entry: models.label(entry[name])


def ranking(entries: Sequence[Entry], by: str) -> Table:
    """The ranking: ranks, consistency, similarity, and accuracies if known.

    Of consistency and accuracy, the one that the models are ranked ``by`` comes first.
    """
    whose = " of predictions to break" if any(map(_leaves_out, entries)) else ""
    consistent: list[Column] = [(f"Consistency{whose}", figure("consistency", ".1%"))]
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
        return places({**entry, "quantity": by})

    columns: list[Column] = [
        ("Rank", rank),
        ("Model", label()),
        order[0],
        ("95% interval", partial(interval, name=first, form=".1%")),
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


def _leaves_out(entry: Entry) -> bool:
    """Whether the consistency of a model leaves images out under attack."""
    return entry["n_attacked"] is not None and bool(entry["n_attacked"] < entry["n_images"])


def places(entry: Entry) -> str:
    """The rank of ``entry``, of ties a range."""
    low, high = (figure_text(entry, f"place_{end}", "") for end in ("low", "high"))
    return low if low == high else f"{low} to {high}"


def _labelled(entry: Entry) -> str:
    labelled, images = (figure_text(entry, f"n_{which}", ",") for which in ("labelled", "images"))
    return f"{labelled} of {images}"


LABELLED: Column = ("Labelled images", _labelled)


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
    rates, count = with_interval(entry, name), figure_text(entry, "n_attacked", ",")
    return f"{rates} of {counted(count, images)}"


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


def metric_titles(view: str) -> dict[str, str]:
    """The titles of the metrics of ``view`` by column, with those of rescaled similarities.

    Those of predictions come first.
    """
    titles, subjects = {}, (PREDICTION, FEATURES, PICTURE)
    for metric in sorted(METRICS, key=lambda metric: subjects.index(metric.subject)):
        if view in metric.views:
            titles[metric.name] = metric.label
            if metric.name in RESCALED:
                titles[RESCALED[metric.name]] = f"{metric.label}, rescaled"
    return titles


def pairs(entries: Sequence[Entry]) -> Table:
    """Every pair of models: the difference, its test, and advice on more images."""

    columns: list[Column] = [
        ("Better", label("better")),
        ("Worse", label("worse")),
        ("Images", figure("n_images", ",")),
        ("Difference, points", figure("difference", points)),
        ("95% interval", partial(interval, name="difference", form=points, unknown="none")),
        ("p, corrected", figure("p_holm", p_text)),
        ("Verdict", advice),
    ]
    return Table.of(entries, columns)


def p_text(p: float) -> str:
    """A p-value as text with four digits."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


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
        ("Attacks", figure("attacks", "")),
        ("Images", figure("n_images", "")),
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
