"""From which confidence a prediction may be accepted, so that few accepted ones are wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from robustness.base.errors import ParameterError
from robustness.base.text import counted, figure_text, join_names, share
from robustness.images.framing import Framing
from robustness.measure.condition import Condition, readable, short
from robustness.report.blocks import (
    FIX,
    MODEL,
    Block,
    Chart,
    Question,
    RunFigures,
    Text,
    Titled,
    model_label,
)
from robustness.report.charts import risk_coverage
from robustness.report.tables import Column, Entry, Form, Table, flat, with_interval
from robustness.runs import Analysis, Run, cases
from robustness.statistics.options import ThresholdOptions
from robustness.statistics.threshold import (
    FEWEST_UNITS,
    LEVEL,
    MAX_ERROR,
    NOT_MET,
    ORIGINAL,
    SUITE,
    Promise,
)

_RULE = (
    "A random 30% of the images chooses which thresholds to test, the others test them in that "
    f"order until one fails; the promise fails with a chance of {share(LEVEL, 0)} at most (Learn "
    "then Test, Angelopoulos et al. 2021). It holds for images like these, under these conditions. "
    "A calibrated model is certified on the images that fit no temperature. "
    "Attacks are left out. Intervals are 95%, by image."
)


@dataclass(frozen=True)
class ThresholdInUse:
    """The safe threshold in use for a model, and what it was certified for.

    ``weights`` is the digest of the model's weights. At most ``max_error`` of the predictions whose
    ``score`` is at least ``threshold`` are ``error`` ("wrong", or "changed" without labels) over
    the ``conditions``, by their ids, or in each with the ``promise`` "condition". ``run`` is the
    id of the run that says so.
    """

    weights: str
    framing: Framing
    score: Literal["probability", "margin"]
    threshold: float
    max_error: float
    promise: Promise
    error: Literal["wrong", "changed"]
    conditions: tuple[str, ...]
    run: str

    @property
    def text(self) -> str:
        """The threshold in words."""
        text = f"{self.threshold:.7g}"
        if self.score == "margin":
            text += " of the margin"
        return text

    def accepts(self, probabilities: Sequence[float]) -> bool:
        """Return whether a prediction with these top ``probabilities``, largest first, passes."""
        # A model of a single class has no second probability.
        top, second, *_ = (*probabilities, 0.0, 0.0)
        score = top - second if self.score == "margin" else top
        return score >= self.threshold

    def untested(self, condition: Condition) -> str:
        """Return the part of ``condition`` that the promise does not cover, "" if it covers all.

        The promise covers perturbations that one of its own conditions has together, each at the
        same or at a higher strength.
        """
        if condition.idle:
            return ""
        tested = []
        for text in self.conditions:
            tested_condition = readable(text)
            if tested_condition is not None:
                tested.append(_strengths(tested_condition))
        strengths = _strengths(condition)
        if _are_covered(strengths, tested):
            return ""
        uncovered = {}
        for name, strength in strengths.items():
            if not _are_covered({name: strength}, tested):
                uncovered[name] = strength
        # Perturbations that are all covered alone were not tested together.
        return Condition.of(uncovered or strengths).short

    def stale(self, weights: str, framing: Framing) -> str:
        """Return what invalidates the threshold for a model, "" if it still holds.

        ``weights`` is the digest of the weights of the model, and ``framing`` its framing.
        """
        if weights != self.weights:
            return "other weights"
        if framing != self.framing:
            return "another preprocessing"
        return ""


_ROUNDING = 1e-6
"""The error of a strength that is set on a page."""


def _strengths(condition: Condition) -> dict[str, float]:
    """Return the strengths of ``condition`` by perturbation; a switch is on at any strength."""
    return dict(Condition.parse(condition.effect).steps)


def _are_covered(strengths: Mapping[str, float], tested: Sequence[Mapping[str, float]]) -> bool:
    """Return whether one of the ``tested`` conditions has all perturbations as strong."""
    for tested_strengths in tested:
        if all(
            tested_strengths.get(name, 0.0) >= strength - _ROUNDING
            for name, strength in strengths.items()
        ):
            return True
    return False


class ThresholdFigures(NamedTuple):
    """The safe threshold of each model, and the curves of the error.

    ``entries`` have the thresholds, for errors up to ``max_error`` by ``promise``. ``conditions``
    is the number of conditions without attacks. ``wrong`` is what an accepted prediction must not
    be: "wrong", or "changed" without labels.
    """

    entries: Sequence[Entry]
    curves: Sequence[Entry]
    max_error: float
    promise: Promise
    conditions: int
    wrong: Literal["wrong", "changed"]


def threshold_figures(figures: RunFigures) -> ThresholdFigures:
    """Return the safe thresholds of a run by the options that ``figures`` has.

    Raises ``ParameterError`` unless ``max_error`` lies between 0 and 1.
    """
    max_error = float(figures.options.get("max_error", MAX_ERROR))
    if not 0 < max_error < 1:
        raise ParameterError(f"Expected a max error between 0 and 1, got {max_error:g}.")
    promise: Promise = "condition" if figures.options.get("each_condition") else "suite"
    groups = figures.options.get("groups")
    failures = figures.analysis.failures
    if max_error == MAX_ERROR and promise == "suite" and groups is None:
        # The stored failures of the run contain the thresholds by the default options.
        entries = failures.thresholds
    else:
        entries = cases.safe_thresholds(figures.run.rows, max_error, promise, groups)
    return ThresholdFigures(
        entries=[{**entry, "max_error": max_error, "promise": promise} for entry in entries],
        curves=failures.risk_coverage,
        max_error=max_error,
        promise=promise,
        conditions=sum(not condition.attacks for condition in figures.run.conditions),
        wrong="wrong" if failures.quantity == "perturbed_accuracy" else "changed",
    )


def check_predicts(run: Run) -> None:
    """Raise ``ParameterError`` for a run of scores, which no threshold of confidence can accept."""
    if run.score:
        raise ParameterError(
            f"Expected a run of predictions with confidences, got one of scores ({run.score}), "
            "which have none."
        )


def document(figures: ThresholdFigures) -> dict[str, Any]:
    """Return the promise and the threshold of each model as a JSON-ready record."""
    return {
        "max_error": figures.max_error,
        "promise": figures.promise,
        "certainty": 1 - LEVEL,
        "models": list(figures.entries),
    }


def certified(run: Run, figures: ThresholdFigures) -> dict[str, ThresholdInUse | None]:
    """Return the thresholds to use for the models of ``run``, None for models without one."""
    spec = run.manifest.spec
    digests = dict(spec.models)
    thresholds: dict[str, ThresholdInUse | None] = {}
    for entry in figures.entries:
        name = entry["model"]
        if entry["threshold"] is None:
            thresholds[name] = None
            continue
        conditions: list[str] = []
        for text in entry["status"]:
            conditions += spec.profiles.get(text, (text,))
        thresholds[name] = ThresholdInUse(
            weights=digests[name],
            framing=spec.framing_of(name),
            score=entry["score"],
            threshold=entry["threshold"],
            max_error=figures.max_error,
            promise=figures.promise,
            error=figures.wrong,
            conditions=tuple(conditions),
            run=run.id,
        )
    return thresholds


def groups_of(run: Run, groups: str | Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return the group of each image by its name.

    ``groups`` is that mapping already, or a regular expression, whose first match in a name is the
    group. Images without a match have none. Raises ``ParameterError`` for an invalid expression,
    and for one that matches in no name.
    """
    if not isinstance(groups, str):
        return groups
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise ParameterError(f"Expected a regular expression, got {groups!r}: {error}.") from error
    images: list[str] = run.rows.axes.images.tolist()
    matches = {image: pattern.search(image) for image in images}
    group_of = {image: match.group() for image, match in matches.items() if match is not None}
    if images and not group_of:
        raise ParameterError(
            f"Expected a pattern in the names of images, such as {images[0]!r}: {groups!r} is "
            "in none of them."
        )
    return group_of


