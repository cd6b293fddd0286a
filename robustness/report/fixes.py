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
    """What the run, its calibrations and trainings say; nothing is measured for it."""
    tried = remedy_figures(of.run)
    thresholds = {entry["model"]: entry for entry in of.answer(threshold.THRESHOLD).entries}
    fixes: list[Fix] = []
    names: list[str] = []
    if of.run.row_count:
        ranked = [entry["model"] for entry in of.statistics.summary]
        names = of.answer(CHOICE).chosen.in_order(ranked)
    for name in names:
        has_models = not of.run.is_from_table
        fixes += _remedies(of.run, name, tried) if has_models else ()
        fixes += _threshold(of, thresholds.get(name))
        fixes += _calibration(of, name) if has_models else ()
        fixes += _training(of, name) if has_models else ()
        fixes += _other_models(of, name)
    return FixFigures(fixes, tried)


def _command(*words: str) -> str:
    return shlex.join(["python", "-m", "robustness", *words])


def _remedies(run: Run, name: str, tried: RemedyFigures) -> Iterator[Fix]:
    own = [gain for gain in tried.as_rows() if gain["model"] == name]
    if not own:
        size = counted(len(run.manifest.spec.pooled_conditions), "condition")
        yield Fix(
            name,
            REMEDY,
            "Image filters, such as a median",
            f"another run of {counted(run.images, 'image')} under {size}",
            measured=False,
            command=_command("evaluate", "--request", run.id, "--remedies", ",".join(REMEDIES)),
        )
        return
    helpful = [gain for gain in own if gain["helpful"]]
    for gain in helpful:
        lost = figure_text(gain, "cost_on_originals", _points)
        took = _time(gain)
        costs = gain["cost_on_originals"] > 0
        originals = f"{lost} points on originals" if costs else "nothing on originals"
        yield Fix(
            name,
            REMEDY,
            parse(gain["remedy"]).label,
            originals + (took and f", {took} an image"),
            _quantity(tried).lower(),
            gain["condition"],
            gain["gain"],
            gain["gain_low"],
            gain["gain_high"],
            significant=True,
            remedy=gain["remedy"],
        )
    if not helpful:
        yield Fix(
            name,
            REMEDY,
            "Remedies",
            "",
            significant=False,
            result=f"none of {len({gain['remedy'] for gain in own})} helps significantly",
        )


def _threshold(of: RunFigures, entry: Entry | None) -> Iterator[Fix]:
    if entry is None or not entry["status"]:
        return
    figures = of.answer(threshold.THRESHOLD)
    most = f"{100 * figures.max_error:.3g}%"
    if entry["threshold"] is None:
        needed = figure_text(entry, "images_needed", threshold.round_to_digit)
        cost = f"about {needed} images in all" if needed else ""
        result = f"none proven to keep errors under {most}"
        yield Fix(entry["model"], THRESHOLD, "A safe threshold", cost, result=result)
        return
    error = figure_text(threshold.error_of(entry, SUITE), "error", ".1%")
    whole = threshold.risk_text(figures, entry["model"])
    result = f"at most {most} of the accepted are {figures.wrong}"
    if error and whole:
        result = f"{result} ({error} measured; {whole} of all)"
    rejected = threshold.accepted_text(entry, SUITE, lambda accepted: share(1 - accepted))
    at = threshold.score_text(entry)
    yield Fix(
        entry["model"],
        THRESHOLD,
        f"Accept from {at}",
        f"{rejected} of predictions are rejected" if rejected else "",
        significant=True,
        result=result,
    )


