"""What would help each model of a run, with its gain and cost, or how to measure them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial

from robustness import models
from robustness.base.text import (
    counted,
    figure_text,
    in_sentence,
    join_names,
    milliseconds,
    points,
    share,
)
from robustness.hardening import Hardening
from robustness.hardening.judgement import UNSEEN
from robustness.measure.condition import short
from robustness.remedies import parse
from robustness.report import tables, threshold
from robustness.report.blocks import (
    FIX,
    MODEL,
    Block,
    Question,
    RunFigures,
    Tables,
    Text,
    Titled,
    model_label,
)
from robustness.report.choice import CHOICE
from robustness.report.tables import Column, Entry, Table, with_interval
from robustness.runs import Run, last_trained
from robustness.runs.analysis import Calibration
from robustness.runs.calibrate import FEWEST
from robustness.runs.remedies import Gains, measured_gains
from robustness.statistics.choice import Cost
from robustness.statistics.threshold import SUITE

TITLE = "What should we fix?"

REMEDIES = "median_if_impulsive", "autocontrast_if_flat", "mixture"
"""The remedies to try if a run tried none: two that leave most originals alone, and the average of
the cheapest."""

REMEDY = "remedy"
THRESHOLD = "threshold"
CALIBRATION = "calibration"
TRAINING = "training"
OTHER_MODEL = "another model"

_RULE = (
    "Gains are those that the run measured, with 95% intervals. Rows of one model have no order: "
    "they were not tested against each other. Remedies: of each condition the one with the largest "
    "gain on half of the images is chosen and measured on the other half; significant by an exact "
    "paired test with Holm's correction over models and conditions, and an interval above 0. Under "
    "attack each remedy is attacked through itself as well, and the worse prediction counts. "
    "Calibration: fitted on half of the labelled originals, measured on the others; significant if "
    "the interval of the gain in log-likelihood is above 0. Other models: only those that no other "
    "significantly exceeds, if the paired difference is significant."
)
_points = partial(points, form=".1f")
_NAMED = 3
"""Gains of a model that a sentence names."""


@dataclass(frozen=True)
class Fix:
    """One thing that may help a model. Its fields are JSON-ready.

    ``kind`` is one of the constants above, such as ``REMEDY``. ``what`` says what to do, and
    ``cost`` what that costs, "" if nothing is known.

    ``gain`` is the difference that the fix makes to ``quantity``, with its 95% interval: of shares
    in [-1, 1], or of the log-likelihood in nats. It is one under ``condition``, or over all
    conditions if that is "". It is None if there is no figure. ``significant`` is the outcome of
    its test, None without a test.

    ``measured`` is False for a fix that must still be tried, and ``command`` is the command that
    tries or adds it, "" for none. ``result`` tells what is known besides the gain. ``remedy`` is
    the id of the remedy, and ``other`` the name of the model to use instead.
    """

    model: str
    kind: str
    what: str
    cost: str
    quantity: str = ""
    condition: str = ""
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    significant: bool | None = None
    measured: bool = True
    result: str = ""
    command: str = ""
    remedy: str = ""
    other: str = ""


class FixFigures:
    """The fixes that are known from a run, from its calibrations and from its trainings.

    Models come in the order of the choice. Nothing is measured. ``tried`` are the trials of
    remedies that the run made.
    """

    def __init__(self, figures: RunFigures, tried: Gains) -> None:
        self._figures = figures
        self.tried = tried

    @cached_property
    def improvements(self) -> Sequence[Fix]:
        """What improves a model itself: remedies, temperatures and trained copies."""
        run = self._figures.run
        if run.is_from_table:
            return []  # they need the model, and a table of predictions comes without it
        training = last_trained(run.folder)
        fixes: list[Fix] = []
        for name in self._names:
            fixes += _remedy_fixes(run, name, self.tried)
            fixes += _calibration_fixes(self._figures, name)
            fixes += _training_fixes(self._figures, name, training)
        return fixes

    @cached_property
    def fixes(self) -> Sequence[Fix]:
        """All fixes, those of a model together."""
        entries = self._figures.answer(threshold.THRESHOLD).entries
        thresholds = {entry["model"]: entry for entry in entries}
        fixes: list[Fix] = []
        for name in self._names:
            fixes += [fix for fix in self.improvements if fix.model == name]
            if name in thresholds and thresholds[name]["status"]:
                fixes.append(_threshold_fix(self._figures, thresholds[name]))
            fixes += _other_models(self._figures, name)
        return fixes

    @cached_property
    def _names(self) -> list[str]:
        if not self._figures.run.row_count:
            return []
        ranked = [entry["model"] for entry in self._figures.statistics.summary]
        return self._figures.answer(CHOICE).chosen.in_order(ranked)


def _fix_figures(figures: RunFigures) -> FixFigures:
    return FixFigures(figures, measured_gains(figures.run))


def _command(*words: str) -> str:
    return shlex.join(["python", "-m", "robustness", *words])


def _remedy_fixes(run: Run, name: str, tried: Gains) -> list[Fix]:
    """Return the remedies that help a model, or one fix that says what was or can be tried."""
    gains = [gain for gain in tried.as_rows() if gain["model"] == name]
    if not gains:
        images = counted(run.images, "image")
        conditions = counted(len(run.manifest.spec.pooled_conditions), "condition")
        untried = Fix(
            model=name,
            kind=REMEDY,
            what="Image filters, such as a median",
            cost=f"another run of {images} under {conditions}",
            measured=False,
            command=_command("evaluate", "--request", run.id, "--remedies", ",".join(REMEDIES)),
        )
        return [untried]
    helpful = [gain for gain in gains if gain["helpful"]]
    if not helpful:
        remedies = {gain["remedy"] for gain in gains}
        useless = Fix(
            model=name,
            kind=REMEDY,
            what="Remedies",
            cost="",
            significant=False,
            result=f"none of {len(remedies)} helps significantly",
        )
        return [useless]
    return [
        Fix(
            model=name,
            kind=REMEDY,
            what=parse(gain["remedy"]).label,
            cost=_remedy_cost(gain),
            quantity=_quantity(tried).lower(),
            condition=gain["condition"],
            gain=gain["gain"],
            gain_low=gain["gain_low"],
            gain_high=gain["gain_high"],
            significant=True,
            remedy=gain["remedy"],
        )
        for gain in helpful
    ]


def _remedy_cost(gain: Entry) -> str:
    """Return what a remedy costs: accuracy on originals, and time."""
    cost = "nothing on originals"
    if gain["cost_on_originals"] > 0:
        cost = f"{figure_text(gain, 'cost_on_originals', _points)} points on originals"
    time = _time_text(gain)
    return f"{cost}, {time} an image" if time else cost


def _threshold_fix(figures: RunFigures, entry: Entry) -> Fix:
    """Return the safe threshold of a model, or that there is none.

    ``entry`` is that of the model in the figures of thresholds.
    """
    name = entry["model"]
    thresholds = figures.answer(threshold.THRESHOLD)
    max_error = f"{100 * thresholds.max_error:.3g}%"
    if entry["threshold"] is None:
        images_needed = figure_text(entry, "images_needed", threshold.round_to_digit)
        return Fix(
            model=name,
            kind=THRESHOLD,
            what="A safe threshold",
            cost=f"about {images_needed} images in all" if images_needed else "",
            result=f"none proven to keep errors under {max_error}",
        )
    result = f"at most {max_error} of the accepted are {thresholds.wrong}"
    error = figure_text(threshold.error_of(entry, SUITE), "error", ".1%")
    error_of_all = threshold.risk_text(thresholds, name)
    if error and error_of_all:
        result += f" ({error} measured; {error_of_all} of all)"
    rejected = threshold.accepted_text(entry, SUITE, lambda accepted: share(1 - accepted))
    return Fix(
        model=name,
        kind=THRESHOLD,
        what=f"Accept from {threshold.score_text(entry)}",
        cost=f"{rejected} of predictions are rejected" if rejected else "",
        significant=True,
        result=result,
    )


def _calibration_fixes(figures: RunFigures, name: str) -> list[Fix]:
    """Return the temperature of a model if it was fitted, else how to fit one.

    There is nothing to fit without labels, nor for a model that is a calibrated copy itself.
    """
    run = figures.run
    record = models.REGISTRY.find(name)
    if record is None or record.base or not _has_accuracy(figures, name):
        return []
    fit = figures.analysis.calibrations.get(name)
    if fit is not None:
        return [_fitted_temperature(run, fit)]
    copy = _calibrated_copy(figures, name)
    if copy is not None:
        return [copy]
    result = ""
    command = ""
    if run.images < FEWEST:
        result = f"needs {FEWEST} labelled originals"
    else:
        command = _command("calibrate", run.id, name)
    unfitted = Fix(
        model=name,
        kind=CALIBRATION,
        what="Temperature scaling",
        cost=f"one pass over {counted(run.images, 'original')}",
        measured=False,
        result=result,
        command=command,
    )
    return [unfitted]


def _has_accuracy(figures: RunFigures, name: str) -> bool:
    return any(
        entry["model"] == name and entry["clean_accuracy"] is not None
        for entry in figures.statistics.summary
    )


def _fitted_temperature(run: Run, fit: Calibration) -> Fix:
    what = f"Temperature {fit.temperature:g}"
    command = ""
    if fit.added:
        what += f": {model_label(fit.added.name)}"
    elif fit.helpful:
        command = _command("calibrate", run.id, fit.model, "--name", f"{fit.model}Calibrated")
    return Fix(
        model=fit.model,
        kind=CALIBRATION,
        what=what,
        cost="none: top class and latency stay",
        quantity="log-likelihood",
        gain=fit.gain["value"],
        gain_low=fit.gain["low"],
        gain_high=fit.gain["high"],
        significant=fit.helpful,
        result=_calibration_errors(fit),
        command=command,
    )


def _calibrated_copy(figures: RunFigures, name: str) -> Fix | None:
    """Return the calibrated copy of the model ``name`` that is in the run, None if none is.

    The result has the calibration errors of both on the originals.
    """
    summary = {entry["model"]: entry for entry in figures.statistics.summary}
    for record in models.REGISTRY:
        if record.base and record.base.name == name and record.name in summary:
            before = with_interval(summary[name], "clean_ece", ".3f")
            after = with_interval(summary[record.name], "clean_ece", ".3f")
            return Fix(
                model=name,
                kind=CALIBRATION,
                what=f"Temperature {record.temperature:g}: {model_label(record.name)}",
                cost="none: top class and latency stay",
                result=f"calibration error {before} -> {after}, on images that fitted it, too",
            )
    return None


def _calibration_errors(fit: Calibration) -> str:
    """Return the clause with the calibration errors before and after the temperature."""
    before = with_interval(tables.flat({}, "error", fit.before), "error", ".3f")
    after = with_interval(tables.flat({}, "error", fit.after), "error", ".3f")
    return f"calibration error {before or 'unknown'} -> {after or 'unknown'}"


def calibration_sentence(fit: Calibration) -> str:
    """Return the sentence on the fitted temperature of a model and its calibration errors."""
    fitted = counted(fit.fitted, "original")
    others = counted(fit.images, "other original")
    text = (
        f"{model_label(fit.model)}: temperature {fit.temperature:g}, fitted on {fitted}; "
        f"{_calibration_errors(fit)} on {others}."
    )
    if not fit.helpful:
        text += " No significant gain in log-likelihood."
    return text


def _training_fixes(figures: RunFigures, name: str, training: Hardening | None) -> list[Fix]:
    """Return the hardened copies of the model ``name``, or how to train one.

    ``training`` is the last that the run suggested, of whatever model.
    """
    run = figures.run
    record = models.REGISTRY.find(name)
    if record is None or record.base:
        return []
    if training is not None and training.parent != name:
        training = None
    fixes = []
    copies = [copy for copy in models.REGISTRY if _is_hardened_copy(copy, name) and not copy.base]
    for copy in copies:
        if copy.name in run.manifest.spec.model_names:
            fixes.append(_difference(figures, copy.name, name, TRAINING, _SAME_LATENCY))
        elif copy.origin and (training is None or training.name != copy.name):
            verdict = "recommended" if copy.origin.recommended else "not recommended"
            unevaluated = Fix(
                model=name,
                kind=TRAINING,
                what=f"Use {model_label(copy.name)}",
                cost=_SAME_LATENCY,
                measured=False,
                result=f"{verdict} after its training",
                command=_command("evaluate", "SOURCE", "--models", f"{name},{copy.name}"),
            )
            fixes.append(unevaluated)
    if training is not None:
        fixes.append(_trained_copy(training))
    elif not copies and _has_trainable_condition(run):
        harden = ["harden", name, "--images", "IMAGES", "--run", run.id]
        untrained = Fix(
            model=name,
            kind=TRAINING,
            what="Train a copy",
            cost="20 unlabelled images or more, about 15 minutes on two cores",
            measured=False,
            command=_command(*harden, "--name", f"{name}Hardened"),
        )
        fixes.append(untrained)
    return fixes


def _trained_copy(training: Hardening) -> Fix:
    """Return the copy that was trained for the run, with the gain that its judgement measured."""
    # The gain is that under perturbations which the training did not see.
    unseen = training.judgement.group(UNSEEN)
    quantity = "accuracy" if training.judgement.labelled else "consistency"
    return Fix(
        model=training.parent,
        kind=TRAINING,
        what=f"Use {training.name}",
        cost=_SAME_LATENCY,
        quantity=f"{quantity} on other perturbations",
        gain=unseen.difference,
        gain_low=unseen.low,
        gain_high=unseen.high,
        significant=unseen.significant,
    )


def _has_trainable_condition(run: Run) -> bool:
    """Return whether the run has a condition of one perturbation, as a training takes them."""
    return any(
        len(condition.perturbations) == 1 and not condition.profile for condition in run.conditions
    )


_SAME_LATENCY = "none: latency stays"


def _is_hardened_copy(record: models.ModelRecord, name: str) -> bool:
    return record.origin is not None and record.origin.parent == name


def _other_models(figures: RunFigures, name: str) -> list[Fix]:
    """Return the models to use instead: the best of the run, if significantly better than ``name``.

    If there are none, the only fix says so, or how to try another model.
    """
    run = figures.run
    if len(run.manifest.spec.model_names) < 2:
        untried = Fix(
            model=name,
            kind=OTHER_MODEL,
            what="Another model",
            cost="a run with both",
            measured=False,
            command=_command("evaluate", "SOURCE", "--models", f"{name},OTHER"),
        )
        return [untried]
    if not run.images:
        return []
    costs = run.manifest.costs
    latency = _latency_text(name, costs)
    fixes = []
    for other in figures.answer(CHOICE).chosen.best:
        other_latency = _latency_text(other, costs)
        cost = ""
        if latency and other_latency:
            cost = f"{other_latency} ms an image, now {latency}"
        fix = _difference(figures, other, name, OTHER_MODEL, cost)
        # Hardened copies of the model are fixes of their own, by training.
        is_copy = other in models.REGISTRY and _is_hardened_copy(models.REGISTRY[other], name)
        if fix.significant and fix.gain is not None and fix.gain > 0 and not is_copy:
            fixes.append(fix)
    if not fixes:
        none_better = Fix(
            model=name,
            kind=OTHER_MODEL,
            what="Another model",
            cost="",
            significant=False,
            result="none is significantly better",
        )
        fixes.append(none_better)
    return fixes


def _latency_text(name: str, costs: Mapping[str, Cost]) -> str:
    cost = costs.get(name, Cost())
    return figure_text(vars(cost), "latency_ms", milliseconds)


def _difference(figures: RunFigures, other: str, name: str, kind: str, cost: str) -> Fix:
    """Return the fix to use the model ``other`` instead of ``name``, with the difference of both.

    ``kind`` and ``cost`` are those of the fix.
    """
    what = f"Use {model_label(other)}"
    for pair in figures.statistics.pairs():
        if {pair["better"], pair["worse"]} != {other, name}:
            continue
        # The difference of a pair is that of the better model over the worse one.
        sign = 1 if pair["better"] == other else -1
        ends = (pair["difference_low"], pair["difference_high"])
        bounds = sorted(sign * end for end in ends if end is not None)
        return Fix(
            model=name,
            kind=kind,
            what=what,
            cost=cost,
            quantity=figures.statistics.score or _QUANTITIES[pair["quantity"]],
            gain=sign * pair["difference"],
            gain_low=bounds[0] if bounds else None,
            gain_high=bounds[-1] if bounds else None,
            significant=bool(pair["established"]),
            other=other,
        )
    return Fix(
        model=name,
        kind=kind,
        what=what,
        cost=cost,
        result="not compared on these images",
    )


_QUANTITIES = {
    "perturbed_accuracy": "accuracy",
    "consistency": "consistency",
    "robust_accuracy": "robust accuracy",
}


def gain_text(fix: Fix) -> str:
    """Return the gain of a fix in words, or what is known instead of a gain."""
    if not fix.measured:
        return f"not measured yet; {fix.result}" if fix.result else "not measured yet"
    if fix.gain is None:
        return fix.result
    if fix.kind == CALIBRATION:
        # The gain is in nats; the result says what it does to the calibration error.
        if fix.significant is False:
            return f"{fix.result}; gain in {fix.quantity} not significant"
        return fix.result
    bounds = tables.in_brackets(vars(fix), "gain", _points)
    text = f"{points(fix.gain)} points of {fix.quantity}{bounds}"
    if fix.condition:
        text += f" under {short(fix.condition)}"
    if not fix.significant:
        text += ", not significant"
    return text


def answers(figures: FixFigures) -> list[tuple[str, str]]:
    """Return the question what to fix and the sentence on the significant gains; [] if none is.

    Thresholds and other models are left out, which other questions answer.
    """
    gains_of_model: dict[str, list[str]] = {}
    for fix in figures.improvements:
        if fix.significant:
            gains_of_model.setdefault(fix.model, []).append(f"{fix.what}, {gain_text(fix)}")
    sentences = []
    for name, gains in gains_of_model.items():
        sentences.append(f"{model_label(name)}: {join_names(gains, _NAMED)}.")
    trials = figures.tried.gains
    if trials and not any(gain.helpful for gain in trials):
        sentences.append("None of the remedies helps significantly.")
    if not sentences:
        return []
    return [(TITLE, " ".join(sentences))]


def blocks(figures: FixFigures) -> list[Block]:
    """Return the tables of gains and costs, and how to test what was not measured."""
    if not figures.fixes:
        return []
    measured = [fix for fix in figures.fixes if fix.measured]
    parts: list[Block] = [Text("Measured gains first; the rest can be tested.", _RULE)]
    if measured:
        parts.append(Titled("Gain by fix and model", _gain_table(figures.fixes)))
    untested = untested_text(figures.fixes)
    if untested:
        parts.append(Text(untested))
    with_command = [fix for fix in figures.fixes if fix.command]
    if with_command:
        parts.append(Titled("Commands to test or add", _command_table(with_command), long=True))
    with_figures = [fix for fix in measured if fix.cost or fix.gain is not None]
    if with_figures:
        parts.append(Titled("Gains and costs", _cost_table(with_figures), long=True))
    if figures.tried.gains:
        table = Table.of(figures.tried.as_rows(), _trial_columns(figures.tried))
        parts.append(Titled("All remedies tried", table, long=True))
    return parts


def _cost_table(fixes: Sequence[Fix]) -> Table:
    columns: list[Column] = [
        ("Model", lambda fix: model_label(fix.model)),
        ("Fix", lambda fix: fix.what),
        ("Gain", gain_text),
        ("Cost", lambda fix: fix.cost),
    ]
    return Table.of(fixes, columns)


_TITLES = {
    THRESHOLD: "Safe threshold",
    CALIBRATION: "Temperature scaling",
    TRAINING: "Trained copy",
    OTHER_MODEL: "Another model",
}


def _title(fix: Fix) -> str:
    """Return the title that ``fix`` shares with those of other models; remedies have their own."""
    if fix.kind == REMEDY:
        return fix.what
    return _TITLES[fix.kind]


def _gain_table(fixes: Sequence[Fix]) -> Table:
    """Return the table with a column for each model, and a row for each fix measured for one."""
    names = list(dict.fromkeys(fix.model for fix in fixes))
    fixes_of_title: dict[str, list[Fix]] = {}
    for fix in fixes:
        fixes_of_title.setdefault(_title(fix), []).append(fix)
    rows = []
    for title, fixes_of_row in fixes_of_title.items():
        if any(fix.measured for fix in fixes_of_row):
            row = [title]
            for name in names:
                row.append(_gain_cell([fix for fix in fixes_of_row if fix.model == name]))
            rows.append(row)
    labels = [model_label(name) for name in names]
    return Table(("Fix", *labels), rows)


def _gain_cell(fixes: Sequence[Fix]) -> str:
    """Return the largest gain of ``fixes``, all of one model and title; "" if there are none."""
    if not fixes:
        return ""
    largest = max(fixes, key=lambda fix: fix.gain or 0.0)
    if not largest.measured:
        return "not tested"
    text = gain_text(largest)
    if largest.kind in (TRAINING, OTHER_MODEL) and largest.gain is not None:
        text = f"{largest.what.removeprefix('Use ')}: {text}"
    if len(fixes) > 1:
        text = f"{text}; {len(fixes) - 1} more"
    return text


def untested_text(fixes: Sequence[Fix]) -> str:
    """Return the sentence on fixes that were not measured for any model, "" if there are none."""
    measured_titles = {_title(fix) for fix in fixes if fix.measured}
    names = {REMEDY: "image filters", TRAINING: "a trained copy"}
    untested = []
    for fix in fixes:
        title = _title(fix)
        if title in measured_titles:
            continue
        name = names.get(fix.kind, in_sentence(title))
        if fix.kind == CALIBRATION and fix.result:
            name += f" ({fix.result})"
        untested.append(name)
    if not untested:
        return ""
    return f"Not tested yet: {', '.join(dict.fromkeys(untested))}."


def _command_table(fixes: Sequence[Fix]) -> Table:
    """Return the table of the commands of ``fixes``.

    A command that is the same for several models but for their names has one row, in which MODEL
    stands for the name.
    """
    names_of_command: dict[tuple[str, str, str], list[str]] = {}
    for fix in fixes:
        # The id of a run may contain the name as well. So only a name after a space is replaced: an
        # argument, the first of a list, or the beginning of the name of a copy.
        name_pattern = rf" {re.escape(fix.model)}(?=Calibrated|Hardened|,| |$)"
        command = re.sub(name_pattern, " MODEL", fix.command)
        names_of_command.setdefault((fix.what, fix.cost, command), []).append(fix.model)
    rows = []
    for (what, cost, command), names in names_of_command.items():
        if len(names) == 1:
            command = command.replace(" MODEL", f" {names[0]}")
        rows.append((what, ", ".join(names), cost, command))
    return Table(("Fix", "Models", "Cost", "Command"), rows)


def _quantity(tried: Gains) -> str:
    """Return the name of the share that remedies change."""
    if tried.labelled is None:
        # Some images have a label, so predictions count if they are correct or unchanged.
        return "Accuracy or consistency"
    return "Accuracy" if tried.labelled else "Consistency"


def _trial_columns(tried: Gains) -> list[Column]:
    """Return the columns of the table of all trials of remedies."""
    change = tables.figure("cost_on_originals", lambda lost: points(-lost, "+z.1f"))
    return [
        MODEL,
        ("Condition", lambda entry: short(entry["condition"])),
        ("Remedy", lambda entry: parse(entry["remedy"]).label),
        (f"Gain in {_quantity(tried).lower()}, points", tables.rate("gain", points)),
        ("Change on originals, points", change),
        ("Time", _time_text),
        ("Verdict", _verdict),
    ]


def _time_text(gain: Entry) -> str:
    time = figure_text(gain, "milliseconds", milliseconds)
    return f"{time} ms" if time else ""


def _verdict(gain: Entry) -> str:
    if gain["helpful"]:
        return "helps"
    return "chosen, not significant" if gain["chosen"] else ""


def _json_tables(figures: FixFigures) -> Tables:
    return {"fixes": [asdict(fix) for fix in figures.fixes]}


FIXES = Question(
    "fixes",
    TITLE,
    blocks,
    "what would help each model, and what it costs",
    figures=_fix_figures,
    answers=answers,
    tables=_json_tables,
    command="fixes",
    view=FIX,
)