def sentence(entry: Entry, figures: ThresholdFigures) -> str:
    """Return the sentence on what the threshold of a model promises, or on why there is none."""
    if entry["strongest"] is None:
        return _why_untested(entry, figures)
    max_error = f"{100 * figures.max_error:.3g}%"
    if entry["threshold"] is None:
        advice = _advice(entry, figures)
        return f"No threshold is proven to keep errors under {max_error}. {advice}"
    conditions = counted(len(entry["status"]), "condition")
    if len(entry["status"]) == 1:
        where = f"under {short(next(iter(entry['status'])))}"
    elif figures.promise == "condition":
        where = f"in each of these {conditions}"
    else:
        where = f"over these {conditions}"
    start = "if the top class has" if entry["score"] == "margin" else "from a confidence of"
    certainty = share(1 - LEVEL, 0)
    return (
        f"Accept {start} {score_text(entry)}: at most {max_error} {figures.wrong} {where} "
        f"({certainty} certain)."
    )


def _why_untested(entry: Entry, figures: ThresholdFigures) -> str:
    """Return the sentence on why no threshold could be tested."""
    images = counted(entry["images"], "image")
    if entry["images"] >= FEWEST_UNITS:
        return f"Expected at least {FEWEST_UNITS} groups of images: these {images} form fewer."
    if entry["images"]:
        return f"Expected at least {FEWEST_UNITS} images with predictions, got {images}."
    if not figures.conditions:
        return "No threshold: the run has attacks alone, which are left out."
    return "Its predictions have no probabilities, so there is no threshold."