def _calibration(of: RunFigures, name: str) -> Iterator[Fix]:
    run = of.run
    record = models.REGISTRY.find(name)
    if record is None or record.base or not _labelled(of, name):
        return
    fit = read_calibrations(run).get(name)
    if fit is None and (copy := _copy_in_run(of, name)):
        yield copy
        return
    if fit is None:
        few = run.images < FEWEST
        yield Fix(
            name,
            CALIBRATION,
            "Temperature scaling",
            f"one pass over {counted(run.images, 'original')}",
            measured=False,
            result=f"needs {FEWEST} labelled originals" if few else "",
            command="" if few else _command("calibrate", run.id, name),
        )
        return
    added = fit.added
    yield Fix(
        name,
        CALIBRATION,
        f"Temperature {fit.temperature:g}" + (f": {model(added.name)}" if added else ""),
        "none: top class and latency stay",
        "log-likelihood",
        "",
        fit.gain["value"],
        fit.gain["low"],
        fit.gain["high"],
        significant=fit.helpful,
        result=_errors(fit),
        command=_command("calibrate", run.id, name, "--name", f"{name}Calibrated")
        if fit.helpful and not added
        else "",
    )


def _copy_in_run(of: RunFigures, name: str) -> Fix | None:
    """What the calibrated copy of ``name`` in the run does to the error of its originals."""
    summary = {entry["model"]: entry for entry in of.statistics.summary}
    for record in models.REGISTRY:
        if record.base and record.base.name == name and record.name in summary:
            before, after = (
                with_interval(summary[each], "clean_ece", ".3f") for each in (name, record.name)
            )
            return Fix(
                name,
                CALIBRATION,
                f"Temperature {record.temperature:g}: {model(record.name)}",
                "none: top class and latency stay",
                result=f"calibration error {before} -> {after}, on images that fitted it, too",
            )
    return None


def _errors(fit: Calibration) -> str:
    """The calibration error before and after."""
    before, after = (
        with_interval(
            tables.flat({}, name, getattr(fit, name)),
            name,
            ".3f",
        )
        for name in ("before", "after")
    )
    return f"calibration error {before or 'unknown'} -> {after or 'unknown'}"


def calibration_sentence(fit: Calibration) -> str:
    """What the temperature of a model does."""
    originals = counted(fit.images, "other original")
    errors = _errors(fit)
    verdict = "" if fit.helpful else " No significant gain in log-likelihood."
    number = f"temperature {fit.temperature:g}, fitted on {counted(fit.fitted, 'original')}"
    return f"{model(fit.model)}: {number}; {errors} on {originals}.{verdict}"


def _labelled(of: RunFigures, name: str) -> bool:
    return any(
        entry["model"] == name and entry["clean_accuracy"] is not None
        for entry in of.statistics.summary
    )


def _training(of: RunFigures, name: str) -> Iterator[Fix]:
    """The hardened models of ``name``: in the run, judged beside it, or elsewhere."""
    record = models.REGISTRY.find(name)
    if record is None or record.base:
        return
    answer = read_json(Hardening, of.run.folder / jobs.HARDENED)
    judged = answer is not None and answer.parent == name
    children = {r.name: r.origin for r in models.REGISTRY if _is_child(r, name) and not r.base}
    for child, origin in children.items():
        if child in of.run.manifest.spec.model_names:
            yield _difference(of, child, name, TRAINING, _SAME_LATENCY)
        elif origin and not (judged and answer and answer.name == child):
            yield Fix(
                name,
                TRAINING,
                f"Use {model(child)}",
                _SAME_LATENCY,
                measured=False,
                result=f"{'' if origin.recommended else 'not '}recommended after its training",
                command=_command("evaluate", "SOURCE", "--models", f"{name},{child}"),
            )
    if judged and answer:
        group = answer.judgement.group(UNSEEN)
        yield Fix(
            name,
            TRAINING,
            f"Use {answer.name}",
            _SAME_LATENCY,
            f"{'accuracy' if answer.judgement.labelled else 'consistency'} on other perturbations",
            "",
            group.difference,
            group.low,
            group.high,
            significant=group.significant,
        )
    elif not children and any(
        len(c.perturbations) == 1 and not c.profile for c in of.run.conditions
    ):
        words = ("harden", name, "--images", "IMAGES", "--run", of.run.id)
        yield Fix(
            name,
            TRAINING,
            "Train a copy",
            "20 unlabelled images or more, about 15 minutes on two cores",
            measured=False,
            command=_command(*words, "--name", f"{name}Hardened"),
        )


