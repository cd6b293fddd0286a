"""What to fix: for each model what would help, with its gain and cost, or how to measure it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

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
from robustness.base.validation import read_json
from robustness.hardening import Hardening
from robustness.hardening.judgement import UNSEEN
from robustness.measure.condition import short
from robustness.remedies import parse
from robustness.report import tables, threshold
from robustness.report.blocks import FIX, MODEL, Block, Question, RunFigures, Text, Titled, model
from robustness.report.choice import CHOICE
from robustness.report.tables import Column, Entry, Table, with_interval
from robustness.runs import Run, jobs
from robustness.runs.calibrate import FEWEST, Calibration, read_calibrations
from robustness.runs.remedies import RemedyFigures, remedy_figures
from robustness.statistics.choice import Cost
from robustness.statistics.threshold import SUITE

TITLE = "What should we fix?"

REMEDIES = "median_if_impulsive", "autocontrast_if_flat", "mixture"
"""The remedies that are tried where a run tried none: two that leave most originals alone, and the
average of the cheapest."""

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
"""Conditions that a sentence names."""


@dataclass(frozen=True)
class Fix:
    """One thing that may help a model; JSON-ready.

    ``gain`` is None until it is ``measured``; it is a difference of ``quantity`` with its interval,
    of shares in [-1, 1] or of the log-likelihood in nats, under ``condition`` if that is not "".
    ``significant`` is None where there is no test. ``command`` measures it, "" where nothing more
    is to be measured. ``remedy`` is the id of the remedy, ``other`` the model to use instead.
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


class FixFigures(NamedTuple):
    """The fixes of the models of a run, and the trials of its remedies."""

    fixes: Sequence[Fix]
    tried: RemedyFigures


def figures(of: RunFigures) -> FixFigures:
    """The fixes that the run, its calibrations and trainings know; nothing is measured for it."""
    run = of.run
    tried = remedy_figures(run)
    thresholds = {entry["model"]: entry for entry in of.answer(threshold.THRESHOLD).entries}
    names: list[str] = []
    if run.row_count:
        ranked = [entry["model"] for entry in of.statistics.summary]
        names = of.answer(CHOICE).chosen.in_order(ranked)
    fixes: list[Fix] = []
    for name in names:
        # A table of predictions comes without its models, which the other fixes need.
        if not run.is_from_table:
            fixes += _remedies(run, name, tried)
        fixes += _threshold(of, thresholds.get(name))
        if not run.is_from_table:
            fixes += _calibration(of, name)
            fixes += _training(of, name)
        fixes += _other_models(of, name)
    return FixFigures(fixes, tried)


def _command(*words: str) -> str:
    return shlex.join(["python", "-m", "robustness", *words])


