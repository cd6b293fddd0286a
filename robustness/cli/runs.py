"""The commands on saved runs.

``report`` writes a report; ``runs`` lists, compares, resumes and deletes runs; ``check`` holds a
run against a budget. ``choose``, ``failures``, ``fixes``, ``calibrate`` and ``threshold`` answer
questions of the report: which model to ship, where models fail, what would help, and from which
confidence to accept predictions.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.files import expect_writable, write_file
from robustness.base.options import options_of
from robustness.base.text import counted
from robustness.cli import console, evaluate, request
from robustness.cli.console import PLUGINS, RUN, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.gate import Budget, Check
    from robustness.runs import Comparison, Listed, Progress, Run
    from robustness.statistics import ModelChoice

COMMANDS = ("choose", "failures", "threshold")
"""Commands whose options are those of questions of the report: see ``add_options``."""

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable with which GitHub Actions names the file for the summary of a step."""

_CHECK_HEAD = ("", "Model", "Condition", "Limit", "Expected", "Measured")


def add_runs(parsers: Parsers) -> None:
    """Add ``report``, and ``runs`` with its actions."""
    reported = add_command(parsers, "report", report_command, "run")
    reported.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FILE",
        help="report file: .html, .pdf, .csv, .parquet, .json or .md",
    )
    add_shared(reported, "--out")

    listing = add_command(parsers, "runs", runs_command, "--json", "--out", reads=PLUGINS)
    actions = listing.add_subparsers(metavar="[compare|resume|delete]")

    compared = add_command(actions, "compare", compare_command)
    compared.add_argument("runs", nargs="+", metavar="RUN", help="the first is the baseline")
    compared.add_argument(
        "--to", type=Path, metavar="FILE", help="also write a report of two runs, as `report` does"
    )

    resumed = add_command(actions, "resume", resume_command, "run")
    resumed.add_argument(
        "--background",
        action="store_true",
        help="print only errors, and save what is done when terminated",
    )
    resumed.add_argument("--idle", action="store_true", help="use only idle cores")
    add_shared(resumed, "--engine", "--address")

    deleted = add_command(actions, "delete", delete_command, "run", reads=PLUGINS)
    deleted.add_argument("--yes", action="store_true", help="required: deleting cannot be undone")

    for action in (compared, resumed, deleted):
        add_shared(action, "--json", "--out", default=argparse.SUPPRESS)


def report_command(options: argparse.Namespace) -> None:
    """Write a self-contained report of a saved run."""
    from robustness import report

    report.format_of(options.to)  # now rather than after all the work
    run = _opened(options.run, options, unfinished=True)
    if not run.finished:
        done = run.images + len(run.unreadable)
        console.remark(
            f"robustness: the run {run.id} is not finished ({done} of "
            f"{counted(run.manifest.dataset.pictures, 'image')}); the report says so."
        )
    console.progress("computing the figures ...")
    written = report.write(report.of_run(run), options.to)
    console.end_progress()
    for path in written:
        console.say(str(path))


def runs_command(options: argparse.Namespace) -> None:
    """List the saved runs, matches and trainings."""
    from robustness import runs

    entries = runs.listing(options.out)
    if options.json:
        console.print_json([_listed_document(entry) for entry in entries])
        return
    if not entries:
        console.say(f"There are no runs in {options.out}.")
    for entry in entries:
        console.say(_listed_text(entry))


def _listed_text(entry: Listed) -> str:
    name = entry.folder.name
    manifest = entry.manifest
    if entry.reason:
        return f"{name}: {entry.reason}"
    if manifest is None:
        status = "finished" if entry.finished else "unfinished"
        return f"{name}\n    {entry.title}: a {entry.kind}, {entry.created}, {status}"
    return (
        f"{name}\n    {entry.title}: {manifest.images} of "
        f"{counted(manifest.dataset.pictures, 'image')}, "
        f"{counted(len(manifest.spec.models), 'model')}, "
        f"{counted(len(manifest.spec.pooled_conditions), 'condition')}, {manifest.how}, "
        f"{manifest.created}, {manifest.status}"
    )


