"""The command that writes the perturbed images of a dataset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from robustness.base.text import counted
from robustness.commands import console, request_options
from robustness.commands.evaluate import EXIT_NOTHING, print_left_out
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
    done = 0
    left_out: Sequence[tuple[str, str]] = ()
    for state in image_export.export(plan, options.to):
        done, left_out = state.done, state.left_out
        pace.note(done)
        console.progress(pace.text)
    console.end_progress()
    written = (done - len(left_out)) * (1 + len(plan.spec.conditions))
    if options.json:
        console.print_json({"to": options.to, "images": written, "unreadable": len(left_out)})
    else:
        console.say(f"{counted(written, 'image')} and {image_export.TABLE} in {options.to}")
        print_left_out(left_out)
    return 0 if written else EXIT_NOTHING
