"""The commands on a dataset: ``evaluate`` saves a run, ``export`` the perturbed images."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.text import counted, some
from robustness.cli import console, request
from robustness.cli.console import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.runs import Plan, Progress, Run
    from robustness.runs.planning import Forecast

_MAX_PRINTED = 10
"""Most left-out images that are printed; the JSON lists all."""


def add(parsers: Parsers) -> None:
    """Add ``evaluate`` and ``export``."""
    evaluated = add_command(parsers, "evaluate", evaluate_command, "--json")
    evaluated.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="a folder (flat, or one subfolder per class), a .csv or .parquet of paths and labels, "
        "a .zip, a URL such as s3://bucket/photos, dataset:NAME of a plugin, or 'samples'",
    )
    evaluated.add_argument(
        "--predictions",
        type=Path,
        metavar="TABLE",
        help="a .csv, .parquet or .jsonl with predictions of another system for the images of "
        "'export'; no model is needed, and SOURCE only for tables without image files",
    )
    evaluated.add_argument(
        "--classes",
        metavar="imagenet|FILE",
        help="class names for numeric predictions: imagenet, or a file with one name per line",
    )
    evaluated.add_argument(
        "--moved-truth",
        action="store_true",
        help="with scores in --predictions: keep those under perturbations that move pixels, as "
        "the outputs were compared with boxes or masks that moved alike",
    )
    evaluated.add_argument(
        "--log-mlflow", action="store_true", help="also log each model to MLflow (mlflow-skinny)"
    )
    add_shared(evaluated, "--out")
    request.add_request(evaluated, runs=True)
    add_shared(evaluated, "--engine", "--address")
    evaluated.add_argument(
        "--resume", action="store_true", help="continue the unfinished run of the same request"
    )
    evaluated.add_argument(
        "--fresh",
        action="store_true",
        help="with a run in --request: a new run, although there is one",
    )
    evaluated.add_argument(
        "--plan",
        action="store_true",
        help="only print passes, disk, and the time at the rate of the last run of these models",
    )

    exported = add_command(parsers, "export", export_command, "--json")
    exported.add_argument("source", metavar="SOURCE", help="as for evaluate")
    exported.add_argument(
        "--to",
        required=True,
        metavar="DIR|FILE.zip|URL",
        help="where to write; a folder or URL where the same export was interrupted is continued",
    )
    request.add_request(exported)
    exported.add_argument(
        "--class-names",
        metavar="imagenet|FILE",
        help="classes of the labels, one per line (default: those of --models; without models "
        "those of ImageNet, if all labels are such, otherwise the labels themselves)",
    )


def evaluate_command(options: argparse.Namespace) -> int:
    """Evaluate a dataset and save the run. Exit status 2 if no image could be read.

    Each model sees the images as it is described, unless --fit or --side say otherwise.
    """
    if options.predictions is None and options.classes is not None:
        raise ParameterError("--classes expects --predictions.")
    if options.predictions is None and options.moved_truth:
        raise ParameterError("--moved-truth expects --predictions.")
    requested_folder = request.requested_run(options)
    if options.fresh and requested_folder is None:
        raise ParameterError(
            "--fresh expects a run in --request: without one, every evaluation is a new run."
        )
    if options.log_mlflow:  # now rather than after all the work
        from robustness.report.mlflow import log_mlflow, ready_mlflow

        if options.plan:
            raise ParameterError("Expected either --plan or --log-mlflow, got both: leave one out.")
        ready_mlflow()
    if options.predictions is not None:
        run = _evaluate_predictions(options)
    elif options.plan:
        _print_forecast(options)
        return 0
    else:
        # A requested run is taken as it is, if this request has been evaluated before.
        resume = options.resume or requested_folder is not None
        run = evaluated(options, options.source, resume=resume and not options.fresh)
    if options.json:
        console.print_json(_document(run))
    else:
        _print_run(run)
        if options.fresh:
            folders = f"{requested_folder} {run.folder}"
            console.say(f"\nCompare: python -m robustness runs compare {folders}")
    if not run.images:
        return console.EXIT_BAD_INPUT
    if options.log_mlflow:
        console.remark(f"Logged to MLflow: {log_mlflow(run)}")
    return 0


def _forecast(plan: Plan, out: Path) -> Forecast:
    """What ``plan`` will take; that of a domain, whose rows are many, is tried on some images."""
    from robustness.runs import planning

    if plan.spec.domain is None:
        return planning.from_earlier(plan, out)
    console.progress("timing some images ...")
    seconds = planning.seconds_a_pass(plan)
    console.end_progress()
    return planning.by_trial(plan, out, seconds)


def _foretell(plan: Plan, out: Path) -> None:
    """Say what the run of a domain will take, before it begins."""
    from robustness.runs.planning import SAMPLE_FIRST

    forecast = _forecast(plan, out)
    console.remark(f"{forecast.size}. Time: {forecast.time}.")
    if forecast.sample_time:
        console.remark(
            f"For a first look, interrupt it and add --sample {SAMPLE_FIRST}: "
            f"{forecast.sample_time}."
        )


def _print_forecast(options: argparse.Namespace) -> None:
    forecast = _forecast(request.plan(options, options.source), options.out)
    if options.json:
        console.print_json(forecast.as_dict())
        return
    console.say(forecast.size)
    console.say(f"Time: {forecast.time}")
    console.say(f"Disk: {forecast.disk}, {counted(forecast.rows, 'row')}")


def evaluated(options: argparse.Namespace, source: str | None, *, resume: bool) -> Run:
    """Evaluate ``source``; with ``resume``, continue or take the run of the same request."""
    plan = request.plan(options, source)
    return _perform(plan, options.out, options.engine, options.address, resume=resume)


def _evaluate_predictions(options: argparse.Namespace) -> Run:
    from robustness.runs import imported

    to_omit = request.option_names(
        options, "engine", "address", "resume", "plan", allowed=("domain",)
    )
    if to_omit:
        raise ParameterError(
            f"The table of --predictions already contains the request: omit {to_omit}."
        )
    domain = None
    if options.domain is not None:
        domain = request.domain(options, of_run=True)
    plan = imported.read_plan(
        options.predictions,
        options.source,
        options.classes,
        moved_truth=options.moved_truth,
        domain=domain,
    )
    return _perform(plan, options.out, imported.ENGINE)


def _perform(
    plan: Plan, out: Path, engine: str, address: str | None = None, *, resume: bool = False
) -> Run:
    """Run to the end and report progress; after an interruption, say how to continue."""
    from robustness import runs
    from robustness.base.turns import Pace, Unit
    from robustness.runs import engines

    with runs.start(plan, out, engine=engine, resume=resume) as writer:
        name = writer.folder.name
        total = writer.manifest.dataset.pictures
        if writer.finished:
            console.progress(f"{name} is already finished")
        elif writer.resumed:
            done = f"{writer.resumed} of {counted(total, 'image')}"
            console.progress(f"{name}: {done} done before")
        elif plan.spec.domain is not None and engine == "local":
            _foretell(plan, out)
        pace = Pace(Unit("images"), total)
        try:
            states: Iterable[Progress] = ()
            if not writer.finished:
                states = writer.perform(engine, address)
            for state in states:
                if state.text:  # of what follows the images
                    console.progress(state.text, state.done / max(1, state.total))
                    continue
                pace.note(state.done)
                if state.loading:
                    what = "models" if engines.REGISTRY[engine].asks_models else "table"
                    console.progress(f"loading the {what} ...")
                elif state.unreadable:
                    console.progress(f"{pace.text}, {state.unreadable} left out", pace.share)
                else:
                    console.progress(pace.text, pace.share)
        except KeyboardInterrupt:
            console.remark(
                "robustness: finished work is kept; to continue: python -m robustness runs resume "
                f"{writer.folder}"
            )
            raise
    console.end_progress()
    return runs.load(writer.folder)


def _document(run: Run) -> dict[str, Any]:
    from robustness import runs
    from robustness.runs.remedies import measured_gains

    copies = 0
    summary: Sequence[Mapping[str, Any]] = []
    by_perturbation: Sequence[Mapping[str, Any]] = []
    if run.images:  # otherwise no image could be read, and there are no figures
        figures = runs.Analysis(run).figures
        copies = figures.copies
        summary = figures.summary
        by_perturbation = figures.by_perturbation
    return {
        "run": run.id,
        "folder": str(run.folder),
        "images": run.images,
        "copies": copies,
        "unreadable": [{"image": name, "reason": reason} for name, reason in run.unreadable],
        "seconds": round(run.seconds, 3),
        "startup_seconds": round(run.manifest.startup_seconds, 3),
        "summary": summary,
        "by_perturbation": by_perturbation,
        "remedies": measured_gains(run).as_rows(),
    }


def _print_run(run: Run) -> None:
    from robustness import report

    console.say(f"{run.id}\n")
    _print_left_out(run.unreadable)
    if not run.images:
        console.say("\nNo image could be measured: there are no results.")
        return
    console.say(report.printed(report.summary_of_run(run)))
    console.say(f"\nSaved in {run.folder}")
    if run.manifest.spec.domain is not None:
        command = f"python -m robustness domain record {run.folder} --to record.pdf"
        console.say(f"To file and sign: {command}")


def export_command(options: argparse.Namespace) -> int:
    """Write every image of a dataset, original and perturbed, with a table of what each is."""
    from robustness.base.turns import Pace, Unit
    from robustness.models.record import imagenet, read_labels
    from robustness.runs import export
    from robustness.runs.imported import moves_pixels

    has_models = options.models or request.names_models(options)
    if has_models and options.class_names:
        raise ParameterError("Expected either --class-names or models, got both: leave one out.")
    if not options.models and not options.request:
        domain = None
        if options.domain is not None:
            domain = request.domain(options, of_run=True)
        framing = export.framing_without_models(domain)
        options.fit = options.fit or framing.fit
        options.side = options.side or framing.side
    spec = request.spec(options)
    images = request.images(options, options.source)
    selection = request.selection(options)
    class_names: Sequence[str] = ()
    if has_models:
        plan = export.plan_with_models(images, spec, **selection)
    else:
        classes = None
        if options.class_names == "imagenet":
            classes = imagenet()
        elif options.class_names:
            classes = read_labels(Path(options.class_names))
        plan, class_names = export.plan_without_models(images, spec, classes=classes, **selection)
    pace = Pace(Unit("images"), len(plan.dataset))
    done = 0
    left_out: Sequence[tuple[str, str]] = ()
    for state in export.export(plan, options.to, class_names):
        done = state.done
        left_out = state.left_out
        pace.note(done)
        console.progress(pace.text, pace.share)
    console.end_progress()
    written = (done - len(left_out)) * (1 + len(plan.spec.conditions))
    if options.json:
        console.print_json({"to": options.to, "images": written, "unreadable": len(left_out)})
    else:
        console.say(f"{counted(written, 'image')} and {export.TABLE} in {options.to}")
        moving = [condition.short for condition in plan.spec.conditions if moves_pixels(condition)]
        if moving:
            console.remark(
                f"{some(moving, 3)} move pixels: scores against boxes or masks that did not move "
                "leave them out."
            )
        if class_names:
            shown = some(class_names, 5)
            console.say(f"labels: {counted(len(class_names), 'class')}, by name: {shown}")
        _print_left_out(left_out)
    return 0 if written else console.EXIT_BAD_INPUT


def _print_left_out(unreadable: Sequence[tuple[str, str]]) -> None:
    """Say of the first images of ``unreadable`` (name, reason) why they are left out."""
    for name, reason in unreadable[:_MAX_PRINTED]:
        console.say(f"left out: {name}: {reason}")
    if len(unreadable) > _MAX_PRINTED:
        console.say(f"and {counted(len(unreadable) - _MAX_PRINTED, 'more image')} left out")
