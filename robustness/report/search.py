"""The report of the smallest composition within a domain that changes predictions of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustness.base.text import counted, share
from robustness.images.framing import Picture
from robustness.measure.domain import Domain
from robustness.measure.loop import perturbed
from robustness.measure.request import Request, spec_of
from robustness.measure.rows import provenance_record
from robustness.measure.search import SmallestBreak
from robustness.report import methods
from robustness.report.blocks import Case, Cases, Report, Section, Titled, model_label, sentence
from robustness.report.blocks import class_title as title_of_class
from robustness.report.facts import cautions, command, data, facts
from robustness.report.image import GAIN, image_case, top5
from robustness.report.tables import Column, Table, verdict

NOTE = (
    "Size: the sum of the strengths. Found by search, to 0.005: leaving any of the perturbations "
    "out keeps the prediction, but a smaller composition of others may exist."
)


def of_breaks(domain: Domain, picture: Picture, breaks: Sequence[SmallestBreak]) -> Report:
    """Return the report of the results of ``smallest_breaks`` on ``picture``.

    ``breaks`` has one result for each model, all with the same seed.
    """
    rows = [found.row for found in breaks]
    spec = _request(picture, breaks)
    table = Titled(f"Within the domain {domain.name}", breaks_table(breaks))

    def read_images() -> Iterator[Case]:
        for found in breaks:
            version = picture.at(spec.framing_of(found.model))
            (image,) = perturbed(version, [found.condition], spec.seed)
            alt = f"{picture.name} under {found.condition.short}"
            yield image_case(version, image, found.condition.short, alt, GAIN, [found.row])

    manifest = provenance_record(spec, [(picture.name, picture.digest)])
    manifest["domain"] = {**domain.as_dict(), "digest": domain.digest}
    return Report(
        title=f"What breaks {picture.name} within {domain.name}",
        answers=[("What breaks this image within the domain?", answer(domain, breaks))],
        facts=[
            ("Domain", domain.name),
            ("Ranges", "; ".join(each.text for each in domain.ranges)),
            *facts(spec, [picture], rows),
        ],
        cautions=cautions(rows),
        sections=[
            Section("Smallest compositions", [table, Cases("", read_images)]),
            Section("Top-5 classes", [top5(row) for row in rows]),
        ],
        brief=[table],
        methods=methods.blocks(spec.conditions, []),
        limits=[NOTE, *methods.limits()],
        manifest=manifest,
        replay=f"With the file of the domain, `{command(spec, 'break IMAGE --domain FILE.toml')}` "
        "searches again.",
        data=data(rows, {"breaks": [found.as_row() for found in breaks]}),
    )


def _request(picture: Picture, breaks: Sequence[SmallestBreak]) -> Request:
    """Return the request of the models of ``breaks`` under the compositions found."""
    names = [found.model for found in breaks]
    conditions = list(dict.fromkeys(found.condition for found in breaks))
    return spec_of(picture, names, conditions, breaks[0].row.seed)


def answer(domain: Domain, breaks: Sequence[SmallestBreak]) -> str:
    """Return the sentence on the model that the smallest composition changes."""
    changed = sorted((found for found in breaks if found.found), key=lambda found: found.size)
    if not changed:
        if len(breaks) == 1:
            return f"Nothing tried within {domain.name} changes {model_label(breaks[0].model)}."
        return f"Nothing tried within {domain.name} changes a prediction."
    first = changed[0]
    text = f"{first.condition.short} changes {model_label(first.model)}: {_prediction(first)}"
    kept = len(breaks) - len(changed)
    remark = ""
    if kept:
        remark = f"{counted(kept, 'model')} kept the prediction in all that was tried"
    return sentence(text, remark)


def _prediction(found: SmallestBreak) -> str:
    return f"{title_of_class(found.model, found.row.top1)}, {share(found.row.probability, 0)}"


def breaks_table(breaks: Sequence[SmallestBreak]) -> Table:
    """Return the table of the smallest composition of each model, the smallest first."""
    columns: list[Column] = [
        ("Model", lambda found: model_label(found.model)),
        ("Smallest composition", _composition),
        ("Size", lambda found: f"{found.size:.3f}" if found.found else "none"),
        ("Original", _original),
        ("Perturbed", lambda found: _prediction(found).replace(", ", " ")),
        ("Prediction", lambda found: verdict(found.row).said),
        ("Tried", lambda found: f"{found.tried:,}"),
    ]
    return Table.of(sorted(breaks, key=_sort_key), columns)


def _original(found: SmallestBreak) -> str:
    row = found.row
    return f"{title_of_class(found.model, row.clean_top1)} {share(row.clean_probability, 0)}"


def _composition(found: SmallestBreak) -> str:
    if found.found:
        return found.condition.short
    return f"none; closest: {found.condition.short}"


def _sort_key(found: SmallestBreak) -> tuple[bool, float]:
    return not found.found, found.size