_SAME_LATENCY = "none: latency stays"


def _is_child(record: models.ModelRecord, name: str) -> bool:
    return record.origin is not None and record.origin.parent == name


def _other_models(of: RunFigures, name: str) -> Iterator[Fix]:
    """The models that the run recommends, where they are significantly better than ``name``."""
    names = of.run.manifest.spec.model_names
    if len(names) < 2:
        yield Fix(
            name,
            OTHER_MODEL,
            "Another model",
            "a run with both",
            measured=False,
            command=_command("evaluate", "SOURCE", "--models", f"{name},OTHER"),
        )
        return
    if not of.run.images:
        return
    hardened = {record.name for record in models.REGISTRY if _is_child(record, name)}
    better = False
    costs = of.run.manifest.costs
    for other in of.answer(CHOICE).chosen.best:
        now, then = (_latency(each, costs) for each in (name, other))
        cost = f"{then} ms an image, now {now}" if now and then else ""
        fix = _difference(of, other, name, OTHER_MODEL, cost)
        if other not in hardened and fix.significant and (fix.gain or 0) > 0:
            better = True
            yield fix
    if not better:
        result = "none is significantly better"
        yield Fix(name, OTHER_MODEL, "Another model", "", significant=False, result=result)


def _latency(model: str, costs: Mapping[str, Cost]) -> str:
    return figure_text(vars(costs.get(model, Cost())), "latency_ms", milliseconds)


def _difference(of: RunFigures, other: str, name: str, kind: str, cost: str) -> Fix:
    """What ``other`` is ahead of ``name`` by, tested or not."""
    for pair in of.statistics.pairs():
        if {pair["better"], pair["worse"]} == {other, name}:
            sign = 1 if pair["better"] == other else -1
            low = pair["difference_low"]
            high = pair["difference_high"]
            bounds = sorted(sign * bound for bound in (low, high) if bound is not None)
            return Fix(
                name,
                kind,
                f"Use {model(other)}",
                cost,
                _QUANTITIES[pair["quantity"]],
                "",
                sign * pair["difference"],
                bounds[0] if bounds else None,
                bounds[-1] if bounds else None,
                significant=bool(pair["established"]),
                other=other,
            )
    return Fix(name, kind, f"Use {model(other)}", cost, result="not compared on these images")


_QUANTITIES = {
    "perturbed_accuracy": "accuracy",
    "consistency": "consistency",
    "robust_accuracy": "robust accuracy",
}


def gain_text(fix: Fix) -> str:
    """The gain in words, or why there is none."""
    if not fix.measured:
        return f"not measured yet{f'; {fix.result}' if fix.result else ''}"
    if fix.gain is None or fix.kind == CALIBRATION:
        settled = fix.significant in (True, None) or fix.gain is None
        suffix = "" if settled else f"; gain in {fix.quantity} not significant"
        return f"{fix.result}{suffix}"
    gain = points(fix.gain)
    bounds = tables.in_brackets(vars(fix), "gain", _points)
    under = f" under {short(fix.condition)}" if fix.condition else ""
    suffix = "" if fix.significant else ", not significant"
    return f"{gain} points of {fix.quantity}{bounds}{under}{suffix}"


def answers(figures: FixFigures) -> list[tuple[str, str]]:
    """What helps each model significantly, beside the answers of other questions."""
    by_model: dict[str, list[str]] = {}
    for fix in figures.fixes:
        own = by_model.setdefault(fix.model, [])
        if fix.significant and fix.kind in (REMEDY, CALIBRATION, TRAINING):
            gain = gain_text(fix)
            own.append(f"{fix.what}, {gain}")
    said = []
    for name, own in by_model.items():
        if own:
            fixes = join_names(own, _NAMED)
            said.append(f"{model(name)}: {fixes}.")
    if figures.tried.gains and not any(gain.helpful for gain in figures.tried.gains):
        said.append("None of the remedies helps significantly.")
    return [(TITLE, " ".join(said))] if said else []