def _advice(entry: Entry, figures: ThresholdFigures) -> str:
    """Return the sentence on how many images may prove a threshold, or on why none passes."""
    if entry["images_needed"] is not None:
        images = "labelled images" if figures.wrong == "wrong" else "images"
        needed = figure_text(entry, "images_needed", round_to_digit)
        return f"About {needed} {images} in total may prove one."
    strongest = score_text(entry)
    failing = [short(text) for text, status in entry["status"].items() if status == NOT_MET]
    if figures.promise == "condition" and not failing:
        return f"Too few predictions exceed {strongest} in each condition."
    error_over_all = entry["error"][SUITE]["value"]
    is_low_error = error_over_all is None or error_over_all <= figures.max_error
    if figures.promise == "suite" and is_low_error:
        accepted = accepted_text(entry, SUITE)
        return f"Only {accepted} exceed {strongest}: too few to prove a threshold."
    error = figure_text(error_of(entry, SUITE), "error", ".1%")
    text = f"Even from {strongest}, {error} of accepted predictions are {figures.wrong}"
    if failing:
        text += f"; more than {100 * figures.max_error:.3g}% under {join_names(failing)}"
    return f"{text}."


def round_to_digit(images: float) -> str:
    """Return a number of ``images`` rounded to one digit.

    It is an estimate: another random split of the images may give half or twice as many.
    """
    rounded = int(float(f"{images:.0e}"))
    return f"{rounded:,}"


def score_text(entry: Entry) -> str:
    """Return the threshold of ``entry``, or without one the strongest that was tested."""
    name = "strongest" if entry["threshold"] is None else "threshold"
    text = figure_text(entry, name, lambda score: f"{score:.7f}".rstrip("0").rstrip("."))
    if entry["score"] == "probability":
        return text
    return f"a lead of {text}"


def blocks(figures: ThresholdFigures) -> list[Block]:
    """Return sentences on the promises, tables of models and conditions, and the error curve."""
    entries = [entry for entry in figures.entries if entry["images"]]
    if not any(entry["status"] for entry in entries):
        return []
    tested = [entry for entry in entries if entry["strongest"] is not None]
    safe = [entry for entry in tested if entry["threshold"] is not None]
    parts = _promises(entries, figures)
    if safe:
        parts.append(Titled("Safe thresholds", _safe_thresholds(tested, figures)))
    if figures.curves:
        parts.append(_error_curve(figures, safe))
    if tested:
        table = _under_each_condition(tested, figures)
        if table.rows:
            parts.append(Titled("Under each condition", table, long=True))
    return parts


def _promises(entries: Sequence[Entry], figures: ThresholdFigures) -> list[Block]:
    """Return a sentence on each model; several models without a threshold share one.

    A table has the reasons why these have none.
    """
    failed = [
        entry for entry in entries if entry["strongest"] is not None and entry["threshold"] is None
    ]
    parts: list[Block] = []
    if len(failed) < 2:
        texts = [of_model(entry, figures) for entry in entries]
    else:
        texts = [of_model(entry, figures) for entry in entries if entry not in failed]
        names = join_names([model_label(entry["model"]) for entry in failed], len(failed))
        max_error = f"{100 * figures.max_error:.3g}%"
        texts.append(f"{names}: no threshold is proven to keep errors under {max_error}.")
        reason: Column = ("Reason", lambda entry: _advice(entry, figures))
        parts.append(Titled("Why there is no threshold", Table.of(failed, [MODEL, reason])))
    # The rule is explained once, with the last sentence.
    sentences: list[Block] = [Text(text) for text in texts[:-1]]
    return [*sentences, Text(texts[-1], _RULE), *parts]