def _remedies(run: Run, name: str, tried: RemedyFigures) -> Iterator[Fix]:
    """The remedies that help a model, or the command that tries some."""
    gains = [gain for gain in tried.as_rows() if gain["model"] == name]
    if not gains:
        conditions = counted(len(run.manifest.spec.pooled_conditions), "condition")
        yield Fix(
            model=name,
            kind=REMEDY,
            what="Image filters, such as a median",
            cost=f"another run of {counted(run.images, 'image')} under {conditions}",
            measured=False,
            command=_command("evaluate", "--request", run.id, "--remedies", ",".join(REMEDIES)),
        )
        return
    helpful = [gain for gain in gains if gain["helpful"]]
    for gain in helpful:
        yield Fix(
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
    if not helpful:
        remedies = {gain["remedy"] for gain in gains}
        yield Fix(
            model=name,
            kind=REMEDY,
            what="Remedies",
            cost="",
            significant=False,
            result=f"none of {len(remedies)} helps significantly",
        )


def _remedy_cost(gain: Entry) -> str:
    """The accuracy that a remedy costs on originals, and its time."""
    cost = "nothing on originals"
    if gain["cost_on_originals"] > 0:
        cost = f"{figure_text(gain, 'cost_on_originals', _points)} points on originals"
    time = _time(gain)
    return f"{cost}, {time} an image" if time else cost


def _threshold(of: RunFigures, entry: Entry | None) -> Iterator[Fix]:
    """The safe threshold of a model, by its ``entry`` in the figures of thresholds."""
    if entry is None or not entry["status"]:
        return
    name = entry["model"]
    figures = of.answer(threshold.THRESHOLD)
    max_error = f"{100 * figures.max_error:.3g}%"
    if entry["threshold"] is None:
        needed = figure_text(entry, "images_needed", threshold.round_to_digit)
        yield Fix(
            model=name,
            kind=THRESHOLD,
            what="A safe threshold",
            cost=f"about {needed} images in all" if needed else "",
            result=f"none proven to keep errors under {max_error}",
        )
        return
    result = f"at most {max_error} of the accepted are {figures.wrong}"
    error = figure_text(threshold.error_of(entry, SUITE), "error", ".1%")
    error_of_all = threshold.risk_text(figures, name)
    if error and error_of_all:
        result += f" ({error} measured; {error_of_all} of all)"
    rejected = threshold.accepted_text(entry, SUITE, lambda accepted: share(1 - accepted))
    yield Fix(
        model=name,
        kind=THRESHOLD,
        what=f"Accept from {threshold.score_text(entry)}",
        cost=f"{rejected} of predictions are rejected" if rejected else "",
        significant=True,
        result=result,
    )


def _calibration(of: RunFigures, name: str) -> Iterator[Fix]:
    """The temperature of a model: as fitted, that of its copy in the run, or how to fit it."""
    run = of.run
    record = models.REGISTRY.find(name)
    if record is None or record.base or not _labelled(of, name):
        return
    fit = read_calibrations(run).get(name)
    if fit is not None:
        yield _fitted(run, fit)
        return
    copy = _copy_in_run(of, name)
    if copy is not None:
        yield copy
        return
    too_few = run.images < FEWEST
    yield Fix(
        model=name,
        kind=CALIBRATION,
        what="Temperature scaling",
        cost=f"one pass over {counted(run.images, 'original')}",
        measured=False,
        result=f"needs {FEWEST} labelled originals" if too_few else "",
        command="" if too_few else _command("calibrate", run.id, name),
    )


def _fitted(run: Run, fit: Calibration) -> Fix:
    what = f"Temperature {fit.temperature:g}"
    command = ""
    if fit.added:
        what += f": {model(fit.added.name)}"
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
        result=_errors(fit),
        command=command,
    )


def _copy_in_run(of: RunFigures, name: str) -> Fix | None:
    """The calibrated copy of the model ``name`` in the run, with both errors on the originals."""
    summary = {entry["model"]: entry for entry in of.statistics.summary}
    for record in models.REGISTRY:
        if record.base and record.base.name == name and record.name in summary:
            before = with_interval(summary[name], "clean_ece", ".3f")
            after = with_interval(summary[record.name], "clean_ece", ".3f")
            return Fix(
                model=name,
                kind=CALIBRATION,
                what=f"Temperature {record.temperature:g}: {model(record.name)}",
                cost="none: top class and latency stay",
                result=f"calibration error {before} -> {after}, on images that fitted it, too",
            )
    return None


def _errors(fit: Calibration) -> str:
    """The calibration error before and after."""
    before = with_interval(tables.flat({}, "error", fit.before), "error", ".3f")
    after = with_interval(tables.flat({}, "error", fit.after), "error", ".3f")
    return f"calibration error {before or 'unknown'} -> {after or 'unknown'}"


def calibration_sentence(fit: Calibration) -> str:
    """The sentence on the temperature of a model and the error that it leaves."""
    fitted = counted(fit.fitted, "original")
    others = counted(fit.images, "other original")
    text = (
        f"{model(fit.model)}: temperature {fit.temperature:g}, fitted on {fitted}; "
        f"{_errors(fit)} on {others}."
    )
    if not fit.helpful:
        text += " No significant gain in log-likelihood."
    return text


def _labelled(of: RunFigures, name: str) -> bool:
    return any(
        entry["model"] == name and entry["clean_accuracy"] is not None
        for entry in of.statistics.summary
    )


def _training(of: RunFigures, name: str) -> Iterator[Fix]:
    """The hardened copies of the model ``name``, or the command that trains one."""
    run = of.run
    record = models.REGISTRY.find(name)
    if record is None or record.base:
        return
    training = read_json(Hardening, run.folder / jobs.HARDENED)
    if training is not None and training.parent != name:
        training = None
    copies = [copy for copy in models.REGISTRY if _is_child(copy, name) and not copy.base]
    for copy in copies:
        if copy.name in run.manifest.spec.model_names:
            yield _difference(of, copy.name, name, TRAINING, _SAME_LATENCY)
        elif copy.origin and (training is None or training.name != copy.name):
            verdict = "recommended" if copy.origin.recommended else "not recommended"
            yield Fix(
                model=name,
                kind=TRAINING,
                what=f"Use {model(copy.name)}",
                cost=_SAME_LATENCY,
                measured=False,
                result=f"{verdict} after its training",
                command=_command("evaluate", "SOURCE", "--models", f"{name},{copy.name}"),
            )
    if training is not None:
        yield _judged(training)
    elif not copies and _has_perturbation_alone(run):
        command = ("harden", name, "--images", "IMAGES", "--run", run.id)
        yield Fix(
            model=name,
            kind=TRAINING,
            what="Train a copy",
            cost="20 unlabelled images or more, about 15 minutes on two cores",
            measured=False,
            command=_command(*command, "--name", f"{name}Hardened"),
        )


