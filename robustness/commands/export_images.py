"""The command that writes the perturbed images of a dataset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from robustness.base.errors import ParameterError
from robustness.base.text import counted, some
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
    exported.add_argument(
        "--class-names",
        metavar="imagenet|FILE",
        help="classes of the labels, one per line (default: those of --models; without models "
        "those of ImageNet, if all labels are such, otherwise the labels themselves)",
    )


def export_command(options: argparse.Namespace) -> int:
    """Write every image of a dataset, original and perturbed, with a table of what each is."""
    from robustness.base.progress import Pace, Unit
    from robustness.models.labels import imagenet, read_labels
    from robustness.pictures.fitting import Framing
    from robustness.runs import image_export

    names: Sequence[str]
    of_models = options.models or request_options.names_models(options)
    if of_models and options.class_names:
        raise ParameterError("Expected either --class-names or models, got both: leave one out.")
    if not (options.models or options.request):  # images of no model in particular
        study = Framing()
        options.fit, options.side = options.fit or study.fit, options.side or study.side
    spec = request_options.spec(options)
    if of_models:
        plan, names = request_options.planned(options, options.source, spec), ()
    else:
        named = options.class_names
        plan, names = image_export.plan_without_models(
            request_options.images(options, options.source),
            spec,
            classes=named and (imagenet() if named == "imagenet" else read_labels(Path(named))),
            **request_options.selection(options),
        )
    pace = Pace(Unit("images"), len(plan.dataset))
    done = 0
    left_out: Sequence[tuple[str, str]] = ()
    for state in image_export.export(plan, options.to, names):
        done, left_out = state.done, state.left_out
        pace.note(done)
        console.progress(pace.text)
    console.end_progress()
    written = (done - len(left_out)) * (1 + len(plan.spec.conditions))
    if options.json:
        console.print_json({"to": options.to, "images": written, "unreadable": len(left_out)})
    else:
        console.say(f"{counted(written, 'image')} and {image_export.TABLE} in {options.to}")
        if names:
            console.say(f"labels: {counted(len(names), 'class')}, by name: {some(names, 5)}")
        print_left_out(left_out)
    return 0 if written else EXIT_NOTHING
