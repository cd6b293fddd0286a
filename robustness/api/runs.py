"""The Python interface to runs: everything of ``rb`` that evaluates a dataset or reads a run.

Requests are made and evaluated, or the predictions of another system are. Saved runs are opened,
summed up, reported, checked and chosen from. ``match`` and ``harden`` work on images without
labels.
"""

from __future__ import annotations

import html
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd
import pyarrow as pa

from robustness import hardening, matching, runs
from robustness import models as known_models
from robustness.api.arguments import checked_call, names_of
from robustness.api.images import check_classes, open_images
from robustness.base.errors import ModelWarning, ParameterError
from robustness.base.files import expect_writable, write_file
from robustness.base.options import changed, fields_of, options_of
from robustness.base.text import join_names
from robustness.datasets import NO_LABELS, ImageNetCTree
from robustness.datasets.predictions import SCORE, Predictions, cell_text, read_predictions
from robustness.hardening import Hardening, Settings, check_name
from robustness.matching import Match, MatchSettings
from robustness.matching import domain as matching_domain
from robustness.measure import domain as domains
from robustness.measure import request as requests
from robustness.measure.condition import Condition
from robustness.measure.domain import Domain
from robustness.measure.options import (
    ConditionOptions,
    EvaluationOptions,
    ImageOptions,
    MatchOptions,
    RequestOptions,
    SpecOptions,
    TrainingOptions,
    ViewOptions,
)
from robustness.measure.request import (
    Request,
    profile_note,
    stored_conditions,
)
from robustness.perturbations import REGISTRY
from robustness.runs import Analysis, Comparison, Progress, Run, cases, imported
from robustness.runs import calibrate as run_calibrate
from robustness.runs import export as run_export
from robustness.runs.cases import Failures
from robustness.runs.remedies import measured_gains
from robustness.statistics import Criteria, ModelChoice
from robustness.statistics.options import ChoiceOptions
from robustness.statistics.threshold import MAX_ERROR

if TYPE_CHECKING:
    from robustness import gate as all_gate


class EvaluatedRun(Run):
    """A run with its tables; ``frame()`` has one row per measurement. Notebooks display it."""

    @classmethod
    def of(cls, run: Run) -> EvaluatedRun:
        return cls(**{field.name: getattr(run, field.name) for field in fields(run)})

    @cached_property
    def analysis(self) -> Analysis:
        """Its figures, failures, maps and calibrations."""
        return Analysis(self)

    def summary(self) -> pd.DataFrame:
        """One row per model, best first: ``Figures.summary``, with 95% intervals."""
        return pd.DataFrame(self.analysis.figures.summary)

    def by_condition(self) -> pd.DataFrame:
        """One row per model and condition: the columns of ``Figures.by_perturbation``."""
        return pd.DataFrame(self.analysis.figures.by_perturbation)

    def worst_compositions(self) -> pd.DataFrame:
        """One row per model of a run of a domain: the worst composition found, with its interval.

        ``value``, ``low`` and ``high`` are shares of the ``images`` that did not choose it.
        """
        return self._domain_frame("worst_compositions")

    def interactions(self) -> pd.DataFrame:
        """One row per model and pair of a domain: what it costs beyond the sum of its losses.

        ``together``, ``apart`` (the sum), and ``more`` with its interval are shares; ``p`` is
        corrected for all pairs of a model.
        """
        return self._domain_frame("interactions")

    def _domain_frame(self, name: str) -> pd.DataFrame:
        from robustness.report.domain import DOMAIN
        from robustness.report.run import RunFigures

        answer = RunFigures(self.analysis).answer(DOMAIN)
        return pd.DataFrame(DOMAIN.tables(answer).get(name, ()))

    def report(self, to: str | PathLike[str]) -> list[Path]:
        """Write the report in the format of the suffix of ``to``; return the files written.

        The suffix is .html, .pdf, .csv, .parquet, .json or .md. Raises ``ParameterError`` for
        another one and where the file cannot be written, ``RunError`` for a run without rows.
        """
        from robustness import report as all_report

        all_report.format_of(Path(to))  # now rather than after all the work
        return all_report.write(all_report.of_run(self), Path(to))

    def log_mlflow(self) -> str:
        """Log each model to the active experiment of MLflow; return the ids of its runs.

        Raises ``ParameterError`` if MLflow is not installed.
        """
        from robustness.report import mlflow

        return mlflow.log_mlflow(self)

    def _repr_html_(self) -> str:
        """The answers, the table of models and the map of the report, as static HTML."""
        if not self.images:
            return "<p>No image was evaluated.</p>"
        from robustness import report as all_report
        from robustness.report import maps as report_maps
        from robustness.report.blocks import Map

        summary = all_report.of_run(self)
        parts = [f"<p>{html.escape(sentence)}</p>" for sentence in summary.answer]
        tables = [block for block in summary.brief if isinstance(block, all_report.Titled)]
        parts.append(_html_table(tables[0].table.head, tables[0].table.rows))
        # The first section has the map of the run, or one of the domain for each model.
        parts.append(f"<style>{report_maps.style()}</style>")
        for block in summary.sections[0].printed:
            if isinstance(block, Map):
                parts.append(f"{_titled(block.title)}{block.drawing.html}")
        return "\n".join(parts)