def _listed_document(entry: Listed) -> dict[str, Any]:
    from robustness import runs

    document: dict[str, Any] = {
        "run": entry.folder.name,
        "folder": str(entry.folder),
        "reason": entry.reason,
    }
    if entry.reason:
        return document
    document["title"] = entry.title
    document["created"] = entry.created
    document["status"] = runs.FINISHED if entry.finished else runs.UNFINISHED
    manifest = entry.manifest
    if manifest is None:  # a match or a training
        return document
    spec = manifest.spec
    document["source"] = manifest.dataset.source
    document["pictures"] = manifest.dataset.pictures
    document["images"] = manifest.images
    document["unreadable"] = manifest.unreadable
    document["models"] = list(spec.model_names)
    document["conditions"] = [dict(condition.steps) for condition in spec.conditions]
    document["seed"] = spec.seed
    document["preprocessing"] = spec.framing_text
    return document


def _opened(run: str, options: argparse.Namespace, *, unfinished: bool = False) -> Run:
    from robustness import runs

    folder = runs.folder_of(run, options.out)
    return runs.load(folder, unfinished=unfinished)


def compare_command(options: argparse.Namespace) -> None:
    """Compare runs with a baseline."""
    if len(options.runs) < 2:
        options.parser.error("expected at least two runs; the first is the baseline")
    from robustness import report, runs

    if options.to:
        report.format_of(options.to)  # now rather than after all the work
        if len(options.runs) > 2:
            options.parser.error("expected two runs with --to: one report compares two")
    baseline, *others = [_opened(run, options) for run in options.runs]
    comparisons = [runs.compare(baseline, other) for other in others]
    written = []
    if options.to:
        written = report.write(report.of_comparison(comparisons[0]), options.to)
    if options.json:
        console.print_json([_comparison_document(comparison) for comparison in comparisons])
        return
    from robustness.report.comparison import blocks

    for comparison in comparisons:
        console.say(report.printed_blocks(blocks(comparison)))
    for path in written:
        console.say(str(path))


def _comparison_document(comparison: Comparison) -> dict[str, Any]:
    rows = None
    if comparison.rows is not None:
        rows = comparison.rows.as_dict()
    return {
        "baseline": comparison.baseline.id,
        "run": comparison.other.id,
        "images": comparison.images,
        "apart": comparison.notes,
        "rows": rows,
        "differences": comparison.differences,
    }


def resume_command(options: argparse.Namespace) -> None:
    """Continue an unfinished run, match or training."""
    from robustness import runs
    from robustness.base import processes
    from robustness.base.turns import Pace, Unit
    from robustness.runs import jobs

    if options.idle:
        processes.set_idle_priority()
    if options.background:
        processes.heed_termination()
    folder = runs.folder_of(options.run, options.out)
    pace = Pace(Unit("images"))

    def show(progress: Progress) -> None:
        pace.note(progress.done, progress.total)
        if options.background:
            return
        if progress.loading:
            console.progress("loading the models ...")
        else:
            console.progress(progress.text or pace.text, pace.share)

    jobs.work_off(folder, show, engine=options.engine, address=options.address)
    entry = runs.listed(folder)
    if entry.kind == "run":
        runs.load(folder, unfinished=True)  # raises for a damaged run
    console.end_progress()
    status = runs.FINISHED if entry.finished else runs.UNFINISHED
    _answer(
        options,
        {"run": folder.name, "folder": str(folder), "status": status},
        f"{folder.name} is {status}",
    )


def delete_command(options: argparse.Namespace) -> None:
    """Delete a run, match or training permanently."""
    from robustness import runs

    folder = runs.folder_of(options.run, options.out)
    if not options.yes:
        raise ParameterError(f"Deleting {folder} cannot be undone: expected --yes.")
    runs.delete(folder)
    _answer(options, {"deleted": folder.name}, f"{folder.name} is deleted")