def _safe_thresholds(entries: Sequence[Entry], figures: ThresholdFigures) -> Table:
    """Return the table of the thresholds; models without one have empty cells."""
    rows = []
    for entry in entries:
        row = [model_label(entry["model"])]
        if entry["threshold"] is None:
            row += ["none", "", "", ""]
        else:
            row += [
                score_text(entry),
                accepted_text(entry, ORIGINAL),
                accepted_text(entry, SUITE),
                _error_text(entry, SUITE),
            ]
        rows.append(row)
    head = (
        "Model",
        "Accept from",
        "Accepted, originals",
        "Accepted, perturbed",
        f"{figures.wrong.capitalize()} among accepted",
    )
    return Table(head, rows)


def _error_curve(figures: ThresholdFigures, safe: Sequence[Entry]) -> Chart:
    """Return the chart of the error over the share accepted, with the ``safe`` thresholds."""
    errors = "Errors" if figures.wrong == "wrong" else "Changed predictions"
    names = [curve["model"] for curve in figures.curves]
    of_all = ", ".join(f"{model_label(name)} {risk_text(figures, name)}" for name in names)
    note = "The most confident predictions are on the left. Attacks are left out."
    if safe:
        note += " Large markers: safe thresholds."
    return Chart(
        "Error among accepted predictions",
        risk_coverage(figures.curves, errors, safe),
        f"{errors} among the accepted predictions over the share accepted, with the safe "
        f"thresholds. All accepted: {of_all}.",
        note,
    )


def _under_each_condition(entries: Sequence[Entry], figures: ThresholdFigures) -> Table:
    columns: list[Column] = [
        MODEL,
        ("Condition", lambda entry: short(entry["condition"])),
        ("Tested from", score_text),
        ("Accepted", lambda entry: accepted_text(entry, entry["condition"])),
        (
            f"{figures.wrong.capitalize()} among accepted",
            lambda entry: _error_text(entry, entry["condition"]),
        ),
        ("In this condition alone", lambda entry: entry["status"][entry["condition"]]),
    ]
    rows = []
    for entry in entries:
        for condition in entry["status"]:
            rows.append({**entry, "condition": condition})
    return Table.of(rows, columns)


def accepted_text(entry: Entry, condition: str, form: Form = ".1%") -> str:
    """Return the share of predictions that a threshold accepts under ``condition``."""
    return figure_text(entry["accepted"], condition, form)


def error_of(entry: Entry, condition: str) -> Entry:
    """Return ``entry`` with the figure ``error``, that of accepted predictions in ``condition``.

    The figure and its bounds are None if it is unknown.
    """
    unknown = {"value": None, "low": None, "high": None}
    return flat(entry, "error", entry["error"].get(condition, unknown))


def _error_text(entry: Entry, condition: str) -> str:
    return with_interval(error_of(entry, condition), "error")


def risk_text(figures: ThresholdFigures, name: str) -> str:
    """Return the share of all predictions of the model that are wrong or changed, "" if unknown.

    Predictions under attack are left out, as among the accepted ones.
    """
    # A curve ends where all predictions are accepted.
    for curve in figures.curves:
        if curve["model"] == name:
            return share(curve["risk"][-1])
    return ""


def of_model(entry: Entry, figures: ThresholdFigures) -> str:
    """Return the sentence on the threshold of a model, after the name of the model."""
    text = sentence(entry, figures)
    return f"{model_label(entry['model'])}: {text}"


def entries(several: Iterable[Run]) -> list[Entry]:
    """Return the entry of each model of ``several`` runs, from the first run that has it."""
    return [entry for entry, _ in _of_first_run(several)]


def notes(several: Iterable[Run], models: Sequence[str]) -> list[Text]:
    """Return the sentences on the thresholds of ``models``, by the first run that has each."""
    texts = []
    for entry, figures in _of_first_run(several):
        if entry["model"] in models and entry["status"]:
            texts.append(Text(of_model(entry, figures)))
    return texts


def _of_first_run(several: Iterable[Run]) -> Iterable[tuple[Entry, ThresholdFigures]]:
    entry_of_model: dict[str, tuple[Entry, ThresholdFigures]] = {}
    for run in several:
        figures = RunFigures(Analysis(run)).answer(THRESHOLD)
        for entry in figures.entries:
            entry_of_model.setdefault(entry["model"], (entry, figures))
    return entry_of_model.values()


THRESHOLD = Question(
    "threshold",
    "Safe threshold",
    blocks,
    "from which confidence predictions may be accepted",
    threshold_figures,
    options=ThresholdOptions,
    tables=lambda figures: {"thresholds": figures.entries, "risk_coverage": figures.curves},
    command="threshold",
    view=FIX,
)