def _titled(title: str) -> str:
    return f"<p><b>{html.escape(title)}</b></p>" if title else ""


def _html_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [_html_row(head, tag="th")]
    for row in rows:
        lines.append(_html_row(row, tag="td"))
    return f"<table>{''.join(lines)}</table>"


def _html_row(cells: Iterable[str], *, tag: str) -> str:
    parts = [f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells]
    return f"<tr>{''.join(parts)}</tr>"


compare = checked_call(runs.compare)


@checked_call
def domain(
    name: str,
    ranges: Mapping[str, Any],
    *,
    min_accuracy: float | None = None,
    min_consistency: float | None = None,
    owner: str = "",
    requirement: str = "",
    fit: str | None = None,
    side: int | None = None,
    outside: Sequence[str] = (),
) -> Domain:
    """Declare the conditions in which a model must work.

    ``ranges`` are by perturbation: two strengths such as ``(0, 0.3)``, or a table as in the file,
    such as ``{"value": [0, -1.5], "unit": "stops", "requirement": "REQ-7"}``. Give either
    ``min_accuracy`` or ``min_consistency``, which needs no labels. ``outside`` names what
    belongs to the domain and is not tested. ``.conditions`` cover it, ``.as_toml()`` is its file.
    Raises ``ParameterError`` for a range or limit that does not exist.
    """
    values: dict[str, Any] = {"name": name, "ranges": dict(ranges), "outside": list(outside)}
    optional = {
        "min_accuracy": min_accuracy,
        "min_consistency": min_consistency,
        "owner": owner,
        "requirement": requirement,
        "fit": fit,
        "side": side,
    }
    for key, value in optional.items():
        if value is not None and value != "":
            values[key] = value
    return domains.domain_of(values)


@checked_call
def propose_domain(
    *,
    preset: str | None = None,
    match: str | PathLike[str] | None = None,
    images: Any = None,
    name: str = "",
    seed: int = 0,
) -> Domain:
    """Propose a domain to start from; each range says where it comes from.

    ``preset`` is "outdoor camera", "phone" or "scanner"; ``match`` the profile that ``match``
    wrote, whose strengths are the middles of the ranges; ``images`` any source as for ``evaluate``,
    whose darkest, noisiest or most blurred images are the ends. Of several, the ranges of a match
    count before those of images, and these before those of a preset. Raises ``ParameterError``
    without any, and for what shows too few ranges.
    """
    return matching_domain.propose(
        name=name,
        preset=preset,
        profile=None if match is None else Path(match),
        images=None if images is None else open_images(images, None),
        seed=seed,
    )


@checked_call
def read_domain(path: str | PathLike[str]) -> Domain:
    """Read the domain in the TOML file ``path``; raises ``ParameterError`` where it has none."""
    return domains.read_domain(Path(path))


@checked_call
def open_run(folder: str | PathLike[str]) -> EvaluatedRun:
    """Open the finished run in ``folder``; raises ``RunError`` where there is none."""
    return EvaluatedRun.of(runs.load(Path(folder)))


@checked_call
def report(run: Run | Comparison, to: str | PathLike[str]) -> list[Path]:
    """Write the report of ``run``, or of what ``compare`` returns: see ``EvaluatedRun.report``."""
    if isinstance(run, Run):
        return EvaluatedRun.of(run).report(to)
    from robustness import report as all_report

    all_report.format_of(Path(to))  # now rather than after all the work
    return all_report.write(all_report.of_comparison(run), Path(to))