def _answer(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    if options.json:
        console.print_json(document)
    else:
        console.say(text)


def add_check(parsers: Parsers) -> None:
    """Add ``check``."""
    checked = add_command(parsers, "check", check_command, "--json")
    checked.add_argument(
        "run",
        metavar="RUN|SOURCE",
        help=f"{RUN}; or a source as for evaluate, which is then evaluated",
    )
    checked.add_argument(
        "--budget", type=Path, metavar="FILE.toml", help="a budget, or a domain; or use --domain"
    )
    add_shared(checked, "--baseline")
    checked.add_argument("--junit", type=Path, metavar="FILE.xml", help="also write JUnit XML")
    checked.add_argument("--summary", type=Path, metavar="FILE.md", help="also write Markdown")
    checked.add_argument(
        "--github",
        action="store_true",
        help="append the Markdown to $GITHUB_STEP_SUMMARY, or print it outside a workflow",
    )
    add_shared(checked, "--out")
    request.add_request(checked, runs=True)
    add_shared(checked, "--engine", "--address")


def check_command(options: argparse.Namespace) -> int:
    """Check a run against a budget. Exit status 1 if a limit is broken, 2 if it cannot run."""
    from robustness import gate, runs

    folder = _saved_folder(options.run, options.out)
    budget = _budget_to_check(options, of_run=folder is not None)
    baseline = baseline_of(budget, options)
    expect_writable(options.junit, options.summary)
    if folder is None:
        if budget.domain is not None and not request.names_conditions(options):
            options.domain = options.budget  # is evaluated as well as checked
        # An earlier run of the same request is taken or continued rather than computed twice.
        run = evaluate.evaluated(options, options.run, resume=True)
    else:
        options.domain = None  # which is the budget
        without_effect = request.option_names(options, "engine", "address")
        if without_effect:
            raise ParameterError(
                f"{options.run} is a saved run, which {without_effect} cannot change: expected a "
                "source to evaluate, or none of these options."
            )
        run = runs.load(folder.resolve())
    check = gate.check(budget, run, baseline)
    markdown = gate.markdown(check)
    if options.junit:
        write_file(options.junit, gate.junit(check))
    if options.summary:
        write_file(options.summary, markdown.encode())
    if options.github:
        _add_step_summary(markdown, json=options.json)
    if options.json:
        console.print_json(gate.as_dict(check))
    else:
        _print_check(check)
    return 0 if check.passed else 1


def _budget_to_check(options: argparse.Namespace, *, of_run: bool) -> Budget:
    """Return the budget of --budget, or the domain of --domain; ``of_run``: of a saved run."""
    from robustness import gate
    from robustness.matching.domain import names_preset

    if options.budget is not None:
        return gate.read_budget(options.budget)
    if options.domain is None:
        raise ParameterError("Expected limits in --budget, or a domain in --domain, got neither.")
    if names_preset(options.domain):
        preset = request.domain(options, of_run=of_run)
        return gate.Budget(options.domain, (), domain=preset)
    budget = gate.read_budget(options.domain)
    if budget.domain is None:
        raise ParameterError(f"Expected a domain in {options.domain}, got a budget: use --budget.")
    return budget


def _saved_folder(run: str, out: Path) -> Path | None:
    """Return the folder of the saved ``run``, below ``out`` or by its path; None for a source."""
    from robustness.runs import MANIFEST_FILE

    for folder in (out / run, Path(run)):
        if (folder / MANIFEST_FILE).is_file():
            return folder
    return None


def _add_step_summary(markdown: str, *, json: bool) -> None:
    """Append ``markdown`` to the summary of the step of a workflow; outside one, print it."""
    summary_file = os.environ.get(STEP_SUMMARY)
    if summary_file:
        path = Path(summary_file)
        # Earlier commands of the same step may have written to it.
        earlier = path.read_bytes() if path.is_file() else b""
        write_file(path, earlier + markdown.encode())
    elif json:
        console.remark(markdown)  # stdout holds the document alone
    else:
        console.say(markdown)


def baseline_of(budget: Budget, options: argparse.Namespace) -> Run | None:
    """Return the run of --baseline or, if it is not given, the baseline of ``budget``.

    A run in a budget is one of --out or, if there is none of that name, a path relative to the
    budget's folder. Returns None where neither names a baseline.
    """
    from robustness import runs

    if options.baseline:
        return runs.load(runs.folder_of(options.baseline, options.out))
    if budget.baseline is None:
        return None
    beside_budget = options.budget.parent / budget.baseline
    if beside_budget.is_dir() and not (options.out / budget.baseline).is_dir():
        return runs.load(beside_budget.resolve())
    return runs.load(runs.folder_of(budget.baseline, options.out))


def _print_check(check: Check) -> None:
    from robustness import gate, report
    from robustness.report.tables import Table

    rows = []
    for verdict in check.verdicts:
        mark = "FAIL" if verdict in check.broken else "ok"
        rows.append(
            (
                f"{mark} {verdict.outcome}",
                verdict.model,
                verdict.where,
                verdict.limit,
                verdict.limit_text,
                verdict.figure_text,
            )
        )
    table = report.Titled("Limits", Table(_CHECK_HEAD, rows))
    notes = [report.Text(note) for note in check.notes]
    headline = report.Text(gate.headline(check))
    console.say(f"{check.run.id}, {counted(check.run.images, 'image')}")
    console.say(report.printed_blocks([table, *notes, headline]))


def add_questions(parsers: Parsers) -> None:
    """Add ``choose``, ``failures``, ``fixes``, ``calibrate`` and ``threshold``."""
    chosen = add_command(parsers, "choose", choose_command, "--json")
    chosen.add_argument("runs", metavar="RUN", nargs="+", help=f"{RUN}; several of the same images")
    chosen.add_argument(
        "--budget", type=Path, metavar="FILE.toml", help="rule out models that break its limits"
    )
    add_shared(chosen, "--baseline", "--out")

    failing = add_command(parsers, "failures", failures_command, "--json", "run")
    failing.add_argument(
        "--where",
        metavar="SELECTION",
        help='list the images of a selection, such as "model=SqueezeNet&slice=brightness:..0.2"',
    )
    failing.add_argument(
        "--to",
        type=Path,
        metavar="FILE.csv|FILE.zip",
        help="write the images of --where (default: all) as a table or a zip",
    )
    add_shared(failing, "--out")

    add_command(parsers, "fixes", fixes_command, "--json", "run", "--out")

    calibrating = add_command(parsers, "calibrate", calibrate_command, "--json", "run")
    calibrating.add_argument("model", metavar="MODEL", help="a model of the run")
    calibrating.add_argument(
        "--name", metavar="N", default="", help="also add the calibrated model to models.toml"
    )
    add_shared(calibrating, "--out")

    accepting = add_command(parsers, "threshold", threshold_command, "--json", "run")
    accepting.add_argument(
        "--groups",
        metavar="REGEX",
        help="images with the same match in their names belong together, such as frames of a video",
    )
    add_shared(accepting, "--out")


def add_options(command: argparse.ArgumentParser, name: str) -> None:
    """Add to ``command`` the options of the report's questions that the command ``name`` prints."""
    from robustness.report.run import REGISTRY

    for question in REGISTRY:
        if question.command != name:
            continue
        if question.options is not None:
            console.add_options(command, question.options)


def choose_command(options: argparse.Namespace) -> int:
    """Say which model to ship; those that cannot be told apart are tied."""
    from robustness import api, gate, runs
    from robustness.report import threshold
    from robustness.statistics.options import ChoiceOptions

    if options.baseline and not options.budget:
        options.parser.error("--baseline is for the limits of --budget: give both")
    baseline = None
    if options.budget:
        budget = gate.read_budget(options.budget)
        if options.baseline or budget.compares:
            baseline = baseline_of(budget, options)
    # A run that is named twice, by its path and by its id, counts once.
    folders = dict.fromkeys(runs.folder_of(run, options.out) for run in options.runs)
    opened_runs = [runs.load(folder) for folder in folders]
    model_choice = api.choose(
        opened_runs,
        budget=options.budget,
        baseline=baseline,
        **options_of(ChoiceOptions, vars(options)),
    )
    if options.json:
        thresholds = threshold.entries(opened_runs)
        console.print_json({**model_choice.as_dict(), "thresholds": thresholds})
    else:
        _print_choice(model_choice, opened_runs)
    return 0


def _print_choice(model_choice: ModelChoice, opened_runs: Sequence[Run]) -> None:
    from robustness import report
    from robustness.report import choice, threshold
    from robustness.report.facts import own_preprocessing, trained_on

    entries = choice.placed(model_choice)
    blocks: list[report.Text | report.Titled] = [
        choice.table(entries, model_choice),
        *choice.measured_on(entries),
        *choice.busy(entries),
    ]
    for word, names in model_choice.weighted.items():
        blocks.append(report.Text(f"{word}: {', '.join(names)}"))
    training_by_model: dict[str, Any] = {}
    for run in opened_runs:
        training_by_model.update(run.manifest.trained_on)
    for model, training in training_by_model.items():
        blocks.append(report.Text(trained_on(model, training)))
    for sentence in own_preprocessing(run.manifest.spec for run in opened_runs):
        blocks.append(report.Text(sentence))
    blocks += threshold.notes(opened_runs, model_choice.best)
    console.say("\n".join(model_choice.sentences))
    console.say(report.printed_blocks(blocks))


def failures_command(options: argparse.Namespace) -> None:
    """Say where and why the models of a run fail, or list the images of a selection."""
    from robustness import api, runs
    from robustness.report.run import REGISTRY, RunFigures

    run = runs.load(runs.folder_of(options.run, options.out), unfinished=True)
    if options.where is not None or options.to is not None:
        _list_failing_images(run, options)
    elif options.json:
        console.print_json(api.failures(run).as_dict())
    else:
        figures = RunFigures(runs.Analysis(run), vars(options))
        questions = [question for question in REGISTRY if question.command == "failures"]
        # All are answered before the first is printed.
        sections = [question.section(figures) for question in questions]
        for section in sections:
            if section is not None:
                console.say(f"\n## {section.title}\n{_printed(section.printed)}")


def _list_failing_images(run: Run, options: argparse.Namespace) -> None:
    from robustness import api, report
    from robustness.report import failures

    rows = api.failing_images(run, options.where or "", to=options.to)
    if options.json:
        console.print_json(rows)
    elif options.to is not None:
        console.say(str(options.to))
    else:
        console.say(report.printed_blocks([failures.listed_cases(rows, run.score)]))


def fixes_command(options: argparse.Namespace) -> None:
    """Say what would help each model of a run, what it gains and costs, and how to measure it."""
    from robustness import runs
    from robustness.report.fixes import FIXES
    from robustness.report.run import RunFigures

    run = runs.load(runs.folder_of(options.run, options.out))
    figures = RunFigures(runs.Analysis(run)).answer(FIXES)
    if options.json:
        console.print_json(FIXES.tables(figures)["fixes"])
        return
    console.say(_printed(FIXES.blocks(figures)))


def calibrate_command(options: argparse.Namespace) -> None:
    """Fit a temperature that makes the confidence of a model honest, and add it as a model.

    One half of the labelled originals fits it, by one more pass; the other judges it.
    """
    from robustness import api, runs
    from robustness.report import fixes

    run = runs.load(runs.folder_of(options.run, options.out))
    fit = api.calibrate(
        run,
        options.model,
        name=options.name,
        note=lambda done, total: console.phase("Predicting the originals", done, total),
    )
    console.end_progress()
    if options.json:
        console.print_json({**fit.as_dict(), "added": options.name or None})
        return
    console.say(fixes.calibration_sentence(fit))
    if options.name:
        console.say(f"Added as {options.name}.")
    else:
        command = f"python -m robustness calibrate {options.run} {fit.model} --name NAME"
        console.say(f"To add it: {command}")


def threshold_command(options: argparse.Namespace) -> None:
    """Say from which confidence to accept predictions, so that few accepted ones are wrong."""
    from robustness import report, runs
    from robustness.report.run import RunFigures
    from robustness.report.threshold import (
        THRESHOLD,
        check_predicts,
        document,
        groups_of,
        of_model,
    )

    run = runs.load(runs.folder_of(options.run, options.out))
    check_predicts(run)
    question_options = vars(options) | {"groups": groups_of(run, options.groups)}
    figures = RunFigures(runs.Analysis(run), question_options).answer(THRESHOLD)
    if options.json:
        console.print_json(document(figures))
        return
    answer = _printed(THRESHOLD.blocks(figures))
    if not answer:  # no threshold could be tried: say of each model why
        reasons = [report.Text(of_model(entry, figures)) for entry in figures.entries]
        answer = report.printed_blocks(reasons)
    console.say(answer)


def _printed(blocks: Iterable[Any]) -> str:
    """Print the paragraphs and tables of ``blocks`` into a text; a terminal shows no pictures."""
    from robustness import report

    printable = [block for block in blocks if isinstance(block, report.Text | report.Titled)]
    return report.printed_blocks(printable)
