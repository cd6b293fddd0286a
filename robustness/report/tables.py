"""Text tables of results, and the signs and words for a prediction.

``entries`` are records of a table of ``robustness.statistics``. Values that are None become empty
cells.

Pages, reports, films and commands take the signs from here. With a true class ✓ is a correct
prediction and ✗ an incorrect one; "changed" is in words, and a prediction that a perturbation made
correct is "now correct". Without a true class, = is an unchanged prediction and ≠ a changed one.
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
"""How a figure is written: a format such as ".1%", or a function from the figure to its text."""
Column = tuple[str, Callable[[Any], str]]
"""The title of a column, and the function from an entry to the text of its cell."""


class Table(NamedTuple):
    """Column titles, and rows of cells with text that is not escaped."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, entries: Iterable[Any], columns: Sequence[Column]) -> Self:
        """Return a table with a row for each of ``entries``."""
        titles = tuple(title for title, _ in columns)
        rows = [tuple(cell_text(entry) for _, cell_text in columns) for entry in entries]
        return cls(titles, rows)

    @classmethod
    def of_filled(cls, entries: Sequence[Any], columns: Sequence[Column]) -> Self:
        """Return a table with a row for each of ``entries``, without its empty columns."""
        return cls.of(entries, filled_columns(entries, columns))


def filled_columns(entries: Sequence[Any], columns: Sequence[Column]) -> list[Column]:
    """Return those of ``columns`` that have a text for at least one of ``entries``."""
    return [
        (title, cell_text)
        for title, cell_text in columns
        if any(cell_text(entry) for entry in entries)
    ]


def interval(entry: Entry, name: str, form: Form = ".0%", unknown: str = "no interval") -> str:
    """Return the interval of the figure ``name``, such as "82.0% to 84.2%".

    Returns ``unknown`` if ``entry`` lacks one of the bounds.
    """
    low = figure_text(entry, f"{name}_low", form)
    high = figure_text(entry, f"{name}_high", form)
    if not low or not high:
        return unknown
    return f"{low} to {high}"


def in_brackets(entry: Entry, name: str, form: Form = ".1%") -> str:
    """Return the interval of the figure ``name`` in parentheses, such as " (82.0% to 84.2%)".

    The text begins with a space; it is "" if there is no interval.
    """
    bounds = interval(entry, name, form, unknown="")
    return f" ({bounds})" if bounds else ""


def with_interval(entry: Entry, name: str, form: Form = ".1%") -> str:
    """Return the figure ``name`` with its interval, such as "83.1% (82.0% to 84.2%)".

    Returns the figure alone if there is no interval, and "" if there is no figure.
    """
    text = figure_text(entry, name, form)
    if not text:
        return ""
    return f"{text}{in_brackets(entry, name, form)}"


def flat(entry: Entry, name: str, bounds: Entry) -> dict[str, Any]:
    """Return ``entry`` with the figure ``name`` and its interval added.

    ``bounds`` has the figure as ``value``, and its interval as ``low`` and ``high``.
    """
    return {
        **entry,
        name: bounds["value"],
        f"{name}_low": bounds["low"],
        f"{name}_high": bounds["high"],
    }


def figure(name: str, form: Form) -> Callable[[Entry], str]:
    """Return a function from an entry to the text of its figure ``name``, "" if it is unknown."""
    return partial(figure_text, name=name, form=form)


def rate(name: str, form: Form = ".1%") -> Callable[[Entry], str]:
    """Return a function from an entry to its figure ``name`` as ``with_interval`` writes it.

    With the form ``points`` the figure is a difference, such as "+3.1 (+1.0 to +5.2)".
    """
    return partial(with_interval, name=name, form=form)


points_lost = partial(points, form=".1f")
"""A loss in percentage points, "17.2"; a gain is negative."""


def label(name: str = "model") -> Callable[[Entry], str]:
    """Return a function from an entry to the display name of the model in its field ``name``."""
    return lambda entry: models.label(entry[name])


