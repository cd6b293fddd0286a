"""The commands that list what can be chosen: ``perturbations``, ``remedies`` and ``plugins``."""

from __future__ import annotations

import argparse
from functools import partial

from robustness.base.errors import ParameterError
from robustness.commands import console
from robustness.commands.subcommands_and_options import PLUGINS, Parsers, add_command

_PERTURBATION_FIELDS = (
    *("name", "label", "family", "risk", "search", "graded", "random", "parameter", "unit"),
    *("study_strength", "monotone", "imagenet_c", "severity_strengths", "source"),
)
_REMEDY_FIELDS = ("name", "label", "kind", "against", "source")

_add_list = partial(add_command, reads=PLUGINS)


def add_perturbations(parsers: Parsers) -> None:
    """Add ``perturbations``."""
    listing = _add_list(parsers, "perturbations", perturbations_command, "--json")
    listing.add_argument("words", nargs="*", metavar="WORD", help="only matching perturbations")


def add_remedies(parsers: Parsers) -> None:
    """Add ``remedies``."""
    _add_list(parsers, "remedies", remedies_command, "--json")


def add_plugins(parsers: Parsers) -> None:
    """Add ``plugins``."""
    _add_list(parsers, "plugins", plugins_command, "--json")


def perturbations_command(options: argparse.Namespace) -> None:
    """List the perturbations, or those that match words such as "too dark", best match first."""
    from robustness.perturbations.perturbation_text_search import find

    matches = find(" ".join(options.words))
    if not matches.records:
        raise ParameterError(matches.no_match)
    if options.json:
        documents = [
            {name: getattr(record, name) for name in _PERTURBATION_FIELDS}
            for record in matches.records
        ]
        console.print_json(documents)
        return
    for record in matches.records:
        at, setting = record.study_strength, ""
        if at is not None:
            setting = f"study: {at:g} = {record.value_text(at)}"
        text = f"{record.name:22}{record.label:36}{record.family:26}{record.parameter:35}{setting}"
        console.say(text.rstrip())


def remedies_command(options: argparse.Namespace) -> None:
    """List the remedies, which act between an image and its prediction and need no training."""
    from robustness.remedies import REGISTRY

    if options.json:
        documents = [
            {
                **{name: getattr(remedy, name) for name in _REMEDY_FIELDS},
                "max_original_change": remedy.original,
                "false_alarms": remedy.gate and remedy.gate.false_alarms,
            }
            for remedy in REGISTRY
        ]
        console.print_json(documents)
        return
    for record in REGISTRY:
        console.say(f"{record.name:22}{record.kind:16}{record.label}: {record.against}")


def plugins_command(options: argparse.Namespace) -> None:
    """List the loaded plugins with what each adds."""
    from robustness.plugins.loaded_plugins import plugins, records_of

    documents = [
        {
            "name": plugin.name,
            "digest": plugin.digest,
            "records": [{"kind": kind, "name": name} for kind, name in records_of(plugin.name)],
        }
        for plugin in plugins()
    ]
    if options.json:
        console.print_json({"plugins": documents})
        return
    for plugin in plugins():
        adds = ", ".join(f"{kind} {name}" for kind, name in records_of(plugin.name))
        console.say(f"{plugin.name} ({plugin.digest[:12]}): {adds}")
    if not documents:
        console.say("No plugins. Name them in the setting plugins.")