def blocks(figures: FixFigures) -> list[Block]:
    """What each fix gains by model, with the costs, and how to test the rest."""
    if not figures.fixes:
        return []
    measured = [fix for fix in figures.fixes if fix.measured]
    parts: list[Block] = [Text("Measured gains first; the rest can be tested.", _RULE)]
    if measured:
        parts.append(Titled("Gain by fix and model", _by_fix(figures.fixes)))
    if untested := untested_text(figures.fixes):
        parts.append(Text(untested))
    if commands := [fix for fix in figures.fixes if fix.command]:
        parts.append(Titled("Commands to test or add", _commands(commands), long=True))
    if costs := [fix for fix in measured if fix.cost or fix.gain is not None]:
        columns: list[Column] = [
            MODEL,
            ("Fix", lambda fix: fix["what"]),
            ("Gain", lambda fix: fix["text"]),
            ("Cost", lambda fix: fix["cost"]),
        ]
        rows = [{**asdict(fix), "text": gain_text(fix)} for fix in costs]
        parts.append(Titled("Gains and costs", Table.of(rows, columns), long=True))
    if figures.tried.gains:
        tried = figures.tried.as_rows()
        every = _columns(figures.tried)
        parts.append(Titled("All remedies tried", Table.of(tried, every), long=True))
    return parts


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
    by_title: dict[str, dict[str, list[Fix]]] = {}
    for fix in fixes:
        by_title.setdefault(_title(fix), {}).setdefault(fix.model, []).append(fix)
    rows = []
    for title, by_model in by_title.items():
        if any(fix.measured for own in by_model.values() for fix in own):
            rows.append([title, *(_cell(by_model.get(name, [])) for name in names)])
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
    """The fixes that no model has a measured gain of, in a sentence; "" if there are none."""
    tested = {_title(fix) for fix in fixes if fix.measured}
    names = {REMEDY: "image filters", TRAINING: "a trained copy"}
    untested = []
    for fix in fixes:
        if _title(fix) not in tested:
            name = names.get(fix.kind, in_sentence(_title(fix)))
            needs = f" ({fix.result})" if fix.kind == CALIBRATION and fix.result else ""
            untested.append(f"{name}{needs}")
    return f"Not tested yet: {', '.join(dict.fromkeys(untested))}." if untested else ""


def _commands(fixes: Sequence[Fix]) -> Table:
    """A row a command, in which MODEL stands for each of several models."""
    models_of: dict[tuple[str, str, str], list[str]] = {}
    for fix in fixes:
        # The model is an argument or the start of a new name; the run's id may hold it, too.
        command = re.sub(
            rf" {re.escape(fix.model)}(?=Calibrated|Hardened|,| |$)", " MODEL", fix.command
        )
        models_of.setdefault((fix.what, fix.cost, command), []).append(fix.model)
    rows = []
    for (what, cost, command), names in models_of.items():
        if len(names) == 1:
            command = command.replace(" MODEL", f" {names[0]}")
        rows.append((what, ", ".join(names), cost, command))
    return Table(("Fix", "Models", "Cost", "Command"), rows)


def _quantity(figures: RemedyFigures) -> str:
    """What the shares are of; with some labels, of predictions that are correct or unchanged."""
    names = {True: "Accuracy", False: "Consistency", None: "Accuracy or consistency"}
    return names[figures.labelled]


def _columns(figures: RemedyFigures) -> list[Column]:
    return [
        MODEL,
        ("Condition", lambda entry: short(entry["condition"])),
        ("Remedy", lambda entry: parse(entry["remedy"]).label),
        (
            f"Gain in {_quantity(figures).lower()}, points",
            tables.rate("gain", points),
        ),
        (
            "Change on originals, points",
            tables.figure("cost_on_originals", lambda lost: points(-lost, "+z.1f")),
        ),
        ("Time", _time),
        ("Verdict", _verdict),
    ]


def _time(entry: Entry) -> str:
    took = figure_text(entry, "milliseconds", milliseconds)
    return f"{took} ms" if took else ""


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
