"""The report of the smallest composition within a domain that changes predictions of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustness.base.text import counted, share, some
from robustness.images.framing import Picture
from robustness.measure.domain import Domain
from robustness.measure.labels import is_correct
from robustness.measure.loop import perturbed
from robustness.measure.request import Request, spec_of
from robustness.measure.rows import provenance_record
from robustness.measure.search import SmallestBreak
from robustness.report import methods
from robustness.report.blocks import Case, Cases, Report, Section, Titled, model_label, sentence
from robustness.report.blocks import class_title as title_of_class
from robustness.report.facts import cautions, command, data, facts
from robustness.report.image import GAIN, image_case, top5
from robustness.report.tables import Column, Table, change, no_change, verdict

QUESTION = "What breaks this image within the domain?"

_FOUND = (
    "Size: the sum of the strengths, searched to 0.005. Lowering any perturbation to the beginning "
    "of its range keeps the prediction, but a smaller composition of others may exist."
)
_NOT_FOUND = "A search, not a proof: a composition between those that were tried may change it."


def of_breaks(domain: Domain, picture: Picture, breaks: Sequence[SmallestBreak]) -> Report:
    """Return the report of the results of ``smallest_breaks`` on ``picture``.

    ``breaks`` has one result for each model, all with the same seed.
    """
    rows = [found.row for found in breaks]
    spec = _request(picture, breaks)
    table = Titled(f"Within the domain {domain.name}", breaks_table(breaks))

    def read_images() -> Iterator[Case]:
        for found in in_order(breaks):
            version = picture.at(spec.framing_of(found.model))
            (image,) = perturbed(version, [found.condition], spec.seed)
            alt = f"{picture.name} under {found.condition.short}"
            yield image_case(version, image, found.condition.short, alt, GAIN, [found.row])

    manifest = provenance_record(spec, [(picture.name, picture.digest)])
    manifest["domain"] = {**domain.as_dict(), "digest": domain.digest}
    return Report(
        title=f"What breaks {picture.name} within {domain.name}",
        answers=[(QUESTION, answer(domain, breaks))],
        facts=[
            ("Domain", domain.name),
            ("Ranges", "; ".join(each.text for each in domain.ranges)),
            *facts(spec, [picture], rows),
        ],
        cautions=[*incorrect_before(breaks), *cautions(rows)],
        sections=[
            Section("Smallest compositions", [table, Cases("", read_images)]),
            Section("Top-5 classes", [top5(row) for row in rows]),
        ],
        brief=[table],
        methods=methods.blocks(spec.conditions, []),
        limits=methods.limits(),
        manifest=manifest,
        replay="With the file of the domain, `{command}` searches again.".format(
            command=command(spec, "break IMAGE --domain FILE.toml")
        ),
        data=data(rows, {"breaks": [found.as_row() for found in breaks]}),
        note=note(breaks),
    )


def _request(picture: Picture, breaks: Sequence[SmallestBreak]) -> Request:
    """Return the request of the models of ``breaks`` under the compositions found."""
    names = [found.model for found in breaks]
    conditions = list(dict.fromkeys(found.condition for found in breaks))
    return spec_of(picture, names, conditions, breaks[0].row.seed)


def in_order(breaks: Sequence[SmallestBreak]) -> list[SmallestBreak]:
    """Return ``breaks``, the smallest first; last those of models that are incorrect before."""
    return sorted(breaks, key=_sort_key)


def _sort_key(found: SmallestBreak) -> tuple[bool, bool, float]:
    return found.was_correct is False, not found.found, found.size


def note(breaks: Sequence[SmallestBreak]) -> str:
    """Return what the search shows and what it does not."""
    return _FOUND if any(found.found for found in breaks) else _NOT_FOUND


def incorrect_before(breaks: Sequence[SmallestBreak]) -> list[str]:
    """Return the sentence on models that are incorrect on the original, if there are any.

    There is none where all are incorrect: the answer says so.
    """
    names = [model_label(found.model) for found in breaks if found.was_correct is False]
    if not names or len(names) == len(breaks):
        return []
    return [f"Incorrect on the original already: {some(names, len(names))}."]


def answer(domain: Domain, breaks: Sequence[SmallestBreak]) -> str:
    """Return the sentence on the model that the smallest composition changes."""
    correct = [found for found in in_order(breaks) if found.was_correct is not False]
    if not correct and len(breaks) > 1:
        return sentence("no model is correct on the original")
    if not correct:
        return _answer_on_incorrect(breaks[0])
    changed = [found for found in correct if found.found]  # the smallest first
    if not changed:
        subject = "a prediction"
        if len(correct) == 1:
            subject = model_label(correct[0].model)
        return sentence(f"nothing tried within {domain.name} changes {subject}")
    first = changed[0]
    text = f"{first.condition.short} changes {model_label(first.model)}: {_prediction(first)}"
    kept = len(correct) - len(changed)
    remark = ""
    if kept:
        remark = f"{counted(kept, 'model')} unchanged"
    return sentence(text, remark)


def _answer_on_incorrect(found: SmallestBreak) -> str:
    """Return the sentence on the only model, which is incorrect on the original."""
    if found.found:
        now = is_correct(found.row.label, found.row.top1)
        effect = change(False, now, f"under {found.condition.short}")
    else:
        effect = no_change(False)
    return sentence(f"{model_label(found.model)} {effect}", names=[found.model])


def _prediction(found: SmallestBreak) -> str:
    return f"{title_of_class(found.model, found.row.top1)}, {share(found.row.probability, 0)}"


def breaks_table(breaks: Sequence[SmallestBreak]) -> Table:
    """Return the table of the smallest composition of each model, in order."""
    columns: list[Column] = [
        ("Model", lambda found: model_label(found.model)),
        ("Smallest composition", _composition),
        ("Size", lambda found: f"{found.size:.3f}" if found.found else "none"),
        ("Original", _original),
        ("Perturbed", lambda found: _prediction(found).replace(", ", " ")),
        ("Prediction", lambda found: verdict(found.row).said),
        ("Tried", lambda found: f"{found.tried:,}"),
    ]
    return Table.of(in_order(breaks), columns)


def _original(found: SmallestBreak) -> str:
    row = found.row
    text = f"{title_of_class(found.model, row.clean_top1)} {share(row.clean_probability, 0)}"
    if found.was_correct is False:
        text += ", incorrect"
    return text


def _composition(found: SmallestBreak) -> str:
    if found.found:
        return found.condition.short
    return f"none; closest: {found.condition.short}"