def _judged(training: Hardening) -> Fix:
    """The copy of a training of the run, with the gain that its judgement measured."""
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


def _has_perturbation_alone(run: Run) -> bool:
    """Whether the run has a condition that a training can take: no composition, no profile."""
    return any(
        len(condition.perturbations) == 1 and not condition.profile for condition in run.conditions
    )


_SAME_LATENCY = "none: latency stays"


def _is_child(record: models.ModelRecord, name: str) -> bool:
    return record.origin is not None and record.origin.parent == name


def _other_models(of: RunFigures, name: str) -> Iterator[Fix]:
    """The models that the run recommends, where they are significantly better than ``name``."""
    run = of.run
    if len(run.manifest.spec.model_names) < 2:
        yield Fix(
            model=name,
            kind=OTHER_MODEL,
            what="Another model",
            cost="a run with both",
            measured=False,
            command=_command("evaluate", "SOURCE", "--models", f"{name},OTHER"),
        )
        return
    if not run.images:
        return
    hardened = {record.name for record in models.REGISTRY if _is_child(record, name)}
    costs = run.manifest.costs
    latency = _latency(name, costs)
    found_better = False
    for other in of.answer(CHOICE).chosen.best:
        other_latency = _latency(other, costs)
        cost = ""
        if latency and other_latency:
            cost = f"{other_latency} ms an image, now {latency}"
        fix = _difference(of, other, name, OTHER_MODEL, cost)
        is_better = fix.significant and fix.gain is not None and fix.gain > 0
        if is_better and other not in hardened:
            found_better = True
            yield fix
    if not found_better:
        yield Fix(
            model=name,
            kind=OTHER_MODEL,
            what="Another model",
            cost="",
            significant=False,
            result="none is significantly better",
        )


def _latency(name: str, costs: Mapping[str, Cost]) -> str:
    cost = costs.get(name, Cost())
    return figure_text(vars(cost), "latency_ms", milliseconds)


def _difference(of: RunFigures, other: str, name: str, kind: str, cost: str) -> Fix:
    """The lead of the model ``other`` over the model ``name``, tested or not."""
    what = f"Use {model(other)}"
    for pair in of.statistics.pairs():
        if {pair["better"], pair["worse"]} != {other, name}:
            continue
        sign = 1 if pair["better"] == other else -1
        ends = (pair["difference_low"], pair["difference_high"])
        bounds = sorted(sign * end for end in ends if end is not None)
        return Fix(
            model=name,
            kind=kind,
            what=what,
            cost=cost,
            quantity=_QUANTITIES[pair["quantity"]],
            gain=sign * pair["difference"],
            gain_low=bounds[0] if bounds else None,
            gain_high=bounds[-1] if bounds else None,
            significant=bool(pair["established"]),
            other=other,
        )
    return Fix(name, kind, what, cost, result="not compared on these images")


_QUANTITIES = {
    "perturbed_accuracy": "accuracy",
    "consistency": "consistency",
    "robust_accuracy": "robust accuracy",
}


def gain_text(fix: Fix) -> str:
    """The gain in words, or why there is none."""
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
    """The significant gains of each model, beside the answers of other questions."""
    gains_of_model: dict[str, list[str]] = {}
    for fix in figures.fixes:
        if fix.significant and fix.kind in (REMEDY, CALIBRATION, TRAINING):
            gains_of_model.setdefault(fix.model, []).append(f"{fix.what}, {gain_text(fix)}")
    sentences = [
        f"{model(name)}: {join_names(gains, _NAMED)}." for name, gains in gains_of_model.items()
    ]
    trials = figures.tried.gains
    if trials and not any(gain.helpful for gain in trials):
        sentences.append("None of the remedies helps significantly.")
    return [(TITLE, " ".join(sentences))] if sentences else []