@checked_call
def record(
    run: Run, to: str | PathLike[str], *, since: Run | str | PathLike[str] | None = None
) -> list[Path]:
    """Write the record of a ``run`` of a domain, which is filed and signed; return its files.

    It has what was declared, tested and left out, the outcome of each limit, models, images and
    versions, and lines to sign. The suffix of ``to`` is .html, .pdf, .json or .md. ``since`` is an
    earlier record in .json, or its run, with which differences are tested in pairs. Raises
    ``ParameterError`` for a run without a domain, and as ``EvaluatedRun.report`` does.
    """
    from robustness import report as all_report
    from robustness.report import record as all_record
    from robustness.report.run import RunFigures

    all_record.check_format(Path(to))  # now rather than after all the work
    earlier: all_record.Record | Run | None
    if since is None or isinstance(since, Run):
        earlier = since
    else:
        earlier = all_record.read_record(Path(since))
    analysis = run.analysis if isinstance(run, EvaluatedRun) else Analysis(run)
    return all_report.write(all_record.of_record(RunFigures(analysis), earlier), Path(to))


@checked_call
def check(
    run: Run, budget: Domain | str | PathLike[str], *, baseline: Run | None = None
) -> all_gate.Check:
    """Hold ``run`` against the budget in a TOML file; ``.passed`` and ``.broken`` say how it went.

    A domain, its file, or a preset is a budget with its limit on each of its conditions.
    ``baseline`` is the run that limits of regression compare with. Raises ``ParameterError`` for a
    budget that cannot be checked.
    """
    from robustness import gate as all_gate  # with the reports, which are slow to import

    if not isinstance(budget, Domain) and matching_domain.names_preset(budget):
        budget = matching_domain.open_domain(budget)
    if isinstance(budget, Domain):
        limits = all_gate.Budget(Path(budget.name), (), domain=budget)
    else:
        limits = all_gate.read_budget(Path(budget))
    return all_gate.check(limits, run, baseline)


@checked_call
def failures(run: Run) -> Failures:
    """Return where and why the models of ``run`` fail, as tables: lists of dictionaries."""
    analysis = run.analysis if isinstance(run, EvaluatedRun) else Analysis(run)
    return analysis.failures


@checked_call
def gains(run: Run) -> list[dict[str, Any]]:
    """Return what each remedy that ``run`` tried gains, by model and condition.

    Each dictionary has the fields of ``runs.remedies.Gain``, and the ``milliseconds`` that the
    remedy adds for one image, None if unknown. Shares are in [0, 1]. Empty without remedies.
    """
    return measured_gains(run).as_rows()


