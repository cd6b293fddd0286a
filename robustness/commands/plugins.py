"""The command ``plugins``."""

from __future__ import annotations

import argparse

from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Add ``plugins``."""
    listing = add_command(parsers, "plugins", plugins_command, asks_models=False, asks_plugins=True)
    add_shared(listing, "--json")


def plugins_command(options: argparse.Namespace) -> None:
    """List the loaded plugins with what each adds."""
    from robustness.plugins import plugins
    from robustness.plugins.origins import records_of

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
