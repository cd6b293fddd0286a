"""The command that writes the perturbed images of a dataset."""

from __future__ import annotations

import argparse

from robustness.base.text import counted
from robustness.commands import console, request_options
from robustness.commands.evaluate import EXIT_NOTHING
from robustness.commands.options import Parsers, add_command


def add(parsers: Parsers) -> None:
    """Add ``export``."""
    exported = add_command(parsers, "export", export_command, "--json")
    exported.add_argument("source", metavar="SOURCE", help="as for evaluate")
    exported.add_argument(
        "--to",
        required=True,
        metavar="DIR|FILE.zip|URL",
        help="where to write; a folder or URL where the same export was interrupted is continued",
    )
    request_options.add_request(exported)


def export_command(options: argparse.Namespace) -> int:
    """Write every image of a dataset, original and perturbed, with a table of what each is."""
    from robustness.base.progress import Pace, Unit
    from robustness.evaluation.framings import usual
    from robustness.runs import image_export

    if not (options.models or options.request):  # images of no model in particular
        options.fit, options.side = usual(options.fit, options.side)
    plan = request_options.planned(options, options.source, request_options.whole_spec(options))
    pace = Pace(Unit("images"), len(plan.dataset))
    done = unreadable = 0
    for state in image_export.export(plan, options.to):
        done, unreadable = state.done, state.unreadable
        pace.note(done)
        console.progress(pace.text)
    console.end_progress()
    written = (done - unreadable) * (1 + len(plan.spec.conditions))
    if options.json:
        console.print_json({"to": options.to, "images": written, "unreadable": unreadable})
    else:
        console.say(f"{counted(written, 'image')} and {image_export.TABLE} in {options.to}")
        if unreadable:
            console.say(f"{counted(unreadable, 'image')} could not be read.")
    return 0 if written else EXIT_NOTHING
