"""The commands ``plugins`` and ``plugins check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Add ``plugins`` with its action ``check``."""
    listing = add_command(parsers, "plugins", plugins_command, asks_models=False, asks_plugins=True)
    add_shared(listing, "--json")
    actions = listing.add_subparsers(metavar="ACTION")
    checking = add_command(actions, "check", check_command, asks_models=False)
    checking.add_argument(
        "file", metavar="FILE", help="Python file, TOML file, or name of a module"
    )
    add_shared(checking, "--json", default=argparse.SUPPRESS)


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


def check_command(options: argparse.Namespace) -> int:
    """Try the laws of the registries on a plugin; exit with status 1 if one is broken."""
    from robustness import models
    from robustness.plugins import loading, plugin_laws

    file = options.file
    here = Path(file).resolve()
    name = loading.load_one(str(here) if here.is_file() else file)
    findings = list(plugin_laws.check(name, lambda: models.load("SqueezeNet", side=224)))
    broken = [finding for finding in findings if not finding.holds]
    if options.json:
        documents = [
            {"kind": f.kind, "name": f.name, "law": f.law, "holds": f.holds, "trouble": f.trouble}
            for f in findings
        ]
        console.print_json({"plugin": name, "findings": documents})
        return bool(broken)
    for finding in findings:
        mark = "holds " if finding.holds else "BROKEN"
        why = "" if finding.holds else f": {finding.trouble}"
        console.say(f"{mark} {finding.kind} {finding.name}: {finding.law}{why}")
    console.say(f"{len(findings) - len(broken)} of {len(findings)} laws hold.")
    return bool(broken)
