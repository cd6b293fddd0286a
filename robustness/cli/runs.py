"""The commands that answer questions about runs: which model to ship, where models fail, what
would help, and from which confidence to accept predictions.

The commands on saved runs: ``report``, and ``runs`` with its actions.

The command ``check``, which checks a run against a budget.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.files import expect_writable, write_file
from robustness.base.text import counted, share
from robustness.cli import console, evaluate, request
from robustness.cli.console import PLUGINS, RUN, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.runs import Listed, Run


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
        help="print only errors, and save the rows in order when terminated",
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
    """List the saved runs and matches."""
    from robustness import runs

    entries = runs.listing(options.out)
    if options.json:
        console.print_json([_listed(entry) for entry in entries])
        return
    if not entries:
        console.say(f"There are no runs in {options.out}.")
    for entry in entries:
        manifest = entry.manifest
        if manifest is None:
            about = f": {entry.reason}"
            if entry.match:
                status = "finished" if entry.finished else "unfinished"
                about = f"\n    {entry.title}: a match, {entry.created}, {status}"
            console.say(f"{entry.folder.name}{about}")
            continue
        console.say(
            f"{entry.folder.name}\n    {entry.title}: {manifest.images} of "
            f"{counted(manifest.dataset.pictures, 'image')}, "
            f"{counted(len(manifest.spec.models), 'model')}, "
            f"{counted(len(manifest.spec.pooled_conditions), 'condition')}, {manifest.how}, "
            f"{manifest.created}, {manifest.status}"
        )


def _listed(entry: Listed) -> dict[str, Any]:
    from robustness import runs

    manifest = entry.manifest
    about = {"run": entry.folder.name, "folder": str(entry.folder), "reason": entry.reason}
    if entry.match is not None:
        status = runs.FINISHED if entry.finished else runs.UNFINISHED
        return {**about, "title": entry.title, "created": entry.created, "status": status}
    if manifest is None:
        return about
    return {
        **about,
        "title": entry.title,
        "created": manifest.created,
        "status": manifest.status,
        "source": manifest.dataset.source,
        "pictures": manifest.dataset.pictures,
        "images": manifest.images,
        "unreadable": manifest.unreadable,
        "models": list(manifest.spec.model_names),
        "conditions": [dict(condition.steps) for condition in manifest.spec.conditions],
        "seed": manifest.spec.seed,
        "preprocessing": manifest.spec.framing_text,
    }


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
    baseline, *others = (_opened(run, options) for run in options.runs)
    comparisons = [runs.compare(baseline, other) for other in others]
    written = []
    if options.to:
        written = report.write(report.of_comparison(comparisons[0]), options.to)
    if options.json:
        console.print_json(
            [
                {
                    "baseline": comparison.baseline.id,
                    "run": comparison.other.id,
                    "images": comparison.images,
                    "apart": comparison.notes,
                    "rows": None if comparison.rows is None else comparison.rows.as_dict(),
                    "differences": comparison.differences,
                }
                for comparison in comparisons
            ]
        )
        return
    from robustness.report import comparison

    for result in comparisons:
        console.say(report.printed_blocks(comparison.blocks(result)))
    for path in written:
        console.say(str(path))


def resume_command(options: argparse.Namespace) -> None:
    """Continue an unfinished run or match."""
    from robustness import runs
    from robustness.base import workers
    from robustness.base.turns import Pace, Unit
    from robustness.runs import jobs

    if options.idle:
        workers.set_idle_priority()
    if options.background:
        workers.heed_termination()
    folder = runs.folder_of(options.run, options.out)
    pace: Pace | None = None
    for state in jobs.work_off(folder, engine=options.engine, address=options.address):
        pace = pace or Pace(Unit("images"), state.total)
        pace.note(state.done)
        if not options.background:
            loading = state.text or "loading the models ..."
            console.progress(loading if state.loading else pace.text)
    entry = runs.listed(folder)
    if entry.match is None:
        runs.load(folder, unfinished=True)  # raises for a damaged run
    console.end_progress()
    status = runs.FINISHED if entry.finished else runs.UNFINISHED
    _answer(
        options,
        {"run": folder.name, "folder": str(folder), "status": status},
        f"{folder.name} is {status}",
    )


def delete_command(options: argparse.Namespace) -> None:
    """Delete a run or match permanently."""
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


if TYPE_CHECKING:
    from robustness.gate import Budget, Check
    from robustness.runs import Run

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable with which GitHub Actions names the file for the summary of a step."""