@checked_call
def safe_threshold(
    run: Run,
    max_error: float = MAX_ERROR,
    *,
    each_condition: bool = False,
    groups: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Find the confidence from which at most ``max_error`` of the accepted predictions are wrong.

    The promise holds with a certainty of 95% over all conditions of ``run`` together, or in
    ``each_condition``; attacks are left out. ``groups`` names by image what belongs together, such
    as frames of one video, or is a pattern whose match in an image's name does. ``models`` has an
    entry per model: ``threshold`` (None if none passed), ``accepted`` and ``error`` by condition,
    and what else ``safe_thresholds`` of ``statistics`` tells. Without labels a changed prediction
    counts as wrong. Raises ``ParameterError`` for a share that is none, and for a run of scores.
    """
    from robustness.report.run import RunFigures
    from robustness.report.threshold import THRESHOLD, check_predicts, document, groups_of

    check_predicts(run)
    options = {
        "max_error": max_error,
        "each_condition": each_condition,
        "groups": groups_of(run, groups),
    }
    return document(RunFigures(Analysis(run), options).answer(THRESHOLD))


@checked_call
def failing_images(
    run: Run, where: str = "", *, to: str | PathLike[str] | None = None, most: int = 1000
) -> list[dict[str, Any]]:
    """Return the images of a selection, failures first, each once with its worst measurement.

    ``where`` is a text such as ``"model=SqueezeNet&slice=brightness:..0.2"``; every table of
    ``failures`` has one in its ``selection``. ``to`` also writes them, to a ``.csv`` or to a
    ``.zip`` with the images. At most ``most`` are returned. Raises ``ParameterError`` for a
    selection that the run does not have, and for a file that cannot be written.
    """
    chosen = cases.RowSelection.parse(where, run.manifest.spec)
    if to is not None:
        write_file(Path(to), run_export.exported(run, chosen, Path(to).suffix.lower()))
    return run_export.cases(run, chosen, most)


@checked_call
def calibrate(
    run: Run,
    model: str,
    *,
    name: str = "",
    note: Callable[[int, int], object] | None = None,
) -> run_calibrate.Calibration:
    """Fit the temperature of ``model`` on half of the labelled originals of ``run``.

    The model predicts the originals again. The other half judges it, and certifies thresholds of
    the calibrated model, which is added as ``name`` if one is given. ``note`` receives how many
    originals are done of how many. Raises ``ParameterError`` with
    fewer than 100 labelled originals, and as ``runs.calibrate.calibrate`` does.
    """
    if name:
        check_name(name)  # now rather than after the predictions
    calibration = run_calibrate.calibrate(run, model, note or _ignore)
    if name:
        run_calibrate.add_calibrated(calibration, name)
    return calibration


@checked_call
def choose(
    run: Run | Sequence[Run],
    *,
    budget: str | PathLike[str] | None = None,
    baseline: Run | None = None,
    **options: Unpack[ChoiceOptions],
) -> ModelChoice:
    """Choose the model of ``run`` to ship, or the tied ones; ``.sentences`` say it.

    Several runs count on the images and conditions that all have. ``weights`` are by perturbation
    or risk, such as ``{"low light": 3, "others": 0}``. Models below ``min_accuracy`` (a share),
    above ``max_latency_ms`` (milliseconds an image) or ``max_megabytes``, or that break a limit of
    the gate's file ``budget`` are ruled out; its limits on regression compare with ``baseline``. A
    difference below ``margin`` (a share) is a tie. With ``worst_pair`` models are ranked by the
    worst pair of the domain of ``run``, found on one half of the images and judged on the other.
    With ``remedies`` each model behind each remedy
    that ``run`` tried is a candidate, too, with the limits on the model. Raises ``ParameterError``
    for criteria that the run cannot answer.
    """
    from robustness import gate as all_gate
    from robustness.report import choice

    if isinstance(run, Run):
        chosen_runs = [run]
    else:
        chosen_runs = list(run)
    worst_of = choice.pairs_of_domain(chosen_runs) if options["worst_pair"] else ()
    criteria = Criteria(
        weights=options["weights"] or {},
        min_accuracy=options["min_accuracy"],
        max_latency_ms=options["max_latency_ms"],
        max_megabytes=options["max_megabytes"],
        margin=options["margin"],
        worst_of=worst_of,
    )
    remedies = options["remedies"]
    rule_out = None
    if budget is not None:
        limits = all_gate.read_budget(Path(budget))
        rule_out = all_gate.rule_out(limits, chosen_runs, baseline, remedies=remedies)
    return choice.choose(chosen_runs, criteria, rule_out, remedies=remedies)


@checked_call
def match(
    images: Any,
    *,
    reference: Any,
    classes: Any = None,
    models: Sequence[str] | None = None,
    note: Callable[[str, int, int], object] | None = None,
    first: Callable[[Match], object] | None = None,
    **options: Unpack[MatchOptions],
) -> Match:
    """Estimate which perturbations make ``images`` unlike ``reference``.

    Both are sources as for ``evaluate``, with its ``classes``; ``reference`` shows the same kind of
    scene and may have labels. The answer has ``perturbations`` with strengths and intervals, the
    ``expected_accuracy`` of the ``models`` (by default those of the command line) and
    ``unexplained``. ``out`` is a TOML file for the profile, which ``make_spec`` takes as a suite.
    ``labels`` is a CSV file: if it does not exist, it is written with up to 100 of the ``images``,
    drawn by the ``seed``, to fill in whether each model is correct on the first 20 or more; if it
    exists, its labels narrow the accuracy.
    ``note`` receives what is computed, how much is done and how much there is; an exception from
    it cancels. ``first`` receives the answer without a cause, before the search for one. Raises
    ``ParameterError`` with fewer than 20 images on a side.
    """
    profile_file = _file_to_write(options["out"], ".toml", "profile")
    labels_file = _file_to_write(options["labels"], ".csv", "labels")
    # A table that exists is read; one that does not is written at the end.
    has_labels = labels_file is not None and labels_file.exists()
    if has_labels:
        assert labels_file is not None
        matching.sheet_rows(labels_file)  # raises what is wrong with it before the work begins
        expect_writable(profile_file)
    else:
        expect_writable(profile_file, labels_file)
    check_classes(classes, images, reference)

    def with_labels(answer: Match) -> Match:
        if labels_file is None or not has_labels:
            return answer
        return matching.with_labels(answer, matching.read_sheet(labels_file, answer.sample))

    def tell_first(answer: Match) -> None:
        if first is not None:
            first(with_labels(answer))

    production_images = open_images(images, classes)
    reference_images = open_images(reference, classes)
    settings = MatchSettings(
        models=known_models.resolve(list(models) if models else None),
        **options_of(ViewOptions, options),
    )
    unlabelled_answer = matching.match(
        production_images,
        reference_images,
        settings,
        note=note or _ignore,
        first=tell_first,
    )
    answer = with_labels(unlabelled_answer)
    if labels_file is not None and not has_labels:
        if not answer.sample:
            raise ParameterError("Expected models whose predictions can be labelled, got none.")
        write_file(labels_file, matching.sheet(answer.sample).encode())
    if profile_file is not None:
        write_file(profile_file, matching.as_toml(answer).encode())
    return answer


def _file_to_write(name: str | PathLike[str] | None, suffix: str, content: str) -> Path | None:
    """Return the path of ``name``, None for None; raises ``ParameterError`` for another suffix."""
    if name is None:
        return None
    path = Path(name)
    if path.suffix != suffix:
        raise ParameterError(
            f"Expected a file for the {content} that ends in {suffix}, got {path}."
        )
    return path


def _ignore(*_progress: object) -> None:
    """Take progress that nobody wants to hear of."""


@checked_call
def harden(
    model: str,
    *,
    images: Any,
    name: str,
    perturbations: Sequence[str] | None = None,
    run: Any = None,
    judge: Any = None,
    classes: Any = None,
    note: Callable[[str, int, int], object] | None = None,
    **options: Unpack[TrainingOptions],
) -> Hardening:
    """Train ``model`` on unlabelled ``images``, judge the result, and add it as ``name``.

    It is trained on ``perturbations``, or on the five under which it is weakest in a ``run``.
    ``judge`` are labelled images that choose the interpolation and judge; without them a part of
    ``images`` does. Both are sources as for ``evaluate``, with its ``classes``. The answer has the
    ``judgement``: paired differences, and whether the model is ``recommended``. ``epochs``,
    ``rate`` and ``seed`` are those of the training. ``note`` receives what is computed, how much is
    done and how much there is; an exception from it cancels, and the same call then continues.
    Raises ``ParameterError`` for a model that cannot be trained, or with too few images.
    """
    check_classes(classes, images, images if judge is None else judge)
    if (perturbations is None) == (run is None):
        raise ParameterError("Expected either perturbations or a run to train on.")
    if perturbations is None:
        opened_run = run if isinstance(run, Run) else open_run(run)
        perturbations = weakest_perturbations(model, opened_run)
    if not perturbations:
        raise ParameterError("Expected at least one perturbation to train on, got none.")
    training_images = open_images(images, classes)
    judging_images = None
    if judge is not None:
        judging_images = open_images(judge, classes)
    return hardening.harden(
        model,
        name,
        training_images,
        perturbations,
        judging_images,
        Settings(**options),
        note or _ignore,
    )


def weakest_perturbations(model: str, run: Run) -> tuple[str, ...]:
    """Return the up to five perturbations of ``run`` under which ``model`` is weakest.

    Raises ``ParameterError`` for a run without the model or without single perturbations.
    """
    model_name = known_models.REGISTRY[model].name
    figures = Analysis(run).figures
    (ranked_by,) = {entry["ranked_by"] for entry in figures.summary}
    values_by_perturbation: dict[str, list[float]] = {}
    for entry in figures.by_perturbation:
        perturbation = entry["perturbation"]
        if entry["model"] != model_name or not REGISTRY.find(perturbation):
            continue  # of another model, or of no single perturbation
        value = entry[ranked_by] if ranked_by in entry else entry["consistency"]
        if value is not None:
            values_by_perturbation.setdefault(perturbation, []).append(value)
    if not values_by_perturbation:
        raise ParameterError(
            f"Expected a run of {model_name} under single perturbations, got {run.id}: choose "
            "another run, or name the perturbations."
        )
    # Over all strengths of a perturbation that the run has.
    mean_by_perturbation = {
        perturbation: sum(values) / len(values)
        for perturbation, values in values_by_perturbation.items()
    }
    weakest_first = sorted(mean_by_perturbation, key=lambda name: mean_by_perturbation[name])
    return hardening.names_to_train(weakest_first)


@checked_call
def make_spec(
    model_names: Sequence[str] | None = None,
    *,
    conditions: Sequence[Condition | str] | None = None,
    domain: Domain | str | PathLike[str] | None = None,
    **options: Unpack[SpecOptions],
) -> Request:
    """Make a request: models, and perturbations with their strengths.

    The models are by default those of the command line. The perturbations are those of a ``suite``
    (``study``, ``imagenet-c``, ``imagenet-c-jpeg``, which saves each image as JPEG, or the path of
    a .toml file with conditions, such as a profile that ``match`` wrote), or named
    one by one, each at its study setting, at the ``strengths`` (0 to 1) or at ImageNet-C's
    ``severities`` (1 to 5). In place of all that are ``conditions``: ids such as "fog=0.6",
    "fog=0.2+gaussian_blur=0.4" or "pgd(epsilon=2/255)", or ``Condition`` objects; or those that
    cover a ``domain``, the domain in a file, or a preset such as "outdoor camera". Each model sees
    the images as it is described; ``fit`` (crop, squash or letterbox) and ``side`` in pixels
    override that for all alike. ``remedies`` are tried on every image, such as "median" or
    "median+tta". Raises ``UnknownNameError``, ``WeightsError`` or ``ParameterError`` for what does
    not exist.
    """
    if model_names is not None and not model_names:
        raise ParameterError("Expected at least one model, got none.")
    view = options_of(RequestOptions, options)
    named = changed(ConditionOptions, options)
    if domain is not None:
        if conditions is not None or named:
            raise ParameterError("Expected either a domain or conditions, got both.")
        return requests.domain_spec(_declared_domain(domain), model_names, **view)
    if conditions is not None:
        if named:
            raise ParameterError(
                f"Expected either conditions or {join_names(named, len(named))}, got both."
            )
        parsed_conditions = [
            Condition.parse(condition) if isinstance(condition, str) else condition
            for condition in conditions
        ]
        return requests.make_spec(model_names, parsed_conditions, **view)
    named_conditions = requests.named_conditions(**options_of(ConditionOptions, options))
    spec = requests.make_spec(model_names, named_conditions, **view)
    note = profile_note(options["suite"] or "", spec)
    if note:
        warnings.warn(note, ModelWarning, stacklevel=3)
    return spec


def _declared_domain(domain: Domain | str | PathLike[str]) -> Domain:
    """Return ``domain``, or the one in that file."""
    if isinstance(domain, Domain):
        return domain
    return matching_domain.open_domain(domain)


@checked_call
def read_request(path: str | PathLike[str]) -> Request:
    """Read the request in the TOML file ``path``, described in ``robustness.measure.request``.

    Raises ``ParameterError`` for a file that cannot be used, and what ``make_spec`` raises.
    """
    return requests.read_request(Path(path))


@checked_call
def evaluate(
    source: Any,
    spec: Request | None = None,
    *,
    classes: Any = None,
    models: Any = None,
    conditions: Sequence[Condition | str] | None = None,
    domain: Domain | str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    resume: bool = True,
    note: Callable[[Progress], object] | None = None,
    progress: bool | None = None,
    **options: Unpack[EvaluationOptions],
) -> EvaluatedRun:
    """Evaluate every image of ``source``; keep the run in the folder ``out``, if one is given.

    ``source`` is a folder (its subfolders may be classes), a zip, a table, a URL or ``samples``;
    images as an array (N, H, W, 3), uint8 or floating point in [0, 1], or as a list of arrays, PIL
    images or paths, alone or with labels as ``(images, labels)``; rows of a data set: ``(image,
    label)`` as in torchvision, ``{"image": image, "label": label}`` as in Hugging Face's datasets,
    MAITE's triples; or a frame with the columns ``path`` and ``label``. A published tree
    such as ImageNet-C is "TREE::ORIGINALS"; its images are read as stored. All others are made
    square for each model, as files are; the fit "squash" leaves images of ``side`` pixels as they
    are. A label
    is the name or synset of a class; integers are those of the data set's classes if it names
    them, and else need ``classes``: names in order, a file with one per line, or "imagenet".

    What is asked is a ``spec``, or ``models`` (names, or what ``model`` returns) and conditions,
    a domain and remedies as for ``make_spec``. ``own_classes`` limits predictions to the
    classes that the labels name, as is published for ImageNet-A and -R. With ``out`` and ``resume``
    an unfinished run of the same request is continued, and a finished one is not computed again.
    ``note`` is called with the progress; ``progress`` draws a bar with tqdm (by default in
    notebooks). Raises ``ParameterError`` for a source that cannot be used, ``RunError`` where the
    run cannot be kept.
    """
    check_classes(classes, source)
    dataset = open_images(source, classes, options["limit"])
    if spec is None:
        if conditions is None and isinstance(dataset, ImageNetCTree):
            conditions = stored_conditions(dataset, options["perturbations"], options["severities"])
            options["perturbations"] = None
            options["severities"] = None
        if conditions is None and isinstance(domain, str | PathLike):
            has_labels = options.get("labelling") != NO_LABELS
            domain = matching_domain.open_domain(domain, dataset, has_labels=has_labels)
        spec = make_spec(
            names_of(models),
            conditions=conditions,
            domain=domain,
            **options_of(SpecOptions, options),
        )
    else:
        has_conditions = conditions is not None or domain is not None
        if models is not None or has_conditions or changed(SpecOptions, options):
            names = ["models", "conditions", *fields_of(SpecOptions)]
            raise ParameterError(f"Expected a spec, or {join_names(names, len(names))}, got both.")
    plan = runs.plan(dataset, spec, **options_of(ImageOptions, options))
    with _progress_reporter(note, progress, len(plan.dataset)) as tell:
        run = perform(plan, out, options["engine"], options["address"], resume=resume, tell=tell)
    if not isinstance(source, str | PathLike):
        run.dataset = plan.dataset  # it cannot be opened by name
    return run


def perform(
    plan: runs.Plan,
    out: str | PathLike[str] | None,
    engine: str,
    address: str | None = None,
    *,
    resume: bool = True,
    tell: Callable[[Progress], object] | None = None,
) -> EvaluatedRun:
    """Evaluate ``plan``; return the run in the folder ``out``.

    Without ``out`` the run is in a temporary folder, which goes with the last reference to it.
    ``tell`` receives the progress.
    """
    if out is not None:
        return _perform_in(Path(out), plan, engine, address, resume=resume, tell=tell)
    folder = Path(tempfile.mkdtemp(prefix="robustness-"))
    try:
        run = _perform_in(folder, plan, engine, address, resume=resume, tell=tell)
    except BaseException:  # an interruption, too: nobody else knows the folder
        _discard(folder)
        raise
    weakref.finalize(run, _discard, folder)
    return run


def _perform_in(
    folder: Path,
    plan: runs.Plan,
    engine: str,
    address: str | None,
    *,
    resume: bool,
    tell: Callable[[Progress], object] | None,
) -> EvaluatedRun:
    with runs.start(plan, folder, engine=engine, resume=resume) as writer:
        if not writer.finished:
            for state in writer.perform(engine, address):
                if tell is not None:
                    tell(state)
    return EvaluatedRun.of(runs.load(writer.folder))


def _discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@checked_call
def export(
    source: Any,
    to: str | PathLike[str],
    *,
    conditions: Sequence[Condition | str] | None = None,
    domain: Domain | str | PathLike[str] | None = None,
    classes: Any = None,
    models: Any = None,
    progress: bool | None = None,
    **options: Unpack[ViewOptions],
) -> Path:
    """Write the images of ``source``, original and perturbed, to ``to``; return it.

    ``to`` is a folder, a ``.zip`` or a URL of fsspec; ``images.csv`` in it says what each image is.
    The perturbations are the ``conditions``, or those that cover a ``domain``.
    The other arguments are those of ``evaluate``. Without ``models``, labels that are not all
    classes of ImageNet are classes of their own. Raises ``ParameterError`` for attacks,
    ``RunError`` where the images cannot be written.
    """
    if (conditions is None) == (domain is None):
        raise ParameterError("Expected either conditions or a domain to export.")
    declared = None
    if domain is not None:
        declared = _declared_domain(domain)
    names = names_of(models)
    if names is None:  # images of no model in particular
        framing = run_export.framing_without_models(declared)
        options["fit"] = options["fit"] or framing.fit
        options["side"] = options["side"] or framing.side
    spec = make_spec(names, conditions=conditions, domain=declared, **options)
    check_classes(classes, source)
    dataset = open_images(source, classes)
    if names is None:
        plan, label_classes = run_export.plan_without_models(dataset, spec)
    else:
        plan = run_export.plan_with_models(dataset, spec)
        label_classes = ()
    with _progress_reporter(None, progress, len(plan.dataset)) as tell:
        for state in run_export.export(plan, fspath(to), label_classes):
            tell(state)
    return Path(to)


@contextmanager
def _progress_reporter(
    note: Callable[[Progress], object] | None, with_bar: bool | None, total: int
) -> Iterator[Callable[[Progress], object]]:
    """Yield a function that reports progress to ``note`` and, if ``with_bar``, in a bar.

    By default there is a bar in notebooks, unless ``note`` is given.
    """
    if with_bar is None:
        with_bar = note is None and "ipykernel" in sys.modules
    if not with_bar:
        yield note or _ignore
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="image") as bar:

        def tell(state: Progress) -> None:
            if not state.text:  # else it is of what follows the images
                bar.update(state.done - bar.n)
            if note is not None:
                note(state)

        yield tell


@checked_call
def evaluate_predictions(
    table: Any,
    source: Any = None,
    *,
    classes: Any = None,
    moved_truth: bool = False,
    domain: Domain | str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
) -> EvaluatedRun:
    """Evaluate the predictions that another system made of exported images; no model runs.

    ``table`` is a file (.csv, .parquet or .jsonl) or a frame with the rows of ``images.csv``, as
    ``export`` writes it, and one of these: ``prediction`` (the class) with ``confidence``;
    ``classes`` and ``probabilities``, lists of the top classes; ``probabilities`` of all classes;
    a column ``p0``, ``p1``, ... for each class; or ``score``, how good the output for the image is,
    from 0 to 1, with its name in ``score_name``. A column ``model`` names several models.
    Scores under perturbations that move pixels count only with ``moved_truth``.
    ``classes`` says what indices mean: "imagenet", a file with one class per line, or a list of
    names. A ``domain``, or the one in a file, is judged under those of its conditions that the
    table has. ``source`` has the images to show where the table names no files. Without ``out``
    nothing is kept. Raises ``ParameterError`` for a table that cannot be used.
    """
    declared = None
    if domain is not None:
        declared = _declared_domain(domain)
    if isinstance(table, str | PathLike):
        predictions = read_predictions(Path(table))
    elif hasattr(table, "columns") and hasattr(table, "reset_index"):
        predictions = _predictions_of_frame(table)
    else:
        raise ParameterError(
            f"Expected a table of predictions, as a file or a frame, got {type(table).__name__}."
        )
    dataset = None
    if source is not None:
        dataset = open_images(source, classes)
    plan = imported.plan_predictions(
        predictions,
        source=dataset,
        classes=imported.class_names(classes),
        moved_truth=moved_truth,
        domain=declared,
    )
    run = perform(plan, out, imported.ENGINE)
    if dataset is not None:
        run.dataset = dataset
    elif not isinstance(table, str | PathLike):
        run.dataset = predictions  # it cannot be opened by name
    return run


def _predictions_of_frame(table: Any) -> Predictions:
    """Return the predictions in a frame of pandas; paths in it are relative to this folder."""
    try:
        frame: pd.DataFrame = table.reset_index(drop=True)
        if list(frame.columns).count(SCORE) == 1 and frame[SCORE].dtype == object:
            # Texts among numbers, as a file would have them: its reader names the row.
            frame[SCORE] = frame[SCORE].map(cell_text)
        rows = pa.Table.from_pandas(frame, preserve_index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"Expected a frame with distinct columns of one kind of value each: {reason}."
        ) from error
    return Predictions(rows, "python:predictions", "predictions", Path.cwd(), "predictions")