def blocks(figures: FixFigures) -> list[Block]:
    """The gain of each fix by model, with the costs, and how to test the rest."""
    if not figures.fixes:
        return []
    measured = [fix for fix in figures.fixes if fix.measured]
    parts: list[Block] = [Text("Measured gains first; the rest can be tested.", _RULE)]
    if measured:
        parts.append(Titled("Gain by fix and model", _by_fix(figures.fixes)))
    untested = untested_text(figures.fixes)
    if untested:
        parts.append(Text(untested))
    with_command = [fix for fix in figures.fixes if fix.command]
    if with_command:
        parts.append(Titled("Commands to test or add", _commands(with_command), long=True))
    with_figures = [fix for fix in measured if fix.cost or fix.gain is not None]
    if with_figures:
        parts.append(Titled("Gains and costs", _gains_and_costs(with_figures), long=True))
    if figures.tried.gains:
        table = Table.of(figures.tried.as_rows(), _columns(figures.tried))
        parts.append(Titled("All remedies tried", table, long=True))
    return parts


def _gains_and_costs(fixes: Sequence[Fix]) -> Table:
    columns: list[Column] = [
        ("Model", lambda fix: model(fix.model)),
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
    """What ``fix`` is called where models are the columns: each remedy by its name."""
    return fix.what if fix.kind == REMEDY else _TITLES[fix.kind]


def _by_fix(fixes: Sequence[Fix]) -> Table:
    """A row a fix that was measured for some model, a column a model."""
    names = list(dict.fromkeys(fix.model for fix in fixes))
    fixes_of_title: dict[str, list[Fix]] = {}
    for fix in fixes:
        fixes_of_title.setdefault(_title(fix), []).append(fix)
    rows = []
    for title, alike in fixes_of_title.items():
        if any(fix.measured for fix in alike):
            cells = [_cell([fix for fix in alike if fix.model == name]) for name in names]
            rows.append([title, *cells])
    return Table(("Fix", *map(model, names)), rows)


def _cell(fixes: Sequence[Fix]) -> str:
    """The largest gain of one model by a fix; "" where it is not for this model."""
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
    """The fixes that were measured for no model, in a sentence; "" if there are none."""
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


def _commands(fixes: Sequence[Fix]) -> Table:
    """A row a command, in which MODEL stands for each of several models."""
    names_of_command: dict[tuple[str, str, str], list[str]] = {}
    for fix in fixes:
        # The model is an argument or the start of a new name; the run's id may hold it, too.
        argument = rf" {re.escape(fix.model)}(?=Calibrated|Hardened|,| |$)"
        command = re.sub(argument, " MODEL", fix.command)
        names_of_command.setdefault((fix.what, fix.cost, command), []).append(fix.model)
    rows = []
    for (what, cost, command), names in names_of_command.items():
        if len(names) == 1:
            command = command.replace(" MODEL", f" {names[0]}")
        rows.append((what, ", ".join(names), cost, command))
    return Table(("Fix", "Models", "Cost", "Command"), rows)


def _quantity(figures: RemedyFigures) -> str:
    """The name of the share that remedies change."""
    if figures.labelled is None:  # with some labels, predictions are correct or unchanged
        return "Accuracy or consistency"
    return "Accuracy" if figures.labelled else "Consistency"


def _columns(figures: RemedyFigures) -> list[Column]:
    """The columns of a table of trials of remedies."""
    change = tables.figure("cost_on_originals", lambda lost: points(-lost, "+z.1f"))
    return [
        MODEL,
        ("Condition", lambda entry: short(entry["condition"])),
        ("Remedy", lambda entry: parse(entry["remedy"]).label),
        (f"Gain in {_quantity(figures).lower()}, points", tables.rate("gain", points)),
        ("Change on originals, points", change),
        ("Time", _time),
        ("Verdict", _verdict),
    ]


def _time(entry: Entry) -> str:
    time = figure_text(entry, "milliseconds", milliseconds)
    return f"{time} ms" if time else ""


def _verdict(entry: Entry) -> str:
    if entry["helpful"]:
        return "helps"
    return "chosen, not significant" if entry["chosen"] else ""


FIXES = Question(
    "fixes",
    TITLE,
    blocks,
    "what would help each model, and what it costs",
    figures=figures,
    answers=answers,
    tables=lambda figures: {"fixes": [asdict(fix) for fix in figures.fixes]},
    command="fixes",
    view=FIX,
)
