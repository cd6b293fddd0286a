"""The command ``remedies``, which lists what may help before a prediction."""

from __future__ import annotations

import argparse

from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared

_FIELDS = ("name", "label", "kind", "against", "source")
"""Fields of the record that the JSON repeats."""


def add(parsers: Parsers) -> None:
    """Add ``remedies``."""
    listing = add_command(
        parsers, "remedies", remedies_command, asks_models=False, asks_plugins=True
    )
    add_shared(listing, "--json")


def remedies_command(options: argparse.Namespace) -> None:
    """List the remedies, which act between an image and its prediction and need no training."""
    from robustness.remedies import REGISTRY

    if options.json:
        documents = [
            {
                **{name: getattr(remedy, name) for name in _FIELDS},
                "max_original_change": remedy.original,
                "false_alarms": remedy.gate and remedy.gate.false_alarms,
            }
            for remedy in REGISTRY
        ]
        console.print_json(documents)
        return
    for record in REGISTRY:
        console.say(f"{record.name:22}{record.kind:16}{record.label}: {record.against}")