def ranking(entries: Sequence[Entry], by: str, score: str = "") -> Table:
    """Return the table of the models with their ranks, rates and similarities.

    Accuracies are in it if they are known. Of consistency and accuracy, the quantity ``by`` which
    the models are ranked comes first. In a run of scores accuracies are means of the score that is
    called ``score``, and nothing else is known.
    """
    title = "Consistency"
    if any(_attacks_count_fewer_images(entry) for entry in entries):
        title = "Consistency, under attack of predictions to break"
    consistency: Column = (title, figure("consistency", ".1%"))
    accuracies: list[Column] = [
        ("Perturbed accuracy", figure("perturbed_accuracy", ".1%")),
        ("Original accuracy", figure("clean_accuracy", ".1%")),
        LABELLED,
    ]
    if score:
        first_quantity = "perturbed_accuracy"
        rates = [
            (f"Perturbed {score}", figure("perturbed_accuracy", ".1%")),
            (f"Original {score}", figure("clean_accuracy", ".1%")),
            (f"{score} lost, points", rate("drop", points_lost)),
        ]
    elif by == "perturbed_accuracy":
        first_quantity = "perturbed_accuracy"
        rates = [*accuracies, consistency]
    else:
        first_quantity = "consistency"
        rates = [consistency]
        if any(entry["clean_accuracy"] is not None for entry in entries):
            rates += accuracies
    model_count = Counter(entry["label_set"] for entry in entries)

    def rank(entry: Entry) -> str:
        # A model with classes of its own has no other to be compared with.
        if len(entries) > 1 and model_count[entry["label_set"]] == 1:
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
    ]
    if not score:
        columns += [*similarities(entries, ".3f"), *listed_metrics(entries)]
    return Table.of(entries, columns)


def _attacks_count_fewer_images(entry: Entry) -> bool:
    """Return whether the consistency of a model counts fewer images under attack than else."""
    return entry["n_attacked"] is not None and bool(entry["n_attacked"] < entry["n_images"])


def places(entry: Entry) -> str:
    """Return the rank of ``entry``, such as "2", or the range of ranks of a tie, "2 to 4"."""
    low = figure_text(entry, "place_low", "")
    high = figure_text(entry, "place_high", "")
    return low if low == high else f"{low} to {high}"


def labelled_text(entry: Entry) -> str:
    labelled = figure_text(entry, "n_labelled", ",")
    images = figure_text(entry, "n_images", ",")
    return f"{labelled} of {images}"


LABELLED: Column = ("Labelled images", labelled_text)


def labels_note(entries: Sequence[Entry], quantity: str) -> str:
    """Return a sentence on how many images have a label, "" if all do or no accuracy is shown."""
    all_labelled = all(entry["n_labelled"] >= entry["n_images"] for entry in entries)
    if "accuracy" not in quantity or all_labelled:
        return ""
    labels_of_count: dict[str, list[str]] = {}
    for entry in entries:
        labels_of_count.setdefault(labelled_text(entry), []).append(models.label(entry["model"]))
    if len(labels_of_count) == 1:
        texts = list(labels_of_count)
    else:
        texts = []
        for count, labels in labels_of_count.items():
            texts.append(f"{count} for {', '.join(dict.fromkeys(labels))}")
    return f"Accuracy counts only images with a label: {'; '.join(texts)}."


def broken_by_attacks(entry: Entry, name: str = "attack_success") -> str:
    """Return the success rate ``name`` of attacks, with its interval and the number of images."""
    if entry[name] is None:
        return "no correct image to break"
    images = "image" if entry.get("of") == "consistency" else "correct image"
    rates = with_interval(entry, name)
    count = figure_text(entry, "n_attacked", ",")
    return f"{rates} of {counted(count, images)}"


def similarities(
    entries: Sequence[Entry], form: str, names: Iterable[str] = RESCALED
) -> list[Column]:
    """Return a column for each of the similarities ``names`` of the embeddings.

    A column has the rescaled similarities, except for old runs, which lack them.
    """
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
    """Return a column for each metric that is shown in every table of models."""
    columns = []
    for metric in METRICS:
        if TABLES in metric.views and all(metric.name in entry for entry in entries):
            columns.append((metric.column_title, rate(metric.name, metric.form)))
    return columns


