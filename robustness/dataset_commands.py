"""The commands about whole datasets and the runs that come of them.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from robustness.console import end_progress, print_json, progress

if TYPE_CHECKING:
    from robustness.runs import Run, Session


def evaluate_command(options: argparse.Namespace) -> None:
    """Evaluates a dataset, saves the run, and prints what it tells."""
    from robustness import runs
    from robustness.evaluate import make_spec

    spec = make_spec(
        options.models, _conditions(options), seed=options.seed, fit=options.fit
    )
    plan = runs.plan(
        options.source,
        spec,
        labelling=options.labels,
        limit=options.limit,
        sample=options.sample,
        batch=options.batch,
    )
    with runs.start(plan, options.out, engine=options.engine, resume=options.resume) as session:
        _perform(session, options.engine, options.address)
    run = runs.load(session.folder)
    if options.json:
        print_json(_document(run))
    else:
        _print_run(run)


def _conditions(options: argparse.Namespace) -> Any:
    from robustness.types import IMAGENET_C_SUITE, SEVERITIES, graded_conditions, suite_names

    severities = options.severities
    if options.suite == IMAGENET_C_SUITE and options.strength is None:
        severities = severities or SEVERITIES
    names = options.perturbations or suite_names(options.suite or "study")
    return graded_conditions(names, strengths=options.strength, severities=severities)


def _perform(session: Session, engine: str, address: str | None) -> None:
    """Runs to the end, and says how far it is; on an interruption, how to go on."""
    from robustness.pace import Pace, Unit

    total = session.manifest.dataset.pictures
    if session.resumed:
        progress(f"{session.folder.name}: {session.resumed} of {total} pictures were done before")
    pace = Pace(Unit("pictures"), total)
    try:
        for state in session.perform(engine, address):
            if state.loading:
                progress("loading the models ...")
                pace.note(state.done)
                continue
            pace.note(state.done)
            unread = f", {state.unreadable} unreadable" if state.unreadable else ""
            progress(f"{pace.text}{unread}")
    except KeyboardInterrupt:
        end_progress()
        print(
            f"robustness: what is done is kept in {session.folder}; the same command with "
            "--resume goes on.",
            file=sys.stderr,
        )
        raise
    end_progress()


def _document(run: Run) -> dict[str, Any]:
    from robustness import statistics
    from robustness.rows import NUMBERS

    frame = run.frame(NUMBERS) if run.images else None
    return {
        "run": run.id,
        "folder": str(run.folder),
        "images": run.images,
        "unreadable": [{"image": name, "reason": reason} for name, reason in run.unreadable],
        "seconds": round(run.seconds, 3),
        "startup_seconds": round(run.manifest.startup_seconds, 3),
        "summary": [] if frame is None else statistics.summary(frame),
        "by_perturbation": [] if frame is None else statistics.by_perturbation(frame),
    }
