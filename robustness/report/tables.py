"""Results as text tables for pages and reports.

``entries`` are a table of ``robustness.statistics``; unknown values are empty cells.

The signs and words for a prediction: pages, reports, films and commands take them from here.

With a true class ✓ is a correct prediction and ✗ an incorrect one; "changed" is in words, and a
prediction that a change made correct is "now correct". Without one, = is an unchanged prediction
and ≠ a changed one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import pandas as pd

from robustness import models
from robustness.attacks import NORMS
from robustness.base.text import counted, figure_text, points, share
from robustness.measure.condition import AttackCondition, Condition
from robustness.measure.labels import good_rows, is_correct
from robustness.measure.measurement import Measurement
from robustness.metrics import FEATURES, PICTURE, PREDICTION
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.record import TABLES
from robustness.metrics.scores import RESCALED
from robustness.statistics import advice
from robustness.statistics.choice import NOT_COMPARED
from robustness.statistics.study import UNSURE

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
    title = "Consistency"
    if any(map(_leaves_out, entries)):
        title = "Consistency, under attack of predictions to break"
    consistency: list[Column] = [(title, figure("consistency", ".1%"))]
    accuracies: list[Column] = [
        ("Perturbed accuracy", figure("perturbed_accuracy", ".1%")),
        ("Original accuracy", figure("clean_accuracy", ".1%")),
        LABELLED,
    ]
    if by == "perturbed_accuracy":
        first_quantity = "perturbed_accuracy"
        rates = [*accuracies, *consistency]
    else:
        first_quantity = "consistency"
        rates = consistency
        if any(entry["clean_accuracy"] is not None for entry in entries):
            rates = [*consistency, *accuracies]
    models_of_label_set = Counter(entry["label_set"] for entry in entries)

    def rank(entry: Entry) -> str:
        is_alone = models_of_label_set[entry["label_set"]] == 1
        if is_alone and len(entries) > 1:
            return NOT_COMPARED
        return places({**entry, "quantity": by})

    columns: list[Column] = [("Rank", rank), ("Model", label())]
    if any(entry["robust_accuracy"] is not None for entry in entries):
        columns += [
            ("Robust accuracy", rate("robust_accuracy")),
            ("Attacks succeed", broken_by_attacks),
        ]
    columns += [
        rates[0],
        ("95% interval", partial(interval, name=first_quantity, form=".1%")),
        *rates[1:],
        *similarities(entries, ".3f"),
        *listed_metrics(entries),
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
    all_labelled = all(entry["n_labelled"] >= entry["n_images"] for entry in entries)
    if "accuracy" not in quantity or all_labelled:
        return ""
    names_of_count: dict[str, list[str]] = {}
    for entry in entries:
        names_of_count.setdefault(_labelled(entry), []).append(models.label(entry["model"]))
    texts = list(names_of_count)
    if len(names_of_count) > 1:
        texts = [
            f"{count} for {', '.join(dict.fromkeys(names))}"
            for count, names in names_of_count.items()
        ]
    return f"Accuracy counts only images with a label: {'; '.join(texts)}."


def broken_by_attacks(entry: Entry, name: str = "attack_success") -> str:
    """The success rate of attacks with the number of images behind it."""
    if entry[name] is None:
        return "no correct image to break"
    images = "image" if entry.get("of") == "consistency" else "correct image"
    rates = with_interval(entry, name)
    count = figure_text(entry, "n_attacked", ",")
    return f"{rates} of {counted(count, images)}"


def similarities(
    entries: Sequence[Entry], form: str, names: Iterable[str] = RESCALED
) -> list[Column]:
    """A column per similarity of the embeddings, rescaled unless the rows are too old."""
    columns = []
    for name in names:
        title = METRICS[name].column_title
        rescaled = RESCALED[name]
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
    titles = {}
    subjects = (PREDICTION, FEATURES, PICTURE)
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


Tone = Literal["correct", "incorrect", "unchanged", "changed", "unsure", "rejected"]


class Mark(NamedTuple):
    """The mark of a prediction: its CSS tone, sign and words."""

    tone: Tone
    sign: str
    text: str

    @property
    def said(self) -> str:
        """Sign and words, such as "✗ incorrect, changed"."""
        return f"{self.sign} {self.text}"

    @property
    def brief(self) -> str:
        """``said`` for a narrow cell of a chart, where ✓ and ✗ stand for their words."""
        words = [word for word in self.text.split(", ") if word not in ("correct", "incorrect")]
        return "<br>".join([self.sign, *words])

    @property
    def word(self) -> str:
        """The first of its words, or that it would be rejected."""
        return "rejected" if self.tone == "rejected" else self.text.partition(", ")[0]

    @property
    def rest(self) -> str:
        """What ``word`` leaves out, for those who listen."""
        return self.text.removeprefix(self.word)

    @property
    def rejected(self) -> Mark:
        """The mark of a prediction whose model has a safe threshold above its score."""
        return Mark("rejected", self.sign, f"{self.text}, would be rejected")

    @property
    def good(self) -> bool:
        """Whether the prediction is correct or, without a true class, unchanged."""
        return self.sign in (_CORRECT, _UNCHANGED)


_CORRECT = "✓"
_INCORRECT = "✗"
_UNCHANGED = "="
_CHANGED = "≠"

LEGEND = "✓ correct, ✗ incorrect. Without a true class: = unchanged, ≠ changed."
OPEN_MARKERS = "Open markers: incorrect or, without a true class, changed."

HALF = 0.5
"""A prediction below this share of the original confidence has low confidence."""


def judged(consistent: bool, correct: bool | None, *, unsure: bool = False) -> Mark:
    """The verdict on an unchanged or changed prediction; ``correct`` is None if unknown.

    ``unsure`` adds that a correct or unchanged prediction has low confidence.
    """
    tone: Tone
    if correct is None:
        tone = "unchanged" if consistent else "changed"
        sign = _UNCHANGED if consistent else _CHANGED
        words: list[str] = [tone]
    else:
        tone = "correct" if correct else "incorrect"
        sign = _CORRECT if correct else _INCORRECT
        now = "now " if correct and not consistent else ""
        words = [f"{now}{tone}"]
        if not consistent and not correct:
            words.append("changed")
    if unsure and sign in (_CORRECT, _UNCHANGED):
        return Mark("unsure", sign, ", ".join([*words, "low confidence"]))
    return Mark(tone, sign, ", ".join(words))


def verdict(row: Measurement) -> Mark:
    """The verdict on one measurement."""
    return verdict_of(vars(row))


def verdict_of(row: Mapping[str, Any]) -> Mark:
    """As ``verdict``, for a row of a frame."""
    before = row["clean_probability"]
    now = row["probability"]
    is_unsure = False
    if pd.notna(now) and pd.notna(before):  # tables of predictions may leave them out
        is_unsure = bool(now < max(UNSURE, HALF * before))
    is_consistent = row["clean_top1"] == row["top1"]
    return judged(is_consistent, is_correct(row["label"], row["top1"]), unsure=is_unsure)


def cell(frame: pd.DataFrame) -> tuple[float, str]:
    """The share of rows that are correct and its brief text; unchanged unless all have a label."""
    labelled = bool(frame["label"].notna().all())
    good = good_rows(frame) if labelled else frame["consistent"]
    if len(frame) == 1:
        is_good = bool(good.iloc[0])
        is_consistent = bool(frame["consistent"].iloc[0])
        mark = judged(is_consistent, is_good if labelled else None)
        return float(is_good), mark.brief
    sign = _CORRECT if labelled else _UNCHANGED
    return float(good.mean()), f"{sign} {int(good.sum())}/{len(frame)}"


def change(before: bool | None, after: bool | None, where: str) -> str:
    """The clause for a model whose prediction first changes ``where``, such as at a strength.

    ``before`` and ``after``: whether its predictions are correct, None if unknown.
    """
    if before is None:
        return f"changes {where}"
    if before:
        return f"becomes incorrect {where}"
    return f"is incorrect on the original and {'becomes correct' if after else 'changes'} {where}"


def no_change(before: bool | None) -> str:
    """The clause for a model whose prediction never changes; ``before`` as in ``change``."""
    if before is None:
        return "does not change"
    return "stays correct" if before else "stays incorrect"


def tally(rows: Sequence[Measurement]) -> str:
    """How many models are correct, and which no longer: "3 of 4 correct; Lite0 is now wrong".

    Without a true class, how many are unchanged, and which changed. ``rows`` has one row per model.
    """
    with_class = [row for row in rows if row.label is not None]
    if with_class:
        text = correct_models(rows)
        fallen = [row for row in with_class if row.clean_top1 == row.label != row.top1]
    else:
        fallen = [row for row in rows if not row.consistent]
        if len(rows) == 1:
            return "changed" if fallen else "unchanged"
        text = f"{len(rows) - len(fallen)} of {len(rows)} unchanged"
    if len(rows) == 1 or not fallen:
        return text
    who = models.label(fallen[0].model) if len(fallen) == 1 else str(len(fallen))
    if not with_class:
        return f"{text}; {who} changed"
    verb = "is" if len(fallen) == 1 else "are"
    return f"{text}; {who} {verb} now wrong"


def correct_models(rows: Sequence[Measurement]) -> str:
    """Such as "3 of 4 correct"; "" if no model has the true class."""
    verdicts = [row.top1 == row.label for row in rows if row.label is not None]
    if not verdicts:
        return ""
    if len(rows) == 1:
        return "correct" if verdicts[0] else "incorrect"
    unknown = len(rows) - len(verdicts)
    without = f" ({unknown} without the true class)" if unknown else ""
    return f"{sum(verdicts)} of {len(verdicts)} correct{without}"


def percent(probability: float) -> str:
    """``probability`` in whole percents: "94%", "<1%".

    Values just below ``UNSURE`` keep a decimal, "29.6%", so that they do not read as 30%.
    """
    if 0 < probability < 0.005:
        return "<1%"
    if probability < UNSURE <= round(probability, 2):
        return f"{math.floor(1000 * probability) / 10:.1f}%"
    return share(probability, 0)