_HEAD = ("", "Model", "Condition", "Limit", "Expected", "Measured")


def add_check(parsers: Parsers) -> None:
    """Add ``check``."""
    checked = add_command(parsers, "check", check_command, "--json")
    checked.add_argument(
        "run",
        metavar="RUN|SOURCE",
        help=f"{RUN}; or a source as for evaluate, which is then evaluated",
    )
    checked.add_argument("--budget", type=Path, required=True, metavar="FILE.toml")
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

    budget = gate.read_budget(options.budget)
    baseline = baseline_of(budget, options)
    expect_writable(options.junit, options.summary)
    folders = (options.out / options.run, Path(options.run))
    folder = next((path for path in folders if (path / runs.MANIFEST_FILE).is_file()), None)
    if folder is None:  # one of the same request is not computed twice
        run = evaluate.evaluated(options, options.run, resume=True)
    elif own := request.option_names(options, "engine", "address"):
        raise ParameterError(
            f"{options.run} is a saved run, which {own} cannot change: expected a source to "
            "evaluate, or none of these options."
        )
    else:
        run = runs.load(folder.resolve())
    check = gate.check(budget, run, baseline)
    if options.junit:
        write_file(options.junit, gate.junit(check))
    text = gate.markdown(check)
    if options.summary:
        write_file(options.summary, text.encode())
    if options.github and not os.environ.get(STEP_SUMMARY):  # outside a workflow
        # With --json, stdout holds the document alone.
        if options.json:
            console.remark(text)
        else:
            console.say(text)
    elif options.github:
        path = Path(os.environ[STEP_SUMMARY])
        before = path.read_bytes() if path.is_file() else b""
        write_file(path, before + text.encode())
    if options.json:
        console.print_json(gate.as_dict(check))
    else:
        _print_check(check)
    return 0 if check.passed else 1


def baseline_of(budget: Budget, options: argparse.Namespace) -> Run | None:
    """The run of ``--baseline`` or, if it is not given, of ``budget``.

    A path in a budget is relative to the budget's folder.
    """
    from robustness import runs

    named = options.baseline or budget.baseline
    if named is None:
        return None
    candidate = options.budget.parent / named
    if not options.baseline and not (options.out / named).is_dir() and candidate.is_dir():
        return runs.load(candidate.resolve())
    return runs.load(runs.folder_of(named, options.out))


def _print_check(check: Check) -> None:
    from robustness import gate, report
    from robustness.report.tables import Table

    rows = [
        (
            f"{'FAIL' if verdict in check.broken else 'ok'} {verdict.outcome}",
            verdict.model,
            verdict.where,
            verdict.limit,
            verdict.limit_text,
            verdict.figure_text,
        )
        for verdict in check.verdicts
    ]
    table = report.Titled("Limits", Table(_HEAD, rows))
    notes = map(report.Text, (*check.notes, gate.headline(check)))
    console.say(f"{check.run.id}, {counted(check.run.images, 'image')}")
    console.say(report.printed_blocks([table, *notes]))


COMMANDS = ("choose", "failures", "threshold")