def metric_titles(view: str) -> dict[str, str]:
    """Return the titles of the columns of metrics that belong to ``view``, by column.

    Metrics of predictions come first, then those of features and of images. A similarity is
    followed by its rescaled column.
    """
    titles = {}
    subjects = (PREDICTION, FEATURES, PICTURE)
    for metric in sorted(METRICS, key=lambda metric: subjects.index(metric.subject)):
        if view not in metric.views:
            continue
        titles[metric.name] = metric.label
        if metric.name in RESCALED:
            titles[RESCALED[metric.name]] = f"{metric.label}, rescaled"
    return titles


def pairs(entries: Sequence[Entry]) -> Table:
    """Return the table of all pairs of models, with their difference, its test, and a verdict."""
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
    """Return a p-value with four decimals."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def robust_accuracy(entries: Sequence[Entry]) -> Table:
    """Return the table of robust accuracies per model and epsilon, with the strongest attack."""
    columns: list[Column] = [
        ("Model", label()),
        ("Measured by", lambda entry: NORMS[entry["norm"]].label),
        ("Epsilon", lambda entry: _strongest_attack(entry).spec.size_text),
        ("Attacks", figure("attacks", "")),
        ("Images", figure("n_images", "")),
        ("Robust", rate("robust")),
        ("Attacks succeed", lambda entry: broken_by_attacks(entry, "success")),
        ("Strongest attack", lambda entry: _strongest_attack(entry).series),
        ("robust to it", figure("strongest_left", ".1%")),
    ]
    return Table.of(entries, columns)


def _strongest_attack(entry: Entry) -> AttackCondition:
    condition = Condition.parse(entry["strongest"])
    assert isinstance(condition, AttackCondition)
    return condition


ROBUST_NOTE = (
    "Robust: the share of all labelled images that are correct under every attack tried at this "
    "epsilon and all smaller ones (without labels: unchanged). It is an upper bound: a stronger "
    "attack may break more. Success counts only images that were correct before the attack."
)


Tone = Literal["correct", "incorrect", "unchanged", "changed", "unsure", "rejected"]
"""The part of a CSS class that colours a mark."""


class Mark(NamedTuple):
    """How a prediction is marked: by a colour, a sign, and words such as "incorrect, changed"."""

    tone: Tone
    sign: str
    text: str

    @property
    def said(self) -> str:
        """The sign and all words, such as "✗ incorrect, changed"."""
        return f"{self.sign} {self.text}"

    @property
    def brief(self) -> str:
        """A short form for a narrow cell of a chart, in which ✓ and ✗ stand for their words."""
        words = [word for word in self.text.split(", ") if word not in ("correct", "incorrect")]
        return "<br>".join([self.sign, *words])

    @property
    def word(self) -> str:
        """The most important word alone: the verdict, or "rejected"."""
        if self.tone == "rejected":
            return "rejected"
        return self.text.partition(", ")[0]

    @property
    def rest(self) -> str:
        """The text that ``word`` leaves out, for screen readers."""
        return self.text.removeprefix(self.word)

    @property
    def rejected(self) -> Mark:
        """The same mark for a prediction that the safe threshold of its model would reject."""
        return Mark("rejected", self.sign, f"{self.text}, would be rejected")

    @property
    def good(self) -> bool:
        """Whether the prediction is correct or, if there is no true class, unchanged."""
        return self.sign in (_CORRECT, _UNCHANGED)


_CORRECT = "✓"
_INCORRECT = "✗"
_UNCHANGED = "="
_CHANGED = "≠"

LEGEND = "✓ correct, ✗ incorrect. Without a true class: = unchanged, ≠ changed."
OPEN_MARKERS = "Open markers: incorrect or, without a true class, changed."

HALF = 0.5
"""A prediction below this share of the original confidence has low confidence."""

LOW_CONFIDENCE = f"Low confidence: below {share(UNSURE, 0)}, or below half of that on the original."


def judged(consistent: bool, correct: bool | None, *, unsure: bool = False) -> Mark:
    """Return the mark of a prediction.

    ``consistent`` says whether it is that of the original, and ``correct`` whether it is the true
    class, None without one. ``unsure`` adds to a correct or unchanged prediction that its
    confidence is low.
    """
    tone: Tone
    if correct is None:
        if consistent:
            tone = "unchanged"
            sign = _UNCHANGED
        else:
            tone = "changed"
            sign = _CHANGED
        text: str = tone
    elif correct:
        tone = "correct"
        sign = _CORRECT
        text = "correct" if consistent else "now correct"
    else:
        tone = "incorrect"
        sign = _INCORRECT
        text = "incorrect" if consistent else "incorrect, changed"
    if unsure and sign in (_CORRECT, _UNCHANGED):
        return Mark("unsure", sign, f"{text}, low confidence")
    return Mark(tone, sign, text)


def verdict(row: Measurement) -> Mark:
    """Return the mark of the prediction of one measurement."""
    return verdict_of(vars(row))


def verdict_of(row: Mapping[str, Any]) -> Mark:
    """Return the mark of the prediction of ``row``, which has the columns of a measurement."""
    before = row["clean_probability"]
    after = row["probability"]
    is_unsure = False
    # Tables of predictions may have no probabilities.
    if pd.notna(after) and pd.notna(before):
        is_unsure = bool(after < max(UNSURE, HALF * before))
    is_consistent = row["clean_top1"] == row["top1"]
    return judged(is_consistent, is_correct(row["label"], row["top1"]), unsure=is_unsure)


def cell(frame: pd.DataFrame) -> tuple[float, str]:
    """Return the share of good predictions in ``frame``, and its short text such as "✓ 3/4".

    A prediction is good if it is correct or, unless every row has a label, if it is unchanged. One
    row alone has the short form of its mark as text.
    """
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
    """Return the clause on a model whose prediction first changes ``where``.

    ``where`` is a phrase such as "at strength 0.4". ``before`` and ``after`` say whether the
    predictions on the original and after the change are correct, None if there is no true class.
    """
    if before is None:
        return f"changes {where}"
    if before:
        return f"becomes incorrect {where}"
    verb = "becomes correct" if after else "changes"
    return f"is incorrect on the original and {verb} {where}"


def no_change(before: bool | None) -> str:
    """Return the clause on a model whose prediction never changes.

    ``before`` says whether it is correct on the original, None if there is no true class.
    """
    if before is None:
        return "does not change"
    return "stays correct" if before else "stays incorrect"


def tally(rows: Sequence[Measurement]) -> str:
    """Return how many models are correct, such as "3 of 4 correct; Lite0 is now wrong".

    The second clause names the models that are no longer correct. If no row has a true class, the
    text says how many predictions are unchanged instead. ``rows`` has one row for each model.
    """
    rows_with_class = [row for row in rows if row.label is not None]
    if rows_with_class:
        text = correct_models(rows)
        worse = [row for row in rows_with_class if row.clean_top1 == row.label != row.top1]
    else:
        worse = [row for row in rows if not row.consistent]
        if len(rows) == 1:
            return "changed" if worse else "unchanged"
        text = f"{len(rows) - len(worse)} of {len(rows)} unchanged"
    if len(rows) == 1 or not worse:
        return text
    if len(worse) == 1:
        subject = models.label(worse[0].model)
        verb = "is"
    else:
        subject = str(len(worse))
        verb = "are"
    if not rows_with_class:
        return f"{text}; {subject} changed"
    return f"{text}; {subject} {verb} now wrong"


def correct_models(rows: Sequence[Measurement]) -> str:
    """Return how many models are correct, such as "3 of 4 correct"; "" without a true class."""
    verdicts = [row.top1 == row.label for row in rows if row.label is not None]
    if not verdicts:
        return ""
    if len(rows) == 1:
        return "correct" if verdicts[0] else "incorrect"
    text = f"{sum(verdicts)} of {len(verdicts)} correct"
    unknown = len(rows) - len(verdicts)
    if unknown:
        text += f" ({unknown} without the true class)"
    return text


def percent(probability: float) -> str:
    """Return ``probability`` in whole percents, such as "94%" or "<1%".

    Values just below ``UNSURE`` keep one decimal, such as "29.6%", as they would read as 30%
    although they count as low confidence.
    """
    if 0 < probability < 0.005:
        return "<1%"
    if probability < UNSURE <= round(probability, 2):
        return f"{math.floor(1000 * probability) / 10:.1f}%"
    return share(probability, 0)
