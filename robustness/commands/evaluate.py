"""The commands about whole datasets and the runs that come of them.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.commands.console import end_progress, print_json, progress

if TYPE_CHECKING:
    from robustness.evaluation.condition import Condition
    from robustness.runs import Plan, Run, Session


_SHOWN = 10
"""Unreadable pictures that are printed one by one; the JSON has them all."""


def evaluate_command(options: argparse.Namespace) -> None:
    """Evaluates a dataset, saves the run, and prints what it tells."""
    from robustness import runs

    plan = planned(options, options.source)
    with runs.start(plan, options.out, engine=options.engine, resume=options.resume) as session:
        perform(session, options.engine, options.address)
    run = runs.load(session.folder)
    if options.json:
        print_json(_document(run))
    else:
        _print_run(run)


def planned(options: argparse.Namespace, source: str) -> Plan:
    """What the options of ``evaluate`` ask of ``source``."""
    from robustness import runs
    from robustness.evaluation.spec import make_spec

    spec = make_spec(options.models, _conditions(options), seed=options.seed, fit=options.fit)
    return runs.plan(
        source,
        spec,
        labelling=options.labels,
        limit=options.limit,
        sample=options.sample,
        batch=options.batch,
    )


def _conditions(options: argparse.Namespace) -> tuple[Condition, ...]:
    from robustness.attacks import REGISTRY as ATTACKS
    from robustness.attacks import parse_epsilon
    from robustness.evaluation.condition import Condition
    from robustness.evaluation.suites import (
        IMAGENET_C_SUITE,
        SEVERITIES,
        graded_conditions,
        suite_names,
    )

    attacks = [name for name in options.perturbations or () if name in ATTACKS]
    if (options.epsilon or options.attack_steps) and not attacks:
        raise ParameterError(
            "--epsilon and --attack-steps are for attacks: name one in --perturbations. Known: "
            f"{', '.join(ATTACKS.names)}."
        )
    one_step = [name for name in attacks if ATTACKS[name].most_steps == 1]
    steps_of = {  # beside others, an attack of a single step has nothing to do with their number
        name: None if name in one_step and len(one_step) < len(attacks) else options.attack_steps
        for name in attacks
    }
    epsilons = [parse_epsilon(text) for text in options.epsilon or ["8/255"]]
    attacked = tuple(
        Condition.attack(name, epsilon=epsilon, steps=steps)
        for name, steps in steps_of.items()
        for epsilon in dict.fromkeys(epsilons)
    )
    if attacks:
        options.perturbations = [name for name in options.perturbations if name not in ATTACKS]
        if not options.perturbations:
            if options.strength is not None or options.severities:
                raise ParameterError(
                    "--strength and --severities are for perturbations, and only attacks are asked "
                    "for: expected --epsilon, such as 2/255,8/255."
                )
            return attacked
    severities = options.severities
    if options.suite == IMAGENET_C_SUITE and options.strength is None:
        severities = severities or SEVERITIES
    names = options.perturbations or suite_names(options.suite or "study")
    return (
        *graded_conditions(names, strengths=options.strength, severities=severities),
        *attacked,
    )


def perform(session: Session, engine: str, address: str | None) -> None:
    """Runs to the end, and says how far it is; on an interruption, how to go on."""
    from robustness.base.pace import Pace, Unit

    total = session.manifest.dataset.pictures
    if session.finished:
        progress(f"{session.folder.name} is finished: nothing is left to do")
        return
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

    found = statistics.Figures(run.frame()) if run.images else None
    return {
        "run": run.id,
        "folder": str(run.folder),
        "images": run.images,
        "unreadable": [{"image": name, "reason": reason} for name, reason in run.unreadable],
        "seconds": round(run.seconds, 3),
        "startup_seconds": round(run.manifest.startup_seconds, 3),
        "summary": [] if found is None else found.summary,
        "by_perturbation": [] if found is None else found.by_perturbation,
    }


def _print_run(run: Run) -> None:
    from robustness import statistics

    print(f"{run.id}\n{run.images} picture(s) x {len(run.conditions)} condition(s)")
    for name, reason in run.unreadable[:_SHOWN]:
        print(f"unreadable: {name}: {reason}")
    if len(run.unreadable) > _SHOWN:
        print(f"and {len(run.unreadable) - _SHOWN} more unreadable pictures")
    if not run.images:
        print("\nNo picture could be read, so there is nothing to tell.")
        return
    found = statistics.Figures(run.frame())
    entries = found.summary
    with_labels = any(entry["clean_accuracy"] is not None for entry in entries)
    head = "\nrank  model               consistency  95 % interval   cosine  Euclidean"
    print(head + ("  accuracy: clean  perturbed" if with_labels else ""))
    rank = 0
    several = len({entry["label_set"] for entry in entries}) > 1
    for place, entry in enumerate(entries):
        fresh = place == 0 or entry["label_set"] != entries[place - 1]["label_set"]
        rank = 1 if fresh else rank + 1
        if fresh and several:
            print(f"models of {entry['label_set']}:")
        interval = f"{entry['consistency_low']:.0%} to {entry['consistency_high']:.0%}"
        accuracy = ""
        if entry["clean_accuracy"] is not None:
            accuracy = f"{entry['clean_accuracy']:17.1%}{entry['perturbed_accuracy']:11.1%}"
        print(
            f"{rank:4}  {entry['model']:18}{entry['consistency']:13.1%}  {interval:14}"
            f"{entry['cosine']:8.3f}{entry['euclidean']:11.3f}{accuracy}"
        )
    _print_pairs(found.pairs())
    print(f"\nSaved in {run.folder}")


def _print_pairs(pairs: list[dict[str, Any]]) -> None:
    """Which differences are established, and what would settle the others."""
    from robustness.statistics import advice

    if pairs:
        print("\nDifference in consistency, in points, with its 95 % interval:")
    for pair in pairs:
        interval = (
            ""
            if pair["difference_low"] is None
            else f" ({100 * pair['difference_low']:+.1f} to {100 * pair['difference_high']:+.1f})"
        )
        print(
            f"  {pair['better']} over {pair['worse']}: {100 * pair['difference']:+.1f}{interval}, "
            f"{advice(pair)}"
        )