def add_questions(parsers: Parsers) -> None:
    """Add ``COMMANDS``, ``fixes`` and ``calibrate``."""
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
    failing.add_argument(
        "--map",
        type=int,
        metavar="IMAGES",
        help="make a map of this many images of --where, which names a model and a condition",
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
    """Add the options of the questions that the command ``name`` prints."""
    from robustness.report.run import REGISTRY

    for question in REGISTRY:
        for option in question.options if question.command == name else ():
            kind: dict[str, Any] = {"type": float, "metavar": option.metavar}
            if isinstance(option.default, bool):
                kind = {"action": "store_true"}
            elif isinstance(option.default, Mapping):
                kind["type"] = _weights
            flag = f"--{option.name.replace('_', '-')}"
            command.add_argument(flag, help=option.meaning, default=option.default, **kind)


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in filter(str.strip, text.split(",")):
        name, sign, number = part.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not sign or not name.strip() or not 0 <= weight < math.inf:
            raise argparse.ArgumentTypeError(
                f"expected NAME=NUMBER with a number of 0 or more, got {part.strip()!r}"
            )
        if name.strip() in weights:
            raise argparse.ArgumentTypeError(f"expected each name once, got {name.strip()!r} twice")
        weights[name.strip()] = weight
    return weights


def choose_command(options: argparse.Namespace) -> int:
    """Say which model to ship; those that cannot be told apart are tied."""
    from robustness import api, gate, runs
    from robustness.report import choice, threshold
    from robustness.report.facts import own_preprocessing, trained_on

    if options.baseline and not options.budget:
        options.parser.error("--baseline is for the limits of --budget: give both")
    baseline = None
    if options.budget:
        budget = gate.read_budget(options.budget)
        if options.baseline or budget.compares:
            baseline = baseline_of(budget, options)
    folders = dict.fromkeys(runs.folder_of(run, options.out) for run in options.runs)
    opened = [runs.load(folder) for folder in folders]
    model_choice = api.choose(
        opened,
        budget=options.budget,
        baseline=baseline,
        **{option.name: getattr(options, option.name) for option in choice.OPTIONS},
    )
    if options.json:
        console.print_json({**model_choice.as_dict(), "thresholds": threshold.entries(opened)})
        return 0
    from robustness import report

    weighted = [f"{word}: {', '.join(names)}" for word, names in model_choice.weighted.items()]
    entries = choice.placed(model_choice)
    console.say("\n".join(model_choice.sentences))
    hardened = dict(entry for run in opened for entry in run.manifest.trained_on.items())
    notes = [
        *choice.measured_on(entries),
        *choice.busy(entries),
        *map(report.Text, weighted),
        *(report.Text(trained_on(*entry)) for entry in hardened.items()),
        *map(report.Text, own_preprocessing(run.manifest.spec for run in opened)),
        *threshold.notes(opened, model_choice.best),
    ]
    console.say(report.printed_blocks([choice.table(entries, model_choice), *notes]))
    return 0


def failures_command(options: argparse.Namespace) -> None:
    """Say where and why the models of a run fail, or list the images of a selection."""
    from robustness import api, report, runs
    from robustness.report import failures
    from robustness.report.run import REGISTRY, RunFigures

    run = runs.load(runs.folder_of(options.run, options.out), unfinished=True)
    if options.map is not None:
        embedding = api.embedding_map(run, options.where or "", images=options.map)
        if options.json:
            console.print_json(asdict(embedding))
        else:
            shares = " and ".join(share(part, 0) for part in embedding.explained)
            console.say(
                f"The map of {len(embedding.points)} images is saved with the run, for its page "
                f"and report. Its axes explain {shares} of the variance."
            )
        return
    if options.where is not None or options.to is not None:
        rows = api.failing_images(run, options.where or "", to=options.to)
        if options.json:
            console.print_json(rows)
        elif options.to is not None:
            console.say(str(options.to))
        else:
            console.say(report.printed_blocks([failures.listed_cases(rows)]))
        return
    if options.json:
        console.print_json(api.failures(run).as_dict())
        return
    of = RunFigures(run, options=vars(options))
    sections = [question.section(of) for question in REGISTRY if question.command == "failures"]
    for section in filter(None, sections):
        console.say(f"\n## {section.title}\n{_printed(section.printed)}")


def fixes_command(options: argparse.Namespace) -> None:
    """Say what would help each model of a run, what it gains and costs, and how to measure it."""
    from robustness import runs
    from robustness.report.fixes import FIXES
    from robustness.report.run import RunFigures

    run = runs.load(runs.folder_of(options.run, options.out))
    figures = RunFigures(run).answer(FIXES)
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
    console.say(
        f"Added as {options.name}."
        if options.name
        else f"To add it: python -m robustness calibrate {options.run} {fit.model} --name NAME"
    )


def threshold_command(options: argparse.Namespace) -> None:
    """Say from which confidence to accept predictions, so that few accepted ones are wrong."""
    from robustness import report, runs
    from robustness.report.run import RunFigures
    from robustness.report.threshold import THRESHOLD, document, groups_of, of_model

    run = runs.load(runs.folder_of(options.run, options.out))
    values = vars(options) | {"groups": groups_of(run, options.groups)}
    figures = RunFigures(run, options=values).answer(THRESHOLD)
    if options.json:
        console.print_json(document(figures))
        return
    reasons = [report.Text(of_model(entry, figures)) for entry in figures.entries]
    console.say(_printed(THRESHOLD.blocks(figures)) or report.printed_blocks(reasons))


def _printed(blocks: Iterable[Any]) -> str:
    """The paragraphs and tables among the ``blocks`` of a question, without its pictures."""
    from robustness import report

    kinds = (report.Text, report.Titled)
    return report.printed_blocks(block for block in blocks if isinstance(block, kinds))
